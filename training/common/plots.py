# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Plots that several scripts draw."""

from __future__ import annotations

import os


def plot_bars(
    path: str | os.PathLike,
    title: str,
    unit: str,
    groups: dict[str, dict[str, float]],
    ours: tuple[str, ...] = (),
    scale: str = "log",
) -> None:
    """Writes horizontal bars as a PNG, a panel for each group, three in a row, the shortest on top.

    Args:
        groups (`dict[str, dict[str, float]]`): Values by name, by group.
        ours (`tuple[str, ...]`): Names to colour.
        scale (`str`): "log", or "linear" for values near each other.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib import ticker

    most = max(len(values) for values in groups.values())
    columns = min(len(groups), 3)
    rows = -(-len(groups) // columns)
    size = (4.6 * columns, 0.5 + (0.6 + 0.3 * most) * rows)
    figure, panels = plt.subplots(rows, columns, figsize=size, dpi=110, layout="constrained", squeeze=False)
    for axes in panels.flat[len(groups) :]:
        axes.remove()
    for axes, (group, values) in zip(panels.flat, groups.items()):
        names = sorted(values, key=values.get, reverse=True)
        colors = ["#cc3311" if name in ours else "#88aacc" for name in names]
        bars = axes.barh(names, [values[name] for name in names], color=colors)
        axes.bar_label(
            bars, fmt=lambda value: f"{value:,.0f}" if value >= 100 else f"{value:.3g}", padding=3, fontsize=8
        )
        axes.set_xscale(scale)
        axes.xaxis.set_minor_formatter(ticker.NullFormatter())
        axes.margins(x=0.2)
        axes.tick_params(axis="y", labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set(title=group, xlabel=unit)
    figure.suptitle(title)
    figure.savefig(path)
    plt.close(figure)


def plot_lines(
    path: str | os.PathLike,
    title: str,
    labels: tuple[str, str],
    lines: dict[str, list[tuple[float, float]]],
    vertical: str = "log",
    horizontal: str = "log",
) -> None:
    """Writes lines through points as a PNG; on a logarithmic horizontal axis 0 stands at the left end.

    Args:
        labels (`tuple[str, str]`): Of the horizontal and the vertical axis.
        lines (`dict[str, list[tuple[float, float]]]`): Points by name.
        vertical, horizontal (`str`): Scale of the axis, "log" or "linear".
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.4), dpi=130, layout="constrained")
    for name, points in lines.items():
        style = "o-" if len(points) < 20 else "-"
        axes.plot(*zip(*points, strict=True), style, label=name, lw=1.6, ms=4)
    axes.set_yscale(vertical)
    if horizontal == "log":
        places = sorted({x for points in lines.values() for x, _ in points})
        axes.set_xscale("symlog", linthresh=next((x for x in places if x), 1))
        axes.autoscale()  # the margins anew: those of the linear axis reach far below 0
        axes.set_xticks(places, [f"{int(x) if x == int(x) else x:,}" for x in places])
        axes.set_xticks([], minor=True)
    axes.set(xlabel=labels[0], ylabel=labels[1], title=title)
    axes.grid(color="0.92")
    axes.spines[["top", "right"]].set_visible(False)
    if len(lines) > 6:  # beside them, as they leave no room
        figure.legend(frameon=False, loc="outside right center")
    else:
        axes.legend(frameon=False)
    figure.savefig(path)
    plt.close(figure)
