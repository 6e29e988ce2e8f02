# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""A `reset_state` for each step, on every backend, compared with the float64 definition."""

import pytest
import torch
from support.definition import assert_runs_close, defined_scan, relative_error, run_with_gradients
from support.scan_cases import (
    CELLS,
    FLOORS,
    alternating_cases,
    cell_options,
    check_backend,
    every_backend,
    every_cell,
    random_inputs,
)

from hf_minrnn.scan import minrnn_scan

FEATURES = ("resets+reset_states", "resets_first+reset_states", "resets_last+reset_states", "resets_all+reset_states")
FEATURES += ("mask+resets+reset_states", "mask_row+resets_all+reset_states", "resets_rare+reset_states+strided")
FEATURES += ("resets+packed+reset_states", "mask+resets_all+packed+reset_states")


@every_backend
@pytest.mark.parametrize("case, dtype", list(alternating_cases(FEATURES, FLOORS, (1, 63, 129))))
def test_values_and_gradients(case, dtype, backend):
    check_backend(case, dtype, backend)


@every_backend
@every_cell
@pytest.mark.parametrize("time", [1, 40])
def test_the_same_state_at_every_step_equals_a_single_state(cell, backend, time):
    projected, state = random_inputs(cell, 2, time, 3)
    options = {**cell_options(cell), "resets": torch.arange(time) % 7 == torch.tensor([[0], [4]]), "backend": backend}
    cell_type = options.pop("cell_type")
    one = run_with_gradients(minrnn_scan, projected, cell_type, state, reset_state=state[0], **options)
    many = run_with_gradients(
        minrnn_scan, projected, cell_type, state, reset_state=state[0].expand(2, time, 3), **options
    )
    many["d_reset"] = many["d_reset"].sum((0, 1))
    assert_runs_close(many, one, 1e-12)
    with torch.no_grad():  # a single step takes another path
        h, _ = minrnn_scan(projected, cell_type, state, reset_state=state[0].expand(2, time, 3), **options)
    assert relative_error(h, one["h"]) < 1e-12


@every_backend
@every_cell
@pytest.mark.parametrize("floor", [0.4, -1.0])
def test_no_nan_leaks(cell, backend, floor):
    """A NaN before a reset, in the padding or in a state that no reset reads must not reach other values."""
    projected, state = random_inputs(cell, 2, 30, 3)
    resets = torch.arange(30) == torch.tensor([[11], [20]])
    mask = torch.arange(30) != torch.tensor([[11], [25]])
    starts = torch.randn(2, 30, 3, dtype=projected.dtype)
    options = {**cell_options(cell), "forget_gate_floor": floor, "attention_mask": mask, "resets": resets}
    cell_type = options.pop("cell_type")
    weights = [torch.randn(2, 30, 3, dtype=projected.dtype), torch.randn(2, 3, dtype=projected.dtype)]
    weights[0][0, :11], weights[0][1, :20] = 0.0, 0.0  # a NaN's own episode has NaN gradients in any case
    want = run_with_gradients(defined_scan, projected, cell_type, state, weights, reset_state=starts, **options)
    bad = projected.masked_fill(~mask[..., None], torch.nan)
    bad[0, 4] = torch.nan
    unread = starts.masked_fill(~resets[..., None], torch.nan)
    got = run_with_gradients(
        minrnn_scan, bad, cell_type, state, weights, reset_state=unread, backend=backend, **options
    )
    for values in (got, want):
        values["h"][0, :11], values["d_projected"][0, :11], values["d_initial"][0] = 0.0, 0.0, 0.0
    assert_runs_close(got, want, 1e-10)


@every_cell
def test_long_memory_is_as_exact_as_with_one_state(cell):
    """The scan keeps its form, so a decay next to 1 is not rounded to 1."""
    time, parts = 20_000, CELLS[cell][2]
    projected = torch.randn(1, time, 2 * parts, generator=torch.Generator().manual_seed(0))
    projected[..., :2] += -15.0 if cell == "mingru" else 15.0
    start, resets = torch.tensor([10.0, 9.0]), torch.arange(time)[None] == 3
    options = {**cell_options(cell), "candidate_activation": "identity", "resets": resets, "backend": "torch"}
    with torch.no_grad():
        _, got = minrnn_scan(projected, reset_state=start.expand(1, time, 2), **options)
        _, want = minrnn_scan(projected, reset_state=start, **options)
    assert relative_error(got - start, want - start) < 1e-6


def test_second_derivatives_of_the_associative_backend():
    projected, state = random_inputs("minlstm", 1, 4, 2)
    inputs = [x.clone().requires_grad_() for x in (projected, state, torch.randn(1, 4, 2, dtype=torch.float64))]
    resets = torch.arange(4)[None] == 2

    def scan(p, s, r):
        return minrnn_scan(p, "minlstm", s, resets=resets, reset_state=r, backend="associative")

    assert torch.autograd.gradgradcheck(scan, inputs)
