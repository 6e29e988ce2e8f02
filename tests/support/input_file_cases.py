# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Inputs of input_cases.py about single files: names, compression, and formats that are not text."""

import bz2
import gzip
import io
import lzma
import os
import py_compile
import random
import tarfile
import zipfile
import zlib
from pathlib import Path

import pyarrow

from support.input_cases import Input, section, write
from support.input_text_cases import ENGLISH, GERMAN, RUSSIAN

ENGLISH_2 = ENGLISH.replace("weather", "winter")
OTHER = "This text must not be read.\n" * 50
NOISE = random.Random(0).randbytes(3000)
PICTURE = b"\x89PNG\r\n\x1a\n" + zlib.compress(NOISE)


def one(folder: Path, name: str, content: str | bytes, **expected) -> Input:
    """Writes one file."""
    write(folder / name, content)
    return Input(name, **expected)


def beside_other(folder: Path, name: str, other: str) -> Input:
    """Writes a text, and another one whose name the first name matches as a wildcard."""
    write(folder / other, OTHER)
    return one(folder, name, ENGLISH, documents=[ENGLISH])


def pair(folder: Path) -> None:
    """Writes a folder with two texts."""
    write(folder / "texts/a.txt", ENGLISH)
    write(folder / "texts/c.txt", GERMAN)


# --- names -------------------------------------------------------------------------------------------------------------


@section("Names")
def brackets(folder: Path) -> Input:
    """A name with brackets next to a file that it would match as a wildcard"""
    return beside_other(folder, "b[1].txt", "b1.txt")


@section("Names")
def question_mark(folder: Path) -> Input:
    """A name with a question mark"""
    return beside_other(folder, "why?.txt", "whyX.txt")


@section("Names")
def star(folder: Path) -> Input:
    """A name with a star"""
    return beside_other(folder, "a*.txt", "ab.txt")


@section("Names")
def braces(folder: Path) -> Input:
    """A name with braces"""
    return beside_other(folder, "{a,b}.txt", "a.txt")


@section("Names")
def wildcards_in_a_folder(folder: Path) -> Input:
    """A folder with brackets in its name, and files with wildcards"""
    write(folder / "set[1]/a[1].txt", ENGLISH)
    write(folder / "set[1]/b?.txt", GERMAN)
    write(folder / "set1/a1.txt", OTHER)
    return Input("set[1]", documents=[ENGLISH, GERMAN])


@section("Names")
def blanks_and_quotes(folder: Path) -> Input:
    """A name with blanks, quotes, a hash, a colon and a percent sign"""
    return one(folder, "my 'best' \"text\" #1: 100%.txt", ENGLISH, documents=[ENGLISH])


@section("Names")
def newline_in_a_name(folder: Path) -> Input:
    """A name with a line end"""
    return one(folder, "two\nlines.txt", ENGLISH, documents=[ENGLISH])


@section("Names")
def refused_name_with_a_newline(folder: Path) -> Input:
    """A name with a line end, of a file that is refused"""
    return one(folder, "two\nlines.txt", NOISE, refused="binary")


@section("Names")
def leading_dash(folder: Path) -> Input:
    """A name that begins with a dash"""
    return one(folder, "-notes.txt", ENGLISH, documents=[ENGLISH])


@section("Names")
def name_that_is_not_utf8(folder: Path) -> Input:
    """A name that is not UTF-8, in a folder"""
    write(folder / "texts/a.txt", ENGLISH)
    write(folder / os.fsdecode(b"texts/caf\xe9.txt"), GERMAN)
    return Input("texts", documents=[ENGLISH, GERMAN])


@section("Names")
def name_like_the_hub(folder: Path) -> Input:
    """A folder whose name has the form of a Hub name"""
    write(folder / "owner/corpus/a.txt", ENGLISH)
    write(folder / "owner/corpus/b.txt", GERMAN)
    return Input("owner/corpus", documents=[ENGLISH, GERMAN])


@section("Names")
def suffix_in_capitals(folder: Path) -> Input:
    """A suffix in capitals"""
    return one(folder, "A.TXT", ENGLISH, documents=[ENGLISH])


@section("Names")
def no_suffix(folder: Path) -> Input:
    """A name without a suffix"""
    return one(folder, "README", ENGLISH, documents=[ENGLISH])


@section("Names")
def missing_file(folder: Path) -> Input:
    """A file that does not exist"""
    return Input("missing.txt", refused=r"missing\.txt.*does not exist")


@section("Names")
def empty_name(folder: Path) -> Input:
    """An empty name, as an unset variable of a shell gives it"""
    write(folder / "a.txt", ENGLISH)
    return Input("", refused=r"dataset ''")


@section("Names")
def stdlib_folder(folder: Path) -> Input:
    """A folder called stdlib, given as ./stdlib"""
    write(folder / "stdlib/a.txt", ENGLISH)
    write(folder / "stdlib/b.txt", GERMAN)
    return Input("./stdlib", documents=[ENGLISH, GERMAN])


