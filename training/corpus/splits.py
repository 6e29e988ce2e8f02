# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Recognizes the splits of a source by the names of its files: training, validation and test."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from training.corpus.names import without_compression

SPLIT_OF_WORD = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}
WORD = re.compile(rf"(?<![^\W\d_])({'|'.join(SPLIT_OF_WORD)})(?![^\W\d_])", re.IGNORECASE)
HELDOUT_SPLITS = ("validation", "valid", "val", "dev", "test")


def splits_of_tables(names: Sequence[str]) -> list[str] | None:
    """Returns the split of each table, or `None` if the names do not say both what to train on and what to hold out.

    A name that has a split's word gives the split: first the file's own name, then those of its folders. Tables without such
    a word are training tables.

    >>> splits_of_tables(["train-1.jsonl", "dev.jsonl", "more.jsonl"])
    ['train', 'validation', 'train']
    >>> splits_of_tables(["test/a.csv", "test/b.csv"]) is None
    True
    """
    found = [split_of_name(name) or "train" for name in names]
    return found if len(set(found)) > 1 and "train" in found else None


def split_of_name(name: str) -> str | None:
    """Returns the split that a word in a name says, or `None`. The file's own name counts before those of its folders."""
    for part in reversed(name.split("/")):
        match = WORD.search(part)
        if match:
            return SPLIT_OF_WORD[match[1].lower()]
    return None


def splits_of_texts(names: Sequence[str], sizes: Sequence[int]) -> list[str] | None:
    """Returns the split of each text, or `None` if there are no splits.

    A word such as `test` can be part of any name. It names a split only if the same name exists with `train` in its place;
    digits and compression may differ. Texts without a split are training texts. There are no splits if most of the bytes are in
    such texts: `train.py` and `test.py` among other sources are programs.

    >>> splits_of_texts(["wiki.test.tokens", "wiki.train.tokens"], [1, 9])
    ['test', 'train']
    >>> splits_of_texts(["a.py", "test_a.py", "train.py"], [5, 5, 5]) is None
    True
    """
    splits: dict[str, set[str]] = defaultdict(set)
    templates = [_templates(name) for name in names]
    for pairs in templates:
        for template, split in pairs:
            splits[template].add(split)
    twins = {template for template, found in splits.items() if "train" in found and len(found) > 1}
    chosen = [next((split for template, split in pairs if template in twins), None) for pairs in templates]
    named = sum(size for split, size in zip(chosen, sizes, strict=True) if split)
    if not twins or 2 * named < sum(sizes):
        return None
    return [split or "train" for split in chosen]


def _templates(name: str) -> list[tuple[str, str]]:
    """Returns a pair for each word of a split in a name: the name up to that part with a mark in the word's place, and the
    split. The file's own name comes first.
    """
    parts = without_compression(name).split("/")
    pairs = []
    for position in reversed(range(len(parts))):
        part = parts[position]
        end = "" if position == len(parts) - 1 else "/"
        for match in WORD.finditer(part):
            marked = "/".join([*parts[:position], f"{part[: match.start()]}\0{part[match.end() :]}"])
            template = re.sub(r"\d+", "#", marked.lower()) + end
            pairs.append((template, SPLIT_OF_WORD[match[1].lower()]))
    return pairs


def heldout_split(splits: Sequence[str]) -> str:
    """Returns the split to hold out: the validation split if there is one, else the test split."""
    return "validation" if "validation" in splits else "test"
