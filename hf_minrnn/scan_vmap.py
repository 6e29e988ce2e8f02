# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""How the scan's ops run under torch.vmap: one call of the op, with the vmapped dimension merged into another dimension.

It is merged into the batch, or for packed sequences into time. With a `reset_state`, whose gradient is a sum over the batch,
it is merged into the channels. That needs masks that are the same along the vmapped dimension; with others, the op runs once
for each index.
"""

import torch

from .gates import NUM_PARTS
from .packed import check_bounds

# The names of the tensors among the ops' arguments, in order, and of the results. A gradient has the name of its tensor.
FORWARD = ("projected", "initial_state", "attention_mask", "resets", "reset_state", "cu_seqlens")
BACKWARD = ("h", "initial_state", "projected", "h", *FORWARD[1:])
FORWARD_RESULTS = ("h", "initial_state")
BACKWARD_RESULTS = ("projected", "initial_state", "reset_state")
MASKS = ("attention_mask", "resets", "cu_seqlens")


def batched(op, names: tuple, results: tuple, info, in_dims: tuple, *args):
    """The rule for `register_vmap`.

    Args:
        op (callable): The op.
        names (tuple of `str`): The names of its tensors; its other arguments follow them.
        results (tuple of `str`): The names of what it returns.
        info, in_dims, args: What torch gives to such a rule.
    """
    size, count = info.batch_size, len(names)
    mapped = [dim is not None for dim in in_dims[:count]]
    tensors = [x.movedim(dim, 0) if on else x for x, dim, on in zip(args, in_dims, mapped)]
    options = args[count:]
    given = dict(zip(names[-5:], tensors[-5:]))
    if given["reset_state"] is None:
        return _in_batch(op, names, results, size, tensors, mapped, given["cu_seqlens"], options)
    if any(on for name, on in zip(names, mapped) if name in MASKS):
        return _in_a_loop(op, size, tensors, mapped, options)
    return _in_channels(op, names, results, size, tensors, mapped, options)


def _in_batch(op, names, results, size, tensors, mapped, cu_seqlens, options):
    expanded = [x if on or x is None else x.expand(size, *x.shape) for x, on in zip(tensors, mapped)]
    batch, time = expanded[names.index("projected")].shape[1:3]
    packed = cu_seqlens is not None
    lengths = (1, size * time) if packed else (size * batch, time)
    folded = []
    for name, x in zip(names, expanded):
        if x is None:
            folded.append(None)
        elif name == "cu_seqlens":
            folded.append(_joined_bounds(x, time))
        elif name == "initial_state":
            folded.append(x.flatten(0, 1))
        else:
            folded.append(x.reshape(*lengths, *x.shape[3:]))
    outputs, dims = [], []
    for name, x in zip(results, op(*folded, *options)):
        if name == "initial_state":
            x = x.unflatten(0, (size, -1))
        elif name != "reset_state":  # without a reset_state, the op's gradient for it is one vector of zeros
            x = x.view(size, batch, time, x.shape[-1])
        outputs.append(x)
        dims.append(None if name == "reset_state" else 0)
    return tuple(outputs), tuple(dims)


def _joined_bounds(cu_seqlens, time):
    size = cu_seqlens.shape[0]
    for bounds in cu_seqlens:
        check_bounds(bounds, time)
    begins = cu_seqlens[:, :-1] + time * torch.arange(size, device=cu_seqlens.device).unsqueeze(1)
    return torch.cat([begins.flatten(), begins.new_full((1,), size * time)])


def _in_channels(op, names, results, size, tensors, mapped, options):
    parts = {"projected": NUM_PARTS[options[0]]}  # blocks of channels, by name; all other tensors have one
    channels = tensors[names.index("reset_state")].shape[-1]
    folded = []
    for name, x, on in zip(names, tensors, mapped):
        if x is not None and name not in MASKS:
            x = x if on else x.expand(size, *x.shape)
            x = x.unflatten(-1, (parts.get(name, 1), channels)).movedim(0, -2).flatten(-3)
        folded.append(x)
    outputs = []
    for name, x in zip(results, op(*folded, *options)):
        outputs.append(x.unflatten(-1, (parts.get(name, 1), size, channels)).movedim(-2, 0).flatten(-2))
    return tuple(outputs), (0,) * len(outputs)


def _in_a_loop(op, size, tensors, mapped, options):
    runs = []
    for n in range(size):
        selected = [x[n] if on else x for x, on in zip(tensors, mapped)]
        runs.append(op(*selected, *options))
    outputs = tuple(torch.stack(values) for values in zip(*runs))
    return outputs, (0,) * len(outputs)
