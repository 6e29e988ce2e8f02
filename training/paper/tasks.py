# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Tasks as pure functions from seed to batch: selective copying, Chomsky tasks, state tracking, recall, characters.

`task.batch(seed, batch_size, length)` returns `(input_ids, labels)`, int64 of shape `(batch_size, time)`. The label at a
position belongs to the output at that position, without a shift; it is -100 if the position is not scored. The same seed gives
the same batch on every machine.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import numpy as np
import torch

from training.common.errors import InputError
from training.corpus.load import read_shakespeare
from training.paper.chomsky import CHOMSKY, IGNORED
from training.paper.word_problems import TRACKING

Batch = tuple[torch.Tensor, torch.Tensor]
PARTS = {"train": 0, "validation": 1, "test": 2}


class Task:
    """A task with an unlimited number of batches.

    Args:
        name (`str`): Name in result files.
        vocab_size (`int`): Number of tokens of the input and the output.
        draw: Function of seed, batch size and length that returns a batch.

    >>> task = selective_copying()
    >>> ids, labels = task.batch(0, batch_size=2, length=20)
    >>> ids.shape, int((labels != IGNORED).sum())
    (torch.Size([2, 36]), 32)
    """

    def __init__(self, name: str, vocab_size: int, draw: Callable[..., Batch]):
        self.name = name
        self.vocab_size = vocab_size
        self.draw = draw

    def batch(self, seed, batch_size: int, length: int) -> Batch:
        """Returns a training batch.

        Args:
            seed (`int` or sequence of `int`): Seed of the batch.
            batch_size (`int`): Number of rows.
            length (`int`): Length of the string; the rows may be longer, by a question.

        Returns:
            `(input_ids, labels)`, int64 of shape `(batch_size, time)`.

        Raises:
            ValueError: The task cannot have this length.
        """
        return self._drawn("train", seed, batch_size, length)

    def fixed(self, part: str, batch_size: int, length: int, batches: int) -> Iterator[Batch]:
        """Returns batches of the "validation" or "test" part, always the same ones; none of them is a training batch."""
        return (self._drawn(part, index, batch_size, length) for index in range(batches))

    def _drawn(self, part, seed, batch_size, length):
        if batch_size < 1 or length < 1:
            raise ValueError(
                f"a batch has at least one row and one symbol, got batch_size {batch_size}, length {length}"
            )
        return self.draw([PARTS[part], length, *np.atleast_1d(seed).tolist()], batch_size, length)


def selective_copying(tokens: int = 16) -> Task:
    """Returns selective copying: data tokens (1 to 14) at random places among blanks (15), then as many markers (0).

    At the markers the data tokens have to be repeated in order, which needs a memory as long as the row.
    """

    def draw(seed, batch_size, length):
        if length < tokens:
            raise ValueError(f"{tokens} data tokens need a length of at least {tokens}, got {length}")
        rng = np.random.default_rng(seed)
        data = rng.integers(1, 15, (batch_size, tokens), dtype=np.int64)
        places = np.sort(rng.random((batch_size, length)).argpartition(tokens - 1, 1)[:, :tokens], 1)
        rows = np.full((batch_size, length + tokens), 15, dtype=np.int64)
        np.put_along_axis(rows, places, data, 1)
        rows[:, length:] = 0
        labels = np.full_like(rows, IGNORED)
        labels[:, length:] = data
        return torch.from_numpy(rows), torch.from_numpy(labels)

    return Task("selective_copying", 16, draw)


def chomsky(name: str) -> Task:
    """Returns one of the seven tasks of `training.paper.chomsky`.

    Raises:
        ValueError: There is no task of this name.
    """
    return _named(name, CHOMSKY)


def tracking(name: str) -> Task:
    """Returns one of the tasks of state tracking in `training.paper.word_problems`, with a label at every position.

    Raises:
        ValueError: There is no task of this name.
    """
    return _named(name, TRACKING)


def _named(name: str, tasks: dict[str, tuple[Callable, int]]) -> Task:
    if name not in tasks:
        raise ValueError(f"there is no task {name!r}: choose one of {', '.join(tasks)}")
    draw, vocab_size = tasks[name]
    return Task(name, vocab_size, draw)


