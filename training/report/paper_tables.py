# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The tables of the paper's experiments: our numbers next to the paper's, the missing runs, and the commands.

Each function takes the result files of an experiment by preset; any of them may be missing. It shows the learning rate that is
best on the validation part, as mean and deviation over its seeds. The Chomsky tasks, which are solved or not, have median and
worst seed instead.
"""

from __future__ import annotations

import importlib
import re
import statistics
from itertools import product

from training.common.rows import groups, numbers, tried
from training.common.scans_comparators import SCANS
from training.paper.chomsky import blind_accuracy
from training.report.table_parts import details, markdown, where

PRESETS = ("full", "cpu", "small")
# arXiv 2410.01201: selective copying at length 4096, in percent, by model and layers. S4, Hyena and S6 have no given depth.
COPYING = {
    ("mingru", 1): "37.0 ± 2.3",
    ("mingru", 2): "96.8 ± 3.2",
    ("mingru", 3): "99.5 ± 0.2",
    ("minlstm", 1): "37.6 ± 2.0",
    ("minlstm", 2): "85.7 ± 5.8",
    ("minlstm", 3): "96.0 ± 2.8",
}
COPYING_OTHERS = "S4 18.3, Hyena 30.1, S6 97.0 to 99.8"
# The same paper: loss on Shakespeare, and the step at which it was reached.
SHAKESPEARE = {
    "mingru": ("1.548", "575"),
    "minlstm": ("1.555", "625"),
    "transformer": ("1.547", "about 2,000"),
    "mamba": ("1.575", "400"),
}
NANOGPT = "1.4697"  # loss of its 6-layer Transformer, according to its README


def chosen(rate: float, rates: list[float]) -> str:
    """Returns the best learning rate, followed by all that were tried if there are several.

    >>> chosen(0.003, [0.003]), chosen(0.003, [0.001, 0.003, 0.01])
    ('0.003', '0.003 of 0.001, 0.003, 0.01')
    """
    if len(rates) > 1:
        return f"{rate:g} of {', '.join(f'{tried:g}' for tried in rates)}"
    return f"{rate:g}"


def spread(values: list[float], scale: float = 1.0, digits: int = 1) -> str:
    """Returns the mean, with the deviation if there are several values.

    >>> spread([0.5]), spread([0.25, 0.75], scale=100), spread([1.5, 1.7], digits=3)
    ('0.5', '50.0 ± 35.4', '1.600 ± 0.141')
    """
    values = [scale * value for value in values]
    deviation = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{deviation}"


def middle(values: list[float], scale: float = 100.0, digits: int = 1, lower_is_better: bool = False) -> str:
    """Returns the median, followed by the worst value in parentheses if there are several.

    >>> middle([0.5]), middle([0.25, 1.0, 0.75]), middle([0.125, 0.5], scale=1, digits=3, lower_is_better=True)
    ('50.0', '75.0 (25.0)', '0.312 (0.500)')
    """
    values = [scale * value for value in values]
    worst = max(values) if lower_is_better else min(values)
    return f"{statistics.median(values):.{digits}f}" + (f" ({worst:.{digits}f})" if len(values) > 1 else "")


def training_row(rows: list[dict], rates: list[float]) -> list[str]:
    """Returns parameters, learning rate, seeds, steps, machine and command of a group, for the table of the trainings.

    The speed is not among them: rows were made on different days, and some of them while others ran. The result files have it.

    Args:
        rows: The rows of one group, from `groups`.
        rates: The learning rates of this group, from `tried`.
    """
    steps = [row["steps"] for row in rows]
    machine = rows[0]["machine"]
    seeds = " ".join(str(row["settings"]["seed"]) for row in rows)
    return [
        f"{rows[0]['parameters']:,}",
        chosen(rows[0]["settings"]["rate"], rates),
        f"{len(rows)}",
        f"{round(sum(steps) / len(steps)):,}",
        machine["accelerator"] or machine["cpu"],
        f"`{re.sub(r'--seeds [0-9]+', f'--seeds {seeds}', rows[0]['command'])}`",
    ]


TRAINING = ["parameters", "rate", "seeds", "steps", "machine", "command"]


def trainings(header: list[str], rows: list[list[str]]) -> str:
    """Returns a collapsed table of the trainings behind the scores; empty without rows."""
    if not rows:
        return ""
    table = markdown([*header, *TRAINING], rows)
    return "\n" + details("Parameters, learning rate, steps, machine and command of each row", table)


def machines(presets: dict[str, dict]) -> str:
    """Returns a line with all machines that the rows were made on."""
    rows = [row for result in presets.values() for row in result["rows"].values()]
    lines = dict.fromkeys("; ".join(filter(None, (row["machine"]["accelerator"], where(row)))) for row in rows)
    return f"\n{'. '.join(lines)}.\n" if lines else ""


def not_run(presets: dict[str, dict], script: str, offered: tuple[str, ...], by: dict[str, str]) -> str:
    """Returns a line that names what has not run: presets, rows of the other presets, and models.

    Args:
        presets: Result files by preset.
        script (`str`): Module of the experiment, whose `FULL`, `CPU` and `SMALL` are the presets.
        offered (`tuple[str, ...]`): Presets to check.
        by (`dict[str, str]`): Options that list what to run, and the setting of a row that each of them becomes.
    """
    module = importlib.import_module(f"training.paper.{script}")
    lines = []
    for name in offered:
        option = "" if name == "full" else f" --{name}"
        command = f"`python -m training.paper.{script}{option}`"
        if name not in presets:
            lines.append(command)
            continue
        grid = module.FULL | getattr(module, name.upper())
        rows = presets[name]["rows"].values()
        ran = {tuple(row["settings"][setting] for setting in by.values()) for row in rows}
        left = [cell for cell in product(*(grid[option] for option in by)) if cell not in ran]
        if left:
            lines.append(f"of {command} {', '.join(' '.join(map(str, cell)) for cell in left)}")
    ran = {row["settings"]["model"] for result in presets.values() for row in result["rows"].values()}
    never = [name for name in module.MODELS if name not in ran]
    never = list(dict.fromkeys("the models of mingru-scans" if name in SCANS else name for name in never))
    if never:
        lines.append(f"at any size {', '.join(never)}, which `--models` offers")
    return f"\nNot run: {'; '.join(lines)}.\n" if lines else ""


def copying(presets: dict[str, dict]) -> str:
    """Selective copying: accuracy by model, layers and length, next to the paper's at length 4096."""
    rows = []
    training = []
    full = set()  # models and layers that ran at length 4096
    by = ("model", "layers", "length", "tokens")
    for result in presets.values():
        rates = tried(result, by)
        for key, found in groups(result, by, "accuracy").items():
            model, layers, length, tokens = key
            if length == 4096:
                full.add((model, layers))
            name = [model, f"{layers}", f"{tokens} of {length}"]
            paper = COPYING.get((model, layers), "") if tokens == 16 else ""  # fewer tokens are another task
            rows.append([*name, spread(numbers(found, "accuracy"), 100), paper])
            training.append([*name, *training_row(found, rates[key])])
    for (model, layers), number in COPYING.items():
        if (model, layers) not in full:
            name = [model, f"{layers}", "16 of 4096"]
            command = f"`python -m training.paper.selective_copying --models {model} --layers {layers}`"
            rows.append([*name, "not run", number])
            training.append([*name, *[""] * 5, command])
    header = ["model", "layers", "tokens"]
    table = markdown([*header, "accuracy, %", "the paper's at 4096, %"], rows)
    others = f"\nThe paper's other models at 4096: {COPYING_OTHERS}.\n"
    left = not_run(presets, "selective_copying", ("cpu", "small"), {"models": "model", "layers": "layers"})
    return table + others + trainings(header, training) + left + machines(presets)


