# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import pytest
import torch
from model_cases import build, token_ids
from transformers import DynamicCache

from hf_minrnn import MinRNNConfig

IDS = token_ids(2, 6)


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
        (lambda model: {"seq_idx": torch.zeros(2, 6)}, "packed"),
        (lambda model: {"cu_seq_lens_q": torch.tensor([0, 6])}, "packed"),
        (lambda model: {"position_ids": torch.tensor([[0, 1, 2, 0, 1, 2]])}, "packed"),
        (
            lambda model: {
                "position_ids": torch.tensor([[0, 1, 2, 0, 1, 2]]),
                "attention_mask": torch.ones(2, 6).long(),
                "past_key_values": DynamicCache(config=model.config),
            },
            "packed",
        ),
    ],
)
def test_bad_input_is_refused_by_name(inputs, message):
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
