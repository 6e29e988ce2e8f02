# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Chooses the backend of a scan. Every decision about a backend is made here, and so is what counts as one step."""

import contextlib
import warnings

import torch

from .scan_numba import DTYPES as NUMBA_DTYPES
from .scan_numba import problem
from .scan_triton import DTYPES as TRITON_DTYPES
from .scan_triton import INSTALLED as TRITON_INSTALLED
from .scan_triton import runs_on as triton_runs_on
from .torch_private import constant_result, has_functional_derivative, is_exporting, is_plain

BACKENDS = ("auto", "reference", "torch", "numba", "triton", "associative")
INSTALL_TRITON = "pip install triton"

# "auto" uses numba on a CPU from this many elements of h on. For fewer, importing it and compiling take too long.
NUMBA_ELEMENTS = 1 << 14
_warned = []


def is_one_step(time: int | torch.SymInt, cu_seqlens: torch.Tensor | None = None) -> bool:
    """Whether a scan over `time` steps is a single step. Plain torch then costs less than calling the custom op.

    >>> is_one_step(1), is_one_step(2), is_one_step(1, torch.tensor([0, 1]))
    (True, False, False)
    """
    return isinstance(time, int) and time == 1 and cu_seqlens is None  # a symbolic size is not an int


@constant_result  # torch.compile cannot trace imports
def _numba_problem(wanted: bool = False) -> str | None:
    # Where "auto" would have used numba (`wanted`), a warning says once why it cannot.
    reason = problem()
    if reason and wanted and reason not in _warned:
        _warned.append(reason)
        warnings.warn(
            f"minGRU and minLSTM could run several times faster on this CPU, but {reason}, or choose "
            "backend='torch' (scan_backend='torch' in a model's config) to silence this warning",
            stacklevel=2,
        )
    return reason


def _takes(backend: str, device: torch.device | str | None, dtype: torch.dtype | None) -> bool:
    """Whether a backend takes a device and a dtype; None means any."""
    if backend == "numba":
        on_cpu = device is None or torch.device(device).type == "cpu"
        return on_cpu and (dtype is None or dtype in NUMBA_DTYPES)
    if backend == "triton":
        return (device is None or triton_runs_on(device)) and (dtype is None or dtype in TRITON_DTYPES)
    return True


def backend_or_auto(backend: str, device: torch.device | str, dtype: torch.dtype) -> str:
    """Returns `backend`, or "auto" with a warning if it does not take this device or dtype. For models, which move.

    >>> backend_or_auto("torch", "cpu", torch.float32), backend_or_auto("numba", "meta", torch.float32)
    ('torch', 'auto')
    """
    if _takes(backend, device, dtype):
        return backend
    if not torch.compiler.is_compiling() and (backend, str(device)) not in _warned:
        _warned.append((backend, str(device)))
        warnings.warn(f"scan_backend {backend!r} does not take {dtype} on {device}, using 'auto'", stacklevel=2)
    return "auto"


def _choose(backend: str, device, dtype, shape) -> tuple[str, str]:
    """Returns the backend to run and the reason; arguments as in `resolve_backend`."""
    if backend == "auto":
        return _choose_automatically(device, dtype, shape)
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
    if not _takes(backend, device, dtype):
        where = "a CPU" if backend == "numba" else "a GPU (on a CPU with TRITON_INTERPRET=1 from the start)"
        raise ValueError(
            f"backend {backend!r} needs float32, float64, bfloat16 or float16 on {where}, got {dtype} on {device}: choose "
            "'auto' or 'torch'"
        )
    if backend == "numba" and _numba_problem():
        raise ImportError(f"backend 'numba' cannot run: {_numba_problem()}")
    if backend == "triton" and not TRITON_INSTALLED:
        raise ImportError(f"backend 'triton' cannot run: triton is not installed: {INSTALL_TRITON}")
    return backend, "asked for by name"


def _choose_automatically(device, dtype, shape) -> tuple[str, str]:
    device_type = "cpu" if device is None else torch.device(device).type
    if device_type == "cuda":
        return _choose_on_gpu(dtype)
    if device_type != "cpu":
        return "torch", "no kernels for this device"
    if dtype is not None and dtype not in NUMBA_DTYPES:
        return "torch", "no kernels for this dtype"
    if is_exporting():
        return "torch", "an exported program should run without numba too"
    elements = NUMBA_ELEMENTS if shape is None else 1
    for size in shape or ():
        if not isinstance(size, int):  # a compiled graph leaves this size open: assumed to be large
            elements = NUMBA_ELEMENTS
            break
        elements *= size
    if elements < NUMBA_ELEMENTS:
        return "torch", f"for less than {NUMBA_ELEMENTS} elements no kernel is compiled"
    if _numba_problem(wanted=True):
        return "torch", f"numba cannot run: {_numba_problem()}"
    return "numba", "kernels compiled for this CPU"


