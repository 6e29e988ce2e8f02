# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import torch

from hf_minrnn.gates import ScanSpec
from hf_minrnn.scan_reference import backward, forward


def test_a_scan_by_hand():
    """minGRU with gates of one half: h[t] = (h[t-1] + v[t]) / 2."""
    projected = torch.tensor([[[0.0, 4.0], [0.0, 2.0], [0.0, -3.0]]], dtype=torch.float64)
    spec = ScanSpec("mingru", "identity")
    h, final = forward(projected, torch.tensor([[8.0]]), None, None, None, None, spec)
    assert h.flatten().tolist() == [6.0, 4.0, 0.5] and final.tolist() == [[0.5]]
    grads = backward(
        torch.zeros_like(h), torch.ones(1, 1), projected, h, torch.tensor([[8.0]]), None, None, None, None, spec
    )
    # Candidates count 1/8, 1/4, 1/2; a gate moves its step by (v - h[t-1]) / 4.
    assert grads[0].flatten().tolist() == [-4 / 16, 1 / 8, -4 / 8, 1 / 4, -7 / 4, 1 / 2]
    assert grads[1].tolist() == [[1 / 8]]


def test_the_boundaries_by_hand():
    projected = torch.tensor([[[0.0, 4.0], [0.0, 2.0], [0.0, -3.0], [0.0, 1.0]]], dtype=torch.float64)
    spec, state = ScanSpec("mingru", "identity"), torch.tensor([[8.0], [2.0]], dtype=torch.float64)
    h, final = forward(projected, state, None, None, None, torch.tensor([0, 2, 4]), spec)
    assert h.flatten().tolist() == [6.0, 4.0, -0.5, 0.25] and final.tolist() == [[4.0], [0.25]]
    resets = torch.tensor([[False, True, False, False]])
    h, final = forward(projected, state[:1], None, resets, None, None, spec)
    assert h.flatten().tolist() == [6.0, 1.0, -1.0, 0.0]
    start, ones = torch.tensor([4.0], dtype=torch.float64), torch.ones(1, 4, 1)
    h, final = forward(projected, state[:1], None, resets, start, None, spec)
    assert h.flatten().tolist() == [6.0, 3.0, 0.0, 0.5]
    grads = backward(ones, torch.zeros(1, 1), projected, h, state[:1], None, resets, start, None, spec)
    assert grads[1].tolist() == [[1 / 2]] and grads[2].tolist() == [1 / 2 + 1 / 4 + 1 / 8]
    keep = torch.tensor([[True, False, False, True]])
    h, final = forward(projected, state[:1], keep, None, None, None, spec)
    assert h.flatten().tolist() == [6.0, 6.0, 6.0, 3.5]


def test_the_arguments_are_not_modified():
    projected, state, grad = torch.randn(2, 5, 6), torch.randn(2, 3), torch.randn(2, 5, 3)
    kept = [x.clone() for x in (projected, state, grad)]
    h, final = forward(projected, state, None, None, None, None, ScanSpec("mingru"))
    backward(grad, final, projected, h, state, None, None, None, None, ScanSpec("mingru"))
    for now, before in zip((projected, state, grad), kept, strict=True):
        assert torch.equal(now, before)
