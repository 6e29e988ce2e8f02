# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Measures settings of MinGRU and MinLSTM against nn.GRU and nn.LSTM on four small tasks, all with as many parameters.

    python -m training.studies.layer_defaults           # an hour on one core; writes training/results/layer_defaults.json
    python -m training.studies.layer_defaults --tasks waves --layers nn.GRU MinGRU --settings g rising

The layers' defaults were chosen by this table. Every contestant has the same data, batches, steps and learning rates to
choose from, and the widest layer that keeps the model within the parameters of the one with nn.GRU. The first seed runs every
rate; the rate with the best validation result runs the other seeds. Rows that the result file already has are not run again.
It always needs the extras "series" (sktime, for the vowels) and "rl" (gymnasium, for CartPole), whichever tasks it runs.
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import time
from collections.abc import Callable
from functools import cached_property
from types import SimpleNamespace

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN, "gymnasium", "sktime")

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence

from hf_minrnn import MinGRU, MinLSTM
from training.common.command_line import positive, positive_int, reported, result_file, whole
from training.common.paths import RESULTS
from training.common.rows import Results
from training.common.timing import settings as thread_settings
from training.common.widths import count, widest
from training.studies import forecast

LAYERS = {"nn.GRU": nn.GRU, "nn.LSTM": nn.LSTM, "MinGRU": MinGRU, "MinLSTM": MinLSTM}
OURS = ("MinGRU", "MinLSTM")
# Candidate, floors of the forget gate in the first and in the last layer, and what its bias starts from: a number, or two
# that are spread over the channels.
SETTINGS = {
    "g": ("g", (0.0, 0.0), 0.0),
    "identity": ("identity", (0.0, 0.0), 0.0),
    "0.9": ("identity", (0.9, 0.9), 0.0),
    "rising": ("identity", (0.0, 0.9), 0.0),
    "bias-2": ("identity", (0.0, 0.0), 2.0),
    "spread": ("identity", (0.0, 0.0), (0.0, 4.0)),
    "spread-g": ("g", (0.0, 0.0), (0.0, 4.0)),
}
SEEDS = [0, 1, 2]


def floors(first: float, last: float, layers: int) -> list[float]:
    """Floors that rise linearly with depth.

    >>> floors(0.0, 0.9, 3)
    [0.0, 0.45, 0.9]
    """
    return [first + (last - first) * layer / max(layers - 1, 1) for layer in range(layers)]


def make(
    name: str, setting: str | None, inputs: int, width: int, layers: int, bidirectional: bool = False
) -> nn.Module:
    """A recurrent layer; every option of ours is named, so that a change of their defaults changes no result."""
    options = {"batch_first": True, "bidirectional": bidirectional}
    if name in OURS:
        candidate, (first, last), bias = SETTINGS[setting]
        options |= {"candidate_activation": candidate, "gate_bias": bias}
        options["forget_gate_floor"] = floors(first, last, layers)
    return LAYERS[name](inputs, width, layers, **options)


class Model(nn.Module):
    """A recurrent layer and a Linear: over each step of `(batch, time, features)`, or over the ends of packed sequences."""

    def __init__(self, recurrent: nn.Module, outputs: int):
        super().__init__()
        self.recurrent = recurrent
        self.directions = 2 if recurrent.bidirectional else 1
        self.head = nn.Linear(self.directions * recurrent.hidden_size, outputs)

    def forward(self, x):
        output, last = self.recurrent(x)
        if not isinstance(x, PackedSequence):
            return self.head(output)
        last = last[0] if isinstance(last, tuple) else last
        return self.head(torch.cat(tuple(last[-self.directions :]), -1))


# --- tasks -----------------------------------------------------------------------------------------------------------


