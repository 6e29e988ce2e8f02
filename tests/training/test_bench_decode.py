# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import json

import bench_decode
import pytest
import torch

TINY = ["--tokens", "3", "--hidden-size", "16", "--num-hidden-layers", "2", "--vocab-size", "50"]


@pytest.fixture(autouse=True)
def one_thread():
    yield
    torch.set_num_threads(1)


def test_result_file(tmp_path, capsys):
    path = tmp_path / "out.json"
    result = bench_decode.main([*TINY, "--positions", "5", "9000", "--output", str(path)])
    rows = result["positions"]
    assert json.loads(path.read_text()) == result and set(rows) == {"5", "9000"}
    # Two layers: a float32 state of 16 and 3 inputs of the convolution of 16 channels.
    assert rows["5"]["state_bytes"] == rows["9000"]["state_bytes"] == 2 * (16 + 3 * 16) * 4
    assert result["time_ratio_last_to_first"] > 0 and "9,000 tokens" in capsys.readouterr().out


def test_a_growing_cache_is_not_measured(monkeypatch):
    sizes = iter(range(100))
    monkeypatch.setattr(bench_decode, "state_bytes", lambda cache: next(sizes))
    with pytest.raises(RuntimeError, match="grew"):
        bench_decode.main([*TINY, "--positions", "5"])
