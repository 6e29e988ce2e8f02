# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Every call of layer_cases.py on torch's layers and on ours: equal, or in the short list of what differs."""

import re

import layer_cases
import pytest
import torch

from hf_minrnn import MinGRU, MinLSTM


@pytest.fixture(scope="module")
def rows():
    return layer_cases.table_rows()


def test_what_differs_is_meant_to(rows):
    assert layer_cases.differing(rows) == set(layer_cases.DIFFERENCES)


def test_the_table_is_what_is_found(rows):
    text = layer_cases.TABLE.read_text(encoding="utf-8")
    (version,) = re.findall(r"by torch ([\d.]+) on", text)
    if version != layer_cases.torch_version():
        pytest.skip(f"the table has torch {version}'s words, and this is {layer_cases.torch_version()}")
    assert text == layer_cases.render(rows), "run: python tests/layer_cases.py"


def test_a_difference_is_seen(monkeypatch):
    call = "L(3, 4)(x)"
    monkeypatch.setattr(layer_cases, "CALLS", {"Input": [call]})
    assert layer_cases.differing(layer_cases.table_rows()) == set()
    monkeypatch.setattr(MinGRU, "forward", lambda self, x: (x, x))
    assert layer_cases.differing(layer_cases.table_rows()) == {call}
    assert "(5,2,3), (5,2,3)" in layer_cases.render(layer_cases.table_rows())


@pytest.mark.parametrize("kind", [MinGRU, MinLSTM])
def test_the_associative_backend_has_every_derivative(kind):
    layer, x = kind(3, 4, backend="associative", dtype=torch.float64), torch.randn(5, 2, 3, dtype=torch.float64)
    assert layer_cases.second_derivative(layer, x).abs().sum() > 0
    eps = 1e-6
    want = (layer(x + eps)[0] - layer(x - eps)[0]) / (2 * eps)
    assert torch.allclose(layer_cases.forward_mode(layer, x), want, atol=1e-7)
    assert layer_cases.per_sample_gradients(layer, x)


@pytest.mark.parametrize("kind", [MinGRU, MinLSTM])
def test_weights_are_drawn_as_at_the_start(kind):
    torch.manual_seed(0)
    layer = kind(3, 4, 2, bidirectional=True, gate_bias=2.0)
    start = [w.clone() for w in layer.parameters()]
    torch.manual_seed(0)
    layer.reset_parameters()
    assert all(torch.equal(w, old) for w, old in zip(layer.parameters(), start))
    listed = [w for weights in layer.all_weights for w in weights]
    assert len(layer.all_weights) == 4 and all(one is other for one, other in zip(listed, layer.parameters()))


def test_an_input_of_another_dtype_is_refused_unless_autocast_converts_it():
    layer, x = MinGRU(3, 4), torch.randn(5, 2, 3)
    with pytest.raises(ValueError, match=r"input.to\(torch.float32\), or layer.to\(torch.bfloat16\)"):
        layer(x.bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        want, _ = layer(x.bfloat16())
        got = torch.compile(layer, fullgraph=True, backend="eager")(x.bfloat16())[0]
    assert want.dtype == torch.bfloat16 and torch.equal(got, want)
