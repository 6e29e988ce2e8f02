# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Result files that are filled entry by entry, so that a script that was stopped continues where it was."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import filelock

from training.common.errors import InputError
from training.common.files import write_json
from training.common.machine import machine, versions


def origin() -> dict:
    """Returns when, where and with which versions an entry was made."""
    finished = datetime.now(UTC).isoformat(timespec="seconds")
    return {"finished": finished, "machine": machine(), "versions": versions()}


class ResultStore:
    """A result file that is written after each entry. Several processes may fill one file.

    Args:
        path (`Path`): The file. Its entries are kept.
        head (`dict`): Values that all entries share, written at the head of the file.
        name (`str`): Key of the entries in the file.
        settings (`dict`, *optional*): Settings that all entries must share; kept in the head. With settings the head of an
            existing file is kept too; without them it is replaced.

    Raises:
        InputError: The file is not a result file, or has other settings.
    """

    def __init__(self, path: str | os.PathLike, head: dict, name: str = "rows", settings: dict | None = None):
        self.path = Path(path)
        self.name = name
        self.settings = settings
        if settings is not None:
            head = {**head, "settings": settings}
        self.value = {**head, name: {}}
        self.reload()

    @property
    def entries(self) -> dict[str, dict]:
        """The entries by key, as they were at the last `reload` or `add`."""
        return self.value[self.name]

    def reload(self) -> None:
        """Reads the entries that the file has now.

        Raises:
            InputError: The file is not a result file, or has other settings.
        """
        if not self.path.exists():
            return
        try:
            written = json.loads(self.path.read_text(encoding="utf-8"))
            entries = dict(written[self.name])
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(
                f"{self.path} is no result file of an experiment, or damaged ({type(error).__name__}: {error}): give another "
                "--output"
            ) from error
        if self.settings is not None:
            self._check(written.get("settings", {}))
            self.value = {**written, "settings": {**written.get("settings", {}), **self.settings}}
        self.value[self.name] = entries

    def _check(self, written: dict) -> None:
        for name, value in self.settings.items():
            if name in written and written[name] != value:  # older files may lack a setting
                raise InputError(
                    f"{self.path} holds {self.name} with {name} {written[name]}, asked for is {value}: choose another --output"
                )

    def add(self, key: str, entry: dict) -> None:
        """Writes an entry into the file, and reads those that other processes have written in the meantime."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{self.path}.lock"):
            self.reload()
            self.entries[key] = entry
            write_json(self.path, self.value)

    def row(self, key: str, settings: dict, command: str, work: Callable[[], dict]) -> dict:
        """Returns an entry with settings of its own; makes it now if the file does not have it.

        Args:
            key (`str`): Key of the entry.
            settings (`dict`): Values that the entry depends on, of JSON's types; compared with those in the file.
            command (`str`): Command that makes this entry again.
            work: Function without arguments that returns the results.

        Raises:
            InputError: The file has an entry of this name with other settings.
        """
        settings = json.loads(json.dumps(settings))
        self.reload()
        if key in self.entries:
            found = self.entries[key]
            before = found["settings"]
            different = [name for name in {**settings, **before} if settings.get(name) != before.get(name)]
            if different:
                raise InputError(
                    f"{self.path} has the row {key!r} with {different[0]} {before.get(different[0])!r}, not "
                    f"{settings.get(different[0])!r}: give another --output, or delete that row"
                )
            print(f"{key}: already in {self.path.name}", flush=True)
            return found
        print(f"{key}: {command}", flush=True)
        row = {"command": command, "settings": settings, **work(), **origin()}
        self.add(key, row)
        return row
