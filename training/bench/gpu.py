# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Checks the GPU kernels and measures their speed: one command on a machine with a GPU, within ten minutes.

    pip install -e ".[train,gpu]" minGRU-pytorch accelerated-scan flash-linear-attention einops   # the last 4: comparators
    python -m training.bench.gpu                        # writes training/results/bench_gpu.json and .png

First the kernels are compared with the default backend in float64, values and gradients: every pair of cell, candidate, dtype,
mask, resets, initial state, strides and size, and the shapes that are timed. If anything disagrees, no speed is reported. Then
follow medians of interleaved rounds, with the memory that each call adds:

- the scan, forward and backward, in CUDA graphs, as bytes over time, compared with a plain copy that moves as many bytes. The
  bytes are the floor: forward reads K parts and writes h; backward reads the parts, h and its gradient, and writes K gradients;
- the layer, input projection and scan, compared with cuDNN's nn.GRU and nn.LSTM and the comparators that are installed;
- one step of decoding in a CUDA graph.

At the end it prints which of this project's own targets are reached. A comparator that is not installed is left out, and so is
its target.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib import import_module
from pathlib import Path

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

import torch

from hf_minrnn import scan_triton
from hf_minrnn.gates import ScanSpec
from hf_minrnn.scan import scan_step
from hf_minrnn.scan_op import OP_BACKENDS
from training.bench import runner
from training.bench.calls import check_same, layer_call
from training.bench.contestants import LAYERS, floor_bytes, left_out
from training.bench.gpu_cases import BF16, FP32, LIMITS, check_case, check_whole, grid
from training.common import timing
from training.common.command_line import positive_int, reported
from training.common.errors import InputError
from training.common.plots import plot_bars
from training.common.timing import check_agreement, peak_gpu_memory

CELL_TYPES = ("mingru", "minlstm")
OURS = ("minGRU", "minLSTM")
# Neither layers that torch compiles nor those without GPU kernels: they take minutes.
LAYER_NAMES = (
    *OURS,
    "matmul of minGRU",
    "matmul of minLSTM",
    "nn.GRU",
    "nn.LSTM",
    "minGRU-pytorch",
    "accelerated-scan",
)
LAYER_NAMES += ("HGRN, chunk", "HGRN, fused recurrent", "nn.GRU, equal parameters")
SCANS = [(8, 4096, 2048, BF16), (1, 131072, 2048, BF16), (1, 131072, 512, BF16), (64, 512, 1024, BF16)]
SCANS += [(8, 4096, 2048, FP32), (1, 4096, 512, FP32)]
LAYER_SHAPES = [(8, 4096, 1024), (64, 512, 512)]
STEP_SHAPE = (64, 2048)
LARGE_AT_ONCE = 4  # timed shapes that are checked at once, as they fit into the memory of a card
# Targets: shares of a plain copy's bandwidth, by shape in bfloat16, and how many times faster than others a layer should be.
OF_COPY = {(8, 4096, 2048): {"forward": 0.8, "backward": 0.7}, (1, 131072, 2048): {"forward": 0.5}}
FASTER = {"nn.GRU": 10.0, "nn.GRU, equal parameters": 10.0, "HGRN, chunk": 1.0, "HGRN, fused recurrent": 1.0}
TARGET_SHAPE = LAYER_SHAPES[0]
ALL = {"cases": grid(), "scans": SCANS, "layers": LAYER_SHAPES}
QUICK = {
    "cases": [case for case in grid() if case.rows * case.time < 200],
    "scans": [(1, 8, 4, FP32)],
    "layers": [(2, 8, 16)],
}


def check_all(sizes: dict, backend: str, device: str, jobs: int) -> dict[str, list[float]]:
    """Returns the relative errors of all cases and timed shapes by name; raises `Disagreement`.

    They are compared in `jobs` processes, as compiling takes most of the time.
    """
    small = {str(case): (check_case, case, backend, device) for case in sizes["cases"]}
    large = {
        f"{cell}, {tuple(shape)}, {str(dtype)[6:]}": (check_whole, cell, tuple(shape), dtype, backend, device)
        for *shape, dtype in sizes["scans"]
        for cell in CELL_TYPES
    }
    if jobs == 1:
        return {name: check(*arguments) for name, (check, *arguments) in {**small, **large}.items()}
    errors = {}
    for checks, most in ((small, jobs), (large, LARGE_AT_ONCE)):
        with ProcessPoolExecutor(min(jobs, most), multiprocessing.get_context("spawn")) as pool:
            running = {name: pool.submit(*call) for name, call in checks.items()}
            errors |= {name: future.result() for name, future in running.items()}
    return errors


def milliseconds(function: Callable, calls: int, device: str) -> float:
    """Returns the time of one of `calls` calls, one right after the other."""
    if device == "cpu":
        begin = time.perf_counter()
        for _ in range(calls):
            function()
        return 1e3 * (time.perf_counter() - begin) / calls
    begin = torch.cuda.Event(enable_timing=True)
    end = torch.cuda.Event(enable_timing=True)
    begin.record()
    for _ in range(calls):
        function()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / calls


