# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Locks the output folder of a run, so that no second process trains in it."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

import filelock

from training.common.errors import InputError

NAME = ".lock"
UNSUPPORTED = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


class FolderLock:
    """Context manager that holds the lock of a folder, and creates the folder if it does not exist.

    The operating system releases the lock when the process ends, also if it is killed. On exit, the folders that were created
    are removed again if nothing was written to them.

    Args:
        folder (`Path`): The folder to lock.

    Raises:
        InputError: On entry, if another process holds the lock or the folder cannot be written to.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)
        self._created: list[Path] = []  # the innermost first
        self._lock: filelock.BaseFileLock | None = None

    def __enter__(self) -> FolderLock:
        self._created = [path for path in (self.folder, *self.folder.parents) if not path.exists()]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(self.folder / NAME, timeout=0)
            lock.acquire()
            self._lock = lock
        except filelock.Timeout:
            raise InputError(
                f"another process is training in {self.folder}: wait for it, or give another --output-dir"
            ) from None
        except (OSError, NotImplementedError) as error:
            if isinstance(error, OSError) and error.errno not in UNSUPPORTED:
                self._remove_created()
                raise InputError(
                    f"--output-dir {self.folder}: nothing can be written there ({error.strerror}): give another folder"
                ) from error
            print(f"{self.folder} cannot be locked on this file system: start no second run in it")
        return self

    def __exit__(self, *exception: object) -> None:
        self._remove_created()
        if self._lock is not None:
            self._lock.release()

    def _remove_created(self) -> None:
        """Removes the lock's file, and the folders that this object created, if nothing else was written."""
        if not self.folder.is_dir() or any(path.name != NAME for path in self.folder.iterdir()):
            return
        # The file is removed before the lock is released. Another process then locks a file that no longer exists, which
        # filelock notices, or it creates the file again, and the folder stays.
        with contextlib.suppress(OSError):
            (self.folder / NAME).unlink(missing_ok=True)
            for folder in self._created:
                folder.rmdir()
