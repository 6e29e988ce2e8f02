# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import json
from functools import partial

import pytest
import torch
from transformers.utils import logging

from training.bench import generate as bench_generate
from training.common import timing
from training.report import tables

TINY = ["--tokens", "5", "--rounds", "2", "--hidden-size", "16", "--num-hidden-layers", "2"]
MODELS = {*bench_generate.OURS, *bench_generate.OTHERS}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    path = tmp_path_factory.mktemp("generate") / "new" / "bench_generate.json"
    threads, verbosity = torch.get_num_threads(), logging.get_verbosity()
    result = bench_generate.main([*TINY, "--output", str(path)])
    assert (torch.get_num_threads(), logging.get_verbosity()) == (threads, verbosity)
    return path, result


def test_result_file(finished):
    path, result = finished
    assert json.loads(path.read_text(encoding="utf-8")) == result
    assert [file.name for file in path.parent.iterdir()] == ["bench_generate.json"]
    assert result["command"].startswith("python -m training.bench.generate --tokens 5 --rounds 2")
    assert result["machine"]["threads"] == 1 and result["machine"]["cpu"] and result["versions"]["transformers"]
    assert result["new_tokens"] == 5 and result["rounds"] == 2
    timings = [row[way] for row in result["models"].values() for way in ("generate", "loop") if way in row]
    timings += [result["speculative"][way] for way in ("plain", "lookup")]
    assert len(timings) == 2 * len(MODELS) + 1 + 2
    assert all(0 < timing["q1_ms"] <= timing["median_ms"] <= timing["q3_ms"] for timing in timings)
    assert set(result["models"]) == MODELS | {bench_generate.STEPS}
    # If the contestants repeated one token, almost any two outputs would agree.
    assert all(row["parameters"] > 0 and row["distinct_tokens"] > 2 for row in result["models"].values())
    assert result["speculative"]["plain"]["forwards"] == 5 >= result["speculative"]["lookup"]["forwards"]


def test_ratios_and_targets(finished):
    _, result = finished
    models, ratios = result["models"], result["ratios"]
    assert len(ratios) == 8
    entry = ratios["loop: minLSTM / Llama"]
    assert entry["ratio"] == models["minLSTM"]["loop"]["median_ms"] / models["Llama"]["loop"]["median_ms"]
    targets = {name.replace(": minGRU", ""): entry["target"] for name, entry in ratios.items() if "minGRU" in name}
    assert targets == {"generate / Llama": 0.75, "generate / Mamba": 0.75, "loop / Llama": 0.5, "loop / Mamba": None}


def test_the_printed_table_marks_missed_targets(finished):
    result = json.loads(finished[0].read_text(encoding="utf-8"))
    for name, entry in result["ratios"].items():
        entry["ratio"] = 0.1 if "minGRU" in name else 9.0
    lines = bench_generate.table(result).splitlines()
    assert {line.split()[1] for line in lines if "MISSED" in line} == {"minLSTM"}
    assert sum("MISSED" in line for line in lines) == 3 and sum("target" in line for line in lines) == 6
    assert any("prompt lookup of 8" in line and "forwards" in line for line in lines)


def test_the_contestants_decode_greedily():
    prompt = bench_generate.random_prompt(6)
    assert prompt.shape == (1, 6) and prompt.min() > 0
    for name, model in bench_generate.tiny_models().items():
        text = prompt
        with torch.no_grad():
            for _ in range(4):
                text = torch.cat([text, model(text, use_cache=False).logits[:, -1:].argmax(-1)], 1)
            new = bench_generate.forward_loop(model, prompt, 4)
        assert torch.equal(new, text[:, 6:]) and new.unique().numel() > 1, name
        _, forwards = bench_generate.count_forwards(model, partial(bench_generate.generate, model, prompt, 4))
        assert forwards == 4, name


def other_tokens(function, affected):
    """A contestant that changes its last token in some of its calls."""

    def wrong(*args, **kwargs):
        new = function(*args, **kwargs).clone()
        if affected(*args, **kwargs):
            new[:, -1] += 1
        return new

    return wrong


@pytest.mark.parametrize(
    "owner, name, affected, message",
    [
        (
            "",
            "forward_loop",
            lambda model, *_: model.config.model_type == "llama",
            "Llama: generate and the forward loop",
        ),
        ("", "forward_loop", lambda model, *_: model.config.model_type == "minrnn", "minGRU: generate and the forward"),
        ("BareSteps", "loop", lambda *_: True, "the steps and the cell over the whole text"),
        ("", "generate", lambda *_, **kwargs: bool(kwargs), "speculative and plain decoding"),
    ],
)
def test_no_speed_for_outputs_that_disagree(owner, name, affected, message, monkeypatch, tmp_path, capsys):
    place = getattr(bench_generate, owner) if owner else bench_generate
    monkeypatch.setattr(place, name, other_tokens(getattr(place, name), affected))
    verbosity = logging.get_verbosity()
    with pytest.raises(timing.Disagreement, match=rf"{message}.* differ from new token 5 on .*no speed is reported"):
        bench_generate.main([*TINY, "--output", str(tmp_path / "out.json")])
    assert not capsys.readouterr().out and not list(tmp_path.iterdir())
    assert logging.get_verbosity() == verbosity


def test_outputs_of_other_length_disagree():
    with pytest.raises(timing.Disagreement, match="Llama: 3 and 4 tokens"):
        bench_generate.check_equal("Llama", torch.zeros(1, 3), torch.zeros(1, 4))


@pytest.mark.parametrize("argument", ["--tokens", "--rounds", "--threads"])
def test_arguments_that_measure_nothing(argument, capsys):
    with pytest.raises(SystemExit):
        bench_generate.main([argument, "0"])
    assert "must be a whole number" in capsys.readouterr().err


def test_the_table_says_which_targets_are_met(finished, tmp_path, monkeypatch):
    path, _ = finished
    result = json.loads(path.read_text(encoding="utf-8"))
    monkeypatch.setattr(tables, "RESULTS", tmp_path)

    def render(ratio):
        for name, entry in result["ratios"].items():
            entry["ratio"] = ratio if name == "loop: minGRU / Llama" else 0.123
        (tmp_path / "bench_generate.json").write_text(json.dumps(result))
        return tables.render("<!-- table generate -->\n<!-- end -->")

    assert "5 of 6 reached. Missed: bare loop, minGRU / Llama: 0.510 instead of 0.500.\n" in render(0.51)
    text = render(0.5)
    assert "6 of 6 reached." in text and "Missed" not in text and "| 0.123 |" in text
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("|")]
    assert len({len(row) for row in rows}) == 1 and len(rows) == 2 + len(MODELS) + 1
    monkeypatch.setitem(result, "ratios", {name: entry | {"target": 0.01} for name, entry in result["ratios"].items()})
    assert "0 of 8 reached. Missed: generate, minGRU / Llama: 0.123 instead of 0.010; " in render(0.5)
