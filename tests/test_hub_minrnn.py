# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Models that carry their code, loaded by processes that cannot import the package. Such a process takes seconds to start:
the tests share one, and a second one that loads what the first one saved.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers
from huggingface_hub import ModelCard
from support.model_cases import build, token_ids
from support.without_package import WITHOUT_PACKAGE
from transformers import AutoModel, AutoModelForCausalLM, Trainer, TrainingArguments, pipeline
from transformers.dynamic_module_utils import get_imports, get_relative_import_files

import hf_minrnn
from hf_minrnn import MinRNNConfig, MinRNNForCausalLM, MinRNNForTokenClassification, MinRNNPreTrainedModel, hub_minrnn
from hf_minrnn.configuration_minrnn import AUTO_MAP
from training.lm.tokenization import build_tokenizer

PACKAGE = Path(hf_minrnn.__file__).parent
ALONE = {"layers.py", "registration.py", "rl.py"}  # not part of the models
CODE = {path.name for path in PACKAGE.glob("*.py") if not path.name.startswith("__")} - ALONE
IDS = token_ids(2, 9)
HEADS = {
    auto_class: reference.rpartition(".")[2]
    for auto_class, reference in AUTO_MAP.items()
    if auto_class not in ("AutoConfig", "AutoModel", "AutoModelForCausalLM")
}
CLASSIFIER = "AutoModelForSequenceClassification"
PROMPT = "def add(a, b):"

# What every process without the package starts with.
WITHOUT = (
    WITHOUT_PACKAGE
    + """
import json, os
from pathlib import Path

import torch
import transformers
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

torch.set_num_threads(1)
root = Path.cwd()
ids = torch.load(root / "ids.pt")

def load(auto, name, **kwargs):
    return auto.from_pretrained(name if kwargs else root / name, trust_remote_code=True, **kwargs)

@torch.no_grad()
def results(name, **kwargs):
    base, model = load(AutoModel, name, **kwargs), load(AutoModelForCausalLM, name, **kwargs)
    tokens = model.generate(ids, max_new_tokens=5, do_sample=False)
    return [base(ids).last_hidden_state, model(ids).logits, tokens]
"""
)

FIRST = """
config = load(AutoConfig, "causal")  # before any model: a config alone brings what it needs
assert config.layer_types and type(config).__module__.startswith("transformers_modules."), type(config)
config.save_pretrained(root / "from-config")
fresh = AutoModelForCausalLM.from_config(load(AutoConfig, "from-config"), trust_remote_code=True)
assert isinstance(fresh.config, type(fresh).config_class), "config and model are of two copies of the code"

names = ("causal", "base", "trainer/checkpoint-1", "one/model", "two/model", "causal", "by-class")
found = {name: results(name) for name in names}
for name in ("one", "two"):
    found[f"hub {name}"] = results("me/model", revision=name)
# Both at once: what the second brought must not reach the first.
one, two = (load(AutoModelForCausalLM, name) for name in ("one/model", "two/model"))
with torch.no_grad():
    found["together"] = [one(ids).logits, two(ids).logits, one.generate(ids, max_new_tokens=5, do_sample=False)]
load(AutoModelForCausalLM, "causal").save_pretrained(root / "again")
load(AutoModel, "causal").save_pretrained(root / "again-base")
heads = {name: getattr(transformers, name) for name in os.environ["HEADS"].split()}
with torch.no_grad():
    found |= {name: [load(auto, name)(ids)[0]] for name, auto in heads.items()}
prompt = os.environ["PROMPT"]
options = {"trust_remote_code": True, "device": "cpu"}
writer = transformers.pipeline("text-generation", model=str(root / "causal"), **options)
classifier = transformers.pipeline("text-classification", model=str(root / os.environ["CLASSIFIER"]), **options)
found["pipelines"] = [writer(prompt, max_new_tokens=5, do_sample=False), classifier([prompt, "x"])]
torch.save(found, root / "first.pt")
"""

SECOND = """
torch.save({name: results(name) for name in ("again", "again-base")}, root / "second.pt")
fresh = AutoModelForCausalLM.from_config(load(AutoConfig, "from-config"), trust_remote_code=True)
"""


def run(program, root, home):
    environment = {**os.environ, "HF_HOME": str(root / home), "HF_HUB_OFFLINE": "1", "HEADS": " ".join(HEADS)}
    environment |= {"PROMPT": PROMPT, "CLASSIFIER": CLASSIFIER}
    for name in ("PYTHONPATH", "HF_MODULES_CACHE"):
        environment.pop(name, None)
    command = [sys.executable, "-P", "-c", WITHOUT + program]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, env=environment)
    assert done.returncode == 0, done.stderr[-5000:]


@torch.no_grad()
def results(model):
    return [
        model.model(IDS).last_hidden_state,
        model(IDS).logits,
        model.generate(IDS, max_new_tokens=5, do_sample=False),
    ]


