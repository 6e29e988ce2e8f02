# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Every script that draws a picture draws it from its committed result file alone."""

import importlib
import json

import pytest

from training.common.paths import RESULTS

PICTURES = {
    "selective_copying_cpu": "paper.selective_copying",
    "chomsky_tasks_small": "paper.chomsky_tasks",
    "recall_cpu": "paper.recall",
    "shakespeare": "paper.shakespeare",
    "ablation_bytes": "studies.ablation",
    "ablation_bpe": "studies.ablation",
    "ablation_shakespeare": "studies.ablation",
    "forecast": "studies.forecast",
    "rl_cartpole": "studies.cartpole",
}


@pytest.mark.parametrize("stem", PICTURES)
def test_a_picture_is_drawn_from_the_result_file(stem, tmp_path):
    module = importlib.import_module(f"training.{PICTURES[stem]}")
    path = tmp_path / "picture.png"
    module.draw(json.loads((RESULTS / f"{stem}.json").read_text(encoding="utf-8")), path)
    # The committed one has the same size: it was drawn by this function.
    assert path.read_bytes()[16:24] == (RESULTS / f"{stem}.png").read_bytes()[16:24]
