# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The kernels' arithmetic, as plain Python over torch tensors: without triton the functions are what they read."""

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


@pytest.mark.parametrize("floor", [0.0, 0.6])
@every_cell
def test_gates_and_gradients(cell, floor, steps):
    spec = SPECS[cell]._replace(forget_gate_floor=floor if cell != "linear" else 0.0)
    parts = list(random(spec.num_parts, 200))
    parts[-1][0] = 0  # where g's derivative is 1
    first, second, last, grad, before = parts[0], parts[1], parts[-1], random(200) + 1, random(200) - 1
    scale, g = 1 - spec.forget_gate_floor, spec.candidate_activation == "g"
    work = Workspace(first)
    w, x = gates.coefficients(parts, spec, work)
    got_w, got_x = steps.decay(first, second, scale, cell), steps.incoming(second, last, cell, g)
    torch.testing.assert_close([got_w, got_x], [w, x], rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(steps.advance(before, w, x, cell), gates.step(before, w, x, spec.form))
    got = steps.gradients(grad, before, first, second, last, scale, cell, g)
    want = gates.part_gradients(grad.clone(), before.clone(), w, x, parts, spec, work)
    torch.testing.assert_close([got[0], *got[3 - len(parts) + 1 :]], want, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("affine", [False, True])
def test_runs_join_as_their_steps_follow(affine, steps):
    """Four runs joined in any grouping are all their steps, and all but the last run's, one after the other."""
    cell, join = ("linear", steps.join_affine) if affine else ("mingru", steps.join)
    w, x = torch.rand(4, 5, 3, dtype=torch.float64), random(4, 5, 3)
    w[2, 3] = 0.0 if affine else 1.0  # a boundary
    none, zero = torch.full((3,), float(affine), dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    runs = []
    for run in range(4):
        lost, end = none, zero
        for now, new in zip(w[run], x[run], strict=True):
            lost, end = steps.lose(lost, now, affine), steps.advance(end, now, new, cell)
        runs.append((lost, end, none, zero))
    a, b, c, d = runs
    got = join(*join(*join(*a, *b), *c), *d)
    torch.testing.assert_close(join(*join(*a, *b), *join(*c, *d)), got)
    torch.testing.assert_close(join(*a, *join(*b, *join(*c, *d))), got)
    for state, lost, until in ((got[1], got[0], 4), (got[3], got[2], 3)):
        want, kept = zero, torch.ones(3, dtype=torch.float64)
        for now, new in zip(w[:until].flatten(0, 1), x[:until].flatten(0, 1), strict=True):
            want, kept = steps.advance(want, now, new, cell), kept * (now if affine else 1 - now)
        torch.testing.assert_close(state, want)
        torch.testing.assert_close(lost, kept if affine else 1 - kept)
    bad = (none, torch.full((3,), float("nan"), dtype=torch.float64), none, zero)
    assert join(*bad, *c)[1].isfinite().all() and not join(*bad, *b)[1].isfinite().any()


@pytest.mark.parametrize("affine", [False, True])
def test_what_comes_after_a_boundary_knows_nothing_of_what_was_before(affine, steps):
    """A run of NaN, one that holds a boundary, and one after it: as if the first had been sound."""
    join = steps.join_affine if affine else steps.join
    bad, gone, some = (torch.tensor([x], dtype=torch.float64) for x in (float("nan"), 0.0 if affine else 1.0, 0.5))
    first, boundary, after = (bad, bad, bad, bad), (gone, some, gone, some), (some, some, some, some)
    joined = join(*first, *boundary)
    assert [x.item() for x in joined] == [gone, 0.5, gone, 0.5]
    assert [x.item() for x in join(*joined, *after)] == [x.item() for x in join(*boundary, *after)]
    assert [x.item() for x in join(*first, *join(*boundary, *after))] == [x.item() for x in join(*boundary, *after)]
