# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Renders model cards from result files, and from nothing else.

    python -m training.report.cards                      # model_cards/NAME.md of every model in results/ that was trained here
    python -m training.report.cards runs/stdlib-mingru   # README.md of a run's folder, from its results.json

The card's text is model_cards/template.md. Where evaluate.py has measured the same weights, its numbers are on the card too.
A value that is missing is named, and no card is written. A test checks that the committed cards are what this script writes.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import shlex
from functools import lru_cache
from pathlib import Path

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, StrictUndefined, Template, UndefinedError

from hf_minrnn.tools.card import CELLS, card_data, usage
from training.common.errors import InputError
from training.common.files import write_text
from training.common.paths import RESULTS, ROOT
from training.common.text import amount
from training.lm.options import parse_arguments

CARDS = ROOT / "model_cards"
TEMPLATE = CARDS / "template.md"
NAMES = ("stdlib-mingru", "stdlib-minlstm", "shakespeare-mingru", "shakespeare-minlstm")
ARCHITECTURE = "MinRNNForCausalLM"

# What a card says of texts that are known here; of any other it has what --dataset-name and --dataset-license say.
KNOWN = {
    "stdlib": {
        "title": "the sources of Python's standard library",
        "about": "The sources of Python's standard library as it is installed, without its tests, idlelib and tables of "
        "characters.",
        "license": "PSF-2.0",
        "license_note": ", [Python's licence](https://docs.python.org/3/license.html), which also lists those of "
        "incorporated files",
        "language": ["code"],
        "prompt": "def read(path):",
    },
    "karpathy/tiny_shakespeare": {
        "title": "tiny Shakespeare",
        "about": "[karpathy/tiny_shakespeare](https://huggingface.co/datasets/karpathy/tiny_shakespeare): scenes from "
        "Shakespeare's plays as one text, which `python -m training.report.recipes` fetches and checks.",
        "license": "public domain",
        "license_note": ", as the plays are",
        "language": ["en"],
        "prompt": "ROMEO:",
    },
}
# How a run was kept, watched and carried on: no part of the command that gives its numbers.
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
    """Name and licence of a run's text, for its results.json.

    Args:
        args (`argparse.Namespace`): The run's command line.
        corpus_name (`str`): What a text that lies on this machine is called.

    >>> data_facts(parse_arguments([]), "stdlib")
    {'name': 'stdlib', 'license': 'PSF-2.0'}
    >>> data_facts(parse_arguments(["--dataset", "you/texts", "--dataset-license", "cc-by-4.0"]), "you-texts")
    {'name': 'you/texts', 'license': 'cc-by-4.0'}
    """
    local = args.dataset == "stdlib" or Path(args.dataset).expanduser().exists()
    name = args.dataset_name or (corpus_name if local else args.dataset)
    return {"name": name, "license": args.dataset_license or KNOWN.get(name, {}).get("license", "unknown")}


def command(args: dict, processes: int = 1, folder: str | None = None) -> str:
    """The command line of a run, from the `args` of its results.json: what differs from the defaults, and the output folder
    where it is given.

    >>> command({"dataset": "a b.txt", "cell_type": "minlstm", "steps": 10, "bf16": True, "seed": 0, "resume": True})
    "python -m training.train_lm --dataset 'a b.txt' --cell-type minlstm --steps 10 --bf16"
    """
    dataset = value_of(args, "dataset")
    source = ["--streaming"] if args.get("streaming") else []
    default = vars(parse_arguments(["--dataset", dataset, *source]))
    launcher = ["torchrun", "--nproc_per_node", str(processes)] if processes > 1 else ["python"]
    words = [*launcher, "-m", "training.train_lm", *(["--dataset", dataset] if dataset != "stdlib" else []), *source]
    for name, value in args.items():
        if name not in default or name in NOT_IN_COMMAND or value is None or value == default[name]:
            continue
        words.append(f"--{name.replace('_', '-')}")
        if isinstance(value, dict):
            words += [f"{key}={field if isinstance(field, str) else json.dumps(field)}" for key, field in value.items()]
        elif value is not True:
            words += map(str, value if isinstance(value, list) else [value])
    return shlex.join([*words, *(["--output-dir", folder] if folder else [])])


# --- rendering ---------------------------------------------------------------------------------------------------------


def value_of(record: dict, key: str):
    """A value that has to be there.

    Raises:
        InputError: It isn't, or is null.

    >>> value_of({"steps": 3}, "steps")
    3
    """
    if record.get(key) is None:
        raise InputError(f"the value {key!r} is missing")
    return record[key]


class _Strict(Environment):
    """Templates in which what a dict lacks is an error, and so is a null that is used."""

    def getattr(self, obj, attribute):
        if not isinstance(obj, dict):
            return super().getattr(obj, attribute)
        if attribute in obj and obj[attribute] is None:
            return self.undefined(hint=f"the value {attribute!r} is null")
        return value_of(obj, attribute)


def fenced(text: str) -> str:
    """A text as a code block, whatever stands in it.

    >>> print(fenced("a"))
    ```text
    a
    ```
    >>> fenced("```").splitlines()[0]
    '````text'
    """
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}text\n{text}\n{fence}"


