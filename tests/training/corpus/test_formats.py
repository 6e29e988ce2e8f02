# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Formats that are recognised by their first bytes: binary files, archives, and text that begins like one of them."""

import importlib.util
import io
import pickle
import sqlite3
import tarfile
import wave
import zipfile

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet
from safetensors.numpy import save
from support.archives import tar_of

from training.corpus.decoding import examine
from training.corpus.formats import format_of


def zip_of(*names):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in names:
            archive.writestr(name, data)
    return buffer.getvalue()


def picture(kind):
    from matplotlib import pyplot

    buffer = io.BytesIO()
    figure = pyplot.figure(figsize=(1, 1))
    figure.savefig(buffer, format=kind)
    pyplot.close(figure)
    return buffer.getvalue()


def pillow(kind):
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (9, 9)).save(buffer, kind)
    return buffer.getvalue()


def sqlite_file(tmp_path):
    path = tmp_path / "made.db"
    connection = sqlite3.connect(path)
    connection.execute("create table t (a)")
    connection.commit()
    connection.close()
    return path.read_bytes()


def sound():
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(100))
    return buffer.getvalue()


def saved(write):
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


ARRAYS = {"a": np.arange(4.0)}
TABLE = pa.table({"text": ["a"] * 10})
BINARY = {
    "PDF document": lambda: picture("pdf"),
    "PNG picture": lambda: picture("png"),
    "JPEG picture": lambda: pillow("JPEG"),
    "GIF picture": lambda: pillow("GIF"),
    "WebP picture": lambda: pillow("WebP"),
    "TIFF picture": lambda: pillow("TIFF"),
    "BMP picture": lambda: pillow("BMP"),
    "compiled Python code": lambda: importlib.util.MAGIC_NUMBER + bytes(12) + b"code",
    "sound or video": sound,
    "NumPy file": lambda: saved(lambda file: np.savez(file, **ARRAYS)),
    "PyTorch file": lambda: saved(lambda file: torch.save(torch.ones(2), file)),
    "safetensors": lambda: save(ARRAYS),
    "Parquet table": lambda: saved(lambda file: parquet.write_table(TABLE, file)),
    "Python pickle": lambda: pickle.dumps({"a": [1, 2]}),
    "EPUB book": lambda: zip_of(("mimetype", "application/epub+zip")),
    "OpenDocument": lambda: zip_of(("mimetype", "application/vnd.oasis.opendocument.text")),
    "Word, Excel": lambda: zip_of(("[Content_Types].xml", "<a/>")),
    "old Word": lambda: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600),
    "Java archive": lambda: zip_of(("META-INF/MANIFEST.MF", "a")),
    "Java class": lambda: b"\xca\xfe\xba\xbe\0\0\0\x34",
    "compiled program": lambda: b"\x7fELF\2\1\1" + bytes(9),
    "MP3": lambda: b"ID3\4\0\0\0\0\0\0",
    "Ogg": lambda: b"OggS\0\2" + bytes(8),
    "FLAC": lambda: b"fLaC\0\0\0\x22",
}
ARCHIVES = {
    "ZIP": lambda: zip_of(("a.txt", "text")),
    "empty ZIP": zip_of,
    "tar GNU": lambda: tar_of("a.txt", b"text"),
    "tar PAX": lambda: tar_of("ü" * 200, b"text " * 100_000, tarfile.PAX_FORMAT),
    "7z": lambda: b"7z\xbc\xaf\x27\x1c\0\4",
    "RAR": lambda: b"Rar!\x1a\x07\1\0",
    "ar": lambda: b"!<arch>\ndebian-binary   ",
}


@pytest.mark.parametrize("name", BINARY)
def test_binary_formats_are_named(put, name):
    content = examine(put(BINARY[name](), "a.txt"))
    assert content.kind == "binary" and name in content.detail and content.guess is None


def test_an_sqlite_file_is_named(put, tmp_path):
    assert examine(put(sqlite_file(tmp_path))).detail == "an SQLite database"


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives_are_to_be_unpacked(put, name):
    content = examine(put(ARCHIVES[name](), "a.txt"))
    assert content.kind == "archive" and content.detail.endswith(" (unpack it first)")


@pytest.mark.parametrize(
    "start",
    ["BMW cars", "PACK your bags", "MZ", "OTTO goes", "GIF89a is", "ID3 tags", "RIFF", "PK zip", "Rar!", "%PDF is"],
)
def test_words_that_begin_like_formats_are_text(put, start):
    assert examine(put(f"{start} and more text.\n".encode())).kind == "text"
    assert format_of(f"{start} and more text.\n".encode()) is None
