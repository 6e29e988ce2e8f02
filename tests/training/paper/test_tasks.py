# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import pytest
import torch

from training.common.errors import InputError
from training.paper import tasks
from training.paper.chomsky import CHOMSKY
from training.paper.word_problems import TRACKING

TEXT = "".join(f"{number} sheep stood by the {'sea' if number % 3 else 'tower'}.\n" for number in range(60))
ALL = {
    "selective copying": (tasks.selective_copying(), 40),
    **{name: (tasks.chomsky(name), 12) for name in CHOMSKY},
    **{f"prefixes, {name}": (tasks.tracking(name), 12) for name in TRACKING},
    "recall": (tasks.recall(4), 20),
    "recall in noise": (tasks.recall(4, noise=True), 20),
    "characters": (tasks.Characters(TEXT), 24),
}
each = pytest.mark.parametrize("name", ALL)


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@each
def test_the_seed_decides(name):
    task, length = ALL[name]
    first = task.batch(7, 3, length)
    task.batch(8, 3, length)
    torch.manual_seed(1)
    assert same(first, task.batch(7, 3, length)) and same(task.batch([1, 2], 3, length), task.batch([1, 2], 3, length))
    others = [task.batch(seed, 3, length) for seed in (8, [7, 1], [0, 7])]
    assert not any(first[0].shape == other[0].shape and same(first, other) for other in others)
    assert all(tensor.dtype == torch.int64 and tensor.shape[0] == 3 for tensor in first)
    assert first[0].shape == first[1].shape and first[0].min() >= 0 and first[0].max() < task.vocab_size
    assert first[1].max() < task.vocab_size and (first[1] != -100).any()


@each
def test_parts_are_fixed_and_disjoint(name):
    task, length = ALL[name]
    parts = {part: list(task.fixed(part, 3, length, 2)) for part in ("validation", "test")}
    for part, batches in parts.items():
        assert len(batches) == 2 and all(same(a, b) for a, b in zip(batches, task.fixed(part, 3, length, 2)))
        assert batches[0][0].shape != batches[1][0].shape or not same(batches[0], batches[1])
    first, second = parts["validation"][0], parts["test"][0]
    assert first[0].shape != second[0].shape or not same(first, second)
    assert name == "characters" or not any(
        trained[0].shape == first[0].shape and same(trained, first)
        for trained in (task.batch(seed, 3, length) for seed in (0, 1, [0]))
    )


def test_selective_copying_labels_are_the_data_in_order():
    ids, labels = tasks.selective_copying().batch(0, 50, 30)
    assert ids.shape == (50, 46)
    for row, wanted in zip(ids.tolist(), labels.tolist()):
        data = [token for token in row[:30] if token != 15]
        assert len(data) == 16 and all(1 <= token <= 14 for token in data) and row[30:] == [0] * 16
        assert wanted == [-100] * 30 + data
    places = (ids[:, :30] != 15).sum(0)
    assert places.min() > 10  # in 50 rows, each place has a token about 27 times
    ids, _ = tasks.selective_copying().batch(0, 2, 16)
    assert (ids[:, :16] != 15).all()


def test_recall_queries_each_key_once():
    ids, labels = tasks.recall(5, keys=9, values=7).batch(0, 40, 30)
    reordered = False
    for row, wanted in zip(ids.tolist(), labels.tolist()):
        pairs = dict(zip(row[0:10:2], row[1:10:2]))
        assert len(pairs) == 5 and all(1 <= key <= 9 for key in pairs) and all(10 <= v <= 16 for v in pairs.values())
        asked = [(token, label) for token, label in zip(row[10:], wanted[10:]) if token]
        assert wanted[:10] == [-100] * 10 and dict(asked) == pairs and len(asked) == 5
        assert all(label == -100 for token, label in zip(row[10:], wanted[10:]) if not token)
        reordered |= [key for key, _ in asked] != list(pairs)
    assert reordered


