# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The options that say which text to read and how, shared by the scripts that train, evaluate and fine-tune."""

from __future__ import annotations

import argparse
from dataclasses import dataclass


@dataclass(frozen=True)
class TextOptions:
    """A source of text, and how to read it.

    Attributes:
        dataset (`str`): `stdlib`, the path of a file or folder, or a dataset on the Hub, `owner/name` or
            `owner/name:configuration`.
        text_column (`str`): Column with the text, for tables.
        include, exclude (`tuple[str, ...]`): Patterns of the files of a folder to read, and of those to leave out.
        validation (`str`, *optional*): File or folder to hold out, instead of a part of `dataset`.
        document_per_line (`bool`): Whether each line of a text file is a document.
        encoding (`str`, *optional*): Encoding of text files that are not UTF-8.
        plain_text (`bool`): Whether tables are read as plain text.
    """

    dataset: str = "stdlib"
    text_column: str = "text"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    validation: str | None = None
    document_per_line: bool = False
    encoding: str | None = None
    plain_text: bool = False

    @classmethod
    def from_args(cls, args: argparse.Namespace) -> TextOptions:
        """Returns the options of a command line that has those of `add_text_options`, and `dataset`."""
        return cls(
            dataset=args.dataset,
            text_column=args.text_column,
            include=tuple(args.include),
            exclude=tuple(args.exclude),
            validation=args.validation,
            document_per_line=args.document_per_line,
            encoding=args.encoding,
            plain_text=args.plain_text,
        )


# Names of the options in a namespace, for code that compares or records command lines.
NAMES = ("text_column", "include", "exclude", "validation", "document_per_line", "encoding", "plain_text")


def add_text_options(group: argparse._ArgumentGroup | argparse.ArgumentParser) -> None:
    """Adds the options of `NAMES` to a parser."""
    add = group.add_argument
    add("--text-column", default="text", metavar="NAME", help="column with the text, for tables")
    add(
        "--include",
        nargs="+",
        action="extend",
        default=[],
        metavar="PATTERN",
        help="read only these files of a folder, such as '*.txt'",
    )
    add(
        "--exclude",
        nargs="+",
        action="extend",
        default=[],
        metavar="PATTERN",
        help="leave out these files of a folder",
    )
    add(
        "--validation",
        default=None,
        metavar="PATH",
        help="file or folder to hold out, instead of a part of the dataset",
    )
    add("--document-per-line", action="store_true", help="each line of a text file is a document")
    add("--encoding", default=None, metavar="NAME", help="encoding of text files that are not UTF-8, such as cp1252")
    add("--plain-text", action="store_true", help="read tables (JSON, CSV, TSV) as plain text")
