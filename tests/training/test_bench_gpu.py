# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import json

import bench_gpu
import pytest
import timing
import torch

from hf_minrnn import scan_triton
from hf_minrnn.scan import OP_BACKENDS
from hf_minrnn.scan_reference import backward, forward


def test_the_floor_counts_what_must_move():
    elements = 8 * 4096 * 2048
    assert bench_gpu.floor_bytes("mingru", (8, 4096, 2048), 2) == (6 * elements, 12 * elements)
    assert bench_gpu.floor_bytes("minlstm", (8, 4096, 2048), 2) == (8 * elements, 16 * elements)
    assert bench_gpu.floor_bytes("mingru", (8, 4096, 2048), 4) == (12 * elements, 24 * elements)


@pytest.mark.parametrize("channels", [256, 512, 1024])
def test_equal_parameters(channels):
    weights = [p.numel() for p in torch.nn.GRU(channels, bench_gpu.equal_parameters(channels)).parameters()]
    assert sum(weights) == pytest.approx(2 * channels**2, rel=0.06)


def test_without_a_gpu_it_says_so_and_writes_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match=r"needs a GPU and triton .* a GPU that torch can use is missing"):
        bench_gpu.main(["--output", str(tmp_path / "bench.json")])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(scan_triton, "INSTALLED", False)
    with pytest.raises(SystemExit, match="triton is missing"):
        bench_gpu.main(["--output", str(tmp_path / "bench.json")])
    assert not list(tmp_path.iterdir())


def test_every_part_runs_and_can_be_written(monkeypatch, capsys):
    """On a CPU and with another backend: what is checked, counted and printed does not depend on them."""
    monkeypatch.setattr(bench_gpu, "QUICK", {**bench_gpu.QUICK, "checked": [(2, 9, 5), (1, 12, 3)]})
    results = bench_gpu.bench("reference", "cpu", 2, bench_gpu.QUICK)
    assert len(results["relative_errors"]) == (2 + 3) * len(bench_gpu.CELLS) * len(bench_gpu.LIMITS)
    scan = results["scan"][0]["timings"]
    moved = bench_gpu.floor_bytes("mingru", (1, 8, 4), 4)[1]
    for name in ("mingru backward", "copy, mingru backward"):
        assert scan[name]["gb_per_s"] == pytest.approx(moved / (scan[name]["median_ms"] * 1e-3) / 1e9)
    assert {"minGRU", "minLSTM", "nn.GRU", "nn.GRU, equal parameters"} <= set(results["layers"][0]["timings"])
    assert json.loads(json.dumps(results)) == results
    assert "45 cases agree with float64" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", ["h", "final", "d_projected", "d_reset"])
def test_no_speed_for_kernels_that_are_wrong(wrong, monkeypatch, capsys):
    def wrong_forward(*args):
        h, final = forward(*args)
        return (h * 1.02, final) if wrong == "h" else (h, final * 1.02) if wrong == "final" else (h, final)

    def wrong_backward(*args):
        grads = list(backward(*args))
        if wrong in ("d_projected", "d_reset"):
            grads[0 if wrong == "d_projected" else 2] *= float("nan") if wrong == "d_reset" else 1.02
        return tuple(grads)

    monkeypatch.setitem(OP_BACKENDS, "reference", (wrong_forward, wrong_backward))
    with pytest.raises(timing.Disagreement, match="no speed is reported"):
        bench_gpu.bench("reference", "cpu", 2, bench_gpu.QUICK)
    assert not capsys.readouterr().out
