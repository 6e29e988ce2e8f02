# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Measures time per token of generate and of a bare forward loop, compared with Llama and Mamba, and of speculative decoding.

    python -m training.bench.generate          # one thread, about a minute; writes training/results/bench_generate.json

The models are tiny, one layer of 64 channels, so that the work around the arithmetic takes most of the time. The numbers are
medians of rounds in which each contestant runs once. Before anything is timed, generate and the loop must have written the same
tokens, and speculative decoding those of plain decoding; the script ends if they have not.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

import torch
from torch import nn

from hf_minrnn import MinGRUCell
from training.bench import runner
from training.bench.contestants import MODELS
from training.common.command_line import positive_int, reported
from training.common.timing import Disagreement, measure
from training.common.widths import count

VOCABULARY = 256
WIDTH = 64
PROMPT = 8  # tokens
LOOKUP = 8  # tokens that prompt lookup guesses at once
WARM_UPS = 2
OURS = ("minGRU", "minLSTM")
OTHERS = ("Llama", "Mamba")
STEPS = "bare minGRU steps"
WAYS = ("generate", "loop")
# Largest share of another model's time that ours should take.
TARGETS = {("generate", "Llama"): 0.75, ("generate", "Mamba"): 0.75, ("loop", "Llama"): 0.5}
# With the usual initializer most of these models repeat one token for ever, and the check would find nothing.
OPTIONS = {name: {"initializer_range": 0.5} for name in (*OURS, *OTHERS)}
OPTIONS["Llama"] |= {"num_attention_heads": 4, "intermediate_size": 3 * WIDTH}


def tiny_models() -> dict[str, nn.Module]:
    """Makes the models, with fresh weights; ours with its default block."""
    models = {}
    for name, options in OPTIONS.items():
        torch.manual_seed(0)
        models[name] = MODELS[name].make(1, WIDTH, VOCABULARY, **options).eval()
    return models


def random_prompt(tokens: int) -> torch.Tensor:
    """Returns a prompt `(1, tokens)` without token 0, which is the padding."""
    return torch.randint(1, VOCABULARY, (1, tokens), generator=torch.Generator().manual_seed(1))


def generate(model: nn.Module, prompt: torch.Tensor, tokens: int, **kwargs) -> torch.Tensor:
    """Returns the new tokens `(1, tokens)` of a greedy `generate`."""
    out = model.generate(
        prompt, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False, pad_token_id=0, **kwargs
    )
    return out[:, prompt.shape[1] :]


def forward_loop(model: nn.Module, prompt: torch.Tensor, tokens: int) -> torch.Tensor:
    """Returns the same tokens from the model's forward and its cache, in the shortest loop that computes them."""
    name = "cache_params" if model.config.model_type == "mamba" else "past_key_values"
    ids = prompt
    cache = None
    new = []
    for _ in range(tokens):
        output = model(ids, use_cache=True, **{name: cache})
        cache = output[name]
        ids = output.logits[:, -1:].argmax(-1)
        new.append(ids)
    return torch.cat(new, 1)


class BareSteps(nn.Module):
    """An embedding, a cell and a head with nothing between them: a lower bound for any model that decodes in Python."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.cell = MinGRUCell(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, VOCABULARY)
        for weight in self.parameters():
            nn.init.normal_(weight, std=0.5)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Returns the likeliest next token after each of `ids`, all at once."""
        return self.head(self.cell(self.embedding(ids))[0]).argmax(-1)

    def loop(self, prompt: torch.Tensor, tokens: int) -> torch.Tensor:
        """Returns `tokens` new tokens, step by step after the prompt."""
        outputs, state = self.cell(self.embedding(prompt))
        h = outputs[:, -1]
        new = []
        for _ in range(tokens):
            ids = self.head(h).argmax(-1)
            new.append(ids)
            if len(new) < tokens:
                h, state = self.cell.step(self.embedding(ids), state)
        return torch.stack(new, 1)


def check_equal(name: str, got: torch.Tensor, want: torch.Tensor) -> None:
    """Compares the new tokens of two contestants; raises `Disagreement`."""
    if got.shape != want.shape:
        raise Disagreement(f"{name}: {got.shape[1]} and {want.shape[1]} tokens: no speed is reported")
    different = (got != want)[0].nonzero()
    if len(different):
        at = int(different[0])
        tokens = f"{int(got[0, at])} and {int(want[0, at])}"
        raise Disagreement(f"{name} differ from new token {at + 1} on ({tokens}): no speed is reported")


def count_forwards(model: nn.Module, function: Callable[[], torch.Tensor]) -> tuple[torch.Tensor, int]:
    """Returns the result of a function, and how many times it ran the model."""
    calls = []
    handle = model.register_forward_pre_hook(lambda *_: calls.append(1))
    try:
        return function(), len(calls)
    finally:
        handle.remove()


