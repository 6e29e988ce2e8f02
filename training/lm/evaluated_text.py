# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The text that evaluate.py measures a model on: a whole source, or the part that training held out."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

from training.common.errors import InputError
from training.corpus.corpus import Corpus
from training.corpus.load import load_corpus
from training.corpus.options import TextOptions
from training.corpus.stream import load_stream
from training.lm.trained_on import TrainedOn, cut_text

UNKNOWN_TRAINING = "whether the model was trained on this text is not known"


@dataclass(frozen=True)
class EvaluatedText:
    """The documents to evaluate.

    Attributes:
        corpus (`Corpus`): The source, split as in training.
        part (`str`): Description of the part that is evaluated.
        documents (`list[str]`): The documents, none empty.
        trained_on (`int`, *optional*): How many of them the model was trained on, in whole or in part; `None` if that is not
            known.
        left_out (`int`): Number of held-out documents that are left out, because they were trained on.
    """

    corpus: Corpus
    part: str
    documents: list[str]
    trained_on: int | None
    left_out: int = 0

    def facts(self) -> dict:
        """Returns what is known about the training on these documents, for the result file."""
        return {"trained_on": self.trained_on, "left_out": self.left_out}


def load_text(args: argparse.Namespace, trained: dict, record: TrainedOn | None) -> EvaluatedText:
    """Loads the documents to evaluate.

    Args:
        args (`argparse.Namespace`): With the options of `TextOptions`, `part` and `limit_bytes`.
        trained (`dict`): The model's training arguments, from `saved_model.trained_with`. If the model was trained on a
            stream, the documents that were held out of that stream are held out here.
        record (`TrainedOn`, *optional*): What the model was trained on.

    Raises:
        InputError: The source cannot be used, has no text, the model was trained on all of it, or, without a record, it has
            changed since the training.
    """
    if args.part == "whole":
        corpus = load_corpus(TextOptions.from_args(args))
        whole = cut_text(corpus)
        documents = [*corpus.train, *corpus.heldout]
        if whole is not None:
            documents[-2:] = ["".join(whole)]
        limited = documents if args.limit_bytes is None else first_bytes(documents, args.limit_bytes)
        found = _count_trained_on(documents[: len(limited)], record)  # whole documents: a cut one has another digest
        text = EvaluatedText(corpus, "all of it", documents, found)
    else:
        corpus = _load_with_heldout_part(args, trained, record)
        text = _heldout_part(args.dataset, corpus, trained, record)
    part = text.part
    documents = text.documents
    if args.limit_bytes is not None:
        part = f"{part}; up to {args.limit_bytes:,} bytes"
        documents = first_bytes(documents, args.limit_bytes)
    if not any(documents):
        raise InputError(f"dataset {args.dataset!r} is empty: give a source with text in it, or a larger --limit-bytes")
    return EvaluatedText(text.corpus, part, documents, text.trained_on, text.left_out)


def show_reading(corpus: Corpus) -> None:
    """Prints which files were read, skipped and held out."""
    for line in corpus.reading.lines(corpus.split):
        print(line)


def show_evaluated(corpus: Corpus, part: str) -> None:
    """Prints which files an evaluation measures, and which it does not.

    Args:
        part (`str`): `heldout` or `whole`.
    """
    reading = corpus.reading
    if part == "whole":
        names = list(dict.fromkeys([*reading.train, *reading.heldout]))
        lines = replace(reading, train=names, heldout=[]).lines(train="measured")
    else:
        heldout = set(reading.heldout)
        others = [name for name in reading.train if name not in heldout]  # a file that was cut is in both
        lines = replace(reading, train=others).lines(corpus.split, train="not used")
    for line in lines:
        print(line)


def _count_trained_on(documents: list[str], record: TrainedOn | None) -> int | None:
    """Returns how many documents were trained on, or `None` if the record does not say."""
    if record is None:
        return None
    found = [record.finds(document) for document in documents]
    if None in found or (not record.complete and not any(found)):
        return None
    return sum(map(bool, found))


def _heldout_part(dataset: str, corpus: Corpus, trained: dict, record: TrainedOn | None) -> EvaluatedText:
    """Returns the held-out documents of a corpus, without those that the model was trained on.

    Raises:
        InputError: The model was trained on all of them.
    """
    documents = corpus.heldout
    if record is None:
        _check_heldout_size(dataset, documents, trained)
        part = heldout_name(corpus.split)
        if not same_source(trained.get("dataset"), dataset):
            part = f"{corpus.split}; {UNKNOWN_TRAINING}"
        return EvaluatedText(corpus, part, documents, None)
    whole = cut_text(corpus)
    found = [record.finds(document, whole) for document in documents]
    if None in found:
        _check_heldout_size(dataset, documents, trained)
    if True in found:  # a document that the record cannot tell is likely to come from the same text
        kept = [document for document, seen in zip(documents, found, strict=True) if seen is False]
    else:
        kept = documents
    left_out = len(documents) - len(kept)
    if not kept:
        raise InputError(
            f"dataset {dataset!r} has no text that is held out: the model was trained on all {len(documents):,} documents "
            "of the held-out part, or on parts of them; give another text, or measure it as it is with --part whole"
        )
    part = heldout_name(corpus.split)
    if left_out:
        part += (
            f"; {left_out:,} of {len(documents):,} documents left out, because the model was trained on them or on parts of "
            "them"
        )
    if not record.complete or (None in found and True not in found):
        part += "; whether an earlier training of the model read it is not known"
        return EvaluatedText(corpus, part, kept, None, left_out)
    return EvaluatedText(corpus, part, kept, 0, left_out)


def heldout_name(split: str) -> str:
    """Returns the description of a split, which says that the text is held out.

    >>> heldout_name("the dataset's validation split"), heldout_name("last 2 of 9 documents held out")
    ("held out: the dataset's validation split", 'last 2 of 9 documents held out')
    """
    return split if "held out" in split else f"held out: {split}"


def _load_with_heldout_part(args: argparse.Namespace, trained: dict, record: TrainedOn | None) -> Corpus:
    """Loads a source and holds the same part out as in training.

    Raises:
        InputError: The source may be the stream that the model was trained on, and there is no record to tell.
    """
    if not trained.get("streaming"):
        return load_corpus(TextOptions.from_args(args))
    if same_source(trained["dataset"], args.dataset):
        corpus, _ = load_stream(TextOptions.from_args(args), trained["heldout_documents"])
        return corpus
    if record is None and Path(trained["dataset"]).name == Path(args.dataset).name:
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
