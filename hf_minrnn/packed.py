# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Packed sequences: checks of cu_seqlens, and the order of steps in a PackedSequence and in reversed sequences."""

import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import PackedSequence

from .torch_private import is_eager, is_wrapped, len_dispatch_stack

# --- cu_seqlens ------------------------------------------------------------------------------------------------------


def check_cu_seqlens(cu_seqlens: torch.Tensor, batch: int) -> None:
    """Raises `ValueError` unless `cu_seqlens` is a 1-D integer tensor and the batch size is 1. Reads no values."""
    is_1d = isinstance(cu_seqlens, torch.Tensor) and cu_seqlens.dim() == 1 and cu_seqlens.numel() > 1
    if not is_1d or cu_seqlens.is_floating_point() or cu_seqlens.is_complex() or cu_seqlens.dtype == torch.bool:
        got = repr(cu_seqlens)
        if isinstance(cu_seqlens, torch.Tensor):
            got = f"{cu_seqlens.dtype} of shape {tuple(cu_seqlens.shape)}"
        raise ValueError(f"cu_seqlens must be a 1-D integer tensor [0, ..., time], got {got}")
    if batch != 1:
        raise ValueError(f"cu_seqlens needs batch size 1, got {batch}: flatten the batch first")


def check_bounds(cu_seqlens: torch.Tensor, time: int, name: str = "cu_seqlens") -> None:
    """Raises `ValueError` unless the offsets rise from 0 to `time`.

    Only values on the CPU are read: elsewhere the host would have to wait for the device, and the kernels never read outside
    of the input. A traced graph and a vmapped dimension have no values to read.

    >>> check_bounds(torch.tensor([0, 3, 2]), 5)
    Traceback (most recent call last):
    ...
    ValueError: cu_seqlens must rise from 0 to the length 5, got [0, 3, 2] ... 2
    """
    traced = torch.compiler.is_compiling() or len_dispatch_stack()
    if not cu_seqlens.is_cpu or traced or is_wrapped(cu_seqlens):
        return
    bounds = cu_seqlens.tolist()
    if bounds[0] != 0 or bounds[-1] != time or any(i > j for i, j in zip(bounds, bounds[1:])):
        raise ValueError(f"{name} must rise from 0 to the length {time}, got {bounds[:4]} ... {bounds[-1]}")


# --- PackedSequence --------------------------------------------------------------------------------------------------


def packed_values(name: str, values: PackedSequence, kind: str, packed: PackedSequence) -> torch.Tensor:
    """Returns the data of a PackedSequence of resets or time gaps, one value for each step.

    Args:
        name (`str`): The name of the argument.
        values (`PackedSequence`): The argument.
        kind (`str`): "bool" or "float", what it must hold.
        packed (`PackedSequence`): The input.

    Raises:
        ValueError: If it is not a PackedSequence of this kind with the lengths and the order of the input.
    """
    if not isinstance(values, PackedSequence):
        raise ValueError(f"{name} of a packed input must be a PackedSequence of {kind}, got {type(values).__name__}")
    if is_eager():  # lengths and orders are values
        if not torch.equal(values.batch_sizes, packed.batch_sizes):
            raise ValueError(f"{name} of a packed input must be a PackedSequence of the same lengths")
        if not torch.equal(_rows_in_order(values), _rows_in_order(packed)):
            raise ValueError(f"{name} of a packed input must be packed in the input's order")
    data = values.data
    is_kind = data.is_floating_point() if kind == "float" else data.dtype == torch.bool
    if not is_kind or data.shape != packed.data.shape[:1]:
        raise ValueError(f"{name} must hold one {kind} a step, got {data.dtype} of {tuple(data.shape)}")
    return data


def _rows_in_order(packed):
    """Returns the batch's rows from the longest to the shortest. Without sorted indices they are in order already."""
    data, batch_sizes, order, _ = packed
    return torch.arange(int(batch_sizes[0]), device=data.device) if order is None else order


def sequence_order(batch_sizes: torch.Tensor, rows: int, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the position of each step of a PackedSequence if its sequences follow one another, and their `cu_seqlens`.

    Args:
        batch_sizes (`torch.Tensor` of shape `(longest,)`, integer): As in a PackedSequence, on the CPU.
        rows (`int`): Number of sequences, the first of the batch sizes.
        steps (`int`): Number of steps of all sequences, the sum of the batch sizes.

    Returns:
        `(position, cu_seqlens)`, integer tensors of shapes `(steps,)` and `(rows + 1,)`.

    >>> sequence_order(torch.tensor([2, 2, 1]), rows=2, steps=5)  # sequences of 3 and 2 steps
    (tensor([0, 3, 1, 4, 2]), tensor([0, 3, 5]))
    """
    device = batch_sizes.device  # the CPU, regardless of torch.set_default_device
    lengths = (batch_sizes.unsqueeze(1) > torch.arange(rows, device=device)).sum(0)
    cu_seqlens = F.pad(lengths.cumsum(0), (1, 0))
    time = torch.repeat_interleave(batch_sizes, output_size=steps)  # a compiled graph must know the length
    sequence = torch.arange(steps, device=device) - (batch_sizes.cumsum(0) - batch_sizes)[time]
    return cu_seqlens[sequence] + time, cu_seqlens


# --- reversed sequences ----------------------------------------------------------------------------------------------


def turn_index(time: int, cu_seqlens: torch.Tensor | None, device: torch.device | str) -> torch.Tensor:
    """Returns the index along time, of shape `(time,)`, that reverses every sequence.

    >>> turn_index(5, torch.tensor([0, 3, 5]), "cpu")
    tensor([2, 1, 0, 4, 3])
    """
    position = torch.arange(time, device=device)
    if cu_seqlens is None:
        return time - 1 - position
    sequence = torch.searchsorted(cu_seqlens, position, right=True) - 1
    return cu_seqlens[sequence] + cu_seqlens[sequence + 1] - 1 - position


def resets_backwards(
    resets: torch.Tensor | None, turn: torch.Tensor, cu_seqlens: torch.Tensor | None
) -> torch.Tensor | None:
    """Returns the resets of the reversed sequences. Read backwards, an episode starts with its last step.

    An episode's last step is the one before the next episode's first.

    Args:
        resets (`torch.Tensor` of shape `(batch, time)`, bool, *optional*): The resets.
        turn (`torch.Tensor` of shape `(time,)`): The result of `turn_index`.
        cu_seqlens (`torch.Tensor` of shape `(sequences + 1,)`, *optional*): Offsets of packed sequences.

    Returns:
        `torch.Tensor` of shape `(batch, time)`, or `None` without resets.

    >>> resets = torch.tensor([[False, False, True, False]])  # episodes of two steps each
    >>> resets_backwards(resets, turn_index(4, None, "cpu"), None)
    tensor([[False, False,  True, False]])
    """
    if resets is None:
        return None
    # Rolled instead of sliced: a slice could have length one, which an exported graph would treat as a special case. A
    # sequence's first step does not belong to the sequence before it.
    ends = turn[:1] if cu_seqlens is None else cu_seqlens[1:] - 1
    return resets.roll(-1, 1).index_fill(1, ends, False).index_select(1, turn)
