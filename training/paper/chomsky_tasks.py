# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Trains models on the seven Chomsky tasks with 1 to 40 symbols, tests them with up to 256, and draws a heat map.

    python -m training.paper.chomsky_tasks           # the paper's width and depth; for a GPU
    python -m training.paper.chomsky_tasks --small   # narrower, fewer steps, comparators too; half an hour or so

Parity shows a limit: decays in [0, 1] cannot track it at finite precision, whatever the training (arXiv 2411.12537). In the
small preset it is not even learned at length 40. Each row of the result file is one training; if the script is run again, it
continues where it stopped.
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
from training.common.plots import save_figure
from training.common.rows import groups, numbers
from training.paper.chomsky import CHOMSKY
from training.paper.runner import SOLVED, Experiment, Group, can_run, parser, reference_parameters
from training.paper.tasks import Task, chomsky

REFERENCE = ("mingru",)  # all others have its parameters
LONGEST = 40  # longest string in training
ROWS = 16  # rows of an evaluated batch; small, since some tasks draw one value for all rows of a batch
PANELS = 3  # panels in a row of the heat map
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
}
SMALL = {
    "models": ["mingru", "minlstm", "gru", "lstm", "llama"],
    "steps": 2000,
    "batch_size": 64,
    "every": 250,
    "rates": [3e-3],
    "hidden_size": 64,
    "initializer_range": 0.1,
}


def draw(result: dict, path: str | os.PathLike) -> None:
    """Draws a heat map of the accuracies as a PNG: a panel for each model, tasks downwards, lengths across.

    Of several seeds the mean is shown, at the best learning rate.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    found = groups(result, ("model", "task"), "accuracy")
    models = list(dict.fromkeys(model for model, _ in found))
    tasks = [task for task in CHOMSKY if any(task == other for _, other in found)]
    columns = min(PANELS, len(models))
    lines = -(-len(models) // columns)
    figure, panels = plt.subplots(
        lines,
        columns,
        figsize=(8, lines * (0.7 + 0.3 * len(tasks)) + 0.3),
        dpi=160,
        layout="constrained",
        squeeze=False,
        sharey=True,
    )
    for axes in panels.flat[len(models) :]:
        axes.remove()
    for axes, model in zip(panels.flat, models):
        scores = [_accuracies(found.get((model, task), []), result["lengths"]) for task in tasks]
        _draw_panel(axes, scores, tasks, result["lengths"])
        axes.set_title(model, fontsize=10)
    figure.supxlabel(f"length of the string (trained on 1 to {LONGEST}); accuracy in percent", fontsize=9)
    save_figure(path, figure)


def _accuracies(rows: list[dict], lengths: list[int]) -> list[float]:
    """Returns the mean accuracy of the rows at each length; not a number where nothing has run."""
    by_length = numbers(rows, "by_length")
    if not by_length:
        return [float("nan")] * len(lengths)
    return [sum(scores[str(length)] for scores in by_length) / len(by_length) for length in lengths]


def _draw_panel(axes, scores: list[list[float]], tasks: list[str], lengths: list[int]) -> None:
    axes.imshow(scores, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    for y, line in enumerate(scores):
        for x, value in enumerate(line):
            if value == value:
                color = "black" if value > 0.6 else "white"
                axes.text(x, y, f"{100 * value:.0f}", ha="center", va="center", fontsize=7.5, color=color)
    every = -(-len(lengths) // 8)
    axes.set_xticks(range(0, len(lengths), every), lengths[::every], fontsize=7.5)
    axes.set_yticks(range(len(tasks)), [task.replace("_", " ") for task in tasks], fontsize=9)
    axes.tick_params(length=2)


@reported
def main(argv: list[str] | None = None) -> dict:
    """Runs the missing rows and draws the heat map; returns the content of the result file."""
    made = parser("training.paper.chomsky_tasks", __doc__, MODELS, {"full": FULL, "small": SMALL})
    made.add_argument(
        "--tasks", nargs="+", choices=list(CHOMSKY), metavar="TASK", help=f"tasks, of {', '.join(CHOMSKY)}"
    )
    made.add_argument("--lengths", type=positive_int, nargs="+", help="lengths at which the trained model is tested")
    made.add_argument(
        "--batches", type=positive_int, help=f"batches of {ROWS} rows: of the test at each length, of validation in all"
    )
    experiment = Experiment(made, argv, "chomsky_tasks", "Chomsky tasks")
    options = experiment.options
    results = experiment.open_results(lengths=options.lengths)
    for task_name in options.tasks:
        task = chomsky(task_name)
        size = experiment.size(task.vocab_size, 2 * max(LONGEST, *options.lengths))
        reference = reference_parameters(size)
        for name in can_run(options.models, options.device, size, reference, REFERENCE):
            group = _group(experiment, name, task, size, None if name in REFERENCE else reference)
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
        recipe={"lengths": (1, LONGEST), "solved": SOLVED},
        validation=validation,
        judge=judge,
        options={"tasks": task.name},
        settings={"asked": options.lengths, "batches": options.batches},
    )


if __name__ == "__main__":
    main()
