# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Time per token of generate and of a bare forward loop, beside Llama and Mamba; and of speculative decoding.

    python -m training.bench.generate          # one thread, about a minute; writes training/results/bench_generate.json

The models are tiny, so that what is timed is the work around the arithmetic: one layer of 64 channels. Every number is the
median of rounds in which each contestant runs once. Before anything is timed, generate and the loop must have written the
same tokens, and speculative decoding those of plain decoding; the run ends if they have not.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, MambaConfig, MambaForCausalLM

from hf_minrnn import MinGRUCell, MinRNNConfig, MinRNNForCausalLM
from training.common.files import write_json
from training.common.machine import provenance
from training.common.paths import RESULTS
from training.common.timing import measure, settings

VOCABULARY, WIDTH, PROMPT, LOOKUP, WARM_UPS = 256, 64, 8, 8, 2
OURS, OTHERS = ("minGRU", "minLSTM"), ("Llama", "Mamba")
STEPS = "bare minGRU steps"
# What share of another model's time ours should take at most, where something is asked of it.
TARGETS = {("generate", "Llama"): 0.75, ("generate", "Mamba"): 0.75, ("loop", "Llama"): 0.5}


# --- contestants -----------------------------------------------------------------------------------------------------


def tiny_models() -> dict[str, nn.Module]:
    """The models by name, with fresh weights; ours with its default block."""
    # The wide initializer is for the check: with the usual one most of these models repeat one token for ever.
    shared = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id")) | {
        "vocab_size": VOCABULARY,
        "hidden_size": WIDTH,
        "num_hidden_layers": 1,
        "initializer_range": 0.5,
    }
    makers = {
        "minGRU": lambda: MinRNNForCausalLM(MinRNNConfig(cell_type="mingru", **shared)),
        "minLSTM": lambda: MinRNNForCausalLM(MinRNNConfig(cell_type="minlstm", **shared)),
        "Llama": lambda: LlamaForCausalLM(LlamaConfig(num_attention_heads=4, intermediate_size=3 * WIDTH, **shared)),
        "Mamba": lambda: MambaForCausalLM(MambaConfig(**shared)),
    }
    models = {}
    for name, make in makers.items():
        torch.manual_seed(0)
        models[name] = make().eval()
    return models


def random_prompt(tokens: int) -> torch.Tensor:
    """A prompt `(1, tokens)` without token 0, which is the padding."""
    return torch.randint(1, VOCABULARY, (1, tokens), generator=torch.Generator().manual_seed(1))


def generate(model, prompt: torch.Tensor, tokens: int, **kwargs) -> torch.Tensor:
    """The new tokens `(1, tokens)` of a greedy `generate`."""
    out = model.generate(
        prompt, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False, pad_token_id=0, **kwargs
    )
    return out[:, prompt.shape[1] :]


def forward_loop(model, prompt: torch.Tensor, tokens: int) -> torch.Tensor:
    """The same tokens from the model's forward and its cache, in the shortest loop that gives them."""
    name = "cache_params" if model.config.model_type == "mamba" else "past_key_values"
    ids, cache, new = prompt, None, []
    for _ in range(tokens):
        output = model(ids, use_cache=True, **{name: cache})
        cache, ids = output[name], output.logits[:, -1:].argmax(-1)
        new.append(ids)
    return torch.cat(new, 1)


