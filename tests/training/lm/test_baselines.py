# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The compressors and the 5-gram as baselines."""

import gzip
import math

import numpy as np
import pytest

from training.lm import baselines
from training.lm.tokenization import build_tokenizer, encode_documents

TEXT = "the cat sees the dog and the dog sees the cat and the bird sees no cat\n" * 3 + "abracadabra " * 5


def test_the_compressors_measure_bits_per_byte():
    rng = np.random.default_rng(0)
    noise = "".join(rng.choice(list("0123456789abcdef"), 40_000))
    assert baselines.gzip_bits_per_byte([noise]) == pytest.approx(
        8 * len(gzip.compress(noise.encode(), 9)) / 40_000, rel=1e-3
    )
    assert 4 <= baselines.xz_bits_per_byte([noise[:20_000], noise[20_000:]]) < 5
    assert baselines.xz_after_training_bits_per_byte([noise], [noise[:5000]]) < 0.5
    assert baselines.xz_after_training_bits_per_byte(["nothing alike"], [noise]) > 4


def test_xz_reaches_back_over_all_of_the_training_text(monkeypatch):
    # Preset 0 alone has a window of 256 kB, too short to see the text's beginning.
    monkeypatch.setattr(baselines, "XZ_EXTREME_BELOW", 0)
    monkeypatch.setattr(baselines, "XZ_FAST_PRESET", 0)
    noise = np.random.default_rng(0).integers(33, 127, 600_000, dtype=np.uint8).tobytes().decode()
    assert baselines.xz_after_training_bits_per_byte([noise], [noise[:50_000]]) < 0.5


def test_of_a_long_training_text_the_baselines_read_the_end(monkeypatch):
    noise = np.random.default_rng(0).integers(33, 127, 300_000, dtype=np.uint8).tobytes().decode()
    monkeypatch.setattr(baselines, "XZ_TEXT_LIMIT", 100_000)
    monkeypatch.setattr(baselines, "XZ_WINDOW_LIMIT", 1 << 18)
    assert baselines.xz_after_training_bits_per_byte([noise], [noise[-50_000:]]) < 0.5
    assert baselines.xz_after_training_bits_per_byte([noise], [noise[:50_000]]) > 6
    monkeypatch.setattr(baselines, "XZ_WINDOW_LIMIT", 1 << 16)  # reaches back to the middle of what is read
    assert baselines.xz_after_training_bits_per_byte([noise], [noise[-100_000:-50_000]]) > 6
    tokenizer = build_tokenizer("bytes", [])
    train, heldout = (encode_documents(tokenizer, [text]) for text in (noise, TEXT))
    monkeypatch.setattr(baselines, "NGRAM_TOKEN_LIMIT", 5000)
    _, model = baselines.run_baselines([noise], [TEXT], train, heldout, len(tokenizer))
    expected = baselines.NGramModel(train.ids[-5000:], len(tokenizer))
    assert np.array_equal(model.log_probabilities(heldout.ids), expected.log_probabilities(heldout.ids))


def test_run_baselines_reports_all():
    documents = [TEXT, TEXT[:200]]
    tokenizer = build_tokenizer("bytes", documents)
    train, heldout = (encode_documents(tokenizer, [text]) for text in documents)
    results, model = baselines.run_baselines(documents[:1], documents[1:], train, heldout, len(tokenizer))
    assert set(results) == {"gzip -9", "xz -9e", "xz after training text", "5-gram"}
    nats = -model.log_probabilities(heldout.ids).sum()
    assert results["5-gram"]["bits_per_byte"] == pytest.approx(nats / math.log(2) / 200)
    assert all(result["seconds"] > 0 for result in results.values())


def test_fewer_than_five_tokens_have_no_5_gram():
    documents = ["ab", "ba"]
    tokenizer = build_tokenizer("chars", documents)
    train, heldout = (encode_documents(tokenizer, [text]) for text in documents)
    results, model = baselines.run_baselines(documents[:1], documents[1:], train, heldout, len(tokenizer))
    assert model is None and set(results) == {"gzip -9", "xz -9e", "xz after training text"}
