# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Inputs of input_cases.py about the columns and rows of tables, damaged tables, and folders of tables."""

import gzip
import json
from pathlib import Path

import pyarrow
from datasets import Dataset, DatasetDict
from pyarrow import parquet

from support.input_cases import Input, section, write
from support.input_table_cases import OTHER, TEXTS, columns, jsonl, one, separated
from support.input_text_cases import ENGLISH

# --- columns and rows --------------------------------------------------------------------------------------------------


@section("Columns and rows")
def other_column(folder: Path) -> Input:
    """A text column of another name"""
    return one(folder, "a.jsonl", jsonl(TEXTS, "body"), options={"text_column": "body"})


@section("Columns and rows")
def missing_column(folder: Path) -> Input:
    """A column that does not exist"""
    return one(folder, "a.jsonl", jsonl(TEXTS, "body"), refused=r"a\.jsonl.*'text'.*--text-column.*body")


@section("Columns and rows")
def missing_column_of_a_csv(folder: Path) -> Input:
    """A column that a .csv does not have"""
    return one(folder, "a.csv", separated(TEXTS, column="body"), refused=r"a\.csv.*'text'.*--text-column.*body")


@section("Columns and rows")
def null_and_empty_texts(folder: Path) -> Input:
    """Rows whose text is null, empty or missing"""
    content = jsonl([*TEXTS[:10], None, "", *TEXTS[10:]]) + '{"id": 99}\n'
    return one(folder, "a.jsonl", content)


@section("Columns and rows")
def numbers(folder: Path) -> Input:
    """A text column of numbers"""
    return one(folder, "a.jsonl", jsonl(list(range(30))), refused=r"a\.jsonl.*int.*line 1\b")


@section("Columns and rows")
def lists(folder: Path) -> Input:
    """A text column of lists"""
    return one(folder, "a.jsonl", jsonl([[text] for text in TEXTS]), refused=r"a\.jsonl.*list.*line 1\b")


@section("Columns and rows")
def numbers_in_parquet(folder: Path) -> Input:
    """.parquet with a text column of numbers"""
    parquet.write_table(pyarrow.table({"text": list(range(30))}), folder / "a.parquet")
    return Input("a.parquet", refused=r"a\.parquet.*int")


@section("Columns and rows")
def bytes_in_parquet(folder: Path) -> Input:
    """.parquet with a text column of bytes"""
    parquet.write_table(pyarrow.table({"text": [text.encode() for text in TEXTS]}), folder / "a.parquet")
    return Input("a.parquet", refused=r"a\.parquet.*bytes")


@section("Columns and rows")
def two_columns_of_one_name(folder: Path) -> Input:
    """.csv with two text columns"""
    return one(folder, "a.csv", "text,text\none,two\n" * 9, refused=r"a\.csv.*more than one column 'text'")


@section("Columns and rows")
def odd_names_in_a_refusal(folder: Path) -> Input:
    """A table without the column, with line ends and escape sequences in its names"""
    rows = json.dumps({"a\nb": 1, "\x1b[31mred": 2, "long" * 100: 3}) + "\n"
    return one(folder, "two\nlines.jsonl", rows * 5, refused=r"two\\nlines\.jsonl.*a b, \\x1b\[31mred, (?:long)+[^g]*,")


@section("Columns and rows")
def row_of_a_file_with_an_odd_name(folder: Path) -> Input:
    """A table with a broken row, and a line end in its name"""
    return one(folder, "two\nlines.jsonl", "{}\n{\n", refused=r"two\\nlines\.jsonl.*line 3")


@section("Columns and rows")
def one_number_among_texts(folder: Path) -> Input:
    """A number in the text column of the last row"""
    return one(folder, "a.jsonl", jsonl([*TEXTS, 7]), refused=r"a\.jsonl.*31")


@section("Columns and rows")
def lone_surrogate(folder: Path) -> Input:
    """A text with half of a surrogate pair, which becomes U+FFFD"""
    content = jsonl(TEXTS) + '{"text": "broken \\ud83c here"}\n'
    return one(folder, "a.jsonl", content, documents=[*TEXTS, "broken \ufffd here"])


@section("Columns and rows")
def broken_row(folder: Path) -> Input:
    """A row that is cut off, without a line end"""
    return one(folder, "a.jsonl", jsonl(TEXTS) + '{"text": "no end', refused=r"a\.jsonl.*31")


@section("Columns and rows")
def broken_json(folder: Path) -> Input:
    """.json that is cut off"""
    content = json.dumps([{"text": text} for text in TEXTS])[:-30]
    return one(folder, "a.json", content, refused=r"a\.json.*(?:row|line|JSON)")


