# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Ratios and picture of the results of `training.bench.paper`; imports neither torch nor the contestants."""

from __future__ import annotations

from pathlib import Path

from training.common.plots import save_figure

PAIRS = {"minGRU": "GRU", "minLSTM": "LSTM"}
COLORS = {"GRU": "#4477aa", "LSTM": "#66ccee", "minGRU": "#cc3311", "minLSTM": "#ee8866", "Mamba": "#777777"}
STYLES = {"step by step": ":", "log-space": "--"}


def ratio(entry: dict, slow: str, fast: str, key: str = "layers") -> float | None:
    """Returns the time of `slow` over that of `fast` at one length, or of their memory.

    Args:
        entry (`dict`): Results of one length.
        slow, fast (`str`): Names of contestants.
        key (`str`): "layers" for times, "memory_mib" for memory.

    Returns:
        `None` where a contestant was left out.

    >>> ratio({"layers": {"a": {"median_ms": 3.0}, "b": {"median_ms": 2.0}}}, "a", "b")
    1.5
    """
    values = entry[key]
    if slow not in values or fast not in values:
        return None
    if key == "layers":
        return values[slow]["median_ms"] / values[fast]["median_ms"]
    return values[slow] / values[fast] if values[fast] else None


def quantities(result: dict) -> dict[str, list[tuple[int, dict[str, float]]]]:
    """Returns the times and the memory, if measured, by axis label: for each length its values by contestant."""
    times, memory = [], []
    for entry in result["lengths"]:
        milliseconds = {name: timing["median_ms"] for name, timing in entry["layers"].items()}
        times.append((entry["time"], milliseconds))
        memory.append((entry["time"], entry["memory_mib"]))
    found = {"forward + backward, ms": times, "memory of one call, MiB": memory}
    return {label: values for label, values in found.items() if any(at_length for _, at_length in values)}


def draw(result: dict, path: Path) -> None:
    """Draws time and memory of a result file against the length, all axes logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib import ticker

    measured = quantities(result)
    size = (2.2 + 4.4 * len(measured), 4.6)
    figure, panels = plt.subplots(1, len(measured), figsize=size, dpi=130, layout="constrained", squeeze=False)
    names = list(dict.fromkeys(name for entry in result["lengths"] for name in entry["layers"]))
    for axes, (label, values) in zip(panels[0], measured.items()):
        for name in names:
            points = [(time, at_length[name]) for time, at_length in values if at_length.get(name, 0) > 0]
            if points:
                family, _, variant = name.removeprefix("nn.").partition(", ")
                look = {"ls": STYLES.get(variant, "-"), "lw": 2.2 if name in PAIRS else 1.5, "color": COLORS[family]}
                axes.plot(*zip(*points), marker="o", ms=3, label=name, **look)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f"{x:,.0f}"))
        axes.set(xlabel="steps", ylabel=label)
        axes.tick_params(axis="x", labelsize=8)
        axes.grid(color="0.92")
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, loc="outside right center")
    figure.suptitle(f"One layer, batch {result['batch']}, {result['channels']} channels, on {_device(result)}")
    save_figure(path, figure)


def _device(result: dict) -> str:
    if result["device"] == "cuda":
        return result["machine"]["accelerator"]
    return f"{result['machine']['cpu']}, {result['machine']['threads']} of {result['machine']['cores']} cores"
