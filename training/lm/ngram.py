# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""A 5-gram model with interpolated, modified Kneser-Ney smoothing (Chen and Goodman, 1998), in numpy.

P_n(w | c) = (count(c w) - D(count(c w))) / count(c) + backoff(c) * P_{n-1}(w | c without its first token)

The highest order counts occurrences. The lower ones count distinct tokens to the left. P_0 is uniform.
An n-gram is stored as one integer, `id of its first n-1 tokens * vocabulary + last token`, in one sorted array per order:
n-grams are counted by sorting and found by bisection, and the tokens seen after a context are adjacent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MINIMUM_DISCOUNT = 0.05  # keeps some probability for unseen tokens if the counts leave none


@dataclass(frozen=True)
class _Order:
    """The n-grams of one order, ascending by key. Contexts have the numbers of the n-grams of the order below."""

    keys: np.ndarray  # [n-grams] int64
    weight: np.ndarray  # [n-grams] float64: discounted count / count of the context
    backoff: np.ndarray  # [contexts] float64: probability left to the order below; 1 if nothing was seen


class NGramModel:
    """Interpolated modified Kneser-Ney over token ids.

    Args:
        tokens (`np.ndarray` of shape `(tokens,)`): Training ids, at least as many as `order`.
        vocab_size (`int`): Ids lie in [0, vocab_size).
        order (`int`): Tokens per n-gram; `order - 1` of them are context.

    Raises:
        ValueError: Too few tokens, or an id outside the vocabulary.
    """

    def __init__(self, tokens: np.ndarray, vocab_size: int, order: int = 5):
        tokens = np.asarray(tokens).astype(np.int64)
        if len(tokens) < order or order < 1:
            raise ValueError(f"a {order}-gram model needs at least {max(order, 1)} tokens, got {len(tokens)}")
        if tokens.min() < 0 or tokens.max() >= vocab_size:
            raise ValueError(f"ids must lie in [0, {vocab_size}), got {tokens.min()} to {tokens.max()}")
        self.vocab_size = vocab_size
        self.order = order
        self._orders: list[_Order] = []
        prefix = np.zeros(len(tokens) + 1, np.int64)  # [position]: id of the (n-1)-gram that starts there
        contexts = 1
        counted = None  # the order below, until this order has counted the tokens to the left of its n-grams
        for n in range(1, order + 1):
            here = prefix[: len(tokens) - n + 1] * vocab_size + tokens[n - 1 :]
            keys, first, ids, counts = _unique(here)
            if counted is not None:
                # Each distinct n-gram is one distinct left neighbour of its last n-1 tokens.
                below, below_contexts = counted
                left = np.bincount(prefix[first + 1], minlength=len(below))
                self._orders.append(_discount(below, left, below_contexts, vocab_size))
            counted = (keys, contexts)
            contexts = len(keys)
            prefix = ids
        self._orders.append(_discount(keys, counts, counted[1], vocab_size))

    def log_probabilities(self, tokens: np.ndarray) -> np.ndarray:
        """Returns log P(token | the up to `order - 1` tokens before it), natural, for every token after the first.

        Args:
            tokens (`np.ndarray` of shape `(tokens,)`): Ids of a text.

        Returns:
            `np.ndarray` of shape `(tokens - 1,)`, float64.
        """
        tokens = np.asarray(tokens).astype(np.int64)
        probability = np.full(len(tokens), 1.0 / self.vocab_size)
        prefix = np.zeros(len(tokens) + 1, np.int64)  # -1 where that n-gram was never seen
        for n, level in enumerate(self._orders, start=1):
            start = slice(0, len(tokens) - n + 1)  # first tokens of the n-grams, which predict their last tokens
            context = prefix[start]
            known = context >= 0
            found = _find(level.keys, np.where(known, context * self.vocab_size + tokens[n - 1 :], -1))
            lower = probability[n - 1 :]
            lower *= np.where(known, level.backoff[context], 1.0)
            lower += np.where(found >= 0, level.weight[found], 0.0)
            prefix = found
        return np.log(probability[1:])

    def distribution(self, context: np.ndarray) -> np.ndarray:
        """Returns P(. | context) for the whole vocabulary, shape `(vocab_size,)`; only the last `order - 1` ids count."""
        context = np.asarray(context, np.int64)
        context = context[max(0, len(context) - self.order + 1) :]
        probability = np.full(self.vocab_size, 1.0 / self.vocab_size)
        for n in range(1, len(context) + 2):
            row = self._context_id(context[len(context) - n + 1 :])
            if row < 0:
                break  # no longer context has been seen either
            level = self._orders[n - 1]
            first, last = np.searchsorted(level.keys, (row * self.vocab_size, (row + 1) * self.vocab_size))
            probability *= level.backoff[row]
            probability[level.keys[first:last] - row * self.vocab_size] += level.weight[first:last]
        return probability

    def sample(
        self,
        rng: np.random.Generator,
        begin: list[int],
        max_tokens: int,
        temperature: float = 1.0,
        top_p: float = 1.0,
    ) -> list[int]:
        """Draws tokens after `begin`, whose first one is the separator, until the next separator.

        Args:
            begin (`list[int]`): The separator, and a prompt.
            max_tokens (`int`): Length of the text, with the prompt.
            temperature (`float`): The probabilities are raised to 1/temperature; above 0.
            top_p (`float`): Draws from the likeliest tokens with this total probability, in (0, 1].

        Returns:
            The prompt and the tokens drawn.
        """
        tokens = list(begin)
        while len(tokens) <= max_tokens:
            probability = self.distribution(np.array(tokens[-self.order + 1 :]))
            probability **= 1.0 / temperature
            probability /= probability.sum()
            likeliest = np.argsort(-probability)
            cumulative = np.cumsum(probability[likeliest])
            kept = likeliest[: np.searchsorted(cumulative, top_p * cumulative[-1]) + 1]
            token = int(rng.choice(kept, p=probability[kept] / probability[kept].sum()))
            if token == begin[0]:
                break
            tokens.append(token)
        return tokens[1:]

    def _context_id(self, tokens: np.ndarray) -> int:
        """Returns the number of a context, -1 if it was never seen."""
        row = 0
        for level, token in zip(self._orders, tokens.tolist(), strict=False):
            key = row * self.vocab_size + token
            row = int(np.searchsorted(level.keys, key))
            if row == len(level.keys) or level.keys[row] != key:
                return -1
        return row


