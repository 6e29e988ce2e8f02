# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import argparse
import json
from dataclasses import replace

import pytest
import torch

from training.bench import contestants, runner
from training.bench import layers as bench_layers
from training.bench.calls import ForwardBackward, layer_call
from training.common import timing

FEW = (*bench_layers.OURS_ALONE, "nn.GRU", "HGRN, chunk")


@pytest.fixture(autouse=True)
def few_and_no_processes(monkeypatch):
    monkeypatch.setattr(bench_layers, "NAMES", FEW)
    monkeypatch.setattr(runner, "in_new_process", lambda *_: 1.0)


def test_a_quick_run_writes_the_result_that_it_returns(tmp_path, capsys):
    path = tmp_path / "new" / "bench.json"
    results = bench_layers.main(["--quick", "--output", str(path)])
    assert json.loads(path.read_text(encoding="utf-8")) == results
    assert sorted(file.name for file in path.parent.iterdir()) == ["bench.json", "bench.png"]
    assert results["command"].startswith("python -m training.bench.layers --quick")
    printed = capsys.readouterr().out
    for result, shape in zip(results["results"], bench_layers.QUICK_SHAPES, strict=True):
        assert (
            tuple(result["shape"].values()) == shape
            and "B={batch} T={time} D={channels}".format(**result["shape"]) in printed
        )
        assert set(result["relative_errors"]) == {"minGRU", "minLSTM"}
        assert set(result["layers"]) == set(FEW) - {"HGRN, chunk"} == set(FEW) - set(result["left_out"])
        for timing_ in result["layers"].values():
            assert 0 < timing_["q1_ms"] <= timing_["median_ms"] <= timing_["q3_ms"]
        entry = result["ratios"]["nn.GRU / minLSTM"]
        assert entry["ratio"] == result["layers"]["nn.GRU"]["median_ms"] / result["layers"]["minLSTM"]["median_ms"]
        assert {n for n in result["ratios"] if "matmul" in n} == {
            "matmul of minGRU / minGRU",
            "matmul of minLSTM / minLSTM",
        }


def test_ours_alone(tmp_path):
    results = bench_layers.main(["--quick", "--ours", "--output", str(tmp_path / "bench.json")])
    for result in results["results"]:
        assert set(result["layers"]) == set(bench_layers.OURS_ALONE)
        assert list(result["ratios"]) == ["matmul of minGRU / minGRU", "matmul of minLSTM / minLSTM"]


def test_no_speed_for_outputs_that_disagree(monkeypatch, tmp_path):
    wrong = replace(contestants.LAYERS["nn.GRU"], same_as="minGRU")
    monkeypatch.setitem(contestants.LAYERS, "nn.GRU", wrong)
    with pytest.raises(timing.Disagreement, match=r"nn.GRU and minGRU \(h, gradient\) differ"):
        bench_layers.main(["--quick", "--output", str(tmp_path / "bench.json")])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("part", ["forward", "backward"])
@pytest.mark.parametrize("name", bench_layers.OURS)
def test_no_speed_for_a_wrong_scan(name, part, monkeypatch, tmp_path, break_scan):
    break_scan(part)
    if name == "minLSTM":  # check it alone, because the check of minGRU would fail first
        real = ForwardBackward.check
        monkeypatch.setattr(
            ForwardBackward, "check", lambda call, who, got: real(call, who, got) if who == name else []
        )
    with pytest.raises(timing.Disagreement, match=rf"{name} and its definition \(h, gradient\) differ"):
        bench_layers.main(["--quick", "--output", str(tmp_path / "bench.json")])
    assert not list(tmp_path.iterdir())


def test_memory_of_compiled_layers_is_that_of_running(monkeypatch):
    def layer_call(name, shape):
        return lambda: seen.append(shape)

    monkeypatch.setattr(bench_layers, "layer_call", layer_call)
    monkeypatch.setattr(bench_layers, "release_memory", lambda: seen.append("released"))
    monkeypatch.setattr(bench_layers, "peak_memory", lambda step: seen.append("measured") or step() or 7.0)
    small, shape, seen = (2, 256, 64), (1, 512, 256), []
    assert bench_layers.memory_of("minGRU-pytorch, compiled", shape) == 7.0
    assert seen == [small, shape, "released", "measured", shape]
    seen.clear()
    bench_layers.memory_of("minGRU", shape)
    assert seen == [small, "measured", shape]


def test_memory_of_every_layer_is_written(monkeypatch):
    monkeypatch.setitem(contestants.LAYERS, "minGRU, compiled", replace(contestants.LAYERS["minGRU"], compiled=True))
    monkeypatch.setattr(bench_layers, "NAMES", (*FEW, "minGRU, compiled"))
    options = argparse.Namespace(ours=False, rounds=2, threads=1)
    result = bench_layers.bench_shape((2, 8, 16), options)
    assert set(result["memory_mib"]) == set(result["layers"]) >= {"minGRU, compiled"}


def test_gradients_are_compared_too():
    out, grad = layer_call("minGRU", (2, 5, 4))()
    assert out.shape == grad.shape == (2, 5, 4) and grad.abs().sum() > 0 and not torch.equal(out, grad)


def test_targets():
    first, large, narrow = bench_layers.SHAPES[0], bench_layers.SHAPES[1], bench_layers.NARROW
    shapes = (first, large, narrow)
    assert [bench_layers.target("minGRU", "nn.GRU", shape) for shape in shapes] == [5, 5, 2.5]
    assert [bench_layers.target("minLSTM", "nn.LSTM", shape) for shape in shapes] == [2.5, 2.5, None]
    assert [bench_layers.target("minGRU", "matmul of minGRU", shape) for shape in shapes] == [None, 1 / 1.25, 1 / 1.35]
    assert (
        bench_layers.target("minGRU", "nn.GRU", (2, 8, 16)) is None
        and bench_layers.target("minGRU", "Mamba", large) is None
    )
