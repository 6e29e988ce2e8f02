# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Decoding loops given as `custom_generate`: ended rows are tracked when a loop moves the rows of the cache."""

import copy
import pickle

import pytest
import torch
from support.model_cases import build, close, token_ids
from transformers import StaticCache, StoppingCriteriaList

STEPS, PAD = 9, 0


class Loop:
    """A greedy or sampling loop. Before each token is fed, `move(loop, ids, model_kwargs)` is called, which returns the
    new ids and model_kwargs.
    """

    def __init__(self, move=None, pads=True, sample=False, before_judging=None):
        self.move, self.pads, self.sample, self.before_judging = move, pads, sample, before_judging

    def __call__(self, model, input_ids, logits_processor, stopping_criteria, generation_config, **kw):
        ids = input_ids
        self.live = torch.ones(ids.shape[0], dtype=torch.bool)
        inputs = model.prepare_inputs_for_generation(ids, is_first_iteration=True, **kw)
        while True:
            out = model(**inputs)
            kw = model._update_model_kwargs_for_generation(out, kw)
            if self.before_judging is not None:
                self.before_judging(kw)
            logits = logits_processor(ids, out.logits[:, -1])
            new = logits.softmax(-1).multinomial(1)[:, 0] if self.sample else logits.argmax(-1)
            if self.pads:
                new = torch.where(self.live, new, PAD)
            ids = torch.cat([ids, new[:, None]], 1)
            self.live = self.live & ~stopping_criteria(ids, None)
            if not self.live.any() or ids.shape[1] == input_ids.shape[1] + STEPS:
                break
            if self.move is not None:
                ids, kw = self.move(self, ids, kw)
            step = 1 if kw.get("past_key_values") is not None else None
            inputs = model.prepare_inputs_for_generation(ids, next_sequence_length=step, **kw)
        self.cache = kw.get("past_key_values")
        return ids


def ending_at_different_times(model, rows, **options):
    """Returns prompts and an ending token for which greedy rows end at different times, one of them never."""
    ids = token_ids(rows, 7)
    free = model.generate(ids, max_new_tokens=STEPS, do_sample=False, **options)[:, 7:]
    for token in range(2, 97):
        ends = [row.index(token) if token in row else None for row in free.tolist()]
        if None in ends and len(set(ends)) == len(ends):
            return ids, token
    raise AssertionError("no token ends these rows at different times")


def texts(ids, eos, prompt=7):
    """The rows up to their ends."""
    rows = []
    for row in ids.tolist():
        new = row[prompt:]
        rows.append(row[:prompt] + (new[: new.index(eos) + 1] if eos in new else new))
    return rows


def check_states(model, cache, rows, seen):
    """The cache holds the state of each text alone, of which the last of `seen` tokens has not been fed."""
    assert cache.get_seq_length() == seen - 1
    for row, text in enumerate(rows):
        with torch.no_grad():
            alone = model(torch.tensor([text[: seen - 1]])).past_key_values
        for layer, wanted in zip(cache.layers, alone.layers):
            assert close(layer.recurrent_states[0][row], wanted.recurrent_states[0][0])
            assert close(layer.conv_states[0][row], wanted.conv_states[0][0])


def no_record(cache):
    return all(layer.ended is layer.ending is layer.ended_rows is None for layer in cache.layers)


def model_and_prompts(rows=2):
    model = build("mingru", eos_token_id=None)
    ids, eos = ending_at_different_times(model, rows)
    return model, ids, {"eos_token_id": eos, "pad_token_id": PAD, "max_new_tokens": STEPS, "do_sample": False}


@pytest.mark.parametrize("static", [False, True])
def test_widening_to_candidates_with_an_ending_token(static):
    """Like contrastive search: each token is fed together with other candidates, and its rows are kept."""
    model, ids, options = model_and_prompts(3)
    eos, k = options["eos_token_id"], 3

    def candidates(model, input_ids, logits_processor, stopping_criteria, generation_config, **kw):
        cache, live = kw["past_key_values"], torch.ones(len(input_ids), dtype=torch.bool)
        logits, ids = model(input_ids, past_key_values=cache).logits[:, -1], input_ids
        _, kw = model._expand_inputs_for_generation(input_ids=ids, expand_size=k, **kw)
        while True:
            new = torch.where(live, logits.argmax(-1), PAD)
            ids = torch.cat([ids, new[:, None]], 1)
            live = live & ~stopping_criteria(ids, None)
            if not live.any():
                candidates.cache = cache
                return ids
            tokens = torch.cat([torch.full((len(ids), k - 1), 5), new[:, None]], 1)
            cache.batch_repeat_interleave(k)
            inputs = model.prepare_inputs_for_generation(tokens.reshape(-1, 1), next_sequence_length=1, **kw)
            out = model(**inputs)
            chosen = torch.arange(len(ids)) * k + k - 1
            cache.batch_select_indices(chosen)
            kw = model._update_model_kwargs_for_generation(out, kw)
            logits = out.logits[chosen, -1]

    given = {"past_key_values": StaticCache(config=model.config, max_cache_len=64)} if static else {}
    out = model.generate(ids, custom_generate=candidates, **options, **given)
    assert torch.equal(out, model.generate(ids, **options)) and (out == PAD).any()
    check_states(model, candidates.cache, texts(out, eos), out.shape[1])
    assert no_record(candidates.cache)


