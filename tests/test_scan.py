# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The public scans on every backend against the float64 definition, and the laws they obey."""

# ruff: noqa: E731
import hashlib
import importlib
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from definition import assert_same, define, gates, loss_weights, recurrence, relative_error, run
from hypothesis import given, settings
from hypothesis import strategies as st
from scan_cases import BACKENDS, CELLS, TOLERANCES, Case, expected, feature_cases, make_features
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint

from hf_minrnn import scan as scan_module
from hf_minrnn import scan_associative, scan_reference, scan_torch
from hf_minrnn.gates import ScanSpec
from hf_minrnn.scan import NAMESPACE, linear_scan, minrnn_scan, resolve_backend, scan_step

OP_BACKENDS = ("reference", "torch")
every_backend = pytest.mark.parametrize("backend", BACKENDS)
every_op_backend = pytest.mark.parametrize("backend", OP_BACKENDS)
every_cell = pytest.mark.parametrize("cell", CELLS)
laws = settings(max_examples=15, deadline=None, derandomize=True)


def scan_op():
    return getattr(torch.ops, NAMESPACE).scan.default


def random_inputs(cell, batch=2, time=7, channels=3, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    projected = 2 * torch.randn(batch, time, CELLS[cell][2] * channels, generator=generator, dtype=dtype)
    return projected, torch.randn(batch, channels, generator=generator, dtype=dtype)


def cell_options(cell):
    return {"cell_type": CELLS[cell][0], "normalize_gates": CELLS[cell][1]}


# --- against the definition ------------------------------------------------------------------------------------------


def grid():
    for cell in CELLS:
        for candidate in ("g", "identity"):
            for time in (1, 2, 63, 64, 129):
                for state in (True, False):
                    yield Case(cell, candidate, 2, time, 5, state=state)
            yield Case(cell, candidate, 2, 63, 5, floor=0.7)
        yield Case(cell, "g", 1, 129, 7, floor=0.7)
        yield Case(cell, "g", 2, 1000, 5, floor=0.7)
        yield Case(cell, "identity", 2, 1000, 5, state=False)


# Channels and steps at which the default backend leaves its single tile of chunks: a plain loop over time, and several
# tiles of several chunks each, with a remainder.
WIDE = [
    Case("mingru", "g", 2, 97, 3073),
    Case("minlstm", "identity", 1, 43, 6145),
    Case("minlstm_raw", "g", 2, 45, 3201),
]
CHUNKED = [
    Case("mingru", "identity", 3, 301, 683),
    Case("minlstm", "g", 1, 613, 1025),
    Case("minlstm_raw", "g", 1, 341, 2049),
]


def cases_and_backends():
    for case in grid():
        for backend in BACKENDS:
            if backend != "reference" or case.time <= 129:
                yield case, backend
    for case in (*WIDE, *CHUNKED):
        yield case, "torch"


def check(case, dtype, backend):
    projected, state, features = case.inputs(dtype)
    got = run(minrnn_scan, projected, case.cell_type, state, backend=backend, **case.options, **features)
    assert got["h"].dtype == got["final"].dtype == got["d_projected"].dtype == dtype
    assert_same(got, expected(case), *TOLERANCES[dtype])


@pytest.mark.parametrize("dtype", TOLERANCES, ids=lambda dtype: str(dtype)[6:])
@pytest.mark.parametrize("case, backend", list(cases_and_backends()), ids=str)
def test_values_and_gradients(case, backend, dtype):
    check(case, dtype, backend)


def test_the_wide_cases_take_the_paths_they_are_meant_for():
    for case in WIDE:
        places = scan_torch.tiles(case.time, case.batch * case.channels)
        assert len(places) > 1 and {chunks for _, chunks, _ in places} == {1}
    for case in CHUNKED:
        places = scan_torch.tiles(case.time, case.batch * case.channels)
        assert sum(chunks > 1 for _, chunks, _ in places) >= 2 and places[-1][1] == 1


@pytest.mark.parametrize("dtype", TOLERANCES, ids=lambda dtype: str(dtype)[6:])
@every_backend
@pytest.mark.parametrize("case", list(feature_cases()), ids=str)
def test_masks_resets_and_packing(case, backend, dtype):
    check(case, dtype, backend)


ALONE = [Case("mingru", "g", 2, 9, 3), Case("minlstm_raw", "identity", 1, 9, 3, 0.3, True, "packed")]


@every_backend
@pytest.mark.parametrize("case", ALONE, ids=str)
def test_gradients_of_h_alone_and_of_the_final_state_alone(case, backend):
    projected, state, features = case.inputs(torch.float64)
    for chosen in (0, 1):
        results = []
        for scan, extra in ((minrnn_scan, {"backend": backend}), (define, {})):
            inputs = [projected.clone().requires_grad_(), state.clone().requires_grad_()]
            out = scan(inputs[0], case.cell_type, inputs[1], **case.options, **features, **extra)
            results.append(torch.autograd.grad(out[chosen], inputs, loss_weights(*out)[chosen]))
        for got, want in zip(*results, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)


@every_backend
def test_linear_scan(backend):
    generator = torch.Generator().manual_seed(0)
    a = torch.rand(2, 50, 3, generator=generator, dtype=torch.float64)
    b = torch.randn(2, 50, 3, generator=generator, dtype=torch.float64)
    state = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    results = []
    for scan in (lambda *x: linear_scan(*x, backend=backend), recurrence):
        inputs = [x.clone().requires_grad_() for x in (a, b, state)]
        out = scan(*inputs)
        results.append([*out, *torch.autograd.grad(out, inputs, loss_weights(*out))])
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)


