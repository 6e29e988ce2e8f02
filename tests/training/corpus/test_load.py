# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Text sources: how each kind is read and split, and sources that are rejected."""

import csv
import json

import pytest

from training.common.errors import InputError
from training.corpus.load import load_corpus
from training.corpus.options import TextOptions
from training.corpus.stdlib import load_stdlib, stdlib_is_heldout
from training.corpus.stream import load_stream


@pytest.fixture(scope="module")
def stdlib():
    return load_corpus(TextOptions("stdlib"))


def test_stdlib_is_large_and_split(stdlib):
    assert stdlib.is_python
    train, heldout = (sum(len(text.encode()) for text in side) for side in (stdlib.train, stdlib.heldout))
    assert train > 5_000_000
    assert 0.01 < heldout / (train + heldout) < 0.15
    assert not set(stdlib.train) & set(stdlib.heldout)


def test_stdlib_holds_out_whole_packages():
    for package in ("json", "asyncio", "email", "xml", "unittest"):
        sides = {stdlib_is_heldout(f"{package}/{name}") for name in ("__init__.py", "a.py", "deep/b.py")}
        assert len(sides) == 1
    modules = [f"m{i}.py" for i in range(4000)]
    assert sum(map(stdlib_is_heldout, modules)) / 4000 == pytest.approx(13 / 256, abs=0.015)


def test_stdlib_skips_tests_caches_and_installed_packages(tmp_path):
    for name in ("a.py", "pkg/b.py", "test/c.py", "lib2to3/tests/d.py", "site-packages/e.py", "pkg/__pycache__/f.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {name}\n")
    (tmp_path / "bad.py").write_bytes(b"# \xff\n")
    loaded = load_stdlib(tmp_path)
    assert sorted(loaded.train + loaded.heldout) == ["# a.py\n", "# pkg/b.py\n", "# \ufffd\n"]


def test_stdlib_in_a_zip_or_empty_is_rejected(tmp_path):
    with pytest.raises(InputError, match="not a folder"):
        load_stdlib(tmp_path / "python311.zip")
    with pytest.raises(InputError, match=r"no \.py files"):
        load_stdlib(tmp_path)


def test_text_file_is_cut_at_ninety_percent(tmp_path):
    path = tmp_path / "poem.txt"
    text = "".join(f"line {i} é\r\n" for i in range(200))
    path.write_bytes(text.encode())
    loaded = load_corpus(TextOptions(str(path)))
    assert loaded.name == "poem"
    assert loaded.train[0] + loaded.heldout[0] == text
    assert len(loaded.train[0]) == int(len(text) * 0.9)


def test_folder_holds_out_its_last_documents(tmp_path):
    for i in range(20):
        (tmp_path / f"{i:02d}.txt").write_text(f"document {i}")
    (tmp_path / ".hidden").write_bytes(b"\xff")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "index").write_bytes(b"\xff")
    loaded = load_corpus(TextOptions(str(tmp_path)))
    assert loaded.train == [f"document {i}" for i in range(18)]
    assert loaded.heldout == ["document 18", "document 19"]


def test_a_folder_inside_a_hidden_one_is_read(tmp_path):
    folder = tmp_path / ".cache" / "notes"
    folder.mkdir(parents=True)
    (folder / "a.txt").write_text("first")
    (folder / "b.txt").write_text("second")
    assert load_corpus(TextOptions(str(folder))).train == ["first"]


def test_a_table_among_texts_is_read_as_text(tmp_path):
    for name in ("a.md", "b.md"):
        (tmp_path / name).write_text(name)
    (tmp_path / "package.json").write_text('{"name": "c"}')
    loaded = load_corpus(TextOptions(str(tmp_path)))
    assert (loaded.train, loaded.heldout) == (["a.md", "b.md"], ['{"name": "c"}'])
    assert loaded.reading.notes == [
        "1 file of JSON or CSV read as text: package.json; to read tables: --include '*.json'"
    ]
    (tmp_path / "c.md").write_text("c.md")
    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    loaded = load_corpus(TextOptions(str(tmp_path)))
    assert [*loaded.train, *loaded.heldout] == ["a.md", "b.md", "c.md", '{"name": "c"}']
    assert loaded.reading.skipped == {"binary": ["rows.parquet"]}


