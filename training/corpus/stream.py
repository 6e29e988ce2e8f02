# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Opens a source as a stream of documents, which are read while a model is trained."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from training.common.errors import InputError
from training.corpus.corpus import Corpus, DocumentStream
from training.corpus.load import (
    HELDOUT_SPLITS,
    TABLE_OPTIONS,
    check_utf8,
    quietly,
    table_kind,
    table_splits,
    visible_files,
)
from training.corpus.options import TextOptions

SAMPLE_CHARACTERS = 1 << 22  # of the first training documents, from which a tokenizer is learned


class ColumnStream:
    """The texts of a `datasets.IterableDataset`, as a `DocumentStream`. Rows without text are left out."""

    def __init__(self, rows, text_column: str, name: str):
        self.rows = rows
        self.text_column = text_column
        self.name = name
        self.epoch = 0
        self.loaded = False

    def __iter__(self) -> Iterator[str]:
        # datasets begins at the loaded state again in the epoch of that state, and at the first row in any other.
        if not self.loaded:
            self.epoch += 1
            self.rows.set_epoch(self.epoch)
        self.loaded = False
        return _texts(self.rows, self.text_column, self.name)

    def state_dict(self) -> dict:
        """Returns the position after the row that was read last."""
        return {"epoch": self.epoch, "rows": self.rows.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        """Makes the next iteration continue at a position."""
        self.epoch = state["epoch"]
        self.loaded = True
        self.rows.set_epoch(self.epoch)
        self.rows.load_state_dict(state["rows"])


def load_stream(options: TextOptions, heldout_documents: int) -> tuple[Corpus, DocumentStream]:
    """Opens a dataset as a stream.

    Args:
        options (`TextOptions`): The source. Each text file is one document.
        heldout_documents (`int`): Number of documents to hold out: the first of the dataset's validation or test split if it
            has one, else the first of its training split.

    Returns:
        A corpus of the held-out documents and the first training documents; and the stream of all training documents.

    Raises:
        InputError: The source is missing, too short, not UTF-8, or has no such column.
    """
    dataset = options.dataset
    text_column = options.text_column
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
    path = Path(dataset).expanduser()
    kind = "hub"
    if path.exists():
        kind = "folder" if path.is_dir() else "file"
    return Corpus(name, kind, sample, heldout_texts, how), ColumnStream(train, text_column, name)


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
