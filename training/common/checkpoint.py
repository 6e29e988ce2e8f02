# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Checkpoint files: written so that they are complete or absent, the newest ones kept, and compared with the present run."""

from __future__ import annotations

import contextlib
import os
import sys
import zipfile
from pathlib import Path

import torch

from training.common.errors import CheckpointError, InputError, first_cause

PATTERN = f"checkpoint-{'[0-9]' * 10}.pt"  # copies under other names belong to the user
FORMAT = 2
RESTART = "start again with --overwrite in place of --resume"


def checkpoints(folder: str | os.PathLike) -> list[Path]:
    """Returns the checkpoints in a folder, the newest first."""
    return sorted(Path(folder).glob(PATTERN), reverse=True)


def save_checkpoint(folder: str | os.PathLike, step: int, payload: dict, keep: int = 2) -> Path:
    """Writes `payload` (tensors, numbers, strings and containers of them) to `folder/checkpoint-<step>.pt`.

    The file is written to disk under a temporary name and renamed when it is complete. A process that is killed at any
    moment leaves a complete file or none. Then all but the newest `keep` checkpoints are deleted.

    Raises:
        CheckpointError: It could not be written, for example on a full disk.
    """
    path = Path(folder) / f"checkpoint-{step:010d}.pt"
    temporary = path.with_name(f"{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            torch.save({"format": FORMAT, **payload}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # torch's writer raises the latter if a write fails
        with contextlib.suppress(OSError):
            temporary.unlink()
        found = checkpoints(folder)
        earlier = f"{found[0].name} is intact" if found else "there is no earlier one"
        raise CheckpointError(f"{path} could not be written ({first_cause(error)}); {earlier}") from error
    if os.name == "posix":  # syncing the folder keeps the rename after a power failure
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    _delete_others(path, keep)
    return path


def _delete_others(path: Path, keep: int) -> None:
    """Deletes all checkpoints but `path` and the newest ones before it, `keep` in all, and unfinished files."""
    found = checkpoints(path.parent)
    # Checkpoints of later steps were unreadable, or this run would have continued from them.
    later = [one for one in found if one.name > path.name]
    others = [one for one in found if one.name <= path.name]
    for old in later + others[keep:]:
        old.unlink()
    for unfinished in path.parent.glob(f"{PATTERN}.partial"):  # of a process that was killed while it wrote
        unfinished.unlink()


def load_checkpoint(folder: str | os.PathLike, restart: str = RESTART) -> dict:
    """Loads the newest readable checkpoint of a folder onto the CPU, and prints the unreadable ones to stderr.

    Args:
        folder (`str`): Folder with the checkpoints.
        restart (`str`): How the user starts again without them, for the message.

    Raises:
        InputError: There is no readable checkpoint.
    """
    found = checkpoints(folder)
    for path in found:
        try:
            return _read(path)
        except InputError as error:
            print(f"{error}; trying the one before", file=sys.stderr)
    remedy = "leave out --resume, or check --output-dir"
    if found:
        remedy = f"none of them can be read: {restart}"
    raise InputError(f"nothing to resume: {len(found)} checkpoints in {folder}; {remedy}")


def _read(path: Path) -> dict:
    try:
        with zipfile.ZipFile(path) as archive:  # torch does not compare the checksums
            damaged = archive.testzip()
        if damaged:
            raise InputError(f"{path} is damaged in {damaged}")
        payload = torch.load(path, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path} is truncated or not a checkpoint ({type(error).__name__})") from error
    if not isinstance(payload, dict) or payload.get("format") != FORMAT:
        raise InputError(f"{path} has another format than this version writes")
    return payload


def check_same_run(saved: dict, current: dict, free: set[str], restart: str = RESTART) -> list[str]:
    """Compares the arguments of a checkpoint with the present ones.

    Args:
        saved, current (`dict`): Arguments by name.
        free (`set[str]`): Names of arguments that may differ.
        restart (`str`): How the user starts again without the checkpoint, for the message.

    Returns:
        A description of each argument that differs and may.

    Raises:
        InputError: Another argument differs. The message names it and both values.
    """
    allowed = []
    for name in {**saved, **current}:  # in the caller's order: the error names the first difference
        before = saved.get(name)
        now = current.get(name)
        if before == now:
            continue
        if name not in free:
            raise InputError(
                f"the checkpoint was made with {name} {before!r}, not {now!r}: "
                f"resume with the value it was made with, or {restart}"
            )
        allowed.append(f"{name} {now!r} instead of {before!r}")
    return allowed
