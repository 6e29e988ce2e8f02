# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The tables of the language models and of the studies. Each function takes the content of result files."""

from __future__ import annotations

import shlex
from collections.abc import Callable

from training.report.paper_tables import spread
from training.report.table_parts import markdown, where
from training.studies.modes import verdict_cell

# Headers of the columns of layer_defaults, by task: the task and its metric.
DEFAULTS_TASKS = {
    "waves": "waves, accuracy",
    "vowels": "vowels, accuracy",
    "forecast": "forecast, error",
    "cartpole": "CartPole, return",
}
EXACT_MODELS = ("minGRU", "Mamba", "Mamba2", "Qwen3-Next")
EXACT_MODES = ("right padding", "packing", "chunked prefill", "speculative decoding")


def language_models(runs: dict[str, dict]) -> str:
    """Held-out bits per byte of both cells, the compressors and the 5-gram model.

    Args:
        runs: Result files of the main job, by cell.
    """
    first = next(iter(runs.values()))
    gzip = first["baselines"]["gzip -9"]["bits_per_byte"]
    entries = [(name, run["metrics"]["heldout_bits_per_byte"], run["parse_shares"][name]) for name, run in runs.items()]
    for name, baseline in first["baselines"].items():
        entries.append((name, baseline["bits_per_byte"], first["parse_shares"].get(name)))
    rows = []
    for name, bits, share in sorted(entries, key=lambda entry: entry[1]):
        shown = f"**{name}**" if name in runs else name
        rows.append([shown, f"{bits:.3f}", f"{bits / gzip:.2f}", "" if share is None else f"{share:.0%}"])
    rows.append(["real files, cut the same way", "", "", f"{first['parse_shares']['real text, cut alike']:.0%}"])
    lines = [markdown(["held-out text", "bits per byte", "/ gzip's", "snippets that parse"], rows)]
    for name, run in runs.items():
        metrics = run["metrics"]
        lines.append(
            f"\n{name}: {metrics['parameters'] / 1e6:.2f} M parameters, {metrics['steps']:,} steps, "
            f"{metrics['train_tokens'] / 1e6:.1f} M tokens in {metrics['train_seconds']:.0f} s of training "
            f"({metrics['train_tokens_per_second']:,.0f} tokens/s). Tokenizing took "
            f"{metrics['tokenizer_seconds'] + metrics['encode_seconds']:.0f} s.\n"
        )
    data = first["data"]
    lines.append(
        f"\n{data['train_bytes'] / 1e6:.2f} MB of training text, {data['heldout_bytes'] / 1e3:.0f} kB of held-out text, "
        f"{first['metrics']['snippets']} snippets per model. {where(first)}.\n"
    )
    return "".join(lines)


def modes(result: dict) -> str:
    """Verdicts on recurrent language models in every mode."""
    names = list(next(iter(result["models"].values()))["modes"])
    rows = [[name, *(verdict_cell(entry["modes"][mode]) for mode in names)] for name, entry in result["models"].items()]
    return markdown(["model", *names], rows) + (
        "\nIn parentheses: the largest difference of logits relative to the largest logit, or the share of tokens that "
        f"differ. Float32 in plain torch, without optional kernels. {where(result)}.\n"
    )


def exact(result: dict) -> str:
    """The verdicts on four models in one or two words, for the README."""
    rows = []
    for name in EXACT_MODELS:
        found = result["models"][name]["modes"]
        row = [name]
        for mode in EXACT_MODES:
            verdicts = {entry["verdict"] for entry in found[mode].values()}
            row.append(" or ".join(word for word in ("exact", "wrong", "refused") if word in verdicts))
        rows.append(row)
    return markdown(["model", *EXACT_MODES], rows, side=":--") + (
        "\nWhere a cell has two verdicts, the result depends on how the mode is called. "
        "Tiny models with random weights, float32, plain torch "
        f"{result['versions']['torch']}, transformers {result['versions']['transformers']}.\n"
    )


