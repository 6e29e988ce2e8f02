# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Sequences packed into one row give the same values, loss and gradients as the same sequences in separate rows."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.model_cases import CONFIGS, build, close, token_ids
from transformers import DataCollatorWithFlattening, DynamicCache

NAMES = tuple(CONFIGS)
LENGTHS = (5, 1, 1, 12, 3)


def sequences(lengths, seed=0):
    return [token_ids(1, n, seed=seed + i)[0] for i, n in enumerate(lengths)]


def described(lengths):
    """The arguments that describe one packed row, in each supported form."""
    bounds = torch.tensor([0, *lengths]).cumsum(0)
    return {
        "position_ids": {"position_ids": torch.cat([torch.arange(n) for n in lengths])[None]},
        "seq_idx": {
            "seq_idx": torch.cat([torch.full((n,), i, dtype=torch.int32) for i, n in enumerate(lengths)])[None]
        },
        "cu_seq_lens_q": {"cu_seq_lens_q": bounds.int()},
    }


WAYS = tuple(described(LENGTHS))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("way", WAYS)
def test_logits_equal_the_sequences_alone(name, way):
    model, rows = build(name), sequences(LENGTHS)
    packed = model(torch.cat(rows)[None], **described(LENGTHS)[way]).logits[0]
    assert close(packed, torch.cat([model(row[None]).logits[0] for row in rows]))


def gradients(model):
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return grads


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "checkpointing"])
def test_gradients_equal_the_sequences_alone(name, checkpointing):
    model, rows = build(name).train(), sequences(LENGTHS)
    total = sum(len(row) - 1 for row in rows)
    for row in rows:
        if len(row) > 1:
            (model(row[None], labels=row[None]).loss * (len(row) - 1) / total).backward()
    alone = gradients(model)
    if checkpointing:
        model.gradient_checkpointing_enable()
    batch = DataCollatorWithFlattening()([{"input_ids": row.tolist()} for row in rows])
    assert "attention_mask" not in batch
    loss = model(**batch).loss
    loss.backward()
    packed = gradients(model)
    assert packed.keys() == alone.keys() and ("initial_state" in str(packed.keys())) == model.config.learn_initial_state
    for key, grad in alone.items():
        assert close(packed[key], grad), key


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"return_seq_idx": True, "return_position_ids": False},
        {"return_flash_attn_kwargs": True, "return_position_ids": False},
        {"return_flash_attn_kwargs": True, "return_seq_idx": True},
        {"position_ids_start": 2},
    ],
    ids=str,
)
def test_every_batch_of_the_flattening_collator(options):
    model, rows = build("no-conv"), sequences(LENGTHS)
    batch = DataCollatorWithFlattening(**options)([{"input_ids": row.tolist()} for row in rows])
    assert close(model(**batch).logits[0], torch.cat([model(row[None]).logits[0] for row in rows]))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.sampled_from(NAMES),
    st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=5), min_size=1, max_size=3),
    st.sampled_from(["position_ids", "seq_idx"]),
    st.booleans(),
)
def test_any_packing_of_any_batch(name, batch, way, padded):
    """Packed rows of different lengths are padded on the right. The padding belongs to no sequence."""
    model, time = build(name), max(map(sum, batch))
    ids, numbers = torch.full((len(batch), time), 7), torch.zeros(len(batch), time, dtype=torch.long)
    mask, rows = torch.zeros(len(batch), time, dtype=torch.long), []
    for n, lengths in enumerate(batch):
        length, rows = sum(lengths), [*rows, sequences(lengths, seed=10 * n)]
        ids[n, :length], mask[n, :length] = torch.cat(rows[n]), 1
        numbers[n, :length] = described(lengths)[way][way][0]
    extra = {"attention_mask": mask} if padded and way == "seq_idx" else {}  # with a mask, positions mark nothing
    logits = model(ids, **{way: numbers}, **extra).logits
    for n, row in enumerate(rows):
        assert close(logits[n, : sum(batch[n])], torch.cat([model(one[None]).logits[0] for one in row]))


