# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The paper's speed and memory claims: forward + backward of a layer against the length of the sequence.

    python -m training.bench.paper             # writes training/results/bench_paper.json and .png; about 6 minutes
    python -m training.bench.paper --full      # the paper's batch of 64 on a CPU too; on a GPU that is the default

arXiv 2410.01201 calls minGRU 175 and minLSTM 235 times faster than GRU and LSTM at 512 steps. Both speed-ups are measured:
against the naive layers, a Python loop over a cell with autograd, which the paper compares with, and against torch.nn's own,
cuDNN on a GPU. "Log-space" computes minGRU and minLSTM as the paper does, the bare names are this package's layers, and Mamba
is one mixer layer of transformers, with the scan of mambapy where it is installed. All have equal width, in float32, without
TF32. Before anything is timed, those that compute the same from the same weights are compared, and the run ends if they don't
agree.

Medians of rounds in which each contestant runs once; two rounds for those that take about a second and more. One that is
expected to take longer than `--limit` seconds, going by the lengths before, is left out from there on, and the result says so.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

import torch
from torch import nn

from hf_minrnn.scan_choice import resolve_backend
from training.bench.contestants import LAYERS
from training.bench.scan import TOLERANCES, log_space
from training.common.files import write_json
from training.common.machine import provenance
from training.common.paths import RESULTS
from training.common.timing import (
    check_agreement,
    measure,
    output_of_new_process,
    peak_memory,
    release_memory,
    settings,
)
from training.report.paper_speed_table import plot, terminal

LENGTHS = [64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384]
QUICK_LENGTHS = [4, 8]
CHANNELS = 64
# (batch, seconds that one call may take); "small" fits one thread of a CPU.
PRESETS = {"small": (8, 6.0), "full": (64, 30.0), "quick": (2, 6.0)}
WARM_UP = (8, 256)  # batch and steps; smaller scans go another way
SLOW = 0.5  # seconds at the length before: from there on two rounds


class StepByStep(nn.Module):
    """nn.GRU or nn.LSTM as a Python loop over its cell, with the same weights: what the paper compares with."""

    def __init__(self, fused: nn.GRU | nn.LSTM):
        super().__init__()
        make = nn.GRUCell if isinstance(fused, nn.GRU) else nn.LSTMCell
        self.cell = make(fused.input_size, fused.hidden_size)
        self.cell.load_state_dict({name.removesuffix("_l0"): weight for name, weight in fused.state_dict().items()})

    def forward(self, x):
        state, outputs = None, []
        for x_t in x.unbind(1):
            state = self.cell(x_t, state)
            outputs.append(state[0] if isinstance(state, tuple) else state)
        return torch.stack(outputs, 1)


class LogSpace(nn.Module):
    """A Linear and the log-space scan of the paper's appendix B. `cell_type` is "mingru" or "minlstm"."""

    def __init__(self, in_proj: nn.Linear, cell_type: str):
        super().__init__()
        self.in_proj, self.cell_type = in_proj, cell_type

    def forward(self, x):
        return log_space(self.in_proj(x), self.cell_type)


MAKERS = {  # name -> a function of the number of channels
    "GRU, step by step": lambda d: StepByStep(nn.GRU(d, d)),
    "LSTM, step by step": lambda d: StepByStep(nn.LSTM(d, d)),
    "nn.GRU": LAYERS["nn.GRU"],
    "nn.LSTM": LAYERS["nn.LSTM"],
    "minGRU, log-space": lambda d: LogSpace(LAYERS["minGRU"](d).module.in_proj, "mingru"),
    "minLSTM, log-space": lambda d: LogSpace(LAYERS["minLSTM"](d).module.in_proj, "minlstm"),
    "minGRU": LAYERS["minGRU"],
    "minLSTM": LAYERS["minLSTM"],
    "Mamba": LAYERS["Mamba"],
}
# What must be equal, values and gradients, and how nearly.
SAME = {
    ("GRU, step by step", "nn.GRU"): (1e-4, 1e-4),
    ("LSTM, step by step", "nn.LSTM"): (1e-4, 1e-4),
    ("minGRU, log-space", "minGRU"): TOLERANCES["log-space"],
    ("minLSTM, log-space", "minLSTM"): TOLERANCES["log-space"],
}


def make_step(name: str, batch: int, time: int, channels: int, device: str):
    """A function without arguments that runs forward + backward, waits for it, and returns `(output, gradient by the
    input)`, both `(batch, time, channels)`."""
    torch.manual_seed(0)
    layer = MAKERS[name](channels).to(device)
    generator = torch.Generator().manual_seed(time)
    x, grad = (torch.randn(batch, time, channels, generator=generator).to(device) for _ in range(2))
    x.requires_grad_()
    inputs = [x, *layer.parameters()]

    def step():
        output = layer(x)
        gradient = torch.autograd.grad(output, inputs, grad)[0]
        if device == "cuda":
            torch.cuda.synchronize()
        return output.detach(), gradient

    return step


def memory_on_gpu(step) -> float:
    """MiB that one call of `step` takes from the GPU's memory above what was in use before."""
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def memory_by_length(name: str, batch: int, lengths: list[int], channels: int) -> dict[str, float]:
    """MiB by which one call at each length raises this process's resident memory; for a fresh process."""
    make_step(name, *WARM_UP, channels, "cpu")()  # loads and compiles code, starts threads
    peaks = {}
    for time in lengths:
        step = make_step(name, batch, time, channels, "cpu")
        release_memory()
        peaks[str(time)] = peak_memory(step)
    return peaks


