# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import itertools
import json

import pytest
import torch

from hf_minrnn import scan_triton
from hf_minrnn.scan_op import OP_BACKENDS
from hf_minrnn.scan_reference import backward, forward
from training.bench import contestants, gpu_cases
from training.bench import gpu as bench_gpu
from training.bench.contestants import Contestant
from training.common import timing


def test_floor_bytes_counts_the_bytes_that_must_move():
    elements = 8 * 4096 * 2048
    assert contestants.floor_bytes("mingru", (8, 4096, 2048), 2) == (6 * elements, 12 * elements)
    assert contestants.floor_bytes("minlstm", (8, 4096, 2048), 2) == (8 * elements, 16 * elements)
    assert contestants.floor_bytes("mingru", (8, 4096, 2048), 4) == (12 * elements, 24 * elements)


@pytest.mark.parametrize("channels", [256, 512, 1024])
def test_equal_parameters(channels):
    weights = [p.numel() for p in torch.nn.GRU(channels, contestants.equal_parameters(channels)).parameters()]
    assert sum(weights) == pytest.approx(2 * channels**2, rel=0.06)


def test_without_a_gpu_an_error_is_printed_and_nothing_is_written(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="torch finds no GPU here: run it on a machine with one"):
        bench_gpu.main(["--output", str(tmp_path / "bench.json")])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(scan_triton, "INSTALLED", False)
    with pytest.raises(SystemExit, match=r'triton is not installed: run pip install -e "\.\[gpu\]" in '):
        bench_gpu.main(["--output", str(tmp_path / "bench.json")])
    assert not list(tmp_path.iterdir())


FEW = {**bench_gpu.QUICK, "cases": bench_gpu.QUICK["cases"][:4]}


def test_every_part_runs_and_can_be_written(tmp_path, capsys):
    """Runs on a CPU with another backend. The checks, counts and the printed text do not depend on either."""
    results = bench_gpu.bench_all("reference", "cpu", 2, FEW)
    assert len(results["relative_errors"]) == len(FEW["cases"]) + 2 * len(FEW["scans"])
    scan = results["scan"][0]["timings"]
    moved = contestants.floor_bytes("mingru", (1, 8, 4), 4)[1]
    for name in ("mingru backward", "copy, mingru backward"):
        assert scan[name]["gb_per_s"] == pytest.approx(moved / (scan[name]["median_ms"] * 1e-3) / 1e9)
    assert {"minGRU", "minLSTM", "nn.GRU", "nn.GRU, equal parameters"} <= set(results["layers"][0]["timings"])
    assert json.loads(json.dumps(results)) == results and results["targets"] == {}
    assert "6 cases agree with float64" in capsys.readouterr().out
    bench_gpu.draw(results, tmp_path / "bench.png")
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")


def test_memory_is_measured_on_a_gpu(monkeypatch):
    monkeypatch.setattr(bench_gpu, "milliseconds", lambda function, calls, device: 1.0)
    monkeypatch.setattr(bench_gpu, "peak_gpu_memory", lambda function: function())
    found = bench_gpu.measure({"a": lambda: 3.0, "b": lambda: 4.0}, 2, "cuda")
    assert {name: entry["memory_mib"] for name, entry in found.items()} == {"a": 3.0, "b": 4.0}
    assert "3.0 MiB" in bench_gpu.table({"shape": [1], "dtype": "x", "timings": found})


# --- comparisons -----------------------------------------------------------------------------------------------------


def test_a_few_cases_cover_every_pair_of_choices():
    cases = gpu_cases.grid()
    met = set().union(*(gpu_cases.pairs_of(case._asdict()) for case in cases))
    names = sorted(gpu_cases.FACTORS)
    for one, two in itertools.combinations(names, 2):
        for values in itertools.product(gpu_cases.FACTORS[one], gpu_cases.FACTORS[two]):
            assert ((one, values[0]), (two, values[1])) in met
    assert len(cases) <= 45 and len(set(map(str, cases))) == len(cases)
    assert {1, 2, 63, 64, 129, 1000} <= {case.time for case in cases}


