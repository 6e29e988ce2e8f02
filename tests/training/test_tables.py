# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import json
import shutil

import pytest
import tables


@pytest.mark.parametrize("path", tables.DOCUMENTS, ids=lambda path: str(path.relative_to(tables.ROOT)))
def test_committed_tables_come_from_the_committed_results(path):
    text = path.read_text(encoding="utf-8")
    assert "<!-- table " in text and tables.render(text) == text, "run: python training/tables.py"


def test_a_changed_result_changes_the_table(tmp_path, monkeypatch):
    folder = tmp_path / "results"
    shutil.copytree(tables.RESULTS, folder)
    path = folder / "bench_decode.json"
    result = json.loads(path.read_text())
    next(iter(result["contexts"]["minGRU"].values()))["median_ms"] = 123.456
    path.write_text(json.dumps(result))
    monkeypatch.setattr(tables, "RESULTS", folder)
    assert "123.46 ms" in tables.render("<!-- table decode -->\n<!-- end -->")


def test_unknown_tables_and_missing_numbers_are_refused(tmp_path, monkeypatch):
    with pytest.raises(KeyError, match="nonsense"):
        tables.render("<!-- table nonsense -->\n<!-- end -->")
    (tmp_path / "bench_decode.json").write_text('{"contexts": {"minGRU": {}}, "models": {}, "ratios": {}}')
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    with pytest.raises(KeyError, match="machine"):
        tables.render("<!-- table decode -->\n<!-- end -->")
    with pytest.raises(FileNotFoundError):
        tables.render("<!-- table scan -->\n<!-- end -->")
