# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The public scans on every backend against the float64 definition, in every precision; errors, and names of backends."""

import itertools

import pytest
import torch
from support.definition import assert_runs_close, defined_scan, loss_weights, run_with_gradients
from support.scan_cases import (
    BACKENDS,
    CELLS,
    TOLERANCES,
    Case,
    assert_matches_definition,
    cell_options,
    every_backend,
    every_cell,
    grid,
    make_features,
    poisoned,
    random_inputs,
)

from hf_minrnn import scan as scan_module
from hf_minrnn import scan_torch
from hf_minrnn.gates import ScanSpec
from hf_minrnn.scan import linear_scan, minrnn_scan, scan_step

# --- against the definition ------------------------------------------------------------------------------------------


# Channels and steps at which the default backend leaves its single tile of chunks: a plain loop over time, and several
# tiles of several chunks each, with a remainder.
WIDE = [
    Case("mingru", "g", 2, 97, 3073),
    Case("minlstm", "identity", 1, 43, 6145, -1.0),
    Case("minlstm_raw", "g", 2, 45, 3201, -0.5),
]
CHUNKED = [
    Case("mingru", "identity", 3, 301, 683, -1.0),
    Case("minlstm", "g", 1, 613, 1025, -0.5),
    Case("minlstm_raw", "g", 1, 341, 2049),
]
# Resets to a state that is given, over chunks with and without one, over tiles, and in a plain loop.
RESTARTED = [
    Case("mingru", "g", 2, 301, 5, -1.0, feature="resets_rare+reset_state"),
    Case("minlstm", "identity", 1, 341, 2049, state=False, feature="mask+resets_rare+reset_state"),
    Case("mingru", "identity", 2, 43, 3073, feature="resets+reset_state"),
]


def on_backends():
    """The grid on every backend, and the other cases on the backends that divide time into tiles."""
    for case, dtype in grid():
        for backend in BACKENDS:
            yield pytest.param(case, dtype, backend, id=f"{case}-{str(dtype)[6:]}-{backend}")
    for case in (*WIDE, *CHUNKED, *RESTARTED):
        for dtype in (torch.float32, torch.bfloat16):
            for backend in ("torch", "numba"):
                yield pytest.param(case, dtype, backend, id=f"{case}-{str(dtype)[6:]}-{backend}")


@pytest.mark.parametrize("case, dtype, backend", on_backends())
def test_values_and_gradients(case, dtype, backend, monkeypatch):
    projected, state, features = case.inputs(dtype)
    if case.time == 1:  # plain torch computes a single step; the kernels must be right for one too
        assert_matches_definition(
            run_with_gradients(minrnn_scan, projected, case.cell_type, state, **case.options, **features), case, dtype
        )
        monkeypatch.setattr(scan_module, "is_one_step", lambda *_: False)
    with poisoned() as count:
        got = run_with_gradients(
            minrnn_scan, projected, case.cell_type, state, backend=backend, **case.options, **features
        )
    assert count[0] >= 2 or backend == "associative"  # it never calls torch.empty
    assert_matches_definition(got, case, dtype)


def test_the_grid_has_every_pair():
    rows = []
    for case, dtype in grid():
        kind = (case.cell, case.candidate)
        rows.append((case.feature, kind, case.time, dtype, case.floor, case.state))
        assert case.channels % 2 == 1
    choices = [set(column) for column in zip(*rows, strict=True)]
    assert choices[2] == {1, 2, 63, 64, 129, 1000} and [len(choice) for choice in choices[3:]] == [4, 4, 2]
    for i, j in itertools.combinations(range(len(choices)), 2):
        assert {(row[i], row[j]) for row in rows} == set(itertools.product(choices[i], choices[j]))


def test_the_wide_cases_take_the_paths_they_are_meant_for():
    for case in WIDE:
        places = scan_torch.tiles(case.time, case.batch * case.channels)
        assert len(places) > 1 and {chunks for _, chunks, _ in places} == {1}
    for case in CHUNKED:
        places = scan_torch.tiles(case.time, case.batch * case.channels)
        assert sum(chunks > 1 for _, chunks, _ in places) >= 2 and places[-1][1] == 1


ALONE = [Case("mingru", "g", 2, 9, 3), Case("minlstm_raw", "identity", 1, 9, 3, -1.0, True, "packed")]