def test_the_cases_run_every_row_of_the_kernels_tables_and_chunks():
    for table in scan_triton.TILES.values():
        assert len({max(n for n in table if n <= rows * gpu_cases.CHANNELS) for rows in gpu_cases.FACTORS["rows"]}) == 3
    for case in gpu_cases.CHUNKED:
        assert scan_triton.chunk_steps(case.time, case.rows * gpu_cases.CHANNELS) < case.time


def watched(backend, monkeypatch):
    seen, (forward, backward) = [], OP_BACKENDS[backend]

    def run(projected, *rest):
        seen.append((projected.dtype, projected.is_contiguous(), torch.empty(1).isnan().item(), rest))
        return forward(projected, *rest)

    monkeypatch.setitem(OP_BACKENDS, backend, (run, backward))
    return seen


def test_a_case_runs_as_described(monkeypatch):
    seen = watched("reference", monkeypatch)
    case = gpu_cases.Case(
        "minlstm, raw", "identity", "float16", "mask+resets+reset_state+packed", True, True, 0.3, 4, 9
    )
    gpu_cases.check_case(case, "reference", "cpu", channels=3)
    ((dtype, contiguous, poisoned, (state, keep, resets, reset_state, bounds, spec)),) = seen
    assert dtype == torch.float16 and not contiguous and poisoned and not torch.empty(1).isnan()
    assert spec == ("minlstm", "identity", False, 0.3) and len(bounds) == 5 and state.shape == (4, 3)
    assert keep is not None and resets.any() and reset_state.shape == (3,)
    plain = case._replace(features="plain", state=False, strided=False)
    gpu_cases.check_case(plain, "reference", "cpu", channels=3)
    assert seen[1][1] and all(x is None for x in seen[1][3][:-1]) and seen[1][3][-1].candidate_activation == "identity"


def test_timed_shapes_are_compared_in_their_outer_channels(monkeypatch):
    gpu_cases.check_whole("minlstm", (2, 17, 11), torch.float32, "reference", "cpu")
    forward, backward = OP_BACKENDS["reference"]

    def wrong(*args):
        grads = backward(*args)
        grads[0][1, 3, 2 * 11 - 1] += 1  # the last channel of the input gate
        return grads

    monkeypatch.setitem(OP_BACKENDS, "reference", (forward, wrong))
    with pytest.raises(timing.Disagreement, match=r"minlstm, \(2, 17, 11\), float32"):
        gpu_cases.check_whole("minlstm", (2, 17, 11), torch.float32, "reference", "cpu")


@pytest.mark.parametrize("wrong", ["h", "final", "d_projected", "d_reset", "unwritten"])
def test_no_speed_for_wrong_kernels(wrong, monkeypatch, capsys):
    def wrong_forward(*args):
        h, final = forward(*args)
        if wrong == "unwritten":  # a new output whose last step is uninitialized
            h, whole = torch.empty(h.shape, dtype=h.dtype), h
            h[:, :-1] = whole[:, :-1]
        return (h * 1.02, final) if wrong == "h" else (h, final * 1.02) if wrong == "final" else (h, final)

    def wrong_backward(*args):
        grads = list(backward(*args))
        if wrong in ("d_projected", "d_reset"):
            grads[0 if wrong == "d_projected" else 2] *= float("nan") if wrong == "d_reset" else 1.02
        return tuple(grads)

    monkeypatch.setitem(OP_BACKENDS, "reference", (wrong_forward, wrong_backward))
    cases = [gpu_cases.Case("mingru", "g", "float32", "mask+resets+reset_state", True, False, 0.0, 2, 9)]
    with pytest.raises(timing.Disagreement, match="no speed is reported"):
        bench_gpu.bench_all("reference", "cpu", 2, {**bench_gpu.QUICK, "cases": cases})
    assert not capsys.readouterr().out


