# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Table and plot of bench_paper.py: both speed-ups, against the step-by-step layers and against torch.nn's, beside the
paper's."""

from __future__ import annotations

import os

from training.report.table_parts import mamba_scan, markdown, where

PAIRS = {"minGRU": "GRU", "minLSTM": "LSTM"}
# Speed-up over GRU and LSTM in arXiv 2410.01201, on a T4 with a batch of 64, by steps. Numbers with a mark are taken from
# others' accounts of the paper.
PAPER = {512: {"minGRU": "175×", "minLSTM": "235×†"}, 4096: {"minGRU": "1324×†", "minLSTM": "1361×†"}}
PAPER_MEMORY = "1.88×†"  # of minGRU and minLSTM over GRU and LSTM
COLORS = {"GRU": "#4477aa", "LSTM": "#66ccee", "minGRU": "#cc3311", "minLSTM": "#ee8866", "Mamba": "#777777"}


def ratio(entry: dict, slow: str, fast: str, key: str = "layers") -> float | None:
    """How many times as long as `fast` `slow` takes at one length, or of its memory; `None` where one was left out.

    >>> ratio({"layers": {"a": {"median_ms": 3.0}, "b": {"median_ms": 2.0}}}, "a", "b")
    1.5
    """
    values = entry[key]
    if slow not in values or fast not in values:
        return None
    if key == "layers":
        return values[slow]["median_ms"] / values[fast]["median_ms"]
    return values[slow] / values[fast] if values[fast] else None


def times(value: float | None) -> str:
    """Formats a ratio with two or three digits; returns an empty text for `None`.

    >>> times(0.276), times(1.94), times(175.2), times(None)
    ('0.28×', '1.9×', '175×', '')
    """
    if value is None:
        return ""
    if value >= 100:
        return f"{value:.0f}×"
    return f"{value:.1f}×" if value >= 1 else f"{value:.2f}×"


def table(result: dict) -> str:
    """Returns the speed-ups and the memory by length, every number with its baseline."""
    rows, memory_rows = [], []
    for entry in result["lengths"]:
        steps, layers, memory = f"{entry['time']:,}", entry["layers"], entry["memory_mib"]
        for ours, other in PAIRS.items():
            loop, fused, log_space = f"{other}, step by step", f"nn.{other}", f"{ours}, log-space"
            pairs = ((loop, log_space), (loop, ours), (fused, log_space), (fused, ours), ("Mamba", ours))
            ratios = [times(ratio(entry, slow, fast)) for slow, fast in pairs]
            milliseconds = f"{layers[ours]['median_ms']:.3g}" if ours in layers else ""
            rows.append([steps, ours, PAPER.get(entry["time"], {}).get(ours, ""), *ratios, milliseconds])
            if memory:
                names = (loop, fused, log_space, ours)
                memory_rows.append([steps, ours, *(f"{memory[name]:,.3g}" if name in memory else "" for name in names)])
    header = ["steps", "cell", "the paper's: loop / log-space", "loop / log-space", "loop / ours"]
    header += ["torch.nn / log-space", "torch.nn / ours", "Mamba / ours", "ours, ms"]
    text = markdown(header, rows)
    if memory_rows:
        memory_header = ["steps", "cell", "loop, MiB", "torch.nn, MiB", "log-space, MiB", "ours, MiB"]
        text += "\n" + markdown(memory_header, memory_rows)
    return text + notes(result)


def notes(result: dict) -> str:
    """Returns the notes below the table: its terms, what was left out, and the memory that the paper reports."""
    memory = []
    for entry in result["lengths"]:
        if entry["time"] == 512:
            for ours, other in PAIRS.items():
                share = ratio(entry, f"{ours}, log-space", f"nn.{other}", "memory_mib")
                if share:
                    memory.append(f"{ours} {times(share)} of nn.{other}'s")
    found = "; ".join(memory)
    left = "; ".join(f"{name} ({why})" for name, why in result["lengths"][-1]["left_out"].items())
    if result["device"] == "cuda":
        fused, device = "cuDNN", result["machine"]["accelerator"]
    else:
        fused, device = "oneDNN's LSTM and torch's own GRU", "a CPU"
    return (
        '\nThe baselines: "loop" is a Python loop over nn.GRUCell or nn.LSTMCell with autograd, which the paper compares '
        f'with. "torch.nn" is nn.GRU or nn.LSTM, here {fused}. "Log-space" is minGRU or minLSTM as in the paper\'s '
        f'appendix, "ours" is the {result["backend"]} backend. The paper\'s column was measured on a T4 with a batch of 64. '
        f"† marks numbers taken from others' accounts of the paper. {mamba_scan(result)}\n"
        + (f"\nMemory at 512 steps, log-space: {found}. The paper reports {PAPER_MEMORY}.\n" if found else "")
        + (f"\nLeft out at the longest length: {left}.\n" if left else "")
        + (f"\n{result['note']}\n" if "note" in result else "")
        + f"\nForward + backward of one layer on {device}, float32, batch {result['batch']}, {result['channels']} channels "
        f"(the `{result['preset']}` preset), medians of {result['rounds']} interleaved rounds, or of two for layers that take "
        f"about a second or more. `{result['command']}`. {where(result)}.\n"
    )


def terminal(entry: dict) -> str:
    """One length for the terminal."""
    lines = [f"T={entry['time']}"]
    for name, timing in entry["layers"].items():
        quartiles = f"({timing['q1_ms']:.2f} to {timing['q3_ms']:.2f})"
        lines.append(f"  {name:<22}{timing['median_ms']:12.2f} ms {quartiles}")
    for ours, other in PAIRS.items():
        for baseline in (f"{other}, step by step", f"nn.{other}"):
            found = ratio(entry, baseline, ours)
            lines += [] if found is None else [f"  {f'{baseline} / {ours}':<34}{found:10.2f}x"]
    return "\n".join(lines + [f"  {name:<22}left out: {why}" for name, why in entry["left_out"].items()])


def plot(path: str | os.PathLike, result: dict) -> None:
    """Writes time and memory against the length as a PNG, all axes logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib import ticker

    values = {
        "forward + backward, ms": lambda entry: {name: t["median_ms"] for name, t in entry["layers"].items()},
        "memory of one call, MiB": lambda entry: entry["memory_mib"],
    }
    values = {label: of for label, of in values.items() if any(map(of, result["lengths"]))}  # what was measured
    size = (2.2 + 4.4 * len(values), 4.6)
    figure, panels = plt.subplots(1, len(values), figsize=size, dpi=130, layout="constrained", squeeze=False)
    names = list(dict.fromkeys(name for entry in result["lengths"] for name in entry["layers"]))
    for axes, (label, of) in zip(panels[0], values.items()):
        for name in names:
            points = [(entry["time"], of(entry)[name]) for entry in result["lengths"] if of(entry).get(name, 0) > 0]
            family = name.removeprefix("nn.").partition(",")[0]
            style = {"step by step": ":", "log-space": "--"}.get(name.partition(", ")[2], "-")
            width = 2.2 if name in PAIRS else 1.5
            if points:
                axes.plot(*zip(*points), style, marker="o", ms=3, lw=width, color=COLORS[family], label=name)
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
    figure.savefig(path)
    plt.close(figure)


def _device(result: dict) -> str:
    if result["device"] == "cuda":
        return result["machine"]["accelerator"]
    return f"{result['machine']['cpu']}, {result['machine']['threads']} of {result['machine']['cores']} cores"
