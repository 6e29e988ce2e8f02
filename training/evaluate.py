# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Evaluate a saved model: bits per byte, what more context is worth, samples, speed and memory.

    python -m training.evaluate runs/stdlib-mingru                   # the held-out part, as train_lm.py splits it
    python -m training.evaluate runs/stdlib-mingru --dataset new.txt --part whole --prompts "def " "class "
    python -m training.evaluate you/your-mingru --dataset owner/name --window 512 --dataset-license mit

Writes one JSON file, by default evaluation.json in the model's folder, from which the model's card is rendered, and a plot of
the bits by position beside it. The same text is measured three times: with the state carried through all of it, with the
state thrown away after every window of the training length, and in pieces several times as long, by position. A model that
was trained on documents kept apart, as results.json beside it tells, starts anew at each document in all of them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import zlib
from datetime import UTC, datetime
from pathlib import Path

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

import numpy as np
import torch
from transformers.utils.logging import disable_progress_bar

from training.common.command_line import make_parser, result_file
from training.common.errors import InputError
from training.common.files import write_json
from training.common.machine import provenance
from training.common.text import amount
from training.lm.corpus import Corpus, load_corpus, read_text, table_kind
from training.lm.evaluation import finished, token_nats
from training.lm.footprint import measure_decoding, measure_peak
from training.lm.positions import bits_of, by_position, default_length, name_of, plot_positions, worth_past
from training.lm.saved_model import fingerprint, load_config, load_tokenizer, load_weights, trained_with
from training.lm.snippets import TEMPERATURE, TOP_P
from training.lm.streaming import load_stream
from training.lm.tokenization import TokenStream, encode_documents, unknown_id

