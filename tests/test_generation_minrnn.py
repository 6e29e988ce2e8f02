# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import copy

import pytest
import torch
from support.model_cases import CONFIGS, PLACES, build, close, pad, token_ids
from transformers import CompileConfig, DynamicCache, StaticCache, StoppingCriteriaList
from transformers.generation import stopping_criteria

NAMES = tuple(CONFIGS)


def greedy(model, ids, steps):
    """Decodes greedily without a cache: the whole text is computed again for each token."""
    for _ in range(steps):
        ids = torch.cat([ids, model(ids, use_cache=False).logits[:, -1].argmax(-1, keepdim=True)], 1)
    return ids


CACHES = {
    "dynamic": {},
    "static": {"cache_implementation": "static"},
    "offloaded": {"cache_implementation": "offloaded"},
    "offloaded-static": {"cache_implementation": "offloaded_static"},
    "chunks": {"prefill_chunk_size": 4},
    "chunks-static": {"prefill_chunk_size": 4, "cache_implementation": "static"},
}
SEARCHES = {
    "greedy": {},
    "sample": {"do_sample": True, "top_k": 20, "temperature": 1.3},
    "samples": {"do_sample": True, "num_return_sequences": 3},
    "beam": {"num_beams": 3, "num_return_sequences": 2},
    "beam-sample": {"num_beams": 3, "num_return_sequences": 2, "do_sample": True},
    "processors": {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2},
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("kind", CACHES)
def test_every_mode_equals_generation_without_cache(name, search, kind):
    model, ids = build(name, eos_token_id=None), token_ids(2, 9)
    out = []
    for options in (CACHES[kind], {"use_cache": False}):
        torch.manual_seed(5)
        out.append(model.generate(ids, max_new_tokens=8, **{"do_sample": False, **SEARCHES[search]}, **options))
    assert torch.equal(*out) and out[0].shape == (2 * SEARCHES[search].get("num_return_sequences", 1), 17)
    if search == "greedy":
        with torch.no_grad():
            assert torch.equal(out[0], greedy(model, ids, 8))


def test_beams_that_end_equal_beams_without_cache():
    model, ids = build("mingru"), token_ids(3, 6)
    options = {"max_new_tokens": 12, "num_beams": 3, "num_return_sequences": 2, "early_stopping": True}
    free = build("mingru", eos_token_id=None).generate(ids, **options)
    model.generation_config.eos_token_id = free[0, 9].item()
    out = [model.generate(ids, use_cache=use_cache, **options) for use_cache in (True, False)]
    assert torch.equal(*out) and (out[0][:, 6:-1] == free[0, 9]).any()


@pytest.mark.parametrize("name", NAMES)
def test_scores_and_hidden_states_equal_those_without_cache(name):
    model, ids = build(name, eos_token_id=None), token_ids(2, 6)
    wanted = {"output_scores": True, "output_logits": True, "output_hidden_states": True}
    out, uncached = (
        model.generate(
            ids, max_new_tokens=5, do_sample=False, use_cache=use_cache, return_dict_in_generate=True, **wanted
        )
        for use_cache in (True, False)
    )
    assert torch.equal(out.sequences, uncached.sequences) and len(out.scores) == len(out.hidden_states) == 5
    assert all(close(*pair) for pair in zip(out.scores, uncached.scores))
    assert all(close(*pair) for pair in zip(out.logits, uncached.logits))
    for step, full in zip(out.hidden_states, uncached.hidden_states):
        assert len(step) == model.config.num_hidden_layers + 1
        assert all(close(x[:, -1], y[:, -1]) for x, y in zip(step, full))


def test_streamer_and_stopping_criteria():
    class Streamer:
        def __init__(self):
            self.tokens, self.ended = [], False

        def put(self, value):
            self.tokens += value.flatten().tolist()

        def end(self):
            self.ended = True

    model, ids, streamer = build("mingru", eos_token_id=None), token_ids(1, 6), Streamer()
    plain = model.generate(ids, max_new_tokens=8, do_sample=False)[0].tolist()

    def stop(input_ids, scores, **kwargs):
        return torch.full((input_ids.shape[0],), input_ids[0, -1].item() == plain[10])

    out = model.generate(
        ids, max_new_tokens=8, do_sample=False, streamer=streamer, stopping_criteria=StoppingCriteriaList([stop])
    )
    assert out[0].tolist() == plain[: plain.index(plain[10], 6) + 1] == streamer.tokens and streamer.ended


@pytest.mark.parametrize("name", ["mingru", "minlstm-paper"])
def test_decoding_compiles_to_one_graph(name):
    model, ids = build(name, eos_token_id=None), token_ids(2, 9)
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    compiled = CompileConfig(backend=backend, fullgraph=True, dynamic=False, mode=None)
    compiled._compile_all_devices = True
    out = model.generate(ids, max_new_tokens=8, do_sample=False, cache_implementation="static", compile_config=compiled)
    assert torch.equal(out, model.generate(ids, max_new_tokens=8, do_sample=False))
    assert len(graphs) == 1
    out = model.generate(  # with rows that may end, too
        ids, max_new_tokens=8, do_sample=False, cache_implementation="static", compile_config=compiled, eos_token_id=96
    )
    assert len(graphs) == 2 and out.shape[1] <= 17


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("lengths", [(3, 9, 6), (1, 2, 9)], ids=str)
def test_generate_with_left_padding_equals_each_row_alone(name, lengths):
    model, ids = build(name, eos_token_id=None), token_ids(3, 9)
    padded, mask = pad(ids, [list(range(9 - n, 9)) for n in lengths], 9)
    out = model.generate(padded, attention_mask=mask, max_new_tokens=6, do_sample=False)
    for row, n in enumerate(lengths):
        alone = model.generate(ids[row : row + 1, :n], max_new_tokens=6, do_sample=False)
        assert torch.equal(out[row, 9:], alone[0, n:])


@pytest.mark.parametrize("name", NAMES)
def test_generate_continues_a_returned_cache(name):
    # Without a padding token, because generate would treat a generated padding token as padding.
    model, ids = build(name, eos_token_id=None, pad_token_id=None), token_ids(2, 7)
    first = model.generate(ids, max_new_tokens=4, do_sample=False, return_dict_in_generate=True)
    grown = torch.cat([first.sequences, token_ids(2, 3, seed=2)], 1)
    for kind in (first.past_key_values, None):
        cache = copy.deepcopy(kind)
        out = model.generate(grown, past_key_values=cache, max_new_tokens=5, do_sample=False)
        assert torch.equal(out, greedy(model, grown, 5))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["dynamic", "static", "offloaded"])
