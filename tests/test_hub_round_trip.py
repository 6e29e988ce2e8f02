# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Models pushed with Python, the training script and Trainer to a local Hub, and loaded by a process without this package."""

import contextlib
import importlib.util
import io
import json
import random
import re
import shutil

import pytest
import torch
from support.hub_stand_in import ROOT, TOKEN, WITH_PACKAGE_START, WITHOUT_PACKAGE_START, Hub
from support.model_cases import build, token_ids
from transformers import AutoModelForCausalLM, pipeline

from hf_minrnn.configuration_minrnn import AUTO_MAP
from training.lm.tokenization import build_tokenizer

IDS = token_ids(2, 9)
PROMPT = "the cat "
PEFT = (
    importlib.util.find_spec("peft") is not None
)  # part of the extra "ecosystem", which the example of fine-tuning needs
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHARE = README.partition("## Share\n")[2].partition("\n## ")[0]
(ELSEWHERE,) = re.findall(r"```python\n(.*?)```", SHARE, flags=re.DOTALL)
GUIDE = (ROOT / "training" / "README.md").read_text(encoding="utf-8")
(PYTHON,) = re.findall(r"```python\n(.*?)```", GUIDE.partition("## Share\n")[2], flags=re.DOTALL)
# Local folder of each pushed model, by its name on the Hub.
FOLDERS = {"stdlib-mingru": "runs/stdlib-mingru", "folder": "other", "script": "script", "later": "later"}
FOLDERS |= {"sharded": "sharded", "trainer": "trainer"} | ({"tuned": "tuned"} if PEFT else {})
CARDS = ["script", "later", *(["tuned"] if PEFT else [])]  # models whose cards have an example

PUSHES = (
    WITH_PACKAGE_START
    + """
import torch
torch.set_num_threads(1)
from training import train_lm
from support.train_cases import QUICK
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments
from hf_minrnn.tools.command import main
from hf_minrnn.tools.hub import push_folder

# Python and the command line, as in the README
exec(os.environ["SHARE_PYTHON"])
for line in os.environ["SHARE_BASH"].splitlines():
    found[line] = main(line.split()[1:])
found["folder"] = [push_folder(name, "me/folder") for name in ("model", "other")]
push_folder("sharded", "me/sharded")

# Trainer
model, tokenizer = AutoModelForCausalLM.from_pretrained("model"), AutoTokenizer.from_pretrained("model")
model.carry_code()
args = TrainingArguments("trainer", push_to_hub=True, hub_model_id="me/trainer", max_steps=1, report_to=[], use_cpu=True)
rows = [{"input_ids": row, "labels": row} for row in torch.load("ids.pt")]
trainer = Trainer(model, args, train_dataset=rows, processing_class=tokenizer)
trainer.save_model()
trainer.train()
trainer.push_to_hub()

# The training script
argv = [*QUICK, "--dataset", "pets.txt", "--steps", "2", "--no-baselines", "--output-dir"]
train_lm.main([*argv, "script", "--push-to-hub", "me/script"])
fault(create=[403])
found["no repository"] = attempt(train_lm.main, [*argv, "never", "--push-to-hub", "me/never"])
fault(commit=["drop connection"])
found["later"] = attempt(train_lm.main, [*argv, "later", "--push-to-hub", "me/later"])
found["repeated"] = main(found["later"].partition("Then: hf-minrnn ")[2].split())

# The example of fine-tuning
if os.environ["PEFT"] == "True":
    from training import finetune_trainer
    argv = ["script", "pets.txt", "tuned", "--steps", "2", "--length", "64", "--batch-size", "2", "--push-to-hub", "tuned"]
    fault(create=[401])
    found["not tuned"] = attempt(finetune_trainer.main, argv)
    fault(commit=[409])
    found["tuned"] = attempt(finetune_trainer.main, argv)
    found["tuned again"] = main(found["tuned"].partition("Then: hf-minrnn ")[2].split())
(root / "found.json").write_text(json.dumps(found))
"""
)

