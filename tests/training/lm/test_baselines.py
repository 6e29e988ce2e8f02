# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import gzip
import math
from collections import Counter, defaultdict

import numpy as np
import pytest

from training.lm import baselines
from training.lm.ngram import NGramModel
from training.lm.snippets import Sample, complete_lines, parse_share, real_snippets
from training.lm.tokenization import build_tokenizer, encode_documents

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


def test_agrees_with_the_textbook():
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
def test_ngram_refuses_unusable_tokens(tokens, vocab):
    with pytest.raises(ValueError, match=r"needs at least 5|must lie in"):
        NGramModel(np.array(tokens), vocab)


def test_compressors():
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


def test_run_baselines_reports_all():
    documents = [TEXT, TEXT[:200]]
    tokenizer = build_tokenizer("bytes", documents)
    train, heldout = (encode_documents(tokenizer, [text]) for text in documents)
    results, model = baselines.run_baselines(documents[:1], documents[1:], train, heldout, len(tokenizer))
    assert set(results) == {"gzip -9", "xz -9e", "xz after training text", "5-gram"}
    nats = -model.log_probabilities(heldout.ids).sum()
    assert results["5-gram"]["bits_per_byte"] == pytest.approx(nats / math.log(2) / 200)
    assert all(result["seconds"] > 0 for result in results.values())


def test_complete_lines():
    assert complete_lines("a\nb\nc") == "a\nb\n"
    assert complete_lines("a\n") == "a\n"
    assert complete_lines("a") == ""


def test_parse_share():
    assert parse_share(["x = 1\n", "def f(:\n", "", " \n", "'\\d'\n", "x = '\0'\n", "(" * 5000]) == pytest.approx(2 / 7)
    with pytest.raises(ValueError, match="at least one"):
        parse_share([])


def test_odd_escapes_do_not_warn(recwarn):
    assert parse_share(["'\\d'\n"]) == 1
    assert not recwarn.list


def test_snippets_are_cut_alike():
    assert Sample("x = 1", ended=True).snippet == "x = 1"
    assert Sample("x = 1\ny = ", ended=False).snippet == "x = 1\n"
    function = "def f():\n" + "    a = 1\n" * 50
    assert real_snippets(["x = 1\n", "x = 1\n" + function, "def g(): pass"]) == [
        "def f():\n" + "    a = 1\n" * 18,
        "def g(): pass",
    ]


def test_less_than_five_tokens_have_no_5_gram():
    documents = ["ab", "ba"]
    tokenizer = build_tokenizer("chars", documents)
    train, heldout = (encode_documents(tokenizer, [text]) for text in documents)
    results, model = baselines.run_baselines(documents[:1], documents[1:], train, heldout, len(tokenizer))
    assert model is None and set(results) == {"gzip -9", "xz -9e", "xz after training text"}
