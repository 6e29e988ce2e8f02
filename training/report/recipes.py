# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Trains the models whose results and cards are committed, with the arguments of their training.

    python -m training.report.recipes stdlib-mingru
    python -m training.report.recipes shakespeare-mingru shakespeare-minlstm --text tinyshakespeare.txt
    python -m training.report.recipes all

Each recipe runs training.train_lm and then training.evaluate in runs/NAME, with the arguments below. It copies their results
to training/results/NAME.json and NAME-evaluation.json, and renders model_cards/NAME.md from them. The text of Shakespeare comes
from the Hub, or from a file with --text. A checksum ensures that it is the same text. The committed results were made before
tokenizers had a padding token, so a new run gives slightly different numbers.
"""

from __future__ import annotations

import hashlib
import shlex
import subprocess
import sys
from pathlib import Path

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

from training.common.command_line import make_parser, reported
from training.common.errors import InputError
from training.common.files import write_text
from training.common.paths import ROOT
from training.corpus.load import SHAKESPEARE, read_shakespeare
from training.report import cards

SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
SHAKESPEARE_FILE = "runs/tinyshakespeare.txt"  # relative to the repository's root, where the scripts run

_TEXT = f"--dataset {SHAKESPEARE_FILE} --dataset-name {SHAKESPEARE}"
_MODEL = "--num-hidden-layers 4 --hidden-size 128 --sequence-length 256 --batch-size 8 --schedule cosine --seed 0"
_STDLIB = f"--dataset stdlib --tokenizer bpe --vocab-size 2048 {_MODEL} --learning-rate 1e-2 --minutes 5"
_SHAKESPEARE = f"{_TEXT} --tokenizer chars {_MODEL} --learning-rate 5e-3 --dropout 0.1 --steps 1500"
# All arguments of train_lm and evaluate are spelled out, so that changed defaults do not change a recipe.
RECIPES = {
    "stdlib-mingru": (f"{_STDLIB} --cell-type mingru", "--dataset stdlib"),
    "stdlib-minlstm": (f"{_STDLIB} --cell-type minlstm", "--dataset stdlib"),
    "shakespeare-mingru": (f"{_SHAKESPEARE} --cell-type mingru", _TEXT),
    "shakespeare-minlstm": (f"{_SHAKESPEARE} --cell-type minlstm", _TEXT),
}


def place_shakespeare(given: Path | None) -> Path:
    """Writes tiny Shakespeare to the file that the recipes read, unless it exists.

    Args:
        given (`Path`, *optional*): File with the text; `None` to load it from the Hub.

    Returns:
        The path of the file.

    Raises:
        InputError: The text cannot be read, or it is a different text.
    """
    path = ROOT / SHAKESPEARE_FILE
    if given is None and path.exists():
        given = path
    text = read_shakespeare(given)
    found = hashlib.sha256(text.encode()).hexdigest()
    if found != SHAKESPEARE_SHA256:
        raise InputError(
            f"{given or SHAKESPEARE} has SHA-256 {found[:16]}... instead of {SHAKESPEARE_SHA256[:16]}...: give the whole "
            f"text of {SHAKESPEARE} with --text, with unchanged line endings"
        )
    if given != path:
        write_text(path, text)
    return path


def _run(module: str, arguments: list[str]) -> None:
    """Runs a script in a new process, so that memory is measured in a fresh one and the results name the command as typed."""
    print(shlex.join(["python", "-m", module, *arguments]), flush=True)
    done = subprocess.run([sys.executable, "-m", module, *arguments], cwd=ROOT)
    if done.returncode:
        raise InputError(f"{module} ended with status {done.returncode} (see its output above); no results were copied")


def cook(name: str, start: list[str]) -> Path:
    """Trains and measures one model, copies its results, and renders its card in its folder and in model_cards/.

    Args:
        name (`str`): A key of `RECIPES`.
        start (`list[str]`): `["--resume"]`, `["--overwrite"]` or an empty list.

    Returns:
        The path of the committed card.

    Raises:
        InputError: A script failed.
    """
    folder = f"runs/{name}"
    training, evaluation = RECIPES[name]
    _run("training.train_lm", [*shlex.split(training), "--output-dir", folder, *start])
    _run("training.evaluate", [folder, *shlex.split(evaluation)])
    cards.write_card(ROOT / folder)
    for file, copy in (("results.json", f"{name}.json"), ("evaluation.json", f"{name}-evaluation.json")):
        write_text(cards.RESULTS / copy, (ROOT / folder / file).read_text(encoding="utf-8"))
    path = cards.CARDS / f"{name}.md"
    write_text(path, cards.committed(name))
    return path


@reported
def main(argv: list[str] | None = None) -> list[Path]:
    """Runs the command line and returns the paths of the cards."""
    parser = make_parser("training.report.recipes", __doc__)
    names = [*RECIPES, "all"]
    parser.add_argument("names", nargs="+", choices=names, metavar="NAME", help=f"models: {', '.join(names)}")
    parser.add_argument("--text", type=Path, help="file with tiny Shakespeare, for machines without access to the Hub")
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--resume", action="store_true", help="continue from a run's checkpoint")
    start.add_argument("--overwrite", action="store_true", help="start again in a folder that is not empty")
    args = parser.parse_args(argv)
    names = list(RECIPES) if "all" in args.names else args.names
    start_options = [f"--{name}" for name in ("resume", "overwrite") if getattr(args, name)]
    if any(SHAKESPEARE_FILE in RECIPES[name][0] for name in names):
        place_shakespeare(args.text)
    return [cook(name, start_options) for name in names]


if __name__ == "__main__":
    main()
