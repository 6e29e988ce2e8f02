# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Which backend a scan runs, and why."""

import contextlib
import math
import warnings

import torch

from .scan_numba import DTYPES as NUMBA_DTYPES
from .scan_numba import problem
from .scan_triton import DTYPES as TRITON_DTYPES
from .scan_triton import INSTALLED as TRITON_INSTALLED
from .scan_triton import runs_on as triton_runs_on

BACKENDS = ("auto", "reference", "torch", "numba", "triton", "associative")
INSTALL_TRITON = "pip install triton"

# "auto" takes numba on a CPU from so many elements of h on: for fewer, importing and compiling is not worth it.
NUMBA_ELEMENTS = 1 << 14
_warned = []


def _numba_problem(wanted: bool = False) -> str | None:
    # Asked while torch.compile traces, too: it cannot look into imports. Where numba would have been taken (`wanted`), a
    # warning says why it is not, once.
    reason = problem()
    if reason and wanted and reason not in _warned:
        _warned.append(reason)
        warnings.warn(
            f"minGRU and minLSTM could run several times faster on this CPU, but {reason}, or choose "
            "backend='torch' (scan_backend='torch' in a model's config) and this is not said again",
            stacklevel=2,
        )
    return reason


# What torch.compiler.assume_constant_result sets. The decorator itself imports all of the compiler, which takes seconds.
_numba_problem._dynamo_marked_constant = True


def is_exporting() -> bool:
    """Whether torch.export traces. torch 2.11 answers the public question with True under torch.compile, too."""
    if hasattr(torch.compiler, "_is_exporting_flag"):
        return torch.compiler._is_exporting_flag
    return torch.compiler.is_exporting()


def _on_cpu(device) -> bool:
    return device is None or torch.device(device).type == "cpu"


def _fits(backend: str, device, dtype) -> bool:
    if backend == "numba":
        return _on_cpu(device) and (dtype is None or dtype in NUMBA_DTYPES)
    if backend == "triton":
        return (device is None or triton_runs_on(device)) and (dtype is None or dtype in TRITON_DTYPES)
    return True


def wished_backend(backend: str, device, dtype) -> str:
    """A backend, or "auto" where it does not take this device or dtype: for models, which move.

    >>> wished_backend("torch", "cpu", torch.float32), wished_backend("numba", "meta", torch.float32)
    ('torch', 'auto')
    """
    if _fits(backend, device, dtype):
        return backend
    if not torch.compiler.is_compiling() and (backend, str(device)) not in _warned:
        _warned.append((backend, str(device)))
        warnings.warn(f"scan_backend {backend!r} does not take {dtype} on {device}, using 'auto'", stacklevel=2)
    return "auto"


def _choose(backend: str, device, dtype, shape) -> tuple[str, str]:
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
    on_cpu, numba_fits = _on_cpu(device), _fits("numba", device, dtype)
    if not _fits(backend, device, dtype):
        where = {
            "numba": "a CPU",
            "triton": "a GPU (on a CPU with TRITON_INTERPRET=1 from the start)",
        }[backend]
        what = f"float32, float64, bfloat16 or float16 on {where}"
        raise ValueError(f"backend {backend!r} needs {what}, got {dtype} on {device}: choose 'auto' or 'torch'")
    if backend == "numba" and _numba_problem():
        raise ImportError(f"backend 'numba' cannot run: {_numba_problem()}")
    if backend == "triton" and not TRITON_INSTALLED:
        raise ImportError(f"backend 'triton' cannot run: triton is not installed: {INSTALL_TRITON}")
    if backend != "auto":
        return backend, "asked for by name"
    if not on_cpu and torch.device(device).type == "cuda":
        return _choose_on_gpu(dtype)
    if not numba_fits:
        return "torch", "no kernels for this dtype" if on_cpu else "no kernels for this device"
    if is_exporting():
        return "torch", "an exported program should run without numba too"
    # A size that a graph leaves open is no int, and taken for a large one.
    elements = NUMBA_ELEMENTS
    if shape is not None and all(isinstance(n, int) for n in shape):
        elements = math.prod(shape)
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


def resolve_backend(
    backend: str = "auto", device: torch.device | str | None = "cpu", *, dtype: torch.dtype | None = None, shape=None
) -> str:
    """The backend that a scan would run.

    "auto" is "numba" for all but small scans on a CPU where numba can be imported (`pip install numba`),
    "triton" on a GPU where triton is installed (`pip install triton`) for all but float64, and "torch" everywhere
    else and in exported programs. Where numba would be taken and is missing, a warning says so, once in a process.

    Args:
        backend (`str`): "auto", or one of `BACKENDS`.
        device (`torch.device` or `str`): Where the tensors are; `None` where that is not known yet.
        dtype (`torch.dtype`, *optional*): Of `projected`. One that every backend takes by default.
        shape (tuple of `int`, *optional*): Of `h`, `(batch, time, channels)`. Large by default.

    Raises:
        ValueError: For a name that is not in `BACKENDS`, or for "numba" or "triton" with a device or dtype that it does
            not take.
        ImportError: For "numba" or "triton" where it cannot be imported.

    >>> resolve_backend("auto", "meta"), resolve_backend("auto", "cpu", shape=(1, 8, 64)), resolve_backend("reference")
    ('torch', 'torch', 'reference')
    """
    return _choose(backend, device, dtype, shape)[0]


def available_backends(device: torch.device | str = "cpu") -> tuple[str, ...]:
    """The backends that can run on a device here, with what is installed.

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
    backend: str = "auto", device: torch.device | str = "cpu", *, dtype: torch.dtype | None = None, shape=None
) -> str:
    """What `resolve_backend` answers to the same arguments, and why; raises what it raises.

    >>> explain_backend("auto", "meta")
    'torch: no kernels for this device'
    """
    name, reason = _choose(backend, device, dtype, shape)
    if name not in ("torch", "triton") and shape is not None and shape[1] == 1:  # triton has a kernel for that
        reason += "; one step is plain torch"
    return f"{name}: {reason}"
