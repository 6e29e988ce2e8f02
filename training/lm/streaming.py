# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Documents that are read during training, and the rows of tokens that are made from them.

Every process reads the whole stream and takes its own rows, so the rows don't depend on the number of processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

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

SAMPLE_CHARACTERS = 1 << 22  # of the first training documents, from which a tokenizer is learned
READ_AT_ONCE = 32  # documents that are encoded together


def load_stream(dataset: str, text_column: str, heldout_documents: int) -> tuple[Corpus, Any]:
    """Opens a dataset as a stream.

    Args:
        dataset (`str`): A text file or a folder of them, each file one document; a table or a folder of them; a name on the
            Hub, `owner/name` or `owner/name:configuration`.
        text_column (`str`): Column with the text, for tables.
        heldout_documents (`int`): Number of documents to hold out: the first of the dataset's validation or test split if it
            has one, else the first of its training split.

    Returns:
        A corpus of the held-out documents and the first training documents; and the stream of all training documents, a
        `datasets.IterableDataset` with the one column `text_column`.

    Raises:
        InputError: The source is missing, too short, not UTF-8, or has no such column.
    """
    what = f"dataset {dataset!r}"
    name, splits = quietly(lambda: _open(dataset), what)
    first = "train" if "train" in splits else next(iter(splits))
    train = quietly(lambda: _only_text(splits[first], text_column, name), what)
    own = next((split for split in HELDOUT_SPLITS if split in splits and split != first), None)
    if own is None:
        heldout = train.take(heldout_documents)
        train = train.skip(heldout_documents)
        how = f"the first {heldout_documents} documents of the stream held out"
    else:
        heldout = quietly(lambda: _only_text(splits[own], text_column, name), what).take(heldout_documents)
        how = f"the first {heldout_documents} documents of the dataset's {own} split"
    heldout_texts = quietly(lambda: list(_texts(heldout, text_column, name)), what)
    sample = quietly(lambda: _sample(_texts(train, text_column, name)), what)
    for side, documents in (("held-out", heldout_texts), ("training", sample)):
        if not documents:
            raise InputError(
                f"dataset {dataset!r} is empty: it has no text for the {side} side; give more documents (a text file is "
                f"one), fewer --heldout-documents than {heldout_documents}, or leave out --streaming"
            )
    return Corpus(name, sample, heldout_texts, how), train


def _open(dataset: str) -> tuple[str, Any]:
    """Opens all splits of a dataset as streams. Returns a short name and the `datasets.IterableDatasetDict`."""
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
        raise InputError(f"{path} mixes {' and '.join(sorted(kinds))} files: give the path of one of them")
    kind = kinds.pop()
    if kind != "parquet":
        for file in files:
            check_utf8(file)
    if kind != "text" and path.is_dir():
        splits = datasets.load_dataset(kind, data_files=table_splits(path, kind), streaming=True, **TABLE_OPTIONS[kind])
        return path.resolve().name, splits
    options = {"sample_by": "document"}
    if kind != "text":
        options = TABLE_OPTIONS[kind]
    names = [str(file) for file in files]
    return path.stem, datasets.load_dataset(kind, data_files={"train": names}, streaming=True, **options)


def _only_text(stream, text_column: str, name: str):
    """Returns a stream with only the column of the text."""
    columns = stream.column_names or list(next(iter(stream), {text_column: ""}))
    if text_column not in columns:
        raise InputError(
            f"dataset {name!r} has no column {text_column!r}: choose --text-column from {', '.join(columns)}"
        )
    return stream.select_columns([text_column])


def _texts(stream, text_column: str, name: str) -> Iterator[str]:
    """Yields the texts of a stream that are not empty."""
    for row in stream:
        text = row[text_column]
        if not text:
            continue
        if not isinstance(text, str):
            raise InputError(
                f"column {text_column!r} of {name!r} holds {type(text).__name__}, not text: choose another"
            )
        yield text


def _sample(texts: Iterator[str]) -> list[str]:
    """Returns the first texts, at least `SAMPLE_CHARACTERS` characters if there are as many."""
    sample = []
    size = 0
    for text in texts:
        sample.append(text)
        size += len(text)
        if size >= SAMPLE_CHARACTERS:
            break
    return sample


