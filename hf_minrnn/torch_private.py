# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Every private name of torch that this package uses, each with a fallback. Needs torch only.

A torch without one of these names costs speed, never a result: where a fact is unknown, the fallback gives the answer that
leads to the ordinary, slower path. tests/test_torch_private.py lists the names and fails for a torch that lacks one.

Two private attributes are used in other files and have no fallback: `nn.Module._modules` and `nn.Module._parameters`. They are
part of every saved module, and every library that modifies models depends on them.
"""

import re
import warnings
from collections.abc import Callable

import torch
from torch import nn
from torch.autograd import forward_ad
from torch.nn.modules import module as nn_module

TESTED_TORCH = "2.13.0"  # newest version that the tests have run with

_functorch = getattr(torch._C, "_functorch", None)

# Whether torch.jit.trace runs. Documented, but not among the exported names of torch.jit, which is deprecated.
is_tracing = getattr(torch.jit, "is_tracing", lambda: False)
# Not None while torch.jit.trace runs, in one call instead of three.
get_tracing_state = getattr(torch._C, "_get_tracing_state", lambda: is_tracing() or None)
# Number of active modes that intercept every operation, such as the one of fake tensors. The fallback assumes one.
len_dispatch_stack = getattr(torch._C, "_len_torch_dispatch_stack", lambda: 1)
# Not None inside the transforms of torch.func. The fallback assumes one.
peek_interpreter_stack = getattr(_functorch, "peek_interpreter_stack", lambda: True)
# Whether autocast is enabled for any device. The fallback assumes so.
is_any_autocast_enabled = getattr(torch._C, "_is_any_autocast_enabled", lambda: True)

# What calls_minrnn.py needs to call the `forward` of a module directly. Without it, it calls the module.
global_forward_hooks = getattr(nn_module, "_global_forward_hooks", None)
global_forward_pre_hooks = getattr(nn_module, "_global_forward_pre_hooks", None)
wrapped_call = getattr(nn.Module, "_wrapped_call_impl", None)
_HOOK_ATTRIBUTES = ("_forward_hooks", "_forward_pre_hooks", "_compiled_call_impl")
CAN_SKIP_MODULE_CALLS = None not in (global_forward_hooks, global_forward_pre_hooks, wrapped_call) and all(
    getattr(nn.Module(), name, "missing") != "missing" for name in _HOOK_ATTRIBUTES
)


def is_eager() -> bool:
    """Whether tensors have values that may be read here: nothing traces, transforms or fakes them.

    >>> is_eager(), torch.vmap(lambda x: x + is_eager())(torch.zeros(2)).tolist()
    (True, [0.0, 0.0])
    """
    return not (
        torch.compiler.is_compiling()
        or get_tracing_state() is not None
        or len_dispatch_stack()
        or peek_interpreter_stack() is not None
    )


def is_plain() -> bool:
    """Whether `is_eager()` holds and nothing differentiates here. Called for every token: one call instead of two.

    >>> is_plain()
    False
    >>> with torch.no_grad():
    ...     is_plain()
    True
    """
    return not (
        torch.is_grad_enabled()
        or torch.compiler.is_compiling()
        or get_tracing_state() is not None
        or len_dispatch_stack()
        or peek_interpreter_stack() is not None
        or getattr(forward_ad, "_current_level", 0) >= 0  # forward-mode differentiation, which the fallback assumes
    )


def has_functional_derivative(*tensors: torch.Tensor | None) -> bool:
    """Whether one of the tensors is differentiated in forward mode or by torch.func. A custom op has no such derivative."""
    if getattr(forward_ad, "_current_level", 0) >= 0:
        for x in tensors:
            if x is not None and forward_ad.unpack_dual(x).tangent is not None:
                return True
    if torch.compiler.is_compiling() or peek_interpreter_stack() is None:
        return False
    return any(map(_is_followed, tensors))


def _is_followed(x: torch.Tensor | None) -> bool:
    # By torch.func.grad or jvp, which may lie below other transforms.
    while x is not None and is_wrapped(x):
        inner = _unwrapped(x)
        if inner is None or _tracks_gradient(x):
            return True
        x = inner
    return False


def _has_no_storage(x: torch.Tensor) -> bool:
    try:
        x.untyped_storage()
    except (NotImplementedError, RuntimeError):
        return True
    return False


# Whether a transform of torch.func has wrapped a tensor. The values of such a tensor cannot be read.
is_wrapped = getattr(_functorch, "is_functorch_wrapped_tensor", _has_no_storage)
# The tensor that it has wrapped, and whether it differentiates. Without one of these names every transform counts as one that
# differentiates.
_unwrapped = getattr(_functorch, "get_unwrapped", lambda x: None)
_tracks_gradient = getattr(_functorch, "is_gradtrackingtensor", is_wrapped)


def _check(condition: bool) -> None:
    if not condition:
        raise RuntimeError("a size is outside its expected range")


# Tells the compiler that a condition on sizes holds; raises RuntimeError in eager code if it does not.
check = getattr(torch, "_check", _check)


def mark_static_address(x: torch.Tensor) -> None:
    """Tells CUDA graphs that a tensor keeps its memory. Without the name in torch, a graph copies the tensor."""
    mark = getattr(torch._dynamo, "mark_static_address", None)
    if mark is not None:
        mark(x)


def constant_result(function: Callable) -> Callable:
    """Decorator for functions that torch.compile calls while it traces, instead of tracing into them.

    It sets what `torch.compiler.assume_constant_result` sets. That decorator imports the compiler, which takes seconds.
    """
    function._dynamo_marked_constant = True  # pyright: ignore[reportFunctionMemberAccess] there is no other interface
    return function


def is_exporting() -> bool:
    """Whether torch.export traces. The public function of torch 2.11 returns True under torch.compile, too."""
    if hasattr(torch.compiler, "_is_exporting_flag"):
        return torch.compiler._is_exporting_flag
    return torch.compiler.is_exporting()


def is_known_true(condition) -> bool:
    """Whether a condition on symbolic sizes is known to hold for all of them, for use during torch.export."""
    try:  # not at the top: it imports sympy
        from torch.fx.experimental.symbolic_shapes import statically_known_true
    except ImportError:
        return bool(condition)
    return statically_known_true(condition)


def warn_of_newer_torch(version: str) -> None:
    """Warns if torch is newer, in its first two numbers, than the newest version that the tests have run with."""
    found, tested = (re.findall(r"\d+", text)[:2] for text in (version, TESTED_TORCH))
    if [int(number) for number in found] > [int(number) for number in tested]:
        warnings.warn(
            f"hf_minrnn was tested with torch up to {TESTED_TORCH}, and this is torch {version}: if something fails, install "
            f'"torch=={TESTED_TORCH}"',
            stacklevel=2,
        )


warn_of_newer_torch(torch.__version__)