def rows():
    return [{"input_ids": row, "labels": row} for row in IDS]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with saved models, what they compute, and what processes without the package make of them."""
    root = tmp_path_factory.mktemp("world")
    torch.save(IDS, root / "ids.pt")
    model = build("minlstm-paper")
    model.carry_code()
    model.save_pretrained(root / "causal")
    model.model.save_pretrained(root / "base")
    # Revisions under one and the same folder name, the same in all but one file. What changes is the scan itself.
    hub = root / "home1" / "hub" / "models--me--model"
    (hub / "refs").mkdir(parents=True)
    for name, operation, commit in (("one", "add_", "1" * 40), ("two", "sub_", "2" * 40)):
        folder = root / name / "model"
        model.save_pretrained(folder)
        source = (folder / "gates.py").read_text()
        assert source.count("= v.add_(") == 1
        (folder / "gates.py").write_text(source.replace("= v.add_(", f"= v.{operation}("))
        # What a download from the Hub would leave in the cache.
        shutil.copytree(folder, hub / "snapshots" / commit)
        (hub / "refs" / name).write_text(commit)
    expected = results(model)
    heads = {}
    for name, bidirectional in zip(HEADS, (False, True, True)):
        head = build("mingru", getattr(hf_minrnn, HEADS[name]), num_labels=3, bidirectional=bidirectional)
        head.carry_code()
        head.save_pretrained(root / name)
        with torch.no_grad():
            heads[name] = [head(IDS)[0]]
    tokenizer = build_tokenizer(
        "chars", ["".join(map(chr, range(32, 127)))], padding=False
    )  # of 97 tokens, as the models
    tokenizer.save_pretrained(root / "causal")
    tokenizer.save_pretrained(root / CLASSIFIER)
    by_class = build("no-conv")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MinRNNForCausalLM, "_carries_code", False)
        MinRNNForCausalLM.carry_code()
        args = TrainingArguments(str(root / "untrained"), report_to=[], use_cpu=True, disable_tqdm=True)
        Trainer(by_class, args).save_model(str(root / "by-class"))
    trained = build("mingru")
    trained.carry_code()
    args = TrainingArguments(str(root / "trainer"), max_steps=1, report_to=[], use_cpu=True, disable_tqdm=True)
    trainer = Trainer(trained, args, train_dataset=rows())
    trainer.train()
    trainer.save_model(str(root / "final"))
    run(FIRST, root, "home1")
    run(SECOND, root, "home2")
    first, second = torch.load(root / "first.pt"), torch.load(root / "second.pt")
    here = {"model": expected, "heads": heads, "trained": results(trained.eval()), "class": results(by_class)}
    return {"root": root, **here, **first, **second}


def same(found, expected):
    return len(found) == len(expected) and all(torch.equal(x, y) for x, y in zip(found, expected))


def carries(folder):
    """Whether a folder has all code and the complete auto_map."""
    config = json.loads((folder / "config.json").read_text())
    return {path.name for path in folder.glob("*.py")} == CODE and config["auto_map"] == AUTO_MAP


FOLDERS = ["causal", "base", "trainer/checkpoint-1", "final", "by-class", "again", "again-base", "from-config"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_save_carries_the_code_and_the_complete_auto_map(world, folder):
    assert carries(world["root"] / folder)


@pytest.mark.parametrize("folder", ["causal", "one/model"])
def test_a_process_without_the_package_computes_the_same(world, folder):
    assert same(world[folder], world["model"])


@pytest.mark.parametrize("name", HEADS)
def test_a_process_without_the_package_loads_every_head(world, name):
    assert carries(world["root"] / name) and same(world[name], world["heads"][name])


def test_the_package_registers_what_remote_code_does():
    for auto_class, reference in AUTO_MAP.items():
        name = reference.rpartition(".")[2]
        assert getattr(hub_minrnn, name) is getattr(hf_minrnn, name)
        if auto_class != "AutoConfig":
            assert getattr(transformers, auto_class)._model_mapping[MinRNNConfig] is getattr(hf_minrnn, name)


def test_a_process_without_the_package_loads_what_trainer_saved(world):
    assert same(world["trainer/checkpoint-1"], world["trained"])


def test_a_process_without_the_package_loads_what_a_class_that_carries_its_code_saved(world):
    assert same(world["by-class"], world["class"])


def test_pipelines_in_a_process_without_the_package(world):
    root = world["root"]
    ((text,), labels) = world["pipelines"]
    writer = pipeline("text-generation", model=str(root / "causal"), device="cpu")
    assert writer(PROMPT, max_new_tokens=5, do_sample=False) == [text]
    assert text["generated_text"].startswith(PROMPT) and len(text["generated_text"]) > len(PROMPT)
    here = pipeline("text-classification", model=str(root / CLASSIFIER), device="cpu")([PROMPT, "x"])
    assert [label["label"] for label in labels] == [label["label"] for label in here]
    assert [label["score"] for label in labels] == pytest.approx([label["score"] for label in here])


def test_a_base_model_is_the_base_of_every_auto_class(world):
    assert torch.equal(world["base"][0], world["model"][0])


def test_what_such_a_process_saves_loads_in_the_next(world):
    assert same(world["again"], world["model"])
    assert torch.equal(world["again-base"][0], world["model"][0])


def test_revisions_in_one_process_do_not_mix(world):
    one, two = world["one/model"][1], world["two/model"][1]
    assert not torch.allclose(one, two, atol=1e-3)
    assert same(world["together"], [one, two, world["one/model"][2]])


@pytest.mark.parametrize("name", ["one", "two"])
def test_revisions_of_one_repository_do_not_mix(world, name):
    assert same(world[f"hub {name}"], world[f"{name}/model"])


def test_nothing_is_carried_without_the_call(tmp_path):
    build("mingru").save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.py")) and "auto_map" not in json.loads((tmp_path / "config.json").read_text())


def test_a_class_carries_the_code_of_all_its_models_and_of_no_others(monkeypatch, tmp_path):
    class Derived(MinRNNForCausalLM):
        pass

    before = build("mingru")
    with monkeypatch.context() as patch:
        patch.setattr(MinRNNForCausalLM, "_carries_code", False)
        MinRNNForCausalLM.carry_code()
        models = {"before": before, "after": build("no-conv"), "derived": build("mingru", Derived)}
        for name, model in models.items():
            model.save_pretrained(tmp_path / name)
            assert carries(tmp_path / name)
        models["after"].model.save_pretrained(tmp_path / "base")  # shares its config, which now tells of the code
        assert carries(tmp_path / "base")
        build("mingru", MinRNNForTokenClassification, num_labels=3).save_pretrained(tmp_path / "head")
        assert not list((tmp_path / "head").glob("*.py"))
        patch.setattr(MinRNNPreTrainedModel, "_carries_code", False)
        MinRNNPreTrainedModel.carry_code()
        build("mingru", MinRNNForTokenClassification, num_labels=3).save_pretrained(tmp_path / "head")
        assert carries(tmp_path / "head")
    build("mingru").save_pretrained(tmp_path / "later")
    assert not list((tmp_path / "later").glob("*.py"))


def test_with_the_package_its_own_code_is_used_and_carried_on(world, tmp_path):
    for auto in (AutoModel, AutoModelForCausalLM):
        model = auto.from_pretrained(world["root"] / "causal", trust_remote_code=True)
        assert type(model).__module__ == "hf_minrnn.modeling_minrnn"
    model.save_pretrained(tmp_path)
    assert carries(tmp_path)


def test_the_call_of_transformers_carries_as_much(monkeypatch, tmp_path):
    monkeypatch.setattr(MinRNNForCausalLM, "_auto_class", None)
    MinRNNForCausalLM.register_for_auto_class("AutoModelForCausalLM")
    build("mingru").save_pretrained(tmp_path / "model")
    assert carries(tmp_path / "model")
    monkeypatch.setattr(MinRNNConfig, "_auto_class", None)
    MinRNNConfig.register_for_auto_class()
    MinRNNConfig().save_pretrained(tmp_path / "config")
    assert carries(tmp_path / "config")


def test_entries_of_other_classes_stay():
    own = {"AutoConfig": "configuration_minrnn.MinRNNConfig", "AutoModel": "mine.Mine", "AutoTokenizer": ["a.B", None]}
    assert MinRNNConfig(auto_map=own).to_dict()["auto_map"] == AUTO_MAP | {
        "AutoModel": "mine.Mine",
        "AutoTokenizer": ["a.B", None],
    }


def test_pushing_takes_the_code_along(monkeypatch, tmp_path):
    pushed = []

    def upload(self, working_dir, repo_id, files_timestamps, **kwargs):
        names = {name for name in os.listdir(working_dir) if name not in files_timestamps}
        pushed.append((repo_id, names))

    class Api:
        def create_repo(self, repo_id, **kwargs):
            return type("Repo", (), {"repo_id": repo_id})

    for module in ("utils.hub", "modeling_utils"):
        monkeypatch.setattr(f"transformers.{module}.hf_api", Api)
        monkeypatch.setattr(f"transformers.{module}.create_and_tag_model_card", lambda *args, **kwargs: ModelCard(""))
    monkeypatch.setattr("transformers.utils.hub.PushToHubMixin._upload_modified_files", upload)
    model = build("mingru")
    model.carry_code()
    model.save_pretrained(tmp_path / "a", push_to_hub=True, repo_id="me/a")
    model.config.save_pretrained(tmp_path / "b", push_to_hub=True, repo_id="me/b")
    assert [repo for repo, _ in pushed] == ["me/a", "me/b"]
    assert all(CODE | {"config.json"} <= names for _, names in pushed)


def test_the_door_reaches_every_file_and_needs_little():
    door = PACKAGE / "hub_minrnn.py"
    assert {Path(path).name for path in get_relative_import_files(door)} | {door.name} == CODE
    needed = {name for file in CODE for name in get_imports(PACKAGE / file)} - set(sys.stdlib_module_names)
    assert needed <= {"torch", "transformers", "huggingface_hub"}
