# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The parts of the training script, each alone."""

import argparse
import math

import numpy as np
import pytest
import torch
from support.train_cases import TINY

from training.common.errors import InputError
from training.common.schedule import learning_rate_factor
from training.lm.batches import draw_windows
from training.lm.evaluation import evaluate_heldout, finished, quick_bits_per_byte, stream_nats
from training.lm.loss_curve import smoothed, thinned
from training.lm.model_setup import build_model, parameter_groups
from training.lm.options import parse_arguments
from training.lm.progress import Progress
from training.lm.tokenization import TokenStream, build_tokenizer


def test_windows_are_a_pure_function_of_seed_and_step():
    tokens = np.arange(1000, dtype=np.uint16)
    first = draw_windows(tokens, 16, 8, seed=1, step=2)
    assert first.shape == (8, 17)
    assert (np.diff(first) == 1).all()
    assert np.array_equal(first, draw_windows(tokens, 16, 8, seed=1, step=2))
    assert not np.array_equal(first, draw_windows(tokens, 16, 8, seed=1, step=3))
    assert not np.array_equal(first, draw_windows(tokens, 16, 8, seed=2, step=2))
    shortest = draw_windows(tokens[:17], 16, 4, seed=0, step=0)
    assert (shortest == tokens[:17]).all()
    starts = draw_windows(tokens[:20], 16, 200, seed=0, step=0)[:, 0]
    assert set(starts.tolist()) == {0, 1, 2, 3}


@pytest.fixture(scope="module")
def tiny_model():
    tokenizer = build_tokenizer("bytes", [])
    return build_model(parse_arguments([*TINY, "--tokenizer", "bytes"]), tokenizer).eval()


def test_stream_loss_does_not_depend_on_the_segments(tiny_model, monkeypatch):
    ids = np.random.default_rng(0).integers(0, 257, 700)
    with torch.no_grad():
        logits = tiny_model(torch.from_numpy(ids)[None]).logits[0, :-1]
        expected = torch.nn.functional.cross_entropy(logits, torch.from_numpy(ids[1:]), reduction="sum").item()
    for longest in (4096, 699, 698, 128):
        monkeypatch.setattr("training.lm.evaluation.LONGEST_SEGMENT", longest)
        assert stream_nats(tiny_model, ids) == pytest.approx(expected, rel=1e-5)


def test_quick_estimate_is_near_the_whole(tiny_model):
    ids = np.random.default_rng(0).integers(0, 257, 6000).astype(np.uint16)
    stream = TokenStream(ids, num_bytes=6000)
    whole = evaluate_heldout(tiny_model, stream)["heldout_bits_per_byte"]
    assert quick_bits_per_byte(tiny_model, stream) == pytest.approx(whole, rel=0.05)
    short = TokenStream(ids[:5], num_bytes=5)
    assert quick_bits_per_byte(tiny_model, short) == evaluate_heldout(tiny_model, short)["heldout_bits_per_byte"]


def test_samples_end_at_the_separator():
    tokenizer = build_tokenizer("bytes", [])
    end, (a, newline) = tokenizer.eos_token_id, tokenizer("a\n")["input_ids"]
    rows = [[a, newline, a, end, end], [a, newline, a, a, a]]
    samples = finished(tokenizer, rows, 5)
    assert [(sample.text, sample.snippet) for sample in samples] == [("a\na", "a\na"), ("a\naaa", "a\n")]


def test_weight_decay_is_for_matrices(tiny_model):
    decayed, free = parameter_groups(tiny_model, 0.1)
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.1, 0.0)
    names = {id(parameter): name for name, parameter in tiny_model.named_parameters()}
    assert len(decayed["params"]) + len(free["params"]) == len(names)
    assert all(parameter.ndim >= 2 for parameter in decayed["params"])
    embeddings = [names[id(parameter)] for parameter in free["params"] if parameter.ndim >= 2]
    assert embeddings == ["model.embed_tokens.weight"]
    gates = {name for name in names.values() if ".in_proj." in name and name.endswith("weight")}
    assert gates
    paper = {names[id(parameter)] for parameter in parameter_groups(tiny_model, 0.1, block="paper")[0]["params"]}
    assert paper == {names[id(parameter)] for parameter in decayed["params"]} - gates


@pytest.mark.parametrize("schedule", ["cosine", "wsd"])
def test_schedule(schedule):
    values = [learning_rate_factor(i / 1000, warmup=0.1, schedule=schedule, final_ratio=0.2) for i in range(1001)]
    assert values[0] == 0
    assert values[50] == pytest.approx(0.5)
    assert values[100] == pytest.approx(1)
    assert values[-1] == pytest.approx(0.2)
    assert all(b <= a + 1e-12 for a, b in zip(values[100:], values[101:], strict=False))
    assert max(abs(b - a) for a, b in zip(values, values[1:], strict=False)) < 0.011
    assert values[500] == (1 if schedule == "wsd" else pytest.approx(0.2 + 0.4 * (1 + math.cos(math.pi * 4 / 9))))
    assert learning_rate_factor(2.0, schedule=schedule, final_ratio=0.2) == pytest.approx(0.2)
    assert learning_rate_factor(0.0, warmup=0.0, schedule=schedule) == 1


def test_unknown_schedule_is_refused():
    with pytest.raises(ValueError, match="choose cosine or wsd"):
        learning_rate_factor(0.5, schedule="linear")


def test_progress_in_a_file_is_a_few_lines(tmp_path):
    path = tmp_path / "log"
    with path.open("w") as stream:
        bar = Progress(0.5, stream=stream)
        for step in range(5000, 10_001):
            bar.update(step / 10_000, step, 1.0, 1.443, 100.0)
        bar.close()
    lines = path.read_text().splitlines()
    assert 9 <= len(lines) <= 11
    assert lines[-1].startswith("100 %") and "1.443 bits per byte" in lines[-1]


def test_curve_helpers():
    assert smoothed([3.0, 3.0, 3.0], 0.9) == pytest.approx([3, 3, 3])
    assert thinned([0] * 10, 4) == [0, 3, 6, 9]
    assert thinned([0] * 3, 4) == [0, 1, 2]


def test_config_values_are_parsed():
    args = parse_arguments(["--config", "a=1", "b=true", "c=silu", "d=None", "e=0.5"])
    assert args.config == {"a": 1, "b": True, "c": "silu", "d": None, "e": 0.5}
    assert isinstance(args, argparse.Namespace)
    with pytest.raises(InputError, match="KEY=VALUE"):
        parse_arguments(["--config", "a"])
