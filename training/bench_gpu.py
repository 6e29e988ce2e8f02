# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Are the GPU kernels right, and how fast are they: one command for a machine with a GPU, within ten minutes.

    python training/bench_gpu.py                        # writes training/results/bench_gpu.json

First the kernels are compared with the default backend in float64, values and gradients, over cells, dtypes, masks,
boundaries and sizes; where anything disagrees, no speed is reported. Then, as medians of interleaved rounds:

- the scan, forward and backward, as bytes over time, beside a plain copy that moves as many bytes. The bytes are the floor:
  forward reads K parts and writes h, backward reads them, h and its gradient and writes K gradients;
- the layer, input projection and scan, beside cuDNN's nn.GRU and nn.LSTM and what else is installed;
- one step of decoding in a CUDA graph.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from contestants import LAYERS, SAME_AS_MINGRU, Layer, left_out
from report import write_json
from timing import check_agreement, provenance, settings, summary

from hf_minrnn import scan_triton
from hf_minrnn.gates import NUM_PARTS, ScanSpec
from hf_minrnn.scan import OP_BACKENDS, minrnn_scan, scan_step

RESULTS = Path(__file__).parent / "results"
BF16, FP16, FP32 = torch.bfloat16, torch.float16, torch.float32
# Relative to the norm: h and the final state, the gradients.
LIMITS = {FP32: (1e-5, 5e-5), FP16: (1e-3, 2e-3), BF16: (8e-3, 1.6e-2)}
CELLS = {"mingru": ("mingru", True), "minlstm": ("minlstm", True), "minlstm, raw": ("minlstm", False)}
# Each row of the kernels' table, tails in time and channels, and a time that is cut into chunks.
CHECKED = [(2, 1000, 65), (8, 130, 2048), (40, 77, 2048), (1, 20011, 200)]
SCANS = [(8, 4096, 2048, BF16), (1, 131072, 2048, BF16), (1, 131072, 512, BF16), (64, 512, 1024, BF16)]
SCANS += [(8, 4096, 2048, FP32), (1, 4096, 512, FP32)]
LAYER_SHAPES = [(8, 4096, 1024), (64, 512, 512)]
STEP_SHAPE = (64, 2048)
QUICK = {"checked": [(2, 9, 5)], "scans": [(1, 8, 4, FP32)], "layers": [(2, 8, 16)]}


def floor_bytes(cell_type: str, shape: tuple[int, int, int], itemsize: int) -> tuple[int, int]:
    """Bytes that forward and backward must move.

    >>> floor_bytes("mingru", (1, 1, 1), 2), floor_bytes("minlstm", (1, 1, 1), 4)
    ((6, 12), (16, 32))
    """
    batch, steps, channels = shape
    elements, parts = batch * steps * channels * itemsize, NUM_PARTS[cell_type]
    return (parts + 1) * elements, (2 * parts + 2) * elements


def equal_parameters(channels: int) -> int:
    """The hidden size at which nn.GRU has the weights of a minGRU of `channels`: 3 w (d + w) = 2 d^2, to eights.

    >>> equal_parameters(1024)
    472
    """
    return 8 * max(round(channels * (33**0.5 - 3) / 6 / 8), 1)


# --- right? ----------------------------------------------------------------------------------------------------------


