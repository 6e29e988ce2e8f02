# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""How a run begins and is stopped: the lock of its folder, --resume auto, signals, and Ctrl-C outside the training loop."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from support.train_cases import QUICK, SCRIPT, losses

from training import train_lm
from training.common import folder_lock
from training.common.checkpoint import checkpoints, load_checkpoint
from training.common.errors import CheckpointError
from training.common.folder_lock import FolderLock
from training.common.stop_request import NAMES
from training.lm import finish, trainer

LONG = ["--steps", "100000", "--checkpoint-every", "0.001"]


@pytest.fixture
def argv(text_file, tmp_path):
    quick = [*QUICK, "--samples", "0", "--no-baselines", "--dataset", text_file]
    return [*quick, "--output-dir", str(tmp_path / "run")]


@pytest.fixture
def start():
    """Returns a function that starts a run in a process of its own."""
    started = []

    def run(argv, **options):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, *SCRIPT, *argv]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment, **options)
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def signalled(monkeypatch):
    """Returns a function that has a run get a signal in its n-th step, for the length of a `with` block."""

    @contextmanager
    def at_step(number, n):
        step = train_lm.Trainer.step

        def stopped(self, rate):
            if self.state.step == n - 1:
                signal.raise_signal(number)
            return step(self, rate)

        with monkeypatch.context() as patches:
            patches.setattr(train_lm.Trainer, "step", stopped)
            yield

    return at_step


def wait_for_checkpoint(folder, process, step=1):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[1]
        if checkpoints(folder) and int(checkpoints(folder)[0].stem[-10:]) >= step:
            return
        time.sleep(0.02)
    raise AssertionError("no checkpoint came")


# --- the lock


@pytest.mark.slow  # test_the_lock_is_taken_before_the_data_is_loaded is the short form
def test_a_second_run_in_the_same_folder_is_rejected(argv, tmp_path, start):
    folder = tmp_path / "run"
    first = start([*argv, *LONG])
    wait_for_checkpoint(folder, first)
    message = f"training.train_lm: another process is training in {folder}: wait for it, or give another --output-dir"
    second = start([*argv, "--steps", "2", "--seed", "1"])
    _, errors = second.communicate(timeout=200)
    assert second.returncode == 1 and errors.splitlines()[-1] == message
    for option in (["--resume"], ["--resume", "auto"], ["--overwrite"]):
        with pytest.raises(SystemExit, match=re.escape(message)):
            train_lm.main([*argv, "--steps", "2", "--seed", "1", *option])
    wait_for_checkpoint(folder, first, load_checkpoint(folder)["state"]["step"] + 1)
    first.kill()
    first.wait(60)
    reached = load_checkpoint(folder)
    assert reached["args"]["seed"] == 0
    steps = str(reached["state"]["step"] + 2)
    assert train_lm.main([*argv, "--steps", steps, "--resume"])["steps"] == int(steps)  # the kill released the lock


def test_the_lock_is_taken_before_the_data_is_loaded(argv, tmp_path, monkeypatch):
    def load_data(*args, **options):
        with pytest.raises(Exception, match="another process is training"):
            FolderLock(tmp_path / "run").__enter__()
        raise RuntimeError("no data")

    monkeypatch.setattr(train_lm, "load_data", load_data)
    with pytest.raises(RuntimeError, match="no data"):
        train_lm.main([*argv, "--steps", "1"])
    assert not (tmp_path / "run").exists()


def test_the_file_of_the_lock_is_no_content(argv, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / folder_lock.NAME).touch()  # as a run that was killed while it loaded data leaves it
    assert train_lm.main([*argv, "--steps", "1"])["steps"] == 1


# --- --resume auto


@pytest.mark.parametrize("before", ["nothing", "empty folder", "unfinished checkpoint", "lock"])
def test_auto_starts_where_there_is_no_checkpoint(argv, tmp_path, before):
    folder = tmp_path / "run"
    if before != "nothing":
        folder.mkdir()
    if before == "unfinished checkpoint":
        (folder / "checkpoint-0000000000.pt.partial").write_bytes(b"half")
    if before == "lock":
        (folder / folder_lock.NAME).touch()
    assert train_lm.main([*argv, "--steps", "2", "--resume", "auto"])["steps"] == 2


def test_auto_continues_a_run_and_ends_a_finished_one_at_once(argv, tmp_path, monkeypatch, signalled, capsys):
    folder = tmp_path / "run"
    command = [*argv, "--steps", "6", "--checkpoint-every", "0.0001", "--resume", "auto"]
    with signalled(signal.SIGTERM, 4), pytest.raises(SystemExit):
        train_lm.main(command)
    assert "continue with the same command and --resume auto\n" in capsys.readouterr().out
    assert train_lm.main(command)["steps"] == 6
    assert "from step 4\n" in capsys.readouterr().out
    before = losses(folder)
    (folder / "results.json").unlink()
    with monkeypatch.context() as patches:
        patches.setattr(train_lm.Trainer, "step", None)
        metrics = train_lm.main(command)
    assert losses(folder) == before
    assert json.loads((folder / "results.json").read_text())["metrics"] == metrics


def test_auto_rejects_a_folder_with_other_files_and_one_whose_checkpoints_are_unreadable(argv, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "notes").write_text("mine")
    command = [*argv, "--steps", "1", "--resume", "auto"]
    with pytest.raises(SystemExit, match="is not empty: replace it with --overwrite, or change --output-dir"):
        train_lm.main(command)
    (folder / "checkpoint-0000000001.pt").write_bytes(b"damaged")
    with pytest.raises(SystemExit, match=r"nothing to resume: 1 checkpoints .*none of them can be read"):
        train_lm.main(command)


