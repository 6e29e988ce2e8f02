# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The rows of tokens of each step: which tokens they hold, how often, and in which order."""

import numpy as np
import pytest

from training.lm.batches import DRAW, MapBatches, draw_windows, packed_windows, positions, stateful_segments

TOKENS = np.arange(1003, dtype=np.uint16)


def test_windows_are_a_pure_function_of_seed_and_step():
    tokens = np.arange(1000, dtype=np.uint16)
    first = draw_windows(tokens, 16, 8, seed=1, step=2)
    assert first.shape == (8, 17)
    assert (np.diff(first) == 1).all()
    assert np.array_equal(first, draw_windows(tokens, 16, 8, seed=1, step=2))
    assert not np.array_equal(first, draw_windows(tokens, 16, 8, seed=1, step=3))
    assert not np.array_equal(first, draw_windows(tokens, 16, 8, seed=2, step=2))
    shortest = draw_windows(tokens[:17], 16, 4, seed=0, step=0)
    assert (shortest == tokens[:17]).all()
    starts = draw_windows(tokens[:20], 16, 200, seed=0, step=0)[:, 0]
    assert set(starts.tolist()) == {0, 1, 2, 3}


def test_packed_windows_show_every_token_once_an_epoch():
    count = 1002 // 16
    rows = np.concatenate([packed_windows(TOKENS, 16, 1, 3, step) for step in range(2 * count)])
    assert (np.diff(rows) == 1).all()
    for epoch in (rows[:count], rows[count:]):
        targets = np.sort(epoch[:, 1:].ravel())
        assert (np.diff(targets) == 1).all() and len(targets) == 16 * count
        assert not (np.diff(epoch[:, 0]) > 0).all()
    assert not np.array_equal(rows[:count], rows[count:])


def test_packed_windows_do_not_depend_on_the_rows_of_a_step():
    whole = packed_windows(TOKENS, 16, 200, 0, 0)
    parts = [packed_windows(TOKENS, 16, 40, 0, step) for step in range(5)]
    assert np.array_equal(whole, np.concatenate(parts))
    shortest = packed_windows(TOKENS[:17], 16, 3, 0, 5)
    assert (shortest == TOKENS[:17]).all()


def test_stateful_rows_continue_and_reach_all_of_the_text():
    rows = [stateful_segments(TOKENS, 16, 4, 0, step) for step in range(70)]
    for before, after in zip(rows, rows[1:]):
        assert np.array_equal(before[:, -1], after[:, 0])
        assert np.array_equal(before[:, 1:], (before[:, :-1] + 1) % 1003)
    first = np.stack(rows[:16])[:, :, :-1]
    assert len(np.unique(first)) >= 1000  # the rows of one epoch
    assert np.array_equal(rows[0][:, 0], [0, 250, 500, 750])


@pytest.mark.parametrize("batching", sorted(DRAW))
def test_rows_fit_any_text(batching):
    for length in (1, 5, 1002):
        rows = MapBatches(batching, TOKENS, length, 3, 0).next(7)
        assert rows.shape == (3, length + 1) and rows.dtype == np.int64


def test_positions_start_again_at_each_document():
    resets = np.array([[True, False, False, True], [False, False, False, False], [False, True, True, False]])
    assert positions(resets).tolist() == [[0, 1, 2, 0], [0, 1, 2, 3], [0, 0, 0, 1]]
