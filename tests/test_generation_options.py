# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""What each option of loading and of `generate` comes to: it works, can be ignored, or is refused by name."""

import pytest
import torch
from model_cases import build, token_ids
from transformers import GenerationConfig

WORKS = None
PAGED, QUANTIZED = "continuous batching .* padded on the left", "cache_implementation='quantized'.* leave it out"
# transformers itself refuses names that it does not know.
CACHES = {
    **dict.fromkeys(("dynamic", "offloaded", "static", "offloaded_static", "sliding_window", "hybrid"), WORKS),
    **dict.fromkeys(("hybrid_chunked", "offloaded_hybrid", "offloaded_hybrid_chunked"), WORKS),
    "quantized": QUANTIZED,
    "paged": PAGED,
    "dynamic_full": "Invalid `cache_implementation` .dynamic_full.",
}


WAYS = [(name, where) for name in CACHES for where in ("argument", "config", "model")]
WAYS.remove(("dynamic_full", "model"))  # transformers does not check a name that is set as an attribute


@pytest.mark.parametrize("name, where", WAYS)
def test_cache_implementations(name, where):
    model, ids = build("mingru", eos_token_id=None), token_ids(2, 7)
    options = {"max_new_tokens": 4, "do_sample": False}
    plain, given = model.generate(ids, **options), {"cache_implementation": name}

    def call():
        if where == "argument":
            return model.generate(ids, **options, **given)
        if where == "config":
            return model.generate(ids, GenerationConfig(**options, **given))
        model.generation_config.cache_implementation = name
        return model.generate(ids, **options)

    if CACHES[name] is WORKS:
        assert torch.equal(call(), plain)
        return
    calls = []
    model.register_forward_pre_hook(lambda *args: calls.append(args))
    with pytest.raises((ValueError, NotImplementedError), match=CACHES[name]):
        call()
    assert not calls


def test_continuous_batching_is_refused_before_any_work(caplog):
    model = build("mingru", eos_token_id=None)
    implementation = model.config._attn_implementation

    def enter():
        with model.continuous_batching_context_manager():
            raise AssertionError("entered")

    for start in (lambda: model.generate_batch([[3, 4, 5]], max_new_tokens=4), model.init_continuous_batching, enter):
        with pytest.raises(NotImplementedError, match=PAGED):
            start()
    assert not caplog.records and model.config._attn_implementation == implementation
