# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Fixtures of the training tests: texts, a finished run, and the reset of global state that a run changes."""

import json
import random

import pytest
import torch
from accelerate.state import AcceleratorState, GradientState
from support.train_cases import QUICK

from hf_minrnn.scan_op import OP_BACKENDS
from training import train_lm


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    # For models this small, the synchronization of several threads costs more than it saves, above all on a busy machine.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def reset_accelerator():
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


@pytest.fixture
def break_scan(monkeypatch):
    """Returns a function that makes the "forward" or the "backward" of every backend but the reference wrong.

    It adds 1 % of the previous channel. A constant factor would not do: a norm would remove it.
    """

    def wrong_by_a_little(function):
        def run(*args):
            first, *rest = function(*args)
            return (first + 0.01 * first.roll(1, -1), *rest)

        return run

    def wrong(part):
        for name in {*OP_BACKENDS} - {"reference"}:
            functions = dict(zip(("forward", "backward"), OP_BACKENDS[name]))
            functions[part] = wrong_by_a_little(functions[part])
            monkeypatch.setitem(OP_BACKENDS, name, tuple(functions.values()))

    return wrong


@pytest.fixture(scope="module")
def text_file(tmp_path_factory):
    rng = random.Random(0)
    words = ["the", "a", "cat", "dog", "bird", "sees", "hears", "likes", "water", "bread", "wine"]
    path = tmp_path_factory.mktemp("text") / "pets.txt"
    path.write_text("\n".join(" ".join(rng.choices(words, k=6)) for _ in range(400)))
    return str(path)


@pytest.fixture(scope="module")
def documents_file(tmp_path_factory):
    rng = random.Random(1)
    path = tmp_path_factory.mktemp("rows") / "pets.jsonl"
    rows = (" ".join(rng.choices(["cat", "dog", "sees", "hears", "bread"], k=rng.randrange(1, 40))) for _ in range(100))
    path.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    return str(path)


@pytest.fixture(scope="module")
def finished_run(text_file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "pets"
    metrics = train_lm.main([*QUICK, "--dataset", text_file, "--steps", "30", "--output-dir", str(folder)])
    return folder, metrics
