# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""One process against two, DDP and FSDP2: the losses of the same run, and of runs that change over halfway.

    python -m training.bench.processes                # six runs on the CPU, some minutes

Each run is train_lm.py with the arguments shown in the result file, training/results/compare_processes.json; the curves are
in compare_processes.png beside it. Two processes are two of `torchrun`, over gloo.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

from training.common.checkpoint import load_checkpoint
from training.common.files import write_json
from training.common.machine import machine, versions
from training.common.paths import RESULTS

RESULT = RESULTS / "compare_processes"
COMMON = "--tokenizer bytes --stateful --hidden-size 64 --num-hidden-layers 2 --sequence-length 128 --no-baselines "
COMMON += "--samples 0 --snippets 0 --eval-every 1 --schedule wsd --final-ratio 1 --warmup 0 --learning-rate 3e-3"
ONE, TWO = "--batch-size 8", "--batch-size 4"
# Each part goes on from the one before it: (processes, arguments, share of the steps that are done then).
RUNS = {
    "one process": [(1, ONE, 1.0)],
    "two, DDP": [(2, TWO, 1.0)],
    "two, FSDP2": [(2, f"{TWO} --fsdp", 1.0)],
    "two with FSDP2, then one": [(2, f"{TWO} --fsdp", 0.5), (1, ONE, 1.0)],
    "one, then two with FSDP2": [(1, ONE, 0.5), (2, f"{TWO} --fsdp", 1.0)],
    "two with DDP, then two with FSDP2": [(2, TWO, 0.5), (2, f"{TWO} --fsdp", 1.0)],
}


def train(processes: int, arguments: list[str]) -> None:
    """Runs train_lm.py in so many processes.

    Raises:
        subprocess.CalledProcessError: It failed.
    """
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [*command, "-m", "training.train_lm", *arguments], env=environment, check=True, stdout=subprocess.DEVNULL
    )


def compare(steps: int, common: str = COMMON) -> dict:
    """Trains every run of `RUNS`.

    Returns:
        By name: the arguments of its parts, its losses, and the largest difference from those of one process, relative.
    """
    runs = {}
    for name, parts in RUNS.items():
        shown = []
        with tempfile.TemporaryDirectory() as folder:
            for number, (processes, own, share) in enumerate(parts):
                text = f"{common} {own} --steps {round(share * steps)}" + (" --resume" if number else "")
                shown.append(f"{processes} x {text}")
                print(f"=== {name}: {shown[-1]}", flush=True)
                train(processes, [*text.split(), "--output-dir", folder])
            losses = load_checkpoint(folder)["state"]["losses"]
        first = runs["one process"]["losses"] if runs else losses
        differences = [abs(x - y) / y for x, y in zip(losses, first, strict=True)]
        runs[name] = {"runs": shown, "largest_relative_difference": max(differences), "losses": losses}
    return runs


def plot(path: Path, runs: dict) -> None:
    """Writes the curves, and below them their differences from one process, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (top, bottom) = plt.subplots(2, 1, figsize=(7.5, 6), dpi=110, sharex=True, layout="constrained")
    first = runs["one process"]["losses"]
    steps = range(1, len(first) + 1)
    for number, (name, run) in enumerate(runs.items()):
        top.plot(steps, run["losses"], lw=4 - 0.6 * number, label=name)
        if number:
            bottom.plot(steps, [abs(x - y) / y for x, y in zip(run["losses"], first)], lw=1.2, color=f"C{number}")
    top.set(ylabel="loss (nats per byte)", title="The same training, in one process and in two")
    top.legend(frameon=False)
    bottom.set(xlabel="step", ylabel="difference from one process, relative", yscale="log")
    for axes in (top, bottom):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="0.92")
    figure.savefig(path)
    plt.close(figure)


def main(argv: list[str] | None = None) -> dict:
    """Trains, writes both files, prints the differences."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--output", type=Path, default=RESULT, help="path of the result files, without their endings")
    args = parser.parse_args(argv)
    runs = compare(args.steps)
    write_json(
        args.output.with_suffix(".json"),
        {"command": "python -m training.bench.processes", "runs": runs, "machine": machine(), "versions": versions()},
    )
    plot(args.output.with_suffix(".png"), runs)
    for name, run in runs.items():
        print(f"{run['largest_relative_difference']:.1e}  {name}")
    return runs


if __name__ == "__main__":
    main()
