# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Files that are chosen from a folder, and those that are skipped with a reason."""

import gzip
import json
import zipfile

import pytest

from training.common.errors import InputError
from training.corpus import load as load_module
from training.corpus.corpus import Corpus
from training.corpus.load import load_corpus
from training.corpus.options import TextOptions
from training.corpus.selection import select
from training.corpus.stream import load_stream

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8


def rows(*texts, column="text"):
    return "".join(json.dumps({"id": number, column: text}) + "\n" for number, text in enumerate(texts))


def write(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def chosen(folder, **options):
    """Returns the names of the two sides, and what was skipped."""
    found = select(folder, TextOptions(str(folder), **options))
    return [file.name for file in found.train], [file.name for file in found.heldout], dict(found.skipped)


@pytest.mark.parametrize("name", ["data[1]", "why?", "all*", "{a,b}", "a!b", "space at end "])
@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".txt"])
def test_a_path_is_no_pattern(name, suffix, tmp_path):
    texts = {"mine": [f"mine {n}" for n in range(20)], "other": [f"other {n}" for n in range(20)]}
    content = {who: rows(*lines) if suffix == ".jsonl" else "text\n" + "\n".join(lines) for who, lines in texts.items()}
    others = ["data1", "why1", "all1", "a", "b"]
    write(tmp_path, {f"{name}{suffix}": content["mine"], **{f"{other}{suffix}": content["other"] for other in others}})
    options = TextOptions(str(tmp_path / f"{name}{suffix}"))
    loaded = load_corpus(options)
    streamed, _ = load_stream(options)
    for corpus in (loaded, streamed):
        text = "\n".join([*corpus.train, *corpus.heldout])
        assert "mine 0" in text and "mine 19" in text and "other" not in text


def test_every_file_is_read_or_skipped_with_a_reason(tmp_path):
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr("a", "a")
    write(
        tmp_path,
        {
            "a.txt": "text a",
            "b.txt.gz": gzip.compress(b"text b"),
            "c.png": PNG,
            "d.txt": "",
            ".git/x": "x",
            "e.md": "text e",
        },
    )
    train, heldout, skipped = chosen(tmp_path)
    assert (train, heldout) == (["a.txt", "b.txt.gz", "e.md"], [])
    assert skipped == {"hidden": [".git"], "binary": ["c.png"], "empty": ["d.txt"], "archive": ["z.zip"]}
    loaded = load_corpus(TextOptions(str(tmp_path)))
    assert (loaded.train, loaded.heldout) == (["text a", "text b"], ["text e"])
    source, *lines = loaded.reading.lines(loaded.split)
    assert source.startswith("  source    a folder, 3 files, ")
    assert lines == [
        "  train     2 files: a.txt, b.txt.gz",
        "  held out  1 file: e.md (last 1 of 3 documents held out)",
        "  skipped   1 archive: z.zip; 1 binary: c.png; 1 empty: d.txt; 1 hidden: .git",
    ]


def test_a_folder_without_text_says_what_it_holds(tmp_path):
    write(tmp_path, {"c.png": PNG, "d.txt": ""})
    with pytest.raises(InputError, match=r"is empty \(skipped: 1 binary: c.png; 1 empty: d.txt\): give a folder"):
        chosen(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.png", PNG, "a.png is not text .a PNG picture"),
        ("a.txt", b"", "a.txt is empty"),
        ("a.zip", b"PK\3\4" + bytes(40), "a.zip is a ZIP archive"),
        ("a.txt.gz", gzip.compress(b"text " * 1000, mtime=0)[:-20], "a.txt.gz is damaged or cut off"),
    ],
)
def test_a_file_alone_that_cannot_be_read(name, content, message, tmp_path):
    write(tmp_path, {name: content})
    with pytest.raises(InputError, match=message):
        load_corpus(TextOptions(str(tmp_path / name)))


