# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The custom op: compile, export, checkpointing, derivatives, vmap, the memory it uses, and its name."""

import hashlib
import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support.definition import assert_runs_close, defined_scan, loss_weights, run_with_gradients
from support.scan_cases import (
    Case,
    cell_options,
    every_backend,
    every_cell,
    every_op_backend,
    make_features,
    needs_compiler,
    random_inputs,
)
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint

from hf_minrnn import scan as scan_module
from hf_minrnn.scan import minrnn_scan
from hf_minrnn.scan_op import NAMESPACE


def scan_op():
    return getattr(torch.ops, NAMESPACE).scan.default


OP_CHECKS = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic")
OP_CASES = [
    (Case("mingru", "g", 2, 40, 5), torch.float32, "torch"),
    (Case("mingru", "g", 2, 40, 5, -1.0), torch.bfloat16, "torch"),
    (Case("mingru", "g", 2, 20, 5), torch.bfloat16, "reference"),
    (Case("minlstm", "g", 3, 37, 3, feature="mask+resets"), torch.bfloat16, "torch"),
    (Case("minlstm_raw", "g", 1, 37, 3, feature="packed"), torch.float32, "torch"),
    (Case("mingru", "g", 1, 37, 3, state=False, feature="resets+packed"), torch.float32, "torch"),
    (Case("minlstm", "g", 3, 37, 3, feature="mask+resets+reset_state"), torch.bfloat16, "torch"),
    (Case("mingru", "g", 1, 17, 3, feature="resets+packed+reset_state"), torch.float32, "reference"),
    (Case("minlstm", "g", 3, 37, 3, feature="mask+resets+reset_state"), torch.bfloat16, "numba"),
    (Case("minlstm_raw", "g", 1, 37, 3, state=False, feature="resets+packed"), torch.float32, "numba"),
]


@pytest.mark.parametrize("case, dtype, backend", OP_CASES, ids=str)
def test_opcheck(case, dtype, backend):
    projected, state, features = case.inputs(dtype)
    state = None if state is None else state.float()
    options = (case.cell_type, *case.options.values(), backend)
    rest = [features.get(name) for name in ("attention_mask", "resets", "reset_state", "cu_seqlens")]
    starts = [None if rest[2] is None else rest[2].clone().requires_grad_()]
    rows = case.batch if rest[3] is None else len(rest[3]) - 1
    for view in (projected, projected.transpose(0, 1).contiguous().transpose(0, 1)):
        learned = view.clone().requires_grad_()
        torch.library.opcheck(scan_op(), (learned, state, *rest[:2], *starts, rest[3], *options), test_utils=OP_CHECKS)
        turned = torch.randn(case.channels, rows).T
        for grad_final in (turned, turned.contiguous()):
            grad_h = torch.randn(case.batch, case.time, case.channels).to(dtype)
            args = (grad_h, grad_final, view, torch.randn_like(grad_h), state, *rest, *options)
            torch.library.opcheck(getattr(torch.ops, NAMESPACE).scan_backward.default, args, test_utils=OP_CHECKS)


