# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The facts about a run that its results and its card state: name and licence of the text, and the command."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path

from training.common.errors import InputError
from training.lm.options import parse_arguments

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


def data_facts(args: argparse.Namespace, corpus_name: str) -> dict[str, str]:
    """Returns the name and the licence of a run's text, as results.json records them.

    Args:
        args (`argparse.Namespace`): Command line of the run.
        corpus_name (`str`): Name to use for a text that is a local file.

    >>> data_facts(parse_arguments([]), "stdlib")
    {'name': 'stdlib', 'license': 'PSF-2.0'}
    >>> data_facts(parse_arguments(["--dataset", "you/texts", "--dataset-license", "cc-by-4.0"]), "you-texts")
    {'name': 'you/texts', 'license': 'cc-by-4.0'}
    """
    local = args.dataset == "stdlib" or Path(args.dataset).expanduser().exists()
    name = args.dataset_name or (corpus_name if local else args.dataset)
    return {"name": name, "license": args.dataset_license or KNOWN.get(name, {}).get("license", "unknown")}


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
    default = vars(parse_arguments([f"--dataset={dataset}", *source]))
    launcher = ["torchrun", "--nproc_per_node", str(processes)] if processes > 1 else ["python"]
    words = [*launcher, "-m", "training.train_lm"]
    if dataset != "stdlib":
        # argparse takes a separate word that begins with a dash for an option.
        words += [f"--dataset={dataset}"] if dataset.startswith("-") else ["--dataset", dataset]
    words += source
    for name, value in args.items():
        if name not in default or name in NOT_IN_COMMAND or value is None or value == default[name]:
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
