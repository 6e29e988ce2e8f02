# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Recognises file formats by their first bytes, and the likely encoding of text that is not UTF-8."""

from __future__ import annotations

import re
import tarfile
import unicodedata

CONTROLS = bytes({*range(32), 127} - {*b"\a\b\t\n\v\f\r\x0e\x0f\x1a\x1b\x1c\x1d\x1e\x1f"})
MAX_NUL_SHARE = 1 / 1000
MAX_CONTROL_SHARE = 1 / 100

COMPRESSIONS = {
    "gzip": re.compile(rb"\x1f\x8b\x08"),
    "xz": re.compile(rb"\xfd7zXZ\x00"),
    "bz2": re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)"),
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"),
}
ARCHIVES = (
    (rb"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (rb"Rar!\x1a\x07", "a RAR archive"),
    (rb"!<arch>\n", "an ar archive or Debian package"),
    (rb"0707(01|02|07)[0-9a-fA-F]{32}", "a cpio archive"),
    (rb"MSCF\0\0\0\0", "a CAB archive"),
)
# Entries that come first in ZIP files that are no archives to unpack.
ZIP_DOCUMENTS = (
    (rb"\[Content_Types\]\.xml|_rels/|word/|xl/|ppt/", "a Word, Excel or PowerPoint document"),
    (rb"mimetypeapplication/epub", "an EPUB book"),
    (rb"mimetypeapplication/vnd\.oasis", "an OpenDocument file"),
    (rb"META-INF/", "a Java archive"),
    (rb"[^/]+\.npy", "a NumPy file"),
    (rb".*?/data\.pkl", "a PyTorch file"),
)
BINARIES = (
    (rb"%PDF-\d", "a PDF document"),
    (rb"\x89PNG\r\n", "a PNG picture"),
    (rb"\xff\xd8\xff", "a JPEG picture"),
    (rb"(?s)RIFF.{4}WEBP", "a WebP picture"),
    (rb"(?s)RIFF.{4}(WAVE|AVI )", "a sound or video file"),
    (rb"(?s).{4}ftyp[a-zA-Z0-9]{3}", "a video or picture file"),
    (rb"\x1a\x45\xdf\xa3", "a Matroska or WebM video"),
    (rb"II\*\0|MM\0\*", "a TIFF picture"),
    (rb"ID3[\x02-\x04]\0|\xff[\xf2\xf3\xfa\xfb][\x10-\xef]", "an MP3 file"),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Word, Excel or PowerPoint document"),
    (rb"\x7fELF", "a compiled program"),
    (rb"\xfe\xed\xfa[\xce\xcf]|[\xce\xcf]\xfa\xed\xfe", "a compiled program"),
    (rb"\xca\xfe\xba\xbe", "a Java class or compiled program"),
    (rb"\0asm", "a compiled WebAssembly program"),
    (rb"(?s).[\x0b-\x0f]\r\n[\0-\x03]\0\0\0", "compiled Python code"),
    (rb"SQLite format 3\0", "an SQLite database"),
    (rb"\x93NUMPY", "a NumPy file"),
    (rb"\x89HDF\r\n", "an HDF5 file"),
    (rb'(?s).{5}\0\0\0\{ *"', "a safetensors file"),
    (rb"\x80[\x02-\x05][\x95}\](c\x8a]", "a Python pickle"),
    (rb"\xde\x12\x04\x95|\x95\x04\x12\xde", "a compiled gettext catalogue"),
    (rb"\0\x01\0\0\0", "a font"),
    (rb"\x04\x22\x4d\x18|LZIP[\0\x01]|\x1f\x9d|\x89LZO", "a file with a compression that is not read"),
)
# Names that a text can begin with too: they count only if a NUL byte follows.
BINARIES_WITH_NUL = (
    (rb"GIF8[79]a", "a GIF picture"),
    (rb"BM", "a BMP picture"),
    (rb"8BPS", "a Photoshop picture"),
    (rb"OggS", "an Ogg file"),
    (rb"fLaC", "a FLAC file"),
    (rb"MZ", "a Windows program"),
    (rb"wOF[F2]|OTTO", "a font"),
    (rb"PAR1", "a Parquet table"),
    (rb"ARROW1|\xff\xff\xff\xff", "an Arrow table"),
    (rb"GGUF", "a GGUF file"),
    (rb"PACK|DIRC", "a Git file"),
)

# Encodings that charset_normalizer chooses from. Subsets of others (GBK, EUC-KR) and rare ones are left out.
CANDIDATES = [
    *("cp1252", "iso8859_2", "cp1250", "cp1254", "iso8859_3", "cp1257", "cp850", "mac_roman"),
    *("cp1251", "koi8_r", "koi8_u", "cp866", "iso8859_5", "cp1253", "cp737", "iso8859_7", "cp1255", "cp1256", "cp874"),
    *("big5", "cp950", "big5hkscs", "gb18030", "cp932", "euc_jp", "cp949"),
]
WESTERN = (
    "éèïëçñöüôâ",
    "àâæçéèêëîïôœùûüÿ",
    "äöüßé",
    "áéíñóúü¿¡ªº",
    "áâãàçéêíóôõúüªº",
    "àèéìòùîº",
    "åäöéü",
    "æøåéö",
    "ðþáéíóúýæö",
    "áàâäãåæçéèêëíìîïñóòôöõøœúùûüßðþý¿¡ªº",  # names and words of several languages
)
CENTRAL = ("ąćęłńóśźż", "áčďéěíĺľňóôŕřšťúůýžä", "áéíóöőúüű", "ăâîşţ", "čćđšž")
ALPHABETS = {  # letters outside ASCII, of each language that is written in the encoding
    "cp1252": WESTERN,
    "iso8859_2": CENTRAL,
    "cp1250": CENTRAL,
    "cp1254": ("çğıöşüâîİ",),
    "iso8859_3": ("ĉĝĥĵŝŭ",),
    "cp1257": ("ąčęėįšųūž", "āčēģīķļņšūž", "äöõüšž"),
    "cp850": WESTERN,
    "mac_roman": WESTERN,
}
NOT_ASCII_LETTERS = re.compile(r"[^\W\d_\x00-\x7f]+")
SEPARATORS = frozenset(" \n\r\t.,;:、。，　·")
MIN_SEPARATORS = 1 / 1000  # of the characters of UTF-16
PUNCTUATION = "“”‘’„‚–—…«»‹›°§©®™€£·•´×½¼²³±\xa0\xad"
FEW = 32  # characters that can be letters by chance
PENALTY = 0.002  # for each letter of an alphabet, as a larger one covers more by chance
COMMON = "cp1252"
RARE_PENALTY = 0.03  # for any other encoding: a few letters fit several
ENOUGH = 0.9  # share of known letters, less the penalties, from which an alphabet is believed


def compression_of_bytes(head: bytes) -> str | None:
    """Returns the compression of a file that begins with these bytes, or `None`.

    >>> compression_of_bytes(b"\\x1f\\x8b\\x08\\x00"), compression_of_bytes(b"BZh9 is how bzip2 files begin")
    ('gzip', None)
    """
    for name, pattern in COMPRESSIONS.items():
        if pattern.match(head):
            return name
    return None


def format_of(head: bytes) -> tuple[str, str] | None:
    """Returns `"archive"` or `"binary"` and a name for a message, for a known format that is not text, or `None`.

    Args:
        head (`bytes`): The beginning of the file, at least 1 KiB if it is as long.

    >>> format_of(b"\\x89PNG\\r\\n\\x1a\\n"), format_of(b"PNG is a format.")
    (('binary', 'a PNG picture'), None)
    """
    if head.startswith(b"PK\x03\x04") and len(head) > 30:
        for pattern, name in ZIP_DOCUMENTS:
            if re.match(pattern, head[30:200]):
                return "binary", name
    if re.match(rb"PK(\x03\x04|\x05\x06|\x07\x08)", head):
        return "archive", "a ZIP archive"
    for pattern, name in ARCHIVES:
        if re.match(pattern, head):
            return "archive", name
    if _is_tar(head):
        return "archive", "a tar archive"
    formats = BINARIES
    if b"\0" in head[:4096]:
        formats = BINARIES + BINARIES_WITH_NUL
    for pattern, name in formats:
        if re.match(pattern, head):
            return "binary", name
    return None


def _is_tar(head: bytes) -> bool:
    if len(head) < tarfile.BLOCKSIZE:
        return False
    try:
        tarfile.TarInfo.frombuf(head[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
    except tarfile.HeaderError:  # the checksum is wrong
        return False
    return True


def is_noise(nuls: int, controls: int, size: int) -> bool:
    """Whether so many of `size` characters are control characters that they are not text.

    A NUL per 1000 characters and another control character per 100 are accepted, and so is a single one of those. NULs in a log
    after a power failure then do not make it binary.

    Args:
        nuls (`int`): Number of NULs.
        controls (`int`): Number of control characters, NULs included. Those that occur in texts do not count: line ends,
            backspaces, escape sequences, separators.

    >>> is_noise(1, 1, 100), is_noise(1, 1, 2000), is_noise(0, 1, 10), is_noise(0, 2, 10)
    (True, False, False, True)
    """
    return nuls > size * MAX_NUL_SHARE or (controls > 1 and controls > size * MAX_CONTROL_SHARE)


def bytes_are_noise(data: bytes) -> bool:
    """Whether bytes are not text in any encoding that extends ASCII."""
    controls = len(data) - len(data.translate(None, CONTROLS))
    return is_noise(data.count(0), controls, len(data))


def guess_wide(head: bytes) -> str | None:
    """Returns the variant of UTF-16 or UTF-32 in which a text without a byte-order mark is written, or `None`.

    Only bytes with NULs can be such a text: line ends, spaces and digits have them. In the right variant all bytes are
    assigned characters. If there are several, it is the one with the most common characters. Long texts have spaces, line ends
    or punctuation; other data of 16-bit numbers seldom has.

    >>> guess_wide("a text".encode("utf-16-be")), guess_wide("文字\\n".encode("utf-16-le")), guess_wide(b"a text")
    ('utf-16-be', 'utf-16-le', None)
    """
    if b"\0" not in head:
        return None
    # The high bytes of ASCII, Greek, Cyrillic and others are below 32. Names that are separated by NULs have fewer of them.
    low = len(head) - len(head.translate(None, bytes(range(32))))
    if 4 * low < len(head) and trimmed(head, "utf-8"):
        return None
    best = None
    most = -1
    for encoding, width in (("utf-32-le", 4), ("utf-32-be", 4), ("utf-16-le", 2), ("utf-16-be", 2)):
        try:
            text = head[: len(head) // width * width].decode(encoding)
        except UnicodeDecodeError as error:
            if error.start < len(head) - 4:  # else a character that is cut off at the end of the sample
                continue
            text = head[: error.start].decode(encoding)
        odd = sum(unicodedata.category(c) in ("Cc", "Cn", "Co") and c not in "\t\n\r\f\x1a\x1b" for c in text)
        common = sum(c.isascii() or c in SEPARATORS for c in text)
        separators = sum(c in SEPARATORS for c in text)
        if len(text) < FEW and common == 0:
            continue
        if len(text) >= FEW and separators < len(text) * MIN_SEPARATORS:
            continue
        if odd * 500 <= len(text) and common > most:
            best = encoding
            most = common
    return best


def guess_shifted(sample: bytes) -> str | None:
    """Returns the 7-bit encoding of a text that switches character sets by escape sequences, or `None`.

    >>> guess_shifted("日本".encode("iso2022_jp")), guess_shifted(b"\\x1b$ is a shell prompt")
    ('iso2022_jp', None)
    """
    for encoding in ("iso2022_jp", "iso2022_jp_2", "iso2022_jp_ext", "iso2022_kr"):
        if not trimmed(sample, encoding).isascii():
            return encoding
    return None


def guess_encoding(sample: bytes) -> str | None:
    """Returns the likely encoding of text that is not UTF-8, as the name of a Python codec, or `None`.

    charset_normalizer recognises multi-byte encodings and other scripts, but confuses the code pages for Latin letters. Those
    are told apart by the alphabets of the languages that are written in them.

    Args:
        sample (`bytes`): Some lines of the text.

    >>> guess_encoding("Le café est fermé.".encode("latin-1")), guess_encoding("圖書館裡有很多書。".encode("big5"))
    ('cp1252', 'big5')
    """
    latin, share = _guess_latin(sample)
    if share >= ENOUGH:
        return latin
    import charset_normalizer

    for cut in range(4):  # a multi-byte character may be cut off at the end
        best = charset_normalizer.from_bytes(sample[: len(sample) - cut], cp_isolation=CANDIDATES).best()
        if best is not None and best.encoding in CANDIDATES:
            return latin if best.encoding in ALPHABETS else best.encoding
    return None


def _guess_latin(sample: bytes) -> tuple[str | None, float]:
    """Returns the encoding for Latin letters with the largest share of known letters outside ASCII, and that share."""
    best = None
    most = 0.0
    for encoding, alphabets in ALPHABETS.items():
        text = trimmed(sample, encoding)
        marked = _letters_in_place(text)
        total = sum(not c.isascii() for c in text)
        if not total or 2 * total > sum(map(str.isalpha, text)):  # Latin texts are mostly ASCII letters
            continue
        if _are_words(text):
            continue
        for alphabet in alphabets:
            known = {*alphabet, *alphabet.upper(), *PUNCTUATION}
            share = sum(count for letter, count in marked.items() if letter in known) / total
            share -= PENALTY * len(alphabet)
            if encoding != COMMON:
                share -= RARE_PENALTY
            if share > most:
                best = encoding
                most = share
    return best, most


def _are_words(text: str) -> bool:
    """Whether most letters outside ASCII are in a row of three or more. They are then words of another script.

    >>> _are_words("Informação, Begrüßung, créée"), _are_words("Информация in Russian")
    (False, True)
    """
    rows = NOT_ASCII_LETTERS.findall(text)
    in_words = sum(len(row) for row in rows if len(row) > 2)
    return 2 * in_words > sum(map(len, rows))


def _letters_in_place(text: str) -> dict[str, int]:
    """Counts the characters outside ASCII. A capital after a small letter is not counted: it is a sign of a wrong encoding."""
    counts: dict[str, int] = {}
    before = " "
    for character in text:
        if not character.isascii() and not (character.isupper() and before.islower()):
            counts[character] = counts.get(character, 0) + 1
        before = character
    return counts


def trimmed(sample: bytes, encoding: str) -> str:
    """Decodes a sample whose last character may be cut off. Returns `""` if it is not in this encoding."""
    for cut in range(4):
        try:
            return sample[: len(sample) - cut].decode(encoding)
        except UnicodeDecodeError:
            continue
    return ""
