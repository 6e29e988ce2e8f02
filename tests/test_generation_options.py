# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Every option of loading and of `generate` works, has no effect, or is rejected with an error that names it."""

import copy

import pytest
import torch
from support.model_cases import build, token_ids
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    ByT5Tokenizer,
    GenerationConfig,
    PreTrainedTokenizerFast,
    SynthIDTextWatermarkingConfig,
    TextStreamer,
    WatermarkingConfig,
)
from transformers.distributed import DistributedConfig

from hf_minrnn import MinRNNConfig, MinRNNForCausalLM
from hf_minrnn.compat import TESTED_TRANSFORMERS, transformers_version

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


def test_continuous_batching_is_rejected_before_any_work(caplog):
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
    """Checks that a model equals the one saved in the folder, and is saved in the same way."""
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
def test_tensor_parallelism_is_rejected_with_a_remedy(options, folder):
    with pytest.raises(ValueError, match=r"tensor or expert parallelism .*device_map='auto'.*fsdp_size"):
        AutoModelForCausalLM.from_pretrained(folder, **options)


def test_tensor_parallelism_is_rejected_in_several_processes(folder, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(ValueError, match="tensor or expert parallelism"):
        AutoModelForCausalLM.from_pretrained(folder, tp_plan="auto")


# Options of generate that change the text or the return value, the numbers of prompt rows, and WORKS or the error message.
# Options that work give the same text with and without a cache.
BOTH, ONE = (1, 2), (1,)
WRITING = {
    "greedy": ({}, BOTH, WORKS),
    **{
        f"{name} {value}": ({name: value, "do_sample": True}, BOTH, WORKS)
        for name, value in {
            "temperature": 0.7,
            "top_k": 5,
            "top_p": 0.9,
            "top_h": 0.5,
            "min_p": 0.1,
            "typical_p": 0.9,
            "epsilon_cutoff": 1e-2,
            "eta_cutoff": 1e-2,
        }.items()
    },
    **{
        f"{name} {value}": ({name: value}, BOTH, WORKS)
        for name, value in {
            "repetition_penalty": 1.3,
            "no_repeat_ngram_size": 2,
            "encoder_repetition_penalty": 1.2,
            "encoder_no_repeat_ngram_size": 2,
            "bad_words_ids": [[66], [7, 8]],
            "sequence_bias": [[[9], 5.0]],
            "suppress_tokens": [66, 42],
            "begin_suppress_tokens": [66],
            "forced_bos_token_id": 3,
            "forced_eos_token_id": 3,
            "remove_invalid_values": True,
            "renormalize_logits": True,
            "min_length": 9,
            "min_new_tokens": 2,
            "max_length": 11,
            "max_time": 60.0,
            "low_memory": True,
            "guidance_scale": 1.5,
            "disable_compile": True,
            "synced_gpus": False,
            "watermarking_config": WatermarkingConfig(bias=4.0),
            "output_attentions": True,
        }.items()
    },
    "watermark SynthID": (
        {"watermarking_config": SynthIDTextWatermarkingConfig(ngram_len=3, keys=[1, 2, 3]), "do_sample": True},
        BOTH,
        WORKS,
    ),
    "guidance with a negative prompt": (
        {"guidance_scale": 1.5, "negative_prompt_ids": token_ids(2, 4, seed=5)},
        (2,),
        WORKS,
    ),
    "length decay": (
        {"exponential_decay_length_penalty": (2, 1.5), "eos_token_id": 9, "pad_token_id": 0},
        BOTH,
        WORKS,
    ),
    "prefix_allowed_tokens_fn": ({"prefix_allowed_tokens_fn": lambda row, ids: [5, 6, 7 + row]}, BOTH, WORKS),
    "beams": ({"num_beams": 3, "length_penalty": 0.5, "early_stopping": "never"}, BOTH, WORKS),
    "stop_strings": ({"stop_strings": ["a", "b"], "tokenizer": ByT5Tokenizer(), "pad_token_id": 0}, BOTH, WORKS),
    "stop_strings alone": ({"stop_strings": ["a"]}, BOTH, "must pass the model's tokenizer"),
    "streamer": ({"streamer": TextStreamer(ByT5Tokenizer())}, ONE, WORKS),
    "streamer of several": ({"streamer": TextStreamer(ByT5Tokenizer())}, (2,), "only supports batch size 1"),
    "token_healing": ({"token_healing": True}, ONE, "must pass the model's tokenizer"),
    "token_healing without bos": (
        {"token_healing": True, "tokenizer": ByT5Tokenizer()},
        ONE,
        "needs a tokenizer with a bos_token",
    ),
    "speculation of several": ({"prompt_lookup_num_tokens": 3}, (2,), "batch_size = 1"),
    "dflash": ({"speculation_type": "dflash", "assistant_model": "itself"}, ONE, "draft model made for it"),
    "use_mtp": ({"use_mtp": True}, ONE, "num_mtp_layers"),
    "is_assistant": ({"is_assistant": True}, ONE, "is_assistant .*leave it out"),
    "return_legacy_cache": ({"return_legacy_cache": True}, ONE, "return_legacy_cache"),
    "unknown": ({"nonsense": 3}, ONE, "nonsense"),
    "synced_gpus alone": ({"synced_gpus": True}, ONE, "process group has not been initialized"),
    # These are functions on the Hub.
    **{
        name: (options, ONE, "requires `trust_remote_code=True`.*transformers-community")
        for name, options in {
            "dola_layers": {"dola_layers": "high"},
            "penalty_alpha": {"penalty_alpha": 0.6, "top_k": 4},
            "num_beam_groups": {"num_beam_groups": 2, "num_beams": 4, "diversity_penalty": 0.5},
            "constraints": {"constraints": [], "force_words_ids": [[3]], "num_beams": 2},
        }.items()
    },
}


@pytest.mark.parametrize("name, rows", [(name, rows) for name in WRITING for rows in WRITING[name][1]])
def test_options_of_generate(name, rows):
    options, _, refusal = WRITING[name]
    model, ids = build("mingru", eos_token_id=None), token_ids(rows, 7)
    options = {"do_sample": False, **options}
    if "max_length" not in options:
        options["max_new_tokens"] = 4
    if options.get("assistant_model"):
        options["assistant_model"] = model

    def call(**more):
        torch.manual_seed(3)
        return model.generate(ids, **options, **more)

    if refusal is not WORKS:
        with pytest.raises((ValueError, AttributeError), match=refusal):
            call()
        return
    found = call()
    assert torch.equal(found, call(use_cache=False)) and 7 < found.shape[1] <= 11 and found.shape[0] == rows
    assert torch.equal(call(return_dict_in_generate=True).sequences, found)


NOT_HERE = {
    "tests/test_generation_minrnn.py": "cache_implementation compile_config max_new_tokens num_return_sequences output_scores "
    "output_logits output_hidden_states prefill_chunk_size return_dict_in_generate use_cache do_sample eos_token_id "
    "pad_token_id",
    "tests/test_rollback.py": "assistant_confidence_threshold assistant_early_exit num_assistant_tokens",
    "with an assistant": "assistant_ensemble_weight assistant_lookbehind target_lookbehind max_matching_ngram_size "
    "num_assistant_tokens_schedule",
    "of an encoder, or of caches": "decoder_start_token_id cache_config continuous_batching_config max_cache_len",
    "not an option": "transformers_version _from_model_config bos_token_id",
}


@pytest.mark.skipif(transformers_version != TESTED_TRANSFORMERS, reason="other versions have other fields")
def test_every_field_of_the_generation_config_is_tested():
    here = {field for options, _, _ in WRITING.values() for field in options}
    elsewhere = {field for fields in NOT_HERE.values() for field in fields.split()}
    assert set(vars(GenerationConfig())) - elsewhere <= here
    assert not elsewhere & here - {"do_sample", "eos_token_id", "pad_token_id"}


@pytest.mark.parametrize(
    "options",
    [
        {"output_attentions": True},
        {"output_hidden_states": True},
        {"assistant_ensemble_weight": 0.5},
        {"assistant_ensemble_weight": 0.5, "do_sample": True},
        {"num_assistant_tokens_schedule": "heuristic"},
        {"num_assistant_tokens_schedule": "constant"},
        {"assistant_lookbehind": 5, "target_lookbehind": 5},
    ],
    ids=str,
)
def test_options_of_an_assistant(options):
    model, draft, ids = build("mingru", eos_token_id=None), build("mingru", eos_token_id=None), token_ids(1, 7)
    options = {"do_sample": False, "max_new_tokens": 6, **options}
    out = model.generate(ids, assistant_model=draft, return_dict_in_generate=True, **options)
    assert out.sequences.shape == (1, 13) and not out.attentions
    if not options["do_sample"]:
        assert torch.equal(out.sequences, model.generate(ids, max_new_tokens=6, do_sample=False))


def test_prompt_lookup_takes_its_longest_match_and_no_static_cache():
    model, ids = build("mingru", eos_token_id=None), token_ids(1, 7)
    options = {"max_new_tokens": 6, "do_sample": False}
    out = model.generate(ids, prompt_lookup_num_tokens=3, max_matching_ngram_size=1, **options)
    assert torch.equal(out, model.generate(ids, **options))
    for name in ("static", "offloaded_static"):
        with pytest.raises(ValueError, match="not supported with Static cache"):
            model.generate(ids, prompt_lookup_num_tokens=3, cache_implementation=name, **options)


def test_requested_attentions_are_none():
    model, ids = build("mingru", eos_token_id=None), token_ids(2, 7)
    out = model.generate(ids, max_new_tokens=3, output_attentions=True, return_dict_in_generate=True)
    assert out.attentions is None
    assert model(ids, output_attentions=True).get("attentions") is None


def test_token_healing():
    """The last token of each prompt is replaced by the most likely token that begins with it."""
    words = ["<pad>", "<s>", "h", "ht", "https", "b", "be", "x"]
    trained = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="x"))
    trained.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=trained, bos_token="<s>", pad_token="<pad>")
    model = build("mingru", vocab_size=len(words), eos_token_id=None)
    ids = tokenizer("x b x ht", return_tensors="pt").input_ids
    out = model.generate(ids, tokenizer=tokenizer, token_healing=True, max_new_tokens=3, do_sample=False)
    with torch.no_grad():
        scores = model(ids[:, :-1]).logits[0, -1]
    scores[3] += 11
    scores[4] += 10
    healed = torch.cat([ids[:, :-1], scores.argmax().view(1, 1)], 1)
    assert torch.equal(out, model.generate(healed, max_new_tokens=3, do_sample=False))
