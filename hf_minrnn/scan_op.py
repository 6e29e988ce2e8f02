# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The custom op that runs a scan on one of the backends, and its backward. Needs torch only."""

import hashlib
import sys
import types
from functools import partial
from pathlib import Path
from typing import Any

import torch

from .gates import NUM_PARTS, ScanSpec
from .packed import check_bounds
from .scan_numba import backward as numba_backward
from .scan_numba import forward as numba_forward
from .scan_reference import backward as reference_backward
from .scan_reference import forward as reference_forward
from .scan_torch import backward as torch_backward
from .scan_torch import forward as torch_forward
from .scan_triton import backward as triton_backward
from .scan_triton import forward as triton_forward
from .scan_vmap import BACKWARD, BACKWARD_RESULTS, FORWARD, FORWARD_RESULTS, batched
from .torch_private import has_functional_derivative

# (forward, backward) of each backend of the op. The backend "associative" does not use the op.
OP_BACKENDS = {
    "reference": (reference_forward, reference_backward),
    "torch": (torch_forward, torch_backward),
    "numba": (numba_forward, numba_backward),
    "triton": (triton_forward, triton_backward),
}

# The files that decide what a scan computes.
SOURCES = (
    "gates.py",
    "packed.py",
    "scan.py",
    "scan_associative.py",
    "scan_choice.py",
    "scan_numba.py",
    "scan_numba_kernels.py",
    "scan_op.py",
    "scan_reference.py",
    "scan_torch.py",
    "scan_triton.py",
    "scan_triton_kernels.py",
    "scan_triton_steps.py",
    "scan_vmap.py",
    "time_gaps.py",
    "torch_private.py",
)


def _namespace() -> str:
    # If two revisions of these files in one process (remote code of two models) registered an op under the same name, both
    # would silently run the code registered last. So the name contains a hash of the files.
    sources = b"".join(Path(__file__).with_name(name).read_bytes() for name in SOURCES)
    return "hf_minrnn_" + hashlib.sha256(sources).hexdigest()[:16]


NAMESPACE = _namespace()

# Ops take only plain types. A caller passes `*spec, backend` after the tensors, and the kernels get them back from `_unpack`.
OPTIONS = "str cell_type, str candidate_activation, bool normalize_gates, float forget_gate_floor, str backend"


def _unpack(options) -> tuple[ScanSpec, str]:
    *fields, backend = options
    return ScanSpec(*fields), backend


# --- the op and its backward -----------------------------------------------------------------------------------------


def _forward_kernel(projected, initial_state, attention_mask, resets, reset_state, cu_seqlens, *options):
    spec, backend = _unpack(options)
    if cu_seqlens is not None:  # checked inside of the op, so that compiled code is checked too
        check_bounds(cu_seqlens, projected.shape[1])
    forward = OP_BACKENDS[backend][0]
    h, final_state = forward(projected, initial_state, attention_mask, resets, reset_state, cu_seqlens, spec)
    return h.contiguous(), final_state.contiguous()  # compiled code relies on the layout of `_forward_fake`


def _forward_fake(projected, initial_state, attention_mask, resets, reset_state, cu_seqlens, cell_type, *_):
    batch, time, width = projected.shape
    channels = width // NUM_PARTS[cell_type]
    rows = batch if cu_seqlens is None else cu_seqlens.shape[0] - 1
    dtype = torch.promote_types(projected.dtype, torch.float32)
    return projected.new_empty(batch, time, channels), projected.new_empty(rows, channels, dtype=dtype)


def _backward_kernel(
    grad_h, grad_final, projected, h, initial_state, attention_mask, resets, reset_state, cu_seqlens, *options
):
    spec, backend = _unpack(options)
    backward = OP_BACKENDS[backend][1]
    tensors = (projected, h, initial_state, attention_mask, resets, reset_state, cu_seqlens)
    grad_projected, grad_initial, grad_reset = backward(grad_h, grad_final, *tensors, spec)
    return grad_projected.contiguous(), grad_initial.contiguous(), grad_reset.contiguous()


def _backward_fake(grad_h, grad_final, projected, *_):
    dtype = torch.promote_types(projected.dtype, torch.float32)
    grad_initial = projected.new_empty(grad_final.shape, dtype=dtype)
    grad_reset = projected.new_empty(grad_final.shape[1:], dtype=dtype)
    return projected.new_empty(projected.shape), grad_initial, grad_reset


def _save(ctx, inputs, output):
    projected, initial_state, attention_mask, resets, reset_state, cu_seqlens, *options = inputs
    ctx.save_for_backward(projected, output[0], initial_state, attention_mask, resets, reset_state, cu_seqlens)
    ctx.options = options


def _backward(ctx, grad_h, grad_final):
    projected, h, initial_state, attention_mask, resets, reset_state, cu_seqlens = ctx.saved_tensors
    if has_functional_derivative(grad_h, grad_final):  # forward mode over this backward
        _no_second_derivative(ctx)
    tensors = (projected, h, initial_state, attention_mask, resets, reset_state, cu_seqlens)
    grad_projected, grad_initial, grad_reset = scan_backward_op(grad_h, grad_final, *tensors, *ctx.options)
    grad_initial = None if initial_state is None else grad_initial.to(initial_state.dtype)
    grad_reset = None if reset_state is None else grad_reset.to(reset_state.dtype)
    return grad_projected, grad_initial, None, None, grad_reset, None, *[None] * len(ctx.options)


def _no_second_derivative(ctx, *grads):
    raise NotImplementedError(
        "the scan's backward has no derivative of its own: use backend='associative' (scan_backend='associative' in the "
        "model's config) for second derivatives"
    )


_GIVEN = "Tensor? initial_state, Tensor? attention_mask, Tensor? resets, Tensor? reset_state, Tensor? cu_seqlens"
_FORWARD_SCHEMA = f"(Tensor projected, {_GIVEN}, {OPTIONS}) -> (Tensor, Tensor)"
_BACKWARD_SCHEMA = (
    f"(Tensor grad_h, Tensor grad_final, Tensor projected, Tensor h, {_GIVEN}, {OPTIONS}) -> (Tensor, Tensor, Tensor)"
)


def _register() -> types.ModuleType:
    # Each op is registered once in a process. The same revision may be imported again under another name (a second
    # remote-code model), and registering again would free an op that others still call.
    if NAMESPACE not in sys.modules:
        custom_op = partial(torch.library.custom_op, mutates_args=())
        ops: Any = types.ModuleType(NAMESPACE, "The scan's custom ops.")
        ops.scan = custom_op(f"{NAMESPACE}::scan", _forward_kernel, schema=_FORWARD_SCHEMA)
        ops.scan.register_fake(_forward_fake)
        ops.scan.register_autograd(_backward, setup_context=_save)
        ops.scan.register_vmap(partial(batched, ops.scan, FORWARD, FORWARD_RESULTS))
        ops.scan_backward = custom_op(f"{NAMESPACE}::scan_backward", _backward_kernel, schema=_BACKWARD_SCHEMA)
        ops.scan_backward.register_fake(_backward_fake)
        ops.scan_backward.register_autograd(_no_second_derivative)
        ops.scan_backward.register_vmap(partial(batched, ops.scan_backward, BACKWARD, BACKWARD_RESULTS))
        sys.modules[NAMESPACE] = ops
    return sys.modules[NAMESPACE]


_OPS = _register()
scan_op, scan_backward_op = _OPS.scan, _OPS.scan_backward
