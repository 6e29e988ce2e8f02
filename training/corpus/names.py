# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Names of files for messages of one line."""

from __future__ import annotations

import os
from collections.abc import Iterable

COMPRESSED_SUFFIXES = (".gz", ".xz", ".bz2", ".zst")
NAMES_SHOWN = 3
LONGEST_SHOWN = 100  # characters of a name in a list


def shown(path: str | os.PathLike) -> str:
    """Returns a path that can be printed in one line: line breaks, control characters and bytes that are not UTF-8 are
    escaped.

    >>> print(shown("two\\nlines"), shown(b"caf\\xe9".decode("utf-8", "surrogateescape")), shown("日本.txt"))
    two\\nlines caf\\xe9 日本.txt
    """
    return "".join(map(_escaped, os.fspath(path)))


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    if "\udc80" <= character <= "\udcff":  # stands for a byte that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def listed(names: Iterable[str], most: int = NAMES_SHOWN) -> str:
    """Returns the first names and the number of the others, for one line.

    >>> listed(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    names = list(names)
    text = ", ".join(_shortened(shown(name)) for name in names[:most])
    if len(names) > most:
        return f"{text} and {len(names) - most:,} more"
    return text


def _shortened(name: str) -> str:
    """Leaves out the middle of a long name."""
    if len(name) <= LONGEST_SHOWN:
        return name
    half = (LONGEST_SHOWN - 3) // 2
    return f"{name[:half]}...{name[-half:]}"


def without_compression(name: str) -> str:
    """Returns a name without the suffixes of compressed files.

    >>> without_compression("train.txt.GZ"), without_compression("train.txt")
    ('train.txt', 'train.txt')
    """
    while name.lower().endswith(COMPRESSED_SUFFIXES):
        name = name[: name.rindex(".")]
    return name


def counted(number: int, noun: str) -> str:
    """Returns a number with a noun.

    >>> counted(1, "file"), counted(1200, "file")
    ('1 file', '1,200 files')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
