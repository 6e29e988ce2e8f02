# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import pytest

from training.common.machine import machine, versions
from training.report import tracking_tables


def row(model, task, seed, accuracy, seconds=10.0, **scores):
    return {
        "command": f"python -m training.x --models {model} --seeds {seed} --rates 0.003",
        "settings": {"model": model, "task": task, "rate": 3e-3, "seed": seed},
        "best": {"step": 20, "accuracy": accuracy, "loss": 1 - accuracy},
        "test": {"final": {}, "best": {"accuracy": accuracy, **scores}},
        "steps": 100 * (seed + 1),
        "seconds": seconds,
        "parameters": 98765,
        "machine": machine(),
        "versions": versions(),
    }


def lines(table):
    return [line for line in table.splitlines() if line.startswith("|")]


def by_length(accuracy, lengths=(64, 128, 256, 512, 1024)):
    return {str(length): accuracy for length in lengths}


def test_state_tracking_has_a_table_for_each_task():
    rows = {}
    for seed, accuracy in enumerate((1.0, 0.75, 0.9375)):
        scores = {"by_length": by_length(accuracy), "last_by_length": by_length(accuracy / 2)}
        rows[f"a{seed}"] = row("gru", "s3", seed, accuracy, seconds=5.0 + seed, **scores)
    rows["b"] = row("scans-givens", "s5", 0, 0.5, by_length={"64": 0.5}, last_by_length={"64": 0.25})
    table = tracking_tables.tracking({"small": {"rows": rows}})
    assert [line for line in table.splitlines() if line.startswith("**")] == [
        f"**{task}**, accuracy in percent by length, small preset:" for task in ("parity", "counting", "s3", "s5")
    ]
    cells = " | ".join(["93.8 (75.0)"] * 5)
    assert f"| gru | {cells} | 46.9 (37.5) | 98,765 | 6 (200) |" in table
    assert (
        "| scans-givens | 50.0 |  |  |  |  |  | 98,765 | 10 (100) |" in table
    )  # not a model of the preset, but it ran
    assert "| s5 | scans-givens | small | 98,765 | 0.003 | 1 | 100 |" in table
    assert "| gru, published |  |  | 100.0 | 100.0 | 100.0 |  |  |  |" in table
    assert table.count("| mingru-signed | not run |") == 4 and "--models gru --seeds 0 1 2 --rates" in table
    assert "Not run: `python -m training.paper.state_tracking`.\n" in table


def test_long_strings_are_those_of_the_cpu_preset():
    rows = {"a": row("mingru-signed", "parity", 0, 1.0, by_length={"40": 1.0, "1024": 0.5})}
    table = tracking_tables.long_strings({"cpu": {"rows": rows}, "small": {"rows": {}}})
    assert "| mingru-signed | 100.0 |  |  |  | 50.0 | 98,765 | 10 (100) |" in table
    assert table.count("| gru | not run |") == 1 and "Not run" not in table
    assert "Not run: `python -m training.paper.chomsky_tasks --cpu`." in tracking_tables.long_strings({"small": {}})


def test_recall_stands_beside_what_was_published():
    by_pairs = {"8": 1.0, "16": 0.5, "32": 0.25}
    rows = {f"{model}": row(model, "recall", 0, 1.0, by_pairs=by_pairs) for model in ("scans-delta", "llama")}
    table = tracking_tables.recall_in_noise({"cpu": {"rows": rows}})
    assert "| scans-delta | 100.0 | 50.0 | 25.0 | 36 of 36 | 93.1 | 49.3 | 98,765 | 10 (100) |" in table
    assert "| llama | 100.0 | 50.0 | 25.0 |  |  |  | 98,765 |" in table and "cpu preset:" in table
    assert "Not run: `python -m training.paper.mqar`, `python -m training.paper.mqar --small`." in table


def test_pendulums_stand_beside_the_last_observation():
    runs = [{"rate": 3e-3, "error": error} for error in (0.0010, 0.0013, 0.0016)]
    about = {"rate": 3e-3, "parameters": 38000, "seconds": 41.4, "median": 0.0013, "worst": 0.0016}
    published = about | {"settings": {"task": "published", "model": "MinGRU"}, "hidden": None}
    published["runs"] = [{"rate": 1e-2, "error": 0.0001}, *runs]
    hidden = about | {"settings": {"task": "hidden", "model": "nn.GRU"}, "hidden": 0.002, "runs": runs}
    baselines = {"published": {"error": 0.0025, "hidden": None}, "hidden": {"error": 0.1, "hidden": 0.2}}
    table = tracking_tables.pendulum({"rows": {"a": published, "b": hidden}, "baselines": baselines})
    assert "| MinGRU | 1.30 (1.60) | 2 of 3 | not run |  | 38,000 | 41 |" in table
    assert "| nn.GRU | not run |  | 1.30 (1.60) | 2.00 | 38,000 | 41 |" in table
    assert "| last observation | 2.50 |  | 100.00 | 200.00 |  |  |" in table
    assert tracking_tables.pendulum({"rows": {}}).count("not run | ") == 2 * len(tracking_tables.CONTESTANTS)


@pytest.mark.parametrize("name", ["tracking", "long_strings", "recall_in_noise"])
def test_without_results_every_row_says_so(name):
    table = getattr(tracking_tables, name)({})
    models = [line for line in lines(table) if not line.startswith(("| model", "| :--")) and "published |" not in line]
    assert models and all("| not run |" in line for line in models)
