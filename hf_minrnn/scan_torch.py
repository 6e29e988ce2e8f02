# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The backend for every device: a chunked scan in linear space, in plain torch, with a backward written by hand.

Time is cut into tiles that stay in the cache, and a tile into `chunks` runs of `length` steps. One pass steps through
all chunks of a tile at once, from a zero state, and finds what each chunk adds to the state and how much of an incoming
one it loses; a short loop over the chunks turns that into the state each chunk really starts from; a last pass steps
through them again from there. All arithmetic is linear, in float32 or wider: no logarithm, no division by a product of
decays. What is lost is carried as 1 - decay, so that a memory of 10^5 steps does not round to a perfect one.

Forward saves nothing but its inputs and h; backward recomputes the gates.
"""

from bisect import bisect_left

import torch

from .gates import ScanSpec, Workspace, coefficients, part_gradients, step, to_dtype

# Elements that one vectorised step should cover, so that the arithmetic outweighs the cost of a torch call, and steps in
# a chunk: measured on two CPU cores with training/bench/scan.py. A GPU needs more elements to fill it.
STEP_ELEMENTS = {"cpu": 16384}
GPU_STEP_ELEMENTS = 1 << 20
CHUNK_LENGTH = 16
# From this many channels (all rows counted) on, plain steps over time beat chunks: one pass instead of three.
PLAIN_ELEMENTS = {"cpu": 4096}
TILE_ELEMENTS = 1 << 18


def tiles(time: int, width: int, device_type: str = "cpu") -> list[tuple[int, int, int]]:
    """Cuts `[0, time)` into tiles `(begin, chunks, length)` of `chunks * length` steps, for `width` channels in all.

    >>> tiles(100, 8192)
    [(0, 1, 32), (32, 1, 32), (64, 1, 32), (96, 1, 4)]
    >>> tiles(200, 2048)
    [(0, 8, 16), (128, 4, 16), (192, 1, 8)]
    """
    elements = STEP_ELEMENTS.get(device_type, GPU_STEP_ELEMENTS)
    chunks = elements // max(width, 1) if width < PLAIN_ELEMENTS.get(device_type, elements) else 1
    out, begin = [], 0
    while begin < time:
        left = time - begin
        n, length = min(chunks, left // CHUNK_LENGTH), CHUNK_LENGTH
        if n < 2:
            n, length = 1, min(left, max(1, TILE_ELEMENTS // max(width, 1)) if chunks < 2 else CHUNK_LENGTH)
        out.append((begin, n, length))
        begin += n * length
    return out


def _tile(x, begin: int, chunks: int, length: int):
    # [B, T, D] -> the view [length, B, chunks, D] of one tile, and [B, T] -> [length, B, chunks]
    view = x[:, begin : begin + chunks * length].unflatten(1, (chunks, length))
    return view.permute(2, 0, 1, *range(3, view.dim()))


class _Boundaries:
    """Where the state is replaced before a step: resets put `reset_state` there, packed sequences their initial state."""

    def __init__(self, resets, reset_state, cu_seqlens, initial_state):
        bounds = [] if cu_seqlens is None else cu_seqlens.tolist()
        # Packed sequences of at least one step, and where they end. Empty ones never see a step.
        self.sequences = [n for n, (begin, end) in enumerate(zip(bounds, bounds[1:])) if begin < end]
        self.ends = [bounds[n + 1] - 1 for n in self.sequences]
        # source[b, t] is -1 where the state goes on, else the row of `table` that replaces it.
        if reset_state is None:
            reset_state = initial_state.new_zeros(initial_state.shape[1:])
        self.table = torch.cat([reset_state[None].to(initial_state.dtype), initial_state])
        if cu_seqlens is None:
            self.source = torch.where(resets, 0, -1)
            return
        self.source = torch.full((1, bounds[-1]), -1, device=initial_state.device)
        begins = [bounds[n] for n in self.sequences]
        self.source[0, begins] = torch.tensor(self.sequences, dtype=torch.long, device=self.source.device) + 1
        if resets is not None:
            self.source.masked_fill_(resets, 0)

    def ends_in(self, begin: int, chunks: int, length: int):
        """Packed sequences that end in a tile: their numbers, and where in `[length, 1, chunks, D]` they do."""
        first, last = bisect_left(self.ends, begin), bisect_left(self.ends, begin + chunks * length)
        at = torch.tensor(self.ends[first:last], dtype=torch.long) - begin
        return self.sequences[first:last], (at % length, torch.zeros_like(at), at // length)


class _Tile:
    """One tile: its gates, padding and boundaries. A "step" is `[B, chunks, D]`, one step of every chunk at once.

    `factor` below is what a run of steps does to the state that enters it: the product of the decays in the affine
    form, one minus that product in the others.
    """

    def __init__(self, place, parts, spec: ScanSpec, keep, boundaries: _Boundaries | None, works: dict, dtype):
        self.place, self.spec, self.affine, self.boundaries = place, spec, spec.form == "affine", boundaries
        _, self.chunks, self.length = place
        parts = [_tile(part, *place) for part in parts]
        if place[1:] not in works:
            works[place[1:]] = Workspace(torch.empty(parts[0].shape, dtype=dtype, device=parts[0].device))
        self.work = works[place[1:]]
        if parts[0].dtype != dtype:
            parts = [self.work[f"part{i}"].copy_(part) for i, part in enumerate(parts)]
        self.parts = parts
        self.w, self.x = coefficients(parts, spec, self.work)
        self.padding, self.one = None, self.w.new_ones(())
        if keep is not None:  # identity steps, by selection: nothing that stands in the padding can leak
            self.padding = _tile(keep, *place).logical_not().unsqueeze(-1)
            self.w = self._own("w").masked_fill_(self.padding, float(self.affine))
            self.x = self._own("x").masked_fill_(self.padding, 0.0)
        self.begins, self.passed = [None] * self.length, None
        if boundaries is not None:
            self.source = _tile(boundaries.source, *place)
            begins = (self.source >= 0).unsqueeze(-1)
            some = begins.flatten(1).any(1).tolist()
            self.begins = [step if any_ else None for step, any_ in zip(begins.unbind(), some)]
            if any(some):  # chunks without a boundary, [B, chunks, 1]
                self.passed = begins.any(0).logical_not()

    def _own(self, name: str):
        value = getattr(self, name)
        return self.work[name].copy_(value) if any(value is part for part in self.parts) else value

    def start(self, state, i: int):
        """The state before step `i`, replaced where a sequence begins: selected, so that a NaN before it cannot leak."""
        if self.begins[i] is None:
            return state
        return torch.where(self.begins[i], self.boundaries.table[self.source[i].clamp(min=0)], state)

    def grad_starts(self, grads, at):
        """What the loss gains by the states that steps `at` start from, when `grads` is what it gains by every h."""
        return self.decay(grads[at], self.w[at], out=None)

    def cut(self, x, i: int, value: float):
        """`x`, with `value` where a sequence begins at step `i`."""
        return x if self.begins[i] is None else x.masked_fill_(self.begins[i], value)

    def decay(self, x, w, out):
        """What one step keeps of `x`."""
        return torch.mul(x, w, out=out) if self.affine else torch.addcmul(x, x, w, value=-1, out=out)

    def extend(self, factor, i: int):
        """`factor` over step `i` too."""
        w = self.w[i]
        return factor.mul_(w) if self.affine else torch.lerp(factor, self.one, w, out=factor)

    def carry(self, ends, factor, state, order):
        """The states `[B, chunks, D]` that the chunks start from, when `state` enters the first in `order`."""
        starts = [state] * self.chunks
        for c in order:
            starts[c] = state
            end = ends[:, c]
            passed = torch.addcmul(end, factor[:, c], state, value=1 if self.affine else -1)
            if not self.affine:
                passed.add_(state)
            if self.passed is not None:
                passed = torch.where(self.passed[:, c], passed, end)
            state = passed
        return torch.stack(starts, 1)

    def run(self, state, out):
        """Steps from `state` [B, D] through the tile, writing every step to `out`; returns the last state."""
        ws, xs, form = self.w.unbind(), self.x.unbind(), self.spec.form
        state = state.unsqueeze(1)
        if self.chunks > 1:
            end = torch.zeros_like(out[0])
            factor = torch.full_like(end, float(self.affine))
            for i in range(self.length):
                end = step(self.start(end, i), ws[i], xs[i], form, out=end)
                self.extend(factor, i)
            state = self.carry(end, factor, state[:, 0], range(self.chunks))
        for i, h in enumerate(out.unbind()):
            state = step(self.start(state, i), ws[i], xs[i], form, out=h)
        return state[:, -1]

    def run_back(self, grad, grads):
        """Adds to `grads`, step by step, what later steps owe; `grad` [B, D] enters the last, what leaves is returned."""
        ws, gs, steps = self.w.unbind(), grads.unbind(), range(self.length - 1, -1, -1)
        grad = grad.unsqueeze(1).clone()
        if self.chunks > 1:
            end = torch.zeros_like(gs[0])
            factor = torch.full_like(end, float(self.affine))
            for i in steps:
                self.cut(self.decay(end.add_(gs[i]), ws[i], out=end), i, 0.0)
                self.extend(factor, i)
            grad = self.carry(end, factor, grad[:, 0], range(self.chunks - 1, -1, -1))
        for i in steps:
            self.cut(self.decay(gs[i].add_(grad), ws[i], out=grad), i, 0.0)
        return grad[:, 0]

    def previous(self, h, first):
        """The state before every step, `first` [B, D] before the tile, into the workspace."""
        begin, chunks, length = self.place
        out = self.work["h_prev"]
        out[1:] = _tile(h, *self.place)[:-1]
        out[0, :, 1:] = h[:, begin + length - 1 : begin + chunks * length - 1 : length]
        out[0, :, 0] = first
        for i in range(length):
            if self.begins[i] is not None:
                out[i] = self.start(out[i], i)
        return out


class _Problem:
    """What forward and backward share: types, boundaries, tiles."""

    def __init__(self, projected, initial_state, keep, resets, reset_state, cu_seqlens, spec: ScanSpec):
        batch, time, width = projected.shape
        self.spec, self.keep, self.packed = spec, keep, cu_seqlens is not None
        self.parts = projected.chunk(spec.num_parts, -1)
        self.dtype = torch.promote_types(projected.dtype, torch.float32)
        channels = width // spec.num_parts
        rows = len(cu_seqlens) - 1 if self.packed else batch
        if initial_state is None:
            initial_state = torch.zeros(rows, channels, device=projected.device)
        self.initial_state = initial_state.to(self.dtype)
        self.boundaries = None
        if self.packed or resets is not None:
            self.boundaries = _Boundaries(resets, reset_state, cu_seqlens, self.initial_state)
        self.first = self.initial_state.new_zeros(batch, channels) if self.packed else self.initial_state
        self.places = tiles(time, batch * channels, projected.device.type)
        self.works = {}

    def tile(self, place) -> _Tile:
        return _Tile(place, self.parts, self.spec, self.keep, self.boundaries, self.works, self.dtype)


def forward(projected, initial_state, keep, resets, reset_state, cu_seqlens, spec: ScanSpec):
    """The scan; arguments as `scan.minrnn_scan` has checked them. Returns `(h, final_state)`, new memory both."""
    problem = _Problem(projected, initial_state, keep, resets, reset_state, cu_seqlens, spec)
    h = torch.empty_like(problem.parts[0], memory_format=torch.contiguous_format)
    state, final = problem.first, problem.initial_state.clone()
    for place in problem.places:
        tile, out = problem.tile(place), _tile(h, *place)
        states = out if h.dtype == problem.dtype else tile.work["h"]
        state = tile.run(state, states)
        if problem.packed:
            sequences, at = problem.boundaries.ends_in(*place)
            final[sequences] = states[at]
        if states is not out:
            state = state.clone()  # before the workspace is written again
            out.copy_(to_dtype(states, h.dtype))
    return h, final if problem.packed else state.clone()


def backward(grad_h, grad_final, projected, h, initial_state, keep, resets, reset_state, cu_seqlens, spec: ScanSpec):
    """Gradients by `projected`, the initial state and `reset_state` from those by `h` and the final state.

    The last two in float32 or wider; zeros for a `reset_state` of `None`.
    """
    problem = _Problem(projected, initial_state, keep, resets, reset_state, cu_seqlens, spec)
    grad_projected = torch.empty_like(projected, memory_format=torch.contiguous_format)
    outs = grad_projected.chunk(spec.num_parts, -1)
    grad_final = grad_final.to(problem.dtype)
    grad_initial = grad_final.clone()  # what an empty packed sequence passes on
    grad_reset = grad_final.new_zeros(grad_final.shape[1:])
    grad = grad_initial
    if problem.packed:
        grad = torch.zeros_like(problem.first)
        # The others' comes with the tile of their first step, unless a reset stands there.
        grad_initial[problem.boundaries.sequences] = 0
    for place in reversed(problem.places):
        tile = problem.tile(place)
        grads = tile.work["grad"].copy_(_tile(grad_h, *place))
        if problem.packed:
            sequences, at = problem.boundaries.ends_in(*place)
            grads[at] += grad_final[sequences]
        grad = tile.run_back(grad, grads)
        if problem.packed:
            at = (tile.source > 0).nonzero(as_tuple=True)
            grad_initial[tile.source[at] - 1] = tile.grad_starts(grads, at)
        if reset_state is not None:
            grad_reset += tile.grad_starts(grads, (tile.source == 0).nonzero(as_tuple=True)).sum(0)
        begin = place[0]
        h_prev = tile.previous(h, h[:, begin - 1] if begin else problem.first)
        for out, value in zip(outs, part_gradients(grads, h_prev, tile.w, tile.x, tile.parts, spec, tile.work)):
            view = _tile(out, *place).copy_(value)
            if tile.padding is not None:
                view.masked_fill_(tile.padding, 0)
    return grad_projected, grad_initial if problem.packed else grad, grad_reset