@every_cell
def test_scan_step_is_a_scan_of_one_step(cell):
    projected, state = random_inputs(cell, batch=3, time=1)
    resets = torch.tensor([[True], [False], [True]])
    cell_type, normalize, _ = CELLS[cell]
    for reset in (None, resets):
        want = define(projected, cell_type, state, normalize_gates=normalize, resets=reset)
        h, final = scan_step(projected[:, 0], state, ScanSpec(cell_type, "g", normalize), resets=reset)
        torch.testing.assert_close(h, want[0][:, 0], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(final, want[1], rtol=1e-12, atol=1e-12)
    h, _ = scan_step(projected[:, 0], None, ScanSpec(cell_type, "g", normalize))
    torch.testing.assert_close(h, define(projected, cell_type, normalize_gates=normalize)[0][:, 0])


@every_backend
def test_nothing_to_do(backend):
    """No steps, no rows or no channels: the state passes through, gradient included."""
    for batch, time, channels in ((2, 0, 3), (0, 4, 3), (2, 4, 0)):
        projected, state = random_inputs("mingru", batch, time, channels)
        got = run(minrnn_scan, projected, "mingru", state, backend=backend)
        assert_same(got, run(define, projected, "mingru", state), 1e-12)
    projected, state = random_inputs("mingru", 1, 0, 3)
    got = run(minrnn_scan, projected, "mingru", state, cu_seqlens=torch.tensor([0, 0]), backend=backend)
    assert torch.equal(got["final"], state) and torch.equal(got["d_initial"], loss_weights(got["h"], state)[1])


# --- reduced precision, extremes, long memory ------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
@every_backend
@pytest.mark.parametrize(
    "case", [Case(cell, "g", 2, 70, 5, 0.2) for cell in CELLS] + list(feature_cases(21, 3))[::3], ids=str
)
def test_reduced_precision_is_float32_rounded_once(case, backend, dtype):
    projected, state, features = case.inputs(dtype)
    options = {"backend": backend, **case.options, **features}
    got = run(minrnn_scan, projected, case.cell_type, state, **options)
    want = run(minrnn_scan, projected.float(), case.cell_type, None if state is None else state.float(), **options)
    assert got["h"].dtype == got["d_projected"].dtype == dtype and got["final"].dtype == torch.float32
    # Nothing but the output is rounded. (Its last bit may go either way where the arithmetic is in another order.)
    torch.testing.assert_close(got["h"].float(), want["h"], rtol=torch.finfo(dtype).eps / 2 * 1.01, atol=1e-6)
    torch.testing.assert_close(got["final"], want["final"], rtol=1e-6, atol=1e-6)
    for name in want:
        if name.startswith("d_"):  # the saved states are rounded too
            assert relative_error(got[name], want[name]) < torch.finfo(dtype).eps


@every_backend
def test_dtypes_of_the_state(backend):
    for dtype, wide in (
        (torch.float64, torch.float64),
        (torch.float32, torch.float32),
        (torch.bfloat16, torch.float32),
    ):
        for time in (1, 5):
            projected, state = random_inputs("mingru", time=time, dtype=dtype)
            with torch.no_grad():
                h, final = minrnn_scan(projected, "mingru", state, backend=backend)
            assert h.dtype == dtype and final.dtype == wide
            state = state.bfloat16().requires_grad_()
            minrnn_scan(projected, "mingru", state, backend=backend)[1].sum().backward()
            assert state.grad.dtype == torch.bfloat16


def extreme_inputs(parts, dtype):
    generator = torch.Generator().manual_seed(3)
    levels = torch.tensor([-1e4, -500.0, -89.0, -1.0, 0.0, 1.0, 89.0, 500.0, 1e4])
    mixed = levels[torch.randint(len(levels), (2, 40, parts * 33), generator=generator)]
    constant = torch.cartesian_prod(*[torch.tensor([-1e4, 0.0, 1e4])] * parts)  # every corner, for every step
    mixed = mixed.unflatten(-1, (parts, 33))
    mixed[..., : min(33, len(constant))] = constant.T[:, :33]
    return mixed.flatten(-2).to(dtype)


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.bfloat16, torch.float16], ids=["float32", "bfloat16", "float16"]
)
@every_backend
@pytest.mark.parametrize("candidate", ["g", "identity"])
@every_cell
def test_extreme_projections_stay_finite(cell, candidate, backend, dtype):
    projected = extreme_inputs(CELLS[cell][2], dtype)
    state = torch.full((2, 33), 1e3)
    options = {**cell_options(cell), "candidate_activation": candidate}
    got = run(minrnn_scan, projected, options.pop("cell_type"), state, backend=backend, **options)
    assert all(value.isfinite().all() for value in got.values())
    if dtype == torch.float32:
        want = run(define, projected.double(), CELLS[cell][0], state.double(), **options)
        assert_same(got, want, 1e-5, 5e-5)


@every_backend
def test_float16_saturates(backend):
    projected = torch.full((1, 20, 3), 1e4, dtype=torch.float16)  # adds 1e4 at every step and forgets nothing
    h, final = minrnn_scan(projected, "minlstm", normalize_gates=False, backend=backend)
    want = torch.arange(1, 21) * 1e4
    torch.testing.assert_close(h.flatten().float(), want.clamp(max=65504), rtol=1e-3, atol=0)
    assert h.max().item() == 65504
    torch.testing.assert_close(final, torch.full((1, 1), 2e5), rtol=1e-3, atol=0)
    with torch.no_grad():
        h, final = minrnn_scan(projected[:, :1], "minlstm", final, normalize_gates=False, backend=backend)
    assert h.item() == 65504 and final.item() > 2e5


