# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The column of a table: every format and layout, rows without text, skipped rows, errors that name the file and the row."""

import bz2
import csv
import gzip
import io
import itertools
import json
import lzma

import pandas as pd
import pytest
from support.archives import zstd

from training.common.errors import InputError
from training.corpus import tables
from training.corpus.decoding import examine
from training.corpus.tables import columns, table_kind, texts

VALUES = ["first", "", None, "größer 😀", "NA", "null", "None", 'a "quoted", text\nof two lines', "last"]
EXPECTED = [value or None for value in VALUES]
ROWS = [{"id": number, "text": value} for number, value in enumerate(VALUES)]


def read(path, column="text", skip=0, kind=None):
    return list(texts(path, kind or table_kind(path), None, column, skip))


def lines_of(rows, **options):
    return "".join(json.dumps(row, **options) + "\n" for row in rows)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(("rows.json", "json"), ("rows.JSONL", "json"), ("rows.ndjson", "json"), ("a.b.jsonl.GZ", "json")),
        *(("rows.csv", "csv"), ("rows.Tsv.xz", "csv"), ("rows.csv.bz2", "csv"), ("rows.csv.zst", "csv")),
        *(("rows.parquet", "parquet"), ("rows.arrow", "arrow"), ("rows.feather", "arrow")),
        *(("rows.txt", None), ("rows.txt.gz", None), ("json", None), (".json", None), ("rows.json.bak", None)),
    ],
)
def test_kinds(name, kind):
    assert table_kind(f"folder.csv/{name}") == kind


# JSON

JSON_LAYOUTS = {
    "lines": lines_of(ROWS),
    "lines, UTF-8": lines_of(ROWS, ensure_ascii=False),
    "lines without an end": lines_of(ROWS).rstrip(),
    "lines and blank lines": "\n \n" + lines_of(ROWS).replace("\n", "\n\n  \n"),
    "lines that end in CR LF": lines_of(ROWS).replace("\n", "\r\n"),
    "array": json.dumps(ROWS),
    "array, indented": json.dumps(ROWS, indent=2),
    "array, a row a line": "[\n" + ",\n".join(map(json.dumps, ROWS)) + "\n]\n",
    "arrays": json.dumps(ROWS[:4]) + "\n" + json.dumps(ROWS[4:]),
    "objects, indented": "\n".join(json.dumps(row, indent=1) for row in ROWS),
    "objects in one line": "".join(map(json.dumps, ROWS)),
    "objects, the first in one line": json.dumps(ROWS[0]) + "\n" + "\n".join(json.dumps(r, indent=1) for r in ROWS[1:]),
    "columns": json.dumps({"id": list(range(len(ROWS))), "text": VALUES}),
    "columns, indented": json.dumps({"text": VALUES, "id": list(range(len(ROWS)))}, indent=2),
    "columns of pandas": json.dumps({"text": {str(row["id"]): row["text"] for row in ROWS}}),
}


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
@pytest.mark.parametrize("layout", JSON_LAYOUTS)
def test_json_layouts(put, layout, name):
    path = put(JSON_LAYOUTS[layout], name)
    assert read(path) == EXPECTED
    for skip in (1, 4, len(EXPECTED), 100):
        assert read(path, skip=skip) == EXPECTED[skip:]


def test_one_object_is_one_row(put):
    assert read(put('{"text": "alone"}', "a.json")) == ["alone"]
    assert read(put('{\n "text": "alone"\n}', "b.json")) == ["alone"]
    assert read(put('[{"text": "alone"}]', "c.json")) == ["alone"]


@pytest.mark.parametrize("text", ["", " \n\n", "[]", "[ ]\n", '{"text": []}'])
def test_json_without_rows(put, text):
    assert read(put(text, "a.json")) == []


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("layout", ["lines", "array, indented"])
def test_json_with_a_byte_order_mark(put, layout, codec):
    assert read(put(JSON_LAYOUTS[layout].encode(codec), "a.json")) == EXPECTED


