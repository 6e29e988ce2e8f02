# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Chooses the files of a source to train on and to hold out, and records what is left out and why."""

from __future__ import annotations

import glob
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NoReturn

from hf_minrnn.tools.local_paths import public_path
from training.common.errors import InputError
from training.corpus.corpus import described
from training.corpus.decoding import REPAIR, examine
from training.corpus.files import File, Skipped, find, single_file, status, without_second_names
from training.corpus.names import NAMES_SHOWN, counted, listed, shown
from training.corpus.options import TextOptions
from training.corpus.splits import heldout_split, split_of_name, splits_of_tables, splits_of_texts
from training.corpus.tables import BINARY_KINDS, table_kind, texts

DOCUMENTATION = re.compile(
    r"(README|LICEN[SC]E|COPYING|NOTICE|CHANGELOG|CHANGES|HISTORY|AUTHORS|CONTRIBUTORS|CITATION|DATASHEET|MANIFEST)(?![a-z])",
    re.IGNORECASE,
)
# Files that `datasets` writes next to tables.
DESCRIPTIONS = {"dataset_dict.json", "dataset_info.json", "dataset_infos.json", "state.json"}
MOST_PATTERNS = 10  # in a remedy


@dataclass
class Selection:
    """The files of a source.

    Attributes:
        kind (`str`): `file` or `folder`.
        train, heldout (`list[File]`): Files of the two sides, each in the order in which they are read. Without held-out
            files, a part of the training files is held out.
        split (`str`): Where the held-out files come from; empty without them.
        skipped (`Skipped`): Names that are not read, by the reason.
        notes (`list[str]`): Sentences about decisions that a user may want to change.
    """

    kind: str
    train: list[File]
    heldout: list[File] = field(default_factory=list)
    split: str = ""
    skipped: Skipped = field(default_factory=Skipped)
    notes: list[str] = field(default_factory=list)


def select(path: Path, options: TextOptions) -> Selection:
    """Chooses the files of a local source, and examines all of them.

    Raises:
        InputError: Nothing can be read, a pattern matches nothing, or a text has an unknown encoding.
    """
    given = []
    if options.validation is not None:
        given = validation_files(options)
    selection = _chosen(path, options, {file.identity for file in given})
    if not selection.train:
        raise InputError(
            f"--validation {shown(options.validation)} holds all of the dataset: give other text to hold out"
        )
    if selection.kind == "folder":
        _find_splits(selection)
    if given:
        if selection.heldout:
            selection.skipped.add(f"of the {selection.split}", [file.name for file in selection.heldout])
        selection.heldout = given
        selection.split = validation_split(options)
    return selection


def validation_split(options: TextOptions) -> str:
    """Returns the description of the split for `--validation`, with the name of the file or folder."""
    return f"the text of {shown(public_path(options.validation))}"


def validation_files(options: TextOptions) -> list[File]:
    """Returns the files of `--validation`. All of them are held out.

    Raises:
        InputError: See `select`.
    """
    path = local_path(options.validation)
    if status(path) is None:
        raise InputError(f"--validation {shown(options.validation)} does not exist: give the path of a file or folder")
    return _chosen(path, replace(options, include=(), exclude=()), set()).train


def local_path(text: str) -> Path:
    """Returns a path that a user wrote, with `~` replaced by the home folder."""
    return Path(os.path.expanduser(text))


def _chosen(path: Path, options: TextOptions, heldout: set[tuple[int, int]]) -> Selection:
    """Returns the files of one kind as training files, without those of `heldout`. There may be none left."""
    if not path.is_dir():
        file = _matching([single_file(path)], options, Skipped())[0]
        if file.identity in heldout and any(file.identity):
            raise InputError(
                f"{shown(path)} is given by --dataset and by --validation: give another text to one of them"
            )
        return Selection("file", [_examined_alone(file, options)])
    files, skipped = find(path)
    selection = Selection("folder", [], skipped=skipped)
    if not files:
        _refuse_empty(path, skipped)
    files = without_second_names(_matching(files, options, skipped), skipped)
    files = [file for file in files if file.identity not in heldout or not any(file.identity)]
    if not files:
        return selection
    files = list(_examined(files, options, skipped))
    if not files:
        _refuse_empty(path, skipped)
    selection.train = _of_one_kind(files, options, selection)
    _check_encodings(selection.train)
    return selection


def _refuse_empty(path: Path, skipped: Skipped) -> NoReturn:
    reasons = "; ".join(described(skipped))
    found = f" (skipped: {reasons})" if reasons else ""
    raise InputError(f"dataset {shown(path)!r} is empty{found}: give a folder with files in it that hold text")


# --- patterns


