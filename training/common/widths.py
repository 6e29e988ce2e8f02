# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Two modules of equal size: how wide the one must be to have the parameters of the other."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn


def count(module: nn.Module) -> int:
    """Its parameters.

    >>> count(nn.Linear(3, 4))
    16
    """
    return sum(weight.numel() for weight in module.parameters())


def widest(make: Callable[[int], nn.Module], limit: int) -> int:
    """The largest width whose module has no more parameters than `limit`.

    Args:
        make: A function of the width, with more parameters for each width more. It is called on the meta device.
        limit (`int`): Parameters.

    Raises:
        ValueError: If even a width of 1 has more.

    >>> widest(lambda width: nn.Linear(3, width), 43)
    10
    """

    def size(width: int) -> int:
        with torch.device("meta"):
            return count(make(width))

    if size(1) > limit:
        raise ValueError(f"a width of 1 has {size(1)} parameters already, more than {limit}")
    low, high = 1, 2
    while size(high) <= limit:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if size(middle) <= limit else (low, middle)
    return low
