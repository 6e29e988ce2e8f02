# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The learning rate by progress."""

import math

import pytest

from training.common.schedule import learning_rate_factor


@pytest.mark.parametrize("schedule", ["cosine", "wsd"])
def test_the_rate_rises_and_falls_without_jumps(schedule):
    values = [learning_rate_factor(i / 1000, warmup=0.1, schedule=schedule, final_ratio=0.2) for i in range(1001)]
    assert values[0] == 0
    assert values[50] == pytest.approx(0.5)
    assert values[100] == pytest.approx(1)
    assert values[-1] == pytest.approx(0.2)
    assert all(b <= a + 1e-12 for a, b in zip(values[100:], values[101:], strict=False))
    assert max(abs(b - a) for a, b in zip(values, values[1:], strict=False)) < 0.011
    assert values[500] == (1 if schedule == "wsd" else pytest.approx(0.2 + 0.4 * (1 + math.cos(math.pi * 4 / 9))))
    assert learning_rate_factor(2.0, schedule=schedule, final_ratio=0.2) == pytest.approx(0.2)
    assert learning_rate_factor(0.0, warmup=0.0, schedule=schedule) == 1


def test_an_unknown_schedule_is_rejected():
    with pytest.raises(ValueError, match="choose cosine or wsd"):
        learning_rate_factor(0.5, schedule="linear")
