# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Measures speed and memory of MinGRU and MinLSTM compared with nn.GRU and nn.LSTM, which they replace.

    python -m training.bench.modules      # writes training/results/bench_modules.json and .png; leave the machine alone
    python -m training.bench.modules --threads 2 --output training/results/bench_modules_2_threads.json

There are three kinds of calls: forward + backward in float32 over a grid of shapes; single steps without a gradient, as in a
rollout; and single steps with a gradient, as in training loops that call a layer once for every step. Steps carry their state.
Our modules take part twice: at equal width, and so wide that they have as many parameters as torch's. Medians of rounds in
which each contestant runs once. Before anything is timed, our modules are compared with their definition in float64 on the same
weights, and the script ends if they disagree.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

import torch
from torch import nn

from hf_minrnn import resolve_backend
from training.bench import runner
from training.bench.calls import ForwardBackward
from training.bench.contestants import MODULES, first_output
from training.common.command_line import reported
from training.common.plots import plot_bars
from training.common.timing import measure, peak_memory
from training.common.widths import count, widest

PAIRS = {"MinGRU": "nn.GRU", "MinLSTM": "nn.LSTM"}
NAMES = ("nn.GRU", "MinGRU", "nn.LSTM", "MinLSTM")
TARGET = 2.0  # times nn.GRU's speed at every T >= LONG, one layer and direction, equal width
LONG = 512
STEPS = 64  # single steps that one timed call makes


class Shape(NamedTuple):
    """One row of the grid.

    With `steps`, the module is called once for each of `time` steps, without a gradient unless `gradient`.
    """

    batch: int
    time: int
    input: int
    hidden: int
    layers: int = 1
    bidirectional: bool = False
    steps: bool = False
    gradient: bool = False

    def __str__(self) -> str:
        return " ".join(self.words())

    def words(self) -> list[str]:
        """Returns the sizes, and then what differs from a plain layer."""
        words = [f"B={self.batch} T={self.time} I={self.input} H={self.hidden}"]
        if self.layers > 1:
            words.append(f"layers={self.layers}")
        if self.bidirectional:
            words.append("both ways")
        if self.steps:
            words.append("step by step")
        if self.gradient:
            words.append("with gradient")
        return words


SHAPES = [
    Shape(1, STEPS, 16, 64, steps=True),
    Shape(64, STEPS, 64, 256, steps=True),
    Shape(2, 2 * STEPS, 2, 64, steps=True, gradient=True),
    Shape(8, 2 * STEPS, 64, 64, steps=True, gradient=True),
    Shape(64, 2 * STEPS, 64, 64, steps=True, gradient=True),
    Shape(32, 1, 64, 128),
    Shape(32, 16, 64, 128),
    Shape(32, 64, 64, 128),
    Shape(1, 512, 64, 256),
    Shape(32, 512, 8, 32),
    Shape(8, 512, 256, 256),
    Shape(32, 512, 64, 128),
    Shape(8, 512, 64, 128, layers=3),
    Shape(8, 512, 64, 128, bidirectional=True),
    Shape(8, 512, 64, 128, layers=2, bidirectional=True),
    Shape(4, 4096, 64, 128),
]
QUICK_SHAPES = [
    Shape(2, 3, 4, 8, steps=True),
    Shape(2, 3, 4, 8, steps=True, gradient=True),
    Shape(2, 8, 4, 8, layers=2, bidirectional=True),
    Shape(1, 520, 2, 4),
]
WARM_UP = Shape(2, 256, 8, 64)  # smaller scans run on another backend


