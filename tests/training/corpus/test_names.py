# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Lists of names."""

from training.corpus.names import counted, listed


def test_a_list_names_three_and_counts_the_others():
    assert listed(["a"]) == "a"
    assert listed([str(n) for n in range(2000)]) == "0, 1, 2 and 1,997 more"
    assert listed(["two\nlines", "b"]) == "two\\nlines, b"


def test_counts_have_a_plural():
    assert [counted(n, "file") for n in (0, 1, 2000)] == ["0 files", "1 file", "2,000 files"]