def _write_table(path, column, rows):
    if path.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.table({column: rows}), path)
    elif path.suffix.lower() == ".csv":
        with open(path, "w", newline="") as file:
            csv.writer(file).writerows([(column, "other"), *((row, "x") for row in rows)])
    else:
        path.write_text("".join(json.dumps({column: row}) + "\n" for row in rows))


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".JSONL", ".csv", ".CSV", ".parquet"])
def test_a_table_is_read(tmp_path, suffix):
    path = tmp_path / f"data{suffix}"
    _write_table(path, "content", [f"row {i}" for i in range(30)] + [""])
    loaded = load_corpus(TextOptions(str(path), "content"))
    assert loaded.train == [f"row {i}" for i in range(27)]
    assert loaded.heldout == [f"row {i}" for i in range(27, 30)]
    streamed, _ = load_stream(TextOptions(str(path), "content"), 3)
    assert streamed.heldout == [f"row {i}" for i in range(3)] and streamed.train[-1] == "row 29"
    with pytest.raises(InputError, match=r"no column 'text'.*content"):
        load_corpus(TextOptions(str(path)))


def test_words_for_missing_values_are_texts_in_a_csv(tmp_path):
    words = ["NA", "null", "None", "nan", "cat"] * 4
    _write_table(tmp_path / "data.csv", "text", words)
    options = TextOptions(str(tmp_path / "data.csv"))
    loaded = load_corpus(options)
    streamed, _ = load_stream(options, 2)
    assert [*loaded.train, *loaded.heldout] == [*streamed.heldout, *streamed.train] == words


def test_folder_of_tables_keeps_its_own_split(tmp_path):
    _write_table(tmp_path / "train.jsonl", "text", ["a", "b", "c"])
    _write_table(tmp_path / "validation.jsonl", "text", ["d"])
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "index").write_bytes(b"\xff")
    loaded = load_corpus(TextOptions(str(tmp_path)))
    assert (loaded.train, loaded.heldout) == (["a", "b", "c"], ["d"])
    assert "validation" in loaded.split


def test_a_folder_of_csv_is_one_of_tables(tmp_path):
    _write_table(tmp_path / "train.csv", "text", ["NA", "b", "c"])
    _write_table(tmp_path / "test.CSV", "text", ["d"])
    loaded, (streamed, _) = load_corpus(TextOptions(str(tmp_path))), load_stream(TextOptions(str(tmp_path), "text"), 9)
    assert (loaded.train, loaded.heldout) == (streamed.train, streamed.heldout) == (["NA", "b", "c"], ["d"])


def test_a_column_that_is_not_text_is_rejected(tmp_path):
    _write_table(tmp_path / "data.jsonl", "text", [1, 2, 3])
    with pytest.raises(InputError, match="int, not text"):
        load_corpus(TextOptions(str(tmp_path / "data.jsonl")))


@pytest.mark.parametrize("name", ["empty.txt", "empty.jsonl", "empty.parquet"])
def test_an_empty_source_is_rejected(tmp_path, name):
    if name.endswith("parquet"):
        _write_table(tmp_path / name, "text", [])
    else:
        (tmp_path / name).write_text("")
    with pytest.raises(InputError, match=r"is empty.*: .*give"):
        load_corpus(TextOptions(str(tmp_path / name)))


@pytest.mark.parametrize("name", ["latin.txt", "latin.jsonl"])
def test_text_that_is_not_utf8_is_located_and_the_remedy_works(tmp_path, name):
    row = b'{"text": "caf\xe9 au lait"}\n'
    (tmp_path / name).write_bytes(b'{"text": "tea"}\n' + row)
    for source in (tmp_path / name, tmp_path):
        with pytest.raises(
            InputError, match=r"latin\.\w+.*not UTF-8 at byte 29, probably cp1252\): give --encoding cp1252$"
        ):
            load_corpus(TextOptions(str(source)))
        loaded = load_corpus(TextOptions(str(source), encoding="cp1252"))
        assert "café au lait" in "".join([*loaded.train, *loaded.heldout])
        assert loaded.reading.notes == [f"1 file decoded as cp1252: {name}"]


