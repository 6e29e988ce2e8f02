# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Opens a source as a stream of documents, which are read while a model is trained."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from training.common.checkpoint import RESTART
from training.common.errors import InputError
from training.corpus.corpus import Corpus, DocumentStream, Reading, check_sides
from training.corpus.decoding import compression_of
from training.corpus.documents import documents
from training.corpus.files import File
from training.corpus.hub import open_hub, quietly, short_name
from training.corpus.load import (
    HELDOUT_CHARACTERS,
    HELDOUT_MOST,
    FilesRead,
    corpus_name,
    describe_reading,
    local_source,
    read_files,
)
from training.corpus.names import shown
from training.corpus.options import TextOptions
from training.corpus.selection import Selection, hint_to_exclude, select, validation_files, validation_split

SAMPLE_CHARACTERS = 1 << 22  # of the first training documents, from which a tokenizer is learned
DOCUMENT_CHARACTERS = 1 << 20  # a longer text is cut into documents of at most this size
LEAST_DOCUMENTS = 10  # that a single text is cut into
HELDOUT_DOCUMENTS = 100  # at most, by default


class FileStream:
    """The documents of local files, as a `DocumentStream`. Rows without text are left out.

    A position is the number of a file and the number of rows, lines or documents that were read in it.

    Args:
        files (`Sequence[File]`): Examined files.
        options (`TextOptions`): How they are read.
        piece (`int`): A longer text is cut into documents of at most this many characters.
    """

    def __init__(self, files: Sequence[File], options: TextOptions, piece: int):
        self.files = files
        self.options = options
        self.piece = piece
        self.start = (0, 0)
        self.position = self.start
        self.loaded = False

    @property
    def source(self) -> str:
        """Hash of the names and sizes of the files, and of how they are read. It does not depend on where the files are."""
        files = [(file.name, file.size, file.kind) for file in self.files]
        options = self.options
        how = (self.start, self.piece, options.text_column, options.document_per_line, options.encoding)
        return hashlib.sha256(repr((files, how)).encode()).hexdigest()[:16]

    def __iter__(self) -> Iterator[str]:
        if not self.loaded:
            self.position = self.start
        self.loaded = False
        return self._read(*self.position)

    def _read(self, first: int, skip: int) -> Iterator[str]:
        for number in range(first, len(self.files)):
            file = self.files[number]
            check_unchanged(file)
            self.position = (number, skip)
            for count, text in enumerate(documents(file, self.options, self.piece, skip), start=skip + 1):
                self.position = (number, count)
                if text:
                    yield text
            check_unchanged(file)
            skip = 0

    def state_dict(self) -> dict:
        """Returns the position after the document that was read last."""
        number, count = self.position
        file = self.files[number]
        return {"file": number, "documents": count, "name": file.name, "size": file.size}

    def load_state_dict(self, state: dict) -> None:
        """Makes the next iteration continue at a position.

        Raises:
            InputError: The position is in a file that is not there any more or has changed, or comes from an earlier version.
        """
        if "file" not in state:
            raise InputError(
                f"the checkpoint holds no position in local files (it is of an earlier version): {RESTART}"
            )
        number = state["file"]
        now = self.files[number] if number < len(self.files) else None
        if now is None or (now.name, now.size) != (state["name"], state["size"]):
            raise InputError(
                f"{shown(state['name'])} is not the file it was when the checkpoint was written: restore it, or {RESTART}"
            )
        self.position = (number, state["documents"])
        self.loaded = True


def check_unchanged(file: File) -> None:
    """
    Raises:
        InputError: The file has changed since it was examined, or is not there any more.
    """
    try:
        found = os.stat(file.path)
    except OSError as error:
        raise InputError(
            f"{shown(file.path)} cannot be read any more ({error.strerror}): restore it, and continue from the checkpoint"
        ) from error
    if (found.st_size, found.st_mtime_ns) != (file.size, file.modified):
        raise InputError(f"{shown(file.path)} was changed during the run: restore it, or {RESTART}")


def load_stream(options: TextOptions, heldout_documents: int | None = None) -> tuple[Corpus, DocumentStream]:
    """Opens a source as a stream.

    Local files are examined before: all of them are decoded, and every row of JSON and CSV is read.

    Args:
        options (`TextOptions`): The source. A text is one document, or several if it is long.
        heldout_documents (`int`, *optional*): Number of documents to hold out: the first of the validation or test split if
            there is one, else the first of all. By default at most 100, a tenth of all, and `HELDOUT_CHARACTERS`.

    Returns:
        A corpus of the held-out documents and the first training documents; and the stream of all training documents.

    Raises:
        InputError: The source is missing, too short or not readable, or has no such column.
    """
    path = local_source(options)
    if path is not None:
        corpus, stream = _open_local(path, options, heldout_documents)
    elif options.dataset == "stdlib":
        raise InputError("--streaming: the standard library is not streamed, as it is small: leave the option out")
    else:
        corpus, stream = _open_hub(options, heldout_documents or HELDOUT_DOCUMENTS)
    fewer = f"fewer --heldout-documents than {heldout_documents}" if heldout_documents else "--validation"
    check_sides(options, corpus, f"give more documents, {fewer}, or leave out --streaming")
    return corpus, stream