def bench(batch: int, lengths: list[int], channels: int, rounds: int, limit: float, device: str) -> dict:
    """Times and, on a GPU, memory at each length.

    Returns:
        `{"relative_errors": ..., "lengths": [{"time", "layers", "left_out", "memory_mib"}, ...]}`.
    """
    errors = {}
    for (name, other), limits in SAME.items():
        got, want = (make_step(n, batch, lengths[0], channels, device)() for n in (name, other))
        errors[name] = check_agreement(f"{name} and {other} (h, gradient)", got, want, limits)
    entries, left_out, last = [], {}, {}
    for time in lengths:
        steps, memory = {}, {}
        for name in MAKERS:
            if name in left_out:
                continue
            try:
                step = make_step(name, batch, time, channels, device)
                if device == "cuda":
                    step()
                    memory[name] = memory_on_gpu(step)
                steps[name] = step
            except torch.cuda.OutOfMemoryError:
                left_out[name] = f"does not fit into the GPU's memory at {time:,} steps"
        slow = {name: step for name, step in steps.items() if last.get(name, 0) > 1e3 * SLOW}
        layers = measure({name: step for name, step in steps.items() if name not in slow}, rounds) | measure(slow, 2)
        layers = {name: layers[name] for name in MAKERS if name in layers}
        before, last = last, {name: timing["median_ms"] for name, timing in layers.items()}
        entry = {"time": time, "layers": layers, "left_out": dict(left_out), "memory_mib": memory}
        entries.append(entry)
        print(terminal(entry), flush=True)
        for name, milliseconds in last.items():
            growth = max(2.0, milliseconds / before.get(name, milliseconds))  # Mamba's loop grows by the square
            if growth * milliseconds > 1e3 * limit:
                left_out[name] = f"{milliseconds / 1e3:.1f} s at {time:,} steps already"
    return {"relative_errors": errors, "lengths": entries}


def add_memory_on_cpu(entries: list[dict], batch: int, channels: int, threads: int) -> None:
    """Fills in `memory_mib`, each contestant in a process of its own; left empty where the system has no /proc."""
    for name in MAKERS:
        timed = [entry for entry in entries if name in entry["layers"]]
        lengths = ",".join(str(entry["time"]) for entry in timed)
        size = ["--batch", str(batch), "--channels", str(channels), "--threads", str(threads), "--device", "cpu"]
        output = output_of_new_process("training.bench.paper", [*size, "--memory-of", name, lengths])
        if output is None:
            return
        peaks = json.loads(output.splitlines()[-1])
        for entry in timed:
            entry["memory_mib"][name] = peaks[str(entry["time"])]


def parse_arguments(argv) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--full", action="store_true", help="the paper's batch of 64; the default on a GPU")
    parser.add_argument("--quick", action="store_true", help="tiny shapes, to see that it runs; no speed to quote")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda where there is one")
    parser.add_argument("--threads", type=int, default=1, help="threads of every contestant (default: 1)")
    parser.add_argument("--rounds", type=int, help="timed rounds; 2 of what is slow (default: 5)")
    parser.add_argument("--batch", type=int, help="default: 8 on a CPU, with --full or on a GPU 64")
    parser.add_argument("--channels", type=int, default=CHANNELS, help=f"width of every layer (default: {CHANNELS})")
    parser.add_argument("--longest", type=int, default=LENGTHS[-1], help="steps (default: all lengths)")
    parser.add_argument("--limit", type=float, help="seconds a call may be expected to take")
    parser.add_argument(
        "--output", type=Path, help="default: training/results/bench_paper.json, on a GPU bench_paper_gpu"
    )
    parser.add_argument("--memory-of", nargs=2, metavar=("NAME", "T,..."), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    options.device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    full = options.full or options.device == "cuda"
    options.preset = "quick" if options.quick else "full" if full else "small"
    batch, limit = PRESETS[options.preset]
    name = "bench_paper_gpu.json" if options.device == "cuda" else "bench_paper.json"
    options.output = options.output or RESULTS / name
    options.batch, options.limit = options.batch or batch, options.limit or limit
    options.rounds = options.rounds or (2 if options.quick else 5)
    options.lengths = [n for n in (QUICK_LENGTHS if options.quick else LENGTHS) if n <= options.longest]
    if options.rounds < 2 or min(options.threads, options.batch, options.channels, options.limit) <= 0:
        parser.error("--rounds needs at least 2; --threads, --batch, --channels and --limit must be positive")
    if not options.lengths:
        parser.error(f"--longest {options.longest} is below the shortest length of {min(LENGTHS)} steps")
    return options


def main(argv=None) -> dict:
    """Runs the benchmark, writes its result and its plot; returns what it wrote."""
    options = parse_arguments(argv)
    # cuDNN's layers would otherwise round to TF32, the matrix products of the others not.
    with settings(options.threads), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        if options.memory_of:
            name, lengths = options.memory_of
            peaks = memory_by_length(name, options.batch, [int(n) for n in lengths.split(",")], options.channels)
            print(json.dumps(peaks))
            return peaks
        result = {
            **provenance("training.bench.paper", argv),
            "measured": "forward + backward of one layer, float32, medians and quartiles of interleaved rounds",
            "memory": "MiB added by one forward + backward: on a CPU to the resident memory of a fresh process, on a GPU to "
            "what torch has allocated",
            "preset": options.preset,
            "device": options.device,
            "batch": options.batch,
            "channels": options.channels,
            "rounds": options.rounds,
            "limit_s": options.limit,
            "backend": resolve_backend(device=options.device),
            **bench(options.batch, options.lengths, options.channels, options.rounds, options.limit, options.device),
        }
        if options.device == "cpu":
            add_memory_on_cpu(result["lengths"], options.batch, options.channels, options.threads)
    write_json(options.output, result)
    picture = options.output.with_suffix(".png")
    plot(picture, result)
    print(f"wrote {options.output} and {picture}")
    return result


if __name__ == "__main__":
    main()
