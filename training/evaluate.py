# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Evaluate a saved model: bits per byte, the worth of longer context, samples, speed and memory.

    python -m training.evaluate runs/stdlib-mingru                   # on what training held out
    python -m training.evaluate runs/stdlib-mingru --dataset new.txt --part whole --prompts "def " "class "
    python -m training.evaluate you/your-mingru --dataset owner/name --window 512 --dataset-license mit

Writes one JSON file, by default evaluation.json in the model's folder, from which the model's card is rendered, and a plot of
the bits by position next to it. The same text is measured three times: with the state carried through all of it, with the
state reset after every window of the training length, and, by position, in pieces several times as long. If results.json in
the model's folder says that documents were kept apart in training, the state is also reset at each document.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from hf_minrnn import MinRNNConfig, MinRNNForCausalLM
from hf_minrnn.tools.local_paths import is_local_path, public_command, public_path
from training.common.command_line import (
    at_least,
    device,
    make_parser,
    positive,
    positive_int,
    positive_share,
    reported,
    result_file,
    seed,
    whole,
)
from training.common.errors import InputError
from training.common.files import write_json
from training.common.machine import provenance
from training.common.text import amount, byte_size
from training.corpus.corpus import Corpus
from training.corpus.options import NAMES as TEXT_OPTIONS
from training.corpus.options import add_text_options
from training.lm.evaluated_text import load_text, show_evaluated
from training.lm.footprint import measure_decoding, measure_peak
from training.lm.measure import draw_samples, measure_text, replace_bits_per_byte, summary
from training.lm.positions import default_length, plot_positions, unit_of, worth_past
from training.lm.round_trip import check_round_trip, reason
from training.lm.run_facts import public_arguments
from training.lm.saved_model import fingerprint, load_config, load_tokenizer, load_weights, trained_with
from training.lm.snippets import TEMPERATURE, TOP_P
from training.lm.tokenization import TokenStream, encode_documents, unknown_id
from training.lm.trained_on import read_record