LOADS = (
    WITHOUT_PACKAGE_START
    + """
import contextlib, io, re

import torch
from huggingface_hub import ModelCard
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer, pipeline

torch.set_num_threads(1)
ids, names, cards, commits, prompt = torch.load("ids.pt"), *json.loads(Path("wanted.json").read_text())
options = {"trust_remote_code": True}

@torch.no_grad()
def logits(model):
    assert type(model).__module__.startswith("transformers_modules."), type(model)
    return model(ids)[0]

for name in names:
    model = AutoModelForCausalLM.from_pretrained(f"me/{name}", **options)
    base = AutoModel.from_pretrained(f"me/{name}", **options)
    writer = pipeline("text-generation", model=f"me/{name}", device="cpu", **options)
    text = writer(prompt, max_new_tokens=5, do_sample=False)[0]["generated_text"]
    found[name] = [logits(model), logits(base), text]
for commit in commits:
    found[commit] = logits(AutoModelForCausalLM.from_pretrained("me/folder", revision=commit, **options))
for name in cards:
    (code,) = re.findall(r"```python\\n(.*?)```", ModelCard.load(f"me/{name}").text, flags=re.DOTALL)
    torch.manual_seed(0)  # the example samples
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(code, {})
    found[f"card of {name}"] = [code, out.getvalue()]
exec(os.environ["ELSEWHERE"])
torch.save(found, "bare.pt")
"""
)


