# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The rows of an experiment: run what is missing, write after each, and say by which command any one of them is run again."""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import filelock
import torch

from training.common.checkpoint import checkpoints
from training.common.command_line import (
    device,
    folder,
    make_parser,
    not_negative,
    positive,
    positive_int,
    result_file,
    whole,
)
from training.common.comparators import Size, build, missing
from training.common.errors import InputError
from training.common.experiment import Recipe, Run
from training.common.files import write_json
from training.common.machine import machine, versions
from training.common.paths import RESULTS
from training.common.widths import count

NOT_ABOUT_ROWS = ("output", "runs", "threads", "device")  # options that a row's numbers do not hang on
# Of the model and its warm-up: an experiment has those that its presets name.
MODEL_OPTIONS = {
    "hidden_size": (positive_int, "width; of the comparators as near as their parameters allow"),
    "num_layers": (positive_int, "blocks"),
    "conv": (whole, "steps that the convolution of ours, gru and lstm sees; 0 for none"),
    "mlp": (not_negative, "width of their MLP per unit of width; 0 for none"),
    "initializer_range": (positive, "deviation of fresh weights"),
    "warmup": (whole, "steps in which the learning rate rises"),
}
PRESETS = {
    "full": "the paper's model and batches",
    "cpu": "as large as two cores train in an hour or two",
    "small": "minutes to half an hour on two cores: what is learned early, not the paper's numbers",
}


def parser(module: str, description: str, names: list[str], presets: dict[str, dict]) -> argparse.ArgumentParser:
    """The options that all experiments share.

    Args:
        module (`str`): The script's module, as `python -m` takes it.
        description (`str`): The script's docstring.
        names (`list[str]`): The models that it offers.
        presets (`dict[str, dict]`): Values by option, for "full" and other keys of `PRESETS`; "full" has all that have no
            default here, and of `MODEL_OPTIONS` those that there are.
    """
    made = make_parser(module, description, allow_abbrev=False)
    sizes = made.add_mutually_exclusive_group()
    for name in presets:
        if name != "full":
            sizes.add_argument(f"--{name}", action="store_true", help=PRESETS[name])
    made.add_argument("--models", nargs="+", choices=names, metavar="MODEL", help=f"of {', '.join(names)}")
    made.add_argument(
        "--seeds", type=whole, nargs="+", help="the first one for every rate, the others for the best rate"
    )
    made.add_argument("--rates", type=positive, nargs="+", help="learning rates to choose from, by the validation part")
    made.add_argument("--steps", type=positive_int, help="training steps at most")
    made.add_argument("--batch-size", type=positive_int, help="rows in a step")
    made.add_argument("--every", type=positive_int, help="steps between two evaluations")
    made.add_argument(
        "--bf16",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="train and evaluate in bfloat16 where torch's autocast does",
    )
    where = "cuda" if torch.cuda.is_available() else "cpu"
    made.add_argument("--device", type=device, default=where, help="(default: %(default)s)")
    made.add_argument("--threads", type=positive_int, help="of the processor (default: torch's own choice)")
    made.add_argument("--output", type=result_file, help="result file; rows that it has already are not run again")
    made.add_argument("--runs", type=folder, default=Path("runs/experiments"), help="checkpoints of unfinished runs")
    for name, (kind, text) in MODEL_OPTIONS.items():
        if name in presets["full"]:
            made.add_argument(f"--{name.replace('_', '-')}", type=kind, help=text)
    made.set_defaults(presets=presets)
    return made


