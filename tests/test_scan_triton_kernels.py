# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The kernels compiled for a GPU ahead of time, as they would be launched, where there may be none: what they need there.

What they compute is tested in test_scan_triton.py.
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
REGISTERS = {"scan_fwd": 64, "scan_reduce": 64, "scan_step": 64, "scan_bwd": 96}
if importlib.util.find_spec("triton") and version("triton").startswith(("3.6", "3.7", "3.8")):
    REGISTERS = {kernel: limit + 8 for kernel, limit in REGISTERS.items()}  # the older compilers take a few more
ROOT = Path(__file__).parent.parent


@pytest.fixture
def compiled(tmp_path):
    """A function that compiles in a process of its own: this one may have imported triton as an interpreter."""

    def run(*jobs):
        command = [sys.executable, "-W", "ignore", "tests/triton_aot.py", *" / ".join(jobs).split()]
        env = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        env.pop("TRITON_INTERPRET", None)
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=env)
        assert done.returncode == 0, done.stderr[-4000:]
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

    return run


def check(kernels):
    assert kernels
    for found in kernels:
        assert found["spilled"] == 0 and found["registers"] <= REGISTERS[found["kernel"]], found


def test_registers_and_instructions(compiled):
    forward, backward, step = compiled(
        "forward mingru bfloat16 40,1024,2048", "backward mingru bfloat16 8,1024,2048", "step minlstm bfloat16 8,1,2048"
    )
    check([forward, backward, step])
    # One run of 16 steps of 64 channels in one warp, two channels a thread: a load for each part and step, a store for
    # each step, no barrier, and no mask, whose tests would show in the count of instructions.
    assert forward["tile"] == [1, 16, 64, 1] and forward["memory"] == {"LDG.E": 32, "STG.E": 16}
    assert forward["instructions_per_element"] < 25
    assert backward["tile"] == [4, 8, 32, 4] and backward["instructions_per_element"] < 64


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("cell", ["mingru", "minlstm", "minlstm_raw", "linear"])
def test_nothing_spills_at_any_size(cell, dtype, compiled):
    shapes = ("40,1024,2048", "8,1024,2048", "2,1024,2048", "1,131072,512")  # each row of the table; in chunks
    check(
        compiled(*(f"{direction} {cell} {dtype} {shape}" for direction in ("forward", "backward") for shape in shapes))
    )


@pytest.mark.slow
@pytest.mark.parametrize("features", ["mask+resets+reset_state", "mask+resets+packed+reset_state"])
def test_nothing_spills_with_masks_and_boundaries(features, compiled):
    batches = ("1",) if "packed" in features else ("40", "8", "2")
    kernels = compiled(
        *(
            f"{direction} minlstm bfloat16 {b},1024,2047 {features}"
            for direction in ("forward", "backward")
            for b in batches
        )
    )
    assert kernels and all(found["spilled"] == 0 and found["registers"] <= 168 for found in kernels), kernels
