# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The record of the documents that a model was trained on, by which an evaluation recognises them.

The record is saved with the model, as `trained_on.json`. It holds digests, not texts: the first 16 hexadecimal digits of the
SHA-256 of a document's UTF-8. Passages of a few lines have digests too, so a text is also recognised after it was cut, joined
or extended.
Of very many digests only the smallest are kept. They are a random sample, the same for every order of the documents.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from huggingface_hub import hf_hub_download

from training.common.files import write_text
from training.corpus.corpus import Corpus

FILE = "trained_on.json"
DOCUMENTS = 1_000_000  # largest number of digests of documents
PASSAGES = 1 << 17  # largest number of digests of passages
PASSAGE = 40  # characters at least; shorter ones occur in many texts
LONG_LINE = 1000  # characters; longer lines are split into sentences
IN_COMMON = 0.25  # share of the passages of a document from which on it counts as trained on
FEWEST = 4  # passages in the sample that this share needs
ALL = 1 << 64
AT_ONCE = 1 << 20  # characters that are encoded at once
DIGESTS = (
    "the first 16 hexadecimal digits of the SHA-256 of the UTF-8 of each text; share is the share of them that is kept"
)


def digest(*parts: str) -> int:
    """Returns the first 64 bits of the SHA-256 of a text, which may be given in parts.

    >>> f"{digest('a'):016x}", digest("ab") == digest("a", "b")
    ('ca978112ca1bbdca', True)
    """
    found = hashlib.sha256()
    for part in parts:
        for begin in range(0, len(part), AT_ONCE):  # a long text is not copied
            found.update(part[begin : begin + AT_ONCE].encode("utf-8", "surrogatepass"))
    return int.from_bytes(found.digest()[:8])


