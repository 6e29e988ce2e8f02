# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Weights in 8 and 4 bits through bitsandbytes and torchao: loaded, run, saved and reloaded by transformers on a CPU.

Rounding to 4 bits changes the logits of small random models a lot, which could hide errors. So the logits are compared with
those of a float model that has the dequantized weights. The tolerance is below the error of a missing projection or state.
"""

import logging

import pytest
import torch
from support.model_cases import CONFIGS, build, close, token_ids
from torch import nn
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, TorchAoConfig

# Relative to the logits. bitsandbytes also rounds the activations: to 8 bits, or with 4-bit weights to bfloat16 if the CPU has
# AVX512-BF16. torchao does not. A broken projection causes at least 1.5 times the first tolerance.
TOLERANCE = {"bitsandbytes": 0.08, "torchao": 1e-4}
# Largest relative change of the weights of one projection by rounding.
ROUNDING = {"int8": 0.02, "int4": 0.15}
# Quantization to 4 bits needs multiples of 32 and 64.
SIZES = {"hidden_size": 64, "intermediate_size": 128, "eos_token_id": None}
CHANGES = {"mingru-paper": {"expand_ratio": 2.0}, "bare": {"intermediate_size": 0}}
IDS = token_ids(2, 17)


def bitsandbytes(bits, **options):
    pytest.importorskip("bitsandbytes")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns of each matmul in float32
    return BitsAndBytesConfig(**{f"load_in_{bits}bit": True}, **options)


def torchao(bits):
    quantization = pytest.importorskip("torchao.quantization")
    if bits == 8:
        return TorchAoConfig(quantization.Int8WeightOnlyConfig())
    # Int4WeightOnlyConfig needs kernels that only some GPUs have.
    granularity = quantization.PerGroup(32)
    return TorchAoConfig(quantization.IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=granularity))


KINDS = {
    "bitsandbytes-int8": lambda: bitsandbytes(8),
    "bitsandbytes-nf4": lambda: bitsandbytes(4, bnb_4bit_quant_type="nf4"),
    "bitsandbytes-nf4-double": lambda: bitsandbytes(4, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True),
    "torchao-int8": lambda: torchao(8),
    "torchao-int4": lambda: torchao(4),
}
every_model = pytest.mark.parametrize("name", CONFIGS)
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def small(name):
    return build(name, **(SIZES | CHANGES.get(name, {})))


def load(folder, **options):
    return AutoModelForCausalLM.from_pretrained(folder, device_map="cpu", **options)  # or a GPU, where there is one


def projections(model):
    """Returns every Linear except the head, which no method quantizes."""
    return {key: part for key, part in model.named_modules() if isinstance(part, nn.Linear) and key != "lm_head"}


def dequantized(part):
    """Returns the weights of a quantized projection as floats. Call it before the first forward, which repacks the weights."""
    weight = part.weight
    if hasattr(weight, "SCB"):
        return weight.data * weight.SCB.unsqueeze(1) / 127
    if hasattr(weight, "quant_state"):
        from bitsandbytes.functional import dequantize_4bit

        return dequantize_4bit(weight.data, weight.quant_state)
    return weight.dequantize()


def distance(found, wanted):
    return ((found - wanted).norm() / wanted.norm()).item()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Returns a folder with the float model of each name."""
    root = tmp_path_factory.mktemp("float")
    for name in CONFIGS:
        small(name).save_pretrained(root / name)
    return root


@every_model
@every_kind
def test_quantized_models_equal_models_with_the_dequantized_weights(name, kind, folders):
    model = load(folders / name, quantization_config=KINDS[kind]())
    dequantized_model, found = small(name), projections(model)
    assert found.keys() == projections(dequantized_model).keys() and type(model.lm_head) is nn.Linear
    for key, part in projections(dequantized_model).items():
        assert type(found[key]) is not nn.Linear or type(found[key].weight) is not nn.Parameter, key
        weight = dequantized(found[key]).to(torch.float32)
        assert 0 < distance(weight, part.weight) < ROUNDING["int8" if "int8" in kind else "int4"], key
        part.weight.copy_(weight)
    want, got = dequantized_model(IDS).logits, model(IDS).logits
    tolerance = TOLERANCE[kind.split("-")[0]]
    assert distance(got, want) < tolerance
    if "int8" in kind:
        assert distance(got, small(name)(IDS).logits) < TOLERANCE["bitsandbytes"]
    # In two pieces, with a carried state.
    first = model(IDS[:, :8])
    rest = model(IDS[:, 8:], past_key_values=first.past_key_values)
    assert distance(torch.cat([first.logits, rest.logits], 1), got) < tolerance
    # Token by token, which takes shortcuts in the code.
    state, tokens, steps = model(IDS), [], []
    for _ in range(5):
        tokens.append(state.logits[:, -1:].argmax(-1))
        state = model(tokens[-1], past_key_values=state.past_key_values)
        steps.append(state.logits)
    assert distance(torch.cat(steps, 1), model(torch.cat([IDS, *tokens], 1)).logits[:, 17:]) < tolerance
    assert torch.equal(model.generate(IDS, max_new_tokens=5, do_sample=False)[:, 17:], torch.cat(tokens, 1))


@every_model
def test_the_tolerance_is_below_the_error_of_any_broken_part(name):
    model, least = small(name), 1.5 * TOLERANCE["bitsandbytes"]
    want = model(IDS).logits
    for key, part in projections(model).items():
        weight = part.weight.clone()
        part.weight.zero_()
        assert distance(model(IDS).logits, want) > least, key
        part.weight.copy_(weight)
    assert distance(model(IDS[:, 8:]).logits, want[:, 8:]) > least
    assert close(model(IDS).logits, want)


@every_model
@every_kind
def test_a_saved_quantized_model_loads_unchanged(name, kind, folders, tmp_path):
    model = load(folders / name, quantization_config=KINDS[kind]())
    # Saved before the first forward, in which bitsandbytes rounds the scales of 4-bit weights to bfloat16 on AVX512-BF16.
    model.save_pretrained(tmp_path)
    want = model(IDS).logits
    reloaded = load(tmp_path)
    kinds = {type(part) for part in projections(reloaded).values()}
    assert kinds == {type(part) for part in projections(model).values()}
    assert torch.equal(reloaded(IDS).logits, want)
    tokens = [each.generate(IDS, max_new_tokens=5, do_sample=False) for each in (model, reloaded)]
    assert torch.equal(*tokens)
