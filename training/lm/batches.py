# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The rows of tokens of each step, for data in memory.

They are pure functions of the step: resuming needs no sampler state, and the rows don't depend on the number of processes.

- `windows`: drawn at random from the whole text;
- `packed`: every token once per epoch, in another order each epoch;
- `stateful`: each row continues where it ended in the step before.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np


def draw_windows(tokens: np.ndarray, length: int, rows: int, seed: int, step: int) -> np.ndarray:
    """Returns random windows of the text.

    Args:
        tokens (`np.ndarray` of shape `(tokens,)`): The whole text.
        length, rows (`int`): Tokens per row, and number of rows.
        seed, step (`int`): The rows depend on both.

    Returns:
        `np.ndarray` of shape `(rows, length + 1)`, int64: `length` inputs, and the token after the last one. The targets are
        the same tokens from the second one on.
    """
    starts = np.random.default_rng((seed, step)).integers(0, len(tokens) - length, size=rows)
    return tokens[starts[:, None] + np.arange(length + 1)].astype(np.int64)


@lru_cache(maxsize=4)
def _epoch(tokens: int, length: int, seed: int, epoch: int) -> np.ndarray:
    """Returns the first positions of the windows of an epoch, shuffled. They leave out less than one window of the text."""
    count = (tokens - 1) // length
    rng = np.random.default_rng((seed, epoch, count))
    offset = rng.integers(0, tokens - count * length)  # the windows are cut elsewhere in each epoch
    return offset + length * rng.permutation(count)


def packed_windows(tokens: np.ndarray, length: int, rows: int, seed: int, step: int) -> np.ndarray:
    """Returns windows that cover the text once before one is repeated. See `draw_windows`."""
    count = (len(tokens) - 1) // length
    numbers = np.arange(step * rows, (step + 1) * rows)
    starts = np.array([_epoch(len(tokens), length, seed, int(n // count))[n % count] for n in numbers])
    return tokens[starts[:, None] + np.arange(length + 1)].astype(np.int64)


def stateful_segments(tokens: np.ndarray, length: int, rows: int, seed: int, step: int) -> np.ndarray:
    """Returns rows that continue those of the step before. See `draw_windows`; `seed` has no influence.

    Row i begins at the i-th of `rows` equal shares of the text. After its own share it reads the next row's, and after the
    end of the text its beginning.
    """
    starts = np.arange(rows) * (len(tokens) // rows) + step * length
    return tokens[(starts[:, None] + np.arange(length + 1)) % len(tokens)].astype(np.int64)


DRAW = {"windows": draw_windows, "packed": packed_windows, "stateful": stateful_segments}


class MapBatches:
    """The rows of any step of a text in memory.

    Args:
        batching (`str`): A key of `DRAW`.
        tokens (`np.ndarray` of shape `(tokens,)`): The whole text.
        length (`int`): Tokens per row.
        rows (`int`): Rows per step, over all processes.
    """

    def __init__(self, batching: str, tokens: np.ndarray, length: int, rows: int, seed: int):
        self.draw = DRAW[batching]
        self.tokens = tokens
        self.length = length
        self.rows = rows
        self.seed = seed

    def next(self, step: int) -> np.ndarray:
        """Returns the rows of a step, int64 of shape `(rows, length + 1)`."""
        return self.draw(self.tokens, self.length, self.rows, self.seed, step)

    def state_dict(self) -> dict:
        """Returns nothing: the rows depend on the step alone."""
        return {}

    def load_state_dict(self, state: dict) -> None:
        """Does nothing, as there is no state."""


def positions(resets: np.ndarray) -> np.ndarray:
    """Returns the position of each token in its document. A row that begins inside a document counts from there.

    Args:
        resets (`np.ndarray` of shape `(rows, tokens)`, bool): True at the first token of each document.

    >>> positions(np.array([[False, False, True, False, True]])).tolist()
    [[0, 1, 0, 1, 0]]
    """
    index = np.arange(resets.shape[1])
    return index - np.maximum.accumulate(np.where(resets, index, 0), axis=1)
