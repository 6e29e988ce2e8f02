# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Measures the speed and memory claims of the paper: forward + backward of a layer against the length of the sequence.

    python -m training.bench.paper             # writes training/results/bench_paper.json and .png; about 6 minutes
    python -m training.bench.paper --full      # the paper's batch of 64 on a CPU too; on a GPU that is the default

arXiv 2410.01201 calls minGRU 175 and minLSTM 235 times faster than GRU and LSTM at 512 steps. Both speed-ups are measured:
against the naive layers, a Python loop over a cell with autograd, which the paper compares with, and against torch.nn's own,
cuDNN on a GPU. "Log-space" computes minGRU and minLSTM as the paper does, the bare names are this package's layers, and Mamba
is one mixer layer of transformers, with the scan of mambapy where it is installed. All have equal width, in float32, without
TF32. Before anything is timed, those that compute the same from the same weights are compared, and the script ends if they
disagree.

Medians of rounds in which each contestant runs once; two rounds for those that take about a second and more. A contestant that
is expected to take longer than `--limit` seconds, going by shorter lengths, is left out from there on; the result file says so.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

import torch

from hf_minrnn.scan_choice import resolve_backend
from training.bench import runner
from training.bench.calls import check_same, layer_call
from training.bench.contestants import LAYERS
from training.bench.paper_plot import PAIRS, draw, ratio
from training.common.command_line import positive, positive_int, reported
from training.common.paths import RESULTS
from training.common.timing import measure, peak_gpu_memory, peak_memory, release_memory

LENGTHS = [64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384]
QUICK_LENGTHS = [4, 8]
CHANNELS = 64
NAMES = ("GRU, step by step", "LSTM, step by step", "nn.GRU", "nn.LSTM", "minGRU, log-space", "minLSTM, log-space")
NAMES += ("minGRU", "minLSTM", "Mamba")
# (batch, seconds that one call may take); "small" fits one thread of a CPU.
PRESETS = {"small": (8, 6.0), "full": (64, 30.0), "quick": (2, 6.0)}
WARM_UP = (8, 256)  # batch and steps; smaller scans run on another backend
SLOW = 0.5  # seconds at the length before: from there on two rounds
MEMORY = (
    "MiB added by one forward + backward: on a CPU to the resident memory of a fresh process, on a GPU to what torch has "
    "allocated"
)


def make_call(name: str, time: int, options: argparse.Namespace) -> Callable:
    """Returns forward + backward of a layer; on a GPU it waits for the result."""
    call = layer_call(name, (options.batch, time, options.channels), options.device)
    if options.device == "cpu":
        return call

    def finished():
        result = call()
        torch.cuda.synchronize()
        return result

    return finished


def measured_rounds(calls: dict[str, Callable], last: dict[str, float], rounds: int) -> dict:
    """Times the layers at one length. Those that were slow at the `last` one, in milliseconds, have two rounds."""
    slow = {name: call for name, call in calls.items() if last.get(name, 0) > 1e3 * SLOW}
    fast = {name: call for name, call in calls.items() if name not in slow}
    timings = measure(fast, rounds) | measure(slow, 2)
    return {name: timings[name] for name in calls}


def too_slow(time: int, now: dict[str, float], before: dict[str, float], limit: float) -> dict[str, str]:
    """Returns the contestants that are expected to take more than `limit` seconds at the next length, and why.

    `now` and `before` are the milliseconds at this length and at the one before.
    """
    found = {}
    for name, milliseconds in now.items():
        growth = max(2.0, milliseconds / before.get(name, milliseconds))  # Mamba's loop grows with the square
        if growth * milliseconds > 1e3 * limit:
            found[name] = f"{milliseconds / 1e3:.1f} s at {time:,} steps already"
    return found


def calls_at(time: int, left_out: dict[str, str], options: argparse.Namespace) -> tuple[dict, dict]:
    """Returns the calls at one length, and on a GPU their memory; adds to `left_out` what does not fit into the memory."""
    calls, memory = {}, {}
    for name in NAMES:
        if name in left_out:
            continue
        try:
            call = make_call(name, time, options)
            if options.device == "cuda":
                call()
                memory[name] = peak_gpu_memory(call)
            calls[name] = call
        except torch.cuda.OutOfMemoryError:
            left_out[name] = f"does not fit into the GPU's memory at {time:,} steps"
    return calls, memory


