# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The Python standard library's own sources as a corpus: no download, and the same for everyone with this Python."""

from __future__ import annotations

import hashlib
import sysconfig
from pathlib import Path

from training.common.errors import InputError
from training.corpus.corpus import Corpus, Reading

SKIP = {
    "test",
    "tests",
    "idlelib",
    "encodings",
    "pydoc_data",
    "site-packages",
    "dist-packages",
    "__pycache__",
}
HELDOUT_BELOW = 13  # of 256: about 5 % of the packages


def stdlib_is_heldout(relative_path: str) -> bool:
    """Whether a file of the standard library is held out, by its path relative to the library's folder.

    The package decides (`json` for `json/decoder.py`), so near-duplicates in one package stay on one side.
    """
    package = Path(relative_path).parts[0]
    return hashlib.sha256(package.encode()).digest()[0] < HELDOUT_BELOW


def load_stdlib(folder: str | Path | None = None) -> Corpus:
    """Loads the sources of the standard library.

    Args:
        folder (`str`, *optional*): Where they are; by default the folder of this Python.

    Raises:
        InputError: The folder has no sources.
    """
    folder = Path(folder or sysconfig.get_paths()["stdlib"])
    if not folder.is_dir():
        raise InputError(f"the standard library is not a folder of files ({folder}): use an ordinary Python")
    relative = (path.relative_to(folder) for path in folder.rglob("*.py"))
    names = sorted(path.as_posix() for path in relative if not SKIP.intersection(path.parts))
    if not names:
        raise InputError(f"no .py files under {folder}: install Python's library sources, or give another --dataset")
    reading = Reading(source=f"{len(names):,} modules of Python's standard library")
    train = []
    heldout = []
    for name in names:
        text = (folder / name).read_bytes().decode("utf-8", errors="replace")
        if not text:
            reading.skipped.setdefault("empty", []).append(name)
        elif stdlib_is_heldout(name):
            heldout.append(text)
            reading.heldout.append(name)
        else:
            train.append(text)
            reading.train.append(name)
    return Corpus("stdlib", "stdlib", train, heldout, "whole packages, by a hash of their name", reading)
