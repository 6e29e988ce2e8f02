# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Fixtures of the tests that read files."""

import pytest


@pytest.fixture
def put(tmp_path):
    """Returns a function that writes bytes or a text to a file, and returns its path."""

    def write(data, name="file.txt"):
        path = tmp_path / name
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return path

    return write
