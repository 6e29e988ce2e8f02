# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The command line of train_lm.py, and the refusals that need no data."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from training.common.command_line import not_negative, positive, positive_int, share, whole
from training.common.errors import InputError
from training.lm.tokenization import KINDS

# What may differ between a run and its resumption: how to train, and what isn't about training at all. Anything else
# would make another model or another order of the data. The dataset is compared by its tokens, not by how it is spelled.
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
}
NOT_ABOUT_TRAINING = {
    "dataset",
    "dataset_name",
    "dataset_license",
    "text_column",
    "batch_size",  # these two and the number of processes make the rows of a step, which are compared
    "accumulate",
    "output_dir",
    "checkpoint_every",
    "keep",
    "resume",
    "overwrite",
    "eval_every",
    "samples",
    "snippets",
    "no_baselines",
    "trackers",
    "peak_tflops",
    "push_to_hub",
}
BATCHINGS = ("windows", "packed", "stateful")
TRACKERS = ("tensorboard", "trackio")


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line; `output_dir` is filled in, `config` becomes a dict.

    Raises:
        SystemExit: argparse refused a value, and said so.
    """
    parser = argparse.ArgumentParser(
        prog="python -m training.train_lm",
        description="Train a minGRU or minLSTM language model; without arguments, on Python's standard library "
        "with five minutes of training time.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    data = parser.add_argument_group("data")
    data.add_argument("--dataset", default="stdlib", help="stdlib, a text file, a folder, a table, or a Hub name")
    data.add_argument("--dataset-name", help="for the model's card; by default the name that the source has")
    data.add_argument("--dataset-license", help="for the model's card, as the Hub calls it, for example cc-by-4.0")
    data.add_argument("--text-column", default="text", help="column that holds the text, for tables")
    data.add_argument(
        "--tokenizer",
        default="bpe",
        help=f"{', '.join(KINDS)} (made from the training documents only), or a tokenizer's folder or Hub name",
    )
    data.add_argument("--vocab-size", type=positive_int, default=2048, help="of the bpe tokenizer")
    data.add_argument(
        "--batching",
        choices=BATCHINGS,
        default=None,
        help="windows: drawn at random, the end of the document before included; packed: every token once an epoch, "
        "documents kept apart; stateful: each row reads on from where it was, with its state; "
        "default: windows for stdlib, else packed",
    )
    data.add_argument("--stateful", dest="batching", action="store_const", const="stateful", help="--batching stateful")
    data.add_argument(
        "--streaming", action="store_true", help="read documents while training, without loading them all"
    )
    data.add_argument("--shuffle-buffer", type=whole, default=0, help="documents to shuffle among; --streaming")
    data.add_argument("--heldout-documents", type=positive_int, default=100, help="at most; --streaming only")

    model = parser.add_argument_group("model (what is not given is left to MinRNNConfig)")
    model.add_argument("--cell-type", choices=("mingru", "minlstm"), default="mingru", help="recurrent cell")
    model.add_argument("--hidden-size", type=positive_int, default=128, help="width of the residual stream")
    model.add_argument("--num-hidden-layers", type=positive_int, default=4, help="blocks")
    model.add_argument("--intermediate-size", type=whole, default=None, help="width inside the MLP; 0 for none")
    model.add_argument("--expand-ratio", type=positive, default=None, help="state channels per hidden channel")
    model.add_argument("--dropout", type=share, default=None, help="probability")
    model.add_argument("--block", choices=("default", "paper"), default="default", help="paper: as in arXiv 2410.01201")
    model.add_argument("--config", nargs="+", default=[], metavar="KEY=VALUE", help="any other MinRNNConfig field")

    training = parser.add_argument_group("training")
    budget = training.add_mutually_exclusive_group()
    budget.add_argument("--minutes", type=positive, default=5.0, help="time in optimisation steps, nothing else")
    budget.add_argument("--steps", type=positive_int, default=None, help="number of steps, instead of a time")
    training.add_argument("--batch-size", type=positive_int, default=8, help="windows per process and micro-batch")
    training.add_argument("--accumulate", type=positive_int, default=1, help="micro-batches per step")
    training.add_argument("--sequence-length", type=positive_int, default=256, help="tokens per window")
    training.add_argument("--learning-rate", type=positive, default=1e-2, help="at its peak")
    training.add_argument("--weight-decay", type=not_negative, default=0.1, help="of weight matrices")
    training.add_argument("--betas", type=share, nargs=2, default=[0.9, 0.95], help="of AdamW")
    training.add_argument("--grad-clip", type=positive, default=1.0, help="largest norm of the gradient")
    training.add_argument("--warmup", type=share, default=0.03, help="share of the budget")
    training.add_argument("--schedule", choices=("cosine", "wsd"), default="cosine", help="after the warm-up")
    training.add_argument("--final-ratio", type=not_negative, default=0.05, help="last learning rate over the peak")
    training.add_argument("--seed", type=int, default=0, help="of weights, data order, dropout and samples")
    training.add_argument("--bf16", action="store_true", help="bfloat16 autocast")
    training.add_argument("--compile", action="store_true", help="torch.compile; compiling counts as training time")
    training.add_argument("--gradient-checkpointing", action="store_true", help="less memory, a third more work")
    training.add_argument("--fsdp", action="store_true", help="shard over the processes (FSDP2) instead of DDP")

    output = parser.add_argument_group("output")
    output.add_argument("--output-dir", default=None, help="default: runs/<dataset>-<cell>")
    output.add_argument("--checkpoint-every", type=positive, default=60.0, metavar="SECONDS", help="between saves")
    output.add_argument("--keep", type=positive_int, default=2, help="how many checkpoints to keep")
    fresh = output.add_mutually_exclusive_group()
    fresh.add_argument("--resume", action="store_true", help="go on from the folder's checkpoint")
    fresh.add_argument("--overwrite", action="store_true", help="start again in a folder that is not empty")
    output.add_argument("--eval-every", type=positive, default=0.1, metavar="SHARE", help="share of the budget")
    output.add_argument("--samples", type=whole, default=2, help="texts to print and save")
    output.add_argument("--snippets", type=whole, default=100, help="texts for the share that parses; Python only")
    output.add_argument("--no-baselines", action="store_true", help="leave out gzip, xz and the 5-gram")
    output.add_argument("--trackers", nargs="+", choices=TRACKERS, default=[], help="where to log while training")
    output.add_argument("--peak-tflops", type=positive, default=None, help="of one device; measured if not given")
    output.add_argument("--push-to-hub", default=None, metavar="OWNER/NAME", help="repository for the finished model")

    args = parser.parse_args(argv)
    args.config = parse_config(args.config)
    if not 0 <= args.seed < 1 << 63:
        parser.error(f"argument --seed: must not be negative, and below 2^63, got {args.seed}")
    if args.batching is None:
        args.batching = "windows" if args.dataset == "stdlib" and not args.streaming else "packed"
    if args.streaming:
        if args.batching == "windows":
            parser.error("argument --batching: a stream has no windows to draw from; use packed or stateful")
        args.no_baselines = True  # they would have to read the whole stream
    elif args.shuffle_buffer:
        parser.error("argument --shuffle-buffer: only for --streaming; other data is drawn from the whole")
    if args.output_dir is None:
        path = Path(args.dataset).expanduser()
        name = path.resolve().stem if path.exists() else args.dataset.replace("/", "-")
        args.output_dir = str(Path("runs") / f"{name.replace(':', '-')}-{args.cell_type}")
    data, output = (Path(place).expanduser().resolve() for place in (args.dataset, args.output_dir))
    if data.is_dir() and output.is_relative_to(data):
        parser.error(
            f"argument --output-dir: {args.output_dir} lies in --dataset {args.dataset}, and would be read as data"
        )
    return args


def how_to_resume(args: argparse.Namespace) -> str:
    """What to change in a run's command so that the same command goes on with the run, in words."""
    return "--resume in place of --overwrite" if args.overwrite else "--resume"


def parse_config(pairs: list[str]) -> dict:
    """`["num_heads=4", "hidden_act=silu"]` to a dict; values are JSON where they can be, else text.

    Raises:
        InputError: A pair without `=`.
    """
    fields = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise InputError(f"--config {pair!r} is not KEY=VALUE: write for example --config hidden_act=silu")
        try:
            fields[key] = json.loads(value)
        except json.JSONDecodeError:
            # JSON's spelling is true, false, null; Python's is what a reader of the config would type.
            fields[key] = {"True": True, "False": False, "None": None}.get(value, value)
    return fields
