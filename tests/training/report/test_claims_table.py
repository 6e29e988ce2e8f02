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
    found = lines({"here": speed(), "there": speed("cuda")}, {}, {}, {})
    start = "training speed at 512 steps of minGRU with the paper's scan, relative to GRU"
    assert found[start].endswith(
        "| 175× (loop) | here 20.0× (loop), 2.0× (torch.nn); there 20.0× (loop), 2.0× (cuDNN) |"
    )
    ours = found["training speed at 512 steps of minLSTM with our scan, relative to LSTM"]
    assert ours.endswith("|  | here 40.0× (loop), 0.50× (torch.nn); there 40.0× (loop), 0.50× (cuDNN) |")


def test_memory_is_shown_where_it_was_measured():
    memory = {name: 2 * value for name, value in SPEED.items()}
    found = lines({"here": speed(memory=memory), "there": speed("cuda")}, {}, {}, {})
    said = "here 0.50× nn.GRU, with our scan 0.17×; here 4.0× nn.LSTM, with our scan 2.0×"
    assert found["memory at 512 steps with the paper's scan, relative to GRU and LSTM"].endswith(f"| {said} |")


@pytest.mark.parametrize("full", [False, True])
def test_selective_copying_names_the_lengths_that_ran(full):
    settings = [{"model": "mingru", "layers": layers} for layers in (1, 3)]
    result = {"rows": {str(s["layers"]): row(0.25 * s["layers"], **s, length=256) for s in settings}}
    presets = {"cpu": result} | ({"full": {"rows": {"a": row(0.5, **settings[0], length=4096)}}} if full else {})
    found = lines({}, presets, {}, {})["selective copying, minGRU with 1, 2, 3 layers, %"]
    rest = "50.0, –, – at 4096" if full else "not run at 4096"
    assert found.endswith(f"| 25.0, –, 75.0 at 256; {rest} |")


def test_shakespeare_shows_the_loss_on_the_last_tenth_at_the_best_step():
    rows = {str(seed): row(1.5 + 0.1 * seed, seed, model="minlstm") for seed in (0, 1)}
    found = lines({}, {}, {"full": {"rows": rows}, "small": {"rows": {"a": row(1.0, model="mamba")}}}, {})
    assert found["Shakespeare, minLSTM, loss and best step"].endswith(
        "| 1.555, step 625 | 1.550 ± 0.071, step 25 ± 7 |"
    )
    assert found["Shakespeare, Mamba, loss and best step"].endswith("| 1.575, step 400 | not run |")


def test_parity_shows_the_models_that_ran():
    rows = {}
    for model, accuracies in (("gru", (1.0,)), ("minlstm-signed", (1.0, 0.96875, 0.984375)), ("mingru-plain", (0.5,))):
        for seed, accuracy in enumerate(accuracies):
            entry = row(accuracy, seed, model=model, task="parity")
            entry["test"]["best"]["by_length"] = {"256": 1.0, "1024": accuracy}
            rows[f"{model} {seed}"] = entry
    start = "parity at 256 and 1,024 symbols, trained on 1 to 40, negative decays allowed, %: median (worst seed)"
    found = lines({}, {}, {}, {"cpu": {"rows": rows}})[start]
    assert found.endswith("|  | minLSTM 100.0 (100.0), 98.4 (96.9); nn.GRU 100.0, 100.0 |")
    assert lines({}, {}, {}, {"small": {"rows": rows}})[start].endswith("| not run |")
