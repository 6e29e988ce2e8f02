# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Time per token and bytes of state against what has been read before, beside Llama and Mamba of the same size.

    python -m training.bench.decode            # writes training/results/bench_decode.json and .png, a quarter of an hour

Single tokens through each model's forward, one after the other, without `generate`; "Linears alone" are the same matrices of
minGRU applied to one vector each and nothing else, the least that any model of this size has to read. minRNN really reads
everything before it; Llama's cache is filled with random keys and values, and Mamba's state, which has one size, with a short
text's. Before anything is timed, what minRNN decodes is compared with one reading of the text, or its last 4,096 tokens, by
the definition in float64, and the run ends if they don't agree.

Medians of rounds in which each contestant decodes some tokens in a row, as one does: the first of them finds the others'
weights in the processor's caches.
"""

from __future__ import annotations

import argparse
from copy import deepcopy
from pathlib import Path

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

import torch
from torch import nn
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM, MambaConfig, MambaForCausalLM, StaticCache

from hf_minrnn import MinRNNConfig, MinRNNForCausalLM
from training.bench.by_definition import by_definition
from training.common.files import write_json
from training.common.machine import provenance, usable_cores
from training.common.paths import RESULTS
from training.common.plots import plot_lines
from training.common.timing import check_agreement, measure, settings

OURS = {"minGRU": "mingru", "minLSTM": "minlstm"}
# Of the time that a model's Linears take alone.
TARGETS = {"minGRU": 1.2, "minGRU, compiled": 1.1}
COMPILED_WITH = "a static cache and without torch's checks of what was compiled (skip_guard_eval_unsafe, size_asserts)"
# How many tokens a check decodes after a text, and how much of its end it reads again: fresh weights forget what is older.
CHECKED, READ_AGAIN = 3, 4096
LIMITS = {"Llama": 65_536}  # tokens; its cache then takes 2 GB


# --- contestants -----------------------------------------------------------------------------------------------------


def make_models(parameters: int, hidden_size: int, vocab_size: int) -> dict[str, nn.Module]:
    """The models by name, each of as many layers as come nearest to `parameters`, with fresh weights."""
    shared = {"vocab_size": vocab_size, "hidden_size": hidden_size, "tie_word_embeddings": True}
    shared |= dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
    heads = {"num_attention_heads": max(1, hidden_size // 64), "intermediate_size": 8 * hidden_size // 3}
    heads["max_position_embeddings"] = 1 << 17
    makers = {
        **{
            name: lambda n, c=cell: MinRNNForCausalLM(MinRNNConfig(cell_type=c, num_hidden_layers=n, **shared))
            for name, cell in OURS.items()
        },
        "Llama": lambda n: LlamaForCausalLM(LlamaConfig(num_hidden_layers=n, **heads, **shared)),
        "Mamba": lambda n: MambaForCausalLM(MambaConfig(num_hidden_layers=n, **shared)),
    }
    models = {}
    for name, make in makers.items():
        with torch.device("meta"):
            first, second = (make(n).num_parameters() for n in (1, 2))
        layers = max(1, round((parameters - first) / (second - first)) + 1)
        torch.manual_seed(0)
        models[name] = make(layers).eval()
    return models


def linears_alone(model: nn.Module):
    """A function that applies each of a model's Linears to one vector of ones."""
    linears = [module for module in model.modules() if isinstance(module, nn.Linear)]
    inputs = [torch.ones(1, 1, linear.in_features) for linear in linears]

    def step():
        for linear, x in zip(linears, inputs):
            linear(x)

    return step


def state_bytes(cache) -> int:
    """Bytes of state that a cache keeps alive; counters, and the last token that ours notes, are none."""
    tensors = []
    for layer in cache.layers:
        for value in vars(layer).values():
            values = (
                value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else [value]
            )
            tensors += [x for x in values if isinstance(x, torch.Tensor) and x.is_floating_point()]
    return sum({x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in tensors}.values())


def text(vocab_size: int, length: int) -> torch.Tensor:
    """The first tokens of one random text."""
    return torch.randint(0, vocab_size, (1, length), generator=torch.Generator().manual_seed(0))