class Classification:
    """Sequences of unequal lengths, packed, each of one class; `parts` holds "train", "validation" and "test"."""

    measure, higher_is_better, layers, bidirectional = "accuracy", True, 1, False
    inputs: int
    classes: int

    def __init__(self, steps: int, width: int = 32, batch: int = 32):
        self.steps, self.width, self.batch = steps, width, batch

    def settings(self) -> dict:
        """What a row depends on."""
        return {"steps": self.steps, "batch": self.batch}

    def model(self, name, setting, width) -> Model:
        return Model(make(name, setting, self.inputs, width, self.layers, self.bidirectional), self.classes)

    def run(self, build: Callable[[], nn.Module], rate: float, seed: int) -> dict:
        """Trains and tests one model: `validation` to choose a rate by (less is better), and `score`."""
        torch.manual_seed(seed)
        model = build()
        optimizer = torch.optim.Adam(model.parameters(), lr=rate)
        sequences, labels = self.parts["train"]
        for _ in range(self.steps):
            chosen = torch.randint(len(sequences), (self.batch,))
            x = pack_sequence([sequences[i] for i in chosen.tolist()], enforce_sorted=False)
            loss = F.cross_entropy(model(x), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        found = {part: self.judge(model, *self.parts[part]) for part in ("validation", "test")}
        return {"validation": found["validation"][0], "score": found["test"][1], "loss": found["test"][0]}

    @torch.no_grad()
    def judge(self, model, sequences, labels) -> tuple[float, float]:
        """Cross-entropy and accuracy."""
        logits = model(pack_sequence(sequences, enforce_sorted=False))
        return F.cross_entropy(logits, labels).item(), (logits.argmax(-1) == labels).float().mean().item()


class Waves(Classification):
    """Which of three frequencies a noisy wave has, beside a channel of noise; two layers in both directions."""

    inputs, classes, layers, bidirectional = 2, 3, 2, True
    rates = (3e-3, 1e-2)

    @cached_property
    def parts(self) -> dict:
        generator = torch.Generator().manual_seed(0)

        def part(size: int):
            labels, sequences = torch.randint(3, (size,), generator=generator), []
            for label in labels.tolist():
                length = int(torch.randint(40, 120, (), generator=generator))
                phase = 2 * torch.pi * torch.rand((), generator=generator)
                wave = torch.sin((1 + 0.6 * label) * torch.arange(length) / 10 + phase)
                channels = torch.stack([wave, torch.rand(length, generator=generator)], 1)
                sequences.append(channels + 0.3 * torch.randn(length, 2, generator=generator))
            return sequences, labels

        return {"train": part(256), "validation": part(256), "test": part(512)}


class Vowels(Classification):
    """Which of nine speakers says a vowel: JapaneseVowels of the UEA archive, 12 coefficients for each of 7 to 29 steps."""

    inputs, classes, rates = 12, 9, (1e-2, 3e-2)

    @cached_property
    def parts(self) -> dict:
        from sktime.datasets import load_japanese_vowels  # takes seconds, and no other task needs it

        def part(name: str):
            table, labels = load_japanese_vowels(split=name.upper(), return_type="pd-multiindex")
            sequences = [torch.tensor(rows.to_numpy(), dtype=torch.float32) for _, rows in table.groupby(level=0)]
            return sequences, torch.tensor([int(label) - 1 for label in labels])

        (sequences, labels), test = part("train"), part("test")
        held_out = torch.arange(len(labels)) % 5 == 4  # the series are sorted by speaker
        parts = {"test": test}
        for name, mask in (("train", ~held_out), ("validation", held_out)):
            parts[name] = [sequences[i] for i in mask.nonzero().flatten().tolist()], labels[mask]
        return parts


class Forecast:
    """The Mackey-Glass series of forecast.py, 1 to 90 steps ahead; the score is the mean error over the horizons."""

    measure, higher_is_better, rates, layers = "error", False, (2e-2, 4e-2), 2

    def __init__(self, steps: int, width: int = 32, length: int = 12000):
        self.steps, self.width, self.length = steps, width, length
        window, batch = min(256, length // 40), 16
        self.options = SimpleNamespace(window=window, batch=batch, every=25, patience=8)

    def settings(self) -> dict:
        return {"steps": self.steps, "length": self.length, **vars(self.options)}

    @cached_property
    def parts(self) -> dict:
        return forecast.split(forecast.mackey_glass(self.length, seed=0))

    def model(self, name, setting, width) -> nn.Module:
        return Forecaster(make(name, setting, 1, width, self.layers))

    def run(self, build, rate: float, seed: int) -> dict:
        torch.manual_seed(seed)
        found = forecast.train(build(), self.parts, rate, seed, self.options, self.steps)
        score = statistics.mean(found["errors"])
        return {"validation": found["validation"], "score": score, "errors": found["errors"], "steps": found["steps"]}


class Forecaster(Model):
    """`(batch, time)` to forecasts `(batch, time, horizons)`."""

    def __init__(self, recurrent: nn.Module):
        super().__init__(recurrent, len(forecast.HORIZONS))

    def forward(self, x):
        return super().forward(x.unsqueeze(-1))


class CartPole:
    """The policy and PPO of rl_cartpole.py with one plain layer; the score is the mean return of the likelier action."""

    measure, higher_is_better, rates, layers = "return", True, (1e-3, 2.5e-3), 1

    def __init__(self, steps: int, width: int = 32):
        self.width, self.changes = width, {"steps": steps, "width": width}

    def settings(self) -> dict:
        return self.changes

    @cached_property
    def cartpole(self):
        from training.studies import cartpole  # needs gymnasium, and no other task does

        return cartpole

    def model(self, name, setting, width) -> nn.Module:
        return self.cartpole.Policy(make(name, setting, self.width, width, self.layers), self.width)

    def run(self, build, rate: float, seed: int) -> dict:
        settings = self.cartpole.SETTINGS | self.changes | {"learning_rate": rate}
        found = self.cartpole.train(lambda width: build().recurrent, seed, settings)
        return {"validation": -(found["score"] or 0.0), "score": found["greedy"], "training_score": found["score"]}


PRESETS = {
    "full": {
        "waves": lambda: Waves(steps=200),
        "vowels": lambda: Vowels(steps=150),
        "forecast": lambda: Forecast(steps=300),
        "cartpole": lambda: CartPole(steps=50_000),
    },
    "small": {
        "waves": lambda: Waves(steps=2, width=4, batch=4),
        "vowels": lambda: Vowels(steps=2, width=4, batch=4),
        "forecast": lambda: Forecast(steps=2, width=4, length=3000),
        "cartpole": lambda: CartPole(steps=16 * 128, width=4),
    },
}


# --- contest ---------------------------------------------------------------------------------------------------------


def contest(task, name: str, setting: str | None, rates, seeds) -> dict:
    """All learning rates with the first seed, and the best one with the others."""
    limit = count(task.model("nn.GRU", None, task.width))
    width = widest(lambda width: task.model(name, setting, width), limit)
    runs = []

    def run(rate: float, seed: int) -> dict:
        begin = time.process_time()
        found = task.run(lambda: task.model(name, setting, width), rate, seed)
        runs.append({"rate": rate, "seed": seed, "seconds": time.process_time() - begin, **found})
        return runs[-1]

    best = min((run(rate, seeds[0]) for rate in rates), key=lambda run: run["validation"])
    kept = [best, *(run(best["rate"], seed) for seed in seeds[1:])]
    scores = [entry["score"] for entry in kept]
    return {
        "parameters": count(task.model(name, setting, width)),
        "width": width,
        "num_layers": task.layers,
        "rate": best["rate"],
        "median": statistics.median(scores),
        "worst": min(scores) if task.higher_is_better else max(scores),
        "seconds": statistics.median(entry["seconds"] for entry in kept),
        "runs": runs,
    }


def fitting(task, names: list[str]) -> list[str]:
    """The settings without those whose floors rise with depth, if the task has one layer only."""
    return [name for name in names if task.layers > 1 or len(set(SETTINGS[name][1])) == 1]


def parse_arguments(argv) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="seconds: too short to learn anything")
    parser.add_argument("--tasks", nargs="+", choices=list(PRESETS["full"]), default=list(PRESETS["full"]))
    parser.add_argument("--layers", nargs="+", choices=list(LAYERS), default=list(LAYERS))
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), default=list(SETTINGS), help="of ours")
    parser.add_argument("--seeds", nargs="+", type=whole, default=SEEDS, help="(default: 0 1 2)")
    parser.add_argument("--rates", nargs="+", type=positive, help="learning rates to try (default: the task's own)")
    parser.add_argument("--threads", type=positive_int, default=1, help="(default: 1)")
    parser.add_argument("--output", type=result_file, default=RESULTS / "layer_defaults.json")
    return parser.parse_args(argv)


