# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""How fast are MinGRU and MinLSTM where nn.GRU and nn.LSTM stand, and what memory do they need.

    python -m training.bench.modules      # writes training/results/bench_modules.json and .png; leave the machine alone
    python -m training.bench.modules --threads 2 --output training/results/bench_modules_2_threads.json

Forward + backward in float32 over a grid of shapes; single steps without a gradient, as a rollout makes them; and single steps
with one, as training loops that call a layer once for every step make them. Steps carry their state. Ours take part twice: at
equal width, and so wide that they have as many parameters as torch's layer. Medians of rounds in which each contestant runs
once. Before anything is timed, ours are compared with their definition in float64 on the same weights, and the run ends if
they don't agree.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import NamedTuple

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

import torch
from torch import nn

from hf_minrnn import MinGRU, MinLSTM, resolve_backend
from training.bench.by_definition import EXACT, by_definition, outer_rows
from training.common.files import write_json
from training.common.machine import provenance
from training.common.paths import RESULTS
from training.common.plots import plot_bars
from training.common.timing import check_agreement, in_new_process, measure, peak_memory, settings
from training.common.widths import count, widest

PAIRS = {"MinGRU": "nn.GRU", "MinLSTM": "nn.LSTM"}
LAYERS = {"nn.GRU": nn.GRU, "MinGRU": MinGRU, "nn.LSTM": nn.LSTM, "MinLSTM": MinLSTM}
TARGET = 2.0  # times nn.GRU's speed at every T >= LONG, one layer and direction, equal width
LONG = 512
STEPS = 64  # single steps that one timed call makes


class Shape(NamedTuple):
    """One row of the grid. With `steps`, `time` single steps are called one by one, without a gradient unless `gradient`."""

    batch: int
    time: int
    input: int
    hidden: int
    layers: int = 1
    bidirectional: bool = False
    steps: bool = False
    gradient: bool = False

    def __str__(self):
        text = f"B={self.batch} T={self.time} I={self.input} H={self.hidden}"
        text += f" layers={self.layers}" if self.layers > 1 else ""
        text += " both ways" if self.bidirectional else ""
        text += " step by step" if self.steps else ""
        return text + (" with gradient" if self.gradient else "")


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


def make(layer: str, shape: Shape, hidden: int) -> nn.Module:
    """A layer of a width for a shape, with its default options."""
    return LAYERS[layer](shape.input, hidden, shape.layers, bidirectional=shape.bidirectional)


def contestants(shape: Shape) -> dict[str, tuple[str, int]]:
    """Layer and width by name: all four at the shape's width, and ours at torch's number of parameters."""
    found = {name: (name, shape.hidden) for name in LAYERS}
    for ours, other in PAIRS.items():
        limit = count(make(other, shape, shape.hidden))
        found[f"{ours}, {other}'s size"] = (ours, widest(lambda width, ours=ours: make(ours, shape, width), limit))
    return found


def filled(layer: str, hidden: int, shape: Shape):
    """A layer, its input and the gradient of its output, the same at every call."""
    torch.manual_seed(0)
    module = make(layer, shape, hidden)
    x = torch.randn(shape.time, shape.batch, shape.input)
    return module, x, torch.randn(shape.time, shape.batch, hidden * (2 if shape.bidirectional else 1))


def contestant(layer: str, hidden: int, shape: Shape):
    """A function without arguments: forward + backward, or the steps, each from the state before."""
    module, x, grad = filled(layer, hidden, shape)

    def one_by_one(x):
        state, outputs = None, []
        for piece in x.split(1):
            output, state = module(piece, state)
            outputs.append(output)
        return torch.cat(outputs)

    if shape.steps and not shape.gradient:
        return torch.no_grad()(lambda: one_by_one(x))
    x.requires_grad_()

    def step():
        output = one_by_one(x) if shape.steps else module(x)[0]
        return output.detach(), torch.autograd.grad(output, [x, *module.parameters()], grad)[0]

    return step


def check_ours(name: str, layer: str, hidden: int, shape: Shape, got) -> list[float]:
    """Compares the outer rows of what a contestant returned with the definition over the whole; raises `Disagreement`."""
    rows = outer_rows(shape.batch)
    module, x, grad = filled(layer, hidden, shape)
    x = x[:, rows].double().requires_grad_()
    output = by_definition(module)(x)[0]
    if shape.steps and not shape.gradient:
        got, want = [got], [output.detach()]
    else:
        want = [output.detach(), torch.autograd.grad(output, x, grad[:, rows].double())[0]]
    what = f"{name} and its definition at {shape}"
    return check_agreement(what, [y[:, rows] for y in got], want, EXACT[: len(want)])


def target(ours: str, shape: Shape) -> float | None:
    """How many times faster than torch's layer ours should be at equal width."""
    alone = shape.layers == 1 and not shape.bidirectional and not shape.steps
    return TARGET if ours == "MinGRU" and alone and shape.time >= LONG else None


