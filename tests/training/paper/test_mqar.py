# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import json

from training.paper import mqar

TINY = ["--small", "--steps", "2", "--every", "1", "--hidden-size", "16", "--batch-size", "2", "--warmup", "0"]
TINY += ["--threads", "1", "--batches", "1", "--models", "llama"]


def test_a_tiny_run_is_asked_for_more_pairs_than_it_was_trained_on(tmp_path, capsys):
    path = tmp_path / "mqar.json"
    result = mqar.main([*TINY, "--output", str(path), "--runs", str(tmp_path), "--seeds", "0", "1"])
    written = json.loads(path.read_text())
    assert written["rows"] == json.loads(json.dumps(result["rows"])) and written["asked"] == [
        [8, 64],
        [16, 256],
        [32, 256],
    ]
    assert list(result["rows"]) == [f"llama, rate 0.003, seed {seed}" for seed in (0, 1)]
    for row in result["rows"].values():
        assert row["settings"]["task"] == "recall of 8 in noise" and row["settings"]["lengths"] == [64, 64]
        by_pairs = row["test"]["best"]["by_pairs"]
        assert list(by_pairs) == ["8", "16", "32"] and row["test"]["best"]["accuracy"] == by_pairs["8"]
    assert "llama: 32 pairs in 256 positions, median " in capsys.readouterr().out


def test_all_models_of_the_presets_are_offered():
    assert {*mqar.FULL["models"], *mqar.CPU["models"]} <= set(mqar.MODELS)
