# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import copy

import pytest
import torch
from support.model_cases import CONFIGS, build, token_ids
from transformers import DynamicCache, StaticCache

from hf_minrnn import detach_cache
from hf_minrnn.cache_minrnn import MinRNNCacheLayer, MinRNNStaticCacheLayer


def make(kind):
    return make_for("mingru", kind)


def make_for(name, kind):
    config = CONFIGS[name]
    return DynamicCache(config=config) if kind == "dynamic" else StaticCache(config=config, max_cache_len=8)


def filled(kind, ids):
    cache = make(kind)
    with torch.no_grad():
        build("mingru")(ids, past_key_values=cache)
    return cache


KINDS = ["dynamic", "static"]


@pytest.mark.parametrize("kind", KINDS)
def test_layers_and_lengths(kind):
    cache = make(kind)
    wanted = MinRNNCacheLayer if kind == "dynamic" else MinRNNStaticCacheLayer
    assert all(type(layer).__name__ == wanted.__name__ for layer in cache.layers) and len(cache.layers) == 3
    assert cache.get_seq_length() == 0 and not cache.has_previous_state() and cache.layers[0].batch_size == -1
    cache = filled(kind, token_ids(2, 5))
    assert int(cache.get_seq_length()) == 5 and cache.has_previous_state() and cache.batch_size == 2
    assert cache.get_max_length() == -1 and tuple(map(int, cache.get_mask_sizes(3, 0))) == (8, 0)
    assert cache.layers[1].recurrent_states[0].shape == (2, 48) and cache.layers[1].conv_states[0].shape == (2, 3, 24)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("change", "rows"),
    [
        (lambda cache: cache.reorder_cache(torch.tensor([2, 0, 0])), [2, 0, 0]),
        (lambda cache: cache.batch_select_indices(torch.tensor([1])), [1]),
        (lambda cache: cache.batch_repeat_interleave(2), [0, 0, 1, 1, 2, 2]),
    ],
    ids=["reorder", "select", "repeat"],
)
def test_all_states_of_a_row_move_together(kind, change, rows):
    model, ids, more = build("mingru"), token_ids(3, 6), token_ids(6, 2, seed=1)
    cache = filled(kind, ids)
    change(cache)
    with torch.no_grad():
        carried = model(more[: len(rows)], past_key_values=cache).logits
        whole = model(torch.cat([ids[rows], more[: len(rows)]], 1)).logits[:, 6:]
    assert torch.allclose(carried, whole, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_reset_clears_the_states(kind):
    model, ids = build("mingru"), token_ids(2, 6)
    cache = filled(kind, token_ids(2, 6, seed=4))
    cache.reset()
    assert int(cache.get_seq_length()) == 0
    with torch.no_grad():
        assert torch.allclose(model(ids, past_key_values=cache).logits, model(ids).logits, atol=1e-5)


def test_a_static_cache_keeps_its_addresses():
    model, cache = build("mingru"), filled("static", token_ids(2, 6))
    layer = cache.layers[0]
    before = [layer.recurrent_states[0].data_ptr(), layer.conv_states[0].data_ptr(), layer.cumulative_length.data_ptr()]
    with torch.no_grad():
        model(token_ids(2, 3), past_key_values=cache)
    after = [layer.recurrent_states[0].data_ptr(), layer.conv_states[0].data_ptr(), layer.cumulative_length.data_ptr()]
    assert before == after and int(layer.cumulative_length) == 9


def test_reset_does_not_change_tensors_in_use_elsewhere():
    cache = filled("dynamic", token_ids(2, 6))
    kept = cache.layers[0].recurrent_states[0]
    cache.reset()
    assert kept.abs().max() > 0


def test_a_cache_with_gradients_can_be_copied():
    cache = build("mingru")(token_ids(2, 6)).past_key_values
    copied = copy.deepcopy(cache)
    assert cache.layers[0].recurrent_states[0].requires_grad
    assert torch.equal(copied.layers[0].recurrent_states[0], cache.layers[0].recurrent_states[0])
    assert not copied.layers[0].recurrent_states[0].requires_grad and copied.get_seq_length() == 6


def test_a_static_cache_can_be_trained_through_within_a_segment():
    model, ids, cache = build("mingru"), token_ids(2, 6), make("static")
    model(ids, past_key_values=cache)
    carried = model(ids, past_key_values=cache).logits
    carried.sum().backward()
    assert torch.allclose(carried, model(torch.cat([ids, ids], 1)).logits[:, 6:], atol=1e-4)


def test_a_copy_is_independent():
    model, ids = build("mingru"), token_ids(2, 6)
    cache = filled("dynamic", ids)
    kept = copy.deepcopy(cache)
    with torch.no_grad():
        first = model(token_ids(2, 3, seed=1), past_key_values=cache).logits
        assert kept.get_seq_length() == 6
        assert torch.equal(model(token_ids(2, 3, seed=1), past_key_values=kept).logits, first)


def test_keys_and_values_are_rejected():
    with pytest.raises(TypeError, match="not keys and values"):
        make("dynamic").update(torch.zeros(1), torch.zeros(1), 0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "checkpointing"])
def test_detached_segments_of_a_long_text(kind, checkpointing):
    """With detach_cache, the logits equal those of the whole text, and gradients end at the segment's first token."""
    model, ids, cache = build("no-conv").train(), token_ids(2, 12), make_for("no-conv", kind)
    if checkpointing:
        model.gradient_checkpointing_enable()
    whole = model(ids, use_cache=False).logits.detach()
    for begin in (0, 4, 8):
        given = [layer.recurrent_states[0] for layer in cache.layers]
        given = [None if state is None else state.detach().clone() for state in given]
        output = model(ids[:, begin : begin + 4], past_key_values=detach_cache(cache))
        assert output.past_key_values is cache
        assert (output.logits - whole[:, begin : begin + 4]).abs().max() < 1e-4
        model.zero_grad()
        output.logits.square().sum().backward()  # raises if it reaches an earlier segment
        grads = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        fresh = make_for("no-conv", "dynamic")
        if begin:
            for layer, state in zip(fresh.layers, given):
                layer.advance(state, None, begin)
        model.zero_grad()
        model(ids[:, begin : begin + 4], past_key_values=fresh).logits.square().sum().backward()
        for name, p in model.named_parameters():
            assert p.grad is None or torch.allclose(grads[name], p.grad, rtol=1e-4, atol=1e-5), name


def test_training_continues_from_a_state_computed_in_inference_mode():
    model, ids = build("mingru"), token_ids(2, 6)
    with torch.inference_mode():
        cache = model(ids).past_key_values
    loss = model(ids, past_key_values=detach_cache(cache), labels=ids).loss
    loss.backward()
    assert model.lm_head.weight.grad.isfinite().all()