@cache
def long_memory(cell):
    """100,000 steps with gates around -8, -15 and -17: `(projected, h, gradient by projected)`, the last two exact."""
    time, levels = 100_000, torch.tensor([-8.0, -15.0, -17.0])
    generator = torch.Generator().manual_seed(0)
    gate = levels + 0.1 * torch.randn(1, time, 3, generator=generator)
    candidate = torch.randn(1, time, 3, generator=generator)
    projected = {
        "mingru": torch.cat([gate, candidate], -1),
        "minlstm": torch.cat([-gate, gate, candidate], -1),
        "minlstm_raw": torch.cat([-gate, gate, candidate], -1),
    }[cell]
    cell_type, normalize, _ = CELLS[cell]
    a, b = (x[0].numpy() for x in gates(projected, cell_type, normalize_gates=normalize))
    state, states = np.zeros(3), np.empty_like(a)
    for t in range(time):
        state = a[t] * state + b[t]
        states[t] = state
    exact = run(minrnn_scan, projected.double(), cell_type, normalize_gates=normalize, backend="torch")
    states = torch.from_numpy(states)[None]
    torch.testing.assert_close(exact["h"], states, rtol=1e-10, atol=0)
    return projected, states, exact["d_projected"]


@pytest.mark.parametrize("path", ["chunks", "plain"])
@every_cell
def test_memory_of_a_hundred_thousand_steps(cell, path, monkeypatch):
    """In float32, where 1 - sigmoid(-17) rounds to 1 - 2^-24: a decay kept as such would be wrong by a third."""
    if path == "plain":
        monkeypatch.setattr(scan_torch, "PLAIN_ELEMENTS", {"cpu": 1})
    projected, states, gradient = long_memory(cell)
    got = run(minrnn_scan, projected, CELLS[cell][0], normalize_gates=CELLS[cell][1], backend="torch")
    scale = states.abs().amax(1)
    assert ((got["h"].double() - states).abs().amax(1) / scale).max() < 1e-4
    assert ((got["final"].double() - states[:, -1]).abs() / scale).max() < 1e-4
    # A float32 adjoint stepped 100,000 times loses more than a state, which moves by differences; chunks step 16 times.
    limit = 1e-5 if path == "chunks" else 1e-3
    for channel in range(3):  # each level of memory against its own size
        pick = slice(channel, None, 3)
        assert relative_error(got["d_projected"][..., pick], gradient[..., pick]) < limit


# --- laws ------------------------------------------------------------------------------------------------------------

shapes = {"time": st.integers(2, 40), "channels": st.integers(1, 5), "seed": st.integers(0, 999)}


@every_backend
@every_cell
@laws
@given(**shapes, data=st.data())
def test_split_anywhere_and_carried_on_is_the_whole(cell, backend, time, channels, seed, data):
    at = data.draw(st.integers(0, time), label="at")
    projected, state = random_inputs(cell, 2, time, channels, seed=seed)
    options = {**cell_options(cell), "backend": backend}
    cell_type = options.pop("cell_type")

    def halves(projected, cell_type, state, **options):
        first, middle = minrnn_scan(projected[:, :at], cell_type, state, **options)
        second, last = minrnn_scan(projected[:, at:], cell_type, middle, **options)
        return torch.cat([first, second], 1), last

    assert_same(
        run(halves, projected, cell_type, state, **options),
        run(minrnn_scan, projected, cell_type, state, **options),
        1e-12,
    )


@every_backend
@every_cell
@laws
@given(**shapes, data=st.data())
def test_causality(cell, backend, time, channels, seed, data):
    """What comes at a step or later changes nothing before it, and no gradient flows back from there."""
    at = data.draw(st.integers(1, time - 1), label="at")
    projected, state = random_inputs(cell, 2, time, channels, seed=seed)
    other = projected.clone()
    other[:, at:] = random_inputs(cell, 2, time, channels, seed=seed + 1)[0][:, at:]
    options = {**cell_options(cell), "backend": backend}
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
    # Exactly, but where the state before the first step is taken off and put on again.
    torch.testing.assert_close(h, b, rtol=0, atol=1e-6 if backend == "associative" else 0)
    torch.testing.assert_close(final, h[:, -1], rtol=0, atol=0)
    h, final = linear_scan(torch.ones_like(b).double(), b.double(), state, backend=backend)
    torch.testing.assert_close(h, b.double().cumsum(1) + state[:, None], rtol=1e-12, atol=1e-12)
    assert torch.equal(final, h[:, -1])


@every_backend
@every_cell
@laws
@given(**shapes, data=st.data())
def test_packed_is_each_sequence_alone(cell, backend, time, channels, seed, data):
    cuts = data.draw(st.lists(st.integers(0, time), max_size=5), label="cuts")
    bounds = [0, *sorted(cuts), time]
    projected, _ = random_inputs(cell, 1, time, channels, seed=seed)
    states = torch.randn(len(bounds) - 1, channels, dtype=torch.float64)
    options = {**cell_options(cell), "backend": backend}
    cell_type = options.pop("cell_type")

    def alone(projected, cell_type, states, **options):
        runs = [
            minrnn_scan(projected[:, begin:end], cell_type, states[n : n + 1], **options)
            for n, (begin, end) in enumerate(zip(bounds[:-1], bounds[1:], strict=True))
        ]
        return torch.cat([h for h, _ in runs], 1), torch.cat([final for _, final in runs])

    packed = run(minrnn_scan, projected, cell_type, states, cu_seqlens=torch.tensor(bounds), **options)
    assert_same(packed, run(alone, projected, cell_type, states, **options), 1e-12)


