# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""What each option of loading and of `generate` comes to: it works, can be ignored, or is refused by name."""

import copy

import pytest
import torch
from model_cases import build, token_ids
from transformers import AutoModelForCausalLM, GenerationConfig
from transformers.distributed import DistributedConfig

from hf_minrnn import MinRNNConfig, MinRNNForCausalLM

WORKS = None
PAGED, QUANTIZED = "continuous batching .* padded on the left", "cache_implementation='quantized'.* leave it out"
# transformers itself refuses names that it does not know.
CACHES = {
    **dict.fromkeys(("dynamic", "offloaded", "static", "offloaded_static", "sliding_window", "hybrid"), WORKS),
    **dict.fromkeys(("hybrid_chunked", "offloaded_hybrid", "offloaded_hybrid_chunked"), WORKS),
    "quantized": QUANTIZED,
    "paged": PAGED,
    "dynamic_full": "Invalid `cache_implementation` .dynamic_full.",
}


WAYS = [(name, where) for name in CACHES for where in ("argument", "config", "model")]
WAYS.remove(("dynamic_full", "model"))  # transformers does not check a name that is set as an attribute


@pytest.mark.parametrize("name, where", WAYS)
def test_cache_implementations(name, where):
    model, ids = build("mingru", eos_token_id=None), token_ids(2, 7)
    options = {"max_new_tokens": 4, "do_sample": False}
    plain, given = model.generate(ids, **options), {"cache_implementation": name}

    def call():
        if where == "argument":
            return model.generate(ids, **options, **given)
        if where == "config":
            return model.generate(ids, GenerationConfig(**options, **given))
        model.generation_config.cache_implementation = name
        return model.generate(ids, **options)

    if CACHES[name] is WORKS:
        assert torch.equal(call(), plain)
        return
    calls = []
    model.register_forward_pre_hook(lambda *args: calls.append(args))
    with pytest.raises((ValueError, NotImplementedError), match=CACHES[name]):
        call()
    assert not calls


def test_continuous_batching_is_refused_before_any_work(caplog):
    model = build("mingru", eos_token_id=None)
    implementation = model.config._attn_implementation

    def enter():
        with model.continuous_batching_context_manager():
            raise AssertionError("entered")

    for start in (lambda: model.generate_batch([[3, 4, 5]], max_new_tokens=4), model.init_continuous_batching, enter):
        with pytest.raises(NotImplementedError, match=PAGED):
            start()
    assert not caplog.records and model.config._attn_implementation == implementation


ATTENTION = ("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention", "paged|eager")
ATTENTION = (*ATTENTION, "kernels-community/flash-attn2", {"": "sdpa"}, None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    build("mingru", eos_token_id=None).save_pretrained(folder)
    return folder


def check_loaded(model, folder, tmp_path):
    """The model is the one saved in the folder, and is saved as that was."""
    original, ids = build("mingru", eos_token_id=None), token_ids(2, 7)
    with torch.no_grad():
        assert torch.equal(model(ids).logits, original(ids).logits)
    assert torch.equal(*(each.generate(ids, max_new_tokens=3, do_sample=False) for each in (model, original)))
    model.save_pretrained(tmp_path)
    assert (tmp_path / "config.json").read_text() == (folder / "config.json").read_text()


@pytest.mark.parametrize("name", ATTENTION, ids=str)
@pytest.mark.parametrize("how", ["from_pretrained", "from_config", "config", "set", "setter"])
def test_attention_implementations_make_no_difference(name, how, folder, tmp_path):
    """Nothing needs to be installed for them."""
    weights = build("mingru", eos_token_id=None)
    if how == "from_pretrained":
        model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation=name)
    elif how == "from_config":
        model = AutoModelForCausalLM.from_config(copy.deepcopy(weights.config), attn_implementation=name)
    elif how == "config":
        model = MinRNNForCausalLM(MinRNNConfig.from_pretrained(folder, attn_implementation=name))
    else:
        model = MinRNNForCausalLM.from_pretrained(folder)
        (model if how == "set" else model.model).set_attn_implementation(name)
    model.eval().load_state_dict(weights.state_dict())
    assert model.config._attn_implementation == "eager"
    check_loaded(model, folder, tmp_path)


LOADING = {
    **{f"experts {name}": ({"experts_implementation": name}, WORKS) for name in ("eager", "grouped_mm", "batched_mm")},
    **{f"device_map {name}": ({"device_map": name}, WORKS) for name in ("auto", "balanced", "sequential", "cpu")},
    "blocks on the disk": (
        {"device_map": {"model.embed_tokens": "cpu", "model.layers": "disk", "model.norm": "cpu", "lm_head": "cpu"}},
        WORKS,
    ),
    "tp_plan, one process": ({"tp_plan": "auto"}, WORKS),
    "DistributedConfig, one process": ({"distributed_config": DistributedConfig(tp_plan="auto")}, WORKS),
    "low_cpu_mem_usage": ({"low_cpu_mem_usage": True}, WORKS),
    "dtype": ({"dtype": "auto"}, WORKS),
    "unknown": ({"nonsense": 3}, "nonsense"),
}


@pytest.mark.parametrize("name", LOADING)
def test_loading_options(name, folder, tmp_path):
    options, refusal = LOADING[name]
    if options.get("device_map"):
        options = {**options, "offload_folder": tmp_path / "offloaded"}
    if refusal is WORKS:
        check_loaded(AutoModelForCausalLM.from_pretrained(folder, **options).eval(), folder, tmp_path / "saved")
        return
    with pytest.raises((TypeError, ValueError), match=refusal):
        AutoModelForCausalLM.from_pretrained(folder, **options)


SPLIT = [
    {"tp_size": 2},
    {"distributed_config": DistributedConfig(tp_size=2)},
    {"distributed_config": DistributedConfig(ep_size=2, fsdp_size=2)},
    {"distributed_config": {"tp_size": 2, "tp_plan": "auto"}},
]


@pytest.mark.parametrize("options", SPLIT, ids=str)
def test_tensor_parallelism_is_refused_with_a_remedy(options, folder):
    with pytest.raises(ValueError, match=r"tensor or expert parallelism .*device_map='auto'.*fsdp_size"):
        AutoModelForCausalLM.from_pretrained(folder, **options)


def test_tensor_parallelism_is_refused_in_several_processes(folder, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(ValueError, match="tensor or expert parallelism"):
        AutoModelForCausalLM.from_pretrained(folder, tp_plan="auto")
