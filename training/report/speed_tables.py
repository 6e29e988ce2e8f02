# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The tables of the benchmarks. Each function takes the content of a result file and returns Markdown."""

from __future__ import annotations

from training.common.plots import number
from training.report.table_parts import Target, mamba_scan, markdown, shape_of, target_line, where

CELLS = {"mingru": "minGRU", "minlstm": "minLSTM"}
PAIRS = {"MinGRU": "nn.GRU", "MinLSTM": "nn.LSTM"}
SIZED = "MinGRU, nn.GRU's size"
LOOPS = {"generate": "generate", "loop": "bare loop"}


def _targets(ratios: dict, place: str = "", smaller_is_better: bool = False) -> list[Target]:
    return [
        Target(f"{name}{place}", entry["ratio"], entry["target"], smaller_is_better)
        for name, entry in ratios.items()
        if entry["target"] is not None
    ]


def scan_targets(result: dict) -> list[Target]:
    """Returns the targets of training.bench.scan, which are for one thread."""
    if result["machine"]["threads"] != 1:
        return []
    return [
        target
        for entry in result["results"]
        for cell in CELLS
        for target in _targets(entry[cell]["ratios"], f", {cell}, at {shape_of(entry)}")
    ]


def scan(result: dict) -> str:
    """Every backend compared with the log-space scan, and the memory bandwidth that the fastest one reaches."""
    names = [name.removeprefix("log-space / ") for name in result["results"][0]["mingru"]["ratios"]]
    best = names[-1]
    speedups, bandwidths = [], []
    for entry in result["results"]:
        row = [shape_of(entry)]
        for name in names:
            for cell in CELLS:
                row.append(f"{entry[cell]['ratios'][f'log-space / {name}']['ratio']:.1f}×")
        speedups.append(row)
        both = entry["mingru"]["forward_backward"]
        forward = entry["mingru"]["forward"]
        memory = entry["mingru"]["memory_mib"]
        ours = best if best in both else "torch"
        bandwidths.append(
            [
                shape_of(entry),
                f"{both[ours]['median_ms']:.2f}",
                f"{forward[ours]['floor_gb_per_s']:.1f}",
                f"{both[ours]['floor_gb_per_s']:.1f}",
                f"{entry['copies']['copy']['gb_per_s']:.1f}",
                f"{memory[ours]:.0f} / {memory['log-space']:.0f}",
            ]
        )
    header = ["(B, T, D)", *(f"log-space / {name}, {cell}" for name in names for cell in CELLS.values())]
    bandwidth_header = ["(B, T, D)", f"minGRU with {best}, ms", "forward, GB/s", "forward + backward, GB/s"]
    bandwidth_header += ["plain copy, GB/s", f"MiB, {best} / log-space"]
    added = result["dispatch"]
    return (
        markdown(header, speedups)
        + "\n"
        + markdown(bandwidth_header, bandwidths)
        + target_line(scan_targets(result))
        + "\nRatios and milliseconds are for forward + backward. GB/s counts the bytes that must be moved at least. Float32, "
        f"medians of interleaved rounds. The custom op adds {added['added_forward']:.0f} µs "
        f"to a forward of a tiny scan, on the {added['backend']} backend, and {added['added_forward_backward']:.0f} µs to "
        f"forward + backward. One step without gradient bypasses the op and takes "
        f"{added['microseconds']['one step, around the op']:.0f} µs. {where(result)}.\n"
    )


def layers_targets(result: dict) -> list[Target]:
    """Returns the targets of training.bench.layers."""
    return [target for entry in result["results"] for target in _targets(entry["ratios"], f" at {shape_of(entry)}")]


