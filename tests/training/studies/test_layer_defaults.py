# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import json
import shutil
from functools import partial

import pytest
import torch
from torch import nn

from hf_minrnn import MinGRU
from training.common.paths import RESULTS
from training.common.widths import count
from training.studies import layer_defaults, layer_tasks


def run(path, *arguments):
    return layer_defaults.main(["--small", "--output", str(path), *map(str, arguments)])


def test_a_small_run_writes_every_row_and_runs_none_twice(tmp_path, capsys, monkeypatch):
    path, threads = tmp_path / "new" / "defaults.json", torch.get_num_threads()
    arguments = ["--tasks", "waves", "forecast", "--settings", "g", "rising", "--seeds", 0, 1]
    result = run(path, *arguments)
    assert torch.get_num_threads() == threads and json.loads(path.read_text(encoding="utf-8")) == result
    ours = [f"{layer} {setting}" for layer in ("MinGRU", "MinLSTM") for setting in ("g", "rising")]
    references = ["nn.GRU", "nn.LSTM"]
    assert list(result["rows"]) == [
        *(f"waves {name}" for name in references + ours),
        *(f"forecast {name}" for name in references + ours),
    ]
    printed = capsys.readouterr().out
    for key, row in result["rows"].items():
        limit = result["rows"][f"{key.split()[0]} nn.GRU"]["parameters"]
        assert row["parameters"] <= limit and row["machine"]["threads"] == 1 and f"{key}: {row['command']}" in printed
        rates = row["settings"]["rates"]
        assert [(r["rate"], r["seed"]) for r in row["runs"]] == [*((rate, 0) for rate in rates), (row["rate"], 1)]
        assert row["rate"] == min(row["runs"][: len(rates)], key=lambda run: run["validation"])["rate"]
        scores = [r["score"] for r in row["runs"] if r["rate"] == row["rate"]]
        worst = min if row["settings"]["measure"] == "accuracy" else max
        assert row["median"] == sum(scores) / 2 and row["worst"] == worst(scores) and row["seconds"] > 0
    monkeypatch.setattr(layer_defaults, "compare", lambda *_: pytest.fail("a row was run twice"))
    assert run(path, *arguments)["rows"] == result["rows"]


def test_the_commands_of_the_committed_rows_run_nothing(tmp_path, monkeypatch):
    committed, path = RESULTS / "layer_defaults.json", tmp_path / "layer_defaults.json"
    shutil.copy(committed, path)
    monkeypatch.setattr(layer_defaults, "compare", lambda *_: pytest.fail("a row was run twice"))
    written = json.loads(committed.read_text())["rows"]
    for row in written.values():
        assert layer_defaults.main([*row["command"].split()[3:], "--output", str(path)])["rows"] == written
    assert path.read_bytes() == committed.read_bytes()


def test_the_command_of_a_row_gives_that_row(tmp_path):
    row = run(tmp_path / "a.json", "--tasks", "waves", "--layers", "MinGRU", "--settings", "0.9", "--seeds", 3)["rows"]
    command = row["waves MinGRU 0.9"]["command"].split()
    assert command[:3] == ["python", "-m", "training.studies.layer_defaults"]
    again = layer_defaults.main([*command[3:], "--output", str(tmp_path / "b.json")])["rows"]
    assert list(again) == list(row) and again["waves MinGRU 0.9"]["median"] == row["waves MinGRU 0.9"]["median"]


def test_other_settings_than_those_of_the_file_are_rejected(tmp_path):
    path = tmp_path / "defaults.json"
    run(path, "--tasks", "waves", "--layers", "nn.LSTM", "--seeds", 0)
    with pytest.raises(
        SystemExit, match=r"training.studies.layer_defaults: .*'waves nn.LSTM' with seeds \[0\], not \[1\]"
    ):
        run(path, "--tasks", "waves", "--layers", "nn.LSTM", "--seeds", 1)