@section("Names")
def name_that_is_too_long(folder: Path) -> Input:
    """A name of 300 characters, which no file can have"""
    return Input("x" * 296 + ".txt", refused=r"(?:does not exist|too long)")


@section("Names")
def missing_compressed_file(folder: Path) -> Input:
    """A compressed file that does not exist"""
    return Input("corpus/missing.txt.gz", refused=r"missing\.txt\.gz.*does not exist")


@section("Names")
def missing_folder(folder: Path) -> Input:
    """A folder that does not exist, with a slash at the end"""
    return Input("missing/", refused=r"missing/?'? does not exist|missing.*does not exist")


@section("Names")
def file_as_folder(folder: Path) -> Input:
    """A file given with a slash, as if it were a folder"""
    write(folder / "a.txt", ENGLISH)
    return Input("a.txt/b.txt", refused=r"a\.txt/b\.txt.*(?:does not exist|not a folder)")


# --- compression and binary files --------------------------------------------------------------------------------------


@section("Compressed files")
def gzip_file(folder: Path) -> Input:
    """A gzip file"""
    return one(folder, "a.txt.gz", gzip.compress(GERMAN.encode()), documents=[GERMAN])


@section("Compressed files")
def xz_file(folder: Path) -> Input:
    """An xz file"""
    return one(folder, "a.txt.xz", lzma.compress(GERMAN.encode()), documents=[GERMAN])


@section("Compressed files")
def bz2_file(folder: Path) -> Input:
    """A bzip2 file"""
    return one(folder, "a.txt.bz2", bz2.compress(GERMAN.encode()), documents=[GERMAN])


@section("Compressed files")
def zst_file(folder: Path) -> Input:
    """A Zstandard file"""
    data = pyarrow.compress(GERMAN.encode(), codec="zstd", asbytes=True)
    return one(folder, "a.txt.zst", data, documents=[GERMAN])


@section("Compressed files")
def several_members(folder: Path) -> Input:
    """A gzip file of two members, as `cat a.gz b.gz` makes it"""
    data = gzip.compress(ENGLISH.encode()) + gzip.compress(GERMAN.encode())
    return one(folder, "a.txt.gz", data, documents=[ENGLISH + GERMAN])


@section("Compressed files")
def several_zst_frames(folder: Path) -> Input:
    """A Zstandard file of two frames"""
    data = b"".join(pyarrow.compress(text.encode(), codec="zstd", asbytes=True) for text in (ENGLISH, GERMAN))
    return one(folder, "a.txt.zst", data, documents=[ENGLISH + GERMAN])


@section("Compressed files")
def compressed_utf16(folder: Path) -> Input:
    """A gzip file of UTF-16"""
    return one(folder, "a.gz", gzip.compress(RUSSIAN.encode("utf-16")), documents=[RUSSIAN])


@section("Compressed files")
def compressed_latin1(folder: Path) -> Input:
    """A gzip file of Latin-1"""
    data = gzip.compress(GERMAN.encode("latin-1"))
    return one(folder, "a.txt.gz", data, refused=r"(?i)a\.txt\.gz.*(?:latin|8859.?1|1252).*--encoding")


@section("Compressed files")
def gzip_without_suffix(folder: Path) -> Input:
    """A gzip file called .txt"""
    return one(folder, "a.txt", gzip.compress(GERMAN.encode()), documents=[GERMAN])


@section("Compressed files")
def suffix_of_gzip_on_text(folder: Path) -> Input:
    """A text called .gz"""
    return one(folder, "a.txt.gz", GERMAN, documents=[GERMAN])


@section("Compressed files")
def compressed_twice(folder: Path) -> Input:
    """A gzip file in a gzip file"""
    data = gzip.compress(gzip.compress(GERMAN.encode()))
    return one(folder, "a.gz", data, refused=r"a\.gz.*(?:binary|gzip|compressed)")


@section("Compressed files")
def cut_gzip(folder: Path) -> Input:
    """A gzip file that is cut off"""
    data = gzip.compress(random.Random(0).randbytes(5000).hex().encode())
    return one(folder, "a.txt.gz", data[:-500], refused=r"a\.txt\.gz.*(?:cut|damaged|truncated|ended|incomplete)")


@section("Compressed files")
def gzip_with_a_wrong_checksum(folder: Path) -> Input:
    """A gzip file with one wrong byte"""
    data = bytearray(gzip.compress(ENGLISH.encode()))
    data[-6] ^= 1
    return one(folder, "a.txt.gz", bytes(data), refused=r"a\.txt\.gz.*(?:damaged|CRC|corrupt)")


@section("Compressed files")
def cut_xz(folder: Path) -> Input:
    """An xz file that is cut off"""
    data = lzma.compress(random.Random(0).randbytes(5000).hex().encode())
    return one(folder, "a.xz", data[:-500], refused=r"a\.xz.*(?:cut|damaged|truncated|ended|incomplete)")