def at_each(rows: list[dict], keys: tuple[int, ...], name: str = "by_length") -> list[str]:
    """Returns the accuracies of a group at some lengths as cells; an empty one for a length that was not asked for.

    Args:
        rows: The rows of one group, from `groups`.
        keys (`tuple[int, ...]`): The lengths, or other keys of the score.
        name (`str`): Name of a test score that is a dictionary.
    """
    scores = numbers(rows, name)
    cells = []
    for key in map(str, keys):
        known = [by_key[key] for by_key in scores if key in by_key]
        cells.append(middle(known) if known else "")
    return cells


def chomsky(presets: dict[str, dict]) -> str:
    """Chomsky tasks: accuracy at the training length and beyond it, next to the score of a constant answer."""
    rows = []
    training = []
    shown = (40, 128, 256)  # lengths
    constant = {}  # scores of a constant answer, by task and lengths
    for preset in ("full", "small"):
        result = presets.get(preset, {"rows": {}})
        rates = tried(result, ("task", "model"))
        for (task, model), found in groups(result, ("task", "model"), "accuracy").items():
            lengths = tuple(map(int, numbers(found, "by_length")[0]))
            scores = at_each(found, shown)
            if (task, lengths) not in constant:
                constant[task, lengths] = statistics.mean(blind_accuracy(task, length) for length in lengths)
            mean = middle(numbers(found, "accuracy"))
            name = [task, model, preset]
            rows.append([*name, *scores, mean, f"{100 * constant[task, lengths]:.1f}"])
            training.append([*name, *training_row(found, rates[task, model])])
    header = ["task", "model", "preset"]
    scores_header = [*(f"at {length}, %" for length in shown), "mean, %", "constant answer, %"]
    table = markdown([*header, *scores_header], rows) if rows else ""
    left = not_run(presets, "chomsky_tasks", ("full", "small"), {"tasks": "task", "models": "model"})
    return table + trainings(header, training) + left + machines(presets)


