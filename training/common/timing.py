# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Measures time in interleaved rounds and the memory of one call, and checks that contestants agree."""

from __future__ import annotations

import ctypes
import json
import random
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging

from training.common.paths import ROOT


class Disagreement(RuntimeError):
    """Contestants that should compute the same do not, so their speeds must not be compared."""


def check_agreement(
    name: str, got: Sequence[torch.Tensor], want: Sequence[torch.Tensor], limits: Sequence[float]
) -> list[float]:
    """Compares the results of two contestants; returns the norm of each difference over the norm of the wanted result.

    Args:
        name (`str`): The two contestants and their results, for the message.
        got, want (sequences of `torch.Tensor`): Results, in the same order.
        limits (sequence of `float`): Largest error of each result.

    Raises:
        Disagreement: An error is larger than its limit, or not a number.
    """
    errors = [(torch.linalg.norm(g - w) / torch.linalg.norm(w)).item() for g, w in zip(got, want, strict=True)]
    if not all(error <= limit for error, limit in zip(errors, limits, strict=True)):
        raise Disagreement(f"{name} differ by {errors}, allowed are {list(limits)}: no speed is reported")
    return errors


@contextmanager
def settings(threads: int) -> Iterator[None]:
    """Sets the number of threads and hides the warnings of models without their kernels; restores both afterwards."""
    threads_before = torch.get_num_threads()
    verbosity = logging.get_verbosity()
    torch.set_num_threads(threads)
    logging.set_verbosity_error()
    try:
        yield
    finally:
        torch.set_num_threads(threads_before)
        logging.set_verbosity(verbosity)


def summary(milliseconds: list[float]) -> dict[str, float]:
    """Returns the median and the quartiles.

    >>> summary([3.0, 1.0, 2.0])
    {'median_ms': 2.0, 'q1_ms': 1.5, 'q3_ms': 2.5}
    """
    q1, median, q3 = statistics.quantiles(milliseconds, n=4, method="inclusive")
    return {"median_ms": median, "q1_ms": q1, "q3_ms": q3}


def orders(names: Iterable[str], rounds: int) -> Iterator[list[str]]:
    """Yields all names once for each round, in an order that differs between rounds but not between runs.

    With a fixed order, the same contestant would always follow the one that leaves caches or malloc in the worst state.

    >>> sorted({tuple(order) for order in orders("ab", 9)})
    [('a', 'b'), ('b', 'a')]
    """
    names = list(names)
    rng = random.Random(0)
    for _ in range(rounds):
        yield rng.sample(names, len(names))


def milliseconds_of(function: Callable) -> float:
    """Returns the time of one call."""
    begin = time.perf_counter()
    function()
    return 1e3 * (time.perf_counter() - begin)


def measure(
    contestants: dict,
    rounds: int,
    warm_ups: int = 1,
    calls: int = 1,
    timer: Callable[[Callable], float] = milliseconds_of,
) -> dict:
    """Times functions in rounds that run each of them once, so that a slow minute of the machine slows all of them.

    Args:
        contestants (`dict`): Functions without arguments, by name.
        rounds (`int`): Timed rounds, at least 2.
        warm_ups (`int`): Rounds before these, as first calls build caches and touch memory.
        calls (`int`): Divisor of the times, for functions that make several calls.
        timer (`Callable`): Calls a function and returns its milliseconds.

    Returns:
        The `summary` of each function's milliseconds.
    """
    times = {name: [] for name in contestants}
    for turn, order in enumerate(orders(contestants, warm_ups + rounds)):
        for name in order:
            milliseconds = timer(contestants[name])
            if turn >= warm_ups:
                times[name].append(milliseconds / calls)
    return {name: summary(values) for name, values in times.items()}


def release_memory() -> None:
    """Returns memory that malloc has kept to the system, where the C library can do so.

    `peak_memory` would not see it if it were used again.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _memory_in_kib(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise OSError(f"no {field} in /proc/self/status")


def peak_memory(step: Callable) -> float:
    """Returns the MiB by which one call of `step` raises the resident memory of this process.

    The count is the kernel's, as a profiler misses the scratch memory of matmul libraries. Call it in a fresh process: memory
    that an earlier call returned to malloc would be used again and not be counted.
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


def peak_gpu_memory(step: Callable, device: torch.device | None = None) -> float:
    """Returns the MiB of GPU memory that one call of `step` takes in addition to the memory in use before.

    Args:
        device (`torch.device`, *optional*): The GPU; the current one by default.
    """
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    step()
    return (torch.cuda.max_memory_allocated(device) - before) / 2**20


def in_new_process(module: str, arguments: list[str]) -> Any:
    """Runs a script in a process of its own and returns what it prints on its last line, in JSON.

    Returns:
        `None` where the system has no /proc, from which the memory of a process is read.

    Raises:
        RuntimeError: The script failed; the message holds its errors.
    """
    if not Path("/proc/self/status").exists():
        return None
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise RuntimeError(f"{module} {shlex.join(arguments)} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])
