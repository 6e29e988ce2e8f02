# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The backend that "auto" chooses, the explanation of the choice, and the behavior without numba."""

import warnings
from types import SimpleNamespace

import pytest
import torch
from support.definition import defined_scan
from support.model_cases import build, token_ids
from support.scan_cases import BACKENDS, random_inputs

from hf_minrnn import MinGRUCell, explain_backend, resolve_backend, scan_choice, scan_triton
from hf_minrnn.scan import minrnn_scan
from hf_minrnn.scan_op import OP_BACKENDS

LARGE = (2, 128, 64)  # the smallest that numba is taken for


@pytest.fixture
def without_numba(monkeypatch):
    monkeypatch.setattr(scan_choice, "problem", lambda: "No module named 'numba': pip install numba")
    monkeypatch.setattr(scan_choice, "_warned", [])


def test_names():
    assert {"auto", "triton", *BACKENDS} == set(scan_choice.BACKENDS) and set(OP_BACKENDS) < set(scan_choice.BACKENDS)
    assert [resolve_backend(name) for name in BACKENDS] == list(BACKENDS)
    with pytest.raises(ValueError, match=r"backend must be one of auto, reference, torch, .* got 'fast'"):
        resolve_backend("fast")


def test_auto():
    assert resolve_backend() == resolve_backend(shape=LARGE) == resolve_backend(dtype=torch.bfloat16) == "numba"
    assert resolve_backend(shape=(1, 64, 64)) == resolve_backend(dtype=torch.float8_e4m3fn) == "torch"
    assert resolve_backend(device="meta") == "torch"


def test_auto_on_a_gpu(monkeypatch):
    monkeypatch.setattr(scan_choice, "TRITON_INSTALLED", True)
    for dtype in (None, torch.float32, torch.bfloat16, torch.float16):
        assert {resolve_backend("auto", device, dtype=dtype) for device in ("cuda", torch.device("cuda:1"))} == {
            "triton"
        }
    assert explain_backend("auto", "cuda", shape=(1, 1, 1)) == "triton: kernels compiled for this GPU"
    assert explain_backend("auto", "cuda", dtype=torch.float64) == "torch: no kernels for this dtype"
    monkeypatch.setattr(scan_choice, "TRITON_INSTALLED", False)
    assert explain_backend("auto", "cuda") == "torch: triton is missing: pip install triton"


def test_requests_for_triton_where_it_cannot_run(monkeypatch):
    monkeypatch.setattr(scan_triton, "INTERPRETED", False)
    monkeypatch.setattr(scan_choice, "TRITON_INSTALLED", True)
    with pytest.raises(
        ValueError, match=r"backend 'triton' needs .* on a GPU .* got torch.float32 on cpu: choose 'auto'"
    ):
        minrnn_scan(torch.zeros(1, 3, 4), "mingru", backend="triton")
    with pytest.raises(ValueError, match=r"got torch.float8_e4m3fn on cuda"):
        resolve_backend("triton", "cuda", dtype=torch.float8_e4m3fn)
    assert MinGRUCell(2, 3, backend="triton").backend == "triton"  # it may be moved to a GPU
    monkeypatch.setattr(scan_choice, "TRITON_INSTALLED", False)
    with pytest.raises(ImportError, match=r"triton is not installed: pip install triton"):
        MinGRUCell(2, 3, backend="triton")
    assert "triton" not in scan_choice.available_backends("cuda")


def test_reasons(without_numba):
    assert explain_backend("torch") == "torch: asked for by name"
    assert explain_backend(device="meta") == "torch: no kernels for this device"
    assert explain_backend(dtype=torch.float8_e4m3fn) == "torch: no kernels for this dtype"
    assert explain_backend(shape=(1, 8, 8)) == "torch: for less than 16384 elements no kernel is compiled"
    with pytest.warns(UserWarning, match="No module named 'numba'"):
        assert explain_backend(shape=LARGE) == "torch: numba cannot run: No module named 'numba': pip install numba"


def test_the_reason_for_one_step_names_its_implementation():
    step, plain = (64, 1, 1024), "; one step is plain torch"
    assert resolve_backend(shape=step) == "numba"
    assert explain_backend(shape=step) == "numba: kernels compiled for this CPU" + plain
    assert explain_backend("numba", shape=step) == "numba: asked for by name" + plain
    assert explain_backend(shape=(64, 2, 1024)) == "numba: kernels compiled for this CPU"
    assert explain_backend("torch", shape=step) == "torch: asked for by name"


