# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import paper_tables
import pytest
from report import machine, versions


def row(accuracy, **settings):
    return {
        "command": "python training/x.py",
        "settings": {"model": "mingru", "rate": 1e-3, "seed": 0, **settings},
        "best": {"step": 20, "accuracy": accuracy, "loss": 1 - accuracy},
        "test": {
            "final": {"accuracy": 0.1, "test": 2.0, "both": 2.1},
            "best": {"accuracy": accuracy, "test": 1 - accuracy, "both": 1.1 - accuracy},
        },
        "steps": 40,
        "steps_per_second": 2.0,
        "parameters": 1234,
        "machine": machine(),
        "versions": versions(),
    }


def test_copying_stands_beside_the_paper():
    rows = {str(seed): row(a, layers=3, length=4096, tokens=16, seed=seed) for seed, a in enumerate((0.98, 1.0))}
    rows |= {"worse": row(0.5, layers=3, length=4096, tokens=16, rate=1e-2)}
    table = paper_tables.copying({"full": {"rows": rows}})
    assert (
        "| mingru | 3 | 16 of 4096 | 99.0 ± 1.4 | 99.5 ± 0.2 | 1,234 | 0.001 | 2 | 40 | 2.00 | `python training/x.py` |"
        in table
    )
    assert table.count("not run") == 5 and "--models minlstm --layers 2`" in table
    assert "--models mingru --layers 3`" not in table


def test_shakespeare_tells_the_parts_apart():
    result = {"rows": {"a": row(0.5)}}
    line = "| mingru | {} | 0.5000 | 0.6000 | 20 | 2.0000 | {} | 1,234 |"
    assert line.format("full", "1.548 | 575") in paper_tables.shakespeare({"full": result})
    assert line.format("small", " | ") in paper_tables.shakespeare({"small": result})
    assert paper_tables.shakespeare({"full": result}).count("not run") == 3


def test_a_run_without_an_evaluation_has_its_last_state():
    rows = {"a": row(0.5, layers=1, length=64, tokens=16)}
    rows["a"]["best"] = None
    del rows["a"]["test"]["best"]
    assert "| mingru | 1 | 16 of 64 | 10.0 |" in paper_tables.copying({"cpu": {"rows": rows}})


@pytest.mark.parametrize("name", ["copying", "chomsky", "recall", "shakespeare"])
def test_without_results_it_says_so(name):
    assert "not run" in getattr(paper_tables, name)({}).lower()
