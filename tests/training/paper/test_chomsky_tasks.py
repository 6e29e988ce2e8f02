# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import json

import pytest

from training.paper import chomsky_tasks
from training.paper.chomsky import CHOMSKY
from training.report.paper_tables import chomsky as table_of

TINY = ["--small", "--steps", "2", "--every", "1", "--lengths", "40", "48", "--hidden-size", "16", "--threads", "1"]
TINY += ["--batch-size", "2", "--warmup", "0", "--batches", "1"]


def test_a_tiny_run_is_written_and_drawn(tmp_path, capsys):
    path = tmp_path / "chomsky.json"
    arguments = [*TINY, "--models", "mingru", "gru", "--output", str(path), "--runs", str(tmp_path)]
    result = chomsky_tasks.main([*arguments, "--tasks", "parity"])
    assert list(result["rows"]) == ["parity, mingru, rate 0.003, seed 0", "parity, gru, rate 0.003, seed 0"]
    result = chomsky_tasks.main([*arguments, "--seeds", "0", "1"])
    assert json.loads(path.read_text()) == result and len(result["rows"]) == 28
    assert path.with_suffix(".png").stat().st_size > 10_000
    for row in result["rows"].values():
        by_length = row["test"]["best"]["by_length"]
        assert list(by_length) == ["40", "48"] and all(0 <= value <= 1 for value in by_length.values())
        assert row["test"]["best"]["accuracy"] == sum(by_length.values()) / 2
    with pytest.raises(SystemExit, match=r"with asked \[40, 48\], not \[40, 44, 48\]: give another --output"):
        chomsky_tasks.main([*arguments, "--tasks", "parity", "--lengths", "40", "44", "48"])
    printed = capsys.readouterr().out
    assert all(f"{task}, gru: " in printed for task in CHOMSKY)
    table = table_of({"small": result})
    script = "python -m training.paper.chomsky_tasks"
    assert f"Not run: `{script}`; of `{script} --small` bucket_sort minlstm, " in table
    assert table.count("| parity |") == 4  # scores and trainings
    assert "--small --models gru --seeds 0 1 --rates 0.003 --steps 2" in table
    accuracies = sorted(
        100 * result["rows"][f"parity, gru, rate 0.003, seed {n}"]["test"]["best"]["accuracy"] for n in (0, 1)
    )
    assert f" | {sum(accuracies) / 2:.1f} ({accuracies[0]:.1f}) | " in table


def test_an_unknown_task_is_rejected(capsys):
    with pytest.raises(SystemExit):
        chomsky_tasks.main(["--tasks", "sorting"])
    assert "invalid choice: 'sorting'" in capsys.readouterr().err
