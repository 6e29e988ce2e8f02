# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Bits by position: sums over groups of positions, the worth of longer context, and the plot."""

import math

import numpy as np
import pytest

from training.lm.positions import by_position, plot_positions, worth_past
from training.lm.tokenization import UNKNOWN_BITS


def test_unknown_characters_are_charged():
    nats, unknown = np.full(5, math.log(2)), np.array([False, True, False, False, True])
    rows = by_position(nats, nats, unknown, 4, 2.0)
    assert [row["tokens"] for row in rows] == [2, 1, 2]
    assert [row["bits"] for row in rows] == pytest.approx([2 + UNKNOWN_BITS, 1 + UNKNOWN_BITS, 2])
    assert rows[1]["bits_per_byte"] == pytest.approx((1 + UNKNOWN_BITS) / 2)
    assert rows[1]["perplexity"] == pytest.approx(2)


def test_worth_needs_pieces_longer_than_the_window():
    nats = np.ones(64)
    rows = by_position(nats, 0 * nats, np.zeros(64, bool), 16, 1.0)
    assert worth_past(rows, 16) is None
    row, worth = worth_past(rows, 6)
    assert (row["first"], row["last"], worth) == (5, 8, pytest.approx(1 / math.log(2)))


def test_a_plot_of_any_size(tmp_path):
    nats = np.linspace(0.1, 9, 40)
    for length in (1, 3, 40):
        plot_positions(tmp_path / "a.png", by_position(nats, nats / 2, nats > 99, length, 1.0), 5, "title")
        assert (tmp_path / "a.png").stat().st_size > 1000
