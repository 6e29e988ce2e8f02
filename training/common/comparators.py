# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Every sequence model behind one interface: token ids in, logits out, at a number of parameters that is asked for.

Each is a stack of residual blocks between an embedding and a head of its own, but for GPT-2's, which is tied to the embedding
as nanoGPT's is. What is added to the residual stream, and the embedding, goes through dropout in all of them. More models are
more entries of `COMPARATORS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import nn

from hf_minrnn import MinRNNConfig, MinRNNForCausalLM
from training.common.fla_comparators import FLA, Comparator, make_fla, missing_fla
from training.common.widths import count, widest

TOLERANCE = 0.05  # of the number of parameters


@dataclass(frozen=True)
class Size:
    """What a model is made from.

    Args:
        vocab_size (`int`): Tokens in and out.
        hidden_size (`int`): Width of the residual stream.
        num_layers (`int`): Blocks.
        max_length (`int`): The longest row that the model will meet.
        expansion (`float`): Channels of the recurrent state per unit of `hidden_size`; of the paper's block, GRU and
            LSTM. Our default block has twice as many.
        dropout (`float`): On the embedding and what each branch adds.
        conv (`int`): Steps that the convolution of our blocks, GRU and LSTM sees; 0 for none.
        mlp (`float`): Width of the MLP per unit of `hidden_size`, 0 for none; of our blocks, GRU and LSTM. In our default
            block two thirds of it, because of a third matrix, after taking off 2 for each unit of `expansion`.
        initializer_range (`float`): Standard deviation of fresh weight matrices; not of Mamba's.
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
    """torch.nn's recurrent layer and an output projection, where a block of ours has its cell."""

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
    """The paper's block around minGRU or minLSTM."""
    return lambda size: Comparator(MinRNNForCausalLM(_paper(cell_type, size)))


def default_block(cell_type: str) -> Callable[[Size], nn.Module]:
    """This project's block, its sizes in the same proportion to the paper's as by default."""

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
        )
        return Comparator(MinRNNForCausalLM(config))

    return make


def torch_block(layer: type) -> Callable[[Size], nn.Module]:
    """The paper's block around `nn.GRU` or `nn.LSTM`."""

    def make(size: Size) -> nn.Module:
        model = MinRNNForCausalLM(_paper("mingru", size))
        for block in model.model.layers:
            block.mixer = TorchMixer(layer, model.config)
        return Comparator(model)

    return make


def _heads(width: int) -> tuple[int, int]:
    """Heads of about 64 channels, an even number each, and the width, rounded down to what they can share."""
    heads = max(1, width // 64)
    return heads, max(2, width - width % (2 * heads))


def gpt2(size: Size) -> nn.Module:
    """A Transformer with learned positions and GELU, transformers' GPT-2: nanoGPT's."""
    from transformers import GPT2Config, GPT2LMHeadModel

    heads, width = _heads(size.hidden_size)
    config = GPT2Config(
        vocab_size=size.vocab_size,
        n_positions=size.max_length,
        n_embd=width,
        n_inner=4 * size.hidden_size,  # of the width before rounding: finer steps
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
    """A Transformer with rotary positions and a gated MLP, transformers' Llama."""
    from transformers import LlamaConfig, LlamaForCausalLM

    heads, width = _heads(size.hidden_size)
    config = LlamaConfig(
        vocab_size=size.vocab_size,
        max_position_embeddings=size.max_length,
        hidden_size=width,
        intermediate_size=size.hidden_size * 8 // 3,  # of the width before rounding: finer steps
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
    """transformers' Mamba; without its kernels, as on a CPU, a scan in plain torch if mambapy is installed, else a loop over
    time in Python."""
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


COMPARATORS: dict[str, Callable[[Size], nn.Module]] = {
    "mingru": paper_block("mingru"),
    "minlstm": paper_block("minlstm"),
    "mingru-default": default_block("mingru"),
    "minlstm-default": default_block("minlstm"),
    "gru": torch_block(nn.GRU),
    "lstm": torch_block(nn.LSTM),
    "transformer": gpt2,
    "llama": llama,
    "mamba": mamba,
    **{name: make_fla(name) for name in FLA},
}


def missing(name: str, device: str) -> str | None:
    """Why a model cannot run on a device, or `None` where it can.

    Raises:
        ValueError: For a name that is not in `COMPARATORS`.

    >>> missing("mingru", "cpu") is None, missing("hgrn", "cpu")
    (True, 'flash-linear-attention runs on a GPU only')
    """
    if name not in COMPARATORS:
        raise ValueError(f"there is no comparator {name!r}: choose one of {', '.join(COMPARATORS)}")
    return missing_fla(device) if name in FLA else None


def build(name: str, *, parameters: int | None = None, **size) -> nn.Module:
    """A fresh model: `input_ids (batch, time)`, int64, to logits `(batch, time, vocab_size)`, float32. It is causal.

    Args:
        name (`str`): A key of `COMPARATORS`.
        parameters (`int`, *optional*): What it is to have: the width comes as near as it can.
        size: The fields of `Size`.

    Raises:
        ValueError: For an unknown name, or where no width comes within 5 % of `parameters`.

    >>> model = build("mingru", vocab_size=16, hidden_size=8, num_layers=1, max_length=32)
    >>> model(torch.tensor([[1, 2, 3]])).shape
    torch.Size([1, 3, 16])
    >>> other = build("gru", vocab_size=16, hidden_size=8, num_layers=1, max_length=32, parameters=count(model))
    >>> abs(count(other) / count(model) - 1) < 0.05
    True
    """
    if name not in COMPARATORS:
        raise ValueError(f"there is no comparator {name!r}: choose one of {', '.join(COMPARATORS)}")
    make, size = COMPARATORS[name], Size(**size)
    if parameters is None:
        return make(size)
    if name in FLA:
        model = make(size, parameters)
    else:
        model = make(
            replace(size, hidden_size=nearest_width(lambda width: make(replace(size, hidden_size=width)), parameters))
        )
    if abs(count(model) / parameters - 1) > TOLERANCE:
        raise ValueError(
            f"{name} comes to {count(model):,} parameters at the nearest width, more than {TOLERANCE:.0%} from "
            f"{parameters:,}: ask for another number of layers"
        )
    return model


def nearest_width(make: Callable[[int], nn.Module], parameters: int, reach: int = 64) -> int:
    """The width whose module's number of parameters is nearest to `parameters`; of equal ones the smallest.

    Args:
        make: A function of the width, with at least as many parameters for each width more.
        parameters (`int`): To come near to.
        reach (`int`): Widths beyond the largest that fits which are looked at for the next larger module.

    Raises:
        ValueError: Where even a width of 1 has more.

    >>> nearest_width(lambda width: nn.Linear(3, width), 42), nearest_width(lambda width: nn.Linear(3, width), 43)
    (10, 11)
    """

    def size(width: int) -> int:
        with torch.device("meta"):
            return count(make(width))

    below = widest(make, parameters)
    fits = size(below)
    above = next((width for width in range(below + 1, below + 1 + reach) if size(width) > fits), below)
    return below if parameters - fits <= size(above) - parameters or above == below else above
