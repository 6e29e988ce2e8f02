# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The seven Chomsky tasks: trained on strings of 1 to 40 symbols, asked at lengths up to 256. With a heat map.

    python -m training.paper.chomsky_tasks           # the paper's width and depth; for a GPU
    python -m training.paper.chomsky_tasks --small   # narrower, fewer steps, comparators too; half an hour or so

Parity is there as a limit: decays in [0, 1] cannot keep track of it at finite precision, whatever the training
(arXiv 2411.12537); in the small preset it is not even learned at length 40. Each row of the result file is one training;
running the script again goes on where it stopped.
"""

from __future__ import annotations

from itertools import chain
from pathlib import Path

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

from training.common.command_line import positive_int, reported
from training.common.comparators import Size, build
from training.common.experiment import Recipe, evaluate
from training.common.rows import PRESETS, Results, can_run, command, contest, parse, parser, train_row
from training.common.widths import count
from training.paper.chomsky import CHOMSKY
from training.paper.tasks import chomsky
from training.report.paper_tables import groups, numbers

MODELS = ["mingru", "minlstm", "mingru-default", "minlstm-default", "gru", "lstm", "llama", "mamba", "hgrn", "hgrn2"]
MODELS += ["gated-deltanet", "rwkv7"]
REFERENCE = ("mingru",)  # all others have its parameters
ROWS = 16  # of a batch that is asked: what one draws for all its rows, as a place in the string, is drawn often
LENGTHS = [40, 64, 96, 128, 160, 192, 224, 256]
FULL = {
    "models": ["mingru", "minlstm"],
    "tasks": list(CHOMSKY),
    "seeds": [0],
    "rates": [1e-3],
    "lengths": LENGTHS,
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


def plot(path: Path, result: dict, lengths: list[int]) -> None:
    """A panel for each model as a PNG: tasks downwards, lengths across, the accuracy in color and as a number.

    Args:
        result (`dict`): A result file; of several seeds the mean is shown, at the best learning rate.
        lengths (`list[int]`): Across.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    found = groups(result, ("model", "task"), "accuracy")
    models = list(dict.fromkeys(model for model, _ in found))
    tasks = [task for task in CHOMSKY if any(task == other for _, other in found)]
    size = (1.2 + 0.42 * len(lengths) * len(models), 1.4 + 0.36 * len(tasks))
    figure, panels = plt.subplots(
        1, len(models), figsize=size, dpi=130, layout="constrained", squeeze=False, sharey=True
    )
    for axes, model in zip(panels[0], models):
        table = []
        for task in tasks:
            scores = numbers(found.get((model, task), []), "by_length")
            table.append([sum(s[str(n)] for s in scores) / len(scores) if scores else float("nan") for n in lengths])
        image = axes.imshow(table, vmin=0, vmax=1, cmap="viridis", aspect="auto")
        for y, line in enumerate(table):
            for x, value in enumerate(line):
                if value == value:  # where it ran
                    shade = "black" if value > 0.6 else "white"
                    axes.text(x, y, f"{100 * value:.0f}", ha="center", va="center", fontsize=6, color=shade)
        axes.set_xticks(range(len(lengths)), lengths, fontsize=6, rotation=90)
        axes.set_yticks(range(len(tasks)), tasks, fontsize=7)
        axes.set_title(model, fontsize=8)
    figure.colorbar(image, ax=panels, label="accuracy")
    figure.supxlabel("length; trained on 1 to 40", fontsize=7)
    figure.savefig(path)
    plt.close(figure)


@reported
def main(argv=None) -> dict:
    """Runs what is missing, draws the heat map; returns what the result file holds."""
    made = parser("training.paper.chomsky_tasks", __doc__, MODELS, {"full": FULL, "small": SMALL})
    made.add_argument("--tasks", nargs="+", choices=list(CHOMSKY), metavar="TASK", help=f"of {', '.join(CHOMSKY)}")
    made.add_argument("--lengths", type=positive_int, nargs="+", help="lengths at which the trained model is asked")
    made.add_argument(
        "--batches", type=positive_int, help=f"of {ROWS} rows: of the test at each length, of validation in all"
    )
    options = parse(made, argv, "chomsky_tasks")
    about = {"experiment": "Chomsky tasks", "preset": f"{options.preset}: {PRESETS[options.preset]}"}
    results = Results(options.output, about | {"lengths": options.lengths})
    for task_name in options.tasks:
        task = chomsky(task_name)
        size = Size(
            vocab_size=task.vocab_size,
            hidden_size=options.hidden_size,
            num_layers=options.num_layers,
            max_length=2 * max(40, *options.lengths),
            conv=options.conv,
            mlp=options.mlp,
            initializer_range=options.initializer_range,
        )
        reference = count(build("mingru", **vars(size)))

        def validation(task=task):
            shares = [min(options.lengths), max(options.lengths)]
            each = max(1, options.batches // len(shares))
            return chain(*(task.fixed("validation", ROWS, length, each) for length in shares))

        def judge(model, task=task):
            by_length = {}
            for length in options.lengths:
                batches = task.fixed("test", ROWS, length, options.batches)
                by_length[str(length)] = evaluate(model, batches, options.bf16)["accuracy"]
            return {"by_length": by_length, "accuracy": sum(by_length.values()) / len(by_length)}

        for name in can_run(options.models, options.device, size, reference, REFERENCE):

            def run(
                rate, seed, name=name, task=task, size=size, reference=reference, validation=validation, judge=judge
            ):
                recipe = Recipe(
                    steps=options.steps,
                    batch_size=options.batch_size,
                    lengths=(1, 40),
                    rate=rate,
                    warmup=options.warmup,
                    every=options.every,
                    solved=0.9995,
                    bf16=options.bf16,
                )
                return train_row(
                    results,
                    f"{task.name}, {name}, rate {rate:g}, seed {seed}",
                    command(
                        options,
                        made,
                        tasks=task.name,
                        models=name,
                        rates=rate,
                        seeds=seed,
                    ),
                    (name, size, None if name in REFERENCE else reference),
                    task,
                    recipe,
                    seed,
                    options,
                    validation,
                    judge,
                    asked=options.lengths,
                    batches=options.batches,
                )

            best = contest(f"{task_name}, {name}", options.rates, options.seeds, "accuracy", run)
            for by_length in numbers(best, "by_length"):
                shown = ", ".join(f"{accuracy:.0%} at {length}" for length, accuracy in by_length.items())
                print(f"{task_name}, {name}: {shown}", flush=True)
    if results.value["rows"]:
        plot(options.output.with_suffix(".png"), results.value, options.lengths)
    return results.value


if __name__ == "__main__":
    main()
