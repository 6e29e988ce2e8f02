# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import json
import shutil

import pytest

from training.report import tables


@pytest.mark.parametrize("path", tables.DOCUMENTS, ids=lambda path: str(path.relative_to(tables.ROOT)))
def test_committed_tables_come_from_the_committed_results(path):
    text = path.read_text(encoding="utf-8")
    assert "<!-- table " in text and tables.render(text) == text, "run: python -m training.report.tables"


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
    (tmp_path / "bench_decode.json").write_text(
        '{"contexts": {"minGRU": {}}, "models": {}, "ratios": {}, "compiled_with": ""}'
    )
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    with pytest.raises(KeyError, match="machine"):
        tables.render("<!-- table decode -->\n<!-- end -->")
    with pytest.raises(FileNotFoundError):
        tables.render("<!-- table scan -->\n<!-- end -->")


def test_tables_of_what_there_is(tmp_path, monkeypatch):
    """The ablation's has the corpora that have been run; the log's the benchmarks that have targets and a result."""
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    assert "No run has been made yet." in tables.render("<!-- table ablation -->\n<!-- end -->")
    machine = {"cpu": "Abacus", "threads": 1, "cores": 2, "vector_instructions": "none"}
    row = {"variant": "paper", "rate": 0.1, "seed": 0, "validation_bits_per_byte": 2.5, "test_bits_per_byte": 2.25}
    row |= {"diverged": False, "seconds": 9.0, "parameters": 10, "finished": "now", "machine": machine}
    row["versions"] = {"python": "3", "torch": "2", "transformers": "5"}
    sizes = dict.fromkeys(("steps", "batch_size", "sequence_length", "layers", "hidden_size", "sweep_seed"), 0)
    (tmp_path / "ablation_bpe.json").write_text(json.dumps({"command": "x", "settings": sizes, "runs": {"a": row}}))
    text = tables.render("<!-- table ablation -->\n<!-- end -->")
    assert "| block | bpe: bits per byte | change | rate |" in text and "| **paper** | 2.250 |  | 0.1* |" in text
    assert "(results/ablation_bpe.png)" in text and "bytes.png" not in text
    result = {"steps": {}, "models": {}, "batch": 1, "time": 2, "machine": machine, "versions": row["versions"]}
    result["ratios"] = {"a / b": {"ratio": 1.0, "target": 2.0}}
    result["scan_share"] = {name: {"total": 0.25} for name in ("minGRU", "minLSTM")} | {"target": 0.1}
    (tmp_path / "bench_step.json").write_text(json.dumps(result))
    line = (
        "- `bench_step.py`: 0 of 3 reached; short of them: a / b 1.00 of 2.00; the scan's share, minGRU 0.25 of 0.10;"
    )
    assert line in tables.render("<!-- table missed -->\n<!-- end -->")
