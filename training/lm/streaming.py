# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Documents that are read while training, and the rows of tokens made of them.

Every process reads the whole stream and takes its own rows, so that the rows don't depend on how many processes there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from training.common.errors import InputError
from training.lm.corpus import (
    HELDOUT_SPLITS,
    TABLE_OPTIONS,
    Corpus,
    check_utf8,
    quietly,
    table_kind,
    table_splits,
    visible_files,
)
from training.lm.tokenization import encode_document_ids

SAMPLE_CHARACTERS = 1 << 22  # of the first training documents: what a tokenizer is learned from
PULL = 32  # documents that are encoded together


def load_stream(dataset: str, text_column: str, heldout_documents: int):
    """Opens a dataset as a stream.

    Args:
        dataset (`str`): A text file or a folder of them, each file one document; a table or a folder of them; a name on the
            Hub, `owner/name` or `owner/name:configuration`.
        heldout_documents (`int`): How many to hold out: of the dataset's own validation or test split if it has one, else
            the first of the training split.

    Returns:
        `(corpus, stream)`: held-out documents and, as the corpus's training documents, the first of the stream; and the
        stream of training documents, a `datasets.IterableDataset` with the one column `text_column`.

    Raises:
        InputError: The source is missing, too short, not UTF-8, or has no such column.
    """
    what = f"dataset {dataset!r}"
    name, splits = quietly(lambda: _open(dataset), what)
    first = "train" if "train" in splits else next(iter(splits))
    train = quietly(lambda: _only_text(splits[first], text_column, name), what)
    own = next((split for split in HELDOUT_SPLITS if split in splits and split != first), None)
    if own is None:
        heldout, train = train.take(heldout_documents), train.skip(heldout_documents)
        how = f"the first {heldout_documents} documents of the stream held out"
    else:
        heldout = quietly(lambda: _only_text(splits[own], text_column, name), what).take(heldout_documents)
        how = f"the first {heldout_documents} documents of the dataset's {own} split"
    held = quietly(lambda: list(_texts(heldout, text_column, name)), what)
    sample = quietly(lambda: _sample(_texts(train, text_column, name)), what)
    for side, documents in (("held-out", held), ("training", sample)):
        if not documents:
            raise InputError(
                f"dataset {dataset!r} is empty: no text is left for the {side} side; give more documents (a text file is "
                f"one), fewer --heldout-documents than {heldout_documents}, or leave out --streaming"
            )
    return Corpus(name, sample, held, how), train


def _open(dataset: str):
    import datasets

    path = Path(dataset).expanduser()
    if not path.exists():
        name, _, configuration = dataset.partition(":")
        splits = datasets.load_dataset(name, configuration or None, streaming=True)
        return dataset.replace("/", "-").replace(":", "-"), splits
    files = visible_files(path) if path.is_dir() else [path]
    if not files:
        raise InputError(f"dataset {dataset!r} is empty: give a folder with files in it")
    kinds = {table_kind(file) or "text" for file in files}
    if len(kinds) != 1:
        raise InputError(f"{path} mixes {' and '.join(sorted(kinds))} files: give one of them by its path")
    kind = kinds.pop()
    if kind != "parquet":
        for file in files:
            check_utf8(file)
    if kind != "text" and path.is_dir():
        splits = datasets.load_dataset(kind, data_files=table_splits(path, kind), streaming=True, **TABLE_OPTIONS[kind])
        return path.resolve().name, splits
    options = {"sample_by": "document"} if kind == "text" else TABLE_OPTIONS[kind]
    names = [str(file) for file in files]
    return path.stem, datasets.load_dataset(kind, data_files={"train": names}, streaming=True, **options)


def _only_text(stream, text_column: str, name: str):
    columns = stream.column_names or list(next(iter(stream), {text_column: ""}))
    if text_column not in columns:
        raise InputError(
            f"dataset {name!r} has no column {text_column!r}: choose --text-column from {', '.join(columns)}"
        )
    return stream.select_columns([text_column])


def _texts(stream, text_column: str, name: str) -> Iterator[str]:
    for row in stream:
        text = row[text_column]
        if text and not isinstance(text, str):
            raise InputError(
                f"column {text_column!r} of {name!r} holds {type(text).__name__}, not text: choose another"
            )
        if text:
            yield text


