# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Tiles of the default backend: however time is cut, the results are those of the definition."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.definition import assert_runs_close, run_with_gradients
from support.scan_cases import TOLERANCES, Case, expected, feature_cases

from hf_minrnn import scan_torch
from hf_minrnn.scan import minrnn_scan
from hf_minrnn.scan_torch import tiles

# (elements of a vectorised step, steps of a chunk, channels from which time is not cut, elements of a tile): at the 37
# steps and 5 channels of the cases, three rows or one.
TILINGS = {
    "pairs": (30, 2, 1000, 1 << 18),
    "triples": (60, 3, 1000, 1 << 18),
    "one tile": (1 << 15, 4, 1 << 15, 1 << 18),
    "chunks of one": (45, 1, 1000, 1 << 18),
    "plain, short tiles": (1 << 15, 16, 1, 60),
    "plain, one tile": (1 << 15, 16, 1, 1 << 18),
    "plain, single steps": (1 << 15, 16, 1, 1),
}


@pytest.fixture(params=TILINGS.values(), ids=TILINGS)
def tiling(request, monkeypatch):
    step_elements, length, plain, tile = request.param
    monkeypatch.setattr(scan_torch, "STEP_ELEMENTS", {"cpu": step_elements})
    monkeypatch.setattr(scan_torch, "CHUNK_LENGTH", length)
    monkeypatch.setattr(scan_torch, "PLAIN_ELEMENTS", {"cpu": plain})
    monkeypatch.setattr(scan_torch, "TILE_ELEMENTS", tile)


@pytest.mark.parametrize("dtype", TOLERANCES, ids=lambda dtype: str(dtype)[6:])
@pytest.mark.parametrize("case", [Case("mingru", "g", 3, 37, 5), *feature_cases()], ids=str)
def test_any_tiling(case, dtype, tiling):
    projected, state, features = case.inputs(dtype)
    got = run_with_gradients(minrnn_scan, projected, case.cell_type, state, backend="torch", **case.options, **features)
    assert_runs_close(got, expected(case), *TOLERANCES[dtype])


def test_any_tiling_in_bfloat16(tiling):
    """The state is carried in float32 from tile to tile, so the tiling only affects the last bit."""
    case = Case("minlstm", "identity", 3, 37, 5)
    projected, state, _ = case.inputs(torch.bfloat16)
    got = run_with_gradients(minrnn_scan, projected, case.cell_type, state, backend="torch", **case.options)
    want = run_with_gradients(
        minrnn_scan, projected.float(), case.cell_type, state.float(), backend="reference", **case.options
    )
    torch.testing.assert_close(got["final"], want["final"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(got["h"].float(), want["h"], rtol=2**-8 * 1.01, atol=1e-6)


@given(st.integers(0, 5000), st.integers(0, 20000), st.sampled_from(["cpu", "cuda"]))
def test_tiles_cover_time_once_and_in_order(time, width, device_type):
    at = 0
    for begin, chunks, length in tiles(time, width, device_type):
        assert begin == at and chunks >= 1 and length >= 1
        at += chunks * length
    assert at == time


def test_tiles_are_near_their_intended_size():
    for width in (1, 100, 2049, 6143, 6144, 100_000):
        for _, chunks, length in tiles(4000, width):
            assert chunks == 1 or chunks * width <= scan_torch.STEP_ELEMENTS["cpu"]
            assert length == 1 or length * width * chunks <= 2 * max(
                scan_torch.TILE_ELEMENTS, scan_torch.STEP_ELEMENTS["cpu"] * scan_torch.CHUNK_LENGTH
            )
