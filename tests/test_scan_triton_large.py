# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Tests of the GPU kernels that are too large for triton's interpreter or need CUDA graphs."""

import pytest
import torch
from support.definition import relative_error, run_with_gradients
from support.scan_cases import Case, move_to, poisoned

from hf_minrnn import scan_triton
from hf_minrnn.gates import ScanSpec
from hf_minrnn.scan import minrnn_scan, scan_step

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]

LARGE = [
    (Case("mingru", "g", 2, 1000, 65, 0.5), torch.float32),
    (Case("minlstm", "identity", 8, 300, 2048, -1.0), torch.bfloat16),
    (Case("minlstm", "g", 40, 129, 2048, -0.5), torch.float32),
    (Case("mingru", "identity", 40, 130, 2048, feature="mask+resets+reset_state"), torch.bfloat16),
    (Case("minlstm_raw", "g", 1, 20011, 200, feature="mask+resets_rare+packed+reset_state"), torch.float32),
    (Case("mingru", "g", 1, 20011, 256, -1.0), torch.float16),
]


@pytest.mark.parametrize("case, dtype", LARGE, ids=str)
def test_large_shapes_on_a_gpu(case, dtype):
    """Uses the shipped tiles, and compares with the default backend in float64."""
    projected, state, features = move_to("cuda", *case.inputs(dtype))
    with poisoned():
        got = run_with_gradients(
            minrnn_scan, projected, case.cell_type, state, backend="triton", **case.options, **features
        )
    features = {name: x.double() if x.is_floating_point() else x for name, x in features.items()}
    args = (projected.double(), case.cell_type, state.double())
    want = run_with_gradients(minrnn_scan, *args, backend="torch", **case.options, **features)
    for name in want:
        assert relative_error(got[name], want[name]) < max(2 * torch.finfo(dtype).eps, 5e-5), name


@pytest.mark.parametrize("channels", [64, 4096])
@pytest.mark.parametrize("floor, gate, limit", [(0.0, -15.0, 1e-4), (-1.0, -15.0, 1e-4), (-1.0, 7.6, 1e-3)])
def test_a_long_memory_on_a_gpu(floor, gate, limit, channels):
    """Over 100,000 steps: 1 - decay is carried, as a decay near 1 would round to 1. A decay near -1 is rounded."""
    projected = torch.randn(1, 100_000, 2 * channels, device="cuda")
    projected[..., :channels] += gate
    options = {"candidate_activation": "identity", "forget_gate_floor": floor}
    got, _ = minrnn_scan(projected, "mingru", **options, backend="triton")
    want, _ = minrnn_scan(projected.double(), "mingru", **options, backend="torch")
    assert (got - want).abs().max() < limit * want.abs().max()


def test_a_step_in_a_cuda_graph():
    projected, state = torch.randn(4, 200, device="cuda", dtype=torch.bfloat16), torch.zeros(4, 100, device="cuda")
    spec = ScanSpec("mingru")
    scan_triton.step_(projected, state, spec)  # compiles
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        h = scan_triton.step_(projected, state, spec)
    want = state.zero_().clone()
    for _ in range(3):
        projected.normal_()
        graph.replay()
        rounded, want = scan_step(projected, want, spec)
        torch.testing.assert_close(state, want)
        torch.testing.assert_close(h, rounded)
