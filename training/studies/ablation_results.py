# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Evaluates the runs of the ablation: each variant at its best learning rate, compared with its baseline, and as a plot."""

from __future__ import annotations

import math
import os
import statistics

from training.common.plots import save_figure
from training.studies.ablation_variants import DEFAULT, PAPER, VARIANTS, baseline_of

COLORS = {PAPER: "#4477aa", DEFAULT: "#cc3311"}


def best_rates(results: dict) -> dict[str, dict]:
    """Returns, for each variant, the run of its best rate with the first stage's seed, by the validation half.

    Variants that diverged at every rate, or have not run, are left out.
    """
    found = {}
    for row in results["runs"].values():
        if row["seed"] != results["settings"]["sweep_seed"] or row["diverged"]:
            continue
        name = row["variant"]
        if name not in found or row["validation_bits_per_byte"] < found[name]["validation_bits_per_byte"]:
            found[name] = row
    return found


def scores(results: dict) -> dict[str, dict]:
    """Returns the scores of each variant at its best rate, in the order of `VARIANTS`.

    They are `by_seed`, the bits per byte on the test half by seed; `bits` and `deviation`, their mean and deviation (`None` of
    one seed); `rate`; and `at_edge`, whether that is the highest or the lowest rate that was tried.
    """
    best = best_rates(results)
    out = {}
    for name in VARIANTS:
        if name not in best:
            continue
        row = best[name]
        rows = [other for other in results["runs"].values() if other["variant"] == name]
        tried = sorted({other["rate"] for other in rows})
        same = [other for other in rows if other["rate"] == row["rate"] and not other["diverged"]]
        bits = {other["seed"]: other["test_bits_per_byte"] for other in same}
        out[name] = {
            "by_seed": bits,
            "bits": statistics.mean(bits.values()),
            "deviation": statistics.stdev(bits.values()) if len(bits) > 1 else None,
            "rate": row["rate"],
            "at_edge": row["rate"] in (tried[0], tried[-1]),
        }
    return out


def _compared_with(name: str) -> str | None:
    """Returns the baseline of a variant. The baseline of the default is the paper's block."""
    return PAPER if name == DEFAULT else baseline_of(name)


def change(found: dict[str, dict], name: str) -> float | None:
    """Returns the relative difference between the bits of a variant and of its baseline, over the seeds that both have run.

    The baseline is the block that the variant differs from in one option: the paper's or the default. The baseline of the
    default is the paper's block. Without runs of the baseline the result is `None`.

    Args:
        found (`dict`): Result of `scores`.
        name (`str`): The variant.
    """
    baseline = _compared_with(name)
    if baseline is None or baseline not in found:
        return None
    ours, others = found[name]["by_seed"], found[baseline]["by_seed"]
    seeds = sorted(ours.keys() & others.keys())  # at least that of the first stage
    return sum(ours[seed] for seed in seeds) / sum(others[seed] for seed in seeds) - 1


def score_text(entry: dict) -> str:
    """Returns mean and deviation of an entry of `scores`.

    >>> score_text({"bits": 2.0, "deviation": None}), score_text({"bits": 2.0, "deviation": 0.01})
    ('2.000', '2.000 ± 0.010')
    """
    spread = "" if entry["deviation"] is None else f" ± {entry['deviation']:.3f}"
    return f"{entry['bits']:.3f}{spread}"


def summary(results: dict) -> str:
    """Returns the variants as lines for the terminal, best first."""
    found = scores(results)
    lines = []
    for name, entry in sorted(found.items(), key=lambda item: item[1]["bits"]):
        share = change(found, name)
        against = "" if share is None else f"{share:+7.2%} against {_compared_with(name)}"
        seeds = f"{len(entry['by_seed'])} seed(s)"
        lines.append(f"{score_text(entry):<16}{name:<36}rate {entry['rate']:<8g}{seeds}  {against}")
    return "\n".join(lines)


def draw(result: dict, path: str | os.PathLike) -> None:
    """Draws the bits per byte of every variant as a PNG: each run, the mean at the best rate, and the two baselines."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    found = scores(result)
    names = list(found)
    figure, axes = plt.subplots(figsize=(8, 2.2 + 0.27 * len(names)), dpi=120, layout="constrained")
    for name, color in COLORS.items():
        if name in found:
            label = f"{name} block" if name == DEFAULT else f"{name}'s block"
            axes.axvline(found[name]["bits"], color=color, lw=1, ls=(0, (4, 3)), zorder=1, label=label)
    runs = [row for row in result["runs"].values() if row["variant"] in found and not row["diverged"]]
    at_best = [row["rate"] == found[row["variant"]]["rate"] for row in runs]
    for chosen, style, label in (
        (False, {"mfc": "none", "mec": "0.55"}, "one run at another learning rate"),
        (True, {"mfc": "0.55", "mec": "none"}, "one run at the best learning rate"),
    ):
        points = [
            (row["test_bits_per_byte"], names.index(row["variant"]))
            for row, best in zip(runs, at_best)
            if best == chosen
        ]
        if points:
            axes.plot(*zip(*points), "o", ms=4, zorder=2, label=label, **style)
    for place, (name, entry) in enumerate(found.items()):
        axes.errorbar(
            entry["bits"],
            place,
            xerr=entry["deviation"] or 0,
            fmt="D",
            color=COLORS.get(name, "0.15"),
            ms=5,
            capsize=3,
            zorder=3,
        )
    mean = "mean at the best learning rate ± deviation over seeds"
    axes.errorbar([math.nan], [math.nan], xerr=[1], fmt="D", color="0.15", ms=5, capsize=3, label=mean)
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set(xlabel="bits per byte on the test half of the held-out text; fewer are better")
    axes.set_title(f'variants of the block on the corpus "{result["settings"]["corpus"]}"')
    axes.grid(axis="x", color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, loc="outside lower center", ncols=2, fontsize=8.5)
    save_figure(path, figure)
