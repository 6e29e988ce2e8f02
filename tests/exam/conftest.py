# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""These files are run by run.py in a process of their own, where transformers' tests are on the path."""

collect_ignore = ["cases.py", "plug_mamba.py", "plug_minrnn.py", "run.py", "upstream.py"]
