# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The measurements of evaluate.py: bits per byte of one text read in three ways, and samples."""

from __future__ import annotations

import argparse
import math
import zlib

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from hf_minrnn import MinRNNForCausalLM
from training.common.errors import InputError
from training.common.text import byte_size
from training.lm.evaluation import finished, token_nats
from training.lm.positions import bits_of, by_position, name_of, unit_of, worth_past
from training.lm.tokenization import TokenStream


def measure_text(
    model: MinRNNForCausalLM,
    stream: TokenStream,
    unknown: np.ndarray,
    window: int,
    length: int,
    separator: int | None = None,
) -> tuple[dict, list[dict]]:
    """Measures a text in three ways: with the state carried through all of it, in windows, and in pieces by position.

    Args:
        unknown (`np.ndarray` of shape `(tokens - 1,)`, bool): Which of the predicted tokens are `<unk>`.
        window (`int`): Tokens after which the state is reset, the length in training.
        length (`int`): Tokens of a piece.
        separator (`int`, *optional*): Token at which the state is reset, in all three ways.

    Returns:
        `bits_per_byte` and `perplexity` of `carried`, `windows` and `pieces`; and the rows of `by_position`.

    Raises:
        InputError: The model's losses are not finite.
    """
    sizes = {"carried": None, "windows": window, "pieces": length}
    nats = {}
    scores = {}
    for name, size in sizes.items():
        if size is None:
            print("reading the text with the state carried through all of it")
        else:
            print(f"reading the text in {name} of {size:,} tokens")
        nats[name] = token_nats(model, stream.ids, size, separator)
        finite = np.isfinite(nats[name])
        if not finite.all():
            raise InputError(
                f"the model's loss is not finite at token {int(np.argmin(finite)) + 1}: its weights are damaged, or its "
                "training diverged; train or save it again"
            )
        scores[name] = {
            "bits_per_byte": float(bits_of(nats[name], unknown).sum()) / stream.num_bytes,
            "perplexity": math.exp(min(float(nats[name].mean()), 700.0)),
        }
    bytes_per_token = stream.num_bytes / len(unknown)
    return scores, by_position(nats["pieces"], nats["carried"], unknown, length, bytes_per_token)


def replace_bits_per_byte(measured: dict) -> None:
    """Replaces the bits per byte of a result by bits per token, because the tokenizer does not keep the text.

    Args:
        measured (`dict`): Has `metrics`, `pieces` and `positions`.
    """
    for row in measured["positions"]:
        for entry in (row, row["with_all_before"]):
            del entry["bits_per_byte"]
            entry["bits_per_token"] = entry["bits"] / row["tokens"]
    del measured["pieces"]["bits_per_byte"]
    worth = worth_past(measured["positions"], measured["window"])
    metrics = measured["metrics"]
    metrics |= {name: None for name in metrics if name.endswith("bits_per_byte")}
    metrics["worth_past_training_length_bits_per_token"] = None if worth is None else worth[1]


@torch.inference_mode()
def draw_samples(
    model: MinRNNForCausalLM, tokenizer: PreTrainedTokenizerBase, prompts: list[str], args: argparse.Namespace
) -> list[dict]:
    """Draws one text per prompt and seed, each from the beginning of a document.

    A text depends on its prompt, its seed and the sampling options alone, so each can be drawn again without the others.
    """
    samples = []
    device = next(model.parameters()).device
    for prompt in prompts:
        begin = [tokenizer.eos_token_id, *tokenizer(prompt, add_special_tokens=False).input_ids]
        ids = torch.tensor([begin], device=device)
        for seed in args.seeds:
            # The prompt is part of the seed: a model that remembers little would otherwise continue all prompts alike.
            mixed = np.random.SeedSequence((seed, zlib.crc32(prompt.encode()))).generate_state(1)
            with torch.random.fork_rng():
                torch.manual_seed(int(mixed[0]))
                row = model.generate(
                    ids,
                    attention_mask=torch.ones_like(ids),
                    do_sample=True,
                    temperature=args.temperature,
                    top_k=args.top_k,
                    top_p=args.top_p,
                    max_new_tokens=args.new_tokens,
                    eos_token_id=tokenizer.eos_token_id,
                    pad_token_id=tokenizer.eos_token_id,
                )[0].tolist()
            (sample,) = finished(tokenizer, [row[1:]], len(begin) - 1 + args.new_tokens)
            samples.append({"prompt": prompt, "seed": seed, "text": sample.text, "ended": sample.ended})
    return samples


def _three_ways(result: dict) -> str:
    """Returns the table of the text read in three ways; without bits per byte if the tokenizer does not keep the text."""
    metrics = result["metrics"]
    pieces = result["pieces"]
    rows = (
        ("state carried through the text", metrics["bits_per_byte"], metrics["perplexity"]),
        (f"windows of {result['window']:,} tokens", metrics["windows_bits_per_byte"], metrics["windows_perplexity"]),
        (f"pieces of {pieces['length']:,} tokens", pieces.get("bits_per_byte"), pieces["perplexity"]),
    )
    if metrics["bits_per_byte"] is None:
        lines = [f"\n{'':<34}perplexity", *(f"{name:<34}{perplexity:>10.3f}" for name, _, perplexity in rows)]
    else:
        lines = [f"\n{'':<34}bits per byte  perplexity"]
        lines += [f"{name:<34}{bits:>13.4f}{perplexity:>12.3f}" for name, bits, perplexity in rows]
    return "\n".join(lines)


def _by_position(result: dict) -> list[str]:
    """Returns the lines of the table of losses by position, and the worth of long context."""
    rows = result["positions"]
    window = result["window"]
    key = unit_of(rows)
    unit = key.replace("_", " ")
    lines = [f"{'position in a piece':<21}{'tokens':>9}{unit:>15}  same tokens, state carried"]
    for row in rows:
        lines.append(f"{name_of(row):<21}{row['tokens']:>9,}{row[key]:>15.4f}{row['with_all_before'][key]:>28.4f}")
    worth = worth_past(rows, window)
    if worth is None:
        return [
            *lines,
            f"the text is too short to measure the worth of context beyond the training length of {window} tokens",
        ]
    row, gain = worth
    gain = round(gain, 4) + 0.0  # not -0.0000
    return [
        *lines,
        f"context beyond the training length of {window:,} tokens is worth {gain:.4f} {unit} "
        f"(at positions {name_of(row)})",
    ]


def summary(result: dict) -> str:
    """Returns the content of a result file as text for the terminal."""
    metrics = result["metrics"]
    pieces = result["pieces"]
    lines = [_three_ways(result), "", *_by_position(result)]
    for number, sample in enumerate(result["samples"], start=1):
        lines.append(f"\n--- sample {number}, seed {sample['seed']} " + "-" * 50 + f"\n{sample['text']}")
    lines.append("-" * 73)
    for tokens, entry in result["decoding"]["after_tokens"].items():
        lines.append(
            f"decoding after {int(tokens):>6,} tokens: {entry['median_ms']:.3f} ms per token, "
            f"{entry['state_bytes']:,} bytes of state"
        )
    peak = "unknown on this system"
    if metrics["reading_mib"] is not None:
        peak = f"{metrics['reading_mib']:.1f} MiB"
    lines.append(
        f"memory: {byte_size(metrics['weights_bytes'])} of weights, and to read {pieces['length']:,} tokens at once and "
        f"decode: {peak}"
    )
    return "\n".join(lines)
