# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Writes files atomically: a reader sees either the old content or the new."""

from __future__ import annotations

import json
import os
from pathlib import Path


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a file atomically, and its folder if it does not exist. Line endings stay unchanged."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(f"{path}.partial")
    temporary.write_text(text, encoding="utf-8", newline="")
    os.replace(temporary, path)


def write_json(path: str | os.PathLike, value: dict) -> None:
    """Writes a value as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2) + "\n")
