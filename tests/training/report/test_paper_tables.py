# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import pytest

from training.common.machine import machine, versions
from training.report import paper_tables


def row(accuracy, **settings):
    return {
        "command": "python training/x.py --seeds 0 --rates 0.001",
        "settings": {"model": "mingru", "rate": 1e-3, "seed": 0, **settings},
        "best": {"step": 20, "accuracy": accuracy, "loss": 1 - accuracy},
        "curve": [{"step": step, "accuracy": accuracy * step / 20, "loss": 1 - accuracy} for step in (10, 20)],
        "test": {
            "final": {"accuracy": 0.1, "test": 2.0, "both": 2.1},
            "best": {"accuracy": accuracy, "test": 1 - accuracy, "both": 1.1 - accuracy},
        },
        "steps": 40,
        "steps_per_second": 2.0,
        "parameters": 1234,
        "machine": machine() | {"accelerator": "Abacus"},
        "versions": versions(),
    }


def test_copying_is_compared_with_the_paper():
    rows = {str(seed): row(a, layers=3, length=4096, tokens=16, seed=seed) for seed, a in enumerate((0.98, 1.0))}
    rows |= {"worse": row(0.5, layers=3, length=4096, tokens=16, rate=1e-2)}
    table = paper_tables.copying({"full": {"rows": rows}})
    assert "| mingru | 3 | 16 of 4096 | 99.0 ± 1.4 | 99.5 ± 0.2 |" in table
    line = "| mingru | 3 | 16 of 4096 | 1,234 | 0.001 of 0.001, 0.01 | 2 | 40 | Abacus | "
    assert line + "`python training/x.py --seeds 0 1 --rates 0.001` |" in table and "\nAbacus; " in table
    assert table.count("not run") == 5 and "--models minlstm --layers 2`" in table
    assert "--models mingru --layers 3`" not in table


def test_shakespeare_tells_the_parts_apart():
    result = {"rows": {"a": row(0.5)}}
    line = "| mingru | {} | 0.5000 | 0.6000 | 20 | 2.0000 | {} |"
    assert line.format("full", "1.548 | 575") in paper_tables.shakespeare({"full": result})
    assert line.format("small", " | ") in paper_tables.shakespeare({"small": result})
    assert paper_tables.shakespeare({"full": result}).count("not run") == 3


def test_a_run_without_an_evaluation_has_its_last_state():
    rows = {"a": row(0.5, layers=1, length=64, tokens=16)}
    rows["a"]["best"] = None
    del rows["a"]["test"]["best"]
    assert "| mingru | 1 | 16 of 64 | 10.0 |" in paper_tables.copying({"cpu": {"rows": rows}})


def test_missing_rows_of_a_preset_are_named():
    rows = {name: row(0.5, model=name, layers=1, length=16, tokens=4) for name in ("mingru", "gru")}
    table = paper_tables.copying({"small": {"rows": rows}})
    assert "of `python -m training.paper.selective_copying --small` mingru 2, mingru 3, minlstm 1, minlstm 2, " in table
    assert ", gru 2, gru 3, " in table and "gru 1" not in table.replace("mingru 1", "")
    assert (
        "; at any size minlstm, mingru-default, minlstm-default, mingru-plain, mingru-signed, minlstm-signed, " in table
    )
    assert "rwkv7, the models of mingru-scans, which" in table
    rows["mingru"] |= {"best": None, "test": {"final": {"test": 2.0, "both": 2.1}}}  # diverged before an evaluation
    table = paper_tables.shakespeare({"small": {"rows": rows}})
    assert "| mingru | small | 2.0000 | 2.1000 |  | 2.0000 |" in table
    assert "--small` minlstm, mingru-default, minlstm-default, transformer, mamba; at any" in table


def test_chomsky_is_compared_with_a_constant_answer():
    entry = row(0.5, task="bucket_sort")
    entry["test"]["best"]["by_length"] = {"40": 0.9, "256": 0.1}
    table = paper_tables.chomsky({"small": {"rows": {"a": entry}}})
    line = next(line for line in table.splitlines() if line.startswith("| bucket_sort |")).split(" | ")
    assert line[1:7] == ["mingru", "small", "90.0", "", "10.0", "50.0"] and 67 < float(line[7].strip(" |")) < 70


def test_several_seeds_of_a_chomsky_task_have_median_and_worst():
    rows = {str(seed): row(0.5, task="parity", seed=seed) for seed in range(3)}
    for seed, accuracy in enumerate((1.0, 0.75, 0.875)):
        rows[str(seed)]["test"]["best"]["by_length"] = {"40": accuracy, "256": 0.5}
    elsewhere = {"rows": {"a": row(0.5, task="parity", model="gru")}}
    table = paper_tables.chomsky({"small": {"rows": rows}, "cpu": elsewhere})
    assert "| parity | mingru | small | 87.5 (75.0) |  | 50.0 (50.0) | 50.0 (50.0) |" in table
    assert "| gru |" not in table  # the preset with longer strings has a table of its own


@pytest.mark.parametrize("name", ["copying", "chomsky", "recall", "shakespeare"])
def test_without_results_the_table_says_that_there_are_none(name):
    assert "not run" in getattr(paper_tables, name)({}).lower()
