# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The CPU backend: passes tensors to the numba kernels as flat arrays, and divides the work among threads.

Batch rows, packed sequences and blocks of channels are divided among `torch.get_num_threads()` threads. These are Python
threads, since the kernels release the GIL. numba's own threads crash under concurrent callers and after a fork.
"""

import contextlib
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from queue import SimpleQueue

import torch

from .gates import ScanSpec
from .scan_numba_kernels import LINEAR, MINGRU, MINLSTM, NORMALIZED, compiled, load, np

# Elements of h that justify one more thread: waking a thread takes as long as computing about 20,000 elements.
THREAD_ELEMENTS = 1 << 16
# Channels of the narrowest block, which the vector loops need to be efficient.
BLOCK_CHANNELS = 64
# Blocks are cut at multiples of this: a cache line.
LINE_CHANNELS = 16

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
_BITS = {torch.bfloat16: torch.int16, torch.float16: torch.uint16}
_pools: dict[int, ThreadPoolExecutor] = {}


def problem() -> str | None:
    """Returns why this backend cannot run here, with the remedy, or `None` if it can.

    The first call imports numba, which takes half a second.
    """
    return load()[1]


@cache
def _kernels(cell_type: str, candidate_activation: str, normalize_gates: bool, dtype: torch.dtype):
    # The forget-gate floor is an argument of the kernels, so that all layers of a model share them.
    if cell_type == "minlstm":
        cell = NORMALIZED if normalize_gates else MINLSTM
    else:
        cell = {"mingru": MINGRU, "linear": LINEAR}[cell_type]
    return compiled(cell, candidate_activation == "g", str(_BITS.get(dtype, dtype)).removeprefix("torch."))


def _array(x: torch.Tensor):
    """The memory that a tensor spans, as a flat numpy array."""
    x = x.detach()
    if x.dtype in _BITS:
        x = x.view(_BITS[x.dtype])
    span = 0
    if x.numel():
        span = 1 + sum((n - 1) * stride for n, stride in zip(x.shape, x.stride()))
    return x.as_strided((span,), (1,)).numpy()


def _blocks(channels: int, count: int) -> list[tuple[int, int]]:
    """Divides channels into at most `count` ranges, at cache lines.

    >>> _blocks(100, 2), _blocks(100, 1), _blocks(0, 1)
    ([(0, 64), (64, 100)], [(0, 100)], [(0, 0)])
    """
    size = max(LINE_CHANNELS * -(-channels // (count * LINE_CHANNELS)), 1)
    return [(left, min(left + size, channels)) for left in range(0, max(channels, 1), size)]


def _tasks(bounds, channels: int, threads: int) -> list[tuple[int, int, int, int, int]]:
    """Divides a scan into one task for each thread.

    Args:
        bounds (sequence of `int`): Row n consists of the steps bounds[n] to bounds[n + 1].
        channels (`int`): Channels of a row.
        threads (`int`): Largest number of tasks.

    Returns:
        list of `(number of the task, row, end of rows, channel, end of channels)`

    >>> _tasks([0, 5000, 6000, 10000], 32, 2), _tasks([0, 10000], 128, 8)
    ([(0, 0, 1, 0, 32), (1, 1, 3, 0, 32)], [(0, 0, 1, 0, 64), (1, 0, 1, 64, 128)])
    """
    rows, steps = len(bounds) - 1, int(bounds[-1])
    threads = max(1, min(threads, steps * channels // THREAD_ELEMENTS))
    blocks = _blocks(channels, min(threads, max(1, channels // BLOCK_CHANNELS)))
    groups = threads // len(blocks)
    # Packed sequences have any length, so rows are grouped by their number of steps.
    cuts = np.searchsorted(bounds, [steps * k // groups for k in range(1, groups)])
    edges = [0, *sorted(set(cuts.tolist()) - {0, rows}), rows]
    pairs = [(*group, *block) for group in zip(edges, edges[1:]) for block in blocks]
    return [(number, *pair) for number, pair in enumerate(pairs)]


class _Problem:
    """The arguments that the forward and the backward kernel share, and the tasks. See `scan_numba_kernels` for both."""

    def __init__(self, projected, initial_state, attention_mask, resets, reset_state, cu_seqlens, spec: ScanSpec):
        batch, time, width = projected.shape
        channels = width // spec.num_parts
        self.shape = (batch, time, channels)
        self.dtype = torch.promote_types(projected.dtype, torch.float32)
        self.forward, self.backward = _kernels(*spec[:3], projected.dtype)
        if width and projected.stride(2) != 1:
            projected = projected.contiguous()
        row_stride, stride = projected.stride()[:2]
        if cu_seqlens is None:
            bounds = np.arange(batch + 1, dtype=np.uint64) * np.uint64(time)
            row_gap = row_stride - time * stride
        else:
            bounds = cu_seqlens.numpy().astype(np.uint64)
            row_gap = 0
        real = np.float64 if self.dtype == torch.float64 else np.float32
        # Positions are unsigned and wrap around: a negative gap is one modulo 2^64.
        sizes = (stride, row_gap % 2**64, width - channels, channels)
        layout = (*map(np.uint64, sizes), real(1 - spec.forget_gate_floor))
        boundaries = (
            bounds[:-1],
            bounds[1:],
            _array(_flags(attention_mask)),
            _array(_flags(resets)),
            _array(self._state(reset_state, (channels,))),
        )
        self.initial_state = self._state(initial_state, (len(bounds) - 1, channels))
        self.shared = (layout, boundaries, _array(projected))
        self.tasks = [tuple(map(np.uint64, task)) for task in _tasks(bounds, channels, torch.get_num_threads())]

    def _state(self, state, shape):
        if state is None:
            return torch.zeros(shape, dtype=self.dtype)
        return state.to(self.dtype).contiguous()

    def run(self, kernel, *arrays):
        """Runs every task once, in this thread and in as many others as there are further tasks."""
        waiting = deque(self.tasks)
        done = SimpleQueue()

        def work():
            while waiting:
                try:
                    task = waiting.popleft()
                except IndexError:  # another thread has just taken the last task
                    return
                error = None
                try:
                    kernel(task, *self.shared, *arrays)
                except BaseException as raised:
                    error = raised
                done.put(error)

        if len(self.tasks) > 1:
            process = os.getpid()  # a forked process has none of its parent's threads
            pool = _pools.get(process) or _pools.setdefault(process, ThreadPoolExecutor(os.cpu_count(), "minrnn_scan"))
            # No thread can be started while the interpreter shuts down. Then this thread does all tasks.
            with contextlib.suppress(RuntimeError):
                for _ in self.tasks[1:]:
                    pool.submit(work)
        work()
        for _ in self.tasks:
            error = done.get()
            if error is not None:
                raise error


def _flags(flags):
    return torch.empty(0, dtype=torch.bool) if flags is None else flags.contiguous()


def forward(projected, initial_state, attention_mask, resets, reset_state, cu_seqlens, spec: ScanSpec):
    """Computes what `scan_torch.forward` does."""
    problem = _Problem(projected, initial_state, attention_mask, resets, reset_state, cu_seqlens, spec)
    h = torch.empty(problem.shape, dtype=projected.dtype)
    state = problem.initial_state.clone()
    problem.run(problem.forward, _array(h), _array(state))
    return h, state


def backward(
    grad_h, grad_final, projected, h, initial_state, attention_mask, resets, reset_state, cu_seqlens, spec: ScanSpec
):
    """Computes what `scan_torch.backward` does."""
    problem = _Problem(projected, initial_state, attention_mask, resets, reset_state, cu_seqlens, spec)
    grad_projected = torch.empty(projected.shape, dtype=projected.dtype)
    grad = grad_final.to(problem.dtype).clone(memory_format=torch.contiguous_format)
    scratch = torch.zeros(3, len(problem.tasks), problem.shape[2], dtype=problem.dtype)
    arrays = (h.contiguous(), problem.initial_state, grad_h.contiguous(), grad_projected, grad)
    problem.run(problem.backward, *map(_array, arrays), tuple(map(_array, scratch)))
    return grad_projected, grad, scratch[2].sum(0)