def test_texts_that_cannot_be_decoded_are_counted_and_both_remedies_work(tmp_path):
    latin = "Le café est fermé.\n".encode("latin-1") * 20
    write(tmp_path, {f"l[{n}].txt": latin for n in range(4)} | {"a.txt": "text", "b.txt": "text"})
    with pytest.raises(InputError) as error:
        chosen(tmp_path)
    message = str(error.value)
    assert message.startswith("4 files cannot be decoded: l[0].txt (not UTF-8 at byte 6, probably cp1252), ")
    assert "and 1 more: give --encoding cp1252, or leave them out with --exclude 'l[[]0].txt' 'l[[]1].txt'" in message
    loaded = load_corpus(TextOptions(str(tmp_path), encoding="cp1252"))
    assert any("café" in text for text in loaded.train + loaded.heldout)
    patterns = tuple(f"l[[]{n}].txt" for n in range(4))
    assert chosen(tmp_path, exclude=patterns)[0] == ["a.txt", "b.txt"]


def test_patterns_choose_files(tmp_path):
    write(tmp_path, {name: "text" for name in ("a.txt", "b.md", "docs/c.md", "docs/d.txt", "old/docs/e.md")})
    assert chosen(tmp_path, include=("*.md",))[0] == ["b.md", "docs/c.md", "old/docs/e.md"]
    assert chosen(tmp_path, include=("docs/*.md",))[0] == ["docs/c.md"]
    assert chosen(tmp_path, include=("./a.txt", "./docs/"))[0] == ["a.txt", "docs/c.md", "docs/d.txt"]
    assert chosen(tmp_path, exclude=("docs/",))[0] == ["a.txt", "b.md", "old/docs/e.md"]
    train, _, skipped = chosen(tmp_path, include=("*.md", "a.txt"), exclude=("old", "b.md"))
    assert train == ["a.txt", "docs/c.md"]
    assert skipped == {"not included": ["docs/d.txt"], "excluded": ["b.md", "old/docs/e.md"]}
    for options, message in (
        (
            {"include": ("*.rst",)},
            r"--include '\*\.rst' matches no file: the names are a\.txt, b\.md, docs/c\.md and 2",
        ),
        ({"exclude": ("*.rst",)}, r"--exclude '\*\.rst' matches no file"),
        ({"exclude": ("*",)}, "leave no file"),
    ):
        with pytest.raises(InputError, match=message):
            chosen(tmp_path, **options)
    with pytest.raises(InputError, match="--include chooses files of a folder, and --dataset stdlib is not a folder"):
        load_corpus(TextOptions("stdlib", include=("*",)))


def test_documentation_next_to_tables_is_not_read(tmp_path):
    notes = dict.fromkeys(("README.md", "LICENSE", "CITATION.cff", "dataset_info.json", "sub/NOTICE.txt"), "{}" * 999)
    write(tmp_path, {"a.jsonl": rows("a", "b"), "b.csv": "text\nc\nd\n", **notes})
    train, _, skipped = chosen(tmp_path)
    assert train == ["a.jsonl", "b.csv"]
    assert skipped == {"documentation": ["CITATION.cff", "LICENSE", "README.md", "dataset_info.json", "sub/NOTICE.txt"]}
    assert chosen(tmp_path, include=("README.md", "LICENSE"))[0] == ["LICENSE", "README.md"]
    loaded = load_corpus(TextOptions(str(tmp_path)))
    assert loaded.train + loaded.heldout == ["a", "b", "c", "d"]


def test_the_kind_with_more_text_is_read(tmp_path):
    write(tmp_path, {"data.jsonl": rows(*["some text"] * 50), "make.py": "print()\n" * 9, "run.sh": "echo"})
    found = select(tmp_path, TextOptions(str(tmp_path)))
    assert [file.name for file in found.train] == ["data.jsonl"]
    assert found.skipped == {"text next to tables": ["make.py", "run.sh"]}
    assert found.notes == ["tables are read, and no other text; to read the text instead: --include '*.py' '*.sh'"]
    assert chosen(tmp_path, include=("*.py", "*.sh"))[0] == ["make.py", "run.sh"]
    assert chosen(tmp_path, plain_text=True)[0] == ["data.jsonl", "make.py", "run.sh"]
    write(tmp_path, {"book.txt": "many words " * 999})
    found = select(tmp_path, TextOptions(str(tmp_path)))
    assert {file.kind for file in found.train} == {"text"} and len(found.train) == 4
    assert found.notes == ["1 file of JSON or CSV read as text: data.jsonl; to read tables: --include '*.jsonl'"]


