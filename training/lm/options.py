# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The command line of train_lm.py, and the checks of it that need no data."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from hf_minrnn.tools.local_paths import public_path
from training.common.command_line import (
    make_parser,
    not_negative,
    positive,
    positive_int,
    seed,
    share,
    whole,
)
from training.common.errors import InputError
from training.corpus.options import NAMES as TEXT_OPTIONS
from training.corpus.options import add_text_options
from training.lm.tokenization import KINDS

# Arguments that a resumed run may change: how to train, and those that do not affect the training at all. Any other would
# give another model or another order of the data. The dataset is compared by its tokens, not by its name.
FREE_TO_CHANGE = {
    "minutes",
    "steps",
    "learning_rate",
    "weight_decay",
    "betas",
    "grad_clip",
    "warmup",
    "schedule",
    "final_ratio",
    "bf16",
    "compile",
    "gradient_checkpointing",
    "fsdp",
    "patience",
    "heldout_documents",  # the documents that are held out are compared
}
NOT_ABOUT_TRAINING = {
    "dataset",
    "dataset_name",
    "dataset_license",
    "license",
    *TEXT_OPTIONS,  # the text itself is compared
    "batch_size",  # the rows of a step are compared: batch_size * accumulate * processes
    "accumulate",
    "output_dir",
    "checkpoint_every",
    "keep",
    "resume",
    "overwrite",
    "eval_every",
    "keep_weights",
    "samples",
    "snippets",
    "no_baselines",
    "trackers",
    "peak_tflops",
    "push_to_hub",
}
BATCHINGS = ("windows", "packed", "stateful")
TRACKERS = ("tensorboard", "trackio", "wandb")


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line. `batching` and `output_dir` are filled in, and `config` becomes a dict.

    Raises:
        SystemExit: argparse rejected a value and printed why.
        InputError: See `parse_config`.
    """
    parser = _make_parser()
    args = parser.parse_args(argv)
    args.config = parse_config(args.config)
    _complete_batching(parser, args)
    _complete_output_dir(parser, args)
    return args


def given_options(argv: list[str] | None = None) -> set[str]:
    """Returns the names of the options that a command line contains, as in the namespace.

    >>> sorted(given_options(["--seed", "0", "--stateful"]))
    ['batching', 'seed']
    """
    parser = _make_parser()
    for action in parser._actions:
        action.default = argparse.SUPPRESS  # the namespace then has no values but those of the command line
    return set(vars(parser.parse_args(argv)))


def _make_parser() -> argparse.ArgumentParser:
    parser = make_parser(
        "training.train_lm",
        "Train a minGRU or minLSTM language model; without arguments, on Python's standard library for five minutes.",
    )
    _add_data_options(parser.add_argument_group("data"))
    _add_model_options(parser.add_argument_group("model (MinRNNConfig sets what is not given)"))
    _add_training_options(parser.add_argument_group("training"))
    _add_output_options(parser.add_argument_group("output"))
    return parser


def _add_data_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--dataset", default="stdlib", help="stdlib, a text file, a folder, a table, or a name on the Hub")
    add("--dataset-name", help="for the model's card; by default the name of the source")
    add("--dataset-license", help="for the model's card: the license's identifier on the Hub, for example cc-by-4.0")
    add("--license", help="for the model's card: the identifier of the license of the weights; by default not stated")
    add_text_options(group)
    add(
        "--tokenizer",
        default="bpe",
        help=f"{', '.join(KINDS)} (built from the training documents only), or the folder or Hub name of a tokenizer",
    )
    add("--vocab-size", type=positive_int, default=2048, help="size of the bpe vocabulary")
    add(
        "--batching",
        choices=BATCHINGS,
        default=None,
        help="windows: drawn at random, may begin with the end of an earlier document; packed: every token once per epoch, "
        "documents kept apart; stateful: each row continues where it was in the last step, with its state; "
        "by default windows for stdlib, else packed",
    )
    add("--stateful", dest="batching", action="store_const", const="stateful", help="same as --batching stateful")
    add("--streaming", action="store_true", help="read documents while training, without loading them all")
    add("--shuffle-buffer", type=whole, default=0, help="number of documents to shuffle among; --streaming only")
    add(
        "--heldout-documents",
        type=positive_int,
        default=None,
        help="number of documents to hold out; by default up to 100, and at most a tenth of a local source; --streaming only",
    )


def _add_model_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--init-from",
        default=None,
        metavar="FOLDER_OR_HUB_NAME",
        help="saved model to continue training: its weights, configuration and tokenizer",
    )
    add("--cell-type", choices=("mingru", "minlstm"), default="mingru", help="recurrent cell")
    add("--hidden-size", type=positive_int, default=128, help="width of the residual stream")
    add("--num-hidden-layers", type=positive_int, default=4, help="number of blocks")
    add("--intermediate-size", type=whole, default=None, help="width inside the MLP; 0 for no MLP")
    add("--expand-ratio", type=positive, default=None, help="state channels per hidden channel")
    add("--dropout", type=share, default=None, help="dropout probability")
    add(
        "--block",
        choices=("default", "paper"),
        default="default",
        help="default: this package's block; paper: that of arXiv 2410.01201",
    )
    add("--config", nargs="+", default=[], metavar="KEY=VALUE", help="any other field of MinRNNConfig")


def _add_training_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    budget = group.add_mutually_exclusive_group()
    budget.add_argument(
        "--minutes", type=positive, default=5.0, help="training time, without loading, evaluation and checkpoints"
    )
    budget.add_argument("--steps", type=positive_int, default=None, help="number of steps, instead of a time")
    add("--batch-size", type=positive_int, default=8, help="rows per process and micro-batch")
    add("--accumulate", type=positive_int, default=1, help="micro-batches per step")
    add("--sequence-length", type=positive_int, default=256, help="tokens per row")
    add("--learning-rate", type=positive, default=1e-2, help="peak of the learning rate")
    add("--weight-decay", type=not_negative, default=0.1, help="weight decay of weight matrices")
    add("--betas", type=share, nargs=2, default=[0.9, 0.95], help="betas of AdamW")
    add("--grad-clip", type=positive, default=1.0, help="largest norm of the gradient")
    add("--warmup", type=share, default=0.03, help="share of the budget in which the learning rate rises")
    add("--schedule", choices=("cosine", "wsd"), default="cosine", help="shape of the learning rate after the warm-up")
    add("--final-ratio", type=not_negative, default=0.05, help="last learning rate divided by the peak")
    add("--seed", type=seed, default=0, help="seed of weights, order of the data, dropout and samples")
    add("--bf16", action="store_true", help="train with autocast to bfloat16")
    add("--compile", action="store_true", help="use torch.compile; compiling counts as training time")
    add("--gradient-checkpointing", action="store_true", help="save memory by computing about a third more")
    add("--fsdp", action="store_true", help="shard over the processes (FSDP2) instead of DDP")
    add(
        "--patience",
        type=positive_int,
        default=None,
        metavar="N",
        help="stop after N evaluations in a row without a lower held-out estimate; by default never",
    )


def _add_output_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--output-dir", default=None, help="output folder; by default runs/<dataset>-<cell>")
    add("--checkpoint-every", type=positive, default=60.0, metavar="SECONDS", help="time between checkpoints")
    add("--keep", type=positive_int, default=2, help="number of checkpoints to keep")
    start = group.add_mutually_exclusive_group()
    start.add_argument(
        "--resume",
        nargs="?",
        const=True,
        default=False,
        choices=("auto",),
        help="continue from the newest checkpoint of the folder; auto: or start, if the folder has none",
    )
    start.add_argument("--overwrite", action="store_true", help="start again in a folder that is not empty")
    add("--eval-every", type=positive, default=0.1, metavar="SHARE", help="share of the budget between evaluations")
    add(
        "--keep-weights",
        choices=("best", "last"),
        default="best",
        help="weights to save as the model: those with the lowest held-out estimate, or those of the last step",
    )
    add("--samples", type=whole, default=2, help="number of texts to print and save")
    add("--snippets", type=whole, default=100, help="number of texts for the share that parses; Python data only")
    add("--no-baselines", action="store_true", help="leave out gzip, xz and the 5-gram")
    add(
        "--trackers",
        nargs="+",
        choices=TRACKERS,
        default=[],
        help="log to these during training; install them with pip",
    )
    add("--peak-tflops", type=positive, default=None, help="peak speed of one device in TFLOP/s; measured if not given")
    add("--push-to-hub", default=None, metavar="OWNER/NAME", help="repository for the finished model")


def _complete_batching(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Chooses the batching, and rejects options that do not fit a stream or need one."""
    if args.batching is None:
        args.batching = "windows" if args.dataset == "stdlib" and not args.streaming else "packed"
    if args.streaming:
        if args.batching == "windows":
            parser.error("argument --batching: a stream has no windows to draw from; use packed or stateful")
        args.no_baselines = True  # they would have to read the whole stream
        return
    if args.shuffle_buffer:
        parser.error("argument --shuffle-buffer: only for --streaming; other data is drawn from all of the text")
    if args.heldout_documents is None:
        args.heldout_documents = 100  # has no effect; earlier results and checkpoints record it