PYTHON_PROMPTS = ("import ", "def ", "class ")


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line.

    Raises:
        SystemExit: argparse refused a value, and said so.
    """
    parser = make_parser("training.evaluate", __doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("model", help="folder that train_lm.py or save_pretrained wrote, or a name on the Hub")
    parser.add_argument("--tokenizer", help="folder or name on the Hub, where it is not saved with the model")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    text = parser.add_argument_group("text")
    text.add_argument(
        "--dataset",
        help="stdlib, a text file, a folder, a table, or a Hub name; by default what results.json beside the model says that "
        "it was trained on, and stdlib where there is none",
    )
    text.add_argument(
        "--text-column", help="column that holds the text, for tables; by default as in training, or text"
    )
    text.add_argument(
        "--part", choices=("heldout", "whole"), default="heldout", help="what train_lm.py holds out of it, or all of it"
    )
    text.add_argument("--limit-bytes", type=int, help="stop after so many bytes of text")
    lengths = parser.add_argument_group("lengths, in tokens")
    lengths.add_argument("--window", type=int, help="the training length; by default as results.json beside the model")
    lengths.add_argument("--longest", type=int, help="pieces for the bits by position; by default 16 windows or more")
    samples = parser.add_argument_group("samples")
    samples.add_argument("--prompts", nargs="+", help="what they go on from; by default the beginning of a document")
    samples.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="one sample of each prompt for each")
    samples.add_argument("--temperature", type=float, default=TEMPERATURE)
    samples.add_argument("--top-k", type=int, default=0, help="draw among so many tokens; 0 for all")
    samples.add_argument("--top-p", type=float, default=TOP_P, help="draw among the tokens that hold this share")
    samples.add_argument("--new-tokens", type=int, default=100, help="of a sample, at most")
    card = parser.add_argument_group("for the model's card, recorded as given")
    card.add_argument("--task", default="text-generation", help="as the Hub calls it")
    card.add_argument("--dataset-name", help="by default the name that the source has")
    card.add_argument("--dataset-license", help="as the Hub calls it, for example cc-by-4.0")
    other = parser.add_argument_group("measuring and writing")
    other.add_argument("--rounds", type=int, default=100, help="timed tokens after a short and after a long text")
    other.add_argument("--output", type=Path, help="by default evaluation.json in the model's folder")
    args = parser.parse_args(argv)
    for name in ("limit_bytes", "window", "longest", "new_tokens"):
        if (value := getattr(args, name)) is not None and value < 1:
            parser.error(f"argument --{name.replace('_', '-')}: must be above 0, got {value}")
    if not (math.isfinite(args.temperature) and args.temperature > 0):
        parser.error(f"argument --temperature: must be finite and above 0, got {args.temperature}")
    if args.top_k < 0 or not 0 < args.top_p <= 1 or min(args.seeds) < 0:
        parser.error("arguments --top-k and --seeds: must not be negative; --top-p: must be above 0 and at most 1")
    if args.rounds < 2:
        parser.error(f"argument --rounds: must be at least 2, got {args.rounds}")
    return args


# --- what is measured --------------------------------------------------------------------------------------------------


def choose_output(args: argparse.Namespace) -> Path:
    """Where the result goes; found out before the work, not after it.

    Raises:
        InputError: Nothing can be written there.
    """
    folder = Path(args.model).expanduser()
    path = args.output
    if path is None:
        folder = folder if folder.is_dir() else Path("runs") / args.model.replace("/", "-")
        path = folder / "evaluation.json"
    try:
        return result_file(str(path))
    except argparse.ArgumentTypeError as error:
        raise InputError(f"--output {path} cannot be written to: {error}") from error


def load_text(args: argparse.Namespace, trained: dict) -> tuple[Corpus | None, str, list[str]]:
    """The source as `load_corpus` has it (`None` for a text file that is read whole), its part in words, and the documents.

    Args:
        trained (`dict`): The model's training arguments. What was held out of a stream is held out of the same one here.

    Raises:
        InputError: The source cannot be used, or has no text.
    """
    path = Path(args.dataset).expanduser()
    if args.part == "whole" and path.is_file() and table_kind(path) is None:
        corpus, part, documents = None, "all of it", [read_text(path)]
    else:
        streamed = args.part == "heldout" and trained.get("streaming")
        same = streamed and same_source(trained["dataset"], args.dataset)
        if streamed and not same and Path(trained["dataset"]).name == path.name:
            raise InputError(
                f"the model was trained on a stream of {trained['dataset']!r}, which is not found from here: whether "
                f"{args.dataset!r} is the same cannot be told, nor what was held out; run this where the training ran"
            )
        if same:
            corpus, _ = load_stream(args.dataset, args.text_column, trained["heldout_documents"])
        else:
            corpus = load_corpus(args.dataset, args.text_column)
        part, documents = f"held out: {corpus.split}", corpus.heldout
        known = trained.get("data", {}).get("heldout_bytes")
        now = sum(len(document.encode()) for document in documents)
        # Of the standard library whole packages are held out, whichever version it is of.
        differs = args.part == "heldout" and args.dataset != "stdlib" and known not in (None, now)
        if differs and same_source(trained["dataset"], args.dataset):
            raise InputError(
                f"{args.dataset} has changed since the model was trained on it, of {known:,} bytes held out then {now:,} are "
                "now: some may be what it has learned; give the text of then, or another one"
            )
        if args.part == "whole":
            part, documents = "all of it", [*corpus.train, *corpus.heldout]
    if args.limit_bytes is not None:
        part, documents = f"{part}; up to {args.limit_bytes:,} bytes", first_bytes(documents, args.limit_bytes)
    if not any(documents):
        raise InputError(f"dataset {args.dataset!r} is empty: give a source with text in it, or a larger --limit-bytes")
    return corpus, part, documents


def same_source(one: str | None, other: str) -> bool:
    """Whether two values of --dataset mean the same file, folder or name."""
    paths = [Path(name or "").expanduser() for name in (one, other)]
    return paths[0].samefile(paths[1]) if one and all(path.exists() for path in paths) else one == other


def first_bytes(documents: list[str], limit: int) -> list[str]:
    """As much of the documents as has at most `limit` bytes, cut between two characters.

    >>> first_bytes(["ab", "cäd", "e"], 4)
    ['ab', 'c']
    """
    kept = []
    for document in documents:
        data = document.encode()[:limit]
        if not data:
            break
        kept.append(data.decode(errors="ignore"))
        limit -= len(data)
    return [document for document in kept if document]


def measure_text(
    model, stream: TokenStream, unknown: np.ndarray, window: int, length: int, separator: int | None = None
) -> dict:
    """The text in three ways: carried on, in windows, and in pieces by position.

    Args:
        separator (`int`, *optional*): The token at which the state starts anew in each of them.
        unknown (`np.ndarray` of shape `(tokens - 1,)`, bool): Which of the predicted tokens are `<unk>`.

    Raises:
        InputError: The model's losses are not finite.
    """
    found = {}
    for name, size in (("carried", None), ("windows", window), ("pieces", length)):
        print(f"reading the text, {'the state carried on' if size is None else f'in {name} of {size} tokens'}")
        found[name] = token_nats(model, stream.ids, size, separator)
        if not np.isfinite(found[name]).all():
            raise InputError(
                f"the model's loss is not finite at token {int(np.argmin(np.isfinite(found[name]))) + 1}: its weights are "
                "damaged, or its training diverged; train or save it again"
            )
    scores = {
        name: {
            "bits_per_byte": float(bits_of(nats, unknown).sum()) / stream.num_bytes,
            "perplexity": math.exp(min(float(nats.mean()), 700.0)),
        }
        for name, nats in found.items()
    }
    bytes_per_token = stream.num_bytes / len(unknown)
    rows = by_position(found["pieces"], found["carried"], unknown, length, bytes_per_token)
    return {"scores": scores, "positions": rows, "bytes_per_token": bytes_per_token}


@torch.inference_mode()
def draw_samples(model, tokenizer, prompts: list[str], args: argparse.Namespace) -> list[dict]:
    """A text for each prompt and seed, from a document's beginning; each can be repeated alone."""
    samples, device = [], next(model.parameters()).device
    for prompt in prompts:
        begin = [tokenizer.eos_token_id, *tokenizer(prompt, add_special_tokens=False).input_ids]
        ids = torch.tensor([begin], device=device)
        for seed in args.seeds:
            # The prompt too: models that remember little would otherwise go on alike from all prompts.
            mixed = np.random.SeedSequence((seed, zlib.crc32(prompt.encode()))).generate_state(1)
            with torch.random.fork_rng():
                torch.manual_seed(int(mixed[0]))
                row = model.generate(
                    ids,
                    attention_mask=torch.ones_like(ids),
                    do_sample=True,
                    temperature=args.temperature,
                    top_k=args.top_k,
                    top_p=args.top_p,
                    max_new_tokens=args.new_tokens,
                    eos_token_id=tokenizer.eos_token_id,
                    pad_token_id=tokenizer.eos_token_id,
                )[0].tolist()
            (sample,) = finished(tokenizer, [row[1:]], len(begin) - 1 + args.new_tokens)
            samples.append({"prompt": prompt, "seed": seed, "text": sample.text, "ended": sample.ended})
    return samples


