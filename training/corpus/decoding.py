# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Opens files as text: finds out their compression and encoding, and tells text from binary data.

The names of files decide nothing here. `examine` reads a file once, in pieces; `open_text` opens it with what was found.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, TextIO, cast

from training.common.errors import InputError, first_line
from training.corpus.formats import (
    CONTROLS,
    bytes_are_noise,
    compression_of_bytes,
    format_of,
    guess_encoding,
    guess_shifted,
    guess_wide,
    is_noise,
)
from training.corpus.names import shown

PIECE = 1 << 20
HEAD = 1 << 16  # bytes from the beginning by which UTF-16 and UTF-32 without a mark are recognised
BEFORE = 1 << 16  # bytes of a sample before the first bad byte
SAMPLE = 1 << 18
# 32 bits before 16, because the mark of UTF-16 begins that of UTF-32.
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig", "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32", "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32", "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16", "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16", "utf-16-be"),
)
WIDE = ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")
REPAIR = "repair it, for example with iconv -c -f utf-8 -t utf-8"
ENCODED_SURROGATE = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")
# Python's text codecs for names of hosts and for literals, and one that always fails.
NOT_OF_FILES = {"idna", "punycode", "undefined", "unicode-escape", "raw-unicode-escape"}


@dataclass(frozen=True)
class Content:
    """What a file holds.

    Attributes:
        kind (`str`): `text`, `empty`, `binary`, `archive`, or `undecodable` for text in an encoding that is not known.
        encoding (`str`): Python codec that decodes the text and removes a byte-order mark.
        compression (`str`, *optional*): `gzip`, `xz`, `bz2` or `zstd`.
        detail (`str`): Description for a message: `a PNG picture`, `not UTF-8 at byte 29, probably cp1252`.
        guess (`str`, *optional*): Likely encoding of an undecodable text; `utf-8` for UTF-8 with damaged bytes.
        characters (`int`): Number of characters of a text, without a byte-order mark.
        size (`int`): Number of bytes after decompression. Less for binary files and archives, which are not read to the end.
    """

    kind: str
    encoding: str = "utf-8"
    compression: str | None = None
    detail: str = ""
    guess: str | None = None
    characters: int = 0
    size: int = 0


class _Decoder:
    """Decodes a file that comes in pieces. Keeps counts and no text.

    Attributes:
        bad (`int`, *optional*): Offset of the first byte that cannot be decoded. Nothing is decoded from there on.
        characters, nuls, controls (`int`): Numbers of characters, of NULs, and of control characters with the NULs.
    """

    def __init__(self, codec: str, offset: int = 0) -> None:
        self.decoder = codecs.getincrementaldecoder(codec)()
        self.offset = offset
        self.bad: int | None = None
        self.characters = 0
        self.nuls = 0
        self.controls = 0

    def feed(self, piece: bytes, final: bool = False) -> None:
        """Decodes the next bytes. `final` says that a character must not be cut off at their end."""
        if self.bad is not None:
            return
        pending = len(self.decoder.getstate()[0])
        try:
            text = self.decoder.decode(piece, final)
            encoded = text.encode()
        except UnicodeDecodeError as error:
            self.bad = self.offset - pending + error.start
            return
        except UnicodeEncodeError:  # UTF-7 can express lone surrogates, at a byte that the decoder does not tell
            self.bad = self.offset - pending
            return
        self.offset += len(piece)
        self.characters += len(text)
        self.nuls += text.count("\0")
        self.controls += len(encoded) - len(encoded.translate(None, CONTROLS))  # faster than counting each in the text

    @property
    def is_text(self) -> bool:
        """Whether all bytes can be decoded, and few of the characters are control characters."""
        return self.bad is None and not is_noise(self.nuls, self.controls, self.characters)


