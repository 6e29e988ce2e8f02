# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import argparse
import doctest
import json
from dataclasses import replace

import pytest
import torch

from training.bench import contestants, paper_plot, runner
from training.bench import paper as bench_paper
from training.bench.calls import layer_call
from training.common import timing
from training.report import paper_speed_table


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    path = tmp_path_factory.mktemp("results") / "new" / "bench.json"
    with pytest.MonkeyPatch.context() as patch:
        peaks = {str(n): 3.0 * n for n in bench_paper.QUICK_LENGTHS}
        patch.setattr(runner, "in_new_process", lambda *_: peaks)
        return path, bench_paper.main(["--quick", "--device", "cpu", "--channels", "16", "--output", str(path)])


def test_quick_run_writes_what_it_returns(quick):
    path, result = quick
    assert json.loads(path.read_text(encoding="utf-8")) == result
    assert sorted(file.name for file in path.parent.iterdir()) == ["bench.json", "bench.png"]
    assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert (result["preset"], result["device"], result["batch"], result["channels"]) == ("quick", "cpu", 2, 16)
    assert result["command"].startswith("python -m training.bench.paper --quick") and result["machine"]["threads"] == 1
    assert [entry["time"] for entry in result["lengths"]] == bench_paper.QUICK_LENGTHS
    for entry in result["lengths"]:
        assert list(entry["layers"]) == list(bench_paper.NAMES) and not entry["left_out"]
        assert set(entry["memory_mib"].values()) == {3.0 * entry["time"]}
        for found in entry["layers"].values():
            assert 0 < found["q1_ms"] <= found["median_ms"] <= found["q3_ms"]
    same = {"GRU, step by step", "LSTM, step by step", "minGRU, log-space", "minLSTM, log-space"}
    assert set(result["relative_errors"]) == same


@pytest.mark.parametrize("name", bench_paper.NAMES)
def test_every_contestant_has_the_shape_of_its_input_and_a_gradient(name):
    output, gradient = layer_call(name, (2, 5, 8))()
    assert output.shape == gradient.shape == (2, 5, 8) and gradient.abs().sum() > 0


def test_no_speed_for_outputs_that_disagree(monkeypatch, tmp_path):
    monkeypatch.setitem(contestants.LAYERS, "minGRU", replace(contestants.LAYERS["minGRU"], same_as="nn.GRU"))
    with pytest.raises(timing.Disagreement, match=r"minGRU and nn.GRU \(h, gradient\) differ"):
        bench_paper.main(["--quick", "--device", "cpu", "--output", str(tmp_path / "bench.json")])
    assert not list(tmp_path.iterdir())


def test_the_slow_ones_have_fewer_rounds_and_are_left_out(monkeypatch):
    seen = []
    slow = {"GRU, step by step": iter((700.0, 1400.0, 2800.0)), "Mamba": iter((100.0, 900.0))}

    def measure(steps, rounds):
        seen.append((sorted(steps), rounds))
        return {
            name: dict.fromkeys(("median_ms", "q1_ms", "q3_ms"), next(slow[name]) if name in slow else 1.0)
            for name in steps
        }

    monkeypatch.setattr(bench_paper, "measure", measure)
    options = argparse.Namespace(batch=1, lengths=[2, 3, 4], channels=4, rounds=7, limit=3.0, device="cpu")
    entries = bench_paper.bench_lengths(options)["lengths"]
    everyone, naive = sorted(bench_paper.NAMES), ["GRU, step by step"]
    rest = [name for name in everyone if name not in naive]
    assert seen[:4] == [(everyone, 7), ([], 2), (rest, 7), (naive, 2)]
    rest.remove("Mamba")
    assert seen[4:] == [(rest, 7), (naive, 2)]
    assert [entry["left_out"] for entry in entries] == [{}, {}, {"Mamba": "0.9 s at 3 steps already"}]
    assert "Mamba" not in entries[2]["layers"] and list(entries[1]["layers"]) == list(bench_paper.NAMES)


