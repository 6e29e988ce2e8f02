# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Compares torch's layers with ours for every call of layer_calls.py. All differences are listed there."""

import copy
import re

import pytest
import torch
from support import layer_cases

from hf_minrnn import MinGRU, MinLSTM


@pytest.fixture(scope="module")
def rows():
    return layer_cases.table_rows()


def test_only_listed_calls_differ(rows):
    assert layer_cases.differing(rows) == set(layer_cases.DIFFERENCES)


def test_the_committed_table_is_current(rows):
    text = layer_cases.TABLE.read_text(encoding="utf-8")
    (version,) = re.findall(r"by torch ([\d.]+) on", text)
    if version != layer_cases.torch_version():
        pytest.skip(f"the table is for torch {version}; this is {layer_cases.torch_version()}")
    assert text == layer_cases.render(rows), "run: PYTHONPATH=tests python -m support.layer_cases"


def test_a_difference_is_detected(monkeypatch):
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
    assert torch.allclose(layer_cases.forward_mode_derivative(layer, x), want, atol=1e-7)
    assert layer_cases.per_sample_gradients(layer, x)


@pytest.mark.parametrize("kind", [MinGRU, MinLSTM])
def test_reset_parameters_repeats_the_initialization(kind):
    torch.manual_seed(0)
    layer = kind(3, 4, 2, bidirectional=True, gate_bias=2.0)
    start = [w.clone() for w in layer.parameters()]
    torch.manual_seed(0)
    layer.reset_parameters()
    assert all(torch.equal(w, old) for w, old in zip(layer.parameters(), start))
    listed = [w for weights in layer.all_weights for w in weights]
    assert len(layer.all_weights) == 4 and all(one is other for one, other in zip(listed, layer.parameters()))


def test_an_input_of_another_dtype_is_rejected_unless_autocast_converts_it():
    layer, x = MinGRU(3, 4), torch.randn(5, 2, 3)
    with pytest.raises(ValueError, match=r"input.to\(torch.float32\), or layer.to\(torch.bfloat16\)"):
        layer(x.bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        want, _ = layer(x.bfloat16())
        got = torch.compile(layer, fullgraph=True, backend="eager")(x.bfloat16())[0]
    assert want.dtype == torch.bfloat16 and torch.equal(got, want)


WRONG_DTYPES = {  # dtype of the input, dtype of the weights
    "bfloat16": (torch.bfloat16, torch.float32),
    "double": (torch.float64, torch.bfloat16),
    "int64": (torch.int64, torch.float32),
    "bool": (torch.bool, torch.float64),
    "float8": (torch.float8_e4m3fn, torch.float32),
    "complex64": (torch.complex64, torch.float32),
    "complex128": (torch.complex128, torch.complex128),
    "real-in-complex": (torch.float32, torch.complex64),
}


@pytest.mark.filterwarnings("ignore:Complex modules", "ignore:Casting complex")
@pytest.mark.parametrize("kind", [MinGRU, MinLSTM])
@pytest.mark.parametrize("dtype, weights", WRONG_DTYPES.values(), ids=WRONG_DTYPES)
def test_each_remedy_in_the_error_of_a_wrong_dtype_works(kind, dtype, weights):
    layer, input = kind(3, 4).to(weights), torch.ones(5, 2, 3).to(dtype)
    with pytest.raises(ValueError, match=f"input is {dtype}") as error:
        layer(input)
    remedies = str(error.value).partition("use ")[2].partition(", which")[0].split(", or ")
    for remedy in remedies:
        result = eval(remedy, {"torch": torch, "input": input, "layer": copy.deepcopy(layer)})
        if isinstance(result, torch.Tensor):
            features = result.shape[-1]
            assert (layer if features == 3 else kind(features, 4).to(result.dtype))(result)[0].shape == (5, 2, 4)
        else:
            assert result(input)[0].shape == (5, 2, 4)
    assert len(remedies) == (2 if dtype in (torch.bfloat16, torch.float64) else 1)


def test_dtypes_that_autocast_does_not_convert_are_rejected():
    with torch.autocast("cpu", torch.bfloat16):
        assert MinGRU(3, 4)(torch.ones(5, 2, 3).half())[0].dtype == torch.bfloat16
        with pytest.raises(ValueError, match=r"input is torch.float64"):
            MinGRU(3, 4)(torch.ones(5, 2, 3).double())
        with pytest.raises(ValueError, match=r"use input.to\(torch.float32\)$"):
            MinGRU(3, 4)(torch.ones(5, 2, 3).long())