def features_of(shape, device: str) -> list[dict]:
    """What a scan may be given besides its input: nothing, masks and resets, and packing where there is one row."""
    batch, steps, channels = shape
    generator = torch.Generator().manual_seed(steps)
    mask, resets = torch.rand(2, batch, steps, generator=generator) > torch.tensor([0.3, 0.98])[:, None, None]
    resets[:, steps // 2] = True
    some = {"attention_mask": mask, "resets": resets, "reset_state": torch.randn(channels, generator=generator)}
    out = [{}, some]
    if batch == 1:
        bounds = [0, 0, 1, steps // 3, steps - 1, steps, steps]
        out.append({**some, "cu_seqlens": torch.tensor(bounds, dtype=torch.int32)})
    return [{name: x.to(device) for name, x in made.items()} for made in out]


def values_and_gradients(projected, state, options, backend: str) -> list[torch.Tensor]:
    """`[h, final state]`, then the gradients by the input, the initial state and, where there is one, the reset state."""
    inputs = [x.detach().requires_grad_() for x in (projected, state, options.get("reset_state")) if x is not None]
    options = options | ({"reset_state": inputs[2]} if len(inputs) > 2 else {})
    outputs = minrnn_scan(inputs[0], initial_state=inputs[1], backend=backend, **options)
    # The same, already rounded, incoming gradients for every precision.
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(x.shape, generator=generator).bfloat16().to(x.device, x.dtype) for x in outputs]
    return [x.detach() for x in (*outputs, *torch.autograd.grad(outputs, inputs, weights))]


def check(backend: str, device: str, shapes) -> dict[str, list[float]]:
    """Relative errors of a backend against "torch" in float64, by case; raises `Disagreement` where one is too large."""
    errors = {}
    for shape in shapes:
        for made in features_of(shape, device):
            for i, (name, (cell_type, normalize)) in enumerate(CELLS.items()):
                batch, steps, channels = shape
                rows = len(made["cu_seqlens"]) - 1 if "cu_seqlens" in made else batch
                generator = torch.Generator().manual_seed(steps)
                wide = 2 * torch.randn(batch, steps, NUM_PARTS[cell_type] * channels, generator=generator)
                state = torch.randn(rows, channels, generator=generator).to(device)
                options = {"cell_type": cell_type, "normalize_gates": normalize, "forget_gate_floor": 0.25 * i, **made}
                for dtype, limits in LIMITS.items():
                    projected = wide.to(device, dtype)
                    exact = {n: x.double() if n == "reset_state" else x for n, x in options.items()}
                    want = values_and_gradients(projected.double(), state.double(), exact, "torch")
                    got = values_and_gradients(projected, state, options, backend)
                    case = f"{name} {shape} {str(dtype)[6:]} {'+'.join(made) or 'plain'}"
                    allowed = [*limits[:1] * 2, *limits[1:] * (len(want) - 2)]
                    errors[case] = check_agreement(f"{backend} and torch, {case},", got, want, allowed)
    return errors


# --- fast? -----------------------------------------------------------------------------------------------------------


def milliseconds(function, calls: int, device: str) -> float:
    """Of one of `calls` calls, one right after the other."""
    if device == "cpu":
        begin = time.perf_counter()
        for _ in range(calls):
            function()
        return 1e3 * (time.perf_counter() - begin) / calls
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    for _ in range(calls):
        function()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / calls


def measure(contestants: dict, rounds: int, device: str, calls: int = 5) -> dict:
    """`summary` of each function's milliseconds; every round runs each."""
    times = {name: [] for name in contestants}
    for function in contestants.values():  # compiles
        milliseconds(function, 2, device)
    for _ in range(rounds):
        for name, function in contestants.items():
            times[name].append(milliseconds(function, calls, device))
    return {name: summary(values) for name, values in times.items()}


def bench_scan(shape, dtype: torch.dtype, backend: str, device: str, rounds: int) -> dict:
    """The kernels and plain copies, with GB/s over the floor."""
    batch, steps, channels = shape
    contestants, moved = {}, {}
    for cell_type in ("mingru", "minlstm"):
        spec, (forward, backward) = ScanSpec(cell_type), OP_BACKENDS[backend]
        projected = torch.randn(batch, steps, spec.num_parts * channels, device=device).to(dtype)
        rest = (None, None, None, None, None, spec)
        h, final = forward(projected, *rest)

        def run_forward(forward=forward, projected=projected, rest=rest):
            return forward(projected, *rest)

        def run_backward(backward=backward, projected=projected, h=h, final=final, rest=rest):
            return backward(h, final, projected, h, *rest)

        for name, run, size in zip(
            (f"{cell_type} forward", f"{cell_type} backward"),
            (run_forward, run_backward),
            floor_bytes(cell_type, shape, dtype.itemsize),
        ):
            source, target = torch.empty(2, size // 2, dtype=torch.uint8, device=device)
            contestants[name], moved[name] = run, size
            contestants[f"copy, {name}"] = lambda target=target, source=source: target.copy_(source)
            moved[f"copy, {name}"] = size
    timings = measure(contestants, rounds, device)
    for name, timing in timings.items():
        timing["gb_per_s"] = moved[name] / timing["median_ms"] / 1e6
    return {"shape": list(shape), "dtype": str(dtype)[6:], "timings": timings}


def layer_step(name: str, shape, dtype: torch.dtype, device: str):
    """A function that runs a layer forward and backward and returns `(output, gradient by the input)`."""
    batch, steps, channels = shape
    torch.manual_seed(0)
    if name == "nn.GRU, equal parameters":
        layer = Layer(torch.nn.GRU(channels, equal_parameters(channels), batch_first=True), lambda y: y[0])
    else:
        layer = LAYERS[name](channels)
    layer = layer.to(device, dtype)
    x = torch.randn(batch, steps, channels, generator=torch.Generator().manual_seed(0)).to(device, dtype)
    x.requires_grad_()
    width = layer(x[:1, :2]).shape[-1]
    grad = torch.randn(batch, steps, width, generator=torch.Generator().manual_seed(1)).to(device, dtype)

    def step():
        out = layer(x)
        return out.detach(), torch.autograd.grad(out, [x, *layer.parameters()], grad)[0]

    return step


def bench_layers(shape, device: str, rounds: int) -> dict:
    """Layers that are compiled by torch and those without GPU kernels stay out: they take minutes."""
    names = [name for name in LAYERS if "compiled" not in name and name != "Mamba"]
    absent = {name: why for name in names if (why := left_out(name, shape, device))}
    names = [name for name in names if name not in absent]
    want = layer_step("minGRU", shape, FP32, device)()
    for name, limits in SAME_AS_MINGRU.items():
        if name in names:
            check_agreement(f"{name} and minGRU (h, gradient)", layer_step(name, shape, FP32, device)(), want, limits)
    steps = {}
    for name in [*names, "nn.GRU, equal parameters"]:
        try:
            step = layer_step(name, shape, BF16, device)
            step()
            steps[name] = step
        except RuntimeError as error:  # not every contestant takes bfloat16 everywhere
            if name.startswith("min"):
                raise
            absent[name] = str(error).splitlines()[0]
    return {"shape": list(shape), "dtype": "bfloat16", "left_out": absent, "timings": measure(steps, rounds, device, 2)}


def bench_step(rounds: int) -> dict:
    """A step of decoding as a kernel and in plain torch, each in a CUDA graph, without the projection."""
    projected = torch.randn(STEP_SHAPE[0], 2 * STEP_SHAPE[1], device="cuda", dtype=BF16)
    spec, state = ScanSpec("mingru"), torch.zeros(STEP_SHAPE, device="cuda")

    def plain():
        state.copy_(scan_step(projected, state, spec)[1])

    graphs = {}
    for name, step in {"step_": lambda: scan_triton.step_(projected, state, spec), "scan_step": plain}.items():
        step()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        graphs[name] = graph.replay
    return {"shape": list(STEP_SHAPE), "dtype": "bfloat16", "timings": measure(graphs, rounds, "cuda", 100)}


# --- report ----------------------------------------------------------------------------------------------------------


def table(result: dict) -> str:
    """One result for the terminal."""
    lines = [f"{tuple(result['shape'])} {result['dtype']}"]
    for name, timing in result["timings"].items():
        speed = f"{timing['gb_per_s']:9.0f} GB/s" if "gb_per_s" in timing else ""
        quartiles = f"({timing['q1_ms']:.4f} to {timing['q3_ms']:.4f})"
        lines.append(f"  {name:<28}{timing['median_ms']:10.4f} ms {quartiles:<24}{speed}")
    return "\n".join(lines + [f"  {name:<28}left out: {why}" for name, why in result.get("left_out", {}).items()])


@torch.no_grad()
def bench(backend: str, device: str, rounds: int, sizes: dict) -> dict:
    """Checks, then times; returns what `main` writes, less where it was measured."""
    with torch.enable_grad():
        out = {"relative_errors": check(backend, device, sizes["checked"]), "scan": [], "layers": [], "step": []}
    print(f"{len(out['relative_errors'])} cases agree with float64", flush=True)
    for *shape, dtype in sizes["scans"]:
        out["scan"].append(bench_scan(tuple(shape), dtype, backend, device, rounds))
        print(table(out["scan"][-1]), flush=True)
    with torch.enable_grad():
        for shape in sizes["layers"]:
            out["layers"].append(bench_layers(shape, device, rounds))
            print(table(out["layers"][-1]), flush=True)
    if device == "cuda":
        out["step"].append(bench_step(rounds))
        print(table(out["step"][-1]), flush=True)
    return out


def main(argv=None) -> dict:
    """Runs everything on the first GPU and returns what it wrote; ends with one line where there is no GPU."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=15, help="timed rounds (default: 15)")
    parser.add_argument("--quick", action="store_true", help="tiny shapes, to see that it runs; no speed to quote")
    parser.add_argument("--output", type=Path, default=RESULTS / "bench_gpu.json")
    options = parser.parse_args(argv)
    if not (torch.cuda.is_available() and scan_triton.INSTALLED):
        missing = "triton" if torch.cuda.is_available() else "a GPU that torch can use"
        raise SystemExit(f"bench_gpu.py needs a GPU and triton (pip install 'hf-minrnn[gpu]'): {missing} is missing")
    sizes = QUICK if options.quick else {"checked": CHECKED, "scans": SCANS, "layers": LAYER_SHAPES}
    with settings(torch.get_num_threads()):
        results = provenance("bench_gpu.py", argv)
        results["measured"] = "medians and quartiles of interleaved rounds, by CUDA events; layers forward + backward"
        results["triton"] = __import__("triton").__version__
        results |= {"rounds": options.rounds, **bench("triton", "cuda", options.rounds, sizes)}
    write_json(options.output, results)
    print(f"wrote {options.output}")
    return results


if __name__ == "__main__":
    main()
