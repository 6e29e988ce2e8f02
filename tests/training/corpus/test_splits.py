# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Splits that names of files say, and names that only look like those of splits."""

import pytest

from training.corpus.splits import heldout_split, splits_of_tables, splits_of_texts


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["train.csv", "test.csv"], ["train", "test"]),
        (["training.csv", "val.csv", "eval.csv"], ["train", "validation", "test"]),
        (["data-Train-01.parquet", "data-DEV-01.parquet"], ["train", "validation"]),
        (["train/a.csv", "testing/b.csv", "c.csv"], ["train", "test", "train"]),
        (["test/train.csv", "test/valid.csv"], ["train", "validation"]),  # the file's own name counts first
        (["a.csv", "evaluation.csv"], ["train", "test"]),
        (["latest.csv", "contest.csv"], None),
        (["test.csv", "dev.csv"], None),
        (["train1.csv", "train2.csv"], None),
        (["train1.csv", "test2.csv"], ["train", "test"]),
    ],
)
def test_tables(names, splits):
    assert splits_of_tables(names) == splits


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["test.txt", "train.txt", "valid.txt"], ["test", "train", "validation"]),
        (["wiki.test.tokens", "wiki.train.tokens", "wiki.valid.tokens"], ["test", "train", "validation"]),
        (["train-00000-of-00010.txt", "test-00000-of-00001.txt"], ["train", "test"]),
        (["train/a.txt", "train/b.txt", "test/c.txt"], ["train", "train", "test"]),
        (["europarl-train.de", "europarl-dev.de"], ["train", "validation"]),
        (["train.txt", "test.txt", "README.md"], ["train", "test", "train"]),
        (["train.txt.gz", "valid.txt.xz"], ["train", "validation"]),
        (["train.txt.zst", "test.txt"], ["train", "test"]),
        (["train.txt", "test.md"], None),  # other names: no twin
        (["a.py", "test_a.py", "test.py"], None),
        (["train.py", "test.py", "a.py", "b.py", "c.py"], None),  # most of the text has no split
        (["training.txt", "restraint.txt"], None),
        (["test1.txt", "dev1.txt"], None),
    ],
)
def test_texts(names, splits):
    assert splits_of_texts(names, [100] * len(names)) == splits


def test_validation_is_held_out_before_test():
    assert heldout_split(["train", "test", "validation"]) == "validation"
    assert heldout_split(["train", "test"]) == "test"