def recorded(function: Callable, calls: int) -> Callable[[], None]:
    """Returns a function that replays a CUDA graph of `calls` calls, which excludes the time to launch kernels."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(calls):
            function()
    return graph.replay


def measure(contestants: dict, rounds: int, device: str, calls: int = 5, graphs: bool = False) -> dict:
    """Times functions in interleaved rounds, as `timing.measure` does, by CUDA events.

    Args:
        contestants (`dict`): Functions without arguments, by name.
        rounds (`int`): Timed rounds, at least 2.
        calls (`int`): Calls of each function in a round.
        graphs (`bool`): Whether these calls are one replay of a CUDA graph.

    Returns:
        The `summary` of each function's milliseconds, and the MiB that one call adds.
    """
    memory = {}
    for name, function in contestants.items():
        milliseconds(function, 2, device)  # compiles
        memory[name] = peak_gpu_memory(function) if device == "cuda" else None
    in_one_call = 1
    if graphs:
        contestants = {name: recorded(function, calls) for name, function in contestants.items()}
        in_one_call = calls
    timer = partial(milliseconds, calls=calls // in_one_call, device=device)
    timings = timing.measure(contestants, rounds, warm_ups=0, calls=in_one_call, timer=timer)
    return {name: {**entry, "memory_mib": memory[name]} for name, entry in timings.items()}


def scan_contestants(
    cell_type: str, shape: tuple[int, int, int], dtype: torch.dtype, backend: str, device: str
) -> dict:
    """Returns the forward and the backward of a backend by name, each with the bytes that it must move."""
    batch, steps, channels = shape
    forward, backward = OP_BACKENDS[backend]
    spec = ScanSpec(cell_type)
    projected = torch.randn(batch, steps, spec.num_parts * channels, device=device).to(dtype)
    rest = (None, None, None, None, None, spec)
    h, final = forward(projected, *rest)
    forward_bytes, backward_bytes = floor_bytes(cell_type, shape, dtype.itemsize)
    return {
        f"{cell_type} forward": (lambda: forward(projected, *rest), forward_bytes),
        f"{cell_type} backward": (lambda: backward(h, final, projected, h, *rest), backward_bytes),
    }


def copy_of(size: int, device: str) -> Callable[[], torch.Tensor]:
    """Returns a function that moves `size` bytes: it reads half of them and writes the other half."""
    source, copy = torch.empty(2, size // 2, dtype=torch.uint8, device=device)
    return lambda: copy.copy_(source)


def bench_scan(shape: tuple[int, int, int], dtype: torch.dtype, backend: str, device: str, rounds: int) -> dict:
    """Measures a backend and plain copies that move as many bytes, in milliseconds and GB/s."""
    contestants, moved = {}, {}
    for cell_type in CELL_TYPES:
        for name, (function, size) in scan_contestants(cell_type, shape, dtype, backend, device).items():
            contestants |= {name: function, f"copy, {name}": copy_of(size, device)}
            moved |= {name: size, f"copy, {name}": size}
    timings = measure(contestants, rounds, device, graphs=device == "cuda")
    for name, entry in timings.items():
        entry["gb_per_s"] = moved[name] / entry["median_ms"] / 1e6
    return {"shape": list(shape), "dtype": str(dtype)[6:], "timings": timings}


def bench_layers(shape: tuple[int, int, int], device: str, rounds: int) -> dict:
    """Checks and measures the layers of `LAYER_NAMES` at one shape.

    A comparator that fails, or that disagrees with minGRU although it should compute the same, is left out. The result says
    why.
    """
    exact = {name: layer_call(name, shape, device) for name in OURS}
    for name, call in exact.items():
        call.check(name, call())
    absent, steps = {}, {}
    for name in LAYER_NAMES:
        reason = left_out(name, shape, device)
        if reason is not None:
            absent[name] = reason
            continue
        try:
            if LAYERS[name].same_as == "minGRU":
                check_same({"minGRU": exact["minGRU"], name: layer_call(name, shape, device)}, LAYERS)
            step = layer_call(name, shape, device, BF16)
            step()  # not every contestant takes bfloat16 everywhere
            steps[name] = step
        except Exception as error:  # other packages raise anything
            if name in OURS:
                raise
            absent[name] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    timings = measure(steps, rounds, device, 2)
    return {"shape": list(shape), "dtype": "bfloat16", "left_out": absent, "timings": timings}


def step_contestants(shape: tuple[int, int], device: str) -> dict[str, Callable]:
    """Returns one step of decoding as a kernel and in plain torch, each with its own state; raises `Disagreement`."""
    spec = ScanSpec("mingru")
    projected = torch.randn(shape[0], 2 * shape[1], device=device, dtype=BF16)
    state_of_kernel = torch.randn(shape, device=device)
    state_of_plain = state_of_kernel.clone()

    def kernel() -> torch.Tensor:
        return scan_triton.step_(projected, state_of_kernel, spec)

    def plain() -> torch.Tensor:
        h, state = scan_step(projected, state_of_plain, spec, backend="torch")
        state_of_plain.copy_(state)
        return h

    got = (kernel(), state_of_kernel)
    want = (plain(), state_of_plain)
    check_agreement("one step by the kernel and in torch (h, state)", got, want, (LIMITS[BF16][0], LIMITS[FP32][0]))
    return {"Triton kernel": kernel, "plain torch": plain}


def bench_step(rounds: int) -> dict:
    """Measures one step of decoding without the projection, each contestant in a CUDA graph."""
    timings = measure(step_contestants(STEP_SHAPE, "cuda"), rounds, "cuda", 100, graphs=True)
    return {"shape": list(STEP_SHAPE), "dtype": "bfloat16", "timings": timings}


def table(result: dict) -> str:
    """Returns one result for the terminal."""
    lines = [f"{tuple(result['shape'])} {result['dtype']}"]
    for name, entry in result["timings"].items():
        speed = f"{entry['gb_per_s']:9.0f} GB/s" if "gb_per_s" in entry else ""
        lines.append(runner.timing_line(name, entry, 4, speed, entry["memory_mib"]))
    return "\n".join(lines + [f"  {name:<30}left out: {why}" for name, why in result.get("left_out", {}).items()])


def targets_of_scans(results: list[dict]) -> dict:
    """Returns the shares of a plain copy's bandwidth that have a target."""
    found = {}
    for entry in results:
        shape = tuple(entry["shape"])
        wanted = OF_COPY.get(shape, {}) if entry["dtype"] == "bfloat16" else {}
        for cell_type in CELL_TYPES:
            for part, target in wanted.items():
                speed = entry["timings"][f"{cell_type} {part}"]["gb_per_s"]
                copy = entry["timings"][f"copy, {cell_type} {part}"]["gb_per_s"]
                found[f"{cell_type} {part} / copy at {shape}"] = {"ratio": speed / copy, "target": target}
    return found


