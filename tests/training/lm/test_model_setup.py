# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The parameters to which weight decay applies."""

import pytest
from support.train_cases import TINY

from training.common.weight_decay import parameter_groups
from training.lm.model_setup import build_model
from training.lm.options import parse_arguments
from training.lm.tokenization import build_tokenizer


@pytest.fixture(scope="module")
def tiny_model():
    tokenizer = build_tokenizer("bytes", [])
    return build_model(parse_arguments([*TINY, "--tokenizer", "bytes"]), tokenizer).eval()


def test_weight_decay_is_for_matrices(tiny_model):
    decayed, free = parameter_groups(tiny_model, 0.1, gates_decay=True)
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.1, 0.0)
    names = {id(parameter): name for name, parameter in tiny_model.named_parameters()}
    assert len(decayed["params"]) + len(free["params"]) == len(names)
    assert all(parameter.ndim >= 2 for parameter in decayed["params"])
    embeddings = [names[id(parameter)] for parameter in free["params"] if parameter.ndim >= 2]
    assert embeddings == ["model.embed_tokens.weight"]
    gates = {name for name in names.values() if ".in_proj." in name and name.endswith("weight")}
    assert gates
    paper = {names[id(parameter)] for parameter in parameter_groups(tiny_model, 0.1, gates_decay=False)[0]["params"]}
    assert paper == {names[id(parameter)] for parameter in decayed["params"]} - gates