@every_backend
@every_cell
@laws
@given(**shapes, data=st.data())
def test_resets_are_separate_runs(cell, backend, time, channels, seed, data):
    """The state is replaced before the step that says so, not after it."""
    at = sorted(set(data.draw(st.lists(st.integers(0, time - 1), max_size=5), label="at")))
    projected, state = random_inputs(cell, 1, time, channels, seed=seed)
    resets = torch.zeros(1, time, dtype=torch.bool)
    resets[:, at] = True
    options = {**cell_options(cell), "backend": backend}
    cell_type = options.pop("cell_type")

    def separate(projected, cell_type, state, **options):
        parts = []
        for begin, end in zip([0, *at], [*at, time], strict=True):
            h, last = minrnn_scan(projected[:, begin:end], cell_type, state, **options)
            parts.append(h)
            state = torch.zeros_like(last)
        if at and at[0] == 0:
            parts = parts[1:]
        return torch.cat(parts, 1), last

    def apart(projected, cell_type, state, **options):
        h, last = separate(projected, cell_type, state, **options)
        return h, last + 0 * state  # so that a state that nothing depends on has a gradient, of zeros

    got = run(minrnn_scan, projected, cell_type, state, resets=resets, **options)
    assert_same(got, run(apart, projected, cell_type, state, **options), 1e-12)


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


def leak_case(cell, time=40):
    projected, state = random_inputs(cell, 1, time, 3)
    return projected, state, {"normalize_gates": CELLS[cell][1]}


@POISONS
@every_backend
@every_cell
def test_nothing_in_the_padding_leaks(cell, backend, poison):
    projected, state, options = leak_case(cell)
    mask = make_features("mask", 1, 40)["attention_mask"]
    options |= {"backend": backend, "attention_mask": mask}
    clean = run(minrnn_scan, projected, CELLS[cell][0], state, **options)
    dirty = run(minrnn_scan, projected.masked_fill(~mask[..., None], poison), CELLS[cell][0], state, **options)
    for name, want in clean.items():
        assert torch.equal(dirty[name], want), name
    assert not clean["d_projected"][~mask].any()


@pytest.mark.parametrize("kind", ["resets", "packed"])
@pytest.mark.parametrize("at", [1, 5, 16, 17, 39])
@POISONS
@every_backend
@every_cell
def test_nothing_leaks_over_a_boundary(cell, backend, poison, at, kind):
    """NaN on one side of a reset or of a sequence's end: values and gradients on the other side are as without it."""
    projected, state, options = leak_case(cell)
    feature = {"resets": torch.arange(40)[None] == at}
    if kind == "packed":
        feature = {"cu_seqlens": torch.tensor([0, at, at, 40])}
        state = torch.cat([state, -state, 2 * state])
    options |= {"backend": backend, **feature}
    clean = run(minrnn_scan, projected, CELLS[cell][0], state, **options)
    bad_state = state.clone()
    bad_state[0] = poison
    before, after = projected.clone(), projected.clone()
    before[:, :at], after[:, at:] = poison, poison
    dirty = run(minrnn_scan, before, CELLS[cell][0], bad_state, **options)
    for name in ("h", "d_projected"):
        assert torch.equal(dirty[name][:, at:], clean[name][:, at:]), name
    assert torch.equal(dirty["final"][-1], clean["final"][-1])
    assert torch.equal(dirty["d_initial"][1:], clean["d_initial"][1:])
    weights = [w.clone() for w in loss_weights(clean["h"], clean["final"])]
    weights[0][:, at:] = poison
    weights[1][-1] = poison
    dirty = run(minrnn_scan, after, CELLS[cell][0], state, weights, **options)
    for name in ("h", "d_projected"):
        assert torch.equal(dirty[name][:, :at], clean[name][:, :at]), name
    assert torch.equal(dirty["d_initial"][:1], clean["d_initial"][:1])


# --- memory: strides, poison, what is saved --------------------------------------------------------------------------


def same_run(one, two):
    return all(torch.equal(one[name], two[name]) for name in one)


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
            got = run(minrnn_scan, view, CELLS[cell][0], turned, normalize_gates=CELLS[cell][1], backend=backend)
            plain = (view.contiguous(), CELLS[cell][0], turned.contiguous())
            want = run(minrnn_scan, *plain, normalize_gates=CELLS[cell][1], backend=backend)
            if backend == "torch":  # computes in memory of its own, so that not a bit differs
                assert same_run(got, want), name
            assert_same(got, want, 1e-6)


@every_op_backend
def test_a_slice_of_a_wider_tensor_gets_its_gradient(backend):
    wide = torch.randn(2, 20, 11, dtype=torch.float64, requires_grad=True)
    h, _ = minrnn_scan(wide[..., :6], "mingru", backend=backend)
    (grad,) = torch.autograd.grad(h.sum(), wide)
    (want,) = torch.autograd.grad(define(wide[..., :6], "mingru")[0].sum(), wide)
    torch.testing.assert_close(grad, want)


@pytest.fixture
def poisoned(monkeypatch):
    """New memory is full of NaN; returns how often it was asked for."""
    count = [0]

    def poisoning(make):
        def poisoned_make(*args, **kwargs):
            out = make(*args, **kwargs)
            count[0] += 1
            return out.fill_(float("nan")) if out.is_floating_point() else out

        return poisoned_make

    for name in ("empty", "empty_like"):
        monkeypatch.setattr(torch, name, poisoning(getattr(torch, name)))
    return count


POISONED = [Case("mingru", "g", 2, 97, 3073), Case("minlstm", "g", 3, 301, 683), *list(feature_cases(37, 5))]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@every_op_backend
@pytest.mark.parametrize("case", POISONED, ids=str)
def test_every_element_is_written(case, backend, dtype, request):
    if backend == "reference" and case.time > 37:
        pytest.skip("a slow loop, which shorter cases cover")
    projected, state, features = case.inputs(dtype)
    args = (minrnn_scan, projected, case.cell_type, state)
    clean = run(*args, backend=backend, **case.options, **features)
    count = request.getfixturevalue("poisoned")
    dirty = run(*args, backend=backend, **case.options, **features)
    assert count[0] >= 2 and same_run(dirty, clean)


