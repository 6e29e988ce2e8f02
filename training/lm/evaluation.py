# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Held-out loss with the recurrent state carried along, and samples."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from training.lm.snippets import SNIPPET_BYTES, TEMPERATURE, TOP_P, Sample
from training.lm.tokenization import TokenStream

LOGITS_AT_ONCE = 1 << 24  # numbers; 64 MB in float32
LONGEST_SEGMENT = 4096
PIECES, PIECE_LENGTH = 8, 2048


# Not inference_mode: a shard gathered in it could not be trained on afterwards.
@torch.no_grad()
def token_nats(model, ids: np.ndarray, window: int | None = None, separator: int | None = None) -> np.ndarray:
    """Negative log-likelihood of every token after the first, in nats.

    The text runs through the model in segments; the state passes from one to the next in `past_key_values`, so the result
    doesn't depend on where the segments are cut.

    Args:
        ids (`np.ndarray` of shape `(tokens,)`): Token ids, at least two.
        window (`int`, *optional*): The state is thrown away after every so many tokens; `None` for never.
        separator (`int`, *optional*): The token at which the state starts anew.

    Returns:
        `np.ndarray` of shape `(tokens - 1,)`, float64.
    """
    model.eval()
    device = next(model.parameters()).device
    at_once = max(64, LOGITS_AT_ONCE // model.config.vocab_size)
    predicted = len(ids) - 1
    window = min(window or predicted, predicted)
    ids = torch.from_numpy(ids.astype(np.int64))
    whole = predicted // window * window
    rows = [*zip(ids[:whole].view(-1, window), ids[1 : whole + 1].view(-1, window))]
    batches = [rows[i : i + max(1, at_once // window)] for i in range(0, len(rows), max(1, at_once // window))]
    if whole < predicted:  # the last window, which is shorter
        batches.append([(ids[whole:-1], ids[whole + 1 :])])
    found = []
    for batch in batches:
        inputs, targets = (torch.stack(side).to(device) for side in zip(*batch))
        cache, parts = None, []
        for piece, wanted in zip(*(side.split(min(LONGEST_SEGMENT, at_once), 1) for side in (inputs, targets))):
            output = model(input_ids=piece, past_key_values=cache, use_cache=True, **_resets(piece, separator))
            cache = output.past_key_values
            parts.append(F.cross_entropy(output.logits.float().transpose(1, 2), wanted, reduction="none"))
        found.append(torch.cat(parts, 1).flatten().double().cpu().numpy())
    return np.concatenate(found)


def stream_nats(model, ids: np.ndarray, separator: int | None = None) -> float:
    """The sum of `token_nats`, with unbounded context."""
    return float(token_nats(model, ids, separator=separator).sum())


def _resets(inputs: torch.Tensor, separator: int | None) -> dict:
    return {} if separator is None else {"resets": inputs == separator}


@torch.no_grad()
def quick_bits_per_byte(model, stream: TokenStream, separator: int | None = None) -> float:
    """Estimate for the curve during training: a few long pieces spread over the stream, each from an empty state."""
    model.eval()
    device = next(model.parameters()).device
    length = min(PIECE_LENGTH, (len(stream.ids) - 1) // PIECES)
    if length < 1:
        return stream.bits_per_byte(stream_nats(model, stream.ids, separator))
    starts = np.linspace(0, len(stream.ids) - length - 1, PIECES).astype(np.int64)
    rows = torch.from_numpy(stream.ids[starts[:, None] + np.arange(length + 1)].astype(np.int64)).to(device)
    nats = 0.0
    for row in rows:  # one at a time: logits of all at once would be large
        inputs = row[None, :-1]
        logits = model(input_ids=inputs, use_cache=False, **_resets(inputs, separator)).logits[0].float()
        nats += F.cross_entropy(logits, row[1:]).item() / PIECES
    return stream.bits_per_byte(nats * (len(stream.ids) - 1))


def evaluate_heldout(model, stream: TokenStream, separator: int | None = None) -> dict[str, float]:
    """Loss on the whole held-out stream: bits per byte of the documents, perplexity per token, and the counts."""
    nats = stream_nats(model, stream.ids, separator)
    predicted = len(stream.ids) - 1
    return {
        "heldout_bits_per_byte": stream.bits_per_byte(nats),
        "heldout_perplexity": math.exp(min(nats / predicted, 700.0)),
        "heldout_loss": nats / predicted,
        "heldout_tokens": predicted,
        "heldout_bytes": stream.num_bytes,
        "heldout_unknown_tokens": stream.num_unknown,
    }


def snippet_tokens(stream: TokenStream) -> int:
    """Tokens that make about `SNIPPET_BYTES` bytes of this text."""
    return math.ceil(SNIPPET_BYTES * len(stream.ids) / stream.num_bytes)


@torch.inference_mode()
def sample_model(
    model, tokenizer, prompt: str, count: int, max_tokens: int, seed: int, batch_size: int = 50
) -> list[Sample]:
    """Texts that go on from `prompt` at a document's beginning, by the protocol of snippets.py; the prompt is in them."""
    model.eval()
    torch.manual_seed(seed)
    begin = [tokenizer.eos_token_id, *tokenizer(prompt, add_special_tokens=False).input_ids]
    texts = []
    while len(texts) < count:
        rows = min(batch_size, count - len(texts))
        ids = torch.tensor([begin] * rows, device=next(model.parameters()).device)
        output = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=True,
            temperature=TEMPERATURE,
            top_p=TOP_P,
            top_k=0,
            max_new_tokens=max_tokens - len(begin) + 1,
            pad_token_id=tokenizer.eos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
        texts += finished(tokenizer, [row[1:] for row in output.tolist()], max_tokens)
    return texts


def sample_ngram(model, tokenizer, prompt: str, count: int, max_tokens: int, seed: int) -> list[Sample]:
    """The same from a 5-gram."""
    rng = np.random.default_rng(seed)
    begin = [tokenizer.eos_token_id, *tokenizer(prompt, add_special_tokens=False).input_ids]
    rows = [model.sample(rng, begin, max_tokens, TEMPERATURE, TOP_P) for _ in range(count)]
    return finished(tokenizer, rows, max_tokens)


def finished(tokenizer, rows: Sequence[Sequence[int]], max_tokens: int) -> list[Sample]:
    """Token rows to texts, each up to the separator if it has one."""
    samples = []
    for row in rows:
        row = list(row)
        ended = tokenizer.eos_token_id in row or len(row) < max_tokens
        if tokenizer.eos_token_id in row:
            row = row[: row.index(tokenizer.eos_token_id)]
        samples.append(Sample(tokenizer.decode(row), ended))
    return samples
