# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The causal convolution in front of the gates, exact over carried tails and any padding."""

import torch
import torch.nn.functional as F
from torch import nn


class MinRNNCausalConv1d(nn.Module):
    """Depthwise causal convolution over time: y[t] = bias + sum over j of weight[j] * x[t - kernel_size + 1 + j].

    It looks at real tokens only: padding between two of them does not push them apart.

    >>> conv = MinRNNCausalConv1d(2, 3, bias=False)
    >>> _ = torch.nn.init.ones_(conv.weight)
    >>> y, tail = conv(torch.ones(1, 4, 2))
    >>> y[0, :, 0].tolist(), tail.shape
    ([1.0, 2.0, 3.0, 3.0], torch.Size([1, 2, 2]))
    """

    def __init__(self, channels: int, kernel_size: int, bias: bool):
        super().__init__()
        self.kernel_size = kernel_size
        self.weight = nn.Parameter(torch.empty(channels, 1, kernel_size))  # the layout of a depthwise nn.Conv1d
        self.bias = nn.Parameter(torch.empty(channels)) if bias else None

    def forward(self, x, tail=None, attention_mask=None):
        """
        Args:
            x (`torch.Tensor` of shape `(batch, time, channels)`): The input.
            tail (`torch.Tensor` of shape `(batch, kernel_size - 1, channels)`, *optional*): The inputs before it.
            attention_mask (`torch.Tensor` of shape `(batch, time)`, bool, *optional*): False at padding.

        Returns:
            `(y, tail)`, shaped as `x` and `tail`: the output, 0 at padding, and the last real inputs.
        """
        time, reach = x.shape[1], self.kernel_size - 1
        if tail is None:
            tail = x.new_zeros(x.shape[0], reach, x.shape[2])
        if time == 0:
            return x, tail
        if attention_mask is not None:  # real tokens to the front, in order
            order = torch.argsort(attention_mask.logical_not().to(torch.uint8), dim=1, stable=True)
            x = torch.take_along_dim(x, order.unsqueeze(-1), 1)
        context = torch.cat([tail.to(x.dtype), x], 1)
        if time == 1 and not torch.is_autocast_enabled(x.device.type):
            # A sum of a few products: a convolution costs more to call than to compute.
            y = (context * self.weight[:, 0].t()).sum(1, keepdim=True)
            y = y if self.bias is None else y + self.bias
        else:  # as an image one pixel high, whose channels-last layout is that of the hidden states
            image = context.unsqueeze(1).permute(0, 3, 1, 2)
            y = F.conv2d(image, self.weight.unsqueeze(2), self.bias, groups=x.shape[2])
            y = y.permute(0, 2, 3, 1).squeeze(1)
        if attention_mask is None:
            return y, context[:, time:].clone()  # a view would keep the whole context alive in a cache
        rank = attention_mask.cumsum(1)
        y = torch.take_along_dim(y, (rank - 1).clamp(min=0).unsqueeze(-1), 1)
        last = rank[:, -1:] + torch.arange(reach, device=x.device)
        return y.masked_fill(~attention_mask.unsqueeze(-1), 0), torch.take_along_dim(context, last.unsqueeze(-1), 1)
