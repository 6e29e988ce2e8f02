# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""A scan without a loop over time and without a custom op: log2(T) doublings of whole tensors, plain differentiable torch.

For exporters that can keep neither (ONNX), and where a second derivative or forward-mode AD is wanted. It moves log2(T)
times the memory of the other backends.
"""

import torch
import torch.nn.functional as F

from .gates import ScanSpec, coefficients, to_dtype

# Under export time may have no value yet: doublings for the most steps it can have, or for this many where nothing
# bounds it, are then written into the graph, which refuses more. So does torch.jit.trace, whose example may be shorter.
MAX_SYMBOLIC_TIME = 1 << 17


def _longest_of_trace(time) -> int:
    return max(MAX_SYMBOLIC_TIME, int(time))


def _doublings(time) -> int:
    if torch.jit.is_tracing():
        return (_longest_of_trace(time) - 1).bit_length()
    exporting, known = torch.compiler.is_exporting(), bool
    if exporting:  # imported here, as it brings all of sympy
        from torch.fx.experimental.symbolic_shapes import statically_known_true as known
    # While compiling, a comparison is a guard: new code for every power of two, not for every length.
    k = 0
    while not known(time <= 1 << k):
        if exporting and 1 << k == MAX_SYMBOLIC_TIME:
            torch._check(time <= MAX_SYMBOLIC_TIME)
            break
        k += 1
    return k


def _shift(value, steps: int, position):
    # Every step's value moves `steps` later; what stands before that is of no account.
    # A graph for any length must not pad a short one by 2^16 steps.
    if torch.compiler.is_exporting() or torch.jit.is_tracing():
        return value.index_select(1, (position - steps).clamp(min=0))
    return F.pad(value, (0, 0, steps, 0))[:, : value.shape[1]]


def scan(projected, initial_state, keep, resets, reset_state, cu_seqlens, spec: ScanSpec):
    """As `scan_torch.forward`, differentiable by autograd."""
    dtype = torch.promote_types(projected.dtype, torch.float32)
    time = projected.shape[1]
    if keep is not None:  # before the gates too, or a NaN in the padding would turn its zero gradient into NaN
        projected = torch.where(keep.unsqueeze(-1), projected, 0.0)
    w, x = coefficients([part.to(dtype) for part in projected.chunk(spec.num_parts, -1)], spec)
    packed = cu_seqlens is not None
    if initial_state is None:
        initial_state = w.new_zeros(len(cu_seqlens) - 1 if packed else w.shape[0], w.shape[-1])
    initial_state = initial_state.to(dtype)
    # Every step maps h to h + (end - loss * h); maps compose, and that is associative.
    if spec.form == "affine":
        loss, end = 1 - w, x
    else:
        loss, end = w, (w * x if spec.form == "lerp" else x)
    if keep is not None:
        loss, end = (torch.where(keep.unsqueeze(-1), value, 0.0) for value in (loss, end))
    position = torch.arange(time, device=w.device)
    if torch.jit.is_tracing():  # cut from a longer one, as nothing else would refuse a longer input
        position = torch.arange(_longest_of_trace(time), device=w.device)[:time]
    # For every step, where its sequence begins and the state it begins with.
    if packed:
        cu_seqlens = cu_seqlens.to(position.dtype)
        sequence = torch.searchsorted(cu_seqlens, position, right=True) - 1
        first, start = cu_seqlens[sequence][None], initial_state[sequence][None]
    else:
        first, start = torch.zeros_like(position)[None], initial_state[:, None]
    if resets is not None:
        reset_at = torch.where(resets, position, -1).cummax(1).values
        fresh = 0.0 if reset_state is None else reset_state.to(dtype)
        start = torch.where((reset_at >= first).unsqueeze(-1), fresh, start)
        first = torch.maximum(first, reset_at)
    reach = (position - first).unsqueeze(-1)  # steps between a step and the begin of its sequence
    for k in range(_doublings(time)):
        # What lies before the begin of a step's sequence becomes the identity, by selection: a NaN there cannot leak.
        before_loss, before_end = (
            torch.where(reach >= 1 << k, _shift(value, 1 << k, position), 0.0) for value in (loss, end)
        )
        end = before_end + (end - loss * before_end)
        loss = before_loss + (loss - before_loss * loss)
    h = start + (end - loss * start)
    if packed:
        last = torch.cat([initial_state[:1], h[0]])[cu_seqlens[1:]]
        final_state = torch.where((cu_seqlens[1:] > cu_seqlens[:-1])[:, None], last, initial_state)
    else:
        final_state = torch.cat([initial_state[:, None], h], 1)[:, -1]
    return to_dtype(h, projected.dtype), final_state
