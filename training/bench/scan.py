# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""How fast is the scan, every backend of it: against the log-space scan, a loop and the floor of the memory, on a CPU.

    python -m training.bench.scan        # writes training/results/bench_scan.json and .png; leave the machine alone
    python -m training.bench.scan --threads 2 --output training/results/bench_scan_2_threads.json

The projected input is given; layers are bench_layers.py's. Float32, medians of rounds in which each contestant runs once.
Before anything is timed the contestants are compared, and the run ends if they don't agree. "Floor" is the memory that must be
moved: forward reads K parts and writes h, backward reads them, h and its gradient and writes K gradients.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

import torch
import torch.nn.functional as F

from hf_minrnn.gates import ScanSpec
from hf_minrnn.scan import minrnn_scan
from hf_minrnn.scan_choice import available_backends, resolve_backend
from hf_minrnn.scan_op import OP_BACKENDS
from training.common.files import write_json
from training.common.machine import provenance
from training.common.paths import RESULTS
from training.common.plots import plot_bars
from training.common.timing import check_agreement, in_new_process, measure, peak_memory, settings

SHAPES = [(1, 512, 256), (1, 4096, 512), (8, 512, 512), (64, 512, 64), (4, 16384, 256)]  # batch, time, channels
QUICK_SHAPES = [(2, 8, 16), (1, 33, 8)]
LONGEST_LOOP = 512  # steps; a loop with autograd at 4096 takes longer than everything else
PARTS = {"mingru": 2, "minlstm": 3}
# How far from the first backend, relative to the norm, h and the gradient may be. The log-space scan loses precision with
# length: 4e-4 at 4096 steps and gates N(0, 1) is its own error, not the scan's.
TOLERANCES = {"loop": (1e-4, 1e-4), "log-space": (1e-2, 1e-1)}
# How many times faster than the log-space scan a backend should be.
TARGETS = {"torch": 8.0, "numba": 20.0}


def target(backend: str, shape: tuple[int, int, int]) -> float | None:
    """What log-space's time over a backend's should reach, where something is asked of it."""
    if (
        shape not in SHAPES
        or (backend == "numba" and shape == SHAPES[0])
        or (backend == "torch" and shape == SHAPES[-1])
    ):
        return None
    return TARGETS.get(backend)


# --- what is compared ------------------------------------------------------------------------------------------------


def log_space_scan(log_decay, log_value):
    """h[t] = exp(log_decay[t]) * h[t-1] + exp(log_value[t]) from zero, as in appendix B of arXiv 2410.01201."""
    total = log_decay.cumsum(1)
    return torch.exp(total + torch.logcumsumexp(log_value - total, dim=1))


def log_activation(x):
    """log g(x), without a branch that could become infinite."""
    return torch.where(x >= 0, torch.log(F.relu(x) + 0.5), -F.softplus(-x))


def log_space(projected, cell_type):
    """minGRU or normalised minLSTM with g, all in logarithms."""
    *gates, candidate = projected.chunk(PARTS[cell_type], -1)
    # The input gate's logit: minLSTM's two gates divided by their sum are one.
    gate = gates[0] if cell_type == "mingru" else F.softplus(-gates[0]) - F.softplus(-gates[1])
    return log_space_scan(-F.softplus(gate), -F.softplus(-gate) + log_activation(candidate))


def loop(projected, cell_type):
    """minGRU with g, one step after the other, with autograd."""
    gate, candidate = projected.chunk(2, -1)
    z, v = torch.sigmoid(gate), torch.where(candidate >= 0, candidate + 0.5, torch.sigmoid(candidate))
    h, states = torch.zeros_like(v[:, 0]), []
    for z_t, v_t in zip(z.unbind(1), v.unbind(1)):
        h = torch.lerp(h, v_t, z_t)
        states.append(h)
    return torch.stack(states, 1)


def operations(backends) -> dict:
    """Functions of `(projected, cell_type)` by name."""
    ours = {name: lambda p, cell, name=name: minrnn_scan(p, cell, backend=name)[0] for name in backends}
    return {**ours, "log-space": log_space, "loop": loop}


def contestant(name: str, cell_type: str, shape: tuple[int, int, int], forward_only: bool = False):
    """A function without arguments that returns `(h, gradient by the projected input)`, or h alone."""
    batch, steps, channels = shape
    function = operations([name])[name]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, steps, PARTS[cell_type] * channels, generator=generator)
    grad = torch.randn(batch, steps, channels, generator=generator)

    def forward():
        with torch.no_grad():
            return function(x, cell_type)

    def both():
        leaf = x.detach().requires_grad_()
        out = function(leaf, cell_type)
        return out.detach(), torch.autograd.grad(out, leaf, grad)[0]

    return forward if forward_only else both


