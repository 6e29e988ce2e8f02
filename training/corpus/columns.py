# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Checks that tables of all formats share: a value that is text, and a column that is missing."""

from __future__ import annotations

import os
import re
from typing import Any

from training.common.errors import InputError
from training.corpus.names import shown

BINARY_KINDS = ("parquet", "arrow")
MAX_NAMES = 20  # of columns in a message
MAX_NAME = 40  # characters of a column's name there
SURROGATE = re.compile("[\ud800-\udfff]")


def text_of(value: Any, path: str | os.PathLike, column: str, where: str) -> str | None:
    """Returns a value that is text, or `None` for an empty one or null."""
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise InputError(
            f"column {column!r} of {shown(path)} holds {type(value).__name__}, not text ({where}): "
            "choose another --text-column"
        )
    if value.isascii():
        return value
    return SURROGATE.sub("\ufffd", value)


def no_column(path: str | os.PathLike, column: str, names: list[str], kind: str) -> InputError:
    shortened = [shown(" ".join(name.split())[:MAX_NAME]) for name in names[:MAX_NAMES]]
    if len(names) > MAX_NAMES:
        shortened.append("...")
    listed = ", ".join(shortened)
    remedy = f"choose --text-column from {listed or 'the columns of another file'}"
    if kind not in BINARY_KINDS:
        remedy += ", or read it as plain text with --plain-text"
    return InputError(f"{shown(path)} has no column {column!r}: {remedy}")
