# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The tables of what mingru-scans measures too: parity at long lengths, word problems, recall in noise, pendulums.

Each function takes the result files of an experiment by preset; any of them may be missing. Cells have the median of the seeds,
and in parentheses the worst. What mingru-scans published stands beside.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from types import ModuleType

from training.common.comparators import COMPARATORS
from training.common.rows import groups, tried
from training.paper import chomsky_tasks, mqar, state_tracking
from training.paper.word_problems import TRACKING
from training.report.paper_tables import at_each, machines, training_row, trainings
from training.report.table_parts import markdown
from training.studies.pendulum import CONTESTANTS

LENGTHS = (64, 128, 256, 512, 1024)
LONG = (40, 128, 256, 512, 1024)  # lengths of the strings of the Chomsky tasks
# Accuracies at 256, 512 and 1,024 symbols in percent, means over seeds, from github.com/chris-santiago/minGRU: parity and S3 in
# experiments/SUMMARY.md and EXPERIMENTS.md (one block, 3 to 8 seeds, at most 1,600 steps with 128 rows), S5 in
# docs/explanation/benchmark-validation.md (two blocks, 36 seeds, 12,800 steps with 128 rows).
PUBLISHED = {
    ("parity", "gru"): (100.0, 100.0, 100.0),
    ("parity", "scans-coupled"): (86.6, 68.7, 59.2),
    ("parity", "scans-signed"): (100.0, 99.9, 99.4),
    ("s3", "gru"): (100.0, 100.0, 100.0),
    ("s3", "scans-coupled"): (33.7, 27.0, 22.0),
    ("s3", "scans-rotation"): (100.0, 99.6, 95.8),
    ("s5", "gru"): (2.4, 1.9, 1.7),
    ("s5", "scans-log"): (1.6, 1.2, 1.0),
    ("s5", "scans-signed"): (2.5, 1.9, 1.5),
    ("s5", "scans-rotation"): (2.0, 1.5, 1.2),
    ("s5", "scans-signed-rotation"): (1.6, 1.3, 1.1),
    ("s5", "scans-givens"): (1.5, 1.2, 1.0),
    ("s5", "scans-delta"): (1.6, 1.2, 1.1),
    ("s5", "scans-signed-givens"): (5.8, 4.9, 3.8),
    ("s5", "scans-signed-delta"): (1.8, 1.4, 1.1),
    ("s5", "scans-signed-delta-4"): (24.7, 21.1, 14.4),
}
# The same for recall of 16 and 32 pairs, and how many of 36 seeds reached 99 % on 8 pairs.
PUBLISHED_RECALL = {
    "gru": (0, 11.1, 7.6),
    "scans-log": (0, 11.2, 8.1),
    "scans-signed": (0, 4.4, 3.6),
    "scans-rotation": (0, 8.3, 6.4),
    "scans-signed-rotation": (0, 6.4, 5.1),
    "scans-givens": (0, 3.0, 3.0),
    "scans-delta": (36, 93.1, 49.3),
    "scans-signed-givens": (0, 3.6, 3.4),
    "scans-signed-delta": (36, 92.8, 69.0),
}

PENDULUM_BAR = 0.0014  # mean square error that each of 36 seeds of each model of that benchmark reached


def effort(rows: list[dict]) -> list[str]:
    """Returns parameters, and the medians of the seconds and of the steps of a group, as two cells."""
    seconds = statistics.median(row["seconds"] for row in rows)
    steps = statistics.median(row["steps"] for row in rows)
    return [f"{rows[0]['parameters']:,}", f"{seconds:,.0f} ({steps:,.0f})"]


EFFORT = ["parameters", "seconds (steps)"]


def in_order(wanted: list[str], ran: set[str]) -> list[str]:
    """Returns the models of a preset and those that ran, in the order of `COMPARATORS`."""
    return [model for model in COMPARATORS if model in ran or model in wanted]


