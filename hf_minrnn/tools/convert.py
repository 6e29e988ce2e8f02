# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Converts checkpoints of minGRU-pytorch's minLM and of the paper's layers to folders that `from_pretrained` loads."""

import os
import shutil
from pathlib import Path
from typing import NamedTuple

import torch

from ..configuration_minrnn import MinRNNConfig
from ..modeling_minrnn import MinRNNForCausalLM
from . import convert_minlm, convert_paper
from .checkpoints import bare, read_checkpoint, unwrapped
from .convert_paper import Options


class Model(NamedTuple):
    """A converted checkpoint.

    Args:
        config (`MinRNNConfig`): The configuration.
        tensors (dict of `torch.Tensor` by name): The weights of `MinRNNForCausalLM`.
        taken (list of `str`): What was taken from the options because the file does not contain it.
    """

    config: MinRNNConfig
    tensors: dict[str, torch.Tensor]
    taken: list[str]


def read_model(checkpoint: str | Path, options: Options | None = None) -> Model:
    """Converts a checkpoint in memory. The names in it decide which kind it is.

    Args:
        checkpoint (`str` or `Path`): The file, see `read_checkpoint`.
        options (`Options`, *optional*): What a file of the paper's layers does not contain.

    Returns:
        `Model`

    Raises:
        ValueError: If the checkpoint is damaged or of neither kind, or if options do not fit it.
        OSError: If the file cannot be read.
    """
    tensors = read_checkpoint(checkpoint)
    options = options or Options()
    try:
        if convert_minlm.is_minlm(map(bare, tensors)) and not options.names:
            if options != Options():
                raise ValueError("options are only for the paper's layers: leave them out for a minLM")
            tensors = unwrapped(tensors)
            config = convert_minlm.read_config(tensors)
            return Model(config, convert_minlm.rename(tensors, config), [])
        if not convert_paper.is_paper(tensors, options):
            raise ValueError(_neither(tensors, options))
        return Model(*convert_paper.read(tensors, options))
    except ValueError as error:
        raise ValueError(f"{checkpoint}: {error}") from None


def _neither(tensors: dict[str, torch.Tensor], options: Options) -> str:
    """The reasons why tensors are of neither kind."""
    reasons = []
    for read in (lambda: convert_minlm.read_config(tensors), lambda: convert_paper.read(tensors, options)):
        try:
            read()
        except ValueError as error:
            reasons.append(str(error))
    return "; and ".join(reasons)


def write_model(model: Model, folder: str | Path) -> None:
    """Writes a folder for `MinRNNForCausalLM.from_pretrained`. It gets its name only when it is complete.

    Args:
        model (`Model`): The result of `read_model`.
        folder (`str` or `Path`): The folder to create. An existing folder must be empty.

    Raises:
        OSError: If the folder exists and is not empty, or if writing fails. Then no files are left behind.
    """
    folder = Path(folder).resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} exists and is not an empty folder: give another one")
    with torch.device("meta"):
        minrnn = MinRNNForCausalLM(model.config)
    minrnn.load_state_dict(model.tensors, assign=True)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    partial.mkdir(parents=True)
    try:
        minrnn.save_pretrained(partial)
        if folder.exists():
            folder.rmdir()
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def convert(checkpoint: str | Path, folder: str | Path, options: Options | None = None) -> MinRNNConfig:
    """Converts a state dict of one of two kinds to a folder for `MinRNNForCausalLM.from_pretrained`. Its names decide the kind.

    minGRU-pytorch's `minLM`: names and shapes determine the forward completely. Names may begin with module., model. and
    _orig_mod., which DistributedDataParallel, Lightning and torch.compile add. The file does not contain the dropout of the
    original, and this package has no counterpart of it (it acts on the whole residual stream, in training only): the converted
    model has dropout 0. Depth 0 and `ff_mult` 0 have no counterpart either and are rejected.

    The paper's layers, as `convert_paper.LAYOUT` describes them: `options` gives what the file does not contain.

    A checkpoint of either kind without its last layers looks like one of a model with fewer layers, and is converted as such.

    Args:
        checkpoint (`str` or `Path`): The file, see `read_checkpoint`.
        folder (`str` or `Path`): The folder to create. An existing folder must be empty. The folder gets its name only when it
            is complete.
        options (`Options`, *optional*): For the paper's layers, see `convert_paper.Options`.

    Returns:
        `MinRNNConfig`: The configuration of the converted model, with the checkpoint's dtype.

    Raises:
        ValueError: If the checkpoint is damaged or not such a state dict. Nothing is written.
        OSError: If the folder exists and is not empty, or if reading or writing fails.
    """
    model = read_model(checkpoint, options)
    write_model(model, folder)
    return model.config


__all__ = ["Model", "Options", "convert", "read_model", "write_model"]
