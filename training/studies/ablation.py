# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The block beyond the paper: what each of its options is worth, at equal parameters, steps and tokens.

    python -m training.studies.ablation bytes --plan                       # what would run, and how long it takes here
    python -m training.studies.ablation bytes --minutes 50                 # the standard library's bytes; again to go on
    python -m training.studies.ablation bpe
    python -m training.studies.ablation shakespeare --text shakespeare.txt

Two stages. First every variant, the paper's block and the default with one option more or less, is trained once at each of
three learning rates, and at twice the highest or half the lowest for as long as that one is the best (`bpe` and `shakespeare`:
only the finalists, unless `--all-variants` asks for more). Then the finalists, which are the paper's block, the default, the
default without each of its options, and whichever was best, are trained with two more seeds at their best rate. One half of
the held-out text chooses the rates, the other is what is reported. `--only` takes some variants through both stages.

The result file, training/results/ablation_<corpus>.json, is written after each run, and a run that stands in it is not made
again. `--minutes` ends after the run in progress. Several processes may fill one file, each with `--only` variants of its own.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

import filelock
import torch
from transformers import PreTrainedTokenizerBase

from training.common.command_line import result_file
from training.common.errors import InputError
from training.common.files import write_json
from training.common.machine import machine, provenance, versions
from training.common.paths import RESULTS
from training.common.schedule import learning_rate_factor
from training.common.timing import settings
from training.lm.batches import draw_windows
from training.lm.corpus import load_corpus
from training.lm.evaluation import stream_nats
from training.lm.model_setup import parameter_groups
from training.lm.tokenization import TokenStream, build_tokenizer, encode_documents, vocabulary_size
from training.report.ablation_report import best_rates, plot, summary
from training.studies.ablation_variants import DEFAULT, FINALISTS, PAPER, VARIANTS, fit, make_model

CORPORA = {"bytes": "bytes", "bpe": "bpe", "shakespeare": "chars"}  # name -> kind of tokenizer
# What makes two runs comparable; a result file holds runs of one setting only.
SETTINGS = ("steps", "batch_size", "sequence_length", "hidden_size", "layers", "vocab_size", "sweep_seed")
RATES = [2.5e-3, 5e-3, 1e-2]  # peaks that every variant is tried with
WEIGHT_DECAY, BETAS, GRAD_CLIP = 0.1, (0.9, 0.95), 1.0
LAST = 50  # steps whose mean loss is reported as the training loss
TIMED_STEPS = 6  # of a plan's estimate


@dataclass(frozen=True)
class Run:
    """One training run: a name of `VARIANTS`, the peak of the learning rate, a seed of weights and order of the data."""

    variant: str
    rate: float
    seed: int

    @property
    def key(self) -> str:
        """
        >>> Run("paper", 5e-3, 0).key
        'paper, rate 0.005, seed 0'
        """
        return f"{self.variant}, rate {self.rate:g}, seed {self.seed}"


@dataclass(frozen=True)
class Text:
    """A corpus as tokens: training text, and the two halves of what is held out."""

    tokenizer: PreTrainedTokenizerBase
    train: TokenStream
    validation: TokenStream
    test: TokenStream

    @property
    def digest(self) -> str:
        """SHA-256 of all tokens: another text's runs are no part of the same table."""
        found = hashlib.sha256()
        for stream in (self.train, self.validation, self.test):
            found.update(f"{len(stream.ids)} {stream.ids.dtype} ".encode() + stream.ids.tobytes())
        return found.hexdigest()


# --- data ------------------------------------------------------------------------------------------------------------


