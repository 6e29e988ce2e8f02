# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Excludes the files that run.py runs in a separate process, where transformers' tests are on the path."""

collect_ignore = ["cases.py", "plug_mamba.py", "plug_minrnn.py", "run.py", "upstream.py"]