@every_backend
@pytest.mark.parametrize("case", ALONE, ids=str)
def test_gradients_of_h_alone_and_of_the_final_state_alone(case, backend):
    projected, state, features = case.inputs(torch.float64)
    for chosen in (0, 1):
        results = []
        for scan, extra in ((minrnn_scan, {"backend": backend}), (defined_scan, {})):
            inputs = [projected.clone().requires_grad_(), state.clone().requires_grad_()]
            out = scan(inputs[0], case.cell_type, inputs[1], **case.options, **features, **extra)
            results.append(torch.autograd.grad(out[chosen], inputs, loss_weights(*out)[chosen]))
        for got, want in zip(*results, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)


def linear(projected, cell_type, initial_state=None, **options):
    """`linear_scan` with the arguments of `minrnn_scan`."""
    return linear_scan(*projected.chunk(2, -1), initial_state, **options)


LINEAR_FEATURES = ("plain", "mask", "resets", "packed", "mask+resets+reset_state", "resets_rare+reset_states")
LINEAR_FEATURES += ("mask+resets+packed+reset_state", "mask+resets+packed+reset_states")


@every_backend
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("features", LINEAR_FEATURES)
def test_linear_scan(features, dtype, backend):
    """Decays of either sign and beyond 1, for every length that a backend divides differently."""
    for batch, time, channels in ((2, 1, 3), (2, 50, 3), (1, 613, 5), (1, 341, 1025)):
        batch = 1 if "packed" in features else batch
        if channels > 1000 and (backend not in ("torch", "numba") or "packed" in features):
            continue
        generator = torch.Generator().manual_seed(time)
        a = 2.2 * torch.rand(batch, time, channels, generator=generator) - 1.1
        a[0, 0, :3] = torch.tensor([-1.0, 0.0, 1.0])
        projected = torch.cat([a, torch.randn(batch, time, channels, generator=generator)], -1)
        options = make_features(features, batch, time, channels)
        rows = len(options["cu_seqlens"]) - 1 if "cu_seqlens" in options else batch
        state = torch.randn(rows, channels, generator=generator)
        wide = {name: x.double() if name == "reset_state" else x for name, x in options.items()}
        want = run_with_gradients(defined_scan, projected.double(), "linear", state.double(), **wide)
        if "reset_state" in options:
            options["reset_state"] = options["reset_state"].to(dtype)
        got = run_with_gradients(linear, projected.to(dtype), "linear", state.to(dtype), backend=backend, **options)
        assert_runs_close(got, want, *TOLERANCES[dtype])