# --- the whole ---------------------------------------------------------------------------------------------------------


def run(args: argparse.Namespace, argv: list[str] | None) -> dict:
    """Checks, measures, prints and writes; returns what it wrote."""
    disable_progress_bar()
    config = load_config(args.model)
    tokenizer = load_tokenizer(args.tokenizer or args.model, config)
    trained = trained_with(args.model)
    by_default, args.dataset = not args.dataset, args.dataset or trained.get("dataset", "stdlib")
    args.text_column = args.text_column or (trained.get("text_column") if by_default else None) or "text"
    window = args.window or trained.get("sequence_length")
    if window is None:
        raise InputError(f"no results.json of {args.model} tells its training length: give it with --window")
    output = choose_output(args)
    try:
        corpus, part, documents = load_text(args, trained)
    except InputError as error:
        if not (by_default and trained):
            raise
        raise InputError(f"{error} (what results.json of {args.model} names; --dataset takes another)") from error
    stream = encode_documents(tokenizer, documents)
    predicted = len(stream.ids) - 1
    if args.longest and args.longest > predicted:
        raise InputError(f"--longest {args.longest} is longer than the text of {predicted} tokens: give at most those")
    length = args.longest or default_length(window, predicted)
    prompts = args.prompts or list(PYTHON_PROMPTS if corpus is not None and corpus.is_python else [""])
    model = load_weights(args.model, config, args.device)
    print(
        f"model      {args.model}: {config.cell_type}, {config.num_hidden_layers} layers of {config.hidden_size}, "
        f"{amount(model.num_parameters())} parameters, {str(model.dtype).removeprefix('torch.')}, on {model.device}\n"
        f"text       {args.dataset}, {part}: {amount(stream.num_bytes)}B in {len(documents)} documents, "
        f"{amount(predicted)} tokens"
    )
    ids = torch.from_numpy(stream.ids[None, :length].astype(np.int64)).to(model.device)
    peak = measure_peak(model, ids)
    decoding = measure_decoding(model, ids, args.rounds)
    unknown = stream.ids[1:] == unknown_id(tokenizer)
    # As in training, and as at its end: where rows hold whole documents, none sees what came before it.
    apart = trained.get("batching") in ("packed", "stateful")
    measured = measure_text(model, stream, unknown, window, length, tokenizer.eos_token_id if apart else None)
    worth = worth_past(measured["positions"], window)
    scores, last = measured["scores"], decoding[str(ids.shape[1])]
    name = args.dataset_name or (Path(args.dataset).stem if corpus is None else corpus.name)
    result = {
        **provenance("training.evaluate", argv),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "task": {"type": args.task},
        "dataset": {
            "type": args.dataset,
            "name": name,
            "license": args.dataset_license,
            "split": part,
            "documents": len(documents),
            "bytes": stream.num_bytes,
            "tokens": predicted,
            "unknown_tokens": int(unknown.sum()),
            "bytes_per_token": measured["bytes_per_token"],
            "sha256": hashlib.sha256(b"\0".join(document.encode() for document in documents)).hexdigest(),
        },
        "model": {
            "name": args.model,
            "sha256": fingerprint(model),
            "dtype": str(model.dtype).removeprefix("torch."),
            "device": str(model.device),
            "config": json.loads(config.to_json_string(use_diff=False)),
        },
        "metrics": {
            "bits_per_byte": scores["carried"]["bits_per_byte"],
            "perplexity": scores["carried"]["perplexity"],
            "windows_bits_per_byte": scores["windows"]["bits_per_byte"],
            "windows_perplexity": scores["windows"]["perplexity"],
            "worth_past_training_length_bits_per_byte": None if worth is None else worth[1],
            "parameters": model.num_parameters(),
            "weights_bytes": sum(weight.numel() * weight.element_size() for weight in model.parameters()),
            "state_bytes": last["state_bytes"],
            "reading_mib": peak,
            "decode_ms_per_token": last["median_ms"],
        },
        "window": window,
        "documents_apart": apart,
        "pieces": {"length": length, **scores["pieces"]},
        "positions": measured["positions"],
        "decoding": {"rounds": args.rounds, "batch_size": 1, "after_tokens": decoding},
        "sampling": {key: getattr(args, key) for key in ("temperature", "top_k", "top_p", "new_tokens")},
        "samples": draw_samples(model, tokenizer, prompts, args),
    }
    print(summary(result, worth))
    plot = output.with_suffix(".png")
    plot_positions(plot, measured["positions"], window, f"{Path(args.model).name} on {name}: bits by position")
    write_json(output, result)
    print(f"wrote {output} and {plot}")
    return result


