# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import importlib
import json

import pytest

from training.bench import runner
from training.common.paths import RESULTS

SCRIPTS = ("scan", "layers", "modules", "decode", "generate", "step", "paper", "gpu")
# Scripts by result file; each file is named after its script.
FILES = {
    path.name: script
    for script in SCRIPTS
    for path in RESULTS.glob(f"bench_{script}*.json")
    if script not in ("generate", "step")  # they draw no picture
}


def benchmark_of(script):
    return importlib.import_module(f"training.bench.{script}").BENCHMARK


@pytest.mark.parametrize("name", FILES)
def test_a_picture_is_drawn_from_a_committed_result_file_alone(name, tmp_path):
    result = json.loads((RESULTS / name).read_text(encoding="utf-8"))
    picture = tmp_path / "picture.png"
    benchmark_of(FILES[name]).draw(result, picture)
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_benchmark_is_named_after_its_script(script):
    benchmark = benchmark_of(script)
    assert benchmark.module == f"training.bench.{script}"
    assert benchmark.parse([]).output == RESULTS / f"bench_{script}.json"
    assert benchmark.parse([]).rounds == benchmark.rounds
    if benchmark.quick:
        assert benchmark.parse(["--quick"]).rounds == 2 and benchmark.parse(["--quick", "--rounds", "3"]).rounds == 3


@pytest.mark.parametrize("option, value", [("--rounds", "1"), ("--threads", "0"), ("--output", "result.txt")])
def test_options_of_all_benchmarks_are_checked(option, value, capsys):
    with pytest.raises(SystemExit):
        benchmark_of("scan").parse([option, value])
    assert option in capsys.readouterr().err


def test_memory_is_measured_in_a_new_process_with_the_same_threads(monkeypatch):
    seen = []
    monkeypatch.setattr(runner, "in_new_process", lambda module, arguments: seen.append((module, arguments)) or 3.0)
    benchmark = benchmark_of("layers")
    options = benchmark.parse(["--threads", "2"])
    assert benchmark.memory_in_new_process(options, "minGRU", (2, 8, 16)) == 3.0
    ((module, arguments),) = seen
    parsed = benchmark.parse(arguments)
    assert (module, parsed.threads, parsed.memory_of) == (benchmark.module, 2, ["minGRU", [2, 8, 16]])
