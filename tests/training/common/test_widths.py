# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import pytest
from torch import nn

from hf_minrnn import MinGRU
from training.common.widths import count, widest


@pytest.mark.parametrize("limit", [24, 25, 1000, 9894])
def test_one_more_would_be_too_many(limit):
    make = lambda width: MinGRU(5, width, 2, bidirectional=True)  # noqa: E731
    width = widest(make, limit + count(make(1)))
    assert count(make(width)) <= limit + count(make(1)) < count(make(width + 1))


def test_too_few_parameters_are_rejected():
    with pytest.raises(ValueError, match="a width of 1 has 4 parameters already, more than 3"):
        widest(lambda width: nn.Linear(3, width), 3)
