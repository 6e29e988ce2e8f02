# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""A script first reports missing packages in one line. If they are installed, its --help works."""

import ast
import json
import os
import re
import runpy
import subprocess
import sys
import tomllib

import pytest

from training.common import packages
from training.common.paths import ROOT


def name_of(path):
    """The name of a module of `training`, as `python -m` takes it."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


MODULES = {name_of(path): path for path in sorted((ROOT / "training").rglob("*.py"))}
SCRIPTS = [name for name, path in MODULES.items() if '\nif __name__ == "__main__":\n    main()' in path.read_text()]
# Packages that come with torch, transformers or datasets, and peers that scripts leave out if they are not installed.
WITHOUT_EXTRA = {"torch", "transformers", "numpy", "tokenizers", "huggingface_hub", "hf_minrnn", "filelock", "pyarrow"}
PEERS = {"minGRU_pytorch", "mingru", "accelerated_scan", "fla"}
RUN_ALL = """
import contextlib, io, json, runpy, sys

names, missing = json.loads(sys.argv[1]), json.loads(sys.argv[2])
sys.modules |= dict.fromkeys(missing)  # an import then fails, and no specification is found
found = {}
for name in names:
    sys.argv[:] = [name, "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            runpy.run_module(name, run_name="__main__", alter_sys=True)
        except SystemExit as ended:
            found[name] = [ended.code, out.getvalue(), sorted({"torch", "transformers"} & {*sys.modules})]
print(json.dumps(found))
"""


def run_all(missing):
    """Runs `--help` of every script in one process without some packages.

    Returns:
        By name, the exit code or message, the printed text, and which of torch and transformers were imported.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    command = [sys.executable, "-c", RUN_ALL, json.dumps(SCRIPTS), json.dumps([*missing])]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [*found] == SCRIPTS
    return found


def imported_names(node):
    """The full names that an import statement may bind: modules, and modules with the names taken from them."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    return {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}


def imports(name):
    """Everything that a module of `training` imports, anywhere in it, by full name."""
    nodes = ast.walk(ast.parse(MODULES[name].read_text()))
    return {found for node in nodes if isinstance(node, ast.Import | ast.ImportFrom) for found in imported_names(node)}


def reached(name):
    """Returns the packages that a script imports, directly or through other modules of `training`."""
    seen, left = set(), {name}
    while left:
        module = left.pop()
        seen.add(module)
        if module in MODULES:
            left |= imports(module) - seen
    return {module.split(".")[0] for module in seen} - {"training"}


def required(name):
    """Returns the packages that a script requires, and the line of the call."""
    for node in ast.parse(MODULES[name].read_text()).body:
        if isinstance(node, ast.If) and "packages.require" in ast.unparse(node):
            named = re.findall(r"'(\w+)'", ast.unparse(node.body[0]))
            return {*packages.TRAIN, *named}, node.lineno
    raise AssertionError(f"{name} does not call packages.require")


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_checks_its_packages_before_importing_them(name):
    asked, line = required(name)
    optional = reached(name) - WITHOUT_EXTRA - {*sys.stdlib_module_names}
    before = [node for node in ast.parse(MODULES[name].read_text()).body if node.lineno < line]
    at_the_top = {
        found for node in before if isinstance(node, ast.Import | ast.ImportFrom) for found in imported_names(node)
    }
    other = {found for found in at_the_top if found.split(".")[0] not in sys.stdlib_module_names}
    assert other <= {"training.common", "training.common.packages"}
    assert optional - PEERS <= asked


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_reports_its_errors_in_one_line(name):
    """`reported` does so for bad input, and for a result file on a full disk."""
    (main,) = [
        node
        for node in ast.parse(MODULES[name].read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name == "main"
    ]
    assert [ast.unparse(decorator) for decorator in main.decorator_list] == ["reported"]


def test_without_its_packages_every_script_ends_in_one_line():
    for name, (message, shown, imported) in run_all(missing=packages.EXTRA_OF).items():
        asked, _ = required(name)
        assert re.fullmatch(rf'{name}: .* are not installed: run pip install -e "\.\[\w+(,\w+)*\]" in .*', message)
        assert asked == {*re.findall(r"\w+", message.partition(": ")[2].partition(" are ")[0])} - {"and"}
        assert {*re.search(r"\[(.*)\]", message)[1].split(",")} == {packages.EXTRA_OF[package] for package in asked}
        assert not shown and not imported


@pytest.mark.parametrize("name", SCRIPTS)
def test_with_its_packages_a_script_has_help(name, monkeypatch, capsys):
    for package in required(name)[0]:
        pytest.importorskip(package)
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    assert not ended.value.code and capsys.readouterr().out.startswith("usage: ")


def test_the_line_is_all_that_is_printed(tmp_path):
    (tmp_path / "sitecustomize.py").write_text('import sys\nsys.modules["accelerate"] = None\n')
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT), *filter(None, sys.path)])}
    command = [sys.executable, "-m", "training.train_lm", "--steps", "1"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    line = f'training.train_lm: accelerate is not installed: run pip install -e ".[train]" in {ROOT}\n'
    assert (done.returncode, done.stdout, done.stderr) == (1, "", line)


def test_a_clone_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(packages, "find_spec", lambda name: None if name in ("hf_minrnn", "jinja2") else object())
    monkeypatch.setattr(sys, "argv", [str(ROOT / "training" / "report" / "cards.py")])
    script = "training.report.cards"
    with pytest.raises(
        SystemExit, match=rf'^{script}: hf_minrnn and jinja2 are not installed: run .* -e "\.\[train\]" in '
    ):
        packages.require(*packages.TRAIN)
    with pytest.raises(SystemExit, match=rf'^{script}: hf_minrnn is not installed: run pip install -e "\." in '):
        packages.require("peft")


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_that_is_run_as_a_file_says_how_to_run_it(name, monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(MODULES[name])])
    monkeypatch.setattr(sys, "path", [str(MODULES[name].parent), *sys.path])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(MODULES[name]), run_name="__main__")
    assert ended.value.code == f"{name}: run it as python -m {name} from the repository's root"


def test_running_a_file_prints_one_line(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    command = [sys.executable, str(MODULES["training.train_lm"]), "--steps", "1"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    line = "training.train_lm: run it as python -m training.train_lm from the repository's root\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", line)


def test_the_module_of_a_file_is_named_with_its_packages(tmp_path):
    (tmp_path / "outer" / "inner").mkdir(parents=True)
    for folder in ("outer", "outer/inner"):
        (tmp_path / folder / "__init__.py").write_text("")
    assert packages.module_of(tmp_path / "outer" / "inner" / "script.py") == "outer.inner.script"
    assert packages.module_of(str(tmp_path / "script.py")) == "script"
    assert packages.module_of(packages.__file__) == "training.common.packages"


def test_the_extras_are_those_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for package, extra in packages.EXTRA_OF.items():
        there = {re.split(r"[<>=;\[ ]", entry)[0].lower().replace("-", "_") for entry in project[extra]}
        assert package.lower() in there, package


# --- remedies


@pytest.mark.parametrize("path", [*MODULES.values(), *(ROOT / "training").glob("*.md")], ids=lambda path: path.name)
def test_no_remedy_installs_this_project_from_an_index(path):
    commands = re.findall(r"pip install[^\n`]*", path.read_text(encoding="utf-8"))
    assert not [command for command in commands if re.search(r"hf.minrnn", command)]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for command in commands:
        for names in re.findall(r'-e "\.\[([\w,]+)\]"', command):
            assert {*names.split(",")} <= {*project}
