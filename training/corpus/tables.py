# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Reads one column of a table: JSON, JSON Lines, CSV, TSV, Parquet and Arrow files.

Rows are read one after the other, and only the column with the text. Other columns may change their type, be nested, or be
missing in some rows.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from training.common.errors import InputError, first_line
from training.corpus.decoding import Content, compression_of, examine, open_binary, open_text, reported
from training.corpus.names import shown

SUFFIXES = {
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
}
COMPRESSED_SUFFIXES = (".gz", ".xz", ".bz2", ".zst")
BINARY_KINDS = ("parquet", "arrow")
MAX_FIELD = 2**31 - 1  # characters of a CSV field
BATCH_ROWS = 256  # of Parquet, as documents can be long
MAX_NAMES = 20  # of columns in a message
MAX_NAME = 40  # characters of a column's name there
JSON_SPACE = re.compile(r"[ \t\n\r]*")
SURROGATE = re.compile("[\ud800-\udfff]")


def table_kind(path: str | os.PathLike) -> str | None:
    """Returns the kind of a table by its suffix, `json`, `csv`, `parquet` or `arrow`, or `None` for any other file.

    >>> table_kind("rows.JSONL.gz"), table_kind("rows.tsv"), table_kind("notes.txt.gz")
    ('json', 'csv', None)
    """
    return SUFFIXES.get(_suffix(path))


def _suffix(path: str | os.PathLike) -> str:
    name = Path(path).name.lower()
    for suffix in COMPRESSED_SUFFIXES:
        name = name.removesuffix(suffix)
    return Path(name).suffix


def texts(
    path: str | os.PathLike, kind: str, content: Content | None, column: str, skip: int = 0
) -> Iterator[str | None]:
    """Yields the text of each row, or `None` for a row without text: the column is missing there, null, or empty.

    A file without rows yields nothing. Lone surrogates, which JSON can express and UTF-8 cannot, are replaced by U+FFFD.

    Args:
        path (`str` or `os.PathLike`): The file.
        kind (`str`): Its kind, from `table_kind`.
        content (`Content`, *optional*): Result of `examine` for JSON and CSV. `None` examines the file here.
        column (`str`): Name of the column.
        skip (`int`): Number of rows to leave out at the beginning. They are not decoded where the format allows it, and not
            checked.

    Raises:
        InputError: The file is damaged, a value is not text, or there is no such column. The message names file and row.
    """
    if kind in BINARY_KINDS:
        yield from _arrow_texts(path, kind, column, skip)
        return
    content = _text_content(path, content)
    if content.kind == "empty":
        return
    with reported(path):
        if kind == "json":
            yield from _json_texts(path, content, column, skip)
        else:
            yield from _csv_texts(path, content, column, skip)


def columns(path: str | os.PathLike, kind: str, content: Content | None = None) -> list[str]:
    """Returns the names of a table's columns. For JSON, these are the keys of the first hundred rows.

    Raises:
        InputError: The file is damaged.
    """
    if kind in BINARY_KINDS:
        with _arrow_reported(path), _open_seekable(path) as file:
            return _arrow_names(file, kind)
    content = _text_content(path, content)
    if content.kind == "empty":
        return []
    with reported(path):
        if kind == "csv":
            return _dialect(path, content, None)[1]
        rows = islice(_json_rows(path, content, None, 0), 100)
        return list(dict.fromkeys(name for _, row in rows for name in row))


def _text_content(path: str | os.PathLike, content: Content | None) -> Content:
    if content is None:
        content = examine(path)
    if content.kind in ("text", "empty"):
        return content
    remedy = "give a table of text"
    if content.kind == "undecodable":
        remedy = f"state its encoding with --encoding {content.guess or 'NAME'}"
    raise InputError(f"{shown(path)} is {content.detail or content.kind}: {remedy}")


def _text(value: Any, path: str | os.PathLike, column: str, where: str) -> str | None:
    """Returns a value that is text, or `None` for an empty one or null."""
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise InputError(
            f"column {column!r} of {shown(path)} holds {type(value).__name__}, not text ({where}): "
            "choose another --text-column"
        )
    if value.isascii():
        return value
    return SURROGATE.sub("\ufffd", value)


def _no_column(path: str | os.PathLike, column: str, names: list[str], kind: str) -> InputError:
    shortened = [shown(" ".join(name.split())[:MAX_NAME]) for name in names[:MAX_NAMES]]
    if len(names) > MAX_NAMES:
        shortened.append("...")
    listed = ", ".join(shortened)
    remedy = f"choose --text-column from {listed or 'the columns of another file'}"
    if kind not in BINARY_KINDS:
        remedy += ", or read it as plain text with --plain-text"
    return InputError(f"{shown(path)} has no column {column!r}: {remedy}")


