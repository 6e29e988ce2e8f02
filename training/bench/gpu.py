# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Checks the GPU kernels and times them: one command on a machine with a GPU, within ten minutes.

    pip install -e ".[train,gpu]" minGRU-pytorch accelerated-scan flash-linear-attention einops   # the last four are peers
    python -m training.bench.gpu                        # writes training/results/bench_gpu.json and .png

First the kernels are compared with the default backend in float64, values and gradients: every pair of cell, candidate, dtype,
mask, boundaries, initial state, strides and size, and the shapes that are timed. Where anything disagrees, no speed is
reported. Then, as medians of interleaved rounds, with the memory that each call adds:

- the scan, forward and backward, in CUDA graphs, as bytes over time, beside a plain copy that moves as many bytes. The bytes
  are the floor: forward reads K parts and writes h, backward reads them, h and its gradient and writes K gradients;
- the layer, input projection and scan, beside cuDNN's nn.GRU and nn.LSTM and what else is installed;
- one step of decoding in a CUDA graph.

Last it says which of the project's own targets are reached. A peer that is not installed is left out, and so is its target.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

import torch

from hf_minrnn import scan_triton
from hf_minrnn.gates import NUM_PARTS, ScanSpec
from hf_minrnn.scan import scan_step
from hf_minrnn.scan_op import OP_BACKENDS
from training.bench.by_definition import check_layer
from training.bench.contestants import LAYERS, SAME_AS_MINGRU, Layer, left_out
from training.bench.gpu_cases import BF16, FP32, LIMITS, check_case, check_whole, grid
from training.bench.paper import memory_on_gpu
from training.common.files import write_json
from training.common.machine import provenance
from training.common.paths import RESULTS
from training.common.plots import plot_bars
from training.common.timing import check_agreement, orders, settings, summary

SCANS = [(8, 4096, 2048, BF16), (1, 131072, 2048, BF16), (1, 131072, 512, BF16), (64, 512, 1024, BF16)]
SCANS += [(8, 4096, 2048, FP32), (1, 4096, 512, FP32)]
LAYER_SHAPES = [(8, 4096, 1024), (64, 512, 512)]
STEP_SHAPE = (64, 2048)
LARGE_AT_ONCE = 4  # of the shapes that are timed, as they fit into the memory of a card
# Shares of a plain copy's bandwidth, by shape in bfloat16, and how many times faster than others a layer should be.
OF_COPY = {(8, 4096, 2048): {"forward": 0.8, "backward": 0.7}, (1, 131072, 2048): {"forward": 0.5}}
FASTER = {"nn.GRU": 10.0, "nn.GRU, equal parameters": 10.0, "HGRN, chunk": 1.0, "HGRN, fused recurrent": 1.0}
TARGET_SHAPE = LAYER_SHAPES[0]
QUICK = {
    "cases": [case for case in grid() if case.rows * case.time < 200],
    "scans": [(1, 8, 4, FP32)],
    "layers": [(2, 8, 16)],
}


def floor_bytes(cell_type: str, shape: tuple[int, int, int], itemsize: int) -> tuple[int, int]:
    """Bytes that forward and backward must move.

    >>> floor_bytes("mingru", (1, 1, 1), 2), floor_bytes("minlstm", (1, 1, 1), 4)
    ((6, 12), (16, 32))
    """
    batch, steps, channels = shape
    elements, parts = batch * steps * channels * itemsize, NUM_PARTS[cell_type]
    return (parts + 1) * elements, (2 * parts + 2) * elements


def equal_parameters(channels: int) -> int:
    """The hidden size at which nn.GRU has the weights of a minGRU of `channels`: 3 w (d + w) = 2 d^2, to eights.

    >>> equal_parameters(1024)
    472
    """
    return 8 * max(round(channels * (33**0.5 - 3) / 6 / 8), 1)


# --- right? ----------------------------------------------------------------------------------------------------------