def copied(loop, ids, kw):
    kw["past_key_values"] = copy.deepcopy(kw["past_key_values"])
    return ids, kw


def copied_with_all(loop, ids, kw):
    return ids, copy.deepcopy(kw)


def offloaded(loop, ids, kw):
    for layer in kw["past_key_values"].layers:
        layer.offload(), layer.prefetch()
    return ids, kw


def saved(loop, ids, kw):
    """A cache that a loop saves on its way has no record."""
    layer = pickle.loads(pickle.dumps(kw["past_key_values"])).layers[0]
    assert layer.ended_rows is None and layer.batch_size == ids.shape[0]
    return ids, kw


def looked_ahead(loop, ids, kw):
    """The loop feeds other tokens to a copy and discards it, then continues with its own cache."""
    saved = copy.deepcopy(kw)
    for _ in range(2):
        inputs = loop.model.prepare_inputs_for_generation(ids[:, -1:] * 0 + 5, next_sequence_length=1, **saved)
        loop.model(**inputs)
    return ids, kw


def looked_ahead_and_back(loop, ids, kw):
    """The same with the loop's own cache, which takes the other tokens back."""
    cache = kw["past_key_values"]
    cache.activate_past_recording()
    cache.crop(0)
    for token in (5, PAD):
        loop.model(torch.full_like(ids[:, -1:], token), past_key_values=cache)
    cache.crop(-2)
    return ids, kw


def copied_before_judging(kw):
    kw["past_key_values"] = copy.deepcopy(kw["past_key_values"])


LOOPS = {
    "plain": Loop(),
    "copied": Loop(copied),
    "copied-with-all": Loop(copied_with_all),
    "copied-before-judging": Loop(before_judging=copied_before_judging),
    "offloaded": Loop(offloaded),
    "saved": Loop(saved),
    "looked-ahead": Loop(looked_ahead),
    "looked-ahead-and-back": Loop(looked_ahead_and_back),
}


@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.parametrize("pad_token", [PAD, "eos"])
def test_a_loop_that_moves_the_cache_equals_generate(name, pad_token, monkeypatch):
    model, ids, options = model_and_prompts()
    loop, eos = LOOPS[name], options["eos_token_id"]
    if pad_token == "eos":
        options["pad_token_id"] = eos
        monkeypatch.setitem(globals(), "PAD", eos)
    loop.model = model
    out = model.generate(ids, custom_generate=loop, **options)
    assert torch.equal(out, model.generate(ids, **options))
    assert len({len(text) for text in texts(out, eos)}) == 2
    check_states(model, loop.cache, texts(out, eos), out.shape[1])
    assert no_record(loop.cache)


def rows_of(source, how):
    """Moves rows once, at the third token: the ids and, in one of three ways, those of the cache."""

    def move(loop, ids, kw):
        if ids.shape[1] != 7 + 4:
            return ids, kw
        loop.ended_at_the_move = ~loop.live
        cache, index = kw["past_key_values"], torch.tensor(source)
        if how == "states":
            for layer in cache.layers:
                layer.recurrent_states[0].copy_(layer.recurrent_states[0][index])
                layer.conv_states[0].copy_(layer.conv_states[0][index])
        else:
            getattr(cache, how)(index)
        loop.live = loop.live[index]
        return ids[index], kw

    return move


MOVES = [
    (how, source) for how in ("batch_select_indices", "reorder_cache") for source in ([1, 1], [1, 0], [0, 1, 1], [0, 0])
]


