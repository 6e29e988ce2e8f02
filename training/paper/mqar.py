# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Measures associative recall as mingru-scans does: trained on 8 pairs in 64 positions, asked for up to 32 pairs in 256.

    python -m training.paper.mqar           # 12,800 steps with 128 rows, as mingru-scans was measured; for a GPU
    python -m training.paper.mqar --cpu     # as many steps with 64 rows; half an hour of a core for each training
    python -m training.paper.mqar --small   # 3,000 steps; five minutes of a core for each training

There are 32 keys and 32 values. The pairs come first and the questions last. Between them are random keys and values, which a
model must ignore. Unlike in `training.paper.recall`, a model is trained on one number of pairs only. Each row of the result
file is one training; if the script is run again, it continues where it stopped.
"""

from __future__ import annotations

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

from torch import nn

from training.common.command_line import positive_int, reported
from training.common.comparators import ANY_LENGTH as MODELS
from training.common.comparators import Size
from training.common.experiment import evaluate
from training.paper.runner import SOLVED, Experiment, Group, median_and_worst, parser
from training.paper.tasks import recall

SYMBOLS = 32  # keys, and values, to choose from
TRAINED = [8, 64]  # pairs and positions
ASKED = [TRAINED, [16, 256], [32, 256]]
ROWS = 64  # rows of an evaluated batch
FULL = {
    "models": [
        "mingru-default",
        "minlstm-default",
        "mingru-signed",
        "gru",
        "lstm",
        "llama",
        "mamba",
        "scans-log",
        "scans-signed",
        "scans-delta",
        "scans-signed-delta",
    ],
    "seeds": [0, 1, 2, 3, 4],
    "rates": [3e-3],
    "steps": 12_800,
    "batch_size": 128,
    "every": 200,
    "warmup": 100,
    "hidden_size": 64,
    "num_layers": 2,
    "conv": 4,
    "mlp": 4.0,
    "initializer_range": 0.1,
    "batches": 16,
    "schedule": "cosine",
}
CPU = {
    "models": ["mingru-default", "mingru-signed", "gru", "llama", "scans-log", "scans-signed-delta"],
    "seeds": [0],
    "batch_size": 64,
}
SMALL = CPU | {"steps": 3000}


@reported
def main(argv: list[str] | None = None) -> dict:
    """Runs the missing rows; returns the content of the result file."""
    made = parser("training.paper.mqar", __doc__, MODELS, {"full": FULL, "cpu": CPU, "small": SMALL})
    made.add_argument(
        "--batches",
        type=positive_int,
        help=f"batches of {ROWS} rows: of each test, and of validation a quarter of them",
    )
    made.add_argument("--schedule", choices=("constant", "cosine", "wsd"), help="learning rate after the warm-up")
    experiment = Experiment(made, argv, "mqar", "associative recall in noise")
    results = experiment.open_results(asked=ASKED)
    size = experiment.size(_task(1).vocab_size, max(length for _, length in ASKED))
    for name, parameters in experiment.contestants(size):
        rows = experiment.run(_group(experiment, name, size, parameters))
        for pairs, length in ASKED:
            shown = median_and_worst(rows, "by_pairs", pairs)
            print(f"{name}: {pairs} pairs in {length} positions, {shown}", flush=True)
    return results.value


def _task(pairs: int):
    return recall(pairs, keys=SYMBOLS, values=SYMBOLS, noise=True)


def _group(experiment: Experiment, name: str, size: Size, parameters: int | None) -> Group:
    options = experiment.options
    pairs, length = TRAINED
    task = _task(pairs)

    def judge(model: nn.Module) -> dict:
        by_pairs = {}
        for pairs, length in ASKED:
            batches = _task(pairs).fixed("test", ROWS, length, options.batches)
            by_pairs[str(pairs)] = evaluate(model, batches, options.bf16)["accuracy"]
        return {"by_pairs": by_pairs, "accuracy": by_pairs[str(TRAINED[0])]}

    return Group(
        key=name,
        model=name,
        size=size,
        parameters=parameters,
        task=task,
        recipe={"lengths": (length, length), "solved": SOLVED, "schedule": options.schedule},
        validation=lambda: task.fixed("validation", ROWS, length, max(1, options.batches // 4)),
        judge=judge,
        settings={"asked": ASKED, "batches": options.batches},
    )


if __name__ == "__main__":
    main()