# JSON


def _json_texts(path: str | os.PathLike, content: Content, column: str, skip: int) -> Iterator[str | None]:
    seen: dict[str, None] = {}
    found = skip > 0  # whoever skips rows has read them before
    empty = True
    for line, row in _json_rows(path, content, column, skip):
        empty = False
        if column in row:
            found = True
        elif not found and len(seen) <= MAX_NAMES:
            seen.update(dict.fromkeys(row))
        yield _text(row.get(column), path, column, f"line {line}")
    if not (found or empty):
        raise _no_column(path, column, list(seen), "json")


def _json_rows(path: str | os.PathLike, content: Content, column: str | None, skip: int) -> Iterator[tuple[int, dict]]:
    """Yields the line on which each row begins, and the row.

    Raises:
        InputError: The file is not JSON, or a row is not an object.
    """
    name = shown(path)
    plain = "or read it as plain text with --plain-text"
    line = 0
    try:
        for line, value in _json_values(path, content, column, skip):
            if not isinstance(value, dict):
                kind = type(value).__name__
                raise InputError(
                    f"{name} has {kind} in place of an object with columns at line {line}: remove it, {plain}"
                )
            yield line, value
    except json.JSONDecodeError as error:
        raise InputError(
            f"{name} is not valid JSON at line {error.lineno} ({error.msg}): correct it, {plain}"
        ) from error
    except RecursionError as error:
        raise InputError(f"{name} is nested too deeply after line {line}: correct it, {plain}") from error
    except UnicodeDecodeError:
        raise
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{name} cannot be read after line {line} ({first_line(error)}): correct it, {plain}"
        ) from error


def _json_values(path: str | os.PathLike, content: Content, column: str | None, skip: int) -> Iterator[tuple[int, Any]]:
    """Yields the line and the value of each row, whatever it is."""
    lines = _is_json_lines(path, content)
    with open_text(path, content) as file:
        if lines:
            yield from _line_values(file, skip)
        else:
            yield from islice(_text_values(file.read(), column), skip, None)


def _is_json_lines(path: str | os.PathLike, content: Content) -> bool:
    """Whether the first two lines are a JSON object and another JSON value."""
    with open_text(path, content) as file:
        lines = (line for line in file if not line.isspace())
        first = next(lines, "")
        second = ""
        if first.lstrip().startswith("{"):
            second = next(lines, "")
    if not second:
        return False
    try:
        json.loads(first)
        json.loads(second)
    except (ValueError, RecursionError):
        return False
    return True


def _line_values(file: TextIO, skip: int) -> Iterator[tuple[int, Any]]:
    """Yields the number of each line that is not blank, and its value. The first `skip` of them are not decoded."""
    lines = ((number, line) for number, line in enumerate(file, 1) if not line.isspace())
    for number, line in islice(lines, skip, None):
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            error.lineno = number
            raise
        yield number, value


def _text_values(text: str, column: str | None) -> Iterator[tuple[int, Any]]:
    """Yields the line and the value of each object in a text of arrays and objects, one decoded at a time.

    A single object whose column is a list, or an object of row names, is a table that is written by columns.
    """
    decode = json.JSONDecoder().raw_decode
    line = 1
    counted = 0
    in_array = False
    after_value = False
    at = _skip_space(text, 0)
    while at < len(text):
        if in_array and after_value:
            if text[at] not in ",]":
                raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
            in_array = text[at] == ","
            after_value = False
            at = _skip_space(text, at + 1)
        elif not in_array and text[at] == "[":
            at = _skip_space(text, at + 1)
            in_array = True
            after_value = text[at : at + 1] == "]"
        else:
            value, end = decode(text, at)
            line += text.count("\n", counted, at)
            counted = at
            at = _skip_space(text, end)
            after_value = True
            alone = not in_array and counted == _skip_space(text, 0) and at == len(text)
            for row in _by_columns(value, column) if alone else [value]:
                yield line, row
    if in_array:
        raise json.JSONDecodeError("Expecting ',' delimiter or ']'", text, len(text))


def _skip_space(text: str, at: int) -> int:
    match = JSON_SPACE.match(text, at)
    return at if match is None else match.end()


def _by_columns(value: Any, column: str | None) -> Iterator[Any]:
    """Yields the rows of a single object: one for each entry of its column if that holds several, else itself."""
    entries = value.get(column) if isinstance(value, dict) else None
    if isinstance(entries, dict):
        entries = list(entries.values())
    if isinstance(entries, list):
        yield from ({column: entry} for entry in entries)
    else:
        yield value


