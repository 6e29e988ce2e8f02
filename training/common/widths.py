# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Counts parameters, and finds the width at which a module has a given number of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn


def count(module: nn.Module) -> int:
    """Returns the number of parameters of a module.

    >>> count(nn.Linear(3, 4))
    16
    """
    return sum(weight.numel() for weight in module.parameters())


def widest(make: Callable[[int], nn.Module], limit: int) -> int:
    """Returns the largest width whose module has no more parameters than `limit`.

    Args:
        make: Function of the width that returns a module; a wider one has more parameters. It is called on the meta device.
        limit (`int`): Largest number of parameters.

    Raises:
        ValueError: Even a width of 1 has more parameters.

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
        if size(middle) <= limit:
            low = middle
        else:
            high = middle
    return low
