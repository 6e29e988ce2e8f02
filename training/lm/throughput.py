# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The share of the device's peak that a run uses (model FLOPs utilisation).

The multiplications and additions of the model's matrix products are counted: 2 per weight and token forward, 4 backward. The
scan, the depthwise convolution, the embedding and the recomputation of gradient checkpointing are not counted, so that runs
can be compared. The peak is the speed of one large matrix product of the same precision on the same device.
"""

from __future__ import annotations

import time

import torch

SIZE = 1024
REPEATS = 5


def flops_per_token(model: torch.nn.Module) -> int:
    """Returns the FLOPs of a forward and a backward pass per token, for the weights of every `Linear`.

    A weight that the head shares with the embedding counts once, for the head.

    >>> flops_per_token(torch.nn.Linear(10, 20))
    1200
    """
    return 6 * sum(module.weight.numel() for module in model.modules() if isinstance(module, torch.nn.Linear))


@torch.inference_mode()
def measure_peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Returns the FLOP/s of the fastest of a few square matrix products."""
    size = SIZE if device.type == "cpu" else 8 * SIZE
    a, b = torch.randn(2, size, size, device=device).to(dtype)
    best = float("inf")
    for _ in range(REPEATS):
        _wait(device)
        start = time.perf_counter()
        a @ b
        _wait(device)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        getattr(torch, device.type).synchronize()
