# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import copy
import importlib
import inspect
import json
import math
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from support.model_cases import CONFIGS, PLACES, build, close, pad, token_ids
from support.model_definition import logits as defined_logits
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, DynamicCache, pipeline

import hf_minrnn
from hf_minrnn import MinRNNConfig, MinRNNForCausalLM, MinRNNModel, hub_minrnn, registration, scan_choice
from hf_minrnn.inputs_minrnn import PACKING_ARGS

NAMES = tuple(CONFIGS)


@pytest.mark.parametrize("name", NAMES)
def test_logits_equal_the_definition(name):
    model, ids = build(name), token_ids(2, 21)
    logits = model(ids).logits
    for row in range(2):
        assert close(logits[row].double(), defined_logits(model, ids[row]))


@pytest.mark.parametrize("name", NAMES)
def test_float64_logits_equal_the_definition(name):
    model, ids = build(name).double(), token_ids(1, 40)
    assert close(model(ids).logits[0], defined_logits(model, ids[0]), 1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_step_by_step_equals_parallel(name):
    model, ids = build(name), token_ids(3, 12)
    cache, steps = None, []
    with torch.no_grad():
        for t in range(12):
            output = model(ids[:, t : t + 1], past_key_values=cache)
            cache = output.past_key_values
            steps.append(output.logits)
        assert cache.get_seq_length() == 12
        assert close(torch.cat(steps, 1), model(ids).logits)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("cuts", [(1,), (2, 3), (7, 8, 30)], ids=str)
def test_segments_with_a_carried_state_equal_the_whole(name, cuts):
    model, ids = build(name), token_ids(2, 33)
    cache, parts = None, []
    for begin, end in zip((0, *cuts), (*cuts, 33)):
        output = model(ids[:, begin:end], past_key_values=cache)
        cache = output.past_key_values
        parts.append(output.logits)
    assert close(torch.cat(parts, 1), model(ids).logits)


def test_a_convolution_of_kernel_size_one_has_no_state():
    model, ids = build("mingru", conv_kernel_size=1), token_ids(2, 9)
    first = model(ids[:, :5])
    more = model(ids[:, 5:], past_key_values=first.past_key_values)
    assert close(torch.cat([first.logits, more.logits], 1), model(ids).logits)
    assert torch.equal(model.generate(ids, max_new_tokens=5), model.generate(ids, max_new_tokens=5, use_cache=False))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("side", PLACES)
def test_padded_rows_equal_the_rows_alone(name, side):
    model, ids, places = build(name), token_ids(3, 17), PLACES[side]
    padded, mask = pad(ids, places, 17)
    more = token_ids(3, 4, seed=1)
    padded_output = model(padded, attention_mask=mask)
    padded_more = model(more, past_key_values=padded_output.past_key_values)
    for row, place in enumerate(places):
        alone = ids[row : row + 1, : len(place)]
        assert close(padded_output.logits[row, place], model(alone).logits[0])
        whole = model(torch.cat([alone, more[row : row + 1]], 1))
        assert close(padded_more.logits[row], whole.logits[0, len(place) :])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("side", PLACES)
def test_padding_does_not_change_gradients(name, side):
    model, ids, places = build(name), token_ids(3, 17), PLACES[side]
    padded, mask = pad(ids, places, 17)
    embedded = model.get_input_embeddings()(padded).detach()
    embedded[mask == 0] = 30.0  # the content of the padding must not matter
    logits = model(inputs_embeds=embedded, attention_mask=mask).logits
    weights = torch.randn(3, 17, logits.shape[-1], generator=torch.Generator().manual_seed(3))
    sum((logits[row, place] * weights[row, : len(place)]).sum() for row, place in enumerate(places)).backward()
    padded_grads = {n: p.grad for n, p in model.named_parameters() if p.grad is not None and "embed" not in n}
    model.zero_grad()
    for row, place in enumerate(places):
        alone = model.get_input_embeddings()(ids[row : row + 1, : len(place)]).detach()
        (model(inputs_embeds=alone).logits[0] * weights[row, : len(place)]).sum().backward()
    grads = {n: p.grad for n, p in model.named_parameters() if p.grad is not None and "embed" not in n}
    assert grads and grads.keys() == padded_grads.keys()
    for key, grad in grads.items():
        assert close(padded_grads[key], grad, 1e-4), key


@pytest.mark.parametrize("name", NAMES)
def test_causal(name):
    model, ids = build(name), token_ids(1, 20)
    changed = ids.clone()
    changed[0, 13] = 2 + (changed[0, 13] - 1) % 95
    difference = (model(ids).logits - model(changed).logits)[0].abs().amax(-1)
    assert (difference[:13] == 0).all() and (difference[13:] > 0).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("reentrant", [False, True], ids=["non-reentrant", "reentrant"])
def test_gradient_checkpointing_keeps_a_carried_state(name, reentrant):
    model, ids = build(name).train(), token_ids(2, 16)
    with torch.no_grad():
        cache = model(ids[:, :8], past_key_values=DynamicCache(config=model.config)).past_key_values
    results = []
    for checkpointing in (False, True):
        model.zero_grad()
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": reentrant})
        used = copy.deepcopy(cache)
        output = model(ids[:, 8:], labels=ids[:, 8:], past_key_values=used)
        output.loss.backward()
        assert used.get_seq_length() == 16
        results.append(
            (output.logits.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
        )
    (plain, grads), (checkpointed, checkpointed_grads) = results
    assert close(checkpointed, plain, 1e-5) and grads.keys() == checkpointed_grads.keys()
    assert all(close(checkpointed_grads[key], grads[key]) for key in grads)
    assert close(plain, build(name)(ids).logits[:, 8:])


def test_loss_reaches_earlier_segments_through_the_cache():
    model, ids = build("mingru").train(), token_ids(2, 16)
    embedded = model.get_input_embeddings()(ids).detach().requires_grad_()
    first = model(inputs_embeds=embedded[:, :8], use_cache=True)
    model(inputs_embeds=embedded[:, 8:], past_key_values=first.past_key_values).logits.sum().backward()
    split = embedded.grad.clone()
    embedded.grad = None
    model(inputs_embeds=embedded).logits[:, 8:].sum().backward()
    assert close(split, embedded.grad) and split[:, :8].abs().max() > 0


@pytest.mark.parametrize("name", ["mingru", "minlstm-paper"])
def test_save_and_load_through_auto_classes(name, tmp_path):
    model, ids = build(name), token_ids(2, 9)
    model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").exists()
    config = AutoConfig.from_pretrained(tmp_path)
    assert type(config) is MinRNNConfig and config.to_dict() == model.config.to_dict() | {
        key: config.to_dict()[key] for key in ("_name_or_path",) if key in config.to_dict()
    }
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(loaded) is MinRNNForCausalLM and torch.equal(loaded(ids).logits, model(ids).logits)
    base = AutoModel.from_pretrained(tmp_path)
    assert type(base) is MinRNNModel
    assert torch.equal(base(ids).last_hidden_state, model.model(ids).last_hidden_state)
    half = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert half.dtype == torch.bfloat16 and half(ids).logits.dtype == torch.bfloat16


# What earlier code saved for fresh models, and what it computed in float64. By name: the config, the shapes of the weights, and
# the last logits of both rows of EARLIER_IDS with the weights of `earlier_weights`.
EARLIER = json.loads((Path(__file__).parent / "support" / "earlier_checkpoints.json").read_text())
EARLIER_IDS = torch.arange(24).view(2, 12) * 5 % 13


def earlier_weights(shapes):
    """Returns a state dict of numbers that do not depend on a random generator."""
    tensors = {}
    for n, (name, shape) in enumerate(shapes.items()):
        steps = torch.arange(math.prod(shape), dtype=torch.float64)
        tensors[name] = torch.sin((n + 1) * steps + n).float().view(shape)
    return tensors


@pytest.mark.parametrize("name", EARLIER)
def test_checkpoints_of_earlier_code_give_the_same_logits(name, tmp_path):
    earlier = EARLIER[name]
    (tmp_path / "config.json").write_text(json.dumps(earlier["config"]))
    save_file(earlier_weights(earlier["shapes"]), tmp_path / "model.safetensors", {"format": "pt"})
    want = torch.tensor(earlier["logits"], dtype=torch.float64)
    for dtype, tolerance in ((torch.float64, 1e-6), (torch.float32, 1e-5)):
        model = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=dtype)
        assert close(model(EARLIER_IDS).logits[:, -1].double(), want, tolerance)


WEIGHT_NAMES = """
lm_head.weight model.embed_tokens.weight model.norm.weight
model.layers.0.norm.weight model.layers.0.mlp_norm.weight
model.layers.0.mlp.down_proj.weight model.layers.0.mlp.gate_proj.weight model.layers.0.mlp.up_proj.weight
model.layers.0.conv.depthwise.weight model.layers.0.conv.depthwise.bias
model.layers.0.conv.pointwise.weight model.layers.0.conv.pointwise.bias
model.layers.0.mixer.norm.weight model.layers.0.mixer.initial_state
model.layers.0.mixer.cell.in_proj.weight model.layers.0.mixer.cell.in_proj.bias
model.layers.0.mixer.out_proj.weight model.layers.0.mixer.out_proj.bias
"""
MIXER_WEIGHT_NAMES = """
lm_head.weight model.embed_tokens.weight model.norm.weight
model.layers.0.norm.weight model.layers.0.mlp_norm.weight
model.layers.0.mlp.down_proj.weight model.layers.0.mlp.gate_proj.weight model.layers.0.mlp.up_proj.weight
model.layers.0.mixer.conv.weight model.layers.0.mixer.conv.bias model.layers.0.mixer.norm.weight
model.layers.0.mixer.cell.in_proj.weight model.layers.0.mixer.cell.in_proj.bias
model.layers.0.mixer.out_proj.weight model.layers.0.mixer.out_proj.bias
"""
PAPER_WEIGHT_NAMES = """
lm_head.weight model.embed_tokens.weight model.norm.weight
model.layers.0.conv.depthwise.weight model.layers.0.conv.depthwise.bias
model.layers.0.conv.pointwise.weight model.layers.0.conv.pointwise.bias
model.layers.0.norm.weight model.layers.0.mlp_norm.weight
model.layers.0.mlp.down_proj.weight model.layers.0.mlp.down_proj.bias
model.layers.0.mlp.up_proj.weight model.layers.0.mlp.up_proj.bias
model.layers.0.mixer.cell.in_proj.weight model.layers.0.mixer.cell.in_proj.bias
model.layers.0.mixer.out_proj.weight model.layers.0.mixer.out_proj.bias
"""


def test_weight_names_are_frozen():
    """Checkpoints and LoRA targets depend on these names: a change here breaks them."""
    one = {"num_hidden_layers": 1}
    model = MinRNNForCausalLM(MinRNNConfig(learn_initial_state=True, hidden_size=8, vocab_size=9, **one))
    assert sorted(model.state_dict()) == sorted(WEIGHT_NAMES.split())
    model = MinRNNForCausalLM(MinRNNConfig(conv_position="mixer", hidden_size=8, vocab_size=9, **one))
    assert sorted(model.state_dict()) == sorted(MIXER_WEIGHT_NAMES.split())
    model = MinRNNForCausalLM(MinRNNConfig.paper(hidden_size=8, vocab_size=9, **one))
    assert sorted(model.state_dict()) == sorted(PAPER_WEIGHT_NAMES.split())


@pytest.mark.parametrize("cell_type", ["mingru", "minlstm"])
def test_a_fresh_model_starts_as_configured(cell_type):
    config = MinRNNConfig(
        vocab_size=50, hidden_size=64, num_hidden_layers=2, cell_type=cell_type, gate_bias=1.5, initializer_range=0.01
    )
    model = MinRNNForCausalLM(config)
    mixer, conv = model.model.layers[1].mixer, model.model.layers[1].conv
    assert 0.25 < conv.depthwise.weight.std() < 0.33 and conv.depthwise.weight.abs().max() <= 0.5  # uniform
    assert 0.008 < conv.pointwise.weight.std() < 0.012
    assert not conv.depthwise.bias.any() and not conv.pointwise.bias.any()
    sign = -1 if cell_type == "mingru" else 1
    assert (mixer.cell.in_proj.bias[:128] == sign * 1.5).all() and (mixer.cell.in_proj.bias[128:] == 0).all()
    assert 0.008 < mixer.cell.in_proj.weight.std() < 0.012
    # The decay of a fresh block, from its own scan: what is left of a state of ones after one step of zeros.
    state = mixer.cell.step(torch.zeros(1, 64), torch.ones(1, 128))[1]
    share = torch.sigmoid(torch.tensor(1.5))
    decay = share if cell_type == "mingru" else share / (share + 0.5)
    assert torch.allclose(state, 0.9 + 0.1 * decay)


@pytest.mark.parametrize("cell_type", ["mingru", "minlstm"])
def test_gates_of_a_block_that_can_change_signs_start_near_their_ends(cell_type):
    shape = {"vocab_size": 9, "hidden_size": 64, "num_hidden_layers": 2, "cell_type": cell_type}
    first, second = MinRNNForCausalLM(MinRNNConfig(forget_gate_floor="signed", **shape)).model.layers
    gates = (first.mixer.cell.num_parts - 1) * 128
    weight = first.mixer.cell.in_proj.weight.detach()
    assert weight[:gates].std() == pytest.approx(4 / 8, rel=0.1)
    assert weight[gates:].std() == pytest.approx(0.02, rel=0.1)
    assert second.mixer.cell.in_proj.weight.detach().std() == pytest.approx(0.02, rel=0.1)


def test_a_convolution_in_the_mixer_starts_as_the_identity():
    model = MinRNNForCausalLM(MinRNNConfig(vocab_size=50, hidden_size=64, num_hidden_layers=2, conv_position="mixer"))
    x = torch.randn(2, 7, 64)
    assert torch.equal(model.model.layers[1].mixer.conv(x)[0], x)


def test_loss_is_the_mean_over_predicted_tokens():
    model, ids = build("mingru"), token_ids(2, 10)
    labels = ids.clone()
    labels[0, :4] = -100
    output = model(ids, labels=labels)
    chosen = torch.log_softmax(output.logits[:, :-1], -1).gather(-1, ids[:, 1:, None])[..., 0]
    keep = labels[:, 1:] != -100
    assert torch.allclose(output.loss, -chosen[keep].mean())
    scaled = model(ids, labels=labels, num_items_in_batch=torch.tensor(100))
    assert torch.allclose(scaled.loss, -chosen[keep].sum() / 100)
    assert model(ids, logits_to_keep=3).logits.shape == (2, 3, 97)


def test_hidden_states_are_recorded():
    model, ids = build("mingru"), token_ids(2, 10)
    output = model(ids, output_hidden_states=True)
    assert len(output.hidden_states) == 4 and all(x.shape == (2, 10, 24) for x in output.hidden_states)
    assert torch.equal(output.hidden_states[0], model.get_input_embeddings()(ids))
    as_tuple = model(ids, return_dict=False)
    assert torch.equal(as_tuple[0], output.logits)


@pytest.mark.parametrize("name", ["mingru", "minlstm-paper"])
def test_bfloat16_is_near_float32(name):
    model, ids = build(name), token_ids(2, 64)
    half = copy.deepcopy(model).to(torch.bfloat16)
    output = half(ids)
    assert output.past_key_values.layers[0].recurrent_states[0].dtype == torch.float32
    exact = model(ids).logits
    assert (output.logits.float() - exact).norm() < 0.05 * exact.norm()
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        assert (model(ids).logits.float() - exact).norm() < 0.05 * exact.norm()
        cache = model(ids[:, :60]).past_key_values
        steps = [model(ids[:, t : t + 1], past_key_values=cache).logits for t in range(60, 64)]
        assert (torch.cat(steps, 1).float() - exact[:, 60:]).norm() < 0.05 * exact.norm()


def test_pipeline_generates_from_a_saved_folder(tmp_path):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())[:97]
    tokenizer = Tokenizer(models.BPE(vocab={symbol: i for i, symbol in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    build("mingru").save_pretrained(tmp_path)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(tmp_path)
    text = pipeline("text-generation", model=str(tmp_path))("ABBA", max_new_tokens=5, do_sample=False)
    assert text[0]["generated_text"].startswith("ABBA") and len(text[0]["generated_text"]) > 4


def test_the_cache_does_not_grow_with_the_text():
    model = build("mingru")
    sizes = []
    with torch.no_grad():
        cache = model(token_ids(1, 10)).past_key_values
        for _ in range(2):
            layers = [(*layer.recurrent_states.values(), *layer.conv_states.values()) for layer in cache.layers]
            sizes.append(sum(x.untyped_storage().nbytes() for states in layers for x in states))
            cache = model(token_ids(1, 5000), past_key_values=cache).past_key_values
    assert sizes[0] == sizes[1] and cache.get_seq_length() == 10010


def test_a_failed_forward_leaves_the_cache_unchanged(monkeypatch):
    model, ids = build("mingru"), token_ids(1, 6)
    with torch.no_grad():
        cache = model(ids).past_key_values
        monkeypatch.setattr(model.model.layers[1], "forward", lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            model(ids, past_key_values=cache)
        monkeypatch.undo()
        again = model(ids, past_key_values=cache).logits
        assert close(again, model(torch.cat([ids, ids], 1)).logits[:, 6:])


def test_an_empty_input_changes_nothing():
    model, ids = build("mingru"), token_ids(2, 6)
    with torch.no_grad():
        cache = model(ids).past_key_values
        assert model(ids[:, :0], past_key_values=cache).logits.shape == (2, 0, 97)
        assert close(model(ids, past_key_values=cache).logits, model(torch.cat([ids, ids], 1)).logits[:, 6:])


@pytest.fixture
def registered_afterwards(monkeypatch):
    """A second copy of the package registers itself in place of the first. This restores the first."""
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    yield
    registration.install()


def test_two_copies_of_the_package_work_in_one_process(tmp_path, monkeypatch, registered_afterwards):
    shutil.copytree(
        Path(hf_minrnn.__file__).parent, tmp_path / "other_minrnn", ignore=shutil.ignore_patterns("__pycache__")
    )
    monkeypatch.syspath_prepend(tmp_path)
    model, ids = build("mingru", eos_token_id=None), token_ids(2, 6)
    before = {
        options: model.generate(ids, max_new_tokens=4, do_sample=False, cache_implementation=options)
        for options in (None, "static")
    }
    other = importlib.import_module("other_minrnn.modeling_minrnn")
    copied = other.MinRNNForCausalLM(other.MinRNNConfig(**model.config.to_diff_dict())).eval()
    copied.load_state_dict(model.state_dict())
    for options, expected in before.items():
        for one in (model, copied):
            out = one.generate(ids, max_new_tokens=4, do_sample=False, cache_implementation=options)
            assert torch.equal(out, expected)


def test_an_unknown_scan_backend_falls_back_to_auto(caplog):
    model, ids = build("mingru"), token_ids(1, 6)
    wishing = build("mingru", scan_backend="quantum")
    assert torch.equal(wishing(ids).logits, model(ids).logits)
    for backend in ("reference", "associative"):
        assert close(build("mingru", scan_backend=backend)(ids).logits, model(ids).logits)


def test_an_unavailable_scan_backend_falls_back_to_auto(monkeypatch):
    assert build("mingru", scan_backend="numba").model.layers[0].mixer.cell.backend == "numba"
    monkeypatch.setattr(scan_choice, "problem", lambda: "No module named 'numba'")
    assert build("mingru", scan_backend="numba").model.layers[0].mixer.cell.backend == "auto"


# Keywords that are in no signature. None of them is a column of a data set that Trainer should pass on, except shift_labels;
# see `MinRNNForCausalLM.forward`.
UNNAMED = {"logits_to_keep", "output_hidden_states", "num_items_in_batch", "ignore_index", "shift_labels"}


def test_every_argument_that_changes_the_result_is_in_the_signature():
    """Trainer removes the columns of a data set that are not in the signature."""
    packing = re.findall(r"^(\w+) \(", PACKING_ARGS, flags=re.MULTILINE)
    assert packing == ["position_ids", "seq_idx", "cu_seq_lens_q", "resets"]
    for name in set(hub_minrnn.__all__) - {"MinRNNConfig"}:
        forward = getattr(hf_minrnn, name).forward
        assert set(packing) <= inspect.signature(forward).parameters.keys(), name
        assert all(f"{argument} (`torch." in forward.__doc__ for argument in packing), name
    for name in ("modeling_minrnn.py", "heads_minrnn.py", "inputs_minrnn.py"):
        text = Path(hf_minrnn.__file__).with_name(name).read_text()
        assert set(re.findall(r"\bkwargs(?:\.\w+\(|\[)[\"'](\w+)", text)) <= UNNAMED, name
        assert set(re.findall(r"[\"'](\w+)[\"'] in kwargs", text)) <= UNNAMED, name
