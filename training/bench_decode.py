# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Time per token and size of the state, after 10 tokens and after 100,000.

    python training/bench_decode.py            # writes training/results/bench_decode.json

One model, two caches: tokens are decoded in turn from the one and from the other, so that whatever else the machine does
falls on both. Medians of the time that one token takes through the model's forward.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median

import torch
from report import machine, versions, write_json

from hf_minrnn import MinRNNConfig, MinRNNForCausalLM

RESULTS = Path(__file__).parent / "results"


def state_bytes(cache) -> int:
    """Bytes of memory that a cache keeps alive."""
    states = [x for layer in cache.layers for x in (*layer.recurrent_states.values(), *layer.conv_states.values())]
    return sum(x.untyped_storage().nbytes() for x in states if x is not None)


@torch.inference_mode()
def measure(model, positions: list[int], tokens: int, chunk: int = 4096) -> dict[int, dict[str, float]]:
    """Milliseconds per token and bytes of state for each starting position.

    Args:
        model (`MinRNNForCausalLM`): The model.
        positions (`list[int]`): Tokens that each cache has seen before the first timed one.
        tokens (`int`): Timed tokens per position.
        chunk (`int`): Tokens per forward of the prefill.
    """
    caches = {}
    for position in positions:
        cache, ids = None, torch.randint(0, model.config.vocab_size, (1, position))
        for piece in ids.split(chunk, 1):
            cache = model(piece, past_key_values=cache, use_cache=True, logits_to_keep=1).past_key_values
        caches[position] = cache
    before = {position: state_bytes(cache) for position, cache in caches.items()}
    token, times = torch.zeros(1, 1, dtype=torch.long), {position: [] for position in positions}
    for _ in range(tokens):
        for position, cache in caches.items():
            begin = time.perf_counter()
            model(token, past_key_values=cache, use_cache=True)
            times[position].append(1e3 * (time.perf_counter() - begin))
    for position, cache in caches.items():
        if state_bytes(cache) != before[position] or cache.get_seq_length() != position + tokens:
            raise RuntimeError(f"the cache at position {position} grew or lost count: {state_bytes(cache)} bytes")
    return {
        position: {"milliseconds_per_token": median(times[position]), "state_bytes": before[position]}
        for position in positions
    }


def main(argv: list[str] | None = None) -> dict:
    """Measures, prints and writes the result file; returns what it wrote."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--positions", type=int, nargs="+", default=[10, 100_000], help="tokens seen before")
    parser.add_argument("--tokens", type=int, default=500, help="timed tokens per position")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--hidden-size", type=int, default=256)
    parser.add_argument("--num-hidden-layers", type=int, default=4)
    parser.add_argument("--vocab-size", type=int, default=2048)
    parser.add_argument("--output", type=Path, default=RESULTS / "bench_decode.json")
    args = parser.parse_args(argv)
    if min(args.positions) < 1 or args.tokens < 1:
        parser.error("--positions and --tokens must be positive")
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    config = MinRNNConfig(
        vocab_size=args.vocab_size, hidden_size=args.hidden_size, num_hidden_layers=args.num_hidden_layers
    )
    model = MinRNNForCausalLM(config).eval()
    rows = measure(model, args.positions, args.tokens)
    for position, row in rows.items():
        print(
            f"after {position:>9,} tokens: {row['milliseconds_per_token']:.3f} ms per token, {row['state_bytes']:,} bytes"
        )
    first, last = rows[args.positions[0]], rows[args.positions[-1]]
    result = {
        "command": "python training/bench_decode.py",
        "parameters": model.num_parameters(),
        "config": config.to_diff_dict(),
        "threads": args.threads,
        "tokens_timed": args.tokens,
        "positions": {str(position): row for position, row in rows.items()},
        "time_ratio_last_to_first": last["milliseconds_per_token"] / first["milliseconds_per_token"],
        "machine": machine(),
        "versions": versions(),
    }
    write_json(args.output, result)
    print(f"wrote {args.output}")
    return result


if __name__ == "__main__":
    main()