def layers(result: dict, kept: dict, two_threads: dict) -> str:
    """Layers of equal width from several packages.

    Args:
        result (`dict`): All layers, on one thread.
        kept (`dict`): Our layers alone, where freed memory stays in the process.
        two_threads (`dict`): Our layers alone, on two threads.
    """
    columns = {  # (other, ours) -> header
        ("nn.GRU", "minGRU"): "nn.GRU / minGRU",
        ("nn.LSTM", "minLSTM"): "nn.LSTM / minLSTM",
        ("minGRU-pytorch", "minGRU"): "minGRU-pytorch / minGRU",
        ("minGRU-pytorch, compiled", "minGRU"): "the same, compiled",
        ("associative_scan, compiled", "minGRU"): "associative_scan, compiled / minGRU",
        ("Mamba", "minGRU"): "Mamba / minGRU",
    }
    ratio_rows, time_rows = [], []
    for entry in result["results"]:
        times, memory = entry["layers"], entry["memory_mib"]
        ratios = [entry["ratios"].get(f"{other} / {ours}") for other, ours in columns]
        ratio_rows.append([shape_of(entry), *("" if found is None else f"{found['ratio']:.1f}×" for found in ratios)])
        row = [shape_of(entry)]
        for ours in ("minGRU", "minLSTM"):
            row.append(f"{times[ours]['median_ms']:.1f}")
            row.append(f"{times[ours]['median_ms'] / times[f'matmul of {ours}']['median_ms']:.2f}")
        time_rows.append([*row, f"{memory['minGRU']:.0f} / {memory['nn.GRU']:.0f}"])
    header = ["(B, T, D)", "minGRU, ms", "minGRU / its matmul", "minLSTM, ms", "minLSTM / its matmul"]
    return (
        markdown(["(B, T, D)", *columns.values()], ratio_rows)
        + "\n"
        + markdown([*header, "MiB, minGRU / nn.GRU"], time_rows)
        + target_line(layers_targets(result))
        + "\nLayer / its matmul, where freed memory stays in the process (with `GLIBC_TUNABLES`, see the script): "
        f"{_of_matmuls(kept)}.\n"
        f"\nLayer / its matmul, both on two threads: {_of_matmuls(two_threads)}.\n"
        f"\nForward + backward, float32, medians of interleaved rounds, {result['backend']} backend. Empty cells would take "
        f"seconds to minutes per call on a CPU. {mamba_scan(result)} {where(result)}.\n"
    )


def _of_matmuls(result: dict) -> str:
    cells = [
        (shape_of(entry), ours, 1 / entry["ratios"][f"matmul of {ours} / {ours}"]["ratio"])
        for entry in result["results"]
        for ours in ("minGRU", "minLSTM")
    ]
    return "; ".join(f"{ours} at {shape} {ratio:.2f}" for shape, ours, ratio in cells)


def _module_shape(shape: dict) -> str:
    name = "({batch}, {time}, {input}, {hidden})".format(**shape)
    if shape["layers"] > 1:
        name += f", {shape['layers']} layers"
    if shape["bidirectional"]:
        name += ", bidirectional"
    if shape["steps"]:
        name += ", step by step"
    if shape.get("gradient"):
        name += ", with gradient"
    return name


def modules_targets(result: dict) -> list[Target]:
    """Returns the targets of training.bench.modules."""
    return [
        target
        for entry in result["results"]
        for target in _targets(entry["ratios"], f" at {_module_shape(entry['shape'])}")
    ]


def modules(result: dict) -> str:
    """MinGRU and MinLSTM compared with nn.GRU and nn.LSTM."""
    text = ""
    slower = []
    for ours, other in PAIRS.items():
        rows = []
        sized = f"{ours}, {other}'s size"
        for entry in result["results"]:
            name = _module_shape(entry["shape"])
            found = entry["modules"]
            ratios = entry["ratios"]
            memory = entry["memory_mib"]
            row = [name, *(number(found[who]["median_ms"]) for who in (other, ours))]
            row.append(f"{ratios[ours]['ratio']:.1f}×")
            row.append(f"{ratios[sized]['ratio']:.1f}× ({found[sized]['hidden']})")
            known = memory and None not in memory.values()
            row.append(f"{memory[other]:.0f} / {memory[ours]:.0f}" if known else "")
            rows.append(row)
            if ratios[ours]["ratio"] < 1:
                slower.append(f"{ours} at {name}, {ratios[ours]['ratio']:.2f}×")
        header = ["(B, T, input, hidden)", f"{other}, ms", f"{ours}, ms", f"{other} / {ours}"]
        header += ["with equal parameters (hidden)", f"MiB, {other} / {ours}"]
        text += markdown(header, rows) + "\n"
    if slower:
        text += f"Slower than torch's layer of equal width: {'; '.join(slower)}.\n"
    return (
        text
        + target_line(modules_targets(result))
        + "\nWhole sequences: forward + backward. Step by step: time per step, with the state carried over; with gradient it "
        "includes the backward pass. With equal parameters: ours is as wide as the number of parameters of torch's layer "
        f"allows. Float32, medians of interleaved rounds, {result['backend']} backend. {where(result)}.\n"
    )


