# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import numpy as np
import pytest
import torch
from definition import define

from hf_minrnn import MinGRUCell, MinLSTMCell

OPTIONS = [
    (MinGRUCell, {}),
    (MinGRUCell, {"candidate_activation": "identity", "forget_gate_floor": 0.5}),
    (MinLSTMCell, {}),
    (MinLSTMCell, {"normalize_gates": False, "bias": False}),
]


def build(cell, options, **more):
    torch.manual_seed(0)
    return cell(5, 7, **options, **more)


@pytest.mark.parametrize(("cell", "options"), OPTIONS, ids=str)
def test_sequence_steps_and_definition_agree(cell, options):
    cell = build(cell, options)
    x, state = torch.randn(3, 20, 5), torch.randn(3, 7)
    h, final = cell(x, state)
    spec = cell.spec._asdict()
    exact, exact_final = define(cell.in_proj(x).detach(), spec.pop("cell_type"), state, **spec)
    assert torch.allclose(h.double(), exact, atol=1e-5) and torch.allclose(final.double(), exact_final, atol=1e-5)
    steps = []
    for t in range(20):
        out, state = cell.step(x[:, t], state)
        steps.append(out)
    assert torch.allclose(torch.stack(steps, 1), h, atol=1e-5) and torch.allclose(state, final, atol=1e-5)


@pytest.mark.parametrize(("cell", "options"), OPTIONS, ids=str)
def test_steps_and_sequence_have_the_same_gradients(cell, options):
    cell, x = build(cell, options), torch.randn(2, 9, 5)
    cell(x)[0].square().sum().backward()
    grads = [parameter.grad.clone() for parameter in cell.parameters()]
    cell.zero_grad()
    state, loss = None, 0
    for t in range(9):
        h, state = cell.step(x[:, t], state)
        loss = loss + h.square().sum()
    loss.backward()
    assert all(torch.allclose(p.grad, grad, rtol=1e-4, atol=1e-5) for p, grad in zip(cell.parameters(), grads))


def test_options_of_the_scan_pass_through():
    cell, x = build(MinGRUCell, {}), torch.randn(1, 6, 5)
    mask = torch.tensor([[1, 1, 1, 0, 0, 0]])
    assert torch.allclose(cell(x, attention_mask=mask)[1], cell(x[:, :3])[1])
    packed = cell(x, cu_seqlens=torch.tensor([0, 2, 6]))
    assert torch.allclose(packed[0][:, 2:], cell(x[:, 2:])[0]) and packed[1].shape == (2, 7)
    resets = torch.tensor([[False, False, True, False, False, False]])
    assert torch.allclose(cell(x, resets=resets)[0], packed[0])
    start = torch.randn(7)
    assert torch.allclose(cell(x, resets=resets, reset_state=start)[0][:, 2:], cell(x[:, 2:], start[None])[0])


def test_extra_features_ride_in_the_same_matmul():
    cell, x = build(MinLSTMCell, {}, extra_size=4), torch.randn(2, 6, 5)
    projected, extra = cell.project(x)
    assert projected.shape == (2, 6, 21) and extra.shape == (2, 6, 4)
    assert torch.equal(torch.cat([projected, extra], -1), cell.in_proj(x))
    alone = build(MinLSTMCell, {})
    projected, extra = alone.project(x)
    assert extra is None and torch.equal(projected, alone.in_proj(x))
    assert torch.allclose(cell.scan(projected)[0], cell.scan(projected.contiguous())[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"candidate_activation": "G"}, "candidate_activation"),
        ({"forget_gate_floor": 3.0}, "forget_gate_floor"),
        ({"backend": "cuda"}, "backend must be one of"),
        ({"gate_bias": 1.0, "bias": False}, "gate_bias 1.0 needs bias=True"),
        ({"gate_bias": float("nan")}, "gate_bias must be a finite number, got nan"),
        ({"forget_gate_floor": "0.5"}, "forget_gate_floor must be at least 0 and below 1, got '0.5'"),
        ({"extra_size": -1}, "extra_size must be a whole number from 0 on, got -1"),
    ],
)
def test_unknown_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MinGRUCell(3, 4, **options)


def test_numbers_of_other_libraries_are_numbers():
    cell = MinGRUCell(np.prod((3, 2)), np.int64(4), forget_gate_floor=np.float32(0.5))
    assert cell(torch.randn(1, 2, 6))[0].shape == (1, 2, 4) and cell.spec.forget_gate_floor == 0.5


@pytest.mark.parametrize("size", [0, -4, 4.0])
def test_sizes_are_checked(size):
    for arguments, name in (((3, size), "hidden_size"), ((size, 4), "input_size")):
        with pytest.raises(ValueError, match=f"{name} must be a whole number from 1 on, got {size}"):
            MinGRUCell(*arguments)


@pytest.mark.parametrize(
    "state", [torch.ones(2, 4).long(), torch.ones(2, 4) + 1j, [0.0] * 4], ids=["long", "complex", "list"]
)
def test_a_state_of_no_real_numbers_is_refused(state):
    cell = MinGRUCell(3, 4)
    for grad in (True, False):
        with (
            torch.set_grad_enabled(grad),
            pytest.raises(ValueError, match=r"state must be floating point of shape \(2, 4\)"),
        ):
            cell.step(torch.randn(2, 3), state)


def test_shapes_of_a_step_are_checked():
    cell = MinGRUCell(3, 4)
    for x, state, message in (((2, 3), (5, 4), "state"), ((2, 2, 3), (2, 4), "projected"), ((2, 3), (1, 4), "state")):
        with pytest.raises(ValueError, match=message):
            cell.step(torch.zeros(x), torch.zeros(state))


def test_bfloat16_and_double():
    for dtype, state in ((torch.bfloat16, torch.float32), (torch.float64, torch.float64)):
        cell = build(MinGRUCell, {}, dtype=dtype)
        h, final = cell(torch.randn(2, 6, 5, dtype=dtype))
        assert h.dtype == dtype and final.dtype == state
