# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Scripts that train, measure and report; run each as `python -m training.NAME` from the repository's root."""