def _matching(files: list[File], options: TextOptions, skipped: Skipped) -> list[File]:
    """Returns the files that the patterns choose.

    Raises:
        InputError: A pattern matches nothing, or all files are left out.
    """
    for option, patterns in (("--include", options.include), ("--exclude", options.exclude)):
        for pattern in patterns:
            if not any(_matches(file, [pattern]) for file in files):
                raise InputError(
                    f"{option} {shown(pattern)!r} matches no file: the names are {listed(file.name for file in files)}"
                )
    kept = []
    for file in files:
        if options.include and not _matches(file, options.include):
            skipped.add("not included", [file.name])
        elif _matches(file, options.exclude):
            skipped.add("excluded", [file.name])
        else:
            kept.append(file)
    if not kept:
        raise InputError("--include and --exclude leave no file: give other patterns")
    return kept


def _matches(file: File, patterns: Sequence[str]) -> bool:
    """Whether a pattern matches the relative path, the file's own name, or the path of one of its folders."""
    parts = file.parts
    candidates = [parts[-1], *("/".join(parts[:length]) for length in range(1, len(parts) + 1))]
    patterns = [pattern.removeprefix("./").rstrip("/") for pattern in patterns]
    return any(fnmatchcase(name, pattern) for pattern in patterns for name in candidates)


def _pattern(name: str) -> str:
    """Returns a pattern for one name, quoted for a shell."""
    pattern = "".join(character if character.isprintable() else "?" for character in glob.escape(name))
    quoted = shlex.quote(pattern)
    return quoted if quoted != pattern else f"'{pattern}'"


# --- contents


def _kind(file: File, options: TextOptions) -> str:
    kind = table_kind(file.path)
    if kind is None or (options.plain_text and kind not in BINARY_KINDS):
        return "text"
    return kind


def _examined_alone(file: File, options: TextOptions) -> File:
    """Returns the file with its kind and content.

    Raises:
        InputError: It has no text that can be read.
    """
    kind = _kind(file, options)
    if kind in BINARY_KINDS:
        if options.plain_text:
            raise InputError(f"{shown(file.path)} is a binary table, not plain text: leave out --plain-text")
        return replace(file, kind=kind)
    file = replace(file, kind=kind, content=examine(file.path, options.encoding))
    refuse_without_text(file, options.encoding)
    return file


def refuse_without_text(file: File, encoding: str | None = None) -> None:
    """
    Raises:
        InputError: An examined file holds no text, or is not in UTF-8 or the given encoding.
    """
    content = file.content
    name = shown(file.path)
    assert content is not None
    if content.kind == "empty":
        raise InputError(f"{name} is empty: give a file with text in it")
    if content.kind == "archive":
        raise InputError(f"{name} is {content.detail}: give the folder with its files")
    if content.kind == "binary":
        raise InputError(f"{name} is not text ({content.detail}): give a text file, a table or a folder")
    if content.kind == "undecodable":
        remedy = "convert it to UTF-8"
        if content.guess:
            remedy = _remedy_of_guess(content.guess)
        elif content.encoding == "utf-8" and encoding is None:
            remedy = "name its encoding with --encoding"
        raise InputError(f"{name} cannot be decoded ({content.detail}): {remedy}")


def _remedy_of_guess(guess: str) -> str:
    return REPAIR if guess == "utf-8" else f"give --encoding {guess}"


def _examined(files: list[File], options: TextOptions, skipped: Skipped) -> Iterator[File]:
    """Yields the files that hold text or a table, with their kinds and contents."""
    for file in files:
        kind = _kind(file, options)
        if kind in BINARY_KINDS:
            if options.plain_text:
                skipped.add("binary", [file.name])
            else:
                yield replace(file, kind=kind)
            continue
        try:
            with hint_to_exclude(file, alone=len(files) == 1):
                content = examine(file.path, options.encoding)
        except UnreadableError:
            skipped.add("unreadable", [file.name])
            continue
        if content.kind in ("empty", "binary", "archive"):
            skipped.add(content.kind, [file.name])
        else:
            yield replace(file, kind=kind, content=content)


class UnreadableError(InputError):
    """The system does not let a file be read."""


@contextmanager
def hint_to_exclude(file: File, alone: bool) -> Iterator[None]:
    """Adds to an error about one of several files how to leave it out.

    Raises:
        UnreadableError: The system does not let the file be read.
        InputError: There is another error.
    """
    try:
        yield
    except InputError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno is not None:
            raise UnreadableError(str(error)) from error
        if alone:
            raise
        raise InputError(f"{error}; or leave the file out with --exclude {_pattern(file.name)}") from error


