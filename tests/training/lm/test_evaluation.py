# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Held-out loss by segments, its quick estimate, and where samples end."""

import numpy as np
import pytest
import torch
from support.train_cases import TINY

from training.lm.evaluation import evaluate_heldout, finished, quick_bits_per_byte, stream_nats
from training.lm.model_setup import build_model
from training.lm.options import parse_arguments
from training.lm.tokenization import TokenStream, build_tokenizer


@pytest.fixture(scope="module")
def tiny_model():
    tokenizer = build_tokenizer("bytes", [])
    return build_model(parse_arguments([*TINY, "--tokenizer", "bytes"]), tokenizer).eval()


def test_stream_loss_does_not_depend_on_the_segments(tiny_model, monkeypatch):
    ids = np.random.default_rng(0).integers(0, 257, 700)
    with torch.no_grad():
        logits = tiny_model(torch.from_numpy(ids)[None]).logits[0, :-1]
        expected = torch.nn.functional.cross_entropy(logits, torch.from_numpy(ids[1:]), reduction="sum").item()
    for longest in (4096, 699, 698, 128):
        monkeypatch.setattr("training.lm.evaluation.LONGEST_SEGMENT", longest)
        assert stream_nats(tiny_model, ids) == pytest.approx(expected, rel=1e-5)


def test_quick_estimate_is_near_the_whole(tiny_model):
    ids = np.random.default_rng(0).integers(0, 257, 6000).astype(np.uint16)
    stream = TokenStream(ids, num_bytes=6000)
    whole = evaluate_heldout(tiny_model, stream)["heldout_bits_per_byte"]
    assert quick_bits_per_byte(tiny_model, stream) == pytest.approx(whole, rel=0.05)
    short = TokenStream(ids[:5], num_bytes=5)
    assert quick_bits_per_byte(tiny_model, short) == evaluate_heldout(tiny_model, short)["heldout_bits_per_byte"]


def test_samples_end_at_the_separator():
    tokenizer = build_tokenizer("bytes", [])
    end, (a, newline) = tokenizer.eos_token_id, tokenizer("a\n")["input_ids"]
    rows = [[a, newline, a, end, end], [a, newline, a, a, a]]
    samples = finished(tokenizer, rows, 5)
    assert [(sample.text, sample.snippet) for sample in samples] == [("a\na", "a\na"), ("a\naaa", "a\n")]
