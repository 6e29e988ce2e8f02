# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""How fast is the scan, and what does it need: against the log-space scan, a loop, nn.GRU and nn.LSTM, on a CPU.

    python training/bench_scan.py                       # one thread, four shapes, a few minutes; leave the machine alone
    python training/bench_scan.py --threads 2 --output training/results/bench_scan_2_threads.json

Every number is for forward + backward in float32, the median of rounds in which each contestant runs once. Before
anything is timed the contestants that compute the same thing are compared, and the run ends if they don't agree.
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from report import machine, versions, write_json

from hf_minrnn.scan import minrnn_scan, resolve_backend

SHAPES = [(1, 512, 256), (1, 4096, 512), (8, 512, 512), (64, 512, 64)]  # batch, time, channels
QUICK_SHAPES = [(2, 8, 16), (1, 33, 8)]
LONGEST_LOOP = 512  # steps; a loop with autograd at 4096 takes longer than everything else
# How far from the scan, relative to the norm, a contestant's h and gradient may be. The log-space scan loses precision
# with length: 4e-4 at 4096 steps and gates N(0, 1) is its own error, not the scan's.
TOLERANCES = {"loop": (1e-4, 1e-4), "log-space": (3e-3, 3e-2)}

# name of a ratio -> (part, slower, faster); how much longer the first takes than the second.
RATIOS = {
    "scan mingru / log-space": ("operation", "log-space mingru", "mingru"),
    "scan minlstm / log-space": ("operation", "log-space minlstm", "minlstm"),
    "scan mingru / loop": ("operation", "loop mingru", "mingru"),
    "layer mingru / nn.GRU": ("layer", "nn.GRU", "mingru"),
    "layer minlstm / nn.GRU": ("layer", "nn.GRU", "minlstm"),
    "layer mingru / nn.LSTM": ("layer", "nn.LSTM", "mingru"),
    "layer minlstm / nn.LSTM": ("layer", "nn.LSTM", "minlstm"),
}


def target(ratio: str, shape: tuple[int, int, int]) -> float | None:
    """What a ratio should reach, where something is asked of it."""
    if shape not in SHAPES:
        return None
    if ratio.endswith("log-space"):
        return 8.0
    last = shape == SHAPES[-1]
    return {"layer mingru / nn.GRU": 2.5 if last else 5.0, "layer minlstm / nn.LSTM": None if last else 2.5}.get(ratio)


class Disagreement(RuntimeError):
    """Contestants that should compute the same don't: their speed means nothing."""


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
    *gates, candidate = projected.chunk(2 if cell_type == "mingru" else 3, -1)
    # The input gate's logit: minLSTM's two gates divided by their sum are one.
    gate = gates[0] if cell_type == "mingru" else F.softplus(-gates[0]) - F.softplus(-gates[1])
    return log_space_scan(-F.softplus(gate), -F.softplus(-gate) + log_activation(candidate))


def loop(projected):
    """minGRU with g, one step after the other, with autograd."""
    gate, candidate = projected.chunk(2, -1)
    z, v = torch.sigmoid(gate), torch.where(candidate >= 0, candidate + 0.5, torch.sigmoid(candidate))
    h, states = torch.zeros_like(v[:, 0]), []
    for z_t, v_t in zip(z.unbind(1), v.unbind(1)):
        h = torch.lerp(h, v_t, z_t)
        states.append(h)
    return torch.stack(states, 1)


def scan(projected, cell_type, candidate_activation="g"):
    """The default backend."""
    return minrnn_scan(projected, cell_type, candidate_activation=candidate_activation)[0]


OPERATIONS = {  # name -> parts of the input, function of it
    "mingru": (2, lambda p: scan(p, "mingru")),
    "mingru identity": (2, lambda p: scan(p, "mingru", "identity")),
    "minlstm": (3, lambda p: scan(p, "minlstm")),
    "log-space mingru": (2, lambda p: log_space(p, "mingru")),
    "log-space minlstm": (3, lambda p: log_space(p, "minlstm")),
    "loop mingru": (2, loop),
}
LAYERS = {
    "mingru": lambda d: (torch.nn.Linear(d, 2 * d), lambda y: scan(y, "mingru")),
    "minlstm": lambda d: (torch.nn.Linear(d, 3 * d), lambda y: scan(y, "minlstm")),
    "matmul mingru": lambda d: (torch.nn.Linear(d, 2 * d), lambda y: y),
    "matmul minlstm": lambda d: (torch.nn.Linear(d, 3 * d), lambda y: y),
    "nn.GRU": lambda d: (torch.nn.GRU(d, d, batch_first=True), lambda y: y[0]),
    "nn.LSTM": lambda d: (torch.nn.LSTM(d, d, batch_first=True), lambda y: y[0]),
}


