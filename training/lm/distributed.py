# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Training in one process or several: DDP through Accelerate, FSDP2 through `fully_shard`, and unsharded state dicts."""

from __future__ import annotations

import argparse
import copy
import os

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    get_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from training.common.errors import InputError

WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


def make_accelerator(args: argparse.Namespace) -> Accelerator:
    """Builds the accelerator of a run.

    Raises:
        InputError: --fsdp is given in a single process, Accelerate is configured for a plugin that would do the same, or
            processes that were started together do not know of each other.
    """
    started = int(os.environ.get("WORLD_SIZE", 1))
    accelerator = Accelerator(
        mixed_precision="bf16" if args.bf16 else "no",
        gradient_accumulation_steps=args.accumulate,
        log_with=args.trackers or None,
        project_dir=args.output_dir,
        # Without a GPU and this argument, Accelerate takes each of several processes for the only one.
        cpu=started > 1 and not torch.accelerator.is_available(),
    )
    if accelerator.num_processes < started:
        raise InputError(
            f"{started} processes were started (WORLD_SIZE), but Accelerate finds {accelerator.num_processes}: start them with "
            "torchrun or accelerate launch, or unset WORLD_SIZE"
        )
    if accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED):
        raise InputError(
            f"Accelerate is configured for {accelerator.distributed_type.value}: "
            "use --fsdp, which needs no configuration of Accelerate"
        )
    if args.fsdp and accelerator.num_processes == 1:
        raise InputError("--fsdp shards over processes, and there is one: start several with torchrun, or leave it out")
    return accelerator


def shard(model: torch.nn.Module, accelerator: Accelerator) -> None:
    """Shards a model in place by FSDP2: each block, and the rest, is gathered while it is needed."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    model.to(accelerator.device)
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    for layer in model.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)


def whole_state(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict:
    """Returns the unsharded weights and optimizer state on the CPU, by parameter name; every process must call it.

    Only the main process gets them. The others get empty dictionaries.
    """
    if hasattr(model, "reshard"):
        model.reshard()  # after an evaluation, FSDP2 keeps the parameters outside the blocks gathered
    if not optimizer.state:  # before the first step: get_state_dict would take a step to fill the state, and count it
        return {"model": get_model_state_dict(model, options=WHOLE), "optimizer": {"state": {}, "param_groups": []}}
    weights, state = get_state_dict(model, optimizer, options=WHOLE)
    return {"model": weights, "optimizer": state}


def whole_weights(model: torch.nn.Module, device: torch.device) -> dict[str, torch.Tensor]:
    """Returns a copy of the unsharded weights on the CPU by parameter name; every process must call it.

    With shards, only the main process gets them. The others get an empty dictionary.
    """
    if hasattr(model, "reshard"):
        model.reshard()
    weights = get_model_state_dict(model, options=WHOLE)
    if device.type == "cpu":
        return copy.deepcopy(weights)  # as the weights are those that are trained; tied ones stay one tensor
    return weights


def load_whole_state(model: torch.nn.Module, optimizer: torch.optim.Optimizer, saved: dict) -> None:
    """Loads what `whole_state` returned. The settings of the optimizer's groups stay those of the present run.

    Raises:
        InputError: The weights are those of another model, for example of a version with other defaults.
    """
    saved_shapes = {name: weight.shape for name, weight in saved["model"].items()}
    own_shapes = {name: weight.shape for name, weight in model.state_dict().items()}
    different = saved_shapes.items() ^ own_shapes.items()
    if different:
        raise InputError(
            f"the checkpoint is of another model, they differ in {min(different)[0]}: finish the run with the version that "
            "wrote the checkpoint, or start again with --overwrite in place of --resume"
        )
    set_model_state_dict(model, dict(saved["model"]), options=WHOLE)  # a copy, as the function changes its argument
    if saved["optimizer"]["state"]:
        groups = get_optimizer_state_dict(model, optimizer)["param_groups"]
        state = {"state": saved["optimizer"]["state"], "param_groups": groups}
        set_optimizer_state_dict(model, optimizer, state, options=WHOLE)