def targets_of_layers(results: list[dict]) -> dict:
    """Returns the times of other layers over that of minGRU that have a target."""
    found = {}
    for entry in results:
        timings = entry["timings"] if tuple(entry["shape"]) == TARGET_SHAPE else {}
        for name, target in FASTER.items():
            if name in timings:
                found[f"{name} / minGRU at {TARGET_SHAPE}"] = runner.ratio_of(timings, name, "minGRU", target)
    return found


@torch.no_grad()
def bench_all(backend: str, device: str, rounds: int, sizes: dict, jobs: int = 1) -> dict:
    """Checks everything, then measures; returns the results without provenance."""
    errors = check_all(sizes, backend, device, jobs)
    print(f"{len(errors)} cases agree with float64", flush=True)

    def one_scan(scan: tuple) -> dict:
        return bench_scan(scan[:3], scan[3], backend, device, rounds)

    out = {"relative_errors": errors, "scan": runner.in_turn(sizes["scans"], one_scan, table)}
    with torch.enable_grad():
        out["layers"] = runner.in_turn(sizes["layers"], lambda shape: bench_layers(shape, device, rounds), table)
    out["step"] = runner.in_turn([rounds] if device == "cuda" else [], bench_step, table)
    out["targets"] = targets_of_scans(out["scan"]) | targets_of_layers(out["layers"])
    print("\n".join(runner.ratio_lines(out["targets"])))
    return out


def draw(result: dict, path: Path) -> None:
    """Draws the bandwidth of the scans in a result file."""
    groups = {}
    for entry in result["scan"]:
        bars = {name: found["gb_per_s"] for name, found in entry["timings"].items()}
        groups[f"{tuple(entry['shape'])}, {entry['dtype']}"] = bars
    ours = tuple(f"{cell_type} {part}" for cell_type in CELL_TYPES for part in ("forward", "backward"))
    plot_bars(path, "Scan on a GPU: GB/s of the memory it must move", "GB/s", groups, ours=ours, scale="linear")


def bench(options: argparse.Namespace) -> dict:
    """Measures everything on the first GPU; returns the content of the result file."""
    begin = time.perf_counter()
    result = {"triton": import_module("triton").__version__}
    result |= bench_all("triton", "cuda", options.rounds, QUICK if options.quick else ALL, options.jobs)
    return {**result, "seconds": time.perf_counter() - begin}


MEASURED = (
    "medians and quartiles of interleaved rounds, by CUDA events; scans and steps in CUDA graphs; layers forward + "
    "backward, called one after the other"
)
BENCHMARK = runner.Benchmark("training.bench.gpu", __doc__, MEASURED, bench, rounds=15, quick=True, draw=draw)


@reported
def main(argv: list[str] | None = None) -> dict:
    """Runs the benchmark on the first GPU; returns the content of the result file."""
    parser = BENCHMARK.parser()
    parser.set_defaults(threads=torch.get_num_threads())
    jobs = min(16, os.cpu_count() or 1)
    parser.add_argument("--jobs", type=positive_int, default=jobs, help="number of processes that check the kernels")
    options = BENCHMARK.parse(argv, parser)
    if not torch.cuda.is_available():
        raise InputError("torch finds no GPU here: run it on a machine with one")
    if not scan_triton.INSTALLED:
        raise InputError(packages.how_to_install(["triton"]))
    return BENCHMARK.run(options, argv)


if __name__ == "__main__":
    main()