def value_text(entry) -> str:
    """Returns one value of a result file in a few words: verdicts, a number or a list of names.

    >>> value_text({"verdict": "wrong", "difference": 0.314}), value_text(0.0019765), value_text(["float32"])
    ('wrong (0.31)', '0.002', 'float32')
    """
    if isinstance(entry, float):
        return f"{entry:.2g}"
    if isinstance(entry, list):
        return ", ".join(entry)
    return verdict_cell({"": entry} if "verdict" in entry else entry)


def feature_text(cell: dict, load: Callable[[str], dict]) -> str:
    """Returns the text of a cell of features.json, with values from the result file that it names."""
    values = []
    for path in cell.get("values", ()):
        entry = load(cell["result"])
        for key in path:
            entry = entry[key]
        values.append(value_text(entry))
    return cell["says"].format(*values)


def feature_link(cell: dict) -> str:
    """Returns the target of a cell's link, relative to training/. The title of a link to a test is the test's name."""
    evidence = cell.get("evidence")
    if evidence is None:
        return f"results/{cell['result']}.json"
    if evidence.startswith("https://"):
        return evidence
    path, _, test = evidence.partition("::")
    return f'../{path} "{test}"' if test else f"../{path}"


def features(result: dict, load: Callable[[str], dict]) -> str:
    """Features of this package and of other projects, each cell with a link to its evidence.

    Args:
        result (`dict`): features.json.
        load: Function that returns a result file by its stem.
    """
    labels, rows = {}, []
    for feature, cells in result["rows"].items():
        row = [feature]
        for project in result["projects"]:
            text = feature_text(cells[project], load)
            link = feature_link(cells[project])
            label = labels.setdefault(link, f"f{len(labels) + 1}")
            row.append(f"[{text}][{label}]")
        rows.append(row)
    projects = result["projects"].values()
    table = markdown(["", *(project["title"] for project in projects)], rows, side=":--")
    read = ", ".join(project["version"] for project in projects)
    links = "".join(f"[{label}]: {link}\n" for link, label in labels.items())
    return f"{table}\nAs of {result['as_of']}: {read}. {where(load('compare_features'))}.\n\n{links}"


def forecast(result: dict) -> str:
    """Errors of the forecasts by horizon, and the size and training time of the models."""
    errors = [[name, *(f"{error:.3f}" for error in entry["errors"])] for name, entry in result["baselines"].items()]
    sizes = []
    for name, entry in result["models"].items():
        errors.append([name, *(f"{e:.3f} ± {d:.3f}" for e, d in zip(entry["errors"], entry["deviations"]))])
        seconds = [run["seconds"] for run in entry["runs"] if run["rate"] == entry["rate"]]
        time = spread(seconds, digits=0 if entry["seconds"] > 9.5 else 1)
        sizes.append([name, f"{entry['layers']} × {entry['width']}", f"{entry['parameters']:,}", time])
    options = result["options"]
    return (
        markdown(["steps ahead", *(str(horizon) for horizon in result["horizons"])], errors)
        + "\n"
        + markdown(["", "layers × width", "parameters", "training, CPU seconds"], sizes)
        + "\nError: root mean square, divided by the deviation of the series; mean and deviation of "
        f'{options["seeds"]} seeds. {options["steps"]} training steps; rows with "longer" have '
        f"{options['longer'] * options['steps']}. {where(result)}.\n"
    )


def cartpole(result: dict) -> str:
    """Score, time and parameters of the CartPole policies."""
    rows = []
    for name, entry in result["summary"].items():
        cells = [f"{entry[key]['mean']:.0f} ± {entry[key]['deviation']:.0f}" for key in ("score", "greedy")]
        times = ("update_seconds", "all_seconds")
        cells += [f"{entry[key]['mean']:.1f} ± {entry[key]['deviation']:.1f}" for key in times]
        sizes = [f"{entry[key]:,}" for key in ("parameters", "recurrent_parameters")]
        rows.append([{"mingru": "MinGRU", "gru": "nn.GRU"}[name], *cells, *sizes])
    header = ["", "score", "greedy", "updates, CPU s", "total, CPU s", "parameters", "recurrent parameters"]
    return markdown(header, rows) + f"\n{result['measured'].capitalize()}. {where(result)}.\n"


