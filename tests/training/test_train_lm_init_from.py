# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Runs that start from the weights, the configuration and the tokenizer of a saved model."""

import json
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from support.train_cases import losses
from transformers import AutoModelForCausalLM, AutoTokenizer

from training import checkpoint_to_model, train_lm
from training.common.checkpoint import checkpoints, load_checkpoint
from training.lm import run_facts
from training.lm.options import parse_arguments
from training.lm.run_facts import LOCAL_FILE
from training.lm.saved_model import trained_with

MODEL = ["--cell-type", "minlstm", "--hidden-size", "24", "--num-hidden-layers", "2", "--expand-ratio", "1"]
MODEL += ["--config", "forget_gate_floor=0.5", "--dropout", "0.2"]
FEW = ["--batch-size", "2", "--sequence-length", "32", "--samples", "0", "--no-baselines"]


@pytest.fixture(scope="module")
def source(text_file, tmp_path_factory):
    """The folder of a finished run with a model unlike the default one."""
    folder = tmp_path_factory.mktemp("source") / "first"
    tokenizer = ["--tokenizer", "bpe", "--vocab-size", "300"]
    train_lm.main([*FEW, *MODEL, *tokenizer, "--dataset", text_file, "--steps", "5", "--output-dir", str(folder)])
    return folder


@pytest.fixture
def argv(source, documents_file, tmp_path):
    return [*FEW, "--dataset", documents_file, "--init-from", str(source), "--output-dir", str(tmp_path / "run")]


def test_the_first_step_starts_from_the_saved_model(source, argv, tmp_path, capsys):
    train_lm.main([*argv, "--steps", "3"])
    folder = tmp_path / "run"
    saved = load_checkpoint(source)
    start = torch.load(folder / "checkpoint-0000000000.pt", weights_only=True)
    assert all(torch.equal(start["model"][name], value) for name, value in saved["model"].items())
    assert start["config"] == saved["config"]
    assert (folder / "tokenizer.json").read_bytes() == (source / "tokenizer.json").read_bytes()
    args = json.loads((folder / "results.json").read_text())["args"]
    real = {"cell_type": "minlstm", "hidden_size": 24, "num_hidden_layers": 2, "expand_ratio": 1.0, "dropout": 0.2}
    assert {name: args[name] for name in real} == real and args["init_from"] == args["tokenizer"] == source.name
    local = json.loads((folder / LOCAL_FILE).read_text())
    assert local["init_from"] == local["tokenizer"] == str(source)
    assert "minlstm, 2 layers of 24" in capsys.readouterr().out
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.config.forget_gate_floor == 0.5 and model.dtype == torch.float32
    ends = load_checkpoint(folder)["model"]
    assert any(not torch.equal(ends[name], value) for name, value in saved["model"].items())


def test_the_printed_command_repeats_the_run(source, argv, tmp_path, capsys):
    train_lm.main([*argv, "--steps", "3"])
    printed = next(line for line in capsys.readouterr().out.splitlines() if "-m training.train_lm" in line)
    again = shlex.split(printed)[3:]
    assert parse_arguments(again).init_from == str(source)
    train_lm.main([*again, "--output-dir", str(tmp_path / "again")])
    assert losses(tmp_path / "again") == losses(tmp_path / "run")
    card = (tmp_path / "run" / "README.md").read_text()
    assert f"--init-from {source.name} " in card and str(source) not in card


def test_the_recorded_arguments_repeat_the_run_on_this_machine(argv, tmp_path):
    train_lm.main([*argv, "--steps", "3"])
    command = run_facts.command(trained_with(str(tmp_path / "run")), folder=str(tmp_path / "again"))
    train_lm.main(shlex.split(command)[3:])
    assert losses(tmp_path / "again") == losses(tmp_path / "run")


@pytest.mark.parametrize(
    "options",
    [
        ["--cell-type", "minlstm", "--hidden-size", "24", "--vocab-size", "299"],
        ["--config", "forget_gate_floor=0.5", "scan_backend=reference"],
    ],
)
def test_options_that_agree_with_the_model_are_accepted(argv, options):
    assert train_lm.main([*argv, "--steps", "1", *options])["steps"] == 1


@pytest.mark.parametrize(
    "options, message",
    [
        (["--hidden-size", "32"], r"--hidden-size 32 contradicts --init-from .*first, which has 24: leave it out"),
        (["--cell-type", "mingru"], r"--cell-type mingru contradicts --init-from .*, which has minlstm"),
        (["--expand-ratio", "2"], r"--expand-ratio 2\.0 contradicts .*, which has 1\.0"),
        (["--tokenizer", "bytes"], r"--tokenizer bytes contradicts .*, which has .*first: leave it out"),
        (["--vocab-size", "400"], r"--vocab-size 400 contradicts .*, which has 299"),
        (["--config", "forget_gate_floor=0.9"], r"--config forget_gate_floor=0\.9 contradicts .*, which has 0\.5"),
        (["--config", "no_field=1"], r"--config no_field=1 contradicts .*, which has no such field"),
        (["--block", "paper"], r"--block paper with --init-from: the blocks are those of .*first"),
        (["--init-from", "./nowhere"], r"model folder \./nowhere does not exist"),
    ],
)
def test_options_that_contradict_the_model_are_rejected_by_name(argv, tmp_path, options, message):
    with pytest.raises(SystemExit, match=message):
        train_lm.main([*argv, "--steps", "1", *options])
    assert not (tmp_path / "run").exists()


