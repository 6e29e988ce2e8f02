# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Runs the rows of an experiment: presets and options, the model of each row, its training, and the command that repeats it."""

from __future__ import annotations

import argparse
import contextlib
import re
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import filelock
import torch
from torch import nn

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
from training.common.experiment import Recipe, run_on_task
from training.common.paths import RESULTS
from training.common.result_store import ResultStore
from training.common.rows import contest, numbers
from training.common.widths import count

WITHOUT_EFFECT = ("output", "runs", "threads", "device")  # options that do not affect the numbers
# Options of the model and its warm-up. An experiment has those that its presets name.
MODEL_OPTIONS = {
    "hidden_size": (
        positive_int,
        "width of the blocks; of the comparators as near as their number of parameters allows",
    ),
    "num_layers": (positive_int, "number of blocks"),
    "conv": (whole, "steps that the convolution of our blocks, gru and lstm sees; 0 for none"),
    "mlp": (not_negative, "width of the MLP of these blocks per unit of width; 0 for none"),
    "initializer_range": (positive, "standard deviation of fresh weights"),
    "warmup": (whole, "steps in which the learning rate rises"),
}
PRESETS = {
    "full": "the paper's model and batches",
    "cpu": "as large as two cores train in an hour or two",
    "small": "minutes to half an hour on two cores: what is learned early, not the paper's numbers",
}
REFERENCE = ("mingru",)  # all other models have its parameters, unless an experiment says otherwise
SOLVED = 0.9995  # validation accuracy at which a run ends


# --- command line ----------------------------------------------------------------------------------------------------


def parser(module: str, description: str, names: list[str], presets: dict[str, dict]) -> argparse.ArgumentParser:
    """Returns a parser with the options that all experiments share.

    Args:
        module (`str`): The script's module, as `python -m` takes it.
        description (`str`): The script's docstring.
        names (`list[str]`): Names of the models that the script offers.
        presets (`dict[str, dict]`): Values by option, for "full" and other keys of `PRESETS`. "full" has a value for every
            option without a default here; the parser has those of `MODEL_OPTIONS` that "full" has.
    """
    made = make_parser(module, description, allow_abbrev=False)
    sizes = made.add_mutually_exclusive_group()
    for name in presets:
        if name != "full":
            sizes.add_argument(f"--{name}", action="store_true", help=PRESETS[name])
    made.add_argument(
        "--models", nargs="+", choices=names, metavar="MODEL", help=f"models to train, of {', '.join(names)}"
    )
    made.add_argument(
        "--seeds", type=whole, nargs="+", help="seeds: the first one for every rate, the others for the best rate"
    )
    made.add_argument(
        "--rates", type=positive, nargs="+", help="learning rates; the validation part chooses among them"
    )
    made.add_argument("--steps", type=positive_int, help="largest number of training steps")
    made.add_argument("--batch-size", type=positive_int, help="rows in a step")
    made.add_argument("--every", type=positive_int, help="steps between two evaluations")
    made.add_argument(
        "--bf16",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="train and evaluate with autocast to bfloat16",
    )
    default_device = "cuda" if torch.cuda.is_available() else "cpu"
    made.add_argument("--device", type=device, default=default_device, help="device to train on")
    made.add_argument("--threads", type=positive_int, help="threads of the processor (default: torch's own choice)")
    made.add_argument("--output", type=result_file, help="result file; rows that it already has are not run again")
    made.add_argument(
        "--runs", type=folder, default=Path("runs/experiments"), help="folder for checkpoints of unfinished runs"
    )
    for name, (kind, text) in MODEL_OPTIONS.items():
        if name in presets["full"]:
            made.add_argument(f"--{name.replace('_', '-')}", type=kind, help=text)
    made.set_defaults(presets=presets)
    return made


def parse(made: argparse.ArgumentParser, argv: list[str] | None, stem: str) -> argparse.Namespace:
    """Returns the options, with the values of the chosen preset for those that are not given; sets the number of threads.

    Args:
        made (`argparse.ArgumentParser`): Result of `parser`.
        argv (`list[str]`, *optional*): Arguments; those of the process by default.
        stem (`str`): Stem of the result file; the name of a preset other than "full" is appended.
    """
    arguments = [str(argument) for argument in (sys.argv[1:] if argv is None else argv)]
    presets = made.get_default("presets")
    chosen = next((name for name in presets if f"--{name}" in arguments), "full")
    if chosen != "full":
        stem = f"{stem}_{chosen}"
    made.set_defaults(**(presets["full"] | presets[chosen]), output=RESULTS / f"{stem}.json", presets=None)
    options = made.parse_args(arguments)
    options.preset = chosen
    for name in ("seeds", "rates"):
        given = getattr(options, name)
        if len(set(given)) < len(given):
            made.error(f"argument --{name}: the same twice in {' '.join(map(str, given))}")
    if options.threads:
        torch.set_num_threads(options.threads)
    return options


