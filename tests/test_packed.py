# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import pytest
import torch
from torch.nn.utils.rnn import pack_sequence

from hf_minrnn.packed import packed_values, resets_backwards, sequence_order, turn_index

LENGTHS = ([3], [1, 1], [4, 2, 1], [5, 5, 2, 2])


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_sequence_order_puts_the_sequences_one_after_the_other(lengths):
    rows = [torch.arange(n) + 10 * i for i, n in enumerate(lengths)]
    data, batch_sizes, *_ = pack_sequence(rows)
    place, cu_seqlens = sequence_order(batch_sizes, len(lengths), len(data))
    assert torch.equal(torch.cat(rows)[place], data)
    assert cu_seqlens.diff().tolist() == lengths and cu_seqlens[0] == 0


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_every_sequence_is_reversed(lengths):
    bounds = torch.tensor([0, *lengths]).cumsum(0)
    rows = torch.arange(sum(lengths)).split(lengths)
    want = torch.cat([row.flip(0) for row in rows])
    assert torch.equal(turn_index(sum(lengths), bounds, "cpu"), want)
    if len(lengths) == 1:
        assert torch.equal(turn_index(sum(lengths), None, "cpu"), want)


@pytest.mark.parametrize("packed", [False, True])
def test_a_reversed_episode_begins_with_its_last_step(packed):
    resets = torch.tensor([[False, False, True, True, False]])
    bounds = torch.tensor([0, 5]) if packed else None
    got = resets_backwards(resets, turn_index(5, bounds, "cpu"), bounds)
    # The episodes are the steps 0-1, 2 and 3-4. The one that is read first needs no reset.
    assert got.tolist() == [[False, False, True, True, False]]
    assert resets_backwards(None, turn_index(5, bounds, "cpu"), bounds) is None


def test_the_first_step_of_a_sequence_does_not_reset_the_previous_one():
    resets, bounds = torch.tensor([[False, False, True, False]]), torch.tensor([0, 2, 4])
    assert not resets_backwards(resets, turn_index(4, bounds, "cpu"), bounds).any()


def test_resets_packed_in_another_order_are_rejected():
    packed = pack_sequence([torch.randn(3, 2), torch.randn(2, 2)])
    starts = [torch.tensor([True, False, False]), torch.tensor([False, True])]
    assert packed_values("resets", pack_sequence(starts), "bool", packed).tolist() == [True, False, False, True, False]
    with pytest.raises(ValueError, match="in the input's order"):
        packed_values("resets", pack_sequence(starts[::-1], enforce_sorted=False), "bool", packed)