PYTHON_PROMPTS = ("import ", "def ", "class ")


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line.

    Raises:
        SystemExit: argparse rejected a value and printed why.
    """
    parser = make_parser("training.evaluate", __doc__)
    parser.add_argument("model", help="folder written by train_lm.py or save_pretrained, or a name on the Hub")
    parser.add_argument("--tokenizer", help="folder or name on the Hub, if it is not saved with the model")
    fastest = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", type=device, default=fastest, help="where to run the model")
    text = parser.add_argument_group("text")
    text.add_argument(
        "--dataset",
        help="stdlib, a text file, a folder, a table, or a name on the Hub; by default the training data named by "
        "results.json in the model's folder, or stdlib",
    )
    add_text_options(text)
    text.add_argument(
        "--part",
        choices=("heldout", "whole"),
        default="heldout",
        help="the part that training.train_lm holds out, without documents that the model was trained on; or the whole text",
    )
    text.add_argument("--limit-bytes", type=positive_int, help="use at most this many bytes of text")
    lengths = parser.add_argument_group("lengths, in tokens")
    lengths.add_argument("--window", type=positive_int, help="training length; by default from results.json")
    lengths.add_argument("--longest", type=positive_int, help="length of the pieces; by default 16 windows or more")
    samples = parser.add_argument_group("samples")
    samples.add_argument("--prompts", nargs="+", help="texts to continue; by default the beginning of a document")
    samples.add_argument("--seeds", type=seed, nargs="+", default=[0, 1], help="one sample of each prompt per seed")
    samples.add_argument("--temperature", type=positive, default=TEMPERATURE, help="lower is less random")
    samples.add_argument("--top-k", type=whole, default=0, help="draw from this many likeliest tokens; 0: from all")
    samples.add_argument(
        "--top-p", type=positive_share, default=TOP_P, help="draw from the likeliest tokens with this total probability"
    )
    samples.add_argument("--new-tokens", type=positive_int, default=100, help="largest number of tokens of a sample")
    card = parser.add_argument_group("for the model's card")
    card.add_argument("--task", default="text-generation", help="name of the task on the Hub")
    card.add_argument("--dataset-name", help="name of the text; by default that of the source")
    card.add_argument("--dataset-license", help="the license's identifier on the Hub, for example cc-by-4.0")
    other = parser.add_argument_group("speed and output")
    other.add_argument("--rounds", type=at_least(2), default=100, help="timed tokens after a short and a long text")
    other.add_argument("--output", type=Path, help="JSON file; by default evaluation.json in the model's folder")
    return parser.parse_args(argv)


def choose_output(args: argparse.Namespace) -> Path:
    """Returns the path of the result file, and checks it before the work is done.

    Raises:
        InputError: It cannot be written.
    """
    path = args.output
    if path is None:
        folder = Path(args.model).expanduser()
        if not folder.is_dir():  # a name on the Hub
            folder = Path("runs") / args.model.replace("/", "-")
        path = folder / "evaluation.json"
    try:
        return result_file(str(path))
    except argparse.ArgumentTypeError as error:
        raise InputError(f"--output {path} cannot be written to: {error}") from error


def complete_arguments(args: argparse.Namespace, trained: dict) -> None:
    """Fills the options that were not given with the values of the training.

    The options of the text are taken from the training only together with its dataset.

    Raises:
        InputError: The training length is not known, or the text of the training is not found.
    """
    if not args.dataset:
        defaults = vars(parse_arguments(["model"]))
        for name in ("dataset", *TEXT_OPTIONS):
            if name in trained and getattr(args, name) == defaults[name]:
                setattr(args, name, trained[name])
        kind = trained.get("data", {}).get("kind")
        if kind in ("file", "folder") and not Path(args.dataset).expanduser().exists():
            raise InputError(
                f"the text {args.dataset!r} that {args.model} was trained on does not exist here (it is named by results.json "
                f"of {args.model}): give its path, or choose another with --dataset"
            )
    args.dataset = args.dataset or "stdlib"
    args.window = args.window or trained.get("sequence_length")
    if args.window is None:
        raise InputError(f"no results.json of {args.model} gives its training length: set it with --window")


def complete_from_text(args: argparse.Namespace, corpus: Corpus, predicted: int) -> None:
    """Fills the options that were not given and depend on the text.

    Args:
        predicted (`int`): Number of tokens of the text after the first.

    Raises:
        InputError: The pieces are longer than the text.
    """
    if args.longest and args.longest > predicted:
        raise InputError(f"--longest {args.longest} is longer than the text of {predicted} tokens: give at most that")
    if not args.longest:
        args.longest = default_length(args.window, predicted)
    if not args.prompts:
        args.prompts = list(PYTHON_PROMPTS) if corpus.is_python else [""]
    if not args.dataset_name:
        args.dataset_name = corpus.name
        if corpus.kind == "folder":  # its own name may be that of the user, or differ from that of a link to it
            args.dataset_name = public_path(args.dataset)


def run(args: argparse.Namespace, argv: list[str] | None) -> dict:
    """Checks, measures, prints and writes. Returns the content of the result file."""
    disable_progress_bar()
    config = load_config(args.model)
    tokenizer = load_tokenizer(args.tokenizer or args.model, config)
    trained = trained_with(args.model)
    dataset_of_training = bool(trained) and not args.dataset
    complete_arguments(args, trained)
    output = choose_output(args)
    record = read_record(args.model)
    try:
        text = load_text(args, trained, record)
    except InputError as error:
        if not dataset_of_training:
            raise
        raise InputError(f"{error} (named by results.json of {args.model}; choose another with --dataset)") from error
    show_evaluated(text.corpus, args.part)
    stream = encode_documents(tokenizer, text.documents)
    predicted = len(stream.ids) - 1
    complete_from_text(args, text.corpus, predicted)
    round_trip = check_round_trip(tokenizer, text.documents)
    model = load_weights(args.model, config, args.device)
    dtype = str(model.dtype).removeprefix("torch.")
    print(
        f"model      {args.model}: {config.cell_type}, {config.num_hidden_layers} layers of {config.hidden_size}, "
        f"{amount(model.num_parameters())} parameters, {dtype}, on {model.device}\n"
        f"text       {args.dataset}, {text.part}: {byte_size(stream.num_bytes)}, {amount(predicted)} tokens, "
        f"documents: {len(text.documents):,}"
    )
    if text.trained_on:
        print(f"the model was trained on {text.trained_on:,} of these documents, or on parts of them")
    if not round_trip.lossless:
        print(f"lossy      {reason(round_trip.record())}")
    # If rows held whole documents in training, none saw what came before it. The same holds here.
    apart = trained.get("batching") in ("packed", "stateful")
    measured = run_measurements(args, model, tokenizer, stream, apart, round_trip.lossless)
    result = {
        **provenance("training.evaluate", public_words(args, argv)),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "task": {"type": args.task},
        "dataset": {
            "type": public_arguments({"dataset": args.dataset})["dataset"],
            "name": args.dataset_name,
            "license": args.dataset_license,
            "split": text.part,
            **text.facts(),
            **dataset_facts(tokenizer, stream, text.documents),
            "lossless": round_trip.lossless,
            "round_trip": round_trip.record(),
        },
        "model": {
            "name": public_path(args.model) if is_local_path(args.model) else args.model,
            "sha256": fingerprint(model),
            "dtype": dtype,
            "device": str(model.device),
            "config": public_config(config),
        },
        **measured,
    }
    print(summary(result))
    plot = output.with_suffix(".png")
    title = f"{result['model']['name'].rpartition('/')[2]} on {args.dataset_name}: bits by position"
    plot_positions(plot, result["positions"], args.window, title, unit_of(result["positions"]))
    write_json(output, result)
    print(f"wrote {output} and {plot}")
    return result


def public_config(config: MinRNNConfig) -> dict:
    """Returns the fields of a configuration, without the folder that it was loaded from."""
    fields = json.loads(config.to_json_string(use_diff=False))
    fields.pop("_name_or_path", None)
    return fields


def public_words(args: argparse.Namespace, argv: list[str] | None) -> list[str]:
    """Returns the words of the command line as they may be published: of each local path, only the last component."""
    words = list(map(str, sys.argv[1:] if argv is None else argv))
    paths = [
        value for value in (args.model, args.dataset, args.validation, args.tokenizer) if value and is_local_path(value)
    ]
    if args.output is not None:
        paths += [value for word in words for value in (word, word.partition("=")[2]) if _is_output(value, args.output)]
    return public_command(words, paths)


def _is_output(word: str, output: Path) -> bool:
    return word.endswith(".json") and Path(word) == output


def run_measurements(
    args: argparse.Namespace,
    model: MinRNNForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    stream: TokenStream,
    apart: bool,
    lossless: bool,
) -> dict:
    """Runs all measurements.

    Args:
        apart (`bool`): Whether the state is reset at each document.
        lossless (`bool`): Whether the tokenizer keeps the text. If not, bits per byte are left out.

    Returns:
        The part of the result file from `metrics` to `samples`.
    """
    # Memory comes first: measure_peak must run before anything else has raised it.
    ids = torch.from_numpy(stream.ids[None, : args.longest].astype(np.int64)).to(model.device)
    peak = measure_peak(model, ids)
    decoding = measure_decoding(model, ids, args.rounds)
    separator = tokenizer.eos_token_id if apart else None
    unknown = (stream.ids[1:] == unknown_id(tokenizer)) & lossless
    scores, positions = measure_text(model, stream, unknown, args.window, args.longest, separator)
    worth = worth_past(positions, args.window)
    longest = decoding[str(ids.shape[1])]
    measured = {
        "metrics": {
            "bits_per_byte": scores["carried"]["bits_per_byte"],
            "perplexity": scores["carried"]["perplexity"],
            "windows_bits_per_byte": scores["windows"]["bits_per_byte"],
            "windows_perplexity": scores["windows"]["perplexity"],
            "worth_past_training_length_bits_per_byte": None if worth is None else worth[1],
            "parameters": model.num_parameters(),
            "weights_bytes": sum(weight.numel() * weight.element_size() for weight in model.parameters()),
            "state_bytes": longest["state_bytes"],
            "reading_mib": peak,
            "decode_ms_per_token": longest["median_ms"],
        },
        "window": args.window,
        "documents_apart": apart,
        "pieces": {"length": args.longest, **scores["pieces"]},
        "positions": positions,
        "decoding": {"rounds": args.rounds, "batch_size": 1, "after_tokens": decoding},
        "sampling": {key: getattr(args, key) for key in ("temperature", "top_k", "top_p", "new_tokens")},
        "samples": draw_samples(model, tokenizer, args.prompts, args),
    }
    if not lossless:
        replace_bits_per_byte(measured)
    return measured


def dataset_facts(tokenizer: PreTrainedTokenizerBase, stream: TokenStream, documents: list[str]) -> dict:
    """Returns the sizes and the hash of the text, for the result file."""
    predicted = len(stream.ids) - 1
    return {
        "documents": len(documents),
        "bytes": stream.num_bytes,
        "tokens": predicted,
        "unknown_tokens": int((stream.ids[1:] == unknown_id(tokenizer)).sum()),
        "bytes_per_token": stream.num_bytes / predicted,
        "sha256": hashlib.sha256(b"\0".join(document.encode() for document in documents)).hexdigest(),
    }


@reported
def main(argv: list[str] | None = None) -> dict:
    """Runs the command line. Returns the content of the result file.

    Raises:
        SystemExit: Bad input, with a message that names it and the remedy.
    """
    return run(parse_arguments(argv), argv)


if __name__ == "__main__":
    main()
