# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Folders pushed to a local Hub: the uploaded files, rejected folders, and messages about errors of the Hub.

A client takes seconds to start. One client does all pushes, and the tests check the results.
"""

import json
import shutil
from pathlib import Path

import pytest
from support.hub_stand_in import DROP_CONNECTION, TOKEN, WITH_PACKAGE_START, Hub
from support.model_cases import build
from transformers import LlamaConfig

import hf_minrnn
from hf_minrnn import MinRNNForCausalLM, MinRNNForSequenceClassification, MinRNNModel
from hf_minrnn.configuration_minrnn import AUTO_MAP
from hf_minrnn.tools import hub as hub_module
from hf_minrnn.tools.hub import PushError, check_folder, push_folder
from training.lm.tokenization import build_tokenizer

CODE = {path.name for path in Path(hf_minrnn.__file__).parent.glob("*.py") if not path.name.startswith("__")}
CODE -= {"layers.py", "registration.py", "rl.py"}  # not part of the models
EXAMPLE = 'name = "{}"  # the model\'s folder, or its repository on the Hub\n'
CARD = "---\nlicense: apache-2.0\n---\n# A model\n" + EXAMPLE.format("runs/model") + 'name = "stays"\n'
SHOWN = {"README.md", "results.json", "loss.png", "samples.txt"}
MODEL = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
OUTDATED = {"evaluation.json", "evaluation.png", "adapter_config.json"}
STATE = [
    "checkpoint-0000000007.pt",
    "checkpoint-0000000007.pt.partial",
    "checkpoint-7/model.safetensors",
    "optimizer.pt",
]
STATE += ["training_args.bin", ".env", "sub/.hidden", "sub/__pycache__/a.pyc", "runs/events.out.tfevents.1"]
STATE += ["wandb/run-1/files/wandb-metadata.json", "sub/wandb/debug.log"]
STATE += ["pets/1.5/hparams.yml", "wandb/run-1/run-1.wandb", "wandb/run-1/files/config.yaml", ".trackers.json"]
ANSWERS = {
    401: "log in with `hf auth login`, with a token that can write",
    403: "use a token that can write to me/",
    404: "check the name and the revision, and whether the token has access to them",
    409: "something else is changing the repository: push again",
    500: "the Hub has an error: push again later",
}
FAULTS = [
    (kind, answer) for kind in ("create", "tree", "commit") for answer in ANSWERS if (kind, answer) != ("tree", 500)
]
FAULTS += [("commit", DROP_CONNECTION)]

PUSHES = (
    WITH_PACKAGE_START
    + """
import huggingface_hub
from hf_minrnn.tools.command import main
from hf_minrnn.tools.hub import push_folder

def push(name, folder, repo, **options):
    found[name] = attempt(push_folder, folder, repo, **options)

def command(name, *arguments):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        status = main(["push", *arguments])
    found[name] = [status, out.getvalue(), err.getvalue()]

push("first", "model", "me/model", message="First")
card = root / "model" / "README.md"
card.write_text(card.read_text() + "It is small.")
push("changed", "model", "me/model", message="A better card")
push("same", "model", "me/model")
push("sharded", "sharded", "me/model", message="In shards")
push("before", "before", "me/afresh")
push("afresh", "model", "me/afresh")
push("branch", "own-code", "me/model", revision="v2")
push("branch again", "own-code", "me/model", revision="v2")
push("own name", "head", "head", private=True)
push("foreign", "model", "you/model")
push("bad name", "model", "me/a model")
push("bad revision", "model", "me/model", revision="refs/pr/7")
push("bad card", "bad-card", "me/bad-card")
for kind, answer in json.loads(os.environ["FAULTS"]):
    fault(**{kind: [answer]})
    for name in (f"{kind} {answer}", f"{kind} {answer}, again"):
        push(name, "model", f"me/{kind}-{answer}".replace(" ", "-"))
