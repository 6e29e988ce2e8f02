# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Tasks of state tracking, as pure functions from seed to batch: parity, counting, and the word problems of S3 and S5.

A row is a string of random symbols. Each symbol changes a state, and the label at each position is the state after it. So a
label depends on all symbols up to its position. A state of parity or counting is a number; the order of the symbols does not
matter. A state of S3 or S5 is a permutation, and the order does matter.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import numpy as np
import torch

from training.paper.chomsky import random_strings

CIRCLE = 5  # places of `counting`


def parity(seed, batch_size: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Draws bits; a label is whether the number of ones so far is odd."""
    bits = random_strings(seed, batch_size, length, 2)
    return torch.from_numpy(bits), torch.from_numpy(bits.cumsum(1) % 2)


def counting(seed, batch_size: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Draws steps back, none and forward (0, 1, 2) on a circle of five places; a label is the place so far, from place 0."""
    steps = random_strings(seed, batch_size, length, 3)
    return torch.from_numpy(steps), torch.from_numpy((steps - 1).cumsum(1) % CIRCLE)


def multiplication_table(n: int) -> np.ndarray:
    """Returns the products of all permutations of `n` things, by the numbers of the permutations in lexicographic order.

    Number 0 is the identity.

    Returns:
        `numpy.ndarray` of shape `(n!, n!)`, int64: At `[p, q]` the number of the permutation that applies `q` first, then `p`.

    >>> multiplication_table(2).tolist()
    [[0, 1], [1, 0]]
    """
    elements = np.array(list(permutations(range(n))))
    # The digits of a permutation in base n tell it apart from all others.
    weights = n ** np.arange(n)
    by_code = np.zeros(n**n, dtype=np.int64)
    by_code[elements @ weights] = np.arange(len(elements))
    products = elements[:, elements]  # [p, q, x] = p(q(x))
    return by_code[products @ weights]


def word_problem(n: int) -> Callable:
    """Returns the word problem of the permutations of `n` things: a function of seed, batch size and length.

    A symbol is the number of a permutation. A label is the number of the product so far: the first symbol is applied first, so
    the label after the symbols p, q, r is that of r(q(p(x))).

    >>> ids, labels = word_problem(3)(0, batch_size=2, length=4)
    >>> bool((ids[:, 0] == labels[:, 0]).all()), int(labels.max()) < 6
    (True, True)
    """
    table = multiplication_table(n)

    def draw(seed, batch_size: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        symbols = random_strings(seed, batch_size, length, len(table))
        labels = np.empty_like(symbols)
        state = np.zeros(batch_size, dtype=np.int64)
        for position in range(length):
            state = table[symbols[:, position], state]
            labels[:, position] = state
        return torch.from_numpy(symbols), torch.from_numpy(labels)

    return draw


# Name -> function, size of the vocabulary, which is the number of states.
TRACKING: dict[str, tuple[Callable, int]] = {
    "parity": (parity, 2),
    "counting": (counting, CIRCLE),
    "s3": (word_problem(3), 6),
    "s5": (word_problem(5), 120),
}
