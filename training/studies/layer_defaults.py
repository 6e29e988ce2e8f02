# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Measures settings of MinGRU and MinLSTM against nn.GRU and nn.LSTM on four small tasks, all with as many parameters.

    python -m training.studies.layer_defaults           # an hour on one core; writes training/results/layer_defaults.json
    python -m training.studies.layer_defaults --tasks waves --layers nn.GRU MinGRU --settings g rising

The defaults of the layers were chosen by this table. All contestants have the same data, batches, steps and learning rates to
choose from. Each has the widest layer with which the model has no more parameters than the one with nn.GRU. The first seed runs
every rate; the rate with the best validation result runs the other seeds. Rows that the result file already has are not run
again. The script always needs the extras "series" (sktime, for the vowels) and "rl" (gymnasium, for CartPole).
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import time
from functools import partial

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN, "gymnasium", "sktime")

from torch import nn

from hf_minrnn import MinGRU, MinLSTM
from training.common.command_line import make_parser, positive, positive_int, reported, result_file, whole
from training.common.paths import RESULTS
from training.common.result_store import ResultStore
from training.common.rows import contest
from training.common.timing import settings as thread_settings
from training.common.widths import count, widest
from training.studies.layer_tasks import PRESETS, Task

LAYERS = {"nn.GRU": nn.GRU, "nn.LSTM": nn.LSTM, "MinGRU": MinGRU, "MinLSTM": MinLSTM}
OURS = ("MinGRU", "MinLSTM")
# Candidate; floors of the forget gate in the first and in the last layer; start of its bias: a number, or two numbers that are
# spread over the channels.
SETTINGS = {
    "g": ("g", (0.0, 0.0), 0.0),
    "identity": ("identity", (0.0, 0.0), 0.0),
    "0.9": ("identity", (0.9, 0.9), 0.0),
    "rising": ("identity", (0.0, 0.9), 0.0),
    "bias-2": ("identity", (0.0, 0.0), 2.0),
    "spread": ("identity", (0.0, 0.0), (0.0, 4.0)),
    "spread-g": ("g", (0.0, 0.0), (0.0, 4.0)),
}
SEEDS = [0, 1, 2]


def floors(first: float, last: float, layers: int) -> list[float]:
    """Returns floors that rise linearly with depth.

    >>> floors(0.0, 0.9, 3)
    [0.0, 0.45, 0.9]
    """
    return [first + (last - first) * layer / max(layers - 1, 1) for layer in range(layers)]


def make(
    name: str, setting: str | None, inputs: int, width: int, layers: int, bidirectional: bool = False
) -> nn.Module:
    """Returns a recurrent layer; all options of ours are given, so that new defaults change no result."""
    options = {"batch_first": True, "bidirectional": bidirectional}
    if name in OURS:
        candidate, (first, last), bias = SETTINGS[setting]
        options |= {"candidate_activation": candidate, "gate_bias": bias}
        options["forget_gate_floor"] = floors(first, last, layers)
    return LAYERS[name](inputs, width, layers, **options)


def compare(task: Task, name: str, setting: str | None, rates: list[float], seeds: list[int]) -> dict:
    """Runs all learning rates with the first seed, and the best one with the others; returns the results of the row."""
    limit = count(task.model(partial(make, "nn.GRU", None), task.width))
    make_layer = partial(make, name, setting)
    width = widest(lambda width: task.model(make_layer, width), limit)
    runs = []

    def run(rate: float, seed: int) -> dict:
        begin = time.process_time()
        found = task.run(lambda: task.model(make_layer, width), rate, seed)
        runs.append({"rate": rate, "seed": seed, "seconds": time.process_time() - begin, **found})
        return runs[-1]

    _, kept = contest(rates, seeds, run, lambda run: run["validation"])
    scores = [entry["score"] for entry in kept]
    return {
        "parameters": count(task.model(make_layer, width)),
        "width": width,
        "num_layers": task.layers,
        "rate": kept[0]["rate"],
        "median": statistics.median(scores),
        "worst": min(scores) if task.higher_is_better else max(scores),
        "seconds": statistics.median(entry["seconds"] for entry in kept),
        "runs": runs,
    }


def fitting(task: Task, names: list[str]) -> list[str]:
    """Returns the settings that a task can use: floors that rise with depth need more than one layer."""
    return [name for name in names if task.layers > 1 or len(set(SETTINGS[name][1])) == 1]


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parses the command line."""
    tasks = list(PRESETS["full"])
    parser = make_parser("training.studies.layer_defaults", __doc__)
    parser.add_argument("--small", action="store_true", help="a few seconds of training, to test the script")
    parser.add_argument("--tasks", nargs="+", choices=tasks, default=tasks, help="tasks (default: all)")
    parser.add_argument("--layers", nargs="+", choices=list(LAYERS), default=list(LAYERS), help="layers (default: all)")
    parser.add_argument(
        "--settings",
        nargs="+",
        choices=list(SETTINGS),
        default=list(SETTINGS),
        help="settings of our layers (default: all)",
    )
    parser.add_argument("--seeds", nargs="+", type=whole, default=SEEDS, help="seeds")
    parser.add_argument("--rates", nargs="+", type=positive, help="learning rates to try (default: those of the task)")
    parser.add_argument("--threads", type=positive_int, default=1, help="threads of torch")
    parser.add_argument("--output", type=result_file, default=RESULTS / "layer_defaults.json", help="result file")
    return parser.parse_args(argv)


def command(options: argparse.Namespace, task_name: str, name: str, setting: str | None) -> str:
    """Returns the command that runs one row."""
    words = ["python", "-m", "training.studies.layer_defaults", "--tasks", task_name, "--layers", name]
    if setting:
        words += ["--settings", setting]
    if options.small:
        words += ["--small"]
    if options.rates:
        words += ["--rates", *map(str, options.rates)]
    if options.seeds != SEEDS:
        words += ["--seeds", *map(str, options.seeds)]
    return shlex.join(words)


def add_row(
    results: ResultStore, task: Task, task_name: str, name: str, setting: str | None, options: argparse.Namespace
) -> None:
    """Runs one contestant on one task unless the file has it, and prints its row."""
    rates = options.rates or list(task.rates)
    about = {"task": task_name, "layer": name, "setting": setting, "measure": task.measure}
    if setting:
        about |= dict(zip(("candidate_activation", "floors", "gate_bias"), SETTINGS[setting]))
    about |= {"rates": rates, "seeds": options.seeds, **task.settings()}
    key = f"{task_name} {name}" + (f" {setting}" if setting else "")
    line = command(options, task_name, name, setting)
    row = results.row(key, about, line, lambda: compare(task, name, setting, rates, options.seeds))
    print(
        f"{key:<32}{row['parameters']:>7,} parameters {row['seconds']:6.1f} s  {task.measure} {row['median']:.3f}, "
        f"worst {row['worst']:.3f}, rate {row['rate']:g}",
        flush=True,
    )


@reported
def main(argv: list[str] | None = None) -> dict:
    """Runs the rows that the result file lacks; returns the content of the file."""
    options = parse_arguments(argv)
    results = ResultStore(options.output, {"about": __doc__.splitlines()[0]})
    with thread_settings(options.threads):
        for task_name in options.tasks:
            task = PRESETS["small" if options.small else "full"][task_name]()
            for name in options.layers:
                settings = fitting(task, options.settings) if name in OURS else [None]
                for setting in settings:
                    add_row(results, task, task_name, name, setting, options)
    return results.value


if __name__ == "__main__":
    main()