class OneByOne(nn.Module):
    """A module that is called once for each time step, with the state of the step before."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, x):
        state = None
        outputs = []
        for step in x.split(1):
            output, state = self.module(step, state)
            outputs.append(output)
        return torch.cat(outputs)


def make(name: str, shape: Shape, hidden: int) -> nn.Module:
    """Makes a module of a width for a shape, with its default options."""
    return MODULES[name].make(shape.input, hidden, shape.layers, bidirectional=shape.bidirectional)


def contestants(shape: Shape) -> dict[str, tuple[str, int]]:
    """Returns module and width by name: all four at the shape's width, and ours with torch's number of parameters."""
    found = {name: (name, shape.hidden) for name in NAMES}
    for ours, other in PAIRS.items():
        limit = count(make(other, shape, shape.hidden))
        found[f"{ours}, {other}'s size"] = (ours, widest(lambda width, ours=ours: make(ours, shape, width), limit))
    return found


def timed_and_whole(name: str, hidden: int, shape: Shape) -> tuple[Callable, ForwardBackward]:
    """Returns two calls with the same weights and input: the one that is timed, and one on the whole sequence at once."""
    torch.manual_seed(0)
    module = make(name, shape, hidden)
    x = torch.randn(shape.time, shape.batch, shape.input)
    grad = torch.randn(shape.time, shape.batch, hidden * (2 if shape.bidirectional else 1))
    whole = ForwardBackward(first_output(module), x, grad, batch_dim=1)
    if not shape.steps:
        return whole, whole
    steps = ForwardBackward(OneByOne(module), x, grad, batch_dim=1)
    return steps if shape.gradient else steps.forward, whole


def bench_shape(shape: Shape, options: argparse.Namespace) -> dict:
    """Checks and measures everything at one shape."""
    taking_part = contestants(shape)
    steps, errors = {}, {}
    for name, (module, hidden) in taking_part.items():
        steps[name], whole = timed_and_whole(module, hidden, shape)
        if module in PAIRS:
            errors[name] = whole.check(name, steps[name](), at=f" at {shape}")
    timings = measure(steps, options.rounds, calls=shape.time if shape.steps else 1)
    modules, ratios, memory = {}, {}, {}
    for name, (module, hidden) in taking_part.items():
        parameters = count(make(module, shape, hidden))
        modules[name] = {"hidden": hidden, "parameters": parameters, **timings[name]}
        if module in PAIRS:
            wanted = target(module, shape) if name == module else None
            ratios[name] = runner.ratio_of(timings, PAIRS[module], name, wanted)
        if name == module and shape.time >= LONG:
            memory[name] = BENCHMARK.memory_in_new_process(options, name, shape)
    return {
        "shape": shape._asdict(),
        "relative_errors": errors,
        "modules": modules,
        "memory_mib": memory,
        "ratios": ratios,
    }


def target(ours: str, shape: Shape) -> float | None:
    """Returns how many times faster than torch's module ours should be at equal width, where there is a target."""
    plain = shape.layers == 1 and not shape.bidirectional and not shape.steps
    return TARGET if ours == "MinGRU" and plain and shape.time >= LONG else None


def memory_of(name: str, values: list) -> float:
    """Returns the MiB that one call of a module adds to the resident memory of this process."""
    timed_and_whole(name, WARM_UP.hidden, WARM_UP)[0]()  # loads and compiles code
    shape = Shape(*values)
    return peak_memory(timed_and_whole(name, shape.hidden, shape)[0])


def table(result: dict) -> str:
    """Returns the results of one shape for the terminal."""
    lines = [str(Shape(**result["shape"]))]
    for name, entry in result["modules"].items():
        size = f"{entry['parameters']:>11,} parameters"
        lines.append(runner.timing_line(name, entry, 3, size, result["memory_mib"].get(name)))
    ratios = {f"{PAIRS[name.partition(',')[0]]} / {name}": entry for name, entry in result["ratios"].items()}
    return "\n".join(lines + runner.ratio_lines(ratios))


def draw(result: dict, path: Path) -> None:
    """Draws the times of all modules at every shape of a result file."""
    groups = {}
    for entry in result["results"]:
        times = {name: module["median_ms"] for name, module in entry["modules"].items()}
        sizes, *more = Shape(**entry["shape"]).words()
        groups[f"{sizes}\n{' '.join(more)}"] = times
    ours = tuple(name for name in result["results"][0]["modules"] if name.startswith("Min"))
    plot_bars(path, "Modules: forward + backward, or one step", "ms", groups, ours=ours)


def bench(options: argparse.Namespace) -> dict:
    """Measures all shapes; returns the content of the result file."""
    begin = time.perf_counter()
    shapes = QUICK_SHAPES if options.quick else SHAPES
    return {
        "memory": f"{runner.MEMORY}, where T >= {LONG}",
        "backend": resolve_backend(),
        "results": runner.in_turn(shapes, lambda shape: bench_shape(shape, options), table),
        "seconds": time.perf_counter() - begin,
    }


MEASURED = "float32, medians and quartiles of interleaved rounds; forward + backward, or a step of a rollout"
BENCHMARK = runner.Benchmark(
    "training.bench.modules", __doc__, MEASURED, bench, rounds=7, quick=True, draw=draw, memory_of=memory_of
)


@reported
def main(argv: list[str] | None = None) -> dict:
    """Runs the benchmark; returns the content of the result file."""
    return BENCHMARK.run(BENCHMARK.parse(argv), argv)


if __name__ == "__main__":
    main()
