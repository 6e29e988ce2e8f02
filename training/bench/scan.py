# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Measures the speed of every scan backend on a CPU, against the log-space scan, a loop and the memory that must move.

    python -m training.bench.scan        # writes training/results/bench_scan.json and .png; leave the machine alone
    python -m training.bench.scan --threads 2 --output training/results/bench_scan_2_threads.json

The projected input is given; for layers see `training.bench.layers`. Float32, medians of rounds in which each contestant runs
once. Before anything is timed, the contestants are compared, and the script ends if they disagree. "Floor" is the memory that
must be moved: forward reads K parts and writes h; backward reads the parts, h and its gradient, and writes K gradients.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

import torch

from hf_minrnn.gates import NUM_PARTS, ScanSpec
from hf_minrnn.scan import minrnn_scan
from hf_minrnn.scan_choice import resolve_backend
from hf_minrnn.scan_op import OP_BACKENDS
from training.bench import runner
from training.bench.calls import ForwardBackward, check_same
from training.bench.contestants import SCANS, fast_backends, floor_bytes
from training.bench.runner import QUICK_SHAPES, SHAPES
from training.common.command_line import reported
from training.common.plots import plot_bars
from training.common.timing import measure, peak_memory

LONGEST_LOOP = 512  # steps; at 4096 the loop takes longer than everything else
CELL_TYPES = ("mingru", "minlstm")
TARGETS = {"torch": 8.0, "numba": 20.0}  # how many times faster than the log-space scan a backend should be
WITHOUT_TARGET = {"torch": SHAPES[-1], "numba": SHAPES[0]}


def target(backend: str, shape: tuple[int, int, int]) -> float | None:
    """Returns the target for the time of the log-space scan over that of a backend, where there is one."""
    if shape not in SHAPES or shape == WITHOUT_TARGET.get(backend):
        return None
    return TARGETS.get(backend)


def names_of(cell_type: str, shape: tuple[int, int, int]) -> list[str]:
    """Returns the contestants at a shape: the backends, and what they are compared with."""
    names = [*fast_backends(), "log-space"]
    if cell_type == "mingru" and shape[1] <= LONGEST_LOOP:
        names.append("loop")
    return names


def scan_call(name: str, cell_type: str, shape: tuple[int, int, int]) -> ForwardBackward:
    """Returns forward + backward of a scan, with the gradient by the projected input."""
    batch, time, channels = shape
    scan = SCANS[name].make()
    generator = torch.Generator().manual_seed(0)
    projected = torch.randn(batch, time, NUM_PARTS[cell_type] * channels, generator=generator)
    grad = torch.randn(batch, time, channels, generator=generator)
    return ForwardBackward(lambda x: scan(x, cell_type), projected, grad)


def time_copies(shape: tuple[int, int, int], rounds: int) -> dict:
    """Times plain copies of a tensor of this shape, into memory that exists and into fresh memory as an output needs."""
    source = torch.randn(shape)
    existing = torch.empty_like(source)
    copies = {"copy": lambda: existing.copy_(source), "copy to fresh memory": source.clone}
    timings = measure(copies, 3 * rounds)
    for entry in timings.values():
        entry["gb_per_s"] = 8 * source.numel() / entry["median_ms"] / 1e6
    return timings


def bench_cell(cell_type: str, shape: tuple[int, int, int], options: argparse.Namespace) -> dict:
    """Checks and measures every scan of one cell at one shape."""
    calls = {name: scan_call(name, cell_type, shape) for name in names_of(cell_type, shape)}
    errors = check_same(calls, SCANS)
    timed = {(name, "forward_backward"): call for name, call in calls.items()}
    timed |= {(name, "forward"): call.forward for name, call in calls.items() if name != "loop"}
    timings = measure(timed, options.rounds)
    forward_bytes, backward_bytes = floor_bytes(cell_type, shape)
    parts = {"forward": {}, "forward_backward": {}}
    for (name, part), entry in timings.items():
        floor = forward_bytes if part == "forward" else forward_bytes + backward_bytes
        parts[part][name] = entry | {"floor_gb_per_s": floor / entry["median_ms"] / 1e6}
    both = parts["forward_backward"]
    return {
        "relative_errors": errors,
        **parts,
        "memory_mib": {name: BENCHMARK.memory_in_new_process(options, name, cell_type, shape) for name in calls},
        "ratios": {
            f"log-space / {name}": runner.ratio_of(both, "log-space", name, target(name, shape))
            for name in calls
            if name in OP_BACKENDS
        },
    }


def bench_shape(shape: tuple[int, int, int], options: argparse.Namespace) -> dict:
    """Checks and measures everything at one shape."""
    copies = time_copies(shape, options.rounds)  # first, while malloc keeps no memory of the scans
    cells = {cell_type: bench_cell(cell_type, shape, options) for cell_type in CELL_TYPES}
    return {"shape": runner.named_shape(shape), "copies": copies, **cells}


