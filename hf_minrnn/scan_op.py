# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The custom op that runs a scan on one of its backends, with its backward. Needs torch only."""

import hashlib
import sys
import types
from functools import partial
from pathlib import Path

import torch
from torch.autograd import forward_ad

from .gates import NUM_PARTS, ScanSpec
from .scan_numba import backward as numba_backward
from .scan_numba import forward as numba_forward
from .scan_reference import backward as reference_backward
from .scan_reference import forward as reference_forward
from .scan_torch import backward as torch_backward
from .scan_torch import forward as torch_forward
from .scan_triton import backward as triton_backward
from .scan_triton import forward as triton_forward
from .scan_vmap import BACKWARD, BACKWARD_RESULTS, FORWARD, FORWARD_RESULTS, batched, check_bounds

# The implementations of the custom op, (forward, backward) each. "associative" is no op but plain torch.
OP_BACKENDS = {
    "reference": (reference_forward, reference_backward),
    "torch": (torch_forward, torch_backward),
    "numba": (numba_forward, numba_backward),
    "triton": (triton_forward, triton_backward),
}


def _namespace() -> str:
    # An op registered twice under one name runs the code registered last, so two revisions of these files in one process
    # (remote code of two models) would silently share one. Each revision gets a name of its own.
    names = ("calls_minrnn.py", "gates.py", "scan.py", "scan_associative.py", "scan_choice.py", "scan_numba.py")
    names += ("scan_numba_kernels.py", "scan_op.py", "scan_reference.py", "scan_torch.py", "scan_triton.py")
    names += ("scan_triton_kernels.py", "scan_triton_steps.py", "scan_vmap.py")
    sources = b"".join(Path(__file__).with_name(name).read_bytes() for name in names)
    return "hf_minrnn_" + hashlib.sha256(sources).hexdigest()[:16]


NAMESPACE = _namespace()


def beyond_the_op(*tensors) -> bool:
    """Whether a derivative is wanted that the op does not have: a forward-mode one, which would silently be zero, or one of
    torch.func.
    """
    if forward_ad._current_level >= 0 and any(
        x is not None and forward_ad.unpack_dual(x).tangent is not None for x in tensors
    ):
        return True
    if torch.compiler.is_compiling() or torch._C._functorch.peek_interpreter_stack() is None:
        return False
    return any(map(_is_tracked, tensors))


def _is_tracked(x) -> bool:
    # By a level of torch.func.grad or jvp, which may lie below others.
    while x is not None and torch._C._functorch.is_functorch_wrapped_tensor(x):
        if torch._C._functorch.is_gradtrackingtensor(x):
            return True
        x = torch._C._functorch.get_unwrapped(x)
    return False


def _forward_kernel(
    projected: torch.Tensor,
    initial_state: torch.Tensor | None,
    keep: torch.Tensor | None,
    resets: torch.Tensor | None,
    reset_state: torch.Tensor | None,
    cu_seqlens: torch.Tensor | None,
    cell_type: str,
    candidate_activation: str,
    normalize_gates: bool,
    forget_gate_floor: float,
    backend: str,
) -> tuple[torch.Tensor, torch.Tensor]:
    spec = ScanSpec(cell_type, candidate_activation, normalize_gates, forget_gate_floor)
    if cu_seqlens is not None:  # here, so that compiled code is checked too
        check_bounds(cu_seqlens, projected.shape[1])
    h, final_state = OP_BACKENDS[backend][0](projected, initial_state, keep, resets, reset_state, cu_seqlens, spec)
    return h.contiguous(), final_state.contiguous()  # whatever the inputs' strides: compiled code counts on it


def _forward_fake(projected, initial_state, keep, resets, reset_state, cu_seqlens, cell_type, *_):
    batch, time, width = projected.shape
    channels = width // NUM_PARTS[cell_type]
    rows = batch if cu_seqlens is None else cu_seqlens.shape[0] - 1
    dtype = torch.promote_types(projected.dtype, torch.float32)
    return projected.new_empty(batch, time, channels), projected.new_empty(rows, channels, dtype=dtype)


def _backward_kernel(
    grad_h: torch.Tensor,
    grad_final: torch.Tensor,
    projected: torch.Tensor,
    h: torch.Tensor,
    initial_state: torch.Tensor | None,
    keep: torch.Tensor | None,
    resets: torch.Tensor | None,
    reset_state: torch.Tensor | None,
    cu_seqlens: torch.Tensor | None,
    cell_type: str,
    candidate_activation: str,
    normalize_gates: bool,
    forget_gate_floor: float,
    backend: str,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    spec = ScanSpec(cell_type, candidate_activation, normalize_gates, forget_gate_floor)
    backward = OP_BACKENDS[backend][1]
    grads = backward(grad_h, grad_final, projected, h, initial_state, keep, resets, reset_state, cu_seqlens, spec)
    return grads[0].contiguous(), grads[1].contiguous(), grads[2].contiguous()


def _backward_fake(grad_h, grad_final, projected, *_):
    dtype = torch.promote_types(projected.dtype, torch.float32)
    grad_initial, grad_reset = (projected.new_empty(s, dtype=dtype) for s in (grad_final.shape, grad_final.shape[1:]))
    return projected.new_empty(projected.shape), grad_initial, grad_reset


def _save(ctx, inputs, output):
    projected, initial_state, keep, resets, reset_state, cu_seqlens, *options = inputs
    ctx.save_for_backward(projected, output[0], initial_state, keep, resets, reset_state, cu_seqlens)
    ctx.options = options


def _backward(ctx, grad_h, grad_final):
    projected, h, initial_state, keep, resets, reset_state, cu_seqlens = ctx.saved_tensors
    rest = (initial_state, keep, resets, reset_state, cu_seqlens, *ctx.options)
    if beyond_the_op(grad_h, grad_final):  # forward over reverse
        _no_second_derivative(ctx)
    grads = scan_backward_op(grad_h, grad_final, projected, h, *rest)
    grad_initial = None if initial_state is None else grads[1].to(initial_state.dtype)
    grad_reset = None if reset_state is None else grads[2].to(reset_state.dtype)
    return grads[0], grad_initial, None, None, grad_reset, *[None] * 6


def _no_second_derivative(ctx, *grads):
    raise NotImplementedError(
        "the scan's backward has no derivative of its own: use backend='associative' (scan_backend='associative' in the "
        "model's config) for second derivatives"
    )


def _register() -> types.ModuleType:
    # Once a process and for good. The same revision may be imported again under another name (a second remote-code
    # model); an op registered again replaces the first and frees it while others still call it.
    if NAMESPACE not in sys.modules:
        ops = types.ModuleType(NAMESPACE, "The scan's custom ops.")
        ops.scan = torch.library.custom_op(f"{NAMESPACE}::scan", _forward_kernel, mutates_args=())
        ops.scan.register_fake(_forward_fake)
        ops.scan.register_autograd(_backward, setup_context=_save)
        ops.scan.register_vmap(partial(batched, ops.scan, FORWARD, FORWARD_RESULTS))
        ops.scan_backward = torch.library.custom_op(f"{NAMESPACE}::scan_backward", _backward_kernel, mutates_args=())
        ops.scan_backward.register_fake(_backward_fake)
        ops.scan_backward.register_autograd(_no_second_derivative)
        ops.scan_backward.register_vmap(partial(batched, ops.scan_backward, BACKWARD, BACKWARD_RESULTS))
        sys.modules[NAMESPACE] = ops
    return sys.modules[NAMESPACE]


_OPS = _register()
scan_op, scan_backward_op = _OPS.scan, _OPS.scan_backward