def prefilled(name: str, model: nn.Module, context: int, earlier=None, chunk: int = 4096):
    """A cache after `context` tokens; ours goes on from `earlier`, a pair of a position and its cache's `deepcopy`."""
    config = model.config
    if name == "Llama":
        generator = torch.Generator().manual_seed(context)
        cache = DynamicCache(config=config)
        shape = (1, config.num_key_value_heads, context, config.head_dim)
        for layer in range(config.num_hidden_layers if context else 0):
            cache.update(torch.randn(shape, generator=generator), torch.randn(shape, generator=generator), layer)
        return cache
    position, cache = earlier or (0, None)
    tokens = text(config.vocab_size, min(context, 16) if name == "Mamba" else context)[:, position:]
    key = "cache_params" if name == "Mamba" else "past_key_values"
    for piece in tokens.split(chunk, 1):
        if piece.shape[1]:
            cache = model(piece, use_cache=True, logits_to_keep=1, **{key: cache})[key]
    return cache


def one_token(name: str, model: nn.Module, cache, run=None):
    """A function that decodes one token on a cache and returns its logits; `run` is a compiled stand-in for the model."""
    token, key = torch.zeros(1, 1, dtype=torch.long), "cache_params" if name.startswith("Mamba") else "past_key_values"
    held = [cache]

    def step():
        output = (model if run is None else run)(token, use_cache=True, **{key: held[0]})
        held[0] = output[key]
        return output.logits

    step.cache = lambda: held[0]
    return step


def compiled_step(name: str, model: nn.Module):
    """As `one_token` with `torch.compile` and a static cache, after a short text; checked against the model as it is."""
    caches = [StaticCache(config=model.config, max_cache_len=1 << 20) for _ in range(2)]
    for cache in caches:
        model(text(model.config.vocab_size, 16), use_cache=True, past_key_values=cache)
    wanted = one_token(name, model, caches[0])()
    # Decoding changes no shapes: see `bench` for what else is not looked at anew.
    step = one_token(name, model, caches[1], torch.compile(model, fullgraph=True, options={"size_asserts": False}))
    check_agreement(f"{name} compiled and not (logits)", [step()], [wanted], [1e-4])
    return step


def check_decoding(name: str, model: nn.Module, exact: nn.Module, cache, context: int) -> list[float]:
    """Compares tokens decoded on a copy of a cache with one reading by `exact`; raises `Disagreement`."""
    step = one_token(name, model, deepcopy(cache))
    got = torch.cat([step() for _ in range(CHECKED)], 1)
    read = text(model.config.vocab_size, context)[:, -READ_AGAIN:]
    whole = torch.cat([read, read.new_zeros(1, CHECKED)], 1)
    want = exact(whole, use_cache=False, logits_to_keep=CHECKED).logits
    return check_agreement(f"{name} after {context} tokens and its definition (logits)", [got], [want], [1e-5])


# --- measuring -------------------------------------------------------------------------------------------------------


def repeated(step, times: int):
    """A function that calls another so many times."""

    def steps():
        for _ in range(times):
            step()

    return steps


def prefill_all(models: dict, contexts: list[int], say) -> dict:
    """`(name, context) -> cache`."""
    caches = {}
    for name, model in models.items():
        earlier = None
        for context in contexts:
            if context > LIMITS.get(name, context):
                continue
            say(f"{name} reads {context:,} tokens")
            caches[name, context] = prefilled(name, model, context, earlier)
            if name in OURS and caches[name, context] is not None:
                earlier = context, deepcopy(caches[name, context])
    return caches


@torch.inference_mode()
def bench(models: dict, contexts: list[int], rounds: int, tokens: int, compiled: bool, say=print) -> dict:
    """Milliseconds per token and bytes of state by model and context, and the times of Linears alone."""
    with settings(max(torch.get_num_threads(), usable_cores())):  # reading is not timed
        caches = prefill_all(models, contexts, say)
    for name in OURS:
        exact = by_definition(models[name])
        for context in contexts:
            check_decoding(name, models[name], exact, caches[name, context], context)
    steps = {key: one_token(key[0], models[key[0]], cache) for key, cache in caches.items()}
    steps |= {(f"Linears of {name} alone", 0): linears_alone(models[name]) for name in OURS}
    if compiled:
        for name in OURS:
            steps[f"{name}, compiled", contexts[0]] = compiled_step(name, models[name])
    before = {key: state_bytes(cache) for key, cache in caches.items() if cache is not None}
    # By default torch looks before each token at every module, weight and state, whether they are still what was compiled. A
    # loop over tokens changes none of them.
    with torch.compiler.set_stance("default", skip_guard_eval_unsafe=compiled):
        repeats = {key: repeated(step, tokens) for key, step in steps.items()}
        timings = measure(repeats, rounds, warm_ups=3, calls=tokens)
    out = {name: {} for name, _ in timings}
    for key, entry in timings.items():
        name, context = key
        out[name][str(context)] = entry
        if key in caches:
            out[name][str(context)]["state_bytes"] = after = state_bytes(steps[key].cache())
            if name in OURS and after > before.get(key, after):
                raise RuntimeError(
                    f"the state of {name} grew after {context} tokens, from {before[key]} to {after} bytes"
                )
    return out