def command(options: argparse.Namespace, made: argparse.ArgumentParser, **row: Any) -> str:
    """Returns the command that runs one row again.

    Args:
        options (`argparse.Namespace`): Result of `parse`. Options that differ from the preset are repeated; of a path only
            the last part is.
        made (`argparse.ArgumentParser`): The parser; after `parse` its defaults are those of the preset.
        row: Options that narrow the experiment down to this row, as lists or single values.
    """
    words = made.prog.split()
    if options.preset != "full":
        words.append(f"--{options.preset}")
    for name, value in (vars(options) | row).items():
        if name in (*WITHOUT_EFFECT, *PRESETS, "preset", "presets") or value is None:
            continue
        if value == made.get_default(name) and name not in row:
            continue
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
            continue
        values = value if isinstance(value, list) else [value]
        words += [f"--{flag}", *(part.name if isinstance(part, Path) else f"{part}" for part in values)]
    return shlex.join(words)


# --- rows ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Group:
    """Rows that differ in the learning rate and the seed only: one model of one size on one task.

    Args:
        key (`str`): Start of the keys of its rows.
        model (`str`): Key of `COMPARATORS`.
        size (`Size`): Size of the model.
        parameters (`int`, *optional*): Number of parameters that the model must have; without it the size decides.
        task: Task of `training.paper.tasks`.
        recipe (`dict`): Fields of `Recipe` that are no options of every experiment, at least `lengths`.
        validation: Function without arguments that returns the batches of the validation part.
        judge: Function of the model that returns its test scores.
        options (`dict`): Options that narrow the experiment down to this group, besides `models`.
        settings (`dict`): What the rows depend on besides model, size, task, recipe and seed.
    """

    key: str
    model: str
    size: Size
    parameters: int | None
    task: Any
    recipe: dict
    validation: Callable[[], Iterable]
    judge: Callable[[nn.Module], dict]
    options: dict = field(default_factory=dict)
    settings: dict = field(default_factory=dict)


def can_run(names: list[str], device: str, size: Size, parameters: int, as_it_is: tuple[str, ...]) -> list[str]:
    """Returns the models that can run on a device at a size; prints why the others cannot.

    Args:
        names (`list[str]`): Keys of `COMPARATORS`.
        device (`str`): The device.
        size (`Size`): Size of the models.
        parameters (`int`): Number of parameters that the models must have.
        as_it_is (`tuple[str, ...]`): Models that need not have this number.
    """
    able = []
    for name in names:
        reason = missing(name, device)
        if not reason:
            try:
                with torch.device("meta"):
                    build(name, parameters=None if name in as_it_is else parameters, **asdict(size))
            except ValueError as error:
                reason = str(error)
        if reason:
            print(f"{name} is left out: {reason}", flush=True)
        else:
            able.append(name)
    return able


