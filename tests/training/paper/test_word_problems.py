# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Each task of state tracking against its definition, worked out one symbol at a time."""

from itertools import permutations

import pytest
import torch

from training.paper import word_problems

LENGTHS = (1, 2, 7, 64, 300)


def flips(bits):
    odd, answers = False, []
    for bit in bits:
        odd = odd != (bit == 1)
        answers.append(int(odd))
    return answers


def places(steps):
    place, answers = 0, []
    for step in steps:
        place = {0: [4, 0, 1, 2, 3], 1: [0, 1, 2, 3, 4], 2: [1, 2, 3, 4, 0]}[step][place]
        answers.append(place)
    return answers


def products(n):
    elements = list(permutations(range(n)))

    def answer(symbols):
        things, answers = list(range(n)), []  # where each thing is after the permutations so far
        for symbol in symbols:
            things = [elements[symbol][thing] for thing in things]
            answers.append(elements.index(tuple(things)))
        return answers

    return answer


# Name -> the number of symbols, and the labels of one string.
BY_HAND = {"parity": (2, flips), "counting": (3, places), "s3": (6, products(3)), "s5": (120, products(5))}


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("name", word_problems.TRACKING)
def test_labels_are_the_states_so_far(name, length):
    draw, vocab_size = word_problems.TRACKING[name]
    symbols, answer = BY_HAND[name]
    ids, labels = draw([3, length], 5, length)
    assert ids.dtype == labels.dtype == torch.int64 and ids.shape == labels.shape == (5, length)
    assert ids.min() >= 0 and ids.max() < symbols <= vocab_size and labels.max() < vocab_size
    assert labels.tolist() == [answer(row) for row in ids.tolist()]


@pytest.mark.parametrize("name", word_problems.TRACKING)
def test_every_symbol_and_every_state_occurs(name):
    draw, vocab_size = word_problems.TRACKING[name]
    ids, labels = draw(0, 200, 40)
    assert len(ids.unique()) == BY_HAND[name][0] and len(labels.unique()) == vocab_size


@pytest.mark.parametrize("n", [3, 5])
def test_the_table_is_that_of_a_group_that_does_not_commute(n):
    table = torch.from_numpy(word_problems.multiplication_table(n))
    everything = torch.arange(len(table))
    assert torch.equal(table[0], everything) and torch.equal(table[:, 0], everything)
    assert all(torch.equal(line.sort()[0], everything) for line in (*table, *table.T))  # each product once
    assert torch.equal(table[table[1], :], table[1, table])  # (p q) r = p (q r) for p = 1
    assert not torch.equal(table, table.T)