def test_generate_from_embeddings(name, kind):
    model, ids = build(name, eos_token_id=None), token_ids(2, 7)
    embeds = model.get_input_embeddings()(ids)
    out = model.generate(inputs_embeds=embeds, max_new_tokens=5, do_sample=False, **CACHES[kind])
    assert torch.equal(out, greedy(model, ids, 5)[:, 7:])
    padded = torch.cat([torch.full_like(embeds[:, :2], 30.0), embeds], 1)
    mask = torch.ones(2, 9, dtype=torch.long)
    mask[:, :2] = 0
    options = {"max_new_tokens": 5, "do_sample": False, **CACHES[kind]}
    for chunk in (None, 4):
        options["prefill_chunk_size"] = chunk
        assert torch.equal(model.generate(inputs_embeds=padded, attention_mask=mask, **options), out)


@pytest.mark.parametrize("options", [{"cache_implementation": "static"}, {"prefill_chunk_size": 4}], ids=str)
def test_generate_modes_with_left_padding(options):
    model, ids = build("mingru", eos_token_id=None), token_ids(3, 9)
    padded, mask = pad(ids, [list(range(9 - n, 9)) for n in (3, 9, 6)], 9)
    plain = model.generate(padded, attention_mask=mask, max_new_tokens=6, do_sample=False)
    assert torch.equal(model.generate(padded, attention_mask=mask, max_new_tokens=6, do_sample=False, **options), plain)


def test_a_row_that_ended_early_can_be_continued():
    model, ids = build("mingru", eos_token_id=None), token_ids(2, 7)
    free = model.generate(ids, max_new_tokens=8, do_sample=False)[:, 7:]
    eos = next(t for t in free[0].tolist()[:4] if t not in free[1])  # the first row ends early, the second never
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = eos, 0
    first = model.generate(ids, max_new_tokens=8, do_sample=False, return_dict_in_generate=True)
    written = first.sequences[:, 7:]
    end = written[0].tolist().index(eos) + 1
    assert end < 8 and (written[0, end:] == 0).all() and eos not in written[1]
    mask = torch.ones_like(first.sequences)
    mask[0, 7 + end :] = 0
    more = token_ids(2, 3, seed=2)
    grown, mask = torch.cat([first.sequences, more], 1), torch.cat([mask, torch.ones_like(more)], 1)
    model.generation_config.eos_token_id = None
    out = model.generate(
        grown, attention_mask=mask, past_key_values=first.past_key_values, max_new_tokens=4, do_sample=False
    )
    alone = torch.cat([first.sequences[:1, : 7 + end], more[:1]], 1)
    assert torch.equal(out[0, -4:], greedy(model, alone, 4)[0, -4:])
    assert torch.equal(out[1, -4:], greedy(model, grown[1:], 4)[0, -4:])


