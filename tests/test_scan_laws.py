# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Properties of the scans: splits, causality, packing, resets, padding, strides, long memory, and isolation of NaN."""

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.definition import assert_runs_close, defined_scan, gates, loss_weights, run_with_gradients
from support.scan_cases import (
    CELLS,
    FLOORS,
    cell_options,
    every_backend,
    every_cell,
    every_op_backend,
    make_features,
    random_inputs,
    runs_equal,
)

from hf_minrnn import scan_torch
from hf_minrnn.scan import linear_scan, minrnn_scan

laws = settings(max_examples=15, deadline=None, derandomize=True)
shapes = {"time": st.integers(2, 40), "channels": st.integers(1, 5), "seed": st.integers(0, 999)}
floors = st.sampled_from(FLOORS)


@every_backend
@every_cell
@laws
@given(**shapes, floor=floors, data=st.data())
def test_two_parts_with_a_carried_state_equal_the_whole(cell, backend, time, channels, seed, floor, data):
    at = data.draw(st.integers(0, time), label="at")
    projected, state = random_inputs(cell, 2, time, channels, seed=seed)
    options = {**cell_options(cell), "forget_gate_floor": floor, "backend": backend}
    cell_type = options.pop("cell_type")

    def halves(projected, cell_type, state, **options):
        first, middle = minrnn_scan(projected[:, :at], cell_type, state, **options)
        second, last = minrnn_scan(projected[:, at:], cell_type, middle, **options)
        return torch.cat([first, second], 1), last

    assert_runs_close(
        run_with_gradients(halves, projected, cell_type, state, **options),
        run_with_gradients(minrnn_scan, projected, cell_type, state, **options),
        1e-12,
    )


@every_backend
@every_cell
@laws
@given(**shapes, floor=floors, data=st.data())
def test_causality(cell, backend, time, channels, seed, floor, data):
    """Inputs from a step on do not change earlier results, and get no gradient from them."""
    at = data.draw(st.integers(1, time - 1), label="at")
    projected, state = random_inputs(cell, 2, time, channels, seed=seed)
    other = projected.clone()
    other[:, at:] = random_inputs(cell, 2, time, channels, seed=seed + 1)[0][:, at:]
    options = {**cell_options(cell), "forget_gate_floor": floor, "backend": backend}
    one, two = (minrnn_scan(p, initial_state=state, **options)[0] for p in (projected, other))
    assert torch.equal(one[:, :at], two[:, :at])
    assert not torch.equal(one[:, at], two[:, at])
    projected.requires_grad_()
    minrnn_scan(projected, initial_state=state, **options)[0][:, at - 1].sum().backward()
    assert not projected.grad[:, at:].any() and projected.grad[:, at - 1].any()


@every_backend
@laws
@given(**shapes)
def test_a_decay_of_zero_gives_b_and_one_gives_its_sum(backend, time, channels, seed):
    _, state = random_inputs("mingru", 2, time, channels, seed=seed)
    b = torch.randn(2, time, channels, generator=torch.Generator().manual_seed(seed))
    h, final = linear_scan(torch.zeros_like(b), b, state.float(), backend=backend)
    # Exactly equal, except where the initial state is subtracted and added again.
    torch.testing.assert_close(h, b, rtol=0, atol=1e-6 if backend == "associative" else 0)
    torch.testing.assert_close(final, h[:, -1], rtol=0, atol=0)
    h, final = linear_scan(torch.ones_like(b).double(), b.double(), state, backend=backend)
    torch.testing.assert_close(h, b.double().cumsum(1) + state[:, None], rtol=1e-12, atol=1e-12)
    assert torch.equal(final, h[:, -1])


