# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Facts about the machine and the software, recorded in every result file."""

from __future__ import annotations

import contextlib
import os
import platform
import shlex
import sys

import torch


def usable_cores() -> int:
    """Returns the number of cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> dict[str, object]:
    """Returns processor, cores, threads and accelerator of this machine."""
    cpu = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            cpu = next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass  # not Linux, or a processor without a model name: keep the platform's name
    return {
        "cpu": cpu,
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "vector_instructions": torch.backends.cpu.get_cpu_capability(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "accelerator": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """Returns the versions of all software that affects the numbers."""
    from importlib import metadata

    names = ("torch", "transformers", "accelerate", "tokenizers", "numpy", "hf_minrnn")
    peers = ("minGRU-pytorch", "mingru-scans", "mambapy", "accelerated-scan", "flash-linear-attention")
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = getattr(sys.modules.get(name), "__version__", "not installed")
    for name in ("numba", "triton", *peers):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def allocator() -> dict[str, str]:
    """Returns what affects the cost of allocating a large tensor: a description of malloc, and environment variables."""
    malloc = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")
    others = ("OMP_", "GOMP_", "KMP_", "MKL_", "TORCH_", "DNNL_", "ONEDNN_", "NUMBA_", "PYTORCH_")
    found = {
        name: _without_folders(value) for name, value in sorted(os.environ.items()) if name.startswith(malloc + others)
    }
    library = " ".join(platform.libc_ver()).strip() or f"{platform.system()}'s C library"
    setting = [name for name in found if name.startswith(malloc)]
    how = f"with what {', '.join(setting)} says" if setting else "as it is by default"
    return {"malloc": f"that of {library}, {how}", **found}


def _without_folders(value: str) -> str:
    """Returns the value of an environment variable, with only the last component of each path: result files are published.

    >>> _without_folders("/home/me/lib/libjemalloc.so"), _without_folders("16")
    ('libjemalloc.so', '16')
    """
    return os.pathsep.join(
        os.path.basename(part.rstrip("/")) if "/" in part else part for part in value.split(os.pathsep)
    )


def provenance(module: str, argv: list[str] | None) -> dict:
    """Returns the facts that every result file starts with.

    Args:
        module (`str`): Name of the script's module.
        argv (`list[str]`, *optional*): Arguments of the script; `None` for those of this process.

    Returns:
        `command`, `machine`, `versions` and `allocator`.
    """
    arguments = sys.argv[1:] if argv is None else argv
    return {
        "command": shlex.join(["python", "-m", module, *map(str, arguments)]),
        "machine": machine(),
        "versions": versions(),
        "allocator": allocator(),
    }
