# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import json

import pytest
import torch
from transformers import DynamicCache

from hf_minrnn import cells
from training.bench import decode as bench_decode
from training.bench.contestants import models_of_size
from training.common import timing

TINY = ["--parameters", "20000", "--hidden-size", "16", "--vocab-size", "50", "--rounds", "2"]


@pytest.fixture(autouse=True)
def a_short_end(monkeypatch):
    monkeypatch.setattr(bench_decode, "READ_AGAIN", 1024)


def test_result_file(tmp_path, capsys):
    path = tmp_path / "out.json"
    contexts = ["--contexts", "0", "5", "5000", "--no-compile"]
    result = bench_decode.main([*TINY, *contexts, "--output", str(path)])
    assert json.loads(path.read_text()) == result and path.with_suffix(".png").exists()
    rows = result["contexts"]
    for name in ("minGRU", "minLSTM", "Llama", "Mamba"):
        assert list(rows[name]) == ["0", "5", "5000"]
        assert abs(result["models"][name]["parameters"] - 20_000) < 5_000
    # A float32 state of 32 and 3 inputs of the convolution of 16 channels in every layer.
    size = result["models"]["minGRU"]["num_hidden_layers"] * (32 + 3 * 16) * 4
    assert all(size <= entry["state_bytes"] <= size + 8 for entry in rows["minGRU"].values())
    assert rows["Llama"]["5000"]["state_bytes"] > 100 * rows["Llama"]["5"]["state_bytes"]
    alone = rows["Linears of minGRU alone"]["0"]["median_ms"]
    assert result["ratios"]["minGRU / its Linears, 5"] == {
        "ratio": rows["minGRU"]["5"]["median_ms"] / alone,
        "target": 1.2,
    }
    assert "after     5,000 tokens" in capsys.readouterr().out


def test_a_context_read_in_stages_is_the_whole():
    model = models_of_size(bench_decode.NAMES, 20_000, 16, 50)["minGRU"]
    with torch.inference_mode():
        caches = bench_decode.prefill_all({"minGRU": model}, [3, 8])
        first, second = (caches["minGRU", n] for n in (3, 8))
    assert (first.get_seq_length(), second.get_seq_length()) == (3, 8)
    assert not torch.equal(first.layers[0].recurrent_states[0], second.layers[0].recurrent_states[0])


def test_llama_stops_where_its_limit_is(monkeypatch):
    monkeypatch.setitem(bench_decode.LIMITS, "Llama", 4)
    models = models_of_size(bench_decode.NAMES, 20_000, 16, 50)
    caches = bench_decode.prefill_all({"Llama": models["Llama"]}, [0, 4, 5])
    assert [context for _, context in caches] == [0, 4]
    assert isinstance(caches["Llama", 4], DynamicCache) and caches["Llama", 4].get_seq_length() == 4


def test_a_growing_cache_is_not_measured(monkeypatch, tmp_path):
    sizes = iter(range(1000))
    monkeypatch.setattr(bench_decode, "state_bytes", lambda cache: next(sizes))
    with pytest.raises(RuntimeError, match="the state of minGRU grew after 5 tokens"):
        bench_decode.main([*TINY, "--contexts", "5", "--no-compile", "--output", str(tmp_path / "out.json")])
    assert not list(tmp_path.iterdir())


def test_no_speed_for_a_wrongly_read_text(tmp_path, break_scan):
    break_scan("forward")
    with pytest.raises(timing.Disagreement, match=r"minGRU after 5 tokens and its definition \(logits\) differ"):
        bench_decode.main([*TINY, "--contexts", "5", "--no-compile", "--output", str(tmp_path / "out.json")])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", bench_decode.OURS)
def test_no_speed_for_wrong_steps(name, monkeypatch, tmp_path):
    real = cells.scan_step
    wrong = {"minGRU": "mingru", "minLSTM": "minlstm"}[name]

    def step(projected, state, spec, **options):
        h, state = real(projected, state, spec, **options)
        return (h + 0.01 * h.roll(1, -1), state) if spec.cell_type == wrong else (h, state)

    monkeypatch.setattr(cells, "scan_step", step)
    with pytest.raises(timing.Disagreement, match=f"{name} after 0 tokens and its definition"):
        bench_decode.main([*TINY, "--contexts", "0", "--no-compile", "--output", str(tmp_path / "out.json")])
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_compiled_steps_agree(tmp_path):
    torch._dynamo.reset()  # otherwise each token would check the guards of graphs that other tests compiled
    result = bench_decode.main([*TINY, "--contexts", "0", "--output", str(tmp_path / "out.json")])
    assert result["ratios"]["minGRU, compiled / its Linears, 0"]["target"] == 1.1
    assert (tmp_path / "out.png").stat().st_size  # also with a single context, where lines are points


@pytest.mark.parametrize("contexts", [["5", "3"], ["5", "5"]])
def test_contexts_must_rise(contexts, capsys):
    with pytest.raises(SystemExit):
        bench_decode.main(["--contexts", *contexts])
    assert f"--contexts {' '.join(contexts)} must be in rising order" in capsys.readouterr().err
