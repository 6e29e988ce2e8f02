# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Packages that the scripts need and the package `hf_minrnn` does not, and the line that says how to install them.

Every script calls `require` when it is run, before its other imports, so that a missing package ends it at once: not in a
traceback, and not after the training, when the first plot is drawn.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from training.common.paths import ROOT

TRAIN = ("accelerate", "datasets", "jinja2", "matplotlib", "tqdm")  # what the names can be imported as
EXTRA_OF = dict.fromkeys(TRAIN, "train")
EXTRA_OF |= {"gymnasium": "rl", "minGRU_pytorch": "ecosystem", "peft": "ecosystem", "sktime": "series", "triton": "gpu"}


def require(*packages: str) -> None:
    """Checks that `hf_minrnn` and some of the packages in `EXTRA_OF` are installed.

    Raises:
        SystemExit: They are not; the message names those that are missing and the command that installs them.
    """
    missing = [name for name in ("hf_minrnn", *packages) if find_spec(name) is None]
    if missing:
        raise SystemExit(f"{_running_script()}: {how_to_install(missing)}")


def _running_script() -> str:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return Path(sys.argv[0]).name if spec is None else spec.name


def how_to_install(missing: Sequence[str]) -> str:
    """What is missing, and the command that installs it in a clone of the repository.

    >>> print(how_to_install(["datasets", "gymnasium"]).partition(" in ")[0])
    datasets and gymnasium are not installed: run pip install -e ".[train,rl]"
    >>> print(how_to_install(["hf_minrnn"]).partition(" in ")[0])
    hf_minrnn is not installed: run pip install -e "."
    """
    extras = ",".join(dict.fromkeys(EXTRA_OF[name] for name in missing if name in EXTRA_OF))
    *most, last = missing
    names = f"{', '.join(most)} and {last} are" if most else f"{last} is"
    return f'{names} not installed: run pip install -e ".{f"[{extras}]" if extras else ""}" in {ROOT}'
