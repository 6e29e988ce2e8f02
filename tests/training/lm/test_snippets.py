# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Snippets of Python: how they are cut, and the share that parses."""

import pytest

from training.lm.snippets import Sample, complete_lines, parse_share, real_snippets


def test_an_incomplete_last_line_is_dropped():
    assert complete_lines("a\nb\nc") == "a\nb\n"
    assert complete_lines("a\n") == "a\n"
    assert complete_lines("a") == ""


def test_the_share_counts_texts_that_parse():
    assert parse_share(["x = 1\n", "def f(:\n", "", " \n", "'\\d'\n", "x = '\0'\n", "(" * 5000]) == pytest.approx(2 / 7)
    with pytest.raises(ValueError, match="at least one"):
        parse_share([])


def test_invalid_escapes_do_not_warn(recwarn):
    assert parse_share(["'\\d'\n"]) == 1
    assert not recwarn.list


def test_samples_and_real_functions_are_cut_in_the_same_way():
    assert Sample("x = 1", ended=True).snippet == "x = 1"
    assert Sample("x = 1\ny = ", ended=False).snippet == "x = 1\n"
    function = "def f():\n" + "    a = 1\n" * 50
    assert real_snippets(["x = 1\n", "x = 1\n" + function, "def g(): pass"]) == [
        "def f():\n" + "    a = 1\n" * 18,
        "def g(): pass",
    ]
