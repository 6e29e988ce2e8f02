# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Turns result files into tables, pictures and model cards."""
