# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import copy

import pytest
import torch
from support import model_cases
from support.model_cases import CONFIGS, PLACES, close, pad, token_ids
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    DynamicCache,
    PreTrainedTokenizerFast,
    pipeline,
)

from hf_minrnn import (
    MinRNNForCausalLM,
    MinRNNForQuestionAnswering,
    MinRNNForSequenceClassification,
    MinRNNForTokenClassification,
)

NAMES = tuple(CONFIGS)
BOTH = pytest.mark.parametrize("bidirectional", [False, True], ids=["causal", "bidirectional"])
HEADS = {
    "sequence": (MinRNNForSequenceClassification, AutoModelForSequenceClassification),
    "token": (MinRNNForTokenClassification, AutoModelForTokenClassification),
    "question": (MinRNNForQuestionAnswering, AutoModelForQuestionAnswering),
}


def build(kind, name="mingru", **changes):
    return model_cases.build(name, HEADS[kind][0], num_labels=3, **changes)


def outputs(kind, output):
    return (output.start_logits, output.end_logits) if kind == "question" else (output.logits,)


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("side", PLACES)
@BOTH
def test_padded_rows_equal_the_rows_alone(kind, name, side, bidirectional):
    model, ids, places = build(kind, name, bidirectional=bidirectional), token_ids(3, 17), PLACES[side]
    padded, mask = pad(ids, places, 17)
    got = outputs(kind, model(padded, attention_mask=mask))
    for row, place in enumerate(places):
        alone = outputs(kind, model(ids[row : row + 1, : len(place)]))
        for x, y in zip(got, alone):
            assert close(x[row] if kind == "sequence" else x[row, place], y[0])


@BOTH
def test_without_a_mask_the_padding_token_tells_where_a_text_begins_and_ends(bidirectional):
    model, ids = build("sequence", bidirectional=bidirectional), token_ids(3, 9)
    ids[0, 6:] = ids[1, :4] = model.config.pad_token_id
    alone = [model(ids[:1, :6]).logits, model(ids[1:2, 4:]).logits, model(ids[2:]).logits]
    assert close(model(ids).logits, torch.cat(alone))
    model.config.pad_token_id = None
    assert close(model(ids).logits, model(ids, attention_mask=torch.ones_like(ids)).logits)


@BOTH
@pytest.mark.parametrize("side", PLACES)
def test_an_answer_is_never_in_padding(side, bidirectional):
    model, ids, places = build("question", bidirectional=bidirectional), token_ids(3, 17), PLACES[side]
    padded, mask = pad(ids, places, 17)
    begins, ends = torch.tensor([place[0] for place in places]), torch.tensor([place[-1] for place in places])
    got = model(padded, attention_mask=mask, start_positions=begins, end_positions=ends)
    for logits in (got.start_logits, got.end_logits):
        assert logits.isfinite().all() and (logits[mask == 0] == torch.finfo(logits.dtype).min).all()
    losses = []
    for row, place in enumerate(places):
        spans = {"start_positions": torch.tensor([0]), "end_positions": torch.tensor([len(place) - 1])}
        losses.append(model(ids[row : row + 1, : len(place)], **spans).loss)
    assert close(got.loss, torch.stack(losses).mean())


@pytest.mark.parametrize(
    "packing", [{"seq_idx": torch.tensor([[0, 0, 1, 1]])}, {"cu_seq_lens_q": torch.tensor([0, 2, 4])}]
)
def test_a_label_for_packed_texts_is_rejected(packing):
    with pytest.raises(ValueError, match=f"{next(iter(packing))}: a row has one label"):
        build("sequence")(token_ids(1, 4), **packing)


