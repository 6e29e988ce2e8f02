# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The command `hf-minrnn`: one subcommand for each tool."""

import argparse
import sys

from huggingface_hub import ModelCard

from ..compat import logging
from .card import write_card
from .convert import Options, read_model, write_model
from .convert_paper import describe
from .hub import push_folder


def parser() -> argparse.ArgumentParser:
    """The command's arguments; a subcommand puts the function that runs it under `run`.

    >>> parser().parse_args(["convert", "minlm.pt", "folder"]).folder
    'folder'
    """
    top = argparse.ArgumentParser(prog="hf-minrnn", description="Tools around minGRU and minLSTM models.")
    commands = top.add_subparsers(dest="command", required=True)
    add = commands.add_parser(
        "convert",
        help="make a model folder of a checkpoint of minGRU-pytorch or of the paper's layers",
        description="Convert a checkpoint to a folder that MinRNNForCausalLM.from_pretrained loads: a state dict of\n"
        "minGRU-pytorch's minLM, or of the paper's layers as described below. The names in it tell which. Nothing is\n"
        "written where the checkpoint is not exactly such a state dict.",
        epilog=describe(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add.add_argument("checkpoint", help="file of torch.save or *.safetensors; only tensors are read, no code is run")
    add.add_argument("folder", help="folder to make; an existing one must be empty")
    paper = add.add_argument_group(
        "the paper's layers",
        "What such a file cannot tell. The defaults are the paper's, which published code need not follow;\n"
        "the line that is printed at the end says what was taken.",
    )
    default = Options()
    paper.add_argument(
        "--name",
        dest="names",
        action="append",
        type=part_and_name,
        metavar="PART=NAME",
        help="what the file calls a part, inside its layer where it is a layer's, such as gates=cell.linear; repeatable",
    )
    paper.add_argument(
        "--order",
        type=lambda text: tuple(block.strip() for block in text.split(",")),
        help="blocks of gates: gate,candidate (minGRU; the default) or forget,input,candidate (minLSTM), in any order",
    )
    paper.add_argument(
        "--normalize-gates",
        action=argparse.BooleanOptionalAction,
        default=default.normalize_gates,
        help="minLSTM: divide the two gates by their sum, as the paper does and its official code by default does not",
    )
    paper.add_argument(
        "--candidate",
        dest="candidate_activation",
        choices=("g", "identity"),
        default=default.candidate_activation,
        help="g (appendix B; the default) or identity (section 3)",
    )
    paper.add_argument(
        "--forget-bias",
        type=float,
        default=default.forget_bias,
        help="minLSTM: what the original adds to the forget gate at run time, such as 3; 0 (the default) where the "
        "stored bias holds it. What the stored ones average is printed",
    )
    paper.add_argument(
        "--initial-state",
        type=float,
        default=default.initial_state,
        help="every channel of the state before the first token: 0 (the default), or 0.5 where the original takes g of 0",
    )
    paper.add_argument(
        "--activation",
        dest="hidden_act",
        default=default.hidden_act,
        help="of the feed-forward part, by transformers' name for it (default: gelu)",
    )
    paper.add_argument(
        "--norm-eps",
        dest="rms_norm_eps",
        type=float,
        default=default.rms_norm_eps,
        help="eps of every norm (default: what torch.nn.RMSNorm takes by itself)",
    )
    add.set_defaults(run=run_convert)
    add = commands.add_parser(
        "card",
        help="write the card, README.md, of a saved model",
        description="Write the card, README.md, of a model that Trainer or save_pretrained saved, or of an adapter of PEFT, "
        "from the files in its folder. The command replaces a card that Trainer, TRL or PEFT wrote, and keeps the base model, "
        "data sets, language and licence of that card's metadata. It does not touch a card that somebody has edited.",
    )
    add.add_argument("folder", help="what save_pretrained or Trainer.save_model wrote")
    add.add_argument("--base-model", metavar="NAME", help="the model it was fine-tuned from, by its name on the Hub")
    add.add_argument("--license", metavar="ID", help="such as apache-2.0, from the Hub's list of licences")
    add.add_argument(
        "--dataset",
        dest="datasets",
        action="append",
        default=[],
        metavar="NAME",
        help="a data set it was trained on, by its name on the Hub; repeatable",
    )
    add.add_argument("--language", metavar="CODE", help="of the data, such as en or zh-CN, or code")
    add.add_argument("--name", help="the card's title (default: the folder's name)")
    add.add_argument("--overwrite", action="store_true", help="replace a card that somebody wrote or edited")
    add.set_defaults(run=run_card)
    add = commands.add_parser(
        "push",
        help="push a finished model's folder to the Hub",
        description="Push a finished model to the Hub in one commit: weights, config, tokenizer, card, results and the code "
        "that loads it where this package is not installed. Checkpoints, pickles and hidden files are left out. Log in "
        "first, with `hf auth login`.",
    )
    add.add_argument("folder", help="what save_pretrained or train_lm.py wrote, with its card, README.md")
    add.add_argument("repo", help="owner/name on the Hub, or a name of your own; made if it is not there")
    add.add_argument("--private", action="store_true", default=None, help="make a new repository private")
    add.add_argument("--revision", help="branch to push to, made if it is not there (default: main)")
    add.add_argument("--message", help="title of the commit")
    add.set_defaults(run=run_push)
    return top


def part_and_name(text: str) -> tuple[str, str]:
    """Reads an argument PART=NAME.

    >>> part_and_name("gates=cell.linear")
    ('gates', 'cell.linear')
    """
    part, equals, name = text.partition("=")
    if not (part and equals and name):
        raise argparse.ArgumentTypeError(f"PART=NAME is wanted, got {text!r}")
    return part, name


def run_convert(args) -> str:
    """Runs `convert` and says what came out, in one line."""
    values = vars(args) | {"names": dict(args.names) if args.names else None}
    model = read_model(args.checkpoint, Options(**{field: values[field] for field in Options._fields}))
    write_model(model, args.folder)
    config = model.config
    return (
        f"{args.folder}: {config.cell_type}, layers {config.num_hidden_layers}, hidden size {config.hidden_size}, "
        f"state size {config.state_size}, vocabulary {config.vocab_size}{'; taken: ' if model.taken else ''}"
        f"{'; '.join(model.taken)}"
    )


def run_card(args) -> str:
    """Runs `card` and says in one line where the card is, and which important fields are missing."""
    values = {key: getattr(args, key) for key in ("base_model", "license", "datasets", "language", "name", "overwrite")}
    path = write_card(args.folder, **values)
    data = ModelCard.load(path).data
    options = {"license": "--license", "base_model": "--base-model", "datasets": "--dataset"}
    lacking = [option for key, option in options.items() if not data.get(key)]
    advice = f"; where they apply, add {', '.join(lacking)}" if lacking else ""
    return f"{path}: written{advice}"


def run_push(args) -> str:
    """Runs `push` and says where the model is, in one line."""
    url = push_folder(args.folder, args.repo, private=args.private, revision=args.revision, message=args.message)
    return f"{args.folder}: pushed to {url}"


def main(arguments: list[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments (list of `str`, *optional*): Instead of the process's own.

    Returns:
        `int`: The exit status: 0, or 2 with one line on stderr for what is refused.
    """
    args = parser().parse_args(arguments)
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # one line is all there is to say
    try:
        print(args.run(args))
    except (ValueError, OSError) as error:
        print(f"hf-minrnn {args.command}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    finally:
        if bars:
            logging.enable_progress_bar()
    return 0
