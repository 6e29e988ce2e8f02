# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The models of the package do not run on a CPU: a stand-in of the same shape records how they are called."""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import nn

from training.common.comparators import build, missing
from training.common.fla_comparators import FLA
from training.common.widths import count

SIZE = {"vocab_size": 16, "hidden_size": 200, "num_layers": 2, "max_length": 32}


class Branch(nn.Sequential):
    def __init__(self, width, inner, tuples):
        super().__init__(nn.Linear(width, inner), nn.Linear(inner, width))
        self.tuples = tuples

    def forward(self, x):
        y = super().forward(x)
        return (y, None) if self.tuples else y


class Layer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.attn = Branch(config.hidden_size, config.hidden_size, True)
        self.mlp = Branch(config.hidden_size, config.intermediate_size, False)

    def forward(self, x):
        x = x + self.attn(x)[0]
        return x + self.mlp(x)


class StandIn(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config, self.embeddings = config, nn.Embedding(config.vocab_size, config.hidden_size)
        self.model = nn.Module()
        self.model.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.head = nn.Linear(config.hidden_size, config.vocab_size)

    def get_input_embeddings(self):
        return self.embeddings

    def forward(self, input_ids, use_cache):
        assert use_cache is False
        x = self.embeddings(input_ids)
        for layer in self.model.layers:
            x = layer(x)
        return SimpleNamespace(logits=self.head(x))


@pytest.fixture
def fla(monkeypatch):
    package, models = ModuleType("fla"), ModuleType("fla.models")
    package.__spec__, package.models = ModuleSpec("fla", None), models
    for prefix, _ in FLA.values():
        setattr(models, f"{prefix}Config", lambda **fields: SimpleNamespace(**fields))
        setattr(models, f"{prefix}ForCausalLM", StandIn)
    monkeypatch.setitem(sys.modules, "fla", package)
    monkeypatch.setitem(sys.modules, "fla.models", models)


@pytest.mark.parametrize("name", FLA)
def test_width_in_heads_and_the_rest_in_the_mlp(name, fla):
    model = build(name, **SIZE)
    assert model.model.config.hidden_size == 192 and model(torch.zeros(2, 5, dtype=torch.long)).shape == (2, 5, 16)
    for parameters in (60_000, 200_000, 500_000):
        model = build(name, parameters=parameters, **SIZE)
        config = model.model.config
        assert abs(count(model) / parameters - 1) < 0.05 and config.hidden_size % 64 == 0
        assert config.hidden_size <= config.intermediate_size or config.hidden_size == 64
        heads = getattr(config, "num_heads", config.hidden_size // 64)
        assert heads * 64 == config.hidden_size and config.max_position_embeddings == 32
    with pytest.raises(ValueError, match="one head of 64 channels has more than 1,000 parameters"):
        build(name, parameters=1000, **SIZE)


def test_rwkv7_needs_two_layers(fla):
    with pytest.raises(ValueError, match="rwkv7 needs two layers or more"):
        build("rwkv7", **SIZE | {"num_layers": 1})


def test_dropout_is_added(fla):
    model, ids = build("hgrn", dropout=0.5, **SIZE), torch.zeros(2, 5, dtype=torch.long)
    assert torch.equal(model.eval()(ids), model(ids)) and not torch.equal(model.train()(ids), model(ids))


def test_the_reason_is_given(monkeypatch):
    assert missing("rwkv7", "cpu") == "flash-linear-attention runs on a GPU only"
    monkeypatch.setattr("training.common.fla_comparators.find_spec", lambda name: None)
    assert missing("rwkv7", "cuda") == "flash-linear-attention is not installed: pip install flash-linear-attention"
    assert missing("gru", "cpu") is None
    with pytest.raises(ImportError, match="rwkv7 needs flash-linear-attention: pip install"):
        build("rwkv7", **SIZE)


def test_it_can_run_where_the_package_is(fla):
    assert missing("hgrn2", "cuda:1") is None
