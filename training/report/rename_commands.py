# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Rewrites commands from before `training` was a package in result files, cards and documentation.

    python -m training.report.rename_commands                           # the committed files
    python -m training.report.rename_commands runs/my-run/results.json  # files of your own

`python training/bench_scan.py` becomes `python -m training.bench.scan`. Nothing else in a file changes.
"""

from __future__ import annotations

import re
from pathlib import Path

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

from training.common.command_line import make_parser, reported
from training.common.files import write_text
from training.common.paths import RESULTS, ROOT

# Names of the scripts in the former flat folder `training/`, and the modules that replace them.
BENCHMARKS = ("scan", "layers", "modules", "decode", "generate", "step", "paper", "gpu")
MODULES = {name: name for name in ("train_lm", "evaluate", "finetune_trainer")}
MODULES |= {name: f"report.{name}" for name in ("recipes", "cards", "tables")}
MODULES |= {f"bench_{name}": f"bench.{name}" for name in BENCHMARKS}
MODULES |= {f"compare_{name}": f"studies.{name}" for name in ("modes", "features")}
MODULES |= {name: f"studies.{name}" for name in ("ablation", "forecast", "layer_defaults")}
MODULES |= {"rl_cartpole": "studies.cartpole"}
MODULES |= {name: f"paper.{name}" for name in ("selective_copying", "chomsky_tasks", "recall", "shakespeare")}
COMMAND = re.compile(rf"(python |torchrun [^\n`\"]*?|accelerate launch )training/({'|'.join(MODULES)})\.py\b")
FILE = re.compile(rf"\btraining/({'|'.join(MODULES)})\.py\b")


def rename(text: str) -> str:
    """Returns `text` with every command and every path of a moved script replaced.

    >>> rename("run python training/bench_scan.py --threads 2")
    'run python -m training.bench.scan --threads 2'
    >>> rename("torchrun --nproc_per_node 2 training/train_lm.py --fsdp; see training/recall.py")
    'torchrun --nproc_per_node 2 -m training.train_lm --fsdp; see training/paper/recall.py'
    """
    text = COMMAND.sub(lambda found: f"{found[1]}-m training.{MODULES[found[2]]}", text)
    return FILE.sub(lambda found: f"training/{MODULES[found[1]].replace('.', '/')}.py", text)


def committed_files() -> list[Path]:
    """Returns the files of the repository that contain commands."""
    documents = [ROOT / "README.md", *sorted((ROOT / "training").glob("*.md"))]
    others = [RESULTS.glob("*.json"), (ROOT / "model_cards").glob("*.md"), (ROOT / "notebooks").glob("*.ipynb")]
    return documents + [path for paths in others for path in sorted(paths)]


@reported
def main(argv: list[str] | None = None) -> list[Path]:
    """Runs the command line and returns the files that it changed."""
    parser = make_parser("training.report.rename_commands", __doc__)
    parser.add_argument("files", nargs="*", type=Path, help="files to rewrite (default: the committed files)")
    changed = []
    for path in parser.parse_args(argv).files or committed_files():
        before = path.read_bytes().decode("utf-8")
        after = rename(before)
        if after != before:
            write_text(path, after)
            changed.append(path)
            print(f"rewrote {path}")
    return changed


if __name__ == "__main__":
    main()
