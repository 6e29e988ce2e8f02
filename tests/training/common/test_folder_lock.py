# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The lock of an output folder, between processes, after a kill, and on file systems without locks."""

import errno
import os
import signal
import subprocess
import sys

import filelock
import pytest

from training.common.errors import InputError
from training.common.folder_lock import NAME, FolderLock

HOLDER = """
import sys, time
from training.common.folder_lock import FolderLock
with FolderLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def start_holder():
    """Returns a function that starts a process which holds the lock of a folder until its input is closed."""
    started = []

    def start(folder):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", HOLDER, str(folder)]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_second_process_is_rejected_until_the_first_ends(tmp_path, start_holder):
    holder = start_holder(tmp_path / "run")
    for _ in range(2):
        with pytest.raises(InputError, match=r"another process is training in .*run: wait for it, or give another"):
            FolderLock(tmp_path / "run").__enter__()
    with FolderLock(tmp_path / "other"):
        pass
    holder.communicate("", timeout=60)
    with FolderLock(tmp_path / "run"):
        pass


def test_a_kill_releases_the_lock(tmp_path, start_holder):
    holder = start_holder(tmp_path)
    holder.send_signal(signal.SIGKILL)
    holder.wait(60)
    assert (tmp_path / NAME).exists()
    with FolderLock(tmp_path):
        pass


@pytest.mark.parametrize("existing", [[], ["a"], ["a", "b"]], ids=len)
def test_folders_that_stay_empty_are_removed(tmp_path, existing):
    tmp_path.joinpath(*existing).mkdir(parents=True, exist_ok=True)
    with FolderLock(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b" / NAME).exists()
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    assert left == {"/".join(existing[:n]) for n in range(1, len(existing) + 1)}


def test_a_folder_with_content_stays(tmp_path):
    with FolderLock(tmp_path / "run"):
        (tmp_path / "run" / "file").write_text("content")
    assert (tmp_path / "run" / "file").exists()


@pytest.mark.parametrize(
    "error",
    [NotImplementedError(), OSError(errno.ENOLCK, "No locks available"), OSError(errno.ENOTSUP, "Not supported")],
    ids=repr,
)
def test_a_file_system_without_locks_gets_one_line(tmp_path, monkeypatch, capsys, error):
    def acquire(self):
        raise error

    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
    with FolderLock(tmp_path / "run"):
        (tmp_path / "run" / "file").write_text("content")
    shown = capsys.readouterr().out
    assert shown.count("\n") == 1 and "cannot be locked on this file system" in shown


def test_a_read_only_file_system_is_an_input_error(tmp_path, monkeypatch):
    def acquire(self):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
    with pytest.raises(
        InputError, match=r"nothing can be written there \(Read-only file system\): give another folder"
    ):
        FolderLock(tmp_path / "run").__enter__()
    assert not (tmp_path / "run").exists()
