# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Text sources: one name in, a list of training documents and a list of held-out documents out.

load_corpus("stdlib")                     the Python standard library's own sources, no download
load_corpus("shakespeare.txt")            one text file, first 90 % for training
load_corpus("notes/")                     a folder of text files
load_corpus("data.jsonl", "content")      .json, .jsonl, .csv or .parquet, or a name on the Hub
"""

from __future__ import annotations

import codecs
import hashlib
import os
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from training.common.errors import InputError

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
TABLE_OPTIONS = {"json": {}, "csv": {"keep_default_na": False}, "parquet": {}}  # a text may be NA, null or None
HELDOUT_SPLITS = ("validation", "valid", "val", "dev", "test")


@dataclass(frozen=True)
class Corpus:
    """Documents of one source.

    Attributes:
        name (`str`): Short name, fit for a folder: `stdlib`, `shakespeare`.
        train (`list[str]`): Training documents, none empty.
        heldout (`list[str]`): Held-out documents, none empty; no model or tokenizer ever learns from them.
        split (`str`): How the two were told apart, in words, for the results file.
    """

    name: str
    train: list[str]
    heldout: list[str]
    split: str

    @property
    def is_python(self) -> bool:
        """Whether every document is a Python module, so that samples can be judged by a parser."""
        return self.name == "stdlib"


def load_corpus(dataset: str = "stdlib", text_column: str = "text") -> Corpus:
    """Loads a text source and splits it.

    Args:
        dataset (`str`): `stdlib`, the path of a text file, of a folder, of a .json/.jsonl/.csv/.parquet file, or a
            dataset on the Hub, written `owner/name` or `owner/name:configuration`. A folder of nothing but tables is
            read as tables, any other file by file as text; what starts with a dot is left out.
        text_column (`str`): Column that holds the text; for tables only.

    Raises:
        InputError: The source is missing, empty, not UTF-8, or has no such column.
    """
    path = Path(dataset).expanduser()
    if dataset == "stdlib":
        corpus = _load_stdlib()
    elif path.is_dir():
        files = visible_files(path)
        tables = bool(files) and all(map(_is_table, files))
        corpus = _load_table(path, text_column) if tables else _load_folder(path)
    elif path.exists():
        corpus = _load_table(path, text_column) if _is_table(path) else _load_file(path)
    elif path.suffix.lower() in {*DATA_SUFFIXES, ".txt"} or dataset.startswith((".", "/", "~")):
        raise InputError(f"dataset {dataset!r} is not there: give a path that exists, a Hub name, or stdlib")
    else:
        corpus = _load_hub(dataset, text_column)
    for side in ("train", "heldout"):
        if not any(getattr(corpus, side)):
            raise InputError(f"dataset {dataset!r} is empty: no text is left for the {side} side; give more text")
    return corpus


def stdlib_is_heldout(relative_path: str) -> bool:
    """Whether a file of the standard library is held out, from its path relative to the library's folder.

    Decided by package (`json/decoder.py` by `json`), so near-duplicates in one package stay on one side.
    """
    package = Path(relative_path).parts[0]
    return hashlib.sha256(package.encode()).digest()[0] < STDLIB_HELDOUT_BELOW


def _load_stdlib(folder: str | None = None) -> Corpus:
    folder = Path(folder or sysconfig.get_paths()["stdlib"])
    if not folder.is_dir():
        raise InputError(f"the standard library is not a folder of files ({folder}): run an ordinary Python")
    relative = (path.relative_to(folder) for path in folder.rglob("*.py"))
    names = sorted(path.as_posix() for path in relative if not STDLIB_SKIP.intersection(path.parts))
    if not names:
        raise InputError(f"no .py files under {folder}: install Python's library sources, or give another --dataset")
    train, heldout = [], []
    for name in names:
        text = (folder / name).read_bytes().decode("utf-8", errors="replace")
        if text:
            (heldout if stdlib_is_heldout(name) else train).append(text)
    return Corpus("stdlib", train, heldout, "whole packages, by a hash of their name")


def _load_file(path: Path) -> Corpus:
    train, heldout = _cut(read_text(path))
    return Corpus(path.stem, [train], [heldout], "first 90 % of the characters for training, the rest held out")


def _load_folder(path: Path) -> Corpus:
    files = visible_files(path)
    if any(table_kind(file) == "parquet" for file in files):
        raise InputError(
            f"{path} mixes .parquet and other files: give the tables by their path, or a folder of their own"
        )
    return _split_documents(path.resolve().name, [read_text(file) for file in files])


def _load_table(path: Path, text_column: str) -> Corpus:
    import datasets

    files = visible_files(path) if path.is_dir() else [path]
    kinds = {table_kind(file) for file in files}
    if len(kinds) > 1:
        raise InputError(f"{path} mixes {' and '.join(sorted(kinds))} files: give one of them by its path")
    kind = kinds.pop()
    if kind != "parquet":
        # datasets would say where in its own buffers the bad byte is, or not before it's asked for text.
        for file in files:
            check_utf8(file)

    def load() -> Corpus:
        from pyarrow.parquet import read_metadata

        if kind == "parquet" and not any(read_metadata(file).num_rows for file in files):
            raise InputError(f"dataset {str(path)!r} is empty: give a file with at least one row")
        return _from_splits(
            path.stem,
            datasets.load_dataset(kind, data_files=table_splits(path, kind), **TABLE_OPTIONS[kind]),
            text_column,
        )

    return quietly(load, f"dataset {str(path)!r}")


def table_splits(path: Path, kind: str) -> dict[str, list[str]]:
    """The files of a table, or of a folder of tables, by split: as datasets tells splits by the names of files, and those that
    it would leave out, because others have such names, with the training ones."""
    import datasets

    if not path.is_dir():
        return {"train": [str(path)]}
    # With its kind named, as datasets does not know suffixes in capitals.
    guessed = datasets.load_dataset_builder(kind, data_dir=str(path)).config.data_files
    splits = {str(split): [str(name) for name in names] for split, names in guessed.items()}
    taken = {Path(name).resolve() for names in splits.values() for name in names}
    left = [str(file) for file in visible_files(path) if file.resolve() not in taken]
    if left:
        splits["train"] = [*splits.get("train", []), *left]
    return splits


def _load_hub(dataset: str, text_column: str) -> Corpus:
    import datasets

    name, _, configuration = dataset.partition(":")
    short = dataset.replace("/", "-").replace(":", "-")
    return quietly(
        lambda: _from_splits(short, datasets.load_dataset(name, configuration or None), text_column),
        f"dataset {dataset!r}",
    )


def quietly(load, what: str):
    """Runs a loader; whatever it raises becomes one line that says what could not be loaded."""
    try:
        return load()
    except InputError:
        raise
    except Exception as error:
        if type(error).__name__ == "DatasetGenerationError" and error.__cause__:  # says no more than that there is one
            error = error.__cause__
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"could not load {what}: {reason}") from error


def read_shakespeare(path: str | os.PathLike | None) -> str:
    """The text of a file given by `--text`, or for `None` karpathy/tiny_shakespeare as it was before it was cut into splits.

    Raises:
        InputError: The file cannot be read, or the Hub cannot be reached.
    """
    if path is not None:
        try:
            return read_text(path)
        except OSError as error:
            raise InputError(f"--text {path} cannot be read ({error.strerror}): give a file that is there") from error
    import datasets

    # The Hub's own copy as tables: the dataset itself is a script, which `datasets` no longer runs.
    loaded = quietly(
        lambda: datasets.load_dataset(SHAKESPEARE, revision="refs/convert/parquet"),
        f"{SHAKESPEARE}; give a file with the same text by --text",
    )
    return "".join(text for split in ("train", "validation", "test") for text in loaded[split]["text"])


def _from_splits(name: str, loaded, text_column: str) -> Corpus:
    """A `datasets.DatasetDict` to a corpus: its own validation or test split, else its last documents."""
    first = "train" if "train" in loaded else next(iter(loaded))
    train = _column(loaded[first], text_column, name)
    for split in HELDOUT_SPLITS:
        if split in loaded and split != first:
            return Corpus(name, train, _column(loaded[split], text_column, name), f"the dataset's {split} split")
    return _split_documents(name, train)


def _column(table, text_column: str, name: str) -> list[str]:
    if text_column not in table.column_names:
        there = ", ".join(table.column_names)
        raise InputError(f"dataset {name!r} has no column {text_column!r}: choose --text-column from {there}")
    rows = table[text_column]
    documents = [row for row in rows if row]
    if wrong := next((row for row in documents if not isinstance(row, str)), None):
        raise InputError(f"column {text_column!r} of {name!r} holds {type(wrong).__name__}, not text: choose another")
    return documents


def _split_documents(name: str, documents: list[str]) -> Corpus:
    """The last tenth of the documents is held out; a single one is cut in two."""
    documents = [document for document in documents if document]
    if len(documents) < 2:
        train, heldout = _cut("".join(documents))
        return Corpus(name, [train], [heldout], "first 90 % of the characters for training, the rest held out")
    count = max(1, int(len(documents) * HELDOUT_SHARE))
    return Corpus(name, documents[:-count], documents[-count:], f"last {count} of {len(documents)} documents held out")


def _cut(text: str) -> tuple[str, str]:
    middle = int(len(text) * (1 - HELDOUT_SHARE))
    return text[:middle], text[middle:]


def table_kind(path: Path) -> str | None:
    """What datasets calls the kind of a table; `None` for any other file."""
    return DATA_SUFFIXES.get(path.suffix.lower())


def _is_table(path: Path) -> bool:
    return table_kind(path) is not None


def visible_files(folder: Path) -> list[Path]:
    """Every file below a folder, but for those whose path from there has a part that starts with a dot."""
    return sorted(
        file
        for file in folder.rglob("*")
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )


def check_utf8(path: Path) -> None:
    """Reads a file piece by piece.

    Raises:
        InputError: It is empty, or not UTF-8; names the offset.
    """
    decoder, offset = codecs.getincrementaldecoder("utf-8")(), 0
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            pending = len(decoder.getstate()[0])
            try:
                decoder.decode(piece)
            except UnicodeDecodeError as error:
                _refuse_bytes(path, offset - pending + error.start)
            offset += len(piece)
    if decoder.getstate()[0]:
        _refuse_bytes(path, offset - len(decoder.getstate()[0]))
    if not offset:
        raise InputError(f"{path} is empty: give a file with text in it")


def _refuse_bytes(path: Path, at: int):
    raise InputError(
        f"{path} is not UTF-8 at byte {at}: convert it first, for example with `iconv -f latin1 -t utf-8`"
    ) from None


def read_text(path: str | os.PathLike) -> str:
    """A file's text, its line ends untouched.

    Raises:
        InputError: The file is not UTF-8; names the offset of the first bad byte.
    """
    data = Path(path).read_bytes()
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        _refuse_bytes(path, error.start)
