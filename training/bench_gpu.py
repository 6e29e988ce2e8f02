# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Checks and times the kernels on a GPU, all in one command and within ten minutes.

    python training/bench_gpu.py             # writes training/results/bench_gpu.json

First the tests of the kernels run on the card (`pytest -m gpu`); where one fails, no speed is reported. Then the scan, beside a
plain copy and the floor of the memory it must move; layers beside nn.GRU, nn.LSTM (cuDNN), flash-linear-attention's HGRN and
other minGRUs, of equal width and nn.GRU of equal parameters; and one step in a CUDA graph. Medians over interleaved rounds,
by CUDA's own clock. What is not installed is left out and named.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import torch
from bench_scan import PARTS
from contestants import LAYERS, SAME_AS_MINGRU, left_out
from report import write_json
from timing import check_agreement, provenance, settings, summary

from hf_minrnn.gates import ScanSpec
from hf_minrnn.scan import minrnn_scan
from hf_minrnn.scan_choice import available_backends

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "training" / "results"
SHAPES = [(8, 4096, 2048), (1, 131072, 2048), (1, 4096, 512), (64, 512, 64)]  # batch, time, channels
QUICK_SHAPES = [(2, 64, 32)]
LAYER_SHAPES = [(8, 512, 1024), (8, 4096, 1024)]
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}
# Of a plain copy's bandwidth, by shape and dtype: forward, backward.
TARGETS = {((8, 4096, 2048), "bfloat16"): (0.8, 0.7), ((1, 131072, 2048), "bfloat16"): (0.5, None)}
OVER_GRU, GRU_STEPS = 10.0, 4096


def floor_bytes(cell_type: str, shape: tuple[int, int, int], itemsize: int) -> tuple[int, int]:
    """Bytes that forward and backward of a scan cannot avoid moving.

    >>> floor_bytes("mingru", (1, 1, 1), 2), floor_bytes("minlstm", (1, 1, 1), 4)
    ((6, 12), (16, 32))
    """
    elements, parts = itemsize * shape[0] * shape[1] * shape[2], PARTS[cell_type]
    return elements * (parts + 1), elements * (2 * parts + 2)


