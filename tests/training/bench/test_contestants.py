# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import pytest
import torch
from support.definition import defined_scan, relative_error

from training.bench import contestants


@pytest.mark.parametrize("name", ["minGRU", "minGRU, log-space", "minGRU-pytorch", "associative_scan, compiled"])
def test_the_same_weights_give_the_same_minGRU(name):
    pytest.importorskip(contestants.LAYERS[name].package or "torch")
    make = contestants.LAYERS[name].make
    if "associative" in name:
        make = contestants.mingru_with(contestants.associative_scan)
    x = torch.randn(2, 9, 6, generator=torch.Generator().manual_seed(0))
    projected = x.double() @ torch.cat(contestants.gate_weights(6)).double().T
    want, _ = defined_scan(projected, "mingru")
    with torch.no_grad():
        got = torch.compile(make(6), backend="eager")(x) if "associative" in name else make(6)(x)
    assert relative_error(got, want) < 1e-5


@pytest.mark.parametrize("name", ["minLSTM", "nn.GRU", "nn.LSTM", "Mamba"])
def test_layers_keep_the_shape(name):
    x = torch.randn(2, 5, 8)
    assert contestants.LAYERS[name].make(8)(x).shape == x.shape


def test_contestants_that_are_left_out(monkeypatch):
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


@pytest.mark.parametrize("registry", ["SCANS", "LAYERS", "MODULES", "MODELS"])
def test_references_are_contestants_of_the_same_kind(registry):
    entries = getattr(contestants, registry)
    assert {entry.same_as for entry in entries.values()} <= {None, *entries}
    assert all(min(entry.limits) > 0 for entry in entries.values())


@pytest.mark.parametrize("name", contestants.MODELS)
def test_models_have_the_requested_size(name, monkeypatch):
    pytest.importorskip(contestants.MODELS[name].package or "torch")
    model = contestants.models_of_size([name], 20_000, 16, 50)[name]
    assert abs(contestants.count(model) - 20_000) < 5_000
    monkeypatch.setattr(contestants, "find_spec", lambda package: None)
    assert list(contestants.models_of_size([name], 20_000, 16, 50)) == [name] * (
        contestants.MODELS[name].package is None
    )