@pytest.mark.parametrize("kind", HEADS)
@BOTH
def test_trains_saves_and_loads(kind, bidirectional, tmp_path):
    model, ids = build(kind, bidirectional=bidirectional).train(), token_ids(4, 9)
    labels = {
        "sequence": {"labels": torch.tensor([0, 1, 2, 0])},
        "token": {"labels": ids % 3},
        "question": {"start_positions": torch.tensor([1, 2, 0, 3]), "end_positions": torch.tensor([4, 5, 6, 7])},
    }[kind]
    optimizer, losses = torch.optim.AdamW(model.parameters(), 0.01), []
    for _ in range(30):
        loss = model(ids, **labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
    model.eval().save_pretrained(tmp_path)
    loaded = HEADS[kind][1].from_pretrained(tmp_path)
    assert type(loaded) is type(model)
    for x, y in zip(outputs(kind, loaded(ids)), outputs(kind, model(ids))):
        assert torch.equal(x, y)
    as_tuple = model(ids, return_dict=False)
    assert isinstance(as_tuple, tuple) and torch.equal(as_tuple[0], outputs(kind, model(ids))[0])


@pytest.mark.parametrize("problem", ["regression", "multi_label_classification"])
def test_other_problems_of_sequence_classification(problem):
    model, ids = build("sequence", problem_type=problem), token_ids(2, 5)
    assert model(ids, labels=torch.rand(2, 3)).loss.isfinite()


def saved(kind, folder):
    alphabet = ["[PAD]", "[UNK]", *"abcdefghijklmnopqrstuvwxyz ?."]
    tokenizer = Tokenizer(models.WordLevel({symbol: n for n, symbol in enumerate(alphabet)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    build(kind).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)
    return str(folder)


def test_pipelines(tmp_path):
    texts = ["a long text about nothing", "short"]
    classify = pipeline("text-classification", model=saved("sequence", tmp_path / "sequence"))
    together, alone = classify(texts, batch_size=2), [classify(text) for text in texts]
    assert [x["label"] for x in together] == [x[0]["label"] for x in alone]
    assert all(abs(x["score"] - y[0]["score"]) < 1e-5 for x, y in zip(together, alone))
    tags = pipeline("token-classification", model=saved("token", tmp_path / "token"))(texts[0])
    assert len(tags) == len(texts[0]) and {tag["entity"] for tag in tags} <= {"LABEL_0", "LABEL_1", "LABEL_2"}
    features = pipeline("feature-extraction", model=saved("sequence", tmp_path / "features"))("abc")
    assert len(features[0]) == 3 and len(features[0][0]) == 24


def turned(model):
    """Returns the model with its forward and backward mixers exchanged."""
    other = copy.deepcopy(model)
    for layer in other.model.layers:
        layer.mixer, layer.reverse_mixer = layer.reverse_mixer, layer.mixer
    return other


@pytest.mark.parametrize(
    "name", ["minlstm-mixer", "no-conv", "bare"]
)  # a convolution on the residual stream only looks back
def test_bidirectional_is_the_same_from_both_ends(name):
    model, ids = build("token", name, bidirectional=True), token_ids(2, 11)
    assert close(turned(model)(ids.flip(1)).logits.flip(1), model(ids).logits)


@pytest.mark.parametrize("name", NAMES)
def test_bidirectional_sees_the_text_from_both_ends(name):
    model, ids = build("token", name, bidirectional=True), token_ids(2, 11)
    logits, changed = model(ids).logits, ids.clone()
    changed[:, 6] = 2 + (changed[:, 6] - 1) % 95
    assert ((model(changed).logits - logits).abs().amax(-1) > 0).all()  # every token depends on every other


@pytest.mark.parametrize("name", NAMES)
def test_bidirectional_packing_equals_the_sequences_alone(name):
    model, ids, lengths = build("token", name, bidirectional=True), token_ids(1, 12), (5, 1, 6)
    seq_idx = torch.cat([torch.full((n,), i) for i, n in enumerate(lengths)])[None]
    alone = torch.cat([model(part).logits for part in ids.split(lengths, 1)], 1)
    assert close(model(ids, seq_idx=seq_idx).logits, alone)


def test_bidirectional_carries_no_state():
    model, ids = build("token", bidirectional=True), token_ids(1, 5)
    assert model.model(ids, use_cache=True).past_key_values is None
    with pytest.raises(ValueError, match="carries no state"):
        model.model(ids, past_key_values=DynamicCache(config=model.config))
    with pytest.raises(ValueError, match="bidirectional=True"):
        MinRNNForCausalLM(model.config)


def test_one_label_for_several_texts_is_rejected():
    model, ids = build("sequence", pad_token_id=None), token_ids(1, 6)
    jumping = torch.tensor([[0, 1, 2, 0, 1, 2]])
    starts = torch.tensor([[False, False, False, True, False, False]])
    for name, value in (("position_ids", jumping), ("seq_idx", jumping), ("resets", starts)):
        with pytest.raises(ValueError, match=f"{name}.* a row has one label"):
            model(ids, **{name: value})
    want = model(ids).logits
    assert torch.equal(model(ids, position_ids=torch.arange(6)[None]).logits, want)
    assert torch.equal(model(ids, position_ids=jumping, attention_mask=torch.ones_like(ids)).logits, want)
    cache = model(ids[:, :4], use_cache=True).past_key_values
    later = {"past_key_values": cache, "position_ids": torch.tensor([[0, 1]])}
    assert close(model(ids[:, 4:], **copy.deepcopy(later)).logits, want)
    anew = model(ids[:, 4:], **later, resets=torch.tensor([[True, False]])).logits
    assert close(anew, model(ids[:, 4:]).logits)
    with pytest.raises(ValueError, match=r"position_ids must be integers of shape \(1, 6\)"):
        model(ids, position_ids=torch.arange(9)[None])


def test_packed_positions_are_rejected_if_padding_tokens_define_the_mask():
    model, ids, pad = build("sequence"), token_ids(1, 6), 0
    with pytest.raises(ValueError, match="position_ids: a row has one label"):
        model(ids, position_ids=torch.tensor([[0, 1, 2, 0, 1, 2]]))
    ids[0, :2] = ids[0, 5] = pad
    positions = torch.tensor([[0, 0, 0, 1, 2, 0]])  # as generate numbers a row with padding at both ends
    assert torch.equal(model(ids, position_ids=positions).logits, model(ids).logits)


def test_a_compiled_head_that_cannot_look_keeps_packed_texts_apart():
    model, ids = build("sequence", pad_token_id=None), token_ids(1, 6)
    compiled = torch.compile(model, backend="eager")
    with torch.no_grad():
        found = compiled(ids, position_ids=torch.tensor([[0, 1, 2, 0, 1, 2]]), use_cache=False).logits
        assert close(found, model(ids[:, 3:]).logits)
