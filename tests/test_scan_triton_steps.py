# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Arithmetic of the GPU kernels, run as plain Python over torch tensors: without triton, `jit` leaves functions as they are."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from hf_minrnn import gates
from hf_minrnn.gates import ScanSpec, Workspace

ROOT = Path(__file__).parent.parent
SPECS = {
    "mingru": ScanSpec("mingru"),
    "minlstm": ScanSpec("minlstm"),
    "minlstm_raw": ScanSpec("minlstm", "g", False),
    "linear": ScanSpec("linear", "identity"),
}
every_cell = pytest.mark.parametrize("cell", SPECS)


@pytest.fixture
def steps(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    spec = importlib.util.spec_from_file_location("steps_alone", ROOT / "hf_minrnn" / "scan_triton_steps.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    tl = SimpleNamespace(
        exp=torch.exp,
        where=torch.where,
        fma=lambda a, b, c: a * b + c,
        minimum=lambda a, b: torch.minimum(a, torch.as_tensor(b, dtype=a.dtype)),
        maximum=lambda a, b, propagate_nan=None: (torch.maximum if propagate_nan else torch.fmax)(
            a, torch.as_tensor(b)
        ),
        PropagateNan=SimpleNamespace(ALL=True),
    )
    monkeypatch.setattr(module, "tl", tl, raising=False)
    monkeypatch.setattr(module, "FAST", False, raising=False)
    return module


def random(*shape):
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_the_files_import_without_triton():
    program = "import sys; sys.modules['triton'] = None; import hf_minrnn.scan_triton_kernels as kernels; "
    program += "print(*kernels.KERNELS, kernels.jit(len) is len)"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.split() == ["scan_fwd", "scan_bwd", "scan_reduce", "scan_step", "True"], done.stderr


@pytest.mark.parametrize("floor", [0.0, 0.6, -1.0])
@every_cell
def test_gates_and_gradients(cell, floor, steps):
    spec = SPECS[cell]._replace(forget_gate_floor=floor if cell != "linear" else 0.0)
    parts = list(random(spec.num_parts, 200))
    parts[-1][0] = 0  # where g's derivative is 1
    gate1, gate2, candidate = parts[0], parts[1], parts[-1]
    grad, before = random(200) + 1, random(200) - 1
    scale = 1 - spec.forget_gate_floor
    with_g = spec.candidate_activation == "g"
    work = Workspace(gate1)
    w, x = gates.coefficients(parts, spec, work)
    got_w = steps.step_factor(gate1, gate2, scale, cell)
    got_x = steps.step_input(gate2, candidate, cell, with_g)
    torch.testing.assert_close([got_w, got_x], [w, x], rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(steps.advance(before, w, x, cell), gates.step(before, w, x, spec.form))
    got = steps.part_gradients(grad, before, gate1, gate2, candidate, scale, cell, with_g)
    want = gates.part_gradients(grad.clone(), before.clone(), w, x, parts, spec, work)
    torch.testing.assert_close([got[0], *got[3 - len(parts) + 1 :]], want, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("affine", [False, True])
def test_joined_runs_are_their_steps_in_order(affine, steps):
    """Four runs joined in any grouping equal all of their steps, and all but those of the last run, in order."""
    cell, join = ("linear", steps.join_affine) if affine else ("mingru", steps.join)
    decays, x = 2 * torch.rand(4, 5, 3, dtype=torch.float64) - 1, random(4, 5, 3)
    decays[2, 3] = 0.0  # a boundary
    w = decays if affine else 1 - decays
    none, zero = torch.full((3,), float(affine), dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    runs = []
    for run in range(4):
        factor, end = none, zero
        for now, new in zip(w[run], x[run], strict=True):
            factor = steps.extend(factor, now, affine)
            end = steps.advance(end, now, new, cell)
        runs.append((factor, end, none, zero))
    a, b, c, d = runs
    got = join(*join(*join(*a, *b), *c), *d)
    torch.testing.assert_close(join(*join(*a, *b), *join(*c, *d)), got)
    torch.testing.assert_close(join(*a, *join(*b, *join(*c, *d))), got)
    for state, factor, until in ((got[1], got[0], 4), (got[3], got[2], 3)):
        want = zero
        decay = torch.ones(3, dtype=torch.float64)  # of all steps
        for now, new in zip(w[:until].flatten(0, 1), x[:until].flatten(0, 1), strict=True):
            want = steps.advance(want, now, new, cell)
            decay = decay * (now if affine else 1 - now)
        torch.testing.assert_close(state, want)
        torch.testing.assert_close(factor, decay if affine else 1 - decay)
    bad = (none, torch.full((3,), float("nan"), dtype=torch.float64), none, zero)
    assert join(*bad, *c)[1].isfinite().all() and not join(*bad, *b)[1].isfinite().any()


@pytest.mark.parametrize("factor", [0.5, 1.5])
@pytest.mark.parametrize("affine", [False, True])
def test_nan_does_not_pass_a_boundary(affine, factor, steps):
    """Joins a run of NaN, a run with a boundary and a run after it, which must not see the NaN."""
    join = steps.join_affine if affine else steps.join
    bad, gone, some = (torch.tensor([x], dtype=torch.float64) for x in (float("nan"), 0.0 if affine else 1.0, factor))
    first, boundary, after = (bad, bad, bad, bad), (gone, some, gone, some), (some, some, some, some)
    joined = join(*first, *boundary)
    assert [x.item() for x in joined] == [gone, factor, gone, factor]
    assert [x.item() for x in join(*joined, *after)] == [x.item() for x in join(*boundary, *after)]
    assert [x.item() for x in join(*first, *join(*boundary, *after))] == [x.item() for x in join(*boundary, *after)]
