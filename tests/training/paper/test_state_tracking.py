# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import json

import pytest
import torch
from torch import nn

from training.paper import state_tracking

TINY = ["--small", "--steps", "2", "--every", "1", "--lengths", "8", "12", "--train-lengths", "6", "8", "--warmup", "0"]
TINY += ["--validation-length", "10", "--hidden-size", "16", "--threads", "1", "--batch-size", "2", "--batches", "1"]


def test_a_tiny_run_is_written_and_drawn(tmp_path, capsys):
    path = tmp_path / "tracking.json"
    arguments = [*TINY, "--models", "mingru-signed", "gru", "--output", str(path), "--runs", str(tmp_path)]
    result = state_tracking.main([*arguments, "--tasks", "s3", "--seeds", "0", "1"])
    names = [f"s3, {model}, rate 0.003, seed {seed}" for model in ("mingru-signed", "gru") for seed in (0, 1)]
    assert list(result["rows"]) == names and json.loads(path.read_text()) == result
    assert path.with_suffix(".png").stat().st_size > 10_000
    row = result["rows"]["s3, gru, rate 0.003, seed 1"]
    assert row["settings"]["lengths"] == [6, 8] and row["settings"]["validation_length"] == 10
    assert abs(row["parameters"] / row["settings"]["reference_parameters"] - 1) < 0.05
    for scores in row["test"].values():
        assert list(scores["by_length"]) == list(scores["last_by_length"]) == ["8", "12"]
        assert all(0 <= value <= 1 for value in (*scores["by_length"].values(), *scores["last_by_length"].values()))
        assert scores["accuracy"] == pytest.approx(sum(scores["by_length"].values()) / 2)
    assert "s3, gru: at 12, median " in capsys.readouterr().out
    line = (
        "python -m training.paper.state_tracking --small --models gru --seeds 1 --rates 0.003 --steps 2 --batch-size 2"
    )
    assert row["command"].startswith(line) and row["command"].endswith("--batches 1")
    again = state_tracking.main([*row["command"].split()[3:], "--output", str(path), "--runs", str(tmp_path)])
    assert again["rows"] == result["rows"]  # the command is that of a row that the file has


class Flips(nn.Module):
    """Solves parity up to a length, beyond which it always answers 0."""

    def __init__(self, right_up_to):
        super().__init__()
        self.right_up_to = right_up_to
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, ids):
        odd = ids.cumsum(1) % 2
        odd[:, self.right_up_to :] = 0
        return self.scale * nn.functional.one_hot(odd, 2)


def test_positions_are_judged_apart():
    task = state_tracking.tracking("parity")
    model = Flips(20).train()
    found = state_tracking.accuracy_by_position(model, task.fixed("test", 64, 32, 4))
    assert found[:20] == [1.0] * 20 and all(0.35 < accuracy < 0.65 for accuracy in found[20:]) and model.training


def test_all_models_of_the_presets_are_offered():
    for preset in (state_tracking.FULL, state_tracking.FULL | state_tracking.SMALL):
        assert set(preset["models"]) <= set(state_tracking.MODELS)
        assert preset["tasks"] == ["parity", "counting", "s3", "s5"] and len(preset["seeds"]) == 5
