# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import copy

import pytest
import torch
from model_cases import CONFIGS, PLACES, build, pad, token_ids

NAMES = tuple(CONFIGS)


def greedy(model, ids, steps):
    """Greedy decoding with everything computed anew for every token."""
    for _ in range(steps):
        ids = torch.cat([ids, model(ids, use_cache=False).logits[:, -1].argmax(-1, keepdim=True)], 1)
    return ids


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("options", [{}, {"cache_implementation": "static"}, {"prefill_chunk_size": 4}], ids=str)
def test_greedy_generate_equals_decoding_without_cache(name, options):
    model, ids = build(name, eos_token_id=None), token_ids(2, 9)
    with torch.no_grad():
        assert torch.equal(model.generate(ids, max_new_tokens=8, do_sample=False, **options), greedy(model, ids, 8))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "options", [{"num_beams": 3}, {"do_sample": True}, {"num_beams": 2, "do_sample": True}], ids=str
)
def test_generate_with_and_without_cache_agree(name, options):
    model, ids = build(name, eos_token_id=None), token_ids(2, 6)
    out = []
    for use_cache in (True, False):
        torch.manual_seed(5)
        out.append(
            model.generate(ids, max_new_tokens=7, use_cache=use_cache, num_return_sequences=2, **options)
            if options.get("num_beams", 1) > 1
            else model.generate(ids, max_new_tokens=7, use_cache=use_cache, **options)
        )
    assert torch.equal(*out)


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
    model, ids = build(name, eos_token_id=None), token_ids(2, 7)
    first = model.generate(ids, max_new_tokens=4, do_sample=False, return_dict_in_generate=True)
    grown = torch.cat([first.sequences, token_ids(2, 3, seed=2)], 1)
    for kind in (first.past_key_values, None):
        cache = copy.deepcopy(kind)
        out = model.generate(grown, past_key_values=cache, max_new_tokens=5, do_sample=False)
        assert torch.equal(out, greedy(model, grown, 5))


def test_generate_from_embeddings():
    model, ids = build("mingru", eos_token_id=None), token_ids(2, 7)
    out = model.generate(inputs_embeds=model.get_input_embeddings()(ids), max_new_tokens=5, do_sample=False)
    assert torch.equal(out, greedy(model, ids, 5)[:, 7:])


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
def test_generate_refuses_padding_after_the_prompt(side):
    model, ids = build("mingru"), token_ids(3, 17)
    padded, mask = pad(ids, PLACES[side], 17)
    with pytest.raises(ValueError, match="padding_side='left'"):
        model.generate(padded, attention_mask=mask, max_new_tokens=2)


def test_assisted_generation_is_refused():
    model, ids = build("mingru"), token_ids(1, 7)
    with pytest.raises(ValueError, match="stateful"):
        model.generate(ids, assistant_model=build("mingru"), max_new_tokens=3)
    with pytest.raises(ValueError, match="stateful"):
        model.generate(ids, prompt_lookup_num_tokens=2, max_new_tokens=3)
