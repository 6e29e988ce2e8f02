# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import json

import pytest
import torch

from hf_minrnn import cells
from training.bench import modules as bench_modules
from training.bench import runner
from training.bench.modules import Shape
from training.common import timing
from training.common.paths import RESULTS
from training.report import tables


@pytest.fixture(autouse=True)
def no_processes(monkeypatch):
    monkeypatch.setattr(runner, "in_new_process", lambda *_: 1.0)


def test_a_quick_run_writes_the_result_that_it_returns(tmp_path, capsys, monkeypatch):
    path = tmp_path / "new" / "bench_modules.json"
    results = bench_modules.main(["--quick", "--output", str(path)])
    assert json.loads(path.read_text(encoding="utf-8")) == results
    assert sorted(file.name for file in path.parent.iterdir()) == ["bench_modules.json", "bench_modules.png"]
    assert results["command"].startswith("python -m training.bench.modules --quick")
    printed = capsys.readouterr().out
    for result, shape in zip(results["results"], bench_modules.QUICK_SHAPES, strict=True):
        assert Shape(**result["shape"]) == shape and str(shape) in printed
        modules = result["modules"]
        assert set(modules) == {*bench_modules.NAMES, "MinGRU, nn.GRU's size", "MinLSTM, nn.LSTM's size"}
        for entry in modules.values():
            assert 0 < entry["q1_ms"] <= entry["median_ms"] <= entry["q3_ms"]
        for ours, other in bench_modules.PAIRS.items():
            sized = modules[f"{ours}, {other}'s size"]
            assert modules[ours]["hidden"] == modules[other]["hidden"] < sized["hidden"]
            assert modules[ours]["parameters"] < sized["parameters"] <= modules[other]["parameters"]
            assert result["ratios"][ours]["ratio"] == modules[other]["median_ms"] / modules[ours]["median_ms"]
        assert set(result["memory_mib"]) == (set(bench_modules.NAMES) if shape.time >= bench_modules.LONG else set())
    # The table says where ours is slower and what misses its target.
    entry = results["results"][3]
    entry["ratios"]["MinGRU"]["ratio"], entry["ratios"]["MinLSTM"]["ratio"] = 1.5, 0.5
    path.write_text(json.dumps(results))
    monkeypatch.setattr(tables, "RESULTS", path.parent)
    text = tables.render("<!-- table modules -->\n<!-- end -->")
    assert "0 of 1 reached. Missed: MinGRU at (1, 520, 2, 4): 1.50 instead of 2.00." in text
    (slower,) = [line for line in text.splitlines() if line.startswith("Slower")]
    assert "MinLSTM at (1, 520, 2, 4), 0.50×" in slower and "MinGRU at (1, 520, 2, 4)" not in slower
    assert "| (2, 8, 4, 8), 2 layers, bidirectional |" in text and text.count("1 / 1 |") >= 2


def test_single_steps_carry_their_state():
    shape = Shape(2, 5, 3, 4, steps=True)
    for layer in bench_modules.NAMES:
        (outputs,) = bench_modules.timed_and_whole(layer, 4, shape)[0]()
        torch.manual_seed(0)
        module = bench_modules.make(layer, shape, 4)
        with torch.no_grad():
            want, _ = module(torch.randn(5, 2, 3))
        assert torch.allclose(outputs, want, atol=1e-6) and not outputs.requires_grad


@pytest.mark.parametrize("part", ["forward", "backward"])
@pytest.mark.parametrize("layer", bench_modules.PAIRS)
def test_no_speed_for_a_wrong_scan(layer, part, monkeypatch, tmp_path, break_scan):
    break_scan(part)
    pair = (layer, bench_modules.PAIRS[layer])
    monkeypatch.setattr(bench_modules, "NAMES", pair)
    monkeypatch.setattr(bench_modules, "PAIRS", dict([pair]))
    with pytest.raises(timing.Disagreement, match=f"{layer} and its definition at B=2 T=8 .* differ"):
        bench_modules.main(["--quick", "--output", str(tmp_path / "bench.json")])
    assert not list(tmp_path.iterdir())


def test_steps_with_gradient_are_the_sequence():
    shape = Shape(2, 5, 3, 4)
    for layer in bench_modules.NAMES:
        steps, whole = bench_modules.timed_and_whole(layer, 4, shape._replace(steps=True, gradient=True))
        assert isinstance(steps.module, bench_modules.OneByOne)
        for got, want in zip(steps(), whole(), strict=True):
            assert torch.allclose(got, want, atol=1e-5)


def test_no_speed_for_wrong_single_steps(monkeypatch, tmp_path):
    real = cells.scan_step
    monkeypatch.setattr(cells, "scan_step", lambda *args, **options: tuple(1.01 * x for x in real(*args, **options)))
    with pytest.raises(timing.Disagreement, match=r"its definition at B=2 T=3 .* step by step \(h\) differ"):
        bench_modules.main(["--quick", "--output", str(tmp_path / "bench.json")])
    assert not list(tmp_path.iterdir())


def test_gradients_are_computed():
    out, grad = bench_modules.timed_and_whole("MinLSTM", 4, Shape(2, 5, 3, 4, layers=2, bidirectional=True))[0]()
    assert out.shape == (5, 2, 8) and grad.shape == (5, 2, 3) and grad.abs().sum() > 0


def test_targets():
    long = Shape(1, 512, 2, 4)
    assert bench_modules.target("MinGRU", long) == 2.0 and bench_modules.target("MinLSTM", long) is None
    others = (
        long._replace(time=511),
        long._replace(layers=2),
        long._replace(bidirectional=True),
        long._replace(steps=True),
    )
    assert {bench_modules.target("MinGRU", shape) for shape in others} == {None}
    covered = [shape for shape in bench_modules.SHAPES if bench_modules.target("MinGRU", shape)]
    assert len(covered) >= 4 and len(bench_modules.SHAPES) <= 16


def test_memory_is_measured_by_name_and_shape(capsys):
    shape = Shape(2, 6, 3, 4, bidirectional=True)
    found = bench_modules.main(["--memory-of", json.dumps(["nn.GRU", shape])])
    assert found["memory_mib"] >= 0 and float(capsys.readouterr().out.split()[-1]) == found["memory_mib"]


def test_the_picture_shows_every_shape(tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(bench_modules, "plot_bars", lambda path, title, unit, groups, ours: drawn.update(groups))
    result = json.loads((RESULTS / "bench_modules.json").read_text())
    bench_modules.draw(result, tmp_path / "bench.png")
    shapes = [Shape(**entry["shape"]) for entry in result["results"]]
    assert [" ".join(label.split()) for label in drawn] == [str(shape) for shape in shapes]
    assert len(drawn) == len(bench_modules.SHAPES)
