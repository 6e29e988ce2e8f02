# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""How the scan's ops run under torch.vmap: once, with the vmapped dimension as part of another.

It becomes part of the batch, or of the time of a packed batch. With a reset_state, whose gradient is a sum over the batch, it
becomes part of the channels, which needs masks that are the same all along it. Otherwise the op runs in a loop.
"""

import torch

from .gates import NUM_PARTS

# The tensors among the ops' arguments, in order, and what the ops return. Gradients have the names of what they belong to.
FORWARD = ("projected", "initial_state", "keep", "resets", "reset_state", "cu_seqlens")
BACKWARD = ("h", "initial_state", "projected", "h", *FORWARD[1:])
FORWARD_RESULTS = ("h", "initial_state")
BACKWARD_RESULTS = ("projected", "initial_state", "reset_state")


def check_bounds(cu_seqlens, time) -> None:
    """Refuses bounds of packed sequences that do not rise from 0 to `time`.

    On the CPU only: elsewhere looking would make the host wait for the device, and the kernels keep within the length. And
    not where there are no values to look at: in a graph that is being traced, and along a vmapped dimension.
    """
    traced = torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack()
    if cu_seqlens.is_cpu and not traced and not torch._C._functorch.is_functorch_wrapped_tensor(cu_seqlens):
        bounds = cu_seqlens.tolist()
        if bounds[0] != 0 or bounds[-1] != time or any(i > j for i, j in zip(bounds, bounds[1:])):
            raise ValueError(f"cu_seqlens must rise from 0 to the length {time}, got {bounds[:4]} ... {bounds[-1]}")


def batched(op, names, results, info, in_dims, *args):
    """The rule that `register_vmap` wants, for an op whose tensors have these `names` and which returns these `results`."""
    size, count = info.batch_size, len(names)
    mapped = [dim is not None for dim in in_dims[:count]]
    tensors = [x.movedim(dim, 0) if on else x for x, dim, on in zip(args, in_dims, mapped)]
    options = args[count:]
    given = dict(zip(names[-5:], tensors[-5:]))
    if given["reset_state"] is None:
        return _in_batch(op, names, results, size, tensors, mapped, given["cu_seqlens"], options)
    if any(on for name, on in zip(names, mapped) if name in ("keep", "resets", "cu_seqlens")):
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
        elif name != "reset_state":  # whose gradient is zero, as there is none
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
    parts = {"projected": NUM_PARTS[options[0]]}
    channels = tensors[names.index("reset_state")].shape[-1]
    folded = []
    for name, x, on in zip(names, tensors, mapped):
        if x is not None and name not in ("keep", "resets", "cu_seqlens"):
            x = x if on else x.expand(size, *x.shape)
            x = x.unflatten(-1, (parts.get(name, 1), channels)).movedim(0, -2).flatten(-3)
        folded.append(x)
    outputs = []
    for name, x in zip(results, op(*folded, *options)):
        outputs.append(x.unflatten(-1, (parts.get(name, 1), size, channels)).movedim(-2, 0).flatten(-2))
    return tuple(outputs), (0,) * len(outputs)


def _in_a_loop(op, size, tensors, mapped, options):
    runs = [op(*(x[n] if on else x for x, on in zip(tensors, mapped)), *options) for n in range(size)]
    outputs = tuple(map(torch.stack, zip(*runs)))
    return outputs, (0,) * len(outputs)
