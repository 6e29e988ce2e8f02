# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Stateful training: the states of a row are carried from segment to segment and from checkpoint to checkpoint."""

import numpy as np
import pytest
import torch
from support.model_cases import CONFIGS, build, close, token_ids
from support.train_cases import QUICK, losses

from training import train_lm
from training.common.checkpoint import load_checkpoint
from training.lm.stateful import CarriedStates


class Processes:
    """Stands in for several processes. This is one of them; the tensors of the others are given."""

    device = torch.device("cpu")

    def __init__(self, number=0, count=1, others=None):
        self.process_index, self.num_processes, self.others = number, count, others or []

    def gather(self, x):
        return torch.cat([x, *(other.pop(0) for other in self.others)])


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "checkpointing"])
def test_segments_continue_from_the_state_before_without_its_gradient(name, checkpointing):
    model = build(name).train()
    if checkpointing:
        model.gradient_checkpointing_enable()
    ids, carried = token_ids(2, 12), CarriedStates(model.config, 1)
    logits = []
    for segment in ids.split(4, 1):
        cache = carried.cache(0)
        logits.append(model(segment, past_key_values=cache, use_cache=True).logits)
        carried.keep([cache])
    assert close(torch.cat(logits, 1), model(ids).logits)
    logits[2].sum().backward()
    used = model.model.embed_tokens.weight.grad.abs().sum(1).nonzero().flatten().tolist()
    if not model.config.tie_word_embeddings:
        assert used == sorted(set(ids[:, 8:].flatten().tolist()))
    assert not any(x.requires_grad for layer in carried.micro_batches[0] for x in layer if x is not None)


def test_a_discarded_step_leaves_the_states():
    model = build("mingru")
    carried = CarriedStates(model.config, 1)
    cache = carried.cache(0)
    model(token_ids(2, 5), past_key_values=cache)
    carried.keep([cache])
    before = carried.micro_batches[0][0][0].clone()
    model(token_ids(2, 5, seed=1), past_key_values=carried.cache(0))
    assert torch.equal(carried.micro_batches[0][0][0], before)


@pytest.mark.parametrize("name", ["mingru", "no-conv"])
def test_states_are_distributed_over_any_number_of_processes(name):
    model = build(name)
    whole = CarriedStates(model.config, 1)
    cache = whole.cache(0)
    model(token_ids(8, 5), past_key_values=cache)
    whole.keep([cache])
    layers = whole.gathered(Processes())
    rows = []
    for number in range(2):  # two processes of two micro-batches of two rows
        part = CarriedStates(model.config, 2)
        part.scatter(layers, Processes(number, 2))
        rows.append(part)
    other = [torch.cat(x) for layer in zip(*rows[1].micro_batches) for x in zip(*layer) if x[0] is not None]
    again = rows[0].gathered(Processes(0, 2, [other]))
    for before, after in zip(layers, again):
        assert all(x is y is None or torch.equal(x, y) for x, y in zip(before, after))
    fresh = CarriedStates(model.config, 1)
    assert fresh.gathered(Processes()) is None
    fresh.scatter(None, Processes())
    assert fresh.micro_batches == [None]


def test_a_stateful_run_learns_from_earlier_segments(tmp_path):
    # An upper-case letter repeats the lower-case one three windows before it.
    rng = np.random.default_rng(0)
    text = "".join(letter + "-----" + letter.upper() + "\n" for letter in rng.choice(list("abcdefgh"), 3000))
    path = tmp_path / "memory.txt"
    path.write_text(text)
    common = [*QUICK, "--dataset", str(path), "--sequence-length", "2", "--batch-size", "32", "--steps", "150"]
    common += ["--no-baselines", "--samples", "0", "--hidden-size", "32"]
    found = {}
    for batching in ("packed", "stateful"):
        folder = tmp_path / batching
        found[batching] = train_lm.main([*common, "--batching", batching, "--output-dir", str(folder)])
    assert np.mean(losses(tmp_path / "stateful")[-20:]) < np.mean(losses(tmp_path / "packed")[-20:]) - 0.1
    assert found["stateful"]["heldout_bits_per_byte"] < found["packed"]["heldout_bits_per_byte"]


def test_accumulation_and_checkpointing_change_nothing(text_file, tmp_path):
    common = [*QUICK, "--dataset", text_file, "--stateful", "--steps", "6", "--no-baselines", "--samples", "0"]
    runs = {"whole": ["--batch-size", "4"], "parts": ["--accumulate", "2", "--gradient-checkpointing"]}
    for name, options in runs.items():
        train_lm.main([*common, *options, "--output-dir", str(tmp_path / name)])
        train_lm.Accelerator().free_memory()
    np.testing.assert_allclose(losses(tmp_path / "whole"), losses(tmp_path / "parts"), rtol=1e-4)
    one, other = (load_checkpoint(tmp_path / name)["carried"] for name in runs)
    assert all(close(x, y) for a, b in zip(one, other) for x, y in zip(a, b))
