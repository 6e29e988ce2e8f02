# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Inputs of input_cases.py about the content of text files: encodings, bytes that are not text, line ends, sizes."""

from pathlib import Path

from support.input_cases import Input, section, write

ENGLISH = "".join(f"Line {i} of a text about the weather, the sea and the long road home.\n" for i in range(40))
GERMAN = "Die Bürger von Köln hören über größere Straßen, süße Äpfel und schöne Grüße aus München.\n" * 30
FRENCH = "L’été dernier, l’élève a payé 20 € pour un café « très serré » — c’était déjà ça…\n" * 30
RUSSIAN = "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему.\n" * 30
TRADITIONAL = "學而時習之，不亦說乎？有朋自遠方來，不亦樂乎？人不知而不慍，不亦君子乎？\n" * 30
SIMPLIFIED = "学而时习之，不亦说乎？有朋自远方来，不亦乐乎？人不知而不愠，不亦君子乎？\n" * 30
JAPANESE = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。\n" * 30
MIB = 1 << 20


def encoded(folder: Path, text: str, encoding: str, **expected) -> Input:
    """Writes one text file in an encoding."""
    write(folder / "a.txt", text.encode(encoding))
    return Input("a.txt", **expected)


def named(likely: str) -> str:
    """Returns the pattern of a refusal that names a file, its likely encoding and the option."""
    return rf"(?i)a\.txt.*(?:{likely}).*--encoding"


# --- encodings that are read -------------------------------------------------------------------------------------------


@section("Encodings")
def utf8(folder: Path) -> Input:
    """UTF-8"""
    return encoded(folder, GERMAN, "utf-8", documents=[GERMAN])


@section("Encodings")
def utf8_with_mark(folder: Path) -> Input:
    """UTF-8 with a byte-order mark"""
    return encoded(folder, GERMAN, "utf-8-sig", documents=[GERMAN])


@section("Encodings")
def utf16_little_endian_with_mark(folder: Path) -> Input:
    """UTF-16, little-endian, with a byte-order mark"""
    return encoded(folder, "\ufeff" + RUSSIAN, "utf-16-le", documents=[RUSSIAN])


@section("Encodings")
def utf16_big_endian_with_mark(folder: Path) -> Input:
    """UTF-16, big-endian, with a byte-order mark"""
    return encoded(folder, "\ufeff" + RUSSIAN, "utf-16-be", documents=[RUSSIAN])


@section("Encodings")
def utf32_with_mark(folder: Path) -> Input:
    """UTF-32 with a byte-order mark"""
    return encoded(folder, ENGLISH, "utf-32", documents=[ENGLISH])


@section("Encodings")
def utf16_without_mark(folder: Path) -> Input:
    """UTF-16, little-endian, without a mark"""
    return encoded(folder, ENGLISH, "utf-16-le", refused=named("utf.?16.?le"))


@section("Encodings")
def utf16_big_endian_without_mark(folder: Path) -> Input:
    """UTF-16, big-endian, without a mark"""
    return encoded(folder, ENGLISH, "utf-16-be", refused=named("utf.?16.?be"))


@section("Encodings")
def utf16_without_mark_stated(folder: Path) -> Input:
    """UTF-16 without a mark, with its encoding"""
    return encoded(folder, ENGLISH, "utf-16-le", documents=[ENGLISH], options={"encoding": "utf-16-le"})


@section("Encodings")
def latin1(folder: Path) -> Input:
    """Latin-1"""
    return encoded(folder, GERMAN, "latin-1", refused=named("latin|8859.?1|1252"))


@section("Encodings")
def latin1_stated(folder: Path) -> Input:
    """Latin-1 with its encoding"""
    return encoded(folder, GERMAN, "latin-1", documents=[GERMAN], options={"encoding": "latin-1"})


@section("Encodings")
def cp1252(folder: Path) -> Input:
    """Windows-1252 with typographic quotes and a euro sign"""
    return encoded(folder, FRENCH, "cp1252", refused=named("1252"))


@section("Encodings")
def big5(folder: Path) -> Input:
    """Big5"""
    return encoded(folder, TRADITIONAL, "big5", refused=named("big.?5"))


@section("Encodings")
def big5_stated(folder: Path) -> Input:
    """Big5 with its encoding"""
    return encoded(folder, TRADITIONAL, "big5", documents=[TRADITIONAL], options={"encoding": "big5"})


@section("Encodings")
def gb18030(folder: Path) -> Input:
    """GB18030"""
    return encoded(folder, SIMPLIFIED, "gb18030", refused=named("gb.?18030|gbk|gb.?2312"))