def names_of(cell_type: str, shape: tuple[int, int, int]) -> list[str]:
    """The contestants at a shape: the backends, and what they are compared with."""
    fast = [name for name in available_backends("cpu") if name in OP_BACKENDS and name != "reference"]
    return [*fast, "log-space"] + ["loop"] * (shape[1] <= LONGEST_LOOP and cell_type == "mingru")


# --- measuring -------------------------------------------------------------------------------------------------------


def floor_bytes(cell_type: str, shape: tuple[int, int, int], forward_only: bool = False) -> int:
    """Bytes that a float32 scan cannot avoid moving.

    >>> floor_bytes("mingru", (1, 1, 1), forward_only=True), floor_bytes("mingru", (1, 1, 1))
    (12, 36)
    """
    batch, steps, channels = shape
    parts = PARTS[cell_type]
    return 4 * batch * steps * channels * (parts + 1 if forward_only else 3 * parts + 3)


def copies(shape: tuple[int, int, int]) -> dict:
    """Plain copies of a tensor of this shape: into memory that is there, and into fresh memory as an output is."""
    source = torch.randn(shape)
    warm = torch.empty_like(source)
    return {"copy": lambda: warm.copy_(source), "copy to fresh memory": source.clone}


def bench_shape(shape: tuple[int, int, int], rounds: int, threads: int) -> dict:
    """Everything at one shape."""
    size = ",".join(map(str, shape))
    result = {"shape": dict(zip(("batch", "time", "channels"), shape)), "copies": measure(copies(shape), 3 * rounds)}
    copied = 8 * shape[0] * shape[1] * shape[2]
    for entry in result["copies"].values():
        entry["gb_per_s"] = copied / entry["median_ms"] / 1e6
    for cell_type in PARTS:
        names = names_of(cell_type, shape)
        steps = {name: contestant(name, cell_type, shape) for name in names}
        want = steps[names[0]]()
        errors = {
            name: check_agreement(
                f"{name} and {names[0]} (h, gradient)", steps[name](), want, TOLERANCES.get(name, (1e-5, 1e-5))
            )
            for name in names[1:]
        }
        timed = {(name, "both"): step for name, step in steps.items()}
        timed |= {
            (name, "forward"): contestant(name, cell_type, shape, forward_only=True) for name in names if name != "loop"
        }
        timings = measure(timed, rounds)
        for (_, part), entry in timings.items():
            entry["floor_gb_per_s"] = floor_bytes(cell_type, shape, part == "forward") / entry["median_ms"] / 1e6
        memory = ["--threads", str(threads), "--memory-of"]
        result[cell_type] = {
            "relative_errors": errors,
            "forward": {name: timings[name, part] for name, part in timings if part == "forward"},
            "forward_backward": {name: timings[name, part] for name, part in timings if part == "both"},
            "memory_mib": {
                name: in_new_process("training.bench.scan", [*memory, name, cell_type, size]) for name in names
            },
            "ratios": {
                f"log-space / {name}": {
                    "ratio": timings["log-space", "both"]["median_ms"] / timings[name, "both"]["median_ms"],
                    "target": target(name, shape),
                }
                for name in names
                if name not in TOLERANCES
            },
        }
    return result


def dispatch(rounds: int = 300) -> dict:
    """Microseconds that the custom op adds to its kernels, and what one step costs, which goes around it.

    Times of tiny scans, so that what is timed is the way there: functions of the backend that such a scan runs by default,
    called directly and through the op, and one step without gradient.
    """
    backend = resolve_backend("auto", "cpu", dtype=torch.float32, shape=(1, 2, 8))
    forward, backward = OP_BACKENDS[backend]
    spec, x = ScanSpec("mingru"), torch.randn(1, 2, 16)
    leaf, one, grad = x.clone().requires_grad_(), x[:, :1], torch.randn(1, 2, 8)
    final = torch.randn(1, 8)

    def without_op():
        h, _ = forward(x, None, None, None, None, None, spec)
        return backward(grad, final, x, h, None, None, None, None, None, spec)

    def no_grad(projected):
        with torch.no_grad():
            return minrnn_scan(projected, "mingru")

    def with_op():
        out = minrnn_scan(leaf, "mingru")
        return torch.autograd.grad(out, leaf, (grad, final))

    contestants = {
        "forward, kernel alone": lambda: forward(x, None, None, None, None, None, spec),
        "forward, through the op": lambda: no_grad(x),
        "forward + backward, kernels alone": without_op,
        "forward + backward, through the op": with_op,
        "one step, around the op": lambda: no_grad(one),
    }
    times = {name: 1e3 * entry["median_ms"] for name, entry in measure(contestants, rounds, warm_ups=10).items()}
    return {
        "backend": backend,
        "microseconds": times,
        "added_forward": times["forward, through the op"] - times["forward, kernel alone"],
        "added_forward_backward": times["forward + backward, through the op"]
        - times["forward + backward, kernels alone"],
    }


