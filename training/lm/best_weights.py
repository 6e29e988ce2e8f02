# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Keeps the weights of a run that have the lowest held-out estimate so far."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

Weights = dict[str, torch.Tensor]
OVERFITS = 1.02  # from this ratio of the last estimate to the lowest on, a run is said to overfit


class BestWeights:
    """The lowest held-out estimate of a run, the number of its step, and the weights.

    Every process of a run knows the step and the estimate. Only the main process has the weights, on the CPU.

    Args:
        keep (`bool`): Whether the weights are kept, or only the step and the estimate.
        saved (`dict`, *optional*): Content of a checkpoint to continue from, as `state_dict` returned it.

    Attributes:
        step (`int`): 0 before the first evaluation.
        bits (`float`): Estimated bits per byte of the held-out text.
        weights (`dict[str, torch.Tensor]`, *optional*): State dict of the model.
    """

    def __init__(self, keep: bool, saved: dict | None = None):
        self.keep = keep
        self.step = 0
        self.bits = math.inf
        self.weights: Weights | None = None
        # A run that did not keep its best weights so far can only keep better ones from now on.
        if saved and (saved["model"] or not keep):
            self.step = saved["step"]
            self.bits = saved["bits"]
            self.weights = saved["model"] if keep else None

    def offer(self, step: int, bits: float, weights: Callable[[], Weights]) -> bool:
        """Keeps the weights of a step if their estimate is the lowest so far.

        Args:
            weights (`Callable`): Returns the weights; every process must call it if one does.

        Returns:
            Whether they are kept.
        """
        better = math.isfinite(bits) and bits < self.bits
        if better:
            self.step = step
            self.bits = bits
            self.weights = weights() if self.keep else None
        return better

    def state_dict(self) -> dict | None:
        """Returns the content for a checkpoint; `None` before the first evaluation."""
        if not self.step:
            return None
        return {"step": self.step, "bits": self.bits, "model": self.weights}


def describe_kept(kept: dict) -> str:
    """Describes the `kept` of results.json in one line.

    >>> kept = {"weights": "best", "step": 240, "heldout_bits_per_byte_estimate": 1.85, "last_step": 600}
    >>> print(describe_kept({**kept, "last_estimate": 2.73, "best_step": 240, "best_estimate": 1.85}))
    kept the weights of step 240 (held out 1.850 bits per byte); those of the last step 600 have 2.730: the run
    overfits its text
    """
    last = f"the last step {kept['last_step']:,}"
    unit = "bits per token" if "heldout_bits_per_token_estimate" in kept else "bits per byte"
    if kept["best_step"] == kept["last_step"]:
        return f"kept the weights of {last} (held out {kept['last_estimate']:.3f} {unit}, the lowest estimate)"
    overfits = ""
    if kept["last_estimate"] >= OVERFITS * kept["best_estimate"]:
        overfits = ": the run overfits its text"
    if kept["step"] == kept["last_step"]:
        return (
            f"kept the weights of {last} (held out {kept['last_estimate']:.3f} {unit}); those of step "
            f"{kept['best_step']:,} had {kept['best_estimate']:.3f}{overfits}"
        )
    return (
        f"kept the weights of step {kept['step']:,} (held out {kept['best_estimate']:.3f} {unit}); those of {last} have "
        f"{kept['last_estimate']:.3f}{overfits}"
    )
