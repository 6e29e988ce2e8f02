# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The experiments of the paper (arXiv 2410.01201)."""
