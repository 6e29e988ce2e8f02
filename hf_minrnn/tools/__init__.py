# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Tools for model folders, used by `python -m hf_minrnn`. No file of the model imports from here."""
