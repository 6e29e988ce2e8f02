# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Nothing that is pushed names a folder or the user of this machine: everything lies in folders with secret names."""

import importlib.util
import json
import re

import pytest
from support.hub_stand_in import WITH_PACKAGE_START, Hub

from training.lm.run_facts import LOCAL_FILE

SECRETS = ("user.name", "secret client")
TRACKER = importlib.util.find_spec("tensorboard") is not None
PEFT = importlib.util.find_spec("peft") is not None

PUSHES = (
    WITH_PACKAGE_START
    + """
import torch
torch.set_num_threads(1)
from hf_minrnn.tools.card import write_card
from hf_minrnn.tools.command import main
from hf_minrnn.tools.hub import push_folder
from training import evaluate, train_lm
from training.lm.tokenization import build_tokenizer
from training.report import cards

here = str(root)
build_tokenizer("bytes", []).save_pretrained("tokenizer")
small = "--hidden-size 8 --num-hidden-layers 1 --sequence-length 16 --batch-size 2 --steps 3 --samples 1".split()
trackers = ["--trackers", "tensorboard"] if os.environ["TRACKER"] == "True" else []
text = ["--dataset", f"{here}/letters.txt", "--validation", f"{here}/answers.txt"]
run = f"{here}/run"
train_lm.main([*small, *text, *trackers, "--tokenizer", f"{here}/tokenizer", "--output-dir", run, "--push-to-hub=me/trained"])
evaluate.main([run, "--rounds", "2", "--new-tokens", "3", f"--output={run}/evaluation.json", "--longest", "64"])
cards.main([run])
assert main(["push", run, "me/evaluated"]) == 0

# Paths that are relative to the folder with the secret name, and a model to start from
again = ["--dataset", "../secret client/letters.txt", "--init-from", run, "--output-dir", "../secret client/again"]
train_lm.main([*small[4:], *again, "--push-to-hub", "me/again"])
evaluate.main(["again", "--rounds", "2", "--new-tokens", "3", "--dataset", f"{here}/answers.txt", "--part", "whole"])
assert main(["push", "again", "me/again"]) == 0

if os.environ["PEFT"] == "True":
    from training import finetune_trainer
    options = ["--steps", "1", "--length", "32", "--validation", f"{here}/answers.txt", "--push-to-hub", "me/tuned"]
    finetune_trainer.main([run, f"{here}/letters.txt", f"{here}/tuned", *options])

# A link to a folder with a secret name
texts = root / "secret client letters"
texts.mkdir()
for number in range(12):
    (texts / f"{number}.txt").write_text(f"Dear Sir {number}, we write to you again. " * 20)
(root.parent / "texts").symlink_to(texts)
os.chdir(root.parent)
train_lm.main([*small, "--tokenizer", "bytes", "--dataset", "texts", "--push-to-hub", "me/linked"])
(found["linked"],) = os.listdir("runs")
evaluate.main(["runs/" + found["linked"], "--rounds", "2", "--new-tokens", "3"])
cards.main(["runs/" + found["linked"]])
assert main(["push", "runs/" + found["linked"], "me/linked"]) == 0
os.chdir(root)

# The card of any folder
from transformers import AutoModelForCausalLM, AutoTokenizer
AutoModelForCausalLM.from_pretrained(run).save_pretrained(f"{here}/saved")
AutoTokenizer.from_pretrained(f"{here}/tokenizer").save_pretrained(f"{here}/saved")
write_card(f"{here}/saved")
push_folder(f"{here}/saved", "me/saved")

# A folder that an earlier version wrote: its files hold full paths
import shutil
old = root / "old"
shutil.copytree(run, old)
results = json.loads((old / "results.json").read_text())
results["args"] |= {"dataset": f"{here}/letters.txt", "output_dir": str(old), "tokenizer": f"{here}/tokenizer"}
(old / "results.json").write_text(json.dumps(results, indent=2))
evaluation = json.loads((old / "evaluation.json").read_text())
evaluation["command"] = f"python -m training.evaluate '{old}' --output '{here}/other/evaluation.json'"
evaluation["dataset"]["type"], evaluation["model"]["name"] = f"{here}/letters.txt", str(old)
(old / "evaluation.json").write_text(json.dumps(evaluation))
cards.main([str(old)])
(old / "README.md").write_text((old / "README.md").read_text() + f"python -m training.evaluate '{old}'")
found["old card"] = (old / "README.md").read_text()
push_folder(old, "me/old")
(old / "notes.txt").write_text(f"see {here}/notes")
found["notes"] = attempt(push_folder, old, "me/notes")
(root / "found.json").write_text(json.dumps(found))
"""
)