def compiled_agrees(compiler, backend, features="plain", dynamic=None, batch=2):
    def loss(options, projected, state, *start):
        options = options | dict(zip(["reset_state"], start))
        h, final = minrnn_scan(2 * projected, "minlstm", state, backend=backend, **options)
        return (h * h).sum() + final.sum()

    torch._dynamo.reset()
    compiled = torch.compile(loss, fullgraph=True, backend=compiler, dynamic=dynamic)
    for time in (21, 40):
        options = make_features(features, batch, time, 5)
        rows = len(options["cu_seqlens"]) - 1 if "cu_seqlens" in options else batch
        start = [options.pop("reset_state")] if "reset_state" in options else []
        projected, _ = random_inputs("minlstm", batch, time, 5, torch.float32)
        results = []
        for function in (loss, compiled):
            # A transposed gradient and state, so that the strides of the fake tensors matter.
            state = torch.randn(5, rows, generator=torch.Generator().manual_seed(1)).T
            inputs = [x.clone().requires_grad_() for x in (projected, state, *start)]
            value = function(options, *inputs)
            results.append([value.detach(), *torch.autograd.grad(value, inputs)])
        for got, want in zip(*results, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


COMPILED = [("torch", "plain"), ("torch", "mask"), ("torch", "packed"), ("reference", "plain"), ("associative", "mask")]
COMPILED += [("torch", "resets+reset_state"), ("associative", "resets+reset_state"), ("numba", "packed")]


@pytest.mark.parametrize("backend, features", COMPILED)
def test_compile_without_a_graph_break(backend, features):
    compiled_agrees("aot_eager", backend, features, batch=1 if features == "packed" else 2)


@pytest.mark.slow
@needs_compiler
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
            module(projected, state, mask), defined_scan(projected, "minlstm", state, attention_mask=mask), strict=True
        ):
            torch.testing.assert_close(got, want.float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("reentrant", [False, True], ids=["non-reentrant", "reentrant"])
@every_backend
def test_gradient_checkpointing(backend, reentrant):
    projected, state = random_inputs("minlstm")

    def checkpointed(projected, cell_type, state):
        def layer(projected, state):
            return minrnn_scan(projected, cell_type, state, backend=backend)

        return checkpoint(layer, projected, state, use_reentrant=reentrant)

    if reentrant:  # refuses torch.autograd.grad
        outs = []
        for scan in (checkpointed, defined_scan):
            inputs = [x.clone().requires_grad_() for x in (projected, state)]
            out = scan(inputs[0], "minlstm", inputs[1])
            torch.autograd.backward(out, loss_weights(*out))
            outs.append([*out, *(x.grad for x in inputs)])
        for got, want in zip(*outs, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)
    else:
        assert_runs_close(
            run_with_gradients(checkpointed, projected, "minlstm", state),
            run_with_gradients(defined_scan, projected, "minlstm", state),
            1e-10,
        )


@every_backend
def test_gradcheck(backend):
    projected, state = random_inputs("minlstm", 2, 5, 2)
    mask = make_features("mask", 2, 5)["attention_mask"]
    resets = torch.arange(5) == torch.tensor([[1], [3]])
    inputs = [x.clone().requires_grad_() for x in (projected, state, state[0] + 1)]
    for floor in (0.4, -1.0):

        def scan(p, s, r, floor=floor):
            options = {"attention_mask": mask, "resets": resets, "reset_state": r, "backend": backend}
            return minrnn_scan(p, "minlstm", s, forget_gate_floor=floor, **options)

        assert torch.autograd.gradcheck(scan, inputs)


@every_cell
def test_second_derivatives_of_the_associative_backend(cell):
    projected, state = random_inputs(cell, 1, 4, 2)
    inputs = [x.clone().requires_grad_() for x in (projected, state, state[0] + 1)]
    resets = torch.arange(4)[None] == 2

    def scan(p, s, r):
        options = {**cell_options(cell), "resets": resets, "reset_state": r, "forget_gate_floor": -1.0}
        return minrnn_scan(p, initial_state=s, **options, backend="associative")

    assert torch.autograd.gradgradcheck(scan, inputs)


@every_op_backend
def test_second_derivatives_of_the_op_are_rejected(backend):
    projected, state = random_inputs("mingru")
    projected.requires_grad_()
    h, _ = minrnn_scan(projected, "mingru", state, backend=backend)
    (grad,) = torch.autograd.grad((h * h).sum(), projected, create_graph=True)
    with pytest.raises(NotImplementedError, match="backend='associative'"):
        grad.sum().backward()


def forward_derivative(backend, argument, time=6):
    inputs = random_inputs("mingru", time=time)
    inputs += (1 - inputs[1][0],)
    tangents = [torch.zeros_like(x) for x in inputs]
    tangents[argument] += 1
    resets = torch.arange(time) == torch.tensor([[time // 2], [time]])  # the second row has none

    def scan(p, s, r):
        return minrnn_scan(p, "mingru", s, resets=resets, reset_state=r, backend=backend)

    def exact(p, s, r):
        return defined_scan(p, "mingru", s, resets=resets, reset_state=r)

    return scan, inputs, tuple(tangents), torch.autograd.functional.jvp(exact, inputs, tuple(tangents))[1]


every_argument = pytest.mark.parametrize("argument", [0, 1, 2], ids=["projected", "state", "reset_state"])


@every_argument
@pytest.mark.parametrize("backend", ["associative", "auto"])
def test_forward_mode_works_without_the_op(backend, argument):
    scan, inputs, tangents, want = forward_derivative(backend, argument)
    for got, exact in zip(torch.func.jvp(scan, inputs, tangents)[1], want, strict=True):
        torch.testing.assert_close(got, exact)
    with forward_ad.dual_level():
        duals = scan(*(forward_ad.make_dual(x, t) for x, t in zip(inputs, tangents, strict=True)))
        for got, exact in zip(duals, want, strict=True):
            torch.testing.assert_close(forward_ad.unpack_dual(got).tangent, exact)


@every_argument
@every_op_backend
def test_forward_mode_through_the_op_is_rejected_and_never_silently_zero(backend, argument):
    scan, inputs, tangents, _ = forward_derivative(backend, argument)

    def of_one(x):
        return scan(*inputs[:argument], x, *inputs[argument + 1 :])

    with pytest.raises(NotImplementedError, match="backend='associative'"):
        torch.func.jvp(of_one, (inputs[argument],), (tangents[argument],))
    with pytest.raises(NotImplementedError, match="backend='associative'"):
        torch.func.jacfwd(lambda x: of_one(x)[1])(inputs[argument])
    with forward_ad.dual_level(), pytest.raises(NotImplementedError, match="backend='associative'"):
        scan(*(forward_ad.make_dual(x, t) for x, t in zip(inputs, tangents, strict=True)))
    with forward_ad.dual_level():  # nothing to differentiate here, so nothing to refuse
        scan(*inputs)


@every_op_backend
def test_forward_mode_through_the_backward_is_rejected_and_never_silently_lost(backend):
    projected, state = random_inputs("mingru")
    h, _ = minrnn_scan(projected.requires_grad_(), "mingru", state, backend=backend)
    with forward_ad.dual_level():
        grad = forward_ad.make_dual(torch.ones_like(h), torch.ones_like(h))
        with pytest.raises(NotImplementedError, match="backend='associative'"):
            torch.autograd.grad(h, projected, grad)


@every_argument
@every_op_backend
def test_forward_mode_of_one_step(backend, argument):
    scan, inputs, tangents, want = forward_derivative(backend, argument, time=1)
    for got, exact in zip(torch.func.jvp(scan, inputs, tangents)[1], want, strict=True):
        torch.testing.assert_close(got, exact)


@every_backend
def test_vmap_equals_a_loop(backend):
    many = torch.stack([random_inputs("minlstm", seed=seed)[0] for seed in range(3)])
    got = torch.func.vmap(lambda p: minrnn_scan(p, "minlstm", backend=backend)[0])(many)
    for p, h in zip(many, got, strict=True):
        torch.testing.assert_close(h, defined_scan(p, "minlstm")[0])


@every_op_backend
def test_the_op_works_for_inputs_without_gradients(backend):
    projected, _ = random_inputs("minlstm")
    want, weight = minrnn_scan(projected, "minlstm")[0], torch.tensor(2.0, dtype=projected.dtype)

    def weighted(weight):
        return (weight * minrnn_scan(projected, "minlstm", backend=backend)[0]).sum()

    torch.testing.assert_close(torch.func.grad(weighted)(weight), want.sum())
    torch.testing.assert_close(torch.func.jvp(weighted, (weight,), (torch.ones_like(weight),))[1], want.sum())


@every_op_backend
def test_functional_gradients_through_the_op_are_rejected(backend):
    projected, _ = random_inputs("minlstm")
    gradient = torch.func.grad(lambda p: minrnn_scan(p, "minlstm", backend=backend)[0].sum())
    for transformed in (gradient, torch.func.vmap(gradient)):
        with pytest.raises(NotImplementedError, match="backend='associative'"):
            transformed(projected if transformed is gradient else projected[None])


@pytest.mark.parametrize("backend", ["associative", "auto"])
def test_functional_gradients(backend):
    many = torch.stack([random_inputs("minlstm", seed=seed)[0] for seed in range(3)])
    gradient = torch.func.grad(lambda p: minrnn_scan(p, "minlstm", backend=backend)[0].square().sum())
    every = torch.func.vmap(gradient)(many)
    for projected, got in zip(many, every, strict=True):
        learned = projected.clone().requires_grad_()
        (want,) = torch.autograd.grad(defined_scan(learned, "minlstm")[0].square().sum(), learned)
        torch.testing.assert_close(got, want)
        torch.testing.assert_close(gradient(projected), want)


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=lambda d: str(d)[6:]
)
@every_op_backend
@every_cell
def test_one_step_does_not_call_the_op_and_agrees_with_it(cell, backend, dtype, monkeypatch):
    real, calls = scan_module.scan_op, []
    monkeypatch.setattr(scan_module, "scan_op", lambda *args: calls.append(args) or real(*args))
    projected, state = random_inputs(cell, 3, 1, 5, dtype)
    masks = (None, torch.tensor([[True], [False], [False]]))
    for before in (None, state):
        for mask in masks:
            for start in (None, 0, 1 - state[0]):
                options = {**cell_options(cell), "attention_mask": mask, "backend": backend, "forget_gate_floor": -1.0}
                if start is not None:
                    options["resets"] = torch.tensor([[False], [False], [True]])
                    options["reset_state"] = start if isinstance(start, torch.Tensor) else None
                got = minrnn_scan(projected, initial_state=before, **options)
                assert not calls
                with monkeypatch.context() as patch:
                    patch.setattr(scan_module, "is_one_step", lambda *_: False)
                    want = minrnn_scan(projected, initial_state=before, **options)
                assert len(calls) == 1
                calls.clear()
                for one, two in zip(got, want, strict=True):
                    assert one.dtype == two.dtype
                    torch.testing.assert_close(one, two, rtol=1e-2 if one.dtype.itemsize == 2 else 2e-6, atol=1e-6)


# --- memory: what is saved -------------------------------------------------------------------------------------------


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


# --- the files themselves --------------------------------------------------------------------------------------------

OTHER_SOURCES = ("gates.py", "packed.py", "time_gaps.py", "torch_private.py")
SOURCES = [Path(scan_module.__file__).with_name(name) for name in OTHER_SOURCES]
SOURCES += Path(scan_module.__file__).parent.glob("scan*.py")


def copy_sources(folder, name, changed=None):
    (folder / name).mkdir()
    (folder / name / "__init__.py").touch()
    for source in SOURCES:
        text = source.read_text(encoding="utf-8") + ("# changed\n" if source.name == changed else "")
        (folder / name / source.name).write_text(text, encoding="utf-8")


def test_each_revision_of_the_sources_has_its_own_op(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    projected, _ = random_inputs("mingru", dtype=torch.float32)
    want = defined_scan(projected, "mingru")[0].float()
    namespaces = {NAMESPACE}
    for source in SOURCES:
        copy_sources(tmp_path, f"changed_{source.stem}", source.name)
        copy = importlib.import_module(f"changed_{source.stem}.scan")
        namespaces.add(sys.modules[f"changed_{source.stem}.scan_op"].NAMESPACE)
        torch.testing.assert_close(copy.minrnn_scan(projected, "mingru")[0], want)
    assert len(namespaces) == len(SOURCES) + 1, "changing some file did not change the op's name"
    # Two revisions with different formulas in one process.
    copy_sources(tmp_path, "other")
    gates_file = tmp_path / "other" / "gates.py"
    text = gates_file.read_text(encoding="utf-8")
    assert text.count("x + 0.5, torch.sigmoid(x)") == 1
    gates_file.write_text(text.replace("x + 0.5, torch.sigmoid(x)", "x + 1.5, torch.sigmoid(x)"), encoding="utf-8")
    other = importlib.import_module("other.scan")
    assert not torch.allclose(other.minrnn_scan(projected, "mingru", backend="reference")[0], want)
    torch.testing.assert_close(minrnn_scan(projected, "mingru", backend="reference")[0], want)


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


def test_the_namespace_is_computed_from_the_sources():
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(SOURCES))).hexdigest()
    assert NAMESPACE.startswith("hf_minrnn_") and len(NAMESPACE) == len("hf_minrnn_") + 16
    assert digest.startswith(NAMESPACE.removeprefix("hf_minrnn_"))


def test_importing_the_same_revision_again_keeps_the_op(tmp_path):
    """transformers may load the same remote code twice under different names and drop the first module."""
    for name in ("first_copy", "second_copy"):
        shutil.copytree(
            Path(scan_module.__file__).parent, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    program = """
import gc, sys, types, torch
def load(name):
    package = types.ModuleType(name)
    package.__path__ = [name]
    sys.modules[name] = package
    return __import__(name + ".scan", fromlist=["scan"])
x = torch.randn(1, 5, 4, requires_grad=True)
first = load("first_copy")
expected = first.minrnn_scan(x, "mingru")[0]
second = load("second_copy")
assert first.scan_op is second.scan_op
del first
for name in [name for name in sys.modules if name.startswith("first_copy")]:
    del sys.modules[name]
gc.collect()
h = second.minrnn_scan(x, "mingru")[0]
h.sum().backward()
assert torch.equal(h, expected) and x.grad.isfinite().all()
print("fine")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.strip() == "fine", done.stderr