COMPRESS = {"gz": gzip.compress, "xz": lzma.compress, "bz2": bz2.compress, "zst": zstd}


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize("layout", ["lines", "array", "objects, indented"])
def test_compressed_json(put, layout, suffix):
    path = put(COMPRESS[suffix](JSON_LAYOUTS[layout].encode()), f"a.json.{suffix}")
    assert read(path) == EXPECTED
    assert read(path, skip=2) == EXPECTED[2:]
    assert columns(path, "json") == ["id", "text"]


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_compressed_csv(put, name, suffix):
    path = put(COMPRESS[suffix](csv_of(CSV_ROWS, "\t").encode()), f"{name}.{suffix}")
    assert read(path) == EXPECTED
    assert columns(path, "csv") == ["id", "text", "x"]


def test_other_columns_may_change_their_type_be_nested_or_missing(put):
    rows = [
        {"text": "a", "x": 1},
        {"text": "b", "x": "one"},
        {"x": {"y": [1, {"z": None}]}, "text": "c"},
        {"text": "d"},
        {"x": 1.5},
        {"text": "e", "x": float("nan"), "y": float("inf")},
    ]
    for data in (lines_of(rows), json.dumps(rows)):
        assert read(put(data, "a.json")) == ["a", "b", "c", "d", None, "e"]


def test_a_column_that_comes_late_is_found(put):
    rows = [{"id": 1}] * 50 + [{"text": "late"}]
    assert read(put(lines_of(rows), "a.jsonl")) == [None] * 50 + ["late"]
    assert read(put(lines_of([{"text": None}] * 3), "b.jsonl")) == [None] * 3


@pytest.mark.parametrize("layout", ["lines", "array"])
def test_json_without_the_column(put, layout):
    path = put(JSON_LAYOUTS[layout], "a.json")
    with pytest.raises(InputError) as caught:
        read(path, "body")
    assert str(caught.value) == (
        f"{path} has no column 'body': choose --text-column from id, text, or read it as plain text with --plain-text"
    )


def test_many_columns_are_not_all_listed(put):
    rows = [{f"c{number}": 1} for number in range(1000)]
    with pytest.raises(InputError, match=r"from c0, .*c19, \.\.\., or read"):
        read(put(lines_of(rows), "a.jsonl"))


@pytest.mark.parametrize(
    ("value", "kind"),
    [(1, "int"), (1.5, "float"), (True, "bool"), (0, "int"), (["a"], "list"), ({"a": 1}, "dict"), ([], "list")],
)
def test_json_values_that_are_not_text(put, value, kind):
    rows = [{"text": "a"}, {"text": None}, {"text": value}]
    path = put(lines_of(rows), "a.jsonl")
    with pytest.raises(InputError) as caught:
        read(path)
    assert str(caught.value) == (
        f"column 'text' of {path} holds {kind}, not text (line 3): choose another --text-column"
    )
    with pytest.raises(InputError, match=rf"holds {kind}, not text \(line 9\)"):
        read(put(json.dumps(rows, indent=1).replace(": null", ": null\n"), "b.json"))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('{"text": "a"}\n{"text": "b"}\n{"text": "c"\n', 3),
        ('{"text": "a"}\n\n{"text": }\n', 3),
        ('[{"text": "a"},\n{"text": "b"}\n', 3),
        ('[{"text": "a"}\n{"text": "b"}]', 2),
        ('{\n"text": "a\n"}', 2),
        ('[{"text": "a"}]\n]', 2),
        ("words", 1),
        ('{"text": "a"}\n{"text": "b"}\nwords', 3),
    ],
)
def test_broken_json_names_the_line(put, text, line):
    path = put(text, "a.json")
    with pytest.raises(InputError, match=rf"a\.json is not valid JSON at line {line} \(.*\): .*--plain-text$"):
        read(path)


def test_only_line_feeds_end_the_rows_of_json_lines(put):
    rows = ['{"text": "a\u2028b\u0085c"}', '{"x": 1,\r"text": "d"}', '{"text": "e"}\r']
    assert read(put("\n".join(rows), "a.jsonl")) == ["a\u2028b\u0085c", "d", "e"]
    assert read(put('{"text": "a"}\r{"text": "b"}\r', "b.jsonl")) == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "kind", "line"),
    [
        ('{"text": "a"}\n["b"]\n', "list", 2),
        ('{"text": "a"}\n"b"\n', "str", 2),
        ('[{"text": "a"},\n1]', "int", 2),
        ('["a"]', "str", 1),
        ("null", "NoneType", 1),
        ('[[{"text": "a"}]]', "list", 1),
    ],
)
def test_json_rows_that_are_no_objects(put, text, kind, line):
    with pytest.raises(InputError, match=rf"a\.json has {kind} in place of an object with columns at line {line}: "):
        read(put(text, "a.json"))


