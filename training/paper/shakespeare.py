# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Trains models of Shakespeare's characters as in the paper, and draws their validation loss.

    python -m training.paper.shakespeare                      # the paper's settings; five models, minGRU two hours of a core
    python -m training.paper.shakespeare --no-bf16 --output runs/shakespeare.json   # on a core without bfloat16
    python -m training.paper.shakespeare --small              # narrower, 300 steps; minutes, but longer for Mamba
    python -m training.paper.shakespeare --text shakespeare.txt   # the text from a file instead of the Hub

The paper reports the lowest loss on nanoGPT's validation part, the last 10 % of the text. Here the step is chosen on the first
half of that part, and the second half is the test. The loss on both halves at the same step is reported as "last 10 %", to be
compared with the paper's. Each window of the text is read from an empty state.
The default block and the Transformer have minGRU's parameters, within 5 %. Each row of the result file is one training; if the
script is run again, it continues where it stopped.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

from training.common.command_line import positive_int, reported, share, whole
from training.common.comparators import COMPARATORS
from training.common.experiment import evaluate
from training.common.plots import plot_lines
from training.common.rows import curves
from training.paper.runner import Experiment, Group, parser
from training.paper.tasks import shakespeare

MODELS = list(COMPARATORS)
OURS = ("mingru", "minlstm")  # they keep the paper's width when their scores are compared with the paper's
FULL = {
    "models": ["mingru", "minlstm", "mingru-default", "minlstm-default", "transformer"],
    "seeds": [0],
    "rates": [1e-3],
    "length": 256,
    "steps": 5000,
    "batch_size": 64,
    "every": 25,
    "patience": 20,
    "warmup": 100,
    "hidden_size": 384,
    "num_layers": 3,
    "conv": 4,
    "mlp": 4.0,
    "dropout": 0.2,
    "initializer_range": 0.02,
    "bf16": True,
}
SMALL = {
    "models": ["mingru", "minlstm", "mingru-default", "minlstm-default", "transformer", "mamba"],
    "rates": [3e-3],
    "length": 128,
    "steps": 300,
    "batch_size": 32,
    "every": 50,
    "warmup": 20,
    "hidden_size": 128,
    "bf16": False,
}


def draw(result: dict, path: str | os.PathLike) -> None:
    """Draws the validation loss over the steps as a PNG, one line for each model."""
    found = {model: points for (model,), points in curves(result, ("model",), "loss").items()}
    # The first steps are left out: they would hide the differences at the end.
    highest = 1.4 * min((loss for points in found.values() for _, loss in points), default=0)
    lines = {model: [point for point in points if point[1] < highest] for model, points in found.items()}
    lines = {model: points for model, points in lines.items() if points}
    labels = ("step", "loss on the validation part, nats per character")
    plot_lines(path, "characters of Shakespeare", labels, lines, "linear", "linear")


@reported
def main(argv: list[str] | None = None) -> dict:
    """Runs the missing rows and draws the plot; returns the content of the result file."""
    made = parser("training.paper.shakespeare", __doc__, MODELS, {"full": FULL, "small": SMALL})
    made.add_argument("--text", type=Path, help="text file (default: karpathy/tiny_shakespeare from the Hub)")
    made.add_argument("--length", type=positive_int, help="characters in a window")
    made.add_argument("--dropout", type=share, help="dropout of the embedding and of the output of each branch")
    made.add_argument("--patience", type=whole, help="evaluations without progress after which a run ends")
    experiment = Experiment(made, argv, "shakespeare", "Shakespeare")
    options = experiment.options
    task = shakespeare(options.text)
    length = options.length
    rows = options.batch_size
    digest = hashlib.sha256(b"".join(part.numpy().tobytes() for part in task.parts.values())).hexdigest()[:16]
    results = experiment.open_results(characters={name: len(part) for name, part in task.parts.items()})
    size = experiment.size(task.vocab_size, length)
    as_they_are = OURS  # all others have the parameters of the first one
    if options.preset == "small":
        as_they_are = OURS[:1]

    def judge(model):
        parts = {part: task.fixed(part, rows, length) for part in ("test", "both")}
        return {part: evaluate(model, batches, options.bf16)["loss"] for part, batches in parts.items()}

    for name, parameters in experiment.contestants(size, as_they_are):
        group = Group(
            key=name,
            model=name,
            size=size,
            parameters=parameters,
            task=task,
            recipe={"lengths": (length, length), "metric": "loss", "patience": options.patience},
            validation=lambda: task.fixed("validation", rows, length),
            judge=judge,
            settings={"length": length, "text": digest},
        )
        for row in experiment.run(group):
            if row["best"] is not None:
                test = row["test"]["best"]
                step = row["best"]["step"]
                print(f"{name}: step {step}, test {test['test']:.4f}, last 10 % {test['both']:.4f}", flush=True)
    if results.entries:
        draw(results.value, options.output.with_suffix(".png"))
    return results.value


if __name__ == "__main__":
    main()
