# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Paths of this machine are found in result files and removed from all files that repeat them."""

import doctest
import json
from pathlib import Path

import pytest

from hf_minrnn.tools import local_paths
from hf_minrnn.tools.local_paths import (
    LocalPathError,
    is_local_path,
    public_command,
    public_path,
    without_local_paths,
)


def test_examples():
    found = doctest.testmod(local_paths)
    assert found.attempted and not found.failed


@pytest.mark.parametrize(
    ("path", "public"),
    [
        ("/home/user.name/client/letters.txt", "letters.txt"),
        ("client/letters.txt", "letters.txt"),
        ("~/client", "client"),
        ("/data/client/", "client"),
        ("C:\\Users\\user.name\\letters.txt", "letters.txt"),
        ("runs/letters-mingru", "runs/letters-mingru"),
        ("runs/../secret", "secret"),
        ("runs/client/letters", "letters"),
        ("letters.txt", "letters.txt"),
        ("~", "home"),
        ("/", "folder"),
    ],
)
def test_only_the_last_component_is_public(path, public):
    assert public_path(path) == public


def test_the_folder_of_the_process_is_named_without_its_parents(tmp_path, monkeypatch):
    (tmp_path / "secret" / "letters").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "secret" / "letters")
    assert public_path(".") == "letters" and public_path("..") == "secret"


def test_names_on_the_hub_are_not_paths_unless_there_is_such_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert not is_local_path("owner/name") and not is_local_path("owner/name:configuration")
    (tmp_path / "owner" / "name").mkdir(parents=True)
    for path in ("owner/name", "./a", "../a", "~/a", "/a", "a/b/c", "a\\b", "C:/a"):
        assert is_local_path(path), path


def test_words_of_a_command_are_replaced_whole():
    words = ["python", "/a/b", "--dataset=/a/b/c", "--prompts", "/a/b/c and more"]
    assert public_command(words, ["/a/b", "/a/b/c"]) == ["python", "b", "--dataset=c", "--prompts", "/a/b/c and more"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    home = tmp_path / "home" / "user.name"
    monkeypatch.setenv("HOME", str(home))
    path = home / "client" / "run"
    path.mkdir(parents=True)
    return path


def test_recorded_paths_are_removed_from_all_files(folder):
    data = str(folder.parent / "letters.txt")
    backslashes = "D:\\user.name\\tok"
    files: dict[str, Path | bytes] = {
        "results.json": json.dumps(
            {"args": {"dataset": data, "output_dir": str(folder), "tokenizer": backslashes}}
        ).encode(),
        "evaluation.json": json.dumps(
            {"command": f"python -m x {folder} --output={folder}/e.json", "steps": 3}
        ).encode(),
        "adapter_config.json": json.dumps({"base_model_name_or_path": str(folder.parent / "base")}).encode(),
        "README.md": f"python -m training.train_lm --dataset {data} --output-dir {folder}\n".encode(),
        "model.safetensors": str(folder).encode(),
        "tokenizer.json": json.dumps({"name": "/usr/share/x"}).encode(),
        "loss.png": b"\xff\x00",
    }
    found = without_local_paths(files, folder)
    assert json.loads(found["results.json"])["args"] == {
        "dataset": "letters.txt",
        "output_dir": "run",
        "tokenizer": "tok",
    }
    assert json.loads(found["evaluation.json"]) == {"command": "python -m x run --output=e.json", "steps": 3}
    assert json.loads(found["adapter_config.json"]) == {"base_model_name_or_path": "base"}
    assert found["README.md"] == b"python -m training.train_lm --dataset letters.txt --output-dir run\n"
    for name in ("model.safetensors", "tokenizer.json", "loss.png"):
        assert found[name] is files[name]


def test_files_without_paths_are_not_rewritten(folder):
    (folder / "results.json").write_text('{"args":   {"dataset": "owner/name", "note": "/a/b/c"}}')
    files: dict[str, Path | bytes] = {"results.json": folder / "results.json", "README.md": b"# Title\n"}
    assert without_local_paths(files, folder) == files


@pytest.mark.parametrize("where", ["home", "parent"])
def test_a_folder_of_this_machine_in_a_text_is_an_error(folder, where):
    path = Path.home() if where == "home" else folder.parent
    with pytest.raises(LocalPathError, match=r"README\.md names .*a folder of this machine: remove it from the file"):
        without_local_paths({"README.md": f"see {path}/notes".encode()}, folder)
    longer = {"README.md": f"see {Path.home()}-of-another".encode()}
    assert without_local_paths(longer, folder) == longer


def test_a_general_parent_folder_may_be_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/nowhere/user.name")
    files = {"README.md": b"files in /tmp are deleted"}
    assert without_local_paths(files, Path("/tmp/run")) == files
