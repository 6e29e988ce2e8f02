# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The configuration and the tokenizer in a checkpoint: resumed runs, and the model folder made of a checkpoint."""

import errno
import json
import os
import shutil

import pytest
import torch
from support.train_cases import QUICK
from transformers import AutoModelForCausalLM, AutoTokenizer

from hf_minrnn import MinRNNConfig
from hf_minrnn.tools import command
from hf_minrnn.tools.hub import check_folder
from training import checkpoint_to_model, train_lm
from training.common.checkpoint import checkpoints, load_checkpoint, save_checkpoint
from training.lm import initial_model
from training.lm.model_setup import build_config, config_fields, stored_config
from training.lm.run_facts import LOCAL_FILE
from training.lm.trained_on import FILE as TRAINED_ON
from training.lm.trained_on import read_record


@pytest.fixture(scope="module")
def argv(text_file):
    few = [*QUICK, "--samples", "0", "--no-baselines", "--num-hidden-layers", "2", "--eval-every", "0.4"]
    return [*few, "--dataset", text_file, "--steps"]


@pytest.fixture(scope="module")
def stopped(argv, tmp_path_factory):
    """A run of five steps: its command and its folder."""
    folder = tmp_path_factory.mktemp("runs") / "stopped"
    train_lm.main([*argv, "5", "--output-dir", str(folder), "--keep", "5", "--checkpoint-every", "0.0001"])
    return folder


@pytest.fixture
def run(stopped, tmp_path):
    return shutil.copytree(stopped, tmp_path / "run")


def rewrite(folder, change):
    """Changes the content of the newest checkpoint of a folder."""
    saved = load_checkpoint(folder)
    change(saved)
    save_checkpoint(folder, saved["state"]["step"], saved, keep=9)


def other_default(monkeypatch, name, value):
    """Gives a field of new configurations another default, as a later version might."""

    def later(args, tokenizer):
        given = args.config
        args.config = {name: value, **given}
        try:
            return build_config(args, tokenizer)
        finally:
            args.config = given

    monkeypatch.setattr(initial_model, "build_config", later)


# --- resumed runs


def test_a_checkpoint_has_the_whole_configuration_and_the_tokenizer(stopped):
    saved = load_checkpoint(stopped)
    assert saved["config"].keys() == MinRNNConfig.__annotations__.keys()
    assert saved["config"]["num_hidden_layers"] == 2 and saved["config"]["forget_gate_floor"] == 0.9
    assert saved["tokenizer"]["tokenizer.json"] == (stopped / "tokenizer.json").read_text()


@pytest.mark.parametrize("name, value", [("forget_gate_floor", 0.0), ("rms_norm_eps", 1e-3), ("gated_mlp", False)])
def test_another_default_does_not_change_a_resumed_run(argv, run, tmp_path, monkeypatch, capsys, name, value):
    other_default(monkeypatch, name, value)
    train_lm.main([*argv, "8", "--output-dir", str(run), "--resume"])
    own = getattr(MinRNNConfig, name)
    line = f"this version's default of {name} is {value}; the run continues with its own {own}\n"
    assert line in capsys.readouterr().out
    assert json.loads((run / "config.json").read_text())[name] == own
    assert load_checkpoint(run)["config"][name] == own


def test_a_resumed_run_says_nothing_if_the_defaults_are_the_same(argv, run, capsys):
    train_lm.main([*argv, "8", "--output-dir", str(run), "--resume"])
    assert "this version" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "option, message",
    [
        (["--config", "forget_gate_floor=0.5"], r"no --config, not forget_gate_floor=0\.5: resume with the value"),
        (["--intermediate-size", "64"], r"--intermediate-size 32, not 64: resume with the value"),
        (["--expand-ratio", "1"], r"no --expand-ratio, not 1\.0: resume with the value"),
        (["--block", "paper"], r"--block default, not paper: resume with the value"),
        (["--stateful"], r"--batching packed, not stateful: resume with the value"),
    ],
)
def test_an_option_that_contradicts_the_checkpoint_is_rejected_by_name(argv, run, option, message):
    with pytest.raises(SystemExit, match=message):
        train_lm.main([*argv, "8", "--output-dir", str(run), "--resume", *option])