@pytest.fixture(scope="module")
def round_trip(tmp_path_factory):
    """Returns the Hub, the results of the pushes, and the results of a process without this package that loads the models."""
    root = tmp_path_factory.mktemp("pushes")
    torch.save(IDS, root / "ids.pt")
    tokenizer = build_tokenizer(
        "chars", ["".join(map(chr, range(32, 127)))], padding=False
    )  # of 97 tokens, as the models
    for folder, name in (("model", "mingru"), ("other", "minlstm-paper"), ("sharded", "no-conv")):
        build(name).save_pretrained(root / folder, max_shard_size="20KB" if folder == "sharded" else "50GB")
        tokenizer.save_pretrained(root / folder)
        (root / folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A model\n")
    shutil.copytree(root / "model", root / "runs" / "stdlib-mingru")
    rng = random.Random(0)
    lines = (" ".join(rng.choices(["the", "cat", "sees", "a", "dog", "water"], k=6)) for _ in range(300))
    (root / "pets.txt").write_text("\n".join(lines))
    with Hub() as hub:
        (login, *share) = re.search(r"```bash\n(.*?)\n```", SHARE, flags=re.DOTALL)[1].splitlines()
        assert login == "hf auth login"  # interactive; here HF_TOKEN replaces it
        hub.run(PUSHES, root, PEFT=str(PEFT), SHARE_PYTHON=PYTHON, SHARE_BASH="\n".join(share))
        commits = [commit["oid"] for commit in hub.repositories["me/folder"].commits[1:]]
        (root / "wanted.json").write_text(json.dumps([[*FOLDERS], CARDS, commits, PROMPT]))
        hub.run(LOADS, root, home="bare", ELSEWHERE=ELSEWHERE)
    found = json.loads((root / "found.json").read_text())
    return hub, root, found, torch.load(root / "bare.pt"), commits


@pytest.mark.parametrize("name", FOLDERS)
def test_a_process_without_the_package_loads_every_pushed_model(round_trip, name):
    hub, root, _, bare, _ = round_trip
    folder = root / FOLDERS[name]
    with torch.no_grad():
        model = AutoModelForCausalLM.from_pretrained(folder).eval()
        logits, base, text = bare[name]
        assert torch.equal(logits, model(IDS).logits)
        assert torch.equal(base, model.model(IDS)[0])
    writer = pipeline("text-generation", model=str(folder), device="cpu")
    assert text == writer(PROMPT, max_new_tokens=5, do_sample=False)[0]["generated_text"]
    files = hub.files(f"me/{name}")
    assert json.loads(files["config.json"])["auto_map"] == AUTO_MAP
    assert {"generation_config.json", "tokenizer.json", "README.md", "hub_minrnn.py"} <= files.keys()
    shards = [path for path in files if path.endswith(".safetensors")]
    assert len(shards) > 1 if name == "sharded" else shards == ["model.safetensors"]


@pytest.mark.parametrize("name", CARDS)
def test_the_card_on_the_hub_says_how_to_use_the_model_there(round_trip, name):
    _, root, _, bare, _ = round_trip
    code, out = bare[f"card of {name}"]
    assert f'\nname = "me/{name}"  #' in code and len(code.split("\n\n")[0].splitlines()) == 1
    assert f'\nname = "{FOLDERS[name]}"  #' in (root / FOLDERS[name] / "README.md").read_text()
    torch.manual_seed(0)
    with contextlib.redirect_stdout(io.StringIO()) as here:
        exec(code.replace(f"me/{name}", str(root / FOLDERS[name])), {})
    assert out == here.getvalue() and len(out) > 4


def test_revisions_are_pinned_by_commit(round_trip):
    _, root, _, bare, commits = round_trip
    assert len(commits) == 2
    with torch.no_grad():
        for commit, folder in zip(commits, ("model", "other")):
            assert torch.equal(bare[commit], AutoModelForCausalLM.from_pretrained(root / folder).eval()(IDS).logits)
    assert not torch.equal(bare[commits[0]], bare[commits[1]])
    assert torch.equal(bare[commits[1]], bare["folder"][0])


def test_a_run_is_pushed_with_its_results_and_without_its_checkpoints(round_trip):
    hub, root, _, _, _ = round_trip
    files = hub.files("me/script")
    assert {"results.json", "loss.png", "samples.txt"} <= files.keys()
    assert list((root / "script").glob("checkpoint-*")) and not [name for name in files if "checkpoint" in name]
    assert len(hub.history("me/script")) == 1
    assert f"pushed to {hub.url}/me/script\n" in (root / "output.txt").read_text()


def test_without_a_repository_no_training_begins(round_trip):
    _, root, found, _, _ = round_trip
    expected = (
        "SystemExit: training.train_lm: --push-to-hub me/never: the Hub answers 403 (fault in create): use a token "
        "that "
    )
    assert found["no repository"].startswith(expected) and found["no repository"].endswith("; or leave it out")
    assert not (root / "never").exists()


def test_a_failed_push_keeps_the_run_and_prints_the_command_to_repeat_it(round_trip):
    hub, root, found, _, _ = round_trip
    said = found["later"]
    assert said.startswith(
        "SystemExit: training.train_lm: the run is in later, but could not be pushed: me/later: the connection"
    )
    assert said.endswith("push again. Then: hf-minrnn push later me/later") and "\n" not in said
    assert (root / "later" / "results.json").exists() and found["repeated"] == 0
    assert len(hub.history("me/later")) == 1


def test_the_readme_s_commands_run_as_printed(round_trip):
    hub, root, found, _, _ = round_trip
    assert found["hf-minrnn push runs/stdlib-mingru stdlib-mingru"] == 0
    titles = [title for title, _ in hub.history("me/stdlib-mingru")]
    assert titles == ["Upload MinRNNForCausalLM", "Upload tokenizer", "Upload a mingru model"]
    assert hub.files("me/stdlib-mingru")["README.md"] == (root / "model" / "README.md").read_bytes()
    assert "\nimport " in (root / "output.txt").read_text()  # the text of the pipeline


def test_trainer_pushes_the_code(round_trip):
    hub, root, _, _, _ = round_trip
    titles = [title for title, _ in hub.history("me/trainer")]
    assert titles == ["Model save", "Training in progress, step 1", "End of training"]
    code = (root / "trainer" / "hub_minrnn.py").read_bytes()
    assert all(commit["files"]["hub_minrnn.py"] == code for commit in hub.repositories["me/trainer"].commits[1:])


@pytest.mark.skipif(not PEFT, reason="peft is not installed")
def test_a_failed_push_of_the_example_is_explained_and_repeated(round_trip):
    hub, root, found, _, _ = round_trip
    assert found["not tuned"].startswith(
        "SystemExit: training.finetune_trainer: --push-to-hub tuned: the Hub answers 401 (fault in create): log in"
    )
    assert found["tuned"].startswith(
        "SystemExit: training.finetune_trainer: the model is in tuned, but could not be pushed: me/tuned: the Hub answers 409"
    )
    assert found["tuned"].endswith("push again. Then: hf-minrnn push tuned me/tuned")
    assert found["tuned again"] == 0 and "training_args.bin" not in hub.files("me/tuned")
    card = hub.files("me/tuned")["README.md"].decode()
    assert "the local model `script`, fine-tuned on `pets.txt` by" in card and str(root) not in card


def test_no_token_is_written(round_trip):
    hub, root, _, _, _ = round_trip
    everything = [path for path in root.rglob("*") if path.is_file()]
    assert len(everything) > 100 and not [path for path in everything if TOKEN.encode() in path.read_bytes()]
    for repository in hub.repositories.values():
        assert not any(
            TOKEN.encode() in content for commit in repository.commits for content in commit["files"].values()
        )
