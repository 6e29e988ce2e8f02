# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Finds the files of a folder, and says which names were not followed and why."""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from training.common.errors import InputError
from training.corpus.decoding import Content
from training.corpus.names import shown


@dataclass(frozen=True)
class File:
    """A regular file of a source.

    Attributes:
        path (`Path`): Where it is.
        name (`str`): Path relative to the folder that was given, with `/`; for a single file, its own name.
        size (`int`): Bytes.
        modified (`int`): Time of the last change, in nanoseconds.
        identity (`tuple[int, int]`): Device and inode. All names of one file have the same identity.
        linked (`bool`): Whether a symbolic link leads to it.
        kind (`str`): `text`, or the kind of table, see `tables.table_kind`.
        content (`Content`, *optional*): The examined content; `None` for Parquet and Arrow.
    """

    path: Path
    name: str
    size: int
    modified: int
    identity: tuple[int, int]
    linked: bool = False
    kind: str = "text"
    content: Content | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the folders and of the file. Files are read in the order of this key."""
        return tuple(self.name.split("/"))


class Skipped(defaultdict):
    """Names of the files that are not read, by the reason."""

    def __init__(self) -> None:
        super().__init__(list)

    def add(self, reason: str, names: Iterable[str]) -> None:
        """Adds names to a reason."""
        names = list(names)
        if names:
            self[reason] += names


def status(path: Path) -> os.stat_result | None:
    """Returns the status of a file or folder, or `None` if nothing has this path.

    Raises:
        InputError: The path is a broken link, or cannot be reached.
    """
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        if os.path.islink(path):
            raise InputError(
                f"{shown(path)} is a link to {shown(os.readlink(path))}, which does not exist: repair the link"
            ) from None
        return None
    except OSError as error:
        raise InputError(f"{shown(path)} cannot be read ({error.strerror}): give another path") from None


def single_file(path: Path) -> File:
    """Returns the file of a path.

    Raises:
        InputError: It is not a regular file, or cannot be read.
    """
    found = status(path)
    if found is None:
        raise InputError(f"{shown(path)} does not exist: give the path of a file or folder")
    if not stat.S_ISREG(found.st_mode):
        raise InputError(
            f"{shown(path)} is {_kind_of(found.st_mode)}, not a regular file: copy its text to a file first"
        )
    return _file(path, path.name, found, path.is_symlink())


def find(folder: Path) -> tuple[list[File], Skipped]:
    """Returns the regular files below a folder in the order of their names, and the names that were skipped.

    Symbolic links are followed. A folder with several names is read once: under a name without links if it has one.

    Raises:
        InputError: The folder itself cannot be read.
    """
    files: list[File] = []
    skipped = Skipped()
    seen: set[tuple[int, int]] = set()
    plain = [(folder, "")]
    linked: list[tuple[Path, str]] = []
    while plain or linked:
        through_link = not plain
        path, prefix = plain.pop() if plain else linked.pop(0)
        try:
            found = os.stat(path)
            entries = [] if _identity(found) in seen else sorted(os.scandir(path), key=lambda entry: entry.name)
        except OSError as error:
            if not prefix:
                raise InputError(f"{shown(folder)} cannot be read ({error.strerror}): give another path") from None
            skipped.add("unreadable", [prefix])
            continue
        if _identity(found) in seen:
            skipped.add("folder linked twice", [prefix])
            continue
        if any(_identity(found)):  # file systems without inodes give zeros
            seen.add(_identity(found))
        for entry in entries:
            name = f"{prefix}/{entry.name}" if prefix else entry.name
            _sort_entry(entry, name, through_link, files, skipped, plain, linked)
    files.sort(key=lambda file: file.parts)
    for names in skipped.values():
        names.sort()
    return files, skipped


def _sort_entry(
    entry: os.DirEntry,
    name: str,
    through_link: bool,
    files: list[File],
    skipped: Skipped,
    plain: list[tuple[Path, str]],
    linked: list[tuple[Path, str]],
) -> None:
    """Adds an entry of a folder to the files, to the folders that are still to be read, or to the skipped names."""
    if entry.name.startswith("."):
        skipped.add("hidden", [name])
        return
    is_link = entry.is_symlink()
    try:
        found = os.stat(entry.path)
    except FileNotFoundError:
        skipped.add("broken link" if is_link else "unreadable", [name])
        return
    except OSError:
        skipped.add("unreadable", [name])
        return
    if stat.S_ISDIR(found.st_mode):
        (linked if is_link or through_link else plain).append((Path(entry.path), name))
    elif not stat.S_ISREG(found.st_mode):
        skipped.add("not a regular file", [name])
    elif not os.access(entry.path, os.R_OK):
        skipped.add("unreadable", [name])
    else:
        files.append(_file(Path(entry.path), name, found, is_link or through_link))


def without_second_names(files: list[File], skipped: Skipped) -> list[File]:
    """Returns the files without further names of the same file. A name without links is preferred."""
    first: dict[tuple[int, int], File] = {}
    for file in sorted(files, key=lambda file: (file.linked, file.parts)):
        first.setdefault(file.identity, file)
    kept = []
    for file in files:
        if not any(file.identity) or first[file.identity] is file:
            kept.append(file)
        else:
            skipped.add("linked twice", [file.name])
    return kept


def _identity(found: os.stat_result) -> tuple[int, int]:
    return (found.st_dev, found.st_ino)


def _file(path: Path, name: str, found: os.stat_result, linked: bool) -> File:
    return File(path, name, found.st_size, found.st_mtime_ns, _identity(found), linked)


def _kind_of(mode: int) -> str:
    for check, kind in ((stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"), (stat.S_ISDIR, "a folder")):
        if check(mode):
            return kind
    return "a device"
