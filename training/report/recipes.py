# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Trains the models whose results and cards are committed, with the arguments of their training.

    python -m training.report.recipes stdlib-mingru
    python -m training.report.recipes shakespeare-mingru shakespeare-minlstm --text tinyshakespeare.txt
    python -m training.report.recipes all

Each is train_lm.py and then evaluate.py, with the arguments below, in runs/NAME; what they measured is copied to
training/results/NAME.json and NAME-evaluation.json, and model_cards/NAME.md is rendered from that. The text of Shakespeare
comes from the Hub, or with --text from a file, and is the same to the byte either way. The committed results are from before
tokenizers had a padding token, so a run of today gives slightly different ones.
"""

from __future__ import annotations

import argparse
import hashlib
import shlex
import subprocess
import sys
from pathlib import Path

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

from training.common.errors import InputError
from training.common.files import write_text
from training.common.paths import ROOT
from training.lm.corpus import SHAKESPEARE, read_shakespeare
from training.report import cards

SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
SHAKESPEARE_FILE = "runs/tinyshakespeare.txt"  # below the repository's root, where everything is run

_TEXT = f"--dataset {SHAKESPEARE_FILE} --dataset-name {SHAKESPEARE}"
_MODEL = "--num-hidden-layers 4 --hidden-size 128 --sequence-length 256 --batch-size 8 --schedule cosine --seed 0"
_STDLIB = f"--dataset stdlib --tokenizer bpe --vocab-size 2048 {_MODEL} --learning-rate 1e-2 --minutes 5"
_SHAKESPEARE = f"{_TEXT} --tokenizer chars {_MODEL} --learning-rate 5e-3 --dropout 0.1 --steps 1500"
# What train_lm.py and evaluate.py are given, in full, so that their defaults may change.
RECIPES = {
    "stdlib-mingru": (f"{_STDLIB} --cell-type mingru", "--dataset stdlib"),
    "stdlib-minlstm": (f"{_STDLIB} --cell-type minlstm", "--dataset stdlib"),
    "shakespeare-mingru": (f"{_SHAKESPEARE} --cell-type mingru", _TEXT),
    "shakespeare-minlstm": (f"{_SHAKESPEARE} --cell-type minlstm", _TEXT),
}


def place_shakespeare(given: Path | None) -> Path:
    """Puts the text where the recipes read it, unless it lies there.

    Args:
        given (`Path`, *optional*): A file with it; `None` for the Hub.

    Raises:
        InputError: There is no such text, or it is another one.
    """
    path = ROOT / SHAKESPEARE_FILE
    if given is None and path.exists():
        given = path
    text = read_shakespeare(given)
    found = hashlib.sha256(text.encode()).hexdigest()
    if found != SHAKESPEARE_SHA256:
        raise InputError(
            f"{given or SHAKESPEARE} has SHA-256 {found[:16]}... and not {SHAKESPEARE_SHA256[:16]}...: give the whole "
            f"text of {SHAKESPEARE} by --text, its line ends untouched"
        )
    if given != path:
        write_text(path, text)
    return path


def _run(module: str, arguments: list[str]) -> None:
    """A script in a process of its own: memory is measured in fresh ones, and the results name the command as typed."""
    print(shlex.join(["python", "-m", module, *arguments]), flush=True)
    done = subprocess.run([sys.executable, "-m", module, *arguments], cwd=ROOT)
    if done.returncode:
        raise InputError(f"{module} ended with status {done.returncode}, see above; no results were copied")


def cook(name: str, start: list[str]) -> Path:
    """Trains and measures one model, copies its results and renders its card, in its folder and among the committed ones.

    Args:
        name (`str`): A key of `RECIPES`.
        start (`list[str]`): `--resume` or `--overwrite`, or nothing.

    Returns:
        The path of the committed card.

    Raises:
        InputError: A script failed.
    """
    folder, (training, evaluation) = f"runs/{name}", RECIPES[name]
    _run("training.train_lm", [*shlex.split(training), "--output-dir", folder, *start])
    _run("training.evaluate", [folder, *shlex.split(evaluation)])
    cards.write_card(ROOT / folder)
    for file, copy in (("results.json", f"{name}.json"), ("evaluation.json", f"{name}-evaluation.json")):
        write_text(cards.RESULTS / copy, (ROOT / folder / file).read_text(encoding="utf-8"))
    path = cards.CARDS / f"{name}.md"
    write_text(path, cards.committed(name))
    return path


def main(argv: list[str] | None = None) -> list[Path]:
    """Runs the command line; returns the paths of the cards.

    Raises:
        SystemExit: Bad input, with a message that names it and the remedy, or a script that failed.
    """
    parser = argparse.ArgumentParser(prog="python -m training.report.recipes", description=__doc__.splitlines()[0])
    parser.add_argument(
        "names", nargs="+", choices=[*RECIPES, "all"], metavar="NAME", help=", ".join([*RECIPES, "all"])
    )
    parser.add_argument("--text", type=Path, help="a file with tiny Shakespeare, where the Hub can't be reached")
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--resume", action="store_true", help="go on from a run's checkpoint")
    start.add_argument("--overwrite", action="store_true", help="start again in a folder that is not empty")
    args = parser.parse_args(argv)
    names = list(RECIPES) if "all" in args.names else args.names
    paths = []
    try:
        if any(SHAKESPEARE_FILE in RECIPES[name][0] for name in names):
            place_shakespeare(args.text)
        for name in names:
            paths.append(cook(name, [f"--{word}" for word in ("resume", "overwrite") if getattr(args, word)]))
    except InputError as error:
        raise SystemExit(f"training.report.recipes: {error}") from None
    return paths


if __name__ == "__main__":
    main()
