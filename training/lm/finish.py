# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The end of a run: measures and samples the model, compares it, saves it with its plot and card, and prints the results."""

from __future__ import annotations

import argparse
import shlex
import time
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from hf_minrnn.tools.hub import PushError, push_folder
from training.common.errors import InputError
from training.common.files import write_json
from training.common.machine import machine, versions
from training.common.text import amount, table
from training.lm.baselines import run_baselines
from training.lm.evaluation import evaluate_heldout, sample_model, sample_ngram, snippet_tokens
from training.lm.loss_curve import plot_curve, thinned
from training.lm.run_facts import KNOWN, command, data_facts
from training.lm.saved_model import fingerprint
from training.lm.snippets import PROMPT, SNIPPET_BYTES, TEMPERATURE, TOP_P, opening, parse_share, real_snippets
from training.lm.tokenization import vocabulary_size

SHOWN_SNIPPETS = 3  # a text that is shown is this much longer than one that is judged
NUMBERS = ("results.json", "README.md", "evaluation.json", "evaluation.png")  # of the weights beside them
OUTPUT_FILES = ("config.json", "generation_config.json", "model.safetensors", "loss.png", "samples.txt", *NUMBERS)
# Of any tokenizer that was saved with the model: what another one does not write would be taken for its own.
OUTPUT_FILES += (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
)
OUTPUT_FILES += ("merges.txt", "vocab.txt", "tokenizer.model", "spiece.model", "chat_template.jinja")


