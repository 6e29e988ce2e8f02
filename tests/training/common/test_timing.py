# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import pytest
import torch
from transformers.utils import logging

from training.common import machine, timing


def test_a_disagreement_or_nan_raises_an_error():
    one = torch.ones(3)
    assert timing.check_agreement("a and b", [one, one * 1.01], [one, one], [0.0, 0.02]) == [0.0, pytest.approx(0.01)]
    for bad in (one * 1.1, one * float("nan"), one * float("inf")):
        with pytest.raises(timing.Disagreement, match="a and b differ"):
            timing.check_agreement("a and b", [bad], [one], [0.05])


def test_settings_are_put_back_after_an_error():
    threads, verbosity = torch.get_num_threads(), logging.get_verbosity()
    with pytest.raises(KeyError), timing.settings(threads + 1):
        assert torch.get_num_threads() == threads + 1 and logging.get_verbosity() == logging.ERROR
        raise KeyError
    assert (torch.get_num_threads(), logging.get_verbosity()) == (threads, verbosity)


def test_rounds_run_each_in_an_order_of_their_own_and_warm_ups_are_left_out(monkeypatch):
    clock, order = [0.0], []

    def step(name, seconds):
        order.append(name)
        clock[0] += seconds[0] if len(order) <= 2 else seconds[1]

    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])
    contestants = {"slow": lambda: step("slow", (9.0, 0.4)), "fast": lambda: step("fast", (9.0, 0.1))}
    times = timing.measure(contestants, rounds=3, warm_ups=1, calls=2)
    turns = [order[i : i + 2] for i in range(0, 8, 2)]
    assert all(sorted(turn) == ["fast", "slow"] for turn in turns) and len(set(map(tuple, turns))) == 2
    assert {name: round(entry["median_ms"], 6) for name, entry in times.items()} == {"slow": 200, "fast": 50}


def test_provenance(monkeypatch):
    monkeypatch.setenv("MALLOC_CONF", "x")
    result = machine.provenance("training.bench.x", ["--a", "b c"])
    assert result["command"] == "python -m training.bench.x --a 'b c'" and result["allocator"]["MALLOC_CONF"] == "x"
    assert result["machine"]["cpu"] and result["versions"]["torch"]


def test_variables_name_no_folders(monkeypatch):
    monkeypatch.setenv("LD_PRELOAD", "/home/user.name/lib/libjemalloc.so:/opt/other.so")
    monkeypatch.setenv("TORCH_HOME", "/home/user.name/torch/")
    found = machine.allocator()
    assert (found["LD_PRELOAD"], found["TORCH_HOME"]) == ("libjemalloc.so:other.so", "torch")


def test_the_allocator_in_words(monkeypatch):
    for name in ("MALLOC_CONF", "MALLOC_ARENA_MAX", "GLIBC_TUNABLES", "LD_PRELOAD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(machine.platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    found = machine.allocator()
    assert (found["malloc"], found["OMP_NUM_THREADS"]) == ("that of glibc 2.36, as it is by default", "1")
    monkeypatch.setenv("GLIBC_TUNABLES", "x")
    assert machine.allocator()["malloc"] == "that of glibc 2.36, with what GLIBC_TUNABLES says"
    monkeypatch.setattr(machine.platform, "libc_ver", lambda: ("", ""))
    assert "C library" in machine.allocator()["malloc"]


def test_a_failing_process_is_named(tmp_path, monkeypatch):
    script = tmp_path / "script_of_a_test.py"
    script.write_text("import sys; print('words\\n1.5') if sys.argv[1] == 'good' else sys.exit('no such thing')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert timing.in_new_process("script_of_a_test", ["good"]) == 1.5
    with pytest.raises(RuntimeError, match=r"(?s)script_of_a_test bad failed:.*no such thing"):
        timing.in_new_process("script_of_a_test", ["bad"])