def ratios(rows: dict) -> dict:
    """Each of ours over its Linears alone, at every context."""
    out = {}
    for name, entries in rows.items():
        base = name.removesuffix(", compiled")
        if base not in OURS:
            continue
        alone = rows[f"Linears of {base} alone"]["0"]["median_ms"]
        for context, entry in entries.items():
            out[f"{name} / its Linears, {int(context):,}"] = {
                "ratio": entry["median_ms"] / alone,
                "target": TARGETS.get(name),
            }
    return out


def main(argv: list[str] | None = None) -> dict:
    """Measures, prints and writes the result file and its plot; returns what it wrote."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    contexts = [0, 1_000, 10_000, 65_536, 1_000_000]
    parser.add_argument("--contexts", type=int, nargs="+", default=contexts, help="tokens read before, in rising order")
    parser.add_argument("--rounds", type=int, default=30, help="timed turns of each contestant")
    parser.add_argument("--tokens", type=int, default=8, help="tokens in a row at each turn")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--parameters", type=int, default=20_000_000, help="of every model, as nearly as layers allow")
    parser.add_argument("--hidden-size", type=int, default=512)
    parser.add_argument("--vocab-size", type=int, default=256)
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--output", type=Path, default=RESULTS / "bench_decode.json", help="a PNG is written beside it")
    args = parser.parse_args(argv)
    if min(args.contexts) < 0 or sorted(set(args.contexts)) != args.contexts:
        parser.error(f"--contexts {args.contexts} must rise, from 0 or more")
    if args.rounds < 2 or args.tokens < 1:
        parser.error(f"--rounds must be at least 2 and --tokens 1, got {args.rounds} and {args.tokens}")
    with settings(args.threads):
        models = make_models(args.parameters, args.hidden_size, args.vocab_size)
        rows = bench(models, args.contexts, args.rounds, args.tokens, not args.no_compile)
        result = {
            **provenance("training.bench.decode", argv),
            "measured": "milliseconds per token, batch 1, float32, medians and quartiles of interleaved rounds",
            "compiled_with": COMPILED_WITH,
            "rounds": args.rounds,
            "tokens_in_a_row": args.tokens,
            "models": {
                name: {
                    "parameters": model.num_parameters(),
                    "num_hidden_layers": model.config.num_hidden_layers,
                    "hidden_size": args.hidden_size,
                }
                for name, model in models.items()
            },
            "contexts": rows,
            "ratios": ratios(rows),
        }
    for name, entries in rows.items():
        for context, entry in entries.items():
            size = f"{entry['state_bytes']:>15,} bytes" if "state_bytes" in entry else ""
            print(f"{name:<28}after {int(context):>9,} tokens: {entry['median_ms']:8.3f} ms per token{size}")
    for name, entry in result["ratios"].items():
        missed = "  MISSED" if entry["target"] and entry["ratio"] > entry["target"] else ""
        print(
            f"{name:<45}{entry['ratio']:.2f}{'' if entry['target'] is None else '  target ' + str(entry['target'])}{missed}"
        )
    write_json(args.output, result)
    picture = args.output.with_suffix(".png")
    lines = {
        name: [(int(c), e["median_ms"]) for c, e in entries.items()]
        for name, entries in rows.items()
        if len(entries) > 1 or len(args.contexts) == 1  # a single point is shown where all are single
    }
    plot_lines(picture, "Time per token against what was read before", ("tokens before", "ms per token"), lines)
    print(f"wrote {args.output} and {picture}")
    return result


if __name__ == "__main__":
    main()
