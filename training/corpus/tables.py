# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Reads one column of a table: JSON, JSON Lines, CSV, TSV, Parquet and Arrow files.

Rows are read one after the other, and only the column with the text. Other columns may change their type, be nested, or be
missing in some rows.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, TextIO

from training.common.errors import InputError, first_line
from training.corpus.binary_tables import binary_texts, column_names, open_seekable, reported_as_damage
from training.corpus.columns import BINARY_KINDS, MAX_NAMES, no_column, text_of
from training.corpus.decoding import Content, examine, open_text, reported
from training.corpus.names import counted, shown, without_compression

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
MAX_FIELD = 2**31 - 1  # characters of a CSV field
JSON_SPACE = re.compile(r"[ \t\n\r]*")


def table_kind(path: str | os.PathLike) -> str | None:
    """Returns the kind of a table by its suffix, `json`, `csv`, `parquet` or `arrow`, or `None` for any other file.

    >>> table_kind("rows.JSONL.gz"), table_kind("rows.tsv"), table_kind("notes.txt.gz")
    ('json', 'csv', None)
    """
    return SUFFIXES.get(_suffix(path))


def _suffix(path: str | os.PathLike) -> str:
    return Path(without_compression(Path(path).name)).suffix.lower()


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
        yield from binary_texts(path, kind, column, skip)
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
        with reported_as_damage(path), open_seekable(path) as file:
            return column_names(file, kind)
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
        yield text_of(row.get(column), path, column, f"line {line}")
    if not (found or empty):
        raise no_column(path, column, list(seen), "json")


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
    with open_text(path, content, newline="\n") as file:
        if lines:
            yield from _line_values(file, skip)
        else:
            yield from islice(_text_values(file.read(), column), skip, None)


def _is_json_lines(path: str | os.PathLike, content: Content) -> bool:
    """Whether the first two lines are a JSON object and another JSON value."""
    with open_text(path, content, newline="\n") as file:
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
            raise no_column(path, column, names, "csv")
        if names.count(column) > 1:
            raise InputError(f"{name} has more than one column {column!r}: rename one")
        index = names.index(column)
        for number, (line, row) in enumerate(chain([first], rows)):
            if number < skip:
                continue
            if len(row) > len(names):
                raise InputError(
                    f"{name} has {len(row)} fields at line {line}, and {counted(len(names), 'column')}: put quotes around "
                    f"fields with {options['delimiter']!r}, or read it as plain text with --plain-text"
                )
            value = row[index] if index < len(row) else None
            yield text_of(value, path, column, f"line {line}")


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
