# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Folders that the scripts read and write."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "training" / "results"