class _Scan:
    """One pass over a file without a byte-order mark.

    Attributes:
        utf8 (`_Decoder`): Result for UTF-8.
        given (`_Decoder`, *optional*): Result for the user's encoding.
        codec (`str`, *optional*): The user's encoding, with the byte order for UTF-16 and UTF-32.
        head (`bytes`): Beginning of the file.
        sample (`bytes`): Lines around the first bad byte. Before such a byte was read, the last bytes that were read.
        shifted (`bytes`): Bytes from the first escape sequence of a 7-bit encoding.
        ascii (`bool`): Whether all bytes are below 128.
        size (`int`): Number of bytes.
    """

    def __init__(self, head: bytes, codec: str | None) -> None:
        self.head = head[:HEAD]
        self.codec = codec
        if codec in ("utf-16", "utf-32"):  # Python's codecs of these names need a byte-order mark
            guess = guess_wide(self.head)
            self.codec = guess if guess and guess.startswith(codec) else f"{codec}-le"
        self.utf8 = _Decoder("utf-8")
        self.given = _Decoder(self.codec) if self.codec else None
        self.sample = b""
        self.shifted = b""
        self.ascii = True
        self.size = 0

    def feed(self, piece: bytes, final: bool = False) -> None:
        """Reads the next bytes, all of them with `final`."""
        before = self.utf8.bad
        self.utf8.feed(piece, final)
        if self.given:
            self.given.feed(piece, final)
        self.ascii = self.ascii and piece.isascii()
        last = self.sample
        if before is not None:
            self.sample += piece[: SAMPLE - len(last)]
        elif self.utf8.bad is None:
            if self.ascii and not self.shifted and b"\x1b$" in last[-1:] + piece:
                self.shifted = (last[-1:] + piece)[(last[-1:] + piece).index(b"\x1b$") :][:SAMPLE]
            self.sample = (last + piece)[-BEFORE:]
        else:
            at = self.utf8.bad - self.size + len(last)
            self.sample = _from_line_start(last + piece, at)[:SAMPLE]
        self.size += len(piece)

    @property
    def guess(self) -> str | None:
        """The likely encoding of a text that is not UTF-8."""
        if self.head.count(0) and bytes_are_noise(self.head):
            return guess_wide(self.head)
        if self.utf8.bad is None:
            return guess_shifted(_whole_lines(self.shifted)) if self.ascii and self.shifted else None
        if self.is_damaged_utf8:
            return "utf-8"
        return guess_encoding(_whole_lines(self.sample))

    @property
    def is_damaged_utf8(self) -> bool:
        """Whether more characters are UTF-8 than bytes are not, as if some bytes were lost or changed."""
        before = self.utf8.offset - self.utf8.characters  # 0 if there are only ASCII characters before the bad byte
        text = ENCODED_SURROGATE.sub(b"\xc3\xbf", self.sample).decode("utf-8", errors="surrogateescape")
        bad = sum("\udc80" <= c <= "\udcff" for c in text)
        good = before + sum(not c.isascii() for c in text) - bad
        return good > bad

    @property
    def is_noise(self) -> bool:
        """Whether the bytes are neither UTF-8 nor another encoding that extends ASCII."""
        if self.utf8.bad is None:
            return not self.utf8.is_text
        return bytes_are_noise(self.sample) or bytes_are_noise(self.head)


def examine(path: str | os.PathLike, encoding: str | None = None) -> Content:
    """Reads all of a file once, in pieces, and returns what it holds.

    A byte-order mark decides. Without one, UTF-8 is read as UTF-8, and any other file with `encoding`, if it is given. ASCII
    can also be in one of the encodings that write other characters with ASCII bytes, such as ISO-2022-JP. A file is binary if
    it begins like a known format, or if more than one character per 1000 is a NUL or one per 100 another control character, in
    its first MiB or in all of it. A text may therefore have a stray NUL, which stays in it.

    Args:
        path (`str` or `os.PathLike`): The file.
        encoding (`str`, *optional*): Encoding of texts that are not UTF-8.

    Raises:
        InputError: The file cannot be read, its compressed data is damaged, or it is not in the given encoding, or there is no
            such encoding.
    """
    codec = None
    if encoding is not None:
        codec = check_encoding(encoding)
    with reported(path):
        compression = compression_of(path)
        with open_binary(path, compression) as file:
            return _examine(path, file, compression, codec)


