# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""One process or many: DDP through Accelerate, FSDP2 through `fully_shard`, and state dicts that know of neither."""

from __future__ import annotations

import argparse
import os

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch.distributed.tensor import DTensor, distribute_tensor

from training.common.errors import InputError


def make_accelerator(args: argparse.Namespace) -> Accelerator:
    """
    Raises:
        InputError: --fsdp in a single process, a plugin of Accelerate's that would do the same, or processes that were
            started together and do not know of each other.
    """
    started = int(os.environ.get("WORLD_SIZE", 1))
    accelerator = Accelerator(
        mixed_precision="bf16" if args.bf16 else "no",
        gradient_accumulation_steps=args.accumulate,
        log_with=args.trackers or None,
        project_dir=args.output_dir,
        # Without a GPU, Accelerate takes each of several processes for the only one unless it is told this.
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
            "leave that to --fsdp, which does it without a configuration"
        )
    if args.fsdp and accelerator.num_processes == 1:
        raise InputError("--fsdp shards over processes, and there is one: start several with torchrun, or leave it out")
    return accelerator


def shard(model: torch.nn.Module, accelerator: Accelerator) -> None:
    """FSDP2, in place: each block, then the rest, is gathered when it is needed and given up again."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    model.to(accelerator.device)
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    for layer in model.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)


def whole_state(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict:
    """Weights and optimizer on the CPU, by parameter names, whatever they are sharded over; to be called by all processes."""
    if hasattr(model, "reshard"):
        model.reshard()  # FSDP2 leaves what belongs to no block whole after an evaluation, as other parameters
    names = {parameter: name for name, parameter in model.named_parameters()}
    state = {names[parameter]: _whole(values) for parameter, values in optimizer.state.items()}
    groups = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    return {"model": _whole(model.state_dict()), "optimizer": {"state": state, "param_groups": groups}}


def _whole(tensors: dict) -> dict:
    return {name: (x.full_tensor() if isinstance(x, DTensor) else x).detach().cpu() for name, x in tensors.items()}


def load_whole_state(model: torch.nn.Module, optimizer: torch.optim.Optimizer, saved: dict) -> None:
    """Takes over what `whole_state` returned; the settings of the optimizer's groups stay today's.

    Raises:
        InputError: The weights are another model's, as those of an older version whose defaults made another block.
    """
    weights, whole = model.state_dict(), saved["model"]
    shapes, wanted = ({name: x.shape for name, x in tensors.items()} for tensors in (whole, weights))
    if foreign := shapes.items() ^ wanted.items():
        raise InputError(
            f"the checkpoint is of another model, they differ in {min(foreign)[0]}: finish it with the version that it was "
            "made with, or start again with --overwrite in place of --resume"
        )
    model.load_state_dict({name: _as(whole[name], own) for name, own in weights.items()})
    names = {parameter: name for name, parameter in model.named_parameters()}
    today = optimizer.state_dict()
    state = {}
    for group, numbered in zip(optimizer.param_groups, today["param_groups"]):
        for parameter, number in zip(group["params"], numbered["params"]):
            values = saved["optimizer"]["state"].get(names[parameter], {})
            # A step counter has no shape, and is not sharded.
            state[number] = {key: _as(x, parameter) if x.ndim else x for key, x in values.items()}
    optimizer.load_state_dict({**today, "state": {number: values for number, values in state.items() if values}})


def _as(whole: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The part of a tensor that this process holds of one sharded as `like`."""
    if not isinstance(like, DTensor):
        return whole
    return distribute_tensor(whole.to(like.device), like.device_mesh, like.placements)