@every_op_backend
def test_backward_keeps_the_input_and_h_only(backend):
    projected, state = random_inputs("minlstm", 2, 50, 4, torch.float32)
    projected.requires_grad_(), state.requires_grad_()
    mask = torch.ones(2, 50, dtype=torch.bool)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x) or x, lambda x: x):
        h, _ = minrnn_scan(projected, "minlstm", state, attention_mask=mask, backend=backend)
    floats = sorted(x.numel() for x in saved if x.is_floating_point())
    assert floats == sorted([projected.numel(), h.numel(), state.numel()])
    assert {projected.data_ptr(), h.data_ptr()} <= {x.data_ptr() for x in saved}, "copies were saved"


@pytest.mark.parametrize("time", [1, 5])
@pytest.mark.parametrize("grad", [False, True], ids=["no_grad", "grad"])
@every_backend
def test_results_share_no_memory(backend, grad, time):
    for masked in (None, torch.ones(2, time, dtype=torch.bool)):
        projected, state = random_inputs("mingru", 2, time, 3, torch.float32)
        with torch.set_grad_enabled(grad):
            h, final = minrnn_scan(projected, "mingru", state, attention_mask=masked, backend=backend)
        kept = [x.clone() for x in (final, projected, state)]
        h.fill_(7.0)
        assert all(torch.equal(one, two) for one, two in zip((final, projected, state), kept, strict=True))


# --- the custom op ---------------------------------------------------------------------------------------------------


OP_CASES = [
    (Case("mingru", "g", 2, 40, 5), torch.float32, "torch"),
    (Case("mingru", "g", 2, 40, 5), torch.bfloat16, "torch"),
    (Case("mingru", "g", 2, 20, 5), torch.bfloat16, "reference"),
    (Case("minlstm", "g", 3, 37, 3, feature="mask+resets"), torch.bfloat16, "torch"),
    (Case("minlstm_raw", "g", 1, 37, 3, feature="packed"), torch.float32, "torch"),
    (Case("mingru", "g", 1, 37, 3, state=False, feature="resets+packed"), torch.float32, "torch"),
]


@pytest.mark.parametrize("case, dtype, backend", OP_CASES, ids=str)
def test_opcheck(case, dtype, backend):
    projected, state, features = case.inputs(dtype)
    state = None if state is None else state.float()
    options = (case.cell_type, *case.options.values(), backend)
    rest = (features.get("attention_mask"), features.get("resets"), features.get("cu_seqlens"))
    rest = (None if rest[0] is None else rest[0].bool(), *rest[1:])
    rows = case.batch if rest[2] is None else len(rest[2]) - 1
    utils = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic")
    for view in (projected, projected.transpose(0, 1).contiguous().transpose(0, 1)):
        learned = view.clone().requires_grad_()
        torch.library.opcheck(scan_op(), (learned, state, *rest, *options), test_utils=utils)
        turned = torch.randn(case.channels, rows).T
        for grad_final in (turned, turned.contiguous()):
            grad_h = torch.randn(case.batch, case.time, case.channels).to(dtype)
            args = (grad_h, grad_final, view, torch.randn_like(grad_h), state, *rest, *options)
            torch.library.opcheck(getattr(torch.ops, NAMESPACE).scan_backward.default, args, test_utils=utils)


def compiled_agrees(compiler, backend, features="plain", dynamic=None, batch=2):
    def loss(projected, state, mask, cu_seqlens):
        h, final = minrnn_scan(
            2 * projected, "minlstm", state, attention_mask=mask, cu_seqlens=cu_seqlens, backend=backend
        )
        return (h * h).sum() + final.sum()

    torch._dynamo.reset()
    compiled = torch.compile(loss, fullgraph=True, backend=compiler, dynamic=dynamic)
    for time in (21, 40):
        options = make_features(features, batch, time)
        extra = options.get("attention_mask"), options.get("cu_seqlens")
        rows = batch if extra[1] is None else len(extra[1]) - 1
        projected, _ = random_inputs("minlstm", batch, time, 5, torch.float32)
        results = []
        for function in (loss, compiled):
            # A transposed gradient and state, so that the strides the compiler was promised are put to use.
            inputs = [
                projected.clone().requires_grad_(),
                torch.randn(5, rows, generator=torch.Generator().manual_seed(1)).T,
            ]
            inputs[1].requires_grad_()
            value = function(*inputs, *extra)
            results.append([value.detach(), *torch.autograd.grad(value, inputs)])
        for got, want in zip(*results, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


COMPILED = [("torch", "plain"), ("torch", "mask"), ("torch", "packed"), ("reference", "plain"), ("associative", "mask")]


@pytest.mark.parametrize("backend, features", COMPILED)
def test_compile_without_a_graph_break(backend, features):
    compiled_agrees("aot_eager", backend, features, batch=1 if features == "packed" else 2)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None and shutil.which("clang++") is None, reason="inductor needs a compiler")
def test_compile_with_inductor():
    compiled_agrees("inductor", "torch")


class Scan(torch.nn.Module):
    def __init__(self, backend):
        super().__init__()
        self.backend = backend

    def forward(self, projected, state, mask):
        return minrnn_scan(projected, "minlstm", state, attention_mask=mask, backend=self.backend)


