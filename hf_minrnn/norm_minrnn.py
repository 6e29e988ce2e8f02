# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""RMSNorm with a faster path on the CPU."""

from functools import cache

import torch
import torch.nn.functional as F
from torch import nn

from .torch_private import is_plain


@cache
def _scalar(value: float, dtype: torch.dtype) -> torch.Tensor:
    # An operand that is already a tensor costs half as much as a number that is converted in each call.
    return torch.tensor(value, dtype=dtype, device="cpu")


class MinRNNRMSNorm(nn.RMSNorm):
    """`torch.nn.RMSNorm` over the last dimension, with a faster path on the CPU when gradients are off.

    On the CPU, torch computes this norm with nine operations, each of which allocates memory. For single tokens of a small
    model this takes a noticeable part of the time.

    >>> norm = MinRNNRMSNorm(4, eps=0.0)
    >>> with torch.no_grad():
    ...     print(norm(torch.tensor([2.0, 2.0, -2.0, 2.0])))
    tensor([ 1.,  1., -1.,  1.])
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.weight
        dtype = x.dtype
        if dtype != weight.dtype:  # under autocast: the numbers are the same, but torch would warn that it cannot fuse
            wide = torch.promote_types(dtype, weight.dtype)
            return F.rms_norm(x.to(wide), self.normalized_shape, weight.to(wide), self.eps).to(dtype)
        if dtype not in (torch.float32, torch.float64) or not x.is_cpu or not is_plain():
            return F.rms_norm(x, self.normalized_shape, weight, self.eps)
        eps = self.eps
        if eps is None:
            eps = torch.finfo(dtype).eps
        width = x.shape[-1]
        if x.numel() == width:  # one row: its scale can be a Python number
            scale = (torch.linalg.vector_norm(x).item() ** 2 / width + eps) ** -0.5
            return torch.addcmul(_scalar(0.0, dtype), x, weight, value=scale)
        length = torch.linalg.vector_norm(x, 2.0, -1, True)
        scale = torch.addcmul(_scalar(eps, dtype), length, length, value=1 / width).rsqrt_()
        return torch.mul(x, weight).mul_(scale)