@every_cell
def test_scan_step_is_a_scan_of_one_step(cell):
    projected, state = random_inputs(cell, batch=3, time=1)
    resets = torch.tensor([[True], [False], [True]])
    cell_type, normalize, _ = CELLS[cell]
    for options in ({}, {"resets": resets}, {"resets": resets, "reset_state": state[1] + 1}):
        want = defined_scan(projected, cell_type, state, normalize_gates=normalize, **options)
        h, final = scan_step(projected[:, 0], state, ScanSpec(cell_type, "g", normalize), **options)
        torch.testing.assert_close(h, want[0][:, 0], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(final, want[1], rtol=1e-12, atol=1e-12)
    h, _ = scan_step(projected[:, 0], None, ScanSpec(cell_type, "g", normalize))
    torch.testing.assert_close(h, defined_scan(projected, cell_type, normalize_gates=normalize)[0][:, 0])
    h, _ = scan_step(projected[:, 0], state, ScanSpec(cell_type, "g", normalize), resets=resets, reset_state=2 * state)
    one = defined_scan(
        projected, cell_type, state, normalize_gates=normalize, resets=resets, reset_state=2 * state[:, None]
    )
    torch.testing.assert_close(h, one[0][:, 0], rtol=1e-12, atol=1e-12)
    with pytest.raises(ValueError, match=r"reset_state must be floating point of shape \(3,\) or \(3, 3\)"):
        scan_step(projected[:, 0], state, ScanSpec(cell_type), resets=resets, reset_state=state[:2])


@every_backend
def test_empty_inputs(backend):
    """No steps, no rows or no channels: the state passes through, gradient included."""
    for batch, time, channels in ((2, 0, 3), (0, 4, 3), (2, 4, 0)):
        projected, state = random_inputs("mingru", batch, time, channels)
        got = run_with_gradients(minrnn_scan, projected, "mingru", state, backend=backend)
        assert_runs_close(got, run_with_gradients(defined_scan, projected, "mingru", state), 1e-12)
    projected, state = random_inputs("mingru", 1, 0, 3)
    for batch, time, channels in ((2, 0, 3), (0, 4, 3), (2, 4, 0)):
        inputs, before = random_inputs("mingru", batch, time, channels)
        features = {"resets": torch.ones(batch, time, dtype=torch.bool), "reset_state": torch.ones(channels)}
        got = run_with_gradients(minrnn_scan, inputs, "mingru", before, backend=backend, **features)
        assert got["d_reset"].shape == (channels,) and not got["d_reset"].any()
    got = run_with_gradients(minrnn_scan, projected, "mingru", state, cu_seqlens=torch.tensor([0, 0]), backend=backend)
    assert torch.equal(got["final"], state) and torch.equal(got["d_initial"], loss_weights(got["h"], state)[1])


# --- the state's precision, extremes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
@every_backend
@every_cell
def test_reduced_precision_is_float32_rounded_once(cell, backend, dtype):
    """Compared with float32 on the same backend, which is closer than the float64 definition."""
    case = Case(cell, "g", 2, 70, 5, -1.0)
    projected, state, _ = case.inputs(dtype)
    with torch.no_grad():
        got, want = (
            minrnn_scan(p, case.cell_type, state.float(), backend=backend, **case.options)
            for p in (projected, projected.float())
        )
    # Nothing but h is rounded. (Its last bit may go either way where the arithmetic is in another order.)
    torch.testing.assert_close(got[0].float(), want[0], rtol=torch.finfo(dtype).eps / 2 * 1.01, atol=1e-6)
    torch.testing.assert_close(got[1], want[1], rtol=1e-6, atol=1e-6)


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
            state, start = state.bfloat16().requires_grad_(), torch.ones(3, dtype=torch.bfloat16, requires_grad=True)
            resets = torch.arange(2)[:, None].expand(2, time) == 0
            options = {"resets": resets, "reset_state": start, "backend": backend}
            minrnn_scan(projected, "mingru", state, **options)[1].sum().backward()
            assert state.grad.dtype == start.grad.dtype == torch.bfloat16
            with torch.no_grad():  # nor does it change the others
                h, final = minrnn_scan(projected, "mingru", state, **options | {"reset_state": start.double()})
            assert h.dtype == dtype and final.dtype == wide


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
@pytest.mark.parametrize("candidate, floor", [("g", 0.0), ("identity", -1.0)])
@every_cell
def test_extreme_projections_stay_finite(cell, candidate, floor, backend, dtype):
    projected = extreme_inputs(CELLS[cell][2], dtype)
    state = torch.full((2, 33), 1e3)
    options = {**cell_options(cell), "candidate_activation": candidate, "forget_gate_floor": floor}
    got = run_with_gradients(minrnn_scan, projected, options.pop("cell_type"), state, backend=backend, **options)
    if floor < 0 and dtype == torch.float16:  # the state grows, and a gradient beyond float16 is infinite
        got = {"h": got["h"], "final": got["final"]}
    assert all(value.isfinite().all() for value in got.values())
    if dtype == torch.float32:
        want = run_with_gradients(defined_scan, projected.double(), CELLS[cell][0], state.double(), **options)
        assert_runs_close(got, want, 1e-5, 5e-5)


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
    signs = 1 - 2.0 * (torch.arange(20) % 2)
    projected = torch.full((1, 20, 2), 1e4, dtype=torch.float16)  # a decay of -1, and candidates of alternating sign
    projected[0, :, 1] *= signs
    options = {"candidate_activation": "identity", "forget_gate_floor": -1.0, "backend": backend}
    h, final = minrnn_scan(projected, "mingru", **options)
    want = torch.arange(1, 21) * 2e4 * signs
    torch.testing.assert_close(h.flatten().float(), want.clamp(-65504, 65504), rtol=1e-3, atol=0)
    torch.testing.assert_close(final.item(), want[-1].item())


# --- errors ----------------------------------------------------------------------------------------------------------

P, MASK = torch.randn(2, 5, 6), torch.ones(2, 5)
ERRORS = {
    "cell": ((P, "gru"), {}, "cell_type must be 'mingru' or 'minlstm', got 'gru'"),
    "linear": ((P, "linear"), {}, "cell_type must be 'mingru' or 'minlstm', got 'linear'"),
    "candidate": ((P, "mingru"), {"candidate_activation": "tanh"}, "candidate_activation must be 'g' or 'identity'"),
    "floor-1": (
        (P, "mingru"),
        {"forget_gate_floor": 1.0},
        "forget_gate_floor must be at least -1 and below 1, got 1.0",
    ),
    "floor-negative": ((P, "mingru"), {"forget_gate_floor": -1.1}, "forget_gate_floor must be at least -1"),
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
    "start-shape": (
        (P, "mingru"),
        {"resets": MASK.bool(), "reset_state": torch.zeros(2, 3)},
        r"reset_state must be floating point of shape \(3,\) or \(2, 5, 3\), got torch.float32 of shape \(2, 3\)",
    ),
    "start-one": ((P, "mingru"), {"resets": MASK.bool(), "reset_state": torch.zeros(1)}, "reset_state must be"),
    "start-integer": ((P, "mingru"), {"resets": MASK.bool(), "reset_state": torch.zeros(3).int()}, "reset_state must"),
    "start-number": ((P, "mingru"), {"resets": MASK.bool(), "reset_state": 1.0}, "reset_state must be .*got 1.0"),
    "start-alone": ((P, "mingru"), {"reset_state": torch.zeros(3)}, "reset_state needs resets"),
    "start-one-step": ((P[:, :1], "mingru"), {"reset_state": torch.zeros(3)}, "reset_state needs resets"),
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
        torch.testing.assert_close(minrnn_scan(P, "mingru")[0], defined_scan(P, "mingru")[0].float())  # it still works


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


@every_backend
def test_auto_and_named_backends_give_the_same_results(backend):
    projected, state = random_inputs("mingru")
    got, want = minrnn_scan(projected, "mingru", state, backend=backend), minrnn_scan(projected, "mingru", state)
    for one, two in zip(got, want, strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize("name", ["initial_state", "attention_mask", "cu_seqlens", "resets", "reset_state"])
def test_tensors_on_another_device_are_rejected(name):
    """With a tensor on "meta" the op would return uninitialized memory."""
    projected = torch.randn(1, 6, 8)
    given = {
        "initial_state": torch.zeros(1, 4),
        "attention_mask": torch.ones(1, 6, dtype=torch.bool),
        "cu_seqlens": torch.tensor([0, 6]),
        "resets": torch.zeros(1, 6, dtype=torch.bool),
    }
    features = (
        {"resets": given["resets"], "reset_state": torch.zeros(4)} if name == "reset_state" else {name: given[name]}
    )
    minrnn_scan(projected, "mingru", **features)
    features[name] = features[name].to("meta")
    for backend in ("auto", "numba", "associative"):
        with pytest.raises(ValueError, match=rf"{name} is on meta and the input on cpu: use {name}\.to\('cpu'\)"):
            minrnn_scan(projected, "mingru", backend=backend, **features)


REMEDIES = {  # wrong arguments, the error, and the arguments after following its advice
    "batch": (
        lambda p, cu: minrnn_scan(p, "mingru", cu_seqlens=cu),
        "flatten the batch first",
        lambda p, cu: minrnn_scan(p.flatten(0, 1)[None], "mingru", cu_seqlens=torch.cat([cu, 4 + cu[1:]])),
    ),
    "device": (
        lambda p, cu: minrnn_scan(p, "mingru", p.new_zeros(2, 3, device="meta")),
        r"use initial_state\.to\('cpu'\)",
        lambda p, cu: minrnn_scan(p, "mingru", p.new_zeros(2, 3).to("cpu")),
    ),
    "backend": (
        lambda p, cu: minrnn_scan(p.to("meta"), "mingru", backend="numba"),
        "choose 'auto' or 'torch'",
        lambda p, cu: [minrnn_scan(p.to("meta"), "mingru", backend=backend) for backend in ("auto", "torch")],
    ),
    "transforms": (
        lambda p, cu: torch.func.grad(lambda p: minrnn_scan(p, "mingru", backend="torch")[1].sum())(p),
        "use backend='associative', or 'auto'",
        lambda p, cu: [
            torch.func.grad(lambda p, name=name: minrnn_scan(p, "mingru", backend=name)[1].sum())(p)
            for name in ("associative", "auto")
        ],
    ),
}


@pytest.mark.parametrize("refused, message, followed", REMEDIES.values(), ids=REMEDIES)
def test_remedies_work(refused, message, followed):
    projected, bounds = torch.randn(2, 4, 6), torch.tensor([0, 4])
    with pytest.raises((ValueError, NotImplementedError), match=message):
        refused(projected, bounds)
    followed(projected, bounds)


@pytest.mark.parametrize("cell_type", ["mingru", "minlstm"])
@pytest.mark.parametrize("time", [1, 2])
def test_a_nan_in_the_padding_reaches_no_gradient(time, cell_type):
    projected = torch.randn(2, time, 4 if cell_type == "mingru" else 6)
    projected[0, 0] = float("nan")
    mask = torch.ones(2, time, dtype=torch.bool)
    mask[0, 0] = False
    inputs = [projected.requires_grad_(), torch.randn(2, 2, requires_grad=True)]
    h, final = minrnn_scan(inputs[0], cell_type, inputs[1], attention_mask=mask)
    for gradient in torch.autograd.grad([h.sum() + final.sum()], inputs):
        assert gradient.isfinite().all()
