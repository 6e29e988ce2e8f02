# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Documents read while training: their rows, and resuming at a position."""

import json

import datasets
import numpy as np
import pytest

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


def test_the_documents_that_were_read_are_recorded(rows_file):
    source = batches(rows_file)
    read(source, 10)
    texts = [f"document {i} {'x' * (i % 13)}" for i in range(120)]
    found = [source.seen.finds(text) for text in texts]
    assert not any(found[:5])  # held out
    count = found.index(False, 5) - 5
    assert count >= source.given and all(found[5 : 5 + count]) and not any(found[5 + count :])

    resumed = batches(rows_file)
    resumed.load_state_dict(source.state_dict())
    for again in (source, resumed):
        read(again, 60)  # into the next epoch
    assert resumed.seen.trained.values == source.seen.trained.values and resumed.seen.complete
    assert len(resumed.seen.trained.values) == 115


def test_a_checkpoint_of_an_earlier_version_has_no_record(rows_file):
    source = batches(rows_file)
    read(source, 2)
    state = source.state_dict()
    del state["seen"]
    resumed = batches(rows_file)
    resumed.load_state_dict(state)
    assert not resumed.seen.complete
