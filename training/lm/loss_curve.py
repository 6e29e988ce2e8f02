# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The plot of a training run's loss."""

from __future__ import annotations

import math
import os

from training.common.plots import legend_below, save_figure

CURVE_POINTS = 500


class MovingAverage:
    """Exponential moving average, corrected for its start, so that the first value is unbiased.

    Args:
        weight (`float`): Weight of the earlier values, in [0, 1).
    """

    def __init__(self, weight: float):
        self.weight = weight
        self.mean = 0.0
        self.mass = 0.0

    def add(self, value: float) -> float:
        """Adds a value and returns the average."""
        self.mean = self.weight * self.mean + (1 - self.weight) * value
        self.mass = self.weight * self.mass + (1 - self.weight)
        return self.mean / self.mass


def smoothed(values: list[float], weight: float) -> list[float]:
    """Returns the moving average after each value."""
    average = MovingAverage(weight)
    return [average.add(value) for value in values]


def thinned(values: list, limit: int = CURVE_POINTS) -> list[int]:
    """Returns the indices of at most `limit` values, evenly spread, including the last one."""
    if len(values) <= limit:
        return list(range(len(values)))
    return sorted({round(i * (len(values) - 1) / (limit - 1)) for i in range(limit)})


def plot_curve(
    path: str | os.PathLike,
    seconds: list[float],
    bits: list[float],
    evaluations: list[tuple[float, float]],
    final: tuple[float, float],
    references: dict[str, float],
    title: str,
    unit_of_loss: str = "bits per byte",
) -> None:
    """Writes the loss curve as a PNG.

    Args:
        seconds (`list[float]`): Training time at each step.
        bits (`list[float]`): Training loss at each step, in `unit_of_loss`; values that are not finite are left out.
        evaluations (`list[tuple[float, float]]`): Training time, and the loss on a part of the held-out text.
        final (`tuple[float, float]`): The same for the weights that are kept, on all of the held-out text.
        references (`dict[str, float]`): Horizontal lines by name.
    """
    import matplotlib

    matplotlib.use("Agg")  # draws without a window
    from matplotlib import pyplot as plt

    end = max(seconds[-1], final[0])
    final_bits = final[1]
    unit, unit_name = (60.0, "minutes") if end >= 120 else (1.0, "seconds")
    figure, axes = plt.subplots(figsize=(8, 4.8), dpi=150, layout="constrained")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.92")
    axes.set_axisbelow(True)
    finite = [(second, value) for second, value in zip(seconds, bits, strict=True) if math.isfinite(value)]
    smooth = smoothed([value for _, value in finite], 1 - 1 / max(1.0, len(finite) / 50))
    shown = thinned(smooth, 2000)
    style = "o-" if len(shown) <= 30 else "-"  # a run may have a single step
    axes.plot(
        [finite[i][0] / unit for i in shown],
        [smooth[i] for i in shown],
        style,
        color="#4477aa",
        lw=1.8,
        ms=3,
        label="training",
    )
    if evaluations:
        points = [(elapsed / unit, value) for elapsed, value in evaluations]
        axes.plot(*zip(*points, strict=True), "o", mfc="none", color="#cc3311", ms=5, label="held out, a part")
    label = f"held out, all: {final_bits:.3f}"
    axes.plot(final[0] / unit, final_bits, "o", color="#cc3311", ms=6, clip_on=False, label=label)
    # The loss falls from about 8 bits in the first steps. If they were shown, the rest would look flat.
    late = smooth[len(smooth) // 10 :]
    late_evaluations = [value for elapsed, value in evaluations if elapsed > end / 10 and math.isfinite(value)]
    lowest = min([*late, final_bits, *late_evaluations, *references.values()])
    highest = max([*late, final_bits, *late_evaluations, *references.values()])
    margin = 0.05 * (highest - lowest) + 1e-3
    axes.set_ylim(lowest - margin, highest + margin)
    axes.set_xlim(0, end / unit)
    _draw_references(axes, references, 0.05 * (highest - lowest))
    axes.set(xlabel=f"training time ({unit_name})", ylabel=unit_of_loss, title=title)
    legend_below(figure, axes)
    save_figure(path, figure)


def _draw_references(axes, references: dict[str, float], distance: float) -> None:
    """Draws horizontal lines with labels. Lines may coincide, but their labels are at least `distance` apart."""
    height = -math.inf
    for label, value in sorted(references.items(), key=lambda item: item[1]):
        axes.axhline(value, color="0.55", lw=1, ls=(0, (4, 3)), zorder=1)
        height = max(value, height + distance)
        axes.annotate(
            f"{label}  {value:.2f}",
            (1, height),
            xycoords=("axes fraction", "data"),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color="0.35",
            annotation_clip=False,
        )
