# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import json

import torch
from torch import nn

from hf_minrnn.gates import g
from training.bench import call_counts


def test_result_file(tmp_path, capsys):
    path = tmp_path / "out.json"
    result = call_counts.main(["--output", str(path)])
    assert json.loads(path.read_text()) == result
    assert result["command"] == f"python -m training.bench.call_counts --output {path}"
    for name in call_counts.CONTESTANTS:
        for case, entry in result["contestants"][name].items():
            own, theirs = entry["hf_minrnn"], entry["transformers"]
            assert f"{name}, {case} " in capsys.readouterr().out or (name, case) != ("minGRU", "forward")
            assert 0 < theirs["calls"] <= entry["calls"] - own["calls"] and entry["modeling_file"] > 0
            assert (own["calls"] == 0) == (name == "Llama") and own["files"] <= own["functions"] <= own["calls"]


def test_the_calls_of_a_function_are_counted():
    def twice():
        g(torch.zeros(1))
        g(torch.zeros(1))

    counted = call_counts.count_calls(twice, __file__)
    assert counted["hf_minrnn"] == {"calls": 2, "functions": 1, "files": 1}
    assert counted["modeling_file"] == 1 and counted["calls"] >= 3 and counted["transformers"]["calls"] == 0


def test_the_calls_of_the_shortcuts_can_be_left_out():
    token = call_counts.cases(call_counts.tiny_models()["minGRU"])["token, shortcuts off"]
    every = call_counts.count_calls(token)["hf_minrnn"]["calls"]
    # `forwards` in the block, its convolution, its mixer and its MLP, two outputs, and the test in each of four norms.
    assert call_counts.count_calls(token, shortcuts=False)["hf_minrnn"]["calls"] == every - 10


def test_no_hook_is_left():
    linear, x = nn.Linear(2, 2), torch.ones(1, 2)
    call_counts.without_shortcuts(lambda: linear(x))()
    assert not nn.modules.module._global_forward_hooks


def test_counts_do_not_change_from_run_to_run():
    model = call_counts.tiny_models()["minGRU"]
    first, second = (
        {case: call_counts.count_calls(run)["hf_minrnn"] for case, run in call_counts.cases(model).items()}
        for _ in range(2)
    )
    assert first == second
