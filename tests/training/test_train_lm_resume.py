# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Runs that are stopped, killed, resumed and extended, and checkpoints of other runs."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from support.train_cases import QUICK, SCRIPT, losses
from transformers import AutoModelForCausalLM, AutoTokenizer

from training import train_lm
from training.common import checkpoint
from training.common.checkpoint import check_same_run, checkpoints, load_checkpoint
from training.common.errors import InputError
from training.common.stop_request import StopRequest
from training.lm.data import load_data
from training.lm.tokenization import build_tokenizer

RESUMED_STEPS = 120


def _start(argv):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *SCRIPT, *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )


def _wait_for_step(folder, process, step):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[0]
        if checkpoints(folder) and int(checkpoints(folder)[0].stem.split("-")[1]) >= step:
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
    assert losses(tmp_path) == uninterrupted


def test_a_second_sigterm_waits_for_the_checkpoint_and_a_second_ctrl_c_does_not(request):
    # A shell has its background jobs ignore Ctrl-C, and pytest may be one.
    request.addfinalizer(
        partial(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, signal.default_int_handler))
    )
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with StopRequest() as stop:
        for _ in range(3):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        assert stop.signal == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


MODES = {
    "packed": ["--batching", "packed"],
    "stateful": ["--stateful", "--accumulate", "2"],
    "stream": ["--streaming"],
    "stateful stream": ["--streaming", "--stateful"],
    "shuffled stream": ["--streaming", "--stateful", "--shuffle-buffer", "20"],
}


class Killed(BaseException):
    """An exception that the script does not handle."""


@pytest.mark.parametrize(
    "mode", [pytest.param(mode, marks=[pytest.mark.slow] * (mode in ("stream", "stateful stream"))) for mode in MODES]
)
def test_every_batching_resumes_to_the_same_losses(documents_file, tmp_path, monkeypatch, mode):
    argv = [*QUICK, "--dataset", documents_file, *MODES[mode], "--steps", "40", "--dropout", "0.1", "--no-baselines"]
    argv += ["--samples", "0", "--heldout-documents", "5", "--schedule", "wsd"]
    train_lm.main([*argv, "--output-dir", str(tmp_path / "whole")])
    again = [*argv, "--checkpoint-every", "0.0001", "--output-dir", str(tmp_path / "killed")]
    step, save = train_lm.Trainer.step, checkpoint.torch.save
    for where in (7, 8, 25):  # the second one writes half a checkpoint

        def killed_before_step(self, rate, where=where):
            if self.state.step == where:
                raise Killed
            return step(self, rate)

        def killed_while_writing(payload, file):
            if payload["state"]["step"] == 8:
                file.write(b"half")
                raise Killed
            save(payload, file)

        with monkeypatch.context() as patches:
            if where == 8:
                patches.setattr(checkpoint.torch, "save", killed_while_writing)
            else:
                patches.setattr(train_lm.Trainer, "step", killed_before_step)
            with pytest.raises(Killed):
                train_lm.main(again)
        again = [*argv, "--resume", "--checkpoint-every", "0.0001", "--output-dir", str(tmp_path / "killed")]
    assert load_checkpoint(tmp_path / "killed")["state"]["step"] == 25
    train_lm.main(again)
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
    ends = [load_checkpoint(tmp_path / name)["model"] for name in ("whole", "killed")]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    assert len(checkpoints(tmp_path / "killed")) == 2 and not list((tmp_path / "killed").glob("*.partial"))


def test_a_finished_run_can_be_extended_with_another_learning_rate(finished_run, text_file, tmp_path, capsys):
    folder = shutil.copytree(finished_run[0], tmp_path / "run")
    argv = [*QUICK, "--dataset", text_file, "--steps", "34", "--learning-rate", "1e-4", "--no-baselines", "--resume"]
    assert train_lm.main([*argv, "--output-dir", str(folder)])["steps"] == 34
    shown = capsys.readouterr().out
    assert "learning_rate 0.0001 instead of 0.01" in shown
    assert losses(folder)[:30] == losses(finished_run[0])
    changed = [[30, "steps 34 instead of 30"], [30, "learning_rate 0.0001 instead of 0.01"]]
    assert json.loads((folder / "results.json").read_text())["changed"] == changed
    card = (folder / "README.md").read_text()
    assert "from step 31 on steps 34 instead of 30; from step 31 on learning_rate 0.0001 instead of 0.01." in card
    assert "gives the same losses" not in card
    assert "gives the same losses" in (finished_run[0] / "README.md").read_text()
    assert {group["lr"] for group in load_checkpoint(folder)["optimizer"]["param_groups"]} != {1e-2}


