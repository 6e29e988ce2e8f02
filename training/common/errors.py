# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The errors that a script reports in one line, and the first lines of others."""

from __future__ import annotations


class InputError(ValueError):
    """An input that the user can correct. The message names the value and the remedy."""


class CheckpointError(OSError):
    """A checkpoint could not be written. The earlier ones are untouched."""


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's message, or its type if it has none.

    >>> first_line(ValueError("bad value\\nmore about it")), first_line(ValueError())
    ('bad value', 'ValueError')
    """
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
