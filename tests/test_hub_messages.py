# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Warnings when a model is pushed without its code, and when its code is loaded for the first time."""

import json
import re
import shutil

import pytest
from support.hub_stand_in import ROOT, WITH_PACKAGE_START, WITHOUT_PACKAGE_START, Hub
from support.model_cases import build

from training.lm.tokenization import build_tokenizer

PUSHES = (
    WITH_PACKAGE_START
    + """
import torch
from support.model_cases import build, token_ids
from training.lm.tokenization import build_tokenizer
from transformers import Trainer, TrainingArguments
from transformers.utils import logging
from hf_minrnn import MinRNNForCausalLM
from hf_minrnn.tools.hub import push_folder

logger = logging.get_logger("hf_minrnn.modeling_minrnn")
messages = []
logger.addFilter(lambda record: messages.append(record.getMessage()))

def trainer(name, model, **options):
    rows = [{"input_ids": row, "labels": row} for row in token_ids(2, 9)]
    options = {"hub_model_id": f"me/{name}", "max_steps": 1, "report_to": [], "use_cpu": True} | options
    return Trainer(model, TrainingArguments(name, **options), train_dataset=rows)

def plain(name):
    model = build("mingru")
    if name == "model":
        model.push_to_hub("me/model")
        model.push_to_hub("me/model")
    elif name == "saved":
        model.save_pretrained("saved", push_to_hub=True, repo_id="me/saved")
    elif name == "trainer":  # only the call says that it should push
        trainer(name, model).push_to_hub()
    elif name == "checkpoints":
        trainer(name, model, push_to_hub=True).train()
    elif name == "local":
        trainer(name, model).train()
        model.save_pretrained(name)
    elif name == "config":
        model.config.push_to_hub("me/config")
    elif name == "tokenizer":
        build_tokenizer("chars", ["abc"]).push_to_hub("me/tokenizer")
    elif name == "folder":
        push_folder("model", "me/folder")
        push_folder("model", "me/stdlib-mingru")

def with_code(name):
    model = build("mingru")
    model.carry_code()
    model.push_to_hub("me/code")
    trainer("coded", model, push_to_hub=True).train()
    model.save_pretrained("coded", push_to_hub=True, repo_id="me/coded")
    MinRNNForCausalLM._carries_code = True
    build("mingru").push_to_hub("me/by-class")
    MinRNNForCausalLM._carries_code = False

for name, function in [*((name, plain) for name in os.environ["NAMES"].split()), ("with code", with_code)]:
    logger.warning_once.cache_clear()
    function(name)
    found[name] = list(messages)
    messages.clear()
(root / "found.json").write_text(json.dumps(found))
"""
)
WARNED = ("model", "saved", "trainer", "checkpoints")
SILENT = ("local", "config", "tokenizer", "folder", "with code")


# Each load uses another repository, so that none finds its code in the cache.
LOADS = (
    WITHOUT_PACKAGE_START
    + """
import io, logging, re
from huggingface_hub import ModelCard
from transformers import AutoModelForCausalLM

handler = logging.StreamHandler(io.StringIO())
logging.getLogger("transformers").addHandler(handler)
def printed(load):
    handler.setStream(io.StringIO())
    load()
    return handler.stream.getvalue().splitlines()
def plain(repository, **options):
    return printed(lambda: AutoModelForCausalLM.from_pretrained(repository, trust_remote_code=True, **options))
found["no revision"] = plain("me/code")
found["a commit"] = plain("me/by-class", revision=os.environ["COMMIT"])
found["README"] = printed(lambda: exec(os.environ["README"], {}))
card = re.search(r"```python\\n(.*?)```", ModelCard.load("me/folder").text, flags=re.DOTALL)[1]
assert '"me/folder"' in card
found["card"] = printed(lambda: exec(card, {}))
(root / "loads.json").write_text(json.dumps(found))
"""
)
ELSEWHERE = re.search(
    r"```python\n(from huggingface_hub import whoami.*?)```", (ROOT / "README.md").read_text(), re.DOTALL
)


@pytest.fixture(scope="module")
def messages_and_logs(tmp_path_factory):
    root = tmp_path_factory.mktemp("messages")
    build("mingru").save_pretrained(root / "model")
    build_tokenizer("chars", ["".join(map(chr, range(32, 127)))]).save_pretrained(root / "model")
    shutil.copy(ROOT / "model_cards" / "stdlib-mingru.md", root / "model" / "README.md")
    with Hub() as hub:
        hub.run(PUSHES, root, NAMES=" ".join([*WARNED, *SILENT[:-1]]))
        commit = hub.repositories["me/by-class"].commits[-1]["oid"]
        hub.run(LOADS, root, home="bare", COMMIT=commit, README=ELSEWHERE[1])
    return [json.loads((root / name).read_text()) for name in ("found.json", "loads.json")]


@pytest.mark.parametrize("name", WARNED)
def test_a_push_without_code_warns_once_and_names_the_remedy(messages_and_logs, name):
    (message,) = messages_and_logs[0][name]
    assert "without its code" in message and "model.carry_code()" in message


@pytest.mark.parametrize("name", SILENT)
def test_a_push_that_needs_no_code_or_has_it_does_not_warn(messages_and_logs, name):
    assert messages_and_logs[0][name] == []


def test_the_examples_of_the_readme_and_the_card_load_without_warnings(messages_and_logs):
    """Without a revision, transformers prints a warning for each file of code."""
    loads = messages_and_logs[1]
    warnings = [line for line in loads["no revision"] if "A new version of the following files" in line]
    assert len(warnings) > 20 and len(loads["no revision"]) > 90
    assert loads["README"] == loads["card"] == loads["a commit"] == []