def test_the_folder_of_the_source_is_not_overwritten(source, argv, tmp_path, capsys, monkeypatch):
    before = (source / "model.safetensors").read_bytes()
    monkeypatch.chdir(source.parent)
    for folder in (str(source), f"./{source.name}/"):
        with pytest.raises(SystemExit):
            train_lm.main([*argv, "--steps", "1", "--output-dir", folder, "--overwrite"])
        assert f"--output-dir: {Path(folder)} is the folder of --init-from, and would be" in capsys.readouterr().err
    assert (source / "model.safetensors").read_bytes() == before


def test_a_source_without_a_tokenizer_is_rejected(source, argv, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(source, bare, ignore=shutil.ignore_patterns("tokenizer*"))
    with pytest.raises(
        SystemExit, match=r"no tokenizer .* there by tokenizer.save_pretrained$"
    ):  # no option replaces it
        train_lm.main([*argv, "--steps", "1", "--init-from", str(bare)])


def test_an_unfinished_run_becomes_a_source(source, argv, tmp_path):
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    for path in checkpoints(source):
        shutil.copy(path, unfinished)
    with pytest.raises(SystemExit, match=r"no model yet: let the run end, or make .* training.checkpoint_to_model"):
        train_lm.main([*argv, "--steps", "1", "--init-from", str(unfinished)])
    checkpoint_to_model.main([str(unfinished), str(tmp_path / "made"), "--weights", "last"])
    train_lm.main([*argv, "--steps", "1", "--init-from", str(tmp_path / "made")])
    start = torch.load(tmp_path / "run" / "checkpoint-0000000000.pt", weights_only=True)["model"]
    assert all(torch.equal(start[name], value) for name, value in load_checkpoint(source)["model"].items())


def test_dropout_may_be_changed(argv, tmp_path):
    train_lm.main([*argv, "--steps", "1", "--dropout", "0"])
    assert load_checkpoint(tmp_path / "run")["config"]["dropout"] == 0.0


def test_a_run_is_resumed_without_its_source(source, argv, tmp_path, documents_file):
    moving = shutil.copytree(source, tmp_path / "source")
    given = ["--init-from", str(moving)]
    train_lm.main([*argv, *given, "--steps", "6", "--output-dir", str(tmp_path / "whole"), "--schedule", "wsd"])
    constant = ["--schedule", "wsd"]
    # A run that is stopped: its checkpoint of step 3.
    train_lm.main([*argv, *given, *constant, "--steps", "6", "--checkpoint-every", "0.0001", "--keep", "9"])
    folder = tmp_path / "run"
    for step in (4, 5, 6):
        (folder / f"checkpoint-{step:010d}.pt").unlink()
    shutil.rmtree(moving)
    command = [*FEW, *constant, "--dataset", documents_file, "--steps", "6", "--output-dir", str(folder), "--resume"]
    assert train_lm.main(command)["steps"] == 6  # without --init-from, its value is the recorded one
    assert losses(folder) == losses(tmp_path / "whole")
    assert train_lm.main([*command, *given])["steps"] == 6
    assert json.loads((folder / "results.json").read_text())["args"]["init_from"] == moving.name
    with pytest.raises(SystemExit, match=r"made with --init-from .*source, not elsewhere: "):
        train_lm.main([*command, "--init-from", "elsewhere"])
    with pytest.raises(SystemExit, match=r"made with --hidden-size 24, not 32: "):
        train_lm.main([*command, "--hidden-size", "32"])
    text = AutoTokenizer.from_pretrained(folder)("cat dog").input_ids
    assert text == AutoTokenizer.from_pretrained(source)("cat dog").input_ids


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_of_lower_precision_are_trained_in_float32(source, argv, tmp_path, dtype):
    half = tmp_path / "half"
    shutil.copytree(source, half)
    AutoModelForCausalLM.from_pretrained(source, dtype=dtype).save_pretrained(half)
    train_lm.main([*argv, "--init-from", str(half), "--steps", "1"])
    saved = load_checkpoint(tmp_path / "run")
    assert {value.dtype for value in saved["model"].values()} == {torch.float32}
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "run").dtype == torch.float32


def test_no_published_file_has_the_path_of_the_source(source, argv, tmp_path):
    train_lm.main([*argv, "--steps", "1"])
    folder = tmp_path / "run"
    published = [path for path in folder.iterdir() if path.suffix != ".pt" and not path.name.startswith(".")]
    assert {"config.json", "results.json", "README.md", "tokenizer.json"} <= {path.name for path in published}
    for path in published:
        assert str(source).encode() not in path.read_bytes(), path