@lru_cache(maxsize=1)
def compiled(text: str) -> Template:
    """A template, in Jinja with the formats that it uses."""
    strict = _Strict(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    strict.filters |= {
        "amount": lambda value: amount(float(value)),
        "count": lambda value: f"{round(float(value)):,}",
        "fenced": fenced,
        "documents": lambda value: "1 document" if value == 1 else f"{round(float(value)):,} documents",
        "fixed": lambda value, digits: f"{float(value):.{digits}f}",
        "items": lambda record: record.items(),  # Jinja's own takes what is missing for empty
        "percent": lambda value: f"{float(value):.0%}",
    }
    return strict.from_string(text)


def metadata(results: dict, name: str, data: dict) -> ModelCardData:
    """The card's metadata block, `model-index` with the held-out numbers included."""
    metrics = value_of(results, "metrics")
    cell = value_of(value_of(results, "args"), "cell_type")
    corpus = value_of(data, "name")
    where = {
        "task_type": "text-generation",
        "task_name": "Text generation",
        "dataset_type": corpus,
        "dataset_name": corpus,
        "dataset_split": "heldout",
        "dataset_args": {"split": value_of(data, "split")},
    }
    found = [
        EvalResult(**where, metric_type=kind, metric_name=title, metric_value=round(value_of(metrics, key), 4))
        for kind, title, key in (
            ("bits_per_byte", "bits per byte", "heldout_bits_per_byte"),
            ("perplexity", "perplexity per token", "heldout_perplexity"),
        )
    ]
    return card_data(
        ARCHITECTURE,
        cell,
        code=True,
        language=KNOWN.get(corpus, {}).get("language"),
        license="apache-2.0",
        datasets=[corpus.partition(":")[0]] if corpus.count("/") == 1 else None,
        model_name=name,
        eval_results=found,
    )


def render(results: dict, name: str, evaluation: dict | None = None) -> str:
    """A card in the Hub's format: a metadata block and Markdown.

    Args:
        results (`dict`): What results.json of a run holds.
        name (`str`): What the model is called.
        evaluation (`dict`, *optional*): What evaluation.json holds, of the same weights.

    Raises:
        InputError: A value is missing, or the evaluation is of other weights.
    """
    try:
        return _render(results, name, evaluation)
    except (InputError, UndefinedError) as error:
        raise InputError(f"no card of {name} can be rendered: {error}") from error


def _render(results: dict, name: str, evaluation: dict | None) -> str:
    args, data = value_of(results, "args"), value_of(results, "data")
    if value_of(args, "dataset") == "stdlib":  # results of before name and licence were kept are all of it
        data = {"name": "stdlib", "license": KNOWN["stdlib"]["license"], **data}
    if evaluation and value_of(value_of(evaluation, "model"), "sha256") != value_of(results, "weights_sha256"):
        raise InputError("the evaluation is of other weights than the results; run evaluate.py again")
    metrics = value_of(results, "metrics")
    row = math.prod(value_of(args, key) for key in ("batch_size", "accumulate", "sequence_length"))
    processes = round(value_of(metrics, "train_tokens") / (value_of(metrics, "steps") * row))
    corpus = value_of(data, "name")
    known = {"title": corpus, "about": f"{corpus}.", "license_note": "", "prompt": data.get("prompt") or "The "}
    known |= KNOWN.get(corpus, {})
    folder = value_of(args, "output_dir")
    card = compiled(TEMPLATE.read_text(encoding="utf-8")).render(
        results=results,
        evaluation=evaluation,
        name=name,
        data=data,
        metadata=metadata(results, name, data).to_yaml(),
        cell=CELLS[value_of(args, "cell_type")],
        command=command(args, processes, folder if evaluation else None),  # whose command looks for it there
        counted=args.get("steps") is not None,
        streamed=bool(data.get("streaming")),
        samples=results.get("samples"),  # results of before these were kept have none, and neither
        changed=results.get("changed"),
        usage=usage(ARCHITECTURE, folder, code=True, prompt=known["prompt"]),
        **{key: known[key] for key in ("title", "about", "license_note")},
    )
    return card.rstrip() + "\n"


# --- files -------------------------------------------------------------------------------------------------------------


def _read(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path} is not there: give the folder of a run that train_lm.py has finished") from None
    except ValueError as error:
        raise InputError(f"{path} is not JSON ({error}): it is damaged, let the run write it again") from error


def write_card(folder: Path) -> Path:
    """Writes README.md of a run's folder from its results.json and, if it is there, its evaluation.json.

    Returns:
        The path of the card.

    Raises:
        InputError: There is no results.json, or a value in it is missing.
    """
    folder = Path(folder)
    results = _read(folder / "results.json")
    path = folder / "evaluation.json"
    evaluation = _read(path) if path.exists() else None
    name = value_of(results, "args").get("push_to_hub") or folder.resolve().name
    write_text(folder / "README.md", render(results, name.rpartition("/")[2], evaluation))
    return folder / "README.md"


def committed(name: str) -> str:
    """The card of a model that was trained here, from `results/NAME.json` and, if it is there, `NAME-evaluation.json`."""
    path = RESULTS / f"{name}-evaluation.json"
    return render(_read(RESULTS / f"{name}.json"), name, _read(path) if path.exists() else None)


def main(argv: list[str] | None = None) -> list[Path]:
    """Runs the command line; returns the paths of the cards that it wrote.

    Raises:
        SystemExit: Bad input, with a message that names it and the remedy.
    """
    parser = argparse.ArgumentParser(prog="python -m training.report.cards", description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, help="of a finished run; without it, the models in results/")
    args = parser.parse_args(argv)
    try:
        if args.folder is not None:
            paths = [write_card(args.folder)]
        else:
            paths = [CARDS / f"{name}.md" for name in NAMES if (RESULTS / f"{name}.json").exists()]
            for path in paths:
                write_text(path, committed(path.stem))
    except InputError as error:
        raise SystemExit(f"training.report.cards: {error}") from None
    for path in paths:
        print(f"wrote {path}")
    return paths


if __name__ == "__main__":
    main()