@pytest.mark.parametrize(
    "field, value, message",
    [
        (
            "gate_of_the_future",
            1,
            r"has fields that this version does not know \(gate_of_the_future\): use the version",
        ),
        ("conv_position", "elsewhere", r"this version rejects the configuration .*conv_position must be one of"),
    ],
)
def test_a_configuration_that_this_version_cannot_use_is_rejected(argv, run, field, value, message):
    rewrite(run, lambda saved: saved["config"].update({field: value}))
    with pytest.raises(SystemExit, match=message):
        train_lm.main([*argv, "8", "--output-dir", str(run), "--resume"])


def test_a_checkpoint_of_an_earlier_version_is_resumed(argv, run, tmp_path, capsys):
    def earlier(saved):
        for name in ("config", "tokenizer", "best"):
            del saved[name]
        for name in ("waited", "last_estimate"):
            del saved["state"][name]
        for name in ("patience", "init_from"):
            del saved["args"][name]

    rewrite(run, earlier)
    assert train_lm.main([*argv, "8", "--output-dir", str(run), "--resume"])["steps"] == 8
    shown = capsys.readouterr().out
    assert shown.count("is of an earlier version and does not record the configuration") == 1
    assert "resuming with patience" not in shown
    assert load_checkpoint(run)["config"]["forget_gate_floor"] == 0.9


@pytest.mark.parametrize(
    "config",
    [MinRNNConfig(), MinRNNConfig.paper("minlstm"), MinRNNConfig(forget_gate_floor=[0.1] * 12, eos_token_id=[1, 2])],
)
def test_a_configuration_survives_the_checkpoint(config):
    assert config_fields(stored_config(config_fields(config))) == config_fields(config)


# --- training.checkpoint_to_model


@pytest.mark.parametrize("weights", ["best", "last"])
def test_a_checkpoint_becomes_a_model_folder(run, tmp_path, monkeypatch, weights):
    def mark(saved):
        saved["best"] = {"step": 2, "bits": 1.0, "model": {name: value + 1 for name, value in saved["model"].items()}}

    rewrite(run, mark)
    saved = load_checkpoint(run)
    out = tmp_path / "out"
    expected = {"best": ("best", 2), "last": ("last", 5)}[weights]
    made = checkpoint_to_model.main([str(run), str(out), "--weights", weights])
    assert (made["weights"], made["step"]) == expected
    model = AutoModelForCausalLM.from_pretrained(out)
    state = saved["best"]["model"] if weights == "best" else saved["model"]
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    # The other files are those of the finished run, except for what describes the run and not the model.
    files = {path.name for path in out.iterdir()}
    of_model = {path.name for path in run.iterdir() if path.suffix in (".py", ".json", ".safetensors")}
    assert files == of_model - {"results.json", LOCAL_FILE} and TRAINED_ON in files
    for name in files - {"model.safetensors"}:
        assert (out / name).read_bytes() == (run / name).read_bytes(), name
    assert (
        AutoTokenizer.from_pretrained(out)("a cat").input_ids == AutoTokenizer.from_pretrained(run)("a cat").input_ids
    )


def test_the_best_weights_are_the_default_and_the_data_is_not_needed(argv, text_file, tmp_path):
    text = tmp_path / "text.txt"
    shutil.copy(text_file, text)
    options = [*argv, "5", "--dataset", str(text), "--output-dir", str(tmp_path / "run")]
    train_lm.main([*options, "--keep", "9", "--checkpoint-every", "0.0001"])
    text.unlink()
    made = checkpoint_to_model.main([str(tmp_path / "run"), str(tmp_path / "out")])
    assert made["weights"] == "best"
    names = [tmp_path / name / "model.safetensors" for name in ("run", "out")]
    assert names[0].read_bytes() == names[1].read_bytes()
    assert checkpoint_to_model.main([str(tmp_path / "run"), str(tmp_path / "first"), "--step", "1"]) == {
        "weights": "last",  # there was no evaluation yet
        "step": 1,
    }


