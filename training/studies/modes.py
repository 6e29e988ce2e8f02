# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Tests in which modes recurrent language models of transformers agree with computing each row alone from scratch.

    python -m training.studies.modes           # half a minute; writes training/results/compare_modes.json

Tiny models with random weights, float32 on the CPU, where transformers runs its plain torch code and no optional kernels.
The reference is always one forward without cache, mask or padding: over a row alone, or over the text so far for each greedy
token. Everything else is called as `generate` calls it: through `prepare_inputs_for_generation`, with the mask of all columns,
with positions counted along the mask if the forward takes `position_ids`, and with the cache under the model's own name for it.
A mode can have several ways. Each gets a fresh copy of the model, because RecurrentGemma keeps its state in its modules.
"""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

import torch
import transformers
from transformers import DynamicCache

from hf_minrnn import MinRNNConfig, MinRNNForCausalLM
from training.common.command_line import make_parser, positive_int, reported, result_file
from training.common.files import write_json
from training.common.machine import provenance
from training.common.paths import RESULTS
from training.common.timing import settings
from training.common.widths import count

VOCABULARY = 64
WIDTH = 64
NOISE = 0.15  # scale of the noise that is added to fresh weights
TOLERANCE = 1e-4  # largest difference that counts as exact
# Padding: tokens of the two rows of a batch, and of their continuation.
LONG, SHORT, MORE = 12, 7, 4
PACKED = (9, 8)  # tokens of the sequences that are packed into one row
# Chunked prefill: tokens of the prompt, of generate's chunks, of the first of two forwards, and after the prompt.
PROMPT, CHUNK, PIECE, CHUNKED_TOKENS = 19, 4, 11, 12
# Speculative decoding: tokens of a text, its repetitions in the prompt, new tokens, and tokens guessed at once.
REPEATED, REPEATS, SPECULATIVE_TOKENS, LOOKUP = 8, 3, 32, 3
SHARED = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id")) | {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 96}

# --- models ----------------------------------------------------------------------------------------------------------


def _minrnn(**kwargs) -> torch.nn.Module:
    return MinRNNForCausalLM(MinRNNConfig(**SHARED, **kwargs))


def _model(name: str, **kwargs) -> torch.nn.Module:
    """Returns a causal language model of transformers, by the common part of the names of its classes."""
    config = getattr(transformers, f"{name}Config")(**SHARED | kwargs)
    return getattr(transformers, f"{name}ForCausalLM")(config)


MODELS: dict[str, Callable[[], torch.nn.Module]] = {
    "minGRU": lambda: _minrnn(),
    "minGRU, learned initial state": lambda: _minrnn(learn_initial_state=True),
    "Mamba": lambda: _model("Mamba", state_size=8),
    "Mamba2": lambda: _model("Mamba2", state_size=8, num_heads=8, head_dim=16, n_groups=2, chunk_size=8),
    "FalconMamba": lambda: _model("FalconMamba", state_size=8),
    # Untied: with its scaled embeddings it would repeat the last token of the prompt forever.
    "RecurrentGemma": lambda: _model(
        "RecurrentGemma", num_hidden_layers=3, tie_word_embeddings=False, **HEADS | {"intermediate_size": 192}
    ),
    # Its cache rounds the width of the keys up to 64 and its layers do not, so 64 channels would not fit.
    "xLSTM": lambda: _model("xLSTM", hidden_size=128, num_heads=4, chunk_size=16, autocast_kernel_dtype="float32"),
    "RWKV": lambda: _model("Rwkv"),
    # Hybrids with attention in one layer (FalconH1: next to the recurrence in each layer).
    "Lfm2": lambda: _model("Lfm2", layer_types=["conv", "full_attention"], **HEADS),
    "Qwen3-Next": lambda: _model(
        "Qwen3Next",
        layer_types=["linear_attention", "full_attention"],
        mlp_only_layers=[0, 1],
        head_dim=16,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        **HEADS,
    ),
    "FalconH1": lambda: _model(
        "FalconH1",
        mamba_d_ssm=64,
        mamba_n_heads=4,
        mamba_d_state=8,
        mamba_chunk_size=8,
        num_logits_to_keep=0,  # its prepare_inputs_for_generation would keep the last logits only
        **HEADS,
    ),
    "Jamba": lambda: _model(
        "Jamba",
        attn_layer_period=2,
        attn_layer_offset=1,
        num_experts=1,
        num_experts_per_tok=1,
        mamba_d_state=8,
        **HEADS,
    ),
}


def add_noise(model, scale: float, seed: int):
    """Adds noise to every parameter, biases too: with fresh weights many states and leaks would have little effect."""
    generator = torch.Generator().manual_seed(seed)
    for weight in model.parameters():
        weight.data += scale * torch.randn(weight.shape, generator=generator)
    return model


def make(name: str):
    """Returns a model by name, the same at every call."""
    torch.manual_seed(0)
    return add_noise(MODELS[name]().float().eval(), NOISE, seed=1)


def tokens(count: int, seed: int) -> torch.Tensor:
    """Returns random ids `(1, count)` without token 0, which is the padding."""
    return torch.randint(1, VOCABULARY, (1, count), generator=torch.Generator().manual_seed(seed))


# --- running ---------------------------------------------------------------------------------------------------------


def alone(model, ids: torch.Tensor) -> torch.Tensor:
    """Returns the logits of a row alone, from scratch: the reference."""
    return model(ids, use_cache=False).logits


def greedy(model, prompt: torch.Tensor, count: int) -> torch.Tensor:
    """Returns the greedy tokens `(1, count)` after a prompt, each from scratch: the reference."""
    ids = prompt
    for _ in range(count):
        ids = torch.cat([ids, alone(model, ids)[:, -1:].argmax(-1)], 1)
    return ids[:, prompt.shape[1] :]


def generate(model, prompt: torch.Tensor, count: int, **kwargs) -> torch.Tensor:
    """Returns the greedy tokens `(1, count)` that `generate` writes after a prompt."""
    out = model.generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=count, do_sample=False, pad_token_id=0, **kwargs
    )
    return out[:, prompt.shape[1] :]


def feed(model, ids: torch.Tensor, mask: torch.Tensor, new: int, past=None):
    """Returns the logits of the last `new` columns of `ids`, and the cache after them; `past` is the cache before them."""
    named = inspect.signature(model.forward).parameters
    name = next(name for name in ("past_key_values", "cache_params", "state") if name in named)
    first = past is None
    if first and name == "past_key_values":
        # As generate does; RecurrentGemma fills the cache that it is given and does not return it.
        past = DynamicCache(config=model.config)
    kwargs = {name: past}
    if "position_ids" in named:
        kwargs["position_ids"] = (mask.cumsum(1) - 1).masked_fill(mask == 0, 0)[:, -new:]
    inputs = model.prepare_inputs_for_generation(
        ids, next_sequence_length=new, attention_mask=mask, use_cache=True, is_first_iteration=first, **kwargs
    )
    output = model(**inputs)
    returned = output.get(name)
    return output.logits, past if returned is None else returned


# --- verdicts --------------------------------------------------------------------------------------------------------


def difference(got: torch.Tensor, want: torch.Tensor) -> float:
    """Returns the share of tokens that differ, or the largest difference of logits relative to the largest logit.

    The result is infinite if the shapes differ.
    """
    if got.shape != want.shape:
        return math.inf
    if not want.is_floating_point():
        return (got != want).double().mean().item()
    return ((got - want).abs().max() / want.abs().max()).item()


def judge(check: Callable[[], tuple[torch.Tensor, torch.Tensor]]) -> dict:
    """Returns the verdict on a check, which computes a result and the reference: "exact", "wrong", or "refused" if it raised.

    Any error counts as a refusal, since no wrong result is returned.
    """
    try:
        got, want = check()
        found = difference(got, want)
    except Exception as error:
        line = (str(error).strip().splitlines() or [""])[0]
        return {"verdict": "refused", "error": f"{type(error).__name__}: {line}"[:120]}
    verdict = "exact" if found <= TOLERANCE else "wrong"  # NaN is wrong
    entry = {"verdict": verdict, "difference": found if math.isfinite(found) else None}
    # RWKV returns other shapes for some batches.
    return entry if got.shape == want.shape else entry | {"shapes": [list(got.shape), list(want.shape)]}


def verdict_cell(ways: dict) -> str:
    """Returns the verdicts of a mode in a few words: equal ones joined, with the largest difference, others with their ways.

    >>> verdict_cell({"a": {"verdict": "exact", "difference": 0.0}, "b": {"verdict": "refused", "error": "..."}})
    'a: exact; b: refused'
    """
    groups = {}
    for way, entry in ways.items():
        groups.setdefault(entry["verdict"], []).append(way)
    parts = []
    for verdict, members in groups.items():
        text = verdict
        if verdict == "wrong":
            found = [ways[way]["difference"] for way in members if ways[way]["difference"] is not None]
            text = f"wrong ({max(found):.2f})" if found else "wrong"
        parts.append(text if len(groups) == 1 else f"{', '.join(members)}: {text}")
    return "; ".join(parts)


# --- modes -----------------------------------------------------------------------------------------------------------


def padded(side: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns a batch of two rows, the second one padded, its mask, and the second row alone."""
    row = tokens(SHORT, 2)
    gap = torch.zeros(1, LONG - SHORT, dtype=torch.long)
    pieces = [row, gap] if side == "right" else [gap, row]
    ids = torch.cat([tokens(LONG, 1), torch.cat(pieces, 1)])
    return ids, (ids != 0).long(), row


