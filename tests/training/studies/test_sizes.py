# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The sizing table's rows: parameters near their names, and memory of at least weights, gradients and AdamW's state."""

import doctest
import json

import pytest
import torch

from hf_minrnn import MinRNNForCausalLM
from training.common.paths import RESULTS
from training.studies import sizes


def test_examples():
    found = doctest.testmod(sizes)
    assert found.attempted and not found.failed


@pytest.mark.parametrize("name", sizes.SIZES)
def test_sizes_have_about_the_parameters_in_their_names(name):
    with torch.device("meta"):
        model = MinRNNForCausalLM(sizes.make_config(*sizes.SIZES[name]))
    parameters = sum(weight.numel() for weight in model.parameters())
    assert abs(parameters / (1e6 * int(name.split()[0])) - 1) < 0.1


def test_the_committed_rows_are_those_of_the_models():
    rows = json.loads((RESULTS / "sizes.json").read_text())["sizes"]
    assert list(rows) == list(sizes.SIZES)
    for name, row in rows.items():
        assert (row["vocab_size"], row["hidden_size"], row["num_hidden_layers"]) == sizes.SIZES[name]
        needed = 16 * row["parameters"] / 2**20  # four float32 numbers per parameter
        assert needed < row["memory_mib"]["checkpointing"] <= row["memory_mib"]["plain"] < 2.5 * needed


def test_a_small_model_is_measured_in_new_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(sizes, "SIZES", {"tiny": (64, 16, 1)})
    monkeypatch.setattr(sizes, "in_new_process", lambda module, arguments: len(arguments) + 0.5)
    path = tmp_path / "sizes.json"
    result = sizes.main(["--sizes", "tiny", "--output", str(path)])
    assert result == json.loads(path.read_text())
    assert result["sizes"]["tiny"]["memory_mib"] == {"plain": 3.5, "checkpointing": 3.5}
    assert sizes.main(["--memory-of", "tiny", "plain"])["memory_mib"] >= 0
