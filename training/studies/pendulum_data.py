# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Noisy observations of a pendulum at irregular times, as pure functions from seed to batch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

GRAVITY = 9.81  # of a pendulum that is one meter long
LENGTH = 64  # observations in a row
LONGEST_STEP = 0.02  # seconds of one step of the simulation; the period is about two seconds


@dataclass(frozen=True)
class Pendulum:
    """Describes a task.

    Args:
        gaps (`tuple[float, float]`): Shortest and longest time between two observations, in seconds.
        noise (`float`): Standard deviation of the observations.
        hidden (`float`): Share of the observations that are hidden, except the first.
    """

    gaps: tuple[float, float] = (0.05, 0.3)
    noise: float = 0.05
    hidden: float = 0.0

    @property
    def features(self) -> int:
        """Number of features of an observation: sine, cosine, and whether they are seen if some are hidden."""
        return 3 if self.hidden else 2


# "published" is the task of the benchmark of mingru-scans. In "hidden" most positions are known by their time only.
PENDULUMS = {"published": Pendulum(), "hidden": Pendulum(hidden=0.7)}


@dataclass(frozen=True)
class Batch:
    """Rows of one part of a task.

    Args:
        observed (`torch.Tensor` of shape `(rows, time, features)`, float32): Observations.
        gaps (`torch.Tensor` of shape `(rows, time)`, float32): Seconds since the previous observation; 0 for the first.
        truth (`torch.Tensor` of shape `(rows, time, 2)`, float32): Sine and cosine of the angle.
        seen (`torch.Tensor` of shape `(rows, time)`, bool): Which observations are not hidden.
    """

    observed: torch.Tensor
    gaps: torch.Tensor
    truth: torch.Tensor
    seen: torch.Tensor

    def rows(self, chosen: torch.Tensor) -> Batch:
        """Returns some of the rows."""
        return Batch(self.observed[chosen], self.gaps[chosen], self.truth[chosen], self.seen[chosen])


def swing(angle: np.ndarray, speed: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    """Returns the angles of pendulums without friction, by the Runge-Kutta method of order four.

    Args:
        angle, speed (`numpy.ndarray` of shape `(rows,)`): Angle and its velocity before the first gap.
        gaps (`numpy.ndarray` of shape `(rows, time)`): Seconds between two times.

    Returns:
        `numpy.ndarray` of shape `(rows, time)`: The angle after each gap.

    >>> angles = swing(np.array([0.01]), np.array([0.0]), np.full((1, 2), np.pi / np.sqrt(GRAVITY)))
    >>> np.round(angles, 4).tolist()
    [[-0.01, 0.01]]
    """

    def pull(angle: np.ndarray) -> np.ndarray:
        return -GRAVITY * np.sin(angle)

    steps = math.ceil(gaps.max() / LONGEST_STEP)
    angles = np.empty_like(gaps)
    for place in range(gaps.shape[1]):
        h = gaps[:, place] / steps
        for _ in range(steps):
            # The slope of the angle is the speed, that of the speed is the pull.
            v1, a1 = speed, pull(angle)
            v2, a2 = speed + h / 2 * a1, pull(angle + h / 2 * v1)
            v3, a3 = speed + h / 2 * a2, pull(angle + h / 2 * v2)
            v4, a4 = speed + h * a3, pull(angle + h * v3)
            angle = angle + h / 6 * (v1 + 2 * v2 + 2 * v3 + v4)
            speed = speed + h / 6 * (a1 + 2 * a2 + 2 * a3 + a4)
        angles[:, place] = angle
    return angles


def draw(task: Pendulum, seed, rows: int, length: int = LENGTH) -> Batch:
    """Returns observations of pendulums that start at random angles and speeds, each up to 1 rad and 1 rad per second.

    Args:
        task (`Pendulum`): The task.
        seed (`int` or sequence of `int`): Seed of the batch.
        rows (`int`): Number of pendulums.
        length (`int`): Observations of each.
    """
    rng = np.random.default_rng(seed)
    angle, speed = rng.uniform(-1, 1, (2, rows))
    gaps = rng.uniform(*task.gaps, (rows, length))
    gaps[:, 0] = 0
    angles = swing(angle, speed, gaps)
    truth = np.stack([np.sin(angles), np.cos(angles)], -1)
    observed = truth + task.noise * rng.standard_normal(truth.shape)
    seen = rng.random((rows, length)) >= task.hidden
    seen[:, 0] = True
    if task.hidden:
        observed = np.concatenate([observed * seen[..., None], seen[..., None]], -1)
    as_floats = (torch.from_numpy(values).float() for values in (observed, gaps, truth))
    return Batch(*as_floats, torch.from_numpy(seen))


@lru_cache
def parts(task: Pendulum, sizes: tuple[int, int, int]) -> tuple[Batch, Batch, Batch]:
    """Returns the training, validation and test part of a task, always the same ones; `sizes` are their rows."""
    return tuple(draw(task, [part, size], size) for part, size in enumerate(sizes))


def last_seen(batch: Batch) -> torch.Tensor:
    """Returns the forecasts `(rows, time, 2)` of repeating the last observation that is not hidden."""
    places = torch.where(batch.seen, torch.arange(batch.seen.shape[1]), 0).cummax(1).values
    return batch.observed[..., :2].gather(1, places[..., None].expand(-1, -1, 2))