def summary(result: dict, worth: tuple[dict, float] | None) -> str:
    """The result for the terminal."""
    metrics, pieces, window = result["metrics"], result["pieces"], result["window"]
    lines = [f"\n{'':<34}bits per byte  perplexity"]
    for name, bits, perplexity in (
        ("state carried on", metrics["bits_per_byte"], metrics["perplexity"]),
        (f"windows of {window:,} tokens", metrics["windows_bits_per_byte"], metrics["windows_perplexity"]),
        (f"pieces of {pieces['length']:,} tokens", pieces["bits_per_byte"], pieces["perplexity"]),
    ):
        lines.append(f"{name:<34}{bits:>13.4f}{perplexity:>12.3f}")
    lines.append(f"\n{'position in a piece':<21}{'tokens':>9}  bits per byte  the same tokens with all before")
    for row in result["positions"]:
        lines.append(
            f"{name_of(row):<21}{row['tokens']:>9,}{row['bits_per_byte']:>15.4f}"
            f"{row['with_all_before']['bits_per_byte']:>33.4f}"
        )
    if worth is None:
        lines.append(f"the text is too short to tell what context past the training length of {window} tokens is worth")
    else:
        row, gain = worth
        lines.append(
            f"what stands further back than the training length of {window:,} tokens is worth {gain:.4f} bits per byte "
            f"(at positions {name_of(row)})"
        )
    for number, sample in enumerate(result["samples"], start=1):
        lines.append(f"\n--- sample {number}, seed {sample['seed']} " + "-" * 50 + f"\n{sample['text']}")
    lines.append("-" * 73)
    for tokens, entry in result["decoding"]["after_tokens"].items():
        lines.append(
            f"decoding after {int(tokens):>6,} tokens: {entry['median_ms']:.3f} ms per token, "
            f"{entry['state_bytes']:,} bytes of state"
        )
    peak = "not told by this system" if metrics["reading_mib"] is None else f"{metrics['reading_mib']:.1f} MiB"
    lines.append(
        f"memory: {amount(metrics['weights_bytes'])}B of weights; above them, reading {pieces['length']:,} tokens at once "
        f"and decoding: {peak}"
    )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> dict:
    """Runs the command line; returns what the result file holds.

    Raises:
        SystemExit: Bad input, with a message that names it and the remedy.
    """
    try:
        return run(parse_arguments(argv), argv)
    except InputError as error:
        raise SystemExit(f"training.evaluate: {error}") from None


if __name__ == "__main__":
    main()