def right_padding(name: str) -> dict:
    """Checks a batch with a row padded on the right, continued from its cache at once and token by token."""
    ids, mask, row = padded("right")
    more = tokens(2 * MORE, 3).reshape(2, MORE)
    want = alone(make(name), torch.cat([row, more[1:]], 1))[:, SHORT:]

    def check(step: int):
        model, found = make(name), []
        _, past = feed(model, ids, mask, LONG)
        for end in range(step, MORE + 1, step):
            now = torch.cat([ids, more[:, :end]], 1), torch.cat([mask, torch.ones(2, end, dtype=torch.long)], 1)
            logits, past = feed(model, *now, step, past)
            found.append(logits[1:])
        return torch.cat(found, 1), want

    return {f"{MORE} at once": judge(lambda: check(MORE)), "one by one": judge(lambda: check(1))}


def left_padding(name: str) -> dict:
    """Checks the logits at the real tokens of a row padded on the left."""
    ids, mask, row = padded("left")
    want = alone(make(name), row)
    return {"batch": judge(lambda: (feed(make(name), ids, mask, LONG)[0][1:, LONG - SHORT :], want))}


def packing(name: str) -> dict:
    """Checks two sequences in one row, described in each way of DataCollatorWithFlattening and in all of them together."""
    rows = [tokens(count, 4 + i) for i, count in enumerate(PACKED)]
    want = torch.cat([alone(make(name), row) for row in rows], 1)
    bounds = torch.tensor([0, PACKED[0], sum(PACKED)], dtype=torch.int32)
    ways = {
        "position_ids": {"position_ids": torch.cat([torch.arange(count) for count in PACKED])[None]},
        "seq_idx": {"seq_idx": torch.arange(2, dtype=torch.int32).repeat_interleave(torch.tensor(PACKED))[None]},
        "cu_seq_lens": {
            "cu_seq_lens_q": bounds,
            "cu_seq_lens_k": bounds,
            "max_length_q": max(PACKED),
            "max_length_k": max(PACKED),
        },
    }
    ways["all three"] = {key: value for way in ways.values() for key, value in way.items()}

    def check(kwargs: dict):
        return make(name)(torch.cat(rows, 1), use_cache=False, **kwargs).logits, want

    return {way: judge(lambda kwargs=kwargs: check(kwargs)) for way, kwargs in ways.items()}


