# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The CPU kernels, for numba to compile: gates and scan in one pass over memory, forward and backward.

Time is the outer loop and the channels the inner one, which LLVM turns into vector code; a row of states stays in the
cache. numba has no exponential for vectors, so there is one here. It is imported, and a kernel compiled, on first use; what
it compiled it keeps in `__pycache__`, in the user's cache folder or in `NUMBA_CACHE_DIR`, whichever can be written.
"""

import math
import threading

try:
    import numpy as np
except ImportError:  # numba needs it, so that nothing below will be reached
    np = None

MINGRU, NORMALIZED, MINLSTM, LINEAR = range(4)  # the cells; MINLSTM is the one that is not normalised
# "contract" lets a product and a sum become one instruction. What else "fast" allows would lose NaN or exactness.
OPTIONS = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
_lock, _loaded = threading.Lock(), []


# --- arithmetic, element by element -----------------------------------------------------------------------------------
#
# Plain Python, which numba compiles. It has neither bfloat16 nor float16: arrays hold their bits, in int16 and uint16.


def _exp_float32(x):
    # exp(x) for x <= 0 to 0.7 units in the last place, as 2^n * exp(r) with |r| <= log(2) / 2. The number added is so large
    # that the sum has no fraction left, and its last bits are n. The polynomial is a minimax fit.
    x = np.float32(-87.0) if x < np.float32(-87.0) else x  # nothing subnormal, and NaN stays
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
    finite = np.float32(bits.view(np.float32)) * np.float32(2.0**112)  # the two types' exponents start 112 apart
    special = np.uint32(bits | np.uint32(0x7F800000))
    value = finite if bits < np.uint32(0x0F800000) else np.float32(special.view(np.float32))
    return -value if wide >= np.uint32(0x8000) else value


def _to_float16(x):
    bits = np.float32(x).view(np.uint32)
    size = np.uint32(bits & np.uint32(0x7FFFFFFF))
    odd = np.uint32(np.uint32(size >> np.uint32(13)) & np.uint32(1))
    half = np.uint32(np.uint32(size + np.uint32(0xFFF)) + odd)  # to nearest, ties to even
    half = np.uint32(np.uint32(half >> np.uint32(13)) - np.uint32(112 << 10))
    # Below 2^-14 float16 goes in steps of 2^-24, as float32 does from 0.5 on.
    small = np.float32(np.float32(size.view(np.float32)) + np.float32(0.5))
    small = np.uint32(small.view(np.uint32) - np.uint32(0x3F000000))
    half = small if size < np.uint32(0x38800000) else half
    half = np.uint32(0x7C00) if size >= np.uint32(0x477FF000) else half  # infinite from 65520 on
    half = half if x == x else np.uint32(0x7E00)
    return np.uint16(half | np.uint32(np.uint32(bits >> np.uint32(16)) & np.uint32(0x8000)))


def _saturated(x):
    x = np.float32(-65504.0) if x < np.float32(-65504.0) else x
    return np.float32(65504.0) if x > np.float32(65504.0) else x


# What the code below calls. `_teach` tells numba which of the above it is for a type.


def _exp(x):
    """exp(x) for x <= 0."""


def _wide(x):
    """What an array holds, in float32 or float64."""


def _narrow(x, kept):
    """x as an array of the type `kept` holds it."""


def _limit(x, kept):
    """x within what an array of the type `kept` can hold."""


def _fetch(array, i):
    """Asks for the cache line of array[i], which need not exist."""


def _sigmoid(x):
    # sigmoid(x) and sigmoid(-x), both times the third. Nothing overflows.
    e, one = _exp(-abs(x)), type(x)(1)
    return e if x < 0 else one, one if x < 0 else e, one + e


def _gates(cell, with_g, f, i, c, scale):
    # `gates.coefficients` of one element, and what `gates.part_gradients` needs: w of a step with its floor, 1 - w
    # without it, the candidate and its slope, and two more. They are sigmoid(-f) and sigmoid(-i) for the normalised
    # minLSTM, sigmoid(i) and sigmoid(-i) for the other. What a kernel does not use the compiler drops, branches included.
    one, zero = type(c)(1), type(c)(0)
    if cell == NORMALIZED:
        # Where both are so negative that sigmoid is exp, only their difference counts: moved up, neither becomes 0 / 0.
        above = (f if f > i else i) + type(c)(40)
        above = above if above < 0 else zero
        f, i = f - above, i - above
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
    r = one / (total * extra * e_sum)  # one division for all
    scaled, v, slope = extra * e_sum * r, c, one
    if with_g:
        v = e * (total * extra * r)
        slope = v * (total * extra * r) if c < 0 else one
        v += zero if c < 0 else c
    first, second = i_on * (total * e_sum * r), i_off * (total * e_sum * r)
    if cell == NORMALIZED:
        r = one / (f_sum * i_sum)
        first, second = f_off * (i_sum * r), i_off * (f_sum * r)
    return scale * (share * scaled), rest * scaled, v, slope, first, second


_HELPERS = (_exp_float32, _exp_float64, _from_bfloat16, _to_bfloat16, _from_float16, _to_float16, _saturated, _sigmoid)
_HELPERS += (_gates,)


# --- the kernels ------------------------------------------------------------------------------------------------------
#
# Arrays are flat. A "step" counts on through the rows of a batch, as through packed sequences. In `layout`, `stride` is the
# distance of two steps of `projected`, `jump` by how much more each row is off, `last` where the candidate's block begins.
# `keep` and `resets` have no elements where not given. A task is a range of rows and one of channels, and the number of
# its own rows of the scratch arrays. Positions are unsigned, which spares a test for negative ones.


def _kernels(cell, with_g, real, kept):
    # (forward, backward) for a cell and a candidate, computing in `real`, over arrays of the type `kept`.
    rounded = kept is not real

    def forward(task, layout, boundaries, projected, h, state):
        _, row, row_end, left, right = task
        stride, jump, last, channels, scale = layout
        begins, ends, keep, resets, reset_state = boundaries
        for n in range(row, row_end):
            own = n * channels
            for step in range(begins[n], ends[n]):
                first, here = step * stride + n * jump, step * channels
                second, third = first + channels, first + last
                if resets.size > 0 and resets[step]:
                    for c in range(left, right):
                        state[own + c] = reset_state[c]
                if keep.size > 0 and not keep[step]:
                    for c in range(left, right):
                        h[here + c] = _narrow(_limit(state[own + c], kept), kept)
                else:
                    for c in range(left, right):
                        s, f, v = state[own + c], _wide(projected[first + c]), _wide(projected[third + c])
                        if cell == LINEAR:
                            s = f * s + v
                        else:
                            i = f if cell == MINGRU else _wide(projected[second + c])
                            w, _, v, _, gate, _ = _gates(cell, with_g, f, i, v, scale)
                            s += gate * v - w * s if cell == MINLSTM else w * (v - s)
                        state[own + c] = s
                        h[here + c] = _narrow(_limit(s, kept), kept)

    def backward(task, layout, boundaries, projected, h, initial_state, grad_h, grad_projected, grad, scratch):
        number, row, row_end, left, right = task
        stride, jump, last, channels, scale = layout
        begins, ends, keep, resets, reset_state = boundaries
        before, lost, grad_reset = scratch
        zero, mine, width = real(0), number * channels, channels + last
        for n in range(row, row_end):
            own = n * channels
            for c in range(left, right):
                lost[mine + c] = zero
            for back in range(ends[n] - begins[n]):
                step = ends[n] - back - np.uint64(1)
                first, here, out = step * stride + n * jump, step * channels, step * width
                second, third = first + channels, first + last
                out_second, out_third = out + channels, out + last
                # Short rows read backwards are more than the hardware foresees.
                for c in range(left, right, np.uint64(16)):
                    _fetch(h, here - channels + c)
                    _fetch(grad_h, here - channels + c)
                    _fetch(projected, first - stride + c)
                    _fetch(projected, third - stride + c)
                    _fetch(grad_projected, out - width + c)
                    _fetch(grad_projected, out_third - width + c)
                    if second < third:
                        _fetch(projected, second - stride + c)
                        _fetch(grad_projected, out_second - width + c)
                reset = resets.size > 0 and resets[step]
                if keep.size > 0 and not keep[step]:
                    for c in range(left, right):
                        x, y = grad[own + c], _wide(grad_h[here + c]) + lost[mine + c]
                        grad[own + c] = x + y
                        lost[mine + c] = y - ((x + y) - x)
                        grad_projected[out + c] = _narrow(zero, kept)
                        grad_projected[out_second + c] = _narrow(zero, kept)
                        grad_projected[out_third + c] = _narrow(zero, kept)
                else:
                    previous, at = before, mine
                    if reset:
                        for c in range(left, right):
                            before[mine + c] = reset_state[c]
                    elif step == begins[n]:
                        for c in range(left, right):
                            before[mine + c] = initial_state[own + c]
                    else:
                        if rounded:
                            for c in range(left, right):
                                before[mine + c] = _wide(h[here - channels + c])
                        else:
                            previous, at = h, here - channels
                    for c in range(left, right):
                        # g = x + y is the adjoint, and y from then on what rounding took from it: over 10^5 steps of
                        # long memory that adds up.
                        x, y = grad[own + c], _wide(grad_h[here + c]) + lost[mine + c]
                        g = x + y
                        y -= g - x
                        s, f, v = previous[at + c], _wide(projected[first + c]), _wide(projected[third + c])
                        if cell == LINEAR:
                            grad[own + c], lost[mine + c] = f * g, f * y
                            grad_projected[out + c] = _narrow(g * s, kept)
                            grad_projected[out_third + c] = _narrow(g, kept)
                        else:
                            i = f if cell == MINGRU else _wide(projected[second + c])
                            w, rest, v, slope, one, two = _gates(cell, with_g, f, i, v, scale)
                            gone = w * g
                            left_over = g - gone
                            grad[own + c] = left_over
                            lost[mine + c] = y - w * y + ((g - left_over) - gone)
                            d = gone * rest
                            if cell == MINLSTM:
                                grad_projected[out + c] = _narrow(d * s, kept)
                                grad_projected[out_second + c] = _narrow(g * v * one * two, kept)
                                grad_projected[out_third + c] = _narrow(g * one * slope, kept)
                            else:
                                d *= v - s
                                if cell == MINGRU:
                                    grad_projected[out + c] = _narrow(d, kept)
                                else:
                                    grad_projected[out + c] = _narrow(-d * one, kept)
                                    grad_projected[out_second + c] = _narrow(d * two, kept)
                                grad_projected[out_third + c] = _narrow(gone * slope, kept)
                if reset:
                    for c in range(left, right):
                        grad_reset[mine + c] += grad[own + c] + lost[mine + c]
                        grad[own + c] = lost[mine + c] = zero
            for c in range(left, right):
                grad[own + c] += lost[mine + c]

    return forward, backward


def load():
    """`(numba, None)`, taught what the functions above are, or `(None, why not, and the remedy)`.

    The first call takes half a second.
    """
    with _lock:
        if not _loaded:
            try:
                import numba
                import numba.extending
                from llvmlite import ir
            except ModuleNotFoundError as error:
                _loaded.extend((None, f"{error}: pip install numba"))
            except ImportError as error:  # numba is there, and refuses the numpy that it finds
                _loaded.extend((None, f"{error}: pip install --upgrade numba"))
            else:
                if numba.config.DISABLE_JIT:
                    _loaded.extend((None, "numba is switched off: unset NUMBA_DISABLE_JIT"))
                else:
                    _teach(numba, ir)
                    _loaded.extend((numba, None))
    return tuple(_loaded)


def _teach(numba, ir):
    overload, bits = numba.extending.overload, {}
    bits[numba.int16], bits[numba.uint16] = (_from_bfloat16, _to_bfloat16), (_from_float16, _to_float16)
    for helper in _HELPERS:  # a call left in the inner loop would keep it from becoming vector code
        numba.extending.register_jitable(forceinline=True)(helper)

    @overload(_exp)
    def exp(x):
        return _exp_float32 if x == numba.float32 else _exp_float64

    @overload(_wide)
    def wide(x):
        return bits[x][0] if x in bits else lambda x: x

    @overload(_narrow)
    def narrow(x, kept):
        if kept.dtype not in bits:
            return lambda x, kept: x
        to_bits = bits[kept.dtype][1]
        return lambda x, kept: to_bits(x)

    @overload(_limit)
    def limit(x, kept):
        return (lambda x, kept: _saturated(x)) if kept.dtype == numba.uint16 else (lambda x, kept: x)

    @numba.extending.intrinsic
    def prefetch(typing, array, i):
        def generate(context, builder, signature, arguments):
            data = context.make_array(array)(context, builder, arguments[0]).data
            pointer, number = builder.gep(data, [arguments[1]]), ir.IntType(32)
            kind = ir.FunctionType(ir.VoidType(), [pointer.type, number, number, number])
            function = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], kind)
            builder.call(function, [pointer, number(0), number(3), number(1)])  # for reading, into every cache, data
            return context.get_dummy_value()

        return numba.void(array, i), generate

    @overload(_fetch)
    def fetch(array, i):
        return lambda array, i: prefetch(array, i)


def compiled(cell: int, with_g: bool, kept: str):
    """`(forward, backward)` for a cell, a candidate and the numpy type of the arrays; compiled when first called.

    Raises:
        ImportError: Without numba.
    """
    numba, problem = load()
    if problem:
        raise ImportError(problem)
    real = np.float64 if kept == "float64" else np.float32
    pair = _kernels(cell, with_g, real, getattr(np, kept))
    try:
        return tuple(numba.njit(kernel, cache=True, **OPTIONS) for kernel in pair)
    except RuntimeError:  # there is no folder to keep them in
        return tuple(numba.njit(kernel, **OPTIONS) for kernel in pair)
