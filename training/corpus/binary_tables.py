# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Reads one column of a Parquet or Arrow file."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from training.common.errors import InputError, first_line
from training.corpus.columns import no_column, text_of
from training.corpus.decoding import compression_of, open_binary, reported
from training.corpus.names import shown

BATCH_ROWS = 256  # of Parquet, as documents can be long


@contextmanager
def reported_as_damage(path: str | os.PathLike) -> Iterator[None]:
    """Turns the errors of files and of pyarrow into one line."""
    import pyarrow

    with reported(path):
        try:
            yield
        except (pyarrow.ArrowException, MemoryError, OSError) as error:  # a damaged size can be larger than the memory
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise InputError(
                f"{shown(path)} is damaged or of another format ({first_line(error)}): "
                "replace it with an undamaged copy"
            ) from error


def binary_texts(path: str | os.PathLike, kind: str, column: str, skip: int) -> Iterator[str | None]:
    name = shown(path)
    with reported_as_damage(path), open_seekable(path) as file:
        if not file.read(1):
            return
        file.seek(0)
        names = column_names(file, kind)
        if names.count(column) > 1:
            raise InputError(f"{name} has more than one column {column!r}: rename one")
        if column in names:
            arrays = _parquet_arrays(file, column, skip) if kind == "parquet" else _ipc_arrays(file, column)
            for start, array in arrays:
                _check_array(array)
                for number in range(max(start, skip), start + len(array)):
                    where = f"row {number + 1}"
                    try:
                        value = array[number - start].as_py()
                    except UnicodeDecodeError as error:
                        raise InputError(f"column {column!r} of {name} is not UTF-8 ({where}): correct it") from error
                    yield text_of(value, path, column, where)
        elif _has_rows(file, kind):
            raise no_column(path, column, names, kind)


def _check_array(array: Any) -> None:
    """Checks the offsets and sizes in a column, as pyarrow reads a damaged one from any place in memory."""
    import pyarrow

    try:
        array.validate(full=True)
    except pyarrow.ArrowInvalid as error:
        if "UTF8" not in str(error):  # such a value is found, and its row named, when it is decoded
            raise


def open_seekable(path: str | os.PathLike) -> BinaryIO:
    """Opens a binary table. One that was compressed again is held in memory, as its end is read first."""
    compression = compression_of(path)
    file = open_binary(path, compression)
    if compression is None:
        return file
    with file:
        return io.BytesIO(file.read())


def column_names(file: BinaryIO, kind: str) -> list[str]:
    """Returns the names of the columns of a Parquet or Arrow file."""
    if kind == "parquet":
        from pyarrow.parquet import ParquetFile

        return ParquetFile(file).schema_arrow.names
    return _ipc_reader(file).schema.names


def _has_rows(file: BinaryIO, kind: str) -> bool:
    if kind == "parquet":
        from pyarrow.parquet import ParquetFile

        return ParquetFile(file).metadata.num_rows > 0
    return any(batch.num_rows for batch in _ipc_batches(_ipc_reader(file, [])))


def _parquet_arrays(file: BinaryIO, column: str, skip: int) -> Iterator[tuple[int, Any]]:
    """Yields the row at which each piece of a column starts, and the piece. Row groups before `skip` are not read."""
    from pyarrow.parquet import ParquetFile

    table = ParquetFile(file)
    start = 0
    for group in range(table.num_row_groups):
        end = start + table.metadata.row_group(group).num_rows
        if end > skip:
            for batch in table.iter_batches(BATCH_ROWS, row_groups=[group], columns=[column]):
                yield start, batch.column(column)
                start += batch.num_rows
        start = end


def _ipc_arrays(file: BinaryIO, column: str) -> Iterator[tuple[int, Any]]:
    """Yields the row at which each piece of a column starts, and the piece."""
    index = _ipc_reader(file).schema.get_field_index(column)
    start = 0
    for batch in _ipc_batches(_ipc_reader(file, [index])):
        yield start, batch.column(0)
        start += batch.num_rows


def _ipc_reader(file: BinaryIO, fields: list[int] | None = None) -> Any:
    """Returns a reader of some fields of an Arrow file, in the format of files (with Feather version 2) or of streams."""
    from pyarrow import ipc

    file.seek(0)
    head = file.read(6)
    file.seek(0)
    options = ipc.IpcReadOptions(included_fields=fields)
    if head == b"ARROW1":
        return ipc.open_file(file, options=options)
    return ipc.open_stream(file, options=options)


def _ipc_batches(reader: Any) -> Iterator[Any]:
    if hasattr(reader, "get_batch"):
        for index in range(reader.num_record_batches):
            yield reader.get_batch(index)
    else:
        yield from reader