def finish_run(args: argparse.Namespace, data, model, trainer, folder: Path) -> dict[str, float]:
    """Evaluates a trained model and fills the output folder.

    Args:
        data (`data.Data`): The corpus and its tokens.
        trainer (`trainer.Trainer`): What trained it, for its history.
        folder (`Path`): Where the model, results.json, loss.png and samples.txt go.

    Returns:
        The metrics, as in results.json: counts, seconds, bits per byte, shares.
    """
    state = trainer.state
    for name in NUMBERS:  # of weights that go now
        (folder / name).unlink(missing_ok=True)
    # Weights first: whatever fails from here on, the trained model is on disk; with the code, as its card says.
    model.carry_code()
    model.eval().save_pretrained(folder)
    data.tokenizer.save_pretrained(folder)
    name = "minGRU" if args.cell_type == "mingru" else "minLSTM"
    print("measuring on the held-out text")
    start = time.perf_counter()
    metrics: dict[str, float] = {
        **evaluate_heldout(model, data.heldout, trainer.separator),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
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
    metrics["evaluation_seconds"] = time.perf_counter() - start
    bits = metrics["heldout_bits_per_byte"]
    baselines, ngram = {}, None
    if not args.no_baselines:
        baselines, ngram = run_baselines(
            data.corpus.train, data.corpus.heldout, data.train, data.heldout, vocabulary_size(data.tokenizer)
        )
    references = {label: result["bits_per_byte"] for label, result in baselines.items()}

    length = snippet_tokens(data.train)
    prompt = PROMPT if data.corpus.is_python else ""
    start = time.perf_counter()
    samples = sample_model(model, data.tokenizer, prompt, args.samples, SHOWN_SNIPPETS * length, args.seed)
    snippets = args.snippets if data.corpus.is_python else 0
    drawn = sample_model(model, data.tokenizer, prompt, snippets, length, args.seed)
    metrics["sampling_seconds"] = time.perf_counter() - start
    shares = {}
    if snippets:
        shares[name] = parse_share([sample.snippet for sample in drawn])
        if ngram is not None:
            drawn = sample_ngram(ngram, data.tokenizer, prompt, args.snippets, length, args.seed)
            shares["5-gram"] = parse_share([sample.snippet for sample in drawn])
        shares["real text, cut alike"] = parse_share(real_snippets([*data.corpus.train, *data.corpus.heldout]))
        metrics["snippets"] = args.snippets
        metrics["parse_share"] = shares[name]

    shown = [sample.text for sample in samples]
    (folder / "samples.txt").write_text("\n\n".join(f"=== {i} ===\n{t}" for i, t in enumerate(shown, 1)), "utf-8")
    plot_curve(
        folder / "loss.png",
        state.seconds,
        [data.bits_per_byte(loss) for loss in state.losses],
        [(seconds, value) for seconds, value in state.evaluations],
        (state.elapsed, bits),
        references,
        f"{name}, {amount(metrics['parameters'])} parameters, on {data.corpus.name}",
    )
    keep = thinned(state.losses)
    facts = data_facts(args, data.corpus.name)
    first_words = KNOWN.get(facts["name"], {}).get("prompt") or opening(data.corpus.heldout)
    write_json(
        folder / "results.json",
        {
            "metrics": metrics,
            "baselines": baselines,
            "parse_shares": shares,
            "snippet_protocol": {
                "prompt": prompt,
                "bytes": SNIPPET_BYTES,
                "tokens": length,
                "temperature": TEMPERATURE,
                "top_p": TOP_P,
            },
            "data": {
                **facts,
                "prompt": first_words,
                "split": data.corpus.split,
                "streaming": args.streaming,  # then what is said of train is said of its first documents
                "train_documents": len(data.corpus.train),
                "heldout_documents": len(data.corpus.heldout),
                "train_bytes": data.train.num_bytes,
                "train_tokens": len(data.train.ids),
                "heldout_bytes": data.heldout.num_bytes,
                "vocabulary": len(data.tokenizer),
                "sha256": data.fingerprint,
            },
            "samples": shown,
            "weights_sha256": fingerprint(model),
            "args": vars(args),
            "config": model.config.to_dict(),
            "curve": {
                "step": [i + 1 for i in keep],
                "seconds": [state.seconds[i] for i in keep],
                "loss": [state.losses[i] if state.losses[i] == state.losses[i] else None for i in keep],
            },
            "evaluations": [{"seconds": s, "heldout_bits_per_byte_estimate": v} for s, v in state.evaluations],
            "machine": machine(),
            "versions": versions(),
            "changed": state.changed,
            "started": state.started,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    )
    for earlier in ("evaluation.json", "evaluation.png"):  # of the weights before this run went on
        (folder / earlier).unlink(missing_ok=True)
    _show(name, folder, metrics, references, shares, shown)
    print(next_steps(args, state.step, trainer.accelerator.num_processes, folder, first_words))
    return metrics


def next_steps(args: argparse.Namespace, steps: int, processes: int, folder: Path, prompt: str) -> str:
    """What to do with a finished run: commands for where it was started, and a program that writes with the model.

    The command that repeats the run counts its steps, as a time is not reproducible, and names a folder that is free.
    """
    counted = {name: value for name, value in vars(args).items() if name != "minutes"} | {"steps": steps}
    free = next(f"{folder}-{number}" for number in count(2) if not Path(f"{folder}-{number}").exists())
    again = command(counted, processes, free)
    return (
        f"\nmeasure it further:\n{shlex.join(['python', '-m', 'training.evaluate', str(folder)])}\n\n"
        f"train it again, in as many steps:\n{again}\n\n"
        f"write with it, in Python:\n"
        f"import hf_minrnn\n"
        f"from transformers import pipeline\n"
        f'print(pipeline("text-generation", model={str(folder)!r})({prompt!r})[0]["generated_text"])'
    )


def push(name: str, folder: Path) -> None:
    """Pushes a finished run: the model with its code and tokenizer, and what else is in its folder for people to read.

    Raises:
        InputError: It failed; the folder has all of it still, and the message the command that repeats it.
    """
    try:
        url = push_folder(folder, name)
    except PushError as error:
        again = shlex.join(["hf-minrnn", "push", str(folder), name])
        raise InputError(f"the run is in {folder}, but could not be pushed: {error}. Then: {again}") from None
    print(f"pushed to {url}")


def _show(
    name: str,
    folder: Path,
    metrics: dict[str, float],
    references: dict[str, float],
    shares: dict[str, float],
    shown: list[str],
) -> None:
    for number, text in enumerate(shown, start=1):
        print(f"\n--- sample {number} " + "-" * 60 + f"\n{text}")
    if shown:
        print("-" * 73)
    rows = [*references.items(), (name, metrics["heldout_bits_per_byte"])]
    print("\n" + table("held-out bits per byte", rows))
    if shares:
        print("\n" + table("share of samples that parse", list(shares.items()), digits=2))
    skipped = f" ({metrics['skipped_steps']:,} skipped, not finite)" if metrics["skipped_steps"] else ""
    print(
        f"\n{metrics['steps']:,} steps{skipped}, {amount(metrics['train_tokens'])} tokens in {metrics['train_seconds']:.0f} s "
        f"({amount(metrics['train_tokens_per_second'])} tokens/s, {metrics['flops_utilisation']:.0%} of the peak); "
        f"perplexity {metrics['heldout_perplexity']:.2f} "
        f"on {metrics['heldout_tokens']:,} tokens\n"
        f"saved to {folder}: the model, its card README.md, results.json, loss.png, samples.txt"
    )
