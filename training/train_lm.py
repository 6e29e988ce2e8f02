# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Train a minGRU or minLSTM language model and compare it with gzip, xz and a 5-gram.

    python -m training.train_lm                                    # Python's standard library, five minutes, a CPU
    python -m training.train_lm --dataset shakespeare.txt --tokenizer chars --steps 1000
    python -m training.train_lm --dataset owner/corpus --streaming --stateful --tokenizer gpt2 --steps 100000
    torchrun --nproc_per_node 4 -m training.train_lm --bf16 --minutes 30
    python -m training.train_lm --resume                           # after a crash, a kill or Ctrl-C

The output folder holds a model that `pipeline("text-generation", model=folder)` loads, its card README.md, results.json,
loss.png and samples.txt. With --steps a run is reproducible, and a resumed run equals an uninterrupted one. With --minutes
the learning rate follows the clock, so runs repeat only approximately.
"""

from __future__ import annotations

import argparse
import errno
import importlib.util
import os
from pathlib import Path

# Threads that wait for each other must not spin: on a machine that also does other work, a spinning thread keeps the core
# from the one it waits for, and single steps were seen to take 30 times longer. Read when torch is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

from accelerate import Accelerator
from transformers.utils.logging import disable_progress_bar

from hf_minrnn.tools.hub import PushError, make_repository
from training.common.checkpoint import check_same_run, checkpoints, first_cause, load_checkpoint
from training.common.errors import InputError
from training.common.text import amount
from training.lm.data import Data, load_data
from training.lm.distributed import make_accelerator, whole_state
from training.lm.finish import OUTPUT_FILES, finish_run, push
from training.lm.model_setup import build_model
from training.lm.options import FREE_TO_CHANGE, how_to_resume, parse_arguments
from training.lm.tokenization import has_padding
from training.lm.trainer import Trainer, run_arguments
from training.report.cards import write_card


def open_folder(args: argparse.Namespace) -> tuple[Path, dict | None]:
    """The output folder and, when resuming, its checkpoint.

    Raises:
        InputError: The folder holds files and neither --resume nor --overwrite is given, it cannot be written to, or there
            is nothing to resume.
    """
    folder = Path(args.output_dir)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--output-dir {folder} is a file: give a folder")
    if args.resume:
        return folder, load_checkpoint(folder)
    # A first checkpoint that was never finished is nothing to go on from, and nothing to lose.
    if folder.is_dir() and any(path.suffix != ".partial" for path in folder.iterdir()) and not args.overwrite:
        resume = "go on with --resume, " if checkpoints(folder) else ""
        raise InputError(f"{folder} is not empty: {resume}replace it with --overwrite, or change --output-dir")
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"--output-dir {folder}: nothing can be written to {there}: give another folder")
    return folder, None


def check_trackers(names: list[str]) -> None:
    """
    Raises:
        InputError: One of them is not installed.
    """
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise InputError(f"--trackers {name}: not installed; pip install {name}")


def describe(args: argparse.Namespace, accelerator: Accelerator, data: Data, model, saved: dict | None) -> None:
    """Prints what is going to be trained on what."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    tokens = args.batch_size * args.accumulate * args.sequence_length * accelerator.num_processes
    budget = f"{args.steps:,} steps" if args.steps else f"{args.minutes:g} minutes"
    accelerator.print(
        f"data      {data.corpus.name}: {amount(data.train.num_bytes)}B in {len(data.corpus.train)} documents"
        f"{' to begin with, the rest as a stream' if args.streaming else ''}, "
        f"{amount(data.heldout.num_bytes)}B in {len(data.corpus.heldout)} held out\n"
        f"tokens    {args.tokenizer}, vocabulary {len(data.tokenizer):,}: {amount(len(data.train.ids))} to train on, "
        f"{data.train.num_bytes / len(data.train.ids):.2f} bytes each "
        f"({data.tokenizer_seconds + data.encode_seconds:.1f} s to tokenize)\n"
        f"model     {model.config.model_type} {args.cell_type}, {args.num_hidden_layers} layers of {args.hidden_size}: "
        f"{amount(parameters)} parameters, on {accelerator.device}\n"
        f"training  {budget}, {tokens:,} tokens a step" + (f", from step {saved['state']['step']:,}" if saved else "")
    )
    if not has_padding(data.tokenizer):
        accelerator.print(
            "padding   the tokenizer has no padding token of its own, so DataCollatorForLanguageModeling would leave every "
            "end of text out of the loss: fine-tune with DataCollatorWithFlattening"
        )


