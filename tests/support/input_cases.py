# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Reads many kinds of input, and compares the result with what each input must give.

    PYTHONPATH=tests:. python -m support.input_cases    # writes tests/training/corpus/inputs.md; a test checks it

The inputs are functions in input_text_cases.py, input_file_cases.py, input_folder_cases.py, input_table_cases.py and
input_row_cases.py. Each writes files into an empty folder and returns an `Input`, which says how to read them and what must
come out. Its docstring describes the input.
"""

import os
import re
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from training.common.errors import InputError
from training.corpus.load import load_corpus
from training.corpus.options import TextOptions
from training.corpus.stream import load_stream

TABLE = Path(__file__).parents[1] / "training" / "corpus" / "inputs.md"
SECONDS = 60  # an input that takes longer is stuck, for example in a pipe that nobody writes to
NOBODY = 65534
SHOWN = 3  # file names in a cell
# Reasons in the words of Python or pyarrow, which change with their versions.
REASON = re.compile(r"((?:damaged|not valid)[^(]*) \([^)]*\)")


@dataclass(frozen=True)
class Input:
    """What to read, and what must come out.

    Attributes:
        dataset: Value of `--dataset`, in the folder of the input.
        options: Other fields of `TextOptions`.
        documents: The documents, in order. The last tenth of them is held out; of a single one, the last tenth of its text.
        train, heldout: The documents of the two sides, where the input says which are held out.
        refused: Pattern that the message of a refusal must match.
        streamed_refused: The same, for an input that is only refused as a stream.
        any_order: Whether the order of the documents is not specified.
        skipped: Names of the files that must be reported as skipped.
        noted: Pattern that one of the notes must match.
        unprivileged: Whether the input is read without the rights of root, which ignore permissions.
    """

    dataset: str
    documents: list[str] | None = None
    train: list[str] | None = None
    heldout: list[str] | None = None
    refused: str | None = None
    streamed_refused: str | None = None
    any_order: bool = False
    skipped: tuple[str, ...] = ()
    noted: str | None = None
    unprivileged: bool = False
    options: dict = field(default_factory=dict)

    def text_options(self) -> TextOptions:
        """Returns the options of the readers."""
        return TextOptions(dataset=self.dataset, **self.options)

    def arguments(self) -> list[str]:
        """Returns the options as arguments of a command line."""
        words = []
        for name, value in self.options.items():
            option = "--" + name.replace("_", "-")
            if isinstance(value, tuple):
                words += [option, *value]
            elif value is True:
                words.append(option)
            else:
                words.append(f"{option}={value}")
        return [f"--dataset={self.dataset}", *words]


@dataclass(frozen=True)
class Outcome:
    """What came out: documents and the report of the files, or the message of the refusal."""

    train: list[str] = field(default_factory=list)
    heldout: list[str] = field(default_factory=list)
    skipped: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    error: str | None = None


Builder = Callable[[Path], Input]
BUILDERS: dict[str, list[Builder]] = {}  # by section of the table


def section(title: str) -> Callable[[Builder], Builder]:
    """Returns a decorator that adds a builder to a section of the table."""

    def add(builder: Builder) -> Builder:
        BUILDERS.setdefault(title, []).append(builder)
        return builder

    return add


def write(path: Path, content: str | bytes) -> None:
    """Writes a file, and its folders. Line ends stay unchanged."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        content = content.encode()
    path.write_bytes(content)