@section("Compressed files")
def cut_zst(folder: Path) -> Input:
    """A Zstandard file that is cut off"""
    data = pyarrow.compress(random.Random(0).randbytes(5000).hex().encode(), codec="zstd", asbytes=True)
    return one(folder, "a.zst", data[:-500], refused=r"a\.zst.*(?:cut|damaged|truncated|ended|incomplete)")


@section("Compressed files")
def cut_gzip_in_a_folder(folder: Path) -> Input:
    """A gzip file that is cut off, in a folder"""
    pair(folder)
    write(folder / "texts/b.gz", gzip.compress(NOISE.hex().encode())[:-500])
    return Input("texts", refused=r"b\.gz.*(?:cut|damaged|truncated|ended|incomplete)")


@section("Compressed files")
def compressed_files_in_a_folder(folder: Path) -> Input:
    """A folder of gzip, xz and plain files"""
    write(folder / "texts/a.1.gz", gzip.compress(ENGLISH.encode()))
    write(folder / "texts/b.2.xz", lzma.compress(GERMAN.encode()))
    write(folder / "texts/c.3", RUSSIAN)
    return Input("texts", documents=[ENGLISH, GERMAN, RUSSIAN])


def archive(folder: Path) -> bytes:
    """Returns the bytes of a tar.gz archive with one text."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        info = tarfile.TarInfo("a.txt")
        info.size = len(ENGLISH)
        tar.addfile(info, io.BytesIO(ENGLISH.encode()))
    return buffer.getvalue()


def zipped() -> bytes:
    """Returns the bytes of a zip archive with one text."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("a.txt", ENGLISH)
    return buffer.getvalue()


@section("Binary files")
def tar_archive(folder: Path) -> Input:
    """A tar.gz archive"""
    return one(folder, "a.tar.gz", archive(folder), refused=r"a\.tar\.gz.*(?:archive|unpack)")


@section("Binary files")
def zip_archive(folder: Path) -> Input:
    """A zip archive"""
    return one(folder, "a.zip", zipped(), refused=r"a\.zip.*(?:archive|unpack)")


@section("Binary files")
def pdf(folder: Path) -> Input:
    """A PDF file"""
    data = b"%PDF-1.5\n1 0 obj\n<< /Length 3000 >>\nstream\n" + NOISE + b"\nendstream\nendobj\n%%EOF\n"
    return one(folder, "a.pdf", data, refused=r"a\.pdf.*(?:binary|PDF)")


@section("Binary files")
def pdf_of_ascii(folder: Path) -> Input:
    """A PDF file with only ASCII characters"""
    data = "%PDF-1.5\n1 0 obj\n<< /Length 3000 >>\nstream\n" + "0 0 Td (a) Tj\n" * 90 + "endstream\nendobj\n%%EOF\n"
    return one(folder, "a.pdf", data, refused=r"a\.pdf.*(?:binary|PDF)")


@section("Binary files")
def picture(folder: Path) -> Input:
    """A picture"""
    return one(folder, "a.png", PICTURE, refused=r"a\.png.*(?:binary|picture|PNG)")


@section("Binary files")
def random_bytes(folder: Path) -> Input:
    """Random bytes in a .txt file"""
    return one(folder, "a.txt", NOISE, refused=r"a\.txt.*binary")


@section("Binary files")
def random_bytes_with_an_encoding(folder: Path) -> Input:
    """Random bytes, with an encoding in which every byte is a character"""
    return one(folder, "a.bin", NOISE, refused=r"a\.bin.*binary", options={"encoding": "latin-1"})


@section("Binary files")
def binary_files_in_a_folder(folder: Path) -> Input:
    """A folder with sources, byte code, a picture, archives and random bytes"""
    write(folder / "code/a.py", "print('a')\n" * 50)
    write(folder / "code/b.py", "print('b')\n" * 50)
    py_compile.compile(str(folder / "code/a.py"), cfile=str(folder / "code/a.pyc"), doraise=True)
    write(folder / "code/c.png", PICTURE)
    write(folder / "code/d.zip", zipped())
    write(folder / "code/e.tar.gz", archive(folder))
    write(folder / "code/f", NOISE)
    return Input(
        "code",
        documents=["print('a')\n" * 50, "print('b')\n" * 50],
        skipped=("a.pyc", "c.png", "d.zip", "e.tar.gz", "f"),
    )


@section("Binary files")
def binary_files_with_an_encoding(folder: Path) -> Input:
    """A folder with a Latin-1 text and random bytes, with the encoding"""
    write(folder / "texts/a.txt", ENGLISH)
    write(folder / "texts/b.txt", GERMAN.encode("latin-1"))
    write(folder / "texts/c.bin", NOISE)
    return Input("texts", documents=[ENGLISH, GERMAN], skipped=("c.bin",), options={"encoding": "latin-1"})


@section("Binary files")
def only_binary_files(folder: Path) -> Input:
    """A folder with only binary files"""
    write(folder / "data/a.png", PICTURE)
    write(folder / "data/b.bin", NOISE)
    return Input("data", refused=r"data.*(?:binary|not text)")
