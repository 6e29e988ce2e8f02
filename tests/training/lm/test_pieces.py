# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Cuts of long texts: they change no token and no learned vocabulary."""

import random

import numpy as np
import pytest

from training.lm import pieces as pieces_module
from training.lm.pieces import pieces
from training.lm.tokenization import KINDS, build_tokenizer, encode_documents

SPACES = ["\n", "\n", " ", " ", " ", "\r\n", "\n\n", "\t", "   ", " \n", "\n  ", "\u3000", "\u00a0", "\x1c", "\x85"]
WORDS = ["one", "it's", "'s", "x1", "42", "+=", "été", "日本", "🎉", "don't", "a'", "'", "(a)", "_", "e\u0301"]


def random_text(seed, words=1500):
    rng = random.Random(seed)
    return "".join(rng.choice(WORDS) * rng.choice([1, 1, 2]) + rng.choice(SPACES) for _ in range(words))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("longest", [7, 40, 1000])
def test_pieces_are_the_text(seed, longest):
    text = random_text(seed)
    found = list(pieces(text, longest))
    assert "".join(found) == text
    assert 0 < max(map(len, found)) <= longest and all(found)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("longest", [60, 500])
def test_tokens_are_those_of_the_whole_text(kind, longest, monkeypatch):
    texts = [random_text(seed) for seed in range(6)] + ["", "short"]
    crlf = ["word and words\r\n" * 300, "line\n" * 500, "a line\n\n" * 300]
    tokenizer = build_tokenizer(kind, texts, vocab_size=400)
    whole = encode_documents(tokenizer, texts + crlf)
    monkeypatch.setattr(pieces_module.pieces, "__defaults__", (longest,))
    found = encode_documents(tokenizer, texts + crlf)
    assert np.array_equal(found.ids, whole.ids)
    assert (found.num_bytes, found.num_unknown) == (whole.num_bytes, whole.num_unknown)
    again = build_tokenizer(kind, texts, vocab_size=400)
    assert again.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()


def test_a_text_without_white_space_is_cut_too(monkeypatch):
    genome = "ACGTTAGC" * 50
    tokenizer = build_tokenizer("bpe", [genome], vocab_size=300)
    monkeypatch.setattr(pieces_module.pieces, "__defaults__", (64,))
    assert tokenizer.decode(encode_documents(tokenizer, [genome]).ids[1:]) == genome