def check_all(sizes: dict, backend: str, device: str, jobs: int) -> dict[str, list[float]]:
    """Relative errors by name of all that is compared, in `jobs` processes at once, for most of the time goes into compiling.

    Raises:
        Disagreement: Where one is too large.
    """
    small = {str(case): (check_case, case, backend, device) for case in sizes["cases"]}
    large = {
        f"{cell}, {tuple(shape)}, {str(dtype)[6:]}": (check_whole, cell, tuple(shape), dtype, backend, device)
        for *shape, dtype in sizes["scans"]
        for cell in ("mingru", "minlstm")
    }
    if jobs == 1:
        return {name: check(*arguments) for name, (check, *arguments) in {**small, **large}.items()}
    errors = {}
    for checks, most in ((small, jobs), (large, LARGE_AT_ONCE)):
        with ProcessPoolExecutor(min(jobs, most), multiprocessing.get_context("spawn")) as pool:
            running = {name: pool.submit(*call) for name, call in checks.items()}
            errors |= {name: future.result() for name, future in running.items()}
    return errors


# --- fast? -----------------------------------------------------------------------------------------------------------


def milliseconds(function, calls: int, device: str) -> float:
    """Of one of `calls` calls, one right after the other."""
    if device == "cpu":
        begin = time.perf_counter()
        for _ in range(calls):
            function()
        return 1e3 * (time.perf_counter() - begin) / calls
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    for _ in range(calls):
        function()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / calls


