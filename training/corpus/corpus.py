# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The documents of a source, split into training and held-out documents, and what was read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from training.common.errors import InputError
from training.common.text import wrapped
from training.corpus.names import counted, listed, shown
from training.corpus.options import TextOptions


@dataclass(frozen=True)
class Reading:
    """The files that were read, by their names in the source, and those that were not.

    Attributes:
        source (`str`): What was read: `a folder, 42 files, 3.1 MB`.
        train, heldout (`list[str]`): Files that documents of the two sides come from. A file that was cut is in both.
        skipped (`dict[str, list[str]]`): Names that were not read, by the reason, such as `"binary"` or `"empty"`.
        notes (`list[str]`): Sentences about decisions that a user may want to change.
    """

    source: str = ""
    train: list[str] = field(default_factory=list)
    heldout: list[str] = field(default_factory=list)
    skipped: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def lines(self, split: str = "", train: str = "train") -> list[str]:
        """Returns the lines to print before the first step.

        Args:
            split (`str`): Description of the split, see `Corpus.split`.
            train (`str`): Title of the line with the files of `train`.

        >>> print(*Reading(train=["a.txt", "b.txt"], skipped={"binary": ["c.pyc"]}).lines("the first 2 documents"), sep="\\n")
          train     2 files: a.txt, b.txt
          held out  the first 2 documents
          skipped   1 binary: c.pyc
        """
        heldout = _files(self.heldout)
        if heldout and split:
            heldout = f"{heldout} ({split})"
        rows = [("source", self.source), (train, _files(self.train)), ("held out", heldout or split)]
        if self.skipped:
            rows.append(("skipped", "; ".join(described(self.skipped))))
        rows += [("note", note) for note in self.notes]
        return [wrapped(f"  {title}", text, indent=12) for title, text in rows if text]


def _files(names: list[str]) -> str:
    if not names:
        return ""
    return f"{counted(len(names), 'file')}: {listed(names)}"


def described(skipped: dict[str, list[str]]) -> list[str]:
    """Returns a count and the first names for each reason, the largest counts first.

    >>> described({"empty": ["e.txt"], "binary": ["a.png", "b.pyc"]})
    ['2 binary: a.png, b.pyc', '1 empty: e.txt']
    """
    pairs = sorted(skipped.items(), key=lambda pair: (-len(pair[1]), pair[0]))
    return [f"{len(names):,} {reason}: {listed(names)}" for reason, names in pairs]


def has_text(documents: list[str]) -> bool:
    """Whether a document has anything but white space."""
    return any(document and not document.isspace() for document in documents)


@dataclass(frozen=True)
class Corpus:
    """Documents of one source.

    Attributes:
        name (`str`): Short name that can be part of a folder's name: `stdlib`, `shakespeare`.
        kind (`str`): `stdlib`, `file`, `folder` or `hub`.
        train (`list[str]`): Training documents, none empty.
        heldout (`list[str]`): Held-out documents, none empty. No model or tokenizer learns from them.
        split (`str`): Description of the split, for the result file.
        reading (`Reading`): The files.
    """

    name: str
    kind: str
    train: list[str]
    heldout: list[str]
    split: str
    reading: Reading = field(default_factory=Reading)

    @property
    def is_python(self) -> bool:
        """Whether every document is a Python module. Samples can then be judged by a parser."""
        return self.kind == "stdlib"


def check_sides(options: TextOptions, corpus: Corpus, remedy: str) -> None:
    """Checks that there is text to train on and text to hold out.

    Raises:
        InputError: One of the sides has no text.
    """
    dataset = options.dataset
    if options.validation is not None and not has_text(corpus.heldout):
        raise InputError(f"--validation {shown(options.validation)} has no text: give other text to hold out")
    missing = [
        side for side, found in (("training", corpus.train), ("held-out", corpus.heldout)) if not has_text(found)
    ]
    if len(missing) == 2:
        raise InputError(f"dataset {shown(dataset)!r} is empty: it has no text; {remedy}")
    if missing:
        raise InputError(f"dataset {shown(dataset)!r} is too short: it has no {missing[0]} text; {remedy}")


class DocumentStream(Protocol):
    """Documents that are read one after the other. An iteration continues at the loaded state, or begins at the first.

    Attributes:
        source (`str`): Identifies the documents and their order, for checkpoints.
    """

    source: str

    def __iter__(self) -> Iterator[str]: ...

    def state_dict(self) -> dict:
        """Returns the position after the document that was read last."""
        ...

    def load_state_dict(self, state: dict) -> None:
        """Makes the next iteration continue at a position."""
        ...
