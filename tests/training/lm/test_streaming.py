# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Documents read while training: their rows, resuming at a position, and sources that are rejected."""

import json

import datasets
import numpy as np
import pytest

from training.common.errors import InputError
from training.corpus.load import check_utf8
from training.corpus.options import TextOptions
from training.corpus.stream import load_stream
from training.lm.streaming import StreamBatches
from training.lm.tokenization import build_tokenizer

TOKENIZER = build_tokenizer("bytes", [])
END = TOKENIZER.eos_token_id


def write_rows(path, count, column="text"):
    path.write_text(
        "".join(json.dumps({column: f"document {i} {'x' * (i % 13)}", "id": i}) + "\n" for i in range(count))
    )
    return str(path)


@pytest.fixture(scope="module", params=["jsonl", "parquet"])
def rows_file(tmp_path_factory, request):
    path = write_rows(tmp_path_factory.mktemp("stream") / "rows.jsonl", 120)
    if request.param == "parquet":
        table = datasets.Dataset.from_json(path, cache_dir=str(tmp_path_factory.mktemp("cache")))
        path = path.replace("jsonl", "parquet")
        table.to_parquet(path)
    return path


def batches(path, batching="packed", rows=4, length=16, **options):
    _, stream = load_stream(TextOptions(path, "text"), 5)
    return StreamBatches(batching, stream, TOKENIZER, length, rows, **options)


def read(source, steps):
    return np.stack([source.next(step) for step in range(steps)])


def documents(tokens):
    pieces = np.split(tokens, np.flatnonzero(tokens == END))[1:]
    return [TOKENIZER.decode(piece[1:]) for piece in pieces]


def test_packed_rows_are_the_stream_in_order(rows_file):
    rows = read(batches(rows_file), 20)
    flat = rows[:, :, :-1].ravel()
    assert np.array_equal(
        rows[:, :, -1].ravel()[:-1], flat[16::16]
    )  # a row's last target is the next row's first input
    found = documents(flat)[:-1]
    assert len(found) > 60
    assert found == [f"document {i} {'x' * (i % 13)}" for i in range(5, 5 + len(found))]


def test_stateful_rows_read_their_documents_to_the_end(rows_file):
    rows = read(batches(rows_file, "stateful"), 20)
    assert np.array_equal(rows[1:, :, 0], rows[:-1, :, -1])
    found = [documents(rows[:, row, :-1].ravel())[:-1] for row in range(4)]
    numbers = [[int(text.split()[1]) for text in lane] for lane in found]
    assert all(lane == sorted(lane) for lane in numbers)
    seen = sorted(number for lane in numbers for number in lane)
    assert len(set(seen)) == len(seen) > 40 and seen[:40] == list(range(5, 45))


def test_the_stream_starts_again_after_its_end(rows_file):
    found = documents(read(batches(rows_file), 100)[:, :, :-1].ravel())
    numbers = [int(text.split()[1]) for text in found[:-1]]
    assert numbers[:230] == [*range(5, 120), *range(5, 120)]


@pytest.mark.parametrize("batching", ["packed", "stateful"])
@pytest.mark.parametrize("shuffle_buffer", [0, 40])
@pytest.mark.parametrize("steps", [0, 1, 13, 45, 90])
def test_a_loaded_state_dict_continues_exactly(rows_file, batching, steps, shuffle_buffer):
    first = batches(rows_file, batching, shuffle_buffer=shuffle_buffer)
    for step in range(steps):
        first.next(step)
    state = first.state_dict()
    for _ in range(3):  # once more before anything has been read
        second = batches(rows_file, batching, shuffle_buffer=shuffle_buffer)
        second.load_state_dict(state)
        state = second.state_dict()
    assert np.array_equal(read(first, 30), read(second, 30))


def test_a_shuffled_stream_skips_nothing_and_repeats_nothing(rows_file):
    source = batches(rows_file, shuffle_buffer=40)
    given = [source._document() for _ in range(300)]
    numbers = [int(TOKENIZER.decode(ids[1:]).split()[1]) for ids in [*given, *source.waiting]]
    assert numbers[:30] != sorted(numbers[:30])
    counts = [numbers.count(number) for number in range(5, 120)]
    assert sum(counts) == len(numbers) and max(counts) - min(counts) <= 1
    other = batches(rows_file, shuffle_buffer=40, seed=1)
    assert not all(np.array_equal(ids, other._document()) for ids in given)


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


def test_bad_sources_are_rejected(tmp_path, rows_file):
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
    with pytest.raises(InputError, match=r"give more documents \(a text file is one\), .* or leave out --streaming"):
        load_stream(TextOptions(str(tmp_path / "one.txt"), "text"), 5)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match="nothing' is empty: give a folder with files in it"):
        load_stream(TextOptions(str(tmp_path / "nothing"), "text"), 5)
    with pytest.raises(InputError, match="could not load dataset 'no/such'"):
        load_stream(TextOptions("no/such", "text"), 5)


@pytest.mark.parametrize("at", [0, 7, (1 << 20) - 1, (1 << 20) + 5])
def test_bytes_that_are_not_utf8_are_located(tmp_path, at):
    path = tmp_path / "text.txt"
    text = ("é" * (1 << 20)).encode()[: at // 2 * 2]
    path.write_bytes(text + b"\xff" + b"abc")
    with pytest.raises(InputError, match=f"not UTF-8 at byte {at // 2 * 2}: convert it first"):
        check_utf8(path)
    path.write_bytes(text + "é".encode()[:1])
    with pytest.raises(InputError, match=f"not UTF-8 at byte {at // 2 * 2}"):
        check_utf8(path)
    path.write_bytes(b"x" + text)
    check_utf8(path)


def test_a_broken_row_is_reported_in_one_line(tmp_path):
    path = tmp_path / "broken.jsonl"
    path.write_text('{"text": "a good line"}\n{"text": "broken')
    with pytest.raises(InputError, match=r"could not load dataset .*broken\.jsonl"):
        load_stream(TextOptions(str(path), "text"), 1)
