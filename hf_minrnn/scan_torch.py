# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The backend for every device: a chunked scan in linear space, in plain torch, with a hand-written backward.

Time is cut into tiles that fit into the cache, and a tile into `chunks` chunks of `length` steps. A first pass steps through
all chunks of a tile at once, from a zero state, and finds the effect of each chunk: what it adds to the state, and its `factor`
on the incoming state. A short loop over the chunks turns that into the state that each chunk starts from. A last pass steps
through the chunks again from there.

All arithmetic is linear and in float32 or wider, without logarithms or divisions by a product of decays. `w` and `x` are the
coefficients of `gates.step`. A `factor` is for several steps what `w` is for one: the product of the decays in the affine form,
and one minus it in the other forms, which keeps its precision when the memory is 10^5 steps long.

The forward saves only its inputs and h. The backward computes the gates again.
"""

from bisect import bisect_left

import torch

from .gates import ScanSpec, Workspace, coefficients, part_gradients, step, to_dtype

# Elements that one vectorised step should cover, so that the arithmetic outweighs the cost of a torch call. Measured on two CPU
# cores with training/bench/scan.py, as the constants below. A GPU needs more elements to be busy.
STEP_ELEMENTS = {"cpu": 16384}
GPU_STEP_ELEMENTS = 1 << 20
CHUNK_LENGTH = 16
# From this many channels on (of all rows together), plain steps over time are faster than chunks.
PLAIN_ELEMENTS = {"cpu": 4096}
TILE_ELEMENTS = 1 << 18


def tiles(time: int, width: int, device_type: str = "cpu") -> list[tuple[int, int, int]]:
    """Cuts time into tiles.

    Args:
        time (`int`): Number of steps.
        width (`int`): Channels of all rows together.
        device_type (`str`, defaults to `"cpu"`): Type of the device.

    Returns:
        list of `(begin, chunks, length)`: First step of a tile, its chunks, and the steps of each chunk.

    >>> tiles(100, 8192)
    [(0, 1, 32), (32, 1, 32), (64, 1, 32), (96, 1, 4)]
    >>> tiles(200, 2048)
    [(0, 8, 16), (128, 4, 16), (192, 1, 8)]
    """
    width = max(width, 1)
    elements = STEP_ELEMENTS.get(device_type, GPU_STEP_ELEMENTS)
    most_chunks = 1
    if width < PLAIN_ELEMENTS.get(device_type, elements):
        most_chunks = elements // width
    longest = CHUNK_LENGTH
    if most_chunks < 2:
        longest = max(1, TILE_ELEMENTS // width)
    out = []
    begin = 0
    while begin < time:
        left = time - begin
        chunks, length = min(most_chunks, left // CHUNK_LENGTH), CHUNK_LENGTH
        if chunks < 2:
            chunks, length = 1, min(left, longest)
        out.append((begin, chunks, length))
        begin += chunks * length
    return out


def _view_tile(x, begin: int, chunks: int, length: int):
    """The view [length, B, chunks, D] of a tile of x [B, T, D], or [length, B, chunks] of x [B, T]."""
    view = x[:, begin : begin + chunks * length].unflatten(1, (chunks, length))
    return view.permute(2, 0, 1, *range(3, view.dim()))


class _Boundaries:
    """The steps before which the state is replaced: at resets and at the first step of a packed sequence.

    `table` [1 + sequences, D] holds `reset_state` and the initial states. `source` [B, T] is the row of `table` that replaces
    the state before a step, or -1 where nothing does. `sequences` are the packed sequences that are not empty, and `ends` are
    their last steps.
    """

    def __init__(self, resets, reset_state, cu_seqlens, initial_state):
        bounds = [] if cu_seqlens is None else cu_seqlens.tolist()
        self.sequences = [n for n, (begin, end) in enumerate(zip(bounds, bounds[1:])) if begin < end]
        self.ends = [bounds[n + 1] - 1 for n in self.sequences]
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
        """The packed sequences that end in a tile, and the index of their last steps in `[length, 1, chunks, D]`."""
        low = bisect_left(self.ends, begin)
        high = bisect_left(self.ends, begin + chunks * length)
        at = torch.tensor(self.ends[low:high], dtype=torch.long) - begin
        return self.sequences[low:high], (at % length, torch.zeros_like(at), at // length)


class _Tile:
    """One tile: its coefficients, padding and boundaries. A step i is `[B, chunks, D]`: step i of every chunk at once.

    Tensors of the tile are buffers of a `Workspace`, which all tiles of the same shape share: they are valid until the next
    tile of this shape is made.
    """

    def __init__(
        self, place, parts, spec: ScanSpec, attention_mask, boundaries: _Boundaries | None, works: dict, dtype
    ):
        self.place = place
        self.spec = spec
        self.is_affine = spec.form == "affine"
        _, self.chunks, self.length = place
        parts = [_view_tile(part, *place) for part in parts]
        shape = (self.chunks, self.length)
        if shape not in works:
            works[shape] = Workspace(torch.empty(parts[0].shape, dtype=dtype, device=parts[0].device))
        self.work = works[shape]
        if parts[0].dtype != dtype:
            parts = [self.work[f"part{i}"].copy_(part) for i, part in enumerate(parts)]
        self.parts = parts
        self.w, self.x = coefficients(parts, spec, self.work)
        self.one = self.w.new_ones(())
        self.padding = None
        if attention_mask is not None:  # padding keeps the state, by selection: no value in the padding can leak
            self.padding = _view_tile(attention_mask, *place).logical_not().unsqueeze(-1)
            self.w = self._own("w").masked_fill_(self.padding, float(self.is_affine))
            self.x = self._own("x").masked_fill_(self.padding, 0.0)
        # Of each step, a mask [B, chunks, 1] of the chunks in which the state is replaced before it, or None.
        self.replaced: list[torch.Tensor | None] = [None] * self.length
        self.whole_chunks = None  # mask [B, chunks, 1] of the chunks without a boundary
        if boundaries is not None:
            self.table = boundaries.table
            self.source = _view_tile(boundaries.source, *place)
            replaced = (self.source >= 0).unsqueeze(-1)
            is_replaced = replaced.flatten(1).any(1).tolist()
            self.replaced = [mask if found else None for mask, found in zip(replaced.unbind(), is_replaced)]
            if any(is_replaced):
                self.whole_chunks = replaced.any(0).logical_not()

    def _own(self, name: str):
        """A coefficient in a buffer of the workspace: `coefficients` may return a part itself."""
        value = getattr(self, name)
        if any(value is part for part in self.parts):
            return self.work[name].copy_(value)
        return value

    def replace(self, state, mask, i: int):
        """The state before step i, replaced where `mask`, `replaced[i]`, is True. By selection: no NaN in `state` can leak."""
        return torch.where(mask, self.table[self.source[i].clamp(min=0)], state)

    def grad_replaced(self, grads, at):
        """Gradients of the states that replace those before the steps `at`, from the gradients of every h."""
        return self.decay(grads[at], self.w[at], out=None)

    def decay(self, x, w, out):
        """x times the decay of a step."""
        if self.is_affine:
            return torch.mul(x, w, out=out)
        return torch.addcmul(x, x, w, value=-1, out=out)

    def extend(self, factor, i: int):
        """Multiplies the decay of step i into `factor`, in place."""
        w = self.w[i]
        if self.is_affine:
            factor.mul_(w)
        else:
            torch.lerp(factor, self.one, w, out=factor)

    def carry(self, ends, factor, state, order):
        """The states [B, chunks, D] that the chunks start from, when `state` enters the first chunk in `order`.

        `ends` [B, chunks, D] are the states that the chunks make of a zero state.
        """
        starts = [state] * self.chunks
        for c in order:
            starts[c] = state
            end = ends[:, c]
            left = torch.addcmul(end, factor[:, c], state, value=1 if self.is_affine else -1)
            if not self.is_affine:
                left.add_(state)
            if self.whole_chunks is not None:
                left = torch.where(self.whole_chunks[:, c], left, end)
            state = left
        return torch.stack(starts, 1)

    def run(self, state, out):
        """Steps from `state` [B, D] through the tile. Writes every state to `out` and returns the last one."""
        ws, xs, form = self.w.unbind(), self.x.unbind(), self.spec.form
        state = state.unsqueeze(1)
        if self.chunks > 1:
            end = torch.zeros_like(out[0])
            factor = torch.full_like(end, float(self.is_affine))
            for i, mask in enumerate(self.replaced):
                start = end if mask is None else self.replace(end, mask, i)
                step(start, ws[i], xs[i], form, out=end)
                self.extend(factor, i)
            state = self.carry(end, factor, state[:, 0], range(self.chunks))
        for i, (mask, h) in enumerate(zip(self.replaced, out.unbind())):
            if mask is not None:
                state = self.replace(state, mask, i)
            state = step(state, ws[i], xs[i], form, out=h)
        return state[:, -1]

    def run_back(self, grad, grads):
        """Steps back through the tile from `grad` [B, D], the gradient of its last state.

        Adds to `grads`, the gradients of every h, those through later steps. Returns the gradient of the state before the tile.
        """
        ws, gs, steps = self.w.unbind(), grads.unbind(), range(self.length - 1, -1, -1)
        grad = grad.unsqueeze(1).clone()
        if self.chunks > 1:
            end = torch.zeros_like(gs[0])
            factor = torch.full_like(end, float(self.is_affine))
            for i in steps:
                self.decay(end.add_(gs[i]), ws[i], out=end)
                mask = self.replaced[i]
                if mask is not None:
                    end.masked_fill_(mask, 0.0)
                self.extend(factor, i)
            grad = self.carry(end, factor, grad[:, 0], range(self.chunks - 1, -1, -1))
        for i in steps:
            self.decay(gs[i].add_(grad), ws[i], out=grad)
            mask = self.replaced[i]
            if mask is not None:
                grad.masked_fill_(mask, 0.0)
        return grad[:, 0]

    def previous(self, h, state):
        """The state before every step, in a buffer of the workspace; `state` [B, D] is that before the tile."""
        begin, chunks, length = self.place
        out = self.work["h_prev"]
        out[1:] = _view_tile(h, *self.place)[:-1]
        out[0, :, 1:] = h[:, begin + length - 1 : begin + chunks * length - 1 : length]
        out[0, :, 0] = state
        for i, mask in enumerate(self.replaced):
            if mask is not None:
                out[i] = self.replace(out[i], mask, i)
        return out


class _Problem:
    """The arguments that forward and backward share: dtypes, boundaries, tiles."""

    def __init__(self, projected, initial_state, attention_mask, resets, reset_state, cu_seqlens, spec: ScanSpec):
        batch, time, width = projected.shape
        self.spec = spec
        self.attention_mask = attention_mask
        self.parts = projected.chunk(spec.num_parts, -1)
        self.dtype = torch.promote_types(projected.dtype, torch.float32)
        channels = width // spec.num_parts
        if initial_state is None:
            sequences = batch if cu_seqlens is None else len(cu_seqlens) - 1
            initial_state = torch.zeros(sequences, channels, device=projected.device)
        self.initial_state = initial_state.to(self.dtype)
        self.boundaries = None
        if cu_seqlens is not None or resets is not None:
            self.boundaries = _Boundaries(resets, reset_state, cu_seqlens, self.initial_state)
        # The state before the first tile. Packed sequences get theirs at their boundaries.
        self.first_state = self.initial_state
        self.packed = None  # the boundaries of packed sequences
        if cu_seqlens is not None:
            self.packed = self.boundaries
            self.first_state = self.initial_state.new_zeros(batch, channels)
        self.places = tiles(time, batch * channels, projected.device.type)
        self.works = {}

    def tile(self, place) -> _Tile:
        return _Tile(place, self.parts, self.spec, self.attention_mask, self.boundaries, self.works, self.dtype)


def forward(projected, initial_state, attention_mask, resets, reset_state, cu_seqlens, spec: ScanSpec):
    """Computes a scan. `scan.minrnn_scan` describes the arguments and has checked them.

    Returns:
        `(h, final_state)`, both in new memory.
    """
    problem = _Problem(projected, initial_state, attention_mask, resets, reset_state, cu_seqlens, spec)
    h = torch.empty_like(problem.parts[0], memory_format=torch.contiguous_format)
    state = problem.first_state
    final = problem.initial_state.clone()
    for place in problem.places:
        tile = problem.tile(place)
        out = _view_tile(h, *place)
        states = out if h.dtype == problem.dtype else tile.work["h"]
        state = tile.run(state, states)
        if problem.packed is not None:
            sequences, at = problem.packed.ends_in(*place)
            final[sequences] = states[at]
        if states is not out:
            state = state.clone()  # the next tile overwrites the workspace
            out.copy_(to_dtype(states, h.dtype))
    return h, final if problem.packed is not None else state.clone()


def backward(
    grad_h, grad_final, projected, h, initial_state, attention_mask, resets, reset_state, cu_seqlens, spec: ScanSpec
):
    """Computes the gradients of a scan from those of its results, `grad_h` and `grad_final`.

    Returns:
        `(grad_projected, grad_initial, grad_reset)`: gradients of `projected`, of the initial state and of `reset_state`. The
        last two are in float32 or wider. That of a `reset_state` of `None` is zeros.
    """
    problem = _Problem(projected, initial_state, attention_mask, resets, reset_state, cu_seqlens, spec)
    grad_projected = torch.empty_like(projected, memory_format=torch.contiguous_format)
    grad_parts = grad_projected.chunk(spec.num_parts, -1)
    grad_final = grad_final.to(problem.dtype)
    grad_initial = grad_final.clone()  # right for an empty packed sequence
    grad_reset = grad_final.new_zeros(grad_final.shape[1:])
    grad = grad_initial
    if problem.packed is not None:
        grad = torch.zeros_like(problem.first_state)
        # Set by the tile of the sequence's first step, unless that step is a reset.
        grad_initial[problem.packed.sequences] = 0
    for place in reversed(problem.places):
        tile = problem.tile(place)
        grads = tile.work["grad"].copy_(_view_tile(grad_h, *place))
        if problem.packed is not None:
            sequences, at = problem.packed.ends_in(*place)
            grads[at] += grad_final[sequences]
        grad = tile.run_back(grad, grads)
        if problem.packed is not None:
            at = (tile.source > 0).nonzero(as_tuple=True)
            grad_initial[tile.source[at] - 1] = tile.grad_replaced(grads, at)
        if reset_state is not None:
            grad_reset += tile.grad_replaced(grads, (tile.source == 0).nonzero(as_tuple=True)).sum(0)
        begin = place[0]
        h_prev = tile.previous(h, h[:, begin - 1] if begin else problem.first_state)
        # The gradients are buffers of the tile's workspace, like all arguments, and are copied before the next tile.
        values = part_gradients(grads, h_prev, tile.w, tile.x, tile.parts, spec, tile.work)
        for grad_part, value in zip(grad_parts, values):
            view = _view_tile(grad_part, *place).copy_(value)
            if tile.padding is not None:
                view.masked_fill_(tile.padding, 0)
    return grad_projected, grad_initial if problem.packed is not None else grad, grad_reset
