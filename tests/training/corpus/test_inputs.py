# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Reads every input of support/input_cases.py, and compares its documents with the expected ones and with the table."""

import pytest
from support import input_cases
from support.input_cases import Input, Outcome
from support.train_cases import QUICK

from training import train_lm

BUILDERS = [builder for builders in input_cases.load_builders().values() for builder in builders]


@pytest.fixture(scope="module")
def results():
    """Returns the outcomes of the inputs that were read so far, by builder: each is read once."""
    return {}


@pytest.mark.parametrize("builder", BUILDERS, ids=lambda builder: builder.__name__)
def test_the_documents_of_each_input_are_the_expected_ones(builder, results):
    results[builder] = input_cases.outcomes(builder)
    input, whole, streamed = results[builder]
    assert input_cases.problems(input, whole, streamed=False) == []
    assert input_cases.problems(input, streamed, streamed=True) == []


def test_the_committed_table_is_current(results):
    rows = {}
    for title, builders in input_cases.load_builders().items():
        rows[title] = []
        for builder in builders:
            if builder not in results:
                results[builder] = input_cases.outcomes(builder)
            rows[title].append((builder.__doc__.strip(), *results[builder]))
    text = input_cases.TABLE.read_text(encoding="utf-8")
    assert text == input_cases.render(rows), "run: PYTHONPATH=tests:. python -m support.input_cases"


def test_descriptions_and_names_are_unique():
    assert len(BUILDERS) >= 60
    assert len({builder.__name__ for builder in BUILDERS}) == len(BUILDERS)


@pytest.mark.parametrize(
    "input, outcome",
    {
        "other documents": (Input("a", documents=["ab", "cd"]), Outcome(["ab"], ["ce"])),
        "other order": (Input("a", documents=["ab", "cd"]), Outcome(["cd"], ["ab"])),
        "held out": (Input("a", train=["ab"], heldout=["cd"]), Outcome(["cd"], ["ab"])),
        "empty side": (Input("a", documents=["ab", "cd"]), Outcome(["ab", "cd"], [])),
        "too much held out": (Input("a", documents=["ab", "cd", "ef"]), Outcome(["ab"], ["cd", "ef"])),
        "cut elsewhere": (Input("a", documents=["abcdefghij"]), Outcome(["abcde"], ["fghij"])),
        "not skipped": (Input("a", documents=["ab", "cd"], skipped=("x",)), Outcome(["ab"], ["cd"])),
        "skipped": (Input("a", documents=["ab", "cd"]), Outcome(["ab"], ["cd"], {"binary": ["x"]})),
        "no note": (Input("a", documents=["ab", "cd"], noted="test"), Outcome(["ab"], ["cd"])),
        "not refused": (Input("a", refused="x"), Outcome(["ab"], ["cd"])),
        "refused": (Input("a", documents=["ab", "cd"]), Outcome(error="x")),
        "other reason": (Input("a", refused="x"), Outcome(error="y")),
        "two lines": (Input("a", refused="x"), Outcome(error="x\ny")),
    }.values(),
)
def test_a_wrong_outcome_is_detected(input, outcome):
    assert input_cases.problems(input, outcome, streamed=False) != []
    assert input_cases.problems(Input("a", documents=["ab", "cd"]), Outcome(["ab"], ["cd"]), streamed=False) == []


TRAINED = (
    "latin1_stated",
    "mixed_encodings_stated",
    "document_per_line_with_separators",
    "several_members",
    "newline_in_a_name",
    "leading_dash",
    "name_that_is_not_utf8",
    "split_files",
    "tab_separated",
    "documentation_beside_tables",
)


@pytest.mark.parametrize("streaming", [[], ["--streaming"]], ids=["whole", "streamed"])
@pytest.mark.parametrize("name", TRAINED)
def test_inputs_are_trained_on(name, streaming, tmp_path, monkeypatch):
    (builder,) = [builder for builder in BUILDERS if builder.__name__ == name]
    with input_cases.input_folder() as folder:
        monkeypatch.chdir(folder)
        arguments = [*builder(folder).arguments(), *streaming, *QUICK, "--steps=2", f"--output-dir={tmp_path / 'run'}"]
        metrics = train_lm.main([*arguments, "--no-baselines"])
        monkeypatch.undo()
    assert metrics["steps"] == 2 and metrics["heldout_bytes"] > 0


REFUSED = ("big5", "tar_archive", "random_bytes", "refused_name_with_a_newline", "include_nothing", "lists")


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_end_the_script_with_one_line(name, tmp_path, monkeypatch):
    (builder,) = [builder for builder in BUILDERS if builder.__name__ == name]
    with input_cases.input_folder() as folder:
        monkeypatch.chdir(folder)
        input = builder(folder)
        with pytest.raises(SystemExit) as stopped:
            train_lm.main([*input.arguments(), *QUICK, "--steps=2", f"--output-dir={tmp_path / 'run'}"])
        monkeypatch.undo()
    message = str(stopped.value.code)
    assert message.startswith("training.train_lm: ")
    assert input_cases.problems(input, Outcome(error=message), streamed=False) == []
