# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Loads training and held-out documents of a source into memory.

load_corpus(TextOptions("stdlib"))                     the Python standard library's own sources, no download
load_corpus(TextOptions("shakespeare.txt"))            one text file, first 90 % for training
load_corpus(TextOptions("notes/"))                     a folder of text files or of tables
load_corpus(TextOptions("data.jsonl", "content"))      a table, or a name on the Hub
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hf_minrnn.tools.local_paths import public_path
from training.common.errors import InputError
from training.common.text import byte_size
from training.corpus.corpus import Corpus, Reading, check_sides
from training.corpus.decoding import examine, open_text
from training.corpus.documents import documents, read_characters
from training.corpus.files import File, Skipped, single_file, status
from training.corpus.hub import load_hub, quietly, short_name
from training.corpus.names import COMPRESSED_SUFFIXES, counted, listed, shown
from training.corpus.options import TextOptions
from training.corpus.selection import (
    Selection,
    hint_to_exclude,
    local_path,
    refuse_without_text,
    select,
    validation_files,
    validation_split,
)
from training.corpus.stdlib import load_stdlib
from training.corpus.tables import table_kind

HELDOUT_SHARE = 0.1
HELDOUT_CHARACTERS = 1 << 23  # at most, where no file says what to hold out
HELDOUT_MOST = 0.75  # of all characters, at most
SHAKESPEARE = "karpathy/tiny_shakespeare"
# Suffixes of files that are not tables. A name with one of them is not looked for on the Hub.
FILE_SUFFIXES = {
    *COMPRESSED_SUFFIXES,
    *(".txt", ".text", ".md", ".rst", ".log", ".html", ".htm", ".xml", ".tex", ".py", ".dat"),
    *(".zip", ".tar", ".tgz", ".pdf", ".epub", ".docx"),
}
HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?(:[^/]+)?", re.ASCII)


def load_corpus(options: TextOptions) -> Corpus:
    """Loads a text source and splits it.

    A path that exists is read, and any other name is looked for on the Hub. See `selection.select` for the files that are
    read. What is held out: the text of `options.validation`; else the files that are named as the validation or test split;
    else the last tenth, at most `HELDOUT_CHARACTERS`.

    Raises:
        InputError: The source is missing or empty, a text has an unknown encoding, or a table has no such column.
    """
    dataset = options.dataset
    path = local_source(options)
    if path is not None:
        corpus = _load_local(path, options)
    elif dataset == "stdlib":
        corpus = load_stdlib()
    else:
        corpus = _load_hub(options)
    if path is None and options.validation is not None:
        corpus = _with_validation(corpus, options)
    check_sides(options, corpus, "give more text")
    return corpus


def local_source(options: TextOptions) -> Path | None:
    """Returns the path of a local source, or `None` for the standard library and datasets of the Hub.

    Raises:
        InputError: Nothing has this path, and it cannot be a name on the Hub; or an option does not fit the source.
    """
    dataset = options.dataset
    if not dataset:  # as an unset variable of a shell gives it; the path would be the current folder
        raise InputError("dataset '' has no name: give the path of a file or folder, a Hub name, or stdlib")
    if dataset != "stdlib":
        path = local_path(dataset)
        if status(path) is not None:
            return path
        is_file = table_kind(path) is not None or path.suffix.lower() in FILE_SUFFIXES
        if is_file or dataset.startswith((".", "/", "~")) or HUB_NAME.fullmatch(dataset) is None:
            raise InputError(
                f"dataset {shown(dataset)!r} does not exist: give the path of a file or folder, a Hub name, or stdlib"
            )
    for option, patterns in (("--include", options.include), ("--exclude", options.exclude)):
        if patterns:
            raise InputError(
                f"{option} chooses files of a folder, and --dataset {dataset} is not a folder: leave it out"
            )
    return None


def corpus_name(path: Path) -> str:
    """Returns the short name of a local source: that of its folder, or of its file without the suffix."""
    if path.is_dir():
        return shown(Path(public_path(str(path))).name)
    return shown(path.stem)