def contestant(part: str, name: str, shape: tuple[int, int, int]):
    """A function without arguments that runs forward + backward and returns `(output, gradient by the input)`."""
    batch, steps, channels = shape
    generator = torch.Generator().manual_seed(0)
    if part == "operation":
        parts, forward = OPERATIONS[name]
        x, learned = torch.randn(batch, steps, parts * channels, generator=generator), []
    else:
        torch.manual_seed(0)
        module, finish = LAYERS[name](channels)
        x, learned = torch.randn(batch, steps, channels, generator=generator), list(module.parameters())

        def forward(x):
            return finish(module(x))

    x.requires_grad_()
    with torch.no_grad():
        width = forward(x[:, :1]).shape[-1]
    grad = torch.randn(batch, steps, width, generator=generator)

    def step():
        out = forward(x)
        return out.detach(), torch.autograd.grad(out, [x, *learned], grad)[0]

    return step


def names_of(part: str, shape: tuple[int, int, int]) -> list[str]:
    """The contestants at a shape."""
    if part == "layer":
        return list(LAYERS)
    return [name for name in OPERATIONS if not name.startswith("loop") or shape[1] <= LONGEST_LOOP]


# --- measuring -------------------------------------------------------------------------------------------------------


def check_agreement(steps: dict) -> dict[str, list[float]]:
    """Relative errors `[h, gradient]` of the other operations against the scan's; raises where they are too large."""
    errors = {}
    for name, step in steps.items():
        kind, _, cell_type = name.partition(" ")
        if kind not in TOLERANCES:
            continue
        pairs = zip(step(), steps[cell_type]())
        errors[name] = [(torch.linalg.norm(got - want) / torch.linalg.norm(want)).item() for got, want in pairs]
        if not all(error <= limit for error, limit in zip(errors[name], TOLERANCES[kind])):
            raise Disagreement(f"{name} and the scan differ by {errors[name]} (h, gradient): no speed is reported")
    return errors


