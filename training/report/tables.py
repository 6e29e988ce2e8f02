# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Writes the tables of README.md, training/README.md and training/LOG.md from the files in training/results/.

    python -m training.report.tables            # after a benchmark or a run has left new results there

A table stands between `<!-- table NAME -->` and `<!-- end -->`; everything else in the files is left alone. A test checks
that the committed tables are what this script writes.
"""

from __future__ import annotations

import argparse
import json
import re

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

from training.common.files import write_text
from training.common.paths import RESULTS, ROOT
from training.report import ablation_report, claims_table, paper_speed_table, paper_tables, speed_tables
from training.report.table_parts import markdown, where

DOCUMENTS = (ROOT / "README.md", ROOT / "training" / "README.md", ROOT / "training" / "LOG.md")
LAYERS = ("bench_layers", "bench_layers_kept_memory", "bench_layers_2_threads")
# Tables of bench_<name>.json, which have targets.
SPEED = ("scan", "layers", "modules", "decode", "step", "generate", "gpu")
DEFAULTS_TASKS = {
    "waves": "waves, accuracy",
    "vowels": "vowels, accuracy",
    "forecast": "forecast, error",
    "cartpole": "CartPole, return",
}
MARK = re.compile(r"(<!-- table (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def load(name: str) -> dict:
    """A result file by its stem."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def load_presets(name: str) -> dict[str, dict]:
    """The result files of an experiment by preset, those that are there; see rows.py."""
    stems = {preset: name + ("" if preset == "full" else f"_{preset}") for preset in paper_tables.PRESETS}
    return {preset: load(stem) for preset, stem in stems.items() if (RESULTS / f"{stem}.json").exists()}


def main_table() -> str:
    """Held-out bits per byte of both cells beside the compressors and the 5-gram."""
    runs = {"minGRU": load("stdlib-mingru"), "minLSTM": load("stdlib-minlstm")}
    first = runs["minGRU"]
    gzip = first["baselines"]["gzip -9"]["bits_per_byte"]
    entries = [(name, run["metrics"]["heldout_bits_per_byte"], run["parse_shares"][name]) for name, run in runs.items()]
    for name, baseline in first["baselines"].items():
        entries.append((name, baseline["bits_per_byte"], first["parse_shares"].get(name)))
    rows = []
    for name, bits, share in sorted(entries, key=lambda entry: entry[1]):
        shown = f"**{name}**" if name in runs else name
        rows.append([shown, f"{bits:.3f}", f"{bits / gzip:.2f}", "" if share is None else f"{share:.0%}"])
    rows.append(["real files, cut alike", "", "", f"{first['parse_shares']['real text, cut alike']:.0%}"])
    lines = [markdown(["held-out text", "bits per byte", "of gzip's", "snippets that parse"], rows)]
    for name, run in runs.items():
        metrics = run["metrics"]
        lines.append(
            f"\n{name}: {metrics['parameters'] / 1e6:.2f} M parameters, {metrics['steps']:,} steps, "
            f"{metrics['train_tokens'] / 1e6:.1f} M tokens in {metrics['train_seconds']:.0f} s of training "
            f"({metrics['train_tokens_per_second']:,.0f} tokens/s); tokenizing took "
            f"{metrics['tokenizer_seconds'] + metrics['encode_seconds']:.0f} s.\n"
        )
    data = first["data"]
    lines.append(
        f"\n{data['train_bytes'] / 1e6:.2f} MB to train on, {data['heldout_bytes'] / 1e3:.0f} kB held out; "
        f"{first['metrics']['snippets']} snippets each. {where(first)}.\n"
    )
    return "".join(lines)


def verdict_cell(ways: dict) -> str:
    """A mode's verdicts in a few words; of several that are alike the worst, of several that are not each with its ways.

    >>> verdict_cell({"a": {"verdict": "exact", "difference": 0.0}, "b": {"verdict": "refused", "error": "..."}})
    'a: exact; b: refused'
    """
    groups = {}
    for way, entry in ways.items():
        groups.setdefault(entry["verdict"], []).append(way)
    parts = []
    for verdict, members in groups.items():
        text = verdict
        if verdict == "wrong":
            found = [ways[way]["difference"] for way in members if ways[way]["difference"] is not None]
            text = f"wrong ({max(found):.2f})" if found else "wrong"
        parts.append(text if len(groups) == 1 else f"{', '.join(members)}: {text}")
    return "; ".join(parts)


def modes_table() -> str:
    """Verdicts on recurrent language models, mode by mode."""
    result = load("compare_modes")
    names = list(next(iter(result["models"].values()))["modes"])
    rows = [[name, *(verdict_cell(entry["modes"][mode]) for mode in names)] for name, entry in result["models"].items()]
    return markdown(["model", *names], rows) + (
        "\nIn parentheses the largest difference of logits relative to the largest logit, or the share of tokens that "
        f"differ. Float32 in plain torch, no optional kernels. {where(result)}.\n"
    )


