# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Files of a folder: their order, links, loops, names that are hard to print, and what is not a regular file."""

import os
import socket

import pytest

from training.common.errors import InputError
from training.corpus import files
from training.corpus.files import Skipped, find, single_file, without_second_names
from training.corpus.names import shown


def write(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def test_files_are_in_the_order_of_their_path_parts(tmp_path):
    names = ["a.txt", "a/b.txt", "a/c/d.txt", "a-b/x.txt", "B.txt", "b.txt"]
    write(tmp_path, *names)
    found, skipped = find(tmp_path)
    assert [file.name for file in found] == [
        path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*.txt"))
    ]
    assert not skipped


def test_hidden_names_are_counted_and_not_entered(tmp_path):
    write(tmp_path, ".git/index", ".git/deep/x", "docs/.cache/x", ".env", "a.txt")
    found, skipped = find(tmp_path)
    assert [file.name for file in found] == ["a.txt"]
    assert skipped == {"hidden": [".env", ".git", "docs/.cache"]}


def test_links_are_followed_once(tmp_path):
    write(tmp_path, "data/z/a.txt", "elsewhere/b.txt")
    (tmp_path / "data" / "a-link").symlink_to(tmp_path / "data" / "z")
    (tmp_path / "data" / "loop").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "other").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "gone").symlink_to(tmp_path / "nothing")
    (tmp_path / "data" / "same.txt").symlink_to(tmp_path / "data" / "z" / "a.txt")
    os.link(tmp_path / "data" / "z" / "a.txt", tmp_path / "data" / "z" / "hard.txt")
    found, skipped = find(tmp_path / "data")
    found = without_second_names(found, skipped)
    assert [file.name for file in found] == ["other/b.txt", "z/a.txt"]
    assert skipped == {
        "folder linked twice": ["a-link", "loop"],
        "broken link": ["gone"],
        "linked twice": ["same.txt", "z/hard.txt"],
    }


def test_pipes_and_sockets_are_never_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "s"))
    server.close()
    _, skipped = find(tmp_path)
    assert skipped == {"not a regular file": ["pipe", "s"]}
    for name, kind in (("pipe", "a pipe"), ("s", "a socket")):
        with pytest.raises(InputError, match=f"{name} is {kind}, not a regular file"):
            single_file(tmp_path / name)
    with pytest.raises(InputError, match="null is a device, not a regular file"):
        single_file(type(tmp_path)("/dev/null"))


def test_unreadable_files_and_folders_are_counted(tmp_path, monkeypatch):
    write(tmp_path, "a.txt", "b.txt", "closed/c.txt")
    # The tests may run as root, who may read everything.
    scan = os.scandir
    monkeypatch.setattr(files.os, "access", lambda path, mode: not str(path).endswith("b.txt"))

    def refuse(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(files.os, "scandir", refuse)
    found, skipped = find(tmp_path)
    assert [file.name for file in found] == ["a.txt"]
    assert skipped == {"unreadable": ["b.txt", "closed"]}


def test_a_broken_link_and_a_path_that_cannot_be_reached_are_named(tmp_path):
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(InputError, match="link is a link to nowhere, which does not exist: repair"):
        single_file(tmp_path / "link")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(InputError, match=r"loop cannot be read \(Too many levels"):
        single_file(tmp_path / "loop")
    with pytest.raises(InputError, match=r"cannot be read \(File name too long\)"):
        single_file(tmp_path / ("x" * 300))


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        (b"caf\xe9.txt", "caf\\xe9.txt"),
        (b"two\nlines", "two\\nlines"),
        (b"\x1b[31mred", "\\x1b[31mred"),
        ("right\u202eleft".encode(), "right\\u202eleft"),
        ("日本 🎉".encode(), "日本 🎉"),
    ],
)
def test_any_name_can_be_printed_in_one_line(name, printed, tmp_path):
    path = os.fsdecode(name)
    (tmp_path / path).write_text("text")
    found, _ = find(tmp_path)
    assert shown(found[0].name) == printed
    assert len(printed.splitlines()) == 1
    printed.encode()


def test_skipped_names_are_collected_by_reason():
    skipped = Skipped()
    skipped.add("binary", [])
    skipped.add("empty", ["a"])
    skipped.add("empty", ["b"])
    assert skipped == {"empty": ["a", "b"]}
