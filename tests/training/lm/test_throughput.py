# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The FLOPs that are counted for a model, and the peak that is measured."""

import torch
from support.model_cases import build
from torch.utils.flop_counter import FlopCounterMode

from training.lm.throughput import flops_per_token, measure_peak_flops


def test_flops_are_those_of_the_matrix_products():
    model = build("mingru").train()
    ids = torch.zeros(2, 64, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        model(ids, labels=ids).loss.backward()
    counted = {str(name): flops for name, flops in counter.get_flop_counts()["Global"].items()}
    products = sum(flops for name, flops in counted.items() if "conv" not in name)
    # They differ by the first projection alone: its input needs no gradient.
    assert abs(products / ids.numel() / flops_per_token(model) - 1) < 0.05


def test_the_peak_is_plausible(monkeypatch):
    monkeypatch.setattr("training.lm.throughput.SIZE", 256)
    assert 1e8 < measure_peak_flops(torch.device("cpu"), torch.float32) < 1e14
