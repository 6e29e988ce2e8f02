# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import pytest

from training.report import claims_table

SPEED = {"GRU, step by step": 60.0, "LSTM, step by step": 80.0, "nn.GRU": 6.0, "nn.LSTM": 1.0}
SPEED |= {"minGRU, log-space": 3.0, "minLSTM, log-space": 4.0, "minGRU": 1.0, "minLSTM": 2.0}


def speed(device="cpu", memory=None):
    layers = {name: {"median_ms": value} for name, value in SPEED.items()}
    longer = {"time": 1024, "layers": {}, "memory_mib": {}}
    return {"device": device, "lengths": [longer, {"time": 512, "layers": layers, "memory_mib": memory or {}}]}


def row(best, seed=0, **settings):
    return {
        "settings": {"rate": 1e-3, "seed": seed, **settings},
        "best": {"step": 20 + 10 * seed, "accuracy": best, "loss": best},
        "test": {"final": {}, "best": {"accuracy": best, "test": 9.0, "both": best}},
    }


def lines(*arguments):
    return {line.split(" | ")[0][2:]: line for line in claims_table.table(*arguments).splitlines()[2:]}


def test_every_speed_has_its_baseline():
    found = lines({"here": speed(), "there": speed("cuda")}, {}, {})
    start = "training speed of minGRU, the paper's scan, of GRU at 512 steps"
    assert found[start].endswith(
        "| 175× of the loop | here 20.0× of the loop, 2.0× of torch.nn's; there 20.0× of the loop, 2.0× of cuDNN's |"
    )
    ours = found["training speed of minLSTM, our scan, of LSTM at 512 steps"]
    assert ours.endswith(
        "|  | here 40.0× of the loop, 0.50× of torch.nn's; there 40.0× of the loop, 0.50× of cuDNN's |"
    )


def test_memory_of_those_that_have_measured_it():
    memory = {name: 2 * value for name, value in SPEED.items()}
    found = lines({"here": speed(memory=memory), "there": speed("cuda")}, {}, {})
    said = "here 0.50× of nn.GRU's, our scan 0.17×; here 4.0× of nn.LSTM's, our scan 2.0×"
    assert found["memory at 512 steps, the paper's scan"].endswith(f"| {said} |")


@pytest.mark.parametrize("full", [False, True])
def test_the_ladder_says_what_ran_at_which_length(full):
    settings = [{"model": "mingru", "layers": layers} for layers in (1, 3)]
    result = {"rows": {str(s["layers"]): row(0.25 * s["layers"], **s, length=256) for s in settings}}
    presets = {"cpu": result} | ({"full": {"rows": {"a": row(0.5, **settings[0], length=4096)}}} if full else {})
    found = lines({}, presets, {})["selective copying, minGRU of 1, 2, 3 layers, %"]
    rest = "50.0, –, – at 4096" if full else "not run at 4096"
    assert found.endswith(f"| 25.0, –, 75.0 at 256; {rest} |")


def test_shakespeare_is_the_last_tenth_at_the_best_step():
    rows = {str(seed): row(1.5 + 0.1 * seed, seed, model="minlstm") for seed in (0, 1)}
    found = lines({}, {}, {"full": {"rows": rows}, "small": {"rows": {"a": row(1.0, model="mamba")}}})
    assert found["Shakespeare, minLSTM, loss and its step"].endswith("| 1.555, step 625 | 1.550 ± 0.071, step 25 ± 7 |")
    assert found["Shakespeare, Mamba, loss and its step"].endswith("| 1.575, step 400 | not run |")