def chunked_prefill(name: str) -> dict:
    """Checks a prompt in chunks, by `generate` and by two forwards."""
    prompt = tokens(PROMPT, 13)
    logits = alone(make(name), prompt)
    new = greedy(make(name), prompt, CHUNKED_TOKENS)

    def by_hand():
        model, mask = make(name), torch.ones_like(prompt)
        first, past = feed(model, prompt[:, :PIECE], mask[:, :PIECE], PIECE)
        second, _ = feed(model, prompt, mask, PROMPT - PIECE, past)
        return torch.cat([first, second], 1), logits

    return {
        "generate": judge(lambda: (generate(make(name), prompt, CHUNKED_TOKENS, prefill_chunk_size=CHUNK), new)),
        "forward": judge(by_hand),
    }


def speculative_decoding(name: str) -> dict:
    """Checks guesses from the prompt, and from an assistant that is the model with noise; only some of them are accepted."""
    prompt = tokens(REPEATED, 7).repeat(1, REPEATS)
    new = greedy(make(name), prompt, SPECULATIVE_TOKENS)
    forwards = []

    def check(options: Callable[[], dict]):
        model = make(name)
        model.register_forward_pre_hook(lambda *_: forwards.append(1))
        return generate(model, prompt, SPECULATIVE_TOKENS, **options()), new

    ways = {
        "prompt lookup": lambda: {"prompt_lookup_num_tokens": LOOKUP},
        "assistant": lambda: {"assistant_model": add_noise(make(name), NOISE / 15, seed=2)},
    }
    out = {}
    for way, options in ways.items():
        forwards.clear()
        out[way] = judge(lambda options=options: check(options)) | {"forwards": len(forwards)}
    return out


