# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import json

import pytest
import torch

from training.studies import forecast


@pytest.fixture(scope="module")
def parts():
    return forecast.split(forecast.mackey_glass(3000, seed=0))


def test_the_series_solves_its_equation():
    series = forecast.mackey_glass(800, seed=1)
    assert series.dtype == torch.float64 and torch.equal(series, forecast.mackey_glass(800, seed=1))
    assert not torch.equal(series, forecast.mackey_glass(800, seed=2)) and series.std() > 0.2
    now, late, slope = series[40:-1], series[10:-31], (series[41:] - series[39:-2]) / 2
    want = 0.2 * late / (1 + late**10) - 0.1 * now
    assert (slope - want).abs().max() < 2e-3  # of the difference quotient
    finer = forecast.mackey_glass(60, seed=1, step=0.05, every=20)
    assert finer.shape == (60,)


def test_constant_series_stays(monkeypatch):
    monkeypatch.setattr(forecast.torch, "rand", lambda *size, generator, dtype: torch.full(size, -0.5, dtype=dtype))
    assert torch.allclose(
        forecast.mackey_glass(50, seed=0), torch.ones(50, dtype=torch.float64)
    )  # x = 1 is the equilibrium


def test_parts_follow_each_other_and_targets_follow_inputs(parts):
    lengths = {name: len(x) for name, (x, _) in parts.items()}
    assert lengths == {"train": 2100 - 90, "validation": 300 - 90, "test": 600 - 90}
    x, y = parts["train"]
    for column, horizon in enumerate(forecast.HORIZONS):
        assert torch.equal(y[: len(x) - horizon, column], x[horizon:])
    assert not set(parts["train"][1].flatten().tolist()) & set(parts["validation"][0].tolist())


def test_the_warm_up_is_not_counted():
    target = torch.randn(300, 2)
    guess = target.clone()
    guess[: forecast.WARM_UP] = 100
    assert forecast.errors(guess, target) == [0, 0]
    mean = target[forecast.WARM_UP :].mean(0).expand_as(target)
    assert forecast.errors(mean, target) == pytest.approx([1, 1], rel=0.01)


def test_baselines(parts):
    found = forecast.baselines(parts)
    last, (name, linear) = found.pop("last value"), found.popitem()
    x, y = parts["test"]
    assert last["errors"][0] == pytest.approx(forecast.errors(torch.stack([x] * 6, -1), y)[0])
    assert name.startswith("linear, ") and all(a < b for a, b in zip(linear["errors"], last["errors"]))
    assert linear["errors"][0] < 0.01


def test_the_best_state_is_kept_and_a_run_ends_early(parts, monkeypatch):
    options = forecast.parse_arguments(["--quick", "--output", "unused.json"])
    options.every, options.patience = 1, 3
    states, scores = [], iter([5.0, 1.0, 2.0, 3.0, 4.0, 0.5])
    test = forecast.forecast

    def judged(model, part):
        if part is parts["test"]:
            return test(model, part)
        states.append(model.head.weight.clone())
        return None, [next(scores)]

    monkeypatch.setattr(forecast, "forecast", judged)
    model = forecast.Forecaster("MinGRU", 4, 2)
    run = forecast.train(model, parts, 1e-2, 0, options, steps=40)
    assert run["validation"] == 1.0 and run["steps"] == 5 and torch.equal(model.head.weight, states[1])


@pytest.mark.parametrize("layer", ["MinGRU", "MinLSTM"])
def test_it_learns(parts, layer):
    options = forecast.parse_arguments(["--quick"])
    options.batch, options.window, options.every = 8, 192, 20
    torch.manual_seed(0)
    run = forecast.train(forecast.Forecaster(layer, 16, 2), parts, 3e-2, 0, options, steps=60)
    # Better than the mean of the series at every horizon.
    assert max(run["errors"]) < 1.1 and sum(run["errors"][:4]) / 4 < 0.8


def test_a_quick_run_writes_the_result_that_it_returns(tmp_path, capsys):
    path = tmp_path / "new" / "forecast.json"
    result = forecast.main(["--quick", "--output", str(path)])
    assert json.loads(path.read_text(encoding="utf-8")) == result and result["machine"]["threads"] == 1
    assert sorted(file.name for file in path.parent.iterdir()) == ["forecast.json", "forecast.png"]
    sized = ["MinGRU, nn.GRU's size", "MinLSTM, nn.LSTM's size"]
    assert set(result["models"]) == {*forecast.LAYERS, *sized, *(f"{name}, longer" for name in sized)}
    printed = capsys.readouterr().out
    for name, entry in result["models"].items():
        assert len(entry["errors"]) == len(entry["deviations"]) == len(forecast.HORIZONS) and entry["seconds"] > 0
        longer = name.endswith("longer")
        rates = [(entry["rate"], 0)] if longer else [(1e-2, 0), (3e-2, 0)]
        assert [(run["rate"], run["seed"]) for run in entry["runs"]] == [*rates, (entry["rate"], 1)]
        assert {run["steps"] for run in entry["runs"]} == {16 if longer else 4}
        assert f"{name:<32}{entry['parameters']:>7,} parameters" in printed
    for ours, other in forecast.OURS.items():
        limit, entry = result["models"][other]["parameters"], result["models"][f"{ours}, {other}'s size"]
        wider = forecast.count(forecast.Forecaster(ours, entry["width"] + 1, entry["layers"]))
        assert entry["parameters"] <= limit < wider and entry["layers"] == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--steps", "0"], "--steps: must be a whole number above 0"),
        (["--rates", "nan"], "--rates: must be finite"),
        (["--output", "{file}/x.json"], "--output: the folder {file} cannot be created"),
    ],
)
def test_bad_values_are_rejected(options, message, tmp_path, capsys):
    file = tmp_path / "file"  # a file instead of a folder
    file.write_text("")
    with pytest.raises(SystemExit):
        forecast.main([option.format(file=file) for option in options])
    assert message.format(file=file) in capsys.readouterr().err


def test_a_window_longer_than_the_series_is_rejected():
    with pytest.raises(SystemExit, match=r"--length 1000 comes to parts of \d+ steps and more, and --window is 256"):
        forecast.main(["--length", "1000"])
