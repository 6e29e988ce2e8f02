# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Loads a saved language model and its tokenizer, or says in one line why that is impossible."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from huggingface_hub import hf_hub_download
from transformers import AutoConfig, AutoTokenizer

from hf_minrnn import MinRNNConfig, MinRNNForCausalLM
from training.common.errors import InputError


def first_line(error: Exception) -> str:
    """What an error says first, or its type where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def load_config(name: str) -> MinRNNConfig:
    """The configuration of a saved causal language model of this package.

    Args:
        name (`str`): A folder, or a name on the Hub.

    Raises:
        InputError: There is nothing, or something else.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise InputError(f"{name} has no config.json: give a folder that train_lm.py or save_pretrained wrote")
    elif path.exists():
        raise InputError(f"{name} is a file: give the folder that train_lm.py or save_pretrained wrote")
    elif name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise InputError(f"model folder {name} is not there: give one that train_lm.py or save_pretrained wrote")
    try:
        config = AutoConfig.from_pretrained(path if path.is_dir() else name)
    except Exception as error:  # many types, from the file system, the network and the configuration itself
        where = "cannot be read" if path.is_dir() else "is no folder here, and cannot be had from the Hub"
        raise InputError(
            f"model {name} {where} ({first_line(error)}): give a folder that train_lm.py wrote, or a name on the Hub"
        ) from error
    kind = (config.architectures or [MinRNNForCausalLM.__name__])[0]
    if config.model_type != MinRNNConfig.model_type or kind != MinRNNForCausalLM.__name__:
        raise InputError(
            f"{name} holds a {kind} of type {config.model_type}: give the folder of a {MinRNNForCausalLM.__name__}"
        )
    return config


def load_tokenizer(name: str, config: MinRNNConfig):
    """The tokenizer saved under a name, if it suits a model.

    Raises:
        InputError: There is none, it has no end-of-text token, or it has more tokens than the model.
    """
    path = Path(name).expanduser()
    try:
        tokenizer = AutoTokenizer.from_pretrained(path if path.exists() else name)
    except Exception as error:
        raise InputError(
            f"no tokenizer can be loaded from {name} ({first_line(error)}): save the one the model was trained with "
            "there by tokenizer.save_pretrained, or name it with --tokenizer"
        ) from error
    tokens = max(tokenizer.get_vocab().values(), default=-1) + 1
    if tokens > config.vocab_size:
        raise InputError(
            f"the tokenizer of {name} has {tokens} tokens, the model's vocabulary only {config.vocab_size}: give the "
            "tokenizer that the model was trained with by --tokenizer"
        )
    if tokenizer.eos_token_id is None:
        raise InputError(
            f"the tokenizer of {name} has not got an eos_token, which separates documents: name another with --tokenizer"
        )
    return tokenizer


def load_weights(name: str, config: MinRNNConfig, device: str) -> MinRNNForCausalLM:
    """The model itself, in the precision in which it was saved.

    Raises:
        InputError: The weights are missing, damaged or incomplete; transformers would draw what is missing at random.
    """
    path = Path(name).expanduser()
    try:
        model, info = MinRNNForCausalLM.from_pretrained(
            path if path.is_dir() else name, config=config, dtype="auto", output_loading_info=True
        )
        model = model.to(device).eval()
    except Exception as error:
        raise InputError(
            f"the weights of {name} cannot be loaded ({first_line(error)}): save the model again, or check --device"
        ) from error
    if lacking := sorted(info["missing_keys"]):
        raise InputError(f"the weights of {name} lack {', '.join(lacking[:3])}: save the model again, whole")
    return model


def trained_with(name: str) -> dict:
    """The arguments of train_lm.py as it left them in results.json beside the model, and as `data` what it says of the text;
    empty where it didn't."""
    path = Path(name).expanduser()
    try:
        file = path / "results.json" if path.is_dir() else hf_hub_download(name, "results.json")
        found = json.loads(Path(file).read_text(encoding="utf-8"))
        return {**found["args"], "data": dict(found.get("data", {}))}
    except (OSError, TypeError, ValueError, KeyError):
        return {}  # no such file, or another one by this name


def fingerprint(model: torch.nn.Module) -> str:
    """SHA-256 of a model's weights by name: it tells which weights a number belongs to."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