class Experiment:
    """One execution of an experiment's script: its options and its result file.

    Args:
        made (`argparse.ArgumentParser`): Result of `parser`, with the options of this experiment added.
        argv (`list[str]`, *optional*): Arguments; those of the process by default.
        stem (`str`): Stem of the result file.
        title (`str`): Name of the experiment in the result file.
    """

    def __init__(self, made: argparse.ArgumentParser, argv: list[str] | None, stem: str, title: str):
        self.parser = made
        self.options = parse(made, argv, stem)
        self.title = title
        self.results: ResultStore | None = None

    def open_results(self, **head: Any) -> ResultStore:
        """Opens the result file, with more values for its head."""
        preset = self.options.preset
        about = {"experiment": self.title, "preset": f"{preset}: {PRESETS[preset]}", **head}
        self.results = ResultStore(self.options.output, about)
        return self.results

    def size(self, vocab_size: int, max_length: int, **changes: Any) -> Size:
        """Returns the size of a model, with the values of the options that are fields of `Size`."""
        given = vars(self.options)
        found = {field.name: given[field.name] for field in fields(Size) if field.name in given}
        return Size(**{**found, "vocab_size": vocab_size, "max_length": max_length, **changes})

    def contestants(self, size: Size, as_they_are: tuple[str, ...] = REFERENCE) -> Iterator[tuple[str, int | None]]:
        """Yields the models that can run, each with the number of parameters that it must have; prints why others cannot.

        Args:
            size (`Size`): Size of the models.
            as_they_are (`tuple[str, ...]`): Models whose size decides their number of parameters: they come with `None`. The
                others must have that of `reference_parameters`.
        """
        reference = reference_parameters(size)
        for name in can_run(self.options.models, self.options.device, size, reference, as_they_are):
            yield name, None if name in as_they_are else reference

    def recipe(self, rate: float, **more: Any) -> Recipe:
        """Returns a recipe with the values of the options that all experiments have."""
        options = self.options
        return Recipe(
            steps=options.steps,
            batch_size=options.batch_size,
            rate=rate,
            warmup=options.warmup,
            every=options.every,
            bf16=options.bf16,
            **more,
        )

    def run(self, group: Group) -> list[dict]:
        """Runs every learning rate of a group with the first seed, and the best one with the others.

        Returns:
            `list[dict]`: The rows of the best learning rate; if all of them diverged before an evaluation, the first row.
        """
        metric = group.recipe.get("metric", Recipe.metric)

        def loss(row: dict) -> float | None:
            if row["best"] is None:
                return None
            return row["best"]["loss"] if metric == "loss" else -row["best"][metric]

        rates = self.options.rates
        first, best = contest(rates, self.options.seeds, lambda rate, seed: self._row(group, rate, seed), loss)
        if not best:
            print(
                f"{group.key}: diverged before the first evaluation with each of the learning rates {rates}", flush=True
            )
            return first[:1]
        if len(rates) > 1:
            print(f"{group.key}: the best learning rate is {best[0]['settings']['rate']:g}", flush=True)
        return best

    def _row(self, group: Group, rate: float, seed: int) -> dict:
        """Returns one row: trains and tests the model unless the result file has it.

        Raises:
            InputError: Another process is training this row.
        """
        key = f"{group.key}, rate {rate:g}, seed {seed}"
        line = command(self.options, self.parser, models=group.model, rates=rate, seeds=seed, **group.options)
        recipe = self.recipe(rate, **group.recipe)
        about = {
            "model": group.model,
            "task": group.task.name,
            "seed": seed,
            "size": asdict(group.size),
            "reference_parameters": group.parameters,
            **group.settings,
        }
        run_folder = self.options.runs / self.results.path.stem / re.sub(r"[^\w.]+", "-", key)
        with contextlib.ExitStack() as lock:  # two processes would delete each other's checkpoints

            def work() -> dict:
                self._lock(lock, run_folder, key)
                return self._train(group, recipe, seed, key, run_folder, about)

            row = self.results.row(key, {**about, **asdict(recipe)}, line, work)
            for path in checkpoints(run_folder):
                path.unlink()  # the row is written, so the checkpoints are not needed any more
        return row

    def _lock(self, stack: contextlib.ExitStack, run_folder: Path, key: str) -> None:
        run_folder.mkdir(parents=True, exist_ok=True)
        try:
            stack.enter_context(filelock.FileLock(run_folder / "lock", timeout=0))
        except filelock.Timeout:
            raise InputError(
                f"another process is training {key}, in {run_folder}: let it end, or choose other rows by --models, --rates "
                "or --seeds"
            ) from None

    def _train(self, group: Group, recipe: Recipe, seed: int, key: str, run_folder: Path, about: dict) -> dict:
        torch.manual_seed(seed)
        model = build(group.model, parameters=group.parameters, **asdict(group.size)).to(self.options.device)
        if group.parameters:
            share = count(model) / group.parameters - 1
            print(f"{key}: {count(model):,} parameters, {share:+.1%} of {group.parameters:,} asked for", flush=True)
        # On a CPU, time of the processor: other processes on the machine change the time on the clock.
        timer = time.process_time if self.options.device == "cpu" else time.perf_counter
        run = run_on_task(
            model, group.task, recipe, seed, group.validation, about, folder=run_folder, title=key, timer=timer
        )
        found = run.train()
        found["test"] = run.test(group.judge)
        return found


def median_and_worst(rows: list[dict], name: str, key: int) -> str:
    """Returns the median and the worst of an accuracy of several rows, as a text.

    Args:
        rows (`list[dict]`): Result of `Experiment.run`.
        name (`str`): Name of a test score that is a dictionary.
        key (`int`): Key in it, such as a length.
    """
    accuracies = [scores[str(key)] for scores in numbers(rows, name)]
    return f"median {statistics.median(accuracies):.1%}, worst {min(accuracies):.1%}"


def reference_parameters(size: Size) -> int:
    """Returns the parameters of minGRU in the paper's block, which the other models must have too."""
    with torch.device("meta"):
        return count(build("mingru", **asdict(size)))
