# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Runs the command `hf-minrnn` as `python -m hf_minrnn`."""

import sys

from .tools.command import main

if __name__ == "__main__":
    sys.exit(main())
