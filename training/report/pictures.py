# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Draws the committed pictures again from their result files.

    python -m training.report.pictures                           # all of them
    python -m training.report.pictures bench_layers bench_scan   # these

Each picture is drawn by the function `draw(result, path)` of the script that measured it.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

from training.common.command_line import make_parser
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
    "compare_processes": "bench.processes",
    "selective_copying_cpu": "paper.selective_copying",
    "chomsky_tasks_small": "paper.chomsky_tasks",
    "recall_cpu": "paper.recall",
    "shakespeare": "paper.shakespeare",
    "ablation_bytes": "studies.ablation",
    "ablation_bpe": "studies.ablation",
    "ablation_shakespeare": "studies.ablation",
    "forecast": "studies.forecast",
    "rl_cartpole": "studies.cartpole",
}


def draw_function(stem: str) -> Callable[[dict, Path], None] | None:
    """Returns the function that draws a picture, or `None` if its module has none."""
    module = importlib.import_module(f"training.{PICTURES[stem]}")
    return getattr(module, "draw", None)


def main(argv: list[str] | None = None) -> list[Path]:
    """Runs the command line and returns the paths of the pictures that it drew."""
    parser = make_parser("training.report.pictures", __doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"pictures (default: all of {', '.join(PICTURES)})")
    names = parser.parse_args(argv).names or list(PICTURES)
    unknown = [name for name in names if name not in PICTURES]
    if unknown:
        parser.error(f"there is no picture {unknown[0]!r}: choose from {', '.join(PICTURES)}")
    drawn = []
    for name in names:
        draw = draw_function(name)
        if draw is None:
            print(f"cannot draw {name} from its result file: training.{PICTURES[name]} has no function draw")
            continue
        result = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
        path = RESULTS / f"{name}.png"
        draw(result, path)
        drawn.append(path)
        print(f"wrote {path}")
    return drawn


if __name__ == "__main__":
    main()
