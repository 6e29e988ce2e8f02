# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Small tasks for recurrent layers: two classifications of sequences, a forecast and CartPole.

A task has `measure`, `higher_is_better`, learning `rates` to try, the number of `layers`, the `width` of nn.GRU, `settings()`,
`model(make_layer, width)` and `run(build, rate, seed)`. `make_layer` is a function of input size, width, number of layers and
`bidirectional` that returns the recurrent layer. `run` returns `validation`, a loss, and the test's `score`.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import cached_property
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence

from training.common.experiment import Run
from training.studies import forecast, ppo


class Model(nn.Module):
    """A recurrent layer and a Linear: over each step of `(batch, time, features)`, or over the ends of packed sequences."""

    def __init__(self, recurrent: nn.Module, outputs: int):
        super().__init__()
        self.recurrent = recurrent
        self.directions = 2 if recurrent.bidirectional else 1
        self.head = nn.Linear(self.directions * recurrent.hidden_size, outputs)

    def forward(self, x: torch.Tensor | PackedSequence) -> torch.Tensor:
        output, last = self.recurrent(x)
        if not isinstance(x, PackedSequence):
            return self.head(output)
        if isinstance(last, tuple):
            last = last[0]
        return self.head(torch.cat(tuple(last[-self.directions :]), -1))


class Classification:
    """Sequences of unequal lengths, packed, each of one class; `parts` holds "train", "validation" and "test"."""

    measure, higher_is_better = "accuracy", True
    layers, bidirectional = 1, False
    rates: tuple[float, ...]
    inputs: int
    classes: int

    def __init__(self, steps: int, width: int = 32, batch: int = 32):
        self.steps = steps
        self.width = width
        self.batch = batch

    def settings(self) -> dict:
        """Returns what a row depends on."""
        return {"steps": self.steps, "batch": self.batch}

    def model(self, make_layer: Callable[..., nn.Module], width: int) -> Model:
        return Model(make_layer(self.inputs, width, self.layers, self.bidirectional), self.classes)

    def run(self, build: Callable[[], nn.Module], rate: float, seed: int) -> dict:
        """Trains and tests one model."""
        torch.manual_seed(seed)
        model = build()
        sequences, labels = self.parts["train"]

        def batch(step: int) -> tuple[PackedSequence, torch.Tensor]:
            chosen = torch.randint(len(sequences), (self.batch,))
            return pack_sequence([sequences[i] for i in chosen.tolist()], enforce_sorted=False), labels[chosen]

        Run(
            model,
            torch.optim.Adam(model.parameters(), lr=rate),
            steps=self.steps,
            batch=batch,
            loss=lambda model, packed, labels: F.cross_entropy(model(packed), labels),
            learning_rate=lambda step: rate,
        ).train()
        found = {part: self.judge(model, *self.parts[part]) for part in ("validation", "test")}
        return {"validation": found["validation"][0], "score": found["test"][1], "loss": found["test"][0]}

    @torch.no_grad()
    def judge(self, model: nn.Module, sequences: list[torch.Tensor], labels: torch.Tensor) -> tuple[float, float]:
        """Returns cross-entropy and accuracy."""
        logits = model(pack_sequence(sequences, enforce_sorted=False))
        return F.cross_entropy(logits, labels).item(), (logits.argmax(-1) == labels).float().mean().item()


class Waves(Classification):
    """Classifies noisy waves by their frequency, one of three. The second channel is noise. Two bidirectional layers."""

    inputs, classes, layers, bidirectional = 2, 3, 2, True
    rates = (3e-3, 1e-2)

    @cached_property
    def parts(self) -> dict:
        generator = torch.Generator().manual_seed(0)

        def part(size: int) -> tuple[list[torch.Tensor], torch.Tensor]:
            labels = torch.randint(3, (size,), generator=generator)
            sequences = []
            for label in labels.tolist():
                length = int(torch.randint(40, 120, (), generator=generator))
                phase = 2 * torch.pi * torch.rand((), generator=generator)
                wave = torch.sin((1 + 0.6 * label) * torch.arange(length) / 10 + phase)
                channels = torch.stack([wave, torch.rand(length, generator=generator)], 1)
                sequences.append(channels + 0.3 * torch.randn(length, 2, generator=generator))
            return sequences, labels

        return {"train": part(256), "validation": part(256), "test": part(512)}


