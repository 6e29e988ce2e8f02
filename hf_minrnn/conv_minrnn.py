# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The depthwise causal convolution. It is exact over carried inputs, packed sequences and padding at any position."""

import torch
import torch.nn.functional as F
from torch import nn

from .torch_private import is_any_autocast_enabled


class MinRNNCausalConv1d(nn.Module):
    """Depthwise causal convolution over time: y[t] = bias + sum over j of weight[j] * x[t - kernel_size + 1 + j].

    Padding is ignored: two tokens with padding between them count as neighbours.

    >>> conv = MinRNNCausalConv1d(2, 3, bias=False)
    >>> _ = torch.nn.init.ones_(conv.weight)
    >>> y, conv_state = conv(torch.ones(1, 4, 2))
    >>> y[0, :, 0].tolist(), conv_state.shape
    ([1.0, 2.0, 3.0, 3.0], torch.Size([1, 2, 2]))
    """

    def __init__(self, channels: int, kernel_size: int, bias: bool):
        super().__init__()
        self.kernel_size = kernel_size
        self.weight = nn.Parameter(torch.empty(channels, 1, kernel_size))  # the layout of a depthwise nn.Conv1d
        self.bias = nn.Parameter(torch.empty(channels)) if bias else None

    def forward(
        self,
        x: torch.Tensor,
        conv_state: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        resets: torch.Tensor | None = None,
        record: int = 0,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the convolution of `x`, and the inputs to carry over.

        Args:
            x (`torch.Tensor` of shape `(batch, time, channels)`): The input.
            conv_state (`torch.Tensor` of shape `(batch, kernel_size - 1, channels)`, *optional*): The inputs before `x`,
                zeros by default.
            attention_mask (`torch.Tensor` of shape `(batch, time)`, bool, *optional*): False at padding.
            resets (`torch.Tensor` of shape `(batch, time)`, bool, *optional*): True at the first step of a sequence. No
                output depends on the inputs of an earlier sequence.
            record (`int`, defaults to 0): Number of last steps before which the `conv_state` is returned too. Not supported
                together with `resets`.

        Returns:
            `(y, conv_state)`: the output, of the same shape as `x` and 0 at padding, and the last inputs that are not padding,
            of the same shape as the argument. With `record`, `conv_state` is `(batch, record + 1, kernel_size - 1, channels)`:
            before each of these steps and after the last.
        """
        time = x.shape[1]
        reach = self.kernel_size - 1
        if conv_state is None:
            conv_state = x.new_zeros(x.shape[0], reach, x.shape[2])
        elif conv_state.dtype != x.dtype:
            conv_state = conv_state.to(x.dtype)
        if time == 0:
            return x, conv_state
        if attention_mask is not None or resets is not None or record:
            return self._forward_general(x, conv_state, attention_mask, resets, record)
        context = _concatenate(conv_state, x)
        # A copy: a view would keep the whole context in memory for as long as the cache exists.
        return self._convolve(context), context.narrow(1, time, reach).clone()

    def _forward_general(self, x, conv_state, attention_mask, resets, record):
        """Runs over padded, packed and recorded input."""
        time = x.shape[1]
        reach = self.kernel_size - 1
        sequence = None
        if resets is not None:
            sequence = resets.cumsum(1)  # number of each input's sequence; 0 continues the sequence of conv_state
        if attention_mask is not None:  # padding goes to the end of each row, the other steps keep their order
            order = torch.argsort(attention_mask.logical_not().to(torch.uint8), dim=1, stable=True)
            x = _take(x, order)
            if sequence is not None:
                sequence = sequence.gather(1, order)
        context = _concatenate(conv_state, x)
        in_last_sequence = None
        if resets is None or sequence is None:
            y = self._convolve(context)
        else:
            sequence = F.pad(sequence, (reach, 0))
            y = self._convolve_packed(context, sequence)
            in_last_sequence = sequence == resets.sum(1, keepdim=True)
        if attention_mask is None:
            num_inputs = torch.arange(1, time + 1, device=x.device).expand(x.shape[0], -1)
        else:
            num_inputs = attention_mask.cumsum(1)
            y = _take(y, (num_inputs - 1).clamp(min=0))
            y = y.masked_fill(~attention_mask.unsqueeze(-1), 0)
        return y, _conv_states(context, in_last_sequence, num_inputs, record)

    def _convolve(self, context):
        if context.shape[1] != self.kernel_size:
            # As an image one pixel high, whose channels-last layout is the layout of the hidden states.
            image = context.unsqueeze(1).permute(0, 3, 1, 2)
            # A view, because the gradient of unsqueeze would keep the strides that the convolution's backward pass gives the
            # dimensions of size 1. They differ from the weight's, and DDP warns about that.
            weight = self.weight.view(-1, 1, 1, self.kernel_size)
            y = F.conv2d(image, weight, self.bias, groups=context.shape[2])
            return y.permute(0, 2, 3, 1).squeeze(1)
        # For one step, calling a convolution costs more than its arithmetic.
        context, weight, bias, sum_dtype = self._operands(context)
        dtype = context.dtype
        if dtype != sum_dtype:
            context = context.to(sum_dtype)
        y = (context * weight.permute(1, 2, 0)).sum(1, keepdim=True)
        if bias is not None:
            y = y + bias
        return y if dtype == sum_dtype else y.to(dtype)

    def _convolve_packed(self, context, sequence):
        """Convolves within sequences; `sequence` `(batch, kernel_size - 1 + time)` has the number of each input's sequence."""
        context, weight, bias, sum_dtype = self._operands(context)
        reach = self.kernel_size - 1
        time = context.shape[1] - reach
        own = sequence[:, reach:]
        y = context[:, reach:].to(sum_dtype) * weight[:, 0, reach]
        for j in range(reach):
            # Inputs of other sequences are replaced, not multiplied by zero: a NaN there would spread.
            same = (sequence[:, j : j + time] == own).unsqueeze(-1)
            y = torch.addcmul(y, torch.where(same, context[:, j : j + time], 0), weight[:, 0, j])
        if bias is not None:
            y = y + bias
        return y.to(context.dtype)

    def _operands(self, context):
        """Returns context, weight and bias in the dtype that conv2d would compute in, and the dtype for their sum.

        A token that is read alone must get the same numbers as in its text: rounded to conv2d's dtype, and only once. (Under
        autocast, inductor chooses its own rounding.)
        """
        dtype = context.dtype
        weight = self.weight
        bias = self.bias
        if dtype != torch.float64 and (torch.compiler.is_compiling() or is_any_autocast_enabled()):
            device = context.device.type
            # torch.compile of torch 2.11 cannot trace is_autocast_available.
            has_autocast = device != "meta" and (
                torch.compiler.is_compiling() or torch.amp.is_autocast_available(device)
            )
            if has_autocast and torch.is_autocast_enabled(device):
                dtype = torch.get_autocast_dtype(device)
        sum_dtype = torch.promote_types(dtype, torch.float32)
        if context.dtype == dtype == sum_dtype:
            return context, weight, bias, dtype
        if bias is not None:
            bias = bias.to(dtype)
        return context.to(dtype), weight.to(dtype), bias, sum_dtype


def _concatenate(conv_state, x):
    if not torch.compiler.is_compiling():
        return torch.cat([conv_state, x], 1)
    # Inductor could give the result of torch.cat the memory of x and reuse it while x is still read. The numbers are then
    # wrong if another buffer has the same size, such as that of an MLP four times as wide for one token (torch 2.13).
    return F.pad(x, (0, 0, conv_state.shape[1], 0)) + F.pad(conv_state, (0, 0, 0, x.shape[1]))


def _conv_states(context, in_last_sequence, num_inputs, record: int):
    """Cuts the `conv_state` after the last step, and before each recorded one, out of the context.

    Args:
        context (`torch.Tensor` of shape `(batch, reach + time, channels)`): All inputs, padding last.
        in_last_sequence (`torch.Tensor` of shape `(batch, reach + time)`, bool, *optional*): Which of them are carried over;
            zeros replace the others.
        num_inputs (`torch.Tensor` of shape `(batch, time)`): Number of inputs without padding up to each step.
    """
    time = num_inputs.shape[1]
    reach = context.shape[1] - time
    first = F.pad(num_inputs, (1, 0))[:, time - record :]
    index = (first.unsqueeze(-1) + torch.arange(reach, device=context.device)).flatten(1)
    conv_state = _take(context, index)
    if in_last_sequence is not None:
        conv_state = torch.where(in_last_sequence.gather(1, index).unsqueeze(-1), conv_state, 0)
    if record:
        conv_state = conv_state.unflatten(1, (record + 1, reach))
    return conv_state


def _take(x, steps):
    # Not take_along_dim: torch.export treats the sizes that it compares as constants.
    return x.gather(1, steps.unsqueeze(-1).expand(-1, -1, x.shape[2]))
