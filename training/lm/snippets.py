# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Prompts, and the share of sampled snippets that Python's parser accepts.

The protocol is the same for every model. A sample starts a document with `PROMPT`, the beginning of a function. It is about
`SNIPPET_BYTES` bytes long, drawn at temperature 0.8 from the top 95 % of the probability mass, and shorter if the model ends
the document. If a sample was cut off, its incomplete last line is dropped. `ast.parse` judges the rest, with the prompt. The
first bytes of real top-level functions, cut in the same way, show the share that perfect samples would reach. It is less than
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
    """Returns the text without its last line if that line is incomplete.

    >>> complete_lines("a = 1\\nb = ")
    'a = 1\\n'
    """
    return text[: text.rfind("\n") + 1]


def opening(documents: Sequence[str]) -> str:
    """Returns the first words of a line of the documents, as a prompt: three if a line near the beginning has that many.

    The first line is left out if there are others, because a text that was cut in two begins inside a line.

    >>> opening(["st of a line\\n\\nROMEO:\\nO, she doth teach the torches to burn bright!\\n"])
    'O, she doth'
    >>> opening(["ACGT" * 100])
    'ACGTACGTACGTACGTACGTACGT'
    """
    beginning = (document[:10_000] for document in documents[:20])
    lines = [line.split()[:3] for text in beginning for line in text.splitlines() if line.strip()]
    longest = max(lines[1:20] or lines, key=len, default=[])  # the first line with the most words
    return " ".join(longest)[:24]


class Sample(NamedTuple):
    """A generated text, and whether the model ended it."""

    text: str
    ended: bool

    @property
    def snippet(self) -> str:
        """The part that is parsed."""
        return self.text if self.ended else complete_lines(self.text)


def parses(text: str) -> bool:
    """Whether `text` is a syntactically valid module that is more than white space."""
    if not text.strip():
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SyntaxWarning, for an invalid escape in a sample
        try:
            ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False  # ValueError: null bytes; the last two: nesting too deep for the parser
    return True


def parse_share(texts: Sequence[str]) -> float:
    """Returns the share of the texts, in [0, 1], that `ast.parse` accepts. Empty texts count as rejected.

    Raises:
        ValueError: `texts` is empty.
    """
    if not texts:
        raise ValueError("parse_share needs at least one text")
    return sum(parses(text) for text in texts) / len(texts)


def real_snippets(documents: Sequence[str]) -> list[str]:
    """Returns the first `SNIPPET_BYTES` bytes from the beginning of each top-level function, cut in the way of samples.

    >>> real_snippets(["x = 1\\ndef f():\\n    pass\\n"])
    ['def f():\\n    pass\\n']
    """
    snippets = []
    for document in documents:
        for match in re.finditer(rf"^{PROMPT}\b", document, flags=re.MULTILINE):
            rest = document[match.start() :]
            head = rest.encode()[:SNIPPET_BYTES].decode(errors="ignore")
            snippets.append(Sample(head, ended=head == rest).snippet)
    return snippets