def setting_title(settings: dict) -> str:
    """Returns the name of a contestant of layer_defaults.

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


def layer_defaults(result: dict) -> str:
    """Scores and times of settings of MinGRU and MinLSTM, and of nn.GRU and nn.LSTM, on small tasks."""
    all_rows = list(result["rows"].values())
    found = {(setting_title(row["settings"]), row["settings"]["task"]): row for row in all_rows}
    limits = ["parameters, at most", *(f"{found['nn.GRU', task]['parameters']:,}" for task in DEFAULTS_TASKS)]
    layers = ("nn.GRU", "nn.LSTM", "MinGRU", "MinLSTM")
    names = sorted(dict.fromkeys(name for name, _ in found), key=lambda name: layers.index(name.split(",")[0]))
    scores, seconds = [], []
    for name in names:
        score_row, seconds_row = [name], [name]
        for task in DEFAULTS_TASKS:
            row = found.get((name, task))
            digits = 0 if task == "cartpole" else 3
            score_row.append("" if row is None else f"{row['median']:.{digits}f} ({row['worst']:.{digits}f})")
            seconds_row.append("" if row is None else f"{row['seconds']:.1f}")
        scores.append(score_row)
        seconds.append(seconds_row)
    seeds = len(all_rows[0]["settings"]["seeds"])
    return (
        markdown(["", *DEFAULTS_TASKS.values()], [limits, *scores])
        + f"\nMedian of {seeds} seeds, and in parentheses the worst.\n\n"
        + markdown(["CPU seconds of one run", *(title.partition(",")[0] for title in DEFAULTS_TASKS.values())], seconds)
        + f"\n{where(all_rows[0])}.\n"
    )


def sizes(result: dict) -> str:
    """Configurations of about 20, 100 and 300 million parameters, and the memory of one training step."""
    rows = []
    for name, entry in result["sizes"].items():
        memory = entry["memory_mib"]
        shape = f"{entry['num_hidden_layers']} × {entry['hidden_size']}"
        known = [f"{memory[mode]:,.0f}" if mode in memory else "" for mode in ("plain", "checkpointing")]
        cells = [f"{entry[key]:,}" for key in ("intermediate_size", "vocab_size", "parameters")]
        rows.append([name, shape, *cells, f"{entry['learning_rate']:.3g}", *known])
    header = ["size", "layers × width", "MLP width", "vocabulary", "parameters", "learning rate", "MiB"]
    return markdown([*header, "MiB, checkpointing"], rows) + (
        f"\nMiB: added by one AdamW step on one row of {result['tokens']} tokens in float32. {where(result)}.\n"
    )


def real_folders(result: dict) -> str:
    """Folders of packages: the documents that were read, and the options with which those that were refused are read."""
    rows = []
    for row in result["folders"]:
        whole, streamed = (row[mode].get("then", row[mode]) for mode in ("whole", "streamed"))
        package = row["package"]
        if row["package"] == "stdlib":
            package = "Python"
        counts = [f"{found['documents'][0]:,} + {found['documents'][1]:,}" for found in (whole, streamed)]
        skipped = ", ".join(f"{count:,} {reason}" for reason, count in whole["skipped"].items())
        options = shlex.join([*row["options"], *row["whole"].get("remedy", [])])
        line = whole["sample"].replace("|", "\\|")
        cells = [f"{package} {row['version']}", f"`{row['folder']}`", *counts, f"{whole['characters'] / 1e6:.2f}"]
        rows.append([*cells, skipped, f"`{options}`" if options else "", f"`` {line} ``"])
    refused = sum("remedy" in row["whole"] for row in result["folders"])
    header = ["package", "folder", "documents", "streamed", "characters, M", "skipped", "options", "part of a line"]
    return markdown(header, rows, side=":--") + (
        f"\n{len(rows)} folders, {result['steps']} steps each. {refused} were refused at first. The options that the messages "
        f"named are in the table. {where(result)}.\n"
    )
