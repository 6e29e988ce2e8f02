# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Tokenizers, built or loaded, and documents as one array of token ids.

This module builds three kinds of tokenizer. Each is a `transformers.PreTrainedTokenizerFast` that is saved with the model:

- `bytes`: one token per UTF-8 byte;
- `bpe`: byte-level byte-pair encoding, learned from the training documents only;
- `chars`: one token per character of the training documents, and `<unk>` for all others.

Each of them has `<|endoftext|>`, which separates documents and is both the beginning and the end of a text, and
`<|padding|>`, which only fills up rows. The two differ because collators exclude the padding token from the loss: if it were
also the end of the text, a fine-tuned model would never learn to stop. A loaded tokenizer separates documents with its own
end-of-text token, and gets `<|padding|>` if it has no padding token of its own. All pad on the left, as generation needs.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from training.common.errors import InputError
from training.corpus.hub import quietly
from training.lm.pieces import pieces

SEPARATOR = "<|endoftext|>"
PADDING = "<|padding|>"
UNKNOWN = "<unk>"
KINDS = ("bytes", "bpe", "chars")
UNKNOWN_BITS = math.log2(0x110000 - 0x800)  # to name one of all Unicode characters
LONG_WORD = re.compile(r"\S{1000}|\s{1000}")
ENCODE_AT_ONCE = 1 << 19  # characters; limits the memory of the encoder's results
MOST_AT_ONCE = 1 << 14  # documents; each takes some memory even if it is short


def build_tokenizer(
    kind: str, documents: Sequence[str], vocab_size: int = 2048, *, padding: bool = True
) -> PreTrainedTokenizerBase:
    """Builds a tokenizer from training documents, or loads one.

    Args:
        kind (`str`): `bytes`, `bpe` or `chars`, or the folder or Hub name of a tokenizer.
        documents (`Sequence[str]`): Training documents; `bytes` ignores them.
        vocab_size (`int`): Size of the `bpe` vocabulary, special tokens included; at least 258. The other kinds ignore it.
        padding (`bool`): Whether the tokenizer gets a padding token that differs from its end of text, and a loaded one pads
            on the left. False is for experiments that never pad, and for runs that were started without a padding token.

    Raises:
        InputError: There is no such tokenizer, it has no end-of-text token, or the vocabulary is too small for every byte.
    """
    if kind not in KINDS:
        loaded = _load_tokenizer(kind)
        if not padding:
            return loaded
        padded = with_padding(loaded)
        padded.padding_side = "left"
        return padded
    special = [SEPARATOR, PADDING] if padding else [SEPARATOR]
    if kind == "bytes":
        tokenizer = _byte_level(use_regex=False)
    elif kind == "bpe":
        tokenizer = _learned_bpe(documents, vocab_size, special)
    else:
        tokenizer = _characters(documents)
    tokenizer.add_special_tokens(special)  # the padding token comes last, so that no other id changes
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=SEPARATOR,
        eos_token=SEPARATOR,
        pad_token=special[-1],
        unk_token=UNKNOWN if kind == "chars" else None,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )


