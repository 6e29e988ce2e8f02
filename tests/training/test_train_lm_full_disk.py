# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Runs whose files cannot be written at their end. Checkpoints that cannot be written are in test_train_lm_resume.py."""

import errno
import os
import re
import tempfile
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState
from safetensors import SafetensorError
from support.train_cases import QUICK
from transformers import PreTrainedTokenizerBase

from training import train_lm
from training.lm.finish import NUMBERS

OUTPUTS = ["config.json", "model.safetensors", "tokenizer.json", "hub_minrnn.py", "samples.txt", "loss.png"]
OUTPUTS += ["results.json", "README.md"]
FAILURES = {
    errno.ENOSPC: "make room, then continue with --resume",
    errno.EDQUOT: "make room, then continue with --resume",
    errno.EROFS: "make the folder writable, or copy the run to another --output-dir, then continue with --resume",
    errno.EACCES: "make the folder writable, or copy the run to another --output-dir, then continue with --resume",
    errno.EIO: "correct this, then continue with --resume",
}


@pytest.fixture(scope="module")
def trained(text_file, tmp_path_factory):
    """The command of a finished run with the files in its folder."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    argv = [*QUICK, "--dataset", text_file, "--steps", "2", "--no-baselines", "--output-dir", str(folder)]
    train_lm.main(argv)
    AcceleratorState._reset_state(reset_partial_state=True)
    return argv, folder, {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(
    "name, number",
    [
        *((name, errno.ENOSPC) for name in OUTPUTS),
        *(("loss.png", number) for number in FAILURES),
        ("README.md", errno.EIO),
    ],
)
def test_a_file_that_cannot_be_written_at_the_end_of_a_run_is_reported(trained, name, number):
    argv, folder, files = trained
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    replace = os.replace

    def fail(source, target):
        if Path(target).name == name:
            raise OSError(number, os.strerror(number))
        replace(source, target)

    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(os, "replace", fail)
        with pytest.raises(SystemExit) as ended:
            train_lm.main([*argv, "--resume"])
    assert re.fullmatch(
        rf"training.train_lm: {folder}\S* could not be written \({os.strerror(number)}\); {FAILURES[number]}",
        ended.value.code,
    )
    left = {path.name for path in folder.iterdir()}
    assert left <= files and files - left <= {*NUMBERS}  # no partial file, and no result of other weights
    if name in left:
        assert (folder / name).read_bytes() == before[name]
    AcceleratorState._reset_state(reset_partial_state=True)
    assert train_lm.main([*argv, "--resume"])["steps"] == 2
    assert {path.name for path in folder.iterdir()} == files


@pytest.mark.parametrize("writer", ["model", "tokenizer"])
def test_a_disk_that_is_full_inside_a_library_is_reported(trained, writer, monkeypatch):
    argv, folder, _ = trained
    before = (folder / "config.json").read_bytes()

    def fail(self, path, *args, **options):
        (Path(path) / "config.json").write_text("half")
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    kind = train_lm.MinRNNForCausalLM if writer == "model" else PreTrainedTokenizerBase
    monkeypatch.setattr(kind, "save_pretrained", fail)
    place = folder if writer == "model" else f"{tempfile.gettempdir()}/\\S+"  # of the checkpoint's tokenizer
    message = rf"train_lm: {place} could not be written \(No space left on device\); make room, then continue"
    with pytest.raises(SystemExit, match=message):
        train_lm.main([*argv, "--resume"])
    assert (folder / "config.json").read_bytes() == before and not [*folder.glob("*.partial")]


@pytest.mark.parametrize(
    "error, name",
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/caches/token.json"), "/caches/token.json"),
        (SafetensorError("I/O error: No space left on device (os error 28)"), "a cache or a temporary file"),
    ],
)
def test_a_disk_that_is_full_elsewhere_is_reported(trained, error, name, monkeypatch):
    argv, _, _ = trained

    def fail(*args, **options):
        raise error

    monkeypatch.setattr(train_lm, "load_data", fail)
    message = rf"{name} could not be written \(No space left on device\); make room, then continue with --resume"
    with pytest.raises(SystemExit, match=message):
        train_lm.main([*argv, "--resume"])


def test_errors_of_the_program_keep_their_traceback(trained, monkeypatch):
    argv, _, _ = trained
    monkeypatch.setattr(train_lm, "write_card", lambda folder: (folder / "missing").read_text())
    with pytest.raises(FileNotFoundError):
        train_lm.main([*argv, "--resume"])


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_results_of_other_weights_that_cannot_be_deleted_are_reported(trained, number, monkeypatch):
    argv, folder, _ = trained
    before = {path.name for path in folder.iterdir()}

    def fail(self, missing_ok=False):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "unlink", fail)
    with pytest.raises(
        SystemExit, match=rf"results.json could not be deleted \({os.strerror(number)}\); {FAILURES[number]}$"
    ):
        train_lm.main([*argv, "--resume"])
    assert {path.name for path in folder.iterdir()} == before
