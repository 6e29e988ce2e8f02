# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The commands of the presets, as the README has them, continue the committed result files."""

import importlib
import json
import shutil

import pytest

from training.common.paths import RESULTS
from training.common.result_store import ResultStore
from training.paper import runner
from training.paper.tasks import Characters

PRESETS = [
    ("selective_copying", "cpu"),
    ("selective_copying", "small"),
    ("chomsky_tasks", "full"),
    pytest.param("chomsky_tasks", "small", marks=pytest.mark.slow),  # finds the widths of 49 models
    pytest.param("chomsky_tasks", "cpu", marks=pytest.mark.slow),
    ("recall", "cpu"),
    ("recall", "small"),
    ("shakespeare", "full"),
    ("shakespeare", "small"),
]


@pytest.mark.parametrize(("script", "preset"), PRESETS)
def test_committed_rows_are_those_of_the_command(script, preset, tmp_path, monkeypatch):
    module = importlib.import_module(f"training.paper.{script}")
    stem = f"{script}{'' if preset == 'full' else f'_{preset}'}"
    committed, path = RESULTS / f"{stem}.json", tmp_path / f"{stem}.json"
    shutil.copy(committed, path)
    before = json.loads(committed.read_text())["rows"]
    if script == "shakespeare":
        # A text with the same number of different characters. Its content does not matter.
        text = "".join(map(chr, range(48, 48 + 65))) * 100
        monkeypatch.setattr(module, "shakespeare", lambda path: Characters(text))
        digest = next(iter(before.values()))["settings"]["text"]
        monkeypatch.setattr(module.hashlib, "sha256", lambda _: type("Hash", (), {"hexdigest": lambda self: digest})())
    written, met = ResultStore.row, []

    def row(self, key, settings, command, work):
        if key in before:
            met.append(key)
            return written(self, key, settings, command, work)  # raises an error for other settings
        return next(iter(before.values()))

    monkeypatch.setattr(ResultStore, "row", row)
    monkeypatch.setattr(runner, "run_on_task", None)
    module.main([*([] if preset == "full" else [f"--{preset}"]), "--output", str(path), "--runs", str(tmp_path)])
    default = module.FULL | getattr(module, preset.upper())
    asked = [row["settings"] for row in before.values() if row["settings"]["rate"] in default["rates"]]
    models = {settings["model"] for settings in asked if settings["model"] in default["models"]}
    assert met and {before[key]["settings"]["model"] for key in met} == models


@pytest.mark.parametrize(
    "script", ["selective_copying", "chomsky_tasks", "state_tracking", "recall", "mqar", "shakespeare"]
)
def test_without_a_model_that_can_run_it_prints_the_reason_and_ends(script, tmp_path, capsys):
    text = tmp_path / "play.txt"
    text.write_text("to be or not to be, that is the question. " * 20)
    argv = ["--small", "--models", "hgrn", "--device", "cpu", "--output", str(tmp_path / "x.json")]
    argv += ["--text", str(text)] if script == "shakespeare" else []
    assert importlib.import_module(f"training.paper.{script}").main(argv)["rows"] == {}
    assert "hgrn is left out: flash-linear-attention runs on a GPU only" in capsys.readouterr().out