def dispatch(rounds: int = 300) -> dict:
    """Measures the microseconds that the custom op adds to its kernels, and those of one step, which does not use the op.

    The scans are tiny, so that only the overhead takes time. The kernels are those of the backend that such a scan runs on by
    default, called directly and through the op.
    """
    backend = resolve_backend("auto", "cpu", dtype=torch.float32, shape=(1, 2, 8))
    forward, backward = OP_BACKENDS[backend]
    spec = ScanSpec("mingru")
    x = torch.randn(1, 2, 16)
    leaf = x.clone().requires_grad_()
    first_step = x[:, :1]
    grad, final_grad = torch.randn(1, 2, 8), torch.randn(1, 8)

    def without_op():
        h, _ = forward(x, None, None, None, None, None, spec)
        return backward(grad, final_grad, x, h, None, None, None, None, None, spec)

    def with_op():
        return torch.autograd.grad(minrnn_scan(leaf, "mingru"), leaf, (grad, final_grad))

    def no_grad(projected):
        with torch.no_grad():
            return minrnn_scan(projected, "mingru")

    contestants = {
        "forward, kernel alone": lambda: forward(x, None, None, None, None, None, spec),
        "forward, through the op": lambda: no_grad(x),
        "forward + backward, kernels alone": without_op,
        "forward + backward, through the op": with_op,
        "one step, around the op": lambda: no_grad(first_step),
    }
    times = {name: 1e3 * entry["median_ms"] for name, entry in measure(contestants, rounds, warm_ups=10).items()}
    added = times["forward, through the op"] - times["forward, kernel alone"]
    both = times["forward + backward, through the op"] - times["forward + backward, kernels alone"]
    return {"backend": backend, "microseconds": times, "added_forward": added, "added_forward_backward": both}


def table(result: dict) -> str:
    """Returns the results of one shape for the terminal."""
    lines = [runner.title(result)]
    lines += [f"  {name:<24}{entry['gb_per_s']:8.1f} GB/s" for name, entry in result["copies"].items()]
    for cell_type in CELL_TYPES:
        cell = result[cell_type]
        for part in ("forward", "forward_backward"):
            for name, entry in cell[part].items():
                label = f"{cell_type}, {part.replace('_', ' + ')}, {name}"
                floor = f"{entry['floor_gb_per_s']:8.1f} GB/s of the floor"
                lines.append(runner.timing_line(label, entry, more=floor))
        lines += runner.ratio_lines({f"{cell_type}, {name}": entry for name, entry in cell["ratios"].items()})
    return "\n".join(lines)


def draw(result: dict, path: Path) -> None:
    """Draws the bandwidth of forward + backward at every shape of a result file."""
    groups = {}
    ours = set()
    for entry in result["results"]:
        bars = {}
        for cell_type in CELL_TYPES:
            for name, timing in entry[cell_type]["forward_backward"].items():
                label = f"{cell_type}, {name}"
                bars[label] = timing["floor_gb_per_s"]
                if name in OP_BACKENDS:
                    ours.add(label)
        bars["copy"] = entry["copies"]["copy"]["gb_per_s"]
        groups[str(tuple(entry["shape"].values()))] = bars
    plot_bars(path, "Scan, forward + backward: GB/s of the memory it must move", "GB/s", groups, ours=tuple(ours))


def bench(options: argparse.Namespace) -> dict:
    """Measures all shapes and the overhead of the op; returns the content of the result file."""
    result = {"memory": runner.MEMORY, "dispatch": dispatch(10 if options.quick else 300)}
    shapes = QUICK_SHAPES if options.quick else SHAPES
    result["results"] = runner.in_turn(shapes, lambda shape: bench_shape(shape, options), table)
    print("\n".join(f"{name}: {value:.1f} us" for name, value in result["dispatch"]["microseconds"].items()))
    return result


def memory_of(name: str, cell_type: str, shape: tuple[int, int, int]) -> float:
    """Returns the MiB that a scan adds to the resident memory of this process."""
    scan_call(name, cell_type, (1, 4, 8))()  # loads code and starts threads
    return peak_memory(scan_call(name, cell_type, shape))


MEASURED = "float32, medians and quartiles of interleaved rounds"
BENCHMARK = runner.Benchmark(
    "training.bench.scan", __doc__, MEASURED, bench, rounds=9, quick=True, draw=draw, memory_of=memory_of
)


@reported
def main(argv: list[str] | None = None) -> dict:
    """Runs the benchmark; returns the content of the result file."""
    return BENCHMARK.run(BENCHMARK.parse(argv), argv)


if __name__ == "__main__":
    main()
