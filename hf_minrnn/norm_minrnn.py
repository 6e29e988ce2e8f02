# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""RMSNorm that does not cost more than what stands around it."""

from functools import cache

import torch
import torch.nn.functional as F
from torch import nn

from .torch_private import is_plain


@cache
def _scalar(value: float, dtype: torch.dtype) -> torch.Tensor:
    # An operand that is a tensor already costs half of one that has to be made into one each time.
    return torch.tensor(value, dtype=dtype, device="cpu")


class MinRNNRMSNorm(nn.RMSNorm):
    """`torch.nn.RMSNorm` over the last dimension, with a shorter way where no gradient is wanted.

    On the CPU, torch composes this norm of nine operations, with fresh memory for each, which every token of a small
    model feels.

    >>> norm = MinRNNRMSNorm(4, eps=0.0)
    >>> with torch.no_grad():
    ...     print(norm(torch.tensor([2.0, 2.0, -2.0, 2.0])))
    tensor([ 1.,  1., -1.,  1.])
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.weight
        dtype = x.dtype
        full = dtype == torch.float32 or dtype == torch.float64
        if dtype != weight.dtype:  # under autocast; the same numbers, but torch would warn that it can't fuse them
            wide = torch.promote_types(dtype, weight.dtype)
            return F.rms_norm(x.to(wide), self.normalized_shape, weight.to(wide), self.eps).to(dtype)
        if not full or not x.is_cpu or not is_plain():
            return F.rms_norm(x, self.normalized_shape, weight, self.eps)
        eps = torch.finfo(dtype).eps if self.eps is None else self.eps
        width = x.shape[-1]
        if x.numel() == width:  # one row: its scale may as well be a number
            scale = (torch.linalg.vector_norm(x).item() ** 2 / width + eps) ** -0.5
            return torch.addcmul(_scalar(0.0, dtype), x, weight, value=scale)
        length = torch.linalg.vector_norm(x, 2.0, -1, True)
        scale = torch.addcmul(_scalar(eps, dtype), length, length, value=1 / width).rsqrt_()
        return torch.mul(x, weight).mul_(scale)