def recall(presets: dict[str, dict]) -> str:
    """Associative recall: accuracy by model and size of the state, by number of pairs."""
    text = ""
    for preset, result in presets.items():
        found = groups(result, ("title", "pairs"), "accuracy")
        rates = tried(result, ("title", "pairs"))
        pairs = sorted({number for _, number in found})
        rows = []
        training = []
        for title in dict.fromkeys(title for title, _ in found):
            of_title = {number: found[title, number] for number in pairs if (title, number) in found}
            scores = [
                spread(numbers(of_title[number], "accuracy"), 100) if number in of_title else "not run"
                for number in pairs
            ]
            fewest, fewest_rows = next(iter(of_title.items()))
            rows.append([title, *scores])
            training.append([title, *training_row(fewest_rows, rates[title, fewest])])
        header = [f"accuracy, %; {preset}", *(f"{number} pairs" for number in pairs)]
        text += markdown(header, rows) + trainings(["model"], training) + "\n"
    if text:
        text += "Learning rate, steps and command are those of the fewest pairs. Chance is 1.6 %.\n"
    left = not_run(presets, "recall", ("full", "cpu", "small"), {"models": "model", "pairs": "pairs"})
    return text + left + machines(presets)


def shakespeare(presets: dict[str, dict]) -> str:
    """Shakespeare: loss at the best step and at the last one, next to the paper's."""
    rows = []
    training = []
    ran = set()  # models at full size
    for preset, result in presets.items():
        rates = tried(result, ("model",))
        for (model,), found in groups(result, ("model",), "loss").items():
            paper = ("", "")
            if preset == "full":
                ran.add(model)
                paper = SHAKESPEARE.get(model, paper)
            steps = [row["best"]["step"] for row in found if row["best"]]  # empty if the run diverged at once
            best = spread(steps, digits=0) if steps else ""
            scores = [spread(numbers(found, part), digits=4) for part in ("test", "both")]
            last = spread(numbers(found, "test", "final"), digits=4)
            rows.append([model, preset, *scores, best, last, *paper])
            training.append([model, preset, *training_row(found, rates[model,])])
    for model, paper in SHAKESPEARE.items():
        if model not in ran:
            command = f"`python -m training.paper.shakespeare --models {model}`"
            rows.append([model, "full", "not run", "", "", "", *paper])
            training.append([model, "full", *[""] * 5, command])
    rows.append(["nanoGPT, 6 layers", "its own", "", "", "", "", NANOGPT, ""])
    header = ["model", "preset"]
    scores_header = ["test", "last 10 %", "best step", "test at the last step", "the paper's", "its step"]
    table = markdown([*header, *scores_header], rows)
    left = not_run(presets, "shakespeare", ("full", "small"), {"models": "model"})
    return table + trainings(header, training) + left + machines(presets)
