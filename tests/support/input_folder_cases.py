# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Inputs of input_cases.py about folders: splits, the choice of files, links and permissions."""

import gzip
import os
from pathlib import Path

from support.input_cases import Input, section, write
from support.input_file_cases import NOISE, OTHER, pair
from support.input_text_cases import ENGLISH, GERMAN, RUSSIAN

# --- splits and layouts ------------------------------------------------------------------------------------------------


def split_texts(folder: Path, *names: str) -> None:
    """Writes files whose text names the file."""
    for name in names:
        write(folder / "texts" / name, f"This is from {name}.\n" * 50)


def of(*names: str) -> list[str]:
    """Returns the documents that `split_texts` writes."""
    return [f"This is from {name}.\n" * 50 for name in names]


@section("Splits of texts")
def split_files(folder: Path) -> Input:
    """train.txt, valid.txt and test.txt"""
    split_texts(folder, "train.txt", "valid.txt", "test.txt")
    return Input("texts", train=of("train.txt"), heldout=of("valid.txt"), skipped=("test.txt",))


@section("Splits of texts")
def train_and_test(folder: Path) -> Input:
    """train.txt and test.txt"""
    split_texts(folder, "train.txt", "test.txt")
    return Input("texts", train=of("train.txt"), heldout=of("test.txt"))


@section("Splits of texts")
def wikitext(folder: Path) -> Input:
    """wiki.train.tokens, wiki.valid.tokens and wiki.test.tokens"""
    names = [f"wiki.{side}.tokens" for side in ("train", "valid", "test")]
    split_texts(folder, *names)
    return Input("texts", train=of(names[0]), heldout=of(names[1]), skipped=(names[2],))


@section("Splits of texts")
def split_folders(folder: Path) -> Input:
    """Folders train and test"""
    split_texts(folder, "train/a.txt", "train/b.txt", "test/a.txt", "test/b.txt")
    return Input("texts", train=of("train/a.txt", "train/b.txt"), heldout=of("test/a.txt", "test/b.txt"))


@section("Splits of texts")
def numbered_split_files(folder: Path) -> Input:
    """Numbered files of train, one of dev"""
    split_texts(folder, "train-00000-of-00002.txt", "train-00001-of-00002.txt", "dev-00000-of-00001.txt")
    train = of("train-00000-of-00002.txt", "train-00001-of-00002.txt")
    return Input("texts", train=train, heldout=of("dev-00000-of-00001.txt"))


@section("Splits of texts")
def languages_with_splits(folder: Path) -> Input:
    """train and dev in the folder of each language"""
    split_texts(folder, "de/dev.txt", "de/train.txt", "en/dev.txt", "en/train.txt")
    return Input("texts", train=of("de/train.txt", "en/train.txt"), heldout=of("de/dev.txt", "en/dev.txt"))


@section("Splits of texts")
def compressed_split_files(folder: Path) -> Input:
    """train.txt.gz and valid.txt.gz"""
    write(folder / "texts/train.txt.gz", gzip.compress(ENGLISH.encode()))
    write(folder / "texts/valid.txt.gz", gzip.compress(GERMAN.encode()))
    return Input("texts", train=[ENGLISH], heldout=[GERMAN])


@section("Splits of texts")
def split_files_with_different_compression(folder: Path) -> Input:
    """train.txt.gz and valid.txt"""
    write(folder / "texts/train.txt.gz", gzip.compress(ENGLISH.encode()))
    write(folder / "texts/valid.txt", GERMAN)
    return Input("texts", train=[ENGLISH], heldout=[GERMAN])


@section("Splits of texts")
def empty_training_split(folder: Path) -> Input:
    """An empty train.txt next to valid.txt"""
    write(folder / "texts/train.txt", "")
    write(folder / "texts/valid.txt", GERMAN)
    return Input("texts", refused=r"training split is empty.*train\.txt")


@section("Splits of texts")
def source_tree_with_tests(folder: Path) -> Input:
    """A source tree with tests, where test is no split"""
    split_texts(folder, "core.py", "test_core.py", "tests/test_other.py", "validation.py")
    return Input("texts", documents=of("core.py", "test_core.py", "tests/test_other.py", "validation.py"))


