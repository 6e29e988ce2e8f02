# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The command `hf-minrnn`, with a subcommand for each tool."""

import argparse
import sys
from typing import Any

from huggingface_hub import ModelCard

from ..compat import logging
from .card import write_card
from .convert import Options, read_model, write_model
from .convert_paper import describe
from .hub import push_folder


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command. A subcommand stores the function that runs it as `run`.

    >>> parser().parse_args(["convert", "minlm.pt", "folder"]).folder
    'folder'
    """
    top = argparse.ArgumentParser(prog="hf-minrnn", description="Tools for minGRU and minLSTM models.")
    commands = top.add_subparsers(dest="command", required=True)
    _add_convert(commands)
    _add_card(commands)
    _add_push(commands)
    return top


def _add_convert(commands) -> None:
    add = commands.add_parser(
        "convert",
        help="convert a checkpoint of minGRU-pytorch or of the paper's layers to a model folder",
        description="Convert a checkpoint to a folder that MinRNNForCausalLM.from_pretrained loads. The checkpoint is a state\n"
        "dict of minGRU-pytorch's minLM, or of the paper's layers as described below. The names in it decide which.\n"
        "Nothing is written if the checkpoint is not exactly such a state dict.",
        epilog=describe(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add.add_argument("checkpoint", help="file of torch.save or *.safetensors; no code from it is run")
    add.add_argument("folder", help="folder to create; an existing one must be empty")
    _add_paper_options(add)
    add.set_defaults(run=run_convert)


def _add_paper_options(command: argparse.ArgumentParser) -> None:
    paper = command.add_argument_group(
        "the paper's layers",
        "What a file of the paper's layers does not contain. The defaults are those of the paper, but published code may\n"
        "differ. The line that is printed at the end lists the values that were used.",
    )
    default = Options()
    paper.add_argument(
        "--name",
        dest="names",
        action="append",
        type=part_and_name,
        metavar="PART=NAME",
        help="the file's name for a part, without the layer for a part of a layer, such as gates=cell.linear; repeatable",
    )
    paper.add_argument(
        "--order",
        type=lambda text: tuple(block.strip() for block in text.split(",")),
        help="blocks of gates in their order: gate,candidate (default for minGRU) or forget,input,candidate (default for "
        "minLSTM)",
    )
    paper.add_argument(
        "--normalize-gates",
        action=argparse.BooleanOptionalAction,
        default=default.normalize_gates,
        help="minLSTM: divide the two gates by their sum, as in the paper; its official code does not by default",
    )
    paper.add_argument(
        "--candidate",
        dest="candidate_activation",
        choices=("g", "identity"),
        default=default.candidate_activation,
        help="candidate activation: g (appendix B; default) or identity (section 3)",
    )
    paper.add_argument(
        "--forget-bias",
        type=float,
        default=default.forget_bias,
        help="minLSTM: what the original code adds to the forget gate at run time, such as 3 (default: 0); leave it 0 if the "
        "stored bias contains it; the mean of the stored bias is printed",
    )
    paper.add_argument(
        "--initial-state",
        type=float,
        default=default.initial_state,
        help="value of every channel of the state before the first token (default: 0); 0.5 if the original code applies g "
        "to 0",
    )
    paper.add_argument(
        "--activation",
        dest="hidden_act",
        default=default.hidden_act,
        help="activation of the feed-forward part, by its name in transformers (default: gelu)",
    )
    paper.add_argument(
        "--norm-eps",
        dest="rms_norm_eps",
        type=float,
        default=default.rms_norm_eps,
        help="eps of every norm (default: that of torch.nn.RMSNorm)",
    )


def _add_card(commands) -> None:
    add = commands.add_parser(
        "card",
        help="write the model card, README.md, of a saved model",
        description="Write the card, README.md, of a model that Trainer or save_pretrained saved, or of a PEFT adapter, from "
        "the files in its folder. The command replaces a card that Trainer, TRL or PEFT wrote, and keeps the base model, "
        "data sets, language and licence of that card's metadata. It does not replace a card that somebody has edited.",
    )
    add.add_argument("folder", help="folder that save_pretrained or Trainer.save_model wrote")
    add.add_argument("--base-model", metavar="NAME", help="name on the Hub of the model that was fine-tuned")
    add.add_argument("--license", metavar="ID", help="identifier from the Hub's list of licences, such as apache-2.0")
    add.add_argument(
        "--dataset",
        dest="datasets",
        action="append",
        default=[],
        metavar="NAME",
        help="name on the Hub of a data set that the model was trained on; repeatable",
    )
    add.add_argument("--language", metavar="CODE", help="language of the data, such as en or zh-CN, or code")
    add.add_argument("--name", help="title of the card (default: name of the folder)")
    add.add_argument("--overwrite", action="store_true", help="replace a card that somebody wrote or edited")
    add.set_defaults(run=run_card)


def _add_push(commands) -> None:
    add = commands.add_parser(
        "push",
        help="push a finished model's folder to the Hub",
        description="Push a finished model to the Hub in one commit: weights, config, tokenizer, card, results and the code "
        "that loads the model where this package is not installed. Checkpoints, pickles and hidden files are not pushed. "
        "Log in first, with `hf auth login`.",
    )
    add.add_argument("folder", help="folder that save_pretrained or train_lm.py wrote, with a card, README.md")
    add.add_argument(
        "repo", help="owner/name on the Hub, or only a name for one of your own; created if it does not exist"
    )
    add.add_argument("--private", action="store_true", default=None, help="make a new repository private")
    add.add_argument("--revision", help="branch to push to, created if it does not exist (default: main)")
    add.add_argument("--message", help="title of the commit")
    add.set_defaults(run=run_push)


def part_and_name(text: str) -> tuple[str, str]:
    """Parses an argument PART=NAME.

    >>> part_and_name("gates=cell.linear")
    ('gates', 'cell.linear')
    """
    part, equals, name = text.partition("=")
    if not (part and equals and name):
        raise argparse.ArgumentTypeError(f"must be PART=NAME, got {text!r}")
    return part, name


def run_convert(args: argparse.Namespace) -> str:
    """Runs `convert` and returns one line that describes the result."""
    values: dict[str, Any] = vars(args) | {"names": dict(args.names) if args.names else None}
    model = read_model(args.checkpoint, Options(**{field: values[field] for field in Options._fields}))
    write_model(model, args.folder)
    config = model.config
    used = f"; used: {'; '.join(model.taken)}" if model.taken else ""
    return (
        f"{args.folder}: {config.cell_type}, layers {config.num_hidden_layers}, hidden size {config.hidden_size}, "
        f"state size {config.state_size}, vocabulary {config.vocab_size}{used}"
    )


def run_card(args: argparse.Namespace) -> str:
    """Runs `card` and returns one line with the path of the card and the options of important fields that are empty."""
    values = {key: getattr(args, key) for key in ("base_model", "license", "datasets", "language", "name", "overwrite")}
    path = write_card(args.folder, **values)
    data = ModelCard.load(path).data
    options = {"license": "--license", "base_model": "--base-model", "datasets": "--dataset"}
    missing = [option for key, option in options.items() if not data.get(key)]
    advice = f"; if they apply, add {', '.join(missing)}" if missing else ""
    return f"{path}: written{advice}"


def run_push(args: argparse.Namespace) -> str:
    """Runs `push` and returns one line with the address of the model."""
    url = push_folder(args.folder, args.repo, private=args.private, revision=args.revision, message=args.message)
    return f"{args.folder}: pushed to {url}"


def main(arguments: list[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments (list of `str`, *optional*): Arguments of the command. By default those of the process.

    Returns:
        `int`: The exit status: 0, or 2 after an error, which is one line on stderr.
    """
    args = parser().parse_args(arguments)
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # the command prints only one line
    try:
        print(args.run(args))
    except (ValueError, OSError) as error:
        print(f"hf-minrnn {args.command}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    finally:
        if bars:
            logging.enable_progress_bar()
    return 0
