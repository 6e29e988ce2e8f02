# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Renders model cards from result files alone.

    python -m training.report.cards                      # model_cards/NAME.md for every model with results in results/
    python -m training.report.cards runs/stdlib-mingru   # README.md of a run's folder, from its results.json

The text of the card is model_cards/template.md. If training.evaluate has measured the same weights, the card includes its
numbers. If a value is missing, the error names it and no card is written. A test checks that the committed cards are the
output of this script.
"""

from __future__ import annotations

import json
import math
import re
from functools import lru_cache
from pathlib import Path

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, StrictUndefined, Template, UndefinedError

from hf_minrnn.tools.card import CELLS, card_data, usage
from hf_minrnn.tools.local_paths import public_path
from training.common.command_line import make_parser, reported
from training.common.errors import InputError
from training.common.files import write_text
from training.common.paths import RESULTS, ROOT
from training.common.text import amount, byte_size
from training.corpus.names import counted
from training.lm.best_weights import OVERFITS
from training.lm.round_trip import reason
from training.lm.run_facts import KNOWN, command, is_known, value_of

CARDS = ROOT / "model_cards"
TEMPLATE = CARDS / "template.md"
NAMES = ("stdlib-mingru", "stdlib-minlstm", "shakespeare-mingru", "shakespeare-minlstm")
ARCHITECTURE = "MinRNNForCausalLM"


class _Strict(Environment):
    """Templates that raise an error for a missing key of a dict and for a null that is used."""

    def getattr(self, obj, attribute):
        if not isinstance(obj, dict):
            return super().getattr(obj, attribute)
        if attribute in obj and obj[attribute] is None:
            return self.undefined(hint=f"the value {attribute!r} is null")
        return value_of(obj, attribute)


def fenced(text: str) -> str:
    """Returns a text as a code block, with a fence longer than any run of backticks in the text.

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
    """Compiles a Jinja template, with the filters that it uses."""
    strict = _Strict(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    strict.filters |= {
        "amount": lambda value: amount(float(value)),
        "byte_size": lambda value: byte_size(float(value)),
        "count": lambda value: f"{round(float(value)):,}",
        "fenced": fenced,
        "documents": lambda value: "1 document" if value == 1 else f"{round(float(value)):,} documents",
        "fixed": lambda value, digits: f"{round(float(value), digits) + 0.0:.{digits}f}",  # no -0.000
        "items": lambda record: record.items(),  # Jinja's own filter treats a missing value as empty
        "percent": lambda value: f"{float(value):.0%}",
    }
    return strict.from_string(text)


def on_hub(data: dict) -> str | None:
    """Returns the name of the Hub's dataset that a text is from; `None` for a local text, unless its given name has an owner.

    Args:
        data (`dict`): Description of the text in results.json. Older ones have no `kind`.
    """
    name = value_of(data, "name").partition(":")[0]
    claimed = data.get("kind") in (None, "hub") or data.get("named")
    return name if claimed and name.count("/") == 1 else None


def metadata(results: dict, name: str, data: dict) -> ModelCardData:
    """Returns the metadata block of the card, including `model-index` with the held-out numbers."""
    metrics = value_of(results, "metrics")
    cell = value_of(value_of(results, "args"), "cell_type")
    corpus = value_of(data, "name")
    known = known_text(data)
    source = on_hub(data)
    where = {
        "task_type": "text-generation",
        "task_name": "Text generation",
        # The Hub takes this for the name of one of its datasets, so the name of a local text must not be here.
        "dataset_type": corpus if source or known else "text",
        "dataset_name": corpus,
        "dataset_split": "heldout",
        "dataset_args": {"split": value_of(data, "split")},
    }
    shown = [("perplexity", "perplexity per token", "heldout_perplexity")]
    if lossy(data) is None:
        shown.insert(0, ("bits_per_byte", "bits per byte", "heldout_bits_per_byte"))
    found = [
        EvalResult(**where, metric_type=kind, metric_name=title, metric_value=round(value_of(metrics, key), 4))
        for kind, title, key in shown
    ]
    base = results.get("base")
    return card_data(
        ARCHITECTURE,
        cell,
        code=True,
        language=known.get("language"),
        license=model_license(results, data),
        datasets=[source] if source else None,
        base_model=base["name"] if base and base["on_hub"] else None,
        model_name=name,
        eval_results=found,
    )


def known_text(data: dict) -> dict:
    """Returns the facts about a text that is one of `KNOWN`, else an empty dict."""
    name = value_of(data, "name")
    return KNOWN[name] if is_known(name, data.get("kind"), bool(data.get("named"))) else {}


def model_license(results: dict, data: dict) -> str | None:
    """Returns the licence of the weights: that of `--license`, or this package's for the models that it publishes."""
    return value_of(results, "args").get("license") or ("apache-2.0" if known_text(data) else None)


def describe_text(data: dict) -> dict[str, str | None]:
    """Returns the `title` of a text, as it stands in a sentence, and `about` or `source`, sentences that add to the title."""
    known = known_text(data)
    if known:
        return {"source": None} | {key: known[key] for key in ("title", "about", "license_note")}
    name = value_of(data, "name")
    kind = data.get("kind")
    title = name
    if kind in ("file", "folder") and not data.get("named"):
        title = f"`{name}`"
    source = on_hub(data)
    if source:
        configuration = name.partition(":")[2]
        title = f"[{source}](https://huggingface.co/datasets/{source})"
        title += f", configuration `{configuration}`" if configuration else ""
    return {"title": title, "about": None, "source": _source(data), "license_note": ""}


def base_link(base: dict) -> str:
    """Returns the model that the weights come from, in Markdown: a link, or the name of a local folder."""
    if base["on_hub"]:
        return f"[{base['name']}](https://huggingface.co/{base['name']})"
    return f"the local model `{base['name']}`"


def _source(data: dict) -> str | None:
    """Returns sentences about the source of a text: its kind, its documents, its encoding, and files that were not read."""
    kind = data.get("kind")
    documents = data.get("documents_are")
    if kind == "file":
        what = "one table" if str(documents).startswith("row") else "one text file"
    elif kind == "folder":
        count = data.get("files")
        what = "a folder" if not count else f"a folder of {count:,} {'file' if count == 1 else 'files'}"
    elif kind == "hub":
        what = "a dataset on the Hub"
    else:
        return None  # older results do not say
    if kind != "hub" and data.get("named"):
        what = f"`{value_of(data, 'source')}`, {what}"
    sentences = [f"{what}."]
    if documents:
        comma = "," if "," in documents else ""
        sentences.append(f"Each {documents}{comma} is a document.")
    if data.get("encoding"):
        sentences.append(f"The encoding is {data['encoding']}.")
    skipped = data.get("skipped")
    if skipped:
        counts = ", ".join(f"{counted(count, 'file')} ({reason})" for reason, count in skipped.items())
        sentences.append(f"Not read: {counts}.")
    return " ".join(sentences)


def render(results: dict, name: str, evaluation: dict | None = None) -> str:
    """Returns a card in the Hub's format: a metadata block and Markdown.

    Args:
        results (`dict`): Content of a run's results.json.
        name (`str`): Name of the model.
        evaluation (`dict`, *optional*): Content of evaluation.json, measured on the same weights.

    Raises:
        InputError: A value is missing, or the evaluation was measured on other weights.
    """
    try:
        return _render(results, name, evaluation)
    except (InputError, UndefinedError) as error:
        raise InputError(f"cannot render the card of {name}: {error}") from error


def heldout_notes(seen: int | None, copies: int | None) -> list[str]:
    """Returns sentences about held-out documents that are not new to the weights.

    Args:
        seen (`int`, *optional*): Number of held-out documents that an earlier training of the weights read.
        copies (`int`, *optional*): Number of held-out documents that are also training documents.
    """
    notes = []
    if seen:
        notes.append(
            f"An earlier training of these weights read {counted(seen, 'held-out document')}, in whole or in part, so the "
            "losses are not those of a new text."
        )
    if copies:
        notes.append(
            f"The training text contains exact copies of {counted(copies, 'held-out document')}, so the losses are lower than "
            "those of a new text."
        )
    return notes


def lossy(data: dict) -> str | None:
    """Returns the sentence that says what the tokenizer loses of a text, or `None` if it keeps the text."""
    if data.get("lossless") is not False:  # older results do not say: their tokenizers keep every text
        return None
    sentence = reason(value_of(data, "round_trip"), markdown=True)
    return sentence[0].upper() + sentence[1:] + "."


def changes_sign(config: dict) -> bool:
    """Returns whether the decays of a block can be negative, from the fields of the model's configuration.

    >>> [changes_sign({"forget_gate_floor": floor}) for floor in ("signed", [0.0, -1.0], 0.9)]
    [True, True, False]
    """
    floor = value_of(config, "forget_gate_floor")
    if isinstance(floor, str):
        return floor == "signed"
    return min(floor if isinstance(floor, list) else [floor]) < 0


def _render(results: dict, name: str, evaluation: dict | None) -> str:
    args = value_of(results, "args")
    data = value_of(results, "data")
    if value_of(args, "dataset") == "stdlib" and "kind" not in data:
        # Older results have no name and no licence. All of them used this text.
        data = {"name": "stdlib", "license": KNOWN["stdlib"]["license"], **data}
    if evaluation and value_of(value_of(evaluation, "model"), "sha256") != value_of(results, "weights_sha256"):
        raise InputError("the evaluation was measured on other weights than the results; run training.evaluate again")
    metrics = value_of(results, "metrics")
    row = math.prod(value_of(args, key) for key in ("batch_size", "accumulate", "sequence_length"))
    processes = round(value_of(metrics, "train_tokens") / (value_of(metrics, "steps") * row))
    text = describe_text(data)
    kept = results.get("kept")
    unit = "bits per token" if lossy(data) else "bits per byte"
    prompt = known_text(data).get("prompt") or data.get("prompt") or "The "
    folder = value_of(args, "output_dir")
    card = compiled(TEMPLATE.read_text(encoding="utf-8")).render(
        results=results,
        evaluation=evaluation,
        name=name,
        data=data,
        metadata=metadata(results, name, data).to_yaml(),
        cell=CELLS[value_of(args, "cell_type")],
        # The command of the evaluation names this folder.
        command=command(args, processes, folder if evaluation else None),
        counted=args.get("steps") is not None,
        streamed=bool(data.get("streaming")),
        samples=results.get("samples"),  # older results have none of these three
        changed=results.get("changed"),
        kept=kept,
        kept_estimate=value_of(kept, f"heldout_{unit.replace(' ', '_')}_estimate") if kept else None,
        unit=unit,
        overfits=OVERFITS,
        changes_sign=changes_sign(value_of(results, "config")),
        usage=usage(ARCHITECTURE, folder, code=True, prompt=prompt),
        heldout_notes=heldout_notes(data.get("heldout_seen"), data.get("heldout_copies")),
        known_license=data.get("license"),
        lossy=lossy(data),
        evaluation_lossy=lossy(value_of(evaluation, "dataset")) if evaluation else None,
        base=base_link(results["base"]) if results.get("base") else None,
        model_license=model_license(results, data),
        **text,
    )
    return card.rstrip() + "\n"


def _read(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path} does not exist: give the folder of a finished run of training.train_lm") from None
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON ({error}): run the training or the evaluation again") from error


def write_card(folder: Path) -> Path:
    """Writes README.md of a run's folder from its results.json and, if it exists, its evaluation.json.

    Returns:
        The path of the card.

    Raises:
        InputError: results.json does not exist, or a value in it is missing.
    """
    folder = Path(folder)
    results = _read(folder / "results.json")
    path = folder / "evaluation.json"
    evaluation = _read(path) if path.exists() else None
    name = value_of(results, "args").get("push_to_hub") or public_path(str(folder))
    write_text(folder / "README.md", render(results, name.rpartition("/")[2], evaluation))
    return folder / "README.md"


def committed(name: str) -> str:
    """Returns the card of a model from `results/NAME.json` and, if it exists, `NAME-evaluation.json`."""
    path = RESULTS / f"{name}-evaluation.json"
    return render(_read(RESULTS / f"{name}.json"), name, _read(path) if path.exists() else None)


@reported
def main(argv: list[str] | None = None) -> list[Path]:
    """Runs the command line and returns the paths of the cards that it wrote."""
    parser = make_parser("training.report.cards", __doc__)
    parser.add_argument(
        "folder", nargs="?", type=Path, help="folder of a finished run (default: the models in results/)"
    )
    args = parser.parse_args(argv)
    if args.folder is not None:
        paths = [write_card(args.folder)]
    else:
        paths = [CARDS / f"{name}.md" for name in NAMES if (RESULTS / f"{name}.json").exists()]
        for path in paths:
            write_text(path, committed(path.stem))
    for path in paths:
        print(f"wrote {path}")
    return paths


if __name__ == "__main__":
    main()
