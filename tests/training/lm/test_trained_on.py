# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Documents that a model was trained on are recognised, also after they were cut, joined or renamed."""

import doctest
import json
import random

import numpy as np
import pytest

from training.corpus.corpus import Corpus
from training.lm import trained_on
from training.lm.trained_on import Digests, TrainedOn, cut_text, digest, read_record, record_corpus

RNG = random.Random(0)
LINES = [" ".join(RNG.choices("abcdefghij", k=30)) for _ in range(200)]
CUT = "first 90 % of the characters for training, the rest held out"


def corpus(train, heldout, split="last documents held out"):
    return Corpus("name", "file", train, heldout, split)


def cut_corpus(lines=LINES):
    text = "\n".join(lines)
    middle = len(text) * 9 // 10
    return corpus([text[:middle]], [text[middle:]], CUT)


def test_examples():
    found = doctest.testmod(trained_on)
    assert found.attempted and not found.failed


def test_documents_are_told_apart():
    record = record_corpus(corpus(["a", "b"], ["c"]))
    assert [record.finds(text) for text in "abcd"] == [True, True, False, False]
    assert record.complete


def test_a_duplicate_on_both_sides_is_not_held_out():
    record = record_corpus(corpus(["a", "b"], ["b", "c"]))
    assert record.finds("b") and not record.finds("c") and record.heldout_seen == 0


def test_the_rest_of_a_text_that_was_cut_is_held_out():
    text = cut_corpus()
    record = record_corpus(text)
    whole = cut_text(text)
    assert "".join(whole) == "\n".join(LINES)
    assert record.finds("".join(whole))  # as one file of a folder
    assert record.finds(text.train[0]) and not record.finds(text.heldout[0], whole)
    assert record.finds(text.heldout[0][5:], whole)  # cut elsewhere
    assert cut_text(corpus(["a"], ["b"])) is None and cut_text(corpus(["a"], ["b", "c"], CUT)) is None


def test_the_last_document_of_several_may_be_cut():
    text = corpus(["a", LINES[0]], [LINES[1]], "last 8 characters of the last document held out")
    record = record_corpus(text)
    assert cut_text(text) == (LINES[0], LINES[1]) and record.finds(LINES[0] + LINES[1])
    assert not record.finds(LINES[1])


def test_a_file_of_a_folder_is_recognised_when_it_is_cut():
    whole = "\n".join(LINES)
    record = record_corpus(corpus([whole, "b"], ["c"]))
    assert record.finds(whole[-100:], [whole]) and not record.finds(whole[-100:] + "x")


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[::-1],
        lambda lines: [*lines, "and a new line that is longer than forty characters"],
        lambda lines: [f"  {line}  " for line in lines],
        lambda lines: lines[:60],
        lambda lines: [*lines[:20], *(f"{line} changed" for line in lines[20:60])],
    ],
    ids=["reordered", "extended", "indented", "a part", "a third"],
)
def test_a_changed_text_is_recognised_by_its_lines(change):
    record = record_corpus(cut_corpus())
    assert record.finds("\n".join(change(LINES)))


def test_a_few_lines_in_common_are_no_training():
    record = record_corpus(cut_corpus())
    new = [line[::-1] + " x" for line in LINES[:50]]
    assert not record.finds("\n".join([*LINES[:10], *new]))
    assert not record.finds("\n".join(LINES[:3]))  # too few to tell


def test_short_lines_are_recognised_together():
    verse = [
        f"{a} {b}" for a in ("the cat", "a dog", "no bird", "one fish", "my horse") for b in ("sees", "hears", "eats")
    ]
    record = record_corpus(corpus(["\n".join(verse * 2)], ["new"]))
    assert record.finds("\n  ".join(verse[3:12]) + "\r\n\r\n" + "\r\n".join(verse))
    assert not record.finds("\n".join(sorted(verse, key=lambda line: line[::-1])))