@pytest.mark.parametrize(
    "option, name",
    [
        (["--hidden-size", "24"], "--hidden-size 16, not 24"),
        (["--cell-type", "minlstm"], "--cell-type mingru, not minlstm"),
        (["--batch-size", "3"], "rows per step 2, not 3"),
        (["--seed", "7"], "--seed 0, not 7"),
    ],
)
def test_a_checkpoint_of_another_run_is_rejected(finished_run, text_file, option, name):
    argv = [*QUICK, "--dataset", text_file, "--steps", "30", "--output-dir", str(finished_run[0]), "--resume", *option]
    with pytest.raises(SystemExit, match=f"made with {name}.*, or start again with --overwrite in place of --resume$"):
        train_lm.main(argv)


def test_the_same_data_under_another_path_is_resumed(text_file, tmp_path, monkeypatch):
    monkeypatch.chdir(Path(text_file).parent)
    argv = [*QUICK, "--no-baselines", "--output-dir", str(tmp_path), "--dataset"]
    train_lm.main([*argv, text_file, "--steps", "1"])
    assert train_lm.main([*argv, f"./{Path(text_file).name}", "--steps", "2", "--resume"])["steps"] == 2


def test_an_argument_that_changes_the_tokens_is_reported_first():
    before = {"vocab_size": 300, "training text": "aa"}
    with pytest.raises(InputError, match="made with vocab_size 300, not 400"):
        check_same_run(before, {"vocab_size": 400, "training text": "bb"}, set())


@pytest.mark.parametrize("kind", ["bytes", "bpe", "chars", "loaded"])
def test_a_run_started_without_a_padding_token_keeps_its_tokenizer(kind, text_file, tmp_path, monkeypatch, capsys):
    if kind == "loaded":
        kind = str(tmp_path / "given")
        build_tokenizer("bytes", [], padding=False).save_pretrained(kind)
    argv = [*QUICK, "--dataset", text_file, "--tokenizer", kind, "--vocab-size", "300", "--no-baselines"]
    argv += ["--output-dir", str(tmp_path / "run")]
    with monkeypatch.context() as patches:  # as in versions without a padding token
        patches.setattr(train_lm, "load_data", lambda args, padding: load_data(args, padding=False))
        train_lm.main([*argv, "--steps", "2"])
    before = AutoTokenizer.from_pretrained(tmp_path / "run").get_vocab()
    for steps in ("3", "4"):  # the checkpoint of the first resumed run can be resumed, too
        assert train_lm.main([*argv, "--steps", steps, "--resume"])["steps"] == int(steps)
        assert "\npadding   the tokenizer has no padding token of its own:" in capsys.readouterr().out
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run")
    assert tokenizer.get_vocab() == before and tokenizer.pad_token_id == tokenizer.eos_token_id
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "run")
    assert (model.config.vocab_size, model.config.pad_token_id) == (len(before), tokenizer.eos_token_id)


