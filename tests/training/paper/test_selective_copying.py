# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import json
import shlex

import pytest

from training.common.comparators import Size, build
from training.common.experiment import Recipe, run_on_task
from training.common.widths import count
from training.paper import selective_copying
from training.paper.tasks import selective_copying as task_of
from training.report.paper_tables import copying

TINY = ["--small", "--steps", "4", "--every", "2", "--length", "20", "--hidden-size", "64", "--expansion", "2"]
TINY += ["--batch-size", "2", "--warmup", "0", "--threads", "1"]


def test_a_tiny_ladder_is_written_and_not_run_again(tmp_path, capsys):
    path = tmp_path / "copying.json"
    arguments = [
        *TINY,
        "--models",
        "mingru",
        "llama",
        "--layers",
        "1",
        "2",
        "--output",
        str(path),
        "--runs",
        str(tmp_path),
    ]
    result = selective_copying.main(arguments)
    assert json.loads(path.read_text()) == result and len(result["rows"]) == 4
    for key, row in result["rows"].items():
        assert row["steps"] == 4 and row["best"]["step"] in (2, 4) and 0 <= row["test"]["best"]["accuracy"] <= 1
        assert key == f"{row['settings']['model']}, layers {row['settings']['layers']}, length 20, rate 0.01, seed 0"
        words = shlex.split(row["command"])
        assert (
            words[:4] == ["python", "-m", "training.paper.selective_copying", "--small"]
            and str(tmp_path) not in row["command"]
        )
    sizes = {
        (row["settings"]["model"], row["settings"]["layers"]): row["parameters"] for row in result["rows"].values()
    }
    assert all(abs(sizes["llama", layers] / sizes["mingru", layers] - 1) < 0.05 for layers in (1, 2))
    assert "llama, layers 2, length 20, rate 0.01, seed 0: step 4 of 4" in capsys.readouterr().out
    assert selective_copying.main(arguments) == result and "step 4 of 4" not in capsys.readouterr().out
    assert not list(tmp_path.rglob("checkpoint*"))
    one = next(iter(result["rows"].values()))
    again = selective_copying.main([*shlex.split(one["command"])[3:], "--output", str(tmp_path / "b.json")])
    (row,) = again["rows"].values()
    assert row["curve"] == one["curve"] and row["test"] == one["test"] and row["command"] == one["command"]
    assert path.with_suffix(".png").stat().st_size > 5_000
    table = copying({"small": result})
    assert table.count("not run") == 6 and f"`{one['command']}`" in table and "| 96.8 ± 3.2 |" in table


def test_the_presets_are_the_papers_model():
    full = selective_copying.FULL
    size = Size(16, full["hidden_size"], 3, 4112, full["expansion"])
    assert count(build("mingru", **vars(size))) == 225_984 and full["length"] == 4096 and full["batch_size"] == 64


@pytest.mark.slow
def test_two_layers_copy_data_that_one_layer_cannot():
    task, accuracies = task_of(4), {}
    for layers in (1, 3):
        size = Size(16, 48, layers, 24, 4.0, initializer_range=0.1)
        recipe = Recipe(1500, 32, (16, 16), rate=1e-2, warmup=50, every=100, solved=0.99)
        run = run_on_task(
            build("mingru", **vars(size)), task, recipe, 0, lambda: task.fixed("validation", 64, 16, 2), title="copy"
        )
        accuracies[layers] = run.train()["best"]["accuracy"]
    assert accuracies[3] > 0.95 > accuracies[1] + 0.2
