# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The recipes: their arguments, the text of Shakespeare, and one short recipe from training to its card."""

import hashlib
import json
import shlex
import subprocess

import datasets
import pytest
from support.train_cases import QUICK

from training import evaluate, train_lm
from training.common.errors import InputError
from training.lm import run_facts
from training.lm.options import parse_arguments
from training.report import cards, recipes

TEXT = "First Citizen:\r\nBefore we proceed any further, hear me speak.\n" * 40


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Returns an empty repository root. A short text replaces Shakespeare."""
    monkeypatch.setattr(recipes, "ROOT", tmp_path)
    monkeypatch.setattr(cards, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(cards, "CARDS", tmp_path / "cards")
    monkeypatch.setattr(recipes, "SHAKESPEARE_SHA256", hashlib.sha256(TEXT.encode()).hexdigest())
    return tmp_path


def test_every_recipe_trains_the_cell_and_corpus_in_its_name():
    assert tuple(recipes.RECIPES) == cards.NAMES
    for name, (training, evaluation) in recipes.RECIPES.items():
        args, measured = (
            parse_arguments(shlex.split(training)),
            evaluate.parse_arguments(["x", *shlex.split(evaluation)]),
        )
        assert args.cell_type == name.rpartition("-")[2]
        assert (args.dataset, args.dataset_name) == (measured.dataset, measured.dataset_name)
        corpus = args.dataset_name or args.dataset
        assert corpus in run_facts.KNOWN and name.partition("-")[0] in corpus


@pytest.mark.parametrize("name", [name for name in cards.NAMES if (cards.RESULTS / f"{name}.json").exists()])
def test_committed_results_are_the_recipes(name):
    args = json.loads((cards.RESULTS / f"{name}.json").read_text())["args"]
    wanted = vars(parse_arguments(shlex.split(recipes.RECIPES[name][0])))
    compared = (set(args) & set(wanted) - run_facts.NOT_IN_COMMAND) | {"dataset"}
    assert {key: args[key] for key in compared} == {key: wanted[key] for key in compared}


def test_the_text_is_the_same_from_a_file_and_from_the_hub(root, monkeypatch):
    given = root / "given.txt"
    given.write_bytes(TEXT.encode())
    path = recipes.place_shakespeare(given)
    assert path == root / recipes.SHAKESPEARE_FILE and path.read_bytes() == TEXT.encode()
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **kwargs: pytest.fail("it is there already"))
    assert recipes.place_shakespeare(None) == path
    path.unlink()

    parts = {"train": TEXT[:500], "validation": TEXT[500:700], "test": TEXT[700:]}
    tables = {split: datasets.Dataset.from_dict({"text": [part]}) for split, part in parts.items()}
    monkeypatch.setattr(datasets, "load_dataset", lambda name, **options: datasets.DatasetDict(tables))
    assert recipes.place_shakespeare(None).read_bytes() == TEXT.encode()


def test_a_different_text_is_rejected(root, monkeypatch):
    given = root / "given.txt"
    given.write_text(TEXT + "more")
    with pytest.raises(
        SystemExit, match=r"training.report.recipes: .*given\.txt has SHA-256 .*: give the whole text of"
    ):
        recipes.main(["shakespeare-mingru", "--text", str(given)])
    with pytest.raises(SystemExit, match=r"--text .*nowhere\.txt cannot be read \(No such file"):
        recipes.main(["shakespeare-mingru", "--text", str(root / "nowhere.txt")])

    def offline(*args, **kwargs):
        raise ConnectionError("no way to the Hub\nand more")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(SystemExit, match=r"could not load karpathy/.*give a file .* by --text: no way to the Hub$"):
        recipes.main(["shakespeare-mingru"])
    assert not (root / "runs").exists()


def test_a_recipe_leaves_results_and_card(root, monkeypatch):
    given = root / "given.txt"
    given.write_bytes(TEXT.encode())
    text = f"--dataset {recipes.SHAKESPEARE_FILE} --dataset-name {recipes.SHAKESPEARE}"
    training = f"{text} {shlex.join(QUICK)} --tokenizer chars --steps 3 --no-baselines"
    monkeypatch.setattr(
        recipes, "RECIPES", {"shakespeare-mingru": (training, f"{text} --rounds 2 --seeds 1 --new-tokens 5")}
    )
    scripts = {"training.train_lm": train_lm.main, "training.evaluate": evaluate.main}
    monkeypatch.setattr(recipes, "_run", lambda script, arguments: scripts[script](arguments))
    monkeypatch.chdir(root)  # where the scripts are run
    (path,) = recipes.main(["all", "--text", str(given), "--overwrite"])
    assert path == root / "cards" / "shakespeare-mingru.md"
    names = {"shakespeare-mingru.json", "shakespeare-mingru-evaluation.json"}
    assert {file.name for file in (root / "results").iterdir()} == names
    card = path.read_text(encoding="utf-8")
    assert card == (root / "runs" / "shakespeare-mingru" / "README.md").read_text(encoding="utf-8")
    assert "3 steps" in card and "### Speed and memory" in card and "public domain" in card
    assert str(root) not in card


def test_a_script_that_fails_copies_nothing(root, monkeypatch):
    monkeypatch.setattr(recipes.subprocess, "run", lambda *_, **options: subprocess.CompletedProcess([], 3))
    with pytest.raises(InputError, match=r"training\.train_lm ended with status 3 .*; no results were copied"):
        recipes.cook("stdlib-mingru", [])
    assert not (root / "results").exists()
