# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import json
import warnings

import pytest
import torch
from transformers.utils import logging

from training.report import tables

pytest.importorskip("minGRU_pytorch")
from training.studies import features as compare_features

RAN = "minGRU-pytorch, minGRU"
MODES = ("right_padding", "left_padding", "packing", "chunked_prefill")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    path = tmp_path_factory.mktemp("features") / "new" / "compare_features.json"
    before = torch.get_num_threads(), logging.get_verbosity(), list(warnings.filters), torch.is_grad_enabled()
    result = compare_features.main(["--graphs", RAN, "--output", str(path)])
    assert before == (torch.get_num_threads(), logging.get_verbosity(), warnings.filters, torch.is_grad_enabled())
    return path, result


def test_result_file(finished):
    path, result = finished
    assert json.loads(path.read_text(encoding="utf-8")) == result
    assert [file.name for file in path.parent.iterdir()] == ["compare_features.json"]
    assert result["machine"]["threads"] == 1 and result["versions"]["minGRU-pytorch"]
    assert list(result["graphs"]) == [RAN]


def test_a_run_gives_the_committed_verdicts(finished):
    def verdicts(entry):
        return entry.get("verdict") or {key: verdicts(value) for key, value in entry.items()}

    committed, result = tables.load("compare_features"), finished[1]
    assert list(committed["graphs"]) == list(compare_features.GRAPHS)
    assert verdicts(result["minGRU-pytorch"]) == verdicts(committed["minGRU-pytorch"])
    assert verdicts(result["graphs"][RAN]) == verdicts(committed["graphs"][RAN])


def test_ours(finished):
    result = finished[1]
    assert {entry["verdict"] for entry in result["gradient"]["minGRU"].values()} == {"exact"}
    assert result["state dtypes"]["minGRU"] == ["float32"]
    for name, dtype in compare_features.DTYPES.items():
        assert result["scan"]["hf_minrnn"][name] < torch.finfo(dtype).eps


class Memoryless(torch.nn.Module):
    """A model with minLM's interface that reads only the current token."""

    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(compare_features.VOCABULARY, compare_features.VOCABULARY)

    def forward(self, ids, return_prev_hiddens=False, prev_hiddens=None):
        logits = self.table(ids)
        return (logits, []) if return_prev_hiddens else logits


def test_the_modes_can_be_passed(monkeypatch):
    model = Memoryless()
    monkeypatch.setattr(compare_features, "make_lm", lambda cell: model)
    with torch.no_grad():
        for mode in MODES:
            ways = getattr(compare_features, f"lm_{mode}")("minGRU")
            assert {entry["verdict"] for entry in ways.values()} == {"exact"}, mode


def test_a_layer_that_loses_its_state_is_found(monkeypatch):
    whole = compare_features.minGRU.forward

    def forgetful(self, x, prev_hidden=None, return_next_prev_hidden=False):
        return whole(self, x, None, return_next_prev_hidden)

    assert compare_features.layer_gradient("minGRU")["layer"]["verdict"] == "exact"
    monkeypatch.setattr(compare_features.minGRU, "forward", forgetful)
    assert compare_features.layer_gradient("minGRU")["layer"]["verdict"] == "wrong"
    with torch.no_grad():
        assert compare_features.lm_chunked_prefill("minGRU")["layer"]["verdict"] == "wrong"


def test_a_graph_break_counts_as_refused(monkeypatch):
    class Broken(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.table = torch.nn.Embedding(compare_features.VOCABULARY, 4)

        def forward(self, ids):
            torch._dynamo.graph_break()
            return self.table(ids) if ids.shape[1] == compare_features.LONG else self.table(ids) * 2

    monkeypatch.setitem(compare_features.GRAPHS, "broken", Broken)
    found = compare_features.graphs("broken")
    assert found["compile"]["fullgraph"]["verdict"] == "refused"
    assert found["export"]["any shape"]["verdict"] == "refused"  # the exported graph would only fit one length


def test_bad_arguments_are_rejected():
    with pytest.raises(SystemExit):
        compare_features.main(["--graphs", "nonsense"])
