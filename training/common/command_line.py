# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The command lines of the scripts: parsers, types of options, and errors that end a script with one line.

A type of an option rejects a value before any work is done, and its message says which values are accepted.
"""

from __future__ import annotations

import argparse
import functools
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from training.common.errors import CheckpointError, InputError


def make_parser(module: str, description: str | None, **options: Any) -> argparse.ArgumentParser:
    """Returns the parser of a script.

    Args:
        module (`str`): The script's module, as `python -m` takes it.
        description (`str`): The script's docstring, whose first line is shown by `--help`.
        options: Other arguments of `argparse.ArgumentParser`.

    >>> make_parser("training.bench.scan", "Measures the scan.").format_usage()
    'usage: python -m training.bench.scan [-h]\\n'
    """
    first_line = (description or "").partition("\n")[0]
    return argparse.ArgumentParser(prog=f"python -m {module}", description=first_line, **options)


def module_of(main: Callable) -> str:
    """Returns the module that defines a script's `main`, as `python -m` takes it."""
    module = sys.modules[main.__module__]  # "__main__" where the script is run
    spec = module.__spec__
    return Path(str(module.__file__)).stem if spec is None else spec.name


def reported(main: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps a script's `main`: an error that the user can correct ends the script with one line, without a traceback."""

    @functools.wraps(main)
    def run(argv: list[str] | None = None) -> Any:
        try:
            return main(argv)
        except (InputError, CheckpointError) as error:
            raise SystemExit(f"{module_of(main)}: {error}") from None

    return run


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
