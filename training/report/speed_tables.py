# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The tables of the benchmarks, each from its result file's content."""

from __future__ import annotations

from training.report.table_parts import mamba_scan, markdown, missed, shape_of, where


def _targets(entries: dict, place: str = "", small: bool = False) -> list[tuple[str, float, float, bool]]:
    return [
        (f"{name}{place}", entry["ratio"], entry["target"], small)
        for name, entry in entries.items()
        if entry["target"] is not None
    ]


def scan(result: dict) -> str:
    """Every backend of the scan: times faster than log-space, and the floor of the memory it comes to."""
    cells = ("mingru", "minlstm")
    names = [name.removeprefix("log-space / ") for name in result["results"][0]["mingru"]["ratios"]]
    header = ["(B, T, D)"]
    header += [f"{name}: log-space / {cell}" for name in names for cell in ("minGRU", "minLSTM")]
    header += ["minGRU, ms", "GB/s of the floor, forward", "forward + backward", "copy, GB/s", "MiB, ours / log-space"]
    rows, targets, best = [], [], names[-1]
    for entry in result["results"]:
        for cell in cells if result["machine"]["threads"] == 1 else ():  # what the targets are for
            targets += _targets(entry[cell]["ratios"], f", {cell}, at {shape_of(entry)}")
        both, forward, memory = (entry["mingru"][key] for key in ("forward_backward", "forward", "memory_mib"))
        ours = "torch" if best not in both else best
        rows.append(
            [
                shape_of(entry),
                *(f"{entry[cell]['ratios'][f'log-space / {name}']['ratio']:.1f}×" for name in names for cell in cells),
                f"{both[ours]['median_ms']:.2f}",
                f"{forward[ours]['floor_gb_per_s']:.1f}",
                f"{both[ours]['floor_gb_per_s']:.1f}",
                f"{entry['copies']['copy']['gb_per_s']:.1f}",
                f"{memory[ours]:.0f} / {memory['log-space']:.0f}",
            ]
        )
    added = result["dispatch"]
    return (
        markdown(header, rows)
        + missed(targets)
        + f"\nForward + backward where nothing else is said, float32, medians of interleaved rounds; from the milliseconds on "
        f"of the {best} backend. The custom op adds {added['added_forward']:.0f} µs to a forward of a tiny scan, on the "
        f"{added['backend']} backend, and "
        f"{added['added_forward_backward']:.0f} µs to forward + backward; one step without gradient goes around it and takes "
        f"{added['microseconds']['one step, around the op']:.0f} µs. {where(result)}.\n"
    )


def layers(result: dict, kept: dict, two_threads: dict) -> str:
    """Layers beside others' of equal width; ours alone where freed memory stays in the process (`kept`), and on two threads."""
    columns = {  # (other, ours) -> header
        ("nn.GRU", "minGRU"): "nn.GRU / minGRU",
        ("nn.LSTM", "minLSTM"): "nn.LSTM / minLSTM",
        ("minGRU-pytorch", "minGRU"): "minGRU-pytorch / minGRU",
        ("minGRU-pytorch, compiled", "minGRU"): "the same, compiled",
        ("associative_scan, compiled", "minGRU"): "associative_scan, compiled / minGRU",
        ("Mamba", "minGRU"): "Mamba / minGRU",
    }
    rows, targets = [], []
    for entry in result["results"]:
        ratios, times, memory = entry["ratios"], entry["layers"], entry["memory_mib"]
        targets += _targets(ratios, f" at {shape_of(entry)}")
        row = [shape_of(entry)]
        for ours in ("minGRU", "minLSTM"):
            row.append(f"{times[ours]['median_ms']:.1f}")
            row.append(f"{times[ours]['median_ms'] / times[f'matmul of {ours}']['median_ms']:.2f}")
        for other, ours in columns:
            ratio = ratios.get(f"{other} / {ours}")
            row.append("" if ratio is None else f"{ratio['ratio']:.1f}×")
        rows.append([*row, f"{memory['minGRU']:.0f} / {memory['nn.GRU']:.0f}"])
    header = ["(B, T, D)", "minGRU, ms", "of its matmul", "minLSTM, ms", "of its matmul", *columns.values()]
    stays = "Where freed memory stays in the process (`GLIBC_TUNABLES`, see the script), of the matmul"
    return (
        markdown([*header, "MiB, minGRU / nn.GRU"], rows)
        + missed(targets)
        + f"\n{stays}: {_of_matmuls(kept)}.\n"
        + f"\nOn two threads, of the matmul on two: {_of_matmuls(two_threads)}.\n"
        + f"\nForward + backward, float32, medians of interleaved rounds, the {result['backend']} backend. Empty: seconds to "
        f"minutes per call on a CPU. {mamba_scan(result)} {where(result)}.\n"
    )


