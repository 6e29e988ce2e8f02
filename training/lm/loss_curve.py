# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The plot of a training run's loss."""

from __future__ import annotations

import math
import os

CURVE_POINTS = 500


def smoothed(values: list[float], weight: float) -> list[float]:
    """Exponential moving average, corrected for its start, so that the first value is unbiased."""
    out, mean, mass = [], 0.0, 0.0
    for value in values:
        mean = weight * mean + (1 - weight) * value
        mass = weight * mass + (1 - weight)
        out.append(mean / mass)
    return out


def thinned(values: list, limit: int = CURVE_POINTS) -> list[int]:
    """Indices of at most `limit` values, evenly spread, the last one included."""
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
) -> None:
    """Writes the loss curve as a PNG.

    Args:
        seconds (`list[float]`): Training time at each step.
        bits (`list[float]`): Training loss at each step, bits per byte.
        evaluations (`list[tuple[float, float]]`): (training time, held-out bits per byte on a part of the text).
        final (`tuple[float, float]`): The same at the end, on all of it.
        references (`dict[str, float]`): Horizontal lines by name, bits per byte.
    """
    import matplotlib

    matplotlib.use("Agg")  # no window, whatever the machine's default
    from matplotlib import pyplot as plt

    kept = [(s, b) for s, b in zip(seconds, bits, strict=True) if math.isfinite(b)]
    unit, name = (60.0, "minutes") if final[0] >= 120 else (1.0, "seconds")
    figure, axes = plt.subplots(figsize=(8, 4.8), dpi=150, layout="constrained")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.92")
    axes.set_axisbelow(True)
    smooth = smoothed([b for _, b in kept], 1 - 1 / max(1.0, len(kept) / 50))
    shown = thinned(smooth, 2000)
    axes.plot([kept[i][0] / unit for i in shown], [smooth[i] for i in shown], color="#4477aa", lw=1.8, label="training")
    if evaluations:
        points = [(elapsed / unit, value) for elapsed, value in evaluations]
        axes.plot(*zip(*points, strict=True), "o", mfc="none", color="#cc3311", ms=5, label="held out, a part")
    axes.plot(
        final[0] / unit, final[1], "o", color="#cc3311", ms=6, clip_on=False, label=f"held out, all: {final[1]:.3f}"
    )
    # The first steps fall from some 8 bits; showing them would flatten everything worth seeing.
    late = smooth[len(smooth) // 10 :]
    values = [*late, final[1], *(value for _, value in evaluations), *references.values()]
    floor, ceiling = min(values), max([*late[:1], final[1], *references.values()])
    margin = 0.05 * (ceiling - floor) + 1e-3
    axes.set_ylim(floor - margin, ceiling + margin)
    axes.set_xlim(0, final[0] / unit)
    height = -math.inf
    for label, value in sorted(references.items(), key=lambda item: item[1]):
        axes.axhline(value, color="0.55", lw=1, ls=(0, (4, 3)), zorder=1)
        height = max(value, height + 0.05 * (ceiling - floor))  # lines may coincide, their labels must not
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
    axes.set(xlabel=f"training time ({name})", ylabel="bits per byte", title=title)
    axes.legend(frameon=False, loc="upper right")
    figure.savefig(path)
    plt.close(figure)
