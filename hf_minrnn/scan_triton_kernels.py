# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The GPU kernels of the scan, in Triton: `scan_fwd`, `scan_bwd`, `scan_reduce` and `scan_step`; `scan_triton` runs them.

A program takes BLOCK_D channels of one segment: the steps [begin, end) of one sequence, entered by one state. Batch rows,
packed sequences and chunks of a long sequence are all segments. Time goes in tiles of W runs of U consecutive steps, the
runs side by side: all that a tile reads is loaded first; each run is walked from a zero state, to see what it does to a
state; a scan over the W runs gives each the state it starts from; and the runs are walked again from there. With W = 1
the one run starts from the tile's own state, and one walk is enough. While a tile is walked, those up to STAGES - 1 further
on are copied into shared memory, where a thread has at least four bytes of each step.

`scale + rest` is one minus the forget-gate floor in two float32 numbers, which float64 input needs. FLOAT is the type of
the state. In a segment's last tile, TAIL, some steps may lie beyond the end.
"""

from __future__ import annotations  # as in scan_triton_steps

from .scan_triton_steps import advance, decay, gradients, incoming, jit, lose, lose_all, retreat, starts

try:
    import triton.language as tl
except ImportError:  # scan_choice says so; nothing below can run
    tl = None


# --- memory ----------------------------------------------------------------------------------------------------------


@jit
def _place(bounds, time, chunks, steps, PACKED: tl.constexpr, BLOCKS: tl.constexpr):
    # This program's sequence, chunk and batch row; the segment's bounds; the sequence's bounds.
    segment = tl.program_id(0) // BLOCKS
    sequence, chunk = segment // chunks, segment % chunks
    row, first, last = sequence.to(tl.int64), 0, time
    if PACKED:
        row = sequence.to(tl.int64) * 0
        # Nobody has looked at these bounds: what is wrong in them must not lead out of the tensors.
        first = tl.minimum(tl.maximum(tl.load(bounds + sequence), 0), time).to(tl.int32)
        last = tl.minimum(tl.maximum(tl.load(bounds + sequence + 1), 0), time).to(tl.int32)
    begin = tl.minimum(first + chunk * steps, last)
    return sequence.to(tl.int64), chunk, row, begin, tl.minimum(begin + steps, last), first, last


@jit
def _read(pointer, mask, MASKED: tl.constexpr):
    if MASKED:
        return tl.load(pointer, mask=mask, other=0.0)
    return tl.load(pointer)


@jit
def _write(pointer, value, mask, MASKED: tl.constexpr, SATURATE: tl.constexpr):
    if SATURATE and pointer.dtype.element_ty == tl.float16:  # which ends at 65504: see gates.to_dtype
        value = tl.where(value > 65504.0, 65504.0, tl.where(value < -65504.0, -65504.0, value))
    value = value.to(pointer.dtype.element_ty)
    if MASKED:
        tl.store(pointer, value, mask=mask)
    else:
        tl.store(pointer, value)


@jit
def _read_flag(flags, at, end, TAIL: tl.constexpr):
    if TAIL:
        return tl.load(flags + at, mask=at < end, other=0) != 0
    return tl.load(flags + at) != 0


@jit
def _read_keep(keep, at, end, HAS_KEEP: tl.constexpr, TAIL: tl.constexpr):
    if HAS_KEEP:
        return _read_flag(keep, at, end, TAIL)
    return at < end


# --- the kernels -----------------------------------------------------------------------------------------------------


@jit
def _forward_tile(
    enter_lost, enter, projected, h, keep, resets, restart, t, end, column, scale,
    CELL: tl.constexpr, G: tl.constexpr, STRIDE: tl.constexpr, D: tl.constexpr,
    W: tl.constexpr, U: tl.constexpr, BLOCK_D: tl.constexpr,
    HAS_KEEP: tl.constexpr, HAS_RESETS: tl.constexpr, FLOAT: tl.constexpr, REDUCE: tl.constexpr, TAIL: tl.constexpr,
):  # fmt: skip
    FOLD: tl.constexpr = CELL == "carry" or CELL == "carry_affine"
    AFFINE: tl.constexpr = CELL == "linear" or CELL == "carry_affine"
    LSTM: tl.constexpr = CELL == "minlstm" or CELL == "minlstm_raw"
    MASKED: tl.constexpr = TAIL or D % BLOCK_D != 0
    SELECTED: tl.constexpr = TAIL or HAS_KEEP
    run = tl.arange(0, W)[:, None] * U
    source = projected + tl.cast(t, tl.int64) * STRIDE + (run * STRIDE + column)
    firsts, seconds, lasts, keeps, cuts = (), (), (), (), ()
    for u in tl.static_range(U):
        at = t + run + u
        mask = (column < D) & (at < end)
        firsts = firsts + (_read(source + u * STRIDE, mask, MASKED),)
        last = _read(source + (u * STRIDE + (2 * D if LSTM else D)), mask, MASKED)
        lasts = lasts + (last,)
        if LSTM:
            seconds = seconds + (_read(source + (u * STRIDE + D), mask, MASKED),)
        else:
            seconds = seconds + (last,)
        if SELECTED:
            keeps = keeps + (_read_keep(keep, at, end, HAS_KEEP, TAIL),)
        if HAS_RESETS:
            cuts = cuts + (_read_flag(resets, at, end, TAIL),)
    lost, state = enter_lost, enter
    if W > 1:
        lost, state = tl.full([W, BLOCK_D], 1 if AFFINE else 0, FLOAT), tl.zeros([W, BLOCK_D], FLOAT)
    if W > 1 or REDUCE:
        for u in tl.static_range(U):
            first, second, last = firsts[u].to(FLOAT), seconds[u].to(FLOAT), lasts[u].to(FLOAT)
            w = decay(first, second, scale, CELL)
            if HAS_RESETS:
                lost, state = tl.where(cuts[u], 0.0 if AFFINE else 1.0, lost), tl.where(cuts[u], restart, state)
            new_lost = lose_all(lost, w, AFFINE) if FOLD else lose(lost, w, AFFINE)
            new = advance(state, w, incoming(second, last, CELL, G), CELL)
            if SELECTED:
                new_lost, new = tl.where(keeps[u], new_lost, lost), tl.where(keeps[u], new, state)
            lost, state = new_lost, new
    leave_lost, leave = lost, state
    if W > 1:
        state, leave_lost, leave = starts(lost, state, enter_lost, enter, AFFINE, W, False)
    if not REDUCE:
        target = h + tl.cast(t, tl.int64) * D + (run * D + column)
        for u in tl.static_range(U):
            first, second, last = firsts[u].to(FLOAT), seconds[u].to(FLOAT), lasts[u].to(FLOAT)
            if HAS_RESETS:
                state = tl.where(cuts[u], restart, state)
            new = advance(state, decay(first, second, scale, CELL), incoming(second, last, CELL, G), CELL)
            if SELECTED:
                new = tl.where(keeps[u], new, state)
            state = new
            _write(target + u * D, state, (column < D) & (t + run + u < end), MASKED, True)
        if W == 1:
            leave = state
    return leave_lost, leave


@jit
def scan_fwd(
    projected, state, h, final, keep, resets, reset_state, bounds,
    batch_stride, h_stride, state_stride, time, chunks, steps, scale, rest,
    CELL: tl.constexpr, G: tl.constexpr, STRIDE: tl.constexpr, D: tl.constexpr,
    W: tl.constexpr, U: tl.constexpr, BLOCK_D: tl.constexpr, STAGES: tl.constexpr,
    HAS_STATE: tl.constexpr, HAS_KEEP: tl.constexpr, HAS_RESETS: tl.constexpr, HAS_RESET_STATE: tl.constexpr,
    PACKED: tl.constexpr,
):  # fmt: skip
    """h and each sequence's last state, from the state that enters each segment."""
    FLOAT: tl.constexpr = final.dtype.element_ty
    BLOCKS: tl.constexpr = (D + BLOCK_D - 1) // BLOCK_D
    sequence, chunk, row, begin, end, _first, last = _place(bounds, time, chunks, steps, PACKED, BLOCKS)
    column = (tl.program_id(0) % BLOCKS) * BLOCK_D + tl.arange(0, BLOCK_D)[None, :]
    inside = column < D
    scale = tl.cast(scale, FLOAT) + tl.cast(rest, FLOAT)
    restart = tl.zeros([1, BLOCK_D], FLOAT)
    if HAS_RESET_STATE:
        restart = tl.load(reset_state + column, mask=inside, other=0.0)
    enter = tl.zeros([1, BLOCK_D], FLOAT)
    if HAS_STATE:
        enter = tl.load(state + sequence * state_stride + chunk * D + column, mask=inside, other=0.0)
    projected, h = projected + row * batch_stride, h + row * h_stride
    keep, resets = keep + row * time, resets + row * time
    whole = begin + (end - begin) // (W * U) * (W * U)
    for t in tl.range(begin, whole, W * U, num_stages=STAGES):
        _lost, enter = _forward_tile(
            enter, enter, projected, h, keep, resets, restart, t, end, column, scale,
            CELL, G, STRIDE, D, W, U, BLOCK_D, HAS_KEEP, HAS_RESETS, FLOAT, False, False,
        )  # fmt: skip
    if whole < end:
        _lost, enter = _forward_tile(
            enter, enter, projected, h, keep, resets, restart, whole, end, column, scale,
            CELL, G, STRIDE, D, W, U, BLOCK_D, HAS_KEEP, HAS_RESETS, FLOAT, False, True,
        )  # fmt: skip
    if (end == last) & ((begin < end) | (chunk == 0)):
        tl.store(final + sequence * D + column, enter, mask=inside)