def run(args: argparse.Namespace) -> dict[str, float]:
    """Loads, trains, evaluates, saves. Returns the metrics."""
    disable_progress_bar()  # transformers' own bars for saving; ours stays
    check_trackers(args.trackers)
    accelerator = make_accelerator(args)
    if args.push_to_hub and accelerator.is_main_process:  # now and not after hours of training
        make_repository(args.push_to_hub)
    folder, saved = open_folder(args)
    data = load_data(args, padding=saved is None or "padding token" in saved["args"])
    model = build_model(args, data.tokenizer)
    if saved:
        current, state = run_arguments(args, data, accelerator.num_processes), saved["state"]
        for difference in check_same_run(saved["args"], current, FREE_TO_CHANGE):
            accelerator.print(f"resuming with {difference}")
            state.setdefault("changed", []).append([state["step"], difference])
    describe(args, accelerator, data, model, saved)
    trainer = Trainer(args, accelerator, data, model, saved)
    if args.overwrite and accelerator.is_main_process:
        # An earlier run's model must not pass for this one's, should this one be stopped.
        for path in [*(folder / name for name in OUTPUT_FILES), *checkpoints(folder)]:
            path.unlink(missing_ok=True)
    if args.trackers:
        accelerator.init_trackers(folder.name, {name: str(value) for name, value in vars(args).items()})
    trainer.run()
    accelerator.wait_for_everyone()
    if args.fsdp:  # what is measured and saved is one plain model
        weights = whole_state(trainer.bare, trainer.bare_optimizer)["model"]
        model = build_model(args, data.tokenizer)
        if accelerator.is_main_process:  # the only one that has the weights
            model.load_state_dict(weights)
            model.to(accelerator.device)
    else:
        # Autocast was wrapped around forward by prepare; what is measured and saved is the plain float32 model.
        model = accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False, keep_torch_compile=False)
    metrics = {}
    if accelerator.is_main_process:
        metrics = finish_run(args, data, model, trainer, folder)
        write_card(folder)
        if args.push_to_hub:
            push(args.push_to_hub, folder)
    # The others do not wait: measuring may take longer than a process group lets its members wait for each other.
    if args.trackers:
        accelerator.log({"heldout_bits_per_byte": metrics.get("heldout_bits_per_byte", 0)}, step=trainer.state.step)
        accelerator.end_training()
    return metrics


def main(argv: list[str] | None = None) -> dict[str, float]:
    """Runs the command line; returns the metrics that results.json holds (empty on all but the main process).

    Raises:
        SystemExit: Bad input, with a message that names it and the remedy; or the run was stopped.
    """
    try:
        args = parse_arguments(argv)
        return run(args)
    except InputError as error:
        raise SystemExit(f"training.train_lm: {error}") from None
    except PushError as error:
        raise SystemExit(f"training.train_lm: --push-to-hub {error}; or leave it out") from None
    except Exception as error:  # the writers of weights and tokenizers raise types of their own on a full disk
        reason = first_cause(error)
        if os.strerror(errno.ENOSPC) not in reason:
            raise
        raise SystemExit(
            f"train_lm.py: {args.output_dir}: {reason}; make room, then go on with {how_to_resume(args)}"
        ) from error


if __name__ == "__main__":
    main()