@pytest.mark.parametrize("layout", ["lines", "array"])
def test_deep_nesting_and_long_numbers_are_one_line(put, layout):
    deep = '{"text": "a"}\n{"text": "b", "x": ' + "[" * 100_000 + "]" * 100_000 + "}"
    long = '{"text": "a"}\n{"text": "b", "x": ' + "9" * 5000 + "}"
    if layout == "array":
        deep = "[" + deep.replace("\n", ",\n") + "]"
        long = "[" + long.replace("\n", ",\n") + "]"
    with pytest.raises(InputError, match=r"a\.json is nested too deeply after line 1: "):
        read(put(deep, "a.json"))
    with pytest.raises(InputError, match=r"b\.json cannot be read after line 1 \(.*digits.*\): "):
        read(put(long, "b.json"))


def test_lone_surrogates_are_replaced(put):
    text = r'{"text": "a \ud83d b"}' + "\n" + r'{"text": "\ud83d\ude00 \udc80\udcff é"}' + "\n"
    for data in (text, f"[{text.strip()}]".replace("}\n", "},\n")):
        found = read(put(data, "a.json"))
        assert found == ["a � b", "😀 �� é"]
        assert "".join(found).encode()


def test_skipped_lines_are_not_decoded(put):
    path = put('{"text": "a"}\n\n{"text": "b"}\n' + "broken\n" * 1000 + '{"text": "c"}\n', "a.jsonl")
    assert read(path, skip=1002) == ["c"]
    with pytest.raises(InputError, match="at line 4 "):
        read(path)


def test_rows_are_read_one_after_the_other(put):
    path = put(lines_of([{"text": "a"}] * 10_000) + "broken", "a.jsonl")
    assert list(itertools.islice(texts(path, "json", None, "text"), 3)) == ["a", "a", "a"]


# CSV


def csv_of(rows, delimiter=",", **options):
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=delimiter, **options).writerows(rows)
    return buffer.getvalue()


CSV_ROWS = [["id", "text", "x"], *([row["id"], row["text"], ""] for row in ROWS)]


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv", "ROWS.CSV.gz"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_csv_of_every_delimiter(put, delimiter, end, name):
    path = put(csv_of(CSV_ROWS, delimiter, lineterminator=end), name)
    assert read(path) == EXPECTED
    assert read(path, skip=4) == EXPECTED[4:]
    assert read(path, "x") == [None] * len(VALUES)
    assert columns(path, "csv") == ["id", "text", "x"]


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.tsv.gz"])
def test_csv_with_a_byte_order_mark(put, name, codec):
    data = csv_of(CSV_ROWS, "\t", quoting=csv.QUOTE_ALL).encode(codec)
    assert read(put(gzip.compress(data) if name.endswith("gz") else data, name)) == EXPECTED


def test_csv_in_the_users_encoding(put):
    path = put(csv_of(CSV_ROWS).replace("😀", "€").encode("cp1252"), "a.csv")
    assert list(texts(path, "csv", examine(path, "cp1252"), "text"))[3] == "größer €"
    with pytest.raises(InputError, match=r"a\.csv is not UTF-8 at byte .*cp1252: state its .* --encoding cp1252$"):
        read(path)


@pytest.mark.parametrize("text", ["", "\n\n", "text\n", "id,text", "other,columns\n"])
def test_csv_without_rows(put, text):
    assert read(put(text, "a.csv")) == []


def test_one_column(put):
    assert read(put("text\nan apple\na pear\n", "a.csv")) == ["an apple", "a pear"]
    assert read(put("text\none, two\n3; 4 | 5\n", "a.tsv")) == ["one, two", "3; 4 | 5"]


def test_spaces_around_names_do_not_count(put):
    assert read(put("id, text \n1,a\n", "a.csv")) == ["a"]


