# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Writes files atomically: a reader sees either the old content or the new, also after a failure."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from training.common.errors import WriteError, error_number, first_cause

TEMPORARY_FOLDER = ".saving.partial"


def write_bytes(path: str | os.PathLike, content: bytes) -> None:
    """Writes a file atomically, and its folder if it does not exist.

    Raises:
        WriteError: It could not be written, for example on a full disk. An earlier file of this name is unchanged.
    """
    path = Path(path)
    temporary = path.with_name(f"{path.name}.partial")
    with explained_write(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(content)
            os.replace(temporary, path)
        except OSError:
            with suppress(OSError):
                temporary.unlink()
            raise


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a text file atomically as UTF-8, see `write_bytes`. Line endings stay unchanged."""
    write_bytes(path, text.encode())


def write_json(path: str | os.PathLike, value: dict) -> None:
    """Writes a value as indented JSON, see `write_bytes`."""
    write_text(path, json.dumps(value, indent=2) + "\n")


@contextmanager
def complete_files(folder: str | os.PathLike) -> Iterator[Path]:
    """Context manager for libraries that write several files: yields a temporary folder inside `folder`.

    At the end of the block, each file of the temporary folder replaces the one of the same name in `folder`.

    Raises:
        WriteError: A file could not be written. If this happened inside the block, the files of `folder` are unchanged.
    """
    folder = Path(folder)
    temporary = folder / TEMPORARY_FOLDER
    with explained_write(folder):
        try:
            shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed
            temporary.mkdir(parents=True)
            yield temporary
            for path in sorted(temporary.rglob("*")):
                target = folder / path.relative_to(temporary)
                if path.is_dir():
                    target.mkdir(exist_ok=True)
                else:
                    os.replace(path, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def remove_file(path: str | os.PathLike) -> None:
    """Deletes a file if it exists.

    Raises:
        WriteError: It could not be deleted, for example in a folder that is read-only.
    """
    path = Path(path)
    with explained_write(path, "deleted"):
        path.unlink(missing_ok=True)


@contextmanager
def explained_write(path: Path, action: str = "written") -> Iterator[None]:
    """Turns an error that was raised for a failed write into a `WriteError`. Other errors are left as they are."""
    try:
        yield
    except Exception as error:  # safetensors and tokenizers have types of their own
        if error_number(error) is None:
            raise
        raise WriteError(f"{path} could not be {action} ({first_cause(error)})") from error
