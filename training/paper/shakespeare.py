# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Characters of Shakespeare as the paper trains on them: the loss on a test part, at the best step of a validation part. With
a plot of the validation part's.

    python -m training.paper.shakespeare                      # the paper's settings; five models, minGRU two hours of a core
    python -m training.paper.shakespeare --no-bf16 --output runs/shakespeare.json   # where it has no bfloat16
    python -m training.paper.shakespeare --small              # narrower, 300 steps; minutes, but longer for Mamba
    python -m training.paper.shakespeare --text shakespeare.txt   # the text from a file instead of the Hub

The paper reports the loss at the best step of nanoGPT's validation part, the last 10 % of the text, on which that step was
chosen. Here the first half of that part chooses the step and the second half is the test; the loss on both, at the same step,
stands beside it as "last 10 %", for that is the text the paper's number is about. Each window of the text is read from an
empty state. The default block and the Transformer have minGRU's parameters, within 5 %. Each row of the result file is one
training; running the script again goes on where it stopped.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

from training.common.command_line import positive_int, reported, share, whole
from training.common.comparators import Size, build
from training.common.experiment import Recipe, evaluate
from training.common.plots import plot_lines
from training.common.rows import PRESETS, Results, can_run, command, contest, parse, parser, train_row
from training.common.widths import count
from training.paper.tasks import shakespeare
from training.report.paper_tables import curves

MODELS = [
    "mingru",
    "minlstm",
    "mingru-default",
    "minlstm-default",
    "transformer",
    "llama",
    "gru",
    "lstm",
    "mamba",
    "hgrn",
]
MODELS += ["hgrn2", "gated-deltanet", "rwkv7"]
OURS = ("mingru", "minlstm")  # of the paper's width beside its numbers, whatever parameters that makes
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


@reported
def main(argv=None) -> dict:
    """Runs what is missing; returns what the result file holds."""
    made = parser("training.paper.shakespeare", __doc__, MODELS, {"full": FULL, "small": SMALL})
    made.add_argument("--text", type=Path, help="text file (default: karpathy/tiny_shakespeare from the Hub)")
    made.add_argument("--length", type=positive_int, help="characters in a window")
    made.add_argument("--dropout", type=share, help="on the embedding and what each branch adds")
    made.add_argument("--patience", type=whole, help="evaluations without progress that end a run")
    options = parse(made, argv, "shakespeare")
    task, length, rows = shakespeare(options.text), options.length, options.batch_size
    digest = hashlib.sha256(b"".join(part.numpy().tobytes() for part in task.parts.values())).hexdigest()[:16]
    about = {"experiment": "Shakespeare", "preset": f"{options.preset}: {PRESETS[options.preset]}"}
    results = Results(options.output, about | {"characters": {name: len(part) for name, part in task.parts.items()}})
    size = Size(
        vocab_size=task.vocab_size,
        hidden_size=options.hidden_size,
        num_layers=options.num_layers,
        max_length=length,
        dropout=options.dropout,
        conv=options.conv,
        mlp=options.mlp,
        initializer_range=options.initializer_range,
    )
    reference = count(build("mingru", **vars(size)))

    as_they_are = OURS[:1] if options.preset == "small" else OURS  # all others have the first one's parameters

    def judge(model):
        return {
            part: evaluate(model, task.fixed(part, rows, length), options.bf16)["loss"] for part in ("test", "both")
        }

    for name in can_run(options.models, options.device, size, reference, as_they_are):

        def run(rate, seed, name=name):
            recipe = Recipe(
                steps=options.steps,
                batch_size=rows,
                lengths=(length, length),
                rate=rate,
                warmup=options.warmup,
                every=options.every,
                metric="loss",
                patience=options.patience,
                bf16=options.bf16,
            )
            return train_row(
                results,
                f"{name}, rate {rate:g}, seed {seed}",
                command(options, made, models=name, rates=rate, seeds=seed),
                (name, size, None if name in as_they_are else reference),
                task,
                recipe,
                seed,
                options,
                lambda: task.fixed("validation", rows, length),
                judge,
                length=length,
                text=digest,
            )

        for row in contest(name, options.rates, options.seeds, "loss", run):
            if row["best"] is not None:
                test, step = row["test"]["best"], row["best"]["step"]
                print(f"{name}: step {step}, test {test['test']:.4f}, last 10 % {test['both']:.4f}", flush=True)
    picture, labels = options.output.with_suffix(".png"), ("step", "loss on the validation part, nats per character")
    found = curves(results.value, ("model",), "loss")
    # Where they meet is of interest, not where they start.
    low = 1.4 * min((loss for points in found.values() for _, loss in points), default=0)
    lines = {model: [point for point in points if point[1] < low] for (model,), points in found.items()}
    lines = {name: line for name, line in lines.items() if line}
    plot_lines(picture, "characters of Shakespeare", labels, lines, "linear", "linear")
    return results.value


if __name__ == "__main__":
    main()
