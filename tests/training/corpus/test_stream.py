# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Streams of local files and of the Hub: order, held-out documents, positions, and sources that are rejected."""

import json

import datasets
import pytest

from training.common.errors import InputError
from training.corpus import stream as stream_module
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
    assert (corpus.reading.train, corpus.reading.heldout) == (["b.txt", "c.txt"], ["a.txt"])


def test_a_file_that_is_cut_is_on_both_sides(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text("one\ntwo\n")
    corpus, stream = load_stream(TextOptions(str(tmp_path), document_per_line=True), 1)
    assert list(stream) == ["two", "one", "two"]
    assert (corpus.reading.train, corpus.reading.heldout) == (["a.txt", "b.txt"], ["a.txt"])


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
    with pytest.raises(InputError, match="is too short: it has no training text"):
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


# --- pieces of texts, and what is held out


@pytest.mark.parametrize("end", ["\n", "\r\n", " ", ""])
def test_a_single_text_is_cut_into_at_least_ten_documents(end, tmp_path):
    text = "".join(f"line {i} é{end}" for i in range(500))
    (tmp_path / "a.txt").write_bytes(text.encode())
    corpus, stream = load_stream(TextOptions(str(tmp_path / "a.txt")))
    texts = [*corpus.heldout, *stream]
    assert "".join(texts) == text and 10 <= len(texts) <= 21
    assert len(corpus.heldout) == 1
    if end:
        assert all(text.endswith(end) for text in texts)


def test_long_texts_of_a_folder_are_cut_and_short_ones_are_documents(tmp_path, monkeypatch):
    monkeypatch.setattr(stream_module, "DOCUMENT_CHARACTERS", 1000)
    long = "many words in a line\n" * 500
    for name, text in (("a.txt", "short"), ("b.txt", long), ("c.txt", "short too")):
        (tmp_path / name).write_text(text)
    corpus, stream = load_stream(TextOptions(str(tmp_path)), 1)
    assert corpus.heldout == ["short"]
    texts = list(stream)
    assert texts[-1] == "short too" and "".join(texts[:-1]) == long
    assert all(500 < len(text) <= 1000 for text in texts[:-2])


def test_the_number_of_heldout_documents(tmp_path, monkeypatch):
    path = write_rows(tmp_path / "a.jsonl", 60)
    assert len(load_stream(TextOptions(path))[0].heldout) == 6
    assert len(load_stream(TextOptions(path), 30)[0].heldout) == 30
    path = write_rows(tmp_path / "b.jsonl", 2000)
    assert len(load_stream(TextOptions(path))[0].heldout) == 100
    monkeypatch.setattr(stream_module, "HELDOUT_CHARACTERS", 30)
    corpus, stream = load_stream(TextOptions(path))
    assert corpus.heldout == ["document 0", "document 1", "document 2"] and next(iter(stream)) == "document 3"
    assert corpus.split == "the first 3 documents of the stream held out"
    monkeypatch.setattr(stream_module, "HELDOUT_CHARACTERS", 1)
    assert load_stream(TextOptions(path))[0].heldout == ["document 0"]


# --- positions


@pytest.fixture
def mixed(tmp_path):
    folder = tmp_path / "mixed"
    folder.mkdir()
    write_rows(folder / "a.jsonl", 7)
    (folder / "b.csv").write_text("id,text\n" + "".join(f"{i},csv {i}\n" if i % 3 else f"{i},\n" for i in range(9)))
    write_rows(folder / "c.parquet", 5)
    return folder


def test_a_stream_continues_after_every_document(mixed):
    options = TextOptions(str(mixed))
    _, stream = load_stream(options, 2)
    texts = list(stream)
    assert len(texts) == 5 + 6 + 5 and texts[5] == "csv 1"
    for count in range(len(texts)):
        reader = iter(stream)
        for _ in range(count + 1):
            next(reader)
        state = json.loads(json.dumps(stream.state_dict()))
        _, other = load_stream(options, 2)
        other.load_state_dict(state)
        assert list(other) == texts[count + 1 :]
        assert list(other) == texts  # the next epoch begins at the first document again


def test_a_stream_of_texts_continues_after_every_document(tmp_path, monkeypatch):
    monkeypatch.setattr(stream_module, "DOCUMENT_CHARACTERS", 50)
    for name in "ab":
        (tmp_path / f"{name}.txt").write_bytes(f"{name} line of text\r\n".encode() * 20)
    options = TextOptions(str(tmp_path))
    _, stream = load_stream(options, 1)
    texts = list(stream)
    for count in (0, 5, 10, len(texts) - 2):
        reader = iter(stream)
        for _ in range(count + 1):
            next(reader)
        _, other = load_stream(options, 1)
        other.load_state_dict(stream.state_dict())
        assert list(other) == texts[count + 1 :]


def test_a_file_that_changes_or_vanishes_is_named(mixed):
    _, stream = load_stream(TextOptions(str(mixed)), 1)
    reader = iter(stream)
    next(reader)
    (mixed / "b.csv").write_text("text\nother\n")
    with pytest.raises(InputError, match=r"b\.csv was changed during the run: restore it"):
        list(reader)
    _, stream = load_stream(TextOptions(str(mixed)), 1)
    reader = iter(stream)
    next(reader)
    (mixed / "c.parquet").unlink()
    with pytest.raises(InputError, match=r"c\.parquet cannot be read any more \(No such file"):
        list(reader)


def test_a_position_in_another_file_is_rejected(mixed):
    _, stream = load_stream(TextOptions(str(mixed)), 1)
    list(zip(range(9), stream, strict=False))
    state = stream.state_dict()
    assert state["name"] == "b.csv"
    (mixed / "b.csv").write_text("text\nother\n")
    _, other = load_stream(TextOptions(str(mixed)), 1)
    with pytest.raises(InputError, match=r"b\.csv is not the file it was .* --overwrite"):
        other.load_state_dict(state)
    with pytest.raises(InputError, match=r"of an earlier version\): .* --overwrite"):
        other.load_state_dict({"epoch": 1, "rows": {"examples_iterable": {}}})


def test_the_identity_of_a_stream_follows_its_files_and_options(mixed, tmp_path):
    source = load_stream(TextOptions(str(mixed)), 1)[1].source
    moved = mixed.rename(tmp_path / "elsewhere")
    assert load_stream(TextOptions(str(moved)), 1)[1].source == source
    others = [load_stream(TextOptions(str(moved)), 2)[1].source]
    others.append(load_stream(TextOptions(str(moved), exclude=("b.csv",)), 1)[1].source)
    (moved / "b.csv").write_text("text\nother\n")
    others.append(load_stream(TextOptions(str(moved)), 1)[1].source)
    assert len({source, *others}) == 4


# --- errors before the first step


@pytest.mark.parametrize(
    ("name", "last", "message"),
    [
        ("z.jsonl", '{"text": "broken', r"z\.jsonl is not valid JSON at line 5001"),
        ("z.jsonl", '{"text": 3}', r"column 'text' of .*z\.jsonl holds int, not text \(line 5001\)"),
        ("z.csv", '"3,broken\n', r"z\.csv is not valid CSV in the record at line 5002"),
    ],
)
def test_a_bad_row_at_the_end_of_the_last_file_is_reported_at_once(name, last, message, tmp_path):
    write_rows(tmp_path / "a.jsonl", 10)
    lines = "".join(json.dumps({"text": f"row {i}"}) + "\n" for i in range(5000))
    if name.endswith("csv"):
        lines = "text\n" + "row\n" * 5000
    (tmp_path / name).write_text(lines + last)
    with pytest.raises(InputError, match=message):
        load_stream(TextOptions(str(tmp_path)))


def test_a_column_that_is_missing_in_a_later_file_is_reported_at_once(tmp_path):
    write_rows(tmp_path / "a.parquet", 10)
    datasets.Dataset.from_list([{"body": "a"}]).to_parquet(tmp_path / "b.parquet")
    with pytest.raises(InputError, match=r"b\.parquet has no column 'text': choose --text-column from body"):
        load_stream(TextOptions(str(tmp_path)))


def test_the_standard_library_is_not_streamed():
    with pytest.raises(InputError, match="--streaming: the standard library is not streamed"):
        load_stream(TextOptions("stdlib"))
