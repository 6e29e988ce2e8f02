# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Inputs of input_cases.py about the formats of tables."""

import csv
import gzip
import io
import json
from pathlib import Path

import pyarrow
from pyarrow import feather, parquet

from support.input_cases import Input, section, write
from support.input_text_cases import GERMAN

TEXTS = [f"Row {i} has a “text” of its own.\nAnd a second line." for i in range(30)]
OTHER = [f"This row {i} must not be read." for i in range(30)]


def jsonl(texts: list, column: str = "text", **more) -> str:
    """Returns rows as JSON lines."""
    return "".join(json.dumps({"id": i, column: text, **more}) + "\n" for i, text in enumerate(texts))


def separated(texts: list[str], delimiter: str = ",", column: str = "text") -> str:
    """Returns rows as CSV with quotes where they are needed."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=delimiter, lineterminator="\n")
    writer.writerow(["id", column])
    writer.writerows(enumerate(texts))
    return buffer.getvalue()


def columns(texts: list, **more) -> pyarrow.Table:
    """Returns rows as an Arrow table."""
    return pyarrow.table({"id": list(range(len(texts))), "text": texts, **more})


def one(folder: Path, name: str, content: str | bytes, **expected) -> Input:
    """Writes one table. Unless told otherwise, `TEXTS` must come out."""
    write(folder / name, content)
    if not expected.keys() & {"documents", "refused", "train"}:
        expected["documents"] = TEXTS
    return Input(name, **expected)


# --- formats -----------------------------------------------------------------------------------------------------------


@section("Formats of tables")
def json_lines(folder: Path) -> Input:
    """.jsonl"""
    return one(folder, "a.jsonl", jsonl(TEXTS))


@section("Formats of tables")
def ndjson(folder: Path) -> Input:
    """.ndjson"""
    return one(folder, "a.ndjson", jsonl(TEXTS))


@section("Formats of tables")
def json_array(folder: Path) -> Input:
    """.json with an array of rows"""
    return one(folder, "a.json", json.dumps([{"text": text} for text in TEXTS]))


@section("Formats of tables")
def pretty_json(folder: Path) -> Input:
    """.json with an indented array"""
    return one(folder, "a.json", json.dumps([{"text": text, "n": [1, 2]} for text in TEXTS], indent=2))


@section("Formats of tables")
def json_that_is_json_lines(folder: Path) -> Input:
    """.json with a row on each line"""
    return one(folder, "a.json", jsonl(TEXTS))


@section("Formats of tables")
def json_lines_that_is_an_array(folder: Path) -> Input:
    """.jsonl with an array of rows"""
    return one(folder, "a.jsonl", json.dumps([{"text": text} for text in TEXTS]))


@section("Formats of tables")
def json_lines_with_mark(folder: Path) -> Input:
    """.jsonl with a byte-order mark and CR LF"""
    return one(folder, "a.jsonl", b"\xef\xbb\xbf" + jsonl(TEXTS).replace("\n", "\r\n").encode())


@section("Formats of tables")
def json_lines_with_empty_lines(folder: Path) -> Input:
    """.jsonl with empty lines, and no end of the last line"""
    return one(folder, "a.jsonl", jsonl(TEXTS).replace("\n", "\n\n").rstrip("\n"))


@section("Formats of tables")
def json_object(folder: Path) -> Input:
    """.json with one object that is no table"""
    content = json.dumps({"name": "package", "scripts": {"test": "run"}})
    return one(folder, "package.json", content, refused=r"package\.json.*(?:'text'|--text-column|--plain-text)")


@section("Formats of tables")
def json_object_as_text(folder: Path) -> Input:
    """The same file with `--plain-text`"""
    content = json.dumps({"name": "package", "scripts": {"test": "run"}})
    return one(folder, "package.json", content, documents=[content], options={"plain_text": True})


@section("Formats of tables")
def json_of_columns(folder: Path) -> Input:
    """.json with columns instead of rows"""
    content = json.dumps({"id": list(range(30)), "text": TEXTS})
    return one(folder, "a.json", content)


@section("Formats of tables")
def json_array_of_strings(folder: Path) -> Input:
    """.json with an array of strings"""
    return one(folder, "a.json", json.dumps(TEXTS), refused=r"a\.json.*str.*line 1\b")


@section("Formats of tables")
def comma_separated(folder: Path) -> Input:
    """.csv with quoted commas, quotes and line ends"""
    texts = [f'He said, "row {i}",\nand left.' for i in range(30)]
    return one(folder, "a.csv", separated(texts), documents=texts)


@section("Formats of tables")
def comma_separated_with_mark(folder: Path) -> Input:
    """.csv with a byte-order mark and CR LF, as Excel writes it"""
    texts = [f"Row {i}, with a comma." for i in range(30)]
    data = b"\xef\xbb\xbf" + separated(texts, column="text").replace("\n", "\r\n").encode()
    return one(folder, "a.csv", data, documents=texts, options={"text_column": "text"})


@section("Formats of tables")
def words_for_missing_values(folder: Path) -> Input:
    """.csv with the texts NA, null, None, nan and true"""
    texts = ["NA", "null", "None", "nan", "true", "1", "1.50", "-"] * 3
    return one(folder, "a.csv", separated(texts), documents=texts)


@section("Formats of tables")
def semicolons(folder: Path) -> Input:
    """.csv with semicolons"""
    texts = [f"Row {i}; it has, of course, both." for i in range(30)]
    return one(folder, "a.csv", separated(texts, ";"), documents=texts)


@section("Formats of tables")
def unquoted_comma(folder: Path) -> Input:
    """.csv with a row that has a comma without quotes"""
    content = separated([f"Row {i}" for i in range(30)]) + "30,one, two\n" + "31,after\n"
    return one(folder, "a.csv", content, refused=r"a\.csv.*(?:32|row 31|line 32)")


@section("Formats of tables")
def row_too_short(folder: Path) -> Input:
    """.csv with a row without the text"""
    texts = [f"Row {i}" for i in range(30)]
    return one(folder, "a.csv", separated(texts) + "30\n31,after\n", documents=[*texts, "after"])


@section("Formats of tables")
def header_only(folder: Path) -> Input:
    """.csv with only a header"""
    return one(folder, "a.csv", "id,text\n", refused=r"a\.csv.*(?:empty|no row)")


@section("Formats of tables")
def long_field(folder: Path) -> Input:
    """.csv with a text of 1 MB"""
    texts = ["long text " * 100_000, *TEXTS]
    return one(folder, "a.csv", separated(texts), documents=texts)


@section("Formats of tables")
def open_quote(folder: Path) -> Input:
    """.csv with a quote that is not closed"""
    content = separated(TEXTS) + '30,"no end\n' + "31,after\n" * 10
    return one(folder, "a.csv", content, refused=r"a\.csv.*(?:quote|row|line)")


@section("Formats of tables")
def tab_separated(folder: Path) -> Input:
    """.tsv with quotes inside the text"""
    texts = [f'Row {i} says "hello", and it\'s fine' for i in range(30)]
    content = "id\ttext\n" + "".join(f"{i}\t{text}\n" for i, text in enumerate(texts))
    return one(folder, "a.tsv", content, documents=texts)


@section("Formats of tables")
def tab_separated_with_a_leading_quote(folder: Path) -> Input:
    """.tsv with texts that begin with a quote"""
    content = "id\ttext\n" + "".join(f'{i}\t"Row {i}", he said\n' for i in range(30))
    return one(folder, "a.tsv", content, documents=[f'"Row {i}", he said' for i in range(30)])


@section("Formats of tables")
def parquet_file(folder: Path) -> Input:
    """.parquet"""
    parquet.write_table(columns(TEXTS), folder / "a.parquet")
    return Input("a.parquet", documents=TEXTS)


@section("Formats of tables")
def arrow_file(folder: Path) -> Input:
    """.arrow, as a file"""
    table = columns(TEXTS)
    with pyarrow.ipc.new_file(str(folder / "a.arrow"), table.schema) as writer:
        writer.write_table(table)
    return Input("a.arrow", documents=TEXTS)


@section("Formats of tables")
def arrow_stream(folder: Path) -> Input:
    """.arrow, as a stream, with dictionary-encoded text"""
    table = pyarrow.table({"text": pyarrow.array(TEXTS).dictionary_encode()})
    with pyarrow.ipc.new_stream(str(folder / "a.arrow"), table.schema) as writer:
        writer.write_table(table)
    return Input("a.arrow", documents=TEXTS)


@section("Formats of tables")
def feather_file(folder: Path) -> Input:
    """.feather"""
    feather.write_feather(columns(TEXTS), str(folder / "a.feather"))
    return Input("a.feather", documents=TEXTS)


@section("Formats of tables")
def large_string(folder: Path) -> Input:
    """.parquet with a large_string column"""
    table = pyarrow.table({"text": pyarrow.array(TEXTS, pyarrow.large_string())})
    parquet.write_table(table, folder / "a.parquet")
    return Input("a.parquet", documents=TEXTS)


@section("Formats of tables")
def compressed_json_lines(folder: Path) -> Input:
    """.jsonl.gz"""
    return one(folder, "a.jsonl.gz", gzip.compress(jsonl(TEXTS).encode()))


@section("Formats of tables")
def compressed_csv(folder: Path) -> Input:
    """.csv.zst"""
    return one(folder, "a.csv.zst", pyarrow.compress(separated(TEXTS).encode(), codec="zstd", asbytes=True))


@section("Formats of tables")
def capitals(folder: Path) -> Input:
    """.JSONL"""
    return one(folder, "A.JSONL", jsonl(TEXTS))


@section("Formats of tables")
def table_in_utf16(folder: Path) -> Input:
    """.csv in UTF-16 with a mark"""
    return one(folder, "a.csv", separated(TEXTS).encode("utf-16"))


@section("Formats of tables")
def table_in_latin1(folder: Path) -> Input:
    """.csv in Latin-1"""
    content = separated([GERMAN] * 3).encode("latin-1")
    return one(folder, "a.csv", content, refused=r"(?i)a\.csv.*(?:latin|8859.?1|1252).*--encoding")


@section("Formats of tables")
def table_in_latin1_stated(folder: Path) -> Input:
    """.csv in Latin-1 with its encoding"""
    texts = [GERMAN] * 3
    options = {"encoding": "latin-1"}
    return one(folder, "a.csv", separated(texts).encode("latin-1"), documents=texts, options=options)


@section("Formats of tables")
def table_name_with_wildcards(folder: Path) -> Input:
    """data[1].jsonl next to data1.jsonl"""
    write(folder / "data1.jsonl", jsonl(OTHER))
    return one(folder, "data[1].jsonl", jsonl(TEXTS))


@section("Formats of tables")
def table_name_with_a_question_mark(folder: Path) -> Input:
    """why?.jsonl next to whyX.jsonl"""
    write(folder / "whyX.jsonl", jsonl(OTHER))
    return one(folder, "why?.jsonl", jsonl(TEXTS))


@section("Formats of tables")
def bracketed_parquet_in_a_folder(folder: Path) -> Input:
    """A folder of part[1].parquet and part1.parquet"""
    (folder / "set").mkdir()
    parquet.write_table(columns(TEXTS[:10]), folder / "set/part1.parquet")
    parquet.write_table(columns(TEXTS[10:]), folder / "set/part[1].parquet")
    return Input("set", documents=TEXTS)


@section("Formats of tables")
def csv_with_carriage_returns(folder: Path) -> Input:
    """.csv whose lines end with CR"""
    texts = [f"Row {i}, with a comma." for i in range(30)]
    return one(folder, "a.csv", separated(texts).replace("\n", "\r"), documents=texts)


@section("Formats of tables")
def indented_json_objects(folder: Path) -> Input:
    """.json with indented objects one after the other, as jq writes them"""
    return one(folder, "a.json", "\n".join(json.dumps({"text": text}, indent=2) for text in TEXTS))


@section("Formats of tables")
def parquet_as_text(folder: Path) -> Input:
    """.parquet with `--plain-text`"""
    parquet.write_table(columns(TEXTS), folder / "a.parquet")
    return Input("a.parquet", refused=r"a\.parquet.*--plain-text", options={"plain_text": True})


@section("Formats of tables")
def table_called_txt(folder: Path) -> Input:
    """.parquet called .txt"""
    parquet.write_table(columns(TEXTS), folder / "a.txt")
    return Input("a.txt", refused=r"a\.txt.*Parquet")
