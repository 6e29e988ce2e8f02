# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import json

import pytest
import torch

from training.bench import step as bench_step
from training.bench.contestants import models_of_size
from training.common import timing

TINY = ["--parameters", "20000", "--hidden-size", "16", "--rounds", "2", "--batch", "2", "--time", "8"]


def test_result_file(tmp_path, capsys):
    path = tmp_path / "out.json"
    result = bench_step.main([*TINY, "--output", str(path)])
    assert json.loads(path.read_text()) == result
    for name in ("minGRU", "minLSTM", "Llama", "minGRU, scan replaced by the identity", "minGRU, bfloat16"):
        entry = result["steps"][name]
        assert entry["tokens_per_s"] == pytest.approx(1e3 * 16 / entry["median_ms"])
    ratio = result["ratios"]["minGRU, scan replaced by the identity / minGRU"]["ratio"]
    assert ratio == pytest.approx(
        result["steps"]["minGRU"]["median_ms"] / result["steps"]["minGRU, scan replaced by the identity"]["median_ms"]
    )
    for name in bench_step.OURS:
        share = result["scan_share"][name]
        assert 0 < share["total"] == share["forward"] + share["backward"] < 1
        assert f"the scan's share of {name}'s step" in capsys.readouterr().out or name == "minLSTM"


@pytest.mark.parametrize("part", ["forward", "backward"])
def test_no_speed_for_a_wrong_scan(part, tmp_path, break_scan):
    break_scan(part)
    with pytest.raises(timing.Disagreement, match=r"minGRU and its definition \(loss, gradient\) differ"):
        bench_step.main([*TINY, "--output", str(tmp_path / "out.json")])
    assert not list(tmp_path.iterdir())


def test_each_of_our_contestants_is_compared(monkeypatch, break_scan):
    models, ids = models_of_size(bench_step.NAMES, 20_000, 16), torch.randint(0, 256, (2, 8))
    assert list(bench_step.check_ours(models, ids)) == ["minGRU", "minGRU, bfloat16", "minLSTM"]
    break_scan("backward")
    monkeypatch.setattr(bench_step, "OURS", ("minLSTM",))
    with pytest.raises(timing.Disagreement, match="minLSTM and its definition"):
        bench_step.check_ours(models, ids)


def test_steps_train():
    model = models_of_size(["minGRU"], 20_000, 16, 50)["minGRU"]
    step = bench_step.training_step(model, torch.randint(0, 50, (2, 8), generator=torch.Generator().manual_seed(0)))
    losses = [step() for _ in range(30)]
    assert losses[-1] < losses[0]


def test_the_identity_is_put_back():
    model, ids = models_of_size(["minGRU"], 20_000, 16, 50)["minGRU"], torch.arange(8)[None]
    with torch.no_grad():
        before = bench_step.loss_of(model, ids)
        inside = bench_step.identity_scan()(bench_step.loss_of)(model, ids)
        assert inside != before and bench_step.loss_of(model, ids) == before


def test_a_scan_that_the_profiler_misses_is_an_error():
    with pytest.raises(RuntimeError, match="did not see"):
        bench_step.scan_share(lambda: torch.ones(3) + 1)
