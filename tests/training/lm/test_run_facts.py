# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import doctest
import json
import shlex

import pytest

from training.corpus.corpus import Corpus, Reading
from training.lm import run_facts
from training.lm.options import parse_arguments


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["--cell-type", "minlstm", "--steps", "7", "--betas", "0.8", "0.9", "--dropout", "0.1", "--bf16"],
        ["--dataset", "my text.txt", "--tokenizer", "chars", "--batching", "windows", "--minutes", "0.5"],
        ["--dataset", "me/texts", "--streaming", "--stateful", "--shuffle-buffer", "5", "--heldout-documents", "3"],
        ["--config", "gated_mlp=false", "hidden_act=gelu", "gate_bias=1.5", "--block", "paper", "--no-baselines"],
    ],
)
def test_the_command_gives_the_same_arguments(argv):
    args = parse_arguments(argv)
    watched = parse_arguments([*argv, "--resume", "--trackers", "tensorboard", "--keep", "5", "--output-dir", "there"])
    for given in (args, watched):
        words = shlex.split(run_facts.command(json.loads(json.dumps(vars(given)))))
        assert words[:3] == ["python", "-m", "training.train_lm"]
        assert parse_arguments(words[3:]) == args
    assert run_facts.command(vars(args), processes=2).startswith("torchrun --nproc_per_node 2 -m training.train_lm")


def test_the_command_names_the_output_folder_if_it_is_given():
    args = vars(parse_arguments(["--output-dir", "there"]))
    assert run_facts.command(args) == "python -m training.train_lm"
    assert run_facts.command(args, folder="my run") == "python -m training.train_lm --output-dir 'my run'"


def test_the_command_of_a_run_on_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "text").mkdir()
    monkeypatch.chdir(tmp_path / "text")  # the default of --output-dir would lie in the dataset
    args = vars(parse_arguments(["--dataset", ".", "--steps", "3", "--output-dir", "../run"]))
    assert run_facts.command(args, folder="../run") == (
        "python -m training.train_lm --dataset . --steps 3 --output-dir ../run"
    )


def test_the_home_folder_in_an_output_folder_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parse_arguments(["--output-dir=~/run"]).output_dir == str(tmp_path / "run")


def test_examples():
    found = doctest.testmod(run_facts)
    assert found.attempted and not found.failed


@pytest.fixture
def secret(tmp_path, monkeypatch):
    """A folder with a text, a tokenizer and a model, from which the process runs."""
    folder = tmp_path / "user.name" / "client"
    for name in ("tokenizer", "base", "owner/name", "stdlib"):
        (folder / name).mkdir(parents=True)
    (folder / "letters.txt").write_text("a")
    monkeypatch.chdir(folder)
    return folder


def test_public_arguments_name_no_folders(secret):
    argv = [
        "--dataset",
        str(secret / "letters.txt"),
        "--validation",
        "../client/letters.txt",
        "--tokenizer",
        "./tokenizer",
    ]
    argv += ["--init-from", str(secret / "base"), "--output-dir", "out/of/the way", "--include", "a/*.txt"]
    given = vars(parse_arguments(argv))
    public = run_facts.public_arguments(given)
    wanted = {"dataset": "letters.txt", "validation": "letters.txt", "tokenizer": "tokenizer", "init_from": "base"}
    wanted |= {"output_dir": "the way", "include": ["a/*.txt"]}
    assert {name: public[name] for name in wanted} == wanted
    assert {name: value for name, value in public.items() if name not in wanted} == {
        name: value for name, value in given.items() if name not in wanted
    }
    assert run_facts.local_arguments(given) == {
        "dataset": str(secret / "letters.txt"),
        "validation": str(secret / "../client/letters.txt"),
        "tokenizer": str(secret / "tokenizer"),
        "init_from": str(secret / "base"),
    }


def test_names_that_are_no_paths_stay(secret):
    given = vars(parse_arguments(["--dataset", "me/texts:small", "--tokenizer", "me/words"]))
    public = run_facts.public_arguments(given)
    assert (public["dataset"], public["tokenizer"]) == ("me/texts:small", "me/words")
    assert public["output_dir"] == given["output_dir"] == "runs/me-texts-small-mingru"
    assert run_facts.local_arguments(given) == {}
    assert run_facts.local_arguments(vars(parse_arguments([]))) == {}  # not the folder stdlib
    assert run_facts.public_arguments({"dataset": "owner/name"}) == {"dataset": "name"}  # there is such a folder


def test_the_facts_about_a_text(secret):
    notes = ["2 files are decoded as cp1252: a.txt, b.txt", "1 file is decoded as utf-16: c.txt", "a note"]
    reading = Reading(train=["a.txt", "b.txt"], heldout=["b.txt", "c.txt"], skipped={"binary": ["d.png"]}, notes=notes)
    args = parse_arguments(["--dataset", str(secret), "--dataset-license", "mit", "--output-dir", "../out"])
    assert run_facts.data_facts(args, Corpus("client", "folder", [], [], "", reading)) == {
        "name": "client",
        "license": "mit",
        "kind": "folder",
        "source": "client",
        "named": False,
        "documents_are": "file",
        "encoding": "cp1252, utf-16",
        "files": 3,
        "skipped": {"binary": 1},
    }


@pytest.mark.parametrize(
    ("kind", "names", "argv", "documents"),
    [
        ("file", ["a.txt"], [], None),
        ("file", ["a.txt"], ["--document-per-line"], "line"),
        ("file", ["a.tsv.gz"], ["--text-column", "body"], "row, in its column `body`"),
        ("file", ["a.csv"], ["--plain-text"], None),
        ("folder", ["a.txt", "b.csv"], [], "file"),
        ("folder", ["a.jsonl", "b.jsonl"], [], "row, in its column `text`"),
        ("folder", ["a.md"], ["--document-per-line"], "line"),
        ("hub", [], [], "row, in its column `text`"),
        ("stdlib", [], [], None),
    ],
)
def test_what_a_document_is(kind, names, argv, documents):
    corpus = Corpus("x", kind, [], [], "", Reading(train=names))
    assert run_facts.data_facts(parse_arguments(["--dataset", "x", *argv]), corpus)["documents_are"] == documents


def test_options_of_streams_are_left_out_of_other_commands():
    args = vars(parse_arguments([])) | {"heldout_documents": 100}  # the default of earlier versions
    assert run_facts.command(args) == "python -m training.train_lm"
    assert "--heldout-documents 100" in run_facts.command(args | {"streaming": True})
