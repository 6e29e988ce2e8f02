# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import json
import warnings

import pytest
import torch
from transformers.utils import logging

from training.report import tables
from training.studies import modes as compare_modes
from training.studies.modes import judge

RAN = ["minGRU, learned initial state", "Mamba2"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    path = tmp_path_factory.mktemp("modes") / "new" / "compare_modes.json"
    before = torch.get_num_threads(), logging.get_verbosity(), list(warnings.filters), torch.is_grad_enabled()
    result = compare_modes.main(["--models", *RAN, "--output", str(path)])
    assert before == (torch.get_num_threads(), logging.get_verbosity(), warnings.filters, torch.is_grad_enabled())
    return path, result


def test_result_file(finished):
    path, result = finished
    assert json.loads(path.read_text(encoding="utf-8")) == result
    assert [file.name for file in path.parent.iterdir()] == ["compare_modes.json"]
    assert result["command"].startswith(
        "python -m training.studies.modes --models 'minGRU, learned initial state' Mamba2"
    )
    assert result["machine"]["threads"] == 1 and result["versions"]["transformers"]
    assert list(result["models"]) == RAN
    for row in result["models"].values():
        assert row["parameters"] > 0 and list(row["modes"]) == list(compare_modes.MODES)
        assert row["control"]["generate"]["verdict"] == "exact"
        # A wrong state would not show in a model that repeats one token or has no memory.
        assert row["control"]["distinct_tokens"] > 2 and row["control"]["memory"] > 100 * compare_modes.TOLERANCE


def test_our_model_is_exact_in_every_mode(finished):
    modes = finished[1]["models"][RAN[0]]["modes"]
    assert {entry["verdict"] for ways in modes.values() for entry in ways.values()} == {"exact"}
    # Speculative decoding accepted some draft tokens and rejected others.
    for entry in modes["speculative decoding"].values():
        guesses = compare_modes.LOOKUP + 1
        assert compare_modes.SPECULATIVE_TOKENS / guesses < entry["forwards"] < compare_modes.SPECULATIVE_TOKENS


def test_a_transformer_passes_by_positions_and_masks(monkeypatch):
    llama = lambda: compare_modes._model("Llama", **compare_modes.HEADS)  # noqa: E731
    monkeypatch.setitem(compare_modes.MODELS, "Llama", llama)
    with torch.no_grad():
        found = {mode: check("Llama") for mode, check in compare_modes.MODES.items()}
    for mode in ("right padding", "left padding", "chunked prefill", "speculative decoding"):
        assert {entry["verdict"] for entry in found[mode].values()} == {"exact"}, mode
    verdicts = {way: entry["verdict"] for way, entry in found["packing"].items()}
    assert verdicts["position_ids"] == verdicts["all three"] == "exact"


def test_verdicts():
    logits, ids = torch.tensor([[1.0, -4.0]]), torch.tensor([[3, 5, 7, 9]])
    assert judge(lambda: (logits, logits)) == {"verdict": "exact", "difference": 0.0}
    assert judge(lambda: (logits + 3e-4, logits))["verdict"] == "exact"  # of 4
    assert judge(lambda: (logits + 2.0, logits)) == {"verdict": "wrong", "difference": 0.5}
    assert judge(lambda: (logits * torch.nan, logits)) == {"verdict": "wrong", "difference": None}
    assert judge(lambda: (ids, ids))["verdict"] == "exact"
    assert judge(lambda: (torch.tensor([[3, 5, 0, 9]]), ids)) == {"verdict": "wrong", "difference": 0.25}
    shorter = {"verdict": "wrong", "difference": None, "shapes": [[1, 3], [1, 4]]}
    assert judge(lambda: (ids[:, :3], ids)) == shorter


def test_refusals():
    def refuse(message):
        raise ValueError(message)

    assert judge(lambda: refuse("no such mode\nand more")) == {
        "verdict": "refused",
        "error": "ValueError: no such mode",
    }
    assert len(judge(lambda: refuse("x" * 500))["error"]) == 120
    assert judge(lambda: refuse(""))["error"] == "ValueError: "


def test_cells():
    exact, refused = {"verdict": "exact", "difference": 0.0}, {"verdict": "refused", "error": "ValueError: no"}
    wrong = [{"verdict": "wrong", "difference": value} for value in (0.1, 0.314, None)]
    assert compare_modes.verdict_cell({"a": exact, "b": exact}) == "exact"
    assert compare_modes.verdict_cell({"a": refused}) == "refused"
    assert compare_modes.verdict_cell(dict(zip("abc", wrong))) == "wrong (0.31)"
    assert compare_modes.verdict_cell({"a": wrong[2]}) == "wrong"
    mixed = {"a": exact, "b": wrong[0], "c": exact, "d": refused}
    assert compare_modes.verdict_cell(mixed) == "a, c: exact; b: wrong (0.10); d: refused"


def test_the_table(finished, monkeypatch):
    monkeypatch.setattr(tables, "RESULTS", finished[0].parent)
    text = tables.render("<!-- table modes -->\n<!-- end -->")
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    header = ["right padding", "packing", "chunked prefill", "left padding", "speculative decoding"]
    assert rows[0] == ["model", *header] and rows[2] == [RAN[0], *["exact"] * 5] and rows[3][0] == RAN[1]
    assert "transformers " in text


def test_the_committed_result_is_of_all_models_and_modes():
    result = tables.load("compare_modes")
    assert list(result["models"]) == list(compare_modes.MODELS)
    assert all(list(row["modes"]) == list(compare_modes.MODES) for row in result["models"].values())
    assert all(row["control"]["generate"]["verdict"] == "exact" for row in result["models"].values())


def test_bad_arguments_are_rejected(capsys):
    for arguments in (["--models", "nonsense"], ["--threads", "0"]):
        with pytest.raises(SystemExit):
            compare_modes.main(arguments)
    assert "--threads: must be a whole number above 0" in capsys.readouterr().err
