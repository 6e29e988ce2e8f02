# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Draws accuracies by model, task and length of the string as a heat map."""

from __future__ import annotations

import os
import statistics

from training.common.plots import save_figure
from training.common.rows import numbers

PANELS = 3  # panels in a row


def draw_panels(
    found: dict[tuple[str, str], list[dict]],
    tasks: list[str],
    lengths: list[int],
    label: str,
    path: str | os.PathLike,
) -> None:
    """Draws a heat map as a PNG: a panel for each model, tasks downwards, lengths across.

    Args:
        found (`dict`): Rows by model and task.
        tasks (`list[str]`): Tasks in their order; those without a row are left out.
        lengths (`list[int]`): Lengths.
        label (`str`): Label of the horizontal axes.
        path (`str` or `os.PathLike`): The picture.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    models = list(dict.fromkeys(model for model, _ in found))
    shown = [task for task in tasks if any(task == other for _, other in found)]
    columns = min(PANELS, len(models))
    lines = -(-len(models) // columns)
    figure, panels = plt.subplots(
        lines,
        columns,
        figsize=(8, lines * (0.8 + 0.3 * len(shown)) + 0.3),
        dpi=160,
        layout="constrained",
        squeeze=False,
        sharey=True,
    )
    for axes in panels.flat[len(models) :]:
        axes.remove()
    for axes, model in zip(panels.flat, models):
        scores = [_accuracies(found.get((model, task), []), lengths) for task in shown]
        _draw_panel(axes, scores, shown, lengths)
        axes.set_title(model, fontsize=10)
    figure.supxlabel(label, fontsize=9)
    save_figure(path, figure)


def _accuracies(rows: list[dict], lengths: list[int]) -> list[float]:
    """Returns the median accuracy of the rows at each length; not a number where nothing has run."""
    by_length = numbers(rows, "by_length")
    medians = []
    for length in map(str, lengths):
        known = [scores[length] for scores in by_length if length in scores]
        medians.append(statistics.median(known) if known else float("nan"))
    return medians


def _draw_panel(axes, scores: list[list[float]], tasks: list[str], lengths: list[int]) -> None:
    axes.imshow(scores, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    for y, line in enumerate(scores):
        for x, value in enumerate(line):
            if value == value:
                color = "black" if value > 0.6 else "white"
                axes.text(x, y, f"{100 * value:.0f}", ha="center", va="center", fontsize=7.5, color=color)
    every = -(-len(lengths) // 8)
    axes.set_xticks(range(0, len(lengths), every), lengths[::every], fontsize=7.5)
    axes.set_yticks(range(len(tasks)), [task.replace("_", " ") for task in tasks], fontsize=9)
    axes.tick_params(length=2)