@pytest.mark.parametrize("side", ["right", "mixed"])
def test_padding_at_the_end_of_a_prompt_is_rejected(side):
    model, ids = build("mingru"), token_ids(3, 17)
    padded, mask = pad(ids, PLACES[side], 17)
    with pytest.raises(ValueError, match="padding_side='left'"):
        model.generate(padded, attention_mask=mask, max_new_tokens=2)


def test_a_mask_of_ones_and_zeros_may_be_floating_point():
    model, ids = build("mingru", eos_token_id=None), token_ids(2, 6)
    mask = torch.ones(2, 6)
    mask[0, :2] = 0
    out = [model.generate(ids, attention_mask=each, max_new_tokens=4, do_sample=False) for each in (mask, mask.long())]
    assert torch.equal(*out)
    padded = torch.cat([torch.zeros(2, 3), torch.ones(2, 3)], 1)  # the first chunk is padding only
    out = [
        model.generate(ids, attention_mask=padded.to(dtype), max_new_tokens=4, do_sample=False, prefill_chunk_size=3)
        for dtype in (torch.float32, torch.int64)
    ]
    assert torch.equal(*out)
    with pytest.raises(ValueError, match="attention_mask"):  # an additive mask
        model.generate(ids, attention_mask=(1 - mask) * torch.finfo(mask.dtype).min, max_new_tokens=4)


def test_padding_tokens_at_the_end_of_a_prompt_without_mask_are_rejected():
    model, ids = build("mingru"), token_ids(2, 6)
    ids[0, -1] = model.config.pad_token_id
    with pytest.raises(ValueError, match="padding_side='left'"):
        model.generate(ids, max_new_tokens=2)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("options", [{}, {"prefill_chunk_size": 2}, {"num_beams": 2}], ids=str)
def test_continuing_with_new_ids_and_the_full_mask(name, options):
    model, ids = build(name, eos_token_id=None), token_ids(2, 7)
    prompt, mask = pad(ids, [[2, 3, 4, 5, 6], list(range(7))], 7)
    first = model.generate(prompt, attention_mask=mask, max_new_tokens=4, do_sample=False, return_dict_in_generate=True)
    grown = torch.cat([first.sequences, token_ids(2, 3, seed=2)], 1)
    whole = torch.cat([mask, torch.ones(2, 7, dtype=torch.long)], 1)
    new = grown[:, first.past_key_values.get_seq_length() :]
    options = {"attention_mask": whole, "max_new_tokens": 5, "do_sample": False, **options}
    if options.get("num_beams"):
        first.past_key_values.batch_repeat_interleave(2)
    out = model.generate(new, past_key_values=first.past_key_values, **options)
    assert torch.equal(out[:, -5:], model.generate(grown, **options)[:, -5:])


def test_prompts_that_do_not_fit_the_cache_are_rejected():
    model, ids = build("mingru", eos_token_id=None), token_ids(2, 7)
    with torch.no_grad():
        cache = model(ids).past_key_values
        for inputs in (
            {"input_ids": ids[:, :3]},  # new, without the mask for all
            {"input_ids": ids},  # nothing new
            {"input_ids": ids[:, :3], "attention_mask": torch.ones(2, 9).long()},
            {"inputs_embeds": model.get_input_embeddings()(ids[:, :3])},
            {"input_ids": token_ids(2, 9, seed=3)},  # new, and more than the cache has seen
        ):
            with pytest.raises(ValueError, match="past_key_values has seen 7 tokens"):
                model.generate(past_key_values=cache, max_new_tokens=2, **inputs)
        for name in ("seq_idx", "cu_seq_lens_q", "resets"):
            with pytest.raises(ValueError, match=f"and no {name}: give"):
                model.generate(ids, max_new_tokens=2, **{name: torch.zeros_like(ids)})
        assert cache.get_seq_length() == 7