# --- signals


@pytest.mark.parametrize("name", [name for name in NAMES if name != "SIGINT"])
def test_a_signal_leaves_a_checkpoint(argv, tmp_path, signalled, capsys, name):
    number = getattr(signal, name)
    before = signal.signal(number, signal.SIG_DFL)
    try:
        with signalled(number, 3), pytest.raises(SystemExit) as stopped:
            train_lm.main([*argv, "--steps", "9"])
    finally:
        signal.signal(number, before)
    assert stopped.value.code == 128 + number
    assert "stopped after step 3, checkpoint saved" in capsys.readouterr().out
    assert load_checkpoint(tmp_path / "run")["state"]["step"] == 3


def test_under_nohup_a_closed_terminal_does_not_stop_the_run(argv, signalled):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signalled(signal.SIGHUP, 3):
            assert train_lm.main([*argv, "--steps", "5"])["steps"] == 5
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_after_a_step_with_an_evaluation_does_not_lose_the_evaluation(argv, tmp_path, signalled):
    command = [*argv, "--steps", "6", "--eval-every", "0.5"]
    with signalled(signal.SIGTERM, 3), pytest.raises(SystemExit):  # the evaluation is due after this step
        train_lm.main(command)
    train_lm.main([*command, "--resume"])
    saved = load_checkpoint(tmp_path / "run")["state"]
    train_lm.main([*command, "--output-dir", str(tmp_path / "whole")])
    whole = load_checkpoint(tmp_path / "whole")["state"]
    assert [bits for _, bits in saved["evaluations"]] == [bits for _, bits in whole["evaluations"]]


def test_a_signal_while_the_last_checkpoint_is_written_stops_before_the_measurement(argv, tmp_path, monkeypatch):
    save = train_lm.Trainer.save

    def signalled_at_the_end(self):
        if self.state.step == 2:
            signal.raise_signal(signal.SIGTERM)
        save(self)

    with monkeypatch.context() as patches, pytest.raises(SystemExit) as stopped:
        patches.setattr(train_lm.Trainer, "save", signalled_at_the_end)
        train_lm.main([*argv, "--steps", "2"])
    assert stopped.value.code == 128 + signal.SIGTERM
    assert load_checkpoint(tmp_path / "run")["state"]["step"] == 2
    assert not (tmp_path / "run" / "config.json").exists()
    assert train_lm.main([*argv, "--steps", "2", "--resume"])["steps"] == 2


def test_the_message_of_a_failed_run_is_not_on_the_line_of_the_progress(argv, monkeypatch):
    closed = []

    def fail(self):
        if self.state.step:
            raise CheckpointError("checkpoint could not be written")

    monkeypatch.setattr(train_lm.Trainer, "save", fail)
    monkeypatch.setattr(trainer.Progress, "close", lambda self: closed.append(self))
    with pytest.raises(SystemExit, match="stopped at step 1: checkpoint could not be written"):
        train_lm.main([*argv, "--steps", "5", "--checkpoint-every", "0.0001"])
    assert closed


def test_an_output_folder_below_one_without_permission_is_rejected(argv, tmp_path, monkeypatch):
    closed = tmp_path / "closed"
    closed.mkdir()
    stat = os.stat
    access = os.access

    def denied(path, *args, **options):
        if not isinstance(path, int) and os.fspath(path).startswith(f"{closed}{os.sep}"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return stat(path, *args, **options)

    monkeypatch.setattr(os, "stat", denied)
    monkeypatch.setattr(os, "access", lambda path, mode: os.fspath(path) != str(closed) and access(path, mode))
    with pytest.raises(SystemExit, match=rf"nothing can be written to {closed}: give another folder"):
        train_lm.main([*argv, "--steps", "1", "--output-dir", str(closed / "in" / "run")])


# --- Ctrl-C outside the loop


def interrupt(*args, **options):
    raise KeyboardInterrupt


def interrupted(argv, capsys):
    """Runs a command that is interrupted, and returns the line that it prints."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        train_lm.main(argv)
    assert stopped.value.code == 130
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_ctrl_c_while_loading_is_one_line(argv, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patches:
        patches.setattr(train_lm, "load_data", interrupt)
        line = interrupted([*argv, "--steps", "2"], capsys)
    assert line == "training.train_lm: interrupted; nothing was written yet: give the same command again"
    assert not (tmp_path / "run").exists()
    train_lm.main([*argv, "--steps", "2"])
    monkeypatch.setattr(train_lm, "load_data", interrupt)
    line = interrupted([*argv, "--steps", "4", "--resume"], capsys)
    assert line == "training.train_lm: interrupted; the checkpoint of step 2 is complete: continue with --resume"


def test_ctrl_c_while_measuring_is_one_line(argv, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patches:
        patches.setattr(finish, "evaluate_heldout", interrupt)
        line = interrupted([*argv, "--steps", "2"], capsys)
    assert line == "training.train_lm: interrupted; the checkpoint of step 2 is complete: measure again with --resume"
    assert train_lm.main([*argv, "--steps", "2", "--resume"])["steps"] == 2
    assert (tmp_path / "run" / "results.json").exists()


def test_only_the_main_process_says_that_it_was_interrupted(argv, monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SystemExit):
        train_lm.end_interrupted(train_lm.parse_arguments(argv), None)
    assert capsys.readouterr().err == ""
