# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import json

from training.paper import recall
from training.report.paper_tables import recall as table_of

TINY = ["--small", "--steps", "2", "--every", "1", "--hidden-size", "16", "--batch-size", "2", "--warmup", "0"]
TINY += ["--threads", "1", "--batches", "1", "--pairs", "2", "3", "--expansions", "1", "2"]


def test_a_tiny_run_is_written_and_drawn(tmp_path):
    path = tmp_path / "recall.json"
    result = recall.main([*TINY, "--models", "mingru", "llama", "--output", str(path), "--runs", str(tmp_path)])
    assert json.loads(path.read_text()) == result and path.with_suffix(".png").stat().st_size > 5_000
    titles = [row["settings"]["title"] for row in result["rows"].values()]
    assert titles == ["mingru, 16 channels"] * 2 + ["mingru, 32 channels"] * 2 + ["llama"] * 2
    rows = list(result["rows"].values())
    assert [row["settings"]["pairs"] for row in rows] == [2, 3] * 3 and all(row["steps"] == 2 for row in rows)
    assert rows[0]["settings"]["lengths"] == [8, 8] and rows[1]["settings"]["lengths"] == [12, 12]
    table = table_of({"small": result})
    assert table.startswith("| accuracy, %; small | 2 pairs | 3 pairs |") and "| mingru, 32 channels |" in table
    assert "--pairs 2 --expansions 2" in table
    assert "Not run: `python -m training.paper.recall`; `python -m training.paper.recall --cpu`; of" in table
    picture = path.with_suffix(".png").read_bytes()
    recall.main([*TINY, "--models", "llama", "--pairs", "3", "--output", str(path), "--runs", str(tmp_path)])
    assert path.with_suffix(".png").read_bytes() == picture  # it shows all rows, also those that were not requested


def test_the_title_has_the_channels_of_the_model_as_built(tmp_path):
    arguments = [*TINY, "--models", "gru", "--pairs", "2", "--expansions", "4", "--hidden-size", "64"]
    (row,) = recall.main([*arguments, "--output", str(tmp_path / "x.json"), "--runs", str(tmp_path)])["rows"].values()
    channels = int(row["settings"]["title"].split()[1])
    assert (
        channels < 256
        and channels % 4 == 0
        and abs(row["parameters"] / row["settings"]["reference_parameters"] - 1) < 0.05
    )
