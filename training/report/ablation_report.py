# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The table of the ablation: each variant at its best learning rate, on every corpus."""

from __future__ import annotations

import os
import statistics

from training.report.table_parts import markdown, where
from training.studies.ablation_variants import DEFAULT, PAPER, VARIANTS, baseline_of


def best_rates(results: dict) -> dict[str, dict]:
    """The run of each variant's best rate among those of the first stage's seed, by the validation half.

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
    """Of each variant, in the order of `VARIANTS`, at its best rate: `by_seed`, the bits per byte on the test half by seed,
    `bits` and `deviation`, their mean and deviation (`None` of one seed), `rate`, and `at_edge`, whether that is the highest
    or the lowest of the rates tried.
    """
    best, out = best_rates(results), {}
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


def change(found: dict[str, dict], name: str) -> float | None:
    """By what share of its baseline's bits a variant's differ, below zero for fewer, over the seeds that both have run; `None`
    where the baseline has not run.

    The baseline of a variant is the paper's block or the default, whichever it differs from in one option; of the default
    the paper's block.
    """
    baseline = PAPER if name == DEFAULT else baseline_of(name)
    if baseline is None or baseline not in found:
        return None
    ours, others = found[name]["by_seed"], found[baseline]["by_seed"]
    seeds = sorted(ours.keys() & others.keys())  # the sweep's at least
    return sum(ours[seed] for seed in seeds) / sum(others[seed] for seed in seeds) - 1


def _score(entry: dict) -> str:
    spread = "" if entry["deviation"] is None else f" ± {entry['deviation']:.3f}"
    return f"{entry['bits']:.3f}{spread}"


def summary(results: dict) -> str:
    """The variants for the terminal, best first."""
    found = scores(results)
    lines = []
    for name, entry in sorted(found.items(), key=lambda item: item[1]["bits"]):
        share = change(found, name)
        against = "" if share is None else f"{share:+7.2%} against {PAPER if name == DEFAULT else baseline_of(name)}"
        lines.append(f"{_score(entry):<16}{name:<36}rate {entry['rate']:<8g}{len(entry['by_seed'])} seed(s)  {against}")
    return "\n".join(lines)


def table(results: dict[str, dict]) -> str:
    """Returns a table per corpus: bits per byte of every variant, the change from its baseline, and its learning rate.

    Args:
        results: Content of the result files, by corpus.
    """
    return "\n".join(_table(corpus, result) + _notes(corpus, result) for corpus, result in results.items())


def _table(corpus: str, result: dict) -> str:
    found, rows = scores(result), []
    for name, entry in found.items():
        share = change(found, name)
        rows.append(
            [
                f"**{name}**" if name in (PAPER, DEFAULT) else name,
                _score(entry),
                "" if share is None else f"{share:+.1%}",
                f"{entry['rate']:g}{'*' if entry['at_edge'] else ''}",
            ]
        )
    return markdown(["block", f"{corpus}: bits per byte", "change", "rate"], rows)


def shown(found: dict[str, dict]) -> list[str]:
    """Returns the variants that have run on some corpus, in their order."""
    return [name for name in VARIANTS if any(name in entries for entries in found.values())]


def _notes(corpus: str, result: dict) -> str:
    chosen, runs = result["settings"], list(result["runs"].values())
    sizes = {pick(row["parameters"] for row in runs) for pick in (min, max)}
    diverged = [f"{row['variant']} at {row['rate']:g}" for row in runs if row["diverged"]]
    last = max(runs, key=lambda row: row["finished"])
    return (
        f"\n{corpus}: {len(runs)} runs, each {chosen['steps']:,} steps of {chosen['batch_size']} × "
        f"{chosen['sequence_length']} tokens, {chosen['layers']} layers of {chosen['hidden_size']}, "
        f"{' to '.join(f'{size:,}' for size in sorted(sizes))} parameters, set by the MLP's width; "
        f"{sum(row['seconds'] for row in runs) / 3600:.1f} h in total. "
        f"Diverged: {'; '.join(diverged) or 'none'}. `{result['command']}`. {where(last)}.\n"
    )


def plot(path: str | os.PathLike, results: dict[str, dict]) -> None:
    """Writes the bits per byte of every variant as a PNG, a panel for each corpus: small dots are runs, large ones the mean at
    the best rate with its deviation, and the lines the paper's block and the default."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    found = {corpus: scores(result) for corpus, result in results.items()}
    names = shown(found)
    size = (4.2 + 4.2 * len(found), 1.4 + 0.27 * len(names))
    figure, panels = plt.subplots(
        1, len(found), figsize=size, dpi=120, layout="constrained", sharey=True, squeeze=False
    )
    for axes, (corpus, entries) in zip(panels[0], found.items()):
        for name, color in ((PAPER, "#4477aa"), (DEFAULT, "#cc3311")):
            if name in entries:
                axes.axvline(entries[name]["bits"], color=color, lw=1, ls=(0, (4, 3)), zorder=1)
        for row in results[corpus]["runs"].values():
            if row["variant"] in entries and not row["diverged"]:
                axes.plot(row["test_bits_per_byte"], names.index(row["variant"]), "o", color="0.8", ms=3, zorder=2)
        for name, entry in entries.items():
            color = {PAPER: "#4477aa", DEFAULT: "#cc3311"}.get(name, "0.25")
            axes.errorbar(
                entry["bits"],
                names.index(name),
                xerr=entry["deviation"] or 0,
                fmt="o",
                color=color,
                ms=5,
                capsize=2,
                zorder=3,
            )
        axes.set(xlabel="held-out bits per byte", title=corpus)
        axes.grid(axis="x", color="0.92")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0, 0].set_yticks(range(len(names)), names, fontsize=8)
    panels[0, 0].set_ylim(len(names) - 0.5, -0.5)
    figure.savefig(path)
    plt.close(figure)