def test_a_column_of_damaged_text_is_reported_in_one_line(tmp_path):
    import pyarrow
    import pyarrow.parquet

    damaged = pyarrow.Array.from_buffers(pyarrow.string(), 1, pyarrow.array([b"\xe9"]).buffers())
    pyarrow.parquet.write_table(pyarrow.table({"text": damaged}), tmp_path / "data.parquet")
    with pytest.raises(InputError, match=r"column 'text' of .*data\.parquet is not UTF-8 \(row 1\)"):
        load_corpus(TextOptions(str(tmp_path / "data.parquet")))


@pytest.mark.parametrize("name", ["missing.txt", "./missing", "/missing/data.parquet"])
def test_a_missing_path_is_not_taken_for_a_hub_name(name):
    with pytest.raises(InputError, match="does not exist"):
        load_corpus(TextOptions(name))


def test_hub_failure_becomes_one_line(monkeypatch):
    import datasets

    def fail(*args, **kwargs):
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(InputError, match=r"could not load dataset 'someone/texts': no route$"):
        load_corpus(TextOptions("someone/texts"))


def test_hub_name_and_configuration_reach_datasets(monkeypatch):
    import datasets

    asked = []

    def load(*args):
        asked.append(args)
        return datasets.DatasetDict(train=datasets.Dataset.from_dict({"text": ["a", None, "b"]}))

    monkeypatch.setattr(datasets, "load_dataset", load)
    loaded = load_corpus(TextOptions("someone/texts:small"))
    assert asked == [("someone/texts", "small")]
    assert (loaded.name, loaded.train, loaded.heldout) == ("someone-texts-small", ["a"], ["b"])


@pytest.mark.parametrize("names", [("a", "b", "test"), ("train", "extra"), ("a", "b")], ids=str)
def test_no_file_of_a_folder_of_tables_is_left_out(names, tmp_path):
    for name in names:
        rows = (json.dumps({"text": f"{name} {n}"}) for n in range(20))
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows))
    found = load_corpus(TextOptions(str(tmp_path)))
    assert len(found.train) + len(found.heldout) == 20 * len(names)
    if "test" in names:
        assert {text.split()[0] for text in found.heldout} == {"test"}
    corpus, stream = load_stream(TextOptions(str(tmp_path), "text"), 5)
    texts = list(stream)
    assert len(texts) == (40 if "test" in names else 20 * len(names) - 5)
    assert len(corpus.heldout) == 5 and not set(corpus.heldout) & set(texts)


@pytest.mark.parametrize(
    "sizes", [(20, 980), (20, 980, 1), (980, 20), *[(1,) * 18 + ends for ends in ((1, 982), (982, 1))]]
)
def test_a_document_with_most_of_the_text_is_not_held_out_whole(tmp_path, sizes):
    for number, size in enumerate(sizes):
        (tmp_path / f"{number:02d}.txt").write_text("a line of text\n" * size)
    loaded = load_corpus(TextOptions(str(tmp_path)))
    total = 15 * sum(sizes)
    assert "".join([*loaded.train, *loaded.heldout]) == "a line of text\n" * sum(sizes)
    assert 1 <= sum(map(len, loaded.heldout)) <= total / 4
    streamed, stream = load_stream(TextOptions(str(tmp_path)))
    assert 1 <= sum(map(len, streamed.heldout)) <= total / 4
    assert sum(map(len, stream)) + sum(map(len, streamed.heldout)) == total


def test_rows_without_text_are_counted(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"text": "a"}\n{"text": ""}\n{"id": 1}\n{"text": "b"}\n{"text": null}\n')
    options = TextOptions(str(tmp_path / "rows.jsonl"))
    for corpus in (load_corpus(options), load_stream(options)[0]):
        assert "left out: 3 rows or lines without text" in corpus.reading.notes
