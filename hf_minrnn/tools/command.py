# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The command `hf-minrnn`: one subcommand for each tool."""

import argparse
import sys

from ..compat import logging
from .convert import convert


def parser() -> argparse.ArgumentParser:
    """The command's arguments; a subcommand puts the function that runs it under `run`.

    >>> parser().parse_args(["convert", "minlm.pt", "folder"]).folder
    'folder'
    """
    top = argparse.ArgumentParser(prog="hf-minrnn", description="Tools around minGRU and minLSTM models.")
    commands = top.add_subparsers(dest="command", required=True)
    add = commands.add_parser(
        "convert",
        help="make a model folder of a minGRU-pytorch checkpoint",
        description="Convert a state dict of minGRU-pytorch's minLM to a folder that MinRNNForCausalLM.from_pretrained "
        "loads. Nothing is written where the checkpoint is not exactly such a state dict.",
    )
    add.add_argument("checkpoint", help="file of torch.save or *.safetensors; only tensors are read, no code is run")
    add.add_argument("folder", help="folder to make; an existing one must be empty")
    add.set_defaults(run=run_convert)
    return top


def run_convert(args) -> str:
    """Runs `convert` and says what came out, in one line."""
    config = convert(args.checkpoint, args.folder)
    return (
        f"{args.folder}: {config.cell_type}, layers {config.num_hidden_layers}, hidden size {config.hidden_size}, "
        f"state size {config.state_size}, vocabulary {config.vocab_size}"
    )


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
