# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The errors that a script reports in one line, and the reasons of others."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator

DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}
# safetensors and tokenizers are written in Rust. Their errors have the number only in the text.
NUMBER_IN_TEXT = re.compile(r"\(os error (\d+)\)")


class InputError(ValueError):
    """An input that the user can correct. The message names the value and the remedy."""


class WriteError(OSError):
    """A file could not be written or deleted. The message names it and the reason; `write_remedy` returns the remedy."""


class CheckpointError(WriteError):
    """A checkpoint could not be written. The earlier ones are untouched."""


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's message, or its type if it has none.

    >>> first_line(ValueError("bad value\\nmore about it")), first_line(ValueError())
    ('bad value', 'ValueError')
    """
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def first_cause(error: BaseException) -> str:
    """Returns the reason of an error. Libraries raise errors of their own after a failed write; the system's is returned.

    >>> first_cause(RuntimeError("Error while serializing: I/O error: ... (os error 28)"))
    'No space left on device'
    """
    number = error_number(error)
    if number is None:
        *_, innermost = _chain(error)
        return first_line(innermost)
    return os.strerror(number)


def error_number(error: BaseException) -> int | None:
    """Returns the system's number of an error, or of the error that it was raised for; `None` if there is none."""
    found = None
    for cause in _chain(error):
        number = getattr(cause, "errno", None)
        in_text = NUMBER_IN_TEXT.search(str(cause))
        if number is None and in_text:
            number = int(in_text.group(1))
        # Path.mkdir first fails for lack of the parent folder, and then for the reason that it cannot be created.
        if isinstance(number, int) and (found is None or number != errno.ENOENT):
            found = number
    return found


def file_name(error: BaseException) -> str | None:
    """Returns the file or folder that an error names, or the error that it was raised for; `None` if there is none.

    >>> file_name(OSError(errno.ENOSPC, "No space left on device", "/tmp/a.txt")), file_name(ValueError())
    ('/tmp/a.txt', None)
    """
    found = None
    for cause in _chain(error):
        name = getattr(cause, "filename", None)
        if isinstance(name, str | os.PathLike):
            found = os.fspath(name)
    return found if found is None else os.fsdecode(found)


def write_remedy(error: BaseException, elsewhere: str = "choose another folder") -> str:
    """Returns how to correct an error that was raised for a failed write.

    Args:
        elsewhere (`str`): How to write to another folder, for a folder that is read-only.

    >>> write_remedy(OSError(errno.ENOSPC, "...")), write_remedy(OSError(errno.EROFS, "..."))
    ('make room', 'make the folder writable, or choose another folder')
    """
    number = error_number(error)
    if number in DISK_FULL:
        return "make room"
    if number in READ_ONLY:
        return f"make the folder writable, or {elsewhere}"
    return "correct this"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yields an error, the one that it was raised for, and so on."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
