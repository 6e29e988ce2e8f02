# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Averages and samples of the curve of losses."""

import pytest
from matplotlib import pyplot

from training.lm.loss_curve import plot_curve, smoothed, thinned


def test_the_moving_average_is_not_biased_at_its_start():
    assert smoothed([3.0, 3.0, 3.0], 0.9) == pytest.approx([3, 3, 3])
    assert smoothed([1.0, 3.0], 0.5) == pytest.approx([1, 7 / 3])


def test_a_thinned_curve_keeps_its_last_value():
    assert thinned([0] * 10, 4) == [0, 3, 6, 9]
    assert thinned([0] * 3, 4) == [0, 1, 2]


@pytest.mark.parametrize("kept", [6, 20])
def test_late_evaluations_are_in_the_picture(tmp_path, monkeypatch, kept):
    figures = []
    monkeypatch.setattr(pyplot, "close", figures.append)
    evaluations = [(2, 5.0), (6, 2.0), (12, 3.0), (18, 4.0)]
    bits = [6.0] * 2 + [1.5] * 18  # the first evaluation and the first steps would make the rest look flat
    plot_curve(tmp_path / "loss.png", [*range(1, 21)], bits, evaluations, (kept, 2.0), {}, "run")
    monkeypatch.undo()
    (axes,) = figures[0].axes
    assert 4 < axes.get_ylim()[1] < 4.5
    assert axes.get_xlim() == (0, 20)  # all of the training, also after the kept step
    assert list(axes.lines[2].get_xdata()) == [kept]
    pyplot.close(figures[0])