def value_text(entry) -> str:
    """One value of a result file in a few words: a verdict, several, a number or a list of names.

    >>> value_text({"verdict": "wrong", "difference": 0.314}), value_text(0.0019765), value_text(["float32"])
    ('wrong (0.31)', '0.002', 'float32')
    """
    if isinstance(entry, float):
        return f"{entry:.2g}"
    if isinstance(entry, list):
        return ", ".join(entry)
    return verdict_cell({"": entry} if "verdict" in entry else entry)


def feature_text(cell: dict) -> str:
    """What a cell of features.json says, with the values it takes from a result file in place."""
    values = []
    for path in cell.get("values", ()):
        entry = load(cell["result"])
        for key in path:
            entry = entry[key]
        values.append(value_text(entry))
    return cell["says"].format(*values)


def feature_link(cell: dict) -> str:
    """Where a cell's link leads and, for a test, the test's name as its title."""
    evidence = cell.get("evidence")
    if evidence is None:
        return f"training/results/{cell['result']}.json"
    path, _, test = evidence.partition("::")
    return f'{path} "{test}"' if test else path


def features_table() -> str:
    """Features beside other projects, each cell linked to what shows it."""
    result = load("features")
    labels, rows = {}, []
    for feature, cells in result["rows"].items():
        row = [feature]
        for project in result["projects"]:
            text, link = feature_text(cells[project]), feature_link(cells[project])
            row.append(f"[{text}][{labels.setdefault(link, f'f{len(labels) + 1}')}]")
        rows.append(row)
    projects = result["projects"].values()
    table = markdown(["", *(project["title"] for project in projects)], rows, side=":--")
    read = ", ".join(project["version"] for project in projects)
    links = "".join(f"[{label}]: {link}\n" for link, label in labels.items())
    return f"{table}\nAs of {result['as_of']}: {read}. {where(load('compare_features'))}.\n\n{links}"


def forecast_table() -> str:
    """Errors of the forecasts by horizon, parameters and training time."""
    result = load("forecast")
    rows = [[name, "", "", "", *(f"{e:.3f}" for e in entry["errors"])] for name, entry in result["baselines"].items()]
    for name, entry in result["models"].items():
        scores = [f"{e:.3f} ± {d:.3f}" for e, d in zip(entry["errors"], entry["deviations"])]
        seconds = [run["seconds"] for run in entry["runs"] if run["rate"] == entry["rate"]]
        time = paper_tables.spread(seconds, digits=0 if entry["seconds"] > 9.5 else 1)
        size = [f"{entry['layers']} × {entry['width']}", f"{entry['parameters']:,}", time]
        rows.append([name, *size, *scores])
    header = ["", "layers × width", "parameters", "training, processor s", *(f"{h} ahead" for h in result["horizons"])]
    options = result["options"]
    return markdown(header, rows) + (
        f"\nRoot mean square error over the series' deviation, mean and deviation of {options['seeds']} seeds; "
        f"{options['steps']} steps, {options['longer'] * options['steps']} where it says longer. {where(result)}.\n"
    )


def rl_table() -> str:
    """Score, time and parameters of the CartPole policies."""
    result = load("rl_cartpole")
    rows = []
    for name, entry in result["summary"].items():
        cells = [f"{entry[key]['mean']:.0f} ± {entry[key]['deviation']:.0f}" for key in ("score", "greedy")]
        times = ("update_seconds", "all_seconds")
        cells += [f"{entry[key]['mean']:.1f} ± {entry[key]['deviation']:.1f}" for key in times]
        sizes = [f"{entry[key]:,}" for key in ("parameters", "recurrent_parameters")]
        rows.append([{"mingru": "MinGRU", "gru": "nn.GRU"}[name], *cells, *sizes])
    header = ["", "score", "greedy", "updates, processor s", "all, processor s", "parameters", "recurrent ones"]
    return markdown(header, rows) + f"\n{result['measured'].capitalize()}. {where(result)}.\n"


def setting_title(settings: dict) -> str:
    """A contestant of layer_defaults.py.

    >>> setting_title({"layer": "nn.GRU", "setting": None})
    'nn.GRU'
    >>> given = {"candidate_activation": "identity", "floors": [0.0, 0.9], "gate_bias": 1.0}
    >>> setting_title({"layer": "MinGRU", "setting": "x", **given})
    'MinGRU, identity, floors 0 to 0.9, bias 1'
    """
    if settings["setting"] is None:
        return settings["layer"]
    first, last = settings["floors"]
    floors = f"floor {first:g}" if first == last else f"floors {first:g} to {last:g}"
    bias = settings["gate_bias"]
    bias = f"{bias[0]:g} to {bias[1]:g}" if isinstance(bias, list) else f"{bias:g}"
    return f"{settings['layer']}, {settings['candidate_activation']}, {floors}, bias {bias}"


