# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import pytest
import torch
from torch import nn

from hf_minrnn import MinRNNConfig, MinRNNForCausalLM
from hf_minrnn.cells import MinRNNCell
from training.common.comparators import COMPARATORS, build, missing
from training.common.weight_decay import parameter_groups

SIZE = {"vocab_size": 5, "hidden_size": 16, "num_layers": 2, "max_length": 40, "dropout": 0.1}


def names(model, groups):
    """Returns the names of the parameters of each group, by its weight decay."""
    by_id = {id(weight): name for name, weight in model.named_parameters()}
    return {group["weight_decay"]: [by_id[id(weight)] for weight in group["params"]] for group in groups}


def expected(model, weight_decay, decays):
    """Returns the same for a rule, a function of a parameter's name and the parameter."""
    found = {weight_decay: [], 0.0: []}
    for name, weight in model.named_parameters():
        found[weight_decay if decays(name, weight) else 0.0].append(name)
    return {decay: members for decay, members in found.items() if members}


@pytest.mark.parametrize("extra", [{}, {"conv": 4, "mlp": 4.0}], ids=["bare", "with convolution and MLP"])
@pytest.mark.parametrize("name", [name for name in COMPARATORS if missing(name, "cpu") is None])
def test_groups_of_every_comparator(name, extra):
    model = build(name, **SIZE, **extra)
    free = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    free |= {id(cell.in_proj.weight) for cell in model.modules() if isinstance(cell, MinRNNCell)}
    layers = [module for module in model.modules() if isinstance(module, nn.RNNBase)]
    if name.startswith("scans-"):
        layers = [block.mingru for block in model.model.stack.blocks]
    free |= {id(weight) for layer in layers for weight in layer.parameters()}

    def decays(name, weight):
        return weight.ndim >= 2 and id(weight) not in free and not name.endswith("A_log")

    assert names(model, parameter_groups(model, 0.05, gates_decay=False)) == expected(model, 0.05, decays)


@pytest.mark.parametrize("extra", [{}, {"learn_initial_state": True}, {"conv_kernel_size": 4}], ids=str)
@pytest.mark.parametrize("cell_type", ["mingru", "minlstm"])
@pytest.mark.parametrize("block", ["paper", "default"])
def test_groups_of_both_blocks(block, cell_type, extra):
    make = MinRNNConfig.paper if block == "paper" else MinRNNConfig
    model = MinRNNForCausalLM(make(cell_type=cell_type, vocab_size=9, hidden_size=16, num_hidden_layers=2, **extra))

    def decays(name, weight):
        return weight.ndim >= 2 and "embed_tokens" not in name and not (block == "paper" and ".in_proj." in name)

    groups = parameter_groups(model, 0.1, gates_decay=block != "paper")
    assert names(model, groups) == expected(model, 0.1, decays)


def test_frozen_parameters_are_left_out():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    model[0].requires_grad_(False)
    assert names(model, parameter_groups(model, 0.1, gates_decay=True)) == {0.1: ["1.weight"], 0.0: ["1.bias"]}


def test_projections_of_gates_do_not_decay():
    model = build("mingru", **SIZE, conv=4, mlp=2.0)
    decayed, free = parameter_groups(model, 0.05, gates_decay=False)
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.05, 0.0)
    names = {id(weight): name for name, weight in model.named_parameters()}
    assert len(names) == len(decayed["params"]) + len(free["params"])
    kinds = {names[id(weight)].split(".")[-2] for weight in decayed["params"]}
    assert kinds == {"depthwise", "pointwise", "out_proj", "up_proj", "down_proj", "lm_head"}
    mamba = build("mamba", **SIZE)
    freed = {id(weight) for weight in parameter_groups(mamba, 0.05, gates_decay=False)[1]["params"]}
    assert all(id(weight) in freed for name, weight in mamba.named_parameters() if name.endswith(("A_log", ".D")))
    assert any(id(weight) not in freed for name, weight in mamba.named_parameters() if "in_proj" in name)
    lstm = build("lstm", **SIZE)
    kept = {id(weight) for weight in parameter_groups(lstm, 0.05, gates_decay=False)[0]["params"]}
    names = {name.split(".")[-2] for name, weight in lstm.named_parameters() if id(weight) in kept}
    assert names == {"out_proj", "lm_head"}


def test_vectors_do_not_decay_whatever_their_shape():
    module = nn.Module()
    for name, shape in (
        ("x_r", (1, 1, 4)),
        ("r_k", (2, 2)),
        ("lower_bounds", (3, 4)),
        ("A_log", (4, 2)),
        ("w", (1, 4, 2)),
        ("b", (1, 4)),
    ):
        module.register_parameter(name, nn.Parameter(torch.ones(shape)))
    (decayed, _) = parameter_groups(module, 0.05, gates_decay=False)
    assert [id(weight) for weight in decayed["params"]] == [id(module.w), id(module.b)]
