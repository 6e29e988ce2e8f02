# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Variants of the block for the ablation, all with the same number of parameters.

They are the paper's block, the default, and the variants that differ from one of them in one option.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch

from hf_minrnn import MinRNNConfig, MinRNNForCausalLM
from training.common.errors import InputError
from training.common.widths import count

# Options that the default block has and the paper's does not.
DEFAULT_OPTIONS = {
    "identity candidate": {"candidate_activation": "identity"},
    "output gate": {"output_gate": True},
    "forget floor": {"forget_gate_floor": 0.9},
    "state norm": {"state_norm": True},
    "gated MLP": {"gated_mlp": True, "hidden_act": "silu", "mlp_bias": False},
    "expansion 2": {"expand_ratio": 2.0},
}
SPREAD = "gate bias spread"
# Options that neither has.
FURTHER_OPTIONS = {
    "convolution in the mixer": {"conv_position": "mixer", "conv_bias": False},
    SPREAD: {},
}
OPTIONS = DEFAULT_OPTIONS | FURTHER_OPTIONS
# Decays that can change sign, and cells that are tried with and without them.
SIGN_OPTIONS = {
    "sign in the first block": {"forget_gate_floor": "signed"},
    "sign in all blocks": {"forget_gate_floor": -1.0},
}
CELL_OPTIONS = {
    "minLSTM": {"cell_type": "minlstm", "gate_bias": 0.0},
    "minLSTM, not normalized": {"cell_type": "minlstm", "gate_bias": 0.0, "normalize_gates": False},
}
ALL_OPTIONS = OPTIONS | SIGN_OPTIONS | CELL_OPTIONS
PAPER, DEFAULT, ALL = "paper", "default", "default + all further"
TOLERANCE = 0.03  # largest relative difference of the parameters


def _variants() -> dict[str, tuple[str, ...]]:
    default = tuple(DEFAULT_OPTIONS)
    named = {PAPER: (), **{f"{PAPER} + {name}": (name,) for name in OPTIONS}, DEFAULT: default}
    named |= {f"{DEFAULT} - {left}": tuple(name for name in default if name != left) for left in default}
    named |= {f"{DEFAULT} + {name}": (*default, name) for name in FURTHER_OPTIONS | SIGN_OPTIONS}
    first = next(iter(SIGN_OPTIONS))
    for cell in CELL_OPTIONS:
        named |= {f"{DEFAULT} + {cell}": (*default, cell), f"{DEFAULT} + {cell} + {first}": (*default, cell, first)}
    return named | {ALL: tuple(OPTIONS)}


VARIANTS = _variants()  # name -> its options
FINALISTS = (PAPER, DEFAULT, *(name for name in VARIANTS if name.startswith(f"{DEFAULT} - ")))


def baseline_of(name: str) -> str | None:
    """Returns the block that `name` differs from in one option; for the paper's block and the default `None`.

    >>> baseline_of("paper + output gate"), baseline_of("default - state norm"), baseline_of("default")
    ('paper', 'default', None)
    >>> baseline_of("default + minLSTM + sign in the first block")
    'default + minLSTM'
    """
    if name in (PAPER, DEFAULT):
        return None
    return name.rpartition(" + ")[0] or name.rpartition(" - ")[0]


def make_config(
    options: Iterable[str], vocab_size: int, hidden_size: int, layers: int, intermediate_size: int
) -> MinRNNConfig:
    """Returns the configuration of the paper's block with these options of `ALL_OPTIONS`; embeddings are untied."""
    fields = {key: value for name in options for key, value in ALL_OPTIONS[name].items()}
    return MinRNNConfig.paper(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        num_hidden_layers=layers,
        intermediate_size=intermediate_size,
        **fields,
    )


def parameters_of(config: MinRNNConfig) -> int:
    """Returns the number of parameters of the language model of a configuration; no memory is allocated for it."""
    with torch.device("meta"):
        return count(MinRNNForCausalLM(config))


def fit(options: Iterable[str], vocab_size: int, hidden_size: int, layers: int) -> tuple[MinRNNConfig, int]:
    """Returns a variant with the width of the MLP that brings it nearest to the parameters of the paper's block.

    Returns:
        The configuration, and its number of parameters.

    Raises:
        InputError: No width of the MLP comes within `TOLERANCE`.
    """
    shape = (vocab_size, hidden_size, layers)
    wanted = parameters_of(make_config((), *shape, 4 * hidden_size))
    first, second = (parameters_of(make_config(options, *shape, width)) for width in (1, 2))
    width = max(1, 1 + round((wanted - first) / (second - first)))
    found = first + (width - 1) * (second - first)
    if abs(found - wanted) > TOLERANCE * wanted:
        raise InputError(
            f"{', '.join(options)} has {found} parameters with an MLP of width {width}, the paper's block {wanted}: these "
            f"are not within {TOLERANCE:.0%}; take a larger hidden size than {hidden_size}"
        )
    return make_config(options, *shape, width), found


@torch.no_grad()
def spread_gate_biases(model: MinRNNForCausalLM, longest: int) -> None:
    """Sets the gate biases so that the memories of a cell's channels reach from 2 to `longest` steps, spaced evenly in log.

    A decay of `1 - 1 / steps` is the sigmoid of `log(steps - 1)`; the floor adds to it. The bias of minGRU's gate has the
    opposite sign, because that gate admits the input. Works in place.
    """
    for layer in model.model.layers:
        cell = layer.mixer.cell
        in_proj = cell.in_proj
        steps = torch.logspace(math.log10(2), math.log10(longest), in_proj.gate_channels)
        bias = torch.log(steps - 1)
        in_proj.bias[: in_proj.gate_channels] = -bias if cell.cell_type == "mingru" else bias


def make_model(config: MinRNNConfig, options: Iterable[str], seed: int, window: int) -> MinRNNForCausalLM:
    """Returns a fresh model with weights of a seed; with `SPREAD` among the options its memories go up to the window."""
    torch.manual_seed(seed)
    model = MinRNNForCausalLM(config)
    if SPREAD in options:
        spread_gate_biases(model, window)
    return model
