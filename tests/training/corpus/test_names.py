# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Lists of names."""

import os

import pytest

from training.common.errors import InputError
from training.corpus.load import load_corpus
from training.corpus.names import counted, listed
from training.corpus.options import TextOptions


def test_a_list_names_three_and_counts_the_others():
    assert listed(["a"]) == "a"
    assert listed([str(n) for n in range(2000)]) == "0, 1, 2 and 1,997 more"
    assert listed(["two\nlines", "b"]) == "two\\nlines, b"


def test_a_list_leaves_out_the_middle_of_long_names():
    name = "a/" * 2000 + "end.txt"
    found = listed([name, "b" * 100])
    assert found == f"{'a/' * 24}...{name[-48:]}, {'b' * 100}"


def test_counts_have_a_plural():
    assert [counted(n, "file") for n in (0, 1, 2000)] == ["0 files", "1 file", "2,000 files"]


@pytest.mark.parametrize("name", ["two\nlines{}", os.fsdecode(b"caf\xe9{}")])
@pytest.mark.parametrize("suffix", [".txt", ".jsonl", ".csv", ".parquet", ".txt.gz"])
def test_messages_about_any_name_have_one_line_that_can_be_printed(name, suffix, tmp_path):
    for content in (
        b"",
        b"\x89PNG\r\n\x1a\n" + bytes(99),
        b"caf\xe9 au lait\n" * 9,
        b'{"x": 1',
        b"\x1f\x8b\x08" + bytes(9),
    ):
        (tmp_path / name.format(suffix)).write_bytes(content)
        for path in (tmp_path / name.format(suffix), tmp_path):
            try:
                load_corpus(TextOptions(str(path)))
            except InputError as error:
                message = str(error)
                assert len(message.splitlines()) == 1
                message.encode()
