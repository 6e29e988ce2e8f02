# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Tokenizers of every kind, their special tokens, and documents as tokens."""

import math
import re

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import AutoTokenizer, ByT5Tokenizer, DataCollatorForLanguageModeling, PreTrainedTokenizerFast

from training.common.errors import InputError
from training.lm.tokenization import (
    KINDS,
    PADDING,
    SEPARATOR,
    UNKNOWN_BITS,
    TokenStream,
    _without_long_words,
    build_tokenizer,
    encode_documents,
    has_padding,
    vocabulary_size,
    with_padding,
)

DOCUMENTS = ["def add(a, b):\n    return a + b\n", "naïve café — 日本 🎉\t\r\n  two  spaces ,and 's\n"] * 20
AWKWARD = [" leading", "trailing \n", "a\r\n\tb", "", "don 't , no clean-up .", "\x00\x7f", "新しい 🦜"]


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request):
    return build_tokenizer(request.param, DOCUMENTS, vocab_size=300)


def test_round_trip_survives_saving(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    reloaded = AutoTokenizer.from_pretrained(tmp_path)
    for text in [*DOCUMENTS[:2]]:
        for each in (tokenizer, reloaded):
            assert each.decode(each(text)["input_ids"]) == text


@pytest.mark.parametrize("text", AWKWARD)
@pytest.mark.parametrize("kind", ["bytes", "bpe"])
def test_any_text_round_trips_through_bytes(kind, text, tmp_path):
    tokenizer = build_tokenizer(kind, DOCUMENTS, vocab_size=300)
    tokenizer.save_pretrained(tmp_path)
    for each in (tokenizer, AutoTokenizer.from_pretrained(tmp_path)):
        assert each.decode(each(text)["input_ids"]).encode() == text.encode()


def test_special_tokens(tokenizer):
    assert tokenizer.bos_token_id == tokenizer.eos_token_id
    assert (tokenizer.eos_token, tokenizer.pad_token) == (SEPARATOR, PADDING)
    assert (
        tokenizer.pad_token_id == len(tokenizer) - 1 == max(tokenizer.get_vocab().values())
    )  # the other ids are unchanged
    assert not {tokenizer.eos_token_id, tokenizer.pad_token_id} & {*tokenizer("a")["input_ids"]}


def test_vocabulary_sizes():
    assert len(build_tokenizer("bytes", [])) == 258
    assert len(build_tokenizer("bpe", DOCUMENTS, vocab_size=300)) == 300
    assert len(build_tokenizer("chars", ["abca"])) == 3 + 3
    assert len(build_tokenizer("bytes", [])("é日")["input_ids"]) == 5


def test_bpe_is_learned_from_its_documents_and_reproducible():
    first, second = (build_tokenizer("bpe", ["spam spam " * 50], 260).backend_tokenizer.to_str() for _ in range(2))
    assert first == second
    assert "spam" not in build_tokenizer("bpe", ["eggs eggs " * 50], 260).get_vocab()
    assert build_tokenizer("bpe", ["spam spam " * 50], 270)("spam")["input_ids"].__len__() == 1


def test_very_long_words_are_learned_from_in_pieces():
    genome = "ACGTTAGC" * 700
    document = f"a genome:\n{genome}\nand its end {' ' * 2500}"
    pieces = list(_without_long_words([*DOCUMENTS[:2], document]))
    assert pieces[:2] == DOCUMENTS[:2] and "".join(pieces[2:]) == document
    assert max(len(word) for piece in pieces for word in piece.split()) == 1000
    assert max(len(spaces) for piece in pieces for spaces in re.findall(r"\s+", piece)) == 1000
    tokenizer = build_tokenizer("bpe", [document], 300)
    assert tokenizer.decode(tokenizer(document)["input_ids"]) == document
    assert len(tokenizer(genome)["input_ids"]) < len(genome) / 4


def test_bad_kinds_and_sizes_are_rejected():
    with pytest.raises(InputError, match=r"257 is too small for bpe: .* need 258"):
        build_tokenizer("bpe", DOCUMENTS, vocab_size=257)
    with pytest.raises(InputError, match=r"256 is too small for bpe: .* need 257"):
        build_tokenizer("bpe", DOCUMENTS, vocab_size=256, padding=False)
    with pytest.raises(
        InputError, match=r"could not load tokenizer 'words', which is neither one of bytes, bpe, chars nor"
    ):
        build_tokenizer("words", DOCUMENTS)


def test_a_separator_precedes_each_document(tokenizer):
    stream = encode_documents(tokenizer, DOCUMENTS[:3])
    pieces = np.split(stream.ids, np.flatnonzero(stream.ids == tokenizer.eos_token_id))[1:]
    assert [tokenizer.decode(piece[1:]) for piece in pieces] == DOCUMENTS[:3]
    assert stream.ids[0] == tokenizer.eos_token_id
    assert stream.num_bytes == sum(len(document.encode()) for document in DOCUMENTS[:3])


def test_batches_do_not_change_the_stream(tokenizer, monkeypatch):
    whole = encode_documents(tokenizer, DOCUMENTS)
    monkeypatch.setattr("training.lm.tokenization.ENCODE_AT_ONCE", 50)
    assert np.array_equal(encode_documents(tokenizer, DOCUMENTS).ids, whole.ids)


@pytest.mark.parametrize("kind", ["bytes", "bpe"])
def test_special_tokens_spelled_in_a_text_are_ordinary_text(kind):
    tokenizer = build_tokenizer(kind, DOCUMENTS, vocab_size=300)
    text = f"x {SEPARATOR} y {PADDING} z"
    stream = encode_documents(tokenizer, [text])
    assert (stream.ids == tokenizer.eos_token_id).sum() == 1
    assert tokenizer.pad_token_id not in stream.ids
    assert tokenizer.decode(stream.ids[1:]) == text


def test_unknown_characters_are_counted_and_charged():
    tokenizer = build_tokenizer("chars", ["abc"])
    stream = encode_documents(tokenizer, ["axbyc"])
    assert stream.num_unknown == 2
    assert stream.bits_per_byte(5 * math.log(2)) == pytest.approx((5 + 2 * UNKNOWN_BITS) / 5)


def test_bits_per_byte():
    stream = TokenStream(np.zeros(4, np.uint16), num_bytes=6)
    assert stream.bits_per_byte(12 * math.log(2)) == pytest.approx(2.0)


def test_a_saved_tokenizer_is_used_unchanged(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    again = build_tokenizer(str(tmp_path), [])
    assert np.array_equal(encode_documents(again, DOCUMENTS).ids, encode_documents(tokenizer, DOCUMENTS).ids)


def test_a_slow_tokenizer_encodes_too(tmp_path):
    ByT5Tokenizer().save_pretrained(tmp_path)
    tokenizer = build_tokenizer(str(tmp_path), [])
    stream = encode_documents(tokenizer, ["ab </s> c", ""])
    assert (
        stream.ids == tokenizer.eos_token_id
    ).sum() == 2  # the two separators; a special token spelled in a text is text
    assert tokenizer.decode(stream.ids[1:-1]) == "ab </s> c"
    assert stream.num_unknown == 0


def test_a_tokenizer_without_an_end_of_text_is_rejected(tmp_path):
    tokenizer = build_tokenizer("bytes", [])
    tokenizer.eos_token = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="has no end-of-text token to separate documents: set its eos_token"):
        build_tokenizer(str(tmp_path), [])


def test_the_embedding_has_a_row_for_the_largest_id(tmp_path):
    model = models.WordLevel(vocab={"a": 0, "</s>": 9}, unk_token="a")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(model), eos_token="</s>")
    assert (len(tokenizer), vocabulary_size(tokenizer)) == (2, 10)


