# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Trains three steps on folders of real text: documentation, dictionaries, translations, sources and data of packages.

    python -m training.studies.real_folders --cache folders     # some minutes; writes training/results/real_folders.json

Debian packages are downloaded with apt-get and unpacked with dpkg, without being installed. Packages of PyPI are downloaded
with pip. A folder that is refused is read again with the remedy that the message names. Each folder is read whole and as a
stream.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import runpy
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib import metadata
from itertools import chain
from multiprocessing.connection import Connection
from pathlib import Path

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

from training.common.command_line import folder as folder_type
from training.common.command_line import make_parser, reported, result_file
from training.common.errors import InputError, first_line
from training.common.files import write_json
from training.common.machine import provenance
from training.common.paths import RESULTS
from training.corpus.load import load_corpus
from training.corpus.options import TextOptions, add_text_options
from training.corpus.stream import load_stream

MODULE = "training.studies.real_folders"
SCRIPT = "training.train_lm"
STEPS = 3
# A model that is small enough for a folder of some megabytes to take seconds.
TINY = ["--hidden-size", "8", "--num-hidden-layers", "1", "--intermediate-size", "16", "--tokenizer", "bytes"]
TINY += ["--batch-size", "2", "--sequence-length", "64", "--steps", str(STEPS), "--samples", "0", "--no-baselines"]
TINY += ["--eval-every", "1"]
SAMPLE = 48  # characters


@dataclass(frozen=True)
class Folder:
    """A folder of a package.

    Attributes:
        source (`str`): `debian`, `pypi`, or `installed` for a package of this Python; with the package `stdlib`, the standard
            library.
        package (`str`): Name of the package.
        path (`str`): The folder in the package.
        options (`tuple[str, ...]`): Options of the first attempt.
        refused (`str`, *optional*): Pattern of the message if the folder is refused.
        remedy (`tuple[str, ...]`): Options that the message names, with which the folder is read then.
    """

    source: str
    package: str
    path: str
    options: tuple[str, ...] = ()
    refused: str | None = None
    remedy: tuple[str, ...] = ()


