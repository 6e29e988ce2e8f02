# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Checkpoint files that are whole at every moment, the last few kept, and the refusal of one that belongs to another run."""

from __future__ import annotations

import contextlib
import os
import sys
import zipfile
from pathlib import Path

import torch

from training.common.errors import CheckpointError, InputError

PATTERN = f"checkpoint-{'[0-9]' * 10}.pt"  # copies under other names are the user's own
FORMAT = 2


def first_cause(error: BaseException) -> str:
    """What the error says that all others came of: torch's writer puts its own words around a failed write."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__
    return getattr(error, "strerror", None) or next(iter(str(error).splitlines()), type(error).__name__)


def checkpoints(folder: str | os.PathLike) -> list[Path]:
    """The checkpoints in a folder, the newest first."""
    return sorted(Path(folder).glob(PATTERN), reverse=True)


def save_checkpoint(folder: str | os.PathLike, step: int, payload: dict, keep: int = 2) -> Path:
    """Writes `payload` (tensors, numbers, strings and containers of them) to `folder/checkpoint-<step>.pt`.

    The file appears under a temporary name, reaches the disk, and only then gets its own: a process killed at any moment
    leaves it whole or not at all. Then all but the newest `keep` are deleted.

    Raises:
        CheckpointError: It could not be written, for example on a full disk.
    """
    path = Path(folder) / f"checkpoint-{step:010d}.pt"
    temporary = path.with_name(f"{path.name}.partial")
    try:
        with open(temporary, "wb") as file:
            torch.save({"format": FORMAT, **payload}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # torch's writer has its own words for a failed write
        with contextlib.suppress(OSError):
            temporary.unlink()
        before = next((f"{one.name} is intact" for one in checkpoints(folder)), "there is none before it")
        reason = first_cause(error)
        raise CheckpointError(f"{path} could not be written ({reason}); {before}") from error
    if os.name == "posix":  # the rename itself must survive a power cut too
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    found = checkpoints(folder)
    # Later ones than this could not be read, or this run would have gone on from them.
    for old in [one for one in found if one.name > path.name] + [one for one in found if one.name <= path.name][keep:]:
        old.unlink()
    for left in Path(folder).glob(f"{PATTERN}.partial"):  # of a process that was killed while it wrote
        left.unlink()
    return path


ANEW = "start again with --overwrite in place of --resume"


def load_checkpoint(folder: str | os.PathLike, anew: str = ANEW) -> dict:
    """Reads the newest checkpoint of a folder that can be read onto the CPU, and names those that cannot on stderr.

    Args:
        folder: That holds them.
        anew (`str`): How the caller's user starts without them, for the message.

    Raises:
        InputError: There is none.
    """
    found = checkpoints(folder)
    for path in found:
        try:
            return _read(path)
        except InputError as error:
            print(f"{error}; trying the one before", file=sys.stderr)
    why = f"none of them can be read: {anew}" if found else "leave out --resume, or check --output-dir"
    raise InputError(f"nothing to resume: {len(found)} checkpoints in {folder}; {why}")


def _read(path: Path) -> dict:
    try:
        with zipfile.ZipFile(path) as archive:  # torch does not compare the check sums
            if damaged := archive.testzip():
                raise InputError(f"{path} is damaged in {damaged}")
        payload = torch.load(path, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path} is truncated or no checkpoint ({type(error).__name__})") from error
    if not isinstance(payload, dict) or payload.get("format") != FORMAT:
        raise InputError(f"{path} has another format than this version writes")
    return payload


def check_same_run(saved: dict, current: dict, free: set[str], anew: str = ANEW) -> list[str]:
    """Compares the arguments of a checkpoint with the current ones.

    Args:
        saved, current (`dict`): Arguments by name.
        free (`set[str]`): Names that may differ.
        anew (`str`): How the caller's user starts without the checkpoint, for the message.

    Returns:
        What differs and may, in words.

    Raises:
        InputError: Another argument differs; names it and both values.
    """
    allowed = []
    for name in {**saved, **current}:  # in the caller's order: the first difference is the one to name
        before, now = saved.get(name), current.get(name)
        if before == now:
            continue
        if name not in free:
            raise InputError(
                f"the checkpoint was made with {name} {before!r}, not {now!r}: "
                f"resume with the value it was made with, or {anew}"
            )
        allowed.append(f"{name} {now!r} instead of {before!r}")
    return allowed