@pytest.mark.parametrize("setting", list(layer_defaults.SETTINGS))
@pytest.mark.parametrize("layer", layer_defaults.OURS)
def test_a_setting_reaches_every_layer(layer, setting):
    candidate, (first, last), bias = layer_defaults.SETTINGS[setting]
    made = layer_defaults.make(layer, setting, 3, 4, 3)
    assert [cell.spec.candidate_activation for cell in made.cells] == [candidate] * 3
    assert [cell.spec.forget_gate_floor for cell in made.cells] == pytest.approx([first, (first + last) / 2, last])
    if bias:
        low, high = bias if isinstance(bias, tuple) else (bias, bias)
        gate = made.cells[1].in_proj.bias[:4] * (1 if layer == "MinLSTM" else -1)
        assert torch.allclose(gate, torch.linspace(low, high, 4))


def test_floors_that_rise_need_two_layers():
    names = list(layer_defaults.SETTINGS)
    assert layer_defaults.fitting(layer_tasks.Waves(1), names) == names
    assert set(names) - set(layer_defaults.fitting(layer_tasks.Vowels(1), names)) == {"rising"}


def test_the_model_reads_the_ends_of_both_directions():
    torch.manual_seed(0)
    rows = [torch.randn(n, 3) for n in (4, 7)]
    for recurrent in (MinGRU(3, 5, 2, bidirectional=True), nn.LSTM(3, 5, 2, bidirectional=True)):
        model = layer_tasks.Model(recurrent, 2)
        got = model(nn.utils.rnn.pack_sequence(rows, enforce_sorted=False))
        for row, logits in zip(rows, got):
            output = recurrent(row[:, None])[0]
            want = model.head(torch.cat([output[-1, 0, :5], output[0, 0, 5:]]))
            assert torch.allclose(logits, want, atol=1e-6)


def test_the_waves_are_the_same_each_time_and_can_be_told_apart():
    (sequences, labels), again = (layer_tasks.Waves(1).parts["train"] for _ in range(2))
    assert torch.equal(torch.cat(sequences), torch.cat(again[0])) and torch.equal(labels, again[1])
    lengths = [len(sequence) for sequence in sequences]
    assert min(lengths) >= 40 and max(lengths) < 120 and set(labels.tolist()) == {0, 1, 2}
    # Least squares with sine and cosine gives the power of each of the three frequencies. The largest one is the label.
    right = 0
    for sequence, label in zip(sequences, labels.tolist()):
        time = torch.arange(len(sequence)) / 10
        bases = [torch.stack([torch.sin((1 + 0.6 * k) * time), torch.cos((1 + 0.6 * k) * time)], 1) for k in range(3)]
        wave = sequence[:, :1]
        residuals = [(wave - b @ torch.linalg.lstsq(b, wave).solution).square().sum().item() for b in bases]
        right += residuals.index(min(residuals)) == label
    assert right > 0.95 * len(labels)


def test_vowels():
    pytest.importorskip("sktime")
    parts = layer_tasks.Vowels(1).parts
    assert {name: len(sequences) for name, (sequences, _) in parts.items()} == {
        "test": 370,
        "train": 216,
        "validation": 54,
    }
    for sequences, labels in parts.values():
        assert len(sequences) == len(labels) and set(labels.tolist()) == set(range(9))
        assert all(sequence.shape[1] == 12 and 7 <= len(sequence) <= 29 for sequence in sequences)
    for _, labels in (parts["train"], parts["validation"]):
        assert labels.bincount().unique().numel() == 1  # the same number of series per speaker


@pytest.mark.parametrize("layer", list(layer_defaults.LAYERS))
def test_cartpole(layer, tmp_path):
    pytest.importorskip("gymnasium")
    result = run(
        tmp_path / "defaults.json", "--tasks", "cartpole", "--layers", layer, "--settings", "spread", "--seeds", 0
    )
    (row,) = result["rows"].values()
    assert 0 < row["median"] <= 500 and len(row["runs"]) == 2
    policy = layer_tasks.CartPole(1).model(partial(layer_defaults.make, layer, "spread"), row["width"])
    assert count(policy) > 0 and policy.state_size == row["width"] * (2 if layer == "nn.LSTM" else 1)