def test_requests_for_numba_where_it_cannot_run():
    with pytest.raises(ValueError, match=r"backend 'numba' needs .* on a CPU, got None on cuda"):
        resolve_backend("numba", "cuda")
    with pytest.raises(ValueError, match=r"backend 'numba' needs float32, .* got torch.float8_e4m3fn on cpu"):
        resolve_backend("numba", dtype=torch.float8_e4m3fn)


def test_missing_numba_is_an_error_if_numba_is_requested(without_numba):
    with pytest.raises(ImportError, match=r"No module named 'numba': pip install numba"):
        minrnn_scan(torch.zeros(1, 5, 4), "mingru", backend="numba")


def test_missing_numba_is_reported_once_and_only_where_it_would_run(without_numba):
    small = (2, 127, 64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert resolve_backend(shape=small) == resolve_backend("torch", shape=LARGE) == "torch"
        assert resolve_backend(device="meta", shape=LARGE) == "torch"
    projected = torch.zeros(2, 128, 128)
    with pytest.warns(UserWarning, match=r"No module named 'numba': pip install numba, or choose") as said:
        for _ in range(2):
            minrnn_scan(projected, "mingru")
    assert len(said) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert resolve_backend(shape=LARGE) == resolve_backend() == "torch"


@pytest.fixture
def calls(monkeypatch):
    """Records the backends that the op runs. Every size is large enough for numba."""
    monkeypatch.setattr(scan_choice, "NUMBA_ELEMENTS", 0)
    ran = []
    for name, (forward, backward) in list(OP_BACKENDS.items()):
        counted = lambda *args, name=name, forward=forward: ran.append(name) or forward(*args)  # noqa: E731
        monkeypatch.setitem(OP_BACKENDS, name, (counted, backward))
    return ran


@pytest.mark.parametrize("missing", [False, True], ids=["with numba", "without"])
def test_the_scan_runs_the_chosen_backend(calls, missing, request):
    if missing:
        request.getfixturevalue("without_numba")
        scan_choice._warned.append("said")
    projected, state = random_inputs("minlstm")
    want = defined_scan(projected, "minlstm", state)[0]
    torch.testing.assert_close(minrnn_scan(projected, "minlstm", state)[0], want)
    torch._dynamo.reset()
    compiled = torch.compile(minrnn_scan, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(projected, "minlstm", state)[0], want)
    assert calls == ["torch" if missing else "numba"] * 2


def test_one_step_without_gradients_needs_no_choice(calls):
    projected, state = random_inputs("mingru", time=1)
    with torch.no_grad():
        minrnn_scan(projected, "mingru", state)
    assert not calls


def test_an_exported_program_runs_anywhere(calls):
    class Scan(torch.nn.Module):
        def forward(self, projected):
            return minrnn_scan(projected, "mingru")[0]

    projected, _ = random_inputs("mingru")
    for strict in (False, True):
        torch.export.export(Scan(), (projected,), strict=strict).module()(projected)
    assert calls == ["torch"] * 2


def test_a_model_falls_back_where_its_backend_does_not_run(monkeypatch):
    monkeypatch.setattr(scan_choice, "_warned", [])
    model = build("mingru", scan_backend="numba")
    with pytest.warns(UserWarning, match="scan_backend 'numba' does not take torch.float32 on meta, using 'auto'"):
        assert model.to("meta")(torch.zeros(2, 6, dtype=torch.long, device="meta")).logits.shape == (2, 6, 97)
    monkeypatch.setattr(scan_triton, "INTERPRETED", False)
    monkeypatch.setattr(scan_choice, "TRITON_INSTALLED", True)
    ids, found = token_ids(2, 6), []
    for backend in ("auto", "triton"):
        model = build("mingru", scan_backend=backend)
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            cache = model(ids).past_key_values
            cache.activate_past_recording()
            found.append(torch.cat([model(ids[:, :n], past_key_values=cache).logits for n in (3, 1)], 1))
    assert torch.equal(*found)


def test_the_step_kernel_is_for_gpus_and_numbers_alone(monkeypatch):
    monkeypatch.setattr(scan_choice, "resolve_backend", lambda *args, **options: "triton")
    on_gpu = SimpleNamespace(is_cuda=True, dtype=torch.float32, device="cuda")
    assert not scan_choice.has_step_kernel(on_gpu, "auto")
    with torch.no_grad():
        assert scan_choice.has_step_kernel(on_gpu, "auto")
        assert not scan_choice.has_step_kernel(torch.zeros(1), "auto")
        monkeypatch.undo()
        assert not scan_choice.has_step_kernel(
            SimpleNamespace(is_cuda=True, dtype=torch.float64, device="cuda"), "auto"
        )
        assert not scan_choice.has_step_kernel(on_gpu, "torch")