def recorded(function, calls: int):
    """A function that replays a CUDA graph of so many calls: the kernels' time, whatever the processor takes to start them."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(calls):
            function()
    return graph.replay


def measure(contestants: dict, rounds: int, device: str, calls: int = 5, graphs: bool = False) -> dict:
    """`summary` of each function's milliseconds, and the MiB that one call adds; every round runs each,
    in `orders`.

    Args:
        contestants (`dict`): Functions without arguments, by name.
        rounds (`int`): Timed rounds, at least 2.
        calls (`int`): Of each in a round.
        graphs (`bool`): Whether those calls are one replay of a CUDA graph.
    """
    times = {name: [] for name in contestants}
    memory = {}
    for name, function in contestants.items():
        milliseconds(function, 2, device)  # compiles
        memory[name] = memory_on_gpu(function) if device == "cuda" else None
    if graphs:
        contestants = {name: recorded(function, calls) for name, function in contestants.items()}
    for order in orders(contestants, rounds):
        for name in order:
            once = milliseconds(contestants[name], 1 if graphs else calls, device)
            times[name].append(once / calls if graphs else once)
    return {name: {**summary(values), "memory_mib": memory[name]} for name, values in times.items()}


def bench_scan(shape, dtype: torch.dtype, backend: str, device: str, rounds: int) -> dict:
    """The kernels and plain copies, with GB/s over the floor."""
    batch, steps, channels = shape
    contestants, moved = {}, {}
    for cell_type in ("mingru", "minlstm"):
        spec, (forward, backward) = ScanSpec(cell_type), OP_BACKENDS[backend]
        projected = torch.randn(batch, steps, spec.num_parts * channels, device=device).to(dtype)
        rest = (None, None, None, None, None, spec)
        h, final = forward(projected, *rest)

        def run_forward(forward=forward, projected=projected, rest=rest):
            return forward(projected, *rest)

        def run_backward(backward=backward, projected=projected, h=h, final=final, rest=rest):
            return backward(h, final, projected, h, *rest)

        for name, run, size in zip(
            (f"{cell_type} forward", f"{cell_type} backward"),
            (run_forward, run_backward),
            floor_bytes(cell_type, shape, dtype.itemsize),
        ):
            source, target = torch.empty(2, size // 2, dtype=torch.uint8, device=device)
            contestants[name], moved[name] = run, size
            contestants[f"copy, {name}"] = lambda target=target, source=source: target.copy_(source)
            moved[f"copy, {name}"] = size
    timings = measure(contestants, rounds, device, graphs=device == "cuda")
    for name, timing in timings.items():
        timing["gb_per_s"] = moved[name] / timing["median_ms"] / 1e6
    return {"shape": list(shape), "dtype": str(dtype)[6:], "timings": timings}


def make_layer(name: str, shape, dtype: torch.dtype, device: str):
    """A layer, its input and the gradient of its output, the same at every call."""
    batch, steps, channels = shape
    torch.manual_seed(0)
    if name == "nn.GRU, equal parameters":
        layer = Layer(torch.nn.GRU(channels, equal_parameters(channels), batch_first=True), lambda y: y[0])
    else:
        layer = LAYERS[name](channels)
    layer = layer.to(device, dtype)
    x = torch.randn(batch, steps, channels, generator=torch.Generator().manual_seed(0)).to(device, dtype)
    x.requires_grad_()
    width = layer(x[:1, :2]).shape[-1]
    grad = torch.randn(batch, steps, width, generator=torch.Generator().manual_seed(1)).to(device, dtype)
    return layer, x, grad


def layer_step(name: str, shape, dtype: torch.dtype, device: str):
    """A function that runs a layer forward and backward and returns `(output, gradient by the input)`."""
    layer, x, grad = make_layer(name, shape, dtype, device)

    def step():
        out = layer(x)
        return out.detach(), torch.autograd.grad(out, [x, *layer.parameters()], grad)[0]

    return step


def check_ours(name: str, shape, device: str):
    """Compares the outer rows of one of our layers with its definition; returns what it computed in float32."""
    got = layer_step(name, shape, FP32, device)()
    check_layer(name, *make_layer(name, shape, FP32, device), got)
    return got


def bench_layers(shape, device: str, rounds: int) -> dict:
    """Layers that are compiled by torch and those without GPU kernels stay out: they take minutes. A peer that fails, or that
    should compute what minGRU does and does not, is left out too, and why is in the result."""
    names = [name for name in LAYERS if "compiled" not in name and name != "Mamba"]
    absent = {name: why for name in names if (why := left_out(name, shape, device))}
    want, _ = (check_ours(name, shape, device) for name in ("minGRU", "minLSTM"))
    steps = {}
    for name in [*names, "nn.GRU, equal parameters"]:
        if name in absent:
            continue
        try:
            if name in SAME_AS_MINGRU:
                got = layer_step(name, shape, FP32, device)()
                check_agreement(f"{name} and minGRU (h, gradient)", got, want, SAME_AS_MINGRU[name])
            step = layer_step(name, shape, BF16, device)
            step()  # not every contestant takes bfloat16 everywhere
            steps[name] = step
        except Exception as error:  # whatever others' packages raise
            if name.startswith(("minGRU", "minLSTM")) and name not in SAME_AS_MINGRU:
                raise
            absent[name] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    return {"shape": list(shape), "dtype": "bfloat16", "left_out": absent, "timings": measure(steps, rounds, device, 2)}


def step_contestants(shape, device: str) -> dict:
    """A step of decoding as a kernel and in plain torch, each on a state of its own; raises `Disagreement` if they differ."""
    spec = ScanSpec("mingru")
    projected = torch.randn(shape[0], 2 * shape[1], device=device, dtype=BF16)
    states = [x.clone() for x in [torch.randn(shape, device=device)] * 2]

    def kernel():
        return scan_triton.step_(projected, states[0], spec)

    def plain():
        h, state = scan_step(projected, states[1], spec, backend="torch")
        states[1].copy_(state)
        return h

    got, want = ((step(), state) for step, state in zip((kernel, plain), states))
    check_agreement("one step by the kernel and in torch (h, state)", got, want, (LIMITS[BF16][0], LIMITS[FP32][0]))
    return {"Triton kernel": kernel, "plain torch": plain}


def bench_step(rounds: int) -> dict:
    """A step of decoding, each contestant in a CUDA graph, without the projection."""
    timings = measure(step_contestants(STEP_SHAPE, "cuda"), rounds, "cuda", 100, graphs=True)
    return {"shape": list(STEP_SHAPE), "dtype": "bfloat16", "timings": timings}


# --- report ----------------------------------------------------------------------------------------------------------


def table(result: dict) -> str:
    """One result for the terminal."""
    lines = [f"{tuple(result['shape'])} {result['dtype']}"]
    for name, timing in result["timings"].items():
        speed = f"{timing['gb_per_s']:9.0f} GB/s" if "gb_per_s" in timing else ""
        quartiles = f"({timing['q1_ms']:.4f} to {timing['q3_ms']:.4f})"
        memory = "" if timing["memory_mib"] is None else f"{timing['memory_mib']:9.1f} MiB"
        lines.append(f"  {name:<28}{timing['median_ms']:10.4f} ms {quartiles:<24}{speed}{memory}")
    return "\n".join(lines + [f"  {name:<28}left out: {why}" for name, why in result.get("left_out", {}).items()])


def verdict(results: dict) -> dict:
    """What the project asks of these numbers, as far as it was measured: `{"ratio", "target"}` by name."""
    out = {}
    for entry in results["scan"]:
        wanted = OF_COPY.get(tuple(entry["shape"]), {}) if entry["dtype"] == "bfloat16" else {}
        for cell_type in ("mingru", "minlstm"):
            for part, target in wanted.items():
                speeds = [entry["timings"][f"{kind}{cell_type} {part}"]["gb_per_s"] for kind in ("", "copy, ")]
                name = f"{cell_type} {part} / copy at {tuple(entry['shape'])}"
                out[name] = {"ratio": speeds[0] / speeds[1], "target": target}
    for entry in results["layers"]:
        timings = entry["timings"] if tuple(entry["shape"]) == TARGET_SHAPE else {}
        for name, target in FASTER.items():
            if name in timings:
                ratio = timings[name]["median_ms"] / timings["minGRU"]["median_ms"]
                out[f"{name} / minGRU at {TARGET_SHAPE}"] = {"ratio": ratio, "target": target}
    return out


@torch.no_grad()
def bench(backend: str, device: str, rounds: int, sizes: dict, jobs: int = 1) -> dict:
    """Checks, then times; returns what `main` writes, less where it was measured."""
    errors = check_all(sizes, backend, device, jobs)
    out = {"relative_errors": errors, "scan": [], "layers": [], "step": []}
    print(f"{len(errors)} cases agree with float64", flush=True)
    for *shape, dtype in sizes["scans"]:
        out["scan"].append(bench_scan(tuple(shape), dtype, backend, device, rounds))
        print(table(out["scan"][-1]), flush=True)
    with torch.enable_grad():
        for shape in sizes["layers"]:
            out["layers"].append(bench_layers(shape, device, rounds))
            print(table(out["layers"][-1]), flush=True)
    if device == "cuda":
        out["step"].append(bench_step(rounds))
        print(table(out["step"][-1]), flush=True)
    out["targets"] = verdict(out)
    for name, entry in out["targets"].items():
        missed = "" if entry["ratio"] >= entry["target"] else "  MISSED"
        print(f"{name:<60}{entry['ratio']:8.2f}  target {entry['target']:g}{missed}")
    return out


def plot(path: Path, results: dict) -> None:
    """The scans' GB/s as a PNG."""
    groups = {
        f"{tuple(entry['shape'])}, {entry['dtype']}": {n: t["gb_per_s"] for n, t in entry["timings"].items()}
        for entry in results["scan"]
    }
    ours = tuple(f"{cell_type} {part}" for cell_type in ("mingru", "minlstm") for part in ("forward", "backward"))
    plot_bars(path, "Scan on a GPU: GB/s of the memory it must move", "GB/s", groups, ours=ours, scale="linear")


