# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The history of a run, and how much of its budget is spent."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field


@dataclass
class TrainingState:
    """The part of a run's state that is neither weights nor optimizer."""

    step: int = 0
    elapsed: float = 0.0  # seconds in optimisation steps, over all resumptions
    skipped: int = 0  # steps without an update, because their loss or gradient was not finite
    tokens: int = 0  # read by all processes
    started: str = ""  # time of the first step, UTC
    losses: list[float] = field(default_factory=list)  # nats per token, one per step; nan for a skipped step
    seconds: list[float] = field(default_factory=list)  # `elapsed` after each step
    evaluations: list[list[float]] = field(default_factory=list)  # [elapsed, held-out bits per byte, estimated]
    changed: list[list] = field(default_factory=list)  # [step of a resumption, description of a changed argument]
    waited: int = 0  # evaluations in a row without a lower estimate than before
    last_estimate: float = float("nan")  # of the weights of the last step, once the run is done

    def progress(self, args: argparse.Namespace) -> float:
        """Returns the share of the budget that is spent; at 1 the run is done."""
        if args.steps:
            return self.step / args.steps
        return self.elapsed / (60 * args.minutes)

    def out_of_patience(self, args: argparse.Namespace) -> bool:
        """Whether the run stops early. Resumed with a larger --patience, or without it, it trains on."""
        return args.patience is not None and self.waited >= args.patience

    def done(self, args: argparse.Namespace) -> bool:
        """Whether there are no more steps to train."""
        return self.progress(args) >= 1 or self.out_of_patience(args)
