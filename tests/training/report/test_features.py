# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Every cell of the feature table has evidence."""

import ast
import functools
import json
import shutil

import pytest

import hf_minrnn
from training.report import study_tables, tables

FEATURES = tables.load("features")
CELLS = [(row, project, cell) for row, cells in FEATURES["rows"].items() for project, cell in cells.items()]


@functools.cache
def functions(path):
    tree = ast.parse((tables.ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(("row", "project", "cell"), CELLS, ids=[f"{row}-{project}" for row, project, _ in CELLS])
def test_the_evidence_of_a_cell_exists(row, project, cell):
    assert set(cell) <= {"says", "evidence", "note", "result", "values"}
    assert ("result" in cell) == ("values" in cell) and cell["says"].count("{}") == len(cell.get("values", ()))
    evidence = cell.get("evidence")
    if evidence is None:
        assert "result" in cell
    elif "::" in evidence:
        path, test = evidence.split("::")
        assert path.startswith("tests/") and test.startswith("test_") and test in functions(path)
    elif not evidence.startswith("https://"):
        assert (tables.ROOT / evidence).is_file()
    if project == "hf_minrnn" and evidence is not None:  # ours is tested or measured here
        assert not evidence.startswith("https://")


def test_every_row_has_every_column():
    assert all(list(cells) == list(FEATURES["projects"]) for cells in FEATURES["rows"].values())


def test_the_named_versions_are_those_that_were_read():
    versions = {name: project["version"].split()[1] for name, project in FEATURES["projects"].items()}
    measured = [tables.load(name)["versions"] for name in ("compare_modes", "compare_features")]
    assert versions["hf_minrnn"] == hf_minrnn.__version__
    assert {result["transformers"] for result in measured} == {versions["Mamba"]}
    assert measured[1]["minGRU-pytorch"] == versions["minGRU-pytorch"]
    evidence = [cell.get("evidence", "") for _, _, cell in CELLS]
    for project, repository in (("Mamba", "huggingface/transformers"), ("HGRN", "fla-org/flash-linear-attention")):
        read = [link for link in evidence if f"{repository}/blob/" in link and "/tests/" not in link]
        assert read and all(f"/blob/v{versions[project]}/" in link for link in read)
    assert any(f"minGRU-hf/blob/{versions['minGRU-hf']}" in link for link in evidence)


def test_gpu_kernels_are_claimed_when_they_are_there():
    says = FEATURES["rows"]["GPU kernels"]["hf_minrnn"]["says"]
    assert (says == "not yet") == (not (tables.ROOT / "hf_minrnn" / "scan_triton.py").exists())


def test_values_come_from_the_result_files(tmp_path, monkeypatch):
    folder = tmp_path / "results"
    shutil.copytree(tables.RESULTS, folder)
    path = folder / "compare_modes.json"
    result = json.loads(path.read_text())
    result["models"]["Mamba"]["modes"]["left padding"] = {"batch": {"verdict": "wrong", "difference": 0.567}}
    path.write_text(json.dumps(result))
    monkeypatch.setattr(tables, "RESULTS", folder)
    (line,) = [line for line in tables.TABLES["features"]().splitlines() if line.startswith("| left padding |")]
    assert "[wrong (0.57)]" in line


def test_links_lead_to_the_evidence():
    text = tables.TABLES["features"]()
    assert study_tables.feature_link({"says": "yes", "evidence": "tests/a.py::test_b"}) == '../tests/a.py "test_b"'
    assert study_tables.feature_link({"says": "{}", "result": "r", "values": [[]]}) == "results/r.json"
    assert study_tables.feature_link({"says": "yes", "evidence": "https://a.b/c"}) == "https://a.b/c"
    for _, _, cell in CELLS:
        link = study_tables.feature_link(cell)
        (label,) = [line.split(":")[0] for line in text.splitlines() if line.endswith(f"]: {link}")]
        assert f"[{study_tables.feature_text(cell, tables.load)}]{label}" in text
