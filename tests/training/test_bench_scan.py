# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import json

import bench_scan
import pytest
import torch
from definition import define, relative_error


@pytest.fixture
def no_processes(monkeypatch):
    monkeypatch.setattr(bench_scan, "peak_memory_of_a_new_process", lambda *_: 1.0)


def test_quick_run_writes_what_it_returns(tmp_path, capsys, no_processes):
    path = tmp_path / "new" / "bench.json"
    threads = torch.get_num_threads()
    results = bench_scan.main(["--quick", "--output", str(path)])
    assert torch.get_num_threads() == threads
    assert json.loads(path.read_text(encoding="utf-8")) == results
    assert [file.name for file in path.parent.iterdir()] == ["bench.json"]
    assert results["command"].startswith("python training/bench_scan.py --quick")
    assert results["machine"]["threads"] == 1 and results["machine"]["cpu"] and results["versions"]["torch"]
    printed = capsys.readouterr().out
    for result, shape in zip(results["results"], bench_scan.QUICK_SHAPES, strict=True):
        assert tuple(result["shape"].values()) == shape
        assert set(result["operation"]) == set(bench_scan.OPERATIONS) and set(result["layer"]) == set(bench_scan.LAYERS)
        for timing in (*result["operation"].values(), *result["layer"].values()):
            assert 0 < timing["q1_ms"] <= timing["median_ms"] <= timing["q3_ms"]
        assert set(result["ratios"]) == set(bench_scan.RATIOS)
        entry = result["ratios"]["layer minlstm / nn.LSTM"]
        assert entry["target"] is None
        assert entry["ratio"] == result["layer"]["nn.LSTM"]["median_ms"] / result["layer"]["minlstm"]["median_ms"]
        assert "B={batch} T={time} D={channels}".format(**result["shape"]) in printed


def test_no_speed_for_outputs_that_disagree(monkeypatch, tmp_path, capsys, no_processes):
    real = bench_scan.log_space
    monkeypatch.setattr(bench_scan, "log_space", lambda projected, cell_type: real(projected + 0.01, cell_type))
    with pytest.raises(bench_scan.Disagreement, match="log-space mingru and the scan differ by"):
        bench_scan.main(["--quick", "--output", str(tmp_path / "bench.json")])
    assert not capsys.readouterr().out and not list(tmp_path.iterdir())


def test_nan_is_a_disagreement():
    fine, bad = (torch.ones(2), torch.ones(2)), (torch.full((2,), float("nan")), torch.ones(2))
    with pytest.raises(bench_scan.Disagreement):
        bench_scan.check_agreement({"mingru": lambda: fine, "loop mingru": lambda: bad})


@pytest.mark.parametrize("name", ["log-space mingru", "log-space minlstm", "loop mingru"])
def test_the_contestants_compute_the_cells(name):
    parts, function = bench_scan.OPERATIONS[name]
    projected = torch.randn(2, 20, parts * 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    want, _ = define(projected, name.split()[-1])
    assert relative_error(function(projected), want) < 1e-10


def test_memory_is_measured_in_a_process_of_its_own():
    shape = (4, 256, 64)  # the scan needs at least its output and its gradient: 0.75 MiB
    memory = bench_scan.peak_memory_of_a_new_process("operation", "mingru", shape, 1)
    if memory is None:
        pytest.skip("needs /proc")
    log_space = bench_scan.peak_memory_of_a_new_process("operation", "log-space mingru", shape, 1)
    assert 0.5 < memory < log_space < 100


def test_targets():
    first, last = bench_scan.SHAPES[0], bench_scan.SHAPES[-1]
    assert bench_scan.target("scan mingru / log-space", last) == 8
    assert [bench_scan.target("layer mingru / nn.GRU", shape) for shape in (first, last)] == [5, 2.5]
    assert [bench_scan.target("layer minlstm / nn.LSTM", shape) for shape in (first, last)] == [2.5, None]
    assert bench_scan.target("scan mingru / log-space", bench_scan.QUICK_SHAPES[0]) is None
    for shape in bench_scan.SHAPES:
        missing = "loop mingru" not in bench_scan.names_of("operation", shape)
        assert missing == (shape[1] > bench_scan.LONGEST_LOOP)
