# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The error for input that the user can correct."""

from __future__ import annotations


class InputError(ValueError):
    """Something the caller can put right: the message names the value and the remedy."""


class CheckpointError(OSError):
    """A checkpoint could not be written; the ones before it are untouched."""
