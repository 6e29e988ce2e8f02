# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The GPU kernels of the scan, in Triton: `scan_fwd`, `scan_bwd`, `scan_reduce` and `scan_step`. `scan_triton` launches them.

Work: a program handles BLOCK_D channels of one segment. A segment is the steps [begin, end) of one sequence, with its own
incoming state; batch rows, packed sequences and the chunks of a long sequence are all segments. The programs are numbered with
the blocks of channels innermost: program_id = (sequence * chunks + chunk) * BLOCKS + block.

Tiles: a program walks its segment in tiles of RUNS * RUN_STEPS steps. A tile is RUNS runs of RUN_STEPS consecutive steps. The
runs are processed side by side: a value of a step is a tensor [RUNS, BLOCK_D] that holds this step of every run, and Python
tuples of length RUN_STEPS hold the values of all steps. A tile is processed in four phases:

1. Load everything that the tile reads.
2. Walk each run from a zero state, which gives its factor and end (see `scan_triton_steps`).
3. Scan over the runs, which gives the state that each run starts from.
4. Walk each run from there, and write the results.

With RUNS = 1 the only run starts from the tile's own incoming state, and phases 2 and 3 are skipped. `scan_reduce` skips phase
4. Gradients are carried in the same way, from the last step to the first.

Carried from tile to tile: the state (or gradient) [1, BLOCK_D] and, in `scan_reduce`, the factor of the segment so far. While a
tile is processed, the next STAGES - 1 tiles are copied to shared memory, if a thread reads at least four bytes of each step.

Parameters that several kernels and functions share:

| name | meaning |
| --- | --- |
| projected | [rows, time, K * D] with a distance of `batch_stride` elements between rows and STRIDE between steps |
| h, grad_h | [rows, time, D]; grad_h is the gradient of the loss by h |
| attention_mask, resets | [rows, time] bool, or None |
| reset_state | [D], or None for zeros; `reset_value` [1, BLOCK_D] is the program's part of it |
| bounds | [sequences + 1] offsets of packed sequences (cu_seqlens), or None |
| time, chunks, chunk_steps | steps of a row, chunks of a sequence, steps of a chunk |
| scale, scale_rest | their sum is one minus the forget-gate floor: two float32 numbers, as float64 input needs more digits |
| CELL, WITH_G | see `scan_triton_steps` |
| D, BLOCK_D | channels of a state, channels of a program |
| RUNS, RUN_STEPS, STAGES | see above |
| enter, enter_factor | the carried state or gradient and the factor, before the tile; `leave`, `leave_factor` after it |
| t, end | first step of the tile, end of the segment |
| column | [1, BLOCK_D] channels of the program |
| tensors | projected, attention_mask and resets, each from the program's row on |
| TAIL | whether steps of the tile may lie beyond `end`: only in the last tile of a segment |

