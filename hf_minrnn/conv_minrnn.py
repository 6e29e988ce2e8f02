# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The depthwise causal convolution, exact over carried tails and any padding."""

import torch
import torch.nn.functional as F
from torch import nn

from .torch_private import is_any_autocast_enabled


def _take(x, steps):
    # Not take_along_dim: torch.export takes the sizes that it compares for constants.
    return x.gather(1, steps.unsqueeze(-1).expand(-1, -1, x.shape[2]))


def _precision(x) -> tuple[torch.dtype, torch.dtype]:
    # Of a convolution's result, and of the sum in it that is rounded once. Whatever is not computed by conv2d follows it, or a
    # token read alone would not have the numbers that it has in its text. (Under autocast, inductor rounds as it likes.)
    dtype = x.dtype
    if dtype != torch.float64 and (torch.compiler.is_compiling() or is_any_autocast_enabled()):
        device = x.device.type
        if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
    return dtype, dtype if dtype in (torch.float32, torch.float64) else torch.float32


def _within(context, sequence, weight, wide):
    # Tap by tap, added up in `wide`. What lies in another sequence is selected out: multiplied by zero, a NaN there would leak.
    reach = weight.shape[-1] - 1
    time = context.shape[1] - reach
    own = sequence[:, reach:]
    y = context[:, reach:].to(wide) * weight[:, 0, reach]
    for j in range(reach):
        same = (sequence[:, j : j + time] == own).unsqueeze(-1)
        y = torch.addcmul(y, torch.where(same, context[:, j : j + time], 0), weight[:, 0, j])
    return y


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

    def forward(self, x, tail=None, attention_mask=None, starts=None, record: int = 0):
        """
        Args:
            x (`torch.Tensor` of shape `(batch, time, channels)`): The input.
            tail (`torch.Tensor` of shape `(batch, kernel_size - 1, channels)`, *optional*): The inputs before it.
            attention_mask (`torch.Tensor` of shape `(batch, time)`, bool, *optional*): False at padding.
            starts (`torch.Tensor` of shape `(batch, time)`, bool, *optional*): True where a packed sequence begins: it
                sees nothing of what came before.
            record (`int`, defaults to 0): The number of last steps before which the tail is wanted too; not with `starts`.

        Returns:
            `(y, tail)`: the output, shaped as `x` and 0 at padding, and the last real inputs, shaped as `tail`. With
            `record`, the tail is `(batch, record + 1, kernel_size - 1, channels)`: before each of these steps and after
            the last.
        """
        time, reach = x.shape[1], self.kernel_size - 1
        weight, bias = self.weight, self.bias
        if tail is None:
            tail = x.new_zeros(x.shape[0], reach, x.shape[2])
        elif tail.dtype != x.dtype:
            tail = tail.to(x.dtype)
        if time == 0:
            return x, tail
        sequence = None if starts is None else starts.cumsum(1)  # 0 for what goes on from the tail
        newest = None if starts is None else sequence[:, -1:]
        if attention_mask is not None:  # real tokens to the front, in order
            order = torch.argsort(attention_mask.logical_not().to(torch.uint8), dim=1, stable=True)
            x = _take(x, order)
            sequence = None if starts is None else sequence.gather(1, order)
        if torch.compiler.is_compiling():
            # Inductor would let a cat's buffer hold x itself, and use it for something else while x is still read: wrong
            # numbers where another buffer has this size, as an MLP four times as wide has for one token (torch 2.13).
            context = F.pad(x, (0, 0, reach, 0)) + F.pad(tail, (0, 0, 0, time))
        else:
            context = torch.cat([tail, x], 1)
        if starts is not None or time == 1:
            taps, (dtype, wide) = context, _precision(x)
            if not x.dtype == dtype == wide:
                taps, weight, bias = (t if t is None else t.to(dtype) for t in (context, weight, bias))
            if starts is not None:
                sequence = F.pad(sequence, (reach, 0))
                y = _within(taps, sequence, weight, wide)
            else:  # a sum of a few products: a convolution costs more to call than to compute
                taps = taps if dtype == wide else taps.to(wide)
                y = (taps * weight.permute(1, 2, 0)).sum(1, keepdim=True)
            y = y if bias is None else y + bias
            y = y if dtype == wide else y.to(dtype)
        else:  # as an image one pixel high, whose channels-last layout is that of the hidden states
            image = context.unsqueeze(1).permute(0, 3, 1, 2)
            y = F.conv2d(image, weight.unsqueeze(2), bias, groups=x.shape[2])
            y = y.permute(0, 2, 3, 1).squeeze(1)
        if attention_mask is None and starts is None and not record:
            return y, context.narrow(1, time, reach).clone()  # a view would keep the whole context alive in a cache
        rank = torch.arange(1, time + 1, device=x.device).expand(x.shape[0], -1)
        if attention_mask is not None:
            rank = attention_mask.cumsum(1)
            y = _take(y, (rank - 1).clamp(min=0))
            y = y.masked_fill(~attention_mask.unsqueeze(-1), 0)
        # Where in `context` the tails begin: after as many inputs as there were real tokens.
        begins = F.pad(rank, (1, 0))[:, time - record :]
        at = (begins.unsqueeze(-1) + torch.arange(reach, device=x.device)).flatten(1)
        tail = _take(context, at)
        if starts is not None:
            same = sequence.gather(1, at) == newest
            tail = torch.where(same.unsqueeze(-1), tail, 0)
        return y, tail.unflatten(1, (record + 1, reach)) if record else tail
