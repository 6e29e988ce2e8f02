# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Models of the package flash-linear-attention, for comparisons on a GPU: HGRN, HGRN2, Gated DeltaNet, RWKV-7.

Their kernels need heads of 64 channels. So the width is a multiple of 64, and the width of the MLP makes up the remaining
parameters. The models have no dropout of their own; it is added where the other comparators have it.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from torch import nn

from training.common.widths import count, widest

HEAD = 64
# Name -> prefix of the classes in fla.models, and a function of the width that returns further fields of the configuration.
FLA = {
    "hgrn": ("HGRN", lambda width: {}),
    "hgrn2": ("HGRN2", lambda width: {"num_heads": width // HEAD, "expand_ratio": HEAD}),
    "gated-deltanet": (
        "GatedDeltaNet",
        lambda width: {"num_heads": width // HEAD, "head_dim": HEAD, "expand_v": 1.0},
    ),
    "rwkv7": ("RWKV7", lambda width: {"head_dim": HEAD}),
}


def missing_fla(device: str) -> str | None:
    """Returns why these models cannot run on a device, or `None` if they can."""
    if not device.startswith("cuda"):
        return "flash-linear-attention runs on a GPU only"
    if find_spec("fla") is None:
        return "flash-linear-attention is not installed: pip install flash-linear-attention"
    return None


class Comparator(nn.Module):
    """Maps token ids `(batch, time)` to logits `(batch, time, vocab_size)` with a causal language model of transformers.

    Args:
        model (`nn.Module`): The model, called with `input_ids` and `use_cache`.
        branches (`tuple[nn.Module, ...]`): Modules whose (first) output passes through dropout.
        dropout (`float`): Probability of dropout.
    """

    def __init__(self, model: nn.Module, branches: tuple[nn.Module, ...] = (), dropout: float = 0.0):
        super().__init__()
        self.model, self.dropout = model, dropout
        for branch in branches:
            branch.register_forward_hook(self._drop)

    def _drop(self, module, inputs, output):
        if not (self.training and self.dropout):
            return output
        if isinstance(output, tuple):
            return (F.dropout(output[0], self.dropout), *output[1:])
        return F.dropout(output, self.dropout)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.model(input_ids=input_ids, use_cache=False).logits


def wrapped(model: nn.Module, dropout: float) -> Comparator:
    """Wraps a model of fla.models, with dropout on the embedding and on the output of each branch."""
    kinds = ("attn", "mlp", "ffn")
    branches = [getattr(layer, kind) for layer in model.model.layers for kind in kinds if hasattr(layer, kind)]
    return Comparator(model, (model.get_input_embeddings(), *branches), dropout)


def make_fla(name: str) -> Callable:
    """Returns a function of a `comparators.Size` and of the number of parameters that makes a model.

    The function raises ImportError if the package is missing, and ValueError if there are too few parameters for one head or
    too few layers for RWKV-7.
    """
    prefix, extra = FLA[name]

    def make(size, parameters: int | None = None) -> nn.Module:
        if find_spec("fla") is None:
            raise ImportError(f"{name} needs flash-linear-attention: pip install flash-linear-attention")
        from fla import models

        def fresh(width: int, intermediate: int) -> nn.Module:
            config = getattr(models, f"{prefix}Config")(
                vocab_size=size.vocab_size,
                hidden_size=width,
                num_hidden_layers=size.num_layers,
                intermediate_size=intermediate,
                max_position_embeddings=size.max_length,
                initializer_range=size.initializer_range,
                fuse_cross_entropy=False,
                tie_word_embeddings=False,
                **extra(width),
            )
            return getattr(models, f"{prefix}ForCausalLM")(config)

        if name == "rwkv7" and size.num_layers < 2:
            raise ValueError("rwkv7 needs two layers or more: it divides by their number less one")
        width = max(HEAD, size.hidden_size // HEAD * HEAD)
        if parameters is None:
            return wrapped(fresh(width, 4 * width), size.dropout)
        with torch.device("meta"):
            fitting = [one for one in range(width, 0, -HEAD) if count(fresh(one, one)) <= parameters]
        if not fitting:
            raise ValueError(f"{name} of one head of {HEAD} channels has more than {parameters:,} parameters already")
        intermediate = widest(lambda intermediate: fresh(fitting[0], intermediate), parameters)
        return wrapped(fresh(fitting[0], intermediate), size.dropout)

    return make
