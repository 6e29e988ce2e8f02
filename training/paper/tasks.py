# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Tasks as pure functions from seed to batch: selective copying, the Chomsky tasks, associative recall, characters.

`task.batch(seed, batch_size, length)` returns `(input_ids, labels)`, int64 of shape `(batch_size, time)`. The label at a
position belongs to the output at that position, without any shift, and is -100 where nothing is scored. The same seed gives
the same batch on every machine.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import numpy as np
import torch

from training.common.errors import InputError
from training.lm.corpus import read_shakespeare
from training.paper.chomsky import CHOMSKY, IGNORED

Batch = tuple[torch.Tensor, torch.Tensor]
PARTS = {"train": 0, "validation": 1, "test": 2}


class Task:
    """A task whose batches are drawn, as many as one likes.

    Args:
        name (`str`): What it is called in results.
        vocab_size (`int`): Tokens in and out.
        draw: A function of seed, batch size and length, see `batch`.

    >>> task = selective_copying()
    >>> ids, labels = task.batch(0, batch_size=2, length=20)
    >>> ids.shape, int((labels != IGNORED).sum())
    (torch.Size([2, 36]), 32)
    """

    def __init__(self, name: str, vocab_size: int, draw: Callable[..., Batch]):
        self.name, self.vocab_size, self.draw = name, vocab_size, draw

    def batch(self, seed, batch_size: int, length: int) -> Batch:
        """A training batch.

        Args:
            seed (`int` or sequence of `int`): Decides everything.
            batch_size (`int`): Rows.
            length (`int`): What is long about the task; the rows may be longer, by a question.

        Returns:
            `(input_ids, labels)`, int64 of shape `(batch_size, time)`.

        Raises:
            ValueError: For a length that the task cannot have.
        """
        return self._drawn("train", seed, batch_size, length)

    def fixed(self, part: str, batch_size: int, length: int, batches: int) -> Iterator[Batch]:
        """The `batches` batches of the "validation" or "test" part, always the same ones, no training batch among them."""
        return (self._drawn(part, index, batch_size, length) for index in range(batches))

    def _drawn(self, part, seed, batch_size, length):
        if batch_size < 1 or length < 1:
            raise ValueError(
                f"a batch has at least one row and one symbol, got batch_size {batch_size}, length {length}"
            )
        return self.draw([PARTS[part], length, *np.atleast_1d(seed).tolist()], batch_size, length)


def selective_copying(tokens: int = 16) -> Task:
    """Sixteen data tokens (1 to 14) among blanks (15), in sorted random places, then as many markers (0): at the markers
    the data tokens are to be said in their order, which takes as long a memory as the row is long.
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
    """One of the seven tasks of chomsky.py.

    Raises:
        ValueError: For another name.
    """
    if name not in CHOMSKY:
        raise ValueError(f"there is no task {name!r}: choose one of {', '.join(CHOMSKY)}")
    draw, vocab_size = CHOMSKY[name]
    return Task(name, vocab_size, draw)


def recall(pairs: int, keys: int = 64, values: int = 64) -> Task:
    """Multi-query associative recall: `pairs` keys, all different, each followed by its value; then each key once more, in
    another order, among blanks, where its value is to be said. `length` is the number of positions.

    The vocabulary is the blank (0), then the keys, then the values.
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
        rows[:, 0 : 2 * pairs : 2], rows[:, 1 : 2 * pairs : 2] = key, value
        # Unsorted places put the questions into another order than the pairs.
        places = 2 * pairs + rng.random((batch_size, length - 2 * pairs)).argsort(1)[:, :pairs]
        labels = np.full_like(rows, IGNORED)
        np.put_along_axis(rows, places, key, 1)
        np.put_along_axis(labels, places, value, 1)
        return torch.from_numpy(rows), torch.from_numpy(labels)

    return Task(f"recall of {pairs}", 1 + keys + values, draw)


class Characters:
    """Next-character prediction on one text: the first 90 % to train on, the next 5 % for validation, the last 5 % to test.

    nanoGPT's validation part, which the paper's numbers refer to, is the last two together, "both".

    Args:
        text (`str`): At least 40 characters; its different characters, sorted, are the vocabulary.

    Raises:
        InputError: For a shorter text.

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
        first, second = int(0.9 * len(ids)), int(0.95 * len(ids))
        self.parts = {"train": ids[:first], "validation": ids[first:second], "test": ids[second:], "both": ids[first:]}

    def batch(self, seed, batch_size: int, length: int) -> Batch:
        """Windows of `length` characters from random places of the training part, and the characters that follow each."""
        text = self.parts["train"]
        if len(text) <= length:
            raise ValueError(f"windows of {length} need a longer training part than its {len(text)} characters")
        rng = np.random.default_rng([PARTS["train"], *np.atleast_1d(seed).tolist()])
        starts = torch.from_numpy(rng.integers(len(text) - length, size=batch_size))
        rows = text[starts[:, None] + torch.arange(length + 1)]
        return rows[:, :-1], rows[:, 1:]

    def fixed(self, part: str, batch_size: int, length: int, batches: int | None = None) -> Iterator[Batch]:
        """The part ("validation", "test" or "both") from its start in windows one after the other, each from an empty state;
        of its characters each but the first is asked for once, the last incomplete window filled up with labels -100. With
        `batches` no more than so many batches.
        """
        text = self.parts[part]
        count = -(-(len(text) - 1) // length)
        ids, labels = torch.zeros(count * length, dtype=torch.int64), torch.full((count * length,), IGNORED)
        ids[: len(text) - 1], labels[: len(text) - 1] = text[:-1], text[1:]
        rows = zip(ids.view(-1, length).split(batch_size), labels.view(-1, length).split(batch_size))
        return (pair for index, pair in enumerate(rows) if batches is None or index < batches)


def shakespeare(path: str | os.PathLike | None = None) -> Characters:
    """The characters of a text file, by default of karpathy/tiny_shakespeare on the Hub, whose three splits are put together
    again: the text is cut as nanoGPT cuts it.

    Raises:
        InputError: The file cannot be read, or none is given and the Hub cannot be reached.
    """
    return Characters(read_shakespeare(path))