def parse(made: argparse.ArgumentParser, argv: list[str] | None, stem: str) -> argparse.Namespace:
    """The options, with the chosen preset's values for what is not given; sets the number of threads.

    Args:
        made: Of `parser`.
        argv (`list[str]`, *optional*): The arguments; the process's own by default.
        stem (`str`): Of the result file; a preset's has its name behind it.
    """
    arguments = [str(argument) for argument in (sys.argv[1:] if argv is None else argv)]
    presets = made.get_default("presets")
    chosen = next((name for name in presets if f"--{name}" in arguments), "full")
    output = RESULTS / f"{stem}{'' if chosen == 'full' else f'_{chosen}'}.json"
    made.set_defaults(**(presets["full"] | presets[chosen]), output=output, presets=None)
    options = made.parse_args(arguments)
    options.preset = chosen
    for name in ("seeds", "rates"):
        given = getattr(options, name)
        if len(set(given)) < len(given):
            made.error(f"argument --{name}: the same twice in {' '.join(map(str, given))}")
    if options.threads:
        torch.set_num_threads(options.threads)
    return options


def command(options: argparse.Namespace, made: argparse.ArgumentParser, **row) -> str:
    """The command that runs one row again.

    Args:
        options: As `parse` returned them: those that differ from the preset are repeated, of a path only the last part.
        made: The parser, whose defaults are the preset's by now.
        row: Options that narrow the experiment down to this row, as lists or single values.
    """
    words = [*made.prog.split(), *([] if options.preset == "full" else [f"--{options.preset}"])]
    for name, value in (vars(options) | row).items():
        skipped = name in (*NOT_ABOUT_ROWS, *PRESETS, "preset", "presets")
        if skipped or (value == made.get_default(name) and name not in row) or value is None:
            continue
        parts = [] if isinstance(value, bool) else value if isinstance(value, list) else [value]
        texts = [part.name if isinstance(part, Path) else f"{part}" for part in parts]
        words += [f"--{'no-' if value is False else ''}{name.replace('_', '-')}", *texts]
    return shlex.join(words)


class Results:
    """A result file, written after each row. Several processes may write into one, each its rows.

    Args:
        path (`Path`): The file; the rows that it has are kept.
        about (`dict`): What all rows have in common, for the file's head.
    """

    def __init__(self, path: Path, about: dict):
        self.path = Path(path)
        self.value = {**about, "rows": self._written()}

    def _written(self) -> dict:
        if not self.path.exists():
            return {}
        try:
            return dict(json.loads(self.path.read_text(encoding="utf-8"))["rows"])
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(
                f"{self.path} is no result file of an experiment, or damaged ({type(error).__name__}: {error}): give another "
                "--output"
            ) from error

    def _write(self, key: str, row: dict) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{self.path}.lock"):
            self.value["rows"] = self._written() | {key: row}  # with what others have written in the meantime
            write_json(self.path, self.value)

    def row(self, key: str, settings: dict, command: str, work: Callable[[], dict]) -> dict:
        """The row of this name, run now if the file does not have it.

        Args:
            key (`str`): Its name.
            settings (`dict`): What it hangs on: numbers, strings, lists and dicts of them; compared with the file's.
            command (`str`): That runs it again.
            work: A function without arguments that returns what was found.

        Raises:
            InputError: The file has a row of this name with other settings.
        """
        settings, rows = json.loads(json.dumps(settings)), self._written()
        self.value["rows"] = rows
        if key in rows:
            before = rows[key]["settings"]
            different = [name for name in {**settings, **before} if settings.get(name) != before.get(name)]
            if different:
                raise InputError(
                    f"{self.path} has the row {key!r} with {different[0]} {before.get(different[0])!r}, not "
                    f"{settings.get(different[0])!r}: give another --output, or delete that row"
                )
            print(f"{key}: in {self.path.name} already", flush=True)
            return rows[key]
        print(f"{key}: {command}", flush=True)
        found = work()
        finished = datetime.now(UTC).isoformat(timespec="seconds")
        row = {
            "command": command,
            "settings": settings,
            **found,
            "finished": finished,
            "machine": machine(),
            "versions": versions(),
        }
        self._write(key, row)
        return row