def test_recall_in_noise_asks_at_the_end():
    ids, labels = tasks.recall(5, keys=9, values=7, noise=True).batch(0, 60, 30)
    orders = set()
    for row, wanted in zip(ids.tolist(), labels.tolist()):
        pairs = dict(zip(row[0:10:2], row[1:10:2]))
        assert len(pairs) == 5 and all(1 <= key <= 9 for key in pairs) and all(10 <= v <= 16 for v in pairs.values())
        assert wanted[:25] == [-100] * 25 and dict(zip(row[25:], wanted[25:])) == pairs
        orders.add(tuple([*pairs].index(key) for key in row[25:]))
    assert len(orders) > 30
    noise = ids[:, 10:25]
    assert noise.unique().tolist() == list(range(1, 17))


def test_characters_are_predicted_from_those_before():
    task = tasks.Characters(TEXT)
    assert task.vocab_size == len(set(TEXT)) and sum(len(task.parts[p]) for p in ("train", "both")) == len(TEXT)
    decode = lambda ids: "".join(task.characters[i] for i in ids.tolist())  # noqa: E731
    assert decode(torch.cat([task.parts[p] for p in ("train", "validation", "test")])) == TEXT
    assert decode(task.parts["both"]) == TEXT[int(0.9 * len(TEXT)) :]
    ids, labels = task.batch(0, 8, 20)
    for row, wanted in zip(ids, labels):
        window = decode(row) + decode(wanted[-1:])
        assert window in TEXT[: int(0.9 * len(TEXT))] and window[1:] == decode(wanted)


@pytest.mark.parametrize("part", ["validation", "test", "both"])
@pytest.mark.parametrize("length", [7, 20, 1000])
def test_every_character_of_a_part_is_scored_once(part, length):
    task = tasks.Characters(TEXT)
    batches = list(task.fixed(part, 2, length))
    ids, labels = (torch.cat([pair[i] for pair in batches]).flatten() for i in (0, 1))
    text = task.parts[part]
    count = len(text) - 1
    assert (
        torch.equal(ids[:count], text[:-1]) and torch.equal(labels[:count], text[1:]) and (labels[count:] == -100).all()
    )


def test_impossible_batches_are_rejected():
    with pytest.raises(ValueError, match="16 data tokens need a length of at least 16, got 15"):
        tasks.selective_copying().batch(0, 2, 15)
    with pytest.raises(ValueError, match="4 pairs need at least as many keys and 3 times as many positions"):
        tasks.recall(4).batch(0, 2, 11)
    with pytest.raises(ValueError, match="there is no task 'sorting': choose one of bucket_sort"):
        tasks.chomsky("sorting")
    with pytest.raises(ValueError, match="there is no task 'a5': choose one of parity, counting, s3, s5"):
        tasks.tracking("a5")
    with pytest.raises(ValueError, match="at least one row and one symbol, got batch_size 2, length 0"):
        tasks.chomsky("parity").batch(0, 2, 0)
    with pytest.raises(ValueError, match="at least 40 characters, got 3"):
        tasks.Characters("abc")
    with pytest.raises(ValueError, match="longer training part than its 45"):
        tasks.Characters("ab" * 25).batch(0, 1, 45)


def test_text_comes_from_a_file_or_the_hub(tmp_path, monkeypatch):
    path = tmp_path / "sheep.txt"
    path.write_text(TEXT, encoding="utf-8")
    want = tasks.Characters(TEXT).parts["both"]
    assert torch.equal(tasks.shakespeare(path).parts["both"], want)
    import datasets

    def load(name, revision):  # the dataset itself is a script, which is no longer run
        assert (name, revision) == ("karpathy/tiny_shakespeare", "refs/convert/parquet")
        cuts = {"train": TEXT[:1000], "validation": TEXT[1000:1500], "test": TEXT[1500:]}
        return {part: {"text": [text]} for part, text in cuts.items()}

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert torch.equal(tasks.shakespeare().parts["both"], want)

    def offline(name, revision):
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(InputError, match="give a file with the same text by --text: no network"):
        tasks.shakespeare()
    with pytest.raises(InputError, match=r"--text .*none.txt cannot be read"):
        tasks.shakespeare(tmp_path / "none.txt")