def check_on_the_card() -> str:
    """Runs the kernels' tests on the GPU; returns pytest's last line.

    Raises:
        SystemExit: Where one fails, or none runs.
    """
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n",
        "0",
        "-m",
        "gpu",
        str(ROOT / "tests" / "test_scan_triton.py"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    last = done.stdout.strip().splitlines()[-1:] or [done.stderr[-300:]]
    if done.returncode or " passed" not in last[0]:
        raise SystemExit(f"{done.stdout[-3000:]}\nthe kernels' tests failed on this card: no speed is reported")
    return last[0]


def measure(contestants: dict, rounds: int) -> dict:
    """Milliseconds of each function by CUDA events, as `timing.summary`."""
    times = {name: [] for name in contestants}
    for turn in range(3 + rounds):
        for name, function in contestants.items():
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            function()
            end.record()
            end.synchronize()
            if turn >= 3:
                times[name].append(begin.elapsed_time(end))
    return {name: summary(values) for name, values in times.items()}


def bench_scan(shape: tuple[int, int, int], dtype: str, rounds: int) -> dict:
    """The scan at a shape: GB/s of the floor, forward and backward, beside a plain copy."""
    batch, time, channels = shape
    generator = torch.Generator("cuda").manual_seed(0)
    source = torch.randn(shape, device="cuda", generator=generator).to(DTYPES[dtype])
    target, contestants = torch.empty_like(source), {}
    contestants["copy"] = lambda: target.copy_(source)
    for cell in PARTS:
        x = torch.randn(batch, time, PARTS[cell] * channels, device="cuda", generator=generator).to(DTYPES[dtype])
        x.requires_grad_()
        h, _ = minrnn_scan(x, cell, backend="triton")
        if batch * time * channels <= 1 << 24:  # plain torch needs several times the memory
            want, _ = minrnn_scan(x, cell, backend="torch")
            check_agreement(f"{cell}, triton and torch", [h.float()], [want.float()], [1e-2])

        def forward(x=x, cell=cell):
            with torch.no_grad():
                minrnn_scan(x, cell, backend="triton")

        contestants[f"{cell}, forward"] = forward
        contestants[f"{cell}, backward"] = lambda h=h, x=x: torch.autograd.grad(h, x, target, retain_graph=True)
    timings = measure(contestants, rounds)
    itemsize = source.dtype.itemsize
    copied = 2 * itemsize * source.numel() / timings["copy"]["median_ms"] / 1e6
    timings["copy"]["gb_per_s"] = copied
    for cell in PARTS:
        moved = floor_bytes(cell, shape, itemsize)
        wanted = TARGETS.get((shape, dtype), (None, None)) if cell == "mingru" else (None, None)
        for way, size, share in zip(("forward", "backward"), moved, wanted):
            entry = timings[f"{cell}, {way}"]
            entry["floor_gb_per_s"] = size / entry["median_ms"] / 1e6
            entry["of_copy"], entry["target"] = entry["floor_gb_per_s"] / copied, share
    return {"shape": list(shape), "dtype": dtype, "timings": timings}


def layer_contestants(shape: tuple[int, int, int], dtype: torch.dtype) -> tuple[dict, dict]:
    """Functions that run forward + backward of each layer, by name; and why others are left out."""
    batch, time, channels = shape
    absent = {name: why for name in LAYERS if (why := left_out(name, shape, "cuda"))}
    makers = {name: (make, channels) for name, make in LAYERS.items() if name not in absent}
    # nn.GRU has 6 d (d + 1) weights, minGRU 2 d (d + 1): a square root of three narrower, to a multiple of 8.
    makers["nn.GRU, minGRU's parameters"] = (LAYERS["nn.GRU"], max(8, round(channels / 3**0.5 / 8) * 8))
    steps = {}
    for name, (make, width) in makers.items():
        torch.manual_seed(0)
        layer = make(width).to("cuda", dtype)
        generator = torch.Generator("cuda").manual_seed(0)
        x = torch.randn(batch, time, width, device="cuda", generator=generator).to(dtype).requires_grad_()
        grad = torch.randn(batch, time, width, device="cuda", generator=generator).to(dtype)

        def step(layer=layer, x=x, grad=grad):
            out = layer(x)
            return out.detach(), torch.autograd.grad(out, [x, *layer.parameters()], grad)[0]

        steps[name] = step
    return steps, absent


def bench_layers(shape: tuple[int, int, int], rounds: int) -> dict:
    """Layers, forward + backward in float32, and peak memory of each."""
    steps, absent = layer_contestants(shape, torch.float32)
    wanted = steps["minGRU"]()
    # Products in TF32 or another order are no disagreement.
    errors = {
        name: check_agreement(f"{name} and minGRU (h, gradient)", steps[name](), wanted, [max(x, 5e-3) for x in limits])
        for name, limits in SAME_AS_MINGRU.items()
        if name in steps
    }
    timings, memory = measure(steps, rounds), {}
    for name, step in steps.items():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        memory[name] = (torch.cuda.max_memory_allocated() - before) / 2**20
    ours = timings["minGRU"]["median_ms"]
    return {
        "shape": list(shape),
        "left_out": absent,
        "relative_errors": errors,
        "layers": timings,
        "memory_mib": memory,
        "ratios": {
            f"{name} / minGRU": {
                "ratio": entry["median_ms"] / ours,
                "target": OVER_GRU if "nn.GRU" in name and shape[1] == GRU_STEPS else 1.0 if "HGRN" in name else None,
            }
            for name, entry in timings.items()
            if name not in ("minGRU", "minLSTM") and not name.startswith("matmul")
        },
    }


def bench_step(channels: int, rounds: int) -> dict:
    """One step of a scan for one row: the fused kernel as it is and in a CUDA graph, and plain torch; microseconds."""
    from hf_minrnn.scan import scan_step
    from hf_minrnn.scan_triton import step_

    spec, state = ScanSpec("mingru"), torch.zeros(1, channels, device="cuda")
    projected = torch.randn(1, 2 * channels, device="cuda")
    with torch.no_grad():
        want, _ = scan_step(projected, state, spec)
        check_agreement("the fused step and plain torch", [step_(projected, state.clone(), spec)], [want], [1e-5])
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step_(projected, state, spec)
        contestants = {
            "fused": lambda: step_(projected, state, spec),
            "fused, in a CUDA graph": graph.replay,
            "plain torch": lambda: scan_step(projected, state, spec),
        }
        return {name: 1e3 * entry["median_ms"] for name, entry in measure(contestants, rounds).items()}


def main(argv: list[str] | None = None) -> dict:
    """Checks, measures, prints and writes the result file; returns what it wrote."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--quick", action="store_true", help="tiny shapes, to see that it runs; no speed to quote")
    parser.add_argument("--output", type=Path, default=RESULTS / "bench_gpu.json")
    args = parser.parse_args(argv)
    if not torch.cuda.is_available():
        raise SystemExit("bench_gpu.py needs a GPU that torch can use, and finds none")
    if "triton" not in available_backends("cuda"):
        raise SystemExit("bench_gpu.py needs triton: pip install 'hf-minrnn[gpu]'")
    if args.rounds < 2:
        parser.error("--rounds must be at least 2")
    with settings(threads=1):
        result = {**provenance("bench_gpu.py", argv), "checked": check_on_the_card(), "rounds": args.rounds}
        print(result["checked"], flush=True)
        result["scan"] = []
        for shape in QUICK_SHAPES if args.quick else SHAPES:
            for dtype in DTYPES:
                entry = bench_scan(shape, dtype, args.rounds)
                result["scan"].append(entry)
                for name, timing in entry["timings"].items():
                    rate = timing.get("gb_per_s") or timing["floor_gb_per_s"]
                    share = f", {timing['of_copy']:.0%} of the copy" if "of_copy" in timing else ""
                    print(
                        f"{shape} {dtype} {name:<20}{timing['median_ms']:9.3f} ms {rate:8.0f} GB/s{share}", flush=True
                    )
                torch.cuda.empty_cache()
        result["layers"] = []
        for shape in QUICK_SHAPES if args.quick else LAYER_SHAPES:
            result["layers"].append(entry := bench_layers(shape, max(2, args.rounds // 3)))
            for name, timing in entry["layers"].items():
                print(
                    f"{shape} {name:<32}{timing['median_ms']:9.3f} ms {entry['memory_mib'][name]:9.0f} MiB", flush=True
                )
            torch.cuda.empty_cache()
        result["step"] = bench_step(64 if args.quick else 2048, args.rounds)
        print(*(f"one step, {name}: {value:.1f} us" for name, value in result["step"].items()), sep="\n")
    write_json(args.output, result)
    print(f"wrote {args.output}")
    return result


if __name__ == "__main__":
    main()
