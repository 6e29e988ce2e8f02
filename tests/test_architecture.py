# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Structure of the package: files only import from lower layers, model files can be copied to the Hub, files stay short."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "hf_minrnn"
# Layer of each file of the package. A file only imports files of lower layers.
LAYERS = {
    "compat": 0,
    "registration": 0,
    "torch_private": 0,
    "calls_minrnn": 1,
    "gates": 0,
    "conv_minrnn": 1,
    "norm_minrnn": 1,
    "cache_minrnn": 1,
    "configuration_minrnn": 2,
    "generation_minrnn": 2,
    "inputs_minrnn": 2,
    "scan_reference": 1,
    "scan_torch": 1,
    "scan_associative": 1,
    "scan_numba_kernels": 0,
    "scan_numba": 1,
    "scan_triton_steps": 0,
    "scan_triton_kernels": 1,
    "scan_triton": 2,
    "scan_choice": 3,
    "scan_op": 3,
    "packed": 1,
    "time_gaps": 1,
    "scan_vmap": 2,
    "scan": 4,
    "cells": 5,
    "block_minrnn": 6,
    "layers": 6,
    "rl": 7,
    "modeling_minrnn": 7,
    "heads_minrnn": 8,
    "hub_minrnn": 9,
    "__init__": 10,
    "__main__": 11,
}
# Packages that any file may import. Remote code would require any other package that is imported without a guard.
THIRD_PARTY = {"torch", "transformers", "huggingface_hub"}
# Optional packages: imported only where an ImportError is caught.
OPTIONAL = {"numpy", "numba", "llvmlite", "triton", "torchrl", "tensordict"}
FILES = sorted(PACKAGE.glob("*.py"))


def imports(tree):
    """Yields `(level, module, names)` of every import statement."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or "", [alias.name for alias in node.names]


def without_optional_imports(path):
    """Returns the syntax tree of a file, without the `try` blocks that import optional packages."""

    class Cut(ast.NodeTransformer):
        def visit_Try(self, node):
            catches = any(isinstance(h.type, ast.Name) and h.type.id == "ImportError" for h in node.handlers)
            roots = {module.split(".")[0] for statement in node.body for _, module, _ in imports(statement)}
            if catches and roots and roots <= OPTIONAL:
                node.body = [ast.Pass()]
            return self.generic_visit(node)

    return Cut().visit(ast.parse(path.read_text()))


def test_every_file_has_a_layer():
    assert {path.stem for path in FILES} == set(LAYERS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_files_only_import_from_lower_layers(path):
    for level, module, _ in imports(without_optional_imports(path)):
        if level == 0:
            root = module.split(".")[0]
            assert root in THIRD_PARTY or root in sys.stdlib_module_names, f"{path.name} imports {module}"
            continue
        if path.stem == "__main__":  # not a model file, and the only one that may import the tools
            assert level == 1 and module == "tools.command", f"{path.name}: from {'.' * level}{module} import ..."
            continue
        # transformers copies to the Hub only files that are imported by `from .name import ...`, one level deep.
        assert level == 1 and module and "." not in module, f"{path.name}: from {'.' * level}{module} import ..."
        assert LAYERS[module] < LAYERS[path.stem], f"{path.name} imports {module}, which is not in a lower layer"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_docstring_line_looks_like_a_relative_import(path):
    # transformers finds relative imports with a regular expression, also in docstrings.
    found = set(re.findall(r"^\s*from\s+\.(\S+)\s+import", path.read_text(), flags=re.MULTILINE))
    assert found == {module for level, module, _ in imports(ast.parse(path.read_text())) if level == 1}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_only_compat_imports_transformers(path):
    # It explains what to do if the import fails.
    found = {module.split(".")[0] for level, module, _ in imports(ast.parse(path.read_text())) if level == 0}
    assert path.stem == "compat" or not found & {"transformers", "huggingface_hub"}


def test_layers_only_need_torch(tmp_path):
    program = """
import sys, time
import torch
class Refuse:
    def find_spec(self, name, *args):
        if name.split(".")[0] in ("transformers", "huggingface_hub"):
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
before, start = set(sys.modules), time.process_time()
from hf_minrnn import MinGRU, MinGRUCell, MinLSTM, MinLSTMCell, explain_backend, linear_scan, minrnn_scan, resolve_backend
took, new = time.process_time() - start, set(sys.modules) - before
roots = {name.split(".")[0] for name in new if not name.startswith("hf_minrnn")}  # torch creates a module for the op
assert roots <= {"torch", "numpy"} | sys.stdlib_module_names, roots
assert not {"torch._dynamo", "torch._inductor", "torch.fx.experimental.symbolic_shapes"} & new
assert took < 0.5, took
print(MinGRU(2, 3)(torch.zeros(1, 3, 2))[0].shape, MinLSTMCell(2, 3).step(torch.zeros(1, 2))[0].shape)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0 and "torch.Size([1, 3, 3]) torch.Size([1, 3])" in run.stdout, run.stderr


def test_a_bare_import_is_enough_to_generate(tmp_path):
    program = """
import torch
from hf_minrnn import MinRNNConfig, MinRNNForCausalLM
model = MinRNNForCausalLM(MinRNNConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1))
print(model.generate(torch.tensor([[1, 2]]), max_new_tokens=2).shape)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0 and "torch.Size([1, 4])" in run.stdout, run.stderr


SOURCES = [path for folder in ("hf_minrnn", "training", "tests") for path in sorted((ROOT / folder).rglob("*.py"))]


MAX_LINES = 500
# Files that are longer, each with the reason.
LONG_FILES: dict[str, str] = {}


def test_files_stay_short():
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in SOURCES}
    too_long = {name: count for name, count in lines.items() if count > MAX_LINES}
    unlisted = {name: count for name, count in too_long.items() if name not in LONG_FILES}
    assert not unlisted, f"split these files, or list them in LONG_FILES with a reason: {unlisted}"
    assert set(LONG_FILES) <= set(too_long), "remove files that are short again from LONG_FILES"


def test_every_source_file_has_a_test_file():
    untested = {path.stem for path in FILES if not (ROOT / "tests" / f"test_{path.stem}.py").exists()}
    assert not untested - {"__init__", "__main__"}


def test_every_tool_has_a_test_file():
    tools = {path.stem for path in (PACKAGE / "tools").glob("*.py")} - {"__init__"}
    assert not {name for name in tools if not (ROOT / "tests" / "tools" / f"test_{name}.py").exists()}
