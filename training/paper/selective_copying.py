# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Runs selective copying, the paper's first experiment, with one, two and three layers, and draws a plot.

    python -m training.paper.selective_copying           # the paper's: length 4096, up to 400,000 steps; for a GPU
    python -m training.paper.selective_copying --cpu     # length 256; two hours of a core that has bfloat16
    python -m training.paper.selective_copying --cpu --no-bf16 --output runs/copying.json    # on a core without bfloat16
    python -m training.paper.selective_copying --small   # four tokens, length 16, comparators too; ten minutes

Sixteen data tokens stand among blanks; the model must repeat them in order at the end. The gates of one layer depend on the
token alone, so one layer cannot count, and the accuracy rises with the number of layers. Each row of the result file is one
training; if the script is run again, it continues where it stopped.
"""

from __future__ import annotations

import os

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

from training.common.command_line import positive, positive_int, reported
from training.common.comparators import ANY_LENGTH as MODELS
from training.common.experiment import evaluate
from training.common.plots import plot_lines
from training.common.rows import curves, numbers
from training.paper.runner import SOLVED, Experiment, Group, parser
from training.paper.tasks import selective_copying

OURS = ("mingru", "minlstm")  # they keep the paper's width when their scores are compared with the paper's
FULL = {
    "models": ["mingru", "minlstm"],
    "layers": [1, 2, 3],
    "seeds": [0, 1, 2],
    "rates": [3e-4],
    "length": 4096,
    "tokens": 16,
    "steps": 400_000,
    "batch_size": 64,
    "every": 1000,
    "warmup": 0,
    "schedule": "constant",
    "hidden_size": 64,
    "expansion": 6.0,
    "initializer_range": 0.1,
    "batches": 8,
}
CPU = {
    "seeds": [0],
    "rates": [5e-3],
    "length": 256,
    "steps": 10_000,
    "batch_size": 32,
    "every": 200,
    "warmup": 50,
    "batches": 4,
    "schedule": "cosine",
    "bf16": True,
}
SMALL = {
    "models": ["mingru", "minlstm", "gru", "lstm", "llama", "mamba"],
    "seeds": [0],
    "rates": [1e-2],
    "length": 16,
    "tokens": 4,
    "steps": 1500,
    "batch_size": 32,
    "every": 100,
    "warmup": 50,
    "schedule": "cosine",
    "hidden_size": 48,
    "expansion": 4.0,
    "batches": 4,
}


def draw(result: dict, path: str | os.PathLike) -> None:
    """Draws the validation accuracy over the steps as a PNG, one line for each model and number of layers."""
    settings = next(iter(result["rows"].values()))["settings"]
    title = f"selective copying, {settings['tokens']} of {settings['length']} tokens"
    found = curves(result, ("model", "layers"), "accuracy")
    lines = {f"{model}, layers: {layers}": points for (model, layers), points in found.items()}
    plot_lines(path, title, ("step", "accuracy on the validation part"), lines, "linear", "linear")


@reported
def main(argv: list[str] | None = None) -> dict:
    """Runs the missing rows and draws the plot; returns the content of the result file."""
    made = parser("training.paper.selective_copying", __doc__, MODELS, {"full": FULL, "cpu": CPU, "small": SMALL})
    made.add_argument("--layers", type=positive_int, nargs="+", help="numbers of layers")
    made.add_argument("--length", type=positive_int, help="positions before the question")
    made.add_argument("--tokens", type=positive_int, help="data tokens to remember")
    made.add_argument(
        "--expansion",
        type=positive,
        help="channels of the state per unit of width, for our blocks, gru and lstm; the default blocks have twice as many",
    )
    made.add_argument("--schedule", choices=["constant", "cosine"], help="learning rate after the warm-up")
    made.add_argument("--batches", type=positive_int, help="validation batches; the test has twice as many")
    experiment = Experiment(made, argv, "selective_copying", "selective copying")
    options = experiment.options
    results = experiment.open_results()
    task = selective_copying(options.tokens)
    length = options.length
    rows = options.batch_size
    as_they_are = OURS  # all others have the parameters of the first one
    if options.preset == "small":
        as_they_are = OURS[:1]

    def judge(model):
        return evaluate(model, task.fixed("test", rows, length, 2 * options.batches), options.bf16)

    for layers in options.layers:
        size = experiment.size(task.vocab_size, length + options.tokens, num_layers=layers)
        for name, parameters in experiment.contestants(size, as_they_are):
            group = Group(
                key=f"{name}, layers {layers}, length {length}",
                model=name,
                size=size,
                parameters=parameters,
                task=task,
                recipe={"lengths": (length, length), "schedule": options.schedule, "solved": SOLVED},
                validation=lambda: task.fixed("validation", rows, length, options.batches),
                judge=judge,
                options={"layers": layers},
                settings={"layers": layers, "length": length, "tokens": options.tokens, "batches": options.batches},
            )
            accuracies = ", ".join(f"{accuracy:.1%}" for accuracy in numbers(experiment.run(group), "accuracy"))
            print(f"{name}, layers {layers}: test accuracy {accuracies}", flush=True)
    if results.entries:
        draw(results.value, options.output.with_suffix(".png"))
    return results.value


if __name__ == "__main__":
    main()
