# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Building blocks of the GPU kernels: the gate formulas of `gates`, the effect of a run of steps on a state, and the loads of
a tile. `scan_triton_kernels` explains the terms.

A `factor` says what a step, or a run of steps, does to the state that enters it. It is one minus the (product of) decays, the
fraction that is taken away, which keeps its precision when a decay rounds to 1. A decay below 0 has a factor above 1. In the
affine forms it is the (product of) decays itself. A run also adds `end`, the state that it would make of a zero state.

States from before a boundary are dropped by selection and never by a multiplication by zero, so that no NaN passes.

CELL is "mingru", "minlstm", "minlstm_raw" (gates not normalised) or "linear". "carry" and "carry_affine" fold the chunks of a
sequence; their two parts are the factor and the end of each chunk. The parts of a cell are named gate1, gate2 and candidate; a
cell of two parts has no gate2. WITH_G says whether the candidate activation is g. A local `w` is the factor of one step.
"""

from __future__ import annotations  # annotations of kernels name types of triton, which may not be installed

try:
    import triton
    import triton.language as tl

    # The approximate instructions take 2 instead of 5 instructions for an exponential and 1 instead of 7 for a reciprocal.
    # Their error is 2 units in the last place, and numbers below 1e-38 become zero. The interpreter does not have them.
    FAST = tl.constexpr(not triton.knobs.runtime.interpret)
except ImportError:  # scan_choice reports it, and nothing below runs
    triton = None


def jit(function):
    """Applies `triton.jit` where triton is installed."""
    return function if triton is None else triton.jit(function)


# --- gates -----------------------------------------------------------------------------------------------------------


@jit
def exp(x, SIGN: tl.constexpr = 1):
    # exp(SIGN * x): within the factor below, the sign costs no instruction.
    if FAST and x.dtype == tl.float32:
        power = x * (SIGN * 1.4426950408889634)
        return tl.inline_asm_elementwise(
            "ex2.approx.ftz.f32 $0, $1;", "=f,f", [power], tl.float32, is_pure=True, pack=1
        )
    return tl.exp(SIGN * x)


@jit
def inverse(x):
    if FAST and x.dtype == tl.float32:
        return tl.inline_asm_elementwise("rcp.approx.ftz.f32 $0, $1;", "=f,f", [x], tl.float32, is_pure=True, pack=1)
    return 1 / x


@jit
def sigmoid(x, SIGN: tl.constexpr = 1):
    return inverse(1 + exp(x, -SIGN))


@jit
def activate(candidate, WITH_G: tl.constexpr):
    if WITH_G:  # the sigmoid is 0.5 from 0 on
        return sigmoid(tl.minimum(candidate, 0.0)) + tl.maximum(candidate, 0.0, propagate_nan=tl.PropagateNan.ALL)
    return candidate


@jit
def normalized_terms(forget, input):
    # With P = 1 + exp(-forget) and Q = 1 + exp(-input), the shares of the gates are Q / (P + Q) and P / (P + Q). Returns P - 1,
    # Q - 1, P, Q, all scaled so that no exponent is positive, and 1 / (P + Q).
    top = tl.minimum(tl.minimum(forget, input), 0.0)
    p, q, unit = exp(top - forget), exp(top - input), exp(top)
    return p, q, p + unit, q + unit, inverse((p + unit) + (q + unit))


@jit
def step_factor(gate1, gate2, scale, CELL: tl.constexpr):
    # The factor of gates.step. `scale` is one minus the forget-gate floor.
    if CELL == "mingru":
        return sigmoid(gate1) * scale
    if CELL == "minlstm":
        _, _, p_all, _, inverse_sum = normalized_terms(gate1, gate2)
        return p_all * inverse_sum * scale
    if CELL == "minlstm_raw":
        return sigmoid(gate1, -1) * scale
    return gate1


@jit
def step_input(gate2, candidate, CELL: tl.constexpr, WITH_G: tl.constexpr):
    # The input of gates.step.
    v = activate(candidate, WITH_G)
    if CELL == "minlstm_raw":
        return sigmoid(gate2) * v
    return v


@jit
def advance(h, factor, input, CELL: tl.constexpr):
    # The state after a step.
    if CELL == "linear":
        return tl.fma(factor, h, input)
    if CELL == "minlstm_raw":
        return h + tl.fma(-factor, h, input)
    if CELL == "carry":
        return tl.where(factor == 1, input, h + tl.fma(-factor, h, input))
    if CELL == "carry_affine":
        return tl.where(factor == 0, input, tl.fma(factor, h, input))
    return tl.fma(factor, input - h, h)


@jit
def part_gradients(grad, before, gate1, gate2, candidate, scale, CELL: tl.constexpr, WITH_G: tl.constexpr):
    # Gradients of gate1, gate2 and the candidate, from the gradient of the state after the step and the state before it; see
    # gates.part_gradients. A cell of two parts returns any number for gate2.
    if CELL == "linear":
        return grad * before, grad, grad
    v = activate(candidate, WITH_G)
    slope = tl.where(candidate < 0, v - v * v, 1.0)
    if CELL == "minlstm_raw":
        forget, input = sigmoid(gate1, -1), sigmoid(gate2)
        grad_gate1 = grad * before * scale * forget * (1 - forget)
        grad_gate2, grad_v = grad * v * input * (1 - input), grad * input
    elif CELL == "minlstm":
        p, q, p_all, q_all, inverse_sum = normalized_terms(gate1, gate2)
        grad = grad * scale * inverse_sum
        grad_v, grad_logit = grad * p_all, grad * inverse_sum * (v - before)
        grad_gate1, grad_gate2 = -grad_logit * q_all * p, grad_logit * p_all * q
    else:
        z = sigmoid(gate1)  # 1 - z has the error of z, as 1 + decay has for a floor of -1
        grad_v = grad * z * scale
        grad_gate1 = grad_v * (1 - z) * (v - before)
        grad_gate2 = grad_gate1
    if WITH_G:
        grad_v = grad_v * slope
    return grad_gate1, grad_gate2, grad_v


# --- runs of steps ---------------------------------------------------------------------------------------------------


@jit
def extend(run_factor, factor, AFFINE: tl.constexpr):
    # The factor of a run and one more step.
    if AFFINE:
        return run_factor * factor
    return tl.fma(factor, 1 - run_factor, run_factor)


@jit
def extend_by_run(run_factor, next_factor, AFFINE: tl.constexpr):
    # The factor of a run and the run after it. A NaN from before a boundary must not hide the boundary.
    if AFFINE:
        return tl.where(next_factor == 0, 0.0, run_factor * next_factor)
    return tl.where(next_factor == 1, 1.0, extend(run_factor, next_factor, False))


@jit
def retreat(grad, factor, AFFINE: tl.constexpr):
    # The gradient of the state before a step, from that of the state after it.
    if AFFINE:
        return grad * factor
    return tl.fma(-grad, factor, grad)


@jit
def join(factor, end, start_factor, start, next_factor, next_end, next_start_factor, next_start):
    # Joins two groups of runs: the factor and end of all runs, and those of all runs but the last. Behind a boundary the factor
    # is 1, and nothing from before it counts. The same is true behind a decay of 0.
    joined_end = tl.where(next_factor == 1, next_end, next_end + tl.fma(-next_factor, end, end))
    joined_start = tl.where(next_start_factor == 1, next_start, next_start + tl.fma(-next_start_factor, end, end))
    joined_factor = extend_by_run(factor, next_factor, False)
    return joined_factor, joined_end, extend_by_run(factor, next_start_factor, False), joined_start


@jit
def join_affine(factor, end, start_factor, start, next_factor, next_end, next_start_factor, next_start):
    # As join, for the affine form.
    joined_end = tl.where(next_factor == 0, next_end, tl.fma(next_factor, end, next_end))
    joined_start = tl.where(next_start_factor == 0, next_start, tl.fma(next_start_factor, end, next_start))
    joined_factor = extend_by_run(factor, next_factor, True)
    return joined_factor, joined_end, extend_by_run(factor, next_start_factor, True), joined_start


@jit
def add(a, b, c, d):
    return a + c, b + d


@jit
def run_starts(factor, end, enter_factor, enter, AFFINE: tl.constexpr, RUNS: tl.constexpr, BACK: tl.constexpr):
    # `factor` and `end` [RUNS, BLOCK_D] of runs, in order of time, or in reverse with BACK. Returns the state that each run
    # starts from when `enter` [1, BLOCK_D] enters the first, and the factor and the state after the last run.
    none = tl.full(end.shape, 1 if AFFINE else 0, end.dtype)
    runs = (factor, end, none, tl.zeros(end.shape, end.dtype))
    row = tl.arange(0, RUNS)[:, None]
    if AFFINE:
        factor, end, start_factor, start = tl.associative_scan(runs, 0, join_affine, reverse=BACK)
    else:
        factor, end, start_factor, start = tl.associative_scan(runs, 0, join, reverse=BACK)
    is_last = row == (0 if BACK else RUNS - 1)
    last_run = tl.where(is_last, factor, 0.0), tl.where(is_last, end, 0.0)
    all_factor, all_end = tl.reduce(last_run, 0, add, keep_dims=True)
    if AFFINE:
        leave_factor, leave, _, start = join_affine(
            enter_factor, enter, none, none, all_factor, all_end, start_factor, start
        )
    else:
        leave_factor, leave, _, start = join(enter_factor, enter, none, none, all_factor, all_end, start_factor, start)
    return start, leave_factor, leave


# --- memory ---------------------------------------------------------------------------------------------------------


@jit
def read(pointer, mask, MASKED: tl.constexpr):
    if MASKED:
        return tl.load(pointer, mask=mask, other=0.0)
    return tl.load(pointer)


@jit
def read_parts(source, mask, OFFSET: tl.constexpr, CELL: tl.constexpr, D: tl.constexpr, MASKED: tl.constexpr):
    # gate1, gate2 and candidate of a step. In a cell of two parts gate2 is not used.
    gate1 = read(source + OFFSET, mask, MASKED)
    if CELL == "minlstm" or CELL == "minlstm_raw":
        gate2 = read(source + (OFFSET + D), mask, MASKED)
        candidate = read(source + (OFFSET + 2 * D), mask, MASKED)
    else:
        candidate = read(source + (OFFSET + D), mask, MASKED)
        gate2 = candidate
    return gate1, gate2, candidate


@jit
def write(pointer, value, mask, MASKED: tl.constexpr, SATURATE: tl.constexpr):
    if SATURATE and pointer.dtype.element_ty == tl.float16:  # float16 ends at 65504: see gates.to_dtype
        value = tl.where(value > 65504.0, 65504.0, tl.where(value < -65504.0, -65504.0, value))
    value = value.to(pointer.dtype.element_ty)
    if MASKED:
        tl.store(pointer, value, mask=mask)
    else:
        tl.store(pointer, value)


@jit
def read_flag(flags, at, end, TAIL: tl.constexpr):
    if TAIL:
        return tl.load(flags + at, mask=at < end, other=0) != 0
    return tl.load(flags + at) != 0


@jit
def load_tile(
    tensors, h, grad_h, t, sequence_begin, end, column,
    CELL: tl.constexpr, STRIDE: tl.constexpr, D: tl.constexpr,
    RUNS: tl.constexpr, RUN_STEPS: tl.constexpr, BLOCK_D: tl.constexpr, TAIL: tl.constexpr,
):  # fmt: skip
    """Loads what a tile reads: phase 1. `tensors` are projected, attention_mask and resets of the row.

    Returns:
        Tuples with one tensor for each step of a run. `parts`: a tuple each of gate1, gate2 and candidate. `befores`: states
        before the steps, empty without h. `grad_hs`: gradients of h, empty without grad_h. `masks`: False at padding and beyond
        the end, empty if every step counts. `is_reset`: True at resets, empty without resets.
    """
    projected, attention_mask, resets = tensors
    MASKED: tl.constexpr = TAIL or D % BLOCK_D != 0
    run = tl.arange(0, RUNS)[:, None] * RUN_STEPS  # first step of each run in the tile
    source = projected + tl.cast(t, tl.int64) * STRIDE + (run * STRIDE + column)
    place = tl.cast(t, tl.int64) * D + (run * D + column)
    if h is not None:
        states = h + (tl.cast(t, tl.int64) - 1) * D + (run * D + column)
    gate1s, gate2s, candidates, befores, grad_hs, masks, is_reset = (), (), (), (), (), (), ()
    for u in tl.static_range(RUN_STEPS):
        at = t + run + u
        mask = (column < D) & (at < end)
        if grad_h is not None:
            grad_hs = grad_hs + (read(grad_h + place + u * D, mask, MASKED),)
        gate1, gate2, candidate = read_parts(source, mask, u * STRIDE, CELL, D, MASKED)
        gate1s = gate1s + (gate1,)
        gate2s = gate2s + (gate2,)
        candidates = candidates + (candidate,)
        if h is not None:
            if u == 0:  # the step before the first of a run may belong to another sequence or not exist
                mask = mask & (at > sequence_begin) if MASKED else at > sequence_begin
                befores = befores + (tl.load(states, mask=mask, other=0.0),)
            else:
                befores = befores + (read(states + u * D, mask, MASKED),)
        if attention_mask is not None:
            masks = masks + (read_flag(attention_mask, at, end, TAIL),)
        elif TAIL:
            masks = masks + (at < end,)
        if resets is not None:
            is_reset = is_reset + (read_flag(resets, at, end, TAIL),)
    return (gate1s, gate2s, candidates), befores, grad_hs, masks, is_reset
