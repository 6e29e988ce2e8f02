# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Text sources: loads training and held-out documents by one name.

load_corpus(TextOptions("stdlib"))                     the Python standard library's own sources, no download
load_corpus(TextOptions("shakespeare.txt"))            one text file, first 90 % for training
load_corpus(TextOptions("notes/"))                     a folder of text files
load_corpus(TextOptions("data.jsonl", "content"))      .json, .jsonl, .csv or .parquet, or a name on the Hub
"""

from __future__ import annotations

import codecs
import hashlib
import os
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from training.common.errors import InputError, first_line
from training.corpus.corpus import Corpus
from training.corpus.options import TextOptions

HELDOUT_SHARE = 0.1
SHAKESPEARE = "karpathy/tiny_shakespeare"
STDLIB_SKIP = {
    "test",
    "tests",
    "idlelib",
    "encodings",
    "pydoc_data",
    "site-packages",
    "dist-packages",
    "__pycache__",
}
STDLIB_HELDOUT_BELOW = 13  # of 256: about 5 % of the packages
DATA_SUFFIXES = {".json": "json", ".jsonl": "json", ".csv": "csv", ".parquet": "parquet"}
TABLE_OPTIONS = {"json": {}, "csv": {"keep_default_na": False}, "parquet": {}}  # "NA", "null" and "None" are texts too
HELDOUT_SPLITS = ("validation", "valid", "val", "dev", "test")


def load_corpus(options: TextOptions) -> Corpus:
    """Loads a text source and splits it.

    A folder that holds only tables is read as tables, any other folder file by file as text. Names that start with a dot are
    left out.

    Raises:
        InputError: The source is missing, empty, not UTF-8, or has no such column.
    """
    dataset = options.dataset
    text_column = options.text_column
    path = Path(dataset).expanduser()
    if dataset == "stdlib":
        corpus = _load_stdlib()
    elif path.is_dir():
        files = visible_files(path)
        if files and all(map(_is_table, files)):
            corpus = _load_table(path, text_column)
        else:
            corpus = _load_folder(path)
    elif path.exists():
        corpus = _load_table(path, text_column) if _is_table(path) else _load_file(path)
    elif path.suffix.lower() in {*DATA_SUFFIXES, ".txt"} or dataset.startswith((".", "/", "~")):
        raise InputError(
            f"dataset {dataset!r} does not exist: give the path of a file or folder, a Hub name, or stdlib"
        )
    else:
        corpus = _load_hub(dataset, text_column)
    for side in ("train", "heldout"):
        if not any(getattr(corpus, side)):
            raise InputError(f"dataset {dataset!r} is empty: it has no text for the {side} side; give more text")
    return corpus


def stdlib_is_heldout(relative_path: str) -> bool:
    """Whether a file of the standard library is held out, by its path relative to the library's folder.

    The package decides (`json` for `json/decoder.py`), so near-duplicates in one package stay on one side.
    """
    package = Path(relative_path).parts[0]
    return hashlib.sha256(package.encode()).digest()[0] < STDLIB_HELDOUT_BELOW


def _load_stdlib(folder: str | None = None) -> Corpus:
    folder = Path(folder or sysconfig.get_paths()["stdlib"])
    if not folder.is_dir():
        raise InputError(f"the standard library is not a folder of files ({folder}): use an ordinary Python")
    relative = (path.relative_to(folder) for path in folder.rglob("*.py"))
    names = sorted(path.as_posix() for path in relative if not STDLIB_SKIP.intersection(path.parts))
    if not names:
        raise InputError(f"no .py files under {folder}: install Python's library sources, or give another --dataset")
    train = []
    heldout = []
    for name in names:
        text = (folder / name).read_bytes().decode("utf-8", errors="replace")
        if not text:
            continue
        if stdlib_is_heldout(name):
            heldout.append(text)
        else:
            train.append(text)
    return Corpus("stdlib", "stdlib", train, heldout, "whole packages, by a hash of their name")


def _load_file(path: Path) -> Corpus:
    train, heldout = _cut(read_text(path))
    return Corpus(path.stem, "file", [train], [heldout], "first 90 % of the characters for training, the rest held out")


def _load_folder(path: Path) -> Corpus:
    files = visible_files(path)
    if any(table_kind(file) == "parquet" for file in files):
        raise InputError(
            f"{path} mixes .parquet and other files: give the path of one table, or move the tables to their own folder"
        )
    return _split_documents(path.resolve().name, "folder", [read_text(file) for file in files])


def _load_table(path: Path, text_column: str) -> Corpus:
    import datasets

    files = visible_files(path) if path.is_dir() else [path]
    kinds = {table_kind(file) for file in files}
    if len(kinds) > 1:
        raise InputError(f"{path} mixes {' and '.join(sorted(kinds))} files: give the path of one of them")
    kind = kinds.pop()
    if kind != "parquet":
        # datasets would give the position in its own buffers, or report the byte only when the text is read.
        for file in files:
            check_utf8(file)

    def load() -> Corpus:
        from pyarrow.parquet import read_metadata

        if kind == "parquet" and not any(read_metadata(file).num_rows for file in files):
            raise InputError(f"dataset {str(path)!r} is empty: give a file with at least one row")
        return _from_splits(
            path.stem,
            "folder" if path.is_dir() else "file",
            datasets.load_dataset(kind, data_files=table_splits(path, kind), **TABLE_OPTIONS[kind]),
            text_column,
        )

    return quietly(load, f"dataset {str(path)!r}")


def table_splits(path: Path, kind: str) -> dict[str, list[str]]:
    """Returns the files of a table, or of a folder of tables, by split.

    datasets assigns files to splits by their names, and leaves out files without such a name if others have one. Those are
    added to the training files here.
    """
    import datasets

    if not path.is_dir():
        return {"train": [str(path)]}
    # The kind is given, because datasets does not know suffixes in capitals.
    guessed = datasets.load_dataset_builder(kind, data_dir=str(path)).config.data_files
    splits = {str(split): [str(name) for name in names] for split, names in guessed.items()}
    taken = {Path(name).resolve() for names in splits.values() for name in names}
    left_out = [str(file) for file in visible_files(path) if file.resolve() not in taken]
    if left_out:
        splits["train"] = [*splits.get("train", []), *left_out]
    return splits


def _load_hub(dataset: str, text_column: str) -> Corpus:
    import datasets

    name, _, configuration = dataset.partition(":")
    short = dataset.replace("/", "-").replace(":", "-")
    return quietly(
        lambda: _from_splits(short, "hub", datasets.load_dataset(name, configuration or None), text_column),
        f"dataset {dataset!r}",
    )


def quietly(load: Callable[[], Any], what: str) -> Any:
    """Runs a loader and returns its result.

    Raises:
        InputError: The loader raised an error. The message has one line, which names `what` and the reason.
    """
    try:
        return load()
    except InputError:
        raise
    except Exception as error:
        cause: BaseException = error
        if type(error).__name__ == "DatasetGenerationError" and error.__cause__:  # its own message gives no reason
            cause = error.__cause__
        raise InputError(f"could not load {what}: {first_line(cause)}") from cause


def read_shakespeare(path: str | os.PathLike | None) -> str:
    """Returns the text of a file given by `--text`, or for `None` all of karpathy/tiny_shakespeare, its splits joined again.

    Raises:
        InputError: The file cannot be read, or the Hub cannot be reached.
    """
    if path is not None:
        try:
            return read_text(path)
        except OSError as error:
            raise InputError(f"--text {path} cannot be read ({error.strerror}): give a file that exists") from error
    import datasets

    # The Hub's copy as tables, because the dataset itself is a script, which `datasets` no longer runs.
    loaded = quietly(
        lambda: datasets.load_dataset(SHAKESPEARE, revision="refs/convert/parquet"),
        f"{SHAKESPEARE}; give a file with the same text by --text",
    )
    return "".join(text for split in ("train", "validation", "test") for text in loaded[split]["text"])


def _from_splits(name: str, kind: str, loaded, text_column: str) -> Corpus:
    """Makes a corpus of a `datasets.DatasetDict`. Its validation or test split is held out, or its last documents."""
    first = "train" if "train" in loaded else next(iter(loaded))
    train = _column(loaded[first], text_column, name)
    for split in HELDOUT_SPLITS:
        if split in loaded and split != first:
            return Corpus(name, kind, train, _column(loaded[split], text_column, name), f"the dataset's {split} split")
    return _split_documents(name, kind, train)


def _column(table, text_column: str, name: str) -> list[str]:
    if text_column not in table.column_names:
        columns = ", ".join(table.column_names)
        raise InputError(f"dataset {name!r} has no column {text_column!r}: choose --text-column from {columns}")
    rows = table[text_column]
    documents = [row for row in rows if row]
    for row in documents:
        if not isinstance(row, str):
            raise InputError(f"column {text_column!r} of {name!r} holds {type(row).__name__}, not text: choose another")
    return documents


def _split_documents(name: str, kind: str, documents: list[str]) -> Corpus:
    """Holds out the last tenth of the documents, or of the text of a single one."""
    documents = [document for document in documents if document]
    if len(documents) < 2:
        train, heldout = _cut("".join(documents))
        return Corpus(name, kind, [train], [heldout], "first 90 % of the characters for training, the rest held out")
    count = max(1, int(len(documents) * HELDOUT_SHARE))
    return Corpus(
        name, kind, documents[:-count], documents[-count:], f"last {count} of {len(documents)} documents held out"
    )


def _cut(text: str) -> tuple[str, str]:
    middle = int(len(text) * (1 - HELDOUT_SHARE))
    return text[:middle], text[middle:]


def table_kind(path: Path) -> str | None:
    """Returns the kind of a table, by its name in datasets, or `None` for any other file."""
    return DATA_SUFFIXES.get(path.suffix.lower())


def _is_table(path: Path) -> bool:
    return table_kind(path) is not None


def visible_files(folder: Path) -> list[Path]:
    """Returns every file below a folder, without those whose path from there has a part that starts with a dot."""
    return sorted(
        file
        for file in folder.rglob("*")
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )


def check_utf8(path: Path) -> None:
    """Checks a file piece by piece.

    Raises:
        InputError: It is empty, or not UTF-8; the message names the offset of the first bad byte.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset = 0
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            pending = len(decoder.getstate()[0])
            try:
                decoder.decode(piece)
            except UnicodeDecodeError as error:
                _raise_not_utf8(path, offset - pending + error.start)
            offset += len(piece)
    if decoder.getstate()[0]:
        _raise_not_utf8(path, offset - len(decoder.getstate()[0]))
    if not offset:
        raise InputError(f"{path} is empty: give a file with text in it")


def _raise_not_utf8(path: str | os.PathLike, at: int) -> NoReturn:
    raise InputError(
        f"{path} is not UTF-8 at byte {at}: convert it first, for example with `iconv -f latin1 -t utf-8`"
    ) from None


def read_text(path: str | os.PathLike) -> str:
    """Returns the text of a file, with its line ends unchanged.

    Raises:
        InputError: The file is not UTF-8; the message names the offset of the first bad byte.
    """
    data = Path(path).read_bytes()
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        _raise_not_utf8(path, error.start)
