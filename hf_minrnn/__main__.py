# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""`python -m hf_minrnn` is the command `hf-minrnn`."""

import sys

from .tools.command import main

if __name__ == "__main__":
    sys.exit(main())
