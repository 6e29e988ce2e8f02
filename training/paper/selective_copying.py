# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Selective copying with one, two and three layers: the paper's first experiment. With a plot.

    python -m training.paper.selective_copying           # the paper's: length 4096, up to 400,000 steps; for a GPU
    python -m training.paper.selective_copying --cpu     # length 256; two hours of a core that has bfloat16
    python -m training.paper.selective_copying --cpu --no-bf16 --output runs/copying.json    # where it has not
    python -m training.paper.selective_copying --small   # four tokens, length 16, comparators too; ten minutes

Sixteen data tokens stand somewhere among blanks and are to be said again at the end, in order. What a gate of one layer keeps
hangs on the token alone, so one layer cannot count, and the accuracy rises with the number of layers. Each row of the result
file is one training; running the script again goes on where it stopped.
"""

from __future__ import annotations

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

from training.common.command_line import positive, positive_int, reported
from training.common.comparators import Size, build
from training.common.experiment import Recipe, evaluate
from training.common.plots import plot_lines
from training.common.rows import PRESETS, Results, can_run, command, contest, parse, parser, train_row
from training.common.widths import count
from training.paper.tasks import selective_copying
from training.report.paper_tables import curves, numbers

MODELS = ["mingru", "minlstm", "mingru-default", "minlstm-default", "gru", "lstm", "llama", "mamba", "hgrn", "hgrn2"]
MODELS += ["gated-deltanet", "rwkv7"]
OURS = ("mingru", "minlstm")  # of the paper's width beside its numbers, whatever parameters that makes
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


@reported
def main(argv=None) -> dict:
    """Runs what is missing; returns what the result file holds."""
    made = parser("training.paper.selective_copying", __doc__, MODELS, {"full": FULL, "cpu": CPU, "small": SMALL})
    made.add_argument("--layers", type=positive_int, nargs="+", help="numbers of layers")
    made.add_argument("--length", type=positive_int, help="positions before the question")
    made.add_argument("--tokens", type=positive_int, help="data tokens to remember")
    made.add_argument(
        "--expansion",
        type=positive,
        help="channels of the state per unit of width; ours, gru, lstm (the defaults: twice)",
    )
    made.add_argument("--schedule", choices=["constant", "cosine"], help="of the learning rate after that")
    made.add_argument("--batches", type=positive_int, help="of validation, and half as many as of the test")
    options = parse(made, argv, "selective_copying")
    task, length, rows = selective_copying(options.tokens), options.length, options.batch_size
    about = {"experiment": "selective copying", "preset": f"{options.preset}: {PRESETS[options.preset]}"}
    results = Results(options.output, about)
    as_they_are = OURS[:1] if options.preset == "small" else OURS  # all others have the first one's parameters
    for layers in options.layers:
        size = Size(
            vocab_size=task.vocab_size,
            hidden_size=options.hidden_size,
            num_layers=layers,
            max_length=length + options.tokens,
            expansion=options.expansion,
            initializer_range=options.initializer_range,
        )
        reference = count(build("mingru", **vars(size)))
        for name in can_run(options.models, options.device, size, reference, as_they_are):

            def run(rate, seed, name=name, layers=layers, size=size, reference=reference):
                recipe = Recipe(
                    steps=options.steps,
                    batch_size=rows,
                    lengths=(length, length),
                    rate=rate,
                    warmup=options.warmup,
                    schedule=options.schedule,
                    every=options.every,
                    solved=0.9995,
                    bf16=options.bf16,
                )
                return train_row(
                    results,
                    f"{name}, layers {layers}, length {length}, rate {rate:g}, seed {seed}",
                    command(
                        options,
                        made,
                        models=name,
                        layers=layers,
                        rates=rate,
                        seeds=seed,
                    ),
                    (name, size, None if name in as_they_are else reference),
                    task,
                    recipe,
                    seed,
                    options,
                    lambda: task.fixed("validation", rows, length, options.batches),
                    lambda model: evaluate(model, task.fixed("test", rows, length, 2 * options.batches), options.bf16),
                    layers=layers,
                    length=length,
                    tokens=options.tokens,
                    batches=options.batches,
                )

            best = contest(f"{name}, layers {layers}", options.rates, options.seeds, "accuracy", run)
            accuracies = ", ".join(f"{accuracy:.1%}" for accuracy in numbers(best, "accuracy"))
            print(f"{name}, layers {layers}: test accuracy {accuracies}", flush=True)
    picture, title = options.output.with_suffix(".png"), f"selective copying, {options.tokens} of {length} tokens"
    found = curves(results.value, ("model", "layers"), "accuracy")
    lines = {f"{model}, layers: {layers}": points for (model, layers), points in found.items()}
    plot_lines(picture, title, ("step", "accuracy on the validation part"), lines, "linear", "linear")
    return results.value


if __name__ == "__main__":
    main()