def _check_encodings(files: list[File]) -> None:
    """
    Raises:
        InputError: Some files of a folder cannot be decoded.
    """
    unknown = [(file, file.content) for file in files if file.content and file.content.kind == "undecodable"]
    if not unknown:
        return
    named = [f"{shown(file.name)} ({content.detail})" for file, content in unknown[:NAMES_SHOWN]]
    if len(unknown) > NAMES_SHOWN:
        named.append(f"and {len(unknown) - NAMES_SHOWN:,} more")
    remedies = []
    guesses = {content.guess for _, content in unknown}
    if len(guesses) > 1:
        remedies.append("convert them to UTF-8, since a single --encoding does not fit all of them")
    elif guesses != {None}:
        remedies.append(_remedy_of_guess(guesses.pop()))
    if len(files) > len(unknown):
        patterns = " ".join(_pattern(file.name) for file, _ in unknown[:MOST_PATTERNS])
        rest = " and so on" if len(unknown) > MOST_PATTERNS else ""
        remedies.append(f"leave {'it' if len(unknown) == 1 else 'them'} out with --exclude {patterns}{rest}")
    count = counted(len(unknown), "file")
    remedy = ", or ".join(remedies) or "name the encoding with --encoding"
    raise InputError(f"{count} cannot be decoded: {', '.join(named)}: {remedy}")


# --- kinds and splits


def _is_documentation(file: File) -> bool:
    """Whether a file next to tables describes them."""
    name = file.parts[-1]
    if file.kind != "text":
        return name.lower() in DESCRIPTIONS
    return DOCUMENTATION.match(name) is not None


def _of_one_kind(files: list[File], options: TextOptions, selection: Selection) -> list[File]:
    """Returns the tables or the texts among the files, whichever the corpus consists of."""
    documentation = [file for file in files if _is_documentation(file)]
    if len(documentation) == len(files):
        documentation = []
    rest = [file for file in files if file not in documentation]
    tables = [file for file in rest if file.kind != "text"]
    if not tables:
        return _as_texts(files, selection)
    others = [file for file in rest if file.kind == "text"]
    if others and not _are_tables(tables, others, options):
        return _as_texts(files, selection)
    if documentation:
        selection.skipped.add("documentation", [file.name for file in documentation])
    if others:
        selection.skipped.add("text next to tables", [file.name for file in others])
        selection.notes.append(f"tables are read, and no other text; to read the text instead: {_including(others)}")
    return tables


def _are_tables(tables: list[File], others: list[File], options: TextOptions) -> bool:
    """Whether the corpus consists of the tables, if there is other text too.

    It does if the tables are larger. JSON or CSV without the column of the text, among a larger number of texts, is part of
    the texts, as `package.json` is in a tree of sources.
    """
    if sum(file.size for file in tables) <= sum(file.size for file in others):
        return False
    return len(tables) >= len(others) or any(_has_column(file, options) for file in tables)


def _has_column(file: File, options: TextOptions) -> bool:
    try:
        return next(texts(file.path, file.kind, file.content, options.text_column), None) is not None
    except InputError:
        return False


def _as_texts(files: list[File], selection: Selection) -> list[File]:
    """Returns the files that can be read as text, as texts."""
    binary = [file for file in files if file.kind in BINARY_KINDS]
    tables = [file for file in files if file.kind not in ("text", *BINARY_KINDS)]
    if binary:
        selection.skipped.add("binary", [file.name for file in binary])
        selection.notes.append(f"text is read, and no tables; to read the tables instead: {_including(binary)}")
    if tables:
        names = listed(file.name for file in tables)
        selection.notes.append(
            f"{counted(len(tables), 'file')} of JSON or CSV read as text: {names}; to read tables: {_including(tables)}"
        )
    return [replace(file, kind="text") for file in files if file.kind not in BINARY_KINDS]


def _including(files: list[File]) -> str:
    suffixes = sorted({"".join(Path(file.name).suffixes[-1:]) for file in files})
    if len(suffixes) > 3 or "" in suffixes:
        return f"--include {_pattern(files[0].name)}"
    return "--include " + " ".join(f"'*{suffix}'" for suffix in suffixes)


def _find_splits(selection: Selection) -> None:
    """Moves held-out files out of the training files if names of files say which they are."""
    files = selection.train
    tables = any(file.kind != "text" for file in files)
    # Without an empty train.txt, valid.txt would be trained on.
    empty = [
        name
        for name in selection.skipped.get("empty", [])
        if split_of_name(name) == "train" and (table_kind(name) is not None) == tables
    ]
    names = [file.name for file in files] + empty
    if tables:
        splits = splits_of_tables(names)
    else:
        splits = splits_of_texts(names, [file.size for file in files] + [0] * len(empty))
    if splits is None:
        return
    splits = splits[: len(files)]
    if "train" not in splits:
        raise InputError(f"the training split is empty: {listed(empty)}: put text into it, or rename it")
    if set(splits) == {"train"}:
        return
    chosen = heldout_split(splits)
    pairs = list(zip(files, splits, strict=True))
    selection.train = [file for file, split in pairs if split == "train"]
    selection.heldout = [file for file, split in pairs if split == chosen]
    selection.split = f"{chosen} split"
    selection.skipped.add("of the test split", [file.name for file, split in pairs if split not in ("train", chosen)])