def add_row(results: Results, task, task_name: str, name: str, setting: str | None, options) -> None:
    """Runs one contestant on one task unless the file has it, and prints its row."""
    rates = options.rates or list(task.rates)
    words = ["--tasks", task_name, "--layers", name, *(["--settings", setting] if setting else [])]
    words += ["--small"] if options.small else []
    words += ["--rates", *map(str, rates)] if options.rates else []
    words += ["--seeds", *map(str, options.seeds)] if options.seeds != SEEDS else []
    about = {"task": task_name, "layer": name, "setting": setting, "measure": task.measure}
    if setting:
        about |= dict(zip(("candidate_activation", "floors", "gate_bias"), SETTINGS[setting]))
    about |= {"rates": rates, "seeds": options.seeds, **task.settings()}
    key = f"{task_name} {name}" + (f" {setting}" if setting else "")
    command = shlex.join(["python", "-m", "training.studies.layer_defaults", *words])
    row = results.row(key, about, command, lambda: contest(task, name, setting, rates, options.seeds))
    print(
        f"{key:<32}{row['parameters']:>7,} parameters {row['seconds']:6.1f} s  {task.measure} {row['median']:.3f}, "
        f"worst {row['worst']:.3f}, rate {row['rate']:g}",
        flush=True,
    )


@reported
def main(argv: list[str] | None = None) -> dict:
    """Runs what the result file lacks; returns what the file then has."""
    options = parse_arguments(argv)
    results = Results(options.output, {"about": __doc__.splitlines()[0]})
    with thread_settings(options.threads):
        for task_name in options.tasks:
            task = PRESETS["small" if options.small else "full"][task_name]()
            for name in options.layers:
                if name in OURS:
                    for setting in fitting(task, options.settings):
                        add_row(results, task, task_name, name, setting, options)
                else:
                    add_row(results, task, task_name, name, None, options)
    return results.value


if __name__ == "__main__":
    main()