def shown(presets: dict[str, dict], script: ModuleType, names: tuple[str, ...]) -> list[tuple[str, dict, dict]]:
    """Returns name, options and result of the presets that have run; if there are none, the last one without rows.

    Args:
        presets: Result files by preset.
        script: Module of the experiment.
        names (`tuple[str, ...]`): Presets to show.
    """
    ran = [name for name in names if name in presets] or [names[-1]]
    return [(name, script.FULL | getattr(script, name.upper()), presets.get(name, {"rows": {}})) for name in ran]


def not_run(presets: dict[str, dict], script: ModuleType, names: tuple[str, ...]) -> str:
    """Returns a line with the commands of the presets that have no result file; empty if all have one."""
    commands = []
    for name in names:
        if name not in presets:
            option = "" if name == "full" else f" --{name}"
            commands.append(f"`python -m {script.__name__}{option}`")
    return f"\nNot run: {', '.join(commands)}.\n" if commands else ""


def score_rows(
    models: list[str], found: dict[str, list[dict]], cells: Callable[[str, list[dict]], list[str]], columns: int
) -> list[list[str]]:
    """Returns a row for each model; one that says "not run" for those without results.

    Args:
        models (`list[str]`): The models.
        found: Rows by model.
        cells: Function of a model and its rows that returns the cells after the name.
        columns (`int`): Number of these cells.
    """
    rows = []
    for model in models:
        if model in found:
            rows.append([model, *cells(model, found[model])])
        else:
            rows.append([model, "not run", *[""] * (columns - 1)])
    return rows


def by_model(result: dict, task: str) -> dict[str, list[dict]]:
    """Returns the rows of a task by model, at the best learning rate of each."""
    found = groups(result, ("task", "model"), "accuracy")
    return {model: rows for (its_task, model), rows in found.items() if its_task == task}


def training_rows(presets: list[tuple[str, dict, dict]]) -> list[list[str]]:
    """Returns the rows of the table of the trainings: task, model, preset, and what `training_row` has."""
    rows = []
    for preset, _, result in presets:
        rates = tried(result, ("task", "model"))
        for (task, model), found in groups(result, ("task", "model"), "accuracy").items():
            rows.append([task, model, preset, *training_row(found, rates[task, model])])
    return rows


def page(text: str, presets: list[tuple[str, dict, dict]], left: str) -> str:
    """Returns the tables, followed by that of the trainings, by what has not run, and by the machines."""
    used = {name: result for name, _, result in presets}
    return text + trainings(["task", "model", "preset"], training_rows(presets)) + left + machines(used)


def tracking(presets: dict[str, dict]) -> str:
    """State tracking: for each task the accuracy of all positions by model and length, and that of the last position."""
    header = ["model", *map(str, LENGTHS), f"last of {LENGTHS[-1]}", *EFFORT]

    def cells(model: str, group: list[dict]) -> list[str]:
        last = at_each(group, LENGTHS[-1:], "last_by_length")
        return [*at_each(group, LENGTHS), *last, *effort(group)]

    text = ""
    names = ("full", "small")
    for preset, grid, result in shown(presets, state_tracking, names):
        for task in TRACKING:
            found = by_model(result, task)
            rows = score_rows(in_order(grid["models"], {*found}), found, cells, len(header) - 1)
            for (its_task, model), scores in PUBLISHED.items():
                if its_task == task:
                    rows.append([f"{model}, published", "", "", *(f"{score:.1f}" for score in scores), "", "", ""])
            text += f"**{task}**, accuracy in percent by length, {preset} preset:\n\n{markdown(header, rows)}\n"
    left = not_run(presets, state_tracking, names)
    return page(text, shown(presets, state_tracking, names), left)


