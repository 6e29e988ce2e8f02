# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Reasons and remedies of failed writes, also behind the errors of libraries."""

import errno
import os

import pytest

from training.common.errors import CheckpointError, WriteError, error_number, first_cause, first_line, write_remedy


def full():
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def rust():
    return Exception("Error while serializing: I/O error: No space left on device (os error 28)")


def raised(*errors):
    """Returns the last of some errors, each raised from the one before."""
    caught = None
    for error in errors:
        try:
            raise error from caught
        except Exception as found:
            caught = found
    return caught


def raised_while_handling(first, second):
    """Returns the second error, raised while the first one was handled."""
    try:
        try:
            raise first
        except Exception:
            raise second  # noqa: B904 - it has no cause, but a context
    except Exception as found:
        return found


WRAPPED = {
    "alone": full(),
    "renamed": OSError(errno.ENOSPC, "a text of its own"),
    "safetensors": rust(),
    "torch": raised(full(), RuntimeError("unexpected pos 64 vs 0")),
    "context": raised_while_handling(full(), RuntimeError("unexpected pos 64 vs 0")),
    "three": raised(rust(), ValueError("a"), RuntimeError("b")),
    "while another was handled": raised_while_handling(KeyError("a"), raised(full(), RuntimeError("b"))),
    "after a missing folder": raised_while_handling(FileNotFoundError(errno.ENOENT, "a"), full()),
    "before a missing file": raised_while_handling(full(), FileNotFoundError(errno.ENOENT, "a")),
    "after another was handled": raised(raised_while_handling(KeyError("a"), full()), RuntimeError("b")),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_the_reason_is_that_of_the_system(name):
    assert error_number(WRAPPED[name]) == errno.ENOSPC
    assert first_cause(WRAPPED[name]) == "No space left on device"
    assert write_remedy(WRAPPED[name]) == "make room"


def test_an_error_without_a_number_has_its_own_reason():
    error = raised(ValueError("the first\nof two lines"), RuntimeError("about it"))
    assert error_number(error) is None and first_cause(error) == "the first"
    assert first_line(error) == "about it"


@pytest.mark.parametrize(
    "number, remedy",
    [
        (errno.ENOSPC, "make room"),
        (errno.EDQUOT, "make room"),
        (errno.EROFS, "make the folder writable, or take another"),
        (errno.EACCES, "make the folder writable, or take another"),
        (errno.EPERM, "make the folder writable, or take another"),
        (errno.EIO, "correct this"),
        (errno.EFBIG, "correct this"),
    ],
    ids=lambda value: errno.errorcode[value] if isinstance(value, int) else "",
)
def test_only_a_full_disk_needs_room(number, remedy):
    for kind in (WriteError, CheckpointError):
        error = raised(OSError(number, os.strerror(number)), kind("a.json could not be written"))
        assert write_remedy(error, "take another") == remedy
        assert first_cause(error) == os.strerror(number)