@section("Encodings")
def shift_jis(folder: Path) -> Input:
    """Shift_JIS"""
    return encoded(folder, JAPANESE, "shift_jis", refused=named("shift.?jis|cp932"))


@section("Encodings")
def euc_jp(folder: Path) -> Input:
    """EUC-JP"""
    return encoded(folder, JAPANESE, "euc_jp", refused=named("euc.?jp|euc.?jis"))


@section("Encodings")
def koi8_r(folder: Path) -> Input:
    """KOI8-R"""
    return encoded(folder, RUSSIAN, "koi8_r", refused=named("koi8"))


@section("Encodings")
def iso_2022_jp(folder: Path) -> Input:
    """ISO-2022-JP, whose bytes are all ASCII"""
    return encoded(folder, JAPANESE, "iso2022_jp", refused=named("iso.?2022.?jp"))


@section("Encodings")
def iso_2022_jp_stated(folder: Path) -> Input:
    """ISO-2022-JP with its encoding"""
    return encoded(folder, JAPANESE, "iso2022_jp", documents=[JAPANESE], options={"encoding": "iso2022_jp"})


@section("Encodings")
def unknown_encoding(folder: Path) -> Input:
    """The name of an encoding that does not exist"""
    return encoded(folder, GERMAN, "latin-1", refused="--encoding.*latin-77", options={"encoding": "latin-77"})


@section("Encodings")
def not_a_text_encoding(folder: Path) -> Input:
    """The name of a codec that is not a text encoding"""
    return encoded(folder, GERMAN, "latin-1", refused="--encoding.*rot13", options={"encoding": "rot13"})


@section("Encodings")
def wrong_encoding(folder: Path) -> Input:
    """An encoding that the text is not in"""
    return encoded(folder, GERMAN, "latin-1", refused=r"a\.txt.*ascii.*byte 5\b", options={"encoding": "ascii"})


@section("Encodings")
def encoding_of_a_utf8_file(folder: Path) -> Input:
    """A UTF-8 file with another encoding stated"""
    return encoded(folder, GERMAN, "utf-8", documents=[GERMAN], options={"encoding": "latin-1"})


def mixed(folder: Path) -> None:
    """Writes two UTF-8 files, a UTF-16 file with a mark and a Latin-1 file."""
    write(folder / "texts/a.txt", ENGLISH)
    write(folder / "texts/b.txt", GERMAN.encode("latin-1"))
    write(folder / "texts/c.txt", RUSSIAN.encode("utf-16"))
    write(folder / "texts/d.txt", GERMAN)


@section("Encodings")
def mixed_encodings(folder: Path) -> Input:
    """A folder of UTF-8, UTF-16 with a mark and Latin-1"""
    mixed(folder)
    return Input("texts", refused=r"(?i)b\.txt.*(?:latin|8859.?1|1252).*--encoding")


@section("Encodings")
def two_encodings(folder: Path) -> Input:
    """A folder of UTF-8, Latin-1 and KOI8-R, for which no single encoding is right"""
    write(folder / "texts/a.txt", ENGLISH)
    write(folder / "texts/b.txt", GERMAN.encode("latin-1"))
    write(folder / "texts/c.txt", RUSSIAN.encode("koi8_r"))
    return Input("texts", refused=r"(?i)b\.txt.*1252.*c\.txt.*koi8.*convert.*--exclude 'b\.txt' 'c\.txt'")


@section("Encodings")
def words_in_markup(folder: Path) -> Input:
    """A page with much ASCII markup and a few Russian words in Windows-1251"""
    markup = '<p class="paragraph" style="color: black"><a href="page.html">' * 3
    words = ["погода", "море", "дорога", "домой", "зима", "вечер", "книга", "город", "улица", "человек", "время"]
    text = "".join(f"{markup}{word} и {word}</a></p>\n" for word in words)
    return encoded(folder, text, "cp1251", refused=named("1251"))


@section("Encodings")
def iso_2022_kr(folder: Path) -> Input:
    """ISO-2022-KR, which has control characters"""
    return encoded(folder, "모든 인간은 태어날 때부터 자유로우며\n" * 30, "iso2022_kr", refused=named("iso.?2022.?kr"))


@section("Encodings")
def mixed_encodings_stated(folder: Path) -> Input:
    """The same folder, with the encoding of the files that are not UTF-8"""
    mixed(folder)
    return Input("texts", documents=[ENGLISH, GERMAN, RUSSIAN, GERMAN], options={"encoding": "latin-1"})


# --- bytes that are not text -------------------------------------------------------------------------------------------