def bench_shape(shape: Shape, rounds: int, threads: int) -> dict:
    """Everything at one shape."""
    taking_part = contestants(shape)
    steps = {name: contestant(*entry, shape) for name, entry in taking_part.items()}
    errors = {
        name: check_ours(name, *entry, shape, steps[name]()) for name, entry in taking_part.items() if entry[0] in PAIRS
    }
    timings = measure(steps, rounds, calls=shape.time if shape.steps else 1)
    memory = {}
    if shape.time >= LONG:
        for name in LAYERS:
            arguments = ["--threads", str(threads), "--memory-of", name, ",".join(str(int(n)) for n in shape)]
            memory[name] = in_new_process("training.bench.modules", arguments)
    return {
        "shape": shape._asdict(),
        "relative_errors": errors,
        "modules": {
            name: {"hidden": hidden, "parameters": count(make(layer, shape, hidden)), **timings[name]}
            for name, (layer, hidden) in taking_part.items()
        },
        "memory_mib": memory,
        "ratios": {
            name: {
                "ratio": timings[PAIRS[layer]]["median_ms"] / timings[name]["median_ms"],
                "target": target(layer, shape) if name == layer else None,
            }
            for name, (layer, _) in taking_part.items()
            if layer in PAIRS
        },
    }


def table(shape: Shape, result: dict) -> str:
    """One shape for the terminal."""
    lines = [str(shape)]
    for name, entry in result["modules"].items():
        memory = result["memory_mib"].get(name)
        memory = "" if memory is None else f"{memory:9.1f} MiB"
        quartiles = f"({entry['q1_ms']:.3f} to {entry['q3_ms']:.3f})"
        size = f"{entry['parameters']:>11,} parameters"
        lines.append(f"  {name:<24}{entry['median_ms']:10.3f} ms {quartiles:<24}{size}{memory}")
    for name, entry in result["ratios"].items():
        wanted = "" if entry["target"] is None else f"  target {entry['target']:.2f}x"
        missed = "" if entry["target"] is None or entry["ratio"] >= entry["target"] else "  MISSED"
        slower = "" if entry["ratio"] >= 1 else "  slower"
        lines.append(f"  {PAIRS[name.partition(',')[0]]} / {name:<30}{entry['ratio']:10.2f}x{wanted}{missed}{slower}")
    return "\n".join(lines)


def parse_arguments(argv) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=1, help="threads of every contestant (default: 1)")
    parser.add_argument("--rounds", type=int, help="timed rounds (default: 7, with --quick 2)")
    parser.add_argument("--quick", action="store_true", help="tiny shapes, to see that it runs; no speed to quote")
    parser.add_argument(
        "--output", type=Path, default=RESULTS / "bench_modules.json", help="a PNG is written beside it"
    )
    parser.add_argument("--memory-of", nargs=2, metavar=("NAME", "SHAPE"), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    options.rounds = options.rounds or (2 if options.quick else 7)
    if options.rounds < 2 or options.threads < 1:
        parser.error("--rounds needs at least 2 and --threads at least 1")
    return options


def main(argv=None) -> dict:
    """Runs the benchmark, writes its result and its plot; returns what it wrote."""
    options, begin = parse_arguments(argv), time.perf_counter()
    with settings(options.threads):
        if options.memory_of:
            name, values = options.memory_of
            *sizes, bidirectional, steps, gradient = map(int, values.split(","))
            shape = Shape(*sizes, bool(bidirectional), bool(steps), bool(gradient))
            contestant(name, 64, Shape(2, 256, 8, 64))()  # loads and compiles code; smaller scans go another way
            memory = peak_memory(contestant(name, shape.hidden, shape))
            print(memory)
            return {"memory_mib": memory}
        results = {
            **provenance("training.bench.modules", argv),
            "measured": "float32, medians and quartiles of interleaved rounds; forward + backward, or a step of a rollout",
            "memory": f"MiB added to the resident memory of a fresh process by one forward + backward, where T >= {LONG}",
            "backend": resolve_backend(),
            "rounds": options.rounds,
            "results": [],
        }
        for shape in QUICK_SHAPES if options.quick else SHAPES:
            result = bench_shape(shape, options.rounds, options.threads)
            results["results"].append(result)
            print(table(shape, result), flush=True)
        results["seconds"] = time.perf_counter() - begin
    write_json(options.output, results)
    picture = options.output.with_suffix(".png")
    groups = {
        str(Shape(**entry["shape"])): {n: module["median_ms"] for n, module in entry["modules"].items()}
        for entry in results["results"]
        if entry["shape"]["time"] >= LONG
    }
    ours = tuple(name for name in results["results"][0]["modules"] if name.startswith("Min"))
    plot_bars(picture, "Modules, forward + backward", "ms", groups, ours=ours)
    print(f"wrote {options.output} and {picture} after {results['seconds']:.0f} s")
    return results


if __name__ == "__main__":
    main()