class Vowels(Classification):
    """Classifies spoken vowels by their speaker, one of nine: JapaneseVowels of the UEA archive, 7 to 29 steps of 12 values."""

    inputs, classes, rates = 12, 9, (1e-2, 3e-2)

    @cached_property
    def parts(self) -> dict:
        from sktime.datasets import load_japanese_vowels  # takes seconds, and no other task needs it

        def part(name: str) -> tuple[list[torch.Tensor], torch.Tensor]:
            table, labels = load_japanese_vowels(split=name.upper(), return_type="pd-multiindex")
            sequences = [torch.tensor(rows.to_numpy(), dtype=torch.float32) for _, rows in table.groupby(level=0)]
            return sequences, torch.tensor([int(label) - 1 for label in labels])

        (sequences, labels), test = part("train"), part("test")
        held_out = torch.arange(len(labels)) % 5 == 4  # the series are sorted by speaker
        parts = {"test": test}
        for name, mask in (("train", ~held_out), ("validation", held_out)):
            parts[name] = [sequences[i] for i in mask.nonzero().flatten().tolist()], labels[mask]
        return parts


class Forecaster(Model):
    """Maps values `(batch, time)` to forecasts `(batch, time, horizons)`."""

    def __init__(self, recurrent: nn.Module):
        super().__init__(recurrent, len(forecast.HORIZONS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.unsqueeze(-1))


class Forecast:
    """The series of `training.studies.forecast`, 1 to 90 steps ahead; the score is the mean error over the horizons."""

    measure, higher_is_better = "error", False
    rates, layers = (2e-2, 4e-2), 2

    def __init__(self, steps: int, width: int = 32, length: int = 12000):
        self.steps = steps
        self.width = width
        self.length = length
        self.options = SimpleNamespace(window=min(256, length // 40), batch=16, every=25, patience=8)

    def settings(self) -> dict:
        return {"steps": self.steps, "length": self.length, **vars(self.options)}

    @cached_property
    def parts(self) -> dict:
        return forecast.split(forecast.mackey_glass(self.length, seed=0))

    def model(self, make_layer: Callable[..., nn.Module], width: int) -> Forecaster:
        return Forecaster(make_layer(1, width, self.layers))

    def run(self, build: Callable[[], nn.Module], rate: float, seed: int) -> dict:
        torch.manual_seed(seed)
        found = forecast.train(build(), self.parts, rate, seed, self.options, self.steps)
        score = statistics.mean(found["errors"])
        return {"validation": found["validation"], "score": score, "errors": found["errors"], "steps": found["steps"]}


class CartPole:
    """Policy and PPO of `training.studies.ppo` with one plain layer; the score is the mean return of the likelier action."""

    measure, higher_is_better = "return", True
    rates, layers = (1e-3, 2.5e-3), 1

    def __init__(self, steps: int, width: int = 32):
        self.width = width
        self.changes = {"steps": steps, "width": width}

    def settings(self) -> dict:
        return self.changes

    def model(self, make_layer: Callable[..., nn.Module], width: int) -> nn.Module:
        return ppo.Policy(make_layer(self.width, width, self.layers), self.width)

    def run(self, build: Callable[[], nn.Module], rate: float, seed: int) -> dict:
        settings = ppo.SETTINGS | self.changes | {"learning_rate": rate}
        found = ppo.train(lambda width: build().recurrent, seed, settings)
        return {"validation": -(found["score"] or 0.0), "score": found["greedy"], "training_score": found["score"]}


Task = Classification | Forecast | CartPole
PRESETS: dict[str, dict[str, Callable[[], Task]]] = {
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
