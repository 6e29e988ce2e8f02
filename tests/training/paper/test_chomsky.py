# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Each task against a brute-force answer, worked out from the definition one row at a time."""

from collections import Counter

import pytest
import torch

from training.paper import chomsky

LENGTHS = (1, 2, 7, 40, 256)


def walk(moves):
    place = 0
    for move in moves:
        place = {0: [4, 0, 1, 2, 3], 1: [0, 1, 2, 3, 4], 2: [1, 2, 3, 4, 0]}[move][place]
    return place


def most_frequent(symbols):
    best = None
    for symbol in range(63):
        if best is None or symbols.count(symbol) >= symbols.count(best):
            best = symbol
    return best


# Name -> the string's symbols, and the answers to one string.
BRUTE_FORCE = {
    "bucket_sort": (10, sorted),
    "cycle_nav": (3, lambda moves: [walk(moves)]),
    "even_pairs": (2, lambda bits: [int(sum(a != b for a, b in zip(bits, bits[1:])) % 2 == 0)]),
    "majority": (63, lambda symbols: [most_frequent(symbols)]),
    "majority_count": (63, lambda symbols: [max(Counter(symbols).values())]),
    "parity": (2, lambda bits: [[0, 1][bits.count(1) % 2]]),
}


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("name", BRUTE_FORCE)
def test_answers_are_the_definitions(name, length):
    symbols, answer = BRUTE_FORCE[name]
    draw, vocabulary = chomsky.CHOMSKY[name]
    ids, labels = draw(3, 9, length)
    assert ids.dtype == labels.dtype == torch.int64 and ids.shape == labels.shape
    assert ids.min() >= 0 and max(ids.max(), labels.max()) < vocabulary
    for row, wanted in zip(ids.tolist(), labels.tolist()):
        string, rest = row[:length], row[length:]
        assert max(string) < symbols and set(rest) == {symbols}
        assert wanted == [-100] * length + answer(string)


@pytest.mark.parametrize("length", LENGTHS)
def test_the_missing_duplicate_comes_from_the_first_copy(length):
    places = set()
    for seed in range(40):
        ids, labels = chomsky.missing_duplicate(seed, 5, length)
        time = ids.shape[1]
        place = time - 1 - length
        places.add(place)
        assert 0 <= place < length and (ids[:, -1] == 9).all() and (ids[:, :-1] < 9).all()
        assert torch.equal(ids[:, :place], ids[:, length : length + place])
        assert torch.equal(labels[:, -1], ids[:, place]) and (labels[:, :-1] == -100).all()
    assert len(places) == 1 if length == 1 else len(places) > 1


def test_a_count_beyond_the_vocabulary_is_its_last():
    _, labels = chomsky.majority_count(0, 2, 12_000)  # each of 63 symbols occurs about 190 times
    assert labels[:, -1].tolist() == [63, 63]


@pytest.mark.parametrize("name", chomsky.CHOMSKY)
def test_all_answers_occur(name):
    draw, _ = chomsky.CHOMSKY[name]
    answers = {"bucket_sort": 10, "cycle_nav": 5, "majority": 63, "majority_count": 63, "missing_duplicate": 9}.get(
        name, 2
    )
    _, labels = draw(0, 2000, 100 if name == "majority_count" else 40)
    seen = labels[labels != -100]
    found = len(seen.unique())
    assert found == answers or (name == "majority_count" and found >= 3)  # only a few of the 63 answers are likely


@pytest.mark.parametrize("length", [1, 40, 200])
def test_blind_accuracy_is_the_share_of_the_most_frequent_answer(length):
    found = {name: chomsky.blind_accuracy(name, length, rows=2000) for name in chomsky.CHOMSKY}
    # Binomial: the deviation of a share of 2,000 is at most 0.011, of one in ten 0.007.
    assert found["even_pairs"] == 1 if length == 1 else abs(found["even_pairs"] - 0.5) < 0.05
    assert abs(found["parity"] - 0.5) < 0.05 and abs(found["missing_duplicate"] - 1 / 9) < 0.03
    assert abs(found["cycle_nav"] - (1 / 3 if length == 1 else 1 / 5)) < 0.05
    wanted = {1: 1 / 10, 40: 0.56, 200: 0.785}[length]  # the middle of a sorted string is easy to guess
    assert abs(found["bucket_sort"] - wanted) < 0.03
    assert found["majority_count"] == 1 if length == 1 else found["majority_count"] > 0.3
