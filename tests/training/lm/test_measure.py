# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The measurements of one text, and the summary that is printed. See also test_evaluate.py."""

import math

import numpy as np
import pytest

from training.common.errors import InputError
from training.lm import measure
from training.lm.measure import measure_text, summary
from training.lm.tokenization import TokenStream

STREAM = TokenStream(np.arange(9, dtype=np.uint16), num_bytes=16)
UNKNOWN = np.zeros(8, bool)


@pytest.fixture
def requests(monkeypatch):
    """Replaces the losses of a model by log 2 per token. Returns the windows and separators for which they are measured."""
    asked = []

    def one_bit_per_token(model, ids, window, separator):
        asked.append((window, separator))
        return np.full(len(ids) - 1, math.log(2))

    monkeypatch.setattr(measure, "token_nats", one_bit_per_token)
    return asked


def test_a_text_is_measured_in_three_ways(requests, capsys):
    scores, positions = measure_text(None, STREAM, UNKNOWN, window=2, length=4, separator=5)
    assert requests == [(None, 5), (2, 5), (4, 5)]
    assert {*scores} == {"carried", "windows", "pieces"}
    assert scores["carried"] == pytest.approx({"bits_per_byte": 0.5, "perplexity": 2})
    assert [(row["first"], row["last"], row["bits"]) for row in positions] == [(1, 1, 2), (2, 2, 2), (3, 4, 4)]
    assert capsys.readouterr().out.splitlines()[1:] == [
        "reading the text in windows of 2 tokens",
        "reading the text in pieces of 4 tokens",
    ]


def test_a_loss_that_is_not_finite_is_reported(monkeypatch):
    monkeypatch.setattr(measure, "token_nats", lambda *args: np.array([1.0, 2.0, math.nan]))
    with pytest.raises(
        InputError, match="loss is not finite at token 3: its weights are damaged, or its training diverged"
    ):
        measure_text(None, STREAM, UNKNOWN, window=2, length=4)


@pytest.mark.parametrize("memory", [None, 1.25])
@pytest.mark.parametrize("window", [2, 4])
def test_the_summary_shows_all_numbers(requests, memory, window):
    scores, positions = measure_text(None, STREAM, UNKNOWN, window, length=4)
    metrics = {"bits_per_byte": 0.5, "perplexity": 2.0, "windows_bits_per_byte": 0.6, "windows_perplexity": 3.0}
    metrics |= {"weights_bytes": 160_000, "reading_mib": memory}
    result = {
        "metrics": metrics,
        "window": window,
        "pieces": {"length": 4, **scores["pieces"]},
        "positions": positions,
        "samples": [{"seed": 7, "text": "a sample"}],
        "decoding": {"after_tokens": {"4": {"median_ms": 1.5, "state_bytes": 2048}}},
    }
    shown = summary(result)
    assert "state carried through the text           0.5000       2.000\n" in shown
    assert f"windows of {window} tokens                      0.6000       3.000\n" in shown
    assert "pieces of 4 tokens                       0.5000       2.000\n" in shown
    assert "\n3-4                          4         0.5000                      0.5000\n" in shown
    assert "--- sample 1, seed 7 ---" in shown and "\na sample\n" in shown
    assert "decoding after      4 tokens: 1.500 ms per token, 2,048 bytes of state" in shown
    assert shown.endswith("decode: unknown on this system" if memory is None else "decode: 1.2 MiB")
    if window == 2:
        assert "context beyond the training length of 2 tokens is worth 0.0000 bits per byte (at positions 2)" in shown
    else:
        assert "too short to measure the worth of context beyond the training length of 4 tokens" in shown
