# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Multi-query associative recall: how many pairs of key and value a model learns to keep, by its channels. With a plot.

    python -m training.paper.recall           # three state sizes, 4 to 64 pairs; hours on two cores
    python -m training.paper.recall --cpu     # two state sizes, 2 to 8 pairs, 15,000 steps; two hours of a core
    python -m training.paper.recall --small   # the same, 3,000 steps; half an hour

No key is an address in a state that is a vector. A Transformer of the same size keeps all pairs in its cache and looks them
up. Each row of the result file is one training; running the script again goes on where it stopped.
"""

from __future__ import annotations

import statistics
from dataclasses import replace

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

from training.common.command_line import positive_int, reported
from training.common.comparators import Size, build
from training.common.experiment import Recipe, evaluate
from training.common.plots import plot_lines
from training.common.rows import PRESETS, Results, can_run, command, contest, parse, parser, train_row
from training.common.widths import count
from training.paper.tasks import recall
from training.report.paper_tables import groups, numbers

MODELS = ["mingru", "minlstm", "mingru-default", "minlstm-default", "gru", "lstm", "llama", "mamba", "hgrn", "hgrn2"]
MODELS += ["gated-deltanet", "rwkv7"]
REFERENCE = ("mingru",)  # all others have its parameters
VECTORS = (
    "mingru",
    "minlstm",
    "mingru-default",
    "minlstm-default",
    "gru",
    "lstm",
)  # have a state whose size is a matter of choice
FULL = {
    "models": ["mingru", "minlstm", "llama"],
    "pairs": [4, 8, 16, 32, 64],
    "expansions": [1, 4, 16],
    "seeds": [0],
    "rates": [3e-3],
    "steps": 5000,
    "batch_size": 64,
    "every": 250,
    "warmup": 100,
    "hidden_size": 64,
    "num_layers": 2,
    "conv": 4,
    "initializer_range": 0.1,
    "batches": 4,
}
CPU = {
    "models": ["mingru", "mingru-default", "gru", "llama"],
    "pairs": [2, 4, 8],
    "expansions": [1, 4],
    "steps": 15_000,
    "every": 500,
}
SMALL = CPU | {"steps": 3000, "every": 250, "batches": 2}


@reported
def main(argv=None) -> dict:
    """Runs what is missing, draws the plot; returns what the result file holds."""
    made = parser("training.paper.recall", __doc__, MODELS, {"full": FULL, "cpu": CPU, "small": SMALL})
    made.add_argument("--pairs", type=positive_int, nargs="+", help="numbers of pairs; a row has 4 positions for each")
    made.add_argument(
        "--expansions",
        type=positive_int,
        nargs="+",
        help="channels of the state per unit of width; ours, gru, lstm (the defaults: twice); the others have the "
        "parameters of the smallest minGRU",
    )
    made.add_argument("--batches", type=positive_int, help="of validation, and half as many as of the test")
    options = parse(made, argv, "recall")
    about = {"experiment": "associative recall", "preset": f"{options.preset}: {PRESETS[options.preset]}"}
    results = Results(options.output, about | {"pairs": options.pairs})
    for name in options.models:
        # For a model whose memory is its own affair the smallest state stands.
        for expansion in options.expansions if name in VECTORS else options.expansions[:1]:
            longest = Size(
                vocab_size=recall(1, keys=64, values=64).vocab_size,
                hidden_size=options.hidden_size,
                num_layers=options.num_layers,
                max_length=4 * max(options.pairs),
                expansion=expansion,
                conv=options.conv,
                initializer_range=options.initializer_range,
            )
            reference = count(build("mingru", **vars(longest)))
            if not can_run([name], options.device, longest, reference, REFERENCE):
                continue
            title = name
            if name in VECTORS:  # of the model as it is built: who has to meet a number of parameters has fewer
                built = build(name, parameters=None if name in REFERENCE else reference, **vars(longest))
                title = f"{name}, {built.model.config.state_size} channels"
            for pairs in options.pairs:
                task, length = recall(pairs, keys=64, values=64), 4 * pairs
                size = replace(longest, max_length=length)

                def run(rate, seed, name=name, title=title, size=size, reference=reference, task=task, length=length):
                    recipe = Recipe(
                        steps=options.steps,
                        batch_size=options.batch_size,
                        lengths=(length, length),
                        rate=rate,
                        warmup=options.warmup,
                        every=options.every,
                        solved=0.9995,
                        bf16=options.bf16,
                    )
                    narrowed = {"pairs": length // 4, "expansions": int(size.expansion), "rates": rate, "seeds": seed}
                    return train_row(
                        results,
                        f"{title}, {length // 4} pairs, rate {rate:g}, seed {seed}",
                        command(options, made, models=name, **narrowed),
                        (name, size, None if name in REFERENCE else reference),
                        task,
                        recipe,
                        seed,
                        options,
                        lambda: task.fixed("validation", options.batch_size, length, options.batches),
                        lambda model: evaluate(
                            model, task.fixed("test", options.batch_size, length, 2 * options.batches), options.bf16
                        ),
                        pairs=length // 4,
                        title=title,
                        batches=options.batches,
                    )

                rows = contest(f"{title}, {pairs} pairs", options.rates, options.seeds, "accuracy", run)
                scores = ", ".join(f"{accuracy:.1%}" for accuracy in numbers(rows, "accuracy"))
                print(f"{title}, {pairs} pairs: test accuracy {scores}", flush=True)
    lines = {}
    for (title, pairs), rows in groups(results.value, ("title", "pairs"), "accuracy").items():
        lines.setdefault(title, []).append((pairs, statistics.mean(numbers(rows, "accuracy"))))
    picture = options.output.with_suffix(".png")
    plot_lines(picture, "associative recall", ("pairs", "accuracy (chance is 1/64)"), lines, "linear")
    return results.value


if __name__ == "__main__":
    main()