def checked_contestants(prompt: torch.Tensor, tokens: int) -> tuple[dict, dict]:
    """Makes the tiny models and compares the tokens of `generate` and of the loop.

    Returns:
        Functions by `(name, way)`, and the models' entries of the result file by name, without times.
    """
    contestants, rows = {}, {}
    for name, model in tiny_models().items():
        contestants[name, "generate"] = partial(generate, model, prompt, tokens)
        contestants[name, "loop"] = partial(forward_loop, model, prompt, tokens)
        new = contestants[name, "loop"]()
        check_equal(f"{name}: generate and the forward loop", contestants[name, "generate"](), new)
        rows[name] = {"parameters": count(model), "distinct_tokens": new.unique().numel()}
    steps = BareSteps().eval()
    contestants[STEPS, "loop"] = partial(steps.loop, prompt, tokens)
    new = contestants[STEPS, "loop"]()
    at_once = steps(torch.cat([prompt, new[:, :-1]], 1))[:, PROMPT - 1 :]
    check_equal(f"{STEPS}: the steps and the cell over the whole text", new, at_once)
    rows[STEPS] = {"parameters": count(steps), "distinct_tokens": new.unique().numel()}
    return contestants, rows


def checked_speculation(tokens: int, hidden_size: int, num_hidden_layers: int) -> tuple[dict, dict]:
    """Makes a larger model and compares the tokens of plain and speculative decoding of a repetitive text.

    Returns:
        Functions by `("speculative", way)`, and the entry of the result file, without times.
    """
    torch.manual_seed(0)
    model = MODELS["minGRU"].make(num_hidden_layers, hidden_size, VOCABULARY).eval()
    prompt = random_prompt(PROMPT).repeat(1, 4)
    row = {
        "parameters": count(model),
        "hidden_size": hidden_size,
        "num_hidden_layers": num_hidden_layers,
        "prompt_lookup_num_tokens": LOOKUP,
    }
    contestants, written = {}, {}
    for way, options in (("plain", {}), ("lookup", {"prompt_lookup_num_tokens": LOOKUP})):
        function = partial(generate, model, prompt, tokens, **options)
        contestants["speculative", way] = function
        written[way], forwards = count_forwards(model, function)
        row[way] = {"forwards": forwards}
    check_equal("speculative and plain decoding", written["lookup"], written["plain"])
    return contestants, row


def table(result: dict) -> str:
    """Returns the results for the terminal."""
    lines = []
    for name, row in result["models"].items():
        timings = [f"{way} {row[way]['median_ms']:.3f} ms" for way in WAYS if way in row]
        lines.append(f"{name:<20}{row['parameters']:>9,} parameters  {', '.join(timings)} per token")
    lines += runner.ratio_lines(result["ratios"], smaller=True, digits=3)
    row = result["speculative"]
    for way, name in (("plain", "plain"), ("lookup", f"prompt lookup of {row['prompt_lookup_num_tokens']}")):
        lines.append(
            f"{row['num_hidden_layers']} layers of {row['hidden_size']}, {name}: "
            f"{row[way]['median_ms']:.3f} ms per token, {row[way]['forwards']} forwards"
        )
    return "\n".join(lines)


@torch.no_grad()
def bench(options: argparse.Namespace) -> dict:
    """Checks and measures all contestants; returns the content of the result file."""
    contestants, models = checked_contestants(random_prompt(PROMPT), options.tokens)
    more, speculative = checked_speculation(options.tokens, options.hidden_size, options.num_hidden_layers)
    timings = measure(contestants | more, options.rounds, WARM_UPS, calls=options.tokens)
    for name, way in contestants:
        models[name][way] = timings[name, way]
    for key in more:
        speculative[key[1]] |= timings[key]
    speculative["speed_up"] = speculative["plain"]["median_ms"] / speculative["lookup"]["median_ms"]
    ratios = {
        f"{way}: {name} / {other}": runner.ratio_of(timings, (name, way), (other, way), TARGETS.get((way, other)))
        for way in WAYS
        for name in OURS
        for other in OTHERS
    }
    result = {
        "prompt_tokens": PROMPT,
        "new_tokens": options.tokens,
        "hidden_size": WIDTH,
        "vocab_size": VOCABULARY,
        "warm_ups": WARM_UPS,
        "models": models,
        "speculative": speculative,
        "ratios": ratios,
    }
    print(table(result))
    return result


MEASURED = "milliseconds per new token, prompt included, float32, medians and quartiles of interleaved rounds"
BENCHMARK = runner.Benchmark("training.bench.generate", __doc__, MEASURED, bench, rounds=15)


@reported
def main(argv: list[str] | None = None) -> dict:
    """Runs the benchmark; returns the content of the result file."""
    parser = BENCHMARK.parser()
    parser.add_argument("--tokens", type=positive_int, default=200, help="new tokens of every contestant")
    parser.add_argument(
        "--hidden-size", type=positive_int, default=256, help="width of the model that decodes speculatively"
    )
    parser.add_argument("--num-hidden-layers", type=positive_int, default=4, help="number of layers of the same model")
    return BENCHMARK.run(BENCHMARK.parse(argv, parser), argv)


if __name__ == "__main__":
    main()
