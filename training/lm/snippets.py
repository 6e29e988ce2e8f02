# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Prompts, and the share of sampled snippets that Python's parser accepts.

The protocol is the same for every model. A sample starts a document with `PROMPT`, the beginning of a function. It is about
`SNIPPET_BYTES` bytes long, drawn at temperature 0.8 from the top 95 % of the probability mass, and shorter if the model ends
the document. If a sample was cut off, its last line, which is incomplete, is dropped. `ast.parse` then judges the prompt and
the rest. The first bytes of real top-level functions, cut in the same way, show what perfect samples would reach: less than
1, because a cut can fall inside a string or a bracket.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Sequence
from typing import NamedTuple

PROMPT = "def"
SNIPPET_BYTES = 192
TEMPERATURE = 0.8
TOP_P = 0.95


def complete_lines(text: str) -> str:
    """The text without its last line if that line has no end.

    >>> complete_lines("a = 1\\nb = ")
    'a = 1\\n'
    """
    return text[: text.rfind("\n") + 1]


def opening(documents: Sequence[str]) -> str:
    """The first words of a line of the documents, for a prompt: three if a line near the beginning has as many.

    The very first line is left out if there are others, since a text that was cut in two begins within a line.

    >>> opening(["st of a line\\n\\nROMEO:\\nO, she doth teach the torches to burn bright!\\n"])
    'O, she doth'
    >>> opening(["ACGT" * 100])
    'ACGTACGTACGTACGTACGTACGT'
    """
    beginning = (document[:10_000] for document in documents[:20])
    lines = [words for text in beginning for line in text.splitlines() if (words := line.split()[:3])]
    longest = max(lines[1:20] or lines, key=len, default=[])  # the first of those with the most words
    return " ".join(longest)[:24]


class Sample(NamedTuple):
    """One generated text, and whether the model ended it itself."""

    text: str
    ended: bool

    @property
    def snippet(self) -> str:
        """The part to be parsed."""
        return self.text if self.ended else complete_lines(self.text)


def parses(text: str) -> bool:
    """Whether `text` is a syntactically valid module with something in it; white space alone is not."""
    if not text.strip():
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SyntaxWarning: an odd escape in a sample is not news
        try:
            ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False  # ValueError: null bytes; the last two: nesting beyond the parser's depth
    return True


def parse_share(texts: Sequence[str]) -> float:
    """Share of the texts, in [0, 1], that `ast.parse` accepts; empty ones count as refused.

    Raises:
        ValueError: `texts` is empty.
    """
    if not texts:
        raise ValueError("parse_share needs at least one text")
    return sum(parses(text) for text in texts) / len(texts)


def real_snippets(documents: Sequence[str]) -> list[str]:
    """The first `SNIPPET_BYTES` bytes from each top-level function on, cut as samples are: what perfect samples reach.

    >>> real_snippets(["x = 1\\ndef f():\\n    pass\\n"])
    ['def f():\\n    pass\\n']
    """
    snippets = []
    for document in documents:
        for match in re.finditer(rf"^{PROMPT}\b", document, flags=re.MULTILINE):
            rest = document[match.start() :]
            head = rest.encode()[:SNIPPET_BYTES].decode(errors="ignore")
            snippets.append(Sample(head, head == rest).snippet)
    return snippets