def test_a_checkpoint_of_changed_data_is_rejected(text_file, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(Path(text_file).read_text())
    argv = [*QUICK, "--dataset", str(path), "--steps", "1", "--no-baselines", "--output-dir", str(tmp_path / "run")]
    train_lm.main(argv)
    path.write_text(Path(text_file).read_text().replace("cat", "cow"))
    with pytest.raises(
        SystemExit, match=r"the text is not the one .* made with \(training text .*: restore its files, or start"
    ):
        train_lm.main([*argv, "--resume"])


def test_a_full_disk_stops_the_run_with_the_last_checkpoint_intact(text_file, tmp_path, monkeypatch):
    save = checkpoint.torch.save

    def full(payload, file):
        if payload["state"]["step"] == 6:
            file.write(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(payload, file)

    argv = [*QUICK, "--dataset", text_file, "--steps", "9", "--no-baselines", "--checkpoint-every", "0.0001"]
    argv += ["--keep", "3", "--output-dir", str(tmp_path / "run")]
    with monkeypatch.context() as patches:
        patches.setattr(checkpoint.torch, "save", full)
        with pytest.raises(SystemExit, match=r"step 6: .*No space left.*checkpoint-0000000005\.pt is intact.*--resume"):
            train_lm.main(argv)
    assert [int(path.stem[-10:]) for path in checkpoints(tmp_path / "run")] == [5, 4, 3]
    with monkeypatch.context() as patches:
        patches.setattr(checkpoint.torch, "save", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
        with pytest.raises(SystemExit, match=r"step 0: .*; make room, then give the same command again"):
            train_lm.main([*argv[:-1], str(tmp_path / "other")])
    assert train_lm.main([*argv, "--resume"])["steps"] == 9


def test_a_damaged_checkpoint_is_skipped(resumable, uninterrupted, tmp_path, capsys):
    argv = [*resumable, "--output-dir", str(tmp_path)]
    with pytest.raises(Killed), pytest.MonkeyPatch.context() as patches:
        patches.setattr(train_lm.Trainer, "_evaluate", lambda self: (_ for _ in ()).throw(Killed))
        train_lm.main([*argv, "--checkpoint-every", "0.0001", "--eval-every", "0.1"])
    newest, before = checkpoints(tmp_path)
    newest.write_bytes(newest.read_bytes()[:1000])
    train_lm.main([*argv, "--resume"])
    shown = capsys.readouterr()
    assert f"{newest} is truncated" in shown.err and f"from step {int(before.stem[-10:])}" in shown.out
    assert losses(tmp_path) == uninterrupted


def test_an_unfinished_first_checkpoint_does_not_block_a_new_run(text_file, tmp_path):
    (tmp_path / "checkpoint-0000000000.pt.partial").write_bytes(b"half")
    argv = [*QUICK, "--dataset", text_file, "--steps", "1", "--no-baselines", "--output-dir", str(tmp_path)]
    with pytest.raises(SystemExit, match=r"nothing to resume: .*leave out --resume"):
        train_lm.main([*argv, "--resume"])
    assert train_lm.main(argv)["steps"] == 1
    assert not (tmp_path / "checkpoint-0000000000.pt.partial").exists()


def test_all_processes_wait_for_the_last_checkpoint(text_file, tmp_path, monkeypatch):
    events = []
    save, wait, clip = train_lm.Trainer.save, train_lm.Accelerator.wait_for_everyone, torch.nn.utils.clip_grad_norm_

    def stop(*args, **kwargs):
        signal.raise_signal(signal.SIGINT)
        return clip(*args, **kwargs)

    monkeypatch.setattr(train_lm.Trainer, "save", lambda self: (save(self), events.append("saved")))
    monkeypatch.setattr(train_lm.Accelerator, "wait_for_everyone", lambda self: (wait(self), events.append("waited")))
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", stop)
    argv = [*QUICK, "--dataset", text_file, "--steps", "20", "--output-dir", str(tmp_path)]
    with pytest.raises(SystemExit) as stopped:
        train_lm.main(argv)
    assert stopped.value.code == 128 + signal.SIGINT
    assert events[-2:] == ["saved", "waited"]


def test_no_process_waits_while_the_main_one_measures(text_file, tmp_path, monkeypatch):
    events = []
    wait, finish = train_lm.Accelerator.wait_for_everyone, train_lm.finish_run
    monkeypatch.setattr(train_lm.Accelerator, "wait_for_everyone", lambda self: (wait(self), events.append("waited")))
    monkeypatch.setattr(train_lm, "finish_run", lambda *args: (events.append("measures"), finish(*args))[1])
    train_lm.main([*QUICK, "--dataset", text_file, "--steps", "1", "--no-baselines", "--output-dir", str(tmp_path)])
    assert events == ["waited", "measures"]