def test_truncation_and_padding_of_a_saved_tokenizer_are_ignored(tmp_path):
    documents = ["a long text " * 20, "short"]
    tokenizer = build_tokenizer("bytes", documents)
    want = encode_documents(tokenizer, documents)
    tokenizer(documents, truncation=True, padding="max_length", max_length=64)
    tokenizer.save_pretrained(tmp_path)
    assert '"max_length":64' in (tmp_path / "tokenizer.json").read_text().replace(" ", "")
    found = encode_documents(build_tokenizer(str(tmp_path), documents), documents)
    assert found.ids.tolist() == want.ids.tolist()


# --- the padding token


@pytest.mark.parametrize("kind", KINDS)
def test_every_end_of_text_is_a_label(kind, tmp_path):
    build_tokenizer(kind, DOCUMENTS, vocab_size=300).save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    texts = [f"a + b{tokenizer.eos_token}", f"def add(a, b){tokenizer.eos_token}"]
    for side in ("left", "right"):
        tokenizer.padding_side = side
        batch = DataCollatorForLanguageModeling(tokenizer, mlm=False)([dict(tokenizer(text)) for text in texts])
        assert (batch["labels"] == tokenizer.eos_token_id).sum(1).tolist() == [1, 1]
        assert torch.equal(batch["labels"] == -100, batch["attention_mask"] == 0)
        assert torch.equal(batch["labels"] == -100, batch["input_ids"] == tokenizer.pad_token_id)


