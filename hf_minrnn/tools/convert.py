# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Checkpoints of others as folders that `from_pretrained` loads: minGRU-pytorch's minLM, and the paper's layers."""

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
    """What a checkpoint was converted to.

    Args:
        config (`MinRNNConfig`): The configuration.
        tensors (dict of `torch.Tensor` by name): The weights of `MinRNNForCausalLM`.
        taken (list of `str`): What the file did not tell and the options did, one thing each.
    """

    config: MinRNNConfig
    tensors: dict[str, torch.Tensor]
    taken: list[str]


def read_model(checkpoint, options: Options | None = None) -> Model:
    """Converts a checkpoint in memory; the names in it tell of which kind it is.

    Args:
        checkpoint (`str` or `Path`): The file, see `read_checkpoint`.
        options (`Options`, *optional*): What a file of the paper's layers cannot tell.

    Returns:
        `Model`

    Raises:
        ValueError: For a checkpoint that is damaged or of neither kind, and options that do not fit it.
        OSError: For a file that cannot be read.
    """
    tensors, options = read_checkpoint(checkpoint), options or Options()
    try:
        if convert_minlm.is_minlm(map(bare, tensors)) and not options.names:
            if options != Options():
                raise ValueError(
                    "options are for the paper's layers alone: names and shapes of a minLM tell everything"
                )
            tensors = unwrapped(tensors)
            config = convert_minlm.read_config(tensors)
            return Model(config, convert_minlm.rename(tensors, config), [])
        if not convert_paper.is_paper(tensors, options):
            raise ValueError(_neither(tensors, options))
        return Model(*convert_paper.read(tensors, options))
    except ValueError as error:
        raise ValueError(f"{checkpoint}: {error}") from None


def _neither(tensors, options) -> str:
    reasons = []
    for read in (lambda: convert_minlm.read_config(tensors), lambda: convert_paper.read(tensors, options)):
        try:
            read()
        except ValueError as error:
            reasons.append(str(error))
    return "; and ".join(reasons)


def write_model(model: Model, folder):
    """Writes a folder for `MinRNNForCausalLM.from_pretrained`, which gets its name only once it is whole.

    Args:
        model (`Model`): What `read_model` returned.
        folder (`str` or `Path`): What to make; an existing folder must be empty.

    Raises:
        OSError: For a folder that exists and is not empty, and for what cannot be written. Nothing is left of it.
    """
    folder = Path(folder).resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} exists and is not an empty folder")
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


def convert(checkpoint, folder, options: Options | None = None) -> MinRNNConfig:
    """Makes a folder for `MinRNNForCausalLM.from_pretrained` of a state dict of one of two kinds, told by its names.

    minGRU-pytorch's `minLM`: names and shapes tell everything that a forward needs. In front of the names may stand module.,
    model. and _orig_mod., which DistributedDataParallel, Lightning and torch.compile put there. The dropout of the original
    has no counterpart here (it drops from the whole residual stream, in training alone), and the file does not tell it: the
    folder says 0. Depth 0 and `ff_mult` 0 have none either, and are refused.

    The paper's layers, as `convert_paper.LAYOUT` describes them: `options` says what the file cannot.

    Of either kind, a checkpoint without its last layers looks like a model that has fewer.

    Args:
        checkpoint (`str` or `Path`): The file, see `read_checkpoint`.
        folder (`str` or `Path`): What to make; an existing folder must be empty. It gets its name only once it is whole.
        options (`Options`, *optional*): For the paper's layers, see `convert_paper.Options`.

    Returns:
        `MinRNNConfig`: The configuration of the converted model, which has the checkpoint's dtype.

    Raises:
        ValueError: For a checkpoint that is damaged or anything but such a state dict. Nothing is written.
        OSError: For a folder that exists and is not empty, and for what cannot be read or written.
    """
    model = read_model(checkpoint, options)
    write_model(model, folder)
    return model.config


__all__ = ["Model", "Options", "convert", "read_model", "write_model"]
