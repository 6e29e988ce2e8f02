# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The model that a run starts from: a new one, that of a checkpoint, or a saved one with its weights (--init-from)."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from typing import Any

from transformers import PreTrainedTokenizerBase

from hf_minrnn import MinRNNConfig, MinRNNForCausalLM
from training.common.errors import InputError
from training.lm.model_setup import (
    OWN_OPTIONS,
    build_config,
    build_model,
    changed_defaults,
    new_model,
    set_generation_config,
    special_tokens,
    stored_config,
)
from training.lm.saved_model import load_config, load_tokenizer, load_weights, tokenizer_from_files

# Options that the source sets, in a run with --init-from.
FROM_SOURCE = (*OWN_OPTIONS, "block", "config", "tokenizer", "vocab_size")
FREE_FIELDS = ("scan_backend",)  # how the model is computed, not which function it is


class Source:
    """A saved model to start from: its configuration and tokenizer, and on request its weights.

    Args:
        args (`argparse.Namespace`): Command line of the run. Its options that describe the model are replaced by the
            source's, so that the results record them.
        given (`Collection[str]`): Names of the options that the command line contains.

    Raises:
        InputError: There is no such model, or an option contradicts it.
    """

    def __init__(self, args: argparse.Namespace, given: Collection[str]):
        self.name = args.init_from
        self.config = load_config(self.name)
        self.tokenizer = load_tokenizer(self.name, self.config, or_option=False)
        self.tokenizer.padding_side = "left"
        self._check(args, given)
        for name, value in args.config.items():
            setattr(self.config, name, value)
        if "dropout" in given:
            self.config.dropout = args.dropout
        for name, token in special_tokens(self.tokenizer).items():
            if getattr(self.config, name) is None:
                setattr(self.config, name, token)
        for name in OWN_OPTIONS:
            setattr(args, name, getattr(self.config, name))
        args.tokenizer = self.name

    def _check(self, args: argparse.Namespace, given: Collection[str]) -> None:
        for name in OWN_OPTIONS:
            if name in given and name != "dropout":
                self._compare(name, getattr(args, name), getattr(self.config, name))
        if "tokenizer" in given:
            self._compare("tokenizer", args.tokenizer, self.name)
        if "vocab_size" in given and args.vocab_size != len(self.tokenizer):
            self._compare("vocab_size", args.vocab_size, self.config.vocab_size)
        if args.block != "default":
            raise InputError(
                f"--block {args.block} with --init-from: the blocks are those of {self.name}; leave it out"
            )
        for name, value in args.config.items():
            if name not in MinRNNConfig.__annotations__ or (
                name not in FREE_FIELDS and value != getattr(self.config, name)
            ):
                present = getattr(self.config, name, "no such field")
                raise InputError(
                    f"--config {name}={value} contradicts --init-from {self.name}, which has {present}: leave it out"
                )

    def _compare(self, name: str, value: Any, own: Any) -> None:
        if value != own:
            option = f"--{name.replace('_', '-')}"
            raise InputError(f"{option} {value} contradicts --init-from {self.name}, which has {own}: leave it out")

    def model(self) -> MinRNNForCausalLM:
        """Loads the weights, in float32.

        Raises:
            InputError: They are missing, damaged or incomplete.
        """
        model = load_weights(self.name, self.config, "cpu").float()
        model.config.name_or_path = ""  # or the files of the run would contain the path of the source
        set_generation_config(model)
        return model


def take_stored_options(args: argparse.Namespace, given: Collection[str], saved: dict) -> None:
    """Fills in the options that a resumed run with --init-from took from its source, unless the command line has them."""
    stored = saved["args"]
    if stored.get("init_from") is None:
        return
    for name in ("init_from", *FROM_SOURCE):
        if name not in given:
            setattr(args, name, stored[name])


def resumed_model(
    args: argparse.Namespace, tokenizer: PreTrainedTokenizerBase, saved: dict
) -> tuple[MinRNNForCausalLM, list[str]]:
    """Builds the model of a checkpoint, without its weights.

    Returns:
        The model, and lines for the user about its configuration.

    Raises:
        InputError: This version does not support the configuration.
    """
    if "config" not in saved:
        line = "the checkpoint is of an earlier version and does not record the configuration: this version's defaults are used"
        return build_model(args, tokenizer), [line]
    config = stored_config(saved["config"])
    lines = []
    if args.init_from is None:
        lines = changed_defaults(config, build_config(args, tokenizer))
    return new_model(config, args.seed), lines


def resumed_tokenizer(saved: dict) -> PreTrainedTokenizerBase | None:
    """Returns the tokenizer in the checkpoint of a run with --init-from, whose source may be gone; `None` for other runs."""
    if saved["args"].get("init_from") is None:
        return None
    tokenizer = tokenizer_from_files(saved["tokenizer"], stored_config(saved["config"]))
    tokenizer.padding_side = "left"
    return tokenizer