@pytest.mark.parametrize("part", ["forward", "backward"])
def test_no_speed_for_wrong_layers(part, break_scan):
    break_scan(part)
    with pytest.raises(timing.Disagreement, match=r"minGRU and its definition \(h, gradient\) differ"):
        bench_gpu.bench_layers((2, 8, 16), "cpu", 2)


def test_a_peer_that_fails_or_disagrees_is_left_out_with_the_reason(monkeypatch):
    def fails(channels):
        raise ImportError("its library\nis another one")

    wrong = torch.nn.Linear(16, 16)
    monkeypatch.setitem(contestants.LAYERS, "minGRU-pytorch", Contestant(lambda channels: wrong, same_as="minGRU"))
    monkeypatch.setitem(contestants.LAYERS, "nn.LSTM", Contestant(fails))
    monkeypatch.setattr(bench_gpu, "left_out", lambda name, shape, device: "asked" if "HGRN" in name else None)
    found = bench_gpu.bench_layers((2, 8, 16), "cpu", 2)
    assert found["left_out"]["nn.LSTM"] == "ImportError: its library" and found["left_out"]["HGRN, chunk"] == "asked"
    assert "minGRU-pytorch and minGRU (h, gradient) differ" in found["left_out"]["minGRU-pytorch"]
    assert {"minGRU", "minLSTM", "nn.GRU", "nn.GRU, equal parameters"} <= set(found["timings"])
    assert not set(found["left_out"]) & set(found["timings"])


@pytest.mark.slow
def test_several_processes_compare_the_same_cases_as_one():
    one, two = (bench_gpu.check_all(FEW, "reference", "cpu", jobs) for jobs in (1, 2))
    assert one == two and len(one) == 6


@pytest.mark.parametrize("error", [0.0, 0.1])
def test_a_step_is_compared_with_plain_torch(error, monkeypatch):
    real, backends = bench_gpu.scan_step, []

    def plain(projected, state, spec, backend="auto"):
        backends.append(backend)
        return real(projected, state, spec)

    def kernel(projected, state, spec):
        h, new = real(projected, state, spec)
        state.copy_(new + error)
        return h

    monkeypatch.setattr(bench_gpu, "scan_step", plain)
    monkeypatch.setattr(scan_triton, "step_", kernel)
    if error:
        with pytest.raises(timing.Disagreement, match="one step by the kernel and in torch"):
            bench_gpu.step_contestants((3, 5), "cpu")
    else:
        assert list(bench_gpu.step_contestants((3, 5), "cpu")) == ["Triton kernel", "plain torch"]
    assert backends == ["torch"]


def test_the_verdict_names_missed_targets(monkeypatch, capsys):
    def timings(gb_per_s):
        parts = [f"{cell} {part}" for cell in ("mingru", "minlstm") for part in ("forward", "backward")]
        return {name: {"gb_per_s": gb_per_s} for name in parts} | {f"copy, {n}": {"gb_per_s": 100.0} for n in parts}

    shapes = ([8, 4096, 2048], [1, 131072, 2048], [1, 4096, 512])
    scan = [{"shape": shape, "dtype": "bfloat16", "timings": timings(75.0)} for shape in shapes]
    scan.append({"shape": shapes[0], "dtype": "float32", "timings": timings(1.0)})
    times = {"minGRU": 1.0, "nn.GRU": 11.0, "nn.GRU, equal parameters": 9.0, "HGRN, chunk": 0.9}
    layer = {"shape": list(bench_gpu.TARGET_SHAPE), "timings": {n: {"median_ms": t} for n, t in times.items()}}
    found = bench_gpu.targets_of_scans(scan) | bench_gpu.targets_of_layers([layer])
    missed = {name for name, entry in found.items() if entry["ratio"] < entry["target"]}
    assert len(found) == 2 * 2 + 2 + 3
    forwards = {f"{cell} forward / copy at (8, 4096, 2048)" for cell in ("mingru", "minlstm")}
    layers = {f"{name} / minGRU at (8, 4096, 1024)" for name in ("nn.GRU, equal parameters", "HGRN, chunk")}
    assert missed == forwards | layers