def _choose_on_gpu(dtype) -> tuple[str, str]:
    if dtype == torch.float64 or (dtype is not None and dtype not in TRITON_DTYPES):  # GPUs are slow in float64 anyway
        return "torch", "no kernels for this dtype"
    if is_exporting():
        return "torch", "an exported program should run without triton too"
    if not TRITON_INSTALLED:
        return "torch", f"triton is missing: {INSTALL_TRITON}"
    return "triton", "kernels compiled for this GPU"


def choose_for_scan(
    backend: str,
    projected: torch.Tensor,
    channels: int,
    initial_state: torch.Tensor | None,
    reset_state: torch.Tensor | None,
) -> str:
    """Returns the backend that runs a scan of more than one step; raises as `resolve_backend` does.

    Raises:
        NotImplementedError: If `backend` is a name, and a derivative is wanted that it does not have.
    """
    batch, time, _ = projected.shape
    name = _choose(backend, projected.device, projected.dtype, (batch, time, channels))[0]
    if name == "associative" or not has_functional_derivative(projected, initial_state, reset_state):
        return name
    if backend != "auto":
        raise NotImplementedError(
            f"backend {backend!r} has no forward-mode derivative and none of torch.func: use backend='associative', or 'auto'"
        )
    return "associative"


def has_step_kernel(projected: torch.Tensor, backend: str) -> bool:
    """Whether one step runs as a Triton kernel instead of about ten operations; raises as `resolve_backend` does.

    The kernel has no gradient, and torch.compile makes one kernel of the ten operations itself.
    """
    usable = projected.is_cuda and is_plain()
    if backend == "auto" and not usable:
        return False
    return resolve_backend(backend, projected.device, dtype=projected.dtype) == "triton" and usable


def resolve_backend(
    backend: str = "auto",
    device: torch.device | str | None = "cpu",
    *,
    dtype: torch.dtype | None = None,
    shape: tuple[int, ...] | None = None,
) -> str:
    """Returns the backend that a scan would run.

    "auto" is "numba" for all but small scans on a CPU where numba can be imported (`pip install numba`), "triton" for all
    dtypes but float64 on a GPU where triton is installed (`pip install triton`), and "torch" everywhere else and in exported
    programs. If numba would be used but is missing, a warning says so once in a process.

    Args:
        backend (`str`): "auto", or one of `BACKENDS`.
        device (`torch.device` or `str`): Device of the tensors; `None` if it is not known yet.
        dtype (`torch.dtype`, *optional*): Dtype of `projected`. By default one that every backend takes.
        shape (tuple of `int`, *optional*): Shape of `h`, `(batch, time, channels)`. Large by default.

    Raises:
        ValueError: For a name that is not in `BACKENDS`, or for "numba" or "triton" with a device or dtype that it does
            not take.
        ImportError: For "numba" or "triton" if it cannot be imported.

    >>> resolve_backend("auto", "meta"), resolve_backend("auto", "cpu", shape=(1, 8, 64)), resolve_backend("reference")
    ('torch', 'torch', 'reference')
    """
    return _choose(backend, device, dtype, shape)[0]


def available_backends(device: torch.device | str = "cpu") -> tuple[str, ...]:
    """Returns the backends that can run on a device with the installed packages.

    >>> available_backends("meta")
    ('reference', 'torch', 'associative')
    """
    found = []
    for name in BACKENDS:
        if name != "auto":
            with contextlib.suppress(ImportError, ValueError):
                found.append(resolve_backend(name, device))
    return tuple(found)


def explain_backend(
    backend: str = "auto",
    device: torch.device | str | None = "cpu",
    *,
    dtype: torch.dtype | None = None,
    shape: tuple[int, ...] | None = None,
) -> str:
    """Returns what `resolve_backend` returns for the same arguments, followed by the reason; raises what it raises.

    >>> explain_backend("auto", "meta")
    'torch: no kernels for this device'
    """
    name, reason = _choose(backend, device, dtype, shape)
    is_step = shape is not None and is_one_step(shape[1])
    if is_step and name not in ("torch", "triton"):  # triton has a kernel for one step
        reason += "; one step is plain torch"
    return f"{name}: {reason}"
