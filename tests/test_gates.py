# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import pytest
import torch
from support.definition import gates as defined_gates
from support.scan_cases import FLOORS

from hf_minrnn.gates import NUM_PARTS, ScanSpec, Workspace, coefficients, g, step

SPECS = [
    ScanSpec(cell_type, ("g", "identity")[(i + j) % 2], normalize, floor)
    for i, (cell_type, normalize) in enumerate((("mingru", True), ("minlstm", True), ("minlstm", False)))
    for j, floor in enumerate(FLOORS)
]
LEVELS = torch.tensor([-1e4, -800.0, -90.0, -20.0, -3.0, -0.5, 0.0, 0.5, 3.0, 20.0, 90.0, 800.0, 1e4])


def all_mixes(parts):
    """Returns every combination of the levels, one per channel: `(parts, channels)`."""
    return torch.cartesian_prod(*[LEVELS] * parts).T.contiguous()


def name(spec):
    return "-".join(str(field) for field in spec)


def decay_and_input(w, x, form):
    if form == "affine":
        return w, x
    return 1 - w, (w * x if form == "lerp" else x)


@pytest.mark.parametrize("with_memory", [False, True], ids=["autograd", "workspace"])
@pytest.mark.parametrize("spec", SPECS, ids=name)
def test_coefficients_are_the_defined_gates_at_every_magnitude(spec, with_memory):
    parts = all_mixes(spec.num_parts).double().unbind()
    a, b = defined_gates(torch.cat(parts, -1), *spec)
    w, x = coefficients(parts, spec, Workspace(parts[0]) if with_memory else None)
    decay, share = decay_and_input(w, x, spec.form)
    # The definition subtracts logarithms of up to 1e4, which float64 holds to 2e-12.
    torch.testing.assert_close(decay, a, rtol=0, atol=1e-11)
    torch.testing.assert_close(share, b, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("spec", SPECS, ids=name)
def test_coefficients_in_float32_keep_their_relative_precision(spec):
    parts = all_mixes(spec.num_parts).unbind()
    w, _ = coefficients(parts, spec)
    exact, _ = coefficients([part.double() for part in parts], spec)
    # Below the smallest normal float32 a value may round to zero.
    torch.testing.assert_close(w.double(), exact, rtol=2e-6, atol=2e-38)


@pytest.mark.parametrize("spec", SPECS, ids=name)
def test_a_step_equals_the_definition(spec):
    parts = all_mixes(spec.num_parts).double().unbind()
    a, b = defined_gates(torch.cat(parts, -1), *spec)
    h = torch.linspace(-2, 2, a.shape[0], dtype=torch.float64)
    w, x = coefficients(parts, spec)
    torch.testing.assert_close(step(h, w, x, spec.form), a * h + b, rtol=1e-11, atol=1e-11)


def test_every_form_of_a_step_writes_to_out():
    h, w, x = torch.randn(3, 4).unbind()
    for form in ("lerp", "affine", "complement"):
        want, got = step(h, w, x, form), torch.full((4,), float("nan"))
        assert step(h, w, x, form, out=got) is got
        torch.testing.assert_close(got, want)


def test_normalised_gates_add_up_to_one():
    parts = all_mixes(3).double().unbind()
    swapped = parts[1], parts[0], parts[2]
    spec = ScanSpec("minlstm")
    torch.testing.assert_close(
        coefficients(parts, spec)[0] + coefficients(swapped, spec)[0], torch.ones(len(parts[0])).double()
    )


def test_g_is_the_activation_of_the_paper():
    x = torch.linspace(-6, 6, 101, dtype=torch.float64)
    torch.testing.assert_close(g(x), torch.where(x < 0, 1 / (1 + torch.exp(-x)), x + 0.5))
    assert g(torch.tensor([-1e4, 1e4])).tolist() == [0.0, 10000.5]


def test_g_has_slope_one_at_zero_and_is_monotonous():
    x = torch.tensor([-1e-6, -0.0, 0.0, 1e-6], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(g(x).sum(), x)
    torch.testing.assert_close(slope, torch.tensor([0.25, 1.0, 1.0, 1.0], dtype=torch.float64))
    assert g(torch.linspace(-9, 9, 1001)).diff().min() >= 0


def test_gradients_of_the_gates_pass_gradcheck():
    for spec in SPECS:
        parts = [torch.randn(7, dtype=torch.float64, requires_grad=True) for _ in range(spec.num_parts)]
        assert torch.autograd.gradcheck(lambda *parts, spec=spec: coefficients(parts, spec), parts)


def test_a_workspace_reuses_its_memory():
    work = Workspace(torch.zeros(3))
    assert work["a"] is work["a"] and work["a"] is not work["b"] and work["a"].shape == (3,)


def test_number_of_parts():
    assert NUM_PARTS == {"mingru": 2, "minlstm": 3, "linear": 2}
