# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Plots that several scripts draw. Figures are 8.8 inches wide, so that text is readable at a width of 880 pixels."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from training.common.files import write_bytes

WIDTH = 8.8  # inches
DPI = 130
OURS, OTHERS = "#cc3311", "#88aacc"
LARGEST_LINEAR_RATIO = 50  # beyond this ratio of two bars, the shorter one is invisible on a linear axis


def number(value: float) -> str:
    """Formats a number with three digits, large ones with all digits before the decimal point.

    >>> [number(value) for value in (0.0528, 2.5, 1234.5)]
    ['0.0528', '2.5', '1,234']
    """
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def log_ticks(smallest: float, largest: float) -> list[float]:
    """Returns round numbers for a logarithmic axis: the ends enclose the values, and there are at most nine ticks.

    >>> log_ticks(3.1, 48), log_ticks(0.2, 3000)
    ([2, 5, 10, 20, 50], [0.1, 1, 10, 100, 1000, 10000])
    """
    exponents = range(math.floor(math.log10(smallest)), math.ceil(math.log10(largest)) + 1)
    decades = [10**exponent if exponent >= 0 else float(f"1e{exponent}") for exponent in exponents]
    if len(decades) > 3:
        return decades
    steps = [step * decade for decade in decades for step in (1, 2, 5)]
    first = max(index for index, step in enumerate(steps) if step <= smallest)
    last = min(index for index, step in enumerate(steps) if step >= largest)
    return steps[first : last + 1]


def save_figure(path: str | os.PathLike, figure: Any) -> None:
    """Writes a figure atomically, in the format that its suffix names, and closes it.

    Raises:
        WriteError: It could not be written, for example on a full disk.
    """
    from matplotlib import pyplot as plt

    content = io.BytesIO()
    figure.savefig(content, format=Path(path).suffix.removeprefix("."))
    plt.close(figure)
    write_bytes(path, content.getvalue())


def legend_below(figure: Any, *panels: Any, fontsize: float = 10) -> None:
    """Adds one legend below the panels of a figure, where it covers nothing. It has as many columns as fit.

    Args:
        figure: A figure with constrained layout.
        panels: Axes with the labelled lines. Each label is shown once.
    """
    entries: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels()):
            entries.setdefault(label, handle)
    for columns in range(len(entries), 0, -1):
        legend = figure.legend(
            entries.values(),
            entries.keys(),
            frameon=False,
            loc="outside lower center",
            ncols=columns,
            fontsize=fontsize,
            handlelength=3,  # long enough to tell dashed lines apart
        )
        if legend.get_window_extent().width <= figure.bbox.width:
            return
        if columns > 1:
            legend.remove()


def plot_bars(
    path: str | os.PathLike,
    title: str,
    unit: str,
    groups: dict[str, dict[str, float]],
    ours: Iterable[str] = (),
    scale: str | None = None,
) -> None:
    """Writes labelled horizontal bars as a PNG: one panel per group, two panels per row, shortest bar on top.

    Args:
        groups (`dict[str, dict[str, float]]`): Values by name, by group.
        ours (`Iterable[str]`): Names of the bars to highlight.
        scale (`str`, *optional*): "linear" or "log". By default "log" if a panel's bars differ by more than a factor of 50.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    highlighted = set(ours)
    if scale is None:
        ratio = max(max(values.values()) / min(values.values()) for values in groups.values())
        scale = "log" if ratio > LARGEST_LINEAR_RATIO else "linear"
    most = max(len(values) for values in groups.values())
    columns = min(len(groups), 2)
    rows = math.ceil(len(groups) / columns)
    size = (WIDTH, 0.6 + (0.8 + 0.26 * most) * rows)
    figure, panels = plt.subplots(rows, columns, figsize=size, dpi=DPI, layout="constrained", squeeze=False)
    for axes in panels.flat[len(groups) :]:
        axes.remove()
    for axes, (group, values) in zip(panels.flat, groups.items()):
        names = sorted(values, key=values.get, reverse=True)
        colors = [OURS if name in highlighted else OTHERS for name in names]
        bars = axes.barh(names, [values[name] for name in names], color=colors)
        axes.bar_label(bars, fmt=number, padding=3, fontsize=9)
        if scale == "log":
            axes.set_xscale("log")
            ticks = log_ticks(0.8 * min(values.values()), max(values.values()))
            axes.set_xticks(ticks, [f"{tick:,g}" for tick in ticks])
            axes.set_xticks([], minor=True)
            axes.set_xlim(ticks[0], ticks[-1] * (ticks[-1] / ticks[0]) ** 0.2)
        else:
            axes.set_xlim(0, 1.25 * max(values.values()))
            axes.locator_params(axis="x", nbins=5)
            axes.xaxis.set_major_formatter(lambda tick, _: f"{tick:,g}")
        axes.tick_params(labelsize=9)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title(group, fontsize=10)
        axes.set_xlabel(unit, fontsize=9)
    figure.suptitle(title, fontsize=12)
    save_figure(path, figure)


def draw_lines(
    axes: Any,
    labels: tuple[str, str],
    lines: dict[str, list[tuple[float, float]]],
    vertical: str = "log",
    horizontal: str = "log",
) -> None:
    """Draws lines through points on the axes of a figure; arguments as for `plot_lines`."""
    for name, points in lines.items():
        style = "o-" if len(points) < 20 else "-"
        axes.plot(*zip(*points, strict=True), style, label=name, lw=1.8, ms=5)
    if vertical == "log":
        heights = [y for points in lines.values() for _, y in points]
        ticks = log_ticks(0.9 * min(heights), 1.1 * max(heights))
        axes.set_yscale("log")
        axes.set_yticks(ticks, [f"{tick:,g}" for tick in ticks])
        axes.set_yticks([], minor=True)
        axes.set_ylim(ticks[0], ticks[-1])
    if horizontal == "log":
        places = sorted({x for points in lines.values() for x, _ in points})
        axes.set_xscale("symlog", linthresh=next((x for x in places if x), 1))
        axes.autoscale()  # the margins of the linear axis reach far below 0
        axes.set_xticks(places, [f"{int(x) if x == int(x) else x:,}" for x in places])
        axes.set_xticks([], minor=True)
    else:
        axes.xaxis.set_major_formatter(lambda tick, _: f"{tick:,g}")
    axes.set_xlabel(labels[0], fontsize=11)
    axes.set_ylabel(labels[1], fontsize=11)
    axes.tick_params(labelsize=10)
    axes.grid(color="0.92")
    axes.spines[["top", "right"]].set_visible(False)


def plot_lines(
    path: str | os.PathLike,
    title: str,
    labels: tuple[str, str],
    lines: dict[str, list[tuple[float, float]]],
    vertical: str = "log",
    horizontal: str = "log",
) -> None:
    """Writes lines through points as a PNG. A logarithmic horizontal axis shows 0 at its left end.

    Args:
        labels (`tuple[str, str]`): Labels of the horizontal and the vertical axis.
        lines (`dict[str, list[tuple[float, float]]]`): Points by name.
        vertical, horizontal (`str`): Scale of the axis, "log" or "linear".
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(WIDTH, 5), dpi=DPI, layout="constrained")
    draw_lines(axes, labels, lines, vertical, horizontal)
    axes.set_title(title, fontsize=12)
    if len(lines) > 6:  # so many names would cover the lines
        figure.legend(frameon=False, loc="outside right center", fontsize=10)
    else:
        legend_below(figure, axes)
    save_figure(path, figure)
