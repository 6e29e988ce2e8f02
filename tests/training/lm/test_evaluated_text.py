# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The text to evaluate: sources that are the same, and sources that can no longer be told apart from training data."""

import argparse
import json

import pytest

from training.common.errors import InputError
from training.corpus.corpus import Corpus, Reading
from training.corpus.options import TextOptions
from training.lm.evaluated_text import first_bytes, load_text, same_source, show_evaluated


def test_a_source_under_another_path_is_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("a")
    assert same_source("a.txt", str(tmp_path / "a.txt")) and same_source("owner/name", "owner/name")
    for one, other in ((None, "a.txt"), ("b.txt", "a.txt"), ("owner/name", "owner/other")):
        assert not same_source(one, other)


def test_a_stream_that_may_be_another_one_is_rejected(tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "book.jsonl").write_text(json.dumps({"text": "a"}))
    args = argparse.Namespace(**vars(TextOptions("there/book.jsonl")), part="heldout", limit_bytes=None)
    trained = {"streaming": True, "dataset": "book.jsonl", "heldout_documents": 1}
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"trained on a stream of 'book.jsonl', which is not found from this folder"):
        load_text(args, trained, None)


def test_the_files_that_are_measured_are_shown(capsys):
    corpus = Corpus(
        "texts", "folder", [], [], "the rest held out", Reading(train=["a.txt", "b.txt"], heldout=["b.txt"])
    )
    show_evaluated(corpus, "heldout")
    shown = "  not used  1 file: a.txt\n  held out  1 file: b.txt (the rest held out)\n"
    assert capsys.readouterr().out == shown
    show_evaluated(corpus, "whole")
    assert capsys.readouterr().out == "  measured  2 files: a.txt, b.txt\n"


def test_the_first_bytes_end_between_two_characters():
    documents = ["ab", "cäd", "e"]
    assert first_bytes(documents, 4) == ["ab", "c"]
    assert first_bytes(documents, 5) == ["ab", "cä"]
    assert first_bytes(documents, 2) == ["ab"]
    assert first_bytes(documents, 100) == documents
