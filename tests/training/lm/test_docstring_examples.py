# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The examples in the docstrings of the packages of training give the results that they show."""

import doctest
import importlib

import pytest

from training.common.packages import module_of
from training.common.paths import ROOT

FOLDERS = ("common", "lm", "paper", "report", "studies")
FILES = [path for folder in FOLDERS for path in sorted((ROOT / "training" / folder).glob("*.py"))]
MODULES = [module_of(path) for path in FILES if ">>> " in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name):
    results = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert results.attempted and not results.failed