def test_a_table_without_the_column_is_part_of_a_source_tree_only_among_more_texts(tmp_path):
    write(tmp_path, {"package-lock.json": json.dumps({"name": "x" * 999}), "a.js": "a", "b.js": "b"})
    assert len(chosen(tmp_path)[0]) == 3
    (tmp_path / "b.js").unlink()
    with pytest.raises(InputError, match=r"no column 'text'.*or leave the file out|no column 'text'"):
        load_corpus(TextOptions(str(tmp_path)))


def test_an_error_in_one_of_several_files_says_how_to_leave_it_out(tmp_path):
    write(tmp_path, {"a.jsonl": rows("a", "b", "c"), "config.json": '{"x": 1}'})
    for load in (load_corpus, load_stream):
        with pytest.raises(InputError, match=r"config\.json has no column 'text'.* --exclude 'config\.json'$"):
            load(TextOptions(str(tmp_path)))
        load(TextOptions(str(tmp_path), exclude=("config.json",)))


def test_other_columns_and_tables_without_rows_do_not_matter(tmp_path):
    first = "".join(json.dumps({"text": f"a{n}", "meta": None}) + "\n" for n in range(10))
    second = "".join(json.dumps({"meta": {"url": "x"}, "text": f"b{n}"}) + "\n" for n in range(10))
    write(tmp_path, {"a.jsonl": first, "b.jsonl": second, "c.csv": "id,text\n"})
    loaded = load_corpus(TextOptions(str(tmp_path)))
    assert len(loaded.train + loaded.heldout) == 20
    assert loaded.reading.skipped == {"without text": ["c.csv"]}
    streamed, stream = load_stream(TextOptions(str(tmp_path)))
    assert [*streamed.heldout, *stream] == loaded.train + loaded.heldout
    assert streamed.reading.skipped == {"without text": ["c.csv"]}


# --- splits and --validation


def test_texts_that_are_named_as_splits(tmp_path):
    write(tmp_path, {f"{name}.txt": f"the {name} part" for name in ("train", "valid", "test")})
    loaded = load_corpus(TextOptions(str(tmp_path)))
    assert (loaded.train, loaded.heldout) == (["the train part"], ["the valid part"])
    assert loaded.split == "the dataset's validation split"
    assert loaded.reading.skipped == {"of the test split": ["test.txt"]}
    assert loaded.reading.notes == []
    streamed, stream = load_stream(TextOptions(str(tmp_path)))
    assert streamed.heldout == loaded.heldout and "".join(stream) == "the train part"


@pytest.mark.parametrize("suffix", [".txt", ".jsonl"])
def test_an_empty_training_split_is_rejected(tmp_path, suffix):
    content = rows("a", "b") if suffix == ".jsonl" else "text"
    write(tmp_path, {f"train{suffix}": "", f"valid{suffix}": content})
    with pytest.raises(InputError, match=rf"the training split is empty: train{suffix}: put text into it"):
        chosen(tmp_path)
    write(tmp_path, {f"train{suffix}": content, f"valid{suffix}": ""})
    assert chosen(tmp_path) == ([f"train{suffix}"], [], {"empty": [f"valid{suffix}"]})
    write(tmp_path, {f"train-1{suffix}": "", f"valid{suffix}": content})
    assert chosen(tmp_path)[:2] == ([f"train{suffix}"], [f"valid{suffix}"])