The dtype of the state is called FLOAT: float32, or float64 for float64 input.
"""

from __future__ import annotations  # as in scan_triton_steps

from .scan_triton_steps import (
    advance,
    extend,
    extend_by_run,
    jit,
    load_tile,
    part_gradients,
    read_parts,
    retreat,
    run_starts,
    step_factor,
    step_input,
    write,
)

try:
    import triton.language as tl
except ImportError:  # scan_choice reports it, and nothing below runs
    tl = None


@jit
def _segment(bounds, time, chunks, chunk_steps, BLOCKS: tl.constexpr):
    # This program's sequence, chunk and batch row; the steps of its segment; the steps of its sequence.
    segment = tl.program_id(0) // BLOCKS
    sequence, chunk = segment // chunks, segment % chunks
    row, sequence_begin, sequence_end = sequence.to(tl.int64), 0, time
    if bounds is not None:
        row = sequence.to(tl.int64) * 0
        # The bounds have not been checked: wrong ones must not lead out of the tensors.
        sequence_begin = tl.minimum(tl.maximum(tl.load(bounds + sequence), 0), time).to(tl.int32)
        sequence_end = tl.minimum(tl.maximum(tl.load(bounds + sequence + 1), 0), time).to(tl.int32)
    begin = tl.minimum(sequence_begin + chunk * chunk_steps, sequence_end)
    end = tl.minimum(begin + chunk_steps, sequence_end)
    return sequence.to(tl.int64), chunk, row, begin, end, sequence_begin, sequence_end


# --- forward ---------------------------------------------------------------------------------------------------------


@jit
def _forward_runs(factor, state, parts, masks, is_reset, reset_value, scale, CELL: tl.constexpr, WITH_G: tl.constexpr):
    # Phase 2 of a tile: walks runs from `state`. Returns the factor of each run, which starts as `factor`, and its last state.
    FOLD: tl.constexpr = CELL == "carry" or CELL == "carry_affine"
    AFFINE: tl.constexpr = CELL == "linear" or CELL == "carry_affine"
    FLOAT: tl.constexpr = state.dtype
    for u in tl.static_range(len(parts[0])):
        gate1, gate2, candidate = parts[0][u].to(FLOAT), parts[1][u].to(FLOAT), parts[2][u].to(FLOAT)
        w = step_factor(gate1, gate2, scale, CELL)
        if len(is_reset) > 0:
            factor = tl.where(is_reset[u], 0.0 if AFFINE else 1.0, factor)
            state = tl.where(is_reset[u], reset_value, state)
        new_factor = extend_by_run(factor, w, AFFINE) if FOLD else extend(factor, w, AFFINE)
        new = advance(state, w, step_input(gate2, candidate, CELL, WITH_G), CELL)
        if len(masks) > 0:
            new_factor = tl.where(masks[u], new_factor, factor)
            new = tl.where(masks[u], new, state)
        factor, state = new_factor, new
    return factor, state


@jit
def _forward_tile(
    tensors, h, reset_value, enter_factor, enter, t, end, column, scale,
    CELL: tl.constexpr, WITH_G: tl.constexpr, STRIDE: tl.constexpr, D: tl.constexpr,
    RUNS: tl.constexpr, RUN_STEPS: tl.constexpr, BLOCK_D: tl.constexpr, TAIL: tl.constexpr,
):  # fmt: skip
    """Processes a tile and writes h, unless it is None.

    Returns:
        `(leave_factor, leave)`. The factor has no meaning where h is written.
    """
    AFFINE: tl.constexpr = CELL == "linear" or CELL == "carry_affine"
    MASKED: tl.constexpr = TAIL or D % BLOCK_D != 0
    FLOAT: tl.constexpr = enter.dtype
    parts, _befores, _grad_hs, masks, is_reset = load_tile(
        tensors, None, None, t, t, end, column, CELL, STRIDE, D, RUNS, RUN_STEPS, BLOCK_D, TAIL
    )
    factor, state = enter_factor, enter  # phase 2
    if RUNS > 1:
        factor = tl.full([RUNS, BLOCK_D], 1 if AFFINE else 0, FLOAT)
        state = tl.zeros([RUNS, BLOCK_D], FLOAT)
    if RUNS > 1 or h is None:
        factor, state = _forward_runs(factor, state, parts, masks, is_reset, reset_value, scale, CELL, WITH_G)
    leave_factor, leave = factor, state
    if RUNS > 1:  # phase 3
        state, leave_factor, leave = run_starts(factor, state, enter_factor, enter, AFFINE, RUNS, False)
    if h is not None:  # phase 4
        run = tl.arange(0, RUNS)[:, None] * RUN_STEPS
        target = h + tl.cast(t, tl.int64) * D + (run * D + column)
        for u in tl.static_range(RUN_STEPS):
            gate1, gate2, candidate = parts[0][u].to(FLOAT), parts[1][u].to(FLOAT), parts[2][u].to(FLOAT)
            if len(is_reset) > 0:
                state = tl.where(is_reset[u], reset_value, state)
            w = step_factor(gate1, gate2, scale, CELL)
            new = advance(state, w, step_input(gate2, candidate, CELL, WITH_G), CELL)
            if len(masks) > 0:
                new = tl.where(masks[u], new, state)
            state = new
            write(target + u * D, state, (column < D) & (t + run + u < end), MASKED, True)
        if RUNS == 1:
            leave = state
    return leave_factor, leave


@jit
def scan_fwd(
    projected, state, h, final, attention_mask, resets, reset_state, bounds,
    batch_stride, h_stride, state_stride, time, chunks, chunk_steps, scale, scale_rest,
    CELL: tl.constexpr, WITH_G: tl.constexpr, STRIDE: tl.constexpr, D: tl.constexpr,
    RUNS: tl.constexpr, RUN_STEPS: tl.constexpr, BLOCK_D: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Computes h and `final` [sequences, D], the last state of each sequence.

    `state` [sequences, chunks, D] holds the state that enters each segment; None for zeros.
    """
    FLOAT: tl.constexpr = final.dtype.element_ty
    BLOCKS: tl.constexpr = (D + BLOCK_D - 1) // BLOCK_D
    sequence, chunk, row, begin, end, _sequence_begin, sequence_end = _segment(
        bounds, time, chunks, chunk_steps, BLOCKS
    )
    column = (tl.program_id(0) % BLOCKS) * BLOCK_D + tl.arange(0, BLOCK_D)[None, :]
    inside = column < D
    scale = tl.cast(scale, FLOAT) + tl.cast(scale_rest, FLOAT)
    reset_value = tl.zeros([1, BLOCK_D], FLOAT)
    if reset_state is not None:
        reset_value = tl.load(reset_state + column, mask=inside, other=0.0)
    enter = tl.zeros([1, BLOCK_D], FLOAT)
    if state is not None:
        enter = tl.load(state + sequence * state_stride + chunk * D + column, mask=inside, other=0.0)
    projected, h = projected + row * batch_stride, h + row * h_stride
    if attention_mask is not None:
        attention_mask = attention_mask + row * time
    if resets is not None:
        resets = resets + row * time
    tensors = (projected, attention_mask, resets)
    TILE: tl.constexpr = RUNS * RUN_STEPS
    whole = begin + (end - begin) // TILE * TILE  # end of the last whole tile
    for t in tl.range(begin, whole, TILE, num_stages=STAGES):
        _factor, enter = _forward_tile(
            tensors, h, reset_value, enter, enter, t, end, column, scale,
            CELL, WITH_G, STRIDE, D, RUNS, RUN_STEPS, BLOCK_D, False,
        )  # fmt: skip
    if whole < end:
        _factor, enter = _forward_tile(
            tensors, h, reset_value, enter, enter, whole, end, column, scale,
            CELL, WITH_G, STRIDE, D, RUNS, RUN_STEPS, BLOCK_D, True,
        )  # fmt: skip
    if (end == sequence_end) & ((begin < end) | (chunk == 0)):
        tl.store(final + sequence * D + column, enter, mask=inside)


