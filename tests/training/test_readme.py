# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""What the README prints is run as printed, on a model of seconds instead of minutes."""

import re
import tomllib

import pytest

from training.report.tables import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_example_runs(finished_run, capsys):
    folder, _ = finished_run
    code = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)[0]  # those of "Share": test_hub_round_trip.py
    assert code.count("runs/stdlib-mingru") == 1
    names = {}
    exec(code.replace("runs/stdlib-mingru", str(folder)), names)
    assert capsys.readouterr().out.startswith("def read(path):\n")
    assert names["first"].past_key_values.get_seq_length() >= names["ids"].shape[1]


def test_the_layer_example_runs(capsys):
    (code,) = re.findall(r"```python\n(import torch\n.*?)```", README, flags=re.DOTALL)
    exec(code, {})
    printed = re.findall(r"\(\[(.*?)\]\)", capsys.readouterr().out)
    assert printed == re.findall(r"\((\d+, \d+, \d+)\)", code.splitlines()[-1]) and len(printed) == 2


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([\w/.-]+)(?:#[\w-]+)?\)", README))))
def test_links_lead_to_files(link):
    assert (ROOT / link).exists()


@pytest.mark.parametrize("command", re.findall(r"```bash\n(.*?)\n```", README, flags=re.DOTALL))
def test_the_commands_name_what_exists(command):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(re.findall(r'"\.\[(\w+)\]"', command)) <= set(extras)
    assert all((ROOT / path).exists() for path in re.findall(r"\S+\.(?:py|txt)", command))


def test_every_source_file_has_a_line_in_the_tree():
    package = ROOT / "hf_minrnn"
    files = {str(path.relative_to(package).as_posix()) for path in package.rglob("*.py") if path.stem != "__init__"}
    assert files == set(re.findall(r"^  ([\w/]+\.py) ", README, flags=re.MULTILINE))