@section("Splits of texts")
def test_without_train(folder: Path) -> Input:
    """test.txt next to other texts, without train.txt"""
    split_texts(folder, "a.txt", "b.txt", "test.txt")
    return Input("texts", documents=of("a.txt", "b.txt", "test.txt"))


@section("Splits of texts")
def only_test(folder: Path) -> Input:
    """test.txt alone"""
    split_texts(folder, "test.txt")
    return Input("texts", documents=of("test.txt"))


@section("Splits of texts")
def validation_file(folder: Path) -> Input:
    """A text with `--validation`"""
    write(folder / "a.txt", ENGLISH)
    write(folder / "b.txt", GERMAN)
    return Input("a.txt", train=[ENGLISH], heldout=[GERMAN], options={"validation": "b.txt"})


@section("Splits of texts")
def validation_in_the_dataset(folder: Path) -> Input:
    """A folder, and `--validation` with a file of it"""
    split_texts(folder, "a.txt", "b.txt", "c.txt")
    options = {"validation": "texts/b.txt"}
    return Input("texts", train=of("a.txt", "c.txt"), heldout=of("b.txt"), options=options)


@section("Splits of texts")
def validation_folder_in_the_dataset(folder: Path) -> Input:
    """A folder, and `--validation` with a folder in it, by another path"""
    split_texts(folder, "a.txt", "b/b.txt", "b/c.txt")
    options = {"validation": "texts/../texts/b"}
    return Input("texts", train=of("a.txt"), heldout=of("b/b.txt", "b/c.txt"), options=options)


@section("Splits of texts")
def validation_is_the_dataset(folder: Path) -> Input:
    """`--validation` with the dataset itself"""
    write(folder / "a.txt", ENGLISH)
    return Input("a.txt", refused="--validation", options={"validation": "a.txt"})


@section("Splits of texts")
def validation_through_a_link(folder: Path) -> Input:
    """`--validation` with a link to the dataset"""
    write(folder / "a.txt", ENGLISH)
    (folder / "b.txt").symlink_to("a.txt")
    return Input("a.txt", refused="--validation", options={"validation": "b.txt"})


@section("Splits of texts")
def validation_holds_the_dataset(folder: Path) -> Input:
    """`--validation` with the folder that the dataset is in"""
    split_texts(folder, "a.txt", "b.txt")
    return Input("texts/a.txt", refused="--validation", options={"validation": "texts"})


@section("Splits of texts")
def validation_holds_the_folder(folder: Path) -> Input:
    """A folder, and `--validation` with the folder that it is in"""
    split_texts(folder, "a/a.txt", "b/b.txt")
    return Input("texts/a", refused="--validation", options={"validation": "texts"})


@section("Splits of texts")
def missing_validation(folder: Path) -> Input:
    """`--validation` with a file that does not exist"""
    write(folder / "a.txt", ENGLISH)
    return Input("a.txt", refused=r"--validation.*b\.txt.*does not exist", options={"validation": "b.txt"})


@section("Splits of texts")
def validation_replaces_a_split(folder: Path) -> Input:
    """train.txt and valid.txt with `--validation` of another file"""
    split_texts(folder, "train.txt", "valid.txt")
    write(folder / "mine.txt", ENGLISH)
    options = {"validation": "mine.txt"}
    return Input("texts", train=of("train.txt"), heldout=[ENGLISH], skipped=("valid.txt",), options=options)


# --- which files of a folder are read ----------------------------------------------------------------------------------


@section("Files of a folder")
def include(folder: Path) -> Input:
    """`--include` with a pattern"""
    split_texts(folder, "a.md", "b.txt", "sub/c.md")
    options = {"include": ("*.md",)}
    return Input("texts", documents=of("a.md", "sub/c.md"), skipped=("b.txt",), options=options)


@section("Files of a folder")
def include_a_folder(folder: Path) -> Input:
    """`--include` with a pattern of a path"""
    split_texts(folder, "a.txt", "sub/b.txt", "sub/c.txt")
    options = {"include": ("sub/*",)}
    return Input("texts", documents=of("sub/b.txt", "sub/c.txt"), skipped=("a.txt",), options=options)


