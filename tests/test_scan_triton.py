# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The GPU kernels against the float64 definition: on a GPU with `pytest -m gpu`, and anywhere in triton's interpreter.

Triton decides at import whether to interpret, and torch's compiler does not work with an interpreting one. So the default run
starts this file again in another process, `test_in_the_interpreter`, which runs the tests of the kernels. The process of the
default run itself only runs the tests without kernels.
"""

import itertools
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
import torch
from support.definition import assert_runs_close, defined_scan, run_with_gradients
from support.scan_cases import (
    CELLS,
    FLOORS,
    KINDS,
    TOLERANCES,
    Case,
    assert_matches_definition,
    cell_options,
    every_cell,
    feature_cases,
    grid,
    make_features,
    move_to,
    poisoned,
    random_inputs,
)
from torch.utils.checkpoint import checkpoint

from hf_minrnn import scan as scan_module
from hf_minrnn import scan_triton, scan_triton_kernels
from hf_minrnn.gates import ScanSpec
from hf_minrnn.scan import linear_scan, minrnn_scan, scan_step

INTERPRETED = scan_triton.INTERPRETED
DEVICE = "cpu" if INTERPRETED else "cuda"
SLOW = pytest.mark.slow if INTERPRETED else ()
ROOT = Path(__file__).parent.parent


def runs_kernels(test):
    """Marks a test as one for a GPU, unless this process interprets."""
    if INTERPRETED:
        return test
    no_gpu = not (scan_triton.INSTALLED and torch.cuda.is_available())
    return pytest.mark.gpu(pytest.mark.skipif(no_gpu, reason="needs a GPU and triton")(test))


@pytest.mark.skipif(INTERPRETED, reason="this process interprets")
@pytest.mark.skipif(not scan_triton.INSTALLED, reason="triton is not installed")
@pytest.mark.parametrize("which", ["not slow", pytest.param("slow", marks=pytest.mark.slow)])
def test_in_the_interpreter(which):
    command = [sys.executable, "-W", "ignore", "-m", "pytest", __file__, "-q", "-p", "no:cacheprovider", "-m"]
    done = subprocess.run(
        [*command, f"{which} and not gpu"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "TRITON_INTERPRET": "1"},
    )
    if "only 0-dimensional arrays can be converted" in done.stdout:
        pytest.skip("triton's interpreter before 3.9 needs numpy before 2.4")
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout[-6000:] + done.stderr[-2000:]


# --- values and gradients --------------------------------------------------------------------------------------------

# Small tiles: (runs, steps, channels of a program), and steps of a chunk if time is cut. Only the grid tests the shipped tiles.
# If a program's channels divide the three channels of the cases, nothing is masked.
TILINGS = {
    "one run": ((1, 4, 4), None),
    "one run, whole": ((1, 4, 1), None),
    "two runs": ((2, 2, 2), None),
    "one run, chunks": ((1, 2, 4), 4),
    "two runs, chunks": ((2, 2, 4), 4),
}


def set_tiling(monkeypatch, name):
    (runs, steps, channels), chunk = TILINGS[name]
    table = {0: (scan_triton.Tile(runs, steps, channels, 1, 2),) * 4}
    monkeypatch.setattr(scan_triton, "TILES", {"forward": table, "backward": table})
    sizes = (0, 1, 1) if chunk is None else (1 << 30, chunk, 2)
    for constant, value in zip(("CHUNKED_CHANNELS", "CHUNK_STEPS", "CHUNKS"), sizes, strict=True):
        monkeypatch.setattr(scan_triton, constant, value)


def triton_run(projected, cell_type, state, **options):
    """Calls `run` with the kernels, from and to the CPU."""

    def scan(projected, cell_type, initial_state=None, **options):
        moved = move_to(DEVICE, projected, initial_state, options)
        return [x.cpu() for x in minrnn_scan(moved[0], cell_type, moved[1], backend="triton", **moved[2])]

    return run_with_gradients(scan, projected, cell_type, state, **options)


def check(case, dtype):
    projected, state, features = case.inputs(dtype)
    # A single step is usually computed by plain torch. The kernels must be right for it too.
    with mock.patch.object(scan_module, "is_one_step", lambda *_: False), poisoned() as count:
        got = triton_run(projected, case.cell_type, state, **case.options, **features)
    assert count[0] >= 2
    assert_matches_definition(got, case, dtype, truncated=INTERPRETED)  # a GPU rounds bfloat16


def shipped():
    """The grid. A tile takes a third of a second in the interpreter, so only short cases have every dtype and cell there."""
    for case, dtype in grid():
        quick = case.time < 100 and case.feature in ("plain", "mask+resets+packed+reset_state+strided")
        yield pytest.param(case, dtype, marks=() if quick else SLOW, id=f"{case}-{str(dtype)[6:]}")


@runs_kernels
@pytest.mark.parametrize("case, dtype", shipped())
def test_values_and_gradients(case, dtype):
    check(case, dtype)


def plain_cases(time=11, channels=3):
    for i, (cell, candidate) in enumerate(KINDS):
        yield Case(cell, candidate, 2, time, channels, FLOORS[i % 4], state=i % 3 > 0)


def tiled():
    """`(case, tiling)`: every feature with every cell, with the tilings in turn."""
    for i, (case, tiling) in enumerate(zip([*plain_cases(), *feature_cases(11, 3)], itertools.cycle(TILINGS))):
        yield pytest.param(case, tiling, marks=SLOW if i % 6 else (), id=f"{case}-{tiling}")


@runs_kernels
@pytest.mark.parametrize("case, tiling", tiled())
def test_any_tiling(case, tiling, monkeypatch):
    set_tiling(monkeypatch, tiling)
    check(case, torch.float64)


@runs_kernels
@pytest.mark.parametrize("features", ["plain", "mask+resets+reset_state", "resets+packed+reset_states"])
@pytest.mark.parametrize("tiling", ["one run", "two runs, chunks"])
def test_linear_scan(tiling, features, monkeypatch):
    set_tiling(monkeypatch, tiling)
    batch = 1 if "packed" in features else 2
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(batch, 11, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    a[0, 5] = 0  # a decay of 0
    options = make_features(features, batch, 11, 3)
    if "reset_state" in options:
        options["reset_state"] = options["reset_state"].double()
    rows = len(options["cu_seqlens"]) - 1 if "packed" in features else batch

    def scan(projected, _, initial_state, **options):
        *inputs, options = move_to(DEVICE, *projected.chunk(2, -1), initial_state, options)
        return [x.cpu() for x in linear_scan(*inputs, **options, backend="triton")]

    args = (torch.cat([a, b], -1), "linear", torch.ones(rows, 3, dtype=torch.float64))
    with poisoned():
        got = run_with_gradients(scan, *args, **options)
    assert_runs_close(got, run_with_gradients(defined_scan, *args, **options), 1e-10)


@runs_kernels
@pytest.mark.parametrize(
    "case",
    [
        Case("mingru", "g", 2, 11, 3, 0.4, feature="mask+resets+reset_states"),
        Case("minlstm", "identity", 2, 11, 3, -1.0, feature="mask+resets+reset_states"),
        Case("minlstm", "g", 2, 11, 3, 0.4, feature="mask+gaps"),
    ],
    ids=str,
)
def test_inputs_that_are_rewritten_before_the_scan(case, monkeypatch):
    set_tiling(monkeypatch, "two runs, chunks")
    projected, state, features = case.inputs(torch.float32)
    got = triton_run(projected, case.cell_type, state, **case.options, **features)
    assert_matches_definition(got, case, torch.float32)


@runs_kernels
@pytest.mark.parametrize("cell", ["mingru", "minlstm_raw"])
def test_gaps_of_zero_have_a_gradient(cell, monkeypatch):
    set_tiling(monkeypatch, "one run")
    projected, state = random_inputs(cell, 2, 5, 3, dtype=torch.float32)
    options = {"normalize_gates": CELLS[cell][1], "time_delta": torch.zeros(2, 5)}
    got = triton_run(projected, CELLS[cell][0], state, **options)
    want = run_with_gradients(defined_scan, projected, CELLS[cell][0], state, **options)
    assert_runs_close({"d_gaps": got["d_gaps"]}, {"d_gaps": want["d_gaps"]}, 1e-5)
    assert cell != "mingru" or torch.equal(got["final"], state)


@runs_kernels
@pytest.mark.parametrize("cell, floor", [("mingru", -1.0), ("minlstm", 0.0), ("minlstm_raw", -1.0)])
def test_extreme_projections_stay_finite(cell, floor, monkeypatch):
    set_tiling(monkeypatch, "two runs")
    parts = CELLS[cell][2]
    corners = torch.cartesian_prod(*[torch.tensor([-1e4, -89.0, 0.0, 89.0, 1e4])] * parts)
    if INTERPRETED:
        corners = corners[:: len(corners) // 24]
    projected = corners.T.flatten().expand(1, 5, -1).clone()
    state = torch.full((1, len(corners)), 1e3)
    options = {"normalize_gates": CELLS[cell][1], "forget_gate_floor": floor}
    got = triton_run(projected, CELLS[cell][0], state, **options)
    want = run_with_gradients(defined_scan, projected.double(), CELLS[cell][0], state.double(), **options)
    assert_runs_close(got, want, *TOLERANCES[torch.float32])


@runs_kernels
def test_float16_saturates(monkeypatch):
    set_tiling(monkeypatch, "one run")
    projected = torch.full((1, 10, 3), 1e4, dtype=torch.float16, device=DEVICE)
    h, final = minrnn_scan(projected, "minlstm", normalize_gates=False, backend="triton")
    torch.testing.assert_close(
        h.flatten().float().cpu(), (torch.arange(1, 11) * 1e4).clamp(max=65504), rtol=1e-3, atol=0
    )
    assert h.max().item() == 65504 and abs(final.item() - 1e5) < 100
    leaf = torch.zeros(1, 1, 2, dtype=torch.float16, device=DEVICE, requires_grad=True)  # a loss scaler looks for inf
    h, _ = minrnn_scan(leaf, "mingru", torch.full((1, 1), 1e5, device=DEVICE), backend="triton")
    assert torch.autograd.grad(h, leaf, torch.full_like(h, 1e4))[0].flatten().tolist() == [-torch.inf, 5e3]


@runs_kernels
@pytest.mark.parametrize("place", [2, 8])  # of the NaN, in twelfths of the time; the boundary is in the middle
@pytest.mark.parametrize("tiling, n", [pytest.param(None, 6, marks=SLOW), ("two runs, chunks", 2)])
def test_no_nan_leaks_over_a_boundary(tiling, n, place, monkeypatch):
    """Neither the run with the boundary nor later runs and chunks see the NaN, forward and backward."""
    if tiling:
        set_tiling(monkeypatch, tiling)
    time = torch.arange(12 * n)
    projected, state = random_inputs("minlstm", 2, len(time), 3)
    bad = projected.clone()
    bad[:, place * n : (place + 2) * n] = float("nan")
    hidden, beyond = time // (2 * n) != place // 2, (time >= 6 * n) == (place < 6)
    packing = {"cu_seqlens": torch.tensor([0, 6 * n, 6 * n, 12 * n])}
    for options in ({"resets": time.expand(2, -1) == 6 * n}, {"attention_mask": hidden.expand(2, -1)}, packing):
        rows, before = (slice(1), state[:1].repeat(3, 1)) if "cu_seqlens" in options else (slice(2), state)
        one, two = (triton_run(p[rows], "minlstm", before, forget_gate_floor=-1.0, **options) for p in (projected, bad))
        masked = "attention_mask" in options
        assert torch.equal(*(x["h"][:, hidden if masked else beyond] for x in (one, two)))
        assert torch.equal(one["d_projected"][:, beyond | masked], two["d_projected"][:, beyond | masked])
        if masked or place < 6:
            assert torch.equal(one["final"][-1], two["final"][-1])
        if masked or place > 6:
            assert torch.equal(one["d_initial"][0], two["d_initial"][0])


@runs_kernels
def test_any_strides(monkeypatch):
    """Slices of wider tensors, time as the first axis, and gradients and states that are not contiguous."""
    set_tiling(monkeypatch, "two runs")
    wide, state = random_inputs("minlstm", 2, 7, 4)
    wide, state = move_to(DEVICE, wide, state)
    mask = (torch.arange(14, device=DEVICE).view(7, 2) % 3 > 0).T
    views = (wide[..., 2:11], wide[:, :, :9].transpose(0, 1).contiguous().transpose(0, 1), wide[..., ::2][..., :6])
    for view in (*views, wide[:1].expand(3, -1, -1)):
        rows, channels = len(view), view.shape[-1] // 3
        before = state.T[:channels, :1].T.expand(rows, -1)
        keep = mask[:1].expand(rows, -1)
        results = []
        for projected, scan in ((view, "triton"), (view.contiguous(), "reference")):
            projected = projected.detach().requires_grad_()
            h, final = minrnn_scan(projected, "minlstm", before, attention_mask=keep, backend=scan)
            grad_h, grad_final = h.detach().transpose(1, 2).contiguous().transpose(1, 2), torch.ones_like(final[:1])
            grads = torch.autograd.grad([h, final], projected, [grad_h, grad_final.expand(rows, -1)])
            results.append([h.detach(), final.detach(), *grads])
        for got, want in zip(*results, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)


@runs_kernels
def test_empty_inputs():
    for batch, time, channels in ((2, 0, 3), (0, 4, 3), (2, 4, 0)):
        projected, state = random_inputs("mingru", batch, time, channels)
        assert_runs_close(
            triton_run(projected, "mingru", state), run_with_gradients(defined_scan, projected, "mingru", state), 1e-12
        )
        features = {"resets": torch.ones(batch, time, dtype=torch.bool), "reset_state": torch.ones(channels)}
        got = triton_run(projected, "mingru", state, **features)
        assert got["d_reset"].shape == (channels,) and not got["d_reset"].any()


@runs_kernels
def test_activation_checkpointing(monkeypatch):
    set_tiling(monkeypatch, "one run")
    projected, state = random_inputs("minlstm", 2, 6, 3)
    calls = []

    def layer(projected, state):
        calls.append(0)
        moved = move_to(DEVICE, projected, state)
        return tuple(x.cpu() for x in minrnn_scan(moved[0], "minlstm", moved[1], backend="triton"))

    def checkpointed(projected, _, state):
        return checkpoint(layer, projected, state, use_reentrant=False)

    assert_runs_close(
        run_with_gradients(checkpointed, projected, "minlstm", state),
        run_with_gradients(defined_scan, projected, "minlstm", state),
        1e-10,
    )
    assert len(calls) == 2


@runs_kernels
@pytest.mark.slow
def test_opcheck_and_compile(monkeypatch):
    from test_scan_op import OP_CHECKS, compiled_agrees, scan_op

    set_tiling(monkeypatch, "one run")
    case = Case("minlstm", "g", 2, 7, 3, feature="mask+resets+reset_state")
    projected, state, features = move_to(DEVICE, *case.inputs(torch.float32))
    rest = [features.get(name) for name in ("attention_mask", "resets", "reset_state", "cu_seqlens")]
    args = (projected.requires_grad_(), state, *rest, case.cell_type, *case.options.values(), "triton")
    torch.library.opcheck(scan_op(), args, test_utils=OP_CHECKS)
    if INTERPRETED:
        compiled_agrees("aot_eager", "triton", batch=1)


# --- one step --------------------------------------------------------------------------------------------------------


@runs_kernels
@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=lambda d: str(d)[6:]
)
@every_cell
def test_step(cell, dtype):
    options = cell_options(cell)
    spec = ScanSpec(options["cell_type"], "g", options["normalize_gates"])
    wide, state = random_inputs(cell, 3, 2, 5, dtype)
    (wide, state), address = move_to(DEVICE, wide[:, 1], state.to(torch.promote_types(dtype, torch.float32))), None
    for view, before, floor in (
        (wide, state, 0.3),
        (wide[:, : 3 * spec.num_parts], state[:, :3].contiguous(), -1.0),
        (wide[:0], state[:0], 0.0),
    ):
        spec = spec._replace(forget_gate_floor=floor)
        want = scan_step(view, before.clone(), spec)
        address = before.data_ptr()
        h = scan_triton.step_(view, before, spec)
        assert h.dtype == dtype and before.data_ptr() == address
        for got, exact in zip((h, before), want, strict=True):
            eps = torch.finfo(got.dtype).eps
            torch.testing.assert_close(got, exact, rtol=8 * eps, atol=8 * eps)


@runs_kernels
def test_scan_step_uses_the_kernel(monkeypatch):
    kernels = []
    monkeypatch.setattr(scan_module, "has_step_kernel", lambda projected, backend: backend != "torch")
    monkeypatch.setattr(scan_module, "step_", lambda *args: kernels.append(args) or scan_triton.step_(*args))
    wide, state = random_inputs("mingru", 2, 2, 5, torch.bfloat16)
    projected, state = move_to(DEVICE, wide[:, 0], state.bfloat16())
    spec, before = ScanSpec("mingru", "g", True, 0.3), state.clone()
    with torch.no_grad():
        got = scan_step(projected, state, spec)
        assert len(kernels) == 1 and got[0].dtype == torch.bfloat16 and got[1].dtype == torch.float32
        resets = torch.tensor([[True], [False]], device=DEVICE)
        reset = scan_step(projected, state, spec, resets=resets)[1]
        named = scan_step(projected, state, spec, backend="torch")
        a, b = projected.float().unsqueeze(1).chunk(2, -1)
        assert len(kernels) == 1 and torch.equal(state, before)
        linear = linear_scan(a, b, state)[1]
    assert len(kernels) == 2
    monkeypatch.undo()
    want = scan_step(projected, state, spec)
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(named, want)
    torch.testing.assert_close(reset[1], want[1][1])
    torch.testing.assert_close(linear, a[:, 0] * state.float() + b[:, 0])


def test_step_rejects_states_that_it_cannot_update():
    projected, spec = torch.zeros(2, 6), ScanSpec("mingru")
    for state in (torch.zeros(2, 4), torch.zeros(2, 3, dtype=torch.bfloat16), torch.zeros(3, 2).T):
        with pytest.raises(ValueError, match=r"state must be torch.float32, contiguous and of shape \(2, 3\), got"):
            scan_triton.step_(projected, state, spec)
    with pytest.raises(ValueError, match=r"no gradient: call it under torch.no_grad\(\)"):
        scan_triton.step_(projected.requires_grad_(), torch.zeros(2, 3), spec)


@runs_kernels
@pytest.mark.parametrize("wrong", [[0, 4, 90], [-5, 4, 9], [3, 4, 4]])
def test_wrong_cu_seqlens_do_not_cause_access_outside_the_tensors(wrong):
    """On a GPU the offsets are not checked first. A kernel stays within the length, and skips steps of no sequence."""
    projected, spec = torch.randn(1, 9, 6, device=DEVICE), ScanSpec("mingru")
    bounds = torch.tensor(wrong, dtype=torch.int32, device=DEVICE)
    with poisoned():
        h, final = scan_triton.forward(projected, None, None, None, None, bounds, spec)
        grads = scan_triton.backward(h, final, projected, h, None, None, None, None, bounds, spec)[0]
    inside = bounds.clamp(0, 9).tolist()
    for begin, end in itertools.pairwise(inside):
        want = minrnn_scan(projected[:, begin:end], "mingru", backend="torch")[0]
        torch.testing.assert_close(h[:, begin:end], want)
    outside = torch.ones(9, dtype=torch.bool)
    outside[inside[0] : inside[-1]] = False
    assert h[0, outside].isnan().all() and grads[0, outside].isnan().all() and grads[0, ~outside].isfinite().all()


# --- without kernels -------------------------------------------------------------------------------------------------


def test_every_floor_launches_the_same_kernel(monkeypatch):
    """Triton compiles no kernel for a value of a float. It would for an integer or a constant."""
    launches = []

    class Kernel:
        def __getitem__(self, grid):
            return lambda **arguments: launches.append(arguments)

    monkeypatch.setitem(scan_triton_kernels.KERNELS, "scan_step", Kernel())
    projected, state = torch.zeros(2, 6), torch.zeros(2, 3)
    for floor in FLOORS:
        scan_triton.step_(projected, state, ScanSpec("mingru", forget_gate_floor=floor))
        arguments = launches[-1]
        scales = [arguments.pop("scale"), arguments.pop("scale_rest")]
        assert [type(scale) for scale in scales] == [float, float] and sum(scales) == 1 - floor
        del arguments["h"]  # new memory
    assert all(arguments.keys() == launches[0].keys() for arguments in launches)
    for name, value in launches[0].items():
        assert all(arguments[name] is value or arguments[name] == value for arguments in launches), name


def test_every_tile_is_a_power_of_two_and_covers_every_size():
    for direction, table in scan_triton.TILES.items():
        assert list(table) == sorted(table, reverse=True) and 0 in table
        sizes = itertools.product((1, 63, 64, 1023, 1024), (64, 1000, 1024), (2, 3), (2, 4, 8), (False, True))
        for sequences, channels, parts, size, flags in sizes:
            cut = scan_triton.tile(direction, sequences, channels, parts, size, flags)
            assert all(value & (value - 1) == 0 for value in cut[:-1])
            assert cut.channels == scan_triton.SMALLEST_BLOCK or channels % cut.channels == 0
            # A chunk is whole tiles, and each thread has an element of each step at least.
            assert scan_triton.CHUNK_STEPS % (cut.runs * cut.steps) == 0
            assert cut.runs * cut.channels >= 32 * cut.warps


@pytest.mark.parametrize("channels", [1, 512, 2047, 4095, 4096, 10**5])
@pytest.mark.parametrize("time", [0, 1, 4095, 4096, 4097, 131072, 10**6])
def test_chunks(time, channels):
    steps = scan_triton.chunk_steps(time, channels)
    if channels >= 4096 or time < 4096:
        assert steps == time
    else:
        assert steps % 512 == 0 and time / steps >= 2
        assert -(-time // steps) * channels <= 131072 + channels


def test_importing_the_scan_imports_no_triton():
    program = "import sys, hf_minrnn.scan, torch; hf_minrnn.scan.minrnn_scan(torch.zeros(1, 3, 4), 'mingru'); "
    program += "print([name for name in sys.modules if name == 'hf_minrnn.scan_triton_kernels'])"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stderr
