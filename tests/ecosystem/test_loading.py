# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Resized embeddings, shards, device maps, dtypes and meta tensors, as transformers and accelerate use them."""

import json

import pytest
import torch
from support.model_cases import CONFIGS, build, close, token_ids

from hf_minrnn import MinRNNForCausalLM

NAMES = tuple(CONFIGS)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [90, 130])
def test_resized_embeddings_keep_the_old_rows(name, size, tmp_path):
    model, ids = build(name, eos_token_id=None), token_ids(2, 9).clamp(max=80)
    before = model(ids).logits
    model.resize_token_embeddings(size)
    after = model(ids).logits
    kept = min(size, 97)
    assert after.shape[-1] == size == model.config.vocab_size and close(after[..., :kept], before[..., :kept])
    tied = model.lm_head.weight.data_ptr() == model.get_input_embeddings().weight.data_ptr()
    assert tied == model.config.tie_word_embeddings
    labels = torch.full_like(ids, size - 1)
    assert model(ids, labels=labels).loss.isfinite()
    with pytest.raises(ValueError, match=rf"\[0, {size}\)"):
        model(ids, labels=labels + 1)
    model.save_pretrained(tmp_path)
    assert torch.equal(MinRNNForCausalLM.from_pretrained(tmp_path)(ids).logits, after)


@pytest.mark.parametrize("name", NAMES)
def test_shards_device_maps_and_dtypes(name, tmp_path):
    model, ids = build(name), token_ids(2, 9)
    model.save_pretrained(tmp_path, max_shard_size="10KB")
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())["weight_map"]
    assert len(set(index.values())) > 2 and ("lm_head.weight" in index) != model.config.tie_word_embeddings
    want = model(ids).logits
    for options in ({}, {"device_map": "cpu"}, {"device_map": "auto"}, {"device_map": {"": "cpu"}}):
        loaded = MinRNNForCausalLM.from_pretrained(tmp_path, **options)
        assert torch.equal(loaded(ids).logits, want)
    half = MinRNNForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert half.dtype == torch.bfloat16 and (half(ids).logits.float() - want).norm() < 0.05 * want.norm()


def test_a_model_on_the_meta_device_takes_loaded_weights():
    model, ids = build("minlstm-paper"), token_ids(2, 9)
    with torch.device("meta"):
        empty = MinRNNForCausalLM(model.config)
    assert all(parameter.is_meta for parameter in empty.parameters())
    empty.load_state_dict(model.state_dict(), assign=True)
    assert torch.equal(empty.eval()(ids).logits, model(ids).logits)
