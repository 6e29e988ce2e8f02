# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Averages and samples of the curve of losses."""

import pytest

from training.lm.loss_curve import smoothed, thinned


def test_the_moving_average_is_not_biased_at_its_start():
    assert smoothed([3.0, 3.0, 3.0], 0.9) == pytest.approx([3, 3, 3])
    assert smoothed([1.0, 3.0], 0.5) == pytest.approx([1, 7 / 3])


def test_a_thinned_curve_keeps_its_last_value():
    assert thinned([0] * 10, 4) == [0, 3, 6, 9]
    assert thinned([0] * 3, 4) == [0, 1, 2]
