# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""What a run shows and leaves behind: progress, the table, the curve, results.json."""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import shutil
import sys
import time
from pathlib import Path

import torch
from tqdm import tqdm

CURVE_POINTS = 500
PLAIN_LINES = 20  # in a log file


class Progress:
    """A bar on a terminal; about twenty plain lines where the output is a file.

    Args:
        progress (`float`): Share of the budget already spent, for a resumed run.
    """

    def __init__(self, progress: float = 0.0, enabled: bool = True, stream=None):
        self.stream = stream or sys.stderr
        self.enabled = enabled
        self.terminal = self.stream.isatty()
        self.first = progress
        self.began = time.monotonic()
        self.next_line = (int(progress * PLAIN_LINES) + 1) / PLAIN_LINES
        self.bar = None
        if enabled and self.terminal:
            layout = "{percentage:3.0f} % |{bar:20}| {desc}, {remaining} left"
            # tqdm shows nothing where a terminal claims no rows or columns; this falls back to 80 x 24.
            columns, rows = shutil.get_terminal_size()
            self.bar = tqdm(
                total=1.0,
                initial=min(progress, 1.0),
                file=self.stream,
                bar_format=layout,
                ncols=columns - 1,
                nrows=rows,
            )

    def update(
        self,
        progress: float,
        step: int,
        loss: float,
        bits_per_byte: float,
        tokens_per_second: float,
        utilisation: float | None = None,
        skipped: int = 0,
    ) -> None:
        """Shows the state after a step; `loss` in nats per token, smoothed; `utilisation` as a share of the peak; `skipped`
        the number of steps left out so far."""
        if not self.enabled:
            return
        progress = min(progress, 1.0)
        text = f"step {step:,}, loss {loss:.3f} ({bits_per_byte:.3f} bits per byte), {tokens_per_second:,.0f} tokens/s"
        if utilisation is not None:
            text += f" ({utilisation:.0%} of the peak)"
        if skipped:
            text += f", {skipped:,} steps skipped"
        if self.bar is not None:
            self.bar.set_description_str(text, refresh=False)
            self.bar.update(progress - self.bar.n)
        elif progress >= self.next_line:
            self.next_line = (int(progress * PLAIN_LINES) + 1) / PLAIN_LINES
            left = (time.monotonic() - self.began) * (1 - progress) / max(progress - self.first, 1e-9)
            print(f"{100 * progress:3.0f} %  {text}, {clock(left)} left", file=self.stream, flush=True)

    def close(self) -> None:
        """Leaves the terminal on a fresh line."""
        if self.bar is not None:
            self.bar.close()


def clock(seconds: float) -> str:
    """A duration in minutes and seconds, or with hours.

    >>> clock(75), clock(3675)
    ('1:15', '1:01:15')
    """
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def amount(number: float) -> str:
    """A count to three digits.

    >>> [amount(n) for n in (999, 12_345, 1_234_567)]
    ['999', '12.3 k', '1.23 M']
    """
    for unit, name in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= unit:
            return f"{number / unit:.3g}{name}"
    return f"{number:.3g}"


def table(title: str, rows: list[tuple[str, float]], digits: int = 3) -> str:
    """Two columns, the larger numbers first.

    >>> print(table("bits", [("a", 1.0), ("bc", 2.5)], digits=1))
    bits
      bc  2.5
      a   1.0
    """
    rows = sorted(rows, key=lambda row: -row[1])
    width = max(len(name) for name, _ in rows)
    return "\n".join([title, *(f"  {name:<{width}}  {value:.{digits}f}" for name, value in rows)])


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


def usable_cores() -> int:
    """The cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> dict[str, object]:
    """Processor, cores, threads and accelerator of this machine."""
    cpu = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            cpu = next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass  # not Linux, or a processor that gives no name: the platform's word stands
    return {
        "cpu": cpu,
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "vector_instructions": torch.backends.cpu.get_cpu_capability(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "accelerator": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """Versions of everything the numbers depend on."""
    from importlib import metadata

    names = ("torch", "transformers", "accelerate", "tokenizers", "numpy", "hf_minrnn")
    optional = ("numba", "triton", "minGRU-pytorch", "mambapy", "accelerated-scan", "flash-linear-attention")
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = getattr(sys.modules.get(name), "__version__", "not installed")
    for name in optional:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a file in one motion, so that a reader never meets half of it; line ends stay as they are."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(f"{path}.partial")
    temporary.write_text(text, encoding="utf-8", newline="")
    os.replace(temporary, path)


def write_json(path: str | os.PathLike, value: dict) -> None:
    """Writes indented JSON, in one motion."""
    write_text(path, json.dumps(value, indent=2) + "\n")