FOLDERS = (
    # manual pages and documentation
    Folder("debian", "manpages", "usr/share/man/man7"),
    Folder("debian", "manpages-fr", "usr/share/man/fr"),
    Folder("debian", "manpages-ja", "usr/share/man/ja"),
    Folder("debian", "doc-debian", "usr/share/doc"),
    Folder("debian", "debian-faq", "usr/share/doc/debian"),
    Folder("debian", "debian-reference-ja", "usr/share/debian-reference"),
    Folder("debian", "python3.11-doc", "usr/share/doc/python3.11/html/_sources/library"),
    # dictionaries and word lists
    Folder(
        "debian",
        "wswedish",
        "usr/share/dict",
        refused="swedish .not UTF-8 at byte 219, probably cp1252",
        remedy=("--encoding", "cp1252"),
    ),
    Folder("debian", "wspanish", "usr/share/dict"),
    Folder("debian", "dict-jargon", "usr/share/dictd"),
    Folder("debian", "hunspell-ru", "usr/share/hunspell", options=("--include", "*.aff")),
    Folder(
        "debian",
        "hunspell-pl",
        "usr/share/hunspell",
        options=("--include", "*.aff"),
        refused="1 file cannot be decoded: pl_PL.aff .*probably iso8859_2",
        remedy=("--encoding", "iso8859_2"),
    ),
    Folder(
        "debian",
        "hunspell-el",
        "usr/share/hunspell",
        options=("--include", "*.aff"),
        refused="1 file cannot be decoded: el_GR.aff .*probably cp1253",
        remedy=("--encoding", "cp1253"),
    ),
    Folder(
        "debian",
        "kanjidic",
        "usr/share/edict",
        refused="kanjidic .*probably euc_jp",
        remedy=("--encoding", "euc_jp"),
    ),
    Folder(
        "debian",
        "skkdic",
        "usr/share/skk",
        refused="SKK-JISYO.L .*probably euc_jp",
        remedy=("--encoding", "euc_jp"),
    ),
    # quotations, with indexes and several names of each file
    Folder("debian", "fortunes-ru", "usr/share/games/fortunes"),
    # sources, and texts in several encodings
    Folder("debian", "perl-modules-5.36", "usr/share/perl/5.36.0/Unicode"),
    Folder("debian", "node-lodash", "usr/share/nodejs/lodash"),
    Folder("debian", "xkb-data", "usr/share/X11/xkb"),
    Folder("debian", "libx11-data", "usr/share/X11/locale"),
    Folder(
        "debian",
        "latex-cjk-chinese",
        "usr/share/doc/latex-cjk-common",
        refused="7 files cannot be decoded.*convert them to UTF-8, since a single --encoding does not fit",
        remedy=(
            "--exclude",
            "chinese/READMEb5.tex.gz",
            "chinese/READMEgb.tex",
            "chinese/emTeXb5.txt.gz",
            "chinese/teTeXb5.txt.gz",
            "examples/Big5.tex",
            "examples/Big5vert.tex",
            "examples/GB.tex",
        ),
    ),
    Folder(
        "debian",
        "emacs-el",
        "usr/share/emacs/28.2/lisp/language",
        refused="5 files cannot be decoded: ethio-util.el.gz",
        remedy=(
            "--exclude",
            "ethio-util.el.gz",
            "ethiopic.el.gz",
            "ind-util.el.gz",
            "tibet-util.el.gz",
            "tibetan.el.gz",
        ),
    ),
    # data
    Folder("debian", "ca-certificates", "usr/share/ca-certificates"),
    Folder("debian", "tzdata", "usr/share/zoneinfo"),
    Folder("debian", "bible-kjv-text", "usr"),
    Folder("debian", "unicode-data", "usr/share/unicode/auxiliary"),
    Folder(
        "debian",
        "iso-codes",
        "usr/share/iso-codes/json",
        refused="has no column 'text'",
        remedy=("--plain-text",),
    ),
    Folder(
        "debian",
        "ieee-data",
        "usr/share/ieee-data",
        options=("--include", "*.csv"),
        refused="csv has no column 'text': choose --text-column from Registry, Assignment, Organization Name",
        remedy=("--text-column", "Organization Name"),
    ),
    # packages of PyPI
    Folder("pypi", "django", "django/conf/locale"),
    Folder("pypi", "babel", "babel"),
    Folder("pypi", "faker", "faker/providers/person"),
    Folder(
        "pypi",
        "vega_datasets",
        "vega_datasets/_data",
        refused="has no column 'text': choose --text-column from .*--plain-text",
        remedy=("--plain-text",),
    ),
    Folder(
        "pypi",
        "statsmodels",
        "statsmodels/datasets",
        refused="2 files cannot be decoded: scotland/src/scotland_economics.html .*probably cp1252",
        remedy=("--encoding", "cp1252"),
    ),
    # packages that are installed with this one
    Folder("installed", "stdlib", "email"),
    Folder("installed", "stdlib", "idlelib"),
    Folder("installed", "pip", "pip/_vendor/rich"),
    Folder("installed", "numpy", "numpy/lib"),
    Folder("installed", "matplotlib", "matplotlib/mpl-data"),
    Folder("installed", "transformers", "transformers/models/llama"),
    Folder("installed", "torch", "torch/nn/modules"),
    Folder("installed", "pyarrow", "pyarrow/include/arrow/io"),
    Folder("installed", "datasets", "datasets"),
    Folder("installed", "certifi", "certifi"),
)
Train = Callable[[list[str]], object]


# --- packages --------------------------------------------------------------------------------------------------------


def obtain(folder: Folder, cache: Path) -> tuple[Path, str]:
    """Returns the root of an unpacked package, and its version. What is in the cache is not downloaded again.

    Raises:
        InputError: The package cannot be downloaded.
    """
    if folder.source == "installed":
        return installed(folder.package)
    root = cache.resolve() / folder.source / folder.package
    version = root.parent / f"{folder.package}.version"
    if not version.exists():
        shutil.rmtree(root, ignore_errors=True)
        with tempfile.TemporaryDirectory() as downloads:
            found = {"debian": unpack_debian, "pypi": unpack_wheel}[folder.source](folder.package, downloads, root)
        version.write_text(found, encoding="utf-8")
    return root, version.read_text(encoding="utf-8")


