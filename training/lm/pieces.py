# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Cuts long texts into pieces that are tokenized one after the other. An encoder takes about 200 bytes of memory per character.

A cut does not change the tokens of a tokenizer that splits a text into words before it looks for tokens, and keeps the white
space before a word with that word, as byte-level tokenizers do.
"""

from __future__ import annotations

from collections.abc import Iterator

PIECE = 1 << 16  # characters


def pieces(text: str, longest: int = PIECE) -> Iterator[str]:
    """Yields a text in pieces of at most `longest` characters. An empty text is one empty piece.

    >>> list(pieces("one two\\nthree", 8)), list(pieces("one two", 6)), list(pieces("ACGT", 3))
    (['one two\\n', 'three'], ['one', ' two'], ['ACG', 'T'])
    """
    begin = 0
    while len(text) - begin > longest:
        end = _cut(text, begin, begin + longest)
        yield text[begin:end]
        begin = end
    yield text[begin:]


def _cut(text: str, begin: int, end: int) -> int:
    """Returns the last good place for a cut after `begin`, at `end` at the latest.

    The best place is after a line end between two characters that are not white space, because tokenizers that mark the start
    of a word by a space begin a line as they begin a text. Next come a blank between two such characters, and any white space
    after one. All of these leave the words as they are. A text without white space is cut at `end`.
    """
    place = text.rfind("\n", begin + 1, end)
    while place >= 0:
        if not text[place - 1].isspace() and not text[place + 1].isspace():
            return place + 1
        place = text.rfind("\n", begin + 1, place)
    place = text.rfind(" ", begin + 1, end)
    while place >= 0:
        if not text[place - 1].isspace() and not text[place + 1].isspace():
            return place
        place = text.rfind(" ", begin + 1, place)
    for place in range(end, begin, -1):
        if text[place] in " \t\r\n" and not text[place - 1].isspace():
            return place
    return end
