# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Formats numbers, durations and lines for the terminal."""

from __future__ import annotations

import textwrap

WIDTH = 80  # characters of a line


def clock(seconds: float) -> str:
    """Formats a duration as minutes and seconds, with hours if it is that long.

    >>> clock(75), clock(3675)
    ('1:15', '1:01:15')
    """
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def amount(number: float) -> str:
    """Formats a count with three digits and a unit.

    >>> [amount(n) for n in (999, 12_345, 1_234_567)]
    ['999', '12.3 k', '1.23 M']
    """
    for unit, name in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= unit:
            return f"{number / unit:.3g}{name}"
    return f"{number:.3g}"


def byte_size(number: float) -> str:
    """Formats a number of bytes.

    >>> byte_size(999), byte_size(12_345)
    ('999 B', '12.3 kB')
    """
    text = amount(number)
    return f"{text}B" if " " in text else f"{text} B"


def wrapped(title: str, text: str, indent: int = 10) -> str:
    """Returns a text that begins `indent` characters after its title, in lines of at most `WIDTH` characters.

    Lines are broken between words, so a longer word makes a longer line.

    >>> print(wrapped("data", "1 file: a.txt"))
    data      1 file: a.txt
    """
    return textwrap.fill(
        text,
        width=WIDTH,
        initial_indent=title.ljust(indent),
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def table(title: str, rows: list[tuple[str, float]], digits: int = 3) -> str:
    """Formats a table of two columns, largest numbers first.

    >>> print(table("bits", [("a", 1.0), ("bc", 2.5)], digits=1))
    bits
      bc  2.5
      a   1.0
    """
    rows = sorted(rows, key=lambda row: -row[1])
    width = max(len(name) for name, _ in rows)
    return "\n".join([title, *(f"  {name:<{width}}  {value:.{digits}f}" for name, value in rows)])
