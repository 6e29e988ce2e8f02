# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Trains models to track a state over 64 symbols, asks them over up to 1,024 symbols, and draws a heat map.

    python -m training.paper.state_tracking           # 12,800 steps with 128 rows, as mingru-scans was measured
    python -m training.paper.state_tracking --small   # 1,000 steps with 64 rows: two minutes of a core per training

The tasks are parity, counting modulo 5, and the products of permutations of three and of five things (S3 and S5), each with a
label at every position. The best state of a training is chosen on strings of 128 symbols. A training ends when it solves these.
Each row of the result file is one training; if the script is run again, it continues where it stopped. The small preset leaves
out Mamba and "scans-signed-givens", which take ten minutes and more for each training on a CPU.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterable

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

import torch
from torch import nn

from training.common.command_line import positive_int, reported
from training.common.comparators import ANY_LENGTH as MODELS
from training.common.comparators import Size
from training.common.rows import groups
from training.paper.heat_map import draw_panels
from training.paper.runner import SOLVED, Experiment, Group, median_and_worst, parser
from training.paper.tasks import Task, tracking
from training.paper.word_problems import TRACKING

ROWS = 64  # rows of an evaluated batch
FULL = {
    "models": [
        "mingru-plain",
        "mingru-signed",
        "minlstm-signed",
        "gru",
        "lstm",
        "llama",
        "mamba",
        "scans-log",
        "scans-signed",
        "scans-rotation",
        "scans-signed-rotation",
        "scans-signed-givens",
        "scans-signed-delta",
    ],
    "tasks": list(TRACKING),
    "seeds": [0, 1, 2, 3, 4],
    "rates": [3e-3],
    "lengths": [64, 128, 256, 512, 1024],
    "train_lengths": [64, 64],
    "validation_length": 128,
    "steps": 12_800,
    "batch_size": 128,
    "every": 100,
    "warmup": 100,
    "hidden_size": 64,
    "num_layers": 2,
    "conv": 4,
    "mlp": 4.0,
    "initializer_range": 0.1,
    "batches": 8,
    "schedule": "cosine",
}
SLOW = ("mamba", "scans-signed-givens")  # on a CPU
SMALL = {
    "models": [name for name in FULL["models"] if name not in SLOW],
    "steps": 1000,
    "batch_size": 64,
    "batches": 4,
}


@torch.no_grad()
def accuracy_by_position(
    model: nn.Module, batches: Iterable[tuple[torch.Tensor, torch.Tensor]], bf16: bool = False
) -> list[float]:
    """Returns the share of right answers at each position of the batches, which all have one length and a label everywhere.

    Args:
        model (`nn.Module`): Maps token ids `(batch, time)` to logits.
        batches: Pairs of ids and labels.
        bf16 (`bool`): Autocast to bfloat16, as in training.
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    right = []
    for ids, labels in batches:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            logits = model(ids.to(device))
        right.append((logits.argmax(-1) == labels.to(device)).float())
    model.train(was_training)
    return torch.cat(right).mean(0).tolist()


def draw(result: dict, path: str | os.PathLike) -> None:
    """Draws a heat map of the accuracies as a PNG: a panel for each model, tasks downwards, lengths across.

    Of several seeds the median is shown, at the best learning rate.
    """
    found = groups(result, ("model", "task"), "accuracy")
    draw_panels(
        found, list(TRACKING), result["lengths"], "length of the string; accuracy of all positions in percent", path
    )


@reported
def main(argv: list[str] | None = None) -> dict:
    """Runs the missing rows and draws the heat map; returns the content of the result file."""
    made = parser("training.paper.state_tracking", __doc__, MODELS, {"full": FULL, "small": SMALL})
    made.add_argument(
        "--tasks", nargs="+", choices=list(TRACKING), metavar="TASK", help=f"tasks, of {', '.join(TRACKING)}"
    )
    made.add_argument("--lengths", type=positive_int, nargs="+", help="lengths at which the trained model is tested")
    made.add_argument(
        "--train-lengths", type=positive_int, nargs=2, metavar="LENGTH", help="shortest and longest string in training"
    )
    made.add_argument("--validation-length", type=positive_int, help="length of the strings that choose the best state")
    made.add_argument(
        "--batches",
        type=positive_int,
        help=f"batches of {ROWS} rows of the test at each length; of validation half of them",
    )
    made.add_argument("--schedule", choices=("constant", "cosine", "wsd"), help="learning rate after the warm-up")
    experiment = Experiment(made, argv, "state_tracking", "state tracking")
    options = experiment.options
    results = experiment.open_results(lengths=options.lengths)
    for task_name in options.tasks:
        task = tracking(task_name)
        longest = max(options.validation_length, *options.train_lengths, *options.lengths)
        size = experiment.size(task.vocab_size, longest)
        for name, parameters in experiment.contestants(size):
            rows = experiment.run(_group(experiment, name, task, size, parameters))
            for length in options.lengths:
                shown = median_and_worst(rows, "by_length", length)
                print(f"{task_name}, {name}: at {length}, {shown}", flush=True)
    if results.entries:
        draw(results.value, options.output.with_suffix(".png"))
    return results.value


def _group(experiment: Experiment, name: str, task: Task, size: Size, parameters: int | None) -> Group:
    options = experiment.options

    def judge(model: nn.Module) -> dict:
        by_length = {}
        last_by_length = {}
        for length in options.lengths:
            batches = task.fixed("test", ROWS, length, options.batches)
            by_position = accuracy_by_position(model, batches, options.bf16)
            by_length[str(length)] = statistics.mean(by_position)
            last_by_length[str(length)] = by_position[-1]
        mean = statistics.mean(by_length.values())
        return {"by_length": by_length, "last_by_length": last_by_length, "accuracy": mean}

    half = max(1, options.batches // 2)
    return Group(
        key=f"{task.name}, {name}",
        model=name,
        size=size,
        parameters=parameters,
        task=task,
        recipe={"lengths": tuple(options.train_lengths), "solved": SOLVED, "schedule": options.schedule},
        validation=lambda: task.fixed("validation", ROWS, options.validation_length, half),
        judge=judge,
        options={"tasks": task.name},
        settings={
            "asked": options.lengths,
            "batches": options.batches,
            "validation_length": options.validation_length,
        },
    )


if __name__ == "__main__":
    main()
