# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import pytest
import torch
from support.model_cases import build, token_ids
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import DynamicCache, StaticCache

from hf_minrnn import MinRNNConfig

IDS = token_ids(2, 6)


def one_row(cu_seqlens):
    return {"input_ids": IDS[:1], "cu_seq_lens_q": cu_seqlens}


def recording(model):
    cache = DynamicCache(config=model.config)
    cache.activate_past_recording()
    return cache


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (lambda model: {}, "exactly one of input_ids and inputs_embeds"),
        (lambda model: {"input_ids": IDS[0]}, r"input_ids must be \[batch, time\]"),
        (lambda model: {"attention_mask": torch.ones(2, 5).long()}, r"attention_mask must be .* shape \(2, 6\)"),
        (lambda model: {"attention_mask": torch.ones(2, 9).long()}, r"attention_mask must be .* shape \(2, 6\)"),
        (lambda model: {"attention_mask": torch.ones(3, 6).long()}, "attention_mask must be"),
        (lambda model: {"attention_mask": torch.zeros(2, 6)}, "got torch.float32"),
        (lambda model: {"past_key_values": DynamicCache()}, "cache of this model"),
        (lambda model: {"past_key_values": ((None, None),)}, "cache of this model"),
        (lambda model: {"past_key_values": DynamicCache(config=MinRNNConfig(num_hidden_layers=2))}, "with 3 MinRNN"),
        (lambda model: {"past_key_values": model(IDS[:1]).past_key_values}, "holds 1 rows but the input has 2"),
        (
            lambda model: {"past_key_values": build("mingru").double()(IDS).past_key_values},
            "dtype torch.float64 and not torch.float32",
        ),
        (lambda model: {"past_key_values": build("mingru").bfloat16()(IDS).past_key_values}, "dtype torch.bfloat16"),
        (
            lambda model: {"past_key_values": build("mingru", hidden_size=16)(IDS).past_key_values},
            "hidden_size 16 and not 24, state_size",
        ),
        (lambda model: {"seq_idx": torch.zeros(2, 5)}, r"seq_idx must be integers of shape \(2, 6\), got .* \(2, 5\)"),
        (lambda model: {"position_ids": torch.zeros(2, 7)}, r"position_ids must be integers of shape \(2, 6\)"),
        (lambda model: {"cu_seq_lens_q": torch.tensor([0, 6])}, "needs batch size 1, got 2: flatten the batch first"),
        (lambda model: one_row(torch.tensor([1, 6])), r"must rise from 0 to the length 6, got \[1, 6\]"),
        (lambda model: one_row(torch.tensor([0, 5])), "must rise from 0 to the length 6"),
        (lambda model: one_row(torch.tensor([0, 4, 3, 6])), "must rise from 0 to the length 6"),
        (lambda model: one_row(torch.tensor([0.0, 6.0])), "cu_seq_lens_q must be a 1-D integer tensor"),
        (lambda model: one_row(torch.tensor([[0, 6], [0, 6]])), "cu_seq_lens_q must be a 1-D integer tensor"),
        (lambda model: one_row(torch.tensor([[1, 6]])), r"must rise from 0 to the length 6, got \[1, 6\]"),
        (lambda model: {"cu_seq_lens_q": torch.tensor([[0, 6], [0, 6]])}, "needs batch size 1, got 2"),
        (lambda model: {"seq_idx": IDS, "past_key_values": model(IDS).past_key_values}, "cannot continue a cache"),
        (lambda model: {"resets": IDS}, r"resets must be bool of shape \(2, 6\), got torch.int64"),
        (lambda model: {"resets": IDS[:, :5].bool()}, r"resets must be bool of shape \(2, 6\), got .* \(2, 5\)"),
        (lambda model: {"resets": IDS.bool(), "past_key_values": recording(model)}, "a cache that records"),
        (lambda model: {"seq_idx": IDS.bool()}, "seq_idx must be integers .* got torch.bool"),
        (lambda model: {"position_ids": IDS.float()}, "position_ids must be integers .* got torch.float32"),
        (lambda model: {"attention_mask": [[1] * 6] * 2}, r"attention_mask must be .* got \[\[1, 1"),
        (lambda model: {"past_key_values": build("no-conv")(IDS).past_key_values}, "conv_kernel_size 0 and not 4"),
        (lambda model: {"past_key_values": build("minlstm")(IDS).past_key_values}, "cell_type minlstm and not mingru"),
        (lambda model: {"labels": torch.full((2, 6), 97), "logits_to_keep": 6}, "got 97"),
        (lambda model: {"shift_labels": torch.full((2, 6), 97), "labels": IDS}, "got 97"),
        (lambda model: {"labels": IDS.int()}, "labels must be integers .torch.int64."),
        (lambda model: {"labels": torch.full((2, 6), 97)}, r"labels must be in \[0, 97\), or -100 .* got 97"),
        (lambda model: {"labels": torch.full((2, 6), -1)}, "got -1"),
        (lambda model: {"labels": IDS[:, :5]}, r"labels must be integers .torch.int64. of shape \(2, 6\)"),
        (lambda model: {"labels": IDS.float()}, "labels must be integers"),
        (lambda model: {"labels": IDS, "logits_to_keep": 3}, r"labels must be .* of shape \(2, 3\), got .* \(2, 6\)"),
        (lambda model: {"labels": IDS, "logits_to_keep": torch.tensor([1, 4])}, r"of shape \(2, 2\)"),
        (lambda model: {"input_ids": None, "inputs_embeds": torch.zeros(2, 6, 9)}, r"must be \[batch, time, 24\]"),
        (lambda model: {"attention_mask": torch.full((2, 6), 0.5)}, "floats 0 and 1"),
    ],
)
def test_bad_input_is_rejected_by_name(inputs, message):
    model = build("mingru")
    given = inputs(model)
    if given and "input_ids" not in given:
        given["input_ids"] = IDS
    with pytest.raises(ValueError, match=message):
        model(**given)
    assert model(IDS).logits.isfinite().all()  # and it still works


