# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import json

import pytest

from training.bench import processes as compare_processes
from training.bench.processes import RESULT, RUNS
from training.common.checkpoint import save_checkpoint


def test_runs_are_chained_and_compared(tmp_path, monkeypatch):
    calls = []

    def train(processes, arguments):
        steps, folder = int(arguments[arguments.index("--steps") + 1]), arguments[arguments.index("--output-dir") + 1]
        calls.append((processes, steps, "--resume" in arguments, folder))
        losses = [2.0 + 0.002 * (processes - 1)] * steps
        save_checkpoint(folder, steps, {"state": {"losses": losses}})

    monkeypatch.setattr(compare_processes, "train", train)
    runs = compare_processes.main(["--steps", "8", "--output", str(tmp_path / "out")])
    assert len(calls) == sum(map(len, RUNS.values()))
    half = [call for call in calls if call[1] == 4]
    assert len(half) == 3 and not any(call[2] for call in half)
    assert {call[3] for call in calls if call[2]} == {call[3] for call in half}
    assert runs["one process"]["largest_relative_difference"] == 0
    assert runs["two, DDP"]["largest_relative_difference"] == pytest.approx(1e-3)
    assert json.loads((tmp_path / "out.json").read_text())["runs"] == runs
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


def test_the_committed_runs_are_alike():
    runs = json.loads(RESULT.with_suffix(".json").read_text())["runs"]
    assert runs.keys() == RUNS.keys()
    for run in runs.values():
        assert len(run["losses"]) >= 50 and run["losses"][-1] < run["losses"][0] / 2
        assert run["largest_relative_difference"] < 1e-5
