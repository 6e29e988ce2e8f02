# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import json

import pytest

from training.common.errors import InputError
from training.common.paths import RESULTS
from training.common.result_store import ResultStore


def test_rows_are_written_at_once_and_run_once(tmp_path, capsys):
    path, calls = tmp_path / "new" / "rows.json", []

    def work():
        calls.append(1)
        return {"accuracy": 0.5}

    results = ResultStore(path, {"experiment": "x"})
    first = results.row("a", {"rate": 1e-3, "lengths": (1, 2)}, "python a", work)
    assert json.loads(path.read_text())["rows"]["a"] == first
    assert (
        first["accuracy"] == 0.5 and first["command"] == "python a" and first["versions"]["torch"] and first["machine"]
    )
    results = ResultStore(path, {"experiment": "y"})
    assert results.row("a", {"rate": 1e-3, "lengths": [1, 2]}, "python b", work) == first and len(calls) == 1
    results.row("b", {"rate": 1e-2}, "python b", work)
    written = json.loads(path.read_text())
    assert list(written["rows"]) == ["a", "b"] and written["experiment"] == "y"
    assert "a: already in rows.json" in capsys.readouterr().out
    other = ResultStore(path, {"experiment": "y"})  # of a second process, which adds other rows
    results.row("c", {}, "python c", work)
    other.row("d", {}, "python d", work)
    assert other.row("c", {}, "python c", work)["command"] == "python c" and len(calls) == 4
    assert list(json.loads(path.read_text())["rows"]) == ["a", "b", "c", "d"] == list(other.value["rows"])
    with pytest.raises(InputError, match=r"has the row 'a' with rate 0.001, not 0.1: give another --output"):
        results.row("a", {"rate": 0.1, "lengths": [1, 2]}, "python a", work)


def test_entries_under_another_name_share_their_settings(tmp_path):
    path = tmp_path / "runs.json"
    store = ResultStore(path, {"command": "first"}, "runs", {"steps": 3})
    assert store.value == {"command": "first", "settings": {"steps": 3}, "runs": {}} and not path.exists()
    store.add("a", {"bits": 1})
    again = ResultStore(path, {"command": "second"}, "runs", {"steps": 3, "text": "x"})
    assert again.entries == {"a": {"bits": 1}} and again.value["command"] == "first"
    assert again.value["settings"] == {"steps": 3, "text": "x"}  # the file is from before the text was kept
    again.add("b", {"bits": 2})
    store.add("c", {"bits": 3})
    assert (
        json.loads(path.read_text())["runs"] == {"a": {"bits": 1}, "b": {"bits": 2}, "c": {"bits": 3}} == store.entries
    )
    with pytest.raises(InputError, match="holds runs with steps 3, asked for is 4: choose another --output"):
        ResultStore(path, {}, "runs", {"steps": 4})


@pytest.mark.parametrize("name", ["ablation_bytes", "ablation_bpe", "ablation_shakespeare"])
def test_a_committed_file_is_read_unchanged(name):
    path = RESULTS / f"{name}.json"
    written = json.loads(path.read_text())
    store = ResultStore(path, {}, "runs", written["settings"])
    assert json.dumps(store.value, indent=2) + "\n" == path.read_text()
