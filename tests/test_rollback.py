# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Rollback of a recording cache is exact, and speculative decoding with it equals plain decoding."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.model_cases import CONFIGS, build, close, token_ids
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    ByT5Tokenizer,
    DynamicCache,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    StaticCache,
)

from hf_minrnn.cache_minrnn import LAYER_TYPE, RECORDED_TOKENS
from hf_minrnn.compat import DYNAMIC_LAYER_TYPE_MAPPING

NAMES = tuple(CONFIGS)


def recording(model):
    cache = DynamicCache(config=model.config)
    cache.activate_past_recording()
    return cache


def states(cache):
    return [x for layer in cache.layers for x in (*layer.recurrent_states.values(), *layer.conv_states.values())]


def same_states(one, other):
    return all((x is None and y is None) or torch.equal(x, y) for x, y in zip(states(one), states(other), strict=True))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_crop_restores_the_state_of_the_scan(name, dtype):
    """The restored state is the float32 state of the scan, for any dtype of the model."""
    model, prompt, block = build(name).to(dtype), token_ids(2, 9), token_ids(2, 5, seed=1)
    mixers = [layer.mixer for layer in model.model.layers]
    projected = {}
    for mixer in mixers:
        mixer.cell.in_proj.register_forward_hook(lambda module, _, out: projected.__setitem__(module, out))
    with torch.no_grad():
        for back in range(6):
            cache = recording(model)
            model(prompt, past_key_values=cache)
            cache.crop(0)
            before = [layer.recurrent_states[0] for layer in cache.layers]
            model(block, past_key_values=cache)
            cache.crop(-back)
            assert cache.get_seq_length() == 14 - back and not any(layer.history for layer in cache.layers)
            for mixer, layer, state in zip(mixers, cache.layers, before):
                width = mixer.cell.spec.num_parts * mixer.cell.hidden_size
                wanted = mixer.cell.scan(projected[mixer.cell.in_proj][:, : 5 - back, :width], state)[1]
                restored = layer.recurrent_states[0]
                assert restored.dtype == torch.float32 and close(restored, wanted, 1e-6)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.sampled_from(NAMES), st.lists(st.tuples(st.lists(st.integers(1, 6), max_size=4), st.integers(0, 24))), st.data()
)
def test_any_forwards_and_rollbacks(name, rounds, data):
    model, text = build(name), token_ids(1, 200)
    cache, kept = recording(model), 0
    with torch.no_grad():
        for forwards, back in rounds:
            seen = kept
            for n in forwards:
                model(text[:, seen : seen + n], past_key_values=cache)
                seen += n
            kept = seen - min(back, seen - kept)
            cache.crop(kept - seen)
            assert cache.get_seq_length() == kept
        more = token_ids(1, 4, seed=8)
        whole = model(torch.cat([text[:, :kept], more], 1)).logits[:, kept:]
        assert close(model(more, past_key_values=cache).logits, whole)


@pytest.mark.parametrize("name", ["mingru", "minlstm-paper"])
def test_rollback_over_padding(name):
    model, ids = build(name), token_ids(2, 8)
    mask = torch.tensor([[0, 0, 1, 1, 1, 0, 1, 1], [1, 1, 1, 0, 1, 1, 1, 0]])
    for back in range(9):
        cache, short = recording(model), recording(model)
        with torch.no_grad():
            model(ids, attention_mask=mask, past_key_values=cache)
            cache.crop(-back)
            if back < 8:
                model(ids[:, : 8 - back], attention_mask=mask[:, : 8 - back], past_key_values=short)
        assert cache.get_seq_length() == 8 - back
        assert all(x is y is None or close(x, y) for x, y in zip(states(cache), states(short), strict=True))


def test_memory_while_recording_does_not_grow_with_the_prompt():
    model, sizes = build("mingru"), []
    for length in (100, 3000):
        cache = recording(model)
        with torch.no_grad():
            model(token_ids(1, length), past_key_values=cache, logits_to_keep=8)
        entries = [x for layer in cache.layers for entry in layer.history for x in entry]
        sizes.append(sum(x.untyped_storage().nbytes() for x in [*entries, *states(cache)]))
        cache.crop(-RECORDED_TOKENS)
        assert cache.get_seq_length() == length - RECORDED_TOKENS
    assert sizes[0] == sizes[1]


def test_logits_to_keep_tokens_are_recorded():
    model, ids, n = build("mingru"), token_ids(1, 300), RECORDED_TOKENS + 20
    cache = recording(model)
    with torch.no_grad():
        model(ids, past_key_values=cache, logits_to_keep=n)
        cache.crop(-n)
        assert close(model(ids[:, -n:], past_key_values=cache).logits, model(ids).logits[:, -n:])


