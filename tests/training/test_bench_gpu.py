# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import subprocess
from types import SimpleNamespace

import bench_gpu
import pytest
import torch


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_one_line_says_so(tmp_path):
    with pytest.raises(SystemExit, match=r"^bench_gpu.py needs a GPU that torch can use, and finds none$"):
        bench_gpu.main(["--output", str(tmp_path / "out.json")])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "code, out, fine",
    [(0, "....\n12 passed in 3s", True), (1, "F\n1 failed, 11 passed in 3s", False), (5, "\n9 deselected", False)],
)
def test_no_speed_where_the_kernels_fail(code, out, fine, monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=code, stdout=out, stderr=""))
    if fine:
        assert bench_gpu.check_on_the_card() == "12 passed in 3s"
    else:
        with pytest.raises(SystemExit, match="no speed is reported"):
            bench_gpu.check_on_the_card()


def test_the_floor():
    shape = (2, 3, 5)
    assert bench_gpu.floor_bytes("mingru", shape, 4) == (30 * 12, 30 * 24)
    assert bench_gpu.floor_bytes("minlstm", shape, 2) == (30 * 8, 30 * 16)


def test_targets_are_of_shapes_that_are_measured():
    assert {shape for shape, _ in bench_gpu.TARGETS} <= set(bench_gpu.SHAPES)
    assert any(shape[1] == bench_gpu.GRU_STEPS for shape in bench_gpu.LAYER_SHAPES)


@pytest.mark.gpu
def test_quick_run(tmp_path):
    result = bench_gpu.main(["--quick", "--rounds", "2", "--output", str(tmp_path / "out.json")])
    assert result["scan"] and result["layers"] and result["step"]