def test_memory_of_one_contestant_in_its_own_process():
    arguments = json.dumps(["minGRU, log-space", 2, 32, [64, 2048]])
    peaks = timing.in_new_process("training.bench.paper", ["--memory-of", arguments])
    if peaks is not None:  # the system has /proc
        # At least the output, the gradient and the projection: 2 * 2048 * 32 * 4 numbers of 4 bytes are 2 MiB.
        assert set(peaks) == {"64", "2048"} and 2 < peaks["2048"] < 100 and peaks["64"] < peaks["2048"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rounds", "1"], "--rounds: must be a whole number, at least 2"),
        (["--batch", "-1"], "must be a whole number above 0"),
        (["--longest", "63"], "--longest 63 is below the shortest length of 64 steps"),
    ],
)
def test_bad_numbers_are_refused(options, message, capsys):
    with pytest.raises(SystemExit):
        bench_paper.parse_arguments([*options, "--device", "cpu"])
    assert message in capsys.readouterr().err


def test_presets():
    def preset(*argv):
        options = bench_paper.parse_arguments(list(argv))
        return options.preset, options.batch, len(options.lengths)

    assert preset("--device", "cpu") == ("small", 8, 9)
    assert preset("--device", "cpu", "--full", "--longest", "4096") == ("full", 64, 7)
    assert preset("--device", "cuda") == ("full", 64, 9)
    names = [bench_paper.parse_arguments(["--device", device]).output.name for device in ("cpu", "cuda")]
    assert names == ["bench_paper.json", "bench_paper_gpu.json"]


def result_of(times: dict[str, float], memory: dict[str, float], steps: int = 512) -> dict:
    machine = {"cpu": "Abacus", "threads": 1, "cores": 2, "vector_instructions": "none", "accelerator": None}
    layers = {name: {"median_ms": t, "q1_ms": t, "q3_ms": t} for name, t in times.items()}
    left_out = {"Mamba": "9.0 s at 256 steps already"}
    entry = {"time": steps, "layers": layers, "memory_mib": memory, "left_out": left_out}
    about = {"device": "cpu", "batch": 8, "channels": 64, "preset": "small", "rounds": 5, "backend": "numba"}
    versions = {"python": "3", "torch": "2", "transformers": "5"}
    return {"command": "python x.py", "machine": machine, "versions": versions, **about, "lengths": [entry]}


def test_the_table_names_both_baselines_and_the_papers_numbers():
    times = {"GRU, step by step": 300.0, "nn.GRU": 60.0, "minGRU, log-space": 30.0, "minGRU": 2.0}
    times |= {"LSTM, step by step": 500.0, "nn.LSTM": 10.0, "minLSTM, log-space": 40.0, "minLSTM": 4.0}
    memory = {"nn.GRU": 8.0, "minGRU, log-space": 20.0, "minGRU": 4.0}
    text = paper_speed_table.table(result_of(times, memory))
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    assert lines[2] == ["512", "minGRU", "175×", "10.0×", "150×", "2.0×", "30.0×", "", "2"]
    assert lines[3] == ["512", "minLSTM", "235×†", "12.5×", "125×", "0.25×", "2.5×", "", "4"]
    assert lines[6:8] == [["512", "minGRU", "", "8", "20", "4"], ["512", "minLSTM", "", "", "", ""]]
    assert "log-space: minGRU 2.5× of nn.GRU's. The paper reports 1.88×†" in text
    assert "Left out at the longest length: Mamba (9.0 s at 256 steps already)" in text and "† marks numbers" in text
    other = paper_speed_table.table(result_of(times, memory, steps=4096))
    assert "1324×†" in other and "1361×†" in other and "Memory at 512" not in other


def test_memory_on_a_gpu_is_what_one_call_adds(monkeypatch):
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 2**20)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 4 * 2**20)
    assert timing.peak_gpu_memory(lambda: None) == 3


def test_examples_in_docstrings():
    for module in (paper_speed_table, paper_plot):
        found = doctest.testmod(module)
        assert found.attempted and not found.failed