@every_backend
@every_cell
@laws
@given(**shapes, floor=floors, data=st.data())
def test_packed_sequences_equal_separate_scans(cell, backend, time, channels, seed, floor, data):
    cuts = data.draw(st.lists(st.integers(0, time), max_size=5), label="cuts")
    bounds = [0, *sorted(cuts), time]
    projected, _ = random_inputs(cell, 1, time, channels, seed=seed)
    states = torch.randn(len(bounds) - 1, channels, dtype=torch.float64)
    options = {**cell_options(cell), "forget_gate_floor": floor, "backend": backend}
    cell_type = options.pop("cell_type")

    def alone(projected, cell_type, states, **options):
        runs = [
            minrnn_scan(projected[:, begin:end], cell_type, states[n : n + 1], **options)
            for n, (begin, end) in enumerate(zip(bounds[:-1], bounds[1:], strict=True))
        ]
        return torch.cat([h for h, _ in runs], 1), torch.cat([final for _, final in runs])

    packed = run_with_gradients(minrnn_scan, projected, cell_type, states, cu_seqlens=torch.tensor(bounds), **options)
    assert_runs_close(packed, run_with_gradients(alone, projected, cell_type, states, **options), 1e-12)


@every_backend
@every_cell
@pytest.mark.parametrize("given_state", [False, True], ids=["to zeros", "to a state"])
@laws
@given(**shapes, floor=floors, data=st.data())
def test_resets_equal_separate_scans(cell, backend, given_state, time, channels, seed, floor, data):
    """The state is replaced before the step with the reset, not after it."""
    at = sorted(set(data.draw(st.lists(st.integers(0, time - 1), max_size=5), label="at")))
    projected, state = random_inputs(cell, 1, time, channels, seed=seed)
    resets = torch.zeros(1, time, dtype=torch.bool)
    resets[:, at] = True
    options = {**cell_options(cell), "forget_gate_floor": floor, "backend": backend}
    cell_type = options.pop("cell_type")
    if given_state:
        options["reset_state"] = 1 - 2 * state[0]

    def separate(projected, cell_type, state, reset_state=None, **options):
        fresh = torch.zeros_like(state) if reset_state is None else reset_state[None]
        parts = []
        for begin, end in zip([0, *at], [*at, time], strict=True):
            h, last = minrnn_scan(projected[:, begin:end], cell_type, state, **options)
            parts.append(h)
            state = fresh
        if at and at[0] == 0:
            parts = parts[1:]
        return torch.cat(parts, 1), last

    def apart(projected, cell_type, state, **options):
        h, last = separate(projected, cell_type, state, **options)
        # So that a state without influence has a gradient of zeros.
        return h, last + 0 * state + 0 * options.get("reset_state", 0)

    got = run_with_gradients(minrnn_scan, projected, cell_type, state, resets=resets, **options)
    assert_runs_close(got, run_with_gradients(apart, projected, cell_type, state, **options), 1e-12)