def _load_local(path: Path, options: TextOptions) -> Corpus:
    selection = select(path, options)
    if selection.heldout:
        train = read_files(selection.train, options)
        heldout = read_files(selection.heldout, options)
        how = selection.split if options.validation is not None else f"the dataset's {selection.split}"
        reading = describe_reading(selection, [train, heldout], train.names, heldout.names)
        return Corpus(corpus_name(path), selection.kind, train.documents, heldout.documents, how, reading)
    file = selection.train[0]
    if len(selection.train) == 1 and file.kind == "text" and not options.document_per_line:
        train_text, heldout_text, how = _cut_file(file)
        reading = describe_reading(selection, [], [file.name], [file.name])
        return Corpus(corpus_name(path), selection.kind, [train_text], [heldout_text], how, reading)
    read = read_files(selection.train, options)
    train_documents, heldout_documents, how = hold_out(read.documents)
    reading = describe_reading(
        selection, [read], read.names_of(0, len(train_documents)), read.names_of(-len(heldout_documents), None)
    )
    return Corpus(corpus_name(path), selection.kind, train_documents, heldout_documents, how, reading)


def _load_hub(options: TextOptions) -> Corpus:
    train, heldout, split = load_hub(options.dataset, options.text_column)
    how = f"the dataset's {split} split"
    if options.validation is not None:
        heldout = []
    elif heldout is None:
        train, heldout, how = hold_out(train)
    return Corpus(short_name(options.dataset), "hub", train, heldout, how, Reading(source="a dataset of the Hub"))


def _with_validation(corpus: Corpus, options: TextOptions) -> Corpus:
    """Returns the training text of a corpus with the text of `--validation` held out."""
    read = read_files(validation_files(options), options)
    reading = replace(corpus.reading, heldout=read.names)
    return replace(corpus, heldout=read.documents, split=validation_split(options), reading=reading)


# --- documents


@dataclass
class FilesRead:
    """The documents of files.

    Attributes:
        documents (`list[str]`): None is empty.
        counts (`list[tuple[File, int]]`): The files that have documents, and how many.
        without_text (`list[str]`): Names of files without documents.
        empty_rows (`int`): Number of rows without text.
    """

    documents: list[str]
    counts: list[tuple[File, int]]
    without_text: list[str]
    empty_rows: int

    @property
    def names(self) -> list[str]:
        """Names of the files that have documents."""
        return [file.name for file, _ in self.counts]

    def names_of(self, first: int, last: int | None) -> list[str]:
        """Returns the names of the files that the documents from `first` to `last` come from."""
        wanted = range(len(self.documents))[first:last]
        names = []
        begin = 0
        for file, count in self.counts:
            if begin < wanted.stop and begin + count > wanted.start:
                names.append(file.name)
            begin += count
        return names


def read_files(files: Sequence[File], options: TextOptions) -> FilesRead:
    """Reads all documents of files.

    Raises:
        InputError: A file cannot be read; the message names it.
    """
    read = FilesRead([], [], [], 0)
    for file in files:
        before = len(read.documents)
        with hint_to_exclude(file, alone=len(files) == 1):
            for document in documents(file, options):
                if document:
                    read.documents.append(document)
                else:
                    read.empty_rows += 1
        count = len(read.documents) - before
        if count:
            read.counts.append((file, count))
        else:
            read.without_text.append(file.name)
    return read


def hold_out(documents: list[str]) -> tuple[list[str], list[str], str]:
    """Holds out the last tenth of the documents, or of the text of a single one; at most `HELDOUT_CHARACTERS`.

    If the last document has most of the text, a tenth of the text is cut off from its end.

    Returns:
        The training documents, the held-out documents, and a description of the split.
    """
    if len(documents) < 2:
        text = "".join(documents)
        middle, how = _middle(len(text))
        return [text[:middle]], [text[middle:]], how
    total = sum(map(len, documents))
    most = min(HELDOUT_CHARACTERS, HELDOUT_MOST * total)
    size = 0
    count = 0
    for document in reversed(documents[-max(1, int(len(documents) * HELDOUT_SHARE)) :]):
        size += len(document)
        if count and size > most:
            break
        count += 1
    last = documents[-1]
    if count == 1 and len(last) > most:
        kept = min(HELDOUT_CHARACTERS, max(1, int(HELDOUT_SHARE * total)))
        middle = len(last) - kept
        how = f"last {kept:,} characters of the last document held out"
        return [*documents[:-1], last[:middle]], [last[middle:]], how
    return documents[:-count], documents[-count:], f"last {count:,} of {len(documents):,} documents held out"


