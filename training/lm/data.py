# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""From the command line to tokens: a corpus, its tokenizer, and the rows of every step."""

from __future__ import annotations

import argparse
import hashlib
import time
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from training.common.errors import InputError
from training.lm.batches import MapBatches
from training.lm.corpus import Corpus, load_corpus
from training.lm.streaming import StreamBatches, load_stream
from training.lm.tokenization import TokenStream, build_tokenizer, encode_documents


@dataclass
class Data:
    """A corpus, its tokenizer, both splits as tokens, and the seconds each took.

    Of a stream, the training split is the first of its documents: what the tokenizer was learned from.
    """

    corpus: Corpus
    tokenizer: PreTrainedTokenizerBase
    train: TokenStream
    heldout: TokenStream
    load_seconds: float
    tokenizer_seconds: float
    encode_seconds: float
    stream: object = None  # `datasets.IterableDataset`
    padding: bool = True  # whether the tokenizer was to have a padding token of its own

    @property
    def fingerprint(self) -> str:
        """Changes when any token of either split does; of a stream, any of its first documents'."""
        return hashlib.sha256(self.train.ids.tobytes() + self.heldout.ids.tobytes()).hexdigest()

    def bits_per_byte(self, loss: float) -> float:
        """A training loss (nats per token) in bits per byte of the training documents."""
        return self.train.bits_per_byte(loss * len(self.train.ids))

    def batches(self, args: argparse.Namespace, rows: int) -> MapBatches | StreamBatches:
        """The rows of tokens of each step, `rows` over all processes."""
        if self.stream is None:
            return MapBatches(args.batching, self.train.ids, args.sequence_length, rows, args.seed)
        return StreamBatches(
            args.batching,
            self.stream,
            args.text_column,
            self.tokenizer,
            args.sequence_length,
            rows,
            args.shuffle_buffer,
            args.seed,
        )


def load_data(args: argparse.Namespace, padding: bool = True) -> Data:
    """Reads, tokenizes and checks the data.

    Args:
        padding (`bool`): Whether the tokenizer gets a padding token of its own, as in `build_tokenizer`.

    Raises:
        InputError: The data cannot be used, or the training split is shorter than a window.
    """
    start, stream = time.perf_counter(), None
    if args.streaming:
        corpus, stream = load_stream(args.dataset, args.text_column, args.heldout_documents)
    else:
        corpus = load_corpus(args.dataset, args.text_column)
    loaded = time.perf_counter()
    tokenizer = build_tokenizer(args.tokenizer, corpus.train, args.vocab_size, padding=padding)
    built = time.perf_counter()
    train = encode_documents(tokenizer, corpus.train)
    heldout = encode_documents(tokenizer, corpus.heldout)
    if stream is None and len(train.ids) <= args.sequence_length:
        raise InputError(
            f"--sequence-length {args.sequence_length} is longer than the training text of {len(train.ids)} tokens: "
            f"give at most {len(train.ids) - 1}, or more text"
        )
    if len(heldout.ids) < 2:
        raise InputError(
            f"the held-out text comes to {len(heldout.ids)} tokens, which is nothing to predict: give more text"
        )
    encode_seconds = time.perf_counter() - built
    return Data(
        corpus, tokenizer, train, heldout, loaded - start, built - loaded, encode_seconds, stream, padding=padding
    )
