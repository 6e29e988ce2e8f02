# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import copy
import gc
import io
import pickle
import weakref

import numpy as np
import pytest
import torch
from support.definition import defined_scan
from torch import nn

from hf_minrnn import MinGRU, MinGRUCell, MinLSTM, MinLSTMCell
from hf_minrnn.layers import MinRNNBase

OPTIONS = [
    (MinGRUCell, {}),
    (MinGRUCell, {"candidate_activation": "identity", "forget_gate_floor": -1.0}),
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
    exact, exact_final = defined_scan(cell.in_proj(x).detach(), spec.pop("cell_type"), state, **spec)
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


@pytest.mark.parametrize("extra", [0, 3])
@pytest.mark.parametrize("record", [0, 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_sequence_of_one_step_is_a_step(dtype, record, extra):
    cell = build(MinLSTMCell, {}, extra_size=extra, dtype=dtype)
    x, state = torch.randn(3, 5, dtype=dtype), torch.randn(3, 7)
    h, after, *rest = cell(x[:, None], state, record=record)
    want = cell.step(x, state)
    assert len(rest) == len(want) - 2 == (extra > 0)
    assert torch.equal(h[:, 0], want[0]) and h.dtype == dtype
    states = torch.stack([state, want[1]], 1) if record else want[1]
    torch.testing.assert_close(after, states)
    if extra:
        assert torch.equal(rest[0][:, 0], want[2])
    with torch.no_grad():
        h.add_(1.0)  # changing the output does not change the state
    torch.testing.assert_close(after, states)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_record_returns_the_state_after_each_of_the_last_steps(dtype):
    cell = build(MinGRUCell, {}, dtype=dtype)
    x, state = torch.randn(2, 6, 5, dtype=dtype), torch.randn(2, 7)
    h, states = cell(x, state, record=4)
    assert states.shape == (2, 5, 7) and states.dtype == torch.float32
    torch.testing.assert_close(h, cell(x, state)[0])
    for n in range(5):
        projected = cell.project(x)[0][:, : 2 + n]
        torch.testing.assert_close(states[:, n], cell.scan(projected, state)[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("cell", "options"), OPTIONS, ids=str)
def test_one_call_per_step_has_the_gradients_of_the_sequence(cell, options):
    """A training loop that calls a layer once per step differentiates through many calls."""
    cell, x = build(cell, options), torch.randn(2, 9, 5)
    state = torch.randn(2, 7, requires_grad=True)
    whole = torch.autograd.grad(cell(x, state)[0].square().sum(), [state, *cell.parameters()])
    loss, now = 0, state
    for t in range(9):
        h, now = cell(x[:, t : t + 1], now)
        loss = loss + h.square().sum()
    for got, want in zip(torch.autograd.grad(loss, [state, *cell.parameters()]), whole):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def test_an_input_without_a_time_axis_gets_an_error_that_names_step():
    for cell in (MinGRUCell(5, 7), MinLSTMCell(5, 7)):
        name = type(cell).__name__
        with pytest.raises(
            ValueError, match=rf"shape \(batch, time, 5\), got shape \(2, 5\).* call {name}.step\(x, state\)"
        ):
            cell(torch.randn(2, 5))


def test_one_step_takes_and_checks_the_options_of_a_sequence():
    cell, x, state = build(MinLSTMCell, {}), torch.randn(3, 1, 5), torch.randn(3, 7)
    resets = torch.tensor([[True], [False], [True]])
    for start in (torch.randn(7), torch.randn(3, 1, 7)):
        h, after = cell(x, state, resets=resets, reset_state=start)
        before = torch.where(resets, start.reshape(-1, 7).expand(3, 7), state)
        torch.testing.assert_close(h[:, 0], cell(x, before)[0][:, 0])
        torch.testing.assert_close(after, cell(x, before)[1])
    for options, message in (
        ({"resets": resets[:, 0]}, r"resets must be bool of shape \(3, 1\)"),
        ({"resets": resets[:1]}, r"resets must be bool of shape \(3, 1\)"),
        ({"resets": resets.long()}, r"resets must be bool of shape \(3, 1\)"),
        ({"backend": "bogus"}, "backend must be one of"),
        ({"initial_state": torch.ones(3, 7, device="meta")}, "state is on meta and the input on cpu"),
    ):
        with pytest.raises(ValueError, match=message):
            cell(x, **options)


def test_a_gate_bias_of_two_zeros_has_no_effect():
    for bias in (True, False):
        cell = MinGRUCell(5, 7, bias, gate_bias=(0.0, 0.0))
        assert cell.in_proj.gate_bias == 0.0 and "reset_parameters" not in vars(cell.in_proj)


def test_options_of_the_scan_are_passed_on():
    cell, x = build(MinGRUCell, {}), torch.randn(1, 6, 5)
    mask = torch.tensor([[1, 1, 1, 0, 0, 0]])
    assert torch.allclose(cell(x, attention_mask=mask)[1], cell(x[:, :3])[1])
    packed = cell(x, cu_seqlens=torch.tensor([0, 2, 6]))
    assert torch.allclose(packed[0][:, 2:], cell(x[:, 2:])[0]) and packed[1].shape == (2, 7)
    resets = torch.tensor([[False, False, True, False, False, False]])
    assert torch.allclose(cell(x, resets=resets)[0], packed[0])
    start = torch.randn(7)
    assert torch.allclose(cell(x, resets=resets, reset_state=start)[0][:, 2:], cell(x[:, 2:], start[None])[0])


def test_extra_features_share_the_matmul_of_the_gates():
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
        ({"gate_bias": float("nan")}, "gate_bias must be a finite number or a pair of them, got nan"),
        ({"forget_gate_floor": "0.5"}, "forget_gate_floor must be at least -1 and below 1, got '0.5'"),
        ({"extra_size": -1}, "extra_size must be a whole number from 0 on, got -1"),
    ],
)
def test_invalid_options_are_rejected_by_cells(options, message):
    with pytest.raises(ValueError, match=message):
        MinGRUCell(3, 4, **options)


def test_numbers_of_numpy_are_accepted():
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
def test_a_state_that_is_not_floating_point_is_rejected(state):
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


# --- gate bias ---------------------------------------------------------------------------------------------------------

HOLDERS = {
    "MinGRUCell": (lambda **options: MinGRUCell(5, 7, **options), -2.0),
    "MinLSTMCell": (lambda **options: MinLSTMCell(5, 7, extra_size=3, **options), 2.0),
    "MinGRU": (lambda **options: MinGRU(5, 7, 2, bidirectional=True, **options), -2.0),
    "MinLSTM": (lambda **options: MinLSTM(5, 7, 2, **options), 2.0),
}
each_holder = pytest.mark.parametrize("make, start", HOLDERS.values(), ids=HOLDERS)


def linears(module):
    return [child for child in module.modules() if isinstance(child, nn.Linear)]


@each_holder
def test_the_gate_bias_survives_reset_parameters_of_every_module(make, start):
    original = make(gate_bias=2.0)
    for module in (original, pickle.loads(pickle.dumps(original)), copy.deepcopy(original)):
        before = [weight.clone() for weight in original.parameters()]
        weights = [linear.weight.clone() for linear in linears(module)]
        loops = (
            lambda m: [x.reset_parameters() for x in m.modules() if hasattr(x, "reset_parameters")],
            lambda m: m.apply(lambda x: x.reset_parameters() if hasattr(x, "reset_parameters") else None),
        )
        for loop in loops:
            loop(module)
            for linear, old in zip(linears(module), weights, strict=True):
                assert (linear.bias[:7] == start).all() and (linear.bias[7:].abs() < 1).all()
                assert not torch.equal(linear.weight, old) and type(linear) is nn.Linear
        assert module is original or all(map(torch.equal, original.parameters(), before))


@each_holder
def test_reset_gate_bias_restores_the_gate_bias(make, start):
    module = make(gate_bias=2.0)
    for linear in linears(module):
        nn.init.zeros_(linear.bias)
    module.reset_gate_bias()
    for linear in linears(module):
        assert (linear.bias[:7] == start).all() and not linear.bias[7:].any()
    bare = make()
    before = [weight.clone() for weight in bare.parameters()]
    bare.reset_gate_bias()  # without gate_bias it does nothing
    assert all(type(linear) is nn.Linear for linear in linears(bare))
    assert all(torch.equal(weight, old) for weight, old in zip(bare.parameters(), before))


@each_holder
def test_a_gate_bias_does_not_change_the_other_weights(make, start):
    torch.manual_seed(0)
    first = make(gate_bias=2.0)
    torch.manual_seed(0)
    for one, other in zip(linears(first), linears(make(gate_bias=0.0)), strict=True):
        assert torch.equal(one.weight, other.weight) and torch.equal(one.bias[7:], other.bias[7:])


@pytest.mark.parametrize("cell_class", [MinGRUCell, MinLSTMCell])
@pytest.mark.parametrize("floor", [-1.0, -0.1])
def test_gates_that_can_change_a_sign_start_near_their_ends(cell_class, floor):
    torch.manual_seed(0)
    cell = cell_class(64, 256, forget_gate_floor=floor, extra_size=8)
    gates = (cell.num_parts - 1) * 256

    def check(weight):
        assert weight[:gates].std() == pytest.approx(4 / 8, rel=0.05)
        assert weight[gates:].abs().max() <= 1 / 8  # as torch draws it
        if cell.has_input_gate:
            assert torch.equal(weight[256:512], -weight[:256])

    check(cell.in_proj.weight.detach())
    for again in (cell, copy.deepcopy(cell)):
        before = again.in_proj.weight.clone()
        again.reset_parameters()
        assert not torch.equal(again.in_proj.weight[:gates], before[:gates])
        check(again.in_proj.weight.detach())


def test_other_gates_start_as_torch_draws_them():
    for floor in (0.0, 0.9):
        cell = build(MinGRUCell, {"forget_gate_floor": floor})
        torch.manual_seed(0)
        assert torch.equal(cell.in_proj.weight, nn.Linear(5, 14).weight)


def test_a_cell_with_a_gate_bias_has_no_reference_cycle():
    gc.disable()
    try:
        cell = MinGRUCell(5, 7, gate_bias=2.0)
        weight = weakref.ref(cell.in_proj.weight)
        del cell
        assert weight() is None
    finally:
        gc.enable()


@each_holder
@pytest.mark.parametrize("options", [{}, {"gate_bias": 2.0}], ids=str)
def test_whole_modules_load_with_public_classes_as_safe_globals(make, start, options):
    module, file = make(**options), io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    kinds = [MinGRUCell if start < 0 else MinLSTMCell, nn.Linear]
    if isinstance(module, MinRNNBase):
        kinds += [type(module), nn.ModuleList]
    with torch.serialization.safe_globals(kinds):
        loaded = torch.load(file, weights_only=True)
    x = torch.randn(3, 6, 5)
    assert torch.equal(loaded(x)[0], module(x)[0])
    for child in loaded.modules():
        if hasattr(child, "reset_parameters"):
            child.reset_parameters()
    assert not options or all((linear.bias[:7] == start).all() for linear in linears(loaded))