def _milliseconds(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _of_matmuls(result: dict) -> str:
    cells = [
        (shape_of(entry), ours, 1 / entry["ratios"][f"matmul of {ours} / {ours}"]["ratio"])
        for entry in result["results"]
        for ours in ("minGRU", "minLSTM")
    ]
    return "; ".join(f"{ours} at {shape} {ratio:.2f}" for shape, ours, ratio in cells)


def modules(result: dict) -> str:
    """MinGRU and MinLSTM where nn.GRU and nn.LSTM stand."""
    pairs = {"MinGRU": "nn.GRU", "MinLSTM": "nn.LSTM"}
    rows, targets, slower = [], [], []
    for entry in result["results"]:
        shape, found, ratios, memory = entry["shape"], entry["modules"], entry["ratios"], entry["memory_mib"]
        name = "({batch}, {time}, {input}, {hidden})".format(**shape)
        name += f", {shape['layers']} layers" if shape["layers"] > 1 else ""
        name += ", both ways" if shape["bidirectional"] else ""
        name += ", step by step" if shape["steps"] else ""
        name += ", with gradient" if shape.get("gradient") else ""
        row = [name]
        for ours, other in pairs.items():
            sized = f"{ours}, {other}'s size"
            row += [_milliseconds(found[who]["median_ms"]) for who in (other, ours)]
            row += [f"{ratios[ours]['ratio']:.1f}×", f"{ratios[sized]['ratio']:.1f}× ({found[sized]['hidden']})"]
            if ratios[ours]["ratio"] < 1:
                slower.append(f"{ours} at {name}, {ratios[ours]['ratio']:.2f}×")
        targets += _targets(ratios, f" at {name}")
        known = memory and None not in memory.values()
        rows.append(
            [
                *row,
                " / ".join(f"{memory[who]:.0f}" for pair in pairs.items() for who in reversed(pair)) if known else "",
            ]
        )
    header = ["(B, T, input, hidden)"]
    for ours, other in pairs.items():
        header += [f"{other}, ms", f"{ours}, ms", f"{other} / {ours}", "of equal size (hidden)"]
    return (
        markdown([*header, f"MiB, {' / '.join(who for pair in pairs.items() for who in reversed(pair))}"], rows)
        + (f"\nSlower than torch's layer of equal width: {'; '.join(slower)}.\n" if slower else "")
        + missed(targets)
        + "\nForward + backward of whole sequences. Step by step: time per step, with the state carried; with gradient it "
        f"includes the backward pass. Float32, medians of interleaved rounds, the {result['backend']} backend. "
        f"Of equal size: so wide that the parameters are as many. {where(result)}.\n"
    )


def decode(result: dict) -> str:
    """Time per token and bytes of state by what was read before."""
    rows = result["contexts"]
    models = list(result["models"])
    table = []
    for context in rows["minGRU"]:
        row = [f"{int(context):,}"]
        for name in models:
            entry = rows[name].get(context)
            row.append("" if entry is None else f"{entry['median_ms']:.2f} ms, {_bytes(entry['state_bytes'])}")
        table.append(row)
    sizes = "; ".join(
        f"{name} {entry['parameters'] / 1e6:.1f} M in {entry['num_hidden_layers']} layers"
        for name, entry in result["models"].items()
    )
    alone = "; ".join(
        f"{name.removeprefix('Linears of ').removesuffix(' alone')} {entries['0']['median_ms']:.2f} ms"
        for name, entries in rows.items()
        if name.startswith("Linears of")
    )
    compiled = "; ".join(
        f"{name.removesuffix(', compiled')} {next(iter(entries.values()))['median_ms']:.2f} ms"
        for name, entries in rows.items()
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
        markdown(["tokens before", *models], table)
        + f"\nThe Linears alone: {alone}. Compiled, with {result['compiled_with']}: {compiled}.\n"
        + missed(_targets(result["ratios"], small=True))
        + f"\nOf the Linears' time, without a target: {bounds}.\n"
        + f"\nParameters: {sizes}. Batch 1, float32, medians of interleaved rounds. {where(result)}.\n"
    )


def _bytes(count: int) -> str:
    return f"{count / 1e6:,.0f} MB" if count >= 1e7 else f"{count / 1e3:,.0f} kB"


def step(result: dict) -> str:
    """Training steps: tokens per second, and the scan's share."""
    rows = [
        [name, f"{entry['tokens_per_s']:,.0f}", f"{entry['median_ms']:,.0f}"] for name, entry in result["steps"].items()
    ]
    share = result["scan_share"]
    targets = [
        (f"the scan's share, {name}", share[name]["total"], share["target"], True) for name in ("minGRU", "minLSTM")
    ]
    sizes = "; ".join(f"{name} {entry['parameters'] / 1e6:.1f} M" for name, entry in result["models"].items())
    return (
        markdown(["training step", "tokens/s", "ms"], rows)
        + f"\nThe scan's share of a step, by the profiler: minGRU {share['minGRU']['total']:.1%}, minLSTM "
        f"{share['minLSTM']['total']:.1%}.\n"
        + missed(_targets(result["ratios"]) + targets)
        + f"\n{result['batch']} × {result['time']} tokens a step. Parameters, in whole layers: {sizes}. "
        f"{where(result)}.\n"
    )


def gpu(result: dict) -> str:
    """The scan on a GPU beside plain copies of as many bytes, layers beside others' of equal width, and the targets."""
    rows, note = [], result.get("note")
    for entry in result["scan"]:
        row = [f"{tuple(entry['shape'])}, {entry['dtype']}"]
        for name in ("mingru forward", "mingru backward", "minlstm forward", "minlstm backward"):
            timing, copy = entry["timings"][name], entry["timings"][f"copy, {name}"]
            share = copy["median_ms"] / timing["median_ms"]
            row.append(f"{timing['median_ms']:.3f} ms, {timing['gb_per_s']:,.0f} GB/s, {share:.2f}")
        rows.append(row)
    header = ["(B, T, D); time, speed, of a plain copy's"]
    header += [f"{cell} {part}" for cell in ("minGRU", "minLSTM") for part in ("forward", "backward")]
    lines = [markdown(header, rows)]
    for entry in result["layers"]:
        ours = entry["timings"]["minGRU"]["median_ms"]
        layers = [
            [name, f"{timing['median_ms']:.2f}", f"{timing['median_ms'] / ours:.1f}×", f"{timing['memory_mib']:,.0f}"]
            for name, timing in entry["timings"].items()
        ]
        header = [f"layer, {tuple(entry['shape'])}, {entry['dtype']}", "ms", "of minGRU's", "MiB"]
        lines.append("\n" + markdown(header, layers))
        absent = "; ".join(f"{name} ({why})" for name, why in entry["left_out"].items())
        lines += [f"\nLeft out: {absent}.\n"] if absent else []
    for entry in result["step"]:
        times = "; ".join(f"{name} {1e3 * timing['median_ms']:.1f} µs" for name, timing in entry["timings"].items())
        lines.append(f"\nOne step of decoding, {tuple(entry['shape'])}, in a CUDA graph: {times}.\n")
    lines.append(missed(_targets(result["targets"])))
    lines += [f"\n{note}\n"] if note else []
    lines.append(
        f"\nMedians of {result['rounds']} interleaved rounds. The bytes are those that must be moved at the least; scans are "
        "timed in CUDA graphs, layers forward + backward as they are called, with what the processor takes to start them. "
        f"{result['machine']['accelerator']}; triton {result['triton']}. {where(result)}.\n"
    )
    return "".join(lines)


def generate(result: dict) -> str:
    """Time per token of `generate` and of a bare loop beside other models, what the targets say, speculative decoding."""
    ways, others = {"generate": "generate", "loop": "bare loop"}, ("Llama", "Mamba")
    rows = []
    for name, entry in result["models"].items():
        row = [name, f"{entry['parameters']:,}"]
        for way in ways:
            row.append(f"{entry[way]['median_ms']:.3f}" if way in entry else "")
            ratios = (result["ratios"].get(f"{way}: {name} / {other}") for other in others)
            row += ["" if ratio is None else f"{ratio['ratio']:.3f}" for ratio in ratios]
        rows.append(row)
    met, short = [], []
    for key, entry in result["ratios"].items():
        way, _, pair = key.partition(": ")
        name, other = pair.split(" / ")
        if entry["target"] is not None:
            said = f"{name}'s {ways[way]}, {entry['ratio']:.3f} of {other}'s where {entry['target']:g} is the target"
            (met if entry["ratio"] <= entry["target"] else short).append(said)
    header = ["model", "parameters"]
    for way in ways.values():
        header += [f"{way}, ms per token", *(f"of {other}'s" for other in others)]
    lines = [markdown(header, rows)]
    lines += [f"\nShort of this project's own targets: {'; '.join(short)}.\n"] if short else []
    lines += [f"\nWithin this project's own targets: {'; '.join(met)}.\n"] if met else []
    larger = result["speculative"]
    plain, lookup = larger["plain"], larger["lookup"]
    lines.append(
        f"\nSpeculative decoding, {larger['num_hidden_layers']} layers of {larger['hidden_size']}, on a text that repeats "
        f"itself: {lookup['median_ms']:.3f} ms per token and {lookup['forwards']} forwards with "
        f"`prompt_lookup_num_tokens={larger['prompt_lookup_num_tokens']}`, {plain['median_ms']:.3f} ms and "
        f"{plain['forwards']} without, for the same {result['new_tokens']} tokens.\n"
    )
    lines.append(
        f"\nOne layer of {result['hidden_size']} channels, {result['vocab_size']} tokens in the vocabulary; "
        f"{result['new_tokens']} greedy tokens after a prompt of {result['prompt_tokens']}, batch 1, float32, medians of "
        f"interleaved rounds. {where(result)}.\n"
    )
    return "".join(lines)
