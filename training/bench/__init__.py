# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Measurements of speed and memory."""