@pytest.mark.parametrize(
    "strict, longest", [(False, 4096), (True, 4096), (False, None)], ids=["non-strict", "strict", "unbounded"]
)
@pytest.mark.parametrize("backend", ["torch", "associative"])
def test_export_with_dynamic_batch_and_time(backend, strict, longest):
    projected, state = random_inputs("minlstm", 2, 9, 3, torch.float32)
    mask = torch.ones(2, 9, dtype=torch.bool)
    batch = torch.export.Dim("batch", min=1, max=64)
    time = torch.export.Dim("time", min=2, max=longest) if longest else torch.export.Dim.DYNAMIC
    dynamic = {"projected": {0: batch, 1: time}, "state": {0: batch}, "mask": {0: batch, 1: time}}
    model = Scan(backend)
    program = torch.export.export(model, (projected, state, mask), dynamic_shapes=dynamic, strict=strict)
    targets = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert any(NAMESPACE in target for target in targets) == (backend == "torch")
    module = program.module()
    for rows, steps in ((1, 2), (3, 5), (2, 64), (5, 129), (1, 1000)):
        projected, state = random_inputs("minlstm", rows, steps, 3, torch.float32, seed=steps)
        mask = make_features("mask", rows, steps)["attention_mask"]
        for got, want in zip(
            module(projected, state, mask), define(projected, "minlstm", state, attention_mask=mask), strict=True
        ):
            torch.testing.assert_close(got, want.float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("reentrant", [False, True], ids=["non-reentrant", "reentrant"])
@every_backend
def test_gradient_checkpointing(backend, reentrant):
    projected, state = random_inputs("minlstm")

    def checkpointed(projected, cell_type, state):
        layer = lambda p, s: minrnn_scan(p, cell_type, s, backend=backend)
        return checkpoint(layer, projected, state, use_reentrant=reentrant)

    if reentrant:  # refuses torch.autograd.grad
        outs = []
        for scan in (checkpointed, define):
            inputs = [x.clone().requires_grad_() for x in (projected, state)]
            out = scan(inputs[0], "minlstm", inputs[1])
            torch.autograd.backward(out, loss_weights(*out))
            outs.append([*out, *(x.grad for x in inputs)])
        for got, want in zip(*outs, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)
    else:
        assert_same(run(checkpointed, projected, "minlstm", state), run(define, projected, "minlstm", state), 1e-10)


@every_backend
def test_gradcheck(backend):
    projected, state = random_inputs("minlstm", 2, 5, 2)
    mask = make_features("mask", 2, 5)["attention_mask"]
    inputs = projected.requires_grad_(), state.requires_grad_()
    for floor in (0.0, 0.4):
        scan = lambda p, s, f=floor: minrnn_scan(
            p, "minlstm", s, forget_gate_floor=f, attention_mask=mask, backend=backend
        )
        assert torch.autograd.gradcheck(scan, inputs)


@every_cell
def test_second_derivatives_of_the_associative_backend(cell):
    projected, state = random_inputs(cell, 1, 4, 2)
    inputs = projected.requires_grad_(), state.requires_grad_()
    scan = lambda p, s: minrnn_scan(p, initial_state=s, **cell_options(cell), backend="associative")
    assert torch.autograd.gradgradcheck(scan, inputs)


@every_op_backend
def test_second_derivatives_of_the_op_are_refused(backend):
    projected, state = random_inputs("mingru")
    projected.requires_grad_()
    h, _ = minrnn_scan(projected, "mingru", state, backend=backend)
    (grad,) = torch.autograd.grad((h * h).sum(), projected, create_graph=True)
    with pytest.raises(NotImplementedError, match="backend='associative'"):
        grad.sum().backward()


def forward_derivative(backend, argument, time=6):
    projected, state = random_inputs("mingru", time=time)
    tangents = [torch.zeros_like(projected), torch.zeros_like(state)]
    tangents[argument] += 1
    scan = lambda p, s: minrnn_scan(p, "mingru", s, backend=backend)
    want = torch.autograd.functional.jvp(lambda p, s: define(p, "mingru", s), (projected, state), tuple(tangents))[1]
    return scan, (projected, state), tuple(tangents), want


@pytest.mark.parametrize("argument", [0, 1], ids=["projected", "state"])
def test_forward_mode_works_without_the_op(argument):
    scan, inputs, tangents, want = forward_derivative("associative", argument)
    for got, exact in zip(torch.func.jvp(scan, inputs, tangents)[1], want, strict=True):
        torch.testing.assert_close(got, exact)


@pytest.mark.parametrize("argument", [0, 1], ids=["projected", "state"])
@every_op_backend
def test_forward_mode_through_the_op_is_refused_and_never_silently_zero(backend, argument):
    scan, inputs, tangents, _ = forward_derivative(backend, argument)
    of_one = lambda x: scan(*inputs[:argument], x, *inputs[argument + 1 :])
    with pytest.raises(NotImplementedError, match="backend='associative'"):
        torch.func.jvp(
            lambda x: scan(*inputs[:argument], x, *inputs[argument + 1 :]), (inputs[argument],), (tangents[argument],)
        )
    with pytest.raises(NotImplementedError, match="backend='associative'"):
        torch.func.jacfwd(lambda x: of_one(x)[1])(inputs[argument])
    with forward_ad.dual_level(), pytest.raises(NotImplementedError, match="backend='associative'"):
        scan(*(forward_ad.make_dual(x, t) for x, t in zip(inputs, tangents, strict=True)))
    with forward_ad.dual_level():  # nothing to differentiate here, so nothing to refuse
        scan(*inputs)


@every_op_backend
def test_forward_mode_of_one_step(backend):
    scan, inputs, tangents, want = forward_derivative(backend, 0, time=1)
    with torch.no_grad():  # past the op
        for got, exact in zip(torch.func.jvp(scan, inputs, tangents)[1], want, strict=True):
            torch.testing.assert_close(got, exact)


@every_backend
def test_vmap_is_right(backend):
    many = torch.stack([random_inputs("minlstm", seed=seed)[0] for seed in range(3)])
    got = torch.func.vmap(lambda p: minrnn_scan(p, "minlstm", backend=backend)[0])(many)
    for p, h in zip(many, got, strict=True):
        torch.testing.assert_close(h, define(p, "minlstm")[0])


@every_backend
def test_functional_gradients_are_right_or_refused(backend):
    projected, _ = random_inputs("minlstm")
    gradient = torch.func.grad(lambda p: minrnn_scan(p, "minlstm", backend=backend)[0].sum())
    if backend != "associative":
        with pytest.raises(RuntimeError):
            gradient(projected)
        return
    learned = projected.clone().requires_grad_()
    (want,) = torch.autograd.grad(define(learned, "minlstm")[0].sum(), learned)
    torch.testing.assert_close(gradient(projected), want)


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=lambda d: str(d)[6:]
)
@every_op_backend
@every_cell
def test_one_step_passes_by_the_op_and_agrees_with_it(cell, backend, dtype, monkeypatch):
    real, calls = scan_module._scan_op, []
    monkeypatch.setattr(scan_module, "_scan_op", lambda *args: calls.append(args) or real(*args))
    projected, state = random_inputs(cell, 3, 1, 5, dtype)
    masks = (None, torch.tensor([[True], [False], [False]]))
    for before in (None, state):
        for mask in masks:
            for resets in (None, torch.tensor([[False], [False], [True]])):
                options = {**cell_options(cell), "attention_mask": mask, "resets": resets, "backend": backend}
                with torch.no_grad():
                    got = minrnn_scan(projected, initial_state=before, **options)
                assert not calls
                want = minrnn_scan(projected, initial_state=before, **options)
                assert len(calls) == 1
                calls.clear()
                for one, two in zip(got, want, strict=True):
                    assert one.dtype == two.dtype
                    torch.testing.assert_close(one, two, rtol=1e-2 if one.dtype.itemsize == 2 else 2e-6, atol=1e-6)