class StreamBatches:
    """Rows of tokens from a stream of documents, each after a separator. After its end the stream starts again.

    Args:
        batching (`str`): `packed`: the rows of a step follow each other in the stream; `stateful`: each row takes its own
            document from the stream, reads it over as many steps as it needs, and then takes the next one.
        stream (`datasets.IterableDataset`): With a column `text_column`.
        length (`int`): Tokens per row.
        rows (`int`): Rows per step, over all processes.
        shuffle_buffer (`int`): Number of documents that are read ahead, and from which the next one is drawn; 0 keeps their
            order. The buffer of datasets is not used, as it repeats some documents after a resumption.
        seed (`int`): For the shuffling.
    """

    def __init__(
        self,
        batching: str,
        stream,
        text_column: str,
        tokenizer: PreTrainedTokenizerBase,
        length: int,
        rows: int,
        shuffle_buffer: int = 0,
        seed: int = 0,
    ):
        self.stream = stream
        self.text_column = text_column
        self.tokenizer = tokenizer
        self.length = length
        self.rows = rows
        self.shuffle_buffer = shuffle_buffer
        self.seed = seed
        self.epoch = 0
        self.given = 0  # number of documents that rows have taken
        self.lanes = [np.zeros(0, np.int64)] * (rows if batching == "stateful" else 1)  # tokens that the next rows take
        self.waiting: list[np.ndarray] = []  # documents that are encoded and in no lane yet
        self.iterator: Iterator[dict] | None = None
        # State of the stream after the last read. A stream that was resumed and not yet read does not know its own state.
        self.position: dict | None = None

    def _read(self) -> None:
        """Reads and encodes some documents."""
        for _ in range(2):  # at the end of the stream, it is read again from the start
            if self.iterator is None:
                self.stream.set_epoch(self.epoch)
                self.iterator = iter(self.stream)
            read = quietly(lambda: list(islice(self.iterator, READ_AT_ONCE)), "the next documents of the stream")
            texts = [row[self.text_column] for row in read]
            if texts:
                self.position = self.stream.state_dict()
                texts = [text for text in texts if text]
                separator = np.array([self.tokenizer.eos_token_id])
                self.waiting += [np.concatenate([separator, ids]) for ids in encode_document_ids(self.tokenizer, texts)]
                return
            self.iterator = None
            self.position = None
            self.epoch += 1
        raise InputError("the stream gives no more documents: check that its files still exist")

    def _document(self) -> np.ndarray:
        """Returns the tokens of the next document."""
        while len(self.waiting) <= self.shuffle_buffer:
            self._read()
        if self.shuffle_buffer:
            drawn = np.random.default_rng((self.seed, self.given)).integers(len(self.waiting))
            self.waiting[0], self.waiting[drawn] = self.waiting[drawn], self.waiting[0]
        self.given += 1
        return self.waiting.pop(0)

    def next(self, step: int) -> np.ndarray:
        """Returns the rows of the next step, int64 of shape `(rows, length + 1)`. A row's last token is read again."""
        take = self.length * self.rows // len(self.lanes)
        taken = []
        for number, lane in enumerate(self.lanes):
            pieces = [lane]
            size = len(lane)
            while size <= take:
                pieces.append(self._document())
                size += len(pieces[-1])
            if len(pieces) > 1:  # else the rest of a long document would be copied at each step
                lane = np.concatenate(pieces)
            taken.append(lane[: take + 1])
            self.lanes[number] = lane[take:]
        if len(self.lanes) > 1 or self.rows == 1:
            return np.stack(taken)
        return taken[0][np.arange(self.rows)[:, None] * self.length + np.arange(self.length + 1)]

    def state_dict(self) -> dict:
        """Returns the position in the stream, and the tokens that were read and not yet taken."""
        return {
            "stream": self.position,
            "epoch": self.epoch,
            "given": self.given,
            "lanes": [_narrow(lane) for lane in self.lanes],
            "waiting": [_narrow(ids) for ids in self.waiting],
        }

    def load_state_dict(self, state: dict) -> None:
        """Continues at the position of a state dict."""
        self.epoch = state["epoch"]
        self.given = state["given"]
        self.lanes = [lane.numpy().astype(np.int64) for lane in state["lanes"]]
        self.waiting = [ids.numpy().astype(np.int64) for ids in state["waiting"]]
        self.stream.set_epoch(self.epoch)
        self.iterator = None
        self.position = state["stream"]
        if self.position is not None:
            self.stream.load_state_dict(self.position)
            self.iterator = iter(self.stream)


def _narrow(ids: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(ids.astype(np.int32))
