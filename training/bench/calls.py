# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The calls that the benchmarks time, and the checks of their results before anything is timed."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import torch
from torch import nn

from hf_minrnn.cells import MinRNNCell
from training.bench.contestants import LAYERS, Contestant
from training.common.timing import check_agreement

# Largest errors of outputs and of gradients in float32, relative to the norm. The slope of g is 1 on one side of its kink and
# 1/4 on the other: rounding can move a candidate across it, which changes one gradient, 2e-4 of the norm of millions.
EXACT = (1e-5, 1e-3)


class ForwardBackward:
    """Forward and backward of a module, or a function, on one input; it returns the output and the gradient by the input.

    Args:
        module (`Callable`): Returns one tensor.
        x (`torch.Tensor`): Its input.
        grad (`torch.Tensor`): Gradient of the output.
        batch_dim (`int`): Dimension of `x`, `grad` and the output whose rows are independent.
    """

    def __init__(self, module: Callable, x: torch.Tensor, grad: torch.Tensor, batch_dim: int = 0):
        self.module = module
        self.x = x.requires_grad_()
        self.grad = grad
        self.batch_dim = batch_dim
        self.parameters = list(module.parameters()) if isinstance(module, nn.Module) else []

    def __call__(self) -> tuple[torch.Tensor, torch.Tensor]:
        output = self.module(self.x)
        return output.detach(), torch.autograd.grad(output, [self.x, *self.parameters], self.grad)[0]

    def forward(self) -> tuple[torch.Tensor]:
        """Returns the output alone, computed without a gradient."""
        with torch.no_grad():
            return (self.module(self.x),)

    def outer_rows(self, tensor: torch.Tensor) -> torch.Tensor:
        """Returns the first and the last row of the batch; checking only these saves time."""
        rows = torch.tensor(sorted({0, tensor.shape[self.batch_dim] - 1}), device=tensor.device)
        return tensor.detach().index_select(self.batch_dim, rows)

    def check(self, name: str, got: tuple[torch.Tensor, ...], at: str = "") -> list[float]:
        """Compares the output, or output and gradient, with the definition in float64, in the outer rows of the batch.

        Returns:
            The relative errors.

        Raises:
            Disagreement: An error is larger than `EXACT` allows.
        """
        x, grad = (self.outer_rows(tensor).double() for tensor in (self.x, self.grad))
        want = ForwardBackward(by_definition(self.module), x, grad)()[: len(got)]
        what = f"{name} and its definition{at} ({'h' if len(got) == 1 else 'h, gradient'})"
        return check_agreement(what, [self.outer_rows(tensor) for tensor in got], want, EXACT[: len(got)])


def by_definition(module: nn.Module) -> nn.Module:
    """Returns a copy with the same weights in float64, whose scans compute one step after the other.

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


def layer_call(
    name: str, shape: tuple[int, int, int], device: str = "cpu", dtype: torch.dtype = torch.float32
) -> ForwardBackward:
    """Returns forward + backward of one of `LAYERS` at a shape `(batch, time, channels)`, the same at every call."""
    batch, time, channels = shape
    torch.manual_seed(0)
    layer = LAYERS[name].make(channels).to(device, dtype)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, time, channels, generator=generator).to(device, dtype)
    width = channels
    if not LAYERS[name].compiled:  # would be compiled for these lengths too
        with torch.no_grad():
            width = layer(x[:1, :2]).shape[-1]
    grad = torch.randn(batch, time, width, generator=generator).to(device, dtype)
    return ForwardBackward(layer, x, grad)


def check_same(calls: dict[str, Callable], contestants: dict[str, Contestant]) -> dict[str, list[float]]:
    """Compares the results of contestants with those of their `same_as`, where both take part.

    Returns:
        The relative errors by name.

    Raises:
        Disagreement: An error is larger than the contestant's `limits` allow.
    """
    wanted = {contestants[name].same_as for name in calls}
    want = {name: calls[name]() for name in calls if name in wanted}
    errors = {}
    for name, call in calls.items():
        other = contestants[name].same_as
        if other in want and other != name:
            what = f"{name} and {other} (h, gradient)"
            errors[name] = check_agreement(what, call(), want[other], contestants[name].limits)
    return errors