@contextmanager
def input_folder() -> Iterator[Path]:
    """Makes an empty folder that every user can reach, and removes it at the end."""
    folder = Path(tempfile.mkdtemp(prefix="inputs-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        for path, folders, _ in os.walk(folder):
            for name in folders:
                child = Path(path, name)
                if not child.is_symlink():
                    child.chmod(0o755)
        shutil.rmtree(folder)


@contextmanager
def rights(unprivileged: bool) -> Iterator[None]:
    """Gives up the rights of root, which may read everything, for the time of a block."""
    lower = unprivileged and os.geteuid() == 0
    if lower:
        os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        if lower:
            os.setresuid(0, 0, 0)


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raises TimeoutError in a block that takes too long."""

    def stop(*_):
        raise TimeoutError(f"reading took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def read(input: Input, streamed: bool) -> Outcome:
    """Reads an input in the current folder."""
    stream = None
    try:
        with time_limit(SECONDS), rights(input.unprivileged):
            if streamed:
                corpus, stream = load_stream(input.text_options())
                train = list(islice(stream, 100_000))
            else:
                corpus = load_corpus(input.text_options())
                train = list(corpus.train)
            return Outcome(train, list(corpus.heldout), corpus.reading.skipped, corpus.reading.notes)
    except InputError as error:
        return Outcome(error=str(error))


def outcomes(builder: Builder) -> tuple[Input, Outcome, Outcome]:
    """Builds an input and reads it, first whole and then as a stream."""
    with input_folder() as folder, chdir(folder):
        input = builder(folder)
        return input, read(input, streamed=False), read(input, streamed=True)


def problems(input: Input, outcome: Outcome, streamed: bool) -> list[str]:
    """Compares an outcome with what the input must give. Returns the differences, one line each."""
    refused = input.refused
    if streamed and input.streamed_refused is not None:
        refused = input.streamed_refused
    if refused is not None:
        return refusal_problems(refused, outcome)
    if outcome.error is not None:
        return [f"refused: {outcome.error}"]
    found = []
    if input.documents is not None:
        found += default_split_problems(input, outcome, streamed)
    else:
        for side in ("train", "heldout"):
            want = getattr(input, side)
            got = getattr(outcome, side)
            if streamed and len(want) == 1:
                got = ["".join(got)]  # a stream cuts a single text
            if input.any_order:
                want = sorted(want)
                got = sorted(got)
            if got != want:
                found.append(f"{side} is {shortened(got)}, not {shortened(want)}")
    skipped = sorted(name for names in outcome.skipped.values() for name in names)
    if skipped != sorted(input.skipped):
        found.append(f"skipped {skipped}, not {sorted(input.skipped)}")
    if input.noted is not None and not any(re.search(input.noted, note) for note in outcome.notes):
        found.append(f"no note matches {input.noted!r}: {outcome.notes}")
    return found


def refusal_problems(pattern: str, outcome: Outcome) -> list[str]:
    """Checks that an outcome is a refusal in one line that matches a pattern."""
    if outcome.error is None:
        return [f"read {len(outcome.train)} + {len(outcome.heldout)} documents, must be refused: {pattern}"]
    if "\n" in outcome.error:
        return [f"the message has several lines: {outcome.error!r}"]
    if not re.search(pattern, outcome.error):
        return [f"the message does not match {pattern!r}: {outcome.error}"]
    return []


def default_split_problems(input: Input, outcome: Outcome, streamed: bool) -> list[str]:
    """Checks the documents of an input without a split of its own, and which of them are held out."""
    want = list(input.documents)
    if streamed:
        got = outcome.heldout + outcome.train  # a stream holds out its first documents
    else:
        got = outcome.train + outcome.heldout
    if not outcome.train or not outcome.heldout:
        return [f"a side is empty: {len(outcome.train)} + {len(outcome.heldout)} documents"]
    if len(want) == 1:
        # One document is cut in two. A stream may cut it into more pieces.
        got = ["".join(got)]
    elif not streamed:
        count = max(1, len(want) // 10)
        if len(outcome.heldout) != count:
            return [f"{len(outcome.heldout)} documents are held out, not {count}"]
    if input.any_order:
        got = sorted(got)
        want = sorted(want)
    if got != want:
        return [f"the documents are {shortened(got)}, not {shortened(want)}"]
    if len(want) == 1 and not streamed and len(outcome.train[0]) != int(len(want[0]) * 0.9):
        return [f"{len(outcome.train[0])} of {len(want[0])} characters are for training, not 90 %"]
    return []


def shortened(documents: list[str]) -> str:
    """Returns the number of documents and their beginnings."""
    beginnings = ", ".join(repr(document[:30]) for document in documents[:SHOWN])
    return f"{len(documents)} documents: {beginnings}"


# --- the table ---------------------------------------------------------------------------------------------------------


def cell(text: str) -> str:
    """Returns text that stays in one cell of a table."""
    printable = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
    return printable.replace("|", "\\|")


def listed(names: list[str]) -> str:
    """Returns some file names and the number of the others.

    >>> listed(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    shown = ", ".join(names[:SHOWN])
    rest = len(names) - SHOWN
    return f"{shown} and {rest} more" if rest > 0 else shown


def outcome_text(outcome: Outcome) -> str:
    """Returns the text of an outcome in the table."""
    if outcome.error is not None:
        message = REASON.sub(r"\1 (...)", outcome.error)
        return cell(f"refused: {message}")
    characters = sum(map(len, outcome.train)) + sum(map(len, outcome.heldout))
    parts = [f"{len(outcome.train):,} + {len(outcome.heldout):,} documents, {characters:,} characters"]
    for reason, names in outcome.skipped.items():
        parts.append(f"skipped {len(names)} ({reason}): {listed(names)}")
    parts += outcome.notes
    return cell("; ".join(parts))


def table_rows() -> dict[str, list[tuple[str, Input, Outcome, Outcome]]]:
    """Reads every input. Returns the rows of the table by section."""
    rows = {}
    for title, builders in load_builders().items():
        rows[title] = [(builder.__doc__.strip(), *outcomes(builder)) for builder in builders]
    return rows


def load_builders() -> dict[str, list[Builder]]:
    """Returns the builders of all modules by section."""
    from support import input_folder_cases, input_row_cases  # noqa: F401  (these and those that they import fill BUILDERS)

    return BUILDERS


def render(rows: dict[str, list[tuple[str, Input, Outcome, Outcome]]]) -> str:
    """Returns the text of inputs.md."""
    number = sum(map(len, rows.values()))
    lines = [
        "# Inputs of the training scripts",
        "",
        f"The results of reading {number} inputs. A cell gives the number of training and of held-out documents, what was",
        "skipped, and the notes, or the message of a refusal. `streamed` is with `--streaming`.",
        "",
        "The command `PYTHONPATH=tests:. python -m support.input_cases` writes this page. `test_inputs.py` checks it, and also",
        "compares the documents of each input with the expected ones.",
    ]
    for title, entries in rows.items():
        lines += ["", f"## {title}", "", "| input | arguments | not streamed | streamed |", "| :-- | :-- | :-- | :-- |"]
        for description, input, whole, streamed in entries:
            words = cell(" ".join(input.arguments()))
            same = outcome_text(streamed)
            if streamed.error is not None and streamed.error == whole.error:
                same = "same"
            lines.append(f"| {cell(description)} | `{words}` | {outcome_text(whole)} | {same} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    # The builders register in the module that they import, which is not __main__.
    from support import input_cases

    input_cases.TABLE.write_text(input_cases.render(input_cases.table_rows()), encoding="utf-8")
