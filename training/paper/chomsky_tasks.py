# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Trains models on the seven Chomsky tasks with 1 to 40 symbols, tests them with up to 256, and draws a heat map.

    python -m training.paper.chomsky_tasks           # the paper's width and depth; for a GPU
    python -m training.paper.chomsky_tasks --small   # narrower, fewer steps, comparators too; half an hour or so
    python -m training.paper.chomsky_tasks --cpu     # as small; parity only, five seeds, tested with up to 1,024

Decays in [0, 1] cannot track parity at finite precision, whatever the training (arXiv 2411.12537). The models "mingru-signed"
and "minlstm-signed" have negative decays in the first block. Each row of the result file is one training; if the script is run
again, it continues where it stopped.
"""

from __future__ import annotations

import os
from itertools import chain

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

from training.common.command_line import positive_int, reported
from training.common.comparators import ANY_LENGTH as MODELS
from training.common.comparators import Size
from training.common.experiment import evaluate
from training.common.rows import groups, numbers
from training.paper.chomsky import CHOMSKY
from training.paper.heat_map import draw_panels
from training.paper.runner import SOLVED, Experiment, Group, parser
from training.paper.tasks import Task, chomsky

LONGEST = 40  # longest string in training
ROWS = 16  # rows of an evaluated batch; small, since some tasks draw one value for all rows of a batch
FULL = {
    "models": ["mingru", "minlstm"],
    "tasks": list(CHOMSKY),
    "seeds": [0],
    "rates": [1e-3],
    "lengths": [40, 64, 96, 128, 160, 192, 224, 256],
    "steps": 20_000,
    "batch_size": 128,
    "every": 500,
    "warmup": 100,
    "hidden_size": 256,
    "num_layers": 2,
    "conv": 4,
    "mlp": 4.0,
    "initializer_range": 0.05,
    "batches": 32,
    "schedule": "constant",
}
SMALL = {
    "models": ["mingru", "minlstm", "mingru-signed", "minlstm-signed", "gru", "lstm", "llama"],
    "steps": 2000,
    "batch_size": 64,
    "every": 250,
    "rates": [3e-3],
    "hidden_size": 64,
    "initializer_range": 0.1,
}
CPU = SMALL | {
    "models": ["mingru-plain", "mingru-signed", "minlstm-signed", "gru", "lstm", "scans-coupled", "scans-signed"],
    "tasks": ["parity"],
    "seeds": [0, 1, 2, 3, 4],
    "rates": [1e-2],
    "steps": 4000,
    "batches": 64,
    "lengths": [40, 64, 128, 256, 512, 1024],
    "schedule": "wsd",
}


def draw(result: dict, path: str | os.PathLike) -> None:
    """Draws a heat map of the accuracies as a PNG: a panel for each model, tasks downwards, lengths across.

    Of several seeds the median is shown, at the best learning rate.
    """
    found = groups(result, ("model", "task"), "accuracy")
    label = f"length of the string (trained on 1 to {LONGEST}); accuracy in percent"
    draw_panels(found, list(CHOMSKY), result["lengths"], label, path)


@reported
def main(argv: list[str] | None = None) -> dict:
    """Runs the missing rows and draws the heat map; returns the content of the result file."""
    made = parser("training.paper.chomsky_tasks", __doc__, MODELS, {"full": FULL, "cpu": CPU, "small": SMALL})
    made.add_argument(
        "--tasks", nargs="+", choices=list(CHOMSKY), metavar="TASK", help=f"tasks, of {', '.join(CHOMSKY)}"
    )
    made.add_argument("--lengths", type=positive_int, nargs="+", help="lengths at which the trained model is tested")
    made.add_argument(
        "--batches", type=positive_int, help=f"batches of {ROWS} rows: of the test at each length, of validation in all"
    )
    made.add_argument("--schedule", choices=("constant", "cosine", "wsd"), help="learning rate after the warm-up")
    experiment = Experiment(made, argv, "chomsky_tasks", "Chomsky tasks")
    options = experiment.options
    results = experiment.open_results(lengths=options.lengths)
    for task_name in options.tasks:
        task = chomsky(task_name)
        size = experiment.size(task.vocab_size, 2 * max(LONGEST, *options.lengths))
        for name, parameters in experiment.contestants(size):
            group = _group(experiment, name, task, size, parameters)
            for by_length in numbers(experiment.run(group), "by_length"):
                shown = ", ".join(f"{accuracy:.0%} at {length}" for length, accuracy in by_length.items())
                print(f"{task_name}, {name}: {shown}", flush=True)
    if results.entries:
        draw(results.value, options.output.with_suffix(".png"))
    return results.value


def _group(experiment: Experiment, name: str, task: Task, size: Size, parameters: int | None) -> Group:
    options = experiment.options

    def validation():
        lengths = [min(options.lengths), max(options.lengths)]
        each = max(1, options.batches // len(lengths))
        return chain(*(task.fixed("validation", ROWS, length, each) for length in lengths))

    def judge(model):
        by_length = {}
        for length in options.lengths:
            batches = task.fixed("test", ROWS, length, options.batches)
            by_length[str(length)] = evaluate(model, batches, options.bf16)["accuracy"]
        return {"by_length": by_length, "accuracy": sum(by_length.values()) / len(by_length)}

    return Group(
        key=f"{task.name}, {name}",
        model=name,
        size=size,
        parameters=parameters,
        task=task,
        recipe={"lengths": (1, LONGEST), "solved": SOLVED, "schedule": options.schedule},
        validation=validation,
        judge=judge,
        options={"tasks": task.name},
        settings={"asked": options.lengths, "batches": options.batches},
    )


if __name__ == "__main__":
    main()