@section("Columns and rows")
def text_in_json_lines(folder: Path) -> Input:
    """A text called .jsonl"""
    return one(folder, "a.jsonl", ENGLISH, refused=r"a\.jsonl.*(?:row|line) 1\b")


@section("Columns and rows")
def damaged_parquet(folder: Path) -> Input:
    """.parquet that is cut off"""
    parquet.write_table(columns(TEXTS), folder / "a.parquet")
    data = (folder / "a.parquet").read_bytes()
    return one(folder, "a.parquet", data[:-200], refused=r"a\.parquet")


@section("Columns and rows")
def parquet_with_a_damaged_page(folder: Path) -> Input:
    """.parquet with damaged data and a whole footer"""
    parquet.write_table(columns(TEXTS), folder / "a.parquet", compression="gzip")
    data = bytearray((folder / "a.parquet").read_bytes())
    data[20:400] = bytes(380)
    return one(folder, "a.parquet", bytes(data), refused=r"a\.parquet")


@section("Columns and rows")
def parquet_without_rows(folder: Path) -> Input:
    """.parquet without rows"""
    parquet.write_table(columns(TEXTS).slice(0, 0), folder / "a.parquet")
    return Input("a.parquet", refused=r"a\.parquet.*(?:empty|no row)")


@section("Columns and rows")
def duplicate_keys(folder: Path) -> Input:
    """JSON rows with other columns that change their type from row to row"""
    metas = [None, 1, "x", {"url": "x"}, [1], [{"a": None}]] * 5
    content = "".join(json.dumps({"meta": meta, "text": text}) + "\n" for meta, text in zip(metas, TEXTS))
    return one(folder, "a.jsonl", content)


# --- folders of tables -------------------------------------------------------------------------------------------------


@section("Folders of tables")
def readme_beside_a_table(folder: Path) -> Input:
    """README.md next to a table"""
    write(folder / "set/data.jsonl", jsonl(TEXTS))
    write(folder / "set/README.md", "# My data set\n" + "It was collected by hand.\n" * 50)
    return Input("set", documents=TEXTS, skipped=("README.md",))


@section("Folders of tables")
def documentation_beside_tables(folder: Path) -> Input:
    """LICENSE, a .py script and a .gitattributes file next to tables"""
    parquet_folder = folder / "set/data"
    parquet_folder.mkdir(parents=True)
    parquet.write_table(columns(TEXTS), parquet_folder / "a.parquet")
    write(folder / "set/LICENSE", "You may do anything with it.\n")
    write(folder / "set/build.py", "print('build')\n")
    write(folder / "set/.gitattributes", "*.parquet filter=lfs\n")
    skipped = (".gitattributes", "LICENSE", "build.py")
    return Input("set", documents=TEXTS, skipped=skipped, noted="tables are read")


@section("Folders of tables")
def split_tables(folder: Path) -> Input:
    """train-00000-of-00002.jsonl, its second part, and test.jsonl"""
    write(folder / "set/train-00000-of-00002.jsonl", jsonl(TEXTS[:10]))
    write(folder / "set/train-00001-of-00002.jsonl", jsonl(TEXTS[10:28]))
    write(folder / "set/test.jsonl", jsonl(TEXTS[28:]))
    return Input("set", train=TEXTS[:28], heldout=TEXTS[28:])


@section("Folders of tables")
def split_folders_of_tables(folder: Path) -> Input:
    """Folders train and validation of compressed tables"""
    write(folder / "set/train/0.jsonl.gz", gzip.compress(jsonl(TEXTS[:20]).encode()))
    write(folder / "set/train/1.jsonl.gz", gzip.compress(jsonl(TEXTS[20:28]).encode()))
    write(folder / "set/validation/0.jsonl.gz", gzip.compress(jsonl(TEXTS[28:]).encode()))
    return Input("set", train=TEXTS[:28], heldout=TEXTS[28:])


@section("Folders of tables")
def folder_of_the_datasets_library(folder: Path) -> Input:
    """A folder that `DatasetDict.save_to_disk` wrote"""
    splits = {"train": Dataset.from_dict({"text": TEXTS[:28]}), "test": Dataset.from_dict({"text": TEXTS[28:]})}
    DatasetDict(splits).save_to_disk(folder / "set")
    names = ["dataset_dict.json"]
    for split in splits:
        names += [f"{split}/dataset_info.json", f"{split}/state.json"]
    return Input("set", train=TEXTS[:28], heldout=TEXTS[28:], skipped=tuple(names))