def test_position_ids_of_one_sequence_are_accepted():
    model = build("mingru")
    logits = model(IDS).logits
    assert torch.equal(model(IDS, position_ids=torch.arange(6)[None]).logits, logits)
    mask = torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]])
    position_ids = (mask.cumsum(1) - 1).clamp(min=0)
    padded = model(IDS, attention_mask=mask, position_ids=position_ids).logits
    assert torch.equal(padded, model(IDS, attention_mask=mask).logits)


def test_masks_may_be_floats_that_are_zero_and_one():
    model, mask = build("mingru"), torch.ones(2, 6)
    mask[0, :2] = 0
    assert torch.equal(model(IDS, attention_mask=mask).logits, model(IDS, attention_mask=mask.long()).logits)


def test_labels_of_the_logits_that_are_kept():
    model = build("mingru")
    kept = model(IDS, logits_to_keep=3, labels=IDS[:, 3:])
    wanted = torch.nn.functional.cross_entropy(kept.logits[:, :-1].flatten(0, 1), IDS[:, 4:].flatten())
    assert kept.logits.shape == (2, 3, 97) and torch.allclose(kept.loss, wanted)
    assert model(IDS, logits_to_keep=9, labels=IDS).loss == model(IDS, labels=IDS).loss
    each = torch.tensor([[1, 3, 4], [2, 3, 5]])
    for keep in (each, torch.tensor([False, True, False, True, True, False]), -3):
        labels = IDS.gather(1, each) if keep is each else IDS[:, 3:]
        assert model(IDS, logits_to_keep=keep, labels=labels).loss.isfinite()


def test_a_static_cache_that_was_reset_takes_another_batch():
    model = build("mingru")
    cache = StaticCache(config=model.config, max_cache_len=16)
    with torch.no_grad():
        model(IDS, past_key_values=cache)
        cache.reset()
        assert torch.equal(model(IDS[:1], past_key_values=cache).logits, model(IDS[:1]).logits)
        cache.reset()
        wide = build("mingru").double()
        wide(IDS[:1, :4], past_key_values=cache)
        assert torch.allclose(wide(IDS[:1, 4:], past_key_values=cache).logits, wide(IDS[:1]).logits[:, 4:], atol=1e-12)


MASK = torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]])
SEQUENCES = torch.tensor([[0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 0, 1]])
TRACED = {
    "mask": ("attention_mask", torch.ones_like(MASK), MASK),
    "packing": ("seq_idx", torch.zeros_like(SEQUENCES), SEQUENCES),
    "resets": ("resets", torch.zeros(2, 6, dtype=torch.bool), SEQUENCES.diff(dim=1, prepend=SEQUENCES[:, :1]) > 0),
}


@pytest.mark.parametrize("kind", TRACED)
def test_a_trace_keeps_arguments_without_effect_on_its_example(kind):
    """A graph traced with an example without padding or packing still handles both."""
    name, example, given = TRACED[kind]
    model = build("mingru")

    class Logits(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, ids, value):
            return self.model(ids, use_cache=False, **{name: value}).logits

    with torch.no_grad():
        traced = torch.jit.trace(Logits(), (IDS, example))
        want = model(IDS, use_cache=False, **{name: given}).logits
    real = MASK.bool() if kind == "mask" else torch.ones_like(MASK).bool()
    assert torch.allclose(traced(IDS, given)[real], want[real], atol=1e-5)
    assert not torch.allclose(traced(IDS, example)[real], want[real], atol=1e-2)


def test_values_of_fake_and_vmapped_tensors_are_not_read():
    model = build("mingru")
    with FakeTensorMode(allow_non_fake_inputs=True):
        fake = torch.zeros(2, 6, dtype=torch.long)
        positions = torch.arange(6)[None]
        assert model(fake, attention_mask=fake, labels=fake).loss.shape == ()
        assert model(fake, position_ids=positions).logits.shape == (2, 6, 97)
    each = torch.vmap(lambda ids, mask: model(ids[None], attention_mask=mask[None], use_cache=False).logits[0])
    with torch.no_grad():
        want = model(IDS, attention_mask=MASK).logits
        assert torch.allclose(each(IDS, MASK)[MASK.bool()], want[MASK.bool()], atol=1e-5)


def test_a_compiled_model_takes_floats_that_are_zero_and_one():
    model = build("no-conv")
    compiled = torch.compile(model, backend="eager")
    with torch.no_grad():
        found = compiled(IDS, attention_mask=MASK.float(), use_cache=False).logits
        want = model(IDS, attention_mask=MASK, use_cache=False).logits
    assert torch.allclose(found[MASK.bool()], want[MASK.bool()], atol=1e-5)
