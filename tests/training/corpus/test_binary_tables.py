# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Columns of Parquet and Arrow files: every format and type of text, skipped rows, damaged files."""

import gzip
import io
import lzma
import random

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import feather, ipc, parquet
from support.archives import zstd

from training.common.errors import InputError
from training.corpus.tables import columns, table_kind, texts

VALUES = ["first", "", None, "größer 😀", "NA", "null", "None", 'a "quoted", text\nof two lines', "last"]
EXPECTED = [value or None for value in VALUES]


def read(path, column="text", skip=0):
    return list(texts(path, table_kind(path), None, column, skip))


TABLE = pa.table({"id": range(len(VALUES)), "text": VALUES, "nested": [{"text": [1]}] * len(VALUES)})
TYPES = {
    "string": pa.string(),
    "large_string": pa.large_string(),
    "string_view": pa.string_view(),
    "dictionary": pa.dictionary(pa.int32(), pa.string()),
}


def stream_of(table, make, **options):
    buffer = io.BytesIO()
    with make(buffer, table.schema, **options) as writer:
        writer.write_table(table, max_chunksize=2)
    return buffer.getvalue()


def saved(write, table, **options):
    buffer = io.BytesIO()
    write(table, buffer, **options)
    return buffer.getvalue()


BINARY = {
    "a.parquet": lambda table: saved(parquet.write_table, table, row_group_size=2),
    "b.PARQUET": lambda table: saved(parquet.write_table, table, compression="zstd"),
    "file.arrow": lambda table: stream_of(table, ipc.new_file),
    "stream.arrow": lambda table: stream_of(table, ipc.new_stream),
    "zstd.arrow": lambda table: stream_of(table, ipc.new_stream, options=ipc.IpcWriteOptions(compression="zstd")),
    "a.feather": lambda table: saved(feather.write_feather, table),
    "c.parquet.gz": lambda table: gzip.compress(saved(parquet.write_table, table)),
    "c.arrow.zst": lambda table: zstd(stream_of(table, ipc.new_stream)),
    "c.arrow.xz": lambda table: lzma.compress(stream_of(table, ipc.new_file)),
}


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("kind", TYPES)
def test_binary_tables(put, name, kind):
    if kind == "string_view" and "parquet" in name:
        table = TABLE  # Parquet has one type of strings
    else:
        table = TABLE.set_column(1, "text", pa.chunked_array([pa.array(VALUES).cast(TYPES[kind])]))
    path = put(BINARY[name](table), name)
    assert read(path) == EXPECTED
    for skip in (1, 2, 3, len(VALUES), 100):
        assert read(path, skip=skip) == EXPECTED[skip:]
    assert columns(path, table_kind(path)) == ["id", "text", "nested"]


@pytest.mark.parametrize("name", BINARY)
def test_binary_tables_without_rows_or_text(put, name):
    assert read(put(BINARY[name](TABLE.slice(0, 0)), name)) == []
    assert read(put(BINARY[name](TABLE.slice(0, 0)), name), "body") == []
    nulls = pa.table({"text": pa.nulls(3), "x": pa.nulls(3, pa.float64())})
    assert read(put(BINARY[name](nulls), name)) == [None] * 3
    assert read(put(BINARY[name](nulls), name), "x") == [None] * 3
    assert read(put(b"", name)) == []


@pytest.mark.parametrize("name", BINARY)
def test_binary_tables_without_the_column(put, name):
    path = put(BINARY[name](TABLE), name)
    with pytest.raises(InputError) as caught:
        read(path, "body")
    assert str(caught.value) == f"{path} has no column 'body': choose --text-column from id, text, nested"
    doubled = pa.table([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    with pytest.raises(InputError, match="more than one column 'text'"):
        read(put(BINARY[name](doubled), name))


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize(
    ("values", "kind"), [([None, None, 5], "int"), ([None, None, ["a"]], "list"), ([None, None, {"a": 1}], "dict")]
)
def test_binary_values_that_are_not_text(put, name, values, kind):
    path = put(BINARY[name](pa.table({"text": values})), name)
    with pytest.raises(InputError, match=rf"column 'text' of .* holds {kind}, not text \(row 3\): choose another"):
        read(path)


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("bad", [b"\xff", b"\xed\xa0\x80"], ids=["byte", "surrogate"])
def test_binary_text_that_is_not_utf8(put, name, bad):
    offsets = np.array([0, 1, 1 + len(bad)], "i4")
    array = pa.StringArray.from_buffers(2, pa.py_buffer(offsets), pa.py_buffer(b"a" + bad))
    path = put(BINARY[name](pa.table({"text": array})), name)
    with pytest.raises(InputError, match=rf"column 'text' of .*{name} is not UTF-8 \(row 2\)"):
        read(path)


@pytest.mark.parametrize("name", BINARY)
def test_damaged_binary_tables_are_one_line(put, name):
    table = pa.table({"text": [random.Random(0).randbytes(3000).hex()] * 8})
    data = BINARY[name](table)
    for broken in (data[: len(data) // 2], b"no table at all", data[:20], b"PAR1"):
        path = put(broken, name)
        with pytest.raises(InputError, match=r"damaged or") as caught:
            read(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["file.arrow", "stream.arrow"])
def test_damaged_offsets_are_an_error(put, name):
    values = pa.StringArray.from_buffers(3, pa.py_buffer(np.array([0, 1, 2**30, 3], "i4")), pa.py_buffer(b"abc"))
    with pytest.raises(InputError, match="damaged or of another format"):
        read(put(BINARY[name](pa.table({"text": values})), name))


def test_only_row_groups_that_are_needed_are_read(put, monkeypatch):
    path = put(BINARY["a.parquet"](TABLE), "a.parquet")
    groups = []
    original = parquet.ParquetFile.iter_batches

    def recorded(self, *args, row_groups, **options):
        groups.extend(row_groups)
        return original(self, *args, row_groups=row_groups, **options)

    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", recorded)
    assert read(path, skip=5) == EXPECTED[5:]
    assert groups == [2, 3, 4]


def test_a_column_whose_name_has_a_dot(put):
    table = pa.table({"a.text": ["one"], "a": [{"text": "two"}], "text": ["three"]})
    for name, make in BINARY.items():
        assert read(put(make(table), name), "a.text") == ["one"]
        assert read(put(make(table), name)) == ["three"]