@pytest.mark.parametrize("how, source", [*MOVES, ("states", [1, 1])], ids=str)
def test_a_row_copied_over_an_ended_one_goes_on(how, source):
    """As sequential Monte Carlo and best-of-n do. The states are those of the rows that the texts say."""
    model = build("mingru", eos_token_id=None)
    ids = token_ids(2, 7)
    free = model.generate(ids, max_new_tokens=STEPS, do_sample=False)[:, 7:].tolist()
    eos = next(token for token in free[0][:3] if token not in free[1])
    options = {"eos_token_id": eos, "pad_token_id": PAD, "max_new_tokens": STEPS, "do_sample": False}
    loop = Loop(rows_of(source, how))
    out = model.generate(ids, custom_generate=loop, **options)
    assert loop.ended_at_the_move.tolist() == [True, False]
    whole = model.generate(ids, **options)[source]
    assert torch.equal(out, whole[:, : out.shape[1]])
    check_states(model, loop.cache, texts(out, eos), out.shape[1])


def test_a_loop_that_does_not_pad_goes_on_with_ended_rows():
    """What Llama does: a row that is fed a token has read it, ended or not."""
    model, ids, options = model_and_prompts()
    loop = Loop(pads=False)
    out = model.generate(ids, custom_generate=loop, **options)
    free = model.generate(ids, max_new_tokens=STEPS, do_sample=False)
    assert torch.equal(out, free[:, : out.shape[1]]) and (out == options["eos_token_id"]).any()
    check_states(model, loop.cache, out.tolist(), out.shape[1])


def test_best_of_several_samples():
    """One prompt, four samples, of which the two that are best half way go on twice each."""
    model, ids = build("mingru", eos_token_id=None), token_ids(1, 7)

    def halfway(loop, ids, kw):
        if ids.shape[1] == 7 + 5:
            best = torch.tensor([3, 1]).repeat_interleave(2)
            kw["past_key_values"].batch_select_indices(best)
            ids, loop.live = ids[best], loop.live[best]
        return ids, kw

    lengths = set()
    for seed in range(8):
        torch.manual_seed(seed)
        loop = Loop(halfway, sample=True)
        options = {"eos_token_id": [*range(2, 20)], "pad_token_id": PAD, "max_new_tokens": STEPS}
        out = model.generate(ids, custom_generate=loop, num_return_sequences=4, do_sample=True, **options)
        rows = []
        for row in out.tolist():
            end = next((n for n in range(7, len(row)) if row[n] in range(2, 20)), len(row))
            rows.append(row[: end + 1])
            lengths.add(len(rows[-1]))
        check_states(model, loop.cache, rows, out.shape[1])
    assert len(lengths) > 3


def test_a_loop_may_widen_a_single_prompt():
    model, ids = build("mingru", eos_token_id=None), token_ids(1, 7)

    def widen(loop, ids, kw):
        if ids.shape[0] == 1:
            kw["past_key_values"].batch_repeat_interleave(3)
            ids, loop.live = ids.repeat(3, 1), loop.live.repeat(3)
            ids[:, -1] = torch.tensor([11, 12, 13])
        return ids, kw

    loop = Loop(widen)
    options = {"max_new_tokens": STEPS, "do_sample": False}
    free = model.generate(ids, custom_generate=Loop(widen), **options)
    new = free[:, 9:].tolist()
    eos = next(token for token in new[0] + new[1] + new[2] if sum(token in row for row in new) == 1)
    out = model.generate(ids, custom_generate=loop, eos_token_id=eos, pad_token_id=PAD, **options)
    rows = texts(out, eos)
    assert [text == row[: len(text)] for text, row in zip(rows, free.tolist())] == [True] * 3 and (out == PAD).any()
    check_states(model, loop.cache, rows, out.shape[1])


@pytest.mark.parametrize("sample", [False, True])
def test_a_loop_without_a_cache(sample):
    model, ids, options = model_and_prompts()
    out = []
    for use_cache in (False, True):
        torch.manual_seed(4)
        out.append(model.generate(ids, custom_generate=Loop(sample=sample), **options, use_cache=use_cache))
    assert torch.equal(*out) and out[0].shape[1] == 7 + STEPS


def test_a_loop_that_feeds_several_tokens_at_once():
    """Ended rows are fed as much padding; the others read what they are given."""
    model, ids = build("mingru", eos_token_id=None), token_ids(2, 7)
    more = token_ids(2, 4, seed=3)
    more[0, 0], more[0, 1:] = 96, PAD

    def feed(model, input_ids, logits_processor, stopping_criteria, generation_config, **kw):
        kw["attention_mask"] = torch.ones(2, 7).long()
        out = model(**model.prepare_inputs_for_generation(input_ids, is_first_iteration=True, **kw))
        kw = model._update_model_kwargs_for_generation(out, kw)
        ids = torch.cat([input_ids, more[:, :1]], 1)
        stopping_criteria(ids, None)
        inputs = model.prepare_inputs_for_generation(ids, next_sequence_length=1, **kw)
        kw = model._update_model_kwargs_for_generation(model(**inputs), kw, num_new_tokens=4)
        ids = torch.cat([ids, more[:, 1:]], 1)
        model(**model.prepare_inputs_for_generation(ids, next_sequence_length=3, **kw))
        feed.cache = kw["past_key_values"]
        return torch.cat([ids, ids[:, :1]], 1)

    out = model.generate(ids, custom_generate=feed, eos_token_id=96, pad_token_id=PAD, max_new_tokens=9)
    check_states(model, feed.cache, [out[0, :8].tolist(), out[1].tolist()], 12)


