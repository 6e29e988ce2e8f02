# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import inspect
import json

import numpy as np
import pytest
import torch

from hf_minrnn import MinGRU
from training.common.scans_comparators import missing_scans
from training.common.widths import count
from training.studies import pendulum, pendulum_data
from training.studies.pendulum import CONTESTANTS, Follower
from training.studies.pendulum_data import GRAVITY, PENDULUMS, Pendulum, draw, last_seen, swing

READS_DELTAS = "time_delta" in inspect.signature(MinGRU.forward).parameters


# --- data


def test_the_swing_keeps_its_energy_and_ignores_how_time_is_cut():
    rng = np.random.default_rng(0)
    angle, speed = rng.uniform(-1, 1, (2, 5))
    gaps = rng.uniform(0.05, 0.3, (5, 40))
    angles = swing(angle, speed, gaps)
    merged = swing(angle, speed, gaps.reshape(5, 20, 2).sum(-1))
    assert np.abs(merged - angles[:, 1::2]).max() < 1e-6
    energy = speed**2 / 2 - GRAVITY * np.cos(angle)  # largest angle: where all energy is potential
    highest = np.arccos(-energy / GRAVITY)
    fine = swing(angle, speed, np.full((5, 400), 0.01))
    assert np.abs(np.abs(fine).max(1) - highest).max() < 1e-3
    small = swing(np.array([1e-3]), np.array([0.0]), np.full((1, 30), 0.1))[0]
    assert np.abs(small - 1e-3 * np.cos(np.sqrt(GRAVITY) * 0.1 * np.arange(1, 31))).max() < 1e-7


@pytest.mark.parametrize("name", PENDULUMS)
def test_batches_are_functions_of_the_seed(name):
    task = PENDULUMS[name]
    batch, again, other = (draw(task, seed, 300) for seed in (1, 1, 2))
    assert torch.equal(batch.observed, again.observed) and not torch.equal(batch.gaps, other.gaps)
    assert batch.observed.shape == (300, 64, task.features) and batch.truth.shape == (300, 64, 2)
    assert (batch.gaps[:, 0] == 0).all() and batch.gaps[:, 1:].min() >= 0.05 and batch.gaps.max() <= 0.3
    assert torch.allclose(batch.truth.square().sum(-1), torch.ones(300, 64), atol=1e-6)
    assert abs(batch.seen[:, 1:].float().mean() - (1 - task.hidden)) < 0.02 and batch.seen[:, 0].all()
    noise = (batch.observed[..., :2] - batch.truth)[batch.seen]
    assert abs(noise.std() - task.noise) < 0.002 and abs(noise.mean()) < 0.002
    if task.hidden:
        assert torch.equal(batch.observed[..., 2], batch.seen.float()) and not batch.observed[~batch.seen].any()


def test_the_parts_differ():
    sizes = (8, 8, 8)
    parts = pendulum_data.parts(Pendulum(), sizes)
    assert parts is pendulum_data.parts(Pendulum(), sizes)
    assert not any(torch.equal(parts[a].gaps, parts[b].gaps) for a, b in ((0, 1), (0, 2), (1, 2)))


def test_the_last_observation_is_repeated_where_none_is_seen():
    batch = draw(PENDULUMS["hidden"], 0, 20, 12)
    found = last_seen(batch)
    for row in range(20):
        last = None
        for place in range(12):
            if batch.seen[row, place]:
                last = batch.observed[row, place, :2]
            assert torch.equal(found[row, place], last)


# --- models


def can_run(name):
    contestant = CONTESTANTS[name]
    if contestant.layer.startswith("scans-"):
        return missing_scans("cpu") is None
    return READS_DELTAS or not contestant.decays


@pytest.mark.parametrize("name", CONTESTANTS)
def test_a_model_is_causal_and_reads_what_it_says(name):
    if not can_run(name):
        pytest.skip("it needs a package, or layers with time_delta")
    torch.manual_seed(0)
    task, contestant = PENDULUMS["hidden"], CONTESTANTS[name]
    model = Follower(contestant, task, 8).eval()
    batch = draw(task, 0, 3, 20)
    gaps = batch.gaps.clone()
    gaps[:, 12] *= 2
    with torch.no_grad():
        found, other = model(batch.observed, batch.gaps), model(batch.observed, gaps)
    assert found.shape == (3, 20, 2) and torch.allclose(found[:, :12], other[:, :12], atol=1e-6)
    changed = (found[:, 12:] - other[:, 12:]).abs().max() > 1e-6
    assert changed == (contestant.reads_gaps or contestant.decays)
    model.train()(batch.observed, batch.gaps).square().sum().backward()
    assert all(weight.grad is not None for key, weight in model.named_parameters() if "embed_tokens" not in key)


@pytest.mark.parametrize("name", ["MinGRU", "blocks, signed", "scans-rotation", "scans-signed-delta"])
def test_no_model_has_more_parameters_than_nn_gru(name):
    if not can_run(name):
        pytest.skip("it needs a package")
    limit = count(Follower(CONTESTANTS["nn.GRU"], PENDULUMS["published"], 32))
    width = pendulum.widest(lambda width: Follower(CONTESTANTS[name], PENDULUMS["published"], width), limit)
    assert 0.8 * limit < count(Follower(CONTESTANTS[name], PENDULUMS["published"], width)) <= limit


# --- script


@pytest.mark.slow
def test_a_small_run_writes_every_row_and_runs_none_twice(tmp_path, capsys, monkeypatch):
    path = tmp_path / "pendulum.json"
    arguments = ["--small", "--models", "nn.GRU", "MinLSTM", "blocks", "--seeds", "0", "1", "--output", str(path)]
    result = pendulum.main(arguments)
    assert list(result["rows"]) == [
        f"{task}, {model}" for task in ("published", "hidden") for model in ("nn.GRU", "MinLSTM", "blocks")
    ]
    assert json.loads(path.read_text())["rows"] == json.loads(json.dumps(result["rows"]))
    printed = capsys.readouterr().out
    for key, row in result["rows"].items():
        assert [(run["rate"], run["seed"]) for run in row["runs"]] == [(3e-3, 0), (1e-2, 0), (row["rate"], 1)]
        kept = [run for run in row["runs"] if run["rate"] == row["rate"]]
        assert row["median"] == sum(run["error"] for run in kept) / 2 and row["worst"] == max(r["error"] for r in kept)
        assert (row["hidden"] is None) == key.startswith("published") and row["seconds"] > 0
        assert f"{key}: {row['command']}\n" in printed
    baselines = result["baselines"]
    assert (
        baselines["published"]["error"] == pytest.approx(0.05**2, rel=0.2) and baselines["published"]["hidden"] is None
    )
    assert baselines["hidden"]["hidden"] > baselines["hidden"]["error"] > baselines["published"]["error"]
    monkeypatch.setattr(pendulum, "compare", lambda *_: pytest.fail("a row was run twice"))
    assert pendulum.main(arguments)["rows"] == json.loads(json.dumps(result["rows"]))
