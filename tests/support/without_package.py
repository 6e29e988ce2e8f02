# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Programs for processes in which this package cannot be imported."""

# First lines of such a program.
WITHOUT_PACKAGE = """
import sys

class Refuse:
    def find_spec(self, name, *args):
        if name.split(".")[0] == "hf_minrnn":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refuse())
"""
