# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""What the GPU kernels compute with: the gate formulas of `gates`, and what a run of steps does to a state.

A run takes away `lost`, one minus the product of its decays (where the form is affine: the product itself), and adds `end`,
the state it would leave behind a zero state. What stands before a boundary is left out by selection and never by a factor
of zero, so that no NaN leaks.

The cells are "mingru", "minlstm", "minlstm_raw" (not normalised), "linear" and, for the fold over chunks, "carry" and
"carry_affine", whose parts are the `lost` and the `end` of each chunk.
"""

from __future__ import annotations  # the annotations of kernels name triton's types, and triton may not be there

try:
    import triton
    import triton.language as tl

    # An exponential takes 2 instructions instead of 5 and a reciprocal 1 instead of 7, at an error of 2 units in the last
    # place, when numbers below 1e-38 may count as zero. The interpreter has no such instructions.
    FAST = tl.constexpr(not triton.knobs.runtime.interpret)
except ImportError:  # scan_choice says so; nothing below can run
    triton = None


def jit(function):
    """`triton.jit`, where triton is installed."""
    return function if triton is None else triton.jit(function)


# --- gates -----------------------------------------------------------------------------------------------------------


@jit
def exp(x, SIGN: tl.constexpr = 1):
    # Of x, or of -x: as a factor the sign costs no instruction.
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
def candidate(c, G: tl.constexpr):
    if G:  # the sigmoid is 0.5 from 0 on
        return sigmoid(tl.minimum(c, 0.0)) + tl.maximum(c, 0.0, propagate_nan=tl.PropagateNan.ALL)
    return c


@jit
def shares(forget, input):
    # exp(-forget), exp(-input), one plus each, scaled so that no exponent is positive; and 1 / (the sum of the last two).
    top = tl.minimum(tl.minimum(forget, input), 0.0)
    p, q, unit = exp(top - forget), exp(top - input), exp(top)
    return p, q, p + unit, q + unit, inverse((p + unit) + (q + unit))


@jit
def decay(first, second, scale, CELL: tl.constexpr):
    # w of gates.step: one minus the decay, or the decay where the form is affine.
    if CELL == "mingru":
        return sigmoid(first) * scale
    if CELL == "minlstm":
        _, _, above, _, share = shares(first, second)
        return above * share * scale
    if CELL == "minlstm_raw":
        return sigmoid(first, -1) * scale
    return first


@jit
def incoming(second, last, CELL: tl.constexpr, G: tl.constexpr):
    # x of gates.step.
    v = candidate(last, G)
    if CELL == "minlstm_raw":
        return sigmoid(second) * v
    return v


@jit
def advance(h, w, x, CELL: tl.constexpr):
    if CELL == "linear":
        return tl.fma(w, h, x)
    if CELL == "minlstm_raw":
        return h + tl.fma(-w, h, x)
    if CELL == "carry":
        return tl.where(w == 1, x, h + tl.fma(-w, h, x))
    if CELL == "carry_affine":
        return tl.where(w == 0, x, tl.fma(w, h, x))
    return tl.fma(w, x - h, h)


@jit
def gradients(grad, before, first, second, last, scale, CELL: tl.constexpr, G: tl.constexpr):
    # Of the parts, from the gradient by h[t] and the state before the step; see gates.part_gradients.
    if CELL == "linear":
        return grad * before, grad, grad
    v = candidate(last, G)
    slope = tl.where(last < 0, v - v * v, 1.0)
    if CELL == "minlstm_raw":
        forget, input = sigmoid(first, -1), sigmoid(second)
        grad_forget = grad * before * scale * forget * (1 - forget)
        grad_input, grad_v = grad * v * input * (1 - input), grad * input
    elif CELL == "minlstm":
        p, q, above, below, share = shares(first, second)
        grad = grad * scale * share
        grad_v, grad_u = grad * above, grad * share * (v - before)
        grad_forget, grad_input = -grad_u * below * p, grad_u * above * q
    else:
        z = sigmoid(first)
        grad_v = grad * z * scale
        grad_forget = grad_v * (1 - z) * (v - before)
        grad_input = grad_forget
    if G:
        grad_v = grad_v * slope
    return grad_forget, grad_input, grad_v


# --- what runs of steps do to a state --------------------------------------------------------------------------------


@jit
def lose(lost, w, AFFINE: tl.constexpr):
    # `lost` over one more step.
    if AFFINE:
        return lost * w
    return tl.fma(w, 1 - lost, lost)


@jit
def lose_all(lost, next_lost, AFFINE: tl.constexpr):
    # `lost` over one more run, which a NaN from before a boundary must not hide. It is never less than the run's own, and of
    # a NaN and a number the maximum is the number; that NaN is in the state as well.
    if AFFINE:
        return tl.where(next_lost == 0, 0.0, lost * next_lost)
    return tl.maximum(lose(lost, next_lost, False), next_lost)


@jit
def retreat(grad, w, AFFINE: tl.constexpr):
    if AFFINE:
        return grad * w
    return tl.fma(-grad, w, grad)


@jit
def join(lost, end, before_lost, before, next_lost, next_end, next_before_lost, next_before):
    # One run of runs after the other: what all of them do, and what all but the last do. After a boundary everything is
    # lost, and nothing from before it counts.
    passed = tl.where(next_lost == 1, next_end, next_end + tl.fma(-next_lost, end, end))
    started = tl.where(next_before_lost == 1, next_before, next_before + tl.fma(-next_before_lost, end, end))
    return lose_all(lost, next_lost, False), passed, lose_all(lost, next_before_lost, False), started


@jit
def join_affine(lost, end, before_lost, before, next_lost, next_end, next_before_lost, next_before):
    passed = tl.where(next_lost == 0, next_end, tl.fma(next_lost, end, next_end))
    started = tl.where(next_before_lost == 0, next_before, tl.fma(next_before_lost, end, next_before))
    return lose_all(lost, next_lost, True), passed, lose_all(lost, next_before_lost, True), started


@jit
def add(a, b, c, d):
    return a + c, b + d


@jit
def starts(lost, end, enter_lost, enter, AFFINE: tl.constexpr, W: tl.constexpr, BACK: tl.constexpr):
    # The states that W runs start from when `enter` [1, D] comes into the first (in the scan's direction), then `lost` and
    # the state that leave the last.
    none = tl.full(end.shape, 1 if AFFINE else 0, end.dtype)
    runs, row = (lost, end, none, tl.zeros(end.shape, end.dtype)), tl.arange(0, W)[:, None]
    if AFFINE:
        lost, end, before_lost, before = tl.associative_scan(runs, 0, join_affine, reverse=BACK)
    else:
        lost, end, before_lost, before = tl.associative_scan(runs, 0, join, reverse=BACK)
    last = row == (0 if BACK else W - 1)
    picked = tl.where(last, lost, 0.0), tl.where(last, end, 0.0)
    all_lost, all_end = tl.reduce(picked, 0, add, keep_dims=True)
    if AFFINE:
        lost, leave, _, start = join_affine(enter_lost, enter, none, none, all_lost, all_end, before_lost, before)
    else:
        lost, leave, _, start = join(enter_lost, enter, none, none, all_lost, all_end, before_lost, before)
    return start, lost, leave
