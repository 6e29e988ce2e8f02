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
        InputError: A field is unknown or given twice, the configuration rejects a value, or the vocabulary is smaller than
            the tokenizer's.
    """
    fields = {name: getattr(args, name) for name in OWN_OPTIONS if getattr(args, name) is not None}
    # The fields that describe the architecture. All others are set here, or by transformers.
    known = set(MinRNNConfig.__annotations__) - {"bos_token_id", "eos_token_id", "pad_token_id"}
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
    separator = tokenizer.eos_token_id
    padding = tokenizer.pad_token_id if has_padding(tokenizer) else separator
    special = {"bos_token_id": separator, "eos_token_id": separator, "pad_token_id": padding}
    fields |= special
    torch.manual_seed(args.seed)
    try:
        config = MinRNNConfig.paper(**fields) if args.block == "paper" else MinRNNConfig(**fields)
        model = MinRNNForCausalLM(config)
    except Exception as error:  # of many types
        # A strict dataclass wraps the errors of its validators in an error about itself.
        raise InputError(f"this model cannot be built: {error.__cause__ or error}") from error
    model.generation_config = GenerationConfig(
        **special,
        do_sample=True,
        temperature=0.8,
        top_p=0.95,
        top_k=0,
        max_new_tokens=256,
    )
    return model


def build_optimizer(model: torch.nn.Module, args: argparse.Namespace) -> torch.optim.AdamW:
    """Builds AdamW. The trainer sets the learning rate before every step."""
    # In the paper's experiments the weights that compute the gates do not decay.
    groups = parameter_groups(model, args.weight_decay, gates_decay=args.block != "paper")
    return torch.optim.AdamW(groups, lr=args.learning_rate, betas=tuple(args.betas), fused=True)
