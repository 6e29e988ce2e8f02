# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import json

import pytest
import torch
from support.definition import defined_scan, relative_error

from hf_minrnn.gates import NUM_PARTS
from training.bench import contestants, runner
from training.bench import scan as bench_scan
from training.common import timing
from training.report import speed_tables


@pytest.fixture
def no_processes(monkeypatch):
    monkeypatch.setattr(runner, "in_new_process", lambda *_: 1.0)


def test_a_quick_run_writes_the_result_that_it_returns(tmp_path, capsys, no_processes):
    path = tmp_path / "new" / "bench.json"
    threads = torch.get_num_threads()
    results = bench_scan.main(["--quick", "--output", str(path)])
    assert torch.get_num_threads() == threads
    assert json.loads(path.read_text(encoding="utf-8")) == results
    assert sorted(file.name for file in path.parent.iterdir()) == ["bench.json", "bench.png"]
    assert results["command"].startswith("python -m training.bench.scan --quick")
    assert results["machine"]["threads"] == 1 and results["versions"]["torch"]
    assert len(results["dispatch"]["microseconds"]) == 5 and min(results["dispatch"]["microseconds"].values()) > 0
    printed = capsys.readouterr().out
    for result, shape in zip(results["results"], bench_scan.QUICK_SHAPES, strict=True):
        assert tuple(result["shape"].values()) == shape
        for cell_type in bench_scan.CELL_TYPES:
            cell, names = result[cell_type], bench_scan.names_of(cell_type, shape)
            assert set(cell["forward_backward"]) == set(names) >= {"torch", "log-space"}
            assert set(cell["forward"]) == set(names) - {"loop"}
            for part, whole in (("forward", False), ("forward_backward", True)):
                for entry in cell[part].values():
                    assert 0 < entry["q1_ms"] <= entry["median_ms"] <= entry["q3_ms"]
                    forward_bytes, backward_bytes = contestants.floor_bytes(cell_type, shape)
                    moved = forward_bytes + backward_bytes * whole
                    assert entry["floor_gb_per_s"] == pytest.approx(moved / entry["median_ms"] / 1e6)
            both = cell["forward_backward"]
            ratio = cell["ratios"]["log-space / torch"]["ratio"]
            assert ratio == both["log-space"]["median_ms"] / both["torch"]["median_ms"]
        assert "B={batch} T={time} D={channels}".format(**result["shape"]) in printed


def test_the_op_is_compared_with_the_kernels_that_it_runs(monkeypatch):
    seen = []
    for name, pair in bench_scan.OP_BACKENDS.items():
        watched = tuple(lambda *args, n=name, f=f: seen.append(n) or f(*args) for f in pair)
        monkeypatch.setitem(bench_scan.OP_BACKENDS, name, watched)
    result = bench_scan.dispatch(2)
    # 12 turns: forward, twice; forward + backward, twice. One step runs none.
    assert seen == [result["backend"]] * 12 * 6
    times = result["microseconds"]
    assert result["added_forward"] == times["forward, through the op"] - times["forward, kernel alone"]


def test_the_table_names_the_backend_with_the_overhead_of_the_op(tmp_path, no_processes):
    result = bench_scan.main(["--quick", "--output", str(tmp_path / "bench.json")])
    assert f"to a forward of a tiny scan, on the {result['dispatch']['backend']} backend, and" in speed_tables.scan(
        result
    )


def test_no_speed_for_outputs_that_disagree(monkeypatch, tmp_path, no_processes):
    real = contestants.log_space
    monkeypatch.setattr(contestants, "log_space", lambda projected, cell_type: real(projected + 0.1, cell_type))
    with pytest.raises(timing.Disagreement, match=r"log-space and .* differ"):
        bench_scan.main(["--quick", "--output", str(tmp_path / "bench.json")])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name, cell_type", [("log-space", "mingru"), ("log-space", "minlstm"), ("loop", "mingru")])
def test_the_contestants_compute_the_cells(name, cell_type):
    function = contestants.SCANS[name].make()
    generator = torch.Generator().manual_seed(0)
    projected = torch.randn(2, 20, NUM_PARTS[cell_type] * 3, generator=generator, dtype=torch.float64)
    want, _ = defined_scan(projected, cell_type)
    assert relative_error(function(projected, cell_type), want) < 1e-10


def test_every_backend_runs_as_itself(monkeypatch):
    seen = []
    monkeypatch.setattr(contestants, "minrnn_scan", lambda p, cell, backend: seen.append(backend) or (p, None))
    for name in ("torch", "numba"):
        contestants.SCANS[name].make()(torch.zeros(1, 1, 2), "mingru")
    assert seen == ["torch", "numba"]


def test_memory_is_measured_in_a_new_process():
    def memory(name):  # the scan needs at least its output and its gradient: 0.75 MiB
        arguments = json.dumps([name, "mingru", [4, 256, 64]])
        return timing.in_new_process("training.bench.scan", ["--memory-of", arguments])

    ours = memory("torch")
    assert ours is None or 0.5 < ours < memory("log-space") < 100


def test_targets():
    first, last = bench_scan.SHAPES[0], bench_scan.SHAPES[-1]
    assert [bench_scan.target("torch", shape) for shape in (first, last, (1, 2, 3))] == [8, None, None]
    assert [bench_scan.target("numba", shape) for shape in (first, last, (1, 2, 3))] == [None, 20, None]
    for shape in bench_scan.SHAPES:
        assert ("loop" in bench_scan.names_of("mingru", shape)) == (shape[1] <= bench_scan.LONGEST_LOOP)
        assert "loop" not in bench_scan.names_of("minlstm", shape)
