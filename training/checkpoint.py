# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""One checkpoint file that is whole at every moment, and the refusal of one that belongs to another run."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from corpus import InputError

NAME = "checkpoint.pt"
FORMAT = 1


def save_checkpoint(folder: str | os.PathLike, payload: dict) -> Path:
    """Writes `payload` (tensors, numbers, strings and containers of them) to `folder/checkpoint.pt`.

    The file appears under a temporary name, reaches the disk, and only then takes the old one's place: a process
    killed at any moment leaves the old checkpoint or the new one, never a part.
    """
    path = Path(folder) / NAME
    temporary = path.with_name(f"{NAME}.partial")
    with open(temporary, "wb") as file:
        torch.save({"format": FORMAT, **payload}, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    if os.name == "posix":  # the rename itself must survive a power cut too
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    return path


def load_checkpoint(folder: str | os.PathLike) -> dict:
    """Reads `folder/checkpoint.pt` onto the CPU.

    Raises:
        InputError: There is none, or it isn't one of ours.
    """
    path = Path(folder) / NAME
    if not path.is_file():
        raise InputError(f"nothing to resume: {path} is not there; leave out --resume, or check --output-dir")
    try:
        payload = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(f"{path} cannot be read ({type(error).__name__}): start anew with --overwrite") from error
    if not isinstance(payload, dict) or payload.get("format") != FORMAT:
        raise InputError(f"{path} has another format than this version writes: start anew with --overwrite")
    return payload


def check_same_run(saved: dict, current: dict, free: set[str]) -> list[str]:
    """Compares the arguments of a checkpoint with the current ones.

    Args:
        saved, current (`dict`): Arguments by name.
        free (`set[str]`): Names that may differ.

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
                "resume with the value it was made with, or start anew with --overwrite"
            )
        allowed.append(f"{name} {now!r} instead of {before!r}")
    return allowed
