# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""What share of the machine's arithmetic a run uses (model FLOPs utilisation).

Counted are the multiplications and additions of the model's matrix products: 2 a weight and token forward, 4 backward. The
scan, the depthwise convolution, the embedding's look-up and the recomputation of gradient checkpointing are not, so that the
number compares runs. They are divided by what one large matrix product of the same precision reaches on the same device.
"""

from __future__ import annotations

import time

import torch

SIZE = 1024
REPEATS = 5


def flops_per_token(model: torch.nn.Module) -> int:
    """Forward and backward, of the weights of every `Linear`; a tied head counts once, for the head.

    >>> flops_per_token(torch.nn.Linear(10, 20))
    1200
    """
    return 6 * sum(module.weight.numel() for module in model.modules() if isinstance(module, torch.nn.Linear))


@torch.inference_mode()
def measure_peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of the quickest of a few square matrix products."""
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
