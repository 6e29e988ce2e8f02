# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import doctest

import pytest
from matplotlib import figure

from training.common import plots

NEAR = {"a": {"x": 2.5, "y": 5.2}, "b": {"x": 344.0, "y": 664.0}}
FAR = {"a": {"x": 0.2, "y": 82.0}, "b": {"x": 1.0, "y": 2.0}}


@pytest.fixture
def panels(monkeypatch, tmp_path):
    """Keeps the panels of the figures that are saved to the file "a.png"."""
    monkeypatch.chdir(tmp_path)
    kept = []
    monkeypatch.setattr(
        figure.Figure, "savefig", lambda self, file, **options: (self.canvas.draw(), kept.extend(self.axes))
    )
    return kept


def labels(axis):
    first, last = sorted(axis.get_view_interval())
    return [
        label.get_text()
        for label in axis.get_ticklabels()
        if first <= label.get_position()[axis.axis_name == "y"] <= last
    ]


@pytest.mark.parametrize("groups, scale, expected", [(NEAR, None, "linear"), (FAR, None, "log"), (NEAR, "log", "log")])
def test_bars_have_labels_and_their_axes_have_numbers(groups, scale, expected, panels):
    plots.plot_bars("a.png", "title", "ms", groups, ours=("x",), scale=scale)
    for axes, values in zip(panels, groups.values(), strict=True):
        assert axes.get_xscale() == expected
        assert len([text for text in labels(axes.xaxis) if text]) >= 2
        assert {text.get_text() for text in axes.texts} == {plots.number(value) for value in values.values()}
        assert [patch.get_facecolor() == axes.patches[0].get_facecolor() for patch in axes.patches] == [True, False]


def test_logarithmic_lines_have_numbers_and_start_at_zero(panels):
    plots.plot_lines("a.png", "title", ("tokens", "ms"), {"x": [(0, 3.0), (1000, 40.0)], "y": [(0, 5.0), (1000, 6.0)]})
    (axes,) = panels
    assert labels(axes.xaxis) == ["0", "1,000"] and len(labels(axes.yaxis)) >= 3


def test_figures_fill_the_width_of_a_page(tmp_path):
    plots.plot_bars(tmp_path / "bars.png", "title", "ms", NEAR)
    plots.plot_lines(tmp_path / "lines.png", "title", ("x", "y"), {"a": [(1, 2), (2, 3)]}, "linear", "linear")
    for name in ("bars", "lines"):
        header = (tmp_path / f"{name}.png").read_bytes()[:24]
        assert int.from_bytes(header[16:20], "big") >= 880


def test_examples():
    found = doctest.testmod(plots)
    assert found.attempted and not found.failed
