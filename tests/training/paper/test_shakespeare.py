# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import json
import random

import pytest

from training.paper import shakespeare
from training.report.paper_tables import shakespeare as table_of

TINY = ["--small", "--steps", "4", "--every", "2", "--length", "16", "--hidden-size", "32", "--batch-size", "4"]
TINY += ["--warmup", "0", "--threads", "1"]


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    rng = random.Random(0)
    words = ["to", "be", "or", "not", "that", "is", "the", "question", "whether", "nobler"]
    path = tmp_path_factory.mktemp("text") / "play.txt"
    path.write_text("\n".join(" ".join(rng.choices(words, k=7)) for _ in range(200)), encoding="utf-8")
    return path


def test_a_tiny_run_of_every_model(text, tmp_path, capsys):
    path = tmp_path / "shakespeare.json"
    arguments = [*TINY, "--text", str(text), "--output", str(path), "--runs", str(tmp_path), "--rates", "1e-3", "1e-2"]
    result = shakespeare.main(arguments)
    assert json.loads(path.read_text()) == result and len(result["rows"]) == 2 * len(shakespeare.SMALL["models"])
    parts = result["characters"]
    assert parts["train"] + parts["validation"] + parts["test"] == len(text.read_text())
    for row in result["rows"].values():
        assert set(row["test"]) == {"final", "best"} and row["best"]["step"] in (2, 4)
        assert all(1 < value < 5 for state in row["test"].values() for value in state.values())
        assert "--text play.txt" in row["command"] and str(tmp_path) not in json.dumps(row)
        reference = row["settings"]["reference_parameters"]
        assert (reference is None) == (row["settings"]["model"] == "mingru")
        assert reference is None or abs(row["parameters"] / reference - 1) < 0.05
    printed = capsys.readouterr().out
    assert "mamba: the best learning rate is" in printed and "minlstm-default: step" in printed
    assert path.with_suffix(".png").stat().st_size > 10_000
    table = table_of({"small": result})
    assert table.count("| not run |") == 4 and "| mingru-default | small |" in table and "| 1.4697 |" in table
    assert "| 1.547 | about 2,000 |" in table


def test_more_steps_lower_the_loss(text, tmp_path):
    found = {}
    for steps in (2, 120):
        arguments = [*TINY, "--text", str(text), "--output", str(tmp_path / f"{steps}.json"), "--runs", str(tmp_path)]
        arguments += ["--models", "mingru", "--rates", "1e-2", "--steps", str(steps), "--every", "40"]
        (row,) = shakespeare.main(arguments)["rows"].values()
        found[steps] = row["test"]["best"]["test"]
    assert found[120] < 0.6 * found[2]