def decode_targets(result: dict) -> list[Target]:
    """Returns the targets of training.bench.decode."""
    return _targets(result["ratios"], smaller_is_better=True)


def decode(result: dict) -> str:
    """Time per token and size of the state by number of tokens read."""
    contexts = result["contexts"]
    models = list(result["models"])
    table = []
    for context in contexts["minGRU"]:
        row = [f"{int(context):,}"]
        for name in models:
            entry = contexts[name].get(context)
            row.append("" if entry is None else f"{entry['median_ms']:.2f} ms, {_bytes(entry['state_bytes'])}")
        table.append(row)
    sizes = "; ".join(
        f"{name} {entry['parameters'] / 1e6:.1f} M in {entry['num_hidden_layers']} layers"
        for name, entry in result["models"].items()
    )
    alone = "; ".join(
        f"{name.removeprefix('Linears of ').removesuffix(' alone')} {entries['0']['median_ms']:.2f} ms"
        for name, entries in contexts.items()
        if name.startswith("Linears of")
    )
    compiled = "; ".join(
        f"{name.removesuffix(', compiled')} {next(iter(entries.values()))['median_ms']:.2f} ms"
        for name, entries in contexts.items()
        if name.endswith(", compiled")
    )
    untargeted = {}
    for name, entry in result["ratios"].items():
        if entry["target"] is None:
            untargeted.setdefault(name.partition(" / ")[0], []).append(entry["ratio"])
    bounds = "; ".join(
        f"{name} {' to '.join(dict.fromkeys(f'{bound:.2f}' for bound in (min(found), max(found))))}"
        for name, found in untargeted.items()
    )
    return (
        markdown(["tokens read", *models], table)
        + f"\nTime of the Linears alone: {alone}. Compiled, with {result['compiled_with']}: {compiled}.\n"
        + target_line(decode_targets(result))
        + f"\nModel / its Linears, without a target: {bounds}.\n"
        + f"\nParameters: {sizes}. Batch 1, float32, medians of interleaved rounds. {where(result)}.\n"
    )


def _bytes(count: int) -> str:
    return f"{count / 1e6:,.0f} MB" if count >= 1e7 else f"{count / 1e3:,.0f} kB"


def step_targets(result: dict) -> list[Target]:
    """Returns the targets of training.bench.step."""
    share = result["scan_share"]
    shares = [
        Target(f"the scan's share, {name}", share[name]["total"], share["target"], smaller_is_better=True)
        for name in CELLS.values()
    ]
    return _targets(result["ratios"]) + shares


def step(result: dict) -> str:
    """Tokens per second of whole training steps, and the share of the scan."""
    rows = [
        [name, f"{entry['tokens_per_s']:,.0f}", f"{entry['median_ms']:,.0f}"] for name, entry in result["steps"].items()
    ]
    shares = ", ".join(f"{name} {result['scan_share'][name]['total']:.1%}" for name in CELLS.values())
    sizes = "; ".join(f"{name} {entry['parameters'] / 1e6:.1f} M" for name, entry in result["models"].items())
    return (
        markdown(["training step", "tokens/s", "ms"], rows)
        + f"\nThe scan's share of a step, measured by the profiler: {shares}.\n"
        + target_line(step_targets(result))
        + f"\n{result['batch']} × {result['time']} tokens per step. Parameters, in whole layers: {sizes}. "
        f"{where(result)}.\n"
    )


def gpu_targets(result: dict) -> list[Target]:
    """Returns the targets of training.bench.gpu."""
    return _targets(result["targets"])