def halves(documents: list[str]) -> tuple[list[str], list[str]]:
    """The first and the second half of all characters; the document in the middle is cut in two.

    >>> halves(["ab", "cdef"])
    (['ab', 'c'], ['def'])
    """
    left, first = sum(map(len, documents)) // 2, []
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
        InputError: `shakespeare` without a path, or a path that cannot be read.
    """
    if (corpus == "shakespeare") != (path is not None):
        raise InputError(f"{corpus} {'needs' if path is None else 'takes no'} --text FILE: only shakespeare is a file")
    found = load_corpus(path or "stdlib")
    # Nothing is padded here, and with the vocabulary as it was new runs compare with the committed ones.
    tokenizer = build_tokenizer(CORPORA[corpus], found.train, vocab_size, padding=False)
    parts = (found.train, *halves(found.heldout))
    return Text(tokenizer, *(encode_documents(tokenizer, part) for part in parts))


# --- one run ---------------------------------------------------------------------------------------------------------


def train(model, text: Text, options: argparse.Namespace, rate: float, seed: int) -> list[float]:
    """Trains in place; returns the loss of every step, in nats per token. It ends at one that is no number."""
    # The same for all: the paper's, which leaves the gates' projection without decay, is no property of the block.
    optimizer = torch.optim.AdamW(parameter_groups(model, WEIGHT_DECAY), lr=rate, betas=BETAS, fused=True)
    model.train()
    losses = []
    for step in range(options.steps):
        rows = draw_windows(text.train.ids, options.sequence_length, options.batch_size, seed, step)
        inputs, targets = torch.from_numpy(rows[:, :-1]), torch.from_numpy(rows[:, 1:].copy())
        loss = model(input_ids=inputs, labels=targets, shift_labels=targets, use_cache=False).loss
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            break
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), GRAD_CLIP)
        for group in optimizer.param_groups:
            group["lr"] = rate * learning_rate_factor((step + 0.5) / options.steps)
        optimizer.step()
        optimizer.zero_grad()
    return losses


def measure_run(run: Run, text: Text, options: argparse.Namespace) -> dict:
    """Trains and evaluates one run; returns what the result file holds of it. Bits per byte are `None` of one that diverged."""
    chosen = VARIANTS[run.variant]
    config, parameters = fit(chosen, vocabulary_size(text.tokenizer), options.hidden_size, options.layers)
    model = make_model(config, chosen, run.seed, options.sequence_length)
    begin = time.perf_counter()
    losses = train(model, text, options, run.rate, run.seed)
    trained = time.perf_counter()
    diverged = not math.isfinite(losses[-1])
    last = losses[-LAST:]
    bits = {
        name: None if diverged else stream.bits_per_byte(stream_nats(model, stream.ids))
        for name, stream in (("validation", text.validation), ("test", text.test))
    }
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
        "train_seconds": trained - begin,
        "seconds": time.perf_counter() - begin,
        "tokens_per_second": tokens / (trained - begin),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(),
    }


# --- which runs ------------------------------------------------------------------------------------------------------


def rates_to_try(name: str, results: dict, options: argparse.Namespace) -> list[float]:
    """The rates that `--rates` names. Without it `RATES` and what was tried, and once these have run, if the best is an end of
    them, one beyond it."""
    if options.rates:
        return options.rates
    swept = [r for r in results["runs"].values() if r["variant"] == name and r["seed"] == options.sweep_seed]
    rates = sorted({*RATES, *(row["rate"] for row in swept)})
    best = best_rates(results).get(name)
    if best is None or any(Run(name, rate, options.sweep_seed).key not in results["runs"] for rate in rates):
        return rates
    return rates + [rate for end, rate in ((rates[-1], 2 * rates[-1]), (rates[0], rates[0] / 2)) if best["rate"] == end]


def sweep_runs(results: dict, options: argparse.Namespace) -> list[Run]:
    """The first stage: one seed at each rate. Finalists first, so that what is interrupted says something already."""
    every = options.all_variants or options.corpus == "bytes"
    names = options.only or [*FINALISTS, *(name for name in VARIANTS if name not in FINALISTS and every)]
    return [Run(name, rate, options.sweep_seed) for name in names for rate in rates_to_try(name, results, options)]


def seed_runs(results: dict, options: argparse.Namespace) -> list[Run]:
    """The second stage: the finalists' other seeds at their best rate. Nothing before the first stage is complete."""
    if any(run.key not in results["runs"] for run in sweep_runs(results, options)):
        return []
    rates = best_rates(results)  # without variants that diverged at every rate
    best = min(rates, key=lambda name: rates[name]["validation_bits_per_byte"], default=None)
    names = dict.fromkeys(options.only or [*FINALISTS, best])
    return [Run(name, rates[name]["rate"], seed) for name in names if name in rates for seed in options.seeds[1:]]


def missing(results: dict, options: argparse.Namespace) -> list[Run]:
    """What is left to do, as far as it is known."""
    runs = [*sweep_runs(results, options), *seed_runs(results, options)]
    return [run for run in runs if run.key not in results["runs"]]


def seconds_per_run(text: Text, options: argparse.Namespace) -> float:
    """An estimate: a few steps of the paper's block and of the default, and the reading of some held-out text."""
    total = []
    for name in (PAPER, DEFAULT):
        config, _ = fit(VARIANTS[name], vocabulary_size(text.tokenizer), options.hidden_size, options.layers)
        model = make_model(config, VARIANTS[name], 0, options.sequence_length)
        short = argparse.Namespace(**{**vars(options), "steps": 1})
        train(model, text, short, 1e-3, 0)  # compiles
        short.steps = TIMED_STEPS
        begin = time.perf_counter()
        train(model, text, short, 1e-3, 0)
        trained = time.perf_counter()
        ids = text.test.ids[: 4 * options.sequence_length + 1]
        stream_nats(model, ids)
        read = (time.perf_counter() - trained) / (len(ids) - 1)
        heldout = len(text.validation.ids) + len(text.test.ids)
        total.append((trained - begin) / TIMED_STEPS * options.steps + heldout * read)
    return sum(total) / len(total)


def plan(results: dict, text: Text, options: argparse.Namespace) -> str:
    """The runs of both stages, how many are done, and the hours that the rest takes on this machine."""
    done = [row["seconds"] for row in results["runs"].values()]
    each = sum(done) / len(done) if done else seconds_per_run(text, options)
    source = f"the mean of {len(done)} runs" if done else "measured now"
    lines = [f"{options.corpus}: {each:.0f} s a run on {torch.get_num_threads()} thread(s), {source}"]
    second = seed_runs(results, options)
    count = len(second) or (len(options.only) or len(FINALISTS) + 1) * len(options.seeds[1:])
    for stage, number, runs in (("sweep", None, sweep_runs(results, options)), ("seeds", count, second)):
        number = number or len(runs)
        left = number - sum(run.key in results["runs"] for run in runs)
        about = "" if runs else "at most "
        lines.append(f"{stage}: {about}{number} runs, {left} left, {about}{left * each / 3600:.1f} h")
    return "\n".join(lines)