def _unique(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns the distinct values ascending, a position of each, the rank of each position's value, and the counts."""
    ordering = np.argsort(values)
    ordered = values[ordering]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    counts = np.diff(np.append(starts, len(values)))
    ranks = np.empty(len(values), np.int64)
    ranks[ordering] = np.repeat(np.arange(len(starts)), counts)
    return ordered[starts], ordering[starts], ranks, counts


def _find(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Returns the index of each wanted value in the sorted keys, -1 if it is missing."""
    index = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[index] == wanted, index, -1)


def _discount(keys: np.ndarray, counts: np.ndarray, contexts: int, vocab_size: int) -> _Order:
    """Returns one order: the discounted weights of its n-grams, and the probability that each context leaves to the next."""
    n1, n2, n3, n4 = (int((counts == count).sum()) for count in (1, 2, 3, 4))
    ratio = n1 / (n1 + 2 * n2) if n1 else 0.5
    estimates = [1 - 2 * ratio * n2 / max(n1, 1), 2 - 3 * ratio * n3 / max(n2, 1), 3 - 4 * ratio * n4 / max(n3, 1)]
    discounts = np.clip([0.0, *estimates], [0.0] + [MINIMUM_DISCOUNT] * 3, [0.0, 1.0, 2.0, 3.0])
    taken = discounts[np.minimum(counts, 3)]
    context = keys // vocab_size
    total = np.bincount(context, counts, minlength=contexts)
    # A context seen only at the end of the text has no successor: all of its probability goes to the order below.
    seen = total > 0
    backoff = np.ones(contexts)
    np.divide(np.bincount(context, taken, minlength=contexts), total, out=backoff, where=seen)
    weight = np.divide(counts - taken, total[context], out=np.zeros(len(keys)), where=seen[context])
    return _Order(keys, weight, backoff)
