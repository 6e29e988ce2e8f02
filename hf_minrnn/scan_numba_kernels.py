# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""CPU kernels that numba compiles: gates and scan in one pass over memory, forward and backward.

The outer loop runs over time and the inner loop over channels, which LLVM vectorises; the state of a row stays in the cache.
numba has no vectorised exponential, so this file defines one. numba is imported and a kernel is compiled on first use. Compiled
kernels are cached on disk, in the first of these that is writable: `NUMBA_CACHE_DIR`, `__pycache__`, the user's cache folder.
"""

import math
import threading

try:
    import numpy as np
except ImportError:  # numba needs numpy, so nothing below runs without it
    np = None

# Cells. NORMALIZED is the minLSTM with normalised gates, MINLSTM the one without.
MINGRU, NORMALIZED, MINLSTM, LINEAR = range(4)
# "contract" allows fused multiply-add. The other fast-math flags would lose NaN or exactness.
OPTIONS = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
_lock, _loaded = threading.Lock(), []


# --- arithmetic on single elements ------------------------------------------------------------------------------------
#
# Plain Python that numba compiles. numba has neither bfloat16 nor float16: arrays hold their bits as int16 and uint16.


def _exp_float32(x):
    # exp(x) for x <= 0 to 0.7 units in the last place, as 2^n * exp(r) with |r| <= log(2) / 2. Adding 1.5 * 2^23 rounds to an
    # integer and leaves n in the last bits of the sum. The polynomial is a minimax fit.
    x = np.float32(-87.0) if x < np.float32(-87.0) else x  # avoids subnormal numbers, keeps NaN
    shifted = x * np.float32(1.4426950408889634) + np.float32(12582912.0)
    n = shifted - np.float32(12582912.0)
    r = x - n * np.float32(0.693359375) + n * np.float32(2.1219444e-4)  # log(2) in two parts
    p = np.float32(0.00138145988) * r + np.float32(0.00836871658)
    p = p * r + np.float32(0.0416683890)
    p = p * r + np.float32(0.166665211)
    p = p * r + np.float32(0.499999940)
    p = p * r * r + r + np.float32(1)
    bits = np.int32(np.float32(shifted).view(np.int32) + np.int32(127))
    return p * np.float32(np.int32(bits << np.int32(23)).view(np.float32))


def _exp_float64(x):
    return math.exp(x)


def _from_bfloat16(x):
    bits = np.uint32(np.uint32(np.uint16(x)) << np.uint32(16))
    return np.float32(bits.view(np.float32))


def _to_bfloat16(x):
    bits = np.float32(x).view(np.uint32)
    odd = np.uint32(np.uint32(bits >> np.uint32(16)) & np.uint32(1))
    bits = np.uint32(np.uint32(bits + np.uint32(0x7FFF)) + odd)  # to nearest, ties to even
    bits = bits if x == x else np.uint32(0x7FC00000)
    return np.int16(np.uint16(bits >> np.uint32(16)))


def _from_float16(x):
    wide = np.uint32(x)
    bits = np.uint32(np.uint32(wide & np.uint32(0x7FFF)) << np.uint32(13))
    finite = np.float32(bits.view(np.float32)) * np.float32(2.0**112)  # the exponent biases differ by 112
    special = np.uint32(bits | np.uint32(0x7F800000))
    value = finite if bits < np.uint32(0x0F800000) else np.float32(special.view(np.float32))
    return -value if wide >= np.uint32(0x8000) else value


def _to_float16(x):
    bits = np.float32(x).view(np.uint32)
    size = np.uint32(bits & np.uint32(0x7FFFFFFF))
    odd = np.uint32(np.uint32(size >> np.uint32(13)) & np.uint32(1))
    half = np.uint32(np.uint32(size + np.uint32(0xFFF)) + odd)  # to nearest, ties to even
    half = np.uint32(np.uint32(half >> np.uint32(13)) - np.uint32(112 << 10))
    # Below 2^-14 float16 has a spacing of 2^-24, as float32 has from 0.5 on.
    small = np.float32(np.float32(size.view(np.float32)) + np.float32(0.5))
    small = np.uint32(small.view(np.uint32) - np.uint32(0x3F000000))
    half = small if size < np.uint32(0x38800000) else half
    half = np.uint32(0x7C00) if size >= np.uint32(0x477FF000) else half  # infinity from 65520 on
    half = half if x == x else np.uint32(0x7E00)
    return np.uint16(half | np.uint32(np.uint32(bits >> np.uint32(16)) & np.uint32(0x8000)))


def _saturated(x):
    x = np.float32(-65504.0) if x < np.float32(-65504.0) else x
    return np.float32(65504.0) if x > np.float32(65504.0) else x


# Functions that the code below calls. `_register` tells numba how each is implemented for a type.


def _exp(x):
    """exp(x) for x <= 0."""


def _wide(x):
    """An element of an array as float32 or float64."""


def _narrow(x, stored):
    """x as an element of an array of dtype `stored`."""


def _limit(x, stored):
    """x clamped to the finite range of an array of dtype `stored`."""


def _fetch(array, i):
    """Prefetches the cache line of array[i]. The index may be out of bounds."""


def _sigmoid(x):
    """sigmoid(x) and sigmoid(-x), both times the third result. Never overflows."""
    one = type(x)(1)
    e = _exp(-abs(x))
    return (e, one, one + e) if x < 0 else (one, e, one + e)


def _gates(cell, with_g, f, i, c, scale):
    """`gates.coefficients` of one element, and the terms that its gradients need.

    The compiler removes what a kernel does not use, including the branches on `cell` and `with_g`.

    Args:
        cell, with_g: The cell, and whether the candidate activation is g. Both are constants.
        f, i, c: Gates and candidate. minGRU has one gate, f, and ignores i.
        scale: 1 - forget-gate floor.

    Returns:
        `factor`: 1 - decay. `rest`: decay without the floor. `v`: activated candidate. `slope`: its derivative.
        `term1, term2`: for the normalised minLSTM sigmoid(-f) and sigmoid(-i), otherwise sigmoid(i) and sigmoid(-i).
    """
    one, zero = type(c)(1), type(c)(0)
    if cell == NORMALIZED:
        # Far below zero, sigmoid is exp and only the difference of the gates matters: shifting both up avoids 0 / 0.
        shift = (f if f > i else i) + type(c)(40)
        shift = shift if shift < 0 else zero
        f, i = f - shift, i - shift
    # sigmoid(f) = f_on / f_sum and sigmoid(-f) = f_off / f_sum; the quotients are taken later, with one division for all.
    f_on, f_off, f_sum = _sigmoid(f)
    i_on, i_off, i_sum = _sigmoid(i)
    e = _exp(c if c < 0 else zero)  # g(c) = e / (1 + e) + max(c, 0)
    e_sum = one + e if with_g else one
    share, rest, total, extra = f_on, f_off, f_sum, one
    if cell == NORMALIZED:  # I / (F + I) and F / (F + I)
        share, rest = i_on * f_sum, f_on * i_sum
        total = share + rest
    elif cell == MINLSTM:
        share, rest, extra = f_off, f_on, i_sum
    r = one / (total * extra * e_sum)
    share_scale = extra * e_sum * r
    v, slope = c, one
    if with_g:
        v = e * (total * extra * r)
        slope = v * (total * extra * r) if c < 0 else one
        v += zero if c < 0 else c
    term1, term2 = i_on * (total * e_sum * r), i_off * (total * e_sum * r)
    if cell == NORMALIZED:
        r = one / (f_sum * i_sum)
        term1, term2 = f_off * (i_sum * r), i_off * (f_sum * r)
    return scale * (share * share_scale), rest * share_scale, v, slope, term1, term2


def _advance(cell, with_g, f, i, c, scale, state):
    """The state after a step; see `_gates` for the arguments."""
    if cell == LINEAR:
        return f * state + c
    factor, _, v, _, input_gate, _ = _gates(cell, with_g, f, i, c, scale)
    if cell == MINLSTM:
        return state + (input_gate * v - factor * state)
    return state + factor * (v - state)


def _add(x, y):
    """x + y, and the rounding error of the sum. Exact where |x| >= |y|."""
    total = x + y
    return total, y - (total - x)


def _retreat(cell, with_g, f, i, c, scale, before, grad, error):
    """Gradients of one step; see `_gates` for the first arguments. `before` is the state before the step.

    `grad + error` is the gradient of the state after the step. Returns that of the state before the step, as two such
    numbers, and the gradients of f, i and c.
    """
    if cell == LINEAR:
        return f * grad, f * error, grad * before, grad, grad
    factor, rest, v, slope, term1, term2 = _gates(cell, with_g, f, i, c, scale)
    taken = factor * grad
    grad_before = grad - taken
    error_before = error - factor * error + ((grad - grad_before) - taken)
    d = taken * rest
    if cell == MINLSTM:
        return grad_before, error_before, d * before, grad * v * term1 * term2, grad * term1 * slope
    d *= v - before
    if cell == MINGRU:
        return grad_before, error_before, d, d, taken * slope
    return grad_before, error_before, -d * term1, d * term2, taken * slope


# --- kernels ----------------------------------------------------------------------------------------------------------
#
# All arrays are flat. Positions in them are unsigned, which avoids a test for negative indices.
#
# task: (number of the task, first row, end of rows, first channel `left`, end of channels `right`). A row is a batch row or
#     a packed sequence. Its states are `state[own + c]`.
# layout: (`stride`, `row_gap`, `to_candidate`, `channels`, `scale`). `stride` is the distance of two steps in `projected`,
#     `row_gap` the additional distance of two rows, `to_candidate` the distance from a step's first gate to its candidate.
#     The second gate of a minLSTM follows the first; in cells with one gate `gate2` is the candidate and is ignored.
# boundaries: (`begins`, `ends`, `mask`, `resets`, `reset_state`). Steps are numbered through all rows: row n consists of the
#     steps begins[n] to ends[n]. `mask` and `resets` are empty where not given.
#
# A step has `channels` elements of h from `here` on, and its parts in `projected` from `gate1`, `gate2` and `candidate` on.


def _fetch_step(layout, h, grad_h, projected, grad_projected, n, step, left, right):
    """Prefetches what the backward kernel reads and writes at a step of row n."""
    stride, row_gap, to_candidate, channels, _ = layout
    here = step * channels
    gate1 = step * stride + n * row_gap
    out = step * (channels + to_candidate)
    for c in range(left, right, np.uint64(16)):
        _fetch(h, here + c)
        _fetch(grad_h, here + c)
        _fetch(projected, gate1 + c)
        _fetch(projected, gate1 + to_candidate + c)
        _fetch(grad_projected, out + c)
        _fetch(grad_projected, out + to_candidate + c)
        if channels < to_candidate:
            _fetch(projected, gate1 + channels + c)
            _fetch(grad_projected, out + channels + c)


# Inlined by numba itself: a call left in the inner loop would prevent vectorisation.
_INLINED = (_exp_float32, _exp_float64, _from_bfloat16, _to_bfloat16, _from_float16, _to_float16, _saturated)
_INLINED += (_sigmoid, _gates, _advance, _add, _retreat, _fetch_step)


def _forward_kernel(cell, with_g, stored):
    """The forward kernel of a cell over arrays of the numpy type `stored`. `state` is updated in place."""

    def forward(task, layout, boundaries, projected, h, state):
        _, row, row_end, left, right = task
        stride, row_gap, to_candidate, channels, scale = layout
        begins, ends, mask, resets, reset_state = boundaries
        for n in range(row, row_end):
            own = n * channels
            for step in range(begins[n], ends[n]):
                here = step * channels
                gate1 = step * stride + n * row_gap
                gate2, candidate = gate1 + channels, gate1 + to_candidate
                if resets.size > 0 and resets[step]:
                    for c in range(left, right):
                        state[own + c] = reset_state[c]
                if mask.size > 0 and not mask[step]:
                    for c in range(left, right):
                        h[here + c] = _narrow(_limit(state[own + c], stored), stored)
                else:
                    for c in range(left, right):
                        f = _wide(projected[gate1 + c])
                        i = _wide(projected[gate2 + c])
                        v = _wide(projected[candidate + c])
                        new = _advance(cell, with_g, f, i, v, scale, state[own + c])
                        state[own + c] = new
                        h[here + c] = _narrow(_limit(new, stored), stored)

    return forward


def _backward_kernel(cell, with_g, real, stored):
    """The backward kernel of a cell that computes in `real` over arrays of the numpy type `stored`.

    `grad` is the gradient of the final states, and is replaced by that of the initial states. `scratch` holds three arrays
    with a row for each task: the state before a step, the rounding errors of `grad` (which would add up over 10^5 steps of
    long memory), and the gradient of `reset_state`.
    """
    is_rounded = stored is not real
    has_gate2 = cell in (NORMALIZED, MINLSTM)

    def backward(task, layout, boundaries, projected, h, initial_state, grad_h, grad_projected, grad, scratch):
        number, row, row_end, left, right = task
        stride, row_gap, to_candidate, channels, scale = layout
        begins, ends, mask, resets, reset_state = boundaries
        before, error, grad_reset = scratch
        zero = real(0)
        mine = number * channels  # this task's row of the scratch arrays
        width = channels + to_candidate
        for n in range(row, row_end):
            own = n * channels
            for c in range(left, right):
                error[mine + c] = zero
            for back in range(ends[n] - begins[n]):
                step = ends[n] - back - np.uint64(1)
                here = step * channels
                gate1, grad_gate1 = step * stride + n * row_gap, step * width
                gate2, grad_gate2 = gate1 + channels, grad_gate1 + channels
                candidate, grad_candidate = gate1 + to_candidate, grad_gate1 + to_candidate
                # The hardware does not prefetch short rows that are read backwards.
                if step > begins[n]:
                    _fetch_step(layout, h, grad_h, projected, grad_projected, n, step - np.uint64(1), left, right)
                is_reset = resets.size > 0 and resets[step]
                if mask.size > 0 and not mask[step]:
                    for c in range(left, right):
                        incoming = _wide(grad_h[here + c]) + error[mine + c]
                        grad[own + c], error[mine + c] = _add(grad[own + c], incoming)
                        grad_projected[grad_gate1 + c] = _narrow(zero, stored)
                        grad_projected[grad_gate2 + c] = _narrow(zero, stored)
                        grad_projected[grad_candidate + c] = _narrow(zero, stored)
                else:
                    # The state before the step is previous[at + c].
                    previous, at = before, mine
                    if is_reset:
                        for c in range(left, right):
                            before[mine + c] = reset_state[c]
                    elif step == begins[n]:
                        for c in range(left, right):
                            before[mine + c] = initial_state[own + c]
                    elif is_rounded:
                        for c in range(left, right):
                            before[mine + c] = _wide(h[here - channels + c])
                    else:
                        previous, at = h, here - channels
                    for c in range(left, right):
                        f = _wide(projected[gate1 + c])
                        i = _wide(projected[gate2 + c])
                        v = _wide(projected[candidate + c])
                        incoming = _wide(grad_h[here + c]) + error[mine + c]
                        g, e = _add(grad[own + c], incoming)
                        g, e, d_f, d_i, d_v = _retreat(cell, with_g, f, i, v, scale, previous[at + c], g, e)
                        grad[own + c], error[mine + c] = g, e
                        grad_projected[grad_gate1 + c] = _narrow(d_f, stored)
                        if has_gate2:
                            grad_projected[grad_gate2 + c] = _narrow(d_i, stored)
                        grad_projected[grad_candidate + c] = _narrow(d_v, stored)
                if is_reset:
                    for c in range(left, right):
                        grad_reset[mine + c] += grad[own + c] + error[mine + c]
                        grad[own + c] = error[mine + c] = zero
            for c in range(left, right):
                grad[own + c] += error[mine + c]

    return backward


def load():
    """Imports numba, which takes half a second, and registers the functions above with it.

    Returns:
        `(numba, None)`, or `(None, reason)` with a remedy where numba cannot be used.
    """
    with _lock:
        if not _loaded:
            try:
                import numba
                import numba.extending
                from llvmlite import ir
            except ModuleNotFoundError as error:
                _loaded.extend((None, f"{error}: pip install numba"))
            except ImportError as error:  # numba rejects the installed numpy
                _loaded.extend((None, f"{error}: pip install --upgrade numba"))
            else:
                if numba.config.DISABLE_JIT:
                    _loaded.extend((None, "numba is switched off: unset NUMBA_DISABLE_JIT"))
                else:
                    _register(numba, ir)
                    _loaded.extend((numba, None))
    return tuple(_loaded)


def _register(numba, ir):
    halves = {numba.int16: (_from_bfloat16, _to_bfloat16), numba.uint16: (_from_float16, _to_float16)}
    for function in _INLINED:
        numba.extending.register_jitable(forceinline=True)(function)
    overload = numba.extending.overload

    @overload(_exp)
    def exp(x):
        return _exp_float32 if x == numba.float32 else _exp_float64

    @overload(_wide)
    def wide(x):
        return halves[x][0] if x in halves else lambda x: x

    @overload(_narrow)
    def narrow(x, stored):
        if stored.dtype not in halves:
            return lambda x, stored: x
        to_bits = halves[stored.dtype][1]
        return lambda x, stored: to_bits(x)

    @overload(_limit)
    def limit(x, stored):
        if stored.dtype == numba.uint16:
            return lambda x, stored: _saturated(x)
        return lambda x, stored: x

    @numba.extending.intrinsic
    def prefetch(typing, array, i):
        def generate(context, builder, signature, arguments):
            data = context.make_array(array)(context, builder, arguments[0]).data
            pointer, number = builder.gep(data, [arguments[1]]), ir.IntType(32)
            kind = ir.FunctionType(ir.VoidType(), [pointer.type, number, number, number])
            function = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], kind)
            # For reading, into all levels of cache, as data.
            builder.call(function, [pointer, number(0), number(3), number(1)])
            return context.get_dummy_value()

        return numba.void(array, i), generate

    @overload(_fetch)
    def fetch(array, i):
        return lambda array, i: prefetch(array, i)


def compiled(cell: int, with_g: bool, stored: str):
    """Returns the kernels of a cell. numba compiles a kernel when it is first called.

    Args:
        cell (`int`): `MINGRU`, `NORMALIZED`, `MINLSTM` or `LINEAR`.
        with_g (`bool`): Whether the candidate activation is g.
        stored (`str`): The numpy type of the arrays.

    Returns:
        `(forward, backward)`

    Raises:
        ImportError: Without numba.
    """
    numba, problem = load()
    if problem:
        raise ImportError(problem)
    real = np.float64 if stored == "float64" else np.float32
    dtype = getattr(np, stored)
    kernels = (_forward_kernel(cell, with_g, dtype), _backward_kernel(cell, with_g, real, dtype))
    try:
        return tuple(numba.njit(kernel, cache=True, **OPTIONS) for kernel in kernels)
    except RuntimeError:  # no folder for the cache is writable
        return tuple(numba.njit(kernel, **OPTIONS) for kernel in kernels)