def test_validation_without_text_is_rejected(tmp_path):
    write(tmp_path, {"a.txt": "text\n" * 9, "b.txt": " \n"})
    options = TextOptions(str(tmp_path / "a.txt"), validation=str(tmp_path / "b.txt"))
    for load in (load_corpus, load_stream):
        with pytest.raises(InputError, match=r"--validation .*b\.txt has no text: give other text"):
            load(options)


def test_tests_of_programs_are_no_split(tmp_path):
    write(tmp_path, {name: name for name in ("a.py", "b.py", "test_a.py", "tests/test_b.py")})
    assert chosen(tmp_path) == (["a.py", "b.py", "test_a.py", "tests/test_b.py"], [], {})


@pytest.mark.parametrize("inside", [True, False])
def test_validation_is_held_out_whole_and_not_trained_on(tmp_path, inside):
    data = write(tmp_path / "data", {f"{name}.txt": f"the {name} part" for name in ("train", "test", "more", "some")})
    given = data / "more.txt"
    if not inside:
        given = write(tmp_path / "else", {"a.txt": "other a", "b.txt": "other b"})
    options = TextOptions(str(data), validation=str(given))
    loaded = load_corpus(options)
    streamed, stream = load_stream(options)
    assert loaded.heldout == streamed.heldout == (["the more part"] if inside else ["other a", "other b"])
    train = ["the some part", "the train part"]
    if not inside:
        train.append("the more part")
    assert sorted(loaded.train) == sorted(stream) == sorted(train)
    assert loaded.split == streamed.split == f"the text of {given.name}"


def test_validation_holds_out_for_the_library_and_must_exist(tmp_path, monkeypatch):
    small = Corpus("stdlib", "stdlib", ["import os"], ["import sys"], "whole packages")
    monkeypatch.setattr(load_module, "load_stdlib", lambda: small)
    write(tmp_path, {"a.txt": "held out"})
    loaded = load_corpus(TextOptions("stdlib", validation=str(tmp_path / "a.txt")))
    assert loaded.heldout == ["held out"] and loaded.train == small.train
    with pytest.raises(InputError, match="given by --dataset and by --validation"):
        load_corpus(TextOptions(str(tmp_path / "a.txt"), validation=str(tmp_path / "a.txt")))
    with pytest.raises(InputError, match=r"--validation .*none does not exist"):
        load_corpus(TextOptions("stdlib", validation=str(tmp_path / "none")))


def test_lines_are_documents_on_request(tmp_path):
    write(tmp_path, {"a.txt": "one\r\n\r\ntwo\nthree\n", "b.txt": "four\n  \nfive"})
    options = TextOptions(str(tmp_path), document_per_line=True)
    loaded = load_corpus(options)
    assert loaded.train + loaded.heldout == ["one", "two", "three", "four", "  ", "five"]
    assert loaded.reading.notes == ["left out: 1 row or line without text"]
    streamed, stream = load_stream(options)
    assert [*streamed.heldout, *stream] == loaded.train + loaded.heldout


def test_not_more_than_the_cap_is_held_out(tmp_path, monkeypatch):
    monkeypatch.setattr("training.corpus.load.HELDOUT_CHARACTERS", 50)
    write(tmp_path, {"one/a.txt": "x" * 1000, **{f"many/{n:03d}.txt": f"text {n:05d}" for n in range(200)}})
    write(tmp_path, {"long/a.txt": "short", "long/b.txt": "y" * 1000})
    loaded = load_corpus(TextOptions(str(tmp_path / "one")))
    assert (len(loaded.train[0]), len(loaded.heldout[0])) == (950, 50)
    assert loaded.split == "last 50 characters held out"
    loaded = load_corpus(TextOptions(str(tmp_path / "many")))
    assert loaded.heldout == [f"text {n:05d}" for n in range(195, 200)]
    assert loaded.split == "last 5 of 200 documents held out"
    loaded = load_corpus(TextOptions(str(tmp_path / "long")))
    assert loaded.train == ["short", "y" * 950] and loaded.heldout == ["y" * 50]
    assert loaded.split == "last 50 characters of the last document held out"
