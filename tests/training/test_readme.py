# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Checks of the documents: examples run, links and commands lead to files, and the tree of files is complete."""

import importlib.util
import re
import tomllib

import pytest

from training.common.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDE = (ROOT / "training" / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")
DOCUMENTS = [ROOT / "README.md", ROOT / ".github" / "CONTRIBUTING.md", *sorted((ROOT / "training").glob("*.md"))]
LINK = re.compile(r"\]\(((?!https?://)[^)#]*)(#[^)]+)?\)")


def python_blocks(text):
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


def test_the_example_of_a_trained_model_runs(finished_run, capsys):
    folder, _ = finished_run
    code = python_blocks(GUIDE)[0]  # the example of sharing is run by test_hub_round_trip.py
    assert code.count("runs/stdlib-mingru") == 1
    names = {}
    exec(code.replace("runs/stdlib-mingru", str(folder)), names)
    assert capsys.readouterr().out.startswith("def read(path):\n")
    assert names["first"].past_key_values.get_seq_length() >= names["ids"].shape[1]


def test_the_layer_example_runs(capsys):
    code = python_blocks(README)[0]
    exec(code, {})
    printed = re.findall(r"\(\[(.*?)\]\)", capsys.readouterr().out)
    assert printed == re.findall(r"\((\d+, \d+, \d+)\)", code.splitlines()[-1]) and len(printed) == 2


def test_the_model_example_runs(capsys):
    exec(python_blocks(README)[1], {})
    loss, shape = capsys.readouterr().out.split(" ", 1)
    assert float(loss) > 0 and shape == "torch.Size([2, 40])\n"


def anchors(path):
    """The anchors that GitHub gives to the headings of a Markdown file."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {"#" + re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(document):
    found = LINK.findall(document.read_text(encoding="utf-8"))
    assert found
    for target, anchor in found:
        path = document.parent / target if target else document
        assert path.exists(), target
        if anchor and path.suffix == ".md":
            assert anchor in anchors(path), f"{target}{anchor}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_name_existing_modules_and_extras(document):
    text = document.read_text(encoding="utf-8")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for names in re.findall(r'"\.\[([\w,]+)\]"', text):
        assert {*names.split(",")} <= {*extras}
    for module in set(re.findall(r"-m (training[\w.]*\w)", text)):
        assert importlib.util.find_spec(module) is not None, module
    assert "training/train_lm.py" not in re.findall(r"python \S+", text)


def test_the_readme_is_short_and_no_command_is_cut_off():
    lines = README.splitlines()
    assert len(lines) <= 190
    for block in re.findall(r"```bash\n(.*?)\n```", README, flags=re.DOTALL):
        assert all(len(line) <= 80 for line in block.splitlines())


def test_every_source_file_has_a_line_in_the_tree():
    package = ROOT / "hf_minrnn"
    files = {str(path.relative_to(package).as_posix()) for path in package.rglob("*.py") if path.stem != "__init__"}
    assert files == set(re.findall(r"^  ([\w/]+\.py) ", CONTRIBUTING, flags=re.MULTILINE))


def test_the_sdist_contains_what_its_tests_read():
    targets = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
    for document in DOCUMENTS:
        name = f"/{document.relative_to(ROOT).as_posix()}"
        assert any(name == path or name.startswith(f"{path}/") for path in targets["sdist"]["include"]), name


def test_pypi_shows_no_relative_link():
    hook = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["metadata"]["hooks"][
        "fancy-pypi-readme"
    ]
    text = "".join((ROOT / fragment["path"]).read_text(encoding="utf-8") for fragment in hook["fragments"])
    assert LINK.search(text)
    for substitution in hook["substitutions"]:
        text = re.sub(substitution["pattern"], substitution["replacement"], text)
    assert not LINK.search(text)
    assert "![" in text and "https://raw.githubusercontent.com/" in text
