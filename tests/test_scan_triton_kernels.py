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
# Registers of a thread, forward and backward, by kind of kernel: plain ones as they are meant to be, the others as triton 3.9
# makes them, up to the next multiple of 8, as registers are given out. One run (W = 1) has every step of its tile in
# registers, and flags for each step too; it is for so many channels that there are programs enough even so: 144 registers
# leave room for 14 warps on a multiprocessor, 96 for 21. Float64 takes two registers a number, may spill a few bytes, and is
# only run by name.
LIMITS = {"plain": (64, 96), "mask, one run": (104, 128), "mask": (80, 96)}
LIMITS |= {"boundaries, one run": (112, 144), "boundaries": (96, 96), "float64": (168, 160)}
SLACK = 8 if importlib.util.find_spec("triton") and not version("triton").startswith("3.9") else 0  # another compiler's
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


def check(kernels, kind="plain"):
    assert kernels
    for found in kernels:
        one_run = f"{kind}, one run"
        limits = LIMITS[one_run if found["tile"][0] == 1 and one_run in LIMITS else kind]
        assert found["spilled"] <= (16 if kind == "float64" else 0), found
        assert found["registers"] <= limits[found["kernel"] == "scan_bwd"] + SLACK, found


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


def jobs(cell, dtype, shapes, features=""):
    return [f"{what} {cell} {dtype} {shape} {features}".strip() for what in ("forward", "backward") for shape in shapes]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
@pytest.mark.parametrize("cell", ["mingru", "minlstm", "minlstm_raw", "linear"])
def test_nothing_spills_at_any_size(cell, dtype, compiled):
    shapes = ("40,1024,2048", "8,1024,2048", "2,1024,2048", "1,131072,512")  # each row of the table; in chunks
    step = f"step {cell} {dtype} 8,1,2048"
    check(compiled(*jobs(cell, dtype, shapes), step), "float64" if dtype == "float64" else "plain")


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
