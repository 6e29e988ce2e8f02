# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Trains on folders of installed packages, and checks the committed result of all folders of the study."""

import doctest
import json
import re
import subprocess
import zipfile
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState, GradientState

from training import train_lm
from training.common.errors import InputError
from training.common.paths import RESULTS
from training.studies import real_folders
from training.studies.real_folders import FOLDERS, Folder

INSTALLED = [folder for folder in FOLDERS if folder.source == "installed"]
LARGE = ("datasets", "numpy", "matplotlib", "torch", "pip")
MODES = {"whole": False, "streamed": True}


def train(arguments):
    train_lm.main(arguments)
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def problems(folder, found):
    """Returns what is wrong about an outcome: it must be trained, or refused as expected, with a remedy that was trained."""
    if folder.refused is None:
        return [] if found["outcome"] == "trained" else [found["message"]]
    if found["outcome"] != "refused":
        return ["it was not refused"]
    missing = [word for word in folder.remedy if word not in found["message"]]
    wrong = [f"{word} is not named: {found['message']}" for word in missing]
    if not re.search(folder.refused, found["message"]):
        wrong.append(f"another reason: {found['message']}")
    if found.get("then", {}).get("outcome") != "trained":
        wrong.append(f"the remedy does not work: {found.get('then')}")
    return wrong


def test_examples():
    found = doctest.testmod(real_folders)
    assert found.attempted and not found.failed


def test_the_study_has_folders_of_every_kind():
    assert len(FOLDERS) >= 20 and len(INSTALLED) >= 8
    assert len({(folder.package, folder.path) for folder in FOLDERS}) == len(FOLDERS)
    assert {folder.source for folder in FOLDERS} == {"debian", "pypi", "installed"}
    assert all(bool(folder.refused) == bool(folder.remedy) for folder in FOLDERS)


def cases():
    """Returns parameters for every installed package. The large ones take some seconds each."""
    found = []
    for folder in INSTALLED:
        for mode in MODES:
            marks = [pytest.mark.slow] if folder.package in LARGE else []
            found.append(pytest.param(folder, mode, marks=marks, id=f"{folder.path.replace('/', '.')}-{mode}"))
    return found


@pytest.mark.parametrize("folder, mode", cases())
def test_folders_of_installed_packages_are_trained_on(folder, mode):
    try:
        root, version = real_folders.installed(folder.package)
    except InputError:
        pytest.skip(f"{folder.package} is not installed")
    found = real_folders.outcome(folder, root, MODES[mode], train)
    assert problems(folder, found) == []
    last = found.get("then", found)
    assert version and min(last["documents"]) > 0 and last["characters"] > 1000


def test_the_committed_result_has_every_folder_and_the_expected_outcome():
    rows = json.loads((RESULTS / "real_folders.json").read_text(encoding="utf-8"))["folders"]
    assert [real_folders.row_key(row) for row in rows] == [(folder.package, folder.path) for folder in FOLDERS]
    for folder, row in zip(FOLDERS, rows):
        assert row["version"] and row["options"] == list(folder.options)
        for mode in MODES:
            assert problems(folder, row[mode]) == [], (folder.package, mode)
            found = row[mode].get("then", row[mode])
            assert min(found["documents"]) > 0 and found["characters"] > 1000
        whole, streamed = (row[mode].get("then", row[mode]) for mode in MODES)
        assert whole["characters"] == streamed["characters"] and whole["skipped"] == streamed["skipped"]


def test_the_committed_result_names_no_place_of_the_machine():
    text = (RESULTS / "real_folders.json").read_text(encoding="utf-8")
    assert str(Path.home()) not in text and "/tmp/" not in text and "://" not in text


def test_the_remedy_is_tried_after_a_refusal(tmp_path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/a.txt").write_bytes("Grüße aus Köln, schöne Tage\n".encode("latin-1") * 50)
    folder = Folder("debian", "texts", "texts", refused="probably cp1252", remedy=("--encoding", "cp1252"))
    found = real_folders.outcome(folder, tmp_path, False, train)
    assert problems(folder, found) == [] and found["remedy"] == ["--encoding", "cp1252"]
    assert found["then"]["documents"] == [1, 1] and found["then"]["sample"].startswith("Grüße aus Köln")
    without = real_folders.outcome(Folder("debian", "texts", "texts"), tmp_path, False, train)
    assert without["outcome"] == "refused" and "then" not in without
    assert problems(Folder("debian", "texts", "texts"), without) == [without["message"]]
    assert problems(folder, {**found, "message": "probably cp1252"}) == ["--encoding is not named: probably cp1252"]
    assert problems(folder, found["then"]) == ["it was not refused"]


@pytest.mark.slow
def test_a_new_process_reports_its_message(tmp_path):
    folder = Folder("debian", "nothing", "missing.txt")
    found = real_folders.outcome(folder, tmp_path, False)
    assert found["outcome"] == "refused" and found["message"].startswith("dataset 'missing.txt' does not exist")


def test_packages_are_downloaded_once(tmp_path, monkeypatch):
    calls = []

    def run_tool(command, where):
        calls.append(command[0])
        if command[:2] == ["apt-get", "download"]:
            Path(where, "words_1%3a2.0-3_all.deb").write_bytes(b"")
        elif command[0] == "dpkg":
            assert Path(command[3]).is_absolute()  # the program runs in another folder
            Path(command[3], "usr").mkdir()
        else:
            with zipfile.ZipFile(Path(where, "words-4.5-py3-none-any.whl"), "w") as wheel:
                wheel.writestr("words/a.txt", "a")

    monkeypatch.setattr(real_folders, "run_tool", run_tool)
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        root, version = real_folders.obtain(Folder("debian", "words", "usr"), Path("cache"))
        assert version == "1:2.0-3" and (root / "usr").is_dir()
        root, version = real_folders.obtain(Folder("pypi", "words", "words"), Path("cache"))
        assert version == "4.5" and (root / "words/a.txt").read_text() == "a"
    assert len(calls) == 3


def test_failed_downloads_and_missing_packages_are_named(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="no-such-program is not installed"):
        real_folders.run_tool(["no-such-program"], str(tmp_path))
    with pytest.raises(InputError, match="the package no_such_package is not installed"):
        real_folders.installed("no_such_package")

    def fail(command, **_):
        raise subprocess.CalledProcessError(100, command, stderr="W: old\nE: Unable to locate package words\n")

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(InputError, match="apt-get download words failed: E: Unable to locate package words"):
        real_folders.unpack_debian("words", str(tmp_path), tmp_path / "words")


def test_the_script_keeps_the_rows_of_other_packages(tmp_path, monkeypatch):
    monkeypatch.setattr(real_folders, "FOLDERS", (Folder("installed", "a", "a"), Folder("installed", "b", "b")))
    monkeypatch.setattr(real_folders, "measure", lambda folder, _: {"package": folder.package, "folder": folder.path})
    arguments = ["--cache", str(tmp_path / "cache"), "--output", str(tmp_path / "r.json")]
    assert len(real_folders.main(arguments)["folders"]) == 2
    monkeypatch.setattr(
        real_folders, "measure", lambda folder, _: {"package": folder.package, "folder": folder.path, "new": 1}
    )
    result = real_folders.main([*arguments, "--packages", "b"])
    assert [row.get("new") for row in result["folders"]] == [None, 1]
    assert str(tmp_path / "cache") not in (tmp_path / "r.json").read_text()