def long_strings(presets: dict[str, dict]) -> str:
    """Parity and cycle_nav on long strings: accuracy of the answer at the end by model and length, with time and parameters.

    Args:
        presets: Result files of the Chomsky tasks; the preset "cpu" is shown.
    """
    ((_, grid, result),) = used = shown(presets, chomsky_tasks, ("cpu",))
    header = ["model", *(f"at {length}, %" for length in LONG), *EFFORT]
    text = ""
    for task in grid["tasks"]:
        found = by_model(result, task)
        models = in_order(grid["models"], {*found})
        rows = score_rows(models, found, lambda _, group: [*at_each(group, LONG), *effort(group)], len(header) - 1)
        text += f"**{task}**:\n\n{markdown(header, rows)}\n"
    return page(text, used, not_run(presets, chomsky_tasks, ("cpu",)))


def recall_in_noise(presets: dict[str, dict]) -> str:
    """Recall in noise: accuracy by model and number of pairs, and what was published."""
    asked = [f"{pairs} pairs in {length}, %" for pairs, length in mqar.ASKED]
    header = ["model", *asked, "published: solved", "16 pairs, %", "32 pairs, %", *EFFORT]
    pairs = tuple(number for number, _ in mqar.ASKED)

    def cells(model: str, group: list[dict]) -> list[str]:
        published = ["", "", ""]
        if model in PUBLISHED_RECALL:
            solved, *scores = PUBLISHED_RECALL[model]
            published = [f"{solved} of 36", *(f"{score:.1f}" for score in scores)]
        return [*at_each(group, pairs, "by_pairs"), *published, *effort(group)]

    text = ""
    names = ("full", "cpu", "small")
    for preset, grid, result in shown(presets, mqar, names):
        found = {model: rows for (model,), rows in groups(result, ("model",), "accuracy").items()}
        rows = score_rows(in_order(grid["models"], {*found}), found, cells, len(header) - 1)
        text += f"{preset} preset:\n\n{markdown(header, rows)}\n"
    return page(text, shown(presets, mqar, names), not_run(presets, mqar, names))


def pendulum(result: dict) -> str:
    """Pendulums at irregular times: mean square errors by model and task, with time and parameters.

    Args:
        result (`dict`): Result file of the study; one without rows before it has run.
    """
    rows = {(row["settings"]["task"], row["settings"]["model"]): row for row in result["rows"].values()}
    lines = []
    for model in CONTESTANTS:
        published, hidden = rows.get(("published", model)), rows.get(("hidden", model))
        cells = [model, "not run", "", "not run", "", "", ""]
        if published:
            at_best_rate = [run["error"] for run in published["runs"] if run["rate"] == published["rate"]]
            solved = sum(error <= PENDULUM_BAR for error in at_best_rate)
            cells[1:3] = [_thousandths(published["median"], published["worst"]), f"{solved} of {len(at_best_rate)}"]
        if hidden:
            cells[3:5] = [_thousandths(hidden["median"], hidden["worst"]), _thousandths(hidden["hidden"])]
        either = published or hidden
        if either:
            cells[5:] = [f"{either['parameters']:,}", f"{either['seconds']:.0f}"]
        lines.append(cells)
    baselines = result.get("baselines", {})
    if baselines:
        known = [baselines.get(task, {}) for task in ("published", "hidden")]
        cells = [
            _thousandths(known[0].get("error")),
            "",
            *(_thousandths(known[1].get(key)) for key in ("error", "hidden")),
        ]
        lines.append(["last observation", *cells, "", ""])
    header = ["model", "published", f"seeds up to {1000 * PENDULUM_BAR:g}", "hidden", "at hidden positions"]
    return markdown([*header, "parameters", "CPU seconds"], lines)


def _thousandths(median: float | None, worst: float | None = None) -> str:
    """Returns an error in thousandths, followed by the worst seed's.

    >>> _thousandths(0.001234, 0.0015), _thousandths(0.00125), _thousandths(None)
    ('1.23 (1.50)', '1.25', '')
    """
    if median is None:
        return ""
    return f"{1000 * median:.2f}" + ("" if worst is None else f" ({1000 * worst:.2f})")
