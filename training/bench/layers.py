# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Measures speed and memory of layers (input projection and scan) compared with others of equal width.

    python -m training.bench.layers      # writes training/results/bench_layers.json and .png; leave the machine alone
    python -m training.bench.layers --ours --threads 2 --output training/results/bench_layers_2_threads.json
    GLIBC_TUNABLES=glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=8589934592 \\
        python -m training.bench.layers --ours --output training/results/bench_layers_kept_memory.json

Forward + backward in float32, medians of rounds in which each contestant runs once. Before anything is timed, our layers are
compared with their definition in float64, and the others that compute minGRU with ours, all on the same weights; the script
ends if they disagree. The last command keeps freed memory in the process. By default glibc returns it to the system, which
hands it out again page by page, and that costs a narrow layer about as much as its scan.
"""

from __future__ import annotations

import argparse
import gc
from pathlib import Path

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

from hf_minrnn.scan_choice import resolve_backend
from training.bench import runner
from training.bench.calls import check_same, layer_call
from training.bench.contestants import LAYERS, left_out
from training.bench.runner import QUICK_SHAPES, SHAPES
from training.common.command_line import reported
from training.common.plots import plot_bars
from training.common.timing import measure, peak_memory, release_memory

OURS = ("minGRU", "minLSTM")
OURS_ALONE = (*OURS, "matmul of minGRU", "matmul of minLSTM")
NAMES = (*OURS_ALONE, "nn.GRU", "nn.LSTM", "minGRU-pytorch", "minGRU-pytorch, compiled", "associative_scan, compiled")
NAMES += ("accelerated-scan", "HGRN, chunk", "HGRN, fused recurrent", "Mamba")
NARROW = (64, 512, 64)
OF_MATMUL = 1.25  # a layer's time over that of its matmul, at most
OF_MATMUL_NARROW = 1.35  # the same at the shape NARROW
OVER_TORCH = {("minGRU", "nn.GRU"): 5.0, ("minLSTM", "nn.LSTM"): 2.5}  # how many times faster a layer should be
OVER_TORCH_NARROW = {("minGRU", "nn.GRU"): 2.5}
WARM_UP = (2, 256, 64)  # smaller scans run on another backend


def target(ours: str, other: str, shape: tuple[int, int, int]) -> float | None:
    """Returns the target for another layer's time over ours, where there is one."""
    if shape not in SHAPES:
        return None
    if other == f"matmul of {ours}":
        if shape == SHAPES[0]:
            return None
        return 1 / (OF_MATMUL_NARROW if shape == NARROW else OF_MATMUL)
    targets = OVER_TORCH_NARROW if shape == NARROW else OVER_TORCH
    return targets.get((ours, other))


def ratios(timings: dict, shape: tuple[int, int, int]) -> dict:
    """Returns the time of every other layer over ours; matmuls are compared with the layer they belong to."""
    found = {}
    for ours in OURS:
        for other in timings:
            other_matmul = other.startswith("matmul") and other != f"matmul of {ours}"
            if other not in OURS and not other_matmul:
                found[f"{other} / {ours}"] = runner.ratio_of(timings, other, ours, target(ours, other, shape))
    return found


def bench_shape(shape: tuple[int, int, int], options: argparse.Namespace) -> dict:
    """Checks and measures the layers at one shape."""
    absent, calls = {}, {}
    for name in OURS_ALONE if options.ours else NAMES:
        reason = left_out(name, shape, "cpu")
        if reason is None:
            calls[name] = layer_call(name, shape)
        else:
            absent[name] = reason
    errors = {name: calls[name].check(name, calls[name]()) for name in OURS}
    errors |= check_same(calls, LAYERS)
    timings = measure(calls, options.rounds)
    return {
        "shape": runner.named_shape(shape),
        "left_out": absent,
        "relative_errors": errors,
        "layers": timings,
        "memory_mib": {name: BENCHMARK.memory_in_new_process(options, name, shape) for name in calls},
        "ratios": ratios(timings, shape),
    }


def memory_of(name: str, shape: tuple[int, int, int]) -> float:
    """Returns the MiB that forward + backward add to the resident memory of this process."""
    layer_call(name, WARM_UP)()  # loads and compiles code, starts threads
    call = layer_call(name, shape)
    if LAYERS[name].compiled:  # compiles again for this shape, which needs memory that running does not need
        call()
        gc.collect()
        release_memory()
    return peak_memory(call)


def table(result: dict) -> str:
    """Returns the results of one shape for the terminal."""
    memory = result["memory_mib"]
    lines = [runner.timing_line(name, timing, memory=memory[name]) for name, timing in result["layers"].items()]
    return "\n".join([runner.title(result), *lines, *runner.ratio_lines(result["ratios"])])


def draw(result: dict, path: Path) -> None:
    """Draws the times of all layers at every shape of a result file."""
    groups = {}
    for entry in result["results"]:
        times = {name: timing["median_ms"] for name, timing in entry["layers"].items()}
        groups[str(tuple(entry["shape"].values()))] = times
    plot_bars(path, "Layers, forward + backward", "ms", groups, ours=OURS)


def bench(options: argparse.Namespace) -> dict:
    """Measures all shapes; returns the content of the result file."""
    shapes = QUICK_SHAPES if options.quick else SHAPES
    return {
        "memory": runner.MEMORY,
        "backend": resolve_backend(),
        "results": runner.in_turn(shapes, lambda shape: bench_shape(shape, options), table),
    }


MEASURED = "forward + backward, float32, medians and quartiles of interleaved rounds"
BENCHMARK = runner.Benchmark(
    "training.bench.layers", __doc__, MEASURED, bench, rounds=7, quick=True, draw=draw, memory_of=memory_of
)


@reported
def main(argv: list[str] | None = None) -> dict:
    """Runs the benchmark; returns the content of the result file."""
    parser = BENCHMARK.parser()
    parser.add_argument("--ours", action="store_true", help="only the layers of this package and their matmuls")
    return BENCHMARK.run(BENCHMARK.parse(argv, parser), argv)


if __name__ == "__main__":
    main()