@section("Folders of tables")
def three_splits(folder: Path) -> Input:
    """train.csv, validation.csv and test.csv"""
    write(folder / "set/train.csv", separated(TEXTS[:28]))
    write(folder / "set/validation.csv", separated(TEXTS[28:]))
    write(folder / "set/test.csv", separated(OTHER))
    return Input("set", train=TEXTS[:28], heldout=TEXTS[28:], skipped=("test.csv",))


@section("Folders of tables")
def type_of_another_column(folder: Path) -> Input:
    """Another column that changes its type in a later file"""
    write(folder / "set/a.jsonl", jsonl(TEXTS[:20], meta=None))
    write(folder / "set/b.jsonl", jsonl(TEXTS[20:25], meta={"url": "x"}))
    write(folder / "set/c.jsonl", jsonl(TEXTS[25:], meta="x"))
    return Input("set", documents=TEXTS)


@section("Folders of tables")
def type_of_another_parquet_column(folder: Path) -> Input:
    """Another column of .parquet files that changes its type, and its place"""
    (folder / "set").mkdir()
    parquet.write_table(columns(TEXTS[:20], meta=[None] * 20), folder / "set/a.parquet")
    later = pyarrow.table({"text": TEXTS[20:], "meta": ["x"] * 10})
    parquet.write_table(later, folder / "set/b.parquet")
    return Input("set", documents=TEXTS)


@section("Folders of tables")
def type_of_the_text_column(folder: Path) -> Input:
    """A text column that holds numbers in a later file"""
    write(folder / "set/a.jsonl", jsonl(TEXTS))
    write(folder / "set/b.jsonl", jsonl([1, 2, 3]))
    return Input("set", refused=r"b\.jsonl.*(?:row|line) 1\b")


@section("Folders of tables")
def column_missing_in_a_later_file(folder: Path) -> Input:
    """A .csv without the text column, after one with it"""
    write(folder / "set/a.csv", separated(TEXTS))
    write(folder / "set/b.csv", separated(TEXTS, column="body"))
    return Input("set", refused=r"b\.csv.*'text'")


@section("Folders of tables")
def table_without_rows_in_a_folder(folder: Path) -> Input:
    """Tables without rows, and an empty one, next to another"""
    (folder / "set").mkdir()
    parquet.write_table(columns(TEXTS), folder / "set/a.parquet")
    parquet.write_table(columns(TEXTS).slice(0, 0), folder / "set/b.parquet")
    write(folder / "set/c.parquet", "")
    return Input("set", documents=TEXTS, skipped=("b.parquet", "c.parquet"))


@section("Folders of tables")
def several_formats(folder: Path) -> Input:
    """.jsonl and .parquet in one folder"""
    write(folder / "set/a.jsonl", jsonl(TEXTS[:20]))
    parquet.write_table(columns(TEXTS[20:]), folder / "set/b.parquet")
    return Input("set", documents=TEXTS)


@section("Folders of tables")
def damaged_table_in_a_folder(folder: Path) -> Input:
    """A damaged .parquet file next to a whole one"""
    (folder / "set").mkdir()
    parquet.write_table(columns(TEXTS), folder / "set/a.parquet")
    write(folder / "set/b.parquet", (folder / "set/a.parquet").read_bytes()[:-200])
    return Input("set", refused=r"b\.parquet")


@section("Folders of tables")
def tables_as_text(folder: Path) -> Input:
    """.csv files with `--plain-text`"""
    write(folder / "set/a.csv", "id,text\n1,one\n" * 20)
    write(folder / "set/b.csv", "id,text\n2,two\n" * 20)
    documents = ["id,text\n1,one\n" * 20, "id,text\n2,two\n" * 20]
    return Input("set", documents=documents, options={"plain_text": True})


@section("Folders of tables")
def validation_table(folder: Path) -> Input:
    """A table with `--validation` of another format"""
    write(folder / "a.jsonl", jsonl(TEXTS[:20]))
    write(folder / "b.csv", separated(TEXTS[20:]))
    return Input("a.jsonl", train=TEXTS[:20], heldout=TEXTS[20:], options={"validation": "b.csv"})


@section("Folders of tables")
def validation_table_in_the_dataset(folder: Path) -> Input:
    """A folder of tables, and `--validation` with one of them"""
    write(folder / "set/a.jsonl", jsonl(TEXTS[:20]))
    write(folder / "set/b.jsonl", jsonl(TEXTS[20:]))
    return Input("set", train=TEXTS[:20], heldout=TEXTS[20:], options={"validation": "set/b.jsonl"})