@every_backend
@every_cell
def test_padding_leaves_the_state_of_the_unpadded_row(cell, backend):
    projected, state = random_inputs(cell, 1, 11)
    options = {**cell_options(cell), "backend": backend}
    h, final = minrnn_scan(projected, initial_state=state, **options)
    noise = torch.randn(1, 6, projected.shape[-1], dtype=torch.float64)
    for left, right in ((6, 0), (0, 6), (2, 4)):
        padded = torch.cat([noise[:, :left], projected, noise[:, left:]], 1)
        mask = torch.tensor([[0] * left + [1] * 11 + [0] * right])
        got, last = minrnn_scan(padded, initial_state=state, attention_mask=mask, **options)
        torch.testing.assert_close(got[:, left : left + 11], h, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(last, final, rtol=1e-12, atol=1e-12)
    got, last = minrnn_scan(noise, initial_state=state, attention_mask=torch.zeros(1, 6).int(), **options)
    assert torch.equal(last, state) and torch.equal(got, state[:, None].expand_as(got))


# --- nothing leaks across a boundary ---------------------------------------------------------------------------------

POISONS = pytest.mark.parametrize("poison", [float("nan"), float("inf")], ids=["nan", "inf"])


def leak_case(cell, floor, time=40):
    projected, state = random_inputs(cell, 1, time, 3)
    return projected, state, {"normalize_gates": CELLS[cell][1], "forget_gate_floor": floor}


@pytest.mark.parametrize("features, floor", [("mask", 0.0), ("mask+resets+reset_state", -1.0)])
@POISONS
@every_backend
@every_cell
def test_nothing_in_the_padding_leaks(cell, backend, poison, features, floor):
    projected, state, options = leak_case(cell, floor)
    features = make_features(features, 1, 40, 3)
    mask = features["attention_mask"]
    options |= {"backend": backend, **features}
    clean = run_with_gradients(minrnn_scan, projected, CELLS[cell][0], state, **options)
    dirty = run_with_gradients(
        minrnn_scan, projected.masked_fill(~mask[..., None], poison), CELLS[cell][0], state, **options
    )
    for name, want in clean.items():
        assert torch.equal(dirty[name], want), name
    assert not clean["d_projected"][~mask].any()


@pytest.mark.parametrize("kind", ["resets", "resets to a state", "packed"])
@pytest.mark.parametrize("at, floor", [(1, -1.0), (5, 0.0), (16, -1.0), (17, -0.5), (39, 0.7)])
@POISONS
@every_backend
@every_cell
def test_nothing_leaks_over_a_boundary(cell, backend, poison, at, floor, kind):
    """A NaN on one side of a reset or of the end of a sequence does not change values and gradients on the other side."""
    projected, state, options = leak_case(cell, floor)
    feature = {"resets": torch.arange(40)[None] == at}
    if kind == "resets to a state":
        feature["reset_state"] = 1 - 2 * state[0]
    if kind == "packed":
        feature = {"cu_seqlens": torch.tensor([0, at, at, 40])}
        state = torch.cat([state, -state, 2 * state])
    options |= {"backend": backend, **feature}
    clean = run_with_gradients(minrnn_scan, projected, CELLS[cell][0], state, **options)
    bad_state = state.clone()
    bad_state[0] = poison
    before, after = projected.clone(), projected.clone()
    before[:, :at], after[:, at:] = poison, poison
    dirty = run_with_gradients(minrnn_scan, before, CELLS[cell][0], bad_state, **options)
    for name in ("h", "d_projected"):
        assert torch.equal(dirty[name][:, at:], clean[name][:, at:]), name
    assert torch.equal(dirty["final"][-1], clean["final"][-1])
    assert torch.equal(dirty["d_initial"][1:], clean["d_initial"][1:])
    if kind == "resets to a state":
        assert torch.equal(dirty["d_reset"], clean["d_reset"]) and clean["d_reset"].all()
        # The reset state only affects later steps. From here on, the earlier ones are compared.
        options["reset_state"] = torch.full_like(state[0], poison)
    weights = [w.clone() for w in loss_weights(clean["h"], clean["final"])]
    weights[0][:, at:] = poison
    weights[1][-1] = poison
    dirty = run_with_gradients(minrnn_scan, after, CELLS[cell][0], state, weights, **options)
    for name in ("h", "d_projected"):
        assert torch.equal(dirty[name][:, :at], clean[name][:, :at]), name
    assert torch.equal(dirty["d_initial"][:1], clean["d_initial"][:1])


# --- memory: strides, what is shared ---------------------------------------------------------------------------------


@every_backend
@every_cell
def test_strides_do_not_matter(cell, backend):
    generator = torch.Generator().manual_seed(0)
    width = CELLS[cell][2] * 3
    wide = torch.randn(2, 70, 2 * width + 1, generator=generator)
    state = torch.randn(2, 3, generator=generator)
    views = {
        "slice": wide[..., :width],
        "offset slice": wide[..., 1 : width + 1],
        "every second": wide[..., : 2 * width : 2],
        "time first": wide[..., :width].transpose(0, 1).contiguous().transpose(0, 1),
        "channels first": wide[..., :width].transpose(1, 2).contiguous().transpose(1, 2),
        "expanded": wide[:1, ..., :width].expand(2, -1, -1),
        "backwards in memory": wide[:, ::3, :width],
    }
    for name, view in views.items():
        assert not view.is_contiguous()
        for turned in (state, state.T.contiguous().T, state[:1].expand(2, -1)):
            got = run_with_gradients(
                minrnn_scan, view, CELLS[cell][0], turned, normalize_gates=CELLS[cell][1], backend=backend
            )
            plain = (view.contiguous(), CELLS[cell][0], turned.contiguous())
            want = run_with_gradients(minrnn_scan, *plain, normalize_gates=CELLS[cell][1], backend=backend)
            if backend in ("torch", "numba"):  # the same arithmetic on every element, so that not a bit differs
                assert runs_equal(got, want), name
            assert_runs_close(got, want, 1e-6)


@every_op_backend
def test_a_slice_of_a_wider_tensor_gets_its_gradient(backend):
    wide = torch.randn(2, 20, 11, dtype=torch.float64, requires_grad=True)
    h, _ = minrnn_scan(wide[..., :6], "mingru", backend=backend)
    (grad,) = torch.autograd.grad(h.sum(), wide)
    (want,) = torch.autograd.grad(defined_scan(wide[..., :6], "mingru")[0].sum(), wide)
    torch.testing.assert_close(grad, want)


@pytest.mark.parametrize("time", [1, 5])
@pytest.mark.parametrize("grad", [False, True], ids=["no_grad", "grad"])
@every_backend
def test_results_share_no_memory(backend, grad, time):
    for masked in (None, torch.ones(2, time, dtype=torch.bool), torch.zeros(2, time, dtype=torch.bool)):
        projected, state = random_inputs("mingru", 2, time, 3, torch.float32)
        resets, start = torch.ones(2, time, dtype=torch.bool), torch.zeros(3)
        options = {"attention_mask": masked, "resets": resets, "reset_state": start, "backend": backend}
        with torch.set_grad_enabled(grad):
            h, final = minrnn_scan(projected, "mingru", state, **options)
        others = (final, projected, state, start)
        kept = [x.clone() for x in others]
        h.fill_(7.0)
        assert all(torch.equal(one, two) for one, two in zip(others, kept, strict=True))


# --- long memory -----------------------------------------------------------------------------------------------------

TIME = 100_000


def exact_scan(projected, cell, floor):
    """Returns the states in float64, by the definition, and the gradients of the parts."""
    cell_type, normalize, parts = CELLS[cell]
    options = {"normalize_gates": normalize, "forget_gate_floor": floor}
    a, b = (x[0].numpy() for x in gates(projected, cell_type, **options))
    state, states = np.zeros(a.shape[1]), np.empty_like(a)
    for t in range(TIME):
        state = a[t] * state + b[t]
        states[t] = state
    states = torch.from_numpy(states)[None]
    exact = run_with_gradients(minrnn_scan, projected.double(), cell_type, **options, backend="torch")
    torch.testing.assert_close(exact["h"], states, rtol=1e-10, atol=1e-10 * states.abs().max().item())
    return states, exact["d_projected"].unflatten(-1, (parts, -1))


def measured_errors(memory, cell, floor, path, monkeypatch):
    """Returns the errors in float32 of every channel against its own size, first of all states, then of every part's gradient.

    `memory` is `(projected, states, gradients)`, the last two exact.
    """
    projected, states, gradients = memory
    if path == "plain":
        monkeypatch.setattr(scan_torch, "PLAIN_ELEMENTS", {"cpu": 1})
    cell_type, normalize, parts = CELLS[cell]
    options = {"normalize_gates": normalize, "forget_gate_floor": floor}
    backend = "numba" if path == "numba" else "torch"
    got = run_with_gradients(minrnn_scan, projected, cell_type, **options, backend=backend)
    of_states = torch.cat([got["h"], got["final"][:, None]], 1) - torch.cat([states, states[:, -1:]], 1)
    of_gradients = got["d_projected"].unflatten(-1, (parts, -1)) - gradients
    norms = [torch.linalg.vector_norm(x[0], dim=0) for x in (of_gradients, gradients)]
    return (of_states.abs().amax(1) / states.abs().amax(1))[0], norms[0] / norms[1]


def with_gates(cell, gate, generator):
    """Returns a projected input with random candidates. `gate` decides what share of the state is replaced."""
    candidate = torch.randn(gate.shape, generator=generator)
    # Where gates are not normalised, the input gate is one of its own. It stays small: near 1 its gradient is less exact.
    parts = {"mingru": [gate], "minlstm": [-gate, gate], "minlstm_raw": [-gate, -gate.abs()]}[cell]
    return torch.cat([*parts, candidate], -1)


@cache
def long_memory(cell, floor):
    """Returns `(projected, states, gradients)` for gates around -8, -15 and -17; the last two are exact."""
    generator = torch.Generator().manual_seed(0)
    gate = torch.tensor([-8.0, -15.0, -17.0]) + 0.1 * torch.randn(1, TIME, 3, generator=generator)
    projected = with_gates(cell, gate, generator)
    return projected, *exact_scan(projected, cell, floor)


@pytest.mark.parametrize("path", ["chunks", "plain", "numba"])
@pytest.mark.parametrize("cell, floor", [("mingru", 0.0), ("minlstm", -0.5), ("minlstm_raw", 0.0)])
def test_memory_of_a_hundred_thousand_steps(cell, floor, path, monkeypatch):
    """In float32, where 1 - sigmoid(-17) rounds to 1 - 2^-24: storing the decay itself would give an error of a third."""
    of_states, of_gradients = measured_errors(long_memory(cell, floor), cell, floor, path, monkeypatch)
    assert of_states.max() < 1e-4
    assert of_gradients.max() < gradient_limit(path)


def gradient_limit(path):
    # A float32 adjoint stepped 100,000 times has a larger error than a state, which changes by differences. Chunks step only
    # 16 times, and the kernels carry the rounding error along.
    return 1e-3 if path == "plain" else 1e-5


# 1 - |decay| of the channels below.
LEVELS = torch.tensor([1e-3, 1e-5, 3e-7])


@cache
def signed_memory(cell):
    """Returns `(projected, states, gradients)` for a floor of -1.

    Three channels, one for each level, have decays near 1, three near -1, and three near 1 or -1, at random for each step. The
    gates of these vary. The last three have decays near -1 and the same gate at every step.
    """
    generator = torch.Generator().manual_seed(0)
    level = torch.log(2 / LEVELS - 1)  # the gate for which the decay is -(1 - level)
    varied = level + 0.1 * torch.randn(1, TIME, 3, 3, generator=generator)
    signs = 1 - 2.0 * torch.randint(2, (1, TIME, 3), generator=generator)
    near_one, near_minus_one, mixed = varied.unbind(2)
    gate = torch.cat([-near_one, near_minus_one, signs * mixed, level.expand(1, TIME, 3)], -1)
    projected = with_gates(cell, gate, generator)
    return projected, *exact_scan(projected, cell, -1.0)


@pytest.mark.parametrize("path", ["chunks", pytest.param("plain", marks=pytest.mark.slow), "numba"])
@every_cell
def test_memory_of_a_hundred_thousand_steps_with_a_floor_of_minus_one(cell, path, monkeypatch):
    """Near 1 the errors are those of other floors. Near -1 a float32 decay has an error of up to 2^-22, see `minrnn_scan`."""
    steps = (1 / LEVELS).clamp(max=TIME)  # that a state remembers
    largest = steps * 2**-22
    varied = 4 * steps.sqrt() * 2**-22  # the errors of varied gates differ, so that their sum grows more slowly
    varied[2] = largest[2]  # here they do not differ: the gates vary by less than the spacing of float32 numbers
    limits = torch.tensor([1e-4, gradient_limit(path)])
    for found, near_one, sums in zip(
        measured_errors(signed_memory(cell), cell, -1.0, path, monkeypatch), limits, (1, 2)
    ):
        found = found.view(-1, 4, 3)
        assert (found[:, 0] < near_one).all(), found
        assert (found[:, 1:3] < varied).all(), found
        assert (found[:, 3] < sums * largest).all(), found  # a gradient is a product of two sums