# --- backward --------------------------------------------------------------------------------------------------------


@jit
def _backward_runs(factor, grad, parts, grad_hs, masks, is_reset, scale, CELL: tl.constexpr):
    # Phase 2 of a tile: walks runs backwards from the gradient `grad`. Returns the factor of each run, which starts as
    # `factor`, and the gradient before its first step.
    AFFINE: tl.constexpr = CELL == "linear"
    FLOAT: tl.constexpr = grad.dtype
    for u in tl.static_range(len(grad_hs) - 1, -1, -1):
        w = step_factor(parts[0][u].to(FLOAT), parts[1][u].to(FLOAT), scale, CELL)
        total = grad + grad_hs[u].to(FLOAT)
        new_factor, new = extend(factor, w, AFFINE), retreat(total, w, AFFINE)
        if len(masks) > 0:
            new_factor = tl.where(masks[u], new_factor, factor)
            new = tl.where(masks[u], new, total)
        if len(is_reset) > 0:
            new_factor = tl.where(is_reset[u], 0.0 if AFFINE else 1.0, new_factor)
            new = tl.where(is_reset[u], 0.0, new)
        factor, grad = new_factor, new
    return factor, grad


@jit
def _backward_tile(
    tensors, h, grad_h, grad_projected, initial_value, reset_value, reset_sum, enter_factor, enter,
    t, sequence_begin, end, column, scale,
    CELL: tl.constexpr, WITH_G: tl.constexpr, STRIDE: tl.constexpr, D: tl.constexpr,
    RUNS: tl.constexpr, RUN_STEPS: tl.constexpr, BLOCK_D: tl.constexpr, TAIL: tl.constexpr,
):  # fmt: skip
    """Processes a tile backwards and writes `grad_projected`, unless it is None; then h may be None too.

    Args:
        initial_value: [1, BLOCK_D] state before the first step of the sequence.
        reset_sum: [RUNS, BLOCK_D] gradient of `reset_state` so far.

    Returns:
        `(leave_factor, leave, reset_sum)`. The factor has no meaning where gradients are written.
    """
    AFFINE: tl.constexpr = CELL == "linear"
    LSTM: tl.constexpr = CELL == "minlstm" or CELL == "minlstm_raw"
    PARTS: tl.constexpr = 3 if LSTM else 2
    MASKED: tl.constexpr = TAIL or D % BLOCK_D != 0
    FLOAT: tl.constexpr = enter.dtype
    parts, befores, grad_hs, masks, is_reset = load_tile(
        tensors, h, grad_h, t, sequence_begin, end, column, CELL, STRIDE, D, RUNS, RUN_STEPS, BLOCK_D, TAIL
    )
    factor, grad = enter_factor, enter  # phase 2
    if RUNS > 1:
        factor = tl.full([RUNS, BLOCK_D], 1 if AFFINE else 0, FLOAT)
        grad = tl.zeros([RUNS, BLOCK_D], FLOAT)
    if RUNS > 1 or grad_projected is None:
        factor, grad = _backward_runs(factor, grad, parts, grad_hs, masks, is_reset, scale, CELL)
    leave_factor, leave = factor, grad
    if RUNS > 1:  # phase 3
        grad, leave_factor, leave = run_starts(factor, grad, enter_factor, enter, AFFINE, RUNS, True)
    if grad_projected is not None:  # phase 4
        run = tl.arange(0, RUNS)[:, None] * RUN_STEPS
        target = grad_projected + tl.cast(t, tl.int64) * (PARTS * D) + (run * (PARTS * D) + column)
        for u in tl.static_range(RUN_STEPS - 1, -1, -1):
            at = t + run + u
            mask = (column < D) & (at < end)
            gate1, gate2, candidate = parts[0][u].to(FLOAT), parts[1][u].to(FLOAT), parts[2][u].to(FLOAT)
            before = befores[u].to(FLOAT)
            if u == 0:
                before = tl.where(at > sequence_begin, before, initial_value)
            if len(is_reset) > 0:
                before = tl.where(is_reset[u], reset_value, before)
            total = grad + grad_hs[u].to(FLOAT)
            grad_gate1, grad_gate2, grad_candidate = part_gradients(
                total, before, gate1, gate2, candidate, scale, CELL, WITH_G
            )
            grad = retreat(total, step_factor(gate1, gate2, scale, CELL), AFFINE)
            if len(masks) > 0:
                grad = tl.where(masks[u], grad, total)
                grad_gate1 = tl.where(masks[u], grad_gate1, 0.0)
                grad_candidate = tl.where(masks[u], grad_candidate, 0.0)
                grad_gate2 = tl.where(masks[u], grad_gate2, 0.0)
            if len(is_reset) > 0:
                reset_sum += tl.where(is_reset[u], grad, 0.0)
                grad = tl.where(is_reset[u], 0.0, grad)
            place = target + u * (PARTS * D)
            write(place, grad_gate1, mask, MASKED, False)
            if LSTM:
                write(place + D, grad_gate2, mask, MASKED, False)
            write(place + (PARTS - 1) * D, grad_candidate, mask, MASKED, False)
        if RUNS == 1:
            leave = grad
    return leave_factor, leave, reset_sum