MODES = {
    "right padding": right_padding,
    "packing": packing,
    "chunked prefill": chunked_prefill,
    "left padding": left_padding,
    "speculative decoding": speculative_decoding,
}


def control(name: str) -> dict:
    """Measures what has to hold for the verdicts to mean something.

    Returns:
        `dict`: `generate` is the verdict on plain greedy decoding, `distinct_tokens` the number of different tokens that it
        wrote, `memory` how much the last logits of a text depend on its first token.
    """
    prompt = tokens(PROMPT, 13)
    new = greedy(make(name), prompt, CHUNKED_TOKENS)
    other = prompt.clone()
    other[0, 0] = prompt[0, 0] % (VOCABULARY - 1) + 1
    return {
        "generate": judge(lambda: (generate(make(name), prompt, CHUNKED_TOKENS), new)),
        "distinct_tokens": new.unique().numel(),
        "memory": difference(alone(make(name), other)[:, -1], alone(make(name), prompt)[:, -1]),
    }


# --- command line ----------------------------------------------------------------------------------------------------


def compare(name: str) -> dict:
    """Returns the entry of a model in the result file, and prints it."""
    entry = {
        "parameters": count(make(name)),
        "control": control(name),
        "modes": {mode: check(name) for mode, check in MODES.items()},
    }
    print(f"{name}: plain generate {entry['control']['generate']['verdict']}", flush=True)
    for mode, ways in entry["modes"].items():
        print(f"  {mode:<22}{verdict_cell(ways)}", flush=True)
    return entry


@reported
def main(argv: list[str] | None = None) -> dict:
    """Compares, prints and writes the result file; returns its content."""
    parser = make_parser("training.studies.modes", __doc__)
    parser.add_argument(
        "--models",
        nargs="+",
        choices=list(MODELS),
        default=list(MODELS),
        metavar="MODEL",
        help="models to test (default: all)",
    )
    parser.add_argument("--threads", type=positive_int, default=1, help="threads of torch")
    parser.add_argument("--output", type=result_file, default=RESULTS / "compare_modes.json", help="result file")
    options = parser.parse_args(argv)
    with settings(options.threads):
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some models warn of masks and kernels that they lack
            models = {name: compare(name) for name in options.models}
        result = {
            **provenance("training.studies.modes", argv),
            "measured": "largest difference of logits relative to the largest logit, or share of greedy tokens that differ, "
            "from a forward over each row alone without cache; float32, CPU, no optional kernels",
            "tolerance": TOLERANCE,
            "models": models,
        }
    write_json(options.output, result)
    print(f"wrote {options.output}")
    return result


if __name__ == "__main__":
    main()