def _examine(path: str | os.PathLike, file: BinaryIO, compression: str | None, codec: str | None) -> Content:
    piece = file.read(PIECE)
    if not piece:
        return Content("empty", compression=compression)
    known = format_of(piece)
    if compression and compression_of_bytes(piece):
        known = ("binary", "a file that was compressed twice")
    if known:
        kind, detail = known
        if kind == "archive":
            detail += " (unpack it first)"
        return Content(kind, compression=compression, detail=detail, size=len(piece))
    for mark, encoding, marked_codec in MARKS:
        if piece.startswith(mark):
            return _examine_marked(file, piece, _Decoder(marked_codec, len(mark)), encoding, compression)
    scan = _Scan(piece, codec)
    while piece:
        scan.feed(piece)
        at_first = scan.size == len(piece)
        if at_first and scan.is_noise and codec not in WIDE and not (scan.shifted or guess_wide(scan.head)):
            return Content("binary", compression=compression, detail="binary data", size=scan.size)
        piece = file.read(PIECE)
    scan.feed(b"", final=True)
    return _verdict(path, scan, compression)


def _examine_marked(file: BinaryIO, piece: bytes, decoder: _Decoder, encoding: str, compression: str | None) -> Content:
    """Examines a file with a byte-order mark, whose first bytes are in `piece`."""
    head = piece
    size = 0
    start = decoder.offset
    while piece:
        decoder.feed(piece[start:])
        start = 0
        size += len(piece)
        piece = file.read(PIECE)
    decoder.feed(b"", final=True)
    name = encoding.removesuffix("-sig").upper()
    kind = "text"
    detail = ""
    if decoder.is_text:
        if not decoder.characters:
            kind = "empty"
    elif decoder.bad is not None and not (encoding == "utf-8-sig" and bytes_are_noise(head)):
        kind = "undecodable"
        detail = f"not {name} at byte {decoder.bad}, although it has a {name} byte-order mark"
    else:
        kind = "binary"
        detail = "binary data"
    return Content(kind, encoding, compression, detail, characters=decoder.characters, size=size)


def _verdict(path: str | os.PathLike, scan: _Scan, compression: str | None) -> Content:
    """Decides what a file without a byte-order mark holds."""

    def text(encoding: str, decoder: _Decoder) -> Content:
        return Content("text", encoding, compression, characters=decoder.characters, size=scan.size)

    given = scan.given
    if scan.utf8.is_text and not scan.ascii:
        return text("utf-8", scan.utf8)
    if given is None or scan.codec is None:
        guess = scan.guess
        if scan.utf8.is_text and not guess:
            return text("utf-8", scan.utf8)
    else:
        if scan.codec in WIDE and scan.ascii and not scan.utf8.nuls:  # UTF-16 has NULs in spaces and line ends
            return text("utf-8", scan.utf8)
        if scan.ascii and scan.utf8.is_text and keeps_ascii(scan.codec):
            return text("utf-8", scan.utf8)
        if given.is_text:
            return text(scan.codec, given)
        guess = scan.guess
        if given.bad is not None and (guess or not scan.is_noise):
            hint = "give another --encoding"
            if guess == "utf-8":
                hint = f"it is damaged UTF-8 ({REPAIR})"
            elif guess:
                hint = f"give another --encoding, probably {guess}"
            raise InputError(f"{shown(path)} is not {scan.codec} at byte {given.bad}: {hint}")
    if scan.is_noise and guess not in WIDE and not (guess and scan.utf8.bad is None):
        return Content("binary", compression=compression, detail="binary data", size=scan.size)
    return _undecodable(scan, guess, compression)


def _undecodable(scan: _Scan, guess: str | None, compression: str | None) -> Content:
    if guess in WIDE:
        detail = f"probably {guess} without a byte-order mark"
    elif scan.utf8.bad is None:
        detail = f"probably {guess}"
    else:
        detail = f"not UTF-8 at byte {scan.utf8.bad}"
        if guess == "utf-8":
            detail += ", although most of it is UTF-8"
        elif guess:
            detail += f", probably {guess}"
    return Content("undecodable", compression=compression, detail=detail, guess=guess, size=scan.size)


