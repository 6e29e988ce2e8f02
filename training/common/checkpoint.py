# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Checkpoint files: written so that they are complete or absent, the newest ones kept, and compared with the present run."""

from __future__ import annotations

import contextlib
import os
import sys
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

from training.common.errors import CheckpointError, InputError, first_cause

PATTERN = f"checkpoint-{'[0-9]' * 10}.pt"  # copies under other names belong to the user
FORMAT = 2
RESTART = "start again with --overwrite in place of --resume"
TEXT_HASHES = ("stream", "training text")  # arguments that are hashes of the text


def checkpoints(folder: str | os.PathLike) -> list[Path]:
    """Returns the checkpoints in a folder, the newest first."""
    return sorted(Path(folder).glob(PATTERN), reverse=True)


def step_of(path: Path) -> int:
    """Returns the step of a checkpoint file.

    >>> step_of(Path("checkpoint-0000000120.pt"))
    120
    """
    return int(path.stem.rpartition("-")[2])


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
    payload = newest_readable(folder)
    if payload is not None:
        return payload
    found = checkpoints(folder)
    remedy = "leave out --resume, or check --output-dir"
    if found:
        remedy = f"none of them can be read: {restart}"
    raise InputError(f"nothing to resume: {len(found)} checkpoints in {folder}; {remedy}")


def newest_readable(folder: str | os.PathLike) -> dict | None:
    """Returns the content of the newest readable checkpoint of a folder, if any, and prints the unreadable ones to stderr."""
    unreadable: set[Path] = set()
    while True:
        # Listed each time, since a run that is in progress replaces its checkpoints.
        path = next((path for path in checkpoints(folder) if path not in unreadable), None)
        if path is None:
            return None
        try:
            return read_checkpoint(path)
        except InputError as error:
            unreadable.add(path)
            if path.exists():
                print(f"{error}; trying the one before", file=sys.stderr)


def read_checkpoint(path: Path) -> dict:
    """Returns the content of a checkpoint, with its tensors on the CPU.

    Raises:
        InputError: The file is damaged, or it is not a checkpoint of this format.
    """
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


def check_same_run(
    saved: dict, current: dict, free: set[str], restart: str = RESTART, options: Collection[str] = ()
) -> list[str]:
    """Compares the arguments of a checkpoint with the present ones.

    Args:
        saved, current (`dict`): Arguments by name.
        free (`set[str]`): Names of arguments that may differ.
        restart (`str`): How the user starts again without the checkpoint, for the message.
        options (`Collection[str]`): Names of the arguments that are options of the command line. The message shows them as the
            user types them.

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
        if name in TEXT_HASHES:
            raise InputError(
                f"the text is not the one that the checkpoint was made with ({name} {now!r} instead of {before!r}): "
                f"restore its files, or {restart}"
            )
        if name not in free:
            values = f"{name} {before!r}, not {now!r}"
            if name in options:
                values = _option_values(name, before, now)
            raise InputError(
                f"the checkpoint was made with {values}: resume with the value it was made with, or {restart}"
            )
        allowed.append(f"{name} {now!r} instead of {before!r}")
    return allowed


def _option_values(name: str, before: Any, now: Any) -> str:
    """Describes two values of an option as the user types them.

    >>> _option_values("hidden_size", 16, 24), _option_values("streaming", True, False)
    ('--hidden-size 16, not 24', '--streaming, not without it')
    >>> _option_values("intermediate_size", None, 32)
    'no --intermediate-size, not 32'
    """
    words = [_option_words(value) for value in (before, now)]
    option = f"--{name.replace('_', '-')}"
    if words[0] is None:
        return f"no {option}, not {words[1] or 'with it'}"
    other = "without it" if words[1] is None else words[1]
    return f"{' '.join([option, words[0]]).rstrip()}, not {other}"


def _option_words(value: Any) -> str | None:
    """Returns the words that follow an option for it to have a value; `None` if the option is left out."""
    if value is None or value is False or value in ([], {}):
        return None
    if value is True:
        return ""
    if isinstance(value, dict):
        return " ".join(f"{key}={entry}" for key, entry in value.items())
    if isinstance(value, list):
        return " ".join(map(str, value))
    return str(value)
