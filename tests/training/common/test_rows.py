# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import doctest

from training.common import rows as rows_module
from training.common.rows import contest, curves, groups, numbers, tried


def row(accuracy, model="mingru", rate=1e-3, seed=0):
    return {
        "settings": {"model": model, "rate": rate, "seed": seed},
        "best": {"step": 20, "accuracy": accuracy},
        "curve": [{"step": step, "accuracy": accuracy * step / 20} for step in (10, 20)],
        "test": {"final": {"accuracy": 0.1}, "best": {"accuracy": accuracy}},
    }


def test_the_best_rate_gets_the_other_seeds():
    ran = []

    def run(rate, seed):
        ran.append((rate, seed))
        return {"rate": rate, "seed": seed}

    first, best = contest([1e-2, 3e-2, 1.0], [5, 6, 7], run, lambda row: None if row["rate"] == 1 else -row["rate"])
    assert ran == [(1e-2, 5), (3e-2, 5), (1.0, 5), (3e-2, 6), (3e-2, 7)]
    assert [row["rate"] for row in first] == [1e-2, 3e-2, 1.0]
    assert best == [{"rate": 3e-2, "seed": seed} for seed in (5, 6, 7)]
    _, best = contest([3e-2, 1e-2], [0], run, lambda row: 0.0)
    assert [row["rate"] for row in best] == [1e-2]  # the lowest of equal rates
    first, best = contest([1.0, 2.0], [5, 6], run, lambda row: None)
    assert len(first) == 2 and best == []


def test_curves_are_those_of_the_best_rate():
    rows = {rate: row(accuracy, rate=rate) for rate, accuracy in ((1e-3, 0.4), (1e-2, 0.8))}
    rows["diverged"] = row(0.0, model="gru") | {"best": None, "curve": []}  # nothing to draw
    assert curves({"rows": rows}, ("model",), "accuracy") == {("mingru",): [(10, 0.4), (20, 0.8)]}


def test_groups_and_numbers():
    rows = {"a": row(0.4), "b": row(0.8, rate=1e-2), "c": row(0.6, rate=1e-2, seed=1), "d": row(0.5, model="gru")}
    found = groups({"rows": rows}, ("model",), "accuracy")
    assert {key: numbers(group, "accuracy") for key, group in found.items()} == {
        ("mingru",): [0.8, 0.6],
        ("gru",): [0.5],
    }
    assert tried({"rows": rows}, ("model",)) == {("mingru",): [1e-3, 1e-2], ("gru",): [1e-3]}
    del rows["d"]["test"]["best"]  # diverged before an evaluation
    assert numbers([rows["d"]], "accuracy") == [0.1] and numbers([rows["a"]], "accuracy", "final") == [0.1]


def test_examples_in_docstrings():
    found = doctest.testmod(rows_module)
    assert found.attempted and not found.failed
