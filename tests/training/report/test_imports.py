# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import ast

import pytest

from training.common.paths import ROOT

# The packages that the files of a package may import, apart from its own.
ALLOWED = {
    "common": set(),
    "corpus": {"common"},
    "lm": {"common", "corpus"},
    "bench": {"common", "corpus", "lm"},
    "paper": {"common", "corpus", "lm"},
    "studies": {"common", "corpus", "lm", "bench"},
    "report": {"common", "corpus", "lm", "bench", "paper", "studies"},
}


def imported_packages(path):
    """Returns the packages of training that a file imports, at its top or inside a function."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            modules |= {f"{node.module}.{name.name}" for name in node.names}
        elif isinstance(node, ast.Import):
            modules |= {name.name for name in node.names}
    parts = [module.split(".") for module in modules]
    return {names[1] for names in parts if names[0] == "training"}


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_point_one_way(package):
    files = sorted((ROOT / "training" / package).glob("*.py"))
    assert files
    for path in files:
        assert imported_packages(path) <= ALLOWED[package] | {package}, path.name
