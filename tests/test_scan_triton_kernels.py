# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Registers, spills and instructions of the GPU kernels, compiled ahead of time as they would be launched, without a GPU.

test_scan_triton.py tests the results.
"""

import importlib.util
import json
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="triton's tools for NVIDIA"),
]
# Registers of a thread, forward and backward, by kind of kernel: those of the tiles that were the fastest on an H100, the
# larger of triton 3.6 and 3.9, rounded up to a multiple of 8. Float64 takes two registers a number and only runs on request.
LIMITS = {"plain": (96, 224), "mask": (80, 152), "boundaries": (96, 160), "float64": (168, 256)}
# Bytes that may spill: none, except a few in one tile of the cell that is not normalised, with triton 3.9.
SPILLED = {"minlstm_raw": 16, "float64": 64}
TRIED = ("3.6.", "3.9.")
SLACK = (
    8 if importlib.util.find_spec("triton") and not version("triton").startswith(TRIED) else 0
)  # for other compilers
ROOT = Path(__file__).parent.parent


@pytest.fixture
def compiled(tmp_path):
    """A function that compiles in another process: this one may have imported triton as an interpreter."""

    def run(*jobs):
        command = [sys.executable, "-W", "ignore", "-m", "support.triton_aot", *" / ".join(jobs).split()]
        env = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        env.pop("TRITON_INTERPRET", None)
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=env)
        assert done.returncode == 0, done.stderr[-4000:]
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

    return run


def check(kernels, kind="plain", cell=None):
    assert kernels
    for found in kernels:
        assert found["spilled"] <= SPILLED.get(kind, SPILLED.get(cell, 0)), found
        back = found["kernel"] in ("scan_bwd", "scan_reduce")  # scan_reduce folds gradients too
        assert found["registers"] <= LIMITS[kind][back] + SLACK, found


def test_registers_and_instructions(compiled):
    forward, backward, step = compiled(
        "forward mingru bfloat16 40,1024,2048", "backward mingru bfloat16 8,1024,2048", "step minlstm bfloat16 8,1,2048"
    )
    check([forward, backward, step])
    # One run of 8 steps of 128 channels in one warp, four channels a thread: a copy of 8 bytes into shared memory for each
    # part and step of a later tile, a store of 8 bytes for each step, no direct reads, and no mask, whose tests would increase
    # the count of instructions.
    copies = {name: count for name, count in forward["memory"].items() if name.startswith(("LDG.", "LDGSTS", "STG"))}
    assert forward["tile"] == [1, 8, 128, 1] and list(copies.values()) == [16, 8], copies
    assert all(name.startswith(kind) and name.endswith("64") for name, kind in zip(copies, ("LDGSTS", "STG"))), copies
    assert forward["instructions_per_element"] < 24
    assert backward["tile"] == [2, 8, 64, 2] and backward["instructions_per_element"] < 64


def jobs(cell, dtype, shapes, features=""):
    return [f"{what} {cell} {dtype} {shape} {features}".strip() for what in ("forward", "backward") for shape in shapes]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
@pytest.mark.parametrize("cell", ["mingru", "minlstm", "minlstm_raw", "linear"])
def test_nothing_spills_at_any_size(cell, dtype, compiled):
    shapes = ("40,1024,2048", "8,1024,2048", "2,1024,2048", "1,131072,512")  # each row of the table; in chunks
    step = f"step {cell} {dtype} 8,1,2048"
    check(compiled(*jobs(cell, dtype, shapes), step), "float64" if dtype == "float64" else "plain", cell)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
@pytest.mark.parametrize("features", ["mask", "mask+resets+reset_state", "mask+resets+packed+reset_state"])
def test_nothing_spills_with_masks_and_boundaries(features, dtype, compiled):
    # Channels that no block divides; each row of the table.
    shapes = ["1,1024,2047"] if "packed" in features else ["40,1024,2047", "9,1024,2047", "2,1024,2047"]
    cells = ("mingru", "minlstm", "minlstm_raw")
    kernels = compiled(*(job for cell in cells for job in jobs(cell, dtype, shapes, features)))
    kind = "mask" if features == "mask" else "boundaries"
    check(kernels, "float64" if dtype == "float64" else kind)