def gpu(result: dict) -> str:
    """The scan on a GPU compared with plain copies of as many bytes, and layers of equal width."""
    rows = []
    for entry in result["scan"]:
        row = [f"{tuple(entry['shape'])}, {entry['dtype']}"]
        for name in ("mingru forward", "mingru backward", "minlstm forward", "minlstm backward"):
            timing = entry["timings"][name]
            copy = entry["timings"][f"copy, {name}"]
            share = copy["median_ms"] / timing["median_ms"]
            row.append(f"{timing['median_ms']:.3f} ms, {timing['gb_per_s']:,.0f} GB/s, {share:.2f}")
        rows.append(row)
    header = ["(B, T, D)", *(f"{cell} {part}" for cell in CELLS.values() for part in ("forward", "backward"))]
    lines = [markdown(header, rows)]
    lines.append("\nEach cell: time, bandwidth, and speed as a share of a plain copy's speed.\n")
    for entry in result["layers"]:
        ours = entry["timings"]["minGRU"]["median_ms"]
        layer_rows = [
            [name, f"{timing['median_ms']:.2f}", f"{timing['median_ms'] / ours:.1f}×", f"{timing['memory_mib']:,.0f}"]
            for name, timing in entry["timings"].items()
        ]
        header = [f"layer, {tuple(entry['shape'])}, {entry['dtype']}", "ms", "layer / minGRU", "MiB"]
        lines.append("\n" + markdown(header, layer_rows))
        if entry["left_out"]:
            absent = "; ".join(f"{name} ({why})" for name, why in entry["left_out"].items())
            lines.append(f"\nLeft out: {absent}.\n")
    for entry in result["step"]:
        times = "; ".join(f"{name} {1e3 * timing['median_ms']:.1f} µs" for name, timing in entry["timings"].items())
        lines.append(f"\nOne step of decoding, {tuple(entry['shape'])}, in a CUDA graph: {times}.\n")
    lines.append(target_line(gpu_targets(result)))
    if "note" in result:
        lines.append(f"\n{result['note']}\n")
    lines.append(
        f"\nMedians of {result['rounds']} interleaved rounds. Bandwidth counts the bytes that must be moved at least. Scans "
        "are timed in CUDA graphs. Layers are timed as they are called, forward + backward, including the processor's time to "
        f"launch kernels. {result['machine']['accelerator']}; triton {result['triton']}. {where(result)}.\n"
    )
    return "".join(lines)


def generate_targets(result: dict) -> list[Target]:
    """Returns the targets of training.bench.generate."""
    targets = []
    for key, entry in result["ratios"].items():
        loop, _, pair = key.partition(": ")
        if entry["target"] is not None:
            targets.append(Target(f"{LOOPS[loop]}, {pair}", entry["ratio"], entry["target"], True, digits=3))
    return targets


def generate(result: dict) -> str:
    """Time per token of `generate` and of a bare loop for several models, and speculative decoding."""
    rows = []
    others = ("Llama", "Mamba")
    for name, entry in result["models"].items():
        row = [name, f"{entry['parameters']:,}"]
        for loop in LOOPS:
            row.append(f"{entry[loop]['median_ms']:.3f}" if loop in entry else "")
            ratios = (result["ratios"].get(f"{loop}: {name} / {other}") for other in others)
            row += ["" if ratio is None else f"{ratio['ratio']:.3f}" for ratio in ratios]
        rows.append(row)
    header = ["model", "parameters"]
    for loop in LOOPS.values():
        header += [f"{loop}, ms per token", *(f"/ {other}" for other in others)]
    wanted = dict.fromkeys(
        f"{loop} {entry['target']:g}"
        for key, entry in result["ratios"].items()
        for loop in [LOOPS[key.partition(": ")[0]]]
        if entry["target"] is not None
    )
    larger = result["speculative"]
    plain = larger["plain"]
    lookup = larger["lookup"]
    return (
        markdown(header, rows)
        + target_line(generate_targets(result))
        + (f"\nTargets for ours / theirs, at most: {', '.join(wanted)}.\n" if wanted else "")
        + f"\nSpeculative decoding of a text that repeats itself, {larger['num_hidden_layers']} layers of "
        f"{larger['hidden_size']}: {lookup['median_ms']:.3f} ms per token and {lookup['forwards']} forwards with "
        f"`prompt_lookup_num_tokens={larger['prompt_lookup_num_tokens']}`; {plain['median_ms']:.3f} ms and "
        f"{plain['forwards']} forwards without. Both give the same {result['new_tokens']} tokens.\n"
        + f"\nOne layer of {result['hidden_size']} channels, {result['vocab_size']} tokens in the vocabulary, "
        f"{result['new_tokens']} greedy tokens after a prompt of {result['prompt_tokens']}, batch 1, float32, medians of "
        f"interleaved rounds. {where(result)}.\n"
    )


