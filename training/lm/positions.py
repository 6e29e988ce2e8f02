# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Bits per byte by position, which show whether a model predicts better after more text, also beyond its training length.

The text is cut into pieces of equal length, and the model reads each from an empty state: at the n-th token of a piece it has
read n tokens. Positions are grouped by powers of two. Some groups have harder tokens than others, so each group is compared
with itself: with the same tokens, predicted with the state carried through all of the text before them.
"""

from __future__ import annotations

import math
import os

import numpy as np

from training.common.plots import legend_below, save_figure
from training.lm.tokenization import UNKNOWN_BITS


def bits_of(nats: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """Returns the bits per predicted token. Each `<unk>` costs `UNKNOWN_BITS` more, as in `TokenStream.bits_per_byte`.

    >>> bits_of(np.array([math.log(2), 0.0]), np.array([False, True])).round(1).tolist()
    [1.0, 20.1]
    """
    return nats / math.log(2) + UNKNOWN_BITS * unknown


def by_position(
    nats: np.ndarray, carried: np.ndarray, unknown: np.ndarray, length: int, bytes_per_token: float
) -> list[dict]:
    """Returns sums over the positions 1, 2, 3-4, 5-8, ... up to `length`.

    Args:
        nats (`np.ndarray` of shape `(tokens,)`): Loss of every predicted token, with the state reset after every `length`.
        carried (`np.ndarray` of shape `(tokens,)`): The same with the state carried through all of the text.
        unknown (`np.ndarray` of shape `(tokens,)`, bool): Which of the tokens are `<unk>`.
        length (`int`): Tokens of a piece.
        bytes_per_token (`float`): Mean over the text; turns bits per token into bits per byte.

    Returns:
        A dict for each group that has tokens: `first` and `last` position, `tokens`, the sum of `bits`, `bits_per_byte`,
        `perplexity`, and these three for `carried` in `with_all_before`. The sums add up to those of the text.

    >>> rows = by_position(np.ones(7), np.ones(7), np.zeros(7, bool), length=4, bytes_per_token=1.0)
    >>> [(row["first"], row["last"], row["tokens"]) for row in rows]
    [(1, 1, 2), (2, 2, 2), (3, 4, 3)]
    """
    position = np.arange(len(nats)) % length + 1
    rows = []
    first = last = 1
    while first <= min(length, len(nats)):
        chosen = (position >= first) & (position <= last)
        rows.append(
            {
                "first": first,
                "last": last,
                "tokens": int(chosen.sum()),
                **_sums(nats[chosen], unknown[chosen], bytes_per_token),
                "with_all_before": _sums(carried[chosen], unknown[chosen], bytes_per_token),
            }
        )
        first = last + 1
        last = min(2 * last, length)
    return rows


def _sums(nats: np.ndarray, unknown: np.ndarray, bytes_per_token: float) -> dict[str, float]:
    bits = float(bits_of(nats, unknown).sum())
    return {
        "bits": bits,
        "bits_per_byte": bits / (len(nats) * bytes_per_token),
        "perplexity": math.exp(min(float(nats.mean()), 700.0)),
    }


def default_length(window: int, predicted: int, times: int = 16, pieces: int = 4) -> int:
    """Returns the length of the pieces: the power of two at or above `times` the training length.

    A short text has a smaller power of two, so that it makes at least `pieces` pieces.

    >>> default_length(256, 100_000), default_length(100, 100_000), default_length(256, 5_000)
    (4096, 2048, 1024)
    """
    wanted = 1 << (times * window - 1).bit_length()
    return min(wanted, 1 << max(0, (predicted // pieces).bit_length() - 1))


def worth_past(rows: list[dict], window: int) -> tuple[dict, float] | None:
    """Returns the worth of context beyond the training length.

    Returns:
        The last group of positions within the training length, and what its tokens gain, in `unit_of(rows)`, if the state is
        carried through all of the text before them; `None` if no piece is longer than the window.
    """
    if rows[-1]["last"] <= window:
        return None
    row = next(row for row in rows if row["last"] >= window)
    key = unit_of(rows)
    return row, row[key] - row["with_all_before"][key]


def unit_of(rows: list[dict]) -> str:
    """Returns the key of the losses in rows: `bits_per_byte`, or `bits_per_token` if the tokenizer does not keep the text."""
    return "bits_per_byte" if "bits_per_byte" in rows[0] else "bits_per_token"


def name_of(row: dict) -> str:
    """Returns the positions of a group as text.

    >>> name_of({"first": 3, "last": 4}), name_of({"first": 1, "last": 1})
    ('3-4', '1')
    """
    return str(row["first"]) if row["first"] == row["last"] else f"{row['first']}-{row['last']}"


def plot_positions(
    path: str | os.PathLike, rows: list[dict], window: int, title: str, key: str = "bits_per_byte"
) -> None:
    """Writes a PNG: the loss by position above, and below the bits that the text further back saves there.

    Args:
        key (`str`): See `unit_of`.
    """
    import matplotlib

    matplotlib.use("Agg")  # draws without a window
    from matplotlib import pyplot as plt

    middles = [math.sqrt(row["first"] * row["last"]) for row in rows]
    unit = key.replace("_", " ")
    alone = [row[key] for row in rows]
    whole = [row["with_all_before"][key] for row in rows]
    figure, (upper, lower) = plt.subplots(
        2, 1, figsize=(8, 6.4), dpi=150, layout="constrained", sharex=True, height_ratios=(3, 2)
    )
    upper.plot(middles, whole, "o--", color="0.55", ms=4, lw=1.2, label="the same tokens, all of the text before them")
    upper.plot(middles, alone, "o-", color="#4477aa", ms=5, lw=1.8, label="from an empty state")
    # The first few positions cost several times as much. If they were shown, the rest would look flat.
    late = [value for middle, value in zip(middles, alone) if middle >= window / 32] or alone
    lowest = min(alone + whole)
    highest = max(late + whole)
    margin = 0.08 * (highest - lowest) + 1e-3
    upper.set_ylim(lowest - margin, highest + margin)
    upper.set(ylabel=unit, title=title)
    lower.axhline(0, color="0.55", lw=1)
    lower.plot(middles, [a - b for a, b in zip(alone, whole)], "o-", color="#4477aa", ms=5, lw=1.8)
    lower.set_yscale("symlog", linthresh=1e-3)
    lower.set(xlabel="tokens read since the state was empty", ylabel=f"{unit} that the\ntext further back saves")
    lower.set_xscale("log", base=2)
    ticks = [row["last"] for row in rows]
    lower.set_xticks(ticks, [f"{tick:,}" for tick in ticks], fontsize=8)
    lower.minorticks_off()
    for axes in (upper, lower):
        axes.axvline(window, color="#cc3311", lw=1, label=f"training length, {window:,} tokens", zorder=1)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="0.92")
        axes.set_axisbelow(True)
    legend_below(figure, upper)
    save_figure(path, figure)