class Digests:
    """A set of digests of bounded size. When it is full, the bound below which digests are kept is halved.

    Args:
        limit (`int`): Largest number of digests.
    """

    def __init__(self, limit: int):
        self.limit = limit
        self.bound = ALL
        self.values: set[int] = set()

    def add(self, value: int) -> None:
        """Adds a digest, if it is below the bound."""
        if value < self.bound:
            self.values.add(value)
            if len(self.values) > self.limit:
                self._lower(self.bound // 2)

    def update(self, other: Digests) -> None:
        """Adds the digests of another set, and keeps only those that both sets would have kept."""
        self._lower(min(self.bound, other.bound))
        for value in other.values:
            self.add(value)

    def _lower(self, bound: int) -> None:
        self.bound = bound
        self.values = {value for value in self.values if value < bound}

    def can_tell(self, value: int) -> bool:
        """Whether the set would contain a digest if it had been added."""
        return value < self.bound

    def state_dict(self) -> dict:
        """Returns the digests as a tensor, and the bound as text, because it exceeds 64 bits."""
        ordered = np.array(sorted(self.values), np.uint64)
        return {"bound": str(self.bound), "values": torch.from_numpy(ordered.view(np.int64).copy())}

    def load_state_dict(self, state: dict) -> None:
        """Replaces the content by that of a state dict."""
        self.bound = int(state["bound"])
        self.values = set(state["values"].numpy().view(np.uint64).tolist())

    def to_json(self) -> dict:
        """Returns the share of the digests that is kept, and all digests in one text."""
        return {"share": self.bound / ALL, "digests": " ".join(f"{value:016x}" for value in sorted(self.values))}

    @classmethod
    def from_json(cls, content: dict, limit: int) -> Digests:
        """Returns the set that `to_json` has written."""
        found = cls(limit)
        found.bound = int(content["share"] * ALL)
        found.values = {int(word, 16) for word in content["digests"].split()}
        return found


def passages(text: str) -> Iterator[str]:
    """Yields a passage for each line of a text: the line, and as many of the next lines as make it `PASSAGE` characters long.

    Blanks around lines do not count, so an indented text has the same passages.

    >>> text = "\\n".join(["a" * 30, "", "  b", "c" * 40])
    >>> [len(passage) for passage in passages(text)]
    [73, 42, 40]
    """
    pending: deque[str] = deque()
    size = 0
    for line in _lines(text):
        pending.append(line)
        size += len(line)
        while size >= PASSAGE:
            yield "\n".join(pending)
            size -= len(pending.popleft())


def _lines(text: str) -> Iterator[str]:
    """Yields the lines of a text that are not empty, without the blanks around them, and the sentences of long ones."""
    for found in re.finditer(r"[^\r\n]+", text):
        line = found[0].strip()
        if len(line) > LONG_LINE:
            yield from filter(None, map(str.strip, line.split(". ")))
        elif line:
            yield line


@dataclass
class TrainedOn:
    """Digests of the documents of all trainings of a model.

    Attributes:
        trained (`Digests`): Documents that were trained on.
        partly (`Digests`): Whole documents of which a part was trained on.
        heldout (`Digests`): Documents, or parts of them, that were held out and never trained on.
        passages (`Digests`): Passages of the documents that were trained on.
        complete (`bool`): False if there was an earlier training without a record.
        heldout_seen (`int`): Number of documents that the last training held out although an earlier one trained on them, or
            on parts of them. It is not saved.
        heldout_copies (`int`): Number of documents that the last training held out although it also trained on copies of
            them. It is not saved.
    """

    trained: Digests = field(default_factory=lambda: Digests(DOCUMENTS))
    partly: Digests = field(default_factory=lambda: Digests(DOCUMENTS))
    heldout: Digests = field(default_factory=lambda: Digests(DOCUMENTS))
    passages: Digests = field(default_factory=lambda: Digests(PASSAGES))
    complete: bool = True
    heldout_seen: int = 0
    heldout_copies: int = 0

    def add(self, documents: Iterable[str]) -> None:
        """Records documents that are trained on."""
        for document in documents:
            self.trained.add(digest(document))
            for passage in passages(document):
                self.passages.add(digest(passage))

    def merge(self, other: TrainedOn | None) -> None:
        """Adds the record of an earlier training; `None` if it has none."""
        if other is None:
            self.complete = False
            return
        for name in ("trained", "partly", "heldout", "passages"):
            getattr(self, name).update(getattr(other, name))
        self.heldout.values -= self.trained.values
        self.complete = self.complete and other.complete

    def finds(self, document: str, whole: Sequence[str] | None = None) -> bool | None:
        """Whether a document was trained on, or a part of it; `None` if the record cannot tell.

        Args:
            whole (`Sequence[str]`, *optional*): The parts of the text that the document is the held-out part of.
        """
        value = digest(document)
        if value in self.trained.values or value in self.partly.values:
            return True
        if value in self.heldout.values:
            return False
        if whole is not None and any(digest(*whole) in kept.values for kept in (self.trained, self.partly)):
            return True
        share = self._share_in_common([document])
        if share is not None:
            return share >= IN_COMMON
        if whole is not None:  # the part is too short, or has no lines
            share = self._share_in_common(whole)
            return None if share is None or share >= IN_COMMON else False
        return False if self.trained.can_tell(value) else None

    def _share_in_common(self, parts: Sequence[str]) -> float | None:
        """Returns the share of a text's passages that were trained on; `None` if the record knows too few of them to tell."""
        known = 0
        common = 0
        for part in parts:
            for value in map(digest, passages(part)):
                known += self.passages.can_tell(value)
                common += value in self.passages.values
        return common / known if known >= FEWEST else None

    def state_dict(self) -> dict:
        """Returns what was added by `add`, for a checkpoint."""
        return {"trained": self.trained.state_dict(), "passages": self.passages.state_dict(), "complete": self.complete}

    def load_state_dict(self, state: dict | None) -> None:
        """Continues with a state dict; `None` for that of a checkpoint without a record."""
        if state is None:
            self.complete = False
            return
        self.trained.load_state_dict(state["trained"])
        self.passages.load_state_dict(state["passages"])
        self.complete = state["complete"]

    def write(self, folder: Path) -> None:
        """Writes `trained_on.json` of a model's folder."""
        content: dict = {"digests": DIGESTS, "complete": self.complete}
        for name in ("trained", "partly", "heldout", "passages"):
            content[name] = getattr(self, name).to_json()
        write_text(Path(folder) / FILE, json.dumps(content, indent=1) + "\n")


def record_corpus(corpus: Corpus, read: TrainedOn | None = None, base: str | None = None) -> TrainedOn:
    """Returns the record of a training on a corpus.

    Args:
        read (`TrainedOn`, *optional*): The documents that were read from a stream, instead of `corpus.train`.
        base (`str`, *optional*): Folder or Hub name of the model whose weights the training started from.
    """
    record = read
    if record is None:
        record = TrainedOn()
        record.add(corpus.train)
    whole = cut_text(corpus)
    if whole is not None:
        record.partly.add(digest(*whole))
    earlier = read_record(base) if base else None
    for document in corpus.heldout:
        if earlier is not None and earlier.finds(document, whole):
            record.heldout_seen += 1
        elif digest(document) in record.trained.values:
            record.heldout_copies += 1
        else:  # passages in common do not matter: this run held it out
            record.heldout.add(digest(document))
    if base:
        record.merge(earlier)
    return record


def heldout_warnings(record: TrainedOn, heldout: int) -> list[str]:
    """Returns the lines to print about held-out documents that are not new to the weights.

    Args:
        heldout (`int`): Number of held-out documents.
    """
    lines = []
    if record.heldout_seen:
        lines.append(
            f"{record.heldout_seen:,} of the {heldout:,} held-out documents were trained on earlier, in whole or in part: "
            "their loss is not that of a new text"
        )
    if record.heldout_copies:
        lines.append(
            f"{record.heldout_copies:,} of the {heldout:,} held-out documents are exact copies of training documents: their "
            "loss is not that of a new text"
        )
    return lines


def cut_text(corpus: Corpus) -> tuple[str, str] | None:
    """Returns the two parts of a text that was cut into the last training document and the held-out one, or `None`."""
    if len(corpus.heldout) != 1 or "characters" not in corpus.split:
        return None
    return corpus.train[-1], corpus.heldout[0]


def read_record(name: str) -> TrainedOn | None:
    """Returns the record of a saved model, by its folder or its name on the Hub; `None` if it has none that can be read."""
    path = Path(name).expanduser()
    try:
        file = path / FILE
        if not path.is_dir():
            file = Path(hf_hub_download(name, FILE))
        content = json.loads(file.read_text(encoding="utf-8"))
        record = TrainedOn(complete=bool(content["complete"]))
        for kind in ("trained", "partly", "heldout", "passages"):
            limit = PASSAGES if kind == "passages" else DOCUMENTS
            setattr(record, kind, Digests.from_json(content[kind], limit))
    except (OSError, TypeError, ValueError, KeyError):
        return None  # there is no such file, or it has another content
    return record
