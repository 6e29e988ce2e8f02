# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The facts about a run that its results and its card state: name and licence of the text, and the command."""

from __future__ import annotations

import argparse
import json
import re
import shlex
from pathlib import Path, PurePath

from hf_minrnn.tools.local_paths import is_local_path, public_path
from training.common.errors import InputError
from training.corpus.corpus import Corpus
from training.lm.options import parse_arguments
from training.lm.tokenization import KINDS

COMPRESSED = (".gz", ".xz", ".zst", ".bz2")
TABLE_SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")

# Facts about the texts that are used here. For any other text they come from --dataset-name and --dataset-license.
KNOWN = {
    "stdlib": {
        "title": "the sources of Python's standard library",
        "about": "The sources of Python's standard library as installed, without its tests, idlelib and character tables.",
        "license": "PSF-2.0",
        "license_note": ", [Python's licence](https://docs.python.org/3/license.html). That page also lists the licences of "
        "incorporated files",
        "language": ["code"],
        "prompt": "def read(path):",
    },
    "karpathy/tiny_shakespeare": {
        "title": "tiny Shakespeare",
        "about": "[karpathy/tiny_shakespeare](https://huggingface.co/datasets/karpathy/tiny_shakespeare): scenes from "
        "Shakespeare's plays as one text. `python -m training.report.recipes` downloads and checks it.",
        "license": "public domain",
        "license_note": ", like the plays themselves",
        "language": ["en"],
        "prompt": "ROMEO:",
    },
}
# Options that do not affect the numbers, or that the command names separately.
NOT_IN_COMMAND = {
    "dataset",
    "streaming",
    "output_dir",
    "checkpoint_every",
    "keep",
    "resume",
    "overwrite",
    "trackers",
    "peak_tflops",
    "push_to_hub",
}


ONLY_FOR_STREAMS = {"heldout_documents", "shuffle_buffer"}
# Arguments that may be paths on this machine.
PATHS = ("dataset", "validation", "tokenizer", "init_from", "output_dir")
LOCAL_FILE = ".local.json"  # of a run's folder: what only this machine needs to know. Hidden files are never pushed.


def public_arguments(args: dict) -> dict:
    """Returns the arguments of a run as they may be published: of each local path, only the last component.

    >>> public_arguments({"dataset": "/home/me/letters.txt", "tokenizer": "owner/name", "steps": 3})
    {'dataset': 'letters.txt', 'tokenizer': 'owner/name', 'steps': 3}
    """
    public = dict(args)
    for name in PATHS:
        value = public.get(name)
        if isinstance(value, str) and (name == "output_dir" or is_local_path(value)):
            public[name] = public_path(value)
    return public


def local_arguments(args: dict) -> dict:
    """Returns the full paths of the arguments that are paths on this machine, for `LOCAL_FILE`."""
    local = {}
    for name in PATHS:
        value = args.get(name)
        if isinstance(value, str) and Path(value).expanduser().exists() and not _is_keyword(name, value):
            local[name] = str(Path(value).expanduser().absolute())  # a link keeps the name that the user gave
    return local


def _is_keyword(name: str, value: str) -> bool:
    """Whether an argument has a meaning of its own, even if there is a file of that name."""
    return (name, value) == ("dataset", "stdlib") or (name == "tokenizer" and value in KINDS)


def data_facts(args: argparse.Namespace, corpus: Corpus) -> dict:
    """Returns the facts about a run's text that results.json records and the card shows.

    Args:
        args (`argparse.Namespace`): Command line of the run.

    Returns:
        `name` and `license` (`None` if it is not known); `kind`, one of `stdlib`, `file`, `folder` and `hub`; `source`, the
        published name of the file or folder; `documents_are`, a description of the documents; and counts of the files that
        were read and skipped.

    >>> facts = data_facts(parse_arguments(["--dataset", "you/texts"]), Corpus("you-texts", "hub", [], [], ""))
    >>> facts["name"], facts["license"], facts["kind"]
    ('you/texts', None, 'hub')
    """
    source = public_arguments({"dataset": args.dataset})["dataset"]
    name = args.dataset_name or source
    license = args.dataset_license
    if not license and is_known(name, corpus.kind, bool(args.dataset_name)):
        license = KNOWN[name]["license"]
    reading = corpus.reading
    return {
        "name": name,
        "license": license,
        "kind": corpus.kind,
        "source": source,
        "named": bool(args.dataset_name),
        "documents_are": _documents_are(args, corpus),
        "encoding": args.encoding or _encodings(corpus),
        "files": len({*reading.train, *reading.heldout}) or None,
        "skipped": {reason: len(files) for reason, files in reading.skipped.items()},
    }