def test_crops_beyond_the_record_are_rejected():
    model, ids = build("mingru"), token_ids(1, 6)
    with torch.no_grad():
        cache = model(ids).past_key_values
        before = copy.deepcopy(cache)
        cache.crop(0)
        with pytest.raises(RuntimeError, match="only the last 0 are recorded: call activate_past_recording"):
            cache.crop(-1)
        cache.activate_past_recording()
        model(ids[:, :2], past_key_values=cache)
        with pytest.raises(RuntimeError, match="cannot take back 3 tokens, only the last 2"):
            cache.crop(-3)
        with pytest.raises(RuntimeError, match="negative number, got 2"):
            cache.crop(2)
        cache.crop(-2)
        assert same_states(cache, before)
        with pytest.raises(RuntimeError, match="only the last 0"):  # dropped with the crop
            cache.crop(-1)
        with pytest.raises(ValueError, match="cannot continue a cache"):
            model(ids, past_key_values=recording(model), seq_idx=torch.tensor([[0, 0, 0, 1, 1, 1]]))
    with pytest.raises(NotImplementedError, match="static cache cannot be rolled back"):
        StaticCache(config=model.config, max_cache_len=8).activate_past_recording()


def test_the_record_is_reordered_and_copied_with_the_state():
    model, ids, block = build("mingru"), token_ids(3, 6), token_ids(3, 3, seed=1)
    cache = recording(model)
    with torch.no_grad():
        model(ids, past_key_values=cache)
        cache.crop(0)
        model(block, past_key_values=cache)
        cache.reorder_cache(torch.tensor([2, 0, 0]))
        copied = copy.deepcopy(cache)
        cache.crop(-2)
        copied.crop(-2)
        alone = model(torch.cat([ids, block[:, :1]], 1)).past_key_values
        alone.reorder_cache(torch.tensor([2, 0, 0]))
    assert same_states(cache, copied) and all(close(x, y, 1e-6) for x, y in zip(states(cache), states(alone)))
    assert copied.layers[0].record_past and cache.layers[0].recurrent_states[0].shape == (3, 48)


def test_recording_ends_with_record_past():
    model, ids = build("mingru"), token_ids(1, 6)
    cache = recording(model)
    with torch.no_grad():
        model(ids, past_key_values=cache)
        for layer in cache.layers:  # as transformers does when it hands a cache back
            layer.record_past = False
        model(ids, past_key_values=cache)
    assert not any(layer.history for layer in cache.layers)


def test_a_reset_cache_still_records():
    model, ids = build("mingru"), token_ids(1, 6)
    cache = recording(model)
    with torch.no_grad():
        model(ids, past_key_values=cache)
        cache.reset()
        model(ids, past_key_values=cache)
        cache.crop(-6)
    assert cache.get_seq_length() == 0 and not cache.has_previous_state()


@pytest.fixture
def crops(monkeypatch):
    """Records the arguments of every crop of a MinRNN layer."""
    layer_class = DYNAMIC_LAYER_TYPE_MAPPING[LAYER_TYPE]  # another copy of the code may have registered its own
    calls, crop = [], layer_class.crop

    def spy(self, tokens_to_remove):
        calls.append(tokens_to_remove)
        return crop(self, tokens_to_remove)

    monkeypatch.setattr(layer_class, "crop", spy)
    return calls


# No special tokens: a padding token that the model writes would be treated as padding.
NO_TOKENS = {"eos_token_id": None, "pad_token_id": None}


def llama(vocab_size=97):
    torch.manual_seed(1)
    shape = {"vocab_size": vocab_size, "hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(intermediate_size=32, **NO_TOKENS, **shape)).eval()


def draft_of(name, kind):
    """Makes a draft model whose tokens are accepted sometimes, always or rarely."""
    draft = llama() if kind == "llama" else build(name, **NO_TOKENS)
    if kind == "near":
        torch.manual_seed(2)
        with torch.no_grad():
            for parameter in draft.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
    draft.generation_config.num_assistant_tokens = 6
    draft.generation_config.assistant_confidence_threshold = 0.0
    return draft


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["near", "same", "llama"])
def test_assisted_generation_equals_greedy(name, kind, crops):
    model, ids = build(name, **NO_TOKENS), token_ids(1, 11)
    plain = model.generate(ids, max_new_tokens=40, do_sample=False)
    assisted = model.generate(
        ids,
        max_new_tokens=40,
        do_sample=False,
        assistant_model=draft_of(name, kind),
        return_dict_in_generate=True,
        output_scores=True,
    )
    assert torch.equal(assisted.sequences, plain) and len(assisted.scores) == 40
    assert (min(crops) < 0) == (kind != "same") and len(crops) >= 3 * 5
    # The returned cache can be continued like any other, and no longer records.
    cache = assisted.past_key_values
    assert not any(layer.record_past or layer.history for layer in cache.layers)
    more = model.generate(assisted.sequences, past_key_values=cache, max_new_tokens=5, do_sample=False)
    assert torch.equal(more, model.generate(assisted.sequences, max_new_tokens=5, do_sample=False))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "options", [{"prompt_lookup_num_tokens": 5}, {"assistant_early_exit": 1}], ids=["prompt-lookup", "early-exit"]
)
def test_speculation_without_an_assistant_equals_greedy(name, options, crops):
    model, ids = build(name, **NO_TOKENS), token_ids(1, 6).repeat(1, 3)
    plain = model.generate(ids, max_new_tokens=40, do_sample=False)
    assert torch.equal(model.generate(ids, max_new_tokens=40, do_sample=False, **options), plain)
    assert crops and min(crops) < 0