def _from_line_start(data: bytes, at: int) -> bytes:
    """Cuts bytes off before the line of the one at an index, or at that byte if its line is long."""
    start = data.rfind(b"\n", max(0, at - BEFORE), at) + 1
    if start == 0 and at > BEFORE:
        start = at
    return data[start:]


def _whole_lines(sample: bytes) -> bytes:
    """Cuts off the last line of a full sample, unless it is the only one."""
    if len(sample) < SAMPLE:
        return sample
    return sample[: sample.rfind(b"\n") + 1] or sample


def keeps_ascii(codec: str) -> bool:
    """Whether ASCII is the same text in an encoding.

    >>> keeps_ascii("cp1252"), keeps_ascii("cp932"), keeps_ascii("iso2022_jp"), keeps_ascii("utf-7"), keeps_ascii("cp037")
    (True, True, False, False, False)
    """
    # With the sequences that begin other characters in ISO-2022, HZ and UTF-7.
    characters = bytes(range(128)) + b"\x1b$B!!\x1b(B\x1b$)C\x0e!!\x0f~{!!~}+AGE-"
    try:
        return characters.decode(codec) == characters.decode("ascii")
    except UnicodeDecodeError:
        return False


def check_encoding(name: str) -> str:
    """Returns the name by which Python knows an encoding of text files.

    >>> check_encoding("Latin-1"), check_encoding("UTF16")
    ('iso8859-1', 'utf-16')

    Raises:
        InputError: Python knows no such encoding, or it is not one of text files.
    """
    example = "for example cp1252, big5, utf-16"
    try:
        codec = codecs.lookup(name)
    except (LookupError, ValueError):
        raise InputError(f"--encoding {name}: Python knows no such encoding; {example}") from None
    # bytes.decode rejects codecs such as hex and rot13, which give no text, by this attribute.
    if not codec._is_text_encoding or codec.incrementaldecoder is None or codec.name in NOT_OF_FILES:
        raise InputError(f"--encoding {name}: not an encoding of text files; {example}")
    return codec.name


def compression_of(path: str | os.PathLike) -> str | None:
    """Returns the compression of a file, by its first bytes: `gzip`, `xz`, `bz2`, `zstd` or `None`."""
    with open(path, "rb") as file:
        return compression_of_bytes(file.read(16))


def open_binary(path: str | os.PathLike, compression: str | None) -> BinaryIO:
    """Opens a file for reading, decompressed. Files that were compressed in several parts are read whole."""
    if compression == "gzip":
        return cast(BinaryIO, gzip.open(path, "rb"))
    if compression == "xz":
        return cast(BinaryIO, lzma.open(path, "rb"))
    if compression == "bz2":
        return cast(BinaryIO, bz2.open(path, "rb"))
    if compression == "zstd":
        import pyarrow

        stream = pyarrow.CompressedInputStream(pyarrow.PythonFile(open(path, "rb")), "zstd")  # noqa: SIM115 (closed with it)
        return cast(BinaryIO, io.BufferedReader(stream, PIECE))
    return open(path, "rb")


def open_text(path: str | os.PathLike, content: Content, newline: str = "") -> TextIO:
    """Opens a file as text, with its line ends unchanged and without a byte-order mark.

    Args:
        newline (`str`): The line end at which the file is split. By default LF, CR LF and CR are line ends.
    """
    file = open_binary(path, content.compression)
    return io.TextIOWrapper(file, encoding=content.encoding, newline=newline)


@contextmanager
def reported(path: str | os.PathLike) -> Iterator[None]:
    """Turns the errors of reading a file into one line.

    Raises:
        InputError: The file is missing, damaged or not a regular file, or cannot be read.
    """
    name = shown(path)
    if os.path.exists(path) and not os.path.isfile(path):
        raise InputError(f"{name} is not a regular file: give the path of a file")
    try:
        yield
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is not {error.encoding}: it was changed while it was read") from error
    except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise InputError(f"{name} cannot be read ({error.strerror or first_line(error)})") from error
        raise InputError(
            f"{name} is damaged or cut off ({first_line(error)}): unpack it first, or replace it with an undamaged copy"
        ) from error
