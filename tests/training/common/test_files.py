# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Files are complete or unchanged, and a failed write is one error with the name of the file."""

import errno
import json
import os
from pathlib import Path

import pytest
import torch
from matplotlib import pyplot as plt
from safetensors.torch import save_file
from tokenizers import Tokenizer, models

from training.common import files
from training.common.errors import WriteError, write_remedy
from training.common.files import TEMPORARY_FOLDER, complete_files, remove_file, write_bytes, write_json, write_text
from training.common.plots import plot_bars

WRITERS = {
    "bytes": lambda path: write_bytes(path, b"new"),
    "text": lambda path: write_text(path, "new\r\n"),
    "json": lambda path: write_json(path, {"new": 1}),
    "picture": lambda path: plot_bars(path, "title", "ms", {"a": {"x": 1.0}}),
}
NUMBERS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO)


def name_of(kind):
    return "file.png" if kind == "picture" else "file"


@pytest.mark.parametrize("kind", WRITERS)
def test_a_file_replaces_the_earlier_one(kind, tmp_path):
    path = tmp_path / "new" / "folder" / name_of(kind)
    for _ in range(2):
        WRITERS[kind](path)
        assert path.stat().st_size and [*path.parent.iterdir()] == [path]
    write_text(path, "as it is\r\n\n")
    assert path.read_bytes() == b"as it is\r\n\n"


@pytest.mark.parametrize("number", NUMBERS, ids=errno.errorcode.get)
@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("operation", ["write", "replace"])
def test_a_failed_write_leaves_the_earlier_file(kind, operation, number, tmp_path, monkeypatch):
    path = tmp_path / name_of(kind)
    path.write_text("old")

    def fail(*args, **options):
        raise OSError(number, os.strerror(number))

    def half(self, content):
        with self.open("wb") as file:
            file.write(content[: len(content) // 2])
        fail()

    if operation == "write":
        monkeypatch.setattr(Path, "write_bytes", half)
    else:
        monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(WriteError, match=rf"^{path} could not be written \({os.strerror(number)}\)$") as caught:
        WRITERS[kind](path)
    assert ("make room" in write_remedy(caught.value)) == (number in (errno.ENOSPC, errno.EDQUOT))
    assert path.read_text() == "old" and [*tmp_path.iterdir()] == [path]
    assert not plt.get_fignums()


def test_a_file_that_cannot_be_deleted_is_reported(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_text("old")
    with monkeypatch.context() as patches:
        patches.setattr(Path, "unlink", lambda self, missing_ok: os.rmdir(self / "missing"))
        with pytest.raises(WriteError, match=rf"^{path} could not be deleted \(Not a directory\)$"):
            remove_file(path)
    for _ in range(2):
        remove_file(path)
        assert not path.exists()


def test_other_errors_are_left_as_they_are(tmp_path):
    with pytest.raises(TypeError, match="set is not JSON serializable"):
        write_json(tmp_path / "a.json", {"a": {1}})
    with pytest.raises(ZeroDivisionError), complete_files(tmp_path):
        _ = 1 / 0
    assert not [*tmp_path.iterdir()]


LIBRARIES = {
    "json": lambda path: path.write_text(json.dumps({"a": list(range(10_000))})),
    "safetensors": lambda path: save_file({"a": torch.ones(10_000)}, path),
    "tokenizers": lambda path: Tokenizer(models.WordLevel({"word": 0}, unk_token="word")).save(str(path)),
    "torch": lambda path: torch.save({"a": torch.ones(10_000)}, path),
}


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", LIBRARIES)
def test_files_of_libraries_appear_together(name, tmp_path):
    folder = tmp_path / "model"
    (folder / TEMPORARY_FOLDER).mkdir(parents=True)
    (folder / TEMPORARY_FOLDER / "half").write_text("of a process that was killed")
    (folder / "one").write_text("old")
    (folder / "notes").write_text("of the user")
    with complete_files(folder) as temporary:
        LIBRARIES[name](temporary / "one")
        (temporary / "sub").mkdir()
        LIBRARIES[name](temporary / "sub" / "two")
        assert (folder / "one").read_text() == "old"
    after = content(folder)
    assert {*after} == {"one", "sub/two", "notes"} and after["notes"] == b"of the user" != after["one"] != b"old"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux's device that is always full")
@pytest.mark.parametrize("name", ["json", "tokenizers"])  # safetensors would replace the link
def test_a_full_disk_is_recognized_behind_the_errors_of_libraries(name, tmp_path):
    (tmp_path / "one").write_text("old")

    def save():
        with complete_files(tmp_path) as temporary:
            (temporary / "zero").write_text("new")
            (temporary / "one").symlink_to("/dev/full")
            LIBRARIES[name](temporary / "one")

    with pytest.raises(WriteError, match=rf"^{tmp_path} could not be written \(No space left on device\)$") as caught:
        save()
    assert write_remedy(caught.value) == "make room"
    assert content(tmp_path) == {"one": b"old"}


@pytest.mark.parametrize("name", ["json", "safetensors"])
def test_a_limit_of_the_system_is_recognized_behind_the_errors_of_libraries(name, tmp_path):
    resource = pytest.importorskip("resource")
    (tmp_path / "one").write_text("old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def save():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        try:
            with complete_files(tmp_path) as temporary:
                LIBRARIES[name](temporary / "one")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    with pytest.raises(WriteError, match=rf"could not be written \({os.strerror(errno.EFBIG)}\)$"):
        save()
    assert content(tmp_path) == {"one": b"old"}