def installed(package: str) -> tuple[Path, str]:
    """Returns the folder that holds an installed package, or the standard library, and the version.

    Raises:
        InputError: It is not installed.
    """
    if package == "stdlib":
        return Path(sysconfig.get_paths()["stdlib"]), ".".join(map(str, sys.version_info[:3]))
    try:
        found = metadata.distribution(package)
    except metadata.PackageNotFoundError:
        raise InputError(f"the package {package} is not installed: install it") from None
    # Not importlib.util.find_spec: to look for pip by it makes setuptools take the distutils of the standard library.
    return Path(str(found.locate_file(""))), found.version


def unpack_debian(package: str, downloads: str, root: Path) -> str:
    """Downloads and unpacks a Debian package. Returns its version."""
    run_tool(["apt-get", "download", package], downloads)
    (archive,) = Path(downloads).glob("*.deb")
    root.mkdir(parents=True)
    run_tool(["dpkg", "-x", str(archive), str(root)], downloads)
    return archive.name.split("_")[1].replace("%3a", ":")


def unpack_wheel(package: str, downloads: str, root: Path) -> str:
    """Downloads and unpacks a wheel of PyPI. Returns its version."""
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--quiet"]
    run_tool([*pip, "--dest", downloads, package], downloads)
    (wheel,) = Path(downloads).glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(root)
    return wheel.name.split("-")[1]


def run_tool(command: list[str], where: str) -> None:
    """Runs a program in a folder.

    Raises:
        InputError: It is not there, or fails.
    """
    try:
        subprocess.run(command, cwd=where, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise InputError(f"{command[0]} is not installed: run this on a Debian system") from None
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(f"{' '.join(command[:2])} {command[-1]} failed: {reason}") from None


# --- outcomes --------------------------------------------------------------------------------------------------------


def train_in_new_process(arguments: list[str]) -> None:
    """Runs the training script in a new process, which is forked from one that has loaded its packages.

    Raises:
        SystemExit: The script ended with an error; with its message.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([SCRIPT])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=run_script, args=(arguments, sender))
    process.start()
    sender.close()
    try:
        message = receiver.recv()
    except EOFError:
        message = f"{SCRIPT}: the process ended without a message"
    process.join()
    if message:
        raise SystemExit(message)


def run_script(arguments: list[str], sender: Connection) -> None:
    """Runs the training script in this process, without its output. Sends the message of an error, or an empty one."""
    message = ""
    sys.argv = [SCRIPT, *arguments]
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        try:
            runpy.run_module(SCRIPT, run_name="__main__", alter_sys=True)
        except SystemExit as stopped:
            message = str(stopped.code)
        except Exception as error:
            message = f"{SCRIPT}: {type(error).__name__}: {first_line(error)}"
    sender.send(message)


def outcome(folder: Folder, root: Path, streaming: bool, train: Train = train_in_new_process) -> dict:
    """Trains on a folder, with the remedy if it is refused.

    Args:
        root (`Path`): Root of the package.
        train: Function that takes the arguments of the training script, and raises SystemExit if it refuses them.

    Returns:
        The outcome of `attempt`. After a refusal, `remedy` has the options of the second attempt and `then` its outcome.
    """
    found = attempt(folder, root, folder.options, streaming, train)
    if found["outcome"] == "refused" and folder.remedy:
        found["remedy"] = list(folder.remedy)
        found["then"] = attempt(folder, root, (*folder.options, *folder.remedy), streaming, train)
    return found


def attempt(folder: Folder, root: Path, options: Sequence[str], streaming: bool, train: Train) -> dict:
    """Trains on a folder. Returns what was read, or the message of the refusal."""
    arguments = ["--dataset", folder.path, *options, *(["--streaming"] if streaming else [])]
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as output, chdir(root):
        try:
            train([*arguments, *TINY, "--output-dir", str(Path(output, "run"))])
        except SystemExit as stopped:
            return {"outcome": "refused", "message": str(stopped.code).partition(": ")[2]}
        seconds = time.perf_counter() - start
        return {"outcome": "trained", **what_was_read(arguments, streaming), "seconds": round(seconds, 1)}


def what_was_read(arguments: list[str], streaming: bool) -> dict:
    """Reads a source in the current folder, and describes the documents and the files."""
    options = text_options([word for word in arguments if word != "--streaming"])
    if streaming:
        corpus, stream = load_stream(options)
        heldout = corpus.heldout
        train = stream
    else:
        corpus = load_corpus(options)
        heldout = corpus.heldout
        train = corpus.train
    sizes = [len(document) for document in train]
    reading = corpus.reading
    return {
        "documents": [len(sizes), len(heldout)],
        "characters": sum(sizes) + sum(map(len, heldout)),
        "skipped": {reason: len(names) for reason, names in reading.skipped.items()},
        "notes": reading.notes,
        "sample": sample(chain(corpus.train, heldout)),
    }


def text_options(arguments: list[str]) -> TextOptions:
    """Returns the options of the readers from those of the training script."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--dataset")
    add_text_options(parser)
    return TextOptions.from_args(parser.parse_args(arguments))