def _open_hub(options: TextOptions, heldout_documents: int) -> tuple[Corpus, DocumentStream]:
    heldout, stream, how = open_hub(options.dataset, options.text_column, heldout_documents)
    reading = Reading(source="a stream of the Hub")
    if options.validation is not None:
        read = read_files(validation_files(options), options)
        heldout = read.documents
        how = validation_split(options)
        reading = Reading(source="a stream of the Hub", heldout=read.names)
    sample = quietly(lambda: _sample(stream), f"dataset {options.dataset!r}")
    return Corpus(short_name(options.dataset), "hub", sample, heldout, how, reading), stream


def _open_local(path: Path, options: TextOptions, limit: int | None) -> tuple[Corpus, FileStream]:
    selection = select(path, options)
    total, rows_without_text = _without_empty_tables(selection, options)
    stream = FileStream(selection.train, options, _piece(selection.train))
    if options.validation is not None:
        heldout_texts, heldout_files = _first(FileStream(selection.heldout, options, DOCUMENT_CHARACTERS), None, None)
        how = selection.split
    elif selection.heldout:
        own = FileStream(selection.heldout, options, DOCUMENT_CHARACTERS)
        heldout_texts, heldout_files = _first(own, limit or HELDOUT_DOCUMENTS, None if limit else HELDOUT_CHARACTERS)
        how = f"{_the_first(heldout_texts)} of the dataset's {selection.split}"
    else:
        most = limit or min(HELDOUT_DOCUMENTS, max(1, total // 10))
        heldout_texts, heldout_files = _first(stream, most, None if limit else HELDOUT_CHARACTERS)
        stream.start = stream.position
        how = f"{_the_first(heldout_texts)} of the stream held out"
    train_files = []
    if next(iter(stream), None) is not None:
        train_files = [file.name for file in selection.train[stream.position[0] :]]
    counted = FilesRead([], [], [], rows_without_text)
    reading = describe_reading(selection, [counted], train_files, heldout_files)
    return Corpus(corpus_name(path), selection.kind, _sample(stream), heldout_texts, how, reading), stream


def _piece(files: Sequence[File]) -> int:
    """Returns the size of the documents that long texts are cut into. A text that has most of the characters, above all a
    single one, is cut into about ten.
    """
    sizes = [file.content.characters for file in files if file.content is not None]
    if not sizes or max(sizes) <= HELDOUT_MOST * sum(sizes):
        return DOCUMENT_CHARACTERS
    return min(DOCUMENT_CHARACTERS, max(1, -(-sum(sizes) // LEAST_DOCUMENTS)))


def _without_empty_tables(selection: Selection, options: TextOptions) -> tuple[int, int]:
    """Reads or checks every file, and drops files without documents.

    Returns:
        The number of training documents, and that of rows without text on both sides.
    """
    total = 0
    rows_without_text = 0
    for side in (selection.train, selection.heldout):
        counts = []
        for file in side:
            with hint_to_exclude(file, alone=len(side) == 1):
                count, without_text = _count(file, options)
            counts.append(count)
            rows_without_text += without_text
        empty = [file.name for file, count in zip(side, counts, strict=True) if not count]
        if len(empty) == len(side) and side:
            raise InputError(f"{shown(side[0].path)} is empty: it has no rows with text; give more text")
        selection.skipped.add("without text", empty)
        side[:] = [file for file, count in zip(side, counts, strict=True) if count]
        if side is selection.train:
            total = sum(counts)
    return total, rows_without_text


def _count(file: File, options: TextOptions) -> tuple[int, int]:
    """Returns the number of documents of a file, for texts at least, and the number of rows without text.

    The rows of a Parquet file are not read, so all of them count as documents.

    Raises:
        InputError: The file has no such column, or a row that is broken or no text.
    """
    if file.kind == "text" and not options.document_per_line:
        assert file.content is not None
        return -(-file.content.characters // DOCUMENT_CHARACTERS), 0
    if file.size == 0:
        return 0, 0
    found = documents(file, options)
    if file.kind != "parquet" or compression_of(file.path):
        number = Counter(text is not None for text in found)
        return number[True], number[False]
    import pyarrow.parquet

    next(found, None)  # checks the column
    return pyarrow.parquet.read_metadata(file.path).num_rows, 0


def _first(stream: FileStream, most: int | None, characters: int | None) -> tuple[list[str], list[str]]:
    """Returns the first documents of a stream, and the names of their files.

    Args:
        most, characters (`int`, *optional*): Limits. At least one document is returned.
    """
    found = []
    names: dict[str, None] = {}
    size = 0
    position = stream.start
    for text in stream:
        size += len(text)
        if found and characters is not None and size > characters:
            stream.position = position
            break
        position = stream.position
        found.append(text)
        names[stream.files[position[0]].name] = None
        if len(found) == most:
            break
    return found, list(names)


def _the_first(documents: Sequence[str]) -> str:
    return "the first document" if len(documents) == 1 else f"the first {len(documents):,} documents"


def _sample(stream: DocumentStream) -> list[str]:
    """Returns the first texts, at least `SAMPLE_CHARACTERS` characters if there are as many."""
    sample = []
    size = 0
    for text in stream:
        sample.append(text)
        size += len(text)
        if size >= SAMPLE_CHARACTERS:
            break
    return sample
