# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""No legend covers what is drawn: its box overlaps no panel, and with it no curve, bar or tick label."""

import math

import pytest
from matplotlib import figure

from training.common import plots
from training.lm.loss_curve import plot_curve
from training.lm.positions import plot_positions
from training.report import pictures

PAGE = [(x / 30, y / 30) for x in range(31) for y in range(31)]  # points that fill the axes
LINES = ("linear", "linear")
SECONDS = [0.3 * step for step in range(1, 1001)]


def lines(path, number):
    names = [f"a model with a long name, {n}" for n in range(number)]
    plots.plot_lines(path, "title", ("x", "y"), dict.fromkeys(names, PAGE), *LINES)


def bars(path):
    plots.plot_bars(path, "title", "ms", {"a": {"x": 1.0, "y": 2.0}, "b": {"x": 3.0, "y": 3.0}}, ours=["x"])


def curve(path, steps, bits, evaluations, references):
    seconds = SECONDS[:steps]
    heldout = [(seconds[-1] * share, bits(share)) for share in evaluations]
    losses = [bits(step / steps) for step in range(steps)]
    plot_curve(path, seconds, losses, heldout, (seconds[-1], bits(1)), references, "a run")


def positions(path, window, groups, bits):
    rows = [
        {
            "first": 2**n // 2 + 1,
            "last": 2**n,
            "bits_per_byte": bits(n),
            "with_all_before": {"bits_per_byte": bits(n) - 1},
        }
        for n in range(groups)
    ]
    plot_positions(path, rows, window, "a model on a text")


TENTHS = [n / 10 for n in range(1, 10)]
BASELINES = {"gzip": 3.4, "xz": 3.3, "5-gram": 2.2}
PLOTS = {
    "two lines": lambda path: lines(path, 2),
    "six lines": lambda path: lines(path, 6),
    "many lines": lambda path: lines(path, 12),
    "bars": bars,
    "one step": lambda path: curve(path, 1, lambda share: 7.0, [], {}),
    "three steps": lambda path: curve(path, 3, lambda share: 8 - share, [0.5], BASELINES),
    "falling": lambda path: curve(path, 1000, lambda share: 8 * math.exp(-5 * share) + 1, TENTHS, BASELINES),
    "rising": lambda path: curve(path, 1000, lambda share: 2 + 3 * share, TENTHS, BASELINES),
    "up and down": lambda path: curve(path, 1000, lambda share: 3 + math.sin(200 * share), TENTHS, {}),
    "positions": lambda path: positions(path, 256, 13, lambda n: 8 / (n + 1) + 2),
    "rising positions": lambda path: positions(path, 2, 13, lambda n: 2 + n),
    "one position": lambda path: positions(path, 256, 1, lambda n: 8.0),
}
PLOTS |= {stem: lambda path, stem=stem: pictures.draw(stem, path) for stem in pictures.PICTURES}
ENTRIES = {"two lines": 2, "six lines": 6, "many lines": 12, "bars": 0, "one step": 2, "falling": 3, "positions": 3}
ENTRIES |= {"bench_decode": 4, "forecast": 11, "rl_cartpole": 3}


def overlap(one, other):
    """Whether two boxes share more than a pixel at their edges."""
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return width > 1 and height > 1


def check(drawn):
    """Checks the legends of a figure. Returns the names in them."""
    drawn.canvas.draw()
    legends = [*drawn.legends, *(axes.get_legend() for axes in drawn.axes if axes.get_legend())]
    for legend in legends:
        box = legend.get_window_extent()
        assert drawn.bbox.x0 <= box.x0 and box.x1 <= drawn.bbox.x1
        assert drawn.bbox.y0 <= box.y0 and box.y1 <= drawn.bbox.y1
        for axes in drawn.axes:
            covered = axes.get_window_extent() if axes.get_legend() else axes.get_tightbbox()
            assert not overlap(box, covered)
    for axes in drawn.axes:  # the legend leaves room for what it explains
        assert axes.get_window_extent().height > 100
    return [text.get_text() for legend in legends for text in legend.get_texts()]


@pytest.mark.parametrize("name", PLOTS)
def test_legends_cover_nothing(name, monkeypatch, tmp_path):
    found = []
    monkeypatch.setattr(figure.Figure, "savefig", lambda self, file, **options: found.append(check(self)))
    PLOTS[name](tmp_path / "picture.png")
    (names,) = found
    assert len(names) == len({*names}) == ENTRIES.get(name, len(names))


def test_the_check_finds_a_legend_inside_a_panel():
    from matplotlib import pyplot as plt

    drawn, axes = plt.subplots()
    axes.plot([0, 1], [0, 1], label="a line")
    axes.legend(loc="upper left")  # no point of the line is there, but another line might be
    with pytest.raises(AssertionError):
        check(drawn)
    plt.close(drawn)


@pytest.mark.parametrize("rising", [False, True])
def test_the_loss_curve_shows_all_late_points(rising, monkeypatch, tmp_path):
    """Also those of a run that overfits: its held-out estimates rise."""
    limits = []
    monkeypatch.setattr(figure.Figure, "savefig", lambda self, file, **options: limits.append(self.axes[0].get_ylim()))
    evaluations = [(300 * share, 2 + 9 * share if rising else 2.5) for share in TENTHS]
    bits = [8 * math.exp(-step / 50) + 1 for step in range(1000)]
    plot_curve(tmp_path / "loss.png", SECONDS, bits, evaluations, (300.0, 2.0), {"gzip": 3.0}, "a run")
    ((lowest, highest),) = limits
    assert lowest < 1.1 and highest > (10 if rising else 3)
    assert highest < (12 if rising else 5)