@section("Damaged text")
def bad_byte_in_the_middle(folder: Path) -> Input:
    """UTF-8 with one bad byte in the middle"""
    data = bytearray(GERMAN.encode() * 20)
    data[30_000] = 0xFF
    write(folder / "a.txt", bytes(data))
    return Input("a.txt", refused=r"a\.txt.*\b30000\b.*UTF-8.*repair")


@section("Damaged text")
def bad_byte_at_a_border(folder: Path) -> Input:
    """UTF-8 with one bad byte at 1 MiB"""
    write(folder / "a.txt", b"x" * (MIB - 1) + b"\xff" + b"y" * 100)
    return Input("a.txt", refused=r"a\.txt.*\b1048575\b")


@section("Damaged text")
def character_across_a_border(folder: Path) -> Input:
    """UTF-8 with a character across each border of 64 KiB"""
    text = "x" + "é" * MIB
    write(folder / "a.txt", text)
    return Input("a.txt", documents=[text])


@section("Damaged text")
def utf16_pair_across_a_border(folder: Path) -> Input:
    """UTF-16 with a surrogate pair across each border of 64 KiB"""
    text = "x" + "🌍" * (MIB // 2)
    write(folder / "a.txt", text.encode("utf-16"))
    return Input("a.txt", documents=[text])


@section("Damaged text")
def cut_character_at_the_end(folder: Path) -> Input:
    """UTF-8 that ends in the middle of a character"""
    data = GERMAN.encode() + "é".encode()[:1]
    write(folder / "a.txt", data)
    return Input("a.txt", refused=rf"a\.txt.*\b{len(data) - 1}\b.*UTF-8.*repair")


@section("Damaged text")
def cut_utf16(folder: Path) -> Input:
    """UTF-16 with an odd number of bytes"""
    write(folder / "a.txt", ENGLISH.encode("utf-16") + b"x")
    return Input("a.txt", refused=r"a\.txt.*(?i:utf.?16)")


@section("Damaged text")
def numbers_of_16_bits(folder: Path) -> Input:
    """A table of 16-bit numbers, which could be UTF-16"""
    data = b"".join((20_000 + i * 37 % 9000).to_bytes(2, "little") + b"d\0" for i in range(5000))
    write(folder / "a.dat", data)
    return Input("a.dat", refused=r"a\.dat.*binary")


@section("Damaged text")
def zero_bytes(folder: Path) -> Input:
    """ASCII text with zero bytes"""
    write(folder / "a.txt", ENGLISH.replace("sea", "s\0a").encode())
    return Input("a.txt", refused=r"a\.txt.*binary")


@section("Damaged text")
def a_few_zero_bytes(folder: Path) -> Input:
    """Text with 1,000 zero bytes after 3 MiB, as a log may have them after a crash"""
    text = "text and\n" * (MIB // 3) + "\0" * 1000 + "text\n" * 10
    write(folder / "a.txt", text)
    return Input("a.txt", documents=[text])


@section("Damaged text")
def encoded_surrogates(folder: Path) -> Input:
    """UTF-8 with encoded surrogates, as some old programs wrote it"""
    write(folder / "a.txt", ENGLISH.encode() + "\ud83c\udf0d".encode("utf-8", "surrogatepass"))
    return Input("a.txt", refused=rf"a\.txt.*\b{len(ENGLISH)}\b.*UTF-8.*repair")


# --- line ends ---------------------------------------------------------------------------------------------------------


@section("Line ends and documents")
def carriage_return_only(folder: Path) -> Input:
    """Lines that end with CR"""
    return encoded(folder, ENGLISH.replace("\n", "\r"), "utf-8", documents=[ENGLISH.replace("\n", "\r")])


@section("Line ends and documents")
def carriage_return_and_line_feed(folder: Path) -> Input:
    """Lines that end with CR LF"""
    return encoded(folder, ENGLISH.replace("\n", "\r\n"), "utf-8", documents=[ENGLISH.replace("\n", "\r\n")])


@section("Line ends and documents")
def mixed_line_ends(folder: Path) -> Input:
    """Lines that end with LF, CR LF, CR and U+2028, with form feeds"""
    text = "one\ntwo\r\nthree\rfour\u2028five\fsix\x85seven\n" * 30
    return encoded(folder, text, "utf-8", documents=[text])


LINES = [f"Document {i} is a single line." for i in range(30)]


@section("Line ends and documents")
def document_per_line(folder: Path) -> Input:
    """One document a line, with an empty line"""
    text = "\n".join([*LINES[:5], "", *LINES[5:]]) + "\n"
    return encoded(folder, text, "utf-8", documents=LINES, options={"document_per_line": True})


@section("Line ends and documents")
def document_per_line_with_carriage_return(folder: Path) -> Input:
    """One document a line; lines end with CR LF, and the last has no end"""
    return encoded(folder, "\r\n".join(LINES), "utf-8", documents=LINES, options={"document_per_line": True})


@section("Line ends and documents")
def document_per_line_with_separators(folder: Path) -> Input:
    """One document a line, with U+2028, U+0085 and form feeds inside the lines"""
    lines = [f"Document {i}\u2028has\x85other\fseparators\x1cin it." for i in range(30)]
    return encoded(folder, "\n".join(lines), "utf-8", documents=lines, options={"document_per_line": True})


@section("Line ends and documents")
def document_per_line_in_utf16(folder: Path) -> Input:
    """One document a line, in UTF-16 with a mark"""
    return encoded(folder, "\n".join(LINES), "utf-16", documents=LINES, options={"document_per_line": True})


@section("Line ends and documents")
def document_per_line_of_a_folder(folder: Path) -> Input:
    """One document a line, in two files of a folder"""
    write(folder / "texts/a.txt", "\n".join(LINES[:10]))
    write(folder / "texts/b.txt", "\n".join(LINES[10:]))
    return Input("texts", documents=LINES, options={"document_per_line": True})


# --- sizes -------------------------------------------------------------------------------------------------------------


@section("Sizes")
def empty_file(folder: Path) -> Input:
    """An empty file"""
    return encoded(folder, "", "utf-8", refused=r"a\.txt.*empty")


@section("Sizes")
def only_a_mark(folder: Path) -> Input:
    """A file with only a byte-order mark"""
    return encoded(folder, "", "utf-8-sig", refused=r"a\.txt.*empty")


@section("Sizes")
def only_white_space(folder: Path) -> Input:
    """A file with only white space"""
    return encoded(folder, " \n\t\n" * 100, "utf-8", refused=r"a\.txt.*(?:empty|white space|blank)")


@section("Sizes")
def one_character(folder: Path) -> Input:
    """A file with one character"""
    return encoded(folder, "x", "utf-8", refused=r"a\.txt.*(?:empty|too short)")


@section("Sizes")
def two_characters(folder: Path) -> Input:
    """A file with two characters"""
    return encoded(folder, "xy", "utf-8", documents=["xy"])


@section("Sizes")
def one_long_line(folder: Path) -> Input:
    """A line of 3 MB"""
    text = "".join(f"word{i} " for i in range(300_000))
    return encoded(folder, text, "utf-8", documents=[text])


@section("Sizes")
def no_blank_in_a_long_line(folder: Path) -> Input:
    """A line of 3 MB without blanks, in a script of three bytes a character"""
    text = TRADITIONAL.replace("\n", "") * 1000
    return encoded(folder, text, "utf-8", documents=[text])


@section("Sizes")
def empty_files_in_a_folder(folder: Path) -> Input:
    """A folder with two empty files among texts"""
    write(folder / "texts/a.txt", ENGLISH)
    write(folder / "texts/b.txt", "")
    write(folder / "texts/c.txt", GERMAN)
    write(folder / "texts/d.txt", "\ufeff")
    write(folder / "texts/e.txt", RUSSIAN)
    return Input("texts", documents=[ENGLISH, GERMAN, RUSSIAN], skipped=("b.txt", "d.txt"))


@section("Sizes")
def only_empty_files(folder: Path) -> Input:
    """A folder with only empty files"""
    write(folder / "texts/a.txt", "")
    write(folder / "texts/b.txt", "")
    return Input("texts", refused=r"texts.*(?:empty|no text)")


@section("Sizes")
def empty_folder(folder: Path) -> Input:
    """An empty folder"""
    (folder / "texts").mkdir()
    return Input("texts", refused=r"texts.*(?:empty|no files)")


@section("Sizes")
def many_small_files(folder: Path) -> Input:
    """2,000 files in 40 folders"""
    texts = [f"File {i} has a few words.\n" for i in range(2000)]
    for i, text in enumerate(texts):
        write(folder / f"texts/{i // 50:02}/{i:04}.txt", text)
    return Input("texts", documents=texts)


@section("Sizes")
def nested_folders(folder: Path) -> Input:
    """Texts below 40 folders, each in the other"""
    deep = Path("texts", *["deeper"] * 40)
    write(folder / "texts/z.txt", ENGLISH)
    write(folder / deep / "a.txt", GERMAN)
    write(folder / deep / "b.txt", RUSSIAN)
    return Input("texts", documents=[GERMAN, RUSSIAN, ENGLISH])
