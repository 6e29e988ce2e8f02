# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""How fast is a layer (input projection and scan) beside others of equal width, and what memory does it need.

    python -m training.bench.layers      # writes training/results/bench_layers.json and .png; leave the machine alone
    python -m training.bench.layers --ours --threads 2 --output training/results/bench_layers_2_threads.json
    GLIBC_TUNABLES=glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=8589934592 \\
        python -m training.bench.layers --ours --output training/results/bench_layers_kept_memory.json

Forward + backward in float32, medians of rounds in which each contestant runs once. Before anything is timed, ours are
compared with their definition in float64, and the others that compute minGRU with ours, all on the same weights; the run
ends if they don't agree. The last command keeps freed memory in the process: by default glibc gives it back, and the
system hands it out anew page by page, which costs a narrow layer about as much as its scan.
"""

from __future__ import annotations

import argparse
import gc
from pathlib import Path

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

import torch

from hf_minrnn.scan_choice import resolve_backend
from training.bench.by_definition import check_layer
from training.bench.contestants import LAYERS, SAME_AS_MINGRU, left_out
from training.common.files import write_json
from training.common.machine import provenance
from training.common.paths import RESULTS
from training.common.plots import plot_bars
from training.common.timing import check_agreement, in_new_process, measure, peak_memory, release_memory, settings

SHAPES = [(1, 512, 256), (1, 4096, 512), (8, 512, 512), (64, 512, 64), (4, 16384, 256)]  # batch, time, channels
QUICK_SHAPES = [(2, 8, 16), (1, 33, 8)]
# What share of the time of its own matmul a layer should take at most, and how many times faster than nn.GRU and nn.LSTM it
# should be. Nothing is asked of the smallest shape beside its matmul.
OF_MATMUL, OF_MATMUL_NARROW = 1.25, 1.35
NARROW = (64, 512, 64)
OURS = ("minGRU", "minLSTM")
OURS_ALONE = (*OURS, "matmul of minGRU", "matmul of minLSTM")


def target(ours: str, other: str, shape: tuple[int, int, int]) -> float | None:
    """What the ratio of another's time to ours should reach; of a matmul's to ours at least 1 / 1.25."""
    if shape not in SHAPES:
        return None
    if other == f"matmul of {ours}":
        return None if shape == SHAPES[0] else 1 / (OF_MATMUL_NARROW if shape == NARROW else OF_MATMUL)
    if (ours, other) in (("minGRU", "nn.GRU"), ("minLSTM", "nn.LSTM")):
        return None if shape == NARROW and ours == "minLSTM" else 2.5 if shape == NARROW or ours == "minLSTM" else 5.0
    return None


def make(name: str, shape: tuple[int, int, int]):
    """A layer, its input and the gradient of its output, the same at every call."""
    batch, time, channels = shape
    torch.manual_seed(0)
    layer = LAYERS[name](channels)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, time, channels, generator=generator).requires_grad_()
    with torch.no_grad():
        width = layer(x[:1, :2]).shape[-1] if "compiled" not in name else channels
    return layer, x, torch.randn(batch, time, width, generator=generator)


def contestant(name: str, shape: tuple[int, int, int]):
    """A function without arguments that runs forward + backward and returns `(output, gradient by the input)`."""
    layer, x, grad = make(name, shape)

    def step():
        out = layer(x)
        return out.detach(), torch.autograd.grad(out, [x, *layer.parameters()], grad)[0]

    return step


def check_ours(name: str, got, shape: tuple[int, int, int]) -> list[float]:
    """Compares the outer rows of what a contestant of ours returned with the definition; raises `Disagreement`."""
    return check_layer(name, *make(name, shape), got)


def bench_shape(shape: tuple[int, int, int], rounds: int, threads: int, names: tuple[str, ...]) -> dict:
    """Every contestant of these names at one shape."""
    absent = {name: why for name in names if (why := left_out(name, shape, "cpu"))}
    steps = {name: contestant(name, shape) for name in names if name not in absent}
    found = {name: steps[name]() for name in OURS}
    errors = {name: check_ours(name, got, shape) for name, got in found.items()}
    errors |= {
        name: check_agreement(f"{name} and minGRU (h, gradient)", steps[name](), found["minGRU"], limits)
        for name, limits in SAME_AS_MINGRU.items()
        if name in steps
    }
    timings = measure(steps, rounds)
    memory = ["--threads", str(threads), "--memory-of"]
    size = ",".join(map(str, shape))
    return {
        "shape": dict(zip(("batch", "time", "channels"), shape)),
        "left_out": absent,
        "relative_errors": errors,
        "layers": timings,
        "memory_mib": {name: in_new_process("training.bench.layers", [*memory, name, size]) for name in steps},
        "ratios": {
            f"{other} / {ours}": {
                "ratio": timings[other]["median_ms"] / timings[ours]["median_ms"],
                "target": target(ours, other, shape),
            }
            for ours in OURS
            for other in steps
            if other not in OURS and not (other.startswith("matmul") and not other.endswith(ours))
        },
    }


def memory_of(name: str, shape: tuple[int, int, int]) -> float | None:
    """MiB that forward + backward add to the resident memory of this process, which should be a fresh one."""
    contestant(name, (2, 256, 64))()  # loads and compiles code, starts threads; smaller scans go another way
    step = contestant(name, shape)
    if "compiled" in name:  # for each shape anew, and what that needs is not what running needs
        step()
        gc.collect()
        release_memory()
    return peak_memory(step)


def table(result: dict) -> str:
    """One shape for the terminal."""
    lines = ["B={batch} T={time} D={channels}".format(**result["shape"])]
    for name, timing in result["layers"].items():
        memory = result["memory_mib"].get(name)
        memory = "" if memory is None else f"{memory:9.1f} MiB"
        quartiles = f"({timing['q1_ms']:.2f} to {timing['q3_ms']:.2f})"
        lines.append(f"  {name:<30}{timing['median_ms']:10.2f} ms {quartiles:<24}{memory}")
    for name, entry in result["ratios"].items():
        wanted = "" if entry["target"] is None else f"  target {entry['target']:.2f}x"
        missed = "" if entry["target"] is None or entry["ratio"] >= entry["target"] else "  MISSED"
        lines.append(f"  {name:<40}{entry['ratio']:10.2f}x{wanted}{missed}")
    return "\n".join(lines)


def parse_arguments(argv) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=1, help="threads of every contestant (default: 1)")
    parser.add_argument("--rounds", type=int, help="timed rounds (default: 7, with --quick 2)")
    parser.add_argument("--ours", action="store_true", help="only the project's own layers and their matmuls")
    parser.add_argument("--quick", action="store_true", help="tiny shapes, to see that it runs; no speed to quote")
    parser.add_argument("--output", type=Path, default=RESULTS / "bench_layers.json", help="a PNG is written beside it")
    parser.add_argument("--memory-of", nargs=2, metavar=("NAME", "B,T,D"), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    options.rounds = options.rounds or (2 if options.quick else 7)
    if options.rounds < 2 or options.threads < 1:
        parser.error("--rounds needs at least 2 and --threads at least 1")
    return options


def main(argv=None) -> dict:
    """Runs the benchmark, writes its result and its plot; returns what it wrote."""
    options = parse_arguments(argv)
    with settings(options.threads):
        if options.memory_of:
            name, size = options.memory_of
            memory = memory_of(name, tuple(map(int, size.split(","))))
            print(memory)
            return {"memory_mib": memory}
        results = {
            **provenance("training.bench.layers", argv),
            "measured": "forward + backward, float32, medians and quartiles of interleaved rounds",
            "memory": "MiB added to the resident memory of a fresh process by one forward + backward",
            "backend": resolve_backend(),
            "rounds": options.rounds,
            "results": [],
        }
        for shape in QUICK_SHAPES if options.quick else SHAPES:
            result = bench_shape(shape, options.rounds, options.threads, OURS_ALONE if options.ours else tuple(LAYERS))
            results["results"].append(result)
            print(table(result), flush=True)
    write_json(options.output, results)
    picture = options.output.with_suffix(".png")
    groups = {
        "({batch}, {time}, {channels})".format(**entry["shape"]): {
            n: t["median_ms"] for n, t in entry["layers"].items()
        }
        for entry in results["results"]
    }
    plot_bars(picture, "Layers, forward + backward", "ms", groups, ours=OURS)
    print(f"wrote {options.output} and {picture}")
    return results


if __name__ == "__main__":
    main()
