# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Decides which weights decay in training."""

from __future__ import annotations

from torch import nn

from hf_minrnn.cells import MinRNNCell

# Decays and vectors of Mamba, HGRN and RWKV-7 that are stored as matrices.
NOT_MATRICES = ("A_log", "lower_bounds", "r_k")


def _without_decay(model: nn.Module, gates_decay: bool) -> set[int]:
    """Returns the ids of the weights that do not decay although they are matrices."""
    found = set()
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            found.add(id(module.weight))
        elif isinstance(module, MinRNNCell) and not gates_decay:
            found.add(id(module.in_proj.weight))
        elif (isinstance(module, nn.RNNBase) or _is_scans_mixer(module)) and not gates_decay:
            found |= {id(weight) for weight in module.parameters()}
    return found


def _is_scans_mixer(module: nn.Module) -> bool:
    """Returns whether a module is a recurrent layer of mingru-scans, which need not be installed."""
    kind = type(module)
    return kind.__module__ == "mingru.min_gru" and kind.__name__.endswith("MinGRU")


def parameter_groups(model: nn.Module, weight_decay: float, *, gates_decay: bool) -> list[dict]:
    """Returns the parameter groups of AdamW: weight matrices decay; embeddings, norms, biases and other vectors do not.

    Args:
        model (`nn.Module`): The model; its frozen parameters are left out.
        weight_decay (`float`): Weight decay of the matrices.
        gates_decay (`bool`): Whether the projections that compute gates decay too: `in_proj` of our cells, and all weights of
            `nn.GRU`, `nn.LSTM` and the layers of mingru-scans. They do not in the paper's experiments.

    Returns:
        `list[dict]`: The decaying group, then the other one; an empty group is left out.

    >>> groups = parameter_groups(nn.Sequential(nn.Embedding(3, 2), nn.Linear(2, 2)), 0.1, gates_decay=True)
    >>> [(group["weight_decay"], len(group["params"])) for group in groups]
    [(0.1, 1), (0.0, 2)]
    """
    without_decay = _without_decay(model, gates_decay)
    decaying = []
    others = []
    for name, weight in model.named_parameters():
        if not weight.requires_grad:
            continue
        # RWKV-7 stores vectors as (1, 1, width).
        is_matrix = weight.ndim == 2 or weight.squeeze().ndim >= 2
        decays = is_matrix and not name.endswith(NOT_MATRICES) and id(weight) not in without_decay
        if decays:
            decaying.append(weight)
        else:
            others.append(weight)
    groups = [{"params": decaying, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]
