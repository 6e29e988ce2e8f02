# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The layers that bench_layers.py compares: input projection and recurrence of equal width, ours and others'.

`(batch, time, channels)` in and out. Those that compute minGRU get the same weights, so that they can be compared.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from torch import nn
from transformers import MambaConfig
from transformers.models.mamba.modeling_mamba import MambaMixer
from transformers.utils.import_utils import is_mambapy_available

from hf_minrnn import MinGRUCell, MinLSTMCell


class Layer(nn.Module):
    """A module and what makes `(batch, time, channels)` of its output."""

    def __init__(self, module: nn.Module, finish: Callable = lambda y: y):
        super().__init__()
        self.module, self.finish = module, finish

    def forward(self, x):
        return self.finish(self.module(x))


def gate_weights(channels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """minGRU's two matrices `(channels, channels)`, gate and candidate, the same at every call."""
    generator = torch.Generator().manual_seed(channels)
    gate, candidate = torch.randn(2, channels, channels, generator=generator) / channels**0.5
    return gate, candidate


def linear(*weights: torch.Tensor) -> nn.Linear:
    """A Linear of these blocks of rows, its bias zero."""
    module = nn.Linear(weights[0].shape[1], sum(len(w) for w in weights))
    with torch.no_grad():
        module.weight.copy_(torch.cat(weights))
        module.bias.zero_()
    return module


def mingru(channels: int) -> nn.Module:
    """Ours."""
    cell = MinGRUCell(channels, channels)
    cell.in_proj = linear(*gate_weights(channels))
    return Layer(cell, lambda y: y[0])


def mingru_pytorch(channels: int) -> nn.Module:
    """The package minGRU-pytorch: its log-space scan; the Linear has no bias."""
    from minGRU_pytorch import minGRU

    module = minGRU(channels)
    gate, candidate = gate_weights(channels)
    with torch.no_grad():
        module.to_hidden_and_gate.weight.copy_(torch.cat([candidate, gate]))
    return Layer(module)


def compose(first, second):
    """Two steps h -> a * h + b as one."""
    return first[0] * second[0], second[0] * first[1] + second[1]


class AssociativeScan(nn.Module):
    """minGRU on PyTorch's own associative_scan, which is meant to be compiled."""

    def __init__(self, channels: int):
        super().__init__()
        self.in_proj = linear(*gate_weights(channels))

    def forward(self, x):
        from torch._higher_order_ops.associative_scan import associative_scan

        gate, candidate = self.in_proj(x).chunk(2, -1)
        z, v = torch.sigmoid(gate), torch.where(candidate >= 0, candidate + 0.5, torch.sigmoid(candidate))
        mode = "pointwise" if x.is_cuda else "generic"  # on the CPU there is but this one
        return associative_scan(compose, (torch.sigmoid(-gate), z * v), 1, combine_mode=mode)[1]


class AcceleratedScan(nn.Module):
    """minGRU on the package accelerated-scan; channels before time."""

    def __init__(self, channels: int):
        super().__init__()
        self.in_proj = linear(*gate_weights(channels))

    def forward(self, x):
        from accelerated_scan.scalar import scan

        gate, candidate = self.in_proj(x).chunk(2, -1)
        z, v = torch.sigmoid(gate), torch.where(candidate >= 0, candidate + 0.5, torch.sigmoid(candidate))
        decay, new = (y.transpose(1, 2).contiguous() for y in (torch.sigmoid(-gate), z * v))
        return scan(decay, new).transpose(1, 2)


class HGRN(nn.Module):
    """flash-linear-attention's HGRN, the nearest relative: two Linears and its scan. `mode` is "chunk" or "fused_recurrent"."""

    def __init__(self, channels: int, mode: str):
        super().__init__()
        self.in_proj, self.mode = nn.Linear(channels, 2 * channels), mode

    def forward(self, x):
        from fla.ops import hgrn

        gate, candidate = self.in_proj(x).chunk(2, -1)
        log_decay = F.logsigmoid(gate)
        new = (1 - log_decay.exp()) * F.silu(candidate)
        scan = hgrn.chunk_hgrn if self.mode == "chunk" else hgrn.fused_recurrent_hgrn
        return scan(new, log_decay)[0]


LAYERS = {  # name -> a function of the number of channels
    "minGRU": mingru,
    "minLSTM": lambda d: Layer(MinLSTMCell(d, d), lambda y: y[0]),
    "matmul of minGRU": lambda d: Layer(nn.Linear(d, 2 * d)),
    "matmul of minLSTM": lambda d: Layer(nn.Linear(d, 3 * d)),
    "nn.GRU": lambda d: Layer(nn.GRU(d, d, batch_first=True), lambda y: y[0]),
    "nn.LSTM": lambda d: Layer(nn.LSTM(d, d, batch_first=True), lambda y: y[0]),
    "minGRU-pytorch": mingru_pytorch,
    "minGRU-pytorch, compiled": lambda d: torch.compile(mingru_pytorch(d)),
    "associative_scan, compiled": lambda d: torch.compile(AssociativeScan(d)),
    "accelerated-scan": AcceleratedScan,
    "HGRN, chunk": lambda d: HGRN(d, "chunk"),
    "HGRN, fused recurrent": lambda d: HGRN(d, "fused_recurrent"),
    "Mamba": lambda d: Layer(MambaMixer(MambaConfig(hidden_size=d, use_mambapy=is_mambapy_available()), layer_idx=0)),
}
# What must equal minGRU's output and gradient, and how nearly: the log-space scan's own error grows with length.
SAME_AS_MINGRU = {
    "minGRU-pytorch": (1e-2, 1e-1),
    "minGRU-pytorch, compiled": (1e-2, 1e-1),
    "associative_scan, compiled": (1e-4, 1e-4),
    "accelerated-scan": (1e-4, 1e-4),
}
PACKAGES = {"minGRU-pytorch": "minGRU_pytorch", "accelerated-scan": "accelerated_scan", "HGRN": "fla"}
CUDA_ONLY = ("accelerated-scan", "HGRN")
# Without its kernels the one is a loop in Python, or with mambapy as slow as one where time is long; the other compiles to one.
LOOPS = ("Mamba", "associative_scan")
SMALL = 1 << 17  # elements of batch * time * channels


def left_out(name: str, shape: tuple[int, int, int], device: str) -> str | None:
    """Why a layer does not take part at a shape, or `None` where it does."""
    batch, time, channels = shape
    for prefix, package in PACKAGES.items():
        if name.startswith(prefix) and find_spec(package) is None:
            return f"{package} is not installed"
    if name.startswith(CUDA_ONLY) and device == "cpu":
        return "runs on a GPU only"
    if name == "accelerated-scan" and time % 2048:
        return "its gradient reads beyond its tensors unless the time is a multiple of 2,048"
    if device == "cpu" and name.startswith(LOOPS) and batch * time * channels > SMALL:
        return f"a loop on a CPU, or as slow as one, up to {SMALL:,} elements here: seconds to minutes per call"
    return None
