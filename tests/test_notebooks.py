# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The notebooks: the committed outputs are complete and readable, and each notebook runs in a new kernel."""

import asyncio
import json
import re
from pathlib import Path

import pytest
from support.hub_stand_in import TOKEN, Hub

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
# For slow or busy machines; otherwise a notebook takes less than a minute. nbclient reports a timeout as a dead kernel.
LIMIT_S = 900
MACHINE_PATHS = re.compile(r"/(home|mnt|opt|root|tmp|Users|work)/\w|site-packages/|\b[A-Z]:\\\w")
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path):
    """Returns the cells, with their sources as one string each."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [{**cell, "source": "".join(cell["source"])} for cell in cells]


def pictures(cells) -> list[int]:
    """Returns the number of pictures that each code cell shows."""
    outputs = [cell["outputs"] for cell in cells if cell["cell_type"] == "code"]
    return [sum("image/png" in output.get("data", {}) for output in of_cell) for of_cell in outputs]


def test_the_notebooks_are_numbered():
    assert [path.stem[:2] for path in NOTEBOOKS] == [f"{n}_" for n in range(1, 7)]


@each_notebook
def test_a_notebook_begins_with_its_title(path):
    first = read(path)[0]
    assert first["cell_type"] == "markdown" and first["source"].startswith(f"# {path.stem[0]}. ")


@each_notebook
def test_outputs_are_of_one_run_from_the_top(path):
    code = [cell for cell in read(path) if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))


@each_notebook
def test_outputs_are_pictures_and_plain_text_without_errors_and_warnings(path):
    cells = read(path)
    outputs = [output for cell in cells if cell["cell_type"] == "code" for output in cell["outputs"]]
    assert not [o for o in outputs if o["output_type"] == "error" or o.get("name") == "stderr"]
    assert {kind for output in outputs for kind in output.get("data", {})} <= {"image/png", "text/plain"}
    assert sum(pictures(cells)) >= 1


@each_notebook
def test_a_notebook_is_small_and_contains_no_machine_paths(path):
    assert path.stat().st_size < 400_000
    texts = []
    for cell in read(path):
        texts.append(cell["source"])
        for output in cell.get("outputs", []):
            texts += ["".join(output.get("text", [])), "".join(output.get("data", {}).get("text/plain", []))]
    assert not MACHINE_PATHS.findall("\n".join(texts))


def test_nothing_is_pushed_without_a_token():
    pushing = [cell["source"] for path in NOTEBOOKS for cell in read(path) if "push_to_hub(" in cell["source"]]
    (code,) = pushing
    before, _, rest = code.partition("\nif token:\n")
    guarded, _, otherwise = rest.partition("\nelse:\n")
    assert before == 'token = os.environ.get("HF_TOKEN")'
    assert "push_to_hub(" in guarded and all(not line or line.startswith("    ") for line in guarded.split("\n"))
    assert otherwise.strip() == 'print("HF_TOKEN is not set: nothing was pushed")'


@pytest.fixture
def execute(tmp_path, monkeypatch):
    """Returns a function that runs a notebook in a new kernel and an empty folder, and returns it with the new outputs."""
    nbclient, kernelspec = pytest.importorskip("nbclient"), pytest.importorskip("ipykernel.kernelspec")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("peft")
    # The kernel uses this interpreter and one thread. It shows pictures and has no token.
    kernelspec.write_kernel_spec(tmp_path / "jupyter" / "kernels" / "python3")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for name in ("MPLBACKEND", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "empty"
    folder.mkdir()

    def run(path):
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        client = nbclient.NotebookClient(
            notebook, timeout=LIMIT_S, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
        )
        asyncio.run(asyncio.wait_for(client.async_execute(), LIMIT_S))  # an error in a cell is raised here
        assert not list(folder.iterdir()), "the notebook left files in its folder"
        return notebook

    return run


@pytest.mark.slow
@each_notebook
def test_a_notebook_runs_in_a_new_kernel(path, execute):
    assert pictures(execute(path).cells) == pictures(read(path))


@pytest.mark.slow
def test_the_notebook_on_sharing_pushes_a_model_and_loads_it(execute, tmp_path, monkeypatch):
    with Hub() as hub:
        for name, value in hub.environment(tmp_path / "home").items():
            monkeypatch.setenv(name, value)
        *_, here, pushed = [cell for cell in execute(NOTEBOOKS[2]).cells if cell.cell_type == "code"]
        said, there = ("".join(output.get("text", "") for output in cell.outputs) for cell in (here, pushed))
        assert said.startswith("class: MinRNNForCausalLM of the module transformers_modules\nlogits: [")
        assert there.partition("\n")[0] == "pushed to me/mingru-on-prose"
        assert there.partition("\n")[2].strip() == said.partition("logits here:")[0].strip()
        assert hub.repositories["me/mingru-on-prose"].private
        asked = {kind for kind, _ in hub.requests}
        assert {"commit", "resolve"} <= asked and TOKEN not in said + there