def test_an_unfinished_run_has_no_record_of_its_text(run, tmp_path, capsys):
    (run / TRAINED_ON).unlink()
    checkpoint_to_model.main([str(run), str(tmp_path / "out")])
    assert not (tmp_path / "out" / TRAINED_ON).exists()
    assert f"without {TRAINED_ON}, which a run writes at its end" in capsys.readouterr().out


@pytest.mark.parametrize("finished", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_checkpoint_of_a_stream_has_the_record_of_what_it_read(argv, tmp_path, finished):
    rows = [f"document {number} " + "cat dog " * 40 for number in range(400)]
    table = tmp_path / "rows.jsonl"
    table.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    folder = tmp_path / "run"
    options = ["--dataset", str(table), "--streaming", "--output-dir", str(folder), "--checkpoint-every", "0.0001"]
    train_lm.main([*argv, "200", *options, "--keep", "300"])
    if not finished:
        (folder / TRAINED_ON).unlink()
    records = []
    for step in (1, 200):
        out = tmp_path / f"out-{step}"
        checkpoint_to_model.main([str(folder), str(out), "--step", str(step), "--weights", "last"])
        records.append(read_record(str(out)))
    heldout = json.loads((folder / "results.json").read_text())["data"]["heldout_documents"]
    assert [len(record.heldout.values) for record in records] == [heldout * finished] * 2
    assert 0 < len(records[0].trained.values) < len(records[1].trained.values) <= 400 - heldout
    if finished:
        assert records[1].trained.values == read_record(str(folder)).trained.values


def test_a_model_that_cannot_be_written_leaves_no_files(run, tmp_path, monkeypatch):
    def fail(files, folder):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    out = tmp_path / "out"
    monkeypatch.setattr(checkpoint_to_model, "write_tokenizer_files", fail)
    with pytest.raises(
        SystemExit, match=rf"{out} could not be written \(No space left on device\); make room, then give"
    ):
        checkpoint_to_model.main([str(run), str(out)])
    assert not [*out.iterdir()]
    monkeypatch.undo()
    assert checkpoint_to_model.main([str(run), str(out)])["weights"] == "best"


def test_the_hub_tools_accept_the_folder(run, tmp_path):
    out = str(tmp_path / "out")
    checkpoint_to_model.main([str(run), out])
    command.main(["card", out])
    assert check_folder(out).hidden_size == 16


@pytest.mark.parametrize(
    "options, message",
    [
        (["--step", "77"], r"--step 77: .* has no checkpoint of this step, only of 1, 2, 3, 4, 5"),
        (["--step", "1", "--weights", "best"], r"--weights best: the checkpoint has none, .*give --weights last"),
    ],
)
def test_weights_that_do_not_exist_are_reported(run, tmp_path, options, message):
    with pytest.raises(SystemExit, match=message):
        checkpoint_to_model.main([str(run), str(tmp_path / "out"), *options])
    assert not (tmp_path / "out").exists()


def test_folders_that_cannot_be_used_are_reported(run, tmp_path):
    with pytest.raises(SystemExit, match=r"training.checkpoint_to_model: .* is not an empty folder: give another"):
        checkpoint_to_model.main([str(run), str(run)])
    with pytest.raises(SystemExit, match=r"has no checkpoints: give the output folder of training.train_lm"):
        checkpoint_to_model.main([str(tmp_path / "nowhere"), str(tmp_path / "out")])
    rewrite(run, lambda saved: saved.pop("config"))
    with pytest.raises(SystemExit, match=r"of an earlier version .*continue the run with training.train_lm --resume"):
        checkpoint_to_model.main([str(run), str(tmp_path / "out")])
    for path in checkpoints(run):
        path.write_bytes(b"damaged")
    with pytest.raises(SystemExit, match=r"none of the 5 checkpoints in .* can be read"):
        checkpoint_to_model.main([str(run), str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