def _learned_bpe(documents: Sequence[str], vocab_size: int, special: list[str]) -> Tokenizer:
    smallest = 256 + len(special)
    if vocab_size < smallest:
        raise InputError(
            f"vocabulary size {vocab_size} is too small for bpe: 256 bytes and {len(special)} special tokens need {smallest}"
        )
    tokenizer = _byte_level(use_regex=True)
    tokenizer.train_from_iterator(
        _without_long_words(piece for document in documents for piece in pieces(document)),
        trainers.BpeTrainer(
            vocab_size=vocab_size - len(special) + 1,
            special_tokens=[SEPARATOR],
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    return tokenizer


def has_padding(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a tokenizer has a padding token that differs from its end of text."""
    return tokenizer.pad_token_id not in (None, tokenizer.eos_token_id)


def with_padding(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Returns a copy of a tokenizer with `<|padding|>`, or the tokenizer itself if it needs no padding or cannot take one."""
    if has_padding(tokenizer):
        return tokenizer
    extended = copy.deepcopy(tokenizer)
    try:
        extended.add_special_tokens({"pad_token": PADDING})
    except NotImplementedError:  # some classes have a fixed vocabulary
        return tokenizer
    # A vocabulary with gaps between its ids can give the new token the id of another one.
    shared = sum(index == extended.pad_token_id for index in extended.get_vocab().values()) > 1
    return tokenizer if shared else extended


def _load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    if name.startswith((".", "/", "~")) and not Path(name).expanduser().exists():
        raise InputError(f"tokenizer {name!r} does not exist: give {', '.join(KINDS)}, a folder, or a name on the Hub")
    what = f"tokenizer {name!r}, which is neither one of {', '.join(KINDS)} nor"
    tokenizer = quietly(lambda: AutoTokenizer.from_pretrained(name), what)
    if tokenizer.eos_token_id is None:
        raise InputError(f"tokenizer {name!r} has no end-of-text token to separate documents: set its eos_token")
    return tokenizer


def vocabulary_size(tokenizer: PreTrainedTokenizerBase) -> int:
    """Returns the number of rows of an embedding: one more than the largest id, which may exceed the number of tokens."""
    return max(len(tokenizer), max(tokenizer.get_vocab().values()) + 1)


def unknown_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Returns the id for characters without a token, or -1 if a tokenizer has none.

    An unknown token that is the separator, as GPT-2's, does not count: a byte-level tokenizer never uses it.
    """
    unknown = tokenizer.unk_token_id
    return -1 if unknown in (None, tokenizer.eos_token_id) else unknown


def _byte_level(use_regex: bool) -> Tokenizer:
    """Returns a byte-level BPE without merges. The ids of the 256 byte symbols follow the separator's."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {SEPARATOR: 0, **{symbol: index + 1 for index, symbol in enumerate(alphabet)}}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _without_long_words(texts: Iterable[str]) -> Iterator[str]:
    """Yields texts, cut so that no word or run of white space is longer than 1000 characters.

    The time to learn from a word grows with the square of its length: a genome of a megabyte would take an hour.
    """
    for text in texts:
        begin = 0
        for found in LONG_WORD.finditer(text):
            yield text[begin : found.end()]
            begin = found.end()
        yield text[begin:]


def _characters(documents: Sequence[str]) -> Tokenizer:
    characters = sorted(set().union(*documents))
    vocabulary = {symbol: index for index, symbol in enumerate([SEPARATOR, UNKNOWN, *characters])}
    tokenizer = Tokenizer(models.WordLevel(vocab=vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return tokenizer


@dataclass(frozen=True)
class TokenStream:
    """The tokens of a split, as models read them: separator, document, separator, document, ...

    Attributes:
        ids (`np.ndarray` of shape `(tokens,)`): Token ids, in uint16 or uint32.
        num_bytes (`int`): UTF-8 bytes of the documents, without separators.
        num_unknown (`int`): Number of tokens that are `<unk>`.
    """

    ids: np.ndarray
    num_bytes: int
    num_unknown: int = 0

    def bits_per_byte(self, nats: float) -> float:
        """Returns the bits per byte of a model whose loss on all tokens after the first is `nats`, separators included.

        An `<unk>` doesn't say which character it stands for, so it costs the bits that would name the character.
        """
        return (nats / math.log(2) + self.num_unknown * UNKNOWN_BITS) / self.num_bytes


def encode_documents(tokenizer: PreTrainedTokenizerBase, documents: Sequence[str]) -> TokenStream:
    """Encodes documents into one array, with a separator before each.

    Besides the result, this takes memory for a batch of about `ENCODE_AT_ONCE` characters only.
    """
    dtype = token_dtype(tokenizer)
    separator = np.array([tokenizer.eos_token_id], dtype)
    found = bytearray()  # grows without a second copy, which joining arrays would make
    num_bytes = 0
    for batch in _batches(documents):
        for (begins, text), ids in zip(batch, _encoded(tokenizer, [text for _, text in batch]), strict=True):
            if begins:
                found += separator.tobytes()
            found += ids.astype(dtype).tobytes()
            num_bytes += len(text.encode())
    ids = np.frombuffer(found, dtype)
    return TokenStream(ids, num_bytes, int(np.count_nonzero(ids == unknown_id(tokenizer))))


def token_dtype(tokenizer: PreTrainedTokenizerBase) -> type[np.unsignedinteger]:
    """Returns the smallest type for the ids of a tokenizer: uint16 or uint32."""
    return np.uint16 if vocabulary_size(tokenizer) <= 1 << 16 else np.uint32


def encode_document_ids(tokenizer: PreTrainedTokenizerBase, documents: Sequence[str]) -> Iterator[np.ndarray]:
    """Yields the token ids of each document, without special tokens.

    If the text of a document contains the separator's spelling, it gets ordinary tokens. A long document is encoded in pieces,
    see `training.lm.pieces`. A loaded tokenizer that adds a space before each text adds one before each piece.
    """
    parts: list[np.ndarray] = []
    for batch in _batches(documents):
        for (begins, _), ids in zip(batch, _encoded(tokenizer, [text for _, text in batch]), strict=True):
            if begins and parts:
                yield np.concatenate(parts)
                parts = []
            parts.append(ids)
    if parts:
        yield np.concatenate(parts)


def _encoded(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> Iterator[np.ndarray]:
    """Yields the token ids of each text."""
    if not tokenizer.is_fast:
        for text in texts:
            yield np.array(tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids, np.int64)
        return
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()  # a saved tokenizer may have kept either setting from an earlier call
    backend.no_padding()
    before = backend.encode_special_tokens
    backend.encode_special_tokens = True
    try:
        encodings = backend.encode_batch_fast(texts, add_special_tokens=False)
    finally:
        backend.encode_special_tokens = before
    for encoding in encodings:
        yield np.array(encoding.ids, np.int64)


def _batches(documents: Sequence[str]) -> Iterator[list[tuple[bool, str]]]:
    """Yields the pieces of documents in batches, each with whether a document begins with it."""
    batch: list[tuple[bool, str]] = []
    size = 0
    for document in documents:
        begins = True
        for piece in pieces(document):
            batch.append((begins, piece))
            begins = False
            size += len(piece)
            if size >= ENCODE_AT_ONCE or len(batch) >= MOST_AT_ONCE:
                yield batch
                batch = []
                size = 0
    if batch:
        yield batch
