# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Tokenizers that keep a text are told from those that change it, by decoding what they encode."""

import doctest
from dataclasses import replace

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

from training.lm import round_trip
from training.lm.pieces import PIECE, pieces
from training.lm.round_trip import check_round_trip, reason
from training.lm.tokenization import build_tokenizer

TEXT = "Word word  WORD\tcafé\nnext Line of words\n" * 5


def unigram(normalizer=None, prepend="always", texts=(TEXT,)):
    tokenizer = Tokenizer(models.Unigram())
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme=prepend)
    special = ["<unk>", "</s>"]
    trainer = trainers.UnigramTrainer(vocab_size=60, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>")


def words():
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "</s>": 1, "word": 2}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\s"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>")


def test_examples():
    found = doctest.testmod(round_trip)
    assert found.attempted and not found.failed


@pytest.mark.parametrize(
    ("make", "before", "after"),
    [
        (lambda: unigram(normalizers.Lowercase()), "Word", "word"),
        (lambda: unigram(normalizers.Replace(Regex(" {2,}"), " ")), "word  W", "word WO"),
        (lambda: unigram(normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()])), "café", "cafe"),
        (words, "Word", "<unk>"),  # which word it stands for is not known
    ],
    ids=["lower case", "blanks", "accents", "unknown words"],
)
def test_what_a_tokenizer_loses_is_found(make, before, after):
    found = check_round_trip(make(), ["word", TEXT])
    assert not found.lossless and (found.pieces, found.pieces_changed) == (2, 1)
    assert found.characters == len(TEXT) + 4 and found.share_checked == 1
    assert found.characters_lost >= 5
    assert before in found.before and after in found.after and before not in found.after
    assert f"{found.before!r} becomes {found.after!r} (1 of 2 pieces" in reason(found.record())


@pytest.mark.parametrize("kind", ["bytes", "bpe", "chars", "slow", "unigram"])
def test_tokenizers_that_keep_the_text(kind):
    if kind == "unigram":
        tokenizer = unigram()
    elif kind == "slow":
        tokenizer = ByT5Tokenizer()
    else:
        tokenizer = build_tokenizer(kind, [TEXT], 260)
    documents = [TEXT, "word", " word "] if kind != "unigram" else [TEXT, "word"]
    found = check_round_trip(tokenizer, documents)
    assert found.lossless and found.pieces_changed == found.characters_lost == 0, found


def test_a_blank_at_the_beginning_is_decided_by_the_round_trip():
    """Metaspace adds a blank before a text and removes it again; before a text with a blank it adds none, and one is lost."""
    tokenizer = unigram(texts=[TEXT, " word"])
    assert check_round_trip(tokenizer, ["word"]).lossless
    found = check_round_trip(tokenizer, [" word"])
    assert not found.lossless and found.characters_lost == 1


def test_unknown_characters_are_kept_because_the_loss_includes_their_names():
    tokenizer = build_tokenizer("chars", ["abc"])
    found = check_round_trip(tokenizer, ["abcxyzabc", "<unk>"])
    assert found.lossless, found


def test_several_unknown_characters_in_one_token_are_lost():
    tokenizer = unigram(texts=["abc abc"])  # fuses neighbouring unknown characters
    assert not check_round_trip(tokenizer, ["abc xyz"]).lossless


def test_special_tokens_in_a_text_are_ordinary_text():
    tokenizer = build_tokenizer("bytes", [])
    assert check_round_trip(tokenizer, ["a<|endoftext|>b<|padding|>"]).lossless


def test_long_documents_are_checked_in_pieces():
    lines = "".join(f"line {i}\n" for i in range(20_000)) + "WORD"
    assert len(lines) > PIECE
    found = check_round_trip(unigram(texts=["line 0123456789\nWORD"]), [lines])
    assert found.lossless and found.pieces == len(list(pieces(lines))) > 1 and found.characters == len(lines)
    found = check_round_trip(unigram(normalizers.Lowercase(), texts=["line 0123456789\nword"]), [lines])
    assert found.pieces_changed == 1 and found.before.endswith("WORD")


def test_of_a_very_long_text_pieces_are_chosen_evenly(monkeypatch):
    monkeypatch.setattr(round_trip, "CHECKED", 1000)
    documents = [f"document {i:03}" for i in range(1000)]
    found = check_round_trip(build_tokenizer("bytes", []), documents)
    assert found.lossless and found.pieces == 1000 // 12 + 1 and found.share_checked == pytest.approx(0.084)


def test_the_reason_marks_code_for_markdown():
    found = check_round_trip(unigram(normalizers.Lowercase()), ["A`b` C"])
    assert "`` 'A`b` C' ``" in reason(found.record(), markdown=True)
    assert "1 piece of the measured text changed" in reason(found.record())
    assert "`'A'`" in reason(replace(found, before="A").record(), markdown=True)
