# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Measures time per token and bytes of state against the tokens read before, compared with Llama and Mamba of the same size.

    python -m training.bench.decode            # writes training/results/bench_decode.json and .png, a quarter of an hour

Single tokens go through the forward of each model, one after the other, without `generate`. "Linears alone" are the same
matrices of minGRU, each applied to one vector: the least that any model of this size has to read. minRNN reads all earlier
tokens. The cache of Llama is filled with random keys and values, and Mamba, whose state has one size, reads a short
text. Before anything is timed, the tokens that minRNN decodes are compared with those of its definition in float64, which reads
the text, or its last 4,096 tokens, at once; the script ends if they disagree.

Medians of rounds in which each contestant decodes some tokens in a row, as in use: the first of them finds the weights of other
contestants in the processor's caches.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

import torch
from torch import nn
from transformers import DynamicCache, StaticCache

from training.bench import runner
from training.bench.calls import by_definition
from training.bench.contestants import models_of_size
from training.common.command_line import positive_int, reported, whole
from training.common.machine import usable_cores
from training.common.plots import DPI, WIDTH, draw_lines, legend_below, save_figure
from training.common.timing import check_agreement, measure, settings
from training.lm.footprint import state_bytes

OURS = ("minGRU", "minLSTM")
NAMES = (*OURS, "Llama", "Mamba")
TARGETS = {"minGRU": 1.2, "minGRU, compiled": 1.1}  # time over that of the model's Linears alone, at most
COMPILED_WITH = "a static cache and without torch's checks of what was compiled (skip_guard_eval_unsafe, size_asserts)"
READ_AT_ONCE = 4096  # tokens
CHECKED = 3  # tokens that a check decodes after a text
READ_AGAIN = 4096  # tokens before them that it reads again: fresh weights forget older ones
LIMITS = {"Llama": 65_536}  # longest context; its cache then takes 2 GB
CONTEXTS = [0, 1_000, 10_000, 65_536, 1_000_000]


class OneToken:
    """Decodes one token at each call, after what `cache` holds, and returns its logits."""

    def __init__(self, name: str, model: nn.Module, cache: Any):
        self.model = model
        self.cache = cache
        self.argument = cache_argument(name)
        self.token = torch.zeros(1, 1, dtype=torch.long)

    def __call__(self) -> torch.Tensor:
        output = self.model(self.token, use_cache=True, **{self.argument: self.cache})
        self.cache = output[self.argument]
        return output.logits


def cache_argument(name: str) -> str:
    """Returns the name of a model's cache in its forward and its output."""
    return "cache_params" if name == "Mamba" else "past_key_values"


def linears_alone(model: nn.Module) -> Callable[[], None]:
    """Returns a function that applies each Linear of a model to one vector of ones."""
    linears = [module for module in model.modules() if isinstance(module, nn.Linear)]
    inputs = [torch.ones(1, 1, linear.in_features) for linear in linears]

    def step() -> None:
        for linear, x in zip(linears, inputs):
            linear(x)

    return step


def text(vocab_size: int, length: int) -> torch.Tensor:
    """Returns the first tokens of one random text."""
    return torch.randint(0, vocab_size, (1, length), generator=torch.Generator().manual_seed(0))


def random_llama_cache(config, context: int) -> DynamicCache:
    """Returns a cache of random keys and values for `context` tokens."""
    generator = torch.Generator().manual_seed(context)
    cache = DynamicCache(config=config)
    shape = (1, config.num_key_value_heads, context, config.head_dim)
    for layer in range(config.num_hidden_layers if context else 0):
        keys = torch.randn(shape, generator=generator)
        values = torch.randn(shape, generator=generator)
        cache.update(keys, values, layer)
    return cache


def prefilled(name: str, model: nn.Module, context: int, earlier: tuple | None = None):
    """Returns a model's cache after `context` tokens; `earlier` is a shorter context and its cache, to go on from."""
    if name == "Llama":
        return random_llama_cache(model.config, context)
    position, cache = earlier or (0, None)
    length = min(context, 16) if name == "Mamba" else context
    argument = cache_argument(name)
    for piece in text(model.config.vocab_size, length)[:, position:].split(READ_AT_ONCE, 1):
        if piece.shape[1]:
            cache = model(piece, use_cache=True, logits_to_keep=1, **{argument: cache})[argument]
    return cache