@pytest.mark.parametrize("name", NAMES)
def test_assists_a_transformer(name, crops):
    target, ids = llama(), token_ids(1, 11)
    plain = target.generate(ids, max_new_tokens=40, do_sample=False)
    assert torch.equal(
        target.generate(ids, max_new_tokens=40, do_sample=False, assistant_model=draft_of(name, "same")), plain
    )
    assert min(crops) < 0


def test_assisted_sampling_runs_and_is_seeded():
    model, draft, ids = build("mingru", **NO_TOKENS), draft_of("mingru", "near"), token_ids(1, 11)
    out = []
    for _ in range(2):
        torch.manual_seed(3)
        out.append(model.generate(ids, max_new_tokens=20, do_sample=True, assistant_model=draft))
    assert torch.equal(*out) and out[0].shape == (1, 31)


def test_assisted_generation_from_a_padded_prompt():
    model, draft, ids = build("mingru", **NO_TOKENS), draft_of("mingru", "near"), token_ids(1, 11)
    mask = torch.ones_like(ids)
    mask[:, :4] = 0
    plain = model.generate(ids[:, 4:], max_new_tokens=20, do_sample=False)
    for options in ({"assistant_model": draft}, {"prompt_lookup_num_tokens": 4}):
        out = model.generate(ids, attention_mask=mask, max_new_tokens=20, do_sample=False, **options)
        assert torch.equal(out[:, 11:], plain[:, 7:])


def test_assisted_generation_continues_and_returns_a_cache():
    model, draft, ids = build("mingru", **NO_TOKENS), draft_of("mingru", "near"), token_ids(1, 11)
    with torch.no_grad():
        cache = model(ids[:, :7]).past_key_values
    out = model.generate(ids, past_key_values=cache, max_new_tokens=20, do_sample=False, assistant_model=draft)
    assert torch.equal(out, model.generate(ids, max_new_tokens=20, do_sample=False))
    assert cache.get_seq_length() == 30 and not cache.layers[0].record_past


def test_a_draft_model_keeps_a_record_of_accepted_tokens():
    """With another tokenizer, the final text may differ in tokens that were accepted long ago."""
    model, text = build("mingru", **NO_TOKENS), token_ids(1, 60)
    cache = recording(model)
    for layer in cache.layers:
        layer.kept_tokens = 20
    with torch.no_grad():
        for t in range(0, 60, 3):
            model(text[:, t : t + 3], past_key_values=cache)
            cache.crop(0)
            assert sum(states.shape[1] for states, _ in cache.layers[0].history) <= 20 + 3
        cache.crop(-7)
        cache.crop(-10)
        assert cache.get_seq_length() == 43
        whole = model(text).logits[:, 43:]
        assert close(model(text[:, 43:], past_key_values=cache).logits, whole)


TEXT = "the quick brown fox jumps over the lazy dog and the cat sat on the mat while it rained"


def learnt(model, tokenizer):
    """Trains the model for a few steps on the text, so that some of its drafts are accepted."""
    ids = tokenizer(2 * TEXT, add_special_tokens=False, return_tensors="pt").input_ids
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(40):
        model(ids, labels=ids, use_cache=False).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


@pytest.mark.parametrize("target", ["llama", "minrnn"])
def test_assists_with_another_tokenizer(target, crops):
    """If the tokens of the two tokenizers differ, transformers may roll back accepted tokens."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trained.train_from_iterator([TEXT] * 5, trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet))
    pieces, letters = PreTrainedTokenizerFast(tokenizer_object=trained), ByT5Tokenizer()
    sizes = {"pieces": len(pieces), "letters": len(letters)}
    model = llama(sizes["pieces"]) if target == "llama" else build("mingru", vocab_size=sizes["pieces"], **NO_TOKENS)
    draft = build("minlstm", vocab_size=sizes["letters"], **NO_TOKENS)
    learnt(model, pieces), learnt(draft, letters)
    draft.generation_config.update(num_assistant_tokens=8, assistant_confidence_threshold=0.0)
    ids = pieces("the quick brown fox", return_tensors="pt").input_ids
    options = {"max_new_tokens": 30, "do_sample": False}
    out = model.generate(ids, assistant_model=draft, tokenizer=pieces, assistant_tokenizer=letters, **options)
    assert torch.equal(out, model.generate(ids, **options)) and min(crops) < -8