def recall(pairs: int, keys: int = 64, values: int = 64, noise: bool = False) -> Task:
    """Returns multi-query associative recall.

    A row has `pairs` different keys, each followed by its value. Then each key comes once more, in another order; the label
    there is its value. `length` is the number of positions. The vocabulary is the blank (0), then the keys, then the values.

    Args:
        pairs (`int`): Number of pairs.
        keys (`int`): Number of keys to choose from.
        values (`int`): Number of values to choose from.
        noise (`bool`): Whether the positions between are random keys and values, and the questions are the last positions.
            Without it the positions between are blanks, and the questions are anywhere after the pairs.
    """

    def draw(seed, batch_size, length):
        if pairs > keys or length < 3 * pairs:
            raise ValueError(
                f"{pairs} pairs need at least as many keys and 3 times as many positions, got {keys} keys and length "
                f"{length}"
            )
        rng = np.random.default_rng(seed)
        key = 1 + rng.random((batch_size, keys)).argsort(1)[:, :pairs]
        value = rng.integers(1 + keys, 1 + keys + values, (batch_size, pairs), dtype=np.int64)
        rows = np.zeros((batch_size, length), dtype=np.int64)
        rows[:, 0 : 2 * pairs : 2] = key
        rows[:, 1 : 2 * pairs : 2] = value
        # The places are not sorted, so the questions have another order than the pairs.
        if noise:
            rows[:, 2 * pairs :] = rng.integers(1, 1 + keys + values, (batch_size, length - 2 * pairs))
            places = length - pairs + rng.random((batch_size, pairs)).argsort(1)
        else:
            places = 2 * pairs + rng.random((batch_size, length - 2 * pairs)).argsort(1)[:, :pairs]
        labels = np.full_like(rows, IGNORED)
        np.put_along_axis(rows, places, key, 1)
        np.put_along_axis(labels, places, value, 1)
        return torch.from_numpy(rows), torch.from_numpy(labels)

    title = f"recall of {pairs} in noise" if noise else f"recall of {pairs}"
    return Task(title, 1 + keys + values, draw)


class Characters:
    """Next-character prediction on one text: the first 90 % for training, the next 5 % for validation, the last 5 % for tests.

    The paper's numbers refer to nanoGPT's validation part, which is the last two parts together, "both".

    Args:
        text (`str`): At least 40 characters; its different characters, sorted, are the vocabulary.

    Raises:
        InputError: The text is shorter.

    >>> task = Characters("hello, world! " * 20)
    >>> ids, labels = task.batch(0, batch_size=2, length=5)
    >>> ids.shape, bool((ids[:, 1:] == labels[:, :-1]).all()), {name: len(part) for name, part in task.parts.items()}
    (torch.Size([2, 5]), True, {'train': 252, 'validation': 14, 'test': 14, 'both': 28})
    """

    name = "characters"

    def __init__(self, text: str):
        if len(text) < 40:
            raise InputError(
                f"a text to split into parts has at least 40 characters, got {len(text)}: give a longer one"
            )
        self.characters = "".join(sorted(set(text)))
        self.vocab_size = len(self.characters)
        number = {character: index for index, character in enumerate(self.characters)}
        ids = torch.tensor([number[character] for character in text])
        first = int(0.9 * len(ids))
        second = int(0.95 * len(ids))
        self.parts = {"train": ids[:first], "validation": ids[first:second], "test": ids[second:], "both": ids[first:]}

    def batch(self, seed, batch_size: int, length: int) -> Batch:
        """Returns windows of `length` characters from random places of the training part, and the characters that follow."""
        text = self.parts["train"]
        if len(text) <= length:
            raise ValueError(f"windows of {length} need a longer training part than its {len(text)} characters")
        rng = np.random.default_rng([PARTS["train"], *np.atleast_1d(seed).tolist()])
        places = torch.from_numpy(rng.integers(len(text) - length, size=batch_size))
        rows = text[places[:, None] + torch.arange(length + 1)]
        return rows[:, :-1], rows[:, 1:]

    def fixed(self, part: str, batch_size: int, length: int, batches: int | None = None) -> Iterator[Batch]:
        """Returns the windows of a part ("validation", "test" or "both") in order; each is read from an empty state.

        Each character but the first is a label once. The last window is filled up with labels -100. `batches` limits the
        number of batches.
        """
        text = self.parts[part]
        count = -(-(len(text) - 1) // length)
        ids = torch.zeros(count * length, dtype=torch.int64)
        labels = torch.full((count * length,), IGNORED)
        ids[: len(text) - 1] = text[:-1]
        labels[: len(text) - 1] = text[1:]
        rows = zip(ids.view(-1, length).split(batch_size), labels.view(-1, length).split(batch_size))
        return (pair for index, pair in enumerate(rows) if batches is None or index < batches)


def shakespeare(path: str | os.PathLike | None = None) -> Characters:
    """Returns the characters of a text file, by default of karpathy/tiny_shakespeare on the Hub.

    The three splits of that data set are joined, and the text is split as nanoGPT splits it.

    Raises:
        InputError: The file cannot be read, or none is given and the Hub cannot be reached.
    """
    return Characters(read_shakespeare(path))
