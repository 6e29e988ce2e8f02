# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Reads datasets of the Hub through the `datasets` library, into memory or as a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from training.common.errors import InputError, first_line
from training.corpus.splits import HELDOUT_SPLITS


def quietly(load: Callable[[], Any], what: str) -> Any:
    """Runs a loader and returns its result.

    Raises:
        InputError: The loader raised an error. The message has one line, which names `what` and the reason.
    """
    try:
        return load()
    except InputError:
        raise
    except Exception as error:
        cause: BaseException = error
        if type(error).__name__ == "DatasetGenerationError" and error.__cause__:  # its own message gives no reason
            cause = error.__cause__
        raise InputError(f"could not load {what}: {first_line(cause)}") from cause


def short_name(dataset: str) -> str:
    """Returns the name of a dataset on the Hub as a part of a file name.

    >>> short_name("owner/texts:small")
    'owner-texts-small'
    """
    return dataset.replace("/", "-").replace(":", "-")


def load_hub(dataset: str, text_column: str) -> tuple[list[str], list[str] | None, str]:
    """Loads a dataset of the Hub.

    Args:
        dataset (`str`): `owner/name` or `owner/name:configuration`.

    Returns:
        The training documents, those of the validation or test split (`None` if it has neither), and that split's name.

    Raises:
        InputError: It cannot be loaded, or has no such column.
    """

    def load() -> tuple[list[str], list[str] | None, str]:
        loaded = _open(dataset)
        first, heldout = split_names(loaded)
        train = list(texts_of(only_text(loaded[first], text_column, dataset), text_column, dataset))
        if heldout is None:
            return train, None, ""
        rows = only_text(loaded[heldout], text_column, dataset)
        return train, list(texts_of(rows, text_column, dataset)), heldout

    return quietly(load, f"dataset {dataset!r}")


def _open(dataset: str, **options: Any) -> Any:
    import datasets

    name, _, configuration = dataset.partition(":")
    return datasets.load_dataset(name, configuration or None, **options)


def split_names(splits: Any) -> tuple[str, str | None]:
    """Returns the names of the training split and of the split to hold out, if there is one."""
    first = "train" if "train" in splits else next(iter(splits))
    return first, next((split for split in HELDOUT_SPLITS if split in splits and split != first), None)


def only_text(rows: Any, text_column: str, name: str) -> Any:
    """Returns a dataset or a stream with only the column of the text.

    Raises:
        InputError: There is no such column.
    """
    columns = rows.column_names or list(next(iter(rows), {text_column: ""}))
    if text_column not in columns:
        raise InputError(
            f"dataset {name!r} has no column {text_column!r}: choose --text-column from {', '.join(columns)}"
        )
    return rows.select_columns([text_column])


def texts_of(rows: Any, text_column: str, name: str) -> Iterator[str]:
    """Yields the texts of a dataset or stream that are not empty.

    Raises:
        InputError: A value is not a text.
    """
    for row in rows:
        text = row[text_column]
        if not text:
            continue
        if not isinstance(text, str):
            raise InputError(
                f"column {text_column!r} of {name!r} holds {type(text).__name__}, not text: choose another"
            )
        yield text


class ColumnStream:
    """The texts of a `datasets.IterableDataset`, as a `DocumentStream`. Rows without text are left out."""

    def __init__(self, rows: Any, text_column: str, name: str):
        self.rows = rows
        self.text_column = text_column
        self.source = name
        self.epoch = 0
        self.loaded = False

    def __iter__(self) -> Iterator[str]:
        # datasets begins at the loaded state again in the epoch of that state, and at the first row in any other.
        if not self.loaded:
            self.epoch += 1
            self.rows.set_epoch(self.epoch)
        self.loaded = False
        return texts_of(self.rows, self.text_column, self.source)

    def state_dict(self) -> dict:
        """Returns the position after the row that was read last."""
        return {"epoch": self.epoch, "rows": self.rows.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        """Makes the next iteration continue at a position.

        Raises:
            InputError: The state is a position in local files.
        """
        if "rows" not in state:
            raise InputError(
                f"the checkpoint holds a position in local files, and {self.source} is a dataset of the Hub"
            )
        self.epoch = state["epoch"]
        self.loaded = True
        self.rows.set_epoch(self.epoch)
        self.rows.load_state_dict(state["rows"])


def open_hub(dataset: str, text_column: str, heldout_documents: int) -> tuple[list[str], ColumnStream, str]:
    """Opens a dataset of the Hub as a stream.

    Returns:
        The held-out documents, the stream of the training documents, and a description of the split.

    Raises:
        InputError: It cannot be loaded, or has no such column.
    """

    def load() -> tuple[list[str], ColumnStream, str]:
        splits = _open(dataset, streaming=True)
        first, own = split_names(splits)
        train = only_text(splits[first], text_column, dataset)
        if own is None:
            heldout = train.take(heldout_documents)
            train = train.skip(heldout_documents)
            how = f"the first {heldout_documents} documents of the stream held out"
        else:
            heldout = only_text(splits[own], text_column, dataset).take(heldout_documents)
            how = f"the first {heldout_documents} documents of the dataset's {own} split"
        return list(texts_of(heldout, text_column, dataset)), ColumnStream(train, text_column, dataset), how

    return quietly(load, f"dataset {dataset!r}")