# --- errors ----------------------------------------------------------------------------------------------------------

P, MASK = torch.randn(2, 5, 6), torch.ones(2, 5)
ERRORS = {
    "cell": ((P, "gru"), {}, "cell_type must be 'mingru' or 'minlstm', got 'gru'"),
    "linear": ((P, "linear"), {}, "cell_type must be 'mingru' or 'minlstm', got 'linear'"),
    "candidate": ((P, "mingru"), {"candidate_activation": "tanh"}, "candidate_activation must be 'g' or 'identity'"),
    "floor-1": ((P, "mingru"), {"forget_gate_floor": 1.0}, "forget_gate_floor must be at least 0 and below 1, got 1.0"),
    "floor-negative": ((P, "mingru"), {"forget_gate_floor": -0.1}, "forget_gate_floor must be at least 0"),
    "floor-nan": ((P, "mingru"), {"forget_gate_floor": float("nan")}, "forget_gate_floor"),
    "backend": ((P, "mingru"), {"backend": "cuda"}, "backend must be one of auto, .*, got 'cuda'"),
    "2-D": ((P[0], "mingru"), {}, r"projected must be floating point \[batch, time, 2 \* channels\]"),
    "integer": ((P.long(), "mingru"), {}, r"projected must be .* got torch.int64 of shape \(2, 5, 6\)"),
    "odd-width": ((P[..., :5], "minlstm"), {}, r"projected must be .*3 \* channels"),
    "state-shape": ((P, "mingru", torch.zeros(2, 2)), {}, r"initial_state must be floating point of shape \(2, 3\)"),
    "state-3-D": ((P, "mingru", torch.zeros(2, 1, 3)), {}, "initial_state must be"),
    "state-integer": ((P, "mingru", torch.zeros(2, 3).long()), {}, "initial_state must be"),
    "state-packed": (
        (P[:1], "mingru", torch.zeros(1, 3)),
        {"cu_seqlens": torch.tensor([0, 2, 5])},
        r"initial_state must be .*\(2, 3\)",
    ),
    "mask-float": ((P, "mingru"), {"attention_mask": MASK}, "attention_mask must be bool or integer"),
    "mask-shape": ((P, "mingru"), {"attention_mask": MASK[:, 1:].bool()}, r"attention_mask must be .*shape \(2, 5\)"),
    "mask-4-D": ((P, "mingru"), {"attention_mask": MASK[:, None, None].bool()}, "attention_mask must be"),
    "resets-integer": ((P, "mingru"), {"resets": MASK.long()}, "resets must be bool"),
    "resets-shape": ((P, "mingru"), {"resets": MASK.bool()[:1]}, "resets must be bool"),
    "cu-start": (
        (P[:1], "mingru"),
        {"cu_seqlens": torch.tensor([1, 5])},
        "cu_seqlens must rise from 0 to the length 5",
    ),
    "cu-end": ((P[:1], "mingru"), {"cu_seqlens": torch.tensor([0, 4])}, "cu_seqlens must rise from 0 to the length 5"),
    "cu-beyond": ((P[:1], "mingru"), {"cu_seqlens": torch.tensor([0, 6])}, "cu_seqlens must rise from 0"),
    "cu-falling": ((P[:1], "mingru"), {"cu_seqlens": torch.tensor([0, 3, 2, 5])}, "cu_seqlens must rise"),
    "cu-negative": ((P[:1], "mingru"), {"cu_seqlens": torch.tensor([0, -1, 5])}, "cu_seqlens must rise"),
    "cu-batch": ((P, "mingru"), {"cu_seqlens": torch.tensor([0, 5])}, "cu_seqlens needs batch size 1, got 2: flatten"),
    "cu-float": (
        (P[:1], "mingru"),
        {"cu_seqlens": torch.tensor([0.0, 5.0])},
        "cu_seqlens must be a 1-D integer tensor",
    ),
    "cu-bool": ((P[:1, :1], "mingru"), {"cu_seqlens": torch.tensor([False, True])}, "cu_seqlens must be a 1-D integer"),
    "cu-2-D": ((P[:1], "mingru"), {"cu_seqlens": torch.tensor([[0, 5]])}, "cu_seqlens must be a 1-D integer tensor"),
    "cu-short": ((P[:1], "mingru"), {"cu_seqlens": torch.tensor([0])}, "cu_seqlens must be a 1-D integer tensor"),
    "cu-list": ((P[:1], "mingru"), {"cu_seqlens": [0, 5]}, r"cu_seqlens must be .*got \[0, 5\]"),
}


