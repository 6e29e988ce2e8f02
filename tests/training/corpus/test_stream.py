# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Streams of local files and of the Hub: order, held-out documents, positions, and sources that are rejected."""

import json

import datasets
import pytest

from training.common.errors import InputError
from training.corpus.options import TextOptions
from training.corpus.stream import load_stream


def write_rows(path, count):
    rows = [{"text": f"document {i}", "id": i} for i in range(count)]
    if path.suffix == ".parquet":
        datasets.Dataset.from_list(rows).to_parquet(path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_own_split_is_held_out_and_rows_without_text_are_left_out(tmp_path):
    (tmp_path / "train.jsonl").write_text('{"text": "a"}\n{"text": ""}\n{"text": null}\n{"text": "b"}\n')
    (tmp_path / "validation.jsonl").write_text('{"text": "c"}\n{"text": "d"}\n')
    corpus, _ = load_stream(TextOptions(str(tmp_path), "text"), 1)
    assert (corpus.train, corpus.heldout) == (["a", "b"], ["c"])
    assert "validation" in corpus.split


def test_text_files_are_documents(tmp_path):
    for name in "abc":
        (tmp_path / f"{name}.txt").write_text(f"{name}\n\n{name}")
    corpus, stream = load_stream(TextOptions(str(tmp_path), "text"), 1)
    assert (corpus.heldout, corpus.train) == (["a\n\na"], ["b\n\nb", "c\n\nc"])
    assert list(stream) == corpus.train


def test_hub_name_and_configuration_reach_datasets(monkeypatch):
    asked = []

    def load(*args, **kwargs):
        asked.append((args, kwargs))
        rows = datasets.Dataset.from_dict({"text": ["a", None, "b", "c"]}).to_iterable_dataset()
        return datasets.IterableDatasetDict(train=rows)

    monkeypatch.setattr(datasets, "load_dataset", load)
    corpus, stream = load_stream(TextOptions("someone/texts:small", "text"), 2)
    assert asked == [(("someone/texts", "small"), {"streaming": True})]
    assert (corpus.name, corpus.train, corpus.heldout) == ("someone-texts-small", ["b", "c"], ["a"])
    assert list(stream) == ["b", "c"]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_bad_sources_are_rejected(tmp_path, suffix):
    rows_file = write_rows(tmp_path / f"rows{suffix}", 120)
    with pytest.raises(InputError, match="has no column 'body': choose --text-column from text, id"):
        load_stream(TextOptions(rows_file, "body"), 5)
    with pytest.raises(InputError, match="holds int, not text"):
        load_stream(TextOptions(rows_file, "id"), 5)
    with pytest.raises(InputError, match="it has no text for the training side"):
        load_stream(TextOptions(rows_file, "text"), 500)
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(InputError, match="is empty"):
        load_stream(TextOptions(str(tmp_path / "empty.txt"), "text"), 5)
    (tmp_path / "one.txt").write_text("a")
    with pytest.raises(InputError, match=r"give more documents, .* or leave out --streaming"):
        load_stream(TextOptions(str(tmp_path / "one.txt"), "text"), 5)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match="nothing' is empty: give a folder with files in it"):
        load_stream(TextOptions(str(tmp_path / "nothing"), "text"), 5)
    with pytest.raises(InputError, match="could not load dataset 'no/such'"):
        load_stream(TextOptions("no/such", "text"), 5)


def test_a_broken_row_is_reported_in_one_line(tmp_path):
    path = tmp_path / "broken.jsonl"
    path.write_text('{"text": "a good line"}\n{"text": "broken')
    with pytest.raises(InputError, match=r"broken\.jsonl is not valid JSON at line 2"):
        load_stream(TextOptions(str(path), "text"), 1)
