# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Compression, byte-order marks, encodings, binary files and damaged files, and text that is opened with what was found."""

import bz2
import gzip
import lzma
import os
import random
import tracemalloc

import numpy as np
import pytest
from support.archives import tar_of, zstd

from training.common.errors import InputError
from training.corpus import decoding
from training.corpus.decoding import PIECE, check_encoding, compression_of, examine, open_binary, open_text
from training.corpus.formats import guess_encoding, guess_wide

TEXT = "Zwölf Boxkämpfer\r\njagen Viktor\rquer über\n"


COMPRESS = {"gzip": gzip.compress, "xz": lzma.compress, "bz2": bz2.compress, "zstd": zstd}
DAMAGED = {"gzip": r"damaged or cut off", "xz": "damaged", "bz2": "damaged", "zstd": "damaged"}


def read(path, content):
    with open_text(path, content) as file:
        return file.read()


# Compression


@pytest.mark.parametrize("compression", COMPRESS)
def test_compressed_text_of_several_parts_is_read_whole(put, compression):
    compress = COMPRESS[compression]
    path = put(compress(TEXT.encode()) + compress(b"") + compress(TEXT.encode()), "no_suffix")
    content = examine(path)
    assert content.kind == "text" and content.compression == compression == compression_of(path)
    assert content.characters == 2 * len(TEXT) and content.size == 2 * len(TEXT.encode())
    assert read(path, content) == 2 * TEXT
    with open_binary(path, compression) as file:
        assert file.read() == 2 * TEXT.encode()


@pytest.mark.parametrize("name", ["a.gz", "a.xz", "a.bz2", "a.zst", "a.png"])
def test_a_name_does_not_make_a_file_compressed(put, name):
    path = put(TEXT.encode(), name)
    content = examine(path)
    assert (content.kind, content.compression) == ("text", None)
    assert read(path, content) == TEXT


def test_a_text_that_begins_like_a_bzip2_file_is_text(put):
    assert examine(put(b"BZh91 is a word.\n")).kind == "text"


