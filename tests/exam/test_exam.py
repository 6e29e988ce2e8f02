# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""transformers' own model tests: none fails, and none is skipped that Mamba of transformers passes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def tallies(tmp_path_factory):
    """Returns the tally of each plug. The first run downloads transformers' tests from the package index."""
    folder = tmp_path_factory.mktemp("exam")
    tallies = {}
    for plug in ("plug_mamba", "plug_minrnn"):
        # Each plug needs a new process: earlier imports affect which tests transformers skips.
        command = [sys.executable, str(HERE / "run.py"), plug, "--json", str(folder / f"{plug}.json")]
        run = subprocess.run(command, capture_output=True, text=True)
        assert (folder / f"{plug}.json").exists(), run.stdout[-2000:] + run.stderr[-2000:]
        tallies[plug] = json.loads((folder / f"{plug}.json").read_text())
    return tallies["plug_minrnn"], tallies["plug_mamba"]


@pytest.mark.slow
def test_nothing_fails(tallies):
    ours, mamba = tallies
    assert not ours["failed"], ours["reasons"]
    assert len(ours["passed"]) >= len(mamba["passed"]) > 50


@pytest.mark.slow
def test_nothing_is_skipped_that_mamba_passes(tallies):
    ours, mamba = tallies
    skipped = set(ours["skipped"]) & set(mamba["passed"])
    assert not skipped, {name: ours["reasons"][name] for name in skipped}
    # A test also passes if its subtests are skipped.
    assert set(ours["skipped_subtests"]) <= set(mamba["skipped_subtests"]) | set(mamba["skipped"])
