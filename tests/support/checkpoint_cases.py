# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""State dicts in the layouts of other projects. The random weights are large, so that an error in any part shows."""

import os

import torch

VOCAB, DIM = 13, 8


def minlm(cell, depth, expansion, kernel, ff_mult, norm="weight", seed=0):
    """Returns a state dict of minGRU-pytorch's minLM."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(shape, generator=generator) * (0.6 if len(shape) > 1 else 1)

    state, width = int(DIM * expansion), int(DIM * ff_mult)
    tensors = {"token_emb.weight": draw(VOCAB, DIM)}
    for n in range(depth):
        if kernel:
            tensors[f"layers.{n}.0.net.0.weight"] = draw(DIM, 1, kernel)
            tensors[f"layers.{n}.0.net.0.bias"] = draw(DIM)
            tensors[f"layers.{n}.0.net.1.weight"] = draw(DIM, DIM, 1)
            tensors[f"layers.{n}.0.net.1.bias"] = draw(DIM)
        tensors[f"layers.{n}.1.{norm}"] = draw(DIM)
        if cell == "mingru":
            tensors[f"layers.{n}.2.to_hidden_and_gate.weight"] = draw(2 * state, DIM)
        else:
            tensors[f"layers.{n}.2.to_hidden_and_f_i_gate.weight"] = draw(3 * state, DIM)
        if expansion != 1:
            tensors[f"layers.{n}.2.to_out.weight"] = draw(DIM, state)
        tensors[f"layers.{n}.3.{norm}"] = draw(DIM)
        tensors[f"layers.{n}.4.0.weight"], tensors[f"layers.{n}.4.0.bias"] = draw(width, DIM), draw(width)
        tensors[f"layers.{n}.4.2.weight"], tensors[f"layers.{n}.4.2.bias"] = draw(DIM, width), draw(DIM)
    tensors[f"norm.{norm}"] = draw(DIM)
    tensors["to_logits.weight"] = draw(VOCAB, DIM)
    return tensors


def paper(cell, depth, expansion, kernel=0, ff_mult=0, seed=0):
    """Returns a state dict of the paper's layers."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(shape, generator=generator) * (0.6 if len(shape) > 1 else 1)

    state, width = int(DIM * expansion), int(DIM * ff_mult)
    rows = {"mingru": 2, "minlstm": 3}[cell] * state
    tensors = {"embedding.weight": draw(VOCAB, DIM)}
    for n in range(depth):
        layer = {}
        if kernel:
            layer |= {"conv.depthwise.weight": draw(DIM, 1, kernel), "conv.depthwise.bias": draw(DIM)}
            layer |= {"conv.pointwise.weight": draw(DIM, DIM, 1), "conv.pointwise.bias": draw(DIM)}
        layer |= {"norm.weight": draw(DIM), "rnn.gates.weight": draw(rows, DIM), "rnn.gates.bias": draw(rows)}
        layer |= {"rnn.out.weight": draw(DIM, state), "rnn.out.bias": draw(DIM)}
        if ff_mult:
            layer |= {"ff_norm.weight": draw(DIM), "ff.up.weight": draw(width, DIM), "ff.up.bias": draw(width)}
            layer |= {"ff.down.weight": draw(DIM, width), "ff.down.bias": draw(DIM)}
        tensors |= {f"layers.{n}.{name}": tensor for name, tensor in layer.items()}
    return tensors | {"final_norm.weight": draw(DIM), "head.weight": draw(VOCAB, DIM)}


class Code:
    """Creates a folder named "ran" when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("ran",)