def test_the_padding_token_changes_no_other_id():
    with_one, without = (build_tokenizer("bpe", DOCUMENTS, 300, padding=padding) for padding in (True, False))
    assert not has_padding(without) and without.pad_token_id == without.eos_token_id
    vocabulary = without.get_vocab()
    last = max(
        vocabulary, key=vocabulary.get
    )  # in a vocabulary of equal size, the padding token replaces the last merge
    assert {**with_one.get_vocab(), last: 299} == {**vocabulary, PADDING: 299}


@pytest.mark.parametrize("pad_token", [None, SEPARATOR, "[PAD]"])
def test_a_loaded_tokenizer_gets_a_padding_token_if_it_has_none(pad_token, tmp_path):
    given = build_tokenizer("bytes", [], padding=False)
    given.pad_token = None
    if pad_token:
        given.add_special_tokens({"pad_token": pad_token})
    given.save_pretrained(tmp_path / "given")
    tokenizer = build_tokenizer(str(tmp_path / "given"), [])
    assert tokenizer.pad_token == ("[PAD]" if pad_token == "[PAD]" else PADDING)
    assert has_padding(tokenizer) and vocabulary_size(tokenizer) == 258 == tokenizer.pad_token_id + 1
    tokenizer.save_pretrained(tmp_path / "again")
    assert AutoTokenizer.from_pretrained(tmp_path / "again").pad_token_id == 257
    assert np.array_equal(encode_documents(tokenizer, DOCUMENTS).ids, encode_documents(given, DOCUMENTS).ids)
    kept = build_tokenizer(str(tmp_path / "given"), [], padding=False)
    assert (len(kept), kept.pad_token) == (len(given), given.pad_token)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("padding", [True, False])  # whether the saved tokenizer has a padding token
def test_a_loaded_tokenizer_pads_on_the_left(padding, side, tmp_path):
    given = build_tokenizer("bytes", [], padding=padding)
    given.padding_side = side
    given.save_pretrained(tmp_path / "given")
    assert build_tokenizer(str(tmp_path / "given"), [], padding=False).padding_side == side
    build_tokenizer(str(tmp_path / "given"), []).save_pretrained(tmp_path / "again")
    again = AutoTokenizer.from_pretrained(tmp_path / "again")
    batch = again(["ab", "a"], padding=True)
    assert again.padding_side == "left"
    assert batch["input_ids"][1] == [again.pad_token_id, *again("a")["input_ids"]]
    assert batch["attention_mask"] == [[1, 1], [0, 1]]


def test_a_tokenizer_that_takes_no_padding_token_pads_on_the_left_too(tmp_path):
    model = models.WordLevel(vocab={"a": 0, "</s>": 1, "b": 3}, unk_token="a")
    gaps = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(model), eos_token="</s>")
    gaps.save_pretrained(tmp_path)
    tokenizer = build_tokenizer(str(tmp_path), [])
    assert not has_padding(tokenizer) and tokenizer.padding_side == "left"


def test_a_vocabulary_that_cannot_grow_is_left_unchanged():
    # The next id after three tokens is 3, which is taken.
    model = models.WordLevel(vocab={"a": 0, "</s>": 1, "b": 3}, unk_token="a")
    gaps = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(model), eos_token="</s>")

    class Fixed(ByT5Tokenizer):
        def add_special_tokens(self, *args, **kwargs):
            raise NotImplementedError

    fixed = Fixed()
    fixed.pad_token = fixed.eos_token
    for tokenizer in (gaps, fixed):
        before = dict(tokenizer.get_vocab())
        assert with_padding(tokenizer) is tokenizer
        assert tokenizer.get_vocab() == before and not has_padding(tokenizer)
    assert with_padding(ByT5Tokenizer()).pad_token == "<pad>"