def sample(documents) -> str:
    """Returns the beginning of a line, one with letters outside ASCII if there is one. It shows wrong encodings.

    >>> sample(["first\\nsecond", "ein schöner Tag"]), sample(["\\n\\nfirst", "second"])
    ('ein schöner Tag', 'first')
    """
    first = ""
    for document in documents:
        for line in document.splitlines():
            words = " ".join(line.split())
            if "@" in words:  # addresses of people
                continue
            first = first or words
            found = re.search(r"[^\W\d_\x00-\x7f]", words)
            if found:
                begin = max(0, found.start() - SAMPLE // 2)
                return words[begin : begin + SAMPLE]
    return first[:SAMPLE]


def describe(found: dict) -> str:
    """Returns one line about an outcome, for the terminal."""
    if found["outcome"] == "refused":
        after = describe(found["then"]) if "then" in found else "no remedy"
        return f"refused: {found['message']}; then {after}"
    train, heldout = found["documents"]
    return f"{train:,} + {heldout:,} documents in {found['seconds']} s: {found['sample']}"


def row_key(row: dict) -> tuple[str, str]:
    """Returns the package and the folder of a row of the result file."""
    return row["package"], row["folder"]


def measure(folder: Folder, cache: Path) -> dict:
    """Returns the row of a folder."""
    root, version = obtain(folder, cache)
    row = {"source": folder.source, "package": folder.package, "version": version, "folder": folder.path}
    row["options"] = list(folder.options)
    for mode, streaming in (("whole", False), ("streamed", True)):
        row[mode] = outcome(folder, root, streaming)
        print(f"{folder.package} ({mode}): {describe(row[mode])}", flush=True)
    return row


@reported
def main(argv: list[str] | None = None) -> dict:
    """Trains on every folder and writes the result file; returns what it wrote."""
    parser = make_parser(MODULE, __doc__)
    parser.add_argument(
        "--cache",
        type=folder_type,
        required=True,
        help="folder for the packages; what is there is not downloaded again",
    )
    parser.add_argument(
        "--packages",
        nargs="+",
        default=[],
        metavar="NAME",
        help="only these packages; the result file keeps the others",
    )
    parser.add_argument("--output", type=result_file, default=RESULTS / "real_folders.json", help="result file")
    args = parser.parse_args(argv)
    words = sys.argv[1:] if argv is None else argv
    shown = ["folders" if word == str(args.cache) else word for word in words]  # the folder exists on this machine only
    kept = {}
    if args.packages and args.output.exists():
        kept = {row_key(row): row for row in json.loads(args.output.read_text(encoding="utf-8"))["folders"]}
    result = {**provenance(MODULE, shown), "steps": STEPS, "folders": []}
    for folder in FOLDERS:
        if not args.packages or folder.package in args.packages:
            row = measure(folder, args.cache)
        else:
            row = kept.get((folder.package, folder.path))
        if row:
            result["folders"].append(row)
            write_json(args.output, result)
    print(f"wrote {args.output}")
    return result


if __name__ == "__main__":
    main()