def test_sentences_of_a_long_line_are_recognised():
    sentences = [line.replace(" ", "") + " and so on" for line in LINES]
    record = record_corpus(corpus([". ".join(sentences)], ["new"]))
    assert record.finds(". ".join(sentences[50:150])) and not record.finds(". ".join(s[::-1] for s in sentences))


def test_a_part_of_a_text_without_lines_cannot_be_told():
    genome = "".join(RNG.choices("ACGT", k=3000))
    record = record_corpus(corpus([genome[:2700]], [genome[2700:]], CUT))
    longer = genome + "".join(RNG.choices("ACGT", k=3000))
    assert record.finds(longer[5400:], [longer]) is None
    assert record.finds(genome[2700:], [genome]) is False
    new = "\n".join(line[::-1] for line in LINES)
    assert record.finds(new[-30:], [new[:-30], new[-30:]]) is False  # the rest of the text shows that it is another one


def test_records_of_several_trainings_are_merged(tmp_path):
    record_corpus(corpus(["a"], ["b", "c"])).write(tmp_path)
    tuned = record_corpus(corpus(["b"], ["a", "d"]), base=str(tmp_path))
    assert [tuned.finds(text) for text in "abcd"] == [True, True, False, False]
    assert tuned.complete and tuned.heldout_seen == 1
    unknown = record_corpus(corpus(["b"], ["d"]), base=str(tmp_path / "nothing"))
    assert not unknown.complete
    unknown.write(tmp_path)
    assert not record_corpus(corpus(["e"], ["f"]), base=str(tmp_path)).complete


def test_a_written_record_is_read_again(tmp_path):
    record = record_corpus(cut_corpus())
    record.write(tmp_path)
    found = read_record(str(tmp_path))
    for name in ("trained", "partly", "heldout", "passages"):
        assert getattr(found, name).values == getattr(record, name).values
    text = (tmp_path / trained_on.FILE).read_text()
    assert LINES[0] not in text and f"{digest(LINES[0]):016x}" in text
    content = json.loads(text)
    for damage in ("{", "[]", json.dumps(content | {"passages": 3}), json.dumps({"complete": True})):
        (tmp_path / trained_on.FILE).write_text(damage)
        assert read_record(str(tmp_path)) is None
    assert read_record(str(tmp_path / "nowhere")) is None


def test_many_digests_are_sampled_in_the_same_way_in_any_order():
    texts = [str(i) for i in range(1000)]
    one, other = Digests(100), Digests(100)
    for text in texts:
        one.add(digest(text))
    for text in reversed(texts):
        other.add(digest(text))
    assert one.values == other.values and one.bound == other.bound
    assert 30 < len(one.values) <= 100 and one.bound < trained_on.ALL
    assert one.values == {digest(text) for text in texts if one.can_tell(digest(text))}
    again = Digests.from_json(json.loads(json.dumps(one.to_json())), 100)
    assert (again.values, again.bound) == (one.values, one.bound)
    small = Digests(100)
    small.add(1)
    small.update(one)
    assert small.bound == one.bound and {1} | one.values == small.values


def test_a_document_outside_of_the_sample_is_unknown(monkeypatch):
    monkeypatch.setattr(trained_on, "DOCUMENTS", 10)
    record = record_corpus(corpus([str(i) for i in range(100)], ["held out"]))
    found = [record.finds(str(i)) for i in range(200)]
    assert {*found[:100]} == {True, None} and {*found[100:]} <= {False, None}


def test_a_record_in_a_checkpoint_is_the_same():
    record = TrainedOn()
    record.add(LINES)
    again = TrainedOn()
    again.load_state_dict(record.state_dict())
    assert again.trained.values == record.trained.values and again.passages.values == record.passages.values
    assert again.complete and np.uint64(max(record.trained.values)) > np.uint64(1 << 63)  # above a signed integer
    again.load_state_dict(None)  # a checkpoint of an earlier version
    assert not again.complete
