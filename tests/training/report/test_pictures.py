# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import json
import shutil
import types

import pytest

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