# --- command line ----------------------------------------------------------------------------------------------------


def load_results(options: argparse.Namespace, argv: list[str] | None, digest: str) -> dict:
    """The result file, or an empty one.

    Raises:
        InputError: Its runs were made with other settings, or with another text than the one with this digest.
    """
    wanted = {"corpus": options.corpus, "text": digest, **{name: getattr(options, name) for name in SETTINGS}}
    if not options.output.exists():
        argv = sys.argv[1:] if argv is None else argv
        # The text's name is enough: where it lies is this machine's affair.
        shown = [word.replace(options.text, Path(options.text).name) if options.text else word for word in argv]
        return {**provenance("training.studies.ablation", shown), "settings": wanted, "runs": {}}
    results = json.loads(options.output.read_text(encoding="utf-8"))
    results["settings"].setdefault("text", digest)  # files of before it was kept
    for name, value in wanted.items():
        if results["settings"].get(name) != value:
            raise InputError(
                f"{options.output} holds runs with {name} {results['settings'].get(name)}, asked for is {value}: "
                "choose another --output"
            )
    return results


def run(options: argparse.Namespace, argv: list[str] | None) -> dict:
    """Makes what is missing, until the minutes are over; returns what the result file holds."""
    begin = time.monotonic()
    text = load_text(options.corpus, options.text, options.vocab_size)
    digest = text.digest
    results = load_results(options, argv, digest)
    if len(text.train.ids) <= options.sequence_length or min(len(text.validation.ids), len(text.test.ids)) < 2:
        raise InputError(
            f"a text of {len(text.train.ids)} tokens, and {len(text.validation.ids)} and {len(text.test.ids)} held out, is "
            f"too short for --sequence-length {options.sequence_length}: give a longer one"
        )
    if options.plan:
        print(plan(results, text, options))
        return results
    shape = (vocabulary_size(text.tokenizer), options.hidden_size, options.layers)
    for name in VARIANTS:
        fit(VARIANTS[name], *shape)  # what cannot be matched is refused before the first run
    while todo := missing(results, options):
        row = measure_run(todo[0], text, options)
        with filelock.FileLock(f"{options.output}.lock"):
            # Another process, of other variants, may have written into the same file in the meantime.
            results["runs"] |= load_results(options, argv, digest)["runs"] | {todo[0].key: row}
            write_json(options.output, results)
        bits = "diverged" if row["diverged"] else f"{row['test_bits_per_byte']:.4f}"
        print(f"{bits}  {todo[0].key}  ({row['seconds']:.0f} s)", flush=True)
        if time.monotonic() - begin > 60 * options.minutes:
            print(f"{options.minutes:g} minutes are over, at least {len(missing(results, options))} runs are left")
            break
    if best_rates(results):
        print(summary(results))
        picture = options.output.with_suffix(".png")
        plot(picture, {options.corpus: results})
        print(f"wrote {options.output} and {picture}")
    return results


def parse_arguments(argv) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", choices=CORPORA)
    parser.add_argument("--text", metavar="FILE", help="the text of shakespeare; its characters are the tokens")
    parser.add_argument("--plan", action="store_true", help="only say what would run, and how long it takes here")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after the run in progress by then")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=[], metavar="NAME", help="only these variants")
    parser.add_argument("--all-variants", action="store_true", help="sweep all variants, not the finalists alone")
    parser.add_argument("--rates", type=float, nargs="+", default=[], help="only these peak learning rates")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="the first is the sweep's")
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--sequence-length", type=int, default=256)
    parser.add_argument("--hidden-size", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--vocab-size", type=int, default=2048, help="of bpe")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=result_file, help="default: training/results/ablation_<corpus>.json")
    options = parser.parse_args(argv)
    sizes = ("steps", "batch_size", "sequence_length", "hidden_size", "layers", "threads", "minutes")
    for name in sizes:
        if not getattr(options, name) > 0:
            parser.error(f"--{name.replace('_', '-')} must be positive, got {getattr(options, name)}")
    if not all(0 < rate < math.inf for rate in options.rates) or min(options.seeds) < 0:
        parser.error(f"--rates must be positive and --seeds not negative, got {options.rates} and {options.seeds}")
    options.sweep_seed = options.seeds[0]
    options.output = options.output or RESULTS / f"ablation_{options.corpus}.json"
    return options


def main(argv: list[str] | None = None) -> dict:
    """Runs the command line; returns what the result file holds.

    Raises:
        SystemExit: Bad input, with a message that names it and the remedy.
    """
    options = parse_arguments(argv)
    try:
        with settings(options.threads):
            return run(options, argv)
    except InputError as error:
        raise SystemExit(f"training.studies.ablation: {error}") from None


if __name__ == "__main__":
    main()
