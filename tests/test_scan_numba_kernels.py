# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Arithmetic of the numba kernels in every precision, vectorisation, the cache on disk, and a missing numba."""

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from hf_minrnn import scan_numba
from hf_minrnn import scan_numba_kernels as kernels
from hf_minrnn.gates import ScanSpec

numba = pytest.importorskip("numba")


def apply(function, x, out_dtype):
    """Applies a compiled `function` to every element."""
    kernels.load()

    @numba.njit
    def loop(x, out):
        for i in range(x.size):
            out[i] = function(x[i])

    out = np.empty(x.size, out_dtype)
    loop(np.ascontiguousarray(x), out)
    return out


def test_exp():
    x = np.concatenate([np.linspace(-87, 0, 1_000_003), -np.logspace(-30, 0, 10_007)]).astype(np.float32)
    exact = np.exp(x.astype(np.float64))
    assert np.abs(apply(kernels._exp_float32, x, np.float32) / exact - 1).max() < 2**-23
    x = np.array([0.0, -0.0, -90.0, -1e30, -np.inf, np.nan], np.float32)
    got = apply(kernels._exp_float32, x, np.float32)
    assert got[:2].tolist() == [1, 1] and np.isnan(got[-1]) and ((got[2:5] > 0) & (got[2:5] < 2e-38)).all()


HALVES = {
    "bfloat16": (torch.bfloat16, torch.int16, kernels._from_bfloat16, kernels._to_bfloat16),
    "float16": (torch.float16, torch.uint16, kernels._from_float16, kernels._to_float16),
}


def bits_of(x, integer):
    return x.view(integer).numpy()


@pytest.mark.parametrize("dtype, integer, widen, _", HALVES.values(), ids=HALVES)
def test_every_half_precision_number_is_widened(dtype, integer, widen, _):
    every = torch.arange(2**16, dtype=torch.int32).to(torch.uint16).view(dtype)
    got = torch.from_numpy(apply(widen, bits_of(every, integer), np.float32))
    assert torch.equal(got.isnan(), every.isnan())
    assert torch.equal(got.nan_to_num(nan=7.0), every.float().nan_to_num(nan=7.0))
    assert torch.equal(got.signbit()[~got.isnan()], every.signbit()[~got.isnan()])


@pytest.mark.parametrize("dtype, integer, _, narrow", HALVES.values(), ids=HALVES)
def test_floats_are_rounded_as_torch_does(dtype, integer, _, narrow):
    generator = torch.Generator().manual_seed(0)
    bits = torch.randint(-(2**31), 2**31, (300_000,), generator=generator).to(torch.int32)
    halves = torch.arange(2**16, dtype=torch.int32).to(torch.uint16).view(dtype).float()
    ties = (halves[1:] + halves[:-1]) / 2  # exactly between two neighbours
    around = [ties, torch.nextafter(ties, torch.tensor(torch.inf)), torch.nextafter(ties, torch.tensor(-torch.inf))]
    edges = torch.tensor([65503.9, 65504.0, 65519.99, 65520.0, 3.4e38, torch.inf, -torch.inf, torch.nan, 0.0, -0.0])
    x = torch.cat([bits.view(torch.float32), torch.randn(1000, generator=generator), *around, edges, -edges])
    got = torch.from_numpy(apply(narrow, x.numpy(), str(integer)[6:])).view(dtype)
    assert torch.equal(got.isnan(), x.isnan())
    assert torch.equal(got[~x.isnan()].view(torch.int16), x[~x.isnan()].to(dtype).view(torch.int16))


VECTORS = [
    (torch.float32, ScanSpec("mingru")),
    (torch.bfloat16, ScanSpec("mingru")),
    pytest.param(torch.float16, ScanSpec("mingru"), marks=pytest.mark.slow),
    pytest.param(torch.float32, ScanSpec("minlstm"), marks=pytest.mark.slow),
    pytest.param(torch.float32, ScanSpec("minlstm", "g", False), marks=pytest.mark.slow),
]


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads x86 assembly")
@pytest.mark.parametrize("dtype, spec", VECTORS, ids=str)
def test_the_inner_loops_are_vectorised(dtype, spec):
    """A call or a branch left in them would make them ten times slower without changing a result."""
    projected, h, state = torch.zeros(1, 2, spec.num_parts).to(dtype), torch.zeros(1, 2, 1).to(dtype), torch.zeros(1, 1)
    rest = (None, None, None, None, None, spec)
    scan_numba.forward(projected, *rest)
    scan_numba.backward(h, state, projected, h, *rest)
    for kernel in scan_numba._kernels(*spec[:3], dtype):
        fresh = numba.njit(kernel.py_func, **kernels.OPTIONS)  # a kernel from the cache has no assembly
        fresh.compile(kernel.signatures[0])
        (assembly,) = fresh.inspect_asm().values()
        assert re.search(r"\bv?divps\b", assembly)


# The scan's files without the modules that import transformers.
BARE = f"""
import sys, types
package = types.ModuleType("hf_minrnn")
package.__path__ = [{str(Path(kernels.__file__).parent)!r}]
sys.modules["hf_minrnn"] = package
"""
SCAN = """
import torch
from hf_minrnn.scan import minrnn_scan
from hf_minrnn.scan_numba import _kernels
p = torch.randn(2, 5, 6)
h = minrnn_scan(p, "mingru", backend="numba")[0]
assert torch.allclose(h, minrnn_scan(p, "mingru", backend="torch")[0])
kernel = _kernels("mingru", "g", True, torch.float32)[0]
"""


def run(program, **environment):
    command = [sys.executable, "-c", BARE + program]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_kernels_are_cached_on_disk(tmp_path):
    program = SCAN + "print(sum(kernel.stats.cache_hits.values()))"
    for hits in ("0", "1"):
        assert run(program, NUMBA_CACHE_DIR=str(tmp_path)) == hits


def test_kernels_run_without_a_writable_folder():
    """This is the situation in a container with read-only files. numba may only look for a zip file, which does not exist."""
    program = SCAN + "print(type(kernel._cache).__name__)"
    assert run(program, NUMBA_CACHE_LOCATOR_CLASSES="ZipCacheLocator") == "NullCache"


def test_numba_is_imported_on_first_use():
    program = """
import torch
from hf_minrnn.scan import minrnn_scan
from hf_minrnn.cells import MinGRUCell
MinGRUCell(4, 6)(torch.randn(2, 5, 4))[0].sum().backward()
before = "numba" in sys.modules
minrnn_scan(torch.randn(2, 5, 6), "mingru", backend="numba")
print(before, "numba" in sys.modules)
"""
    assert run(program) == "False True"


@pytest.mark.parametrize("switched_off", [False, True])
def test_without_numba(switched_off):
    program = """
sys.modules["numba"] = None
from hf_minrnn import scan_numba_kernels
print(scan_numba_kernels.load()[1])
try:
    scan_numba_kernels.compiled(0, True, "float32")
except ImportError as error:
    print(error)
"""
    if switched_off:
        program = program.replace('sys.modules["numba"] = None', "")
    first, second = run(program, **({"NUMBA_DISABLE_JIT": "1"} if switched_off else {})).splitlines()
    remedy = "unset NUMBA_DISABLE_JIT" if switched_off else "pip install numba"
    assert "numba" in first and first.endswith(f": {remedy}") and second == first