@section("Files of a folder")
def exclude(folder: Path) -> Input:
    """`--exclude` with two patterns"""
    split_texts(folder, "a.txt", "b.log", "c.txt", "sub/d.txt")
    options = {"exclude": ("*.log", "sub/*")}
    return Input("texts", documents=of("a.txt", "c.txt"), skipped=("b.log", "sub/d.txt"), options=options)


@section("Files of a folder")
def include_nothing(folder: Path) -> Input:
    """`--include` with a pattern that matches nothing"""
    split_texts(folder, "a.txt", "b.txt")
    return Input("texts", refused=r"--include.*\*\.rst", options={"include": ("*.rst",)})


@section("Files of a folder")
def include_of_a_file(folder: Path) -> Input:
    """A file with `--include` of another name"""
    write(folder / "a.txt", ENGLISH)
    return Input("a.txt", refused=r"--include.*b\.txt", options={"include": ("b.txt",)})


@section("Files of a folder")
def exclude_everything(folder: Path) -> Input:
    """`--exclude` with a pattern that matches everything"""
    split_texts(folder, "a.txt", "b.txt")
    return Input("texts", refused=r"--exclude", options={"exclude": ("*",)})


@section("Files of a folder")
def exclude_what_is_refused(folder: Path) -> Input:
    """`--exclude` with a file that would be refused"""
    pair(folder)
    write(folder / "texts/b.txt", GERMAN.encode("latin-1"))
    options = {"exclude": ("b.txt",)}
    return Input("texts", documents=[ENGLISH, GERMAN], skipped=("b.txt",), options=options)


@section("Files of a folder")
def hidden_files(folder: Path) -> Input:
    """Hidden files and folders, .git among them"""
    pair(folder)
    write(folder / "texts/.hidden", OTHER)
    write(folder / "texts/.git/config", OTHER)
    write(folder / "texts/.git/objects/ab/cdef", NOISE)
    return Input("texts", documents=[ENGLISH, GERMAN], skipped=(".git", ".hidden"))


@section("Files of a folder")
def hidden_folder_given(folder: Path) -> Input:
    """A folder below a hidden folder"""
    write(folder / ".cache/texts/a.txt", ENGLISH)
    write(folder / ".cache/texts/b.txt", GERMAN)
    return Input(".cache/texts", documents=[ENGLISH, GERMAN])


@section("Files of a folder")
def license_beside_texts(folder: Path) -> Input:
    """LICENSE and README.md among texts, which are texts too"""
    split_texts(folder, "LICENSE", "README.md", "a.txt")
    return Input("texts", documents=of("LICENSE", "README.md", "a.txt"))


@section("Files of a folder")
def table_among_sources(folder: Path) -> Input:
    """package.json among sources"""
    split_texts(folder, "a.js", "b.js", "lib/c.js")
    write(folder / "texts/package.json", '{"name": "package", "version": "1.0"}\n')
    documents = [*of("a.js", "b.js", "lib/c.js"), '{"name": "package", "version": "1.0"}\n']
    return Input("texts", documents=documents, noted=r"read as text: package\.json")


# --- links and permissions ---------------------------------------------------------------------------------------------


@section("Links and special files")
def link_to_a_file(folder: Path) -> Input:
    """A link to a file"""
    write(folder / "data/a.txt", ENGLISH)
    (folder / "link.txt").symlink_to("data/a.txt")
    return Input("link.txt", documents=[ENGLISH])


@section("Links and special files")
def link_to_a_folder(folder: Path) -> Input:
    """A link to a folder"""
    pair(folder)
    (folder / "link").symlink_to("texts")
    return Input("link", documents=[ENGLISH, GERMAN])


@section("Links and special files")
def link_in_a_folder(folder: Path) -> Input:
    """A folder with a link to a file outside"""
    pair(folder)
    write(folder / "other.txt", RUSSIAN)
    (folder / "texts/b.txt").symlink_to("../other.txt")
    return Input("texts", documents=[ENGLISH, RUSSIAN, GERMAN])


