# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Draws the committed pictures again from their result files.

    python -m training.report.pictures                           # all of them
    python -m training.report.pictures bench_layers bench_scan   # these

Each picture is drawn by the function `draw(result, path)` of the script that measured it.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

from training.common.command_line import make_parser, reported
from training.common.paths import RESULTS

# The module that draws the picture, by the stem of the result file.
PICTURES = {
    "bench_scan": "bench.scan",
    "bench_scan_2_threads": "bench.scan",
    "bench_layers": "bench.layers",
    "bench_layers_2_threads": "bench.layers",
    "bench_modules": "bench.modules",
    "bench_modules_2_threads": "bench.modules",
    "bench_decode": "bench.decode",
    "bench_gpu": "bench.gpu",
    "bench_paper": "bench.paper",
    "bench_paper_gpu": "bench.paper",
    "selective_copying_cpu": "paper.selective_copying",
    "chomsky_tasks_small": "paper.chomsky_tasks",
    "chomsky_tasks_cpu": "paper.chomsky_tasks",
    "recall_cpu": "paper.recall",
    "shakespeare": "paper.shakespeare",
    "ablation_bytes": "studies.ablation",
    "ablation_bpe": "studies.ablation",
    "ablation_shakespeare": "studies.ablation",
    "forecast": "studies.forecast",
    "rl_cartpole": "studies.cartpole",
}


def draw(stem: str, path: Path) -> None:
    """Draws one picture from its result file."""
    module = importlib.import_module(f"training.{PICTURES[stem]}")
    result = json.loads((RESULTS / f"{stem}.json").read_text(encoding="utf-8"))
    module.draw(result, path)


@reported
def main(argv: list[str] | None = None) -> list[Path]:
    """Runs the command line and returns the paths of the pictures that it drew."""
    parser = make_parser("training.report.pictures", __doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"pictures (default: all of {', '.join(PICTURES)})")
    names = parser.parse_args(argv).names or list(PICTURES)
    unknown = [name for name in names if name not in PICTURES]
    if unknown:
        parser.error(f"there is no picture {unknown[0]!r}: choose from {', '.join(PICTURES)}")
    paths = [RESULTS / f"{name}.png" for name in names]
    for path in paths:
        draw(path.stem, path)
        print(f"wrote {path}")
    return paths


if __name__ == "__main__":
    main()
