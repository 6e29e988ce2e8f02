# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Types of command-line options: a value that does not fit is refused before any work, with what would fit."""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path

import torch


def number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, got {text!r}") from None
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"must be finite, got {text}")
    return value


def positive(text: str) -> float:
    if (value := number(text)) <= 0:
        raise argparse.ArgumentTypeError(f"must be above 0, got {text}")
    return value


def not_negative(text: str) -> float:
    if (value := number(text)) < 0:
        raise argparse.ArgumentTypeError(f"must not be negative, got {text}")
    return value


def share(text: str) -> float:
    value = number(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 0 and below 1, got {text}")
    return value


def whole(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number, 0 or more, got {text!r}")
    return int(text)


def positive_int(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, got {text!r}")
    return int(text)


def device(text: str) -> str:
    try:
        torch.empty(0, device=text)
    except (RuntimeError, AssertionError) as error:  # the latter of a torch without CUDA
        reason = str(error).splitlines()[0]
        raise argparse.ArgumentTypeError(
            f"{text} cannot be used here ({reason}): give cpu, or one that is there"
        ) from None
    return text


def result_file(text: str) -> Path:
    path = Path(text).expanduser()
    if path.suffix != ".json" or path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is not the name of a JSON file: let it end in .json")
    if not os.access(folder(str(path.parent)), os.W_OK):
        raise argparse.ArgumentTypeError(f"{text} cannot be written, its folder is read-only: choose another")
    return path


def folder(text: str) -> Path:
    path = Path(text).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise argparse.ArgumentTypeError(
            f"the folder {text} cannot be made ({error.strerror}): choose another"
        ) from None
    return path
