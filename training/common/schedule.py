# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Learning rate as a function of progress, which works for a budget of steps and for one of minutes."""

from __future__ import annotations

import math

WSD_DECAY = 0.3  # length of the last phase of `wsd`, as a share of the budget


def learning_rate_factor(
    progress: float, *, warmup: float = 0.03, schedule: str = "cosine", final_ratio: float = 0.05
) -> float:
    """Returns the learning rate divided by its peak.

    It rises linearly. Then it follows a cosine, or it stays constant and falls linearly at the end (`wsd`).

    Args:
        progress (`float`): Share of the budget that is spent, in [0, 1]; more counts as 1.
        warmup (`float`): Share of the budget in which it rises, in [0, 1).
        schedule (`str`): `cosine` or `wsd` (warm-up, stable, decay).
        final_ratio (`float`): The factor at progress 1.

    Raises:
        ValueError: The schedule is unknown.

    >>> [round(learning_rate_factor(p, warmup=0.2, final_ratio=0.1), 3) for p in (0.1, 0.2, 0.6, 1.0)]
    [0.5, 1.0, 0.55, 0.1]
    """
    if schedule not in ("cosine", "wsd"):
        raise ValueError(f"schedule {schedule!r} is unknown: choose cosine or wsd")
    progress = min(progress, 1.0)
    if progress < warmup:
        return progress / warmup
    if schedule == "cosine":
        share = (progress - warmup) / (1 - warmup)
        return final_ratio + (1 - final_ratio) * 0.5 * (1 + math.cos(math.pi * share))
    start = max(warmup, 1 - WSD_DECAY)
    share = max(0.0, progress - start) / (1 - start)
    return 1 + (final_ratio - 1) * share
