# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""A script whose packages are not installed says so in one line, before anything else; with them its --help works."""

import ast
import json
import os
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from training.common import packages as extras

TRAINING = Path(extras.__file__).parent
SCRIPTS = [path for path in sorted(TRAINING.glob("*.py")) if 'if __name__ == "__main__"' in path.read_text()]
# What comes with torch and transformers, with datasets, and peers that scripts leave out where they are not installed.
WITHOUT_EXTRA = {"torch", "transformers", "numpy", "tokenizers", "huggingface_hub", "hf_minrnn", "filelock", "pyarrow"}
PEERS = {"minGRU_pytorch", "accelerated_scan", "fla"}
RUN_ALL = """
import contextlib, io, json, runpy, sys

names, refused = json.loads(sys.argv[1]), json.loads(sys.argv[2])
sys.modules |= dict.fromkeys(refused)  # then an import fails, and no specification is found
found = {}
for name in names:
    sys.argv[:] = [name, "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            runpy.run_path(name, run_name="__main__")
        except SystemExit as ended:
            found[name] = [ended.code, out.getvalue(), sorted({"torch", "transformers"} & {*sys.modules})]
print(json.dumps(found))
"""


def run_all(refused):
    """What `--help` of every script ends with, prints and has imported, by name, in one process without some packages."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TRAINING), *filter(None, sys.path)])}
    names = [str(path) for path in SCRIPTS]
    command = [sys.executable, "-c", RUN_ALL, json.dumps(names), json.dumps([*refused])]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [*found] == names
    return {Path(name).stem: ending for name, ending in found.items()}


def imports(path):
    """The modules that a file imports, anywhere in it, by the first part of their names."""
    nodes = [*ast.walk(ast.parse(path.read_text()))]
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.split(".")[0] for name in names}


def reached(path):
    """The modules that a script imports itself or through the others here."""
    seen, left = set(), {path.stem}
    while left:
        name = left.pop()
        seen.add(name)
        if (TRAINING / f"{name}.py").exists():
            left |= imports(TRAINING / f"{name}.py") - seen
    return seen


def required(path):
    """The packages that a script asks for, and the line in which it does."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.If) and "extras.require" in ast.unparse(node):
            names = re.findall(r"'(\w+)'", ast.unparse(node.body[0]))
            return {*extras.TRAIN, *names}, node.lineno
    raise AssertionError(f"{path.name} does not call extras.require")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_asks_for_what_it_imports_before_it_imports_it(path):
    packages, line = required(path)
    own = {other.stem for other in TRAINING.glob("*.py")}
    optional = reached(path) - own - WITHOUT_EXTRA - {*sys.stdlib_module_names}
    at_the_top = {
        name.split(".")[0]
        for node in ast.parse(path.read_text()).body
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
        if node.lineno < line
    }
    assert at_the_top <= {*sys.stdlib_module_names, "extras"}
    assert optional - PEERS <= packages


def test_without_its_packages_every_script_ends_in_one_line():
    for name, (message, shown, imported) in run_all(refused=extras.EXTRA_OF).items():
        packages, _ = required(TRAINING / f"{name}.py")
        assert re.fullmatch(rf'{name}\.py: .* are not installed: run pip install -e "\.\[\w+(,\w+)*\]" in .*', message)
        assert packages == {*re.findall(r"\w+", message.partition(": ")[2].partition(" are ")[0])} - {"and"}
        assert {*re.search(r"\[(.*)\]", message)[1].split(",")} == {extras.EXTRA_OF[package] for package in packages}
        assert not shown and not imported


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_with_its_packages_a_script_has_help(path, monkeypatch, capsys):
    for package in required(path)[0]:
        pytest.importorskip(package)
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(path), run_name="__main__")
    assert not ended.value.code and capsys.readouterr().out.startswith("usage: ")


def test_the_line_is_all_that_is_printed(tmp_path):
    (tmp_path / "sitecustomize.py").write_text('import sys\nsys.modules["accelerate"] = None\n')
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    command = [sys.executable, str(TRAINING / "train_lm.py"), "--steps", "1"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    line = f'train_lm.py: accelerate is not installed: run pip install -e ".[train]" in {TRAINING.parent}\n'
    assert (done.returncode, done.stdout, done.stderr) == (1, "", line)


def test_a_clone_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name in ("hf_minrnn", "jinja2") else object())
    monkeypatch.setattr(sys, "argv", ["training/report/cards.py"])
    with pytest.raises(
        SystemExit, match=r'^cards.py: hf_minrnn and jinja2 are not installed: run .* -e "\.\[train\]" in '
    ):
        extras.require(*extras.TRAIN)
    with pytest.raises(SystemExit, match=r'^cards.py: hf_minrnn is not installed: run pip install -e "\." in '):
        extras.require("peft")


def test_the_extras_are_those_of_the_project():
    project = tomllib.loads((extras.ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for package, extra in extras.EXTRA_OF.items():
        there = {re.split(r"[<>=;\[ ]", entry)[0].lower().replace("-", "_") for entry in project[extra]}
        assert package.lower() in there, package


# --- remedies


@pytest.mark.parametrize("path", [*TRAINING.glob("*.py"), *TRAINING.glob("*.md")], ids=lambda path: path.name)
def test_no_remedy_installs_this_project_from_an_index(path):
    commands = re.findall(r"pip install[^\n`]*", path.read_text(encoding="utf-8"))
    assert not [command for command in commands if re.search(r"hf.minrnn", command)]
    project = tomllib.loads((extras.ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for command in commands:
        for names in re.findall(r'-e "\.\[([\w,]+)\]"', command):
            assert {*names.split(",")} <= {*project}