@jit
def scan_bwd(
    projected, h, state, grad_h, grad_state, attention_mask, resets, reset_state, bounds, grad_projected, grad_initial,
    grad_reset, batch_stride, state_stride, time, chunks, chunk_steps, scale, scale_rest,
    CELL: tl.constexpr, WITH_G: tl.constexpr, STRIDE: tl.constexpr, D: tl.constexpr,
    RUNS: tl.constexpr, RUN_STEPS: tl.constexpr, BLOCK_D: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Computes the gradients of projected, of the initial states and of `reset_state`.

    `state` [sequences, D] holds the initial states; None for zeros. `grad_state` [sequences, chunks, D] holds the gradient of
    the state that leaves each segment, the last chunk first. `grad_reset` [segments, D] gets a sum for each segment.
    """
    FLOAT: tl.constexpr = grad_initial.dtype.element_ty
    BLOCKS: tl.constexpr = (D + BLOCK_D - 1) // BLOCK_D
    PARTS: tl.constexpr = 3 if CELL == "minlstm" or CELL == "minlstm_raw" else 2
    sequence, chunk, row, begin, end, sequence_begin, _sequence_end = _segment(
        bounds, time, chunks, chunk_steps, BLOCKS
    )
    column = (tl.program_id(0) % BLOCKS) * BLOCK_D + tl.arange(0, BLOCK_D)[None, :]
    inside = column < D
    scale = tl.cast(scale, FLOAT) + tl.cast(scale_rest, FLOAT)
    initial_value, reset_value = tl.zeros([1, BLOCK_D], FLOAT), tl.zeros([1, BLOCK_D], FLOAT)
    if state is not None:
        initial_value = tl.load(state + sequence * D + column, mask=inside, other=0.0)
    if reset_state is not None:
        reset_value = tl.load(reset_state + column, mask=inside, other=0.0)
    reset_sum = tl.zeros([RUNS, BLOCK_D], FLOAT)
    enter = tl.load(grad_state + sequence * state_stride + (chunks - 1 - chunk) * D + column, mask=inside, other=0.0)
    projected, h, grad_h = projected + row * batch_stride, h + row * time * D, grad_h + row * time * D
    grad_projected = grad_projected + row * time * (PARTS * D)
    if attention_mask is not None:
        attention_mask = attention_mask + row * time
    if resets is not None:
        resets = resets + row * time
    tensors = (projected, attention_mask, resets)
    TILE: tl.constexpr = RUNS * RUN_STEPS
    whole = begin + (end - begin) // TILE * TILE  # end of the last whole tile
    if whole < end:
        _factor, enter, reset_sum = _backward_tile(
            tensors, h, grad_h, grad_projected, initial_value, reset_value, reset_sum, enter, enter,
            whole, sequence_begin, end, column, scale, CELL, WITH_G, STRIDE, D, RUNS, RUN_STEPS, BLOCK_D, True,
        )  # fmt: skip
    for back in tl.range(begin, whole, TILE, num_stages=STAGES):
        _factor, enter, reset_sum = _backward_tile(
            tensors, h, grad_h, grad_projected, initial_value, reset_value, reset_sum, enter, enter,
            begin + whole - TILE - back, sequence_begin, end, column, scale,
            CELL, WITH_G, STRIDE, D, RUNS, RUN_STEPS, BLOCK_D, False,
        )  # fmt: skip
    if chunk == 0:
        tl.store(grad_initial + sequence * D + column, enter, mask=inside)
    if reset_state is not None:
        segment = (tl.program_id(0) // BLOCKS).to(tl.int64)
        tl.store(grad_reset + segment * D + column, tl.sum(reset_sum, 0, keep_dims=True), mask=inside)


# --- chunks and single steps -----------------------------------------------------------------------------------------


@jit
def scan_reduce(
    projected, grad_h, out, attention_mask, resets, reset_state, bounds,
    batch_stride, time, chunks, chunk_steps, scale, scale_rest,
    CELL: tl.constexpr, WITH_G: tl.constexpr, STRIDE: tl.constexpr, D: tl.constexpr,
    RUNS: tl.constexpr, RUN_STEPS: tl.constexpr, BLOCK_D: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Computes the factor and the end of each segment, `out` [sequences, chunks, 2 * D].

    With `grad_h`, they apply to the gradient that enters a segment from behind, and the last chunk comes first in `out`.
    """
    FLOAT: tl.constexpr = out.dtype.element_ty
    BLOCKS: tl.constexpr = (D + BLOCK_D - 1) // BLOCK_D
    AFFINE: tl.constexpr = CELL == "linear"
    sequence, chunk, row, begin, end, sequence_begin, _sequence_end = _segment(
        bounds, time, chunks, chunk_steps, BLOCKS
    )
    column = (tl.program_id(0) % BLOCKS) * BLOCK_D + tl.arange(0, BLOCK_D)[None, :]
    inside = column < D
    scale = tl.cast(scale, FLOAT) + tl.cast(scale_rest, FLOAT)
    reset_value = tl.zeros([1, BLOCK_D], FLOAT)
    if reset_state is not None:
        reset_value = tl.load(reset_state + column, mask=inside, other=0.0)
    state, factor = tl.zeros([1, BLOCK_D], FLOAT), tl.full([1, BLOCK_D], 1 if AFFINE else 0, FLOAT)
    projected = projected + row * batch_stride
    if attention_mask is not None:
        attention_mask = attention_mask + row * time
    if resets is not None:
        resets = resets + row * time
    tensors = (projected, attention_mask, resets)
    TILE: tl.constexpr = RUNS * RUN_STEPS
    whole = begin + (end - begin) // TILE * TILE  # end of the last whole tile
    if grad_h is not None:
        grad_h = grad_h + row * time * D
        chunk = chunks - 1 - chunk
        if whole < end:
            factor, state, _sum = _backward_tile(
                tensors, None, grad_h, None, state, state, state, factor, state,
                whole, sequence_begin, end, column, scale, CELL, WITH_G, STRIDE, D, RUNS, RUN_STEPS, BLOCK_D, True,
            )  # fmt: skip
        for back in tl.range(begin, whole, TILE, num_stages=STAGES):
            factor, state, _sum = _backward_tile(
                tensors, None, grad_h, None, state, state, state, factor, state,
                begin + whole - TILE - back, sequence_begin, end, column, scale,
                CELL, WITH_G, STRIDE, D, RUNS, RUN_STEPS, BLOCK_D, False,
            )  # fmt: skip
    else:
        for t in tl.range(begin, whole, TILE, num_stages=STAGES):
            factor, state = _forward_tile(
                tensors, None, reset_value, factor, state, t, end, column, scale,
                CELL, WITH_G, STRIDE, D, RUNS, RUN_STEPS, BLOCK_D, False,
            )  # fmt: skip
        if whole < end:
            factor, state = _forward_tile(
                tensors, None, reset_value, factor, state, whole, end, column, scale,
                CELL, WITH_G, STRIDE, D, RUNS, RUN_STEPS, BLOCK_D, True,
            )  # fmt: skip
    target = out + (sequence * chunks + chunk) * (2 * D) + column
    tl.store(target, factor, mask=inside)
    tl.store(target + D, state, mask=inside)


@jit
def scan_step(
    projected, state, h, row_stride, scale, scale_rest,
    CELL: tl.constexpr, WITH_G: tl.constexpr, D: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Computes one step: updates `state` [rows, D] in place, and writes it to h [rows, D] in the dtype of projected."""
    FLOAT: tl.constexpr = state.dtype.element_ty
    BLOCKS: tl.constexpr = (D + BLOCK_D - 1) // BLOCK_D
    row = (tl.program_id(0) // BLOCKS).to(tl.int64)
    column = (tl.program_id(0) % BLOCKS) * BLOCK_D + tl.arange(0, BLOCK_D)
    inside = column < D
    scale = tl.cast(scale, FLOAT) + tl.cast(scale_rest, FLOAT)
    gate1, gate2, candidate = read_parts(projected + row * row_stride + column, inside, 0, CELL, D, True)
    gate1, gate2, candidate = gate1.to(FLOAT), gate2.to(FLOAT), candidate.to(FLOAT)
    place = row * D + column
    before = tl.load(state + place, mask=inside, other=0.0)
    w = step_factor(gate1, gate2, scale, CELL)
    new = advance(before, w, step_input(gate2, candidate, CELL, WITH_G), CELL)
    tl.store(state + place, new, mask=inside)
    write(h + place, new, inside, True, True)


KERNELS = {"scan_fwd": scan_fwd, "scan_bwd": scan_bwd, "scan_reduce": scan_reduce, "scan_step": scan_step}