class BareSteps(nn.Module):
    """An embedding, a cell and a head with nothing between them: a floor for any model that decodes in Python."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.cell = nn.Embedding(VOCABULARY, WIDTH), MinGRUCell(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, VOCABULARY)
        for weight in self.parameters():
            nn.init.normal_(weight, std=0.5)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """The likeliest next token after each of `ids`, all at once."""
        return self.head(self.cell(self.embedding(ids))[0]).argmax(-1)

    def loop(self, prompt: torch.Tensor, tokens: int) -> torch.Tensor:
        """`tokens` new tokens, step by step after the prompt."""
        h, state = self.cell(self.embedding(prompt))
        h, new = h[:, -1], []
        for _ in range(tokens):
            ids = self.head(h).argmax(-1)
            new.append(ids)
            if len(new) < tokens:
                h, state = self.cell.step(self.embedding(ids), state)
        return torch.stack(new, 1)


# --- measuring -------------------------------------------------------------------------------------------------------


def check_equal(name: str, got: torch.Tensor, want: torch.Tensor) -> None:
    """Ends the run where two ways to the same tokens part."""
    if got.shape != want.shape:
        raise SystemExit(f"{name}: {got.shape[1]} and {want.shape[1]} tokens: no speed is reported")
    parted = (got != want)[0].nonzero()
    if len(parted):
        at = int(parted[0])
        raise SystemExit(
            f"{name} part at new token {at + 1} ({int(got[0, at])} and {int(want[0, at])}): no speed is reported"
        )


def count_forwards(model, function) -> tuple[torch.Tensor, int]:
    """What a function returns, and how many times it ran the model."""
    calls = []
    handle = model.register_forward_pre_hook(lambda *_: calls.append(1))
    try:
        return function(), len(calls)
    finally:
        handle.remove()


@torch.no_grad()
def bench(tokens: int, rounds: int, hidden_size: int, num_hidden_layers: int) -> dict:
    """Everything: `models` by name, `speculative`, and the `ratios`."""
    prompt, models, contestants, distinct = random_prompt(PROMPT), tiny_models(), {}, {}
    for name, model in models.items():
        contestants[name, "generate"] = lambda model=model: generate(model, prompt, tokens)
        contestants[name, "loop"] = lambda model=model: forward_loop(model, prompt, tokens)
        new = contestants[name, "loop"]()
        check_equal(f"{name}: generate and the forward loop", contestants[name, "generate"](), new)
        distinct[name] = new.unique().numel()
    models[STEPS] = steps = BareSteps().eval()
    contestants[STEPS, "loop"] = lambda: steps.loop(prompt, tokens)
    new = contestants[STEPS, "loop"]()
    at_once = steps(torch.cat([prompt, new[:, :-1]], 1))[:, PROMPT - 1 :]
    check_equal(f"{STEPS}: the steps and the cell over the whole text", new, at_once)
    distinct[STEPS] = new.unique().numel()

    torch.manual_seed(0)
    config = MinRNNConfig(vocab_size=VOCABULARY, hidden_size=hidden_size, num_hidden_layers=num_hidden_layers)
    larger, repetitive = MinRNNForCausalLM(config).eval(), random_prompt(PROMPT).repeat(1, 4)
    options = {"plain": {}, "lookup": {"prompt_lookup_num_tokens": LOOKUP}}
    for way, kwargs in options.items():
        contestants["speculative", way] = lambda kwargs=kwargs: generate(larger, repetitive, tokens, **kwargs)
    written, forwards = {}, {}
    for way in options:
        written[way], forwards[way] = count_forwards(larger, contestants["speculative", way])
    check_equal("speculative and plain decoding", written["lookup"], written["plain"])

    timings = measure(contestants, rounds, WARM_UPS, calls=tokens)
    speculative = {way: timings["speculative", way] | {"forwards": forwards[way]} for way in options}
    speculative["speed_up"] = speculative["plain"]["median_ms"] / speculative["lookup"]["median_ms"]
    return {
        "models": {
            name: {"parameters": sum(weight.numel() for weight in model.parameters())}
            | {"distinct_tokens": distinct[name]}
            | {way: timings[name, way] for way in ("generate", "loop") if (name, way) in timings}
            for name, model in models.items()
        },
        "speculative": {
            "parameters": larger.num_parameters(),
            "hidden_size": hidden_size,
            "num_hidden_layers": num_hidden_layers,
            "prompt_lookup_num_tokens": LOOKUP,
            **speculative,
        },
        "ratios": {
            f"{way}: {name} / {other}": {
                "ratio": timings[name, way]["median_ms"] / timings[other, way]["median_ms"],
                "target": TARGETS.get((way, other)),
            }
            for way in ("generate", "loop")
            for name in OURS
            for other in OTHERS
        },
    }


# --- report ----------------------------------------------------------------------------------------------------------


def table(result: dict) -> str:
    """The results for the terminal."""
    lines = []
    for name, row in result["models"].items():
        timings = [f"{way} {row[way]['median_ms']:.3f} ms" for way in ("generate", "loop") if way in row]
        lines.append(f"{name:<20}{row['parameters']:>9,} parameters  {', '.join(timings)} per token")
    for name, entry in result["ratios"].items():
        wanted = "" if entry["target"] is None else f"  target {entry['target']:g}"
        missed = "" if entry["target"] is None or entry["ratio"] <= entry["target"] else "  MISSED"
        lines.append(f"  {name:<30}{entry['ratio']:8.3f}{wanted}{missed}")
    row = result["speculative"]
    for way, name in (("plain", "plain"), ("lookup", f"prompt lookup of {row['prompt_lookup_num_tokens']}")):
        lines.append(
            f"{row['num_hidden_layers']} layers of {row['hidden_size']}, {name}: "
            f"{row[way]['median_ms']:.3f} ms per token, {row[way]['forwards']} forwards"
        )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> dict:
    """Checks, measures, prints and writes the result file; returns what it wrote."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=200, help="new tokens of every contestant")
    parser.add_argument("--rounds", type=int, default=15, help=f"timed rounds, after {WARM_UPS} that are not")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--hidden-size", type=int, default=256, help="of the model that decodes speculatively")
    parser.add_argument("--num-hidden-layers", type=int, default=4, help="of the same model")
    parser.add_argument("--output", type=Path, default=RESULTS / "bench_generate.json")
    args = parser.parse_args(argv)
    if args.tokens < 1 or args.rounds < 2 or args.threads < 1:
        parser.error("--tokens and --threads must be positive, --rounds at least 2")
    with settings(args.threads):
        result = {
            **provenance("training.bench.generate", argv),
            "measured": "milliseconds per new token, prompt included, float32, medians and quartiles of interleaved rounds",
            "prompt_tokens": PROMPT,
            "new_tokens": args.tokens,
            "hidden_size": WIDTH,
            "vocab_size": VOCABULARY,
            "rounds": args.rounds,
            "warm_ups": WARM_UPS,
            **bench(args.tokens, args.rounds, args.hidden_size, args.num_hidden_layers),
        }
    print(table(result))
    write_json(args.output, result)
    print(f"wrote {args.output}")
    return result


if __name__ == "__main__":
    main()
