# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Measures how many pairs of a key and a value a model recalls, by the size of its state, and draws a plot.

    python -m training.paper.recall           # three state sizes, 4 to 64 pairs; hours on two cores
    python -m training.paper.recall --cpu     # two state sizes, 2 to 8 pairs, 15,000 steps; two hours of a core
    python -m training.paper.recall --small   # the same, 3,000 steps; half an hour

A state that is a vector cannot be addressed by a key. A Transformer of the same size keeps all pairs in its cache and looks
them up. Each row of the result file is one training; if the script is run again, it continues where it stopped.
"""

from __future__ import annotations

import os
import statistics
from dataclasses import replace

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

from training.common.command_line import positive_int, reported
from training.common.comparators import ANY_LENGTH as MODELS
from training.common.comparators import COMPARATORS, Size, build
from training.common.experiment import evaluate
from training.common.plots import save_figure
from training.common.rows import groups, numbers
from training.paper.runner import REFERENCE, SOLVED, Experiment, Group, can_run, parser, reference_parameters
from training.paper.tasks import recall

VALUES = 64  # keys, and values, to choose from
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


def draw(result: dict, path: str | os.PathLike) -> None:
    """Draws the test accuracies as a PNG: a group of bars for each number of pairs, a bar for each model and state size."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    found = groups(result, ("model", "title", "pairs"), "accuracy")
    models = [name for name in COMPARATORS if any(name == model for model, _, _ in found)]
    # The titles of a model from few to many channels, as the experiment runs them, in ever darker shades of a color.
    titles = {name: list(dict.fromkeys(title for model, title, _ in found if model == name)) for name in models}
    bars = [(name, title) for name in models for title in sorted(titles[name], key=_channels)]
    pairs = sorted({number for _, _, number in found})
    width = 0.86 / len(bars)
    size = (max(9.0, 3.0 + 0.25 * len(bars) * len(pairs)), 4.0)
    figure, axes = plt.subplots(figsize=size, dpi=130, layout="constrained")
    for place, (name, title) in enumerate(bars):
        shade = (1 + [other for model, other in bars if model == name].index(title)) / len(titles[name])
        color = [1 - (1 - part) * (0.4 + 0.6 * shade) for part in plt.get_cmap("tab10")(models.index(name))[:3]]
        ran = [(x, found[name, title, number]) for x, number in enumerate(pairs) if (name, title, number) in found]
        heights = [statistics.mean(numbers(rows, "accuracy")) for _, rows in ran]
        offset = (place - (len(bars) - 1) / 2) * width
        drawn = axes.bar([x + offset for x, _ in ran], heights, 0.92 * width, color=color, label=title)
        axes.bar_label(drawn, [f"{100 * height:.0f}" for height in heights], padding=1, fontsize=7.5)
    axes.axhline(1 / VALUES, color="0.3", lw=1, ls=(0, (4, 3)), label=f"chance, 1/{VALUES}")
    axes.set_xticks(range(len(pairs)), [f"{number} pairs" for number in pairs])
    axes.set(ylabel="test accuracy", ylim=(0, 1.06), title="associative recall (numbers in percent)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, loc="outside right center", fontsize=9)
    save_figure(path, figure)


def _channels(title: str) -> int:
    """Returns the number of channels in the title of a model.

    >>> _channels("gru, 48 channels"), _channels("llama")
    (48, 0)
    """
    _, _, state = title.partition(", ")
    return int(state.split()[0]) if state else 0


def title_of(name: str, size: Size, parameters: int | None) -> str:
    """Returns the title of a model, with the channels of its state if its size decides them.

    The channels are those of the model as it is built: one that has to meet a number of parameters has fewer.
    """
    if not COMPARATORS[name].state_from_size:
        return name
    built = build(name, parameters=parameters, **vars(size))
    return f"{name}, {built.model.config.state_size} channels"


@reported
def main(argv: list[str] | None = None) -> dict:
    """Runs the missing rows and draws the plot; returns the content of the result file."""
    made = parser("training.paper.recall", __doc__, MODELS, {"full": FULL, "cpu": CPU, "small": SMALL})
    made.add_argument("--pairs", type=positive_int, nargs="+", help="numbers of pairs; a row has 4 positions for each")
    made.add_argument(
        "--expansions",
        type=positive_int,
        nargs="+",
        help="channels of the state per unit of width, for our blocks, gru and lstm; the default blocks have twice as many. "
        "The other models have the parameters of the smallest minGRU",
    )
    made.add_argument("--batches", type=positive_int, help="validation batches; the test has twice as many")
    experiment = Experiment(made, argv, "recall", "associative recall")
    options = experiment.options
    results = experiment.open_results(pairs=options.pairs)
    for name in options.models:
        expansions = options.expansions
        if not COMPARATORS[name].state_from_size:
            expansions = expansions[:1]
        for expansion in expansions:
            vocab_size = recall(1, keys=VALUES, values=VALUES).vocab_size
            size = experiment.size(vocab_size, 4 * max(options.pairs), expansion=expansion)
            reference = reference_parameters(size)
            if not can_run([name], options.device, size, reference, REFERENCE):
                continue
            parameters = None if name in REFERENCE else reference
            title = title_of(name, size, parameters)
            for pairs in options.pairs:
                group = _group(experiment, name, title, replace(size, max_length=4 * pairs), parameters, pairs)
                accuracies = ", ".join(f"{accuracy:.1%}" for accuracy in numbers(experiment.run(group), "accuracy"))
                print(f"{title}, {pairs} pairs: test accuracy {accuracies}", flush=True)
    if results.entries:
        draw(results.value, options.output.with_suffix(".png"))
    return results.value


def _group(experiment: Experiment, name: str, title: str, size: Size, parameters: int | None, pairs: int) -> Group:
    task = recall(pairs, keys=VALUES, values=VALUES)
    length = 4 * pairs
    options = experiment.options

    def judge(model):
        return evaluate(model, task.fixed("test", options.batch_size, length, 2 * options.batches), options.bf16)

    return Group(
        key=f"{title}, {pairs} pairs",
        model=name,
        size=size,
        parameters=parameters,
        task=task,
        recipe={"lengths": (length, length), "solved": SOLVED},
        validation=lambda: task.fixed("validation", options.batch_size, length, options.batches),
        judge=judge,
        options={"pairs": pairs, "expansions": int(size.expansion)},
        settings={"pairs": pairs, "title": title, "batches": options.batches},
    )


if __name__ == "__main__":
    main()