def _sample(texts: Iterator[str]) -> list[str]:
    sample, size = [], 0
    while size < SAMPLE_CHARACTERS and (text := next(texts, None)):
        sample.append(text)
        size += len(text)
    return sample


class StreamBatches:
    """Rows of tokens from a stream of documents, each after a separator; at its end the stream begins anew.

    Args:
        batching (`str`): `packed`: the rows of a step follow one another in the stream; `stateful`: each row takes a document
            of its own from the stream and reads it through all steps that it takes, then the next.
        stream (`datasets.IterableDataset`): With a column `text_column`.
        length, rows (`int`): Tokens a row, and rows a step, over all processes.
        shuffle_buffer (`int`): How many documents are read ahead, to draw the next one from; 0 keeps their order. Not the
            buffer of datasets, which after resuming gives some documents twice.
    """

    def __init__(
        self, batching: str, stream, text_column: str, tokenizer, length: int, rows: int, shuffle_buffer=0, seed=0
    ):
        self.stream, self.text_column, self.tokenizer = stream, text_column, tokenizer
        self.length, self.rows, self.shuffle_buffer, self.seed = length, rows, shuffle_buffer, seed
        self.epoch = self.given = 0
        empty = np.zeros(0, np.int64)
        self.lanes = [empty] * (rows if batching == "stateful" else 1)
        self.waiting: list[np.ndarray] = []  # documents encoded and not yet in a lane
        # Of the stream after the last pull: one that has been resumed and not yet read from doesn't know where it is.
        self.iterator = self.position = None

    def _pull(self) -> None:
        for _ in range(2):  # the stream's end, and its beginning anew
            if self.iterator is None:
                self.stream.set_epoch(self.epoch)
                self.iterator = iter(self.stream)
            read = quietly(lambda: list(islice(self.iterator, PULL)), "the next documents of the stream")
            texts = [row[self.text_column] for row in read]
            if texts:
                self.position = self.stream.state_dict()
                texts = [text for text in texts if text]
                separator = np.array([self.tokenizer.eos_token_id])
                self.waiting += [np.concatenate([separator, ids]) for ids in encode_document_ids(self.tokenizer, texts)]
                return
            self.iterator, self.position, self.epoch = None, None, self.epoch + 1
        raise InputError("the stream gives no documents any more: check that its files are still there")

    def _document(self) -> np.ndarray:
        while len(self.waiting) <= self.shuffle_buffer:
            self._pull()
        if self.shuffle_buffer:
            at = np.random.default_rng((self.seed, self.given)).integers(len(self.waiting))
            self.waiting[0], self.waiting[at] = self.waiting[at], self.waiting[0]
        self.given += 1
        return self.waiting.pop(0)

    def next(self, step: int) -> np.ndarray:
        """The rows of the next step, int64 of shape `(rows, length + 1)`; the last token of a row comes again."""
        take = self.length * self.rows // len(self.lanes)
        out = []
        for number, lane in enumerate(self.lanes):
            pieces, size = [lane], len(lane)
            while size <= take:
                pieces.append(self._document())
                size += len(pieces[-1])
            lane = np.concatenate(pieces) if len(pieces) > 1 else lane  # not a long document anew at each step
            out.append(lane[: take + 1])
            self.lanes[number] = lane[take:]
        if len(self.lanes) > 1 or self.rows == 1:
            return np.stack(out)
        return out[0][np.arange(self.rows)[:, None] * self.length + np.arange(self.length + 1)]

    def state_dict(self) -> dict:
        """Where the stream is, and the tokens read and not yet given out: those of the shuffle buffer among them."""
        return {
            "stream": self.position,
            "epoch": self.epoch,
            "given": self.given,
            "lanes": [_narrow(lane) for lane in self.lanes],
            "waiting": [_narrow(ids) for ids in self.waiting],
        }

    def load_state_dict(self, state: dict) -> None:
        """Goes to where a state dict was taken."""
        self.epoch, self.given = state["epoch"], state["given"]
        self.lanes = [lane.numpy().astype(np.int64) for lane in state["lanes"]]
        self.waiting = [ids.numpy().astype(np.int64) for ids in state["waiting"]]
        self.stream.set_epoch(self.epoch)
        self.iterator, self.position = None, state["stream"]
        if self.position is not None:
            self.stream.load_state_dict(self.position)
            self.iterator = iter(self.stream)


def _narrow(ids: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(ids.astype(np.int32))
