# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The end of a run: saves the model, measures it, draws samples, compares it, and writes its plot, results and card."""

from __future__ import annotations

import argparse
import math
import shlex
import time
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from hf_minrnn import MinRNNForCausalLM
from hf_minrnn.tools.hub import PushError, push_folder
from training.common.errors import InputError
from training.common.files import complete_files, remove_file, write_json, write_text
from training.common.machine import machine, versions
from training.common.text import amount, table
from training.common.widths import count as count_parameters
from training.lm.baselines import run_baselines
from training.lm.data import Data
from training.lm.evaluation import evaluate_heldout, sample_model, sample_ngram, snippet_tokens
from training.lm.loss_curve import plot_curve, thinned
from training.lm.ngram import NGramModel
from training.lm.round_trip import reason
from training.lm.run_facts import (
    KNOWN,
    LOCAL_FILE,
    base_facts,
    command,
    data_facts,
    is_known,
    local_arguments,
    public_arguments,
)
from training.lm.saved_model import fingerprint
from training.lm.snippets import PROMPT, SNIPPET_BYTES, TEMPERATURE, TOP_P, opening, parse_share, real_snippets
from training.lm.tokenization import vocabulary_size
from training.lm.trained_on import FILE as TRAINED_ON
from training.lm.trained_on import heldout_warnings, record_corpus
from training.lm.trainer import Trainer
from training.lm.training_state import TrainingState

SHOWN_SNIPPETS = 3  # length of a text that is shown, in snippets
# These describe the weights of the folder.
NUMBERS = ("results.json", "README.md", "evaluation.json", "evaluation.png", TRAINED_ON, LOCAL_FILE)
OUTPUT_FILES = ("config.json", "generation_config.json", "model.safetensors", "loss.png", "samples.txt", *NUMBERS)
# The files of any tokenizer: those that the next run's tokenizer does not write would be taken for its own.
OUTPUT_FILES += (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
)
OUTPUT_FILES += ("merges.txt", "vocab.txt", "tokenizer.model", "spiece.model", "chat_template.jinja")


