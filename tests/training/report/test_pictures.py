# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import json
import os
import shutil
import subprocess
import sys
import types

import pytest

from training.common import packages
from training.common.paths import RESULTS, ROOT
from training.report import pictures


def test_every_committed_picture_has_a_module_that_draws_it():
    assert {path.stem for path in pictures.RESULTS.glob("*.png")} == set(pictures.PICTURES)


@pytest.mark.parametrize("stem", pictures.PICTURES)
def test_a_picture_is_drawn_from_its_result_file(stem, tmp_path, monkeypatch):
    shutil.copy(pictures.RESULTS / f"{stem}.json", tmp_path)
    monkeypatch.setattr(pictures, "RESULTS", tmp_path)
    assert pictures.main([stem]) == [tmp_path / f"{stem}.png"]
    header = (tmp_path / f"{stem}.png").read_bytes()[:24]
    assert header[1:4] == b"PNG" and int.from_bytes(header[16:20], "big") >= 800
    # The committed picture has the same size: it was drawn by the same function.
    assert header[16:24] == (RESULTS / f"{stem}.png").read_bytes()[16:24]


def test_pictures_need_only_the_extra_train(tmp_path):
    """All modules with pictures are imported, and the one whose measurement needs gymnasium draws, without other extras."""
    refused = [package for package, extra in packages.EXTRA_OF.items() if extra != "train"]
    program = f"""
import importlib, sys
from pathlib import Path
sys.modules |= dict.fromkeys({refused!r})  # an import of them fails
from training.common import packages
from training.common.paths import RESULTS, ROOT
from training.report import pictures
for name in set(pictures.PICTURES.values()):
    assert importlib.import_module(f"training.{{name}}").draw
pictures.draw("rl_cartpole", Path("picture.png"))
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "picture.png").stat().st_size > 5000


def test_pictures_are_written_next_to_their_results(tmp_path, monkeypatch):
    module = types.ModuleType("module")
    module.draw = lambda result, path: path.write_text(result["title"])
    monkeypatch.setattr(pictures.importlib, "import_module", lambda name: module)
    monkeypatch.setattr(pictures, "RESULTS", tmp_path)
    monkeypatch.setattr(pictures, "PICTURES", {"one": "bench.one"})
    (tmp_path / "one.json").write_text(json.dumps({"title": "bars"}))
    assert pictures.main([]) == [tmp_path / "one.png"]
    assert (tmp_path / "one.png").read_text() == "bars"


def test_unknown_pictures_are_rejected(capsys):
    with pytest.raises(SystemExit):
        pictures.main(["nonsense"])
    assert "there is no picture 'nonsense': choose from bench_scan, " in capsys.readouterr().err
