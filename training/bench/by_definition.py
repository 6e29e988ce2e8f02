# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""What the benchmarks compare the package's own modules with before they time them."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import nn

from hf_minrnn.cells import MinRNNCell
from training.common.timing import check_agreement

# How far from it an output and a gradient in float32 may be, relative to the norm. Where rounding takes a candidate over the
# kink of g, whose slope is 1 on one side and 1/4 on the other, one gradient is another: 2e-4 of the norm of millions.
EXACT = (1e-5, 1e-3)


def by_definition(module: nn.Module) -> nn.Module:
    """A copy with the same weights in float64, whose scans are the definition: one step after the other.

    >>> from hf_minrnn import MinGRU
    >>> copy = by_definition(MinGRU(2, 3))
    >>> {cell.backend for cell in copy.modules() if isinstance(cell, MinRNNCell)}, next(copy.parameters()).dtype
    ({'reference'}, torch.float64)
    """
    copy = deepcopy(module).double()
    for cell in copy.modules():
        if isinstance(cell, MinRNNCell):
            cell.backend = "reference"
    return copy


def outer_rows(batch: int) -> list[int]:
    """The first and the last row of a batch: rows are independent, and the definition takes its time for each.

    >>> outer_rows(1), outer_rows(8)
    ([0], [0, 7])
    """
    return sorted({0, batch - 1})


def check_layer(name: str, layer: nn.Module, x: torch.Tensor, grad: torch.Tensor, got) -> list[float]:
    """Compares the outer rows of `got`, output and gradient by the input, with the definition; raises `Disagreement`.

    Args:
        layer (`nn.Module`): From `x`, batch first, to the output alone, whose gradient `grad` is.
    """
    rows = outer_rows(len(x))
    x = x.detach()[rows].double().requires_grad_()
    out = by_definition(layer)(x)
    want = out.detach(), torch.autograd.grad(out, x, grad[rows].double())[0]
    return check_agreement(f"{name} and its definition (h, gradient)", [y[rows] for y in got], want, EXACT)