def test_a_copy_put_aside_keeps_its_own_record():
    """A loop that goes back to a copy: what ended in between has not ended there, though it may write the padding token."""
    model, ids = build("mingru", eos_token_id=None), token_ids(2, 7)

    def back(model, input_ids, logits_processor, stopping_criteria, generation_config, **kw):
        def feed(kw, tokens, ids):
            ids = torch.cat([ids, tokens[:, None]], 1)
            stopping_criteria(ids, None)
            model(**model.prepare_inputs_for_generation(ids, next_sequence_length=1, **kw))
            return ids

        model(input_ids, past_key_values=kw["past_key_values"])
        ids = feed(kw, torch.tensor([5, 6]), input_ids)
        saved = copy.deepcopy(kw)
        gone = ids
        for token in (96, PAD, PAD):
            gone = feed(kw, torch.tensor([token, 7]), gone)
        for token in (PAD, 9):
            ids = feed(saved, torch.tensor([token, 8]), ids)
        back.caches = kw["past_key_values"], saved["past_key_values"]
        return torch.cat([ids, ids[:, :1]], 1)

    out = model.generate(ids, custom_generate=back, eos_token_id=96, pad_token_id=PAD, max_new_tokens=9)
    check_states(model, back.caches[1], out.tolist(), out.shape[1])
    assert no_record(back.caches[0]) and no_record(back.caches[1])


def test_a_function_from_a_folder(tmp_path):
    """As those on the Hub do, it calls transformers' generate with a loop of its own."""
    code = """
from transformers import GenerationMixin

def generate(model, loop, **kwargs):
    return GenerationMixin.generate(model, custom_generate=loop, **kwargs)
"""
    (tmp_path / "custom_generate").mkdir()
    (tmp_path / "custom_generate" / "generate.py").write_text(code)
    model, ids, options = model_and_prompts()
    loop = Loop(copied)
    out = model.generate(ids, custom_generate=str(tmp_path), trust_remote_code=True, loop=loop, **options)
    assert torch.equal(out, model.generate(ids, **options))
    check_states(model, loop.cache, texts(out, options["eos_token_id"]), out.shape[1])
    assert no_record(loop.cache)


@pytest.mark.parametrize("fails", [False, True])
def test_the_record_ends_with_the_call(fails):
    model, ids, options = model_and_prompts()
    kept = []

    def stop(input_ids, scores, **kwargs):
        if fails and input_ids.shape[1] == 15:
            raise KeyboardInterrupt
        return torch.zeros(len(input_ids), dtype=torch.bool)

    def watch(kw):
        kept.append(copy.deepcopy(kw["past_key_values"]))

    given = {"stopping_criteria": StoppingCriteriaList([stop])}
    loop = Loop(before_judging=watch)
    if fails:
        with pytest.raises(KeyboardInterrupt):
            model.generate(ids, custom_generate=loop, **options, **given)
    else:
        model.generate(ids, custom_generate=loop, **options, **given)
    assert len(kept) > 5 and all(no_record(cache) for cache in kept)
    inputs = model.prepare_inputs_for_generation(ids, next_sequence_length=1, past_key_values=kept[-1])
    assert inputs["attention_mask"] is None


def test_a_cache_given_to_two_calls_starts_a_record_of_its_own():
    model, ids, options = model_and_prompts()
    first = model.generate(ids, return_dict_in_generate=True, **options)
    assert no_record(first.past_key_values)
    more = token_ids(2, 3, seed=2)
    mask = torch.ones(2, first.sequences.shape[1] + 3).long()
    mask[:, 7 : first.sequences.shape[1]] = (first.sequences[:, 7:] != PAD).long()
    grown = torch.cat([first.sequences, more], 1)
    cache = first.past_key_values
    out = model.generate(grown, attention_mask=mask, past_key_values=cache, max_new_tokens=4, do_sample=False)
    for row in range(2):
        alone = grown[row : row + 1][:, mask[row].bool()]
        assert torch.equal(
            out[row, -4:], model.generate(alone, max_new_tokens=4, do_sample=False, pad_token_id=None)[0, -4:]
        )