def _encodings(corpus: Corpus) -> str | None:
    """Returns the encodings other than UTF-8 that files were read in, or `None`."""
    found = set()
    for note in corpus.reading.notes:
        found.update(re.findall(r" decoded as ([\w-]+)", note))
    return ", ".join(sorted(found)) or None


def is_known(name: str, kind: str | None, named: bool) -> bool:
    """Whether a text is one of `KNOWN`. A local file or folder is not, unless `--dataset-name` says so.

    Args:
        name (`str`): Name of the text.
        kind (`str`, *optional*): Kind of its source; `None` in older results.
        named (`bool`): Whether the name was given by `--dataset-name`.
    """
    if name not in KNOWN:
        return False
    if kind is None:
        return True
    if name == "stdlib":
        return kind == "stdlib"
    return kind == "hub" or named


def _documents_are(args: argparse.Namespace, corpus: Corpus) -> str | None:
    """Returns what a document of a text is, or `None` for a single text and for the standard library."""
    names = [*corpus.reading.train, *corpus.reading.heldout] or [args.dataset]
    tables = not args.plain_text and all(_is_table(name) for name in names)
    if corpus.kind == "hub" or (corpus.kind in ("file", "folder") and tables):
        return f"row, in its column `{args.text_column}`"
    if corpus.kind in ("file", "folder") and args.document_per_line:
        return "line"
    return "file" if corpus.kind == "folder" else None


def _is_table(name: str) -> bool:
    path = PurePath(name)
    if path.suffix.lower() in COMPRESSED:
        path = path.with_suffix("")
    return path.suffix.lower() in TABLE_SUFFIXES


def base_facts(base: str | None) -> dict | None:
    """Returns the published name of the model that the weights come from, and whether it is on the Hub; or `None`.

    >>> base_facts("owner/model"), base_facts("/home/me/model")
    ({'name': 'owner/model', 'on_hub': True}, {'name': 'model', 'on_hub': False})
    """
    if not base:
        return None
    local = is_local_path(base)
    return {"name": public_path(base) if local else base, "on_hub": not local}


def command(args: dict, processes: int = 1, folder: str | None = None) -> str:
    """Returns the command line of a run.

    Args:
        args (`dict`): The `args` of its results.json. Options that have their default value are left out.
        processes (`int`): Number of processes that trained together.
        folder (`str`, *optional*): Output folder to name in the command.

    >>> command({"dataset": "a b.txt", "cell_type": "minlstm", "steps": 10, "bf16": True, "seed": 0, "resume": True})
    "python -m training.train_lm --dataset 'a b.txt' --cell-type minlstm --steps 10 --bf16"
    >>> command({"dataset": "-notes.txt", "cell_type": "mingru"})
    'python -m training.train_lm --dataset=-notes.txt'
    """
    dataset = value_of(args, "dataset")
    source = ["--streaming"] if args.get("streaming") else []
    # The defaults of any other text: those of this one's path depend on the working directory.
    other = "stdlib" if dataset == "stdlib" else "owner/name"
    default = vars(parse_arguments([f"--dataset={other}", *source]))
    launcher = ["torchrun", "--nproc_per_node", str(processes)] if processes > 1 else ["python"]
    words = [*launcher, "-m", "training.train_lm"]
    if dataset != "stdlib":
        # argparse takes a separate word that begins with a dash for an option.
        words += [f"--dataset={dataset}"] if dataset.startswith("-") else ["--dataset", dataset]
    words += source
    for name, value in args.items():
        if name not in default or name in NOT_IN_COMMAND or value is None or value == default[name]:
            continue
        if name in ONLY_FOR_STREAMS and not source:
            continue
        words.append(f"--{name.replace('_', '-')}")
        if isinstance(value, dict):
            words += [f"{key}={field if isinstance(field, str) else json.dumps(field)}" for key, field in value.items()]
        elif value is not True:
            words += map(str, value if isinstance(value, list) else [value])
    if folder:
        words += ["--output-dir", folder]
    return shlex.join(words)


def value_of(record: dict, key: str):
    """Returns a value that a card needs.

    Raises:
        InputError: The value is missing or null.

    >>> value_of({"steps": 3}, "steps")
    3
    """
    if record.get(key) is None:
        raise InputError(f"the value {key!r} is missing")
    return record[key]
