# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Held-out loss with the recurrent state carried through the text, and samples."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from transformers import PreTrainedTokenizerBase

from hf_minrnn import MinRNNForCausalLM
from training.lm.ngram import NGramModel
from training.lm.snippets import SNIPPET_BYTES, TEMPERATURE, TOP_P, Sample
from training.lm.tokenization import TokenStream

LOGITS_AT_ONCE = 1 << 24  # values; 64 MB in float32
LONGEST_SEGMENT = 4096  # tokens
PIECES = 8  # of the quick estimate
PIECE_LENGTH = 2048  # tokens


# Not inference_mode: shards that are gathered inside it could not be trained afterwards.
@torch.no_grad()
def token_nats(
    model: MinRNNForCausalLM, ids: np.ndarray, window: int | None = None, separator: int | None = None
) -> np.ndarray:
    """Returns the negative log-likelihood of every token after the first, in nats.

    The model reads the text in segments. The state passes from one to the next in `past_key_values`, so the result does not
    depend on the lengths of the segments.

    Args:
        ids (`np.ndarray` of shape `(tokens,)`): Token ids, at least two.
        window (`int`, *optional*): Number of tokens after which the state is reset; `None` for never.
        separator (`int`, *optional*): Token at which the state is reset.

    Returns:
        `np.ndarray` of shape `(tokens - 1,)`, float64.
    """
    model.eval()
    device = next(model.parameters()).device
    at_once = max(64, LOGITS_AT_ONCE // model.config.vocab_size)  # tokens
    predicted = len(ids) - 1
    window = min(window or predicted, predicted)
    # Filled in place: small results that stay between the large logits would keep the C library from using their memory again.
    nats = np.empty(predicted)
    done = 0
    length = min(LONGEST_SEGMENT, at_once)
    for inputs, targets in _window_batches(torch.from_numpy(ids.astype(np.int64)), window, max(1, at_once // window)):
        cache = None
        found = nats[done : done + inputs.numel()].reshape(inputs.shape)
        done += inputs.numel()
        for start in range(0, inputs.shape[1], length):
            segment = inputs[:, start : start + length].to(device)
            wanted = targets[:, start : start + length].to(device)
            output = model(input_ids=segment, past_key_values=cache, use_cache=True, **_resets(segment, separator))
            cache = output.past_key_values
            losses = F.cross_entropy(output.logits.float().transpose(1, 2), wanted, reduction="none")
            found[:, start : start + length] = losses.double().cpu().numpy()
    return nats


def _window_batches(ids: torch.Tensor, window: int, rows: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yields the inputs and targets of a text cut into windows, `rows` windows at a time; the last one may be shorter."""
    predicted = len(ids) - 1
    whole = predicted // window * window
    yield from zip(ids[:whole].view(-1, window).split(rows), ids[1 : whole + 1].view(-1, window).split(rows))
    if whole < predicted:
        yield ids[None, whole:-1], ids[None, whole + 1 :]


def stream_nats(model: MinRNNForCausalLM, ids: np.ndarray, separator: int | None = None) -> float:
    """Returns the sum of `token_nats`, with the state carried through all of the text."""
    return float(token_nats(model, ids, separator=separator).sum())


def _resets(inputs: torch.Tensor, separator: int | None) -> dict:
    """Returns the argument of the model that resets the state at separators."""
    return {} if separator is None else {"resets": inputs == separator}


@torch.no_grad()
def quick_bits_per_byte(model: MinRNNForCausalLM, stream: TokenStream, separator: int | None = None) -> float:
    """Estimates the bits per byte during training, from a few long pieces spread over the text, each from an empty state."""
    model.eval()
    device = next(model.parameters()).device
    length = min(PIECE_LENGTH, (len(stream.ids) - 1) // PIECES)
    if length < 1:
        return stream.bits_per_byte(stream_nats(model, stream.ids, separator))
    starts = np.linspace(0, len(stream.ids) - length - 1, PIECES).astype(np.int64)
    rows = torch.from_numpy(stream.ids[starts[:, None] + np.arange(length + 1)].astype(np.int64)).to(device)
    nats = 0.0
    for row in rows:  # one at a time, as the logits of all would be large
        inputs = row[None, :-1]
        logits = model(input_ids=inputs, use_cache=False, **_resets(inputs, separator)).logits[0].float()
        nats += F.cross_entropy(logits, row[1:]).item() / PIECES
    return stream.bits_per_byte(nats * (len(stream.ids) - 1))


def evaluate_heldout(model: MinRNNForCausalLM, stream: TokenStream, separator: int | None = None) -> dict[str, float]:
    """Returns the loss on the held-out text: bits per byte of the documents, perplexity per token, and the counts."""
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
    """Returns the number of tokens in about `SNIPPET_BYTES` bytes of this text."""
    return math.ceil(SNIPPET_BYTES * len(stream.ids) / stream.num_bytes)


@torch.inference_mode()
def sample_model(
    model: MinRNNForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    count: int,
    max_tokens: int,
    seed: int,
    batch_size: int = 50,
) -> list[Sample]:
    """Draws texts that begin a document with `prompt`, by the protocol of `training.lm.snippets`."""
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


def sample_ngram(
    model: NGramModel, tokenizer: PreTrainedTokenizerBase, prompt: str, count: int, max_tokens: int, seed: int
) -> list[Sample]:
    """Draws texts from a 5-gram by the same protocol as `sample_model`."""
    rng = np.random.default_rng(seed)
    begin = [tokenizer.eos_token_id, *tokenizer(prompt, add_special_tokens=False).input_ids]
    rows = [model.sample(rng, begin, max_tokens, TEMPERATURE, TOP_P) for _ in range(count)]
    return finished(tokenizer, rows, max_tokens)


def finished(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Sequence[int]], max_tokens: int) -> list[Sample]:
    """Decodes rows of tokens to texts, each up to its separator if it has one.

    Args:
        max_tokens (`int`): Length of a row that was cut off. A shorter row was ended by the model.
    """
    samples = []
    for row in rows:
        row = list(row)
        ended = len(row) < max_tokens
        if tokenizer.eos_token_id in row:
            ended = True
            row = row[: row.index(tokenizer.eos_token_id)]
        samples.append(Sample(tokenizer.decode(row), ended))
    return samples