def defaults_table() -> str:
    """Settings of MinGRU and MinLSTM beside nn.GRU and nn.LSTM on the tasks of layer_defaults.py."""
    rows = list(load("layer_defaults")["rows"].values())
    found = {(setting_title(row["settings"]), row["settings"]["task"]): row for row in rows}
    header = ["", *(cell for task in DEFAULTS_TASKS for cell in (DEFAULTS_TASKS[task], "s"))]
    limits = (f"{found['nn.GRU', task]['parameters']:,}" for task in DEFAULTS_TASKS)
    lines = [["parameters, at most", *(cell for limit in limits for cell in (limit, ""))]]
    layers = ("nn.GRU", "nn.LSTM", "MinGRU", "MinLSTM")
    for name in sorted(dict.fromkeys(name for name, _ in found), key=lambda name: layers.index(name.split(",")[0])):
        line = [name]
        for task in DEFAULTS_TASKS:
            row, digits = found.get((name, task)), 0 if task == "cartpole" else 3
            if row is None:
                line += ["", ""]
            else:
                line += [f"{row['median']:.{digits}f} ({row['worst']:.{digits}f})", f"{row['seconds']:.1f}"]
        lines.append(line)
    return markdown(header, lines) + (
        f"\nMedian and, in parentheses, worst of {len(rows[0]['settings']['seeds'])} seeds; s: processor seconds of one "
        f"run. {where(rows[0])}.\n"
    )


def sweep_table(group: str) -> str:
    """The runs of one group of sweep.py, best first."""
    runs = sorted(load(f"sweep_{group}")["runs"].items(), key=lambda item: item[1]["heldout_bits_per_byte"])
    rows = [
        [
            name,
            f"{run['heldout_bits_per_byte']:.3f}",
            f"{run['parameters'] / 1e6:.2f}",
            f"{run['steps']:,}",
            f"{run['train_tokens'] / 1e6:.2f}",
            f"{run['train_tokens_per_second']:,.0f}",
            f"`{run['arguments']}`",
        ]
        for name, run in runs
    ]
    header = ["run", "bits per byte", "M parameters", "steps", "M tokens", "tokens/s", "arguments"]
    return markdown(header, rows) + f"\n{where(runs[0][1])}.\n"


def ablation_table() -> str:
    """What each option of the block is worth, on every corpus that has been run, and its plot."""
    corpora = ("bytes", "bpe", "shakespeare")
    found = {name: load(f"ablation_{name}") for name in corpora if (RESULTS / f"ablation_{name}.json").exists()}
    if not found:
        return "No run has been made yet.\n"
    plots = (f"![bits per byte of every block, {name}](results/ablation_{name}.png)\n" for name in found)
    return "\n".join([ablation_report.table(found), *plots])


def missed_table() -> str:
    """The lines of the speed tables that say which targets were not reached."""
    lines = []
    for name in SPEED:
        if (RESULTS / f"bench_{name}.json").exists():
            said = re.findall(r"^(?:Targets of this project's own|Short of .*?): (.*)$", TABLES[name](), re.MULTILINE)
            lines += [f"- `bench_{name}.py`: {line}\n" for line in said if not line.endswith("reached.")]
    return "".join(lines)


TABLES = {
    "main": main_table,
    "scan": lambda: speed_tables.scan(load("bench_scan")),
    "layers": lambda: speed_tables.layers(*map(load, LAYERS)),
    "modules": lambda: speed_tables.modules(load("bench_modules")),
    "scan-2-threads": lambda: speed_tables.scan(load("bench_scan_2_threads")),
    "modules-2-threads": lambda: speed_tables.modules(load("bench_modules_2_threads")),
    "decode": lambda: speed_tables.decode(load("bench_decode")),
    "step": lambda: speed_tables.step(load("bench_step")),
    "generate": lambda: speed_tables.generate(load("bench_generate")),
    "gpu": lambda: speed_tables.gpu(load("bench_gpu")),
    "missed": missed_table,
    "claims": lambda: claims_table.table(
        {"CPU": load("bench_paper"), "H100": load("bench_paper_gpu")},
        load_presets("selective_copying"),
        load_presets("shakespeare"),
    ),
    "paper-speed": lambda: paper_speed_table.table(load("bench_paper")),
    "paper-speed-gpu": lambda: paper_speed_table.table(load("bench_paper_gpu")),
    "modes": modes_table,
    "features": features_table,
    "forecast": forecast_table,
    "rl": rl_table,
    "layer-defaults": defaults_table,
    "selective-copying": lambda: paper_tables.copying(load_presets("selective_copying")),
    "chomsky": lambda: paper_tables.chomsky(load_presets("chomsky_tasks")),
    "recall": lambda: paper_tables.recall(load_presets("recall")),
    "shakespeare": lambda: paper_tables.shakespeare(load_presets("shakespeare")),
    "sweep-main": lambda: sweep_table("main"),
    "ablation": ablation_table,
}


def render(text: str) -> str:
    """A document with its tables written anew.

    Raises:
        KeyError: For a table that is not in `TABLES`, or a result file that lacks a number.
        FileNotFoundError: For a missing result file.
    """
    return MARK.sub(lambda match: f"{match[1]}\n{TABLES[match[2]]()}\n{match[3]}", text)


def main(argv: list[str] | None = None) -> None:
    """Renders all documents in place."""
    argparse.ArgumentParser(prog="python -m training.report.tables", description=__doc__.splitlines()[0]).parse_args(
        argv
    )
    for path in DOCUMENTS:
        rendered = render(path.read_text(encoding="utf-8"))
        write_text(path, rendered)
        print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
