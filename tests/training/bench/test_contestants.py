# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import pytest
import torch
from support.definition import define, relative_error

from training.bench import contestants


@pytest.mark.parametrize("name", ["minGRU", "minGRU-pytorch", "associative_scan, compiled"])
def test_the_same_weights_give_the_same_minGRU(name):
    pytest.importorskip(
        next((package for prefix, package in contestants.PACKAGES.items() if name.startswith(prefix)), "torch")
    )
    make = contestants.AssociativeScan if "associative" in name else contestants.LAYERS[name]
    x = torch.randn(2, 9, 6, generator=torch.Generator().manual_seed(0))
    projected = x.double() @ torch.cat(contestants.gate_weights(6)).double().T
    want, _ = define(projected, "mingru")
    with torch.no_grad():
        got = torch.compile(make(6), backend="eager")(x) if "associative" in name else make(6)(x)
    assert relative_error(got, want) < 1e-5


@pytest.mark.parametrize("name", ["minLSTM", "nn.GRU", "nn.LSTM", "Mamba"])
def test_layers_keep_the_shape(name):
    x = torch.randn(2, 5, 8)
    assert contestants.LAYERS[name](8)(x).shape == x.shape


def test_what_is_left_out(monkeypatch):
    large, small = (8, 512, 512), (1, 512, 256)
    assert "GPU" in contestants.left_out("HGRN, chunk", small, "cpu") or "not installed" in contestants.left_out(
        "HGRN, chunk", small, "cpu"
    )
    assert contestants.left_out("Mamba", small, "cpu") is None and "loop" in contestants.left_out("Mamba", large, "cpu")
    assert contestants.left_out("Mamba", large, "cuda") is None
    assert all(contestants.left_out(name, large, "cpu") is None for name in ("minGRU", "nn.GRU", "matmul of minLSTM"))
    monkeypatch.setattr(contestants, "find_spec", lambda name: object())
    assert "reads beyond" in contestants.left_out("accelerated-scan", small, "cuda")
    assert contestants.left_out("accelerated-scan", (1, 4096, 8), "cuda") is None
    monkeypatch.setattr(contestants, "find_spec", lambda name: None)
    assert contestants.left_out("minGRU-pytorch, compiled", small, "cpu") == "minGRU_pytorch is not installed"