@pytest.mark.parametrize("use_cache", [True, False])
def test_generate_passes_no_position_ids(use_cache):
    model, ids, given = build("mingru"), token_ids(2, 7), []
    model.register_forward_pre_hook(
        lambda module, args, kwargs: given.append(kwargs.get("position_ids")), with_kwargs=True
    )
    mask = torch.tensor([[0] * 3 + [1] * 4, [1] * 7])
    model.generate(ids, attention_mask=mask, max_new_tokens=3, eos_token_id=None, use_cache=use_cache)
    assert given == [None] * 3


def test_ended_rows_are_those_of_the_eos_token_id_of_the_call():
    """This also holds if only the call has an eos_token_id, and if the padding token is the ending token."""
    model, ids = build("mingru", eos_token_id=None), token_ids(2, 7)
    free = model.generate(ids, max_new_tokens=8, do_sample=False)[:, 7:]
    eos = next(t for t in free[0].tolist()[:4] if t not in free[1])
    for pad_token in (eos, 0, free[1, 3].item()):
        first = model.generate(
            ids,
            max_new_tokens=8,
            do_sample=False,
            return_dict_in_generate=True,
            eos_token_id=eos,
            pad_token_id=pad_token,
        )
        assert torch.equal(first.sequences[1, 7:], free[1])
        length = 7 + first.sequences[0, 7:].tolist().index(eos) + 1
        with torch.no_grad():
            alone = model(first.sequences[:1, :length]).past_key_values
        for layer, wanted in zip(first.past_key_values.layers, alone.layers):
            assert close(layer.recurrent_states[0][:1], wanted.recurrent_states[0])
            assert close(layer.conv_states[0][:1], wanted.conv_states[0])


@pytest.mark.parametrize("num_return_sequences", [1, 2])
def test_rows_ended_by_any_criterion_keep_their_state(num_return_sequences):
    """With an eos_token_id, transformers feeds padding to every row that has ended, for any reason."""
    model, ids = build("mingru", eos_token_id=None), token_ids(2, 7)
    options = {"do_sample": True, "num_return_sequences": num_return_sequences, "max_new_tokens": 8}

    def stop(input_ids, scores, **kwargs):
        return torch.arange(input_ids.shape[0]) < (input_ids.shape[1] >= 10)  # the first row, at 10 tokens

    torch.manual_seed(1)
    out = model.generate(
        ids,
        stopping_criteria=StoppingCriteriaList([stop]),
        return_dict_in_generate=True,
        eos_token_id=96,
        suppress_tokens=[96],
        pad_token_id=0,
        **options,
    )
    assert (out.sequences[0, 10:] == 0).all() and (out.sequences[1, 10:] != 0).any()
    with torch.no_grad():
        alone = model(out.sequences[:1, :10]).past_key_values
    for layer, wanted in zip(out.past_key_values.layers, alone.layers):
        assert close(layer.recurrent_states[0][:1], wanted.recurrent_states[0])


def test_generation_with_offloaded_weights():
    from accelerate import cpu_offload

    model, ids = build("mingru", eos_token_id=None), token_ids(2, 7)
    plain = model.generate(ids, max_new_tokens=5, do_sample=False)
    offloaded = cpu_offload(build("mingru", eos_token_id=None), execution_device=torch.device("cpu"))
    assert torch.equal(offloaded.generate(ids, max_new_tokens=5, do_sample=False), plain)


LENGTHS = {
    "default": (20, {}),
    "length": (28, {"max_length": 40}),
    "new-tokens": (30, {"max_new_tokens": 30}),
    "static": (30, {"max_new_tokens": 30, "cache_implementation": "static"}),
    "beams": (30, {"max_new_tokens": 30, "num_beams": 2}),
    "lookup": (30, {"max_new_tokens": 30, "prompt_lookup_num_tokens": 3}),
    "assistant": (30, {"max_new_tokens": 30, "assistant_model": "mingru"}),
}


# Speculative decoding needs ids.
MODES = [(kind, embedded) for kind in LENGTHS for embedded in (False, True)]
MODES = [(kind, embedded) for kind, embedded in MODES if not (embedded and kind in ("lookup", "assistant"))]


