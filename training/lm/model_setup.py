# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Builds the model and the optimizer of a run from its options."""

from __future__ import annotations

import argparse
import difflib

import torch
from transformers import GenerationConfig, PreTrainedTokenizerBase

from hf_minrnn import MinRNNConfig, MinRNNForCausalLM
from training.common.errors import InputError
from training.common.weight_decay import parameter_groups
from training.lm.tokenization import has_padding, vocabulary_size

OWN_OPTIONS = ("cell_type", "hidden_size", "num_hidden_layers", "intermediate_size", "expand_ratio", "dropout")


def build_model(args: argparse.Namespace, tokenizer: PreTrainedTokenizerBase) -> MinRNNForCausalLM:
    """Builds a new causal language model for `tokenizer`, with weights drawn from `args.seed`.

    Raises:
        InputError: See `build_config`.
    """
    return new_model(build_config(args, tokenizer), args.seed)


def build_config(args: argparse.Namespace, tokenizer: PreTrainedTokenizerBase) -> MinRNNConfig:
    """Builds the configuration of a new model for `tokenizer`.

    Raises:
        InputError: A field is unknown or given twice, the configuration rejects a value, or the vocabulary is smaller than
            the tokenizer's.
    """
    fields = {name: getattr(args, name) for name in OWN_OPTIONS if getattr(args, name) is not None}
    # The fields that describe the architecture. All others are set here, or by transformers.
    known = set(MinRNNConfig.__annotations__) - set(special_tokens(tokenizer))
    for name, value in args.config.items():
        if name in OWN_OPTIONS:
            raise InputError(f"--config {name}={value}: use --{name.replace('_', '-')} {value}")
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"the fields are {', '.join(sorted(known))}"
            if near:
                hint = f"did you mean {near[0]}?"
            raise InputError(f"--config {name}: there is no such field to set; {hint}")
    needed = vocabulary_size(tokenizer)
    fields |= {"vocab_size": needed, **args.config}
    if not isinstance(fields["vocab_size"], int) or fields["vocab_size"] < needed:
        raise InputError(
            f"--config vocab_size={fields['vocab_size']} is below the tokenizer's {needed} tokens: "
            "leave it out, or ask for a smaller --vocab-size"
        )
    fields |= special_tokens(tokenizer)
    try:
        return MinRNNConfig.paper(**fields) if args.block == "paper" else MinRNNConfig(**fields)
    except Exception as error:  # of many types
        raise InputError(f"this model cannot be built: {_cause(error)}") from error


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """Returns the fields of a configuration that name special tokens."""
    separator = tokenizer.eos_token_id
    padding = tokenizer.pad_token_id if has_padding(tokenizer) else separator
    return {"bos_token_id": separator, "eos_token_id": separator, "pad_token_id": padding}


def new_model(config: MinRNNConfig, seed: int) -> MinRNNForCausalLM:
    """Builds a model with weights drawn from a seed.

    Raises:
        InputError: The model cannot be built from this configuration.
    """
    torch.manual_seed(seed)
    try:
        model = MinRNNForCausalLM(config)
    except Exception as error:  # of many types
        raise InputError(f"this model cannot be built: {_cause(error)}") from error
    set_generation_config(model)
    return model


def set_generation_config(model: MinRNNForCausalLM) -> None:
    """Makes sampling the default of `generate`, with the special tokens of the model's configuration."""
    model.generation_config = GenerationConfig(
        bos_token_id=model.config.bos_token_id,
        eos_token_id=model.config.eos_token_id,
        pad_token_id=model.config.pad_token_id,
        do_sample=True,
        temperature=0.8,
        top_p=0.95,
        top_k=0,
        max_new_tokens=256,
    )


def _cause(error: Exception) -> BaseException:
    # A strict dataclass wraps the errors of its validators in an error about itself.
    return error.__cause__ or error


# --- the configuration in a checkpoint


def config_fields(config: MinRNNConfig) -> dict:
    """Returns all fields of a configuration that this package defines, for a checkpoint.

    The fields that transformers adds describe no part of the model, and differ between its versions.
    """
    return {name: value for name, value in config.to_dict().items() if name in MinRNNConfig.__annotations__}


def stored_config(fields: dict) -> MinRNNConfig:
    """Returns the configuration of a checkpoint. The present defaults of the fields have no effect.

    Raises:
        InputError: This version has no such field, or rejects a value.
    """
    remedy = "use the version of hf_minrnn that wrote the checkpoint"
    unknown = sorted(set(fields) - set(MinRNNConfig.__annotations__))
    if unknown:
        raise InputError(
            f"the configuration in the checkpoint has fields that this version does not know ({', '.join(unknown)}): {remedy}"
        )
    try:
        return MinRNNConfig(**fields)
    except Exception as error:  # of many types
        raise InputError(
            f"this version rejects the configuration in the checkpoint ({_cause(error)}): {remedy}"
        ) from error


def changed_defaults(config: MinRNNConfig, present: MinRNNConfig) -> list[str]:
    """Describes the fields of a resumed run's configuration that a new run with the same options would set differently.

    >>> changed_defaults(MinRNNConfig(rms_norm_eps=1e-5), MinRNNConfig())
    ["this version's default of rms_norm_eps is 1e-06; the run continues with its own 1e-05"]
    """
    now = config_fields(present)
    return [
        f"this version's default of {name} is {now.get(name)}; the run continues with its own {value}"
        for name, value in config_fields(config).items()
        if value != now.get(name)
    ]


def build_optimizer(model: torch.nn.Module, args: argparse.Namespace) -> torch.optim.AdamW:
    """Builds AdamW. The trainer sets the learning rate before every step."""
    # In the paper's experiments the weights that compute the gates do not decay.
    groups = parameter_groups(model, args.weight_decay, gates_decay=args.block != "paper")
    return torch.optim.AdamW(groups, lr=args.learning_rate, betas=tuple(args.betas), fused=True)
