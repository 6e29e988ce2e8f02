# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The rows of tokens of each step, for data that lies in memory: pure functions of the step, so that resuming needs no
sampler state and the rows don't depend on how many processes share them.

- `windows`: drawn at random from the whole text;
- `packed`: every token once an epoch, in an order of its own each;
- `stateful`: row by row, each going on where it was.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np


def draw_windows(tokens: np.ndarray, length: int, rows: int, seed: int, step: int) -> np.ndarray:
    """Random windows of the token stream.

    Returns:
        `np.ndarray` of shape `(rows, length + 1)`, int64: `length` inputs, and the same shifted by one as targets.
    """
    starts = np.random.default_rng((seed, step)).integers(0, len(tokens) - length, size=rows)
    return tokens[starts[:, None] + np.arange(length + 1)].astype(np.int64)


@lru_cache(maxsize=4)
def _epoch(tokens: int, length: int, seed: int, epoch: int) -> np.ndarray:
    """Where the windows of an epoch begin, shuffled; they cover all but less than a window."""
    count = (tokens - 1) // length
    rng = np.random.default_rng((seed, epoch, count))
    offset = rng.integers(0, tokens - count * length)  # so that the bounds lie elsewhere in each epoch
    return offset + length * rng.permutation(count)


def packed_windows(tokens: np.ndarray, length: int, rows: int, seed: int, step: int) -> np.ndarray:
    """Windows that are all seen before any comes again. Returns as `draw_windows`."""
    count = (len(tokens) - 1) // length
    numbers = np.arange(step * rows, (step + 1) * rows)
    starts = np.array([_epoch(len(tokens), length, seed, int(n // count))[n % count] for n in numbers])
    return tokens[starts[:, None] + np.arange(length + 1)].astype(np.int64)


def stateful_segments(tokens: np.ndarray, length: int, rows: int, seed: int, step: int) -> np.ndarray:
    """Row i begins at the i-th of `rows` equal shares of the text, and reads on without an end: after its own share it
    reads the next row's, and after the text's end its beginning. Returns as `draw_windows`; `seed` has no influence.
    """
    starts = np.arange(rows) * (len(tokens) // rows) + step * length
    return tokens[(starts[:, None] + np.arange(length + 1)) % len(tokens)].astype(np.int64)


DRAW = {"windows": draw_windows, "packed": packed_windows, "stateful": stateful_segments}


class MapBatches:
    """The rows of any step of a text in memory.

    Args:
        batching (`str`): A key of `DRAW`.
        tokens (`np.ndarray` of shape `(tokens,)`): The whole text.
        length, rows (`int`): Tokens a row, and rows a step, over all processes.
    """

    def __init__(self, batching: str, tokens: np.ndarray, length: int, rows: int, seed: int):
        self.draw, self.tokens, self.length, self.rows, self.seed = DRAW[batching], tokens, length, rows, seed

    def next(self, step: int) -> np.ndarray:
        """The rows of a step, int64 of shape `(rows, length + 1)`."""
        return self.draw(self.tokens, self.length, self.rows, self.seed, step)

    def state_dict(self) -> dict:
        """Nothing: the step says it all."""
        return {}

    def load_state_dict(self, state: dict) -> None:
        """Nothing to do."""


def positions(starts: np.ndarray) -> np.ndarray:
    """Position of each token in its document, from where documents start; a row that starts within one counts from there.

    >>> positions(np.array([[False, False, True, False, True]])).tolist()
    [[0, 1, 0, 1, 0]]
    """
    index = np.arange(starts.shape[1])
    return index - np.maximum.accumulate(np.where(starts, index, 0), axis=1)