fault(upload=[None, 403])  # of two shards or more
push("half", "sharded-others", "me/half")
push("half, again", "sharded-others", "me/half")
fault(upload=["drop connection"])  # huggingface_hub retries it
push("cut once", "own-code-others", "me/cut-once")
command("command", "model", "me/by-command", "--private", "--revision", "v1", "--message", "By hand")
fault(commit=[500])
command("command that fails", "model", "me/by-command")
push("wrong token", "model", "me/model", token="hf_wrong")
push("no header", "model", "me/model", token="hf_two\\nlines")
del os.environ["HF_TOKEN"]
push("no token", "model", "me/model")
push("token given", "model", "me/token-given", token=os.environ["GIVEN"])
huggingface_hub.constants.ENDPOINT = "http://127.0.0.1:9"
push("no connection", "model", "me/model", token="hf_any")
(root / "found.json").write_text(json.dumps(found))
"""
)


def save(folder, name="mingru", model_class=MinRNNForCausalLM, code=False, max_shard_size="50GB", seed=0):
    """Saves a folder like that of a finished run."""
    model = build(name, model_class)
    for parameter in model.parameters():  # another seed gives other weights
        parameter.data.mul_(1 + seed)
    if code:
        model.carry_code()
    model.save_pretrained(folder, max_shard_size=max_shard_size)
    if model_class is MinRNNForCausalLM:
        build_tokenizer("chars", ["".join(map(chr, range(32, 127)))], padding=False).save_pretrained(folder)
    for name in SHOWN - {"README.md"}:
        (folder / name).write_text(name)
    (folder / "README.md").write_text(CARD)


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def pushes(tmp_path_factory):
    """Returns the Hub after all pushes, their results or errors, their folder, and the files of `model` before the pushes."""
    root = tmp_path_factory.mktemp("pushes")
    save(root / "model")
    for name in STATE:
        (root / "model" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "model" / name).write_text("state")
    save(root / "sharded", max_shard_size="20KB")
    save(root / "sharded-others", max_shard_size="20KB", seed=1)
    for seed, name in enumerate(("own-code", "own-code-others")):
        save(root / name, "minlstm-paper", code=True, seed=seed)
        with open(root / name / "gates.py", "a") as file:
            file.write("# of another revision\n")
    save(root / "before")
    for name in OUTDATED:
        (root / "before" / name).write_text("of before")
    save(root / "head", model_class=MinRNNForSequenceClassification)
    save(root / "bad-card")
    (root / "bad-card" / "README.md").write_text("---\nlicense: [\n---\n")
    before = contents(root / "model")
    with Hub() as hub:
        hub.run(PUSHES, root, FAULTS=json.dumps(FAULTS), GIVEN=TOKEN)
    return hub, json.loads((root / "found.json").read_text()), root, before


def is_rejected(line, *parts):
    """Whether a message is one line that contains all parts."""
    return line.startswith("PushError: ") and "\n" not in line and all(part in line for part in parts)


def test_one_commit_has_everything_and_the_folder_is_unchanged(pushes):
    hub, found, root, before = pushes
    assert found["first"] == f"{hub.url}/me/model"
    (title, sent) = hub.history("me/model")[0]
    assert title == "First" and set(sent) == CODE | MODEL | SHOWN
    files = hub.repositories["me/model"].commits[1]["files"]
    assert all(files[name] == before[name] for name in (MODEL | SHOWN) - {"config.json", "README.md"})
    assert before["README.md"].decode() == CARD and before.keys() >= MODEL | SHOWN
    assert json.loads(files["config.json"]) == json.loads(before["config.json"]) | {"auto_map": AUTO_MAP}
    assert contents(root / "model").keys() == before.keys()


def test_a_second_push_sends_changed_files(pushes):
    hub, found, _, _ = pushes
    titles = [title for title, _ in hub.history("me/model")[:3]]
    assert hub.history("me/model")[1] == ("A better card", ["README.md"])
    assert titles == ["First", "A better card", "In shards"]  # pushing the same folder again makes no commit
    first, second = (hub.repositories["me/model"].commits[number]["files"] for number in (1, 2))
    assert first | {"README.md": first["README.md"] + b"It is small."} == second
    assert found["changed"] == found["same"] == found["first"]


def test_shards_replace_the_old_weights(pushes):
    hub, found, root, _ = pushes
    assert found["sharded"] == found["first"]
    shards = {path.name for path in (root / "sharded").glob("model*")}
    assert len(shards) > 2 and "model.safetensors.index.json" in shards
    files = hub.repositories["me/model"].commits[3]["files"]
    assert {name for name in files if "safetensors" in name} == shards
    assert all(files[name] == (root / "sharded" / name).read_bytes() for name in shards)


def test_a_card_s_example_gets_the_repository_s_name(pushes):
    hub, _, _, _ = pushes
    for name in ("me/model", "me/token-given"):
        card = hub.repositories[name].commits[1]["files"]["README.md"].decode()
        assert card.partition("It is")[0] == CARD.replace("runs/model", name) and 'name = "stays"\n' in card


def test_adapters_and_results_of_an_earlier_push_are_deleted(pushes):
    hub, found, _, _ = pushes
    assert found["before"] == found["afresh"] == f"{hub.url}/me/afresh"
    _, before, after = (commit["files"].keys() for commit in hub.repositories["me/afresh"].commits)
    assert before - after == OUTDATED and after - before == set()


def test_a_branch_is_created_and_main_is_unchanged(pushes):
    hub, found, _, _ = pushes
    assert found["branch"] == found["branch again"] == f"{hub.url}/me/model/tree/v2"
    assert hub.history("me/model")[-1][0] == "Upload a minlstm model" and len(hub.history("me/model")) == 4
    assert json.loads(hub.files("me/model")["config.json"])["cell_type"] == "mingru"
    assert json.loads(hub.files("me/model", "v2")["config.json"])["cell_type"] == "minlstm"


def test_the_folder_s_own_code_is_kept(pushes):
    hub, _, root, _ = pushes
    files = hub.files("me/model", "v2")
    assert files["gates.py"].endswith(b"# of another revision\n")
    assert files["config.json"] == (root / "own-code" / "config.json").read_bytes()


def test_a_name_without_owner_belongs_to_the_user(pushes):
    hub, found, _, _ = pushes
    assert found["own name"] == f"{hub.url}/me/head" and hub.repositories["me/head"].private
    assert not hub.repositories["me/model"].private
    assert "tokenizer.json" not in hub.files("me/head")


@pytest.mark.parametrize("kind, answer", FAULTS)
def test_an_error_is_one_line_and_the_second_attempt_succeeds(pushes, kind, answer):
    hub, found, _, _ = pushes
    name = f"me/{kind}-{answer}".replace(" ", "-")
    said = f"the Hub answers {answer} (fault in {kind}): {ANSWERS[answer]}" if answer in ANSWERS else "push again"
    assert is_rejected(found[f"{kind} {answer}"], f"PushError: {name}: ", said)
    assert answer in ANSWERS or f"the connection to {hub.url} was interrupted" in found[f"{kind} {answer}"]
    assert found[f"{kind} {answer}, again"] == f"{hub.url}/{name}"
    assert [title for title, _ in hub.history(name)] == ["Upload a mingru model"]


def test_uploaded_files_are_not_sent_again(pushes):
    hub, found, root, _ = pushes
    assert is_rejected(found["half"], "me/half: the Hub answers 403 (fault in upload)")
    assert found["half, again"] == f"{hub.url}/me/half"
    shards = {path.name for path in (root / "sharded-others").glob("*.safetensors")}
    assert shards <= hub.files("me/half").keys()
    uploads = [path for kind, path in hub.requests if kind == "upload"]
    assert len(uploads) == len(set(uploads)) + 2  # one upload was rejected, one was interrupted
    assert found["cut once"] == f"{hub.url}/me/cut-once"


@pytest.mark.parametrize(
    "name, parts",
    [
        ("foreign", ["you/model: the Hub answers 403", "under the namespace 'you'", "or another name"]),
        ("bad name", ["me/a model: Repo id must", "96: 'me/a model': correct this, then push again"]),
        (
            "bad revision",
            ["me/model: the Hub answers 404 (Invalid rev id: refs/pr/7): check the name and the revision"],
        ),
        ("bad card", ["me/bad-card: Invalid metadata in README.md. - not valid YAML: correct this, then push again"]),
        ("wrong token", ["me/model: the Hub answers 401 (Invalid credentials in Authorization header): log in with"]),
        ("no header", ["me/model: the token for the Hub contains a blank or an invalid character: copy it again"]),
        ("no token", ["me/model: no token for the Hub: log in with `hf auth login`, or set HF_TOKEN"]),
        ("no connection", ["me/model: http://127.0.0.1:9 cannot be reached (", "): check the network and HF_ENDPOINT"]),
    ],
)
def test_a_rejection_is_one_line(pushes, name, parts):
    assert is_rejected(pushes[1][name], *parts)
    assert "hf_two" not in pushes[1][name]


def test_the_command_prints_the_address(pushes):
    hub, found, _, _ = pushes
    status, out, err = found["command"]
    assert status == 0 and out == f"model: pushed to {hub.url}/me/by-command/tree/v1\n" and "hf-minrnn" not in err
    assert hub.history("me/by-command") == [("By hand", sorted(CODE | MODEL | SHOWN))]
    assert hub.repositories["me/by-command"].private and hub.files("me/by-command").keys() == {".gitattributes"}


def test_the_command_prints_an_error_in_one_line(pushes):
    status, out, err = pushes[1]["command that fails"]
    assert status == 2 and out == "" and "Traceback" not in err
    line = (
        "hf-minrnn push: me/by-command: the Hub answers 500 (fault in commit): the Hub has an error: push again later"
    )
    assert err.splitlines()[-1] == line


def test_no_token_is_written(pushes):
    hub, found, root, _ = pushes
    assert found["token given"] == f"{hub.url}/me/token-given"
    everything = [path for path in root.rglob("*") if path.is_file()]
    assert root / "output.txt" in everything
    assert not [path for path in everything if TOKEN.encode() in path.read_bytes()]
    for repository in hub.repositories.values():
        assert not any(
            TOKEN.encode() in content for commit in repository.commits for content in commit["files"].values()
        )


# --- folders that are rejected before any request to the Hub


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    save(folder / "model")
    save(folder / "sharded", max_shard_size="20KB")
    return folder


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def other_width(folder):
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | {"hidden_size": 32}))


def other_layers(folder):
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | {"num_hidden_layers": 4}))


def other_index(folder):
    path = folder / "model.safetensors.index.json"
    values = json.loads(path.read_text())
    values["weight_map"]["a.weight"] = next(iter(values["weight_map"].values()))
    path.write_text(json.dumps(values))


def no_tokenizer(folder):
    for path in folder.glob("tokenizer*"):
        path.unlink()


@pytest.mark.parametrize(
    "kind, damage, message",
    [
        ("model", shutil.rmtree, "does not exist: give the folder of a saved model"),
        ("model", lambda f: (f / "config.json").unlink(), "has no config.json: give a folder that"),
        (
            "model",
            lambda f: (f / "config.json").rename(f / "adapter_config.json"),
            "is a PEFT adapter: push it with peft_model.push_to_hub, or merge it into its base model first, with",
        ),
        ("model", lambda f: cut(f / "config.json"), "config.json cannot be read"),
        ("model", lambda f: (f / "config.json").write_text("[]"), "config.json cannot be read"),
        (
            "model",
            lambda f: LlamaConfig().save_pretrained(f),
            "contains a model of type llama: give the folder of a minGRU",
        ),
        (
            "model",
            lambda f: MinRNNModel.config_class().save_pretrained(f),
            r"has the architectures \[\], not one of this package",
        ),
        ("model", lambda f: (f / "model.safetensors").unlink(), "has no weights, neither model.safetensors nor"),
        ("model", lambda f: cut(f / "model.safetensors"), r"model.safetensors is damaged \(.*save the model again"),
        ("model", lambda f: (f / "model.safetensors").write_bytes(b""), "model.safetensors is damaged"),
        ("model", other_width, r"have other shapes than config.json requires: model\..* and \d+ more: save"),
        ("model", other_layers, r"lack model\.layers\.3\..* and \d+ more: save"),
        ("sharded", lambda f: next(f.glob("model-00002*")).unlink(), "model-00002-of-0.*is missing: save"),
        ("sharded", lambda f: cut(next(f.glob("model-00002*"))), "model-00002-of-0.*is damaged"),
        ("sharded", lambda f: cut(f / "model.safetensors.index.json"), "index.json cannot be read"),
        ("sharded", other_index, "lack a.weight: save"),
        ("model", no_tokenizer, "has no tokenizer: add it with tokenizer.save_pretrained"),
        ("model", lambda f: (f / "README.md").unlink(), "has no card, README.md: write one"),
    ],
)
def test_a_folder_with_missing_files_is_one_line(whole, tmp_path, kind, damage, message):
    folder = shutil.copytree(whole / kind, tmp_path / "folder")
    assert check_folder(folder).cell_type == "mingru"
    damage(folder)
    with pytest.raises(PushError, match=message) as caught:
        push_folder(folder, "me/model")
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)


def test_a_file_instead_of_a_folder_is_rejected(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PushError, match="file is a file: give the folder of a saved model"):
        push_folder(tmp_path / "file", "me/model")


def test_tied_and_untied_weights_are_complete(tmp_path):
    for name in ("mingru", "bare", "minlstm-paper"):  # tied, untied, untied
        save(tmp_path / name, name)
        assert check_folder(tmp_path / name).tie_word_embeddings == (name == "mingru")
    save(tmp_path / "base", model_class=MinRNNModel)
    assert check_folder(tmp_path / "base").architectures == ["MinRNNModel"]


def test_offline_mode_is_reported(whole, monkeypatch):
    monkeypatch.setattr(hub_module, "get_token", lambda: "hf_any")
    with pytest.raises(PushError, match=r"me/model: HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set.*: unset it"):
        push_folder(whole / "model", "me/model")
