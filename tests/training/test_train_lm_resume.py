# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Runs that are stopped, killed, resumed and prolonged, and checkpoints that do not fit."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import train_lm
from checkpoint import check_same_run, load_checkpoint, save_checkpoint
from corpus import InputError
from train_cases import QUICK, SCRIPT, losses

RESUMED_STEPS = 120


def _start(argv):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )


def _wait_for_step(folder, process, step):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[0]
        if (folder / "checkpoint.pt").exists() and load_checkpoint(folder)["state"]["step"] >= step:
            return
        time.sleep(0.02)
    raise AssertionError("no checkpoint came")


@pytest.fixture(scope="module")
def resumable(text_file):
    options = ["--dataset", text_file, "--steps", str(RESUMED_STEPS), "--dropout", "0.1", "--no-baselines"]
    return [*QUICK, *options, "--samples", "0", "--eval-every", "2"]


@pytest.fixture(scope="module")
def uninterrupted(resumable, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    train_lm.main([*resumable, "--output-dir", str(folder)])
    return losses(folder)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_interrupted_run_resumes_to_the_same_losses(resumable, uninterrupted, tmp_path, number):
    process = _start([*resumable, "--checkpoint-every", "0.001", "--output-dir", str(tmp_path)])
    try:
        _wait_for_step(tmp_path, process, 5)
        process.send_signal(number)
        output = process.communicate(timeout=60)[0]
    finally:
        process.kill()
    reached = load_checkpoint(tmp_path)["state"]["step"]
    assert 5 <= reached < RESUMED_STEPS
    if number == signal.SIGTERM:
        assert process.returncode == 128 + signal.SIGTERM
        assert f"after step {reached}," in output and "--resume" in output
    train_lm.main([*resumable, "--resume", "--output-dir", str(tmp_path)])
    assert len(losses(tmp_path)) == RESUMED_STEPS
    np.testing.assert_allclose(losses(tmp_path), uninterrupted, rtol=1e-4)


def test_finished_run_can_be_prolonged_with_another_learning_rate(finished_run, text_file, tmp_path, capsys):
    folder = shutil.copytree(finished_run[0], tmp_path / "run")
    argv = [*QUICK, "--dataset", text_file, "--steps", "34", "--learning-rate", "1e-4", "--no-baselines", "--resume"]
    assert train_lm.main([*argv, "--output-dir", str(folder)])["steps"] == 34
    shown = capsys.readouterr().out
    assert "learning_rate 0.0001 instead of 0.01" in shown
    assert losses(folder)[:30] == losses(finished_run[0])
    assert {group["lr"] for group in load_checkpoint(folder)["optimizer"]["param_groups"]} != {1e-2}


@pytest.mark.parametrize(
    "option, name",
    [
        (["--hidden-size", "24"], "hidden_size 16, not 24"),
        (["--cell-type", "minlstm"], "cell_type 'mingru', not 'minlstm'"),
        (["--batch-size", "3"], "batch_size 2, not 3"),
        (["--seed", "7"], "seed 0, not 7"),
    ],
)
def test_checkpoint_of_another_run_is_refused(finished_run, text_file, option, name):
    argv = [*QUICK, "--dataset", text_file, "--steps", "30", "--output-dir", str(finished_run[0]), "--resume", *option]
    with pytest.raises(SystemExit, match=f"made with {name}"):
        train_lm.main(argv)


def test_same_data_under_another_spelling_is_resumed(text_file, tmp_path, monkeypatch):
    monkeypatch.chdir(Path(text_file).parent)
    argv = [*QUICK, "--no-baselines", "--output-dir", str(tmp_path), "--dataset"]
    train_lm.main([*argv, text_file, "--steps", "1"])
    assert train_lm.main([*argv, f"./{Path(text_file).name}", "--steps", "2", "--resume"])["steps"] == 2


def test_the_argument_that_changes_the_tokens_is_named_before_them():
    before = {"vocab_size": 300, "training text": "aa"}
    with pytest.raises(InputError, match="made with vocab_size 300, not 400"):
        check_same_run(before, {"vocab_size": 400, "training text": "bb"}, set())


def test_checkpoint_of_changed_data_is_refused(text_file, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(Path(text_file).read_text())
    argv = [*QUICK, "--dataset", str(path), "--steps", "1", "--no-baselines", "--output-dir", str(tmp_path / "run")]
    train_lm.main(argv)
    path.write_text(Path(text_file).read_text().replace("cat", "cow"))
    with pytest.raises(SystemExit, match="made with training text"):
        train_lm.main([*argv, "--resume"])


def test_a_write_that_fails_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, {"step": 1})

    def run_out_of_disk(payload, file):
        file.write(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(torch, "save", run_out_of_disk)
    with pytest.raises(OSError, match="no space"):
        save_checkpoint(tmp_path, {"step": 2})
    assert load_checkpoint(tmp_path)["step"] == 1


def test_first_checkpoint_that_was_never_finished_is_not_in_the_way(text_file, tmp_path):
    (tmp_path / "checkpoint.pt.partial").write_bytes(b"half")
    argv = [*QUICK, "--dataset", text_file, "--steps", "1", "--no-baselines", "--output-dir", str(tmp_path)]
    with pytest.raises(SystemExit, match=r"nothing to resume: .*leave out --resume"):
        train_lm.main([*argv, "--resume"])
    assert train_lm.main(argv)["steps"] == 1
    assert not (tmp_path / "checkpoint.pt.partial").exists()


@pytest.mark.parametrize("reason", ["signal", "not finite"])
def test_processes_wait_for_the_last_checkpoint(text_file, tmp_path, monkeypatch, reason):
    events = []
    save, wait, clip = train_lm.Trainer.save, train_lm.Accelerator.wait_for_everyone, torch.nn.utils.clip_grad_norm_

    def stop(*args, **kwargs):
        norm = clip(*args, **kwargs)
        if reason == "signal":
            signal.raise_signal(signal.SIGINT)
            return norm
        return torch.tensor(float("nan"))

    monkeypatch.setattr(train_lm.Trainer, "save", lambda self: (save(self), events.append("saved")))
    monkeypatch.setattr(train_lm.Accelerator, "wait_for_everyone", lambda self: (wait(self), events.append("waited")))
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", stop)
    argv = [*QUICK, "--dataset", text_file, "--steps", "20", "--output-dir", str(tmp_path)]
    with pytest.raises(SystemExit) as stopped:
        train_lm.main(argv)
    assert stopped.value.code == 128 + signal.SIGINT if reason == "signal" else "not finite" in stopped.value.code
    assert events[-2:] == ["saved", "waited"]