def prefill_all(models: dict[str, nn.Module], contexts: list[int]) -> dict[tuple[str, int], Any]:
    """Returns the caches by `(name, context)`. Our models go on from the context before."""
    caches = {}
    for name, model in models.items():
        earlier = None
        for context in contexts:
            if context > LIMITS.get(name, context):
                continue
            print(f"{name} reads {context:,} tokens")
            cache = prefilled(name, model, context, earlier)
            caches[name, context] = cache
            if name in OURS and cache is not None:
                earlier = (context, deepcopy(cache))
    return caches


def compiled_step(name: str, model: nn.Module) -> OneToken:
    """Returns a `OneToken` with `torch.compile` and a static cache, after a short text; checked against the same model."""
    caches = [StaticCache(config=model.config, max_cache_len=1 << 20) for _ in range(2)]
    for cache in caches:
        model(text(model.config.vocab_size, 16), use_cache=True, past_key_values=cache)
    wanted = OneToken(name, model, caches[0])()
    # Decoding changes no shapes. `time_tokens` turns off other checks.
    step = OneToken(name, torch.compile(model, fullgraph=True, options={"size_asserts": False}), caches[1])
    check_agreement(f"{name} compiled and not (logits)", [step()], [wanted], [1e-4])
    return step


def check_decoding(name: str, model: nn.Module, exact: nn.Module, cache: Any, context: int) -> list[float]:
    """Compares tokens decoded on a copy of a cache with one reading by the definition; raises `Disagreement`."""
    step = OneToken(name, model, deepcopy(cache))
    got = torch.cat([step() for _ in range(CHECKED)], 1)
    read = text(model.config.vocab_size, context)[:, -READ_AGAIN:]
    read = torch.cat([read, read.new_zeros(1, CHECKED)], 1)
    want = exact(read, use_cache=False, logits_to_keep=CHECKED).logits
    return check_agreement(f"{name} after {context} tokens and its definition (logits)", [got], [want], [1e-5])


def time_tokens(steps: dict[tuple[str, int], Callable], options: argparse.Namespace) -> dict:
    """Times steps, some tokens in a row, per token."""

    def tokens(step: Callable) -> None:
        for _ in range(options.tokens):
            step()

    # By default torch checks before each token whether every module, weight and state is still the one that was compiled.
    # Decoding changes none of them.
    with torch.compiler.set_stance("default", skip_guard_eval_unsafe=not options.no_compile):
        rows = {key: partial(tokens, step) for key, step in steps.items()}
        return measure(rows, options.rounds, warm_ups=3, calls=options.tokens)


@torch.inference_mode()
def bench_models(models: dict[str, nn.Module], options: argparse.Namespace) -> dict:
    """Checks our models and measures all; returns times and bytes of state by name and context."""
    with settings(max(torch.get_num_threads(), usable_cores())):  # reading is not timed
        caches = prefill_all(models, options.contexts)
    for name in OURS:
        exact = by_definition(models[name])
        for context in options.contexts:
            check_decoding(name, models[name], exact, caches[name, context], context)
    decoders = {(name, context): OneToken(name, models[name], cache) for (name, context), cache in caches.items()}
    steps = decoders | {(f"Linears of {name} alone", 0): linears_alone(models[name]) for name in OURS}
    if not options.no_compile:
        steps |= {(f"{name}, compiled", options.contexts[0]): compiled_step(name, models[name]) for name in OURS}
    before = {key: state_bytes(cache) for key, cache in caches.items() if cache is not None}
    rows = {name: {} for name, _ in steps}
    for (name, context), entry in time_tokens(steps, options).items():
        rows[name][str(context)] = entry
        if (name, context) not in decoders:
            continue
        size = state_bytes(decoders[name, context].cache)
        entry["state_bytes"] = size
        earlier = before.get((name, context), size)
        if name in OURS and size > earlier:
            raise RuntimeError(f"the state of {name} grew after {context} tokens, from {earlier} to {size} bytes")
    return rows