@jit
def _backward_tile(
    enter_lost, enter, reset_sum, projected, h, grad_h, grad_projected, keep, resets, restart, initial, t, first, end,
    column, scale,
    CELL: tl.constexpr, G: tl.constexpr, STRIDE: tl.constexpr, D: tl.constexpr,
    W: tl.constexpr, U: tl.constexpr, BLOCK_D: tl.constexpr,
    HAS_KEEP: tl.constexpr, HAS_RESETS: tl.constexpr, FLOAT: tl.constexpr, REDUCE: tl.constexpr, TAIL: tl.constexpr,
):  # fmt: skip
    AFFINE: tl.constexpr = CELL == "linear"
    LSTM: tl.constexpr = CELL == "minlstm" or CELL == "minlstm_raw"
    PARTS: tl.constexpr = 3 if LSTM else 2
    MASKED: tl.constexpr = TAIL or D % BLOCK_D != 0
    SELECTED: tl.constexpr = TAIL or HAS_KEEP
    run = tl.arange(0, W)[:, None] * U
    source = projected + tl.cast(t, tl.int64) * STRIDE + (run * STRIDE + column)
    grads, states = (
        (tl.cast(t, tl.int64) * D + (run * D + column)),
        h + (tl.cast(t, tl.int64) - 1) * D + (run * D + column),
    )
    firsts, seconds, lasts, gains, befores, keeps, cuts = (), (), (), (), (), (), ()
    for u in tl.static_range(U):
        at = t + run + u
        mask = (column < D) & (at < end)
        gains = gains + (_read(grad_h + grads + u * D, mask, MASKED),)
        part = _read(source + u * STRIDE, mask, MASKED)
        firsts = firsts + (part,)
        if LSTM:
            part = _read(source + (u * STRIDE + D), mask, MASKED)
        seconds = seconds + (part,)
        if not REDUCE:
            lasts = lasts + (_read(source + (u * STRIDE + (PARTS - 1) * D), mask, MASKED),)
            if u == 0:  # the step before a run's first may be another sequence's, or nothing's
                befores = befores + (tl.load(states, mask=mask & (at > first) if MASKED else at > first, other=0.0),)
            else:
                befores = befores + (_read(states + u * D, mask, MASKED),)
        if SELECTED:
            keeps = keeps + (_read_keep(keep, at, end, HAS_KEEP, TAIL),)
        if HAS_RESETS:
            cuts = cuts + (_read_flag(resets, at, end, TAIL),)
    lost, grad = enter_lost, enter
    if W > 1:
        lost, grad = tl.full([W, BLOCK_D], 1 if AFFINE else 0, FLOAT), tl.zeros([W, BLOCK_D], FLOAT)
    if W > 1 or REDUCE:
        for back in tl.static_range(U):
            w = decay(firsts[U - 1 - back].to(FLOAT), seconds[U - 1 - back].to(FLOAT), scale, CELL)
            total = grad + gains[U - 1 - back].to(FLOAT)
            new_lost, new = lose(lost, w, AFFINE), retreat(total, w, AFFINE)
            if SELECTED:
                new_lost, new = tl.where(keeps[U - 1 - back], new_lost, lost), tl.where(keeps[U - 1 - back], new, total)
            if HAS_RESETS:
                new_lost = tl.where(cuts[U - 1 - back], 0.0 if AFFINE else 1.0, new_lost)
                new = tl.where(cuts[U - 1 - back], 0.0, new)
            lost, grad = new_lost, new
    leave_lost, leave = lost, grad
    if W > 1:
        grad, leave_lost, leave = starts(lost, grad, enter_lost, enter, AFFINE, W, True)
    if not REDUCE:
        target = grad_projected + tl.cast(t, tl.int64) * (PARTS * D) + (run * (PARTS * D) + column)
        for back in tl.static_range(U):
            at = t + run + (U - 1 - back)
            mask = (column < D) & (at < end)
            one, two, three = (
                firsts[U - 1 - back].to(FLOAT),
                seconds[U - 1 - back].to(FLOAT),
                lasts[U - 1 - back].to(FLOAT),
            )
            before = befores[U - 1 - back].to(FLOAT)
            if back == U - 1:
                before = tl.where(at > first, before, initial)
            if HAS_RESETS:
                before = tl.where(cuts[U - 1 - back], restart, before)
            total = grad + gains[U - 1 - back].to(FLOAT)
            grad_one, grad_two, grad_three = gradients(total, before, one, two, three, scale, CELL, G)
            grad = retreat(total, decay(one, two, scale, CELL), AFFINE)
            if SELECTED:
                kept = keeps[U - 1 - back]
                grad = tl.where(kept, grad, total)
                grad_one, grad_three = tl.where(kept, grad_one, 0.0), tl.where(kept, grad_three, 0.0)
                grad_two = tl.where(kept, grad_two, 0.0)
            if HAS_RESETS:
                reset_sum += tl.where(cuts[U - 1 - back], grad, 0.0)
                grad = tl.where(cuts[U - 1 - back], 0.0, grad)
            place = target + (U - 1 - back) * (PARTS * D)
            _write(place, grad_one, mask, MASKED, False)
            if LSTM:
                _write(place + D, grad_two, mask, MASKED, False)
            _write(place + (PARTS - 1) * D, grad_three, mask, MASKED, False)
        if W == 1:
            leave = grad
    return leave_lost, leave, reset_sum