def test_csv_without_the_column(put):
    path = put("id;body;x,y\n1;a;b\n", "a.csv")
    with pytest.raises(InputError) as caught:
        read(path)
    assert str(caught.value) == (
        f"{path} has no column 'text': choose --text-column from id, body, x,y, or read it as plain text with --plain-text"
    )
    with pytest.raises(InputError, match=r"from id, two lines, or read") as caught:
        read(put('id,"two\nlines"\n1,a\n', "c.csv"))
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="more than one column 'text': rename one"):
        read(put("text,text\na,b\n", "b.csv"))


def test_a_field_too_many_is_an_error_and_a_field_too_few_is_no_text(put):
    path = put('id,text\n1,"a,\nb"\n2\n3,one, two\n', "a.csv")
    found = texts(path, "csv", None, "text")
    assert [next(found), next(found)] == ["a,\nb", None]
    with pytest.raises(InputError, match=r"a\.csv has 3 fields at line 5, and 2 columns: put quotes .*--plain-text"):
        next(found)


@pytest.mark.parametrize(
    ("text", "line"), [('id,text\n1,"a\n2,b\n', 2), ('id,text\n1,a\n2,"b" c\n', 3), ('id,text\n1,"a\nb"\n2,"b"c\n', 4)]
)
def test_wrong_quotes_name_the_line(put, text, line):
    with pytest.raises(
        InputError, match=rf"a\.csv is not valid CSV in the record at line {line} \(.*\): .*--plain-text"
    ):
        read(put(text, "a.csv"))


def test_a_long_field(put):
    long = "word " * 100_000
    assert read(put(f'id,text\n1,"{long}"\n', "a.csv")) == [long]


@pytest.mark.parametrize(
    "values",
    [
        ['"Hello," she said.', "He said: no."],
        ['"Hello', "World", 'He said "no"'],
        ['"', "a", "b"],
        ['"', "a", '"'],
        ['say "cheese"', "5\" and 6'"],
    ],
)
def test_tsv_whose_quotes_enclose_no_fields(put, values):
    rows = "".join(f"{number}\t{value}\t\n" for number, value in enumerate(values))
    assert read(put("id\ttext\tx\n" + rows, "a.tsv")) == values
    assert read(put("id\ttext\tx\n" + rows, "a.csv"), skip=1) == values[1:]


def test_tables_of_pandas(tmp_path):
    frame = pd.DataFrame({"id": [1, 2], "text": ["ä", None]}, index=[5, 7])
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_json(tmp_path / "a.json")
    frame.to_json(tmp_path / "b.json", orient="records")
    frame.to_json(tmp_path / "c.jsonl", orient="records", lines=True)
    frame.to_csv(tmp_path / "a.csv")
    frame.to_csv(tmp_path / "a.tsv.gz", sep="\t")
    for name in ("a.parquet", "a.json", "b.json", "c.jsonl", "a.csv", "a.tsv.gz"):
        assert read(tmp_path / name) == ["ä", None], name


# Other files


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
        (b"PK\3\4" + bytes(60), "a ZIP archive"),
        (b'{"text": "\xe9"}\n', "not UTF-8 at byte 10"),
    ],
)
@pytest.mark.parametrize("name", ["a.json", "a.csv"])
def test_tables_that_are_no_text(put, data, reason, name):
    path = put(data, name)
    with pytest.raises(InputError, match=reason) as caught:
        read(path)
    assert str(path) in str(caught.value)
    with pytest.raises(InputError, match=reason):
        columns(path, table_kind(path))


@pytest.mark.parametrize("name", ["a.json", "a.csv", "a.parquet", "a.arrow"])
def test_missing_files(tmp_path, name):
    with pytest.raises(InputError, match=rf"{name} cannot be read \(No such file or directory\)"):
        read(tmp_path / name)
    with pytest.raises(InputError, match=rf"{name} cannot be read"):
        columns(tmp_path / name, table_kind(name))


def test_columns_of_json(put):
    assert columns(put(lines_of([{"a": 1}, {"b": 2, "a": 3}]), "a.jsonl"), "json") == ["a", "b"]
    assert columns(put("", "b.jsonl"), "json") == []
    assert tables.columns(put('{"text": ["a"], "id": [1]}', "c.json"), "json") == ["text", "id"]