@section("Links and special files")
def link_to_a_file_of_the_folder(folder: Path) -> Input:
    """A folder with a link to one of its files, which is read once"""
    pair(folder)
    (folder / "texts/b.txt").symlink_to("a.txt")
    return Input("texts", documents=[ENGLISH, GERMAN], skipped=("b.txt",))


@section("Links and special files")
def hard_link(folder: Path) -> Input:
    """A folder with a hard link to one of its files, which is read once"""
    pair(folder)
    os.link(folder / "texts/a.txt", folder / "texts/b.txt")
    return Input("texts", documents=[ENGLISH, GERMAN], skipped=("b.txt",))


@section("Links and special files")
def broken_link(folder: Path) -> Input:
    """A folder with a link to a file that does not exist"""
    pair(folder)
    (folder / "texts/b.txt").symlink_to("missing.txt")
    return Input("texts", documents=[ENGLISH, GERMAN], skipped=("b.txt",))


@section("Links and special files")
def loop(folder: Path) -> Input:
    """A folder with a link to itself, and two links to each other"""
    pair(folder)
    (folder / "texts/b").symlink_to(".")
    (folder / "texts/d").symlink_to("e")
    (folder / "texts/e").symlink_to("d")
    return Input("texts", documents=[ENGLISH, GERMAN], skipped=("b", "d", "e"))


@section("Links and special files")
def named_pipe(folder: Path) -> Input:
    """A named pipe"""
    os.mkfifo(folder / "pipe")
    return Input("pipe", refused=r"pipe.*(?:not a (?:regular )?file|pipe)")


@section("Links and special files")
def named_pipe_in_a_folder(folder: Path) -> Input:
    """A folder with a named pipe"""
    pair(folder)
    os.mkfifo(folder / "texts/b")
    return Input("texts", documents=[ENGLISH, GERMAN], skipped=("b",))


@section("Links and special files")
def device(folder: Path) -> Input:
    """A device"""
    return Input("/dev/null", refused=r"/dev/null.*(?:not a|device)")


@section("Permissions")
def unreadable_file(folder: Path) -> Input:
    """A file that the user may not read"""
    write(folder / "a.txt", ENGLISH)
    (folder / "a.txt").chmod(0)
    return Input("a.txt", refused=r"a\.txt.*(?:ermission|cannot be read)", unprivileged=True)


@section("Permissions")
def unreadable_folder(folder: Path) -> Input:
    """A folder that the user may not read"""
    pair(folder)
    (folder / "texts").chmod(0)
    return Input("texts", refused=r"texts.*(?:ermission|cannot be read)", unprivileged=True)


@section("Permissions")
def folder_without_list(folder: Path) -> Input:
    """A folder that the user may enter but not list"""
    pair(folder)
    (folder / "texts").chmod(0o111)
    return Input("texts", refused=r"texts.*(?:ermission|cannot be read)", unprivileged=True)


@section("Permissions")
def file_in_an_unreadable_folder(folder: Path) -> Input:
    """A file in a folder that the user may not enter"""
    pair(folder)
    (folder / "texts").chmod(0)
    return Input("texts/a.txt", refused=r"texts/a\.txt.*(?:ermission|cannot be read)", unprivileged=True)


@section("Permissions")
def unreadable_file_in_a_folder(folder: Path) -> Input:
    """A folder with a file that the user may not read"""
    pair(folder)
    write(folder / "texts/b.txt", OTHER)
    (folder / "texts/b.txt").chmod(0)
    return Input("texts", documents=[ENGLISH, GERMAN], skipped=("b.txt",), unprivileged=True)


@section("Permissions")
def unreadable_folder_in_a_folder(folder: Path) -> Input:
    """A folder with a folder that the user may not read"""
    pair(folder)
    write(folder / "texts/b/b.txt", OTHER)
    (folder / "texts/b").chmod(0)
    return Input("texts", documents=[ENGLISH, GERMAN], skipped=("b",), unprivileged=True)


@section("Permissions")
def only_unreadable_files(folder: Path) -> Input:
    """A folder in which the user may read nothing"""
    write(folder / "texts/a.txt", ENGLISH)
    (folder / "texts/a.txt").chmod(0)
    return Input("texts", refused=r"texts.*(?:ermission|cannot be read|unreadable)", unprivileged=True)
