# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The claims of the paper in one table, each next to the numbers measured here."""

from __future__ import annotations

from training.bench.paper_plot import PAIRS, ratio
from training.common.rows import groups, numbers
from training.report.paper_speed_table import PAPER, PAPER_MEMORY, times
from training.report.paper_tables import COPYING, SHAKESPEARE, at_each, spread
from training.report.table_parts import markdown

NAMES = {"mingru": "minGRU", "minlstm": "minLSTM", "transformer": "Transformer", "mamba": "Mamba"}
AT = 512  # length that the paper's speed-ups are given for
# Models whose parity is shown, with their names. The first two have negative decays in the first block.
PARITY = {
    "mingru-signed": "minGRU",
    "minlstm-signed": "minLSTM",
    "gru": "nn.GRU",
    "scans-signed": "mingru-scans, signed",
}


def table(
    speed: dict[str, dict], copying: dict[str, dict], shakespeare: dict[str, dict], chomsky: dict[str, dict]
) -> str:
    """Returns a table with one row for each number that the paper claims, and one for a limit that the paper has.

    Args:
        speed: Result files of training.bench.paper, by device.
        copying, shakespeare, chomsky: Result files of the experiments, by preset.
    """
    rows = [*_speed(speed), *_memory(speed), *_copying(copying), *_shakespeare(shakespeare), *_parity(chomsky)]
    return markdown(["claim", "paper", "here"], rows, side=":--")


def _at(result: dict) -> dict:
    return next(entry for entry in result["lengths"] if entry["time"] == AT)


def _speed(speed: dict[str, dict]) -> list[list[str]]:
    rows = []
    for ours, other in PAIRS.items():
        for scan, name in ((f"{ours}, log-space", "the paper's scan"), (ours, "our scan")):
            found = []
            for place, result in speed.items():
                entry = _at(result)
                fused = "cuDNN" if result["device"] == "cuda" else "torch.nn"
                loop = times(ratio(entry, f"{other}, step by step", scan))
                found.append(f"{place} {loop} (loop), {times(ratio(entry, f'nn.{other}', scan))} ({fused})")
            claimed = f"{PAPER[AT][ours]} (loop)" if scan != ours else ""
            rows.append(
                [f"training speed at {AT} steps of {ours} with {name}, relative to {other}", claimed, "; ".join(found)]
            )
    return rows


def _memory(speed: dict[str, dict]) -> list[list[str]]:
    found = []
    for place, result in speed.items():
        for ours, other in PAIRS.items():
            shares = [ratio(_at(result), name, f"nn.{other}", "memory_mib") for name in (f"{ours}, log-space", ours)]
            if None not in shares:
                found.append(f"{place} {times(shares[0])} nn.{other}, with our scan {times(shares[1])}")
    return [[f"memory at {AT} steps with the paper's scan, relative to GRU and LSTM", PAPER_MEMORY, "; ".join(found)]]


def _copying(presets: dict[str, dict]) -> list[list[str]]:
    rows = []
    for model in dict.fromkeys(model for model, _ in COPYING):
        claimed = [COPYING[model, layers] for layers in (1, 2, 3)]
        found = []
        for preset in ("cpu", "full"):
            by_key = groups(presets.get(preset, {"rows": {}}), ("model", "layers", "length"), "accuracy")
            lengths = sorted({length for name, _, length in by_key if name == model})
            for length in lengths:
                scores = [
                    spread(numbers(by_key[model, n, length], "accuracy"), 100) if (model, n, length) in by_key else "–"
                    for n in (1, 2, 3)
                ]
                found.append(f"{', '.join(scores)} at {length}")
        if "full" not in presets:
            found.append("not run at 4096")
        what = f"selective copying, {NAMES[model]} with 1, 2, 3 layers, %"
        rows.append([what, f"{', '.join(claimed)} at 4096", "; ".join(found)])
    return rows


def _shakespeare(presets: dict[str, dict]) -> list[list[str]]:
    by_key = groups(presets.get("full", {"rows": {}}), ("model",), "loss")
    rows = []
    for model, (loss, step) in SHAKESPEARE.items():
        found = "not run"
        if (model,) in by_key:
            ran = by_key[model,]
            steps = spread([row["best"]["step"] for row in ran], digits=0)
            found = f"{spread(numbers(ran, 'both'), digits=3)}, step {steps}"
        rows.append([f"Shakespeare, {NAMES[model]}, loss and best step", f"{loss}, step {step}", found])
    return rows


def _parity(presets: dict[str, dict]) -> list[list[str]]:
    by_key = groups(presets.get("cpu", {"rows": {}}), ("task", "model"), "accuracy")
    found = []
    for model, name in PARITY.items():
        if ("parity", model) not in by_key:
            continue
        found.append(f"{name} {', '.join(at_each(by_key['parity', model], (256, 1024)))}")
    what = "parity at 256 and 1,024 symbols, trained on 1 to 40, negative decays allowed, %: median (worst seed)"
    return [[what, "", "; ".join(found) or "not run"]]