def calls_targets(result: dict) -> list[Target]:
    """Returns the targets of training.bench.call_counts, which are for minGRU."""
    counted = result["contestants"]["minGRU"]
    return [
        Target(f"calls in hf_minrnn, {case}", counted[case]["hf_minrnn"]["calls"], limit, True, digits=0)
        for case, limit in result["limits"].items()
    ]


def calls(result: dict) -> str:
    """Python calls of models of one layer."""
    rows = [
        [f"{name}, {case}", f"{entry['calls']}", f"{entry['hf_minrnn']['calls']}", f"{entry['transformers']['calls']}"]
        for name, entries in result["contestants"].items()
        for case, entry in entries.items()
    ]
    return (
        markdown(["model and call", "Python calls", "in hf_minrnn", "in transformers"], rows)
        + target_line(calls_targets(result))
        + f"\n{result['measured']}. {where(result)}.\n"
    )


def speed(modules: dict, layers: dict, decode: dict, gpu: dict) -> str:
    """The most important ratios of four benchmarks, for the README."""
    rows, equal = [], []

    def add(what: str, shape: str, ours: float, baseline: str, theirs: float, ratio: float) -> None:
        rows.append([what, shape, f"{number(ours)} ms", f"{baseline} {number(theirs)} ms", _times(ratio)])

    for batch, time, hidden in ((8, 512, 256), (4, 4096, 128)):
        entry = next(entry for entry in modules["results"] if _plain_shape(entry["shape"]) == (batch, time, hidden))
        found = entry["modules"]
        ratios = entry["ratios"]
        times = [found[name]["median_ms"] for name in ("MinGRU", "nn.GRU")]
        shape = f"({batch}, {time}, {hidden})"
        add("train `MinGRU`", shape, times[0], "`nn.GRU`", times[1], ratios["MinGRU"]["ratio"])
        equal.append(f"{_times(ratios[SIZED]['ratio'])} at {time:,} steps")
    entry = next(entry for entry in layers["results"] if shape_of(entry) == "(8, 512, 512)")
    times = [entry["layers"][name]["median_ms"] for name in ("minGRU", "minGRU-pytorch")]
    ratio = entry["ratios"]["minGRU-pytorch / minGRU"]["ratio"]
    add("train a minGRU layer", shape_of(entry), times[0], "minGRU-pytorch", times[1], ratio)
    ours = decode["contexts"]["minGRU"]
    llama = decode["contexts"]["Llama"]
    context = list(llama)[-1]
    times = [contexts[context]["median_ms"] for contexts in (ours, llama)]
    size = f"{decode['models']['minGRU']['parameters'] / 1e6:.0f} M parameters"
    add(f"generate a token after {int(context):,}", size, times[0], "Llama", times[1], times[1] / times[0])
    timings = gpu["layers"][0]["timings"]
    shape = f"{tuple(gpu['layers'][0]['shape'])}"
    times = [timings[name]["median_ms"] for name in ("minGRU", "nn.GRU", "nn.GRU, equal parameters")]
    add("train a minGRU layer on a GPU", shape, times[0], "cuDNN's GRU", times[1], times[1] / times[0])
    equal.append(f"{_times(times[2] / times[0])} on the GPU")
    start = f"{ours['0']['median_ms']:.1f} ms, and {llama['0']['median_ms']:.1f} ms"
    processors = "; ".join(dict.fromkeys(where(result) for result in (modules, layers, decode)))
    return (
        markdown(["what", "(batch, time, width)", "ours", "baseline", "ratio"], rows)
        + "\nTraining is forward + backward of layers of equal width. With equal parameters the ratio to `nn.GRU` is "
        f"{', '.join(equal)}. The first token takes {start} with Llama.\n"
        f"\nCPU: {processors}. GPU: {gpu['machine']['accelerator']}, bfloat16, torch {gpu['versions']['torch']}.\n"
    )


def _plain_shape(shape: dict) -> tuple[int, int, int] | None:
    """Returns batch, time and hidden size of whole sequences through one layer in one direction, else `None`."""
    if shape["layers"] > 1 or shape["bidirectional"] or shape["steps"]:
        return None
    return shape["batch"], shape["time"], shape["hidden"]


def _times(ratio: float) -> str:
    return f"{ratio:.0f}×" if ratio >= 20 else f"{ratio:.1f}×"