def finish_run(
    args: argparse.Namespace, data: Data, model: MinRNNForCausalLM, trainer: Trainer, folder: Path
) -> dict[str, float]:
    """Evaluates a trained model and fills the output folder.

    Args:
        data (`Data`): The corpus and its tokens.
        trainer (`Trainer`): The trainer of the model, for its history.
        folder (`Path`): Gets the model, results.json, loss.png and samples.txt.

    Returns:
        The metrics, as in results.json: counts, seconds, bits per byte, shares.
    """
    for name in NUMBERS:  # of earlier weights
        remove_file(folder / name)
    # The model is saved first: whatever fails later, it is on disk. It is saved with its code, as its card says.
    model.carry_code()
    with complete_files(folder) as temporary:
        model.eval().save_pretrained(temporary)
        data.tokenizer.save_pretrained(temporary)
    record = record_corpus(data.corpus, getattr(trainer.batches, "seen", None), args.init_from)
    record.write(folder)
    print("measuring on the held-out text")
    metrics = collect_metrics(model, data, trainer)
    baselines: dict[str, dict[str, float]] = {}
    ngram = None
    if not args.no_baselines and data.round_trip.lossless:  # else they would be those of another text
        baselines, ngram = run_baselines(
            data.corpus.train, data.corpus.heldout, data.train, data.heldout, vocabulary_size(data.tokenizer)
        )
    references = {label: result["bits_per_byte"] for label, result in baselines.items()}

    start = time.perf_counter()
    prompt = PROMPT if data.corpus.is_python else ""
    length = snippet_tokens(data.train)
    samples = sample_model(model, data.tokenizer, prompt, args.samples, SHOWN_SNIPPETS * length, args.seed)
    count_judged = args.snippets if data.corpus.is_python else 0
    judged = sample_model(model, data.tokenizer, prompt, count_judged, length, args.seed)
    metrics["sampling_seconds"] = time.perf_counter() - start
    name = "minGRU" if args.cell_type == "mingru" else "minLSTM"
    shares = {}
    if judged:
        shares[name] = parse_share([sample.snippet for sample in judged])
        shares |= other_parse_shares(args, data, ngram, prompt, length)
        metrics["snippets"] = args.snippets
        metrics["parse_share"] = shares[name]

    texts = [sample.text for sample in samples]
    numbered = [f"=== {number} ===\n{text}" for number, text in enumerate(texts, start=1)]
    write_text(folder / "samples.txt", "\n\n".join(numbered))
    kept = trainer.kept()
    plot_history(folder / "loss.png", data, trainer.state, kept["step"], metrics, references, name)
    protocol = {"prompt": prompt, "bytes": SNIPPET_BYTES, "tokens": length, "temperature": TEMPERATURE, "top_p": TOP_P}
    facts = data_facts(args, data.corpus)
    first_words = opening(data.corpus.heldout)
    if is_known(facts["name"], facts["kind"], facts["named"]):
        first_words = KNOWN[facts["name"]]["prompt"]
    write_json(folder / LOCAL_FILE, local_arguments(vars(args)))
    config = model.config.to_dict()
    config.pop("_name_or_path", None)  # the folder that the weights came from
    write_json(
        folder / "results.json",
        {
            "metrics": metrics,
            "baselines": baselines,
            "parse_shares": shares,
            "snippet_protocol": protocol,
            "data": {
                **facts,
                "prompt": first_words,
                **describe_data(args, data),
                "heldout_seen": record.heldout_seen,
                "heldout_copies": record.heldout_copies,
            },
            "samples": texts,
            "base": base_facts(args.init_from),
            "weights_sha256": fingerprint(model),
            "args": public_arguments(vars(args)),
            "config": config,
            **describe_history(data, trainer.state),
            "kept": kept,
            "machine": machine(),
            "versions": versions(),
            "changed": trainer.state.changed,
            "started": trainer.state.started,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    )
    show_results(name, folder, metrics, references, shares, texts)
    if not data.round_trip.lossless:
        print(reason(data.round_trip.record()))
    for line in heldout_warnings(record, len(data.corpus.heldout)):
        print(line)
    print(next_steps(args, trainer.state.step, trainer.accelerator.num_processes, folder, first_words))
    return metrics


def collect_metrics(model: MinRNNForCausalLM, data: Data, trainer: Trainer) -> dict[str, float]:
    """Measures the held-out loss, and adds the counts and times of the run."""
    start = time.perf_counter()
    state = trainer.state
    metrics: dict[str, float] = {
        **evaluate_heldout(model, data.heldout, trainer.separator),
        "parameters": count_parameters(model),
        "steps": state.step,
        "skipped_steps": state.skipped,
        "train_seconds": state.elapsed,
        "train_tokens": state.tokens,
        "train_tokens_per_second": state.tokens / state.elapsed,
        "flops_utilisation": trainer.utilisation,
        "peak_flops": trainer.peak,
        "load_seconds": data.load_seconds,
        "tokenizer_seconds": data.tokenizer_seconds,
        "encode_seconds": data.encode_seconds,
    }
    if not data.round_trip.lossless:
        metrics["heldout_bits_per_token"] = data.heldout_in_unit(metrics.pop("heldout_bits_per_byte"))
    metrics["evaluation_seconds"] = time.perf_counter() - start
    return metrics


def other_parse_shares(
    args: argparse.Namespace, data: Data, ngram: NGramModel | None, prompt: str, length: int
) -> dict[str, float]:
    """Returns the share of snippets that parse for the 5-gram and for real text."""
    shares = {}
    if ngram is not None:
        drawn = sample_ngram(ngram, data.tokenizer, prompt, args.snippets, length, args.seed)
        shares["5-gram"] = parse_share([sample.snippet for sample in drawn])
    shares["real text, cut alike"] = parse_share(real_snippets([*data.corpus.train, *data.corpus.heldout]))
    return shares


def plot_history(
    path: Path,
    data: Data,
    state: TrainingState,
    kept_step: int,
    metrics: dict[str, float],
    references: dict[str, float],
    name: str,
) -> None:
    """Plots the losses of a run, and marks the step whose weights are kept."""
    plot_curve(
        path,
        state.seconds,
        [data.in_unit(loss) for loss in state.losses],
        [(seconds, data.heldout_in_unit(bits)) for seconds, bits in state.evaluations],
        (state.seconds[kept_step - 1], metrics[f"heldout_{data.unit.replace(' ', '_')}"]),
        references,
        f"{name}, {amount(metrics['parameters'])} parameters, on {data.corpus.name}",
        data.unit,
    )


def describe_data(args: argparse.Namespace, data: Data) -> dict:
    """Returns the split, the sizes and the hash of the data, for results.json."""
    return {
        "split": data.corpus.split,
        "streaming": args.streaming,  # if so, the numbers about train are those of its first documents
        "train_documents": len(data.corpus.train),
        "heldout_documents": len(data.corpus.heldout),
        "train_bytes": data.train.num_bytes,
        "train_tokens": len(data.train.ids),
        "heldout_bytes": data.heldout.num_bytes,
        "vocabulary": len(data.tokenizer),
        "sha256": data.fingerprint,
        "lossless": data.round_trip.lossless,
        "round_trip": data.round_trip.record(),
    }


def describe_history(data: Data, state: TrainingState) -> dict:
    """Returns the losses of some of the steps, and all evaluations, for results.json."""
    estimate = f"heldout_{data.unit.replace(' ', '_')}_estimate"
    kept = thinned(state.losses)
    losses = [state.losses[i] for i in kept]
    return {
        "curve": {
            "step": [i + 1 for i in kept],
            "seconds": [state.seconds[i] for i in kept],
            "loss": [None if math.isnan(loss) else loss for loss in losses],
        },
        "evaluations": [
            {"seconds": s, estimate: data.heldout_in_unit(v) if math.isfinite(v) else None}
            for s, v in state.evaluations
        ],
    }


def next_steps(args: argparse.Namespace, steps: int, processes: int, folder: Path, prompt: str) -> str:
    """Returns commands to evaluate a finished run and to repeat it, and a program that generates text with its model.

    The command that repeats the run gives the number of steps, because a time is not reproducible, and a new folder.
    """
    counted = {name: value for name, value in vars(args).items() if name != "minutes"} | {"steps": steps}
    free = next(f"{folder}-{number}" for number in count(2) if not Path(f"{folder}-{number}").exists())
    again = command(counted, processes, free)
    return (
        f"\nevaluate it further:\n{shlex.join(['python', '-m', 'training.evaluate', str(folder)])}\n\n"
        f"train it again, with the same number of steps:\n{again}\n\n"
        f"generate text with it, in Python:\n"
        f"import hf_minrnn\n"
        f"from transformers import pipeline\n"
        f'print(pipeline("text-generation", model={str(folder)!r})({prompt!r})[0]["generated_text"])'
    )


def push(name: str, folder: Path) -> None:
    """Pushes a finished run to the Hub: the model with its code and tokenizer, and the readable files of its folder.

    Raises:
        InputError: It failed. The folder is complete, and the message has the command that pushes it again.
    """
    try:
        url = push_folder(folder, name)
    except PushError as error:
        again = shlex.join(["hf-minrnn", "push", str(folder), name])
        raise InputError(f"the run is in {folder}, but could not be pushed: {error}. Then: {again}") from None
    print(f"pushed to {url}")


def show_results(
    name: str,
    folder: Path,
    metrics: dict[str, float],
    references: dict[str, float],
    shares: dict[str, float],
    texts: list[str],
) -> None:
    """Prints the samples, the comparison with the baselines, and the totals of the run."""
    for number, text in enumerate(texts, start=1):
        print(f"\n--- sample {number} " + "-" * 60 + f"\n{text}")
    if texts:
        print("-" * 73)
    if "heldout_bits_per_byte" in metrics:
        rows = [*references.items(), (name, metrics["heldout_bits_per_byte"])]
        print("\n" + table("held-out bits per byte", rows))
    if shares:
        print("\n" + table("share of samples that parse", list(shares.items()), digits=2))
    skipped = ""
    if metrics["skipped_steps"]:
        skipped = f" ({metrics['skipped_steps']:,} skipped, not finite)"
    print(
        f"\n{metrics['steps']:,} steps{skipped}, {amount(metrics['train_tokens'])} tokens in {metrics['train_seconds']:.0f} s "
        f"({amount(metrics['train_tokens_per_second'])} tokens/s, {metrics['flops_utilisation']:.0%} of the peak); "
        f"perplexity {metrics['heldout_perplexity']:.2f} "
        f"on {metrics['heldout_tokens']:,} tokens\n"
        f"saved to {folder}: the model, its card README.md, results.json, loss.png, samples.txt"
    )
