# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Sequence models behind one interface: token ids to logits, at a given number of parameters.

Each model is a stack of residual blocks between an embedding and a head. The head of GPT-2 is tied to the embedding, as
nanoGPT's is; the others have a head of their own. In all models the embedding and each term added to the residual stream pass
through dropout. A further model is one more entry of `COMPARATORS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from hf_minrnn import MinRNNConfig, MinRNNForCausalLM
from training.common.fla_comparators import FLA, Comparator, make_fla, missing_fla
from training.common.scans_comparators import SCANS, make_scans, missing_scans
from training.common.widths import count, widest

SIGNED = {"forget_gate_floor": "signed", "learn_initial_state": True}  # the setting for state tracking
TOLERANCE = 0.05  # largest relative difference of the number of parameters


@dataclass(frozen=True)
class Size:
    """The size of a model.

    Args:
        vocab_size (`int`): Number of tokens of the input and the output.
        hidden_size (`int`): Width of the residual stream.
        num_layers (`int`): Number of blocks.
        max_length (`int`): Length of the longest row that the model will read.
        expansion (`float`): Channels of the recurrent state per unit of `hidden_size`, for the paper's block, GRU and LSTM. Our
            default block has twice as many.
        dropout (`float`): Dropout of the embedding and of the output of each branch.
        conv (`int`): Steps that the convolution of our blocks, GRU and LSTM sees; 0 for none.
        mlp (`float`): Width of the MLP of our blocks, GRU and LSTM per unit of `hidden_size`; 0 for none. That of our default
            block is `(mlp - 2 * expansion) * 2 / 3` wide: it has a third matrix, and the wider state takes the rest.
        initializer_range (`float`): Standard deviation of fresh weight matrices, except those of Mamba and mingru-scans.
    """

    vocab_size: int
    hidden_size: int
    num_layers: int
    max_length: int
    expansion: float = 1.0
    dropout: float = 0.0
    conv: int = 0
    mlp: float = 0.0
    initializer_range: float = 0.02


class TorchMixer(nn.Module):
    """A recurrent layer of torch.nn and an output projection, in place of our mixer."""

    def __init__(self, layer: type, config: MinRNNConfig):
        super().__init__()
        self.rnn = layer(config.hidden_size, config.state_size, batch_first=True)
        self.out_proj = nn.Linear(config.state_size, config.hidden_size)

    def forward(self, hidden_states, *carried):
        return self.out_proj(self.rnn(hidden_states)[0]), None, None


def _paper(cell_type: str, size: Size) -> MinRNNConfig:
    return MinRNNConfig.paper(
        cell_type,
        vocab_size=size.vocab_size,
        hidden_size=size.hidden_size,
        num_hidden_layers=size.num_layers,
        expand_ratio=size.expansion,
        conv_kernel_size=size.conv,
        intermediate_size=round(size.mlp * size.hidden_size),
        dropout=size.dropout,
        initializer_range=size.initializer_range,
    )


def paper_block(cell_type: str) -> Callable[[Size], nn.Module]:
    """Returns a function that makes the paper's block around minGRU or minLSTM."""
    return lambda size: Comparator(MinRNNForCausalLM(_paper(cell_type, size)))


def default_block(cell_type: str, **options: Any) -> Callable[[Size], nn.Module]:
    """Returns a function that makes this project's block; its sizes relate to the paper's as the defaults do.

    Args:
        cell_type (`str`): "mingru" or "minlstm".
        options: Further fields of `MinRNNConfig`.
    """

    def make(size: Size) -> nn.Module:
        mlp = max(0.0, size.mlp - 2 * size.expansion)
        config = MinRNNConfig(
            cell_type=cell_type,
            vocab_size=size.vocab_size,
            hidden_size=size.hidden_size,
            num_hidden_layers=size.num_layers,
            expand_ratio=2 * size.expansion,
            conv_kernel_size=size.conv,
            intermediate_size=round(mlp * size.hidden_size * 2 / 3),
            dropout=size.dropout,
            initializer_range=size.initializer_range,
            tie_word_embeddings=False,
            **options,
        )
        return Comparator(MinRNNForCausalLM(config))

    return make


def torch_block(layer: type) -> Callable[[Size], nn.Module]:
    """Returns a function that makes the paper's block around `nn.GRU` or `nn.LSTM`."""

    def make(size: Size) -> nn.Module:
        model = MinRNNForCausalLM(_paper("mingru", size))
        for block in model.model.layers:
            block.mixer = TorchMixer(layer, model.config)
        return Comparator(model)

    return make


def _heads(width: int) -> tuple[int, int]:
    """Returns the number of heads, of about 64 channels, and the width rounded down so that each has an even number."""
    heads = max(1, width // 64)
    return heads, max(2, width - width % (2 * heads))


def gpt2(size: Size) -> nn.Module:
    """Returns transformers' GPT-2, a Transformer with learned positions and GELU, as nanoGPT has it."""
    from transformers import GPT2Config, GPT2LMHeadModel

    heads, width = _heads(size.hidden_size)
    config = GPT2Config(
        vocab_size=size.vocab_size,
        n_positions=size.max_length,
        n_embd=width,
        n_inner=4 * size.hidden_size,  # the width before rounding allows finer steps
        n_layer=size.num_layers,
        n_head=heads,
        embd_pdrop=size.dropout,
        resid_pdrop=size.dropout,
        attn_pdrop=size.dropout,
        initializer_range=size.initializer_range,
        bos_token_id=None,
        eos_token_id=None,
    )
    return Comparator(GPT2LMHeadModel(config))


def llama(size: Size) -> nn.Module:
    """Returns transformers' Llama, a Transformer with rotary positions and a gated MLP."""
    from transformers import LlamaConfig, LlamaForCausalLM

    heads, width = _heads(size.hidden_size)
    config = LlamaConfig(
        vocab_size=size.vocab_size,
        max_position_embeddings=size.max_length,
        hidden_size=width,
        intermediate_size=size.hidden_size * 8 // 3,  # the width before rounding allows finer steps
        num_hidden_layers=size.num_layers,
        num_attention_heads=heads,
        initializer_range=size.initializer_range,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = LlamaForCausalLM(config)
    branches = [branch for block in model.model.layers for branch in (block.self_attn, block.mlp)]
    return Comparator(model, (model.model.embed_tokens, *branches), size.dropout)


def mamba(size: Size) -> nn.Module:
    """Returns transformers' Mamba.

    Without its kernels, as on a CPU, it scans in plain torch if mambapy is installed, and otherwise loops over time in Python.
    """
    from transformers import MambaConfig, MambaForCausalLM
    from transformers.utils.import_utils import is_mambapy_available

    config = MambaConfig(
        vocab_size=size.vocab_size,
        hidden_size=size.hidden_size,
        num_hidden_layers=size.num_layers,
        use_mambapy=is_mambapy_available(),
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    model = MambaForCausalLM(config)
    branches = [block.mixer for block in model.backbone.layers]
    return Comparator(model, (model.backbone.embeddings, *branches), size.dropout)


@dataclass(frozen=True)
class Entry:
    """One comparator.

    Args:
        make: Function of a `Size` that returns the model. With `takes_parameters` also of the number of parameters that the
            model must have, or `None`.
        state_from_size (`bool`): Whether `Size.expansion` decides how many channels its state has.
        any_length (`bool`): Whether it accepts rows longer than those in training. Models with learned positions do not.
        takes_parameters (`bool`): Whether `make` itself meets a number of parameters; otherwise the width is varied.
        missing: Function of a device that returns why the model cannot run there, or `None`.
    """

    make: Callable[..., nn.Module]
    state_from_size: bool = False
    any_length: bool = True
    takes_parameters: bool = False
    missing: Callable[[str], str | None] = lambda device: None


# The one list of comparators: the experiments and the tests take their models from it.
COMPARATORS: dict[str, Entry] = {
    "mingru": Entry(paper_block("mingru"), state_from_size=True),
    "minlstm": Entry(paper_block("minlstm"), state_from_size=True),
    "mingru-default": Entry(default_block("mingru"), state_from_size=True),
    "minlstm-default": Entry(default_block("minlstm"), state_from_size=True),
    "mingru-plain": Entry(default_block("mingru", forget_gate_floor="plain"), state_from_size=True),
    "mingru-signed": Entry(default_block("mingru", **SIGNED), state_from_size=True),
    "minlstm-signed": Entry(default_block("minlstm", **SIGNED), state_from_size=True),
    "minlstm-raw-signed": Entry(default_block("minlstm", normalize_gates=False, **SIGNED), state_from_size=True),
    "transformer": Entry(gpt2, any_length=False),
    "llama": Entry(llama),
    "gru": Entry(torch_block(nn.GRU), state_from_size=True),
    "lstm": Entry(torch_block(nn.LSTM), state_from_size=True),
    "mamba": Entry(mamba),
    **{name: Entry(make_fla(name), takes_parameters=True, missing=missing_fla) for name in FLA},
    **{name: Entry(make_scans(name), missing=missing_scans) for name in SCANS},
}
ANY_LENGTH = [name for name, entry in COMPARATORS.items() if entry.any_length]


def _entry(name: str) -> Entry:
    if name not in COMPARATORS:
        raise ValueError(f"there is no comparator {name!r}: choose one of {', '.join(COMPARATORS)}")
    return COMPARATORS[name]


def missing(name: str, device: str) -> str | None:
    """Returns why a model cannot run on a device, or `None` if it can.

    Raises:
        ValueError: `name` is not in `COMPARATORS`.

    >>> missing("mingru", "cpu") is None, missing("hgrn", "cpu")
    (True, 'flash-linear-attention runs on a GPU only')
    """
    return _entry(name).missing(device)


def build(name: str, *, parameters: int | None = None, **size: Any) -> nn.Module:
    """Returns a fresh causal model: it maps `input_ids (batch, time)`, int64, to logits `(batch, time, vocab_size)`, float32.

    Args:
        name (`str`): Key of `COMPARATORS`.
        parameters (`int`, *optional*): Number of parameters that the model must have, within `TOLERANCE`.
        size: Fields of `Size`.

    Raises:
        ValueError: The name is unknown, or no width comes within 5 % of `parameters`.

    >>> model = build("mingru", vocab_size=16, hidden_size=8, num_layers=1, max_length=32)
    >>> model(torch.tensor([[1, 2, 3]])).shape
    torch.Size([1, 3, 16])
    >>> other = build("gru", vocab_size=16, hidden_size=8, num_layers=1, max_length=32, parameters=count(model))
    >>> abs(count(other) / count(model) - 1) < 0.05
    True
    """
    entry = _entry(name)
    wanted = Size(**size)
    if parameters is None:
        return entry.make(wanted)
    if entry.takes_parameters:
        model = entry.make(wanted, parameters)
    else:
        model = entry.make(replace(wanted, hidden_size=_fitting_width(name, wanted, parameters)))
    if abs(count(model) / parameters - 1) > TOLERANCE:
        raise ValueError(
            f"{name} comes to {count(model):,} parameters at the nearest width, more than {TOLERANCE:.0%} from "
            f"{parameters:,}: ask for another number of layers"
        )
    return model


@lru_cache
def _fitting_width(name: str, size: Size, parameters: int) -> int:
    """Returns the width at which a comparator comes nearest to a number of parameters; scripts ask again for each seed."""
    make = COMPARATORS[name].make
    return nearest_width(lambda width: make(replace(size, hidden_size=width)), parameters)


def nearest_width(make: Callable[[int], nn.Module], parameters: int, reach: int = 64) -> int:
    """Returns the width whose module has the number of parameters nearest to `parameters`; of equal ones the smallest.

    Args:
        make: Function of the width that returns a module; a wider one has at least as many parameters.
        parameters (`int`): Number of parameters to come near to.
        reach (`int`): How many widths beyond the largest that fits are searched for the next larger module.

    Raises:
        ValueError: Even a width of 1 has more parameters.

    >>> nearest_width(lambda width: nn.Linear(3, width), 42), nearest_width(lambda width: nn.Linear(3, width), 43)
    (10, 11)
    """

    def size(width: int) -> int:
        with torch.device("meta"):
            return count(make(width))

    below = widest(make, parameters)
    fits = size(below)
    for above in range(below + 1, below + 1 + reach):
        if size(above) > fits:
            return below if parameters - fits <= size(above) - parameters else above
    return below