def measure(steps: dict, rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds of each function: every round runs each once, so that a slow minute slows all."""
    seconds = {name: [] for name in steps}
    for step in steps.values():  # first calls build caches and touch memory
        step()
    for _ in range(rounds):
        for name, step in steps.items():
            begin = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - begin)
    out = {}
    for name, values in seconds.items():
        q1, median, q3 = statistics.quantiles([1000 * value for value in values], n=4, method="inclusive")
        out[name] = {"median_ms": median, "q1_ms": q1, "q3_ms": q3}
    return out


def _memory_in_kib(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise OSError(f"no {field} in /proc/self/status")


def peak_memory(part: str, name: str, shape: tuple[int, int, int]) -> float:
    """MiB by which one forward + backward raises this process's resident memory, inputs and weights not counted.

    The kernel's count rather than the profiler's, which knows nothing of the scratch memory of matmul libraries. Meant
    for a fresh process: memory that an earlier call gave back to malloc would be used again and not be seen.
    """
    contestant(part, name, (1, 4, 8))()  # loads code and starts threads
    step = contestant(part, name, shape)
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
        before = _memory_in_kib("VmRSS")
    except PermissionError:
        before = _memory_in_kib("VmHWM")
    result = step()
    peak = _memory_in_kib("VmHWM")
    del result
    return max(peak - before, 0) / 1024


def peak_memory_of_a_new_process(part: str, name: str, shape: tuple[int, int, int], threads: int) -> float | None:
    """`peak_memory`, in a process of its own; None where the system has no /proc."""
    if not Path("/proc/self/status").exists():
        return None
    size = ",".join(map(str, shape))
    command = [sys.executable, __file__, "--threads", str(threads), "--memory-of", part, name, size]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the memory of {part} {name} could not be measured:\n{done.stderr}")
    return float(done.stdout.split()[-1])


def bench_shape(shape: tuple[int, int, int], rounds: int, threads: int) -> dict:
    """Everything at one shape."""
    result = {"shape": dict(zip(("batch", "time", "channels"), shape))}
    for part in ("operation", "layer"):
        steps = {name: contestant(part, name, shape) for name in names_of(part, shape)}
        if part == "operation":
            result["relative_errors"] = check_agreement(steps)
        result[part] = measure(steps, rounds)
        del steps
    result["memory_mib"] = {
        part: {name: peak_memory_of_a_new_process(part, name, shape, threads) for name in result[part]}
        for part in ("operation", "layer")
    }
    result["ratios"] = {
        ratio: {
            "ratio": result[part][slow]["median_ms"] / result[part][fast]["median_ms"],
            "target": target(ratio, shape),
        }
        for ratio, (part, slow, fast) in RATIOS.items()
        if slow in result[part]
    }
    return result


# --- report ----------------------------------------------------------------------------------------------------------


def allocator() -> dict[str, str]:
    """Settings that decide what a fresh large tensor costs."""
    prefixes = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD", "OMP_", "MKL_", "KMP_", "TORCH_", "DNNL_", "ONEDNN_")
    return {name: value for name, value in sorted(os.environ.items()) if name.startswith(prefixes)}


def table(result: dict) -> str:
    """One shape for the terminal."""
    lines = ["B={batch} T={time} D={channels}".format(**result["shape"])]
    for part in ("operation", "layer"):
        for name, timing in result[part].items():
            memory = result["memory_mib"][part][name]
            memory = "" if memory is None else f"{memory:9.1f} MiB"
            quartiles = f"({timing['q1_ms']:.2f} to {timing['q3_ms']:.2f})"
            lines.append(f"  {part:<10}{name:<20}{timing['median_ms']:10.2f} ms {quartiles:<24}{memory}")
    for name, entry in result["ratios"].items():
        wanted = "" if entry["target"] is None else f"  target {entry['target']:g}x"
        missed = "" if entry["target"] is None or entry["ratio"] >= entry["target"] else "  MISSED"
        lines.append(f"  {name:<30}{entry['ratio']:10.1f}x{wanted}{missed}")
    return "\n".join(lines)


def parse_arguments(argv) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=1, help="threads of every contestant (default: 1)")
    parser.add_argument("--rounds", type=int, help="timed rounds (default: 9, with --quick 2)")
    parser.add_argument("--quick", action="store_true", help="tiny shapes, to see that it runs; no speed to quote")
    parser.add_argument("--output", type=Path, help="a JSON file for the results")
    parser.add_argument("--memory-of", nargs=3, metavar=("PART", "NAME", "B,T,D"), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    options.rounds = options.rounds or (2 if options.quick else 9)
    if options.rounds < 2 or options.threads < 1:
        parser.error("--rounds needs at least 2 and --threads at least 1")
    return options


def main(argv=None) -> dict:
    """Runs the benchmark; returns what `--output` would hold."""
    options = parse_arguments(argv)
    threads_before = torch.get_num_threads()
    torch.set_num_threads(options.threads)
    try:
        if options.memory_of:
            part, name, size = options.memory_of
            memory = peak_memory(part, name, tuple(map(int, size.split(","))))
            print(memory)
            return {"memory_mib": memory}
        arguments = sys.argv[1:] if argv is None else argv
        results = {
            "command": shlex.join(["python", "training/bench_scan.py", *map(str, arguments)]),
            "measured": "forward + backward, float32, medians and quartiles of interleaved rounds",
            "memory": "MiB added to the resident memory of a fresh process by one forward + backward",
            "backend": resolve_backend(),
            "rounds": options.rounds,
            "machine": machine(),
            "versions": versions(),
            "allocator": allocator(),
            "results": [],
        }
        for shape in QUICK_SHAPES if options.quick else SHAPES:
            result = bench_shape(shape, options.rounds, options.threads)
            results["results"].append(result)
            print(table(result), flush=True)
        if options.output:
            write_json(options.output, results)
        return results
    finally:
        torch.set_num_threads(threads_before)


if __name__ == "__main__":
    main()