# CSV


def _csv_texts(path: str | os.PathLike, content: Content, column: str, skip: int) -> Iterator[str | None]:
    name = shown(path)
    options, names = _dialect(path, content, column)
    with open_text(path, content) as file:
        rows = _csv_rows(path, file, options)
        next(rows, None)  # the header
        first = next(rows, None)
        if first is None:
            return
        if column not in names:
            raise _no_column(path, column, names, "csv")
        if names.count(column) > 1:
            raise InputError(f"{name} has more than one column {column!r}: rename one")
        index = names.index(column)
        for number, (line, row) in enumerate(chain([first], rows)):
            if number < skip:
                continue
            if len(row) > len(names):
                raise InputError(
                    f"{name} has {len(row)} fields at line {line}, and {len(names)} columns: put quotes around fields "
                    f"with {options['delimiter']!r}, or read it as plain text with --plain-text"
                )
            value = row[index] if index < len(row) else None
            yield _text(value, path, column, f"line {line}")


def _csv_rows(path: str | os.PathLike, file: TextIO, options: dict[str, Any]) -> Iterator[tuple[int, list[str]]]:
    """Yields the line on which each record begins, and its fields. Blank lines are left out.

    Raises:
        InputError: Quotes are wrong.
    """
    csv.field_size_limit(MAX_FIELD)
    reader = csv.reader(file, strict=True, **options)
    line = 1
    try:
        for row in reader:
            if row:
                yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            f"{shown(path)} is not valid CSV in the record at line {line} ({first_line(error)}): correct its quotes, "
            "or read it as plain text with --plain-text"
        ) from error


def _dialect(path: str | os.PathLike, content: Content, column: str | None) -> tuple[dict[str, Any], list[str]]:
    """Returns the options with which csv reads a file, and the names of its columns.

    The delimiter is the one by which the header has the column, or else the most columns. Fields between tabs are read without
    quoting if quotes in the file do not enclose fields, since many writers of TSV do not quote.
    """
    delimiters = [",", ";", "\t", "|"]
    if _suffix(path) == ".tsv":
        delimiters = ["\t", ",", ";", "|"]
    best = delimiters[0]
    names: list[str] = []
    for delimiter in delimiters:
        header = _header(path, content, delimiter)
        if column in header:
            best = delimiter
            names = header
            break
        if len(header) > len(names):
            best = delimiter
            names = header
    options: dict[str, Any] = {"delimiter": best}
    if best == "\t" and not _quotes_enclose_fields(path, content, len(names)):
        options["quoting"] = csv.QUOTE_NONE
    return options, names


def _header(path: str | os.PathLike, content: Content, delimiter: str) -> list[str]:
    """Returns the names of the columns for a delimiter, none if they cannot be read with it."""
    with open_text(path, content) as file:
        try:
            _, row = next(_csv_rows(path, file, {"delimiter": delimiter}), (1, []))
        except InputError:
            return []
    return [name.strip() for name in row]


def _quotes_enclose_fields(path: str | os.PathLike, content: Content, count: int) -> bool:
    """Whether a TSV file can be read with quoting. A field with both a tab and a line end is taken for several rows."""
    with open_text(path, content) as file:
        try:
            for _, row in _csv_rows(path, file, {"delimiter": "\t"}):
                if len(row) > count or any("\t" in field and "\n" in field for field in row):
                    return False
        except InputError:
            return False
    return True


# Parquet and Arrow


@contextmanager
def _arrow_reported(path: str | os.PathLike) -> Iterator[None]:
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


def _arrow_texts(path: str | os.PathLike, kind: str, column: str, skip: int) -> Iterator[str | None]:
    name = shown(path)
    with _arrow_reported(path), _open_seekable(path) as file:
        if not file.read(1):
            return
        file.seek(0)
        names = _arrow_names(file, kind)
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
                    yield _text(value, path, column, where)
        elif _has_rows(file, kind):
            raise _no_column(path, column, names, kind)


def _check_array(array: Any) -> None:
    """Checks the offsets and sizes in a column, as pyarrow reads a damaged one from any place in memory."""
    import pyarrow

    try:
        array.validate(full=True)
    except pyarrow.ArrowInvalid as error:
        if "UTF8" not in str(error):  # such a value is found, and its row named, when it is decoded
            raise


def _open_seekable(path: str | os.PathLike) -> BinaryIO:
    """Opens a binary table. One that was compressed again is held in memory, as its end is read first."""
    compression = compression_of(path)
    file = open_binary(path, compression)
    if compression is None:
        return file
    with file:
        return io.BytesIO(file.read())


def _arrow_names(file: BinaryIO, kind: str) -> list[str]:
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
