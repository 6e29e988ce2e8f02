# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Writes the tables of the documentation from the files in training/results/.

    python -m training.report.tables            # after a benchmark or a run has written new results

A table stands between `<!-- table NAME -->` and `<!-- end -->`. Everything else in the files stays unchanged. A test checks
that the committed tables are the output of this script.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

from training.common.command_line import make_parser, reported
from training.common.files import write_text
from training.common.paths import RESULTS, ROOT
from training.report import (
    ablation_report,
    claims_table,
    paper_speed_table,
    paper_tables,
    speed_tables,
    study_tables,
    tracking_tables,
)
from training.report.table_parts import missed

DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "training").glob("*.md")))
MARK = re.compile(r"(<!-- table (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
CORPORA = ("bytes", "bpe", "shakespeare")  # of the ablation
TARGETS = {
    "scan": speed_tables.scan_targets,
    "layers": speed_tables.layers_targets,
    "modules": speed_tables.modules_targets,
    "decode": speed_tables.decode_targets,
    "step": speed_tables.step_targets,
    "generate": speed_tables.generate_targets,
    "gpu": speed_tables.gpu_targets,
    "call_counts": speed_tables.calls_targets,
}


def exists(name: str) -> bool:
    """Returns whether there is a result file with this stem."""
    return (RESULTS / f"{name}.json").exists()


def load(name: str) -> dict:
    """Returns the content of a result file by its stem."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def load_presets(name: str) -> dict[str, dict]:
    """Returns the existing result files of an experiment by preset."""
    stems = {preset: name if preset == "full" else f"{name}_{preset}" for preset in paper_tables.PRESETS}
    return {preset: load(stem) for preset, stem in stems.items() if exists(stem)}


def ablation_table() -> str:
    """The ablation on every corpus that has results."""
    found = {name: load(f"ablation_{name}") for name in CORPORA if exists(f"ablation_{name}")}
    return ablation_report.table(found) if found else "There are no results yet.\n"


def missed_table() -> str:
    """The targets of every benchmark that were missed, as a list."""
    lines = []
    for name, targets_of in TARGETS.items():
        if exists(f"bench_{name}"):
            targets = targets_of(load(f"bench_{name}"))
            short = missed(targets)
            if short:
                reached = f"{len(targets) - len(short)} of {len(targets)} targets reached"
                lines.append(f"- `training.bench.{name}`: {reached}. Missed: {'; '.join(short)}.\n")
    return "".join(lines)


TABLES: dict[str, Callable[[], str]] = {
    # README.md
    "exact": lambda: study_tables.exact(load("compare_modes")),
    "speed": lambda: speed_tables.speed(*map(load, ("bench_modules", "bench_layers", "bench_decode", "bench_gpu"))),
    # training/LOG.md
    "missed": missed_table,
    # training/RESULTS.md
    "main": lambda: study_tables.language_models({"minGRU": load("stdlib-mingru"), "minLSTM": load("stdlib-minlstm")}),
    "sizes": lambda: study_tables.sizes(load("sizes")),
    "claims": lambda: claims_table.table(
        {"CPU": load("bench_paper"), "H100": load("bench_paper_gpu")},
        load_presets("selective_copying"),
        load_presets("shakespeare"),
        load_presets("chomsky_tasks"),
    ),
    "paper-speed": lambda: paper_speed_table.table(load("bench_paper")),
    "paper-speed-gpu": lambda: paper_speed_table.table(load("bench_paper_gpu")),
    "selective-copying": lambda: paper_tables.copying(load_presets("selective_copying")),
    "chomsky": lambda: paper_tables.chomsky(load_presets("chomsky_tasks")),
    "parity": lambda: tracking_tables.long_strings(load_presets("chomsky_tasks")),
    "state-tracking": lambda: tracking_tables.tracking(load_presets("state_tracking")),
    "recall": lambda: paper_tables.recall(load_presets("recall")),
    "mqar": lambda: tracking_tables.recall_in_noise(load_presets("mqar")),
    "shakespeare": lambda: paper_tables.shakespeare(load_presets("shakespeare")),
    "scan": lambda: speed_tables.scan(load("bench_scan")),
    "scan-2-threads": lambda: speed_tables.scan(load("bench_scan_2_threads")),
    "layers": lambda: speed_tables.layers(
        load("bench_layers"), load("bench_layers_kept_memory"), load("bench_layers_2_threads")
    ),
    "modules": lambda: speed_tables.modules(load("bench_modules")),
    "modules-2-threads": lambda: speed_tables.modules(load("bench_modules_2_threads")),
    "decode": lambda: speed_tables.decode(load("bench_decode")),
    "step": lambda: speed_tables.step(load("bench_step")),
    "generate": lambda: speed_tables.generate(load("bench_generate")),
    "calls": lambda: speed_tables.calls(load("bench_call_counts")),
    "gpu": lambda: speed_tables.gpu(load("bench_gpu")),
    "modes": lambda: study_tables.modes(load("compare_modes")),
    "features": lambda: study_tables.features(load("features"), load),
    "ablation": ablation_table,
    "layer-defaults": lambda: study_tables.layer_defaults(load("layer_defaults")),
    "forecast": lambda: study_tables.forecast(load("forecast")),
    "real-folders": lambda: study_tables.real_folders(load("real_folders")),
    "rl": lambda: study_tables.cartpole(load("rl_cartpole")),
}


def render(text: str) -> str:
    """Returns a document with all its tables rendered again.

    Raises:
        KeyError: A table is not in `TABLES`, or a result file lacks a value.
        FileNotFoundError: A result file is missing.
    """
    return MARK.sub(lambda match: f"{match[1]}\n{TABLES[match[2]]()}\n{match[3]}", text)


@reported
def main(argv: list[str] | None = None) -> None:
    """Renders all documents in place."""
    make_parser("training.report.tables", __doc__).parse_args(argv)
    for path in DOCUMENTS:
        write_text(path, render(path.read_text(encoding="utf-8")))
        print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
