# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Reads the documents of one file: the rows of a table, the lines of a text, the whole text, or pieces of it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TextIO

from training.corpus.decoding import open_text
from training.corpus.files import File
from training.corpus.options import TextOptions
from training.corpus.tables import texts

READ_AT_ONCE = 1 << 20  # characters


def documents(file: File, options: TextOptions, piece: int | None = None, skip: int = 0) -> Iterator[str | None]:
    """Yields the documents of a file, and `None` for each row or line without text.

    Args:
        file (`File`): An examined file.
        piece (`int`, *optional*): A longer text is cut into documents of at most this many characters.
        skip (`int`): Number of items to leave out at the beginning.

    Raises:
        InputError: The file cannot be read; the message names it.
    """
    if file.kind != "text":
        return texts(file.path, file.kind, file.content, options.text_column, skip)
    if options.document_per_line:
        return islice(_lines(file), skip, None)
    if piece is not None:
        return islice(_pieces(file, piece), skip, None)
    return islice(_whole(file), skip, None)


def _lines(file: File) -> Iterator[str | None]:
    with open_text(file.path, file.content) as opened:
        for line in opened:
            yield line.rstrip("\r\n") or None


def _whole(file: File) -> Iterator[str]:
    with open_text(file.path, file.content) as opened:
        yield read_characters(opened)


def _pieces(file: File, piece: int) -> Iterator[str]:
    with open_text(file.path, file.content) as opened:
        rest = ""
        while True:
            rest += opened.read(piece + 1 - len(rest))
            if len(rest) <= piece:
                break
            end = _end_of_piece(rest, piece)
            yield rest[:end]
            rest = rest[end:]
        if rest:
            yield rest


def _end_of_piece(text: str, longest: int) -> int:
    """Returns where to cut a text: after a line end in the second half, else after a blank there, else anywhere."""
    for separator in ("\n", " "):
        found = text.rfind(separator, longest // 2, longest)
        if found >= 0:
            return found + 1
    return longest


def read_characters(opened: TextIO, count: int | None = None) -> str:
    """Returns the next `count` characters of a text, or all of it.

    The text is read in pieces. Reading it at once would need memory for its bytes too.
    """
    pieces = []
    left = count
    while left is None or left > 0:
        text = opened.read(READ_AT_ONCE if left is None else min(left, READ_AT_ONCE))
        if not text:
            break
        pieces.append(text)
        if left is not None:
            left -= len(text)
    return "".join(pieces)