@pytest.mark.parametrize("kind, embedded", MODES)
def test_max_position_embeddings_is_no_limit(kind, embedded, monkeypatch):
    """Texts continue beyond `max_position_embeddings`, without a warning."""
    said, ids, out = [], token_ids(1, 12), []
    monkeypatch.setattr(stopping_criteria.logger, "warning_once", said.append)
    steps, options = LENGTHS[kind]
    for limit in (8, None):
        models = [build(name, eos_token_id=None, max_position_embeddings=limit) for name in ("minlstm", "mingru")]
        model, given = models[0], dict(options)
        if kind == "assistant":
            given["assistant_model"] = models[1]
        prompt = {"inputs_embeds": model.get_input_embeddings()(ids)} if embedded else {"inputs": ids}
        out.append(model.generate(**prompt, do_sample=False, **given))
    assert torch.equal(*out) and out[0].shape[1] == steps + (0 if embedded else 12) and not said


@pytest.mark.parametrize("static", [False, True])
def test_a_given_cache_recognizes_its_text_afterwards(static):
    model, ids = build("mingru", eos_token_id=None, pad_token_id=None), token_ids(2, 6)
    cache = StaticCache(config=model.config, max_cache_len=64) if static else DynamicCache(config=model.config)
    grown = model.generate(ids, past_key_values=cache, max_new_tokens=4, do_sample=False)
    for wrong in (token_ids(2, 12, seed=4), grown.flip(0)):
        with pytest.raises(ValueError, match="past_key_values has seen 9 tokens"):
            model.generate(torch.cat([wrong, ids], 1), past_key_values=cache, max_new_tokens=2)
    out = model.generate(grown, past_key_values=cache, max_new_tokens=4, do_sample=False)
    assert torch.equal(out, greedy(model, ids, 8))


def test_beam_search_continues_a_cache_with_repeated_rows():
    model, ids = build("mingru", eos_token_id=None, pad_token_id=None), token_ids(1, 6)
    options = {"num_beams": 3, "max_new_tokens": 4}
    with torch.no_grad():
        cache = model(ids[:, :4]).past_key_values
    with pytest.raises(ValueError, match="batch_repeat_interleave"):
        model.generate(ids, past_key_values=cache, **options)
    cache.batch_repeat_interleave(3)
    assert torch.equal(model.generate(ids, past_key_values=cache, **options), model.generate(ids, **options))


def test_a_cache_of_single_forwards_recognizes_its_text():
    model, ids = build("mingru", eos_token_id=None, pad_token_id=None), token_ids(1, 9)
    with torch.no_grad():
        cache = model(ids[:, :4]).past_key_values
        for step in range(4, 8):
            model(ids[:, step : step + 1], past_key_values=cache)
    with pytest.raises(ValueError, match="past_key_values has seen 8 tokens"):
        model.generate(token_ids(1, 9, seed=5), past_key_values=cache, max_new_tokens=2)
    assert torch.equal(
        model.generate(ids, past_key_values=cache, max_new_tokens=3, do_sample=False), greedy(model, ids, 3)
    )


def test_a_forward_without_tokens_leaves_a_cache_that_can_be_continued():
    model, ids = build("mingru", eos_token_id=None, pad_token_id=None), token_ids(2, 6)
    with torch.no_grad():
        cache = model(ids[:, :4]).past_key_values
        model(ids[:, :0], past_key_values=cache)
    out = model.generate(ids, past_key_values=cache, max_new_tokens=3, do_sample=False)
    assert torch.equal(out, greedy(model, ids, 3))


@pytest.mark.parametrize("kind", ["dynamic", "static", "returned"])
def test_the_cache_of_a_beam_search_cannot_be_continued(kind):
    model, ids, in_dict = build("mingru", eos_token_id=None, pad_token_id=None), token_ids(1, 6), kind == "returned"
    caches = {
        "dynamic": lambda: DynamicCache(config=model.config),
        "static": lambda: StaticCache(config=model.config, max_cache_len=64),
    }
    cache = caches.get(kind, lambda: None)()
    options = {"num_beams": 3, "num_return_sequences": 3, "max_new_tokens": 4, "return_dict_in_generate": in_dict}
    found = model.generate(ids, past_key_values=cache, **options)
    texts, cache = (found.sequences, found.past_key_values) if in_dict else (found, cache)
    for given in (cache, copy.deepcopy(cache)):
        with pytest.raises(ValueError, match="comes from a beam search"):
            model.generate(texts, past_key_values=given, max_new_tokens=2)
    cache.reset()
    out = model.generate(ids, past_key_values=cache, max_new_tokens=4, do_sample=False)
    assert torch.equal(out, greedy(model, ids, 4))