@pytest.mark.parametrize("name", NAMES)
def test_the_state_of_a_packed_row_is_that_of_its_last_sequence(name):
    model, rows, more = build(name), sequences((6, 2)), token_ids(1, 5, seed=9)
    with torch.no_grad():
        packed = model(torch.cat(rows)[None], **described((6, 2))["seq_idx"])
        alone = model(rows[1][None])
        for one, other in zip(packed.past_key_values.layers, alone.past_key_values.layers):
            assert close(one.recurrent_states[0], other.recurrent_states[0])
        assert close(
            model(more, past_key_values=packed.past_key_values).logits,
            model(more, past_key_values=alone.past_key_values).logits,
        )


def test_one_step_per_sequence():
    model, ids = build("no-conv"), token_ids(1, 4)
    packed = model(ids, position_ids=torch.zeros_like(ids)).logits[0]
    assert close(packed, model(ids.t()).logits[:, 0])


def test_position_ids_mark_packing_only_without_mask_and_cache():
    model, ids, positions = build("mingru"), token_ids(2, 6), torch.tensor([[0, 1, 2, 0, 1, 2]])
    whole = model(ids).logits
    assert not close(model(ids, position_ids=positions).logits, whole)
    assert close(model(ids, position_ids=positions, attention_mask=torch.ones_like(ids)).logits, whole)
    cache = DynamicCache(config=model.config)
    assert close(model(ids, position_ids=positions, past_key_values=cache).logits, whole)


def test_nothing_leaks_over_a_boundary():
    model, seq_idx = build("minlstm-paper"), (torch.arange(9) >= 4).long()[None]
    for bad in (1.0, torch.nan):
        embedded = torch.randn(1, 9, 24, generator=torch.Generator().manual_seed(0))
        embedded[0, 2] *= bad
        embedded.requires_grad_()
        logits = model(inputs_embeds=embedded, seq_idx=seq_idx).logits
        assert logits[0, :2].isfinite().all() and logits[0, 4:].isfinite().all()
        (grad,) = torch.autograd.grad(logits[0, 4:].sum(), embedded)
        assert grad[0, 4:].isfinite().all() and (grad[0, 4:] != 0).any()
        assert bad != 1.0 or (grad[0, :4] == 0).all()


def test_packing_compiles_in_one_graph_for_every_length():
    torch._dynamo.reset()
    model, graphs = build("no-conv"), []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(model, fullgraph=True, backend=backend, dynamic=True)
    for lengths in (LENGTHS, (7, 4), (2, 3, 30)):
        ids = torch.cat(sequences(lengths))[None]
        for way in described(lengths).values():
            got, want = (run(ids, labels=ids, use_cache=False, **way) for run in (compiled, model))
            assert close(got.logits, want.logits) and close(got.loss, want.loss)
    assert len(graphs) <= 4  # one for each form, and one more in which the number of sequences is a new symbol


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "checkpointing"])
def test_resets_start_sequences_within_a_row_that_goes_on_from_a_cache(name, checkpointing):
    # Row 0 continues the cache and starts a new sequence later; row 1 starts a new sequence at its first token.
    model = build(name).train()
    if checkpointing:
        model.gradient_checkpointing_enable()
    before, after = token_ids(2, 7), token_ids(2, 9, seed=1)
    resets = torch.zeros(2, 9, dtype=torch.bool)
    resets[0, 4] = resets[1, 0] = True
    cache = DynamicCache(config=model.config)
    model(before, past_key_values=cache)
    output = model(after, past_key_values=cache, resets=resets)
    output.logits.square().mean().backward()
    found, ends = gradients(model), [layer.carried()[0] for layer in cache.layers]
    first = model(torch.cat([before[:1], after[:1, :4]], 1)).logits[:, 7:]
    alone = [DynamicCache(config=model.config) for _ in range(2)]
    rest = model(after[:1, 4:], past_key_values=alone[0]).logits
    other = model(after[1:], past_key_values=alone[1]).logits
    expected = torch.cat([torch.cat([first, rest], 1), other])
    expected.square().mean().backward()
    assert close(output.logits, expected)
    wanted = gradients(model)
    assert found.keys() == wanted.keys() and all(close(found[key], wanted[key]) for key in wanted)
    for number, end in enumerate(ends):
        assert close(end, torch.cat([cache.layers[number].carried()[0] for cache in alone]))