@pytest.mark.parametrize("compression", COMPRESS)
@pytest.mark.parametrize("length", [2, 100_000])
def test_cut_off_compressed_data_is_an_error_of_one_line(put, compression, length):
    data = COMPRESS[compression](random.Random(0).randbytes(length // 2).hex().encode())
    path = put(data[: -len(data) // 3])
    with pytest.raises(InputError, match=DAMAGED[compression]) as caught:
        examine(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("compression", ["gzip", "xz", "bz2"])  # pyarrow's zstd has no checksum
def test_changed_compressed_data_is_an_error(put, compression):
    data = bytearray(COMPRESS[compression](random.Random(0).randbytes(50_000).hex().encode()))
    data[len(data) // 2] ^= 0xFF
    data[len(data) // 2 + 7] ^= 0xFF
    with pytest.raises(InputError, match="damaged"):
        examine(put(bytes(data)))


@pytest.mark.parametrize("compression", COMPRESS)
def test_compressed_kinds(put, compression):
    compress = COMPRESS[compression]
    assert examine(put(compress(b""))).kind == "empty"
    twice = examine(put(compress(gzip.compress(b"text"))))
    assert (twice.kind, twice.detail) == ("binary", "a file that was compressed twice")
    assert examine(put(compress(b"\x89PNG\r\n\x1a\n"))).detail == "a PNG picture"
    content = examine(put(compress(tar_of("a.txt", b"text"))))
    assert content.kind == "archive" and content.detail == "a tar archive (unpack it first)"
    marked = put(compress(TEXT.encode("utf-16")))
    content = examine(marked)
    assert content.encoding == "utf-16" and read(marked, content) == TEXT
    assert examine(put(compress(b"x" * 5000 + b"\xe9t\xe9"))).detail == "not UTF-8 at byte 5000, probably cp1252"


# Byte-order marks and UTF-8


@pytest.mark.parametrize("codec", ["utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_byte_order_marks_are_recognised_and_removed(put, codec):
    path = put(("\ufeff" + TEXT + "😀").encode(codec))
    content = examine(path, "big5")
    assert content.kind == "text" and content.characters == len(TEXT) + 1
    assert content.size == path.stat().st_size
    assert read(path, content) == TEXT + "😀"
    assert examine(put("\ufeff".encode(codec))).kind == "empty"


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_a_marked_text_that_is_cut_off_names_the_byte(put, codec):
    data = ("\ufeff" + TEXT).encode(codec)
    content = examine(put(data[:-1]))
    width = len("a".encode(codec))
    assert content.kind == "undecodable" and content.guess is None
    assert content.detail.startswith(f"not {codec[:-3].upper()} at byte {len(data) - width}, although")


def test_a_marked_utf8_text_with_a_bad_byte_names_the_byte(put):
    assert "at byte 6, although" in examine(put("\ufeffabc".encode() + b"\xff.")).detail


def test_a_utf16_mark_on_noise_is_binary(put):
    data = "\ufeff".encode("utf-16-le") + "\1\2\3\4".encode("utf-16-le") * 500
    assert examine(put(data)).kind == "binary"


@pytest.mark.parametrize("text", ["", TEXT, "  \n", "日本語😀", "a\tb\f\x1b[1mc\x1b[0m N\bN"])
def test_utf8_is_read_unchanged(put, text):
    path = put(text.encode())
    content = examine(path)
    assert content.kind == ("text" if text else "empty") and content.encoding == "utf-8"
    assert (content.characters, content.size) == (len(text), len(text.encode()))
    assert read(path, content) == text


@pytest.mark.parametrize("offset", [0, 1, 29, PIECE - 2, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE - 1])
@pytest.mark.parametrize(
    "bad", [b"\xff", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\xed\xa0\x80", b"\xc0\x80"], ids=bytes.hex
)
@pytest.mark.parametrize("rest", [b"", b" and more"], ids=["end", "middle"])
def test_the_offset_of_the_first_bad_byte_is_exact(put, offset, bad, rest):
    data = b"x" * offset + bad + rest
    with pytest.raises(UnicodeDecodeError) as caught:
        data.decode()
    content = examine(put(data))
    assert content.kind == "undecodable" and f"at byte {caught.value.start}" in content.detail


@pytest.mark.parametrize("offset", range(PIECE - 4, PIECE + 1))
@pytest.mark.parametrize("character", ["é", "€", "😀"])
def test_characters_across_pieces_are_whole(put, offset, character):
    text = "x" * offset + character + "y"
    content = examine(put(text.encode()))
    assert content.kind == "text" and content.characters == len(text)


# Encodings without a mark

SENTENCES = {
    "french": "Voilà un garçon qui préfère être à la plage l'été ; l'eau était très chaude, « déjà », dit-elle.\n",
    "german": "Größere Mädchen können schön über Äpfel und Öl reden, während die Straße gesperrt ist.\n",
    "spanish": "El niño comió la piña. ¿Dónde está el corazón? ¡Qué sé yo! Camión, árbol, pingüino.\n",
    "portuguese": "A ação não é fácil; as crianças põem os pães na mesa. Você já está lá?\n",
    "swedish": "Räksmörgås är gott på sommaren när åskan går över ängen.\n",
    "quotes": "The fox “jumped” over the dog’s back — it wasn’t hard.\n",
    "names": "Thanks to François Müller, José Núñez, Søren Åberg, João, Þór, Zoë.\n",
    "polish": "Zażółć gęślą jaźń. Pchnąć w tę łódź jeża lub ośm skrzyń fig.\n",
    "czech": "Příliš žluťoučký kůň úpěl ďábelské ódy. Děti šly do školy.\n",
    "hungarian": "Árvíztűrő tükörfúrógép. Minden emberi lény egyenlő méltósága és joga.\n",
    "turkish": "Bütün insanlar hür doğarlar. Akıl ve vicdana sahiptirler, çiçek, ığdır, şişe.\n",
    "esperanto": "Eĥoŝanĝo ĉiuĵaŭde: ĉiuj homoj estas denaske liberaj kaj egalaj laŭ digno kaj rajtoj, ĝis ĵaŭdo.\n",
    "russian": "Все люди рождаются свободными и равными в своём достоинстве и правах.\n",
    "greek": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια.\n",
    "traditional": "人人生而自由，在尊嚴和權利上一律平等。臺灣的圖書館裡有很多書。\n",
    "simplified": "人人生而自由，在尊严和权利上一律平等。图书馆里有很多书。\n",
    "japanese": "すべての人間は、生まれながらにして自由であり、カタカナもあります。\n",
    "korean": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.\n",
}
ENCODED = [
    *(("french", e) for e in ("latin-1", "cp1252", "cp850")),
    *(("german", e) for e in ("latin-1", "cp1252", "mac_roman")),
    *((name, "cp1252") for name in ("spanish", "portuguese", "swedish", "quotes", "names")),
    *((name, e) for name in ("polish", "czech", "hungarian") for e in ("iso8859_2", "cp1250")),
    ("turkish", "cp1254"),
    *(("russian", e) for e in ("cp1251", "koi8_r", "cp866", "iso8859_5")),
    ("greek", "cp1253"),
    ("greek", "iso8859_7"),
    ("traditional", "big5"),
    ("simplified", "gbk"),
    ("simplified", "gb18030"),
    *(("japanese", e) for e in ("shift_jis", "cp932", "euc_jp", "iso2022_jp")),
    *(("korean", e) for e in ("euc_kr", "iso2022_kr")),
    ("greek", "cp737"),
    ("esperanto", "iso8859_3"),
    *(
        (name, f"{e}-{o}")
        for name in ("french", "russian", "simplified")
        for e in ("utf-16", "utf-32")
        for o in ("le", "be")
    ),
]


@pytest.mark.parametrize("start", [0, 300_000, PIECE - 40], ids=["start", "later", "border"])
@pytest.mark.parametrize(("name", "encoding"), ENCODED)
def test_the_likely_encoding_decodes_to_the_same_text(put, name, encoding, start):
    text = ("An ASCII line.\n" * (start // 15) + SENTENCES[name] * 20).replace("\n", os.linesep)
    path = put(text.encode(encoding))
    content = examine(path)
    assert content.kind == "undecodable" and content.guess
    assert text.encode(encoding).decode(content.guess) == text
    assert f"probably {content.guess}" in content.detail
    given = examine(path, content.guess)
    assert given.kind == "text" and given.characters == len(text)
    assert read(path, given) == text


@pytest.mark.parametrize("name", ["french", "german", "polish", "russian", "traditional", "japanese", "korean"])
def test_a_long_line_is_enough_to_guess(put, name):
    encoding = dict(ENCODED[::-1])[name] if name != "japanese" else "shift_jis"
    encoding = {"french": "cp1252", "german": "cp1252", "russian": "koi8_r"}.get(name, encoding)
    line = SENTENCES[name].strip() * 10_000
    guess = examine(put(line.encode(encoding))).guess
    assert guess and line.encode(encoding).decode(guess) == line


def test_guesses_for_little_text():
    assert guess_encoding(b"caf\xe9") == "cp1252"
    assert guess_encoding("Müller".encode("latin-1")) == "cp1252"
    assert guess_encoding(b"") is None


@pytest.mark.parametrize("dtype", ["<u2", ">u2", "<i4", "<f4", "<f8", "<i8"])
def test_arrays_of_numbers_are_not_taken_for_utf16(put, dtype):
    rng = np.random.default_rng(0)
    for high in (65, 256, 50_257):
        data = rng.integers(0, high, 100_000).astype(dtype).tobytes()
        assert guess_wide(data[:65536]) is None
        assert examine(put(data)).kind == "binary"


# The user's encoding


def test_a_given_encoding_is_for_files_that_are_not_utf8(put):
    assert examine(put(TEXT.encode()), "cp1252").encoding == "utf-8"
    latin = put(TEXT.encode("cp1252"))
    content = examine(latin, "Windows-1252")
    assert content.encoding == "cp1252" and read(latin, content) == TEXT
    seven_bits = put("日本語\nです".encode("iso2022_jp"))
    content = examine(seven_bits, "iso-2022-jp")
    assert content.kind == "text" and read(seven_bits, content) == "日本語\nです"
    assert examine(seven_bits).guess == "iso2022_jp"
    utf7 = put("Größe".encode("utf-7"))
    assert read(utf7, examine(utf7, "utf-7")) == "Größe"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be", "UTF16"])
def test_utf16_without_a_mark_can_be_given(put, encoding):
    for variant in ["le", "be"] if encoding in ("utf-16", "utf-32") else [""]:
        codec = f"{encoding}-{variant}" if variant else encoding
        codec = {"UTF16": "utf-16-le"}.get(codec, codec)
        for text in ("plain ASCII\n", TEXT, ("文字" * 50 + "\n") * 12_000):
            path = put(text.encode(codec))
            content = examine(path, encoding)
            assert (content.kind, content.characters) == ("text", len(text))
            assert read(path, content) == text
    ascii_file = put(b"plain ASCII\n")
    assert read(ascii_file, examine(ascii_file, encoding)) == "plain ASCII\n"


@pytest.mark.parametrize("encoding", ["big5", "gb18030", "shift_jis", "euc_jp", "euc_kr", "utf-7", "iso2022_jp", "hz"])
def test_characters_across_pieces_are_whole_in_a_given_encoding(put, encoding):
    text = {"euc_kr": "한국어", "big5": "圖書館", "iso2022_jp": "日本"}.get(encoding, "文字") + "a\n"
    for shift in range(4):
        whole = "x" * (PIECE - 20 + shift) + text * 20
        path = put(whole.encode(encoding))
        content = examine(path, encoding)
        assert (content.kind, content.characters) == ("text", len(whole))
        assert read(path, content) == whole


@pytest.mark.parametrize("offset", [0, 7, PIECE - 1, PIECE])
@pytest.mark.parametrize("encoding", ["big5", "cp1252", "ascii", "shift_jis"])
def test_a_wrong_given_encoding_names_the_byte(put, encoding, offset):
    path = put(b"x" * offset + b"\x81\xff\xe9 text that goes on")
    with pytest.raises(InputError) as caught:
        examine(path, encoding)
    assert f"{path} is not {encoding} at byte {offset}: give another --encoding" in str(caught.value)


def test_a_wrong_given_encoding_names_the_likely_one(put):
    with pytest.raises(InputError, match=r"is not ascii at byte 3: give another --encoding, probably cp1252$"):
        examine(put("Größere Straße".replace("ß", "ß").encode("cp1252").replace(b"\xf6", b"o\xf6", 1)), "ascii")
    with pytest.raises(InputError, match="is not utf-7 at byte 0"):
        examine(put("\ud800".encode("utf-7", "surrogatepass")), "utf-7")
    wide = put("plain text\n".encode("utf-16-be"))
    content = examine(wide, "cp1252")
    assert (content.kind, content.guess) == ("undecodable", "utf-16-be")


def test_a_given_encoding_leaves_binary_files_binary(put):
    noise = random.Random(0).randbytes(10_000)
    for encoding in ("latin-1", "cp1252", "big5", "utf-16"):
        assert examine(put(noise), encoding).kind == "binary"
        assert examine(put(b"\x89PNG\r\n\x1a\n" + noise), encoding).detail == "a PNG picture"


@pytest.mark.parametrize(
    "name",
    ["xyz", "", "a\0b", "ü", "rot13", "base64", "hex", "zlib", "idna", "punycode", "undefined", "unicode_escape"],
)
def test_names_that_are_no_encodings_of_text(put, name):
    with pytest.raises(InputError, match=r"--encoding .*for example cp1252, big5, utf-16"):
        examine(put(b"text"), name)


@pytest.mark.parametrize(
    "name", ["utf-8", "UTF8", "Latin1", "windows-1251", "koi8-r", "Shift_JIS", "GBK", "utf-8-sig", "cp037"]
)
def test_names_of_encodings(put, name):
    path = put("text".encode(name))
    assert read(path, examine(path, name)) == "text"
    assert "text".encode(check_encoding(name)) == "text".encode(name)


# Binary files


def test_noise_is_binary(put):
    noise = random.Random(0).randbytes(3 * PIECE)
    without_nul = noise.replace(b"\0", b"\1")
    for data in (noise, without_nul, noise[:64], b"x" * 1000 + noise[:5000], bytes(100), b"\0\1\2\3", b"\1\2\3 \4"):
        content = examine(put(data))
        assert (content.kind, content.guess) == ("binary", None)


def test_a_binary_file_is_not_read_to_its_end(put, monkeypatch):
    path = put(random.Random(0).randbytes(5 * PIECE))
    assert examine(path).size == PIECE


def test_nuls_and_control_characters(put):
    lines = "A line of 40 characters, with an é, or so\n"
    stray = put((lines * 50 + "\0" + lines).encode())
    assert examine(stray).kind == "text" and "\0" in read(stray, examine(stray))
    assert examine(put((lines * 50 + "\1\2" + lines).encode())).kind == "text"
    assert examine(put(b"one\0two\0three")).kind == "binary"
    for separator in "\0", "\0\0":
        assert examine(put(separator.join(["a file.txt", "größe", "third"] * 50).encode())).kind == "binary"
    assert examine(put((lines * 50 + "\1" * 50).encode())).kind == "binary"
    latin = examine(put((lines * 50 + "\0" + lines).encode("latin-1")))
    assert (latin.kind, latin.guess) == ("undecodable", "cp1252")
    late = b"text\n" * PIECE + bytes(PIECE)
    assert examine(put(late)).kind == "binary"


# Reading


def test_memory_is_constant(put):
    for data, encoding in (
        (TEXT.encode() * 300_000, None),
        (b"a line\n" * 1_000_000 + TEXT.encode("latin-1") * 100_000, None),
        (TEXT.encode("utf-16") * 200_000, None),
        (gzip.compress(TEXT.encode() * 300_000, mtime=0), "cp1252"),
        (b"x" * 12_000_000 + b"\xe9", None),
    ):
        path = put(data)
        examine(path, encoding)
        del data
        tracemalloc.start()
        examine(path, encoding)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 9 * PIECE


def test_files_that_cannot_be_read(tmp_path, put, monkeypatch):
    with pytest.raises(InputError, match=r"missing.txt cannot be read \(No such file or directory\)$"):
        examine(tmp_path / "missing.txt")
    with pytest.raises(InputError, match="is not a regular file"):
        examine(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="is not a regular file"):
        examine(tmp_path / "pipe")

    def denied(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(decoding, "open_binary", denied)
    with pytest.raises(InputError, match=r"file.txt cannot be read \(Permission denied\)$"):
        examine(put(b"text"))


def test_names_that_are_not_utf8(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9[1]*?.zst")
    with open(path, "wb") as file:
        file.write(zstd(TEXT.encode()))
    content = examine(path)
    assert read(path, content) == TEXT