@jit
def scan_bwd(
    projected, h, state, grad_h, grad_state, keep, resets, reset_state, bounds, grad_projected, grad_initial, grad_reset,
    batch_stride, state_stride, time, chunks, steps, scale, rest,
    CELL: tl.constexpr, G: tl.constexpr, STRIDE: tl.constexpr, D: tl.constexpr,
    W: tl.constexpr, U: tl.constexpr, BLOCK_D: tl.constexpr, STAGES: tl.constexpr,
    HAS_STATE: tl.constexpr, HAS_KEEP: tl.constexpr, HAS_RESETS: tl.constexpr, HAS_RESET_STATE: tl.constexpr,
    PACKED: tl.constexpr,
):  # fmt: skip
    """Gradients from those by h and by the state that leaves each segment.

    `grad_state` holds the latter, the chunks in reverse; `grad_reset` a sum for each segment.
    """
    FLOAT: tl.constexpr = grad_initial.dtype.element_ty
    BLOCKS: tl.constexpr = (D + BLOCK_D - 1) // BLOCK_D
    PARTS: tl.constexpr = 3 if CELL == "minlstm" or CELL == "minlstm_raw" else 2
    sequence, chunk, row, begin, end, first, _last = _place(bounds, time, chunks, steps, PACKED, BLOCKS)
    column = (tl.program_id(0) % BLOCKS) * BLOCK_D + tl.arange(0, BLOCK_D)[None, :]
    inside = column < D
    scale = tl.cast(scale, FLOAT) + tl.cast(rest, FLOAT)
    initial, restart = tl.zeros([1, BLOCK_D], FLOAT), tl.zeros([1, BLOCK_D], FLOAT)
    if HAS_STATE:
        initial = tl.load(state + sequence * D + column, mask=inside, other=0.0)
    if HAS_RESET_STATE:
        restart = tl.load(reset_state + column, mask=inside, other=0.0)
    reset_sum = tl.zeros([W, BLOCK_D], FLOAT)
    enter = tl.load(grad_state + sequence * state_stride + (chunks - 1 - chunk) * D + column, mask=inside, other=0.0)
    projected, h, grad_h = projected + row * batch_stride, h + row * time * D, grad_h + row * time * D
    grad_projected = grad_projected + row * time * (PARTS * D)
    keep, resets = keep + row * time, resets + row * time
    whole = begin + (end - begin) // (W * U) * (W * U)
    if whole < end:
        _lost, enter, reset_sum = _backward_tile(
            enter, enter, reset_sum, projected, h, grad_h, grad_projected, keep, resets, restart, initial, whole, first,
            end, column, scale,
            CELL, G, STRIDE, D, W, U, BLOCK_D, HAS_KEEP, HAS_RESETS, FLOAT, False, True,
        )  # fmt: skip
    for back in tl.range(begin, whole, W * U, num_stages=STAGES):
        _lost, enter, reset_sum = _backward_tile(
            enter, enter, reset_sum, projected, h, grad_h, grad_projected, keep, resets, restart, initial,
            begin + whole - W * U - back, first, end, column, scale,
            CELL, G, STRIDE, D, W, U, BLOCK_D, HAS_KEEP, HAS_RESETS, FLOAT, False, False,
        )  # fmt: skip
    if chunk == 0:
        tl.store(grad_initial + sequence * D + column, enter, mask=inside)
    if HAS_RESET_STATE:
        segment = (tl.program_id(0) // BLOCKS).to(tl.int64)
        tl.store(grad_reset + segment * D + column, tl.sum(reset_sum, 0, keep_dims=True), mask=inside)


@jit
def scan_reduce(
    projected, grad_h, out, keep, resets, reset_state, bounds, batch_stride, time, chunks, steps, scale, rest,
    CELL: tl.constexpr, G: tl.constexpr, STRIDE: tl.constexpr, D: tl.constexpr,
    W: tl.constexpr, U: tl.constexpr, BLOCK_D: tl.constexpr, STAGES: tl.constexpr,
    HAS_KEEP: tl.constexpr, HAS_RESETS: tl.constexpr, HAS_RESET_STATE: tl.constexpr,
    PACKED: tl.constexpr, BACK: tl.constexpr,
):  # fmt: skip
    """`[lost | end]` of each segment, `(sequences, chunks, 2 * D)`: what it does to a state that enters it, or, with BACK,
    to a gradient that enters it from behind; the chunks are in reverse then."""
    FLOAT: tl.constexpr = out.dtype.element_ty
    BLOCKS: tl.constexpr = (D + BLOCK_D - 1) // BLOCK_D
    AFFINE: tl.constexpr = CELL == "linear"
    sequence, chunk, row, begin, end, first, _last = _place(bounds, time, chunks, steps, PACKED, BLOCKS)
    column = (tl.program_id(0) % BLOCKS) * BLOCK_D + tl.arange(0, BLOCK_D)[None, :]
    inside = column < D
    scale = tl.cast(scale, FLOAT) + tl.cast(rest, FLOAT)
    restart = tl.zeros([1, BLOCK_D], FLOAT)
    if HAS_RESET_STATE:
        restart = tl.load(reset_state + column, mask=inside, other=0.0)
    state, lost = tl.zeros([1, BLOCK_D], FLOAT), tl.full([1, BLOCK_D], 1 if AFFINE else 0, FLOAT)
    projected, keep, resets = projected + row * batch_stride, keep + row * time, resets + row * time
    whole = begin + (end - begin) // (W * U) * (W * U)
    if BACK:
        grad_h = grad_h + row * time * D
        chunk = chunks - 1 - chunk
        if whole < end:
            lost, state, _sum = _backward_tile(
                lost, state, state, projected, grad_h, grad_h, grad_h, keep, resets, restart, restart, whole, first, end,
                column, scale,
                CELL, G, STRIDE, D, W, U, BLOCK_D, HAS_KEEP, HAS_RESETS, FLOAT, True, True,
            )  # fmt: skip
        for back in tl.range(begin, whole, W * U, num_stages=STAGES):
            lost, state, _sum = _backward_tile(
                lost, state, state, projected, grad_h, grad_h, grad_h, keep, resets, restart, restart,
                begin + whole - W * U - back, first, end, column, scale,
                CELL, G, STRIDE, D, W, U, BLOCK_D, HAS_KEEP, HAS_RESETS, FLOAT, True, False,
            )  # fmt: skip
    else:
        for t in tl.range(begin, whole, W * U, num_stages=STAGES):
            lost, state = _forward_tile(
                lost, state, projected, projected, keep, resets, restart, t, end, column, scale,
                CELL, G, STRIDE, D, W, U, BLOCK_D, HAS_KEEP, HAS_RESETS, FLOAT, True, False,
            )  # fmt: skip
        if whole < end:
            lost, state = _forward_tile(
                lost, state, projected, projected, keep, resets, restart, whole, end, column, scale,
                CELL, G, STRIDE, D, W, U, BLOCK_D, HAS_KEEP, HAS_RESETS, FLOAT, True, True,
            )  # fmt: skip
    target = out + (sequence * chunks + chunk) * (2 * D) + column
    tl.store(target, lost, mask=inside)
    tl.store(target + D, state, mask=inside)


@jit
def scan_step(
    projected, state, h, row_stride, scale, rest,
    CELL: tl.constexpr, G: tl.constexpr, D: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """One step: `state` in place, h beside it."""
    LSTM: tl.constexpr = CELL == "minlstm" or CELL == "minlstm_raw"
    FLOAT: tl.constexpr = state.dtype.element_ty
    BLOCKS: tl.constexpr = (D + BLOCK_D - 1) // BLOCK_D
    row = (tl.program_id(0) // BLOCKS).to(tl.int64)
    column = (tl.program_id(0) % BLOCKS) * BLOCK_D + tl.arange(0, BLOCK_D)
    inside = column < D
    scale = tl.cast(scale, FLOAT) + tl.cast(rest, FLOAT)
    source = projected + row * row_stride + column
    first = tl.load(source, mask=inside, other=0.0).to(FLOAT)
    last = tl.load(source + (2 * D if LSTM else D), mask=inside, other=0.0).to(FLOAT)
    second = last
    if LSTM:
        second = tl.load(source + D, mask=inside, other=0.0).to(FLOAT)
    place = row * D + column
    before = tl.load(state + place, mask=inside, other=0.0)
    new = advance(before, decay(first, second, scale, CELL), incoming(second, last, CELL, G), CELL)
    tl.store(state + place, new, mask=inside)
    _write(h + place, new, inside, True, True)


KERNELS = {"scan_fwd": scan_fwd, "scan_bwd": scan_bwd, "scan_reduce": scan_reduce, "scan_step": scan_step}