def train_row(
    results: Results,
    key: str,
    command: str,
    model: tuple[str, Size, int | None],
    task,
    recipe: Recipe,
    seed: int,
    options: argparse.Namespace,
    validation: Callable,
    judge: Callable,
    **settings,
) -> dict:
    """A row that trains one model and tests it.

    Args:
        results (`Results`): Where it belongs.
        key, command: See `Results.row`.
        model (`tuple`): A key of `COMPARATORS`, the size, and the number of parameters to come to, or `None` for the size as
            it is.
        task: See tasks.py.
        recipe (`Recipe`): How to train.
        seed (`int`): Of weights, batches and dropout.
        options: `device` and `runs` are looked at.
        validation, judge: See `experiment.Run` and its `test`.
        settings: What the row hangs on besides.

    Raises:
        InputError: Another process is training this row.
    """
    name, size, parameters = model
    about = {"model": name, "task": task.name, "seed": seed, "size": asdict(size), "reference_parameters": parameters}
    about = json.loads(json.dumps(about | settings))
    folder = options.runs / results.path.stem / re.sub(r"[^\w.]+", "-", key)

    def work() -> dict:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            alone.enter_context(filelock.FileLock(folder / "lock", timeout=0))
        except filelock.Timeout:
            raise InputError(
                f"another process is training {key}, in {folder}: let it end, or choose other rows by --models, --rates or "
                "--seeds"
            ) from None
        torch.manual_seed(seed)
        fresh = build(name, parameters=parameters, **asdict(size)).to(options.device)
        if parameters:
            share = count(fresh) / parameters - 1
            print(f"{key}: {count(fresh):,} parameters, {share:+.1%} of the reference's {parameters:,}", flush=True)
        run = Run(fresh, task, recipe, seed, validation, folder, title=key, about=about)
        found = run.train()
        found["test"] = run.test(judge)
        return found

    with contextlib.ExitStack() as alone:  # two would delete each other's checkpoints
        row = results.row(key, {**about, **asdict(recipe)}, command, work)
        for path in checkpoints(folder):
            path.unlink()  # the row is written, so nobody goes on from there
    return row


def contest(
    group: str, rates: list[float], seeds: list[int], metric: str, run: Callable[[float, int], dict]
) -> list[dict]:
    """Every learning rate with the first seed, then the best one with the others.

    Args:
        group (`str`): What the rows have in common, for the console.
        rates, seeds: What to choose from.
        metric (`str`): "accuracy" or "loss", on the validation part.
        run: A function of rate and seed that returns a row.

    Returns:
        The rows of the best rate; of a group that diverged before any evaluation the first row.
    """
    sweep = [run(rate, seeds[0]) for rate in rates]
    judged = [row for row in sweep if row["best"] is not None]
    if not judged:
        print(f"{group}: diverged before the first evaluation with each of the learning rates {rates}", flush=True)
        return sweep[:1]
    sign = 1 if metric == "loss" else -1
    best = min(judged, key=lambda row: (sign * row["best"][metric], row["settings"]["rate"]))
    if len(rates) > 1:
        print(f"{group}: the best learning rate is {best['settings']['rate']:g}", flush=True)
    return [best, *(run(best["settings"]["rate"], seed) for seed in seeds[1:])]


def can_run(names: list[str], device: str, size: Size, parameters: int, as_it_is: tuple[str, ...]) -> list[str]:
    """The models that can run on a device, at a size; says of the others why they cannot.

    Args:
        names (`list[str]`): Keys of `COMPARATORS`.
        device (`str`): Where to.
        size (`Size`): What they are made from.
        parameters (`int`): What they have to come to.
        as_it_is (`tuple[str, ...]`): Those that need not.
    """

    able = []
    for name in names:
        why = missing(name, device)
        if not why:
            try:
                with torch.device("meta"):
                    build(name, parameters=None if name in as_it_is else parameters, **asdict(size))
            except ValueError as error:
                why = str(error)
        if why:
            print(f"{name} is left out: {why}", flush=True)
        else:
            able.append(name)
    return able
