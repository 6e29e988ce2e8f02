# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""What the benchmarks share: interleaved rounds, the memory of one call, and what every result file says of its machine."""

from __future__ import annotations

import ctypes
import random
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers.utils import logging

from training.common.paths import ROOT


class Disagreement(RuntimeError):
    """Contestants that should compute the same don't: their speed means nothing."""


def check_agreement(name: str, got, want, limits) -> list[float]:
    """Relative errors of one contestant's results against another's, each the norm of a difference over a norm.

    Args:
        name (`str`): Who is compared with whom, for the message.
        got, want (sequences of `torch.Tensor`): Results, in the same order.
        limits (sequence of `float`): The largest error allowed for each.

    Raises:
        Disagreement: Where an error is larger, or no number.
    """
    errors = [(torch.linalg.norm(g - w) / torch.linalg.norm(w)).item() for g, w in zip(got, want, strict=True)]
    if not all(error <= limit for error, limit in zip(errors, limits, strict=True)):
        raise Disagreement(f"{name} differ by {errors}, allowed are {list(limits)}: no speed is reported")
    return errors


@contextmanager
def settings(threads: int):
    """This many threads, and no warnings of kernels that some models do without; put back afterwards."""
    threads_before, verbosity = torch.get_num_threads(), logging.get_verbosity()
    torch.set_num_threads(threads)
    logging.set_verbosity_error()
    try:
        yield
    finally:
        torch.set_num_threads(threads_before)
        logging.set_verbosity(verbosity)


def summary(milliseconds: list[float]) -> dict[str, float]:
    """Median and quartiles.

    >>> summary([3.0, 1.0, 2.0])
    {'median_ms': 2.0, 'q1_ms': 1.5, 'q3_ms': 2.5}
    """
    q1, median, q3 = statistics.quantiles(milliseconds, n=4, method="inclusive")
    return {"median_ms": median, "q1_ms": q1, "q3_ms": q3}


def orders(names: Iterable[str], rounds: int) -> Iterator[list[str]]:
    """All names once for each round, each time in an order of its own, so that none always comes after the one that leaves the
    caches or malloc in the worst state; always the same orders.

    >>> sorted({tuple(order) for order in orders("ab", 9)})
    [('a', 'b'), ('b', 'a')]
    """
    names, rng = list(names), random.Random(0)
    for _ in range(rounds):
        yield rng.sample(names, len(names))


def measure(contestants: dict, rounds: int, warm_ups: int = 1, calls: int = 1) -> dict:
    """Milliseconds of each function, as `summary`: every round runs each once, so that a slow minute slows all, in `orders`.

    Args:
        contestants (`dict`): Functions without arguments, by name.
        rounds (`int`): Timed rounds, at least 2.
        warm_ups (`int`): Rounds before them: first calls build caches and touch memory.
        calls (`int`): What the time of one call is divided by.
    """
    times = {name: [] for name in contestants}
    for turn, order in enumerate(orders(contestants, warm_ups + rounds)):
        for name in order:
            begin = time.perf_counter()
            contestants[name]()
            if turn >= warm_ups:
                times[name].append(1e3 * (time.perf_counter() - begin) / calls)
    return {name: summary(values) for name, values in times.items()}


def release_memory() -> None:
    """Gives what malloc has kept back to the system, where the C library can: used again it would not be seen."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _memory_in_kib(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise OSError(f"no {field} in /proc/self/status")


def peak_memory(step: Callable) -> float:
    """MiB by which one call of `step` raises this process's resident memory.

    The kernel's count rather than the profiler's, which knows nothing of the scratch memory of matmul libraries. Meant
    for a fresh process: memory that an earlier call gave back to malloc would be used again and not be seen.
    """
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
        before = _memory_in_kib("VmRSS")
    except PermissionError:
        before = _memory_in_kib("VmHWM")
    result = step()
    peak = _memory_in_kib("VmHWM")
    del result
    return max(peak - before, 0) / 1024


def output_of_new_process(module: str, arguments: list[str]) -> str | None:
    """What a script prints, run in a process of its own; `None` where the system has no /proc.

    Raises:
        RuntimeError: Where the script fails, with what it said.
    """
    if not Path("/proc/self/status").exists():
        return None
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise RuntimeError(f"{module} {shlex.join(arguments)} failed:\n{done.stderr}")
    return done.stdout


def in_new_process(module: str, arguments: list[str]) -> float | None:
    """The number that a script prints last, otherwise as `output_of_new_process`."""
    output = output_of_new_process(module, arguments)
    return None if output is None else float(output.split()[-1])
