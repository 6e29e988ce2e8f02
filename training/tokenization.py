# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Tokenizers, made on the spot or loaded, and a split of documents as one array of token ids.

Three kinds are made, each a `transformers.PreTrainedTokenizerFast` that is saved beside the model:

- `bytes`: one token per UTF-8 byte;
- `bpe`: byte-level byte-pair encoding, learned from the training documents only;
- `chars`: one token per character seen in training, and `<unk>` for the others.

All have one special token, `<|endoftext|>`: beginning, end and padding in one; it separates documents. Of a tokenizer from a
folder or the Hub it is the end-of-text token.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from corpus import InputError, quietly
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

SEPARATOR = "<|endoftext|>"
UNKNOWN = "<unk>"
KINDS = ("bytes", "bpe", "chars")
UNKNOWN_BITS = math.log2(0x110000 - 0x800)  # naming one Unicode character among all
LONG_WORD = re.compile(r"\S{1000}|\s{1000}")
ENCODE_AT_ONCE = 1 << 20  # characters; bounds the memory that the encoder's own records take


def build_tokenizer(kind: str, documents: Sequence[str], vocab_size: int = 2048) -> PreTrainedTokenizerBase:
    """Builds a tokenizer from training documents, or loads one.

    Args:
        kind (`str`): `bytes`, `bpe` or `chars`, or the folder or Hub name of a tokenizer.
        documents (`Sequence[str]`): Training documents; `bytes` ignores them.
        vocab_size (`int`): Size of the `bpe` vocabulary, separator included; at least 257. The other kinds ignore it.

    Raises:
        InputError: No such tokenizer, one without an end-of-text token, or a vocabulary too small to hold every byte.
    """
    if kind == "bytes":
        tokenizer = _byte_level(use_regex=False)
    elif kind == "bpe":
        if vocab_size < 257:
            raise InputError(f"vocabulary size {vocab_size} is too small for bpe: 256 bytes and a separator need 257")
        tokenizer = _byte_level(use_regex=True)
        tokenizer.train_from_iterator(
            _without_long_words(documents),
            trainers.BpeTrainer(
                vocab_size=vocab_size,
                special_tokens=[SEPARATOR],
                initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
                show_progress=False,
            ),
        )
    elif kind == "chars":
        tokenizer = _characters(documents)
    else:
        return _load_tokenizer(kind)
    tokenizer.add_special_tokens([SEPARATOR])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=SEPARATOR,
        eos_token=SEPARATOR,
        pad_token=SEPARATOR,
        unk_token=UNKNOWN if kind == "chars" else None,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )


def _load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    if name.startswith((".", "/", "~")) and not Path(name).expanduser().exists():
        raise InputError(f"tokenizer {name!r} is not there: give {', '.join(KINDS)}, a folder, or a name on the Hub")
    what = f"tokenizer {name!r}, which is neither one of {', '.join(KINDS)} nor"
    tokenizer = quietly(lambda: AutoTokenizer.from_pretrained(name), what)
    if tokenizer.eos_token_id is None:
        raise InputError(f"tokenizer {name!r} has no end-of-text token to separate documents: set its eos_token")
    return tokenizer


def vocabulary_size(tokenizer: PreTrainedTokenizerBase) -> int:
    """How many rows an embedding needs: one more than the largest id, which may lie beyond the number of tokens."""
    return max(len(tokenizer), max(tokenizer.get_vocab().values()) + 1)


def unknown_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id that stands for characters a tokenizer has no token for; -1 where there is none. GPT-2's unknown token is its
    separator: a byte-level tokenizer needs none."""
    unknown = tokenizer.unk_token_id
    return -1 if unknown in (None, tokenizer.eos_token_id) else unknown


def _byte_level(use_regex: bool) -> Tokenizer:
    """A byte-level BPE without merges; the 256 byte symbols follow the separator."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {SEPARATOR: 0, **{symbol: index + 1 for index, symbol in enumerate(alphabet)}}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _without_long_words(documents: Sequence[str]) -> Iterator[str]:
    # Learning takes time that grows with the square of a word's length: a genome of a megabyte would take an hour.
    for document in documents:
        begin = 0
        for found in LONG_WORD.finditer(document):
            yield document[begin : found.end()]
            begin = found.end()
        yield document[begin:]


def _characters(documents: Sequence[str]) -> Tokenizer:
    characters = sorted(set().union(*documents))
    vocabulary = {symbol: index for index, symbol in enumerate([SEPARATOR, UNKNOWN, *characters])}
    tokenizer = Tokenizer(models.WordLevel(vocab=vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return tokenizer


@dataclass(frozen=True)
class TokenStream:
    """One split as the models see it: separator, document, separator, document, ...

    Attributes:
        ids (`np.ndarray` of shape `(tokens,)`): Token ids, the smallest unsigned type that holds them.
        num_bytes (`int`): UTF-8 bytes of the documents, separators not counted.
        num_unknown (`int`): How many tokens are `<unk>`.
    """

    ids: np.ndarray
    num_bytes: int
    num_unknown: int = 0

    def bits_per_byte(self, nats: float) -> float:
        """Bits per byte of a model that spent `nats` on every token after the first, separators included.

        An `<unk>` doesn't say which character it was, so each is charged the bits that would name it.
        """
        return (nats / math.log(2) + self.num_unknown * UNKNOWN_BITS) / self.num_bytes


def encode_documents(tokenizer: PreTrainedTokenizerBase, documents: Sequence[str]) -> TokenStream:
    """Encodes documents into one array, each after a separator."""
    dtype = np.uint16 if vocabulary_size(tokenizer) <= 1 << 16 else np.uint32
    separator = np.array([tokenizer.eos_token_id], dtype)
    pieces = [piece for ids in encode_document_ids(tokenizer, documents) for piece in (separator, ids.astype(dtype))]
    ids = np.concatenate(pieces) if pieces else separator[:0]
    num_unknown = int((ids == unknown_id(tokenizer)).sum())
    return TokenStream(ids, sum(len(document.encode()) for document in documents), num_unknown)


def encode_document_ids(tokenizer: PreTrainedTokenizerBase, documents: Sequence[str]) -> Iterator[np.ndarray]:
    """The token ids of each document, without special tokens.

    A document that spells the separator out in its text gets ordinary tokens for it.
    """
    if not tokenizer.is_fast:
        for document in documents:
            yield np.array(tokenizer(document, add_special_tokens=False, split_special_tokens=True).input_ids, np.int64)
        return
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()  # either may be in a saved tokenizer, of a call once made with it
    backend.no_padding()
    before = backend.encode_special_tokens
    for batch in _batches(documents):
        backend.encode_special_tokens = True
        try:
            encodings = backend.encode_batch_fast(batch, add_special_tokens=False)
        finally:
            backend.encode_special_tokens = before
        for encoding in encodings:
            yield np.array(encoding.ids, np.int64)


def _batches(documents: Sequence[str]):
    batch, size = [], 0
    for document in documents:
        batch.append(document)
        size += len(document)
        if size >= ENCODE_AT_ONCE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
