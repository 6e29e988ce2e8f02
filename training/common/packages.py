# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Packages that the scripts need and `hf_minrnn` does not, and the message that says how to install them.

Every script calls `require` before its other imports. A missing package then ends the script at once with one line, and not
with a traceback or after the training, when the first plot is drawn.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from training.common.paths import ROOT

TRAIN = (
    "accelerate",
    "charset_normalizer",
    "datasets",
    "jinja2",
    "matplotlib",
    "tqdm",
)  # by the names that are imported
EXTRA_OF = dict.fromkeys(TRAIN, "train")
EXTRA_OF |= {"gymnasium": "rl", "minGRU_pytorch": "ecosystem", "peft": "ecosystem", "sktime": "series", "triton": "gpu"}


def require(*packages: str) -> None:
    """Checks that a script is run as a module, and that `hf_minrnn` and some packages of `EXTRA_OF` are installed.

    Raises:
        SystemExit: One of these checks failed. The message names the command that the script is run with, or the packages that
            are missing and the command that installs them.
    """
    module = module_of(sys.argv[0])
    if Path(sys.path[0], "__init__.py").exists():  # the script's own folder: its modules would hide other packages
        raise SystemExit(f"{module}: run it as python -m {module} from the repository's root")
    missing = [name for name in ("hf_minrnn", *packages) if find_spec(name) is None]
    if missing:
        raise SystemExit(f"{module}: {how_to_install(missing)}")


def module_of(path: str | os.PathLike) -> str:
    """Returns the full name of the module in a file, as `python -m` takes it: outer packages first."""
    path = Path(path).resolve()
    names = [path.stem]
    for folder in path.parents:
        if not (folder / "__init__.py").exists():
            break
        names.insert(0, folder.name)
    return ".".join(names)


def how_to_install(missing: Sequence[str]) -> str:
    """Returns a message that names the missing packages and the command that installs them in a clone of the repository.

    >>> print(how_to_install(["datasets", "gymnasium"]).partition(" in ")[0])
    datasets and gymnasium are not installed: run pip install -e ".[train,rl]"
    >>> print(how_to_install(["hf_minrnn"]).partition(" in ")[0])
    hf_minrnn is not installed: run pip install -e "."
    """
    extras = ",".join(dict.fromkeys(EXTRA_OF[name] for name in missing if name in EXTRA_OF))
    target = f".[{extras}]" if extras else "."
    *most, last = missing
    names = f"{', '.join(most)} and {last} are" if most else f"{last} is"
    return f'{names} not installed: run pip install -e "{target}" in {ROOT}'
