# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The text that evaluate.py measures a model on: a whole source, or the part that training held out."""

from __future__ import annotations

import argparse
from pathlib import Path

from training.common.errors import InputError
from training.corpus.corpus import Corpus
from training.corpus.load import load_corpus, read_text
from training.corpus.options import TextOptions
from training.corpus.stream import load_stream
from training.corpus.tables import table_kind


def load_text(args: argparse.Namespace, trained: dict) -> tuple[Corpus | None, str, list[str]]:
    """Loads the documents to evaluate.

    Args:
        args (`argparse.Namespace`): With the options of `TextOptions`, `part` and `limit_bytes`.
        trained (`dict`): The model's training arguments, from `saved_model.trained_with`. If the model was trained on a
            stream, the documents that were held out of that stream are held out here.

    Returns:
        The corpus (`None` for a text file that is read whole), a description of the part, and its documents.

    Raises:
        InputError: The source cannot be used, has no text, or has changed since the training.
    """
    path = Path(args.dataset).expanduser()
    corpus = None
    if args.part == "whole" and path.is_file() and table_kind(path) is None:
        part = "all of it"
        documents = [read_text(path)]
    elif args.part == "whole":
        corpus = load_corpus(TextOptions.from_args(args))
        part = "all of it"
        documents = [*corpus.train, *corpus.heldout]
    else:
        corpus = _load_with_heldout_part(args, trained)
        part = f"held out: {corpus.split}"
        documents = corpus.heldout
        _check_heldout_size(args.dataset, documents, trained)
    if args.limit_bytes is not None:
        part = f"{part}; up to {args.limit_bytes:,} bytes"
        documents = first_bytes(documents, args.limit_bytes)
    if not any(documents):
        raise InputError(f"dataset {args.dataset!r} is empty: give a source with text in it, or a larger --limit-bytes")
    return corpus, part, documents


def _load_with_heldout_part(args: argparse.Namespace, trained: dict) -> Corpus:
    """Loads a source and holds the same part out as in training."""
    if not trained.get("streaming"):
        return load_corpus(TextOptions.from_args(args))
    if same_source(trained["dataset"], args.dataset):
        corpus, _ = load_stream(TextOptions.from_args(args), trained["heldout_documents"])
        return corpus
    if Path(trained["dataset"]).name == Path(args.dataset).name:
        raise InputError(
            f"the model was trained on a stream of {trained['dataset']!r}, which is not found from this folder. Whether "
            f"{args.dataset!r} is the same, and what was held out of it, cannot be known: run this where the training ran"
        )
    return load_corpus(TextOptions.from_args(args))


def _check_heldout_size(dataset: str, documents: list[str], trained: dict) -> None:
    """
    Raises:
        InputError: The model was trained on this source, and the held-out part had another size then.
    """
    if dataset == "stdlib":  # whole packages are held out, in every version of the library
        return
    size_in_training = trained.get("data", {}).get("heldout_bytes")
    size = sum(len(document.encode()) for document in documents)
    if size_in_training not in (None, size) and same_source(trained["dataset"], dataset):
        raise InputError(
            f"{dataset} has changed since the model was trained on it: {size_in_training:,} bytes were held out then, "
            f"{size:,} bytes are now, and the model may have learned some of them; give the original text, or another one"
        )


def same_source(one: str | None, other: str) -> bool:
    """Whether two values of --dataset mean the same file, folder or name."""
    if one is None:
        return False
    paths = [Path(name).expanduser() for name in (one, other)]
    if all(path.exists() for path in paths):
        return paths[0].samefile(paths[1])
    return one == other


def first_bytes(documents: list[str], limit: int) -> list[str]:
    """Returns the beginning of the documents, at most `limit` bytes of UTF-8, cut between two characters.

    >>> first_bytes(["ab", "cäd", "e"], 4)
    ['ab', 'c']
    """
    kept = []
    for document in documents:
        data = document.encode()[:limit]
        if not data:
            break
        kept.append(data.decode(errors="ignore"))
        limit -= len(data)
    return [document for document in kept if document]
