# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Checks whether a tokenizer keeps a text: whether decoding its tokens gives the text again.

A tokenizer that lower-cases or merges blanks makes a text easier to predict. A loss per byte of the original text would then
be that of another text, and must not be compared with that of other models.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from transformers import PreTrainedTokenizerBase

from training.lm.pieces import pieces
from training.lm.tokenization import encode_document_ids, unknown_id

CHECKED = 1 << 24  # characters that are checked in all
SHOWN = 24  # characters of an example


@dataclass(frozen=True)
class RoundTrip:
    """The result of decoding the tokens of some documents. Long documents are checked in the pieces that they are
    encoded in.

    Attributes:
        lossless (`bool`): Whether every piece came back unchanged.
        pieces, characters (`int`): What was checked.
        share_checked (`float`): Share of all characters.
        pieces_changed (`int`): Number of pieces that came back changed.
        characters_lost (`int`): Number of characters that did not come back, at least.
        before, after (`str`): Texts around the first difference.
    """

    lossless: bool
    pieces: int
    characters: int
    share_checked: float
    pieces_changed: int = 0
    characters_lost: int = 0
    before: str = ""
    after: str = ""

    def record(self) -> dict:
        """Returns the attributes, for a result file."""
        return asdict(self)


def reason(record: dict, markdown: bool = False) -> str:
    """Returns one sentence that says what a tokenizer loses, and that losses are therefore reported per token.

    Args:
        record (`dict`): See `RoundTrip.record`.
        markdown (`bool`): Whether the examples are marked as code.

    >>> reason({"before": "Word  a", "after": "word a", "pieces_changed": 1, "pieces": 2}).partition(" (")[0]
    "this tokenizer does not keep the text: 'Word  a' becomes 'word a'"
    """
    before, after = (_code(record[key]) if markdown else repr(record[key]) for key in ("before", "after"))
    count = f"{record['pieces_changed']:,} of {record['pieces']:,} pieces"
    if record["pieces"] == 1:
        count = "1 piece"
    return (
        f"this tokenizer does not keep the text: {before} becomes {after} ({count} of the measured text changed), so bits per "
        "byte would be those of another text, and losses are reported per token only"
    )


def _code(text: str) -> str:
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence} {text!r} {fence}" if len(fence) > 1 else f"`{text!r}`"


def check_round_trip(tokenizer: PreTrainedTokenizerBase, documents: Sequence[str]) -> RoundTrip:
    """Encodes documents as in training and evaluation, decodes them again, and compares.

    An unknown token that stands for one character counts as kept, because the loss includes the bits to name the character.
    If there are more than `CHECKED` characters, pieces that are spread evenly are checked.
    """
    total = sum(map(len, documents))
    every = max(1, -(-total // CHECKED))
    count = 0
    checked = 0
    changed = 0
    lost = 0
    example = ("", "")
    for number, piece in enumerate(piece for document in documents for piece in pieces(document)):
        if number % every:
            continue
        count += 1
        checked += len(piece)
        wanted, found = _there_and_back(tokenizer, piece)
        if wanted == found:
            continue
        lost += (Counter(wanted) - Counter(found)).total()
        if not changed:
            example = _first_difference(wanted, found)
        changed += 1
    share = checked / total if total else 1.0
    return RoundTrip(not changed, count, checked, share, changed, lost, *example)


def _there_and_back(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[str, str]:
    """Returns a text and what its tokens decode to. In the text, each character with the unknown token is replaced by it."""
    (ids,) = encode_document_ids(tokenizer, [text])
    found = tokenizer.decode(ids.tolist(), clean_up_tokenization_spaces=False)
    unknown = unknown_id(tokenizer)
    if unknown in ids and tokenizer.is_fast:
        text = _with_unknown(tokenizer, text, unknown)
    return text, found


def _with_unknown(tokenizer: PreTrainedTokenizerBase, text: str, unknown: int) -> str:
    backend = tokenizer.backend_tokenizer
    before = backend.encode_special_tokens
    backend.encode_special_tokens = True
    try:
        encoding = backend.encode(text, add_special_tokens=False)
    finally:
        backend.encode_special_tokens = before
    parts = []
    at = 0
    for token, (begin, end) in zip(encoding.ids, encoding.offsets, strict=True):
        if token == unknown and end == begin + 1:  # a token for several characters does not say which and how many
            parts += [text[at:begin], tokenizer.unk_token]
            at = end
    return "".join([*parts, text[at:]])


def _first_difference(wanted: str, found: str) -> tuple[str, str]:
    """Returns the texts around the first difference, from the beginning of its word."""
    length = min(len(wanted), len(found))
    at = next((i for i in range(length) if wanted[i] != found[i]), length)
    begin = max(0, at - SHOWN // 3)
    blank = max(wanted.rfind(" ", begin, at), wanted.rfind("\n", begin, at))
    if blank >= 0 and not wanted[blank:at].isspace():
        begin = blank + 1
    return wanted[begin : begin + SHOWN], found[begin : begin + SHOWN]
