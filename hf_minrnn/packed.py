# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The order of the steps in a PackedSequence and in sequences read backwards, for layers.py."""

import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import PackedSequence

from .calls_minrnn import is_eager


def packed_resets(resets, packed):
    """The data of a PackedSequence of resets, after checking that it matches the input's."""
    if not isinstance(resets, PackedSequence):
        raise ValueError(f"resets of a packed input must be a PackedSequence of bool, got {type(resets).__name__}")
    if is_eager():  # lengths and orders are values
        if not torch.equal(resets.batch_sizes, packed.batch_sizes):
            raise ValueError("resets of a packed input must be a PackedSequence of the same lengths")
        if not torch.equal(_rows_in_order(resets), _rows_in_order(packed)):
            raise ValueError("resets of a packed input must be packed in the input's order")
    if resets.data.dtype != torch.bool or resets.data.shape != packed.data.shape[:1]:
        raise ValueError(f"resets must hold one bool a step, got {resets.data.dtype} of {tuple(resets.data.shape)}")
    return resets.data


def _rows_in_order(packed):
    """The batch's rows, from the longest to the shortest; they are packed as they are where no order is given."""
    data, batch_sizes, order, _ = packed
    return torch.arange(int(batch_sizes[0]), device=data.device) if order is None else order


def sequence_order(batch_sizes, rows: int, steps: int):
    """Where each step of a PackedSequence stands if its sequences follow one another; and their bounds."""
    device = batch_sizes.device  # the CPU, whatever torch.set_default_device says
    lengths = (batch_sizes.unsqueeze(1) > torch.arange(rows, device=device)).sum(0)
    cu_seqlens = F.pad(lengths.cumsum(0), (1, 0))
    time = torch.repeat_interleave(batch_sizes, output_size=steps)  # whose length a compiled graph must know
    sequence = torch.arange(steps, device=device) - (batch_sizes.cumsum(0) - batch_sizes)[time]
    return cu_seqlens[sequence] + time, cu_seqlens


def turn_index(time, cu_seqlens, device):
    """The index that turns every sequence round."""
    position = torch.arange(time, device=device)
    if cu_seqlens is None:
        return time - 1 - position
    sequence = torch.searchsorted(cu_seqlens, position, right=True) - 1
    return cu_seqlens[sequence] + cu_seqlens[sequence + 1] - 1 - position


def resets_backwards(resets, turn, cu_seqlens):
    """Resets for the way back: an episode begins there with its last step, which comes before the next one's first."""
    if resets is None:
        return None
    # Rolled instead of sliced: a slice could have length one, which an exported graph would treat as a special case. A
    # sequence's first step does not belong to the sequence before it.
    ends = turn[:1] if cu_seqlens is None else cu_seqlens[1:] - 1
    return resets.roll(-1, 1).index_fill(1, ends, False).index_select(1, turn)
