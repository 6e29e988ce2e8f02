# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The definition of a whole model in float64: a loop over the tokens that only reads the config and the weights."""

import torch
import torch.nn.functional as F

from support.definition import activation, gates


def _norm(x, weight, eps):
    return x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + eps) * weight


def _convolve(past, weight, bias):
    """Returns one output of a causal depthwise convolution, given the list of all inputs so far."""
    size = weight.shape[-1]
    window = past[-size:]
    y = sum(x * weight[:, 0, size - len(window) + j] for j, x in enumerate(window))
    return y if bias is None else y + bias


def logits(model, ids):
    """Returns the logits `(time, vocab_size)` in float64 for one row of token ids `(time,)`."""
    config = model.config
    weights = {name: value.detach().double() for name, value in model.state_dict().items()}
    act = {"silu": F.silu, "gelu": F.gelu}[config.hidden_act]
    inputs = [[] for _ in range(config.num_hidden_layers)]  # of each convolution
    states = []
    for n in range(config.num_hidden_layers):
        state = weights.get(f"model.layers.{n}.mixer.initial_state", torch.zeros(config.state_size).double())
        if config.learn_initial_state and config.candidate_activation == "g":
            state = activation(state)
        states.append(state)
    out = []
    for token in ids.tolist():
        x = weights["model.embed_tokens.weight"][token]
        for n in range(config.num_hidden_layers):

            def w(name, n=n):
                return weights.get(f"model.layers.{n}.{name}")

            def linear(x, name, w=w):
                return F.linear(x, w(name + ".weight"), w(name + ".bias"))

            if config.conv_kernel_size and config.conv_position == "residual":
                inputs[n].append(x)
                y = _convolve(inputs[n], w("conv.depthwise.weight"), w("conv.depthwise.bias"))
                x = x + linear(y, "conv.pointwise")
            y = _norm(x, w("norm.weight"), config.rms_norm_eps)
            if config.conv_kernel_size and config.conv_position == "mixer":
                inputs[n].append(y)
                y = _convolve(inputs[n], w("mixer.conv.weight"), w("mixer.conv.bias"))
            y = linear(y, "mixer.cell.in_proj")
            gate = y[len(y) - config.state_size :]
            if config.output_gate:
                y = y[: -config.state_size]
            floor = config.forget_gate_floor
            if isinstance(floor, list):
                floor = floor[n]
            else:
                floor = floor * n / max(config.num_hidden_layers - 1, 1)
            a, b = gates(y, config.cell_type, config.candidate_activation, config.normalize_gates, floor)
            y = states[n] = a * states[n] + b
            if config.state_norm:
                y = _norm(y, w("mixer.norm.weight"), config.rms_norm_eps)
            if config.output_gate:
                y = y * F.silu(gate)
            x = x + (linear(y, "mixer.out_proj") if config.output_projection else y)
            if config.intermediate_size:
                y = _norm(x, w("mlp_norm.weight"), config.rms_norm_eps)
                up = linear(y, "mlp.up_proj")
                if config.gated_mlp:
                    up = act(linear(y, "mlp.gate_proj")) * up
                else:
                    up = act(up)
                x = x + linear(up, "mlp.down_proj")
        x = _norm(x, weights["model.norm.weight"], config.rms_norm_eps)
        out.append(weights["lm_head.weight"] @ x)
    return torch.stack(out)
