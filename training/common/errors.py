# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The errors that a script reports in one line."""

from __future__ import annotations


class InputError(ValueError):
    """An input that the user can correct. The message names the value and the remedy."""


class CheckpointError(OSError):
    """A checkpoint could not be written. The earlier ones are untouched."""