def ratios(rows: dict) -> dict:
    """Returns each of our times over that of the model's Linears alone, at every context."""
    found = {}
    for name, entries in rows.items():
        base = name.removesuffix(", compiled")
        if base not in OURS:
            continue
        alone = rows[f"Linears of {base} alone"]["0"]["median_ms"]
        for context, entry in entries.items():
            ratio = {"ratio": entry["median_ms"] / alone, "target": TARGETS.get(name)}
            found[f"{name} / its Linears, {int(context):,}"] = ratio
    return found


def table(result: dict) -> str:
    """Returns the results for the terminal."""
    lines = []
    for name, entries in result["contexts"].items():
        for context, entry in entries.items():
            size = f"{entry['state_bytes']:>15,} bytes" if "state_bytes" in entry else ""
            lines.append(f"{name:<28}after {int(context):>9,} tokens: {entry['median_ms']:8.3f} ms per token{size}")
    return "\n".join(lines + runner.ratio_lines(result["ratios"], smaller=True))


def draw(result: dict, path: Path) -> None:
    """Draws the time per token and the size of the state against the number of tokens read before, from a result file."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    rows = result["contexts"]
    only_points = all(len(entries) == 1 for entries in rows.values())
    models = {name: entries for name, entries in rows.items() if len(entries) > 1 or only_points}
    figure, panels = plt.subplots(1, 2, figsize=(WIDTH, 4), dpi=DPI, layout="constrained")
    for axes, key, scale, label in zip(
        panels, ("median_ms", "state_bytes"), (1, 1e-6), ("ms per token", "MB of state or cache")
    ):
        lines = {
            name: [(int(context), scale * entry[key]) for context, entry in entries.items() if key in entry]
            for name, entries in models.items()
        }
        draw_lines(axes, ("tokens read before", label), {name: points for name, points in lines.items() if points})
        axes.tick_params(axis="x", labelsize=8)
    panels[0].set_title("Time to generate one token", fontsize=12)
    panels[1].set_title("Memory for the text so far", fontsize=12)
    legend_below(figure, *panels)
    save_figure(path, figure)


def bench(options: argparse.Namespace) -> dict:
    """Measures all models; returns the content of the result file."""
    models = models_of_size(NAMES, options.parameters, options.hidden_size, options.vocab_size)
    rows = bench_models(models, options)
    result = {
        "compiled_with": COMPILED_WITH,
        "tokens_in_a_row": options.tokens,
        "models": {
            name: {
                "parameters": model.num_parameters(),
                "num_hidden_layers": model.config.num_hidden_layers,
                "hidden_size": options.hidden_size,
            }
            for name, model in models.items()
        },
        "contexts": rows,
        "ratios": ratios(rows),
    }
    print(table(result))
    return result


MEASURED = "milliseconds per token, batch 1, float32, medians and quartiles of interleaved rounds"
BENCHMARK = runner.Benchmark("training.bench.decode", __doc__, MEASURED, bench, rounds=30, draw=draw)


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parses the command line."""
    parser = BENCHMARK.parser()
    parser.add_argument(
        "--contexts", type=whole, nargs="+", default=CONTEXTS, help="numbers of tokens read before, in rising order"
    )
    parser.add_argument("--tokens", type=positive_int, default=8, help="tokens in a row at each turn")
    parser.add_argument(
        "--parameters", type=positive_int, default=20_000_000, help="number of parameters of every model, nearly"
    )
    parser.add_argument("--hidden-size", type=positive_int, default=512, help="width of every model")
    parser.add_argument("--vocab-size", type=positive_int, default=256, help="vocabulary of every model")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    options = BENCHMARK.parse(argv, parser)
    if sorted(set(options.contexts)) != options.contexts:
        parser.error(f"--contexts {' '.join(map(str, options.contexts))} must be in rising order")
    return options


@reported
def main(argv: list[str] | None = None) -> dict:
    """Runs the benchmark; returns the content of the result file."""
    return BENCHMARK.run(parse_arguments(argv), argv)


if __name__ == "__main__":
    main()
