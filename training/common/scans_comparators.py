# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Models of the package mingru-scans (import name `mingru`): minGRU with transitions that change sign, rotate or reflect.

Each is the package's own stack of blocks between an embedding and a head. Its sizes are those of the package's benchmark: delta
mixers have 4 heads with a state of 16 x 16, Givens mixers have blocks of 8 channels. The MLP of a block is as wide as asked
for, which the package allows only in multiples of the width of the block. So the number of parameters can be met.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib import metadata
from types import SimpleNamespace

import torch
from torch import nn

from training.common.fla_comparators import Comparator

DELTA = {"n_heads": 4, "d_k": 16, "d_v": 16}
# Name -> mixers of the first blocks and of the last one, options of the last mixer, number that the width is a multiple of.
SCANS = {
    "scans-log": ("log", "log", {}, 1),
    "scans-coupled": ("signed", "signed", {"coupled": True}, 1),
    "scans-signed": ("signed", "signed", {}, 1),
    "scans-rotation": (None, "rotation", {}, 2),  # one block: the package does not recommend more than one
    "scans-signed-rotation": ("signed", "rotation", {}, 2),
    "scans-givens": ("givens", "givens", {}, 8),
    "scans-signed-givens": ("signed", "givens", {}, 8),
    "scans-delta": ("delta", "delta", {**DELTA, "nh": 2}, 1),
    "scans-signed-delta": ("signed", "delta", {**DELTA, "nh": 2}, 1),
    "scans-signed-delta-4": ("signed", "delta", {**DELTA, "nh": 4}, 1),
}


def missing_scans(device: str) -> str | None:
    """Returns why these models cannot run on a device, or `None` if they can."""
    try:
        metadata.version("mingru-scans")
    except metadata.PackageNotFoundError:
        return 'mingru-scans is not installed: run pip install -e ".[ecosystem]"'
    return None


class ScansModel(nn.Module):
    """A stack of mingru-scans between an embedding and a head, called as a causal language model of transformers is."""

    def __init__(self, stack: nn.Module, width: int, vocab_size: int):
        super().__init__()
        self.embed_tokens = nn.Embedding(vocab_size, width)
        self.stack = stack
        self.lm_head = nn.Linear(width, vocab_size)

    def forward(self, input_ids: torch.Tensor, use_cache: bool = False) -> SimpleNamespace:
        return SimpleNamespace(logits=self.lm_head(self.stack(self.embed_tokens(input_ids))[0]))


def allowed_width(name: str, width: int) -> int:
    """Returns the width, rounded down to one that the mixers of a model allow.

    >>> allowed_width("scans-givens", 30), allowed_width("scans-givens", 3)
    (24, 8)
    """
    multiple = SCANS[name][3]
    return max(multiple, width // multiple * multiple)


def make_stack(name: str, inputs: int, width: int, num_layers: int, mlp: int, **more) -> nn.Module:
    """Returns a stack of the package.

    Args:
        name (`str`): Key of `SCANS`.
        inputs (`int`): Features of the input.
        width (`int`): Width of the blocks.
        num_layers (`int`): Number of blocks. "scans-rotation" always has one.
        mlp (`int`): Width of the MLPs; 0 for none.
        more: Further options of every mixer.

    Raises:
        ImportError: The package is missing.
        ValueError: The model has two kinds of mixers, and there is one block.
    """
    reason = missing_scans("cpu")
    if reason:
        raise ImportError(reason)
    from mingru import MinGRUStack

    first, last, options, _ = SCANS[name]
    if first is None:
        num_layers = 1
    if num_layers == 1 and first not in (None, last):
        raise ValueError(f"{name} needs two layers or more: the last one has another mixer than the others")
    mixers = [*[first] * (num_layers - 1), last]
    kinds = {mixer: {**(options if mixer == last else {}), **more} for mixer in mixers}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a second block with rotations
        stack = MinGRUStack(inputs, width, num_layers, int(mlp > 0), 0.0, mixer=mixers, mixer_kwargs=kinds)
    if mlp:
        for block in stack.blocks:
            block.mlp = nn.Sequential(nn.Linear(width, mlp), nn.GELU(), nn.Linear(mlp, width))
    return stack


def make_scans(name: str) -> Callable:
    """Returns a function of a `comparators.Size` that makes a model; it raises what `make_stack` raises."""

    def make(size) -> nn.Module:
        width = allowed_width(name, size.hidden_size)
        mlp = round(size.mlp * size.hidden_size)  # the width before rounding allows finer steps
        stack = make_stack(name, width, width, size.num_layers, mlp)
        model = ScansModel(stack, width, size.vocab_size)
        branches = [branch for block in stack.blocks for branch in (block.mingru, block.mlp) if branch is not None]
        return Comparator(model, (model.embed_tokens, *branches), size.dropout)

    return make
