# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The documents of a source, split into training and held-out documents, and what was read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class Reading:
    """The files that were read, by their names in the source, and those that were not.

    Attributes:
        train, heldout (`list[str]`): Files that documents of the two sides come from. A file that was cut is in both.
        skipped (`dict[str, list[str]]`): Files that were not read, by the reason, such as `"binary"` or `"empty"`.
        notes (`list[str]`): Sentences about decisions that a user may want to change.
    """

    train: list[str] = field(default_factory=list)
    heldout: list[str] = field(default_factory=list)
    skipped: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


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


class DocumentStream(Protocol):
    """Documents that are read one after the other. An iteration continues at the loaded state, or begins at the first."""

    def __iter__(self) -> Iterator[str]: ...

    def state_dict(self) -> dict:
        """Returns the position after the document that was read last."""
        ...

    def load_state_dict(self, state: dict) -> None:
        """Makes the next iteration continue at a position."""
        ...
