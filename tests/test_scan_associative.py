# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import pytest
import torch
from support.definition import defined_scan

from hf_minrnn import scan_associative
from hf_minrnn.scan import minrnn_scan


def test_the_number_of_doublings_is_the_smallest_that_covers_all_steps():
    assert [scan_associative._doublings(time) for time in (0, 1, 2, 3, 4, 5, 1024, 1025)] == [0, 0, 1, 2, 2, 3, 10, 11]


class Scan(torch.nn.Module):
    def forward(self, projected):
        return minrnn_scan(projected, "mingru", backend="associative")[0]


def export(longest):
    time = torch.export.Dim("time", min=2, max=longest) if longest else torch.export.Dim.DYNAMIC
    return torch.export.export(Scan(), (torch.randn(1, 9, 6),), dynamic_shapes=({1: time},))


def test_an_exported_graph_covers_the_longest_input():
    small, large = (len(export(longest).graph.nodes) for longest in (16, 1024))
    assert small < large
    fixed = torch.export.export(Scan(), (torch.randn(1, 9, 6),))
    assert len(fixed.graph.nodes) <= small


def test_an_input_too_long_for_the_graph_is_rejected(monkeypatch):
    monkeypatch.setattr(scan_associative, "MAX_SYMBOLIC_TIME", 16)
    module = export(None).module()
    projected = torch.randn(1, 16, 6)
    torch.testing.assert_close(module(projected), defined_scan(projected, "mingru")[0].float())
    with pytest.raises((RuntimeError, AssertionError)):
        module(torch.randn(1, 17, 6))


def test_a_trace_takes_longer_inputs_than_its_example(monkeypatch):
    monkeypatch.setattr(scan_associative, "MAX_SYMBOLIC_TIME", 64)
    torch.manual_seed(0)
    traced = torch.jit.trace(Scan(), (torch.randn(2, 5, 6),))
    longer = torch.jit.trace(Scan(), (torch.randn(1, 70, 6),))
    projected = torch.randn(1, 70, 6)
    torch.testing.assert_close(longer(projected), defined_scan(projected, "mingru")[0].float())
    for time in (1, 5, 6, 33, 64):
        projected = torch.randn(2, time, 6)
        torch.testing.assert_close(traced(projected), defined_scan(projected, "mingru")[0].float())
    with pytest.raises(RuntimeError):
        traced(torch.randn(2, 65, 6))
