# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The data of a run: a corpus, its tokenizer, its tokens, and the rows of every step."""

from __future__ import annotations

import argparse
import hashlib
import math
import time
from dataclasses import dataclass
from functools import cached_property

from transformers import PreTrainedTokenizerBase

from training.common.errors import InputError
from training.corpus.corpus import Corpus, DocumentStream
from training.corpus.load import load_corpus
from training.corpus.options import TextOptions
from training.corpus.stream import load_stream
from training.lm.batches import MapBatches
from training.lm.round_trip import RoundTrip, check_round_trip
from training.lm.streaming import StreamBatches
from training.lm.tokenization import UNKNOWN_BITS, TokenStream, build_tokenizer, encode_documents


@dataclass
class Data:
    """A corpus, its tokenizer, both splits as tokens, and the seconds that each took.

    For a stream, the training split is its first documents, those that the tokenizer was learned from.
    """

    corpus: Corpus
    tokenizer: PreTrainedTokenizerBase
    train: TokenStream
    heldout: TokenStream
    load_seconds: float
    tokenizer_seconds: float
    encode_seconds: float
    stream: DocumentStream | None = None
    padding: bool = True  # whether the tokenizer was asked to have a padding token of its own

    @property
    def fingerprint(self) -> str:
        """Hash of the tokens of both splits; for a stream, of its first documents."""
        digest = hashlib.sha256(self.train.ids)
        digest.update(self.heldout.ids)
        return digest.hexdigest()

    @cached_property
    def round_trip(self) -> RoundTrip:
        """Whether decoding the tokens of the held-out documents gives these documents again."""
        return check_round_trip(self.tokenizer, self.corpus.heldout)

    def bits_per_byte(self, loss: float) -> float | None:
        """Converts a training loss in nats per token to bits per byte of the training documents.

        Returns `None` if the tokenizer does not keep the text.
        """
        if not self.round_trip.lossless:
            return None
        return self.train.bits_per_byte(loss * len(self.train.ids))

    @property
    def unit(self) -> str:
        """Unit of the losses that are shown: `bits per byte`, or `bits per token` if the tokenizer does not keep the text."""
        return "bits per byte" if self.round_trip.lossless else "bits per token"

    def in_unit(self, loss: float) -> float:
        """Converts a training loss in nats per token to `unit`."""
        bits = self.bits_per_byte(loss)
        return loss / math.log(2) if bits is None else bits

    def heldout_in_unit(self, bits_per_byte: float) -> float:
        """Converts bits per byte of the held-out tokens, as `TokenStream` computes them, to `unit`."""
        if self.round_trip.lossless:
            return bits_per_byte
        bits = bits_per_byte * self.heldout.num_bytes - UNKNOWN_BITS * self.heldout.num_unknown
        return bits / (len(self.heldout.ids) - 1)

    def batches(self, args: argparse.Namespace, rows: int) -> MapBatches | StreamBatches:
        """Returns the source of the rows of each step; `rows` is their number over all processes."""
        if self.stream is None:
            return MapBatches(args.batching, self.train.ids, args.sequence_length, rows, args.seed)
        return StreamBatches(
            args.batching,
            self.stream,
            self.tokenizer,
            args.sequence_length,
            rows,
            args.shuffle_buffer,
            args.seed,
        )


def load_data(args: argparse.Namespace, padding: bool = True, tokenizer: PreTrainedTokenizerBase | None = None) -> Data:
    """Loads, tokenizes and checks the data.

    Args:
        padding (`bool`): Whether the tokenizer gets a padding token of its own, as in `build_tokenizer`.
        tokenizer (`PreTrainedTokenizerBase`, *optional*): A tokenizer to use, instead of that of the options.

    Raises:
        InputError: The data cannot be used, or the training split is shorter than a row.
    """
    start = time.perf_counter()
    stream = None
    if args.streaming:
        corpus, stream = load_stream(TextOptions.from_args(args), args.heldout_documents)
    else:
        corpus = load_corpus(TextOptions.from_args(args))
    loaded = time.perf_counter()
    if tokenizer is None:
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
            f"the held-out text has {len(heldout.ids)} tokens, and at least 2 are needed to predict one: give more text"
        )
    return Data(
        corpus=corpus,
        tokenizer=tokenizer,
        train=train,
        heldout=heldout,
        load_seconds=loaded - start,
        tokenizer_seconds=built - loaded,
        encode_seconds=time.perf_counter() - built,
        stream=stream,
        padding=padding,
    )