def _complete_output_dir(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Names the output folder after the dataset, and rejects one inside the dataset."""
    data = Path(args.dataset).expanduser()
    if args.output_dir is None:
        name = Path(public_path(args.dataset)).stem if data.exists() else args.dataset.replace("/", "-")
        args.output_dir = str(Path("runs") / f"{name.replace(':', '-')}-{args.cell_type}")
    args.output_dir = str(Path(args.output_dir).expanduser())
    output = Path(args.output_dir).resolve()
    if args.init_from is not None and Path(args.init_from).expanduser().resolve() == output:
        parser.error(
            f"argument --output-dir: {args.output_dir} is the folder of --init-from, and would be overwritten: give another"
        )
    if data.is_dir() and output.is_relative_to(data.resolve()):
        parser.error(
            f"argument --output-dir: {args.output_dir} lies in --dataset {args.dataset}, and would be read as data"
        )


def how_to_resume(args: argparse.Namespace) -> str:
    """Returns the change to a run's command that makes it continue the run.

    >>> how_to_resume(parse_arguments(["--resume", "auto"]))
    '--resume auto'
    """
    if args.resume == "auto":
        return "--resume auto"
    return "--resume in place of --overwrite" if args.overwrite else "--resume"


def parse_config(pairs: list[str]) -> dict:
    """Turns `["num_heads=4", "hidden_act=silu"]` into a dict. Values are JSON if they can be, else text.

    Raises:
        InputError: A pair has no `=`.
    """
    fields = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise InputError(f"--config {pair!r} is not KEY=VALUE: write for example --config hidden_act=silu")
        try:
            fields[key] = json.loads(value)
        except json.JSONDecodeError:
            # JSON spells these true, false and null; a reader of the configuration would type Python's words.
            fields[key] = {"True": True, "False": False, "None": None}.get(value, value)
    return fields