# --- report ----------------------------------------------------------------------------------------------------------


def table(result: dict) -> str:
    """One shape for the terminal."""
    lines = ["B={batch} T={time} D={channels}".format(**result["shape"])]
    lines += [f"  {name:<24}{entry['gb_per_s']:8.1f} GB/s" for name, entry in result["copies"].items()]
    for cell_type in PARTS:
        cell = result[cell_type]
        for part in ("forward", "forward_backward"):
            for name, entry in cell[part].items():
                lines.append(
                    f"  {cell_type:<8}{part.replace('_', ' + '):<20}{name:<12}{entry['median_ms']:10.2f} ms"
                    f"{entry['floor_gb_per_s']:8.1f} GB/s of the floor"
                )
        for name, entry in cell["ratios"].items():
            wanted = "" if entry["target"] is None else f"  target {entry['target']:g}x"
            missed = "" if entry["target"] is None or entry["ratio"] >= entry["target"] else "  MISSED"
            lines.append(f"  {cell_type:<8}{name:<30}{entry['ratio']:10.1f}x{wanted}{missed}")
    return "\n".join(lines)


def parse_arguments(argv) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=1, help="threads of every contestant (default: 1)")
    parser.add_argument("--rounds", type=int, help="timed rounds (default: 9, with --quick 2)")
    parser.add_argument("--quick", action="store_true", help="tiny shapes, to see that it runs; no speed to quote")
    parser.add_argument("--output", type=Path, default=RESULTS / "bench_scan.json", help="a PNG is written beside it")
    parser.add_argument("--memory-of", nargs=3, metavar=("NAME", "CELL", "B,T,D"), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    options.rounds = options.rounds or (2 if options.quick else 9)
    if options.rounds < 2 or options.threads < 1:
        parser.error("--rounds needs at least 2 and --threads at least 1")
    return options


def main(argv=None) -> dict:
    """Runs the benchmark, writes its result and its plot; returns what it wrote."""
    options = parse_arguments(argv)
    with settings(options.threads):
        if options.memory_of:
            name, cell_type, size = options.memory_of
            contestant(name, cell_type, (1, 4, 8))()  # loads code and starts threads
            memory = peak_memory(contestant(name, cell_type, tuple(map(int, size.split(",")))))
            print(memory)
            return {"memory_mib": memory}
        results = {
            **provenance("training.bench.scan", argv),
            "measured": "float32, medians and quartiles of interleaved rounds",
            "memory": "MiB added to the resident memory of a fresh process by one forward + backward",
            "rounds": options.rounds,
            "dispatch": dispatch(10 if options.quick else 300),
            "results": [],
        }
        for shape in QUICK_SHAPES if options.quick else SHAPES:
            result = bench_shape(shape, options.rounds, options.threads)
            results["results"].append(result)
            print(table(result), flush=True)
    print("\n".join(f"{name}: {value:.1f} us" for name, value in results["dispatch"]["microseconds"].items()))
    write_json(options.output, results)
    picture = options.output.with_suffix(".png")
    groups = {
        "({batch}, {time}, {channels})".format(**entry["shape"]): {
            f"{cell}, {name}": timing["floor_gb_per_s"]
            for cell in PARTS
            for name, timing in entry[cell]["forward_backward"].items()
        }
        | {"copy": entry["copies"]["copy"]["gb_per_s"]}
        for entry in results["results"]
    }
    ours = {label for values in groups.values() for label in values if label.split(", ")[-1] in OP_BACKENDS}
    plot_bars(picture, "Scan, forward + backward: GB/s of the memory it must move", "GB/s", groups, ours=ours)
    print(f"wrote {options.output} and {picture}")
    return results


if __name__ == "__main__":
    main()
