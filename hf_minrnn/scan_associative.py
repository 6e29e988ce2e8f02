# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""A scan without a loop over time and without a custom op: log2(time) doublings of whole tensors in differentiable torch.

It is for exporters that support neither (ONNX), and for second derivatives and forward-mode differentiation. It moves
log2(time) times the memory of the other backends.
"""

import torch
import torch.nn.functional as F

from .gates import ScanSpec, coefficients, to_dtype
from .torch_private import check, is_exporting, is_known_true, is_tracing

# During export, time may have no value yet. The graph then contains the doublings for the largest possible time, or for this
# one if there is no bound, and refuses longer inputs. So does torch.jit.trace, whose example may be shorter than later inputs.
MAX_SYMBOLIC_TIME = 1 << 17


def _longest_of_trace(time) -> int:
    return max(MAX_SYMBOLIC_TIME, int(time))


def _doublings(time) -> int:
    if is_tracing():
        return (_longest_of_trace(time) - 1).bit_length()
    exporting = is_exporting()
    # While compiling, a comparison is a guard: new code for every power of two, not for every length.
    holds = is_known_true if exporting else bool
    count = 0
    while not holds(time <= 1 << count):
        if exporting and 1 << count == MAX_SYMBOLIC_TIME:
            check(time <= MAX_SYMBOLIC_TIME)
            break
        count += 1
    return count


def _shift(value, steps: int, position):
    """Moves every value `steps` later in time. The first `steps` values of the result have no meaning."""
    # A graph for any length must not pad a short input by 2^16 steps.
    if is_exporting() or is_tracing():
        return value.index_select(1, (position - steps).clamp(min=0))
    return F.pad(value, (0, 0, steps, 0))[:, : value.shape[1]]


def scan(
    projected: torch.Tensor,
    initial_state: torch.Tensor | None,
    attention_mask: torch.Tensor | None,
    resets: torch.Tensor | None,
    reset_state: torch.Tensor | None,
    cu_seqlens: torch.Tensor | None,
    spec: ScanSpec,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Does what `scan_torch.forward` does, differentiable by autograd."""
    dtype = torch.promote_types(projected.dtype, torch.float32)
    time = projected.shape[1]
    if attention_mask is not None:  # before the gates too: a NaN in the padding would turn its zero gradient into NaN
        projected = torch.where(attention_mask.unsqueeze(-1), projected, 0.0)
    w, x = coefficients([part.to(dtype) for part in projected.chunk(spec.num_parts, -1)], spec)
    if initial_state is None:
        rows = w.shape[0] if cu_seqlens is None else len(cu_seqlens) - 1
        initial_state = w.new_zeros(rows, w.shape[-1])
    initial_state = initial_state.to(dtype)
    # A step maps h to h + (end - factor * h), with factor = 1 - decay in every form. Such maps are closed under composition,
    # which is associative.
    if spec.form == "affine":
        factor, end = 1 - w, x
    elif spec.form == "lerp":
        factor, end = w, w * x
    else:
        factor, end = w, x
    if attention_mask is not None:
        factor = torch.where(attention_mask.unsqueeze(-1), factor, 0.0)
        end = torch.where(attention_mask.unsqueeze(-1), end, 0.0)
    position = torch.arange(time, device=w.device)
    if is_tracing():  # cut from a longer one, because nothing else would refuse a longer input
        position = torch.arange(_longest_of_trace(time), device=w.device)[:time]
    # For every step: the first step since the last change of the state, and the state before that one.
    if cu_seqlens is not None:
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
    reach = (position - first).unsqueeze(-1)
    for k in range(_doublings(time)):
        # Maps from before `first` become the identity, by selection: a NaN there cannot spread.
        inside = reach >= 1 << k
        before_factor = torch.where(inside, _shift(factor, 1 << k, position), 0.0)
        before_end = torch.where(inside, _shift(end, 1 << k, position), 0.0)
        end = before_end + (end - factor * before_end)
        factor = before_factor + (factor - before_factor * factor)
    h = start + (end - factor * start)
    if cu_seqlens is not None:
        last = torch.cat([initial_state[:1], h[0]])[cu_seqlens[1:]]
        final_state = torch.where((cu_seqlens[1:] > cu_seqlens[:-1])[:, None], last, initial_state)
    else:
        final_state = torch.cat([initial_state[:, None], h], 1)[:, -1]
    return to_dtype(h, projected.dtype), final_state
