# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Checkpoint files: complete or absent, the newest ones kept, and unreadable ones reported and skipped."""

import errno
import os

import pytest
import torch

from training.common import checkpoint
from training.common.checkpoint import checkpoints, load_checkpoint, save_checkpoint
from training.common.errors import CheckpointError, InputError


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_newest_checkpoints_are_kept(tmp_path):
    for step in (1, 2, 10, 30):
        save_checkpoint(tmp_path, step, {"step": step}, keep=2)
    assert names(tmp_path) == ["checkpoint-0000000010.pt", "checkpoint-0000000030.pt"]
    assert load_checkpoint(tmp_path)["step"] == 30


def damage(path, how):
    content = bytearray(path.read_bytes())
    if how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "flipped":
        at = content.index(b"\x07" * 64)
        content[at] ^= 1
        path.write_bytes(content)
    elif how == "foreign":
        torch.save({"model": {}}, path)
    elif how == "text":
        path.write_text("not a checkpoint")


@pytest.mark.parametrize("how", ["truncated", "empty", "flipped", "foreign", "text"])
def test_an_unreadable_checkpoint_is_reported_and_the_one_before_is_used(tmp_path, capsys, how):
    for step in (1, 2):
        save_checkpoint(tmp_path, step, {"step": step, "x": torch.full((256,), 7, dtype=torch.uint8)})
    damage(tmp_path / "checkpoint-0000000002.pt", how)
    assert load_checkpoint(tmp_path)["step"] == 1
    assert "checkpoint-0000000002.pt" in capsys.readouterr().err
    save_checkpoint(tmp_path, 2, {"step": 2})
    assert load_checkpoint(tmp_path)["step"] == 2


def test_a_checkpoint_that_a_run_replaces_meanwhile_is_not_missed(tmp_path, monkeypatch, capsys):
    save_checkpoint(tmp_path, 1, {"step": 1}, keep=1)
    read = checkpoint.read_checkpoint

    def late(path):
        if path.name == "checkpoint-0000000001.pt":
            save_checkpoint(tmp_path, 2, {"step": 2}, keep=1)
        return read(path)

    monkeypatch.setattr(checkpoint, "read_checkpoint", late)
    assert load_checkpoint(tmp_path)["step"] == 2
    assert capsys.readouterr().err == ""


def test_unreadable_checkpoints_do_not_replace_good_ones(tmp_path):
    for step in (1, 5):
        save_checkpoint(tmp_path, step, {"step": step})
    damage(tmp_path / "checkpoint-0000000005.pt", "truncated")
    save_checkpoint(tmp_path, 2, {"step": 2}, keep=2)
    assert names(tmp_path) == ["checkpoint-0000000001.pt", "checkpoint-0000000002.pt"]


def test_a_folder_without_a_readable_checkpoint_is_rejected(tmp_path):
    with pytest.raises(InputError, match=r"nothing to resume: 0 checkpoints .*leave out --resume"):
        load_checkpoint(tmp_path)
    save_checkpoint(tmp_path, 1, {})
    damage(tmp_path / "checkpoint-0000000001.pt", "empty")
    with pytest.raises(InputError, match=r"nothing to resume: 1 checkpoints .*start again with --overwrite in place"):
        load_checkpoint(tmp_path)


def test_a_write_that_fails_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, 1, {"step": 1})

    def run_out_of_disk(payload, file):
        file.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(torch, "save", run_out_of_disk)
    with pytest.raises(CheckpointError, match=r"No space left on device\); checkpoint-0000000001.pt is intact"):
        save_checkpoint(tmp_path, 2, {"step": 2})
    monkeypatch.undo()
    assert names(tmp_path) == ["checkpoint-0000000001.pt"]
    assert load_checkpoint(tmp_path)["step"] == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux's device that is always full")
def test_a_full_disk_leaves_the_old_checkpoint(tmp_path):
    save_checkpoint(tmp_path, 1, {"step": 1})
    (tmp_path / "checkpoint-0000000002.pt.partial").symlink_to("/dev/full")
    with pytest.raises(CheckpointError, match=r"\(No space left on device\); checkpoint-0000000001\.pt is intact"):
        save_checkpoint(tmp_path, 2, {"x": torch.zeros(10_000)})
    assert load_checkpoint(tmp_path)["step"] == 1


def test_unfinished_files_are_deleted(tmp_path):
    (tmp_path / "checkpoint-0000000009.pt.partial").write_bytes(b"half")
    save_checkpoint(tmp_path, 1, {})
    assert names(tmp_path) == [path.name for path in checkpoints(tmp_path)] == ["checkpoint-0000000001.pt"]


def test_a_copy_under_another_name_is_left_alone(tmp_path):
    for step in (5, 8):
        save_checkpoint(tmp_path, step, {"step": step})
    (tmp_path / "checkpoint-best.pt").write_bytes(b"a copy of the user's")
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-0000000008.pt", "checkpoint-0000000005.pt"]
    save_checkpoint(tmp_path, 9, {"step": 9}, keep=1)
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-0000000009.pt", "checkpoint-best.pt"}