@pytest.mark.parametrize("grad", [True, False], ids=["grad", "no_grad"])
@pytest.mark.parametrize("args, options, message", ERRORS.values(), ids=ERRORS)
def test_errors(args, options, message, grad):
    with torch.set_grad_enabled(grad):
        with pytest.raises(ValueError, match=message):
            minrnn_scan(*args, **options)
        torch.testing.assert_close(minrnn_scan(P, "mingru")[0], define(P, "mingru")[0].float())  # it still works


LINEAR_ERRORS = {
    "2-D": (
        (P[0], P[0]),
        {},
        r"a must be floating point \[batch, time, channels\], got torch.float32 of shape \(5, 6\)",
    ),
    "integer": ((P.long(), P.long()), {}, "a must be floating point"),
    "shapes": ((P, P[:, :4]), {}, r"b must be like a, torch.float32 of shape \(2, 5, 6\)"),
    "broadcast": ((P, P[:1]), {}, "b must be like a"),
    "dtypes": ((P, P.double()), {}, "b must be like a, .*got torch.float64"),
    "state": ((P, P, torch.zeros(2, 5)), {}, r"initial_state must be .*\(2, 6\)"),
    "backend": ((P, P), {"backend": "cub"}, "backend must be one of"),
}


@pytest.mark.parametrize("args, options, message", LINEAR_ERRORS.values(), ids=LINEAR_ERRORS)
def test_errors_of_the_linear_scan(args, options, message):
    with pytest.raises(ValueError, match=message):
        linear_scan(*args, **options)
    assert linear_scan(torch.ones(1, 3, 1), torch.ones(1, 3, 1))[0].flatten().tolist() == [1, 2, 3]


def test_resolve_backend():
    assert resolve_backend() == "torch"
    assert [resolve_backend(name) for name in BACKENDS] == list(BACKENDS)
    assert set(scan_module.BACKENDS) >= {"auto", *BACKENDS}
    with pytest.raises(ValueError, match="backend must be one of auto, reference, torch"):
        resolve_backend("fast")


@every_backend
def test_auto_and_names_give_the_same(backend):
    projected, state = random_inputs("mingru")
    got, want = minrnn_scan(projected, "mingru", state, backend=backend), minrnn_scan(projected, "mingru", state)
    for one, two in zip(got, want, strict=True):
        torch.testing.assert_close(one, two)


# --- the files themselves --------------------------------------------------------------------------------------------

SOURCES = [Path(scan_module.__file__).with_name(f"{name}.py") for name in ("gates", "scan")]
SOURCES += [Path(module.__file__) for module in (scan_associative, scan_reference, scan_torch)]


def copy_sources(folder, name, changed=None):
    (folder / name).mkdir()
    (folder / name / "__init__.py").touch()
    for source in Path(scan_module.__file__).parent.glob("*.py"):
        if source in SOURCES or source.name.startswith("scan_"):
            text = source.read_text(encoding="utf-8")
            (folder / name / source.name).write_text(
                text + ("# changed\n" if source.name == changed else ""), encoding="utf-8"
            )


def test_each_revision_of_the_sources_has_an_op_of_its_own(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    want = define(P, "mingru")[0].float()
    namespaces = {NAMESPACE}
    for source in SOURCES:
        copy_sources(tmp_path, f"changed_{source.stem}", source.name)
        copy = importlib.import_module(f"changed_{source.stem}.scan")
        namespaces.add(copy.NAMESPACE)
        torch.testing.assert_close(copy.minrnn_scan(P, "mingru")[0], want)
    assert len(namespaces) == len(SOURCES) + 1, "a change of some file left the op's name as it was"
    # Two revisions that differ in what they compute, side by side.
    copy_sources(tmp_path, "other")
    gates_file = tmp_path / "other" / "gates.py"
    text = gates_file.read_text(encoding="utf-8")
    assert text.count("x + 0.5, torch.sigmoid(x)") == 1
    gates_file.write_text(text.replace("x + 0.5, torch.sigmoid(x)", "x + 1.5, torch.sigmoid(x)"), encoding="utf-8")
    other = importlib.import_module("other.scan")
    assert not torch.allclose(other.minrnn_scan(P, "mingru", backend="reference")[0], want)
    torch.testing.assert_close(minrnn_scan(P, "mingru", backend="reference")[0], want)


def test_the_scan_files_need_torch_only(tmp_path):
    copy_sources(tmp_path, "bare")
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('transformers', 'numba', 'triton', 'hf_minrnn')))\n"
        "import torch; from bare.scan import minrnn_scan\n"
        "p = torch.randn(2, 5, 6, requires_grad=True)\n"
        "minrnn_scan(p, 'mingru')[0].sum().backward(); print(p.grad.isfinite().all().item())"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert out.stdout.strip() == "True", out.stderr


def test_the_namespace_is_made_of_the_sources():
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(SOURCES))).hexdigest()
    assert NAMESPACE.startswith("hf_minrnn_") and len(NAMESPACE) == len("hf_minrnn_") + 16
    assert digest.startswith(NAMESPACE.removeprefix("hf_minrnn_"))