def main(argv=None) -> dict:
    """Runs everything on the first GPU and returns what it wrote; ends with one line where there is no GPU."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=15, help="timed rounds (default: 15)")
    parser.add_argument("--jobs", type=int, default=min(16, os.cpu_count() or 1), help="processes that check at once")
    parser.add_argument("--quick", action="store_true", help="tiny shapes, to see that it runs; no speed to quote")
    parser.add_argument("--output", type=Path, default=RESULTS / "bench_gpu.json", help="a PNG is written beside it")
    options = parser.parse_args(argv)
    if not torch.cuda.is_available():
        raise SystemExit("training.bench.gpu: torch finds no GPU here: run it on a machine with one")
    if not scan_triton.INSTALLED:
        raise SystemExit(f"training.bench.gpu: {packages.how_to_install(['triton'])}")
    sizes = QUICK if options.quick else {"cases": grid(), "scans": SCANS, "layers": LAYER_SHAPES}
    with settings(torch.get_num_threads()):
        results = provenance("training.bench.gpu", argv)
        begin = time.perf_counter()
        results["measured"] = (
            "medians and quartiles of interleaved rounds, by CUDA events; scans and steps in CUDA graphs; layers forward + "
            "backward, called one after the other"
        )
        results["triton"] = __import__("triton").__version__
        results |= {"rounds": options.rounds, **bench("triton", "cuda", options.rounds, sizes, options.jobs)}
        results["seconds"] = time.perf_counter() - begin
    write_json(options.output, results)
    picture = options.output.with_suffix(".png")
    plot(picture, results)
    print(f"wrote {options.output} and {picture} after {results['seconds']:.0f} s")
    return results


if __name__ == "__main__":
    main()
