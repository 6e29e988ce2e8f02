# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Loads a saved language model and its tokenizer. Errors say in one line why that is not possible."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path

import torch
from huggingface_hub import hf_hub_download
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase

from hf_minrnn import MinRNNConfig, MinRNNForCausalLM
from training.common.checkpoint import checkpoints
from training.common.errors import InputError, first_line
from training.common.files import explained_write
from training.lm.run_facts import LOCAL_FILE


def load_config(name: str) -> MinRNNConfig:
    """Loads the configuration of a saved causal language model of this package.

    Args:
        name (`str`): A folder, or a name on the Hub.

    Raises:
        InputError: There is no model, or another kind of model.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        if checkpoints(path) and not any((path / file).is_file() for file in ("config.json", "model.safetensors")):
            raise InputError(
                f"{name} has the checkpoints of a run and no model yet: let the run end, or make a model of its newest "
                "checkpoint with python -m training.checkpoint_to_model, and give that"
            )
        if not (path / "config.json").is_file():
            raise InputError(f"{name} has no config.json: give a folder written by train_lm.py or save_pretrained")
    elif path.exists():
        raise InputError(f"{name} is a file: give the folder written by train_lm.py or save_pretrained")
    elif name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise InputError(f"model folder {name} does not exist: give one written by train_lm.py or save_pretrained")
    try:
        config = AutoConfig.from_pretrained(path if path.is_dir() else name)
    except Exception as error:  # of many types: the file system, the network, the configuration
        problem = "is not a folder, and cannot be loaded from the Hub"
        if path.is_dir():
            problem = "cannot be read"
        raise InputError(
            f"model {name} {problem} ({first_line(error)}): give a folder written by train_lm.py, or a name on the Hub"
        ) from error
    kind = (config.architectures or [MinRNNForCausalLM.__name__])[0]
    if config.model_type != MinRNNConfig.model_type or kind != MinRNNForCausalLM.__name__:
        raise InputError(
            f"{name} holds a {kind} of type {config.model_type}: give the folder of a {MinRNNForCausalLM.__name__}"
        )
    return config


def load_tokenizer(name: str, config: MinRNNConfig, or_option: bool = True) -> PreTrainedTokenizerBase:
    """Loads the tokenizer saved under a name, and checks that it suits a model.

    Args:
        name (`str`): A folder, or a name on the Hub.
        or_option (`bool`): Whether the script takes another tokenizer by --tokenizer, for the messages.

    Raises:
        InputError: There is no tokenizer, it has no end-of-text token, or it has more tokens than the model.
    """
    path = Path(name).expanduser()
    option = ", or give its folder with --tokenizer" if or_option else ""
    try:
        tokenizer = AutoTokenizer.from_pretrained(path if path.exists() else name)
    except Exception as error:
        raise InputError(
            f"no tokenizer can be loaded from {name} ({first_line(error)}): save the one that the model was trained with "
            f"there by tokenizer.save_pretrained{option}"
        ) from error
    tokens = max(tokenizer.get_vocab().values(), default=-1) + 1
    if tokens > config.vocab_size:
        raise InputError(
            f"the tokenizer of {name} has {tokens} tokens, the model's vocabulary only {config.vocab_size}: save the "
            f"tokenizer that the model was trained with there{option}"
        )
    if tokenizer.eos_token_id is None:
        raise InputError(
            f"the tokenizer of {name} has no eos_token, which separates documents: save one that has it there{option}"
        )
    return tokenizer


def load_weights(name: str, config: MinRNNConfig, device: str) -> MinRNNForCausalLM:
    """Loads a model in the precision in which it was saved.

    Raises:
        InputError: The weights are missing, damaged or incomplete. (transformers draws missing weights at random.)
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
    missing = sorted(info["missing_keys"])
    if missing:
        raise InputError(f"the weights of {name} lack {', '.join(missing[:3])}: save the whole model again")
    return model


def tokenizer_files(tokenizer: PreTrainedTokenizerBase) -> dict[str, str | torch.Tensor]:
    """Returns the files of a tokenizer by name, for a checkpoint: as text, or as bytes in a uint8 tensor.

    Raises:
        WriteError: They could not be written to a temporary folder.
    """
    files: dict[str, str | torch.Tensor] = {}
    with tempfile.TemporaryDirectory() as folder:
        with explained_write(Path(folder)):
            tokenizer.save_pretrained(folder)
        for path in sorted(Path(folder).rglob("*")):
            if not path.is_file():
                continue
            name = path.relative_to(folder).as_posix()
            content = path.read_bytes()
            try:
                files[name] = content.decode("utf-8")
            except UnicodeDecodeError:
                files[name] = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    return files


def write_tokenizer_files(files: dict[str, str | torch.Tensor], folder: str | os.PathLike) -> None:
    """Writes what `tokenizer_files` returned to a folder."""
    for name, content in files.items():
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            path.write_bytes(content.encode("utf-8"))
        else:
            path.write_bytes(content.numpy().tobytes())


def tokenizer_from_files(files: dict[str, str | torch.Tensor], config: MinRNNConfig) -> PreTrainedTokenizerBase:
    """Returns the tokenizer whose files `tokenizer_files` returned."""
    with tempfile.TemporaryDirectory() as folder:
        with explained_write(Path(folder)):
            write_tokenizer_files(files, folder)
        return load_tokenizer(folder, config)


def trained_with(name: str) -> dict:
    """Returns the training arguments from results.json in a model's folder, and its description of the text as `data`.

    results.json has only the last component of a local path. If the training ran on this machine, the full path comes from
    `run_facts.LOCAL_FILE`. The result is empty if train_lm.py did not write the model.
    """
    path = Path(name).expanduser()
    try:
        file = path / "results.json"
        if not path.is_dir():
            file = Path(hf_hub_download(name, "results.json"))
        found = json.loads(file.read_text(encoding="utf-8"))
        return {**found["args"], **_local_arguments(path), "data": dict(found.get("data", {}))}
    except (OSError, TypeError, ValueError, KeyError):
        return {}  # there is no such file, or it has another content


def _local_arguments(folder: Path) -> dict:
    file = folder / LOCAL_FILE
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def fingerprint(model: torch.nn.Module) -> str:
    """Returns the SHA-256 of a model's weights and their names, by which a result can be assigned to them."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