@pytest.fixture(scope="module")
def pushed(tmp_path_factory):
    """The Hub after the pushes, the folder that everything was pushed from, and the results of the program."""
    home = tmp_path_factory.mktemp("machine") / "home" / "user.name"
    root = home / "secret client"
    root.mkdir(parents=True)
    (root / "letters.txt").write_text("Dear Sir, we write to you again.\n" * 100)
    (root / "answers.txt").write_text("Dear Madam, we thank you for your letter.\n" * 20)
    with Hub() as hub:
        hub.run(
            PUSHES, root, HOME=str(home), USER="user.name", LOGNAME="user.name", TRACKER=str(TRACKER), PEFT=str(PEFT)
        )
    return hub, root, json.loads((root / "found.json").read_text())


def test_no_pushed_byte_names_the_machine(pushed):
    hub, _, _ = pushed
    names = {name.partition("/")[2] for name in hub.repositories}
    assert {"trained", "evaluated", "again", "saved", "old"} | ({"tuned"} if PEFT else set()) <= names
    for name, repository in hub.repositories.items():
        for commit in repository.commits:
            for path, content in commit["files"].items():
                for secret in SECRETS:
                    found = re.search(rb".{0,60}" + re.escape(secret.encode()) + rb".{0,20}", content)
                    assert not found and secret not in path + commit["title"], (name, path, found)


def test_what_is_pushed_still_names_files(pushed):
    hub, _, found = pushed
    files = hub.files("me/evaluated")
    assert {"results.json", "evaluation.json", "README.md", "trained_on.json", "tokenizer_config.json"} <= files.keys()
    assert not [name for name in files if name.startswith((".local", ".lock", ".tr")) or "tfevents" in name]
    args = json.loads(files["results.json"])["args"]
    assert args["dataset"] == "letters.txt" and args["validation"] == "answers.txt" and args["tokenizer"] == "tokenizer"
    evaluation = json.loads(files["evaluation.json"])
    assert evaluation["command"].startswith("python -m training.evaluate run --rounds 2")
    assert evaluation["command"].endswith("--output=evaluation.json --longest 64")
    assert (evaluation["dataset"]["type"], evaluation["model"]["name"]) == ("letters.txt", "run")
    card = files["README.md"].decode()
    assert "--dataset letters.txt" in card and "--output-dir run" in card and "on `letters.txt`." in card
    again = json.loads(hub.files("me/again")["results.json"])
    linked = json.loads(hub.files("me/linked")["evaluation.json"])["dataset"]
    assert found["linked"] == "texts-mingru" and (linked["type"], linked["name"]) == ("texts", "texts")
    assert again["args"]["init_from"] == "run" and again["base"] == {"name": "run", "on_hub": False}


@pytest.mark.skipif(not TRACKER, reason="tensorboard is not installed")
def test_the_configuration_that_trackers_get_names_no_folders(pushed):
    _, root, _ = pushed
    described = [path.read_text() for path in (root / "run").rglob("hparams.yml")]
    assert described and all("letters.txt" in content for content in described)
    assert not [content for content in described for secret in SECRETS if secret in content]


def test_this_machine_finds_the_text_again(pushed):
    _, root, _ = pushed
    local = json.loads((root / "run" / LOCAL_FILE).read_text())
    assert local["dataset"] == str(root / "letters.txt") and local["validation"] == str(root / "answers.txt")


def test_full_paths_of_an_earlier_version_are_removed_from_the_pushed_copy(pushed):
    hub, root, found = pushed
    assert str(root) in found["old card"] and "user.name" in (root / "old" / "results.json").read_text()
    files = hub.files("me/old")
    assert json.loads(files["results.json"])["args"]["dataset"] == "letters.txt"
    assert (
        json.loads(files["evaluation.json"])["command"]
        == "python -m training.evaluate 'old' --output 'evaluation.json'"
    )
    assert "--dataset 'letters.txt'" in files["README.md"].decode()


def test_a_file_that_cannot_be_corrected_is_named(pushed):
    hub, root, found = pushed
    assert found["notes"].startswith(f"PushError: {root}/old/notes.txt names ")
    assert found["notes"].endswith(": remove it from the file")
    assert len(hub.repositories["me/notes"].commits) == 1
