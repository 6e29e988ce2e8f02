# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The seven tasks of the Chomsky hierarchy that the paper uses, as pure functions from seed to batch.

A string of random symbols comes first. Then comes a query symbol, at which the answer is asked for; `bucket_sort` has as many
query symbols as answers. The definitions are those of the paper's code. `length` is that of the string.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

IGNORED = -100  # a label that is not scored


def asked_at_the_end(strings: np.ndarray, answers: np.ndarray, query: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the strings followed by a query symbol for each answer, and the answers as labels of these symbols.

    Args:
        strings (`numpy.ndarray` of shape `(batch, length)`): Symbols.
        answers (`numpy.ndarray` of shape `(batch, count)`): Answers at the `count` query symbols.
        query (`int`): The query symbol.

    Returns:
        `(input_ids, labels)`, both int64 of shape `(batch, length + count)`.

    >>> ids, labels = asked_at_the_end(np.array([[1, 0]]), np.array([[1]]), query=2)
    >>> ids.tolist(), labels.tolist()
    ([[1, 0, 2]], [[-100, -100, 1]])
    """
    inputs = np.concatenate([strings, np.full_like(answers, query)], 1)
    labels = np.concatenate([np.full_like(strings, IGNORED), answers], 1)
    return torch.from_numpy(inputs), torch.from_numpy(labels)


def random_strings(seed, batch_size: int, length: int, symbols: int) -> np.ndarray:
    """Returns symbols from 0 to `symbols - 1`, int64 of shape `(batch_size, length)`."""
    return np.random.default_rng(seed).integers(0, symbols, (batch_size, length), dtype=np.int64)


def bucket_sort(seed, batch_size: int, length: int):
    """Draws ten symbols; the answers are the symbols in rising order."""
    strings = random_strings(seed, batch_size, length, 10)
    return asked_at_the_end(strings, np.sort(strings, 1), 10)


def cycle_nav(seed, batch_size: int, length: int):
    """Draws steps back, none and forward (0, 1, 2) on a circle of five places; the answer is the last place, from place 0."""
    steps = random_strings(seed, batch_size, length, 3)
    return asked_at_the_end(steps, (steps - 1).sum(1, keepdims=True) % 5, 3)


def even_pairs(seed, batch_size: int, length: int):
    """Draws bits; the answer is 1 if the number of neighbours that differ is even: if the first bit equals the last."""
    bits = random_strings(seed, batch_size, length, 2)
    return asked_at_the_end(bits, (bits[:, :1] == bits[:, -1:]).astype(np.int64), 2)


def _counts(strings: np.ndarray, symbols: int) -> np.ndarray:
    rows = np.arange(len(strings))[:, None]
    return np.bincount((rows * symbols + strings).ravel(), minlength=len(strings) * symbols).reshape(-1, symbols)


def majority(seed, batch_size: int, length: int):
    """Draws 63 symbols; the answer is the one that occurs most often, of several the largest."""
    strings = random_strings(seed, batch_size, length, 63)
    most = 62 - _counts(strings, 63)[:, ::-1].argmax(1)
    return asked_at_the_end(strings, most[:, None], 63)


def majority_count(seed, batch_size: int, length: int):
    """Draws 63 symbols; the answer is how often the most frequent one occurs, at most 63."""
    strings = random_strings(seed, batch_size, length, 63)
    return asked_at_the_end(strings, _counts(strings, 63).max(1, keepdims=True).clip(max=63), 63)


def missing_duplicate(seed, batch_size: int, length: int):
    """Draws nine symbols, then the string again up to a place drawn for the whole batch; the answer is the next symbol."""
    strings = random_strings(seed, batch_size, length, 9)
    place = np.random.default_rng([1, *np.atleast_1d(seed).tolist()]).integers(length)
    return asked_at_the_end(np.concatenate([strings, strings[:, :place]], 1), strings[:, place : place + 1], 9)


def parity(seed, batch_size: int, length: int):
    """Draws bits; the answer is whether the number of ones is odd."""
    bits = random_strings(seed, batch_size, length, 2)
    return asked_at_the_end(bits, bits.sum(1, keepdims=True) % 2, 2)


# Name -> function, size of the vocabulary.
CHOMSKY: dict[str, tuple[Callable, int]] = {
    "bucket_sort": (bucket_sort, 11),
    "cycle_nav": (cycle_nav, 5),
    "even_pairs": (even_pairs, 3),
    "majority": (majority, 64),
    "majority_count": (majority_count, 64),
    "missing_duplicate": (missing_duplicate, 10),
    "parity": (parity, 3),
}


def blind_accuracy(name: str, length: int, rows: int = 4096) -> float:
    """Returns the accuracy of always giving the most frequent answer of a place, without reading the string.

    Args:
        name (`str`): A key of `CHOMSKY`.
        length (`int`): Length of the strings.
        rows (`int`): Number of rows to count the answers in, and of others to score them on.

    >>> round(blind_accuracy("parity", 40), 1), round(blind_accuracy("bucket_sort", 256), 1)
    (0.5, 0.8)
    """
    draw = CHOMSKY[name][0]
    counted, scored = (
        labels[labels != IGNORED].view(rows, -1) for _, labels in (draw(n, rows, length) for n in (0, 1))
    )
    return (scored == counted.mode(0).values).float().mean().item()
