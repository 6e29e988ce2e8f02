# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The CPU backend: tensors to the arrays of the kernels that numba compiles, and their work to threads.

Rows, packed sequences and blocks of channels are shared out over `torch.get_num_threads()` threads. They are Python's own,
which works as the kernels run without the GIL: numba's break down under concurrent callers or after a fork.
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

# What is worth a thread of its own, in elements of h: waking one takes as long as some 20,000 of them.
THREAD_ELEMENTS = 1 << 16
# Channels of the narrowest block, as the vector loops need some length, and what a block's are a multiple of: a cache line.
BLOCK_CHANNELS, LINE_CHANNELS = 64, 16

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
_BITS = {torch.bfloat16: torch.int16, torch.float16: torch.uint16}
_pools: dict[int, ThreadPoolExecutor] = {}


def problem() -> str | None:
    """Why this backend cannot run here, and the remedy; `None` if it can. The first call imports numba (half a second)."""
    return load()[1]


@cache
def _kernels(cell_type: str, candidate_activation: str, normalize_gates: bool, dtype: torch.dtype):
    # Without the floor, which is an argument of theirs: all layers of a model share one pair.
    cell = {"mingru": MINGRU, "linear": LINEAR}.get(cell_type, NORMALIZED if normalize_gates else MINLSTM)
    return compiled(cell, candidate_activation == "g", str(_BITS.get(dtype, dtype)).removeprefix("torch."))


def _array(x: torch.Tensor):
    # The memory that a tensor spans, as a flat array.
    x = x.detach()
    if x.dtype in _BITS:
        x = x.view(_BITS[x.dtype])
    span = 1 + sum((n - 1) * stride for n, stride in zip(x.shape, x.stride())) if x.numel() else 0
    return x.as_strided((span,), (1,)).numpy()


def _blocks(channels: int, count: int) -> list[tuple[int, int]]:
    """Cuts channels into at most `count` ranges, at cache lines.

    >>> _blocks(100, 2), _blocks(100, 1), _blocks(0, 1)
    ([(0, 64), (64, 100)], [(0, 100)], [(0, 0)])
    """
    size = max(LINE_CHANNELS * -(-channels // (count * LINE_CHANNELS)), 1)
    return [(left, min(left + size, channels)) for left in range(0, max(channels, 1), size)]


def _tasks(bounds, channels: int, threads: int) -> list[tuple[int, int, int, int, int]]:
    """What each thread does, `(number, row, end of rows, channel, end of channels)`; `bounds` are those of the rows' steps.

    >>> _tasks([0, 5000, 6000, 10000], 32, 2), _tasks([0, 10000], 128, 8)
    ([(0, 0, 1, 0, 32), (1, 1, 3, 0, 32)], [(0, 0, 1, 0, 64), (1, 0, 1, 64, 128)])
    """
    rows, steps = len(bounds) - 1, int(bounds[-1])
    threads = max(1, min(threads, steps * channels // THREAD_ELEMENTS))
    blocks = _blocks(channels, min(threads, max(1, channels // BLOCK_CHANNELS)))
    groups = threads // len(blocks)
    # Rows are cut where the steps are, or a little after: packed sequences may be of any length.
    inner = np.searchsorted(bounds, [steps * k // groups for k in range(1, groups)])
    edges = [0, *sorted(set(inner.tolist()) - {0, rows}), rows]
    pairs = [(*some, *block) for some in zip(edges, edges[1:]) for block in blocks]
    return [(number, *pair) for number, pair in enumerate(pairs)]


class _Problem:
    """What forward and backward share, as the kernels take it."""

    def __init__(self, projected, initial_state, keep, resets, reset_state, cu_seqlens, spec: ScanSpec):
        batch, time, width = projected.shape
        channels = width // spec.num_parts
        self.shape, self.dtype = (batch, time, channels), torch.promote_types(projected.dtype, torch.float32)
        self.forward, self.backward = _kernels(*spec[:3], projected.dtype)
        if cu_seqlens is None:
            bounds = np.arange(batch + 1, dtype=np.uint64) * np.uint64(time)
        else:
            bounds = cu_seqlens.numpy().astype(np.uint64)
        if width and projected.stride(2) != 1:
            projected = projected.contiguous()
        row_stride, stride = projected.stride()[:2]
        jump = row_stride - time * stride if cu_seqlens is None else 0
        scale = np.float64 if self.dtype == torch.float64 else np.float32
        layout = (stride, jump % 2**64, width - channels, channels)
        layout = (*map(np.uint64, layout), scale(1 - spec.forget_gate_floor))
        keep, resets = (torch.empty(0, dtype=torch.bool) if x is None else x.contiguous() for x in (keep, resets))
        reset_state = self._state(reset_state, (channels,))
        boundaries = (bounds[:-1], bounds[1:], *map(_array, (keep, resets, reset_state)))
        self.initial_state = self._state(initial_state, (len(bounds) - 1, channels))
        self.shared = (layout, boundaries, _array(projected))
        self.tasks = [tuple(map(np.uint64, x)) for x in _tasks(bounds, channels, torch.get_num_threads())]

    def _state(self, state, shape):
        return torch.zeros(shape, dtype=self.dtype) if state is None else state.to(self.dtype).contiguous()

    def run(self, kernel, *arrays):
        """Every task once, in this thread and in as many others as there are more tasks."""
        left, done = deque(self.tasks), SimpleQueue()

        def work():
            while left:
                try:
                    task = left.popleft()
                except IndexError:  # taken by another thread just now
                    return
                error = None
                try:
                    kernel(task, *self.shared, *arrays)
                except BaseException as raised:
                    error = raised
                done.put(error)

        if len(left) > 1:
            process = os.getpid()  # a forked one has none of its parent's threads
            pool = _pools.get(process) or _pools.setdefault(process, ThreadPoolExecutor(os.cpu_count(), "minrnn_scan"))
            # None can be had any more while the interpreter is ending and waits for this thread: then it does all of it.
            with contextlib.suppress(RuntimeError):
                for _ in self.tasks[1:]:
                    pool.submit(work)
        work()
        for _ in self.tasks:
            if error := done.get():
                raise error


def forward(projected, initial_state, keep, resets, reset_state, cu_seqlens, spec: ScanSpec):
    """As `scan_torch.forward`."""
    problem = _Problem(projected, initial_state, keep, resets, reset_state, cu_seqlens, spec)
    h = torch.empty(problem.shape, dtype=projected.dtype)
    state = problem.initial_state.clone()
    problem.run(problem.forward, _array(h), _array(state))
    return h, state


def backward(grad_h, grad_final, projected, h, initial_state, keep, resets, reset_state, cu_seqlens, spec: ScanSpec):
    """As `scan_torch.backward`."""
    problem = _Problem(projected, initial_state, keep, resets, reset_state, cu_seqlens, spec)
    grad_projected = torch.empty(projected.shape, dtype=projected.dtype)
    grad = grad_final.to(problem.dtype).clone(memory_format=torch.contiguous_format)
    scratch = torch.zeros(3, len(problem.tasks), problem.shape[2], dtype=problem.dtype)
    arrays = (h.contiguous(), problem.initial_state, grad_h.contiguous(), grad_projected, grad)
    problem.run(problem.backward, *map(_array, arrays), tuple(map(_array, scratch)))
    return grad_projected, grad, scratch[2].sum(0)
