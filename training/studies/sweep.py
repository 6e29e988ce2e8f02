# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Trains the runs behind a table of training/README.md, one after the other.

    python -m training.studies.sweep main              # which model and schedule learns most in a few minutes on two cores

Each run is train_lm.py with the arguments shown in the result file, training/results/sweep_<group>.json, which is written
after every run; runs that stand in it already are skipped. What each option of the block is worth is ablation.py's.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
from pathlib import Path

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

from training import train_lm
from training.common.files import write_json
from training.common.machine import machine, versions
from training.common.paths import RESULTS

MEASURED = (
    "heldout_bits_per_byte",
    "parameters",
    "steps",
    "train_tokens",
    "train_tokens_per_second",
    "train_seconds",
)

GROUPS = {
    "main": {
        name: f"--minutes 2.5 --num-hidden-layers {layers} --hidden-size {width} --batch-size {batch} "
        f"--learning-rate {rate} --vocab-size {vocabulary}"
        for name, width, layers, batch, rate, vocabulary in [
            ("width 128, 4 layers, batch 4", 128, 4, 4, "5e-3", 2048),
            ("width 128, 4 layers, batch 8", 128, 4, 8, "6e-3", 2048),
            ("width 160, 4 layers, batch 6", 160, 4, 6, "5e-3", 2048),
            ("width 192, 4 layers, batch 8", 192, 4, 8, "6e-3", 2048),
            ("width 128, 4 layers, batch 8, higher rate", 128, 4, 8, "1e-2", 2048),
        ]
    },
}


def run(group: str, only: str | None = None) -> dict:
    """Trains what is missing of a group.

    Args:
        group (`str`): A key of `GROUPS`.
        only (`str`, *optional*): Trains only the runs whose name contains it.

    Returns:
        What the result file holds.
    """
    path = RESULTS / f"sweep_{group}.json"
    results = (
        json.loads(path.read_text())
        if path.exists()
        else {"command": f"python -m training.studies.sweep {group}", "runs": {}}
    )
    for name, arguments in GROUPS[group].items():
        if name in results["runs"] or (only or "") not in name:
            continue
        print(f"=== {name}: {arguments}", flush=True)
        folder = Path("runs") / "sweep"
        fixed = ["--no-baselines", "--snippets", "0", "--samples", "0", "--eval-every", "1", "--overwrite"]
        metrics = train_lm.main([*shlex.split(arguments), "--output-dir", str(folder), *fixed])
        row = {"arguments": arguments, **{key: metrics[key] for key in MEASURED}}
        results["runs"][name] = row | {"machine": machine(), "versions": versions()}
        write_json(path, results)
        shutil.rmtree(folder)
    return results


def main(argv: list[str] | None = None) -> dict:
    """Trains what is missing, then prints the group as a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("group", choices=sorted(GROUPS))
    parser.add_argument("--only", help="only the runs whose name contains this")
    args = parser.parse_args(argv)
    results = run(args.group, args.only)
    for name, row in sorted(results["runs"].items(), key=lambda item: item[1]["heldout_bits_per_byte"]):
        print(
            f"{row['heldout_bits_per_byte']:.4f}  {row['parameters'] / 1e6:5.2f} M  {row['steps']:6d} steps  "
            f"{row['train_tokens'] / 1e6:5.2f} M tokens  {name}"
        )
    return results


if __name__ == "__main__":
    main()
