# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Reads text: files, folders, tables and datasets of the Hub, as training and held-out documents."""
