# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The definition of the scan: one step after the other, forward and backward, slow and simple, in float64 for float64 input."""

import torch

from .gates import ScanSpec, Workspace, coefficients, part_gradients, step, to_dtype


def _split(projected, initial_state, cu_seqlens, spec: ScanSpec):
    """Returns the parts, the initial states (both in float32 or wider) and `(row, begin, end)` of every sequence."""
    dtype = torch.promote_types(projected.dtype, torch.float32)
    parts = [part.to(dtype) for part in projected.chunk(spec.num_parts, -1)]
    batch, time, channels = parts[0].shape
    if cu_seqlens is None:
        sequences = [(row, 0, time) for row in range(batch)]
    else:
        bounds = cu_seqlens.tolist()
        sequences = [(0, begin, end) for begin, end in zip(bounds, bounds[1:])]
    if initial_state is None:
        initial_state = parts[0].new_zeros(len(sequences), channels)
    return parts, initial_state.to(dtype, copy=True), sequences


def _states(w, x, state, sequences, attention_mask, resets, reset_state, spec: ScanSpec):
    """Returns the states before and after every step, `[B, T, D]` each. Writes the final states into `state`."""
    form = spec.form
    before, after = torch.empty_like(w), torch.empty_like(w)
    for n, (row, begin, end) in enumerate(sequences):
        for t in range(begin, end):
            if resets is not None and resets[row, t]:
                state[n] = 0 if reset_state is None else reset_state
            before[row, t] = state[n]
            if attention_mask is None or attention_mask[row, t]:
                state[n] = step(state[n], w[row, t], x[row, t], form)
            after[row, t] = state[n]
    return before, after


def forward(
    projected: torch.Tensor,
    initial_state: torch.Tensor | None,
    attention_mask: torch.Tensor | None,
    resets: torch.Tensor | None,
    reset_state: torch.Tensor | None,
    cu_seqlens: torch.Tensor | None,
    spec: ScanSpec,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Does what `scan_torch.forward` does."""
    parts, state, sequences = _split(projected, initial_state, cu_seqlens, spec)
    w, x = coefficients(parts, spec)
    _, h = _states(w, x, state, sequences, attention_mask, resets, reset_state, spec)
    return to_dtype(h, projected.dtype), state


def backward(
    grad_h: torch.Tensor,
    grad_final: torch.Tensor,
    projected: torch.Tensor,
    h: torch.Tensor,
    initial_state: torch.Tensor | None,
    attention_mask: torch.Tensor | None,
    resets: torch.Tensor | None,
    reset_state: torch.Tensor | None,
    cu_seqlens: torch.Tensor | None,
    spec: ScanSpec,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Does what `scan_torch.backward` does. It computes the states again instead of reading `h`, which may be rounded."""
    parts, state, sequences = _split(projected, initial_state, cu_seqlens, spec)
    work = Workspace(parts[0])
    w, x = coefficients(parts, spec, work)
    before, _ = _states(w, x, state, sequences, attention_mask, resets, reset_state, spec)
    form = spec.form
    grads = grad_h.to(w.dtype, copy=True)  # becomes the gradient with respect to h[t], through all later steps too
    grad_initial = grad_final.to(w.dtype, copy=True)
    grad_reset = grad_initial.new_zeros(grad_initial.shape[1:])
    for n, (row, begin, end) in enumerate(sequences):
        grad = grad_initial[n]
        for t in range(end - 1, begin - 1, -1):
            grads[row, t] += grad
            grad = grads[row, t]
            if attention_mask is None or attention_mask[row, t]:
                decay = w[row, t] if form == "affine" else 1 - w[row, t]
                grad = grad * decay
            if resets is not None and resets[row, t]:
                if reset_state is not None:
                    grad_reset += grad
                grad = torch.zeros_like(grad)
        grad_initial[n] = grad
    out = torch.cat(part_gradients(grads, before, w, x, parts, spec, work), -1)
    if attention_mask is not None:
        out.masked_fill_(attention_mask.logical_not().unsqueeze(-1), 0)
    return out.to(projected.dtype), grad_initial, grad_reset
