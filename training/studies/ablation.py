# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Measures how much each option of the block improves it, at equal parameters, steps and tokens.

    python -m training.studies.ablation bytes --plan                       # what would run, and how long it takes here
    python -m training.studies.ablation bytes --minutes 50                 # the standard library's bytes; repeat to continue
    python -m training.studies.ablation bpe
    python -m training.studies.ablation shakespeare --text shakespeare.txt

There are two stages. First every variant (the paper's block and the default with one option more or less) is trained once at
each of three learning rates, and at twice the highest or half the lowest as long as that one is the best. For `bpe` and
`shakespeare` only the finalists are, unless `--all-variants` asks for more. The finalists are the paper's block, the default,
the default without each of its options, and the best other variant. In the second stage they are trained with two more seeds
at their best rate. One half of the held-out text chooses the rates, the other one is reported. `--only` takes some variants
through both stages.

The result file, training/results/ablation_<corpus>.json, is written after each run; runs that it has are not made again.
`--minutes` ends after the run in progress. Several processes may fill one file, each with `--only` variants of its own.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from training.common import experiment
from training.common.command_line import make_parser, positive, positive_int, reported, result_file, whole
from training.common.errors import InputError
from training.common.machine import provenance
from training.common.paths import RESULTS
from training.common.result_store import ResultStore, origin
from training.common.schedule import learning_rate_factor
from training.common.timing import settings
from training.common.weight_decay import parameter_groups
from training.corpus.load import load_corpus
from training.corpus.options import TextOptions
from training.lm.batches import draw_windows
from training.lm.evaluation import stream_nats
from training.lm.tokenization import TokenStream, build_tokenizer, encode_documents, vocabulary_size
from training.studies.ablation_results import best_rates, draw, summary
from training.studies.ablation_variants import DEFAULT, FINALISTS, PAPER, VARIANTS, fit, make_model

CORPORA = {"bytes": "bytes", "bpe": "bpe", "shakespeare": "chars"}  # name -> kind of tokenizer
# Settings that two comparable runs share; a result file holds runs of one setting only.
SETTINGS = ("steps", "batch_size", "sequence_length", "hidden_size", "layers", "vocab_size", "sweep_seed")
RATES = [2.5e-3, 5e-3, 1e-2]  # peak learning rates that every variant is tried with
WEIGHT_DECAY = 0.1
BETAS = (0.9, 0.95)
GRAD_CLIP = 1.0
LAST = 50  # number of steps whose mean loss is reported as the training loss
TIMED_STEPS = 6  # steps by which a plan estimates the time


@dataclass(frozen=True)
class Run:
    """One training run: a name of `VARIANTS`, the peak learning rate, and the seed of the weights and the order of the data."""

    variant: str
    rate: float
    seed: int

    @property
    def key(self) -> str:
        """Key of the run in the result file.

        >>> Run("paper", 5e-3, 0).key
        'paper, rate 0.005, seed 0'
        """
        return f"{self.variant}, rate {self.rate:g}, seed {self.seed}"


@dataclass(frozen=True)
class Text:
    """A corpus as tokens: the training text and the two halves of the held-out text."""

    tokenizer: PreTrainedTokenizerBase
    train: TokenStream
    validation: TokenStream
    test: TokenStream

    @property
    def digest(self) -> str:
        """SHA-256 of all tokens: runs on different texts must not share a table."""
        found = hashlib.sha256()
        for stream in (self.train, self.validation, self.test):
            found.update(f"{len(stream.ids)} {stream.ids.dtype} ".encode() + stream.ids.tobytes())
        return found.hexdigest()


# --- data ------------------------------------------------------------------------------------------------------------


def halves(documents: list[str]) -> tuple[list[str], list[str]]:
    """Returns the first and the second half of all characters; the document in the middle is cut in two.

    >>> halves(["ab", "cdef"])
    (['ab', 'c'], ['def'])
    """
    left = sum(map(len, documents)) // 2
    first: list[str] = []
    for number, document in enumerate(documents):
        if len(document) >= left:
            rest = [document[left:], *documents[number + 1 :]]
            return [*first, *filter(None, [document[:left]])], [*filter(None, rest)]
        first.append(document)
        left -= len(document)
    return first, []


def load_text(corpus: str, path: str | None, vocab_size: int) -> Text:
    """Reads and tokenizes a corpus of `CORPORA`.

    Raises:
        InputError: `shakespeare` has no path, or the path cannot be read.
    """
    if (corpus == "shakespeare") != (path is not None):
        raise InputError(f"{corpus} {'needs' if path is None else 'takes no'} --text FILE: only shakespeare is a file")
    found = load_corpus(TextOptions(path or "stdlib"))
    # Nothing is padded here; without a padding token new runs have the vocabulary of the committed ones.
    tokenizer = build_tokenizer(CORPORA[corpus], found.train, vocab_size, padding=False)
    parts = (found.train, *halves(found.heldout))
    return Text(tokenizer, *(encode_documents(tokenizer, part) for part in parts))


# --- one run ---------------------------------------------------------------------------------------------------------


def train(model: nn.Module, text: Text, options: argparse.Namespace, rate: float, seed: int) -> experiment.Run:
    """Trains in place; returns the finished run, with the loss of every step in nats per token."""

    def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        rows = draw_windows(text.train.ids, options.sequence_length, options.batch_size, seed, step)
        return torch.from_numpy(rows[:, :-1]), torch.from_numpy(rows[:, 1:].copy())

    def loss(model: nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return model(input_ids=inputs, labels=targets, shift_labels=targets, use_cache=False).loss

    # The same rule for all variants: the gates decay, although those of the paper do not, as that is no property of a block.
    groups = parameter_groups(model, WEIGHT_DECAY, gates_decay=True)
    run = experiment.Run(
        model,
        torch.optim.AdamW(groups, lr=rate, betas=BETAS, fused=True),
        steps=options.steps,
        batch=batch,
        loss=loss,
        learning_rate=lambda step: rate * learning_rate_factor((step + 0.5) / options.steps),
        clip=GRAD_CLIP,
    )
    run.train()
    return run


def measure_run(run: Run, text: Text, options: argparse.Namespace) -> dict:
    """Trains and evaluates one run; returns its entry of the result file. Bits per byte are `None` if it diverged."""
    chosen = VARIANTS[run.variant]
    config, parameters = fit(chosen, vocabulary_size(text.tokenizer), options.hidden_size, options.layers)
    model = make_model(config, chosen, run.seed, options.sequence_length)
    begin = time.perf_counter()
    training = train(model, text, options, run.rate, run.seed)
    train_seconds = time.perf_counter() - begin
    losses = training.losses
    diverged = training.diverged
    last = losses[-LAST:]
    bits = {"validation": None, "test": None}
    if not diverged:
        for name, stream in (("validation", text.validation), ("test", text.test)):
            bits[name] = stream.bits_per_byte(stream_nats(model, stream.ids))
    tokens = len(losses) * options.batch_size * options.sequence_length
    return {
        "variant": run.variant,
        "rate": run.rate,
        "seed": run.seed,
        "parameters": parameters,
        "intermediate_size": config.intermediate_size,
        "steps": len(losses),
        "tokens": tokens,
        "diverged": diverged,
        "train_nats_per_token": None if diverged else sum(last) / len(last),
        "validation_bits_per_byte": bits["validation"],
        "test_bits_per_byte": bits["test"],
        "train_seconds": train_seconds,
        "seconds": time.perf_counter() - begin,
        "tokens_per_second": tokens / train_seconds,
        **origin(),
    }


# --- which runs ------------------------------------------------------------------------------------------------------


def rates_to_try(name: str, results: dict, options: argparse.Namespace) -> list[float]:
    """Returns the rates of `--rates`; without it `RATES`, those tried, and one beyond the end if the best rate is there."""
    if options.rates:
        return options.rates
    swept = [r for r in results["runs"].values() if r["variant"] == name and r["seed"] == options.sweep_seed]
    rates = sorted({*RATES, *(row["rate"] for row in swept)})
    best = best_rates(results).get(name)
    if best is None or any(Run(name, rate, options.sweep_seed).key not in results["runs"] for rate in rates):
        return rates
    if best["rate"] == rates[-1]:
        rates = [*rates, 2 * rates[-1]]
    if best["rate"] == rates[0]:
        rates = [*rates, rates[0] / 2]
    return rates


def sweep_runs(results: dict, options: argparse.Namespace) -> list[Run]:
    """Returns the runs of the first stage: one seed at each rate. Finalists come first, so that they are complete early."""
    every = options.all_variants or options.corpus == "bytes"
    names = options.only or [*FINALISTS, *(name for name in VARIANTS if name not in FINALISTS and every)]
    return [Run(name, rate, options.sweep_seed) for name in names for rate in rates_to_try(name, results, options)]


def seed_runs(results: dict, options: argparse.Namespace) -> list[Run]:
    """Returns the runs of the second stage, the finalists' other seeds at their best rate; none until the first is complete."""
    if any(run.key not in results["runs"] for run in sweep_runs(results, options)):
        return []
    rates = best_rates(results)  # lacks variants that diverged at every rate
    best = min(rates, key=lambda name: rates[name]["validation_bits_per_byte"], default=None)
    names = dict.fromkeys(options.only or [*FINALISTS, best])
    return [Run(name, rates[name]["rate"], seed) for name in names if name in rates for seed in options.seeds[1:]]


def missing(results: dict, options: argparse.Namespace) -> list[Run]:
    """Returns the runs that are left, as far as they are known."""
    runs = [*sweep_runs(results, options), *seed_runs(results, options)]
    return [run for run in runs if run.key not in results["runs"]]


def seconds_per_run(text: Text, options: argparse.Namespace) -> float:
    """Estimates the seconds of a run by a few steps of the paper's block and of the default, and some held-out text."""
    heldout = len(text.validation.ids) + len(text.test.ids)
    seconds = []
    for name in (PAPER, DEFAULT):
        config, _ = fit(VARIANTS[name], vocabulary_size(text.tokenizer), options.hidden_size, options.layers)
        model = make_model(config, VARIANTS[name], 0, options.sequence_length)
        short = argparse.Namespace(**{**vars(options), "steps": 1})
        train(model, text, short, 1e-3, 0)  # the first call compiles
        short.steps = TIMED_STEPS
        begin = time.perf_counter()
        train(model, text, short, 1e-3, 0)
        trained = time.perf_counter()
        ids = text.test.ids[: 4 * options.sequence_length + 1]
        stream_nats(model, ids)
        per_token = (time.perf_counter() - trained) / (len(ids) - 1)
        seconds.append((trained - begin) / TIMED_STEPS * options.steps + heldout * per_token)
    return sum(seconds) / len(seconds)


def plan(results: dict, text: Text, options: argparse.Namespace) -> str:
    """Returns lines with the runs of both stages, how many are done, and the hours that the rest takes on this machine."""
    done = [row["seconds"] for row in results["runs"].values()]
    if done:
        each = sum(done) / len(done)
        source = f"the mean of {len(done)} runs"
    else:
        each = seconds_per_run(text, options)
        source = "measured now"

    def line(stage: str, runs: list[Run], number: int, about: str = "") -> str:
        left = number - sum(run.key in results["runs"] for run in runs)
        return f"{stage}: {about}{number} runs, {left} left, {about}{left * each / 3600:.1f} h"

    first = sweep_runs(results, options)
    second = seed_runs(results, options)
    lines = [
        f"{options.corpus}: {each:.0f} s a run on {torch.get_num_threads()} thread(s), {source}",
        line("sweep", first, len(first)),
    ]
    if second:
        lines.append(line("seeds", second, len(second)))
    else:  # the finalists are not known yet: at most these, and one more variant
        finalists = len(options.only) or len(FINALISTS) + 1
        lines.append(line("seeds", [], finalists * len(options.seeds[1:]), "at most "))
    return "\n".join(lines)


# --- command line ----------------------------------------------------------------------------------------------------


def open_results(options: argparse.Namespace, argv: list[str] | None, digest: str) -> ResultStore:
    """Returns the result file.

    Raises:
        InputError: Its runs were made with other settings, or with a text that has another digest.
    """
    settings = {"corpus": options.corpus, "text": digest, **{name: getattr(options, name) for name in SETTINGS}}
    words = sys.argv[1:] if argv is None else argv
    if options.text:  # the name of the file is enough, its folder exists on this machine only
        words = [word.replace(options.text, Path(options.text).name) for word in words]
    return ResultStore(options.output, provenance("training.studies.ablation", words), "runs", settings)


def check_length(text: Text, sequence_length: int) -> None:
    """Raises InputError if the text is too short for one window, or for a part of the evaluation."""
    heldout = [len(text.validation.ids), len(text.test.ids)]
    if len(text.train.ids) <= sequence_length or min(heldout) < 2:
        raise InputError(
            f"a text of {len(text.train.ids)} tokens, and {heldout[0]} and {heldout[1]} held out, is too short for "
            f"--sequence-length {sequence_length}: give a longer one"
        )


def run_missing(text: Text, store: ResultStore, options: argparse.Namespace) -> None:
    """Makes the missing runs until the minutes are over."""
    begin = time.monotonic()
    left = missing(store.value, options)
    while left:
        row = measure_run(left[0], text, options)
        store.add(left[0].key, row)
        bits = "diverged" if row["diverged"] else f"{row['test_bits_per_byte']:.4f}"
        print(f"{bits}  {left[0].key}  ({row['seconds']:.0f} s)", flush=True)
        left = missing(store.value, options)
        if time.monotonic() - begin > 60 * options.minutes:
            print(f"{options.minutes:g} minutes are over, at least {len(left)} runs are left")
            return


def run(options: argparse.Namespace, argv: list[str] | None) -> dict:
    """Makes the missing runs, and draws the plot; returns the content of the result file."""
    text = load_text(options.corpus, options.text, options.vocab_size)
    store = open_results(options, argv, text.digest)
    check_length(text, options.sequence_length)
    if options.plan:
        print(plan(store.value, text, options))
        return store.value
    for name in VARIANTS:  # a variant that cannot be matched is rejected before the first run
        fit(VARIANTS[name], vocabulary_size(text.tokenizer), options.hidden_size, options.layers)
    run_missing(text, store, options)
    if best_rates(store.value):
        print(summary(store.value))
        picture = options.output.with_suffix(".png")
        draw(store.value, picture)
        print(f"wrote {options.output} and {picture}")
    return store.value


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parses the command line."""
    parser = make_parser("training.studies.ablation", __doc__)
    parser.add_argument("corpus", choices=CORPORA, help="text to train on")
    parser.add_argument("--text", metavar="FILE", help="text file of shakespeare; its characters are the tokens")
    parser.add_argument("--plan", action="store_true", help="only print what would run, and how long it takes here")
    parser.add_argument(
        "--minutes",
        type=positive,
        default=math.inf,
        help="stop after the run that is in progress by then (default: no limit)",
    )
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=[], metavar="NAME", help="only these variants")
    parser.add_argument("--all-variants", action="store_true", help="try all variants in the first stage")
    parser.add_argument("--rates", type=positive, nargs="+", default=[], help="only these peak learning rates")
    parser.add_argument(
        "--seeds", type=whole, nargs="+", default=[0, 1, 2], help="seeds; the first one is that of the first stage"
    )
    parser.add_argument("--steps", type=positive_int, default=700, help="training steps of a run")
    parser.add_argument("--batch-size", type=positive_int, default=8, help="rows in a step")
    parser.add_argument("--sequence-length", type=positive_int, default=256, help="tokens in a row")
    parser.add_argument("--hidden-size", type=positive_int, default=128, help="width of the blocks")
    parser.add_argument("--layers", type=positive_int, default=4, help="number of blocks")
    parser.add_argument("--threads", type=positive_int, default=1, help="threads of torch")
    parser.add_argument("--vocab-size", type=positive_int, default=2048, help="size of the bpe vocabulary")
    parser.add_argument(
        "--output", type=result_file, help="result file (default: training/results/ablation_<corpus>.json)"
    )
    options = parser.parse_args(argv)
    options.sweep_seed = options.seeds[0]
    options.output = options.output or RESULTS / f"ablation_{options.corpus}.json"
    return options


@reported
def main(argv: list[str] | None = None) -> dict:
    """Runs the command line; returns the content of the result file.

    Raises:
        SystemExit: The input is bad; the message names it and the remedy.
    """
    options = parse_arguments(argv)
    with settings(options.threads):
        return run(options, argv)


if __name__ == "__main__":
    main()