def _cut_file(file: File) -> tuple[str, str, str]:
    """Reads a text as two parts. The whole text is never in memory twice."""
    assert file.content is not None
    middle, how = _middle(file.content.characters)
    with open_text(file.path, file.content) as opened:
        train = read_characters(opened, middle)
        heldout = read_characters(opened)
    return train, heldout, how


def _middle(characters: int) -> tuple[int, str]:
    """Returns the number of training characters of a single text, and a description of the split."""
    middle = int(characters * (1 - HELDOUT_SHARE))
    if characters - middle > HELDOUT_CHARACTERS:
        return characters - HELDOUT_CHARACTERS, f"last {HELDOUT_CHARACTERS:,} characters held out"
    return middle, "first 90 % of the characters for training, the rest held out"


def describe_reading(selection: Selection, read: Sequence[FilesRead], train: list[str], heldout: list[str]) -> Reading:
    """Returns what is printed about the files of a selection.

    Args:
        read (`Sequence[FilesRead]`): The documents, for the rows and files without text.
        train, heldout (`list[str]`): Names of the files of both sides.
    """
    files = [*selection.train, *selection.heldout]
    skipped = Skipped()
    for reason, names in selection.skipped.items():
        skipped.add(reason, names)
    for one in read:
        skipped.add("without text", one.without_text)
    notes = list(selection.notes)
    empty_rows = sum(one.empty_rows for one in read)
    if empty_rows:
        notes.append(f"left out: {counted(empty_rows, 'row')} or {'line' if empty_rows == 1 else 'lines'} without text")
    notes += _encoding_notes(files)
    size = byte_size(sum(file.size for file in files))
    kind = "a file" if selection.kind == "file" else f"a folder, {counted(len(files), 'file')}"
    return Reading(f"{kind}, {size}", train, heldout, dict(skipped), notes)


def _encoding_notes(files: Sequence[File]) -> list[str]:
    names: dict[str, list[str]] = {}
    for file in files:
        if file.content is not None and file.content.encoding not in ("utf-8", "utf-8-sig"):
            names.setdefault(file.content.encoding, []).append(file.name)
    return [
        f"{counted(len(found), 'file')} decoded as {encoding}: {listed(found)}"
        for encoding, found in sorted(names.items())
    ]


# --- whole texts


def read_text(path: str | os.PathLike) -> str:
    """Returns the text of a file, with its line ends unchanged.

    Raises:
        InputError: The file is missing, or is not text in UTF-8.
    """
    file = single_file(Path(path))
    content = examine(file.path)
    if content.kind == "empty":
        return ""
    file = replace(file, content=content)
    refuse_without_text(file)
    with open_text(file.path, content) as opened:
        return read_characters(opened)


def read_shakespeare(path: str | os.PathLike | None) -> str:
    """Returns the text of a file given by `--text`, or for `None` all of karpathy/tiny_shakespeare, its splits joined again.

    Raises:
        InputError: The file cannot be read, or the Hub cannot be reached.
    """
    if path is not None:
        try:
            os.stat(path)
        except OSError as error:
            raise InputError(f"--text {path} cannot be read ({error.strerror}): give a file that exists") from error
        return read_text(path)
    import datasets

    # The Hub's copy as tables, because the dataset itself is a script, which `datasets` no longer runs.
    loaded = quietly(
        lambda: datasets.load_dataset(SHAKESPEARE, revision="refs/convert/parquet"),
        f"{SHAKESPEARE}; give a file with the same text by --text",
    )
    return "".join(text for split in ("train", "validation", "test") for text in loaded[split]["text"])
