# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The command lines of the scripts: parsers, types of options, and errors that end a script with one line.

The type of an option rejects a bad value before any work is done. Its message says which values are accepted.
"""

from __future__ import annotations

import argparse
import functools
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from training.common.errors import InputError, WriteError, file_name, write_remedy
from training.common.packages import module_of


class DefaultsFormatter(argparse.HelpFormatter):
    """Adds the default to the help of each option, unless the help names it or the option is off or empty by default."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help or ""
        default = action.default
        named = "default:" in text or "by default" in text
        if named or default is None or default is False or default in ([], argparse.SUPPRESS):
            return text
        if isinstance(default, list):
            default = " ".join(map(str, default))
        elif isinstance(default, Path):
            default = os.path.relpath(default)
        escaped = str(default).replace("%", "%%")  # argparse formats the help with %
        return f"{text} (default: {escaped})"


def make_parser(module: str, description: str | None, **options: Any) -> argparse.ArgumentParser:
    """Returns the parser of a script. Its help shows the default of each option.

    Args:
        module (`str`): The script's module, as `python -m` takes it.
        description (`str`): The script's docstring, whose first line is shown by `--help`.
        options: Other arguments of `argparse.ArgumentParser`.

    >>> make_parser("training.bench.scan", "Measures the scan.").format_usage()
    'usage: python -m training.bench.scan [-h]\\n'
    """
    first_line = (description or "").partition("\n")[0]
    return argparse.ArgumentParser(
        prog=f"python -m {module}", description=first_line, formatter_class=DefaultsFormatter, **options
    )


def reported(main: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps a script's `main`: an error that the user can correct ends the script with one line, without a traceback."""

    @functools.wraps(main)
    def run(argv: list[str] | None = None) -> Any:
        module = module_of(main.__code__.co_filename)
        try:
            return main(argv)
        except InputError as error:
            raise SystemExit(f"{module}: {error}") from None
        except WriteError as error:
            raise SystemExit(f"{module}: {error}; {write_remedy(error)}, then give the same command again") from None
        except PermissionError as error:
            name = file_name(error)
            if name is None:
                raise
            raise SystemExit(
                f"{module}: no permission to use {name}: change its permissions, or give another"
            ) from None

    return run


# --- types of options: each takes the text of an option and returns its value, or raises argparse.ArgumentTypeError


def number(text: str) -> float:
    """Any finite number."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, got {text!r}") from None
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"must be finite, got {text}")
    return value


def positive(text: str) -> float:
    """A finite number above 0."""
    value = number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"must be above 0, got {text}")
    return value


def not_negative(text: str) -> float:
    """A finite number, 0 or more."""
    value = number(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must not be negative, got {text}")
    return value


def share(text: str) -> float:
    """A number in [0, 1)."""
    value = number(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 0 and below 1, got {text}")
    return value


def positive_share(text: str) -> float:
    """A number in (0, 1]."""
    value = number(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most 1, got {text}")
    return value


def whole(text: str) -> int:
    """A whole number, 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number, 0 or more, got {text!r}")
    return int(text)


def positive_int(text: str) -> int:
    """A whole number, 1 or more."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, got {text!r}")
    return int(text)


def at_least(minimum: int) -> Callable[[str], int]:
    """Returns the type of a whole number, `minimum` or more."""

    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < minimum:
            raise argparse.ArgumentTypeError(f"must be a whole number, at least {minimum}, got {text!r}")
        return int(text)

    return parse


def seed(text: str) -> int:
    """A whole number that random number generators accept: from 0 to 2^63 - 1."""
    if not text.isdecimal() or int(text) >= 1 << 63:
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to 2^63 - 1, got {text!r}")
    return int(text)


def device(text: str) -> str:
    """A device on which torch can make a tensor."""
    try:
        torch.empty(0, device=text)
    except (RuntimeError, AssertionError) as error:  # the latter comes from a torch without CUDA
        reason = str(error).splitlines()[0]
        raise argparse.ArgumentTypeError(
            f"{text} cannot be used here ({reason}): give cpu, or a device of this machine"
        ) from None
    return text


def result_file(text: str) -> Path:
    """The path of a JSON file that can be written. Its folder is created."""
    path = Path(text).expanduser()
    if path.suffix != ".json" or path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is not the name of a JSON file: give a name that ends in .json")
    if not os.access(folder(str(path.parent)), os.W_OK):
        raise argparse.ArgumentTypeError(f"{text} cannot be written, its folder is read-only: choose another")
    return path


def folder(text: str) -> Path:
    """The path of a folder. It is created."""
    path = Path(text).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise argparse.ArgumentTypeError(
            f"the folder {text} cannot be created ({error.strerror}): choose another"
        ) from None
    return path
