# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The 5-gram: probabilities against a plain implementation, samples, and tokens that it rejects."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest

from training.lm.ngram import NGramModel

TEXT = "the cat sees the dog and the dog sees the cat and the bird sees no cat\n" * 3 + "abracadabra " * 5


@pytest.fixture(scope="module")
def tokens():
    return np.frombuffer(TEXT.encode(), np.uint8).astype(np.uint16)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_probabilities_sum_to_one(tokens, order):
    model = NGramModel(tokens, 257, order)
    end = tokens[-(order - 1) :] if order > 1 else tokens[:0]  # never followed by anything
    contexts = [tokens[:20], tokens[:1], tokens[:0], end, np.array([256, 3, 250]), np.array([101, 256, 116, 104])]
    for context in contexts:
        distribution = model.distribution(context)
        assert distribution.shape == (257,)
        assert distribution.min() > 0
        assert distribution.sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("order", [1, 2, 5])
def test_text_scoring_agrees_with_distributions(tokens, order):
    model = NGramModel(tokens, 257, order)
    unseen = np.array([256, 5, *b"the cat sat on the mat, abracadabra!", 256, 256])
    expected = [math.log(model.distribution(unseen[:i])[unseen[i]]) for i in range(1, len(unseen))]
    np.testing.assert_allclose(model.log_probabilities(unseen), expected, rtol=1e-12)


def _textbook(text, order, vocab_size):
    """Kneser-Ney by the book, with dictionaries; returns P(word, context)."""
    counts = {order: Counter(tuple(text[i : i + order]) for i in range(len(text) - order + 1))}
    for n in range(1, order):
        lefts = defaultdict(set)
        for i in range(len(text) - n):
            lefts[tuple(text[i + 1 : i + 1 + n])].add(text[i])
        counts[n] = Counter({gram: len(left) for gram, left in lefts.items()})
    discounts = {}
    for n, table in counts.items():
        n1, n2, n3, n4 = (sum(count == k for count in table.values()) for k in (1, 2, 3, 4))
        y = n1 / (n1 + 2 * n2)
        discounts[n] = [1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]

    def probability(word, context):
        n = len(context) + 1
        lower = probability(word, context[1:]) if n > 1 else 1 / vocab_size
        row = {gram[-1]: count for gram, count in counts[n].items() if gram[:-1] == context}
        if not row:
            return lower
        cut = {w: discounts[n][min(count, 3) - 1] for w, count in row.items()}
        own = row[word] - cut[word] if word in row else 0.0
        return (own + sum(cut.values()) * lower) / sum(row.values())

    return probability


def test_probabilities_are_those_of_a_plain_implementation():
    # Zipf's law, so that every order has n-grams with each of the counts 1 to 4.
    text = np.minimum(np.random.default_rng(0).zipf(1.5, 1500), 200).tolist()
    model, probability = NGramModel(np.array(text), 202, order=3), _textbook(text, 3, 202)
    for context in [(1, 1), (2, 1), (1, 50), (201, 1), (201, 201), tuple(text[-2:])]:
        expected = [probability(word, context) for word in range(202)]
        np.testing.assert_allclose(model.distribution(np.array(context)), expected, rtol=1e-9)


def test_longer_context_predicts_a_regular_text_better(tokens):
    nats = [-NGramModel(tokens, 257, order).log_probabilities(tokens).sum() for order in (1, 2, 5)]
    assert nats[0] > 1.5 * nats[1] > 1.5 * nats[2]


def test_samples_follow_the_distribution(tokens):
    model = NGramModel(tokens, 257, order=5)
    rng = np.random.default_rng(0)
    drawn = bytes(model.sample(rng, [ord("t")], 200, temperature=0.3, top_p=0.5)).decode()
    assert len(drawn) <= 200
    assert "t" not in drawn  # the start symbol ends a sample
    assert all(f"t{drawn}"[i : i + 2] in TEXT for i in range(len(drawn)))
    firsts = Counter((model.sample(rng, [ord("s")], 1) or [ord("s")])[0] for _ in range(300))
    distribution = model.distribution(np.array([ord("s")]))
    assert firsts[ord("e")] / 300 == pytest.approx(distribution[ord("e")], abs=0.12)


@pytest.mark.parametrize("tokens, vocab", [([1, 2], 10), ([1, 2, 3, 4, 10], 10)])
def test_unusable_tokens_are_rejected(tokens, vocab):
    with pytest.raises(ValueError, match=r"needs at least 5|must lie in"):
        NGramModel(np.array(tokens), vocab)