def bench_lengths(options: argparse.Namespace) -> dict:
    """Checks the layers, then measures times, and on a GPU memory, at each length."""
    errors = check_same({name: make_call(name, options.lengths[0], options) for name in NAMES}, LAYERS)
    left_out, last = {}, {}

    def measure_length(time: int) -> dict:
        nonlocal last
        calls, memory = calls_at(time, left_out, options)
        layers = measured_rounds(calls, last, options.rounds)
        entry = {"time": time, "layers": layers, "left_out": dict(left_out), "memory_mib": memory}
        now = {name: timing["median_ms"] for name, timing in layers.items()}
        left_out.update(too_slow(time, now, last, options.limit))
        last = now
        return entry

    return {"relative_errors": errors, "lengths": runner.in_turn(options.lengths, measure_length, table)}


def memory_of(name: str, batch: int, channels: int, lengths: list[int]) -> dict[str, float]:
    """Returns the MiB by which one call at each length raises the resident memory of this process."""
    layer_call(name, (*WARM_UP, channels))()  # loads and compiles code, starts threads
    peaks = {}
    for time in lengths:
        call = layer_call(name, (batch, time, channels))
        release_memory()
        peaks[str(time)] = peak_memory(call)
    return peaks


def add_memory_on_cpu(entries: list[dict], options: argparse.Namespace) -> None:
    """Fills in `memory_mib`, each contestant in a process of its own; it stays empty where the system has no /proc."""
    for name in NAMES:
        timed = [entry for entry in entries if name in entry["layers"]]
        lengths = [entry["time"] for entry in timed]
        peaks = BENCHMARK.memory_in_new_process(options, name, options.batch, options.channels, lengths)
        for entry in timed if peaks is not None else ():
            entry["memory_mib"][name] = peaks[str(entry["time"])]


def table(entry: dict) -> str:
    """Returns the results of one length for the terminal."""
    lines = [f"T={entry['time']}"]
    lines += [runner.timing_line(name, timing) for name, timing in entry["layers"].items()]
    ratios = {}
    for ours, other in PAIRS.items():
        for baseline in (f"{other}, step by step", f"nn.{other}"):
            found = ratio(entry, baseline, ours)
            if found is not None:
                ratios[f"{baseline} / {ours}"] = {"ratio": found, "target": None}
    lines += runner.ratio_lines(ratios)
    return "\n".join(lines + [f"  {name:<30}left out: {why}" for name, why in entry["left_out"].items()])


# The layers of cuDNN would otherwise round to TF32, the matrix products of the others not.
@torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
def bench(options: argparse.Namespace) -> dict:
    """Measures all lengths; returns the content of the result file."""
    result = {
        "memory": MEMORY,
        "preset": options.preset,
        "device": options.device,
        "batch": options.batch,
        "channels": options.channels,
        "limit_s": options.limit,
        "backend": resolve_backend(device=options.device),
        **bench_lengths(options),
    }
    if options.device == "cpu":
        add_memory_on_cpu(result["lengths"], options)
    return result


MEASURED = "forward + backward of one layer, float32, medians and quartiles of interleaved rounds"
BENCHMARK = runner.Benchmark(
    "training.bench.paper", __doc__, MEASURED, bench, rounds=5, quick=True, draw=draw, memory_of=memory_of
)


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parses the command line; the preset decides what is not given."""
    parser = BENCHMARK.parser()
    parser.add_argument("--full", action="store_true", help="the paper's batch of 64; the default on a GPU")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="device (default: cuda if there is a GPU)")
    parser.add_argument("--batch", type=positive_int, help="rows (default: 8 on a CPU, 64 with --full or on a GPU)")
    parser.add_argument("--channels", type=positive_int, default=CHANNELS, help="width of the layers")
    parser.add_argument(
        "--longest", type=positive_int, default=LENGTHS[-1], help="longest sequence to measure, in steps"
    )
    parser.add_argument(
        "--limit",
        type=positive,
        help="most seconds expected of a call (default: 6; 30 with --full or on a GPU)",
    )
    parser.set_defaults(output=None)
    options = BENCHMARK.parse(argv, parser)
    options.device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    on_gpu = options.device == "cuda"
    if options.quick:
        options.preset = "quick"
    else:
        options.preset = "full" if options.full or on_gpu else "small"
    batch, limit = PRESETS[options.preset]
    options.batch = options.batch or batch
    options.limit = options.limit or limit
    options.output = options.output or RESULTS / ("bench_paper_gpu.json" if on_gpu else "bench_paper.json")
    options.lengths = [n for n in (QUICK_LENGTHS if options.quick else LENGTHS) if n <= options.longest]
    if not options.lengths:
        parser.error(f"--longest {options.longest} is below the shortest length of {min(LENGTHS)} steps")
    return options


@reported
def main(argv: list[str] | None = None) -> dict:
    """Runs the benchmark; returns the content of the result file."""
    return BENCHMARK.run(parse_arguments(argv), argv)


if __name__ == "__main__":
    main()
