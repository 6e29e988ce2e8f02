# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The table of `training.bench.paper`: speed-ups over a Python loop and over torch.nn, next to the paper's."""

from __future__ import annotations

from training.bench.paper_plot import PAIRS, ratio
from training.report.table_parts import mamba_scan, markdown, where

# Speed-up over GRU and LSTM in arXiv 2410.01201, on a T4 with a batch of 64, by steps. Numbers with a mark are taken from
# others' accounts of the paper.
PAPER = {512: {"minGRU": "175×", "minLSTM": "235×†"}, 4096: {"minGRU": "1324×†", "minLSTM": "1361×†"}}
PAPER_MEMORY = "1.88×†"  # of minGRU and minLSTM over GRU and LSTM


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
    rows = []
    memory_rows = []
    for entry in result["lengths"]:
        steps = f"{entry['time']:,}"
        layers = entry["layers"]
        memory = entry["memory_mib"]
        for ours, other in PAIRS.items():
            loop = f"{other}, step by step"
            fused = f"nn.{other}"
            log_space = f"{ours}, log-space"
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
        fused = "cuDNN"
        device = result["machine"]["accelerator"]
    else:
        fused = "oneDNN's LSTM and torch's own GRU"
        device = "a CPU"
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
