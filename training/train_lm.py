# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Train a minGRU or minLSTM language model and compare it with gzip, xz and a 5-gram.

    python -m training.train_lm                                    # Python's standard library, five minutes on a CPU
    python -m training.train_lm --dataset shakespeare.txt --tokenizer chars --steps 1000
    python -m training.train_lm --dataset owner/corpus --streaming --stateful --tokenizer gpt2 --steps 100000
    torchrun --nproc_per_node 4 -m training.train_lm --bf16 --minutes 30
    python -m training.train_lm --resume                           # after a crash, a kill or Ctrl-C
    python -m training.train_lm --resume auto                      # the same, or start if there is no checkpoint yet
    python -m training.train_lm --init-from runs/stdlib-mingru --dataset mine.txt

The output folder holds a model that `pipeline("text-generation", model=folder)` loads, its card README.md, results.json,
loss.png and samples.txt. With --steps a run is reproducible, and a resumed run equals an uninterrupted one. With --minutes
the learning rate follows the clock, so a second run is only approximately equal.
"""

from __future__ import annotations

import argparse
import errno
import math
import os
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

# Threads that wait for each other must not spin. On a machine that also does other work, a spinning thread keeps the core
# from the thread it waits for, and single steps took up to 30 times longer. The variable is read when torch is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from transformers.utils.logging import disable_progress_bar

from hf_minrnn import MinRNNForCausalLM
from hf_minrnn.tools.hub import PushError, make_repository
from training.common import folder_lock
from training.common.checkpoint import check_same_run, checkpoints, load_checkpoint, step_of
from training.common.command_line import reported
from training.common.errors import DISK_FULL, InputError, WriteError, error_number, file_name, first_cause
from training.common.files import remove_file
from training.common.text import amount, byte_size, wrapped
from training.common.widths import count
from training.lm.best_weights import describe_kept
from training.lm.data import Data, load_data
from training.lm.distributed import make_accelerator, whole_state
from training.lm.finish import OUTPUT_FILES, finish_run, push
from training.lm.initial_model import Source, resumed_model, resumed_tokenizer, take_stored_options
from training.lm.model_setup import build_model, new_model
from training.lm.options import FREE_TO_CHANGE, given_options, how_to_resume, parse_arguments
from training.lm.round_trip import reason
from training.lm.tokenization import has_padding
from training.lm.trackers import check_trackers, finish_trackers, is_of_trackers, remove_curves, start_trackers
from training.lm.trainer import Trainer, remedy_for_run, run_arguments
from training.report.cards import write_card


def check_folder(args: argparse.Namespace) -> None:
    """Checks that the output folder is one, and that it can be written to.

    Raises:
        InputError: It is a file, or nothing can be written to it.
    """
    folder = Path(args.output_dir)
    if os.path.exists(folder) and not folder.is_dir():
        raise InputError(f"--output-dir {folder} is a file: give a folder")
    # Unlike Path.exists, os.path.exists does not raise where a folder may not be read.
    parent = next(path for path in (folder, *folder.parents) if os.path.exists(path))
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"--output-dir {folder}: nothing can be written to {parent}: give another folder")


def resumes(args: argparse.Namespace) -> bool:
    """Whether the run continues from a checkpoint.

    Raises:
        InputError: The folder holds files, and the run neither continues from them nor overwrites them.
    """
    folder = Path(args.output_dir)
    if args.resume is True or (args.resume == "auto" and checkpoints(folder)):
        return True
    # A run that was killed before its first checkpoint leaves these files. Nothing is lost with them.
    in_use = any(
        path.suffix != ".partial" and path.name != folder_lock.NAME and not is_of_trackers(path)
        for path in folder.iterdir()
    )
    if in_use and not args.overwrite:
        resume = "continue the run with --resume, " if checkpoints(folder) else ""
        raise InputError(f"{folder} is not empty: {resume}replace it with --overwrite, or change --output-dir")
    return False


def open_folder(args: argparse.Namespace, accelerator: Accelerator, held: ExitStack) -> dict | None:
    """Locks the output folder until `held` is closed. Returns the newest checkpoint if the run continues from it.

    The main process alone locks the folder and looks at its content. All processes do what it decides.

    Raises:
        InputError: The folder cannot be used, or there is no checkpoint to resume from. All processes raise it.
    """
    decision: list = [None, False]  # an error's message, and whether to resume
    if accelerator.is_main_process:
        try:
            check_folder(args)
            held.enter_context(folder_lock.FolderLock(args.output_dir))
            decision[1] = resumes(args)
        except InputError as error:
            decision[0] = str(error)
    if accelerator.num_processes > 1:
        broadcast_object_list(decision)
    message, resume = decision
    if message:
        raise InputError(message)
    return load_checkpoint(args.output_dir) if resume else None


def remove_outputs(folder: Path) -> None:
    """Deletes the outputs and checkpoints of an earlier run, so that they are not taken for those of this run."""
    for path in [*(folder / name for name in OUTPUT_FILES), *checkpoints(folder)]:
        remove_file(path)
    remove_curves(folder)


def describe(
    args: argparse.Namespace, accelerator: Accelerator, data: Data, model: MinRNNForCausalLM, saved: dict | None
) -> None:
    """Prints the data, the tokenizer, the model and the budget of the run."""
    train = data.train
    heldout = data.heldout
    tokens_per_step = args.batch_size * args.accumulate * args.sequence_length * accelerator.num_processes
    budget = f"{args.steps:,} steps" if args.steps else f"{args.minutes:g} minutes"
    rest = " (the first of the stream)" if args.streaming else ""
    start = f", from step {saved['state']['step']:,}" if saved else ""
    lines = [
        wrapped(
            "data",
            f"{data.corpus.name}: {byte_size(train.num_bytes)} for training{rest}, {byte_size(heldout.num_bytes)} held out "
            f"({len(data.corpus.train):,} + {len(data.corpus.heldout):,} documents)",
        ),
        *data.corpus.reading.lines(data.corpus.split),
        wrapped(
            "tokens",
            f"{args.tokenizer}, vocabulary {len(data.tokenizer):,}: {amount(len(train.ids))} training tokens, "
            f"{train.num_bytes / len(train.ids):.2f} bytes per token "
            f"(tokenized in {data.tokenizer_seconds + data.encode_seconds:.1f} s)",
        ),
        wrapped(
            "model",
            f"{model.config.model_type} {args.cell_type}, {args.num_hidden_layers} layers of {args.hidden_size}: "
            f"{amount(count(model))} parameters, on {accelerator.device}",
        ),
        wrapped("training", f"{budget}, {tokens_per_step:,} tokens per step{start}"),
    ]
    evaluations = math.ceil(1 / args.eval_every - 1e-9) - 1  # before the last step
    if saved is None and args.patience is not None and args.patience >= evaluations:
        lines.append(
            wrapped(
                "patience",
                f"number of evaluations before the end: {evaluations}; --patience {args.patience} cannot stop the run: "
                "give a smaller --eval-every",
            )
        )
    if not data.round_trip.lossless:
        lines.append(wrapped("lossy", reason(data.round_trip.record())))
    if not has_padding(data.tokenizer):
        lines.append(
            wrapped(
                "padding",
                "the tokenizer has no padding token of its own: DataCollatorForLanguageModeling would leave every end of text "
                "out of the loss, so fine-tune with DataCollatorWithFlattening",
            )
        )
    accelerator.print("\n".join(lines))


def note_changes(args: argparse.Namespace, accelerator: Accelerator, data: Data, saved: dict) -> None:
    """Prints and records which arguments differ from those of a checkpoint.

    Raises:
        InputError: An argument differs that must not.
    """
    state = saved["state"]
    current = run_arguments(args, data, accelerator.num_processes)
    for difference in check_same_run(saved["args"], current, FREE_TO_CHANGE, options=vars(args)):
        accelerator.print(f"resuming with {difference}")
        state.setdefault("changed", []).append([state["step"], difference])


def prepare(
    args: argparse.Namespace, given: set[str], accelerator: Accelerator, saved: dict | None
) -> tuple[Data, MinRNNForCausalLM]:
    """Loads the data and builds the model: a new one, that of a checkpoint, or that of --init-from.

    Args:
        given (`set[str]`): Names of the options that the command line contains.

    Raises:
        InputError: The data, an option or the checkpoint cannot be used.
    """
    if saved:
        take_stored_options(args, given, saved)
        ready = resumed_tokenizer(saved)
        options = {"tokenizer": ready} if ready else {}
        data = load_data(args, padding="padding token" in saved["args"], **options)
        note_changes(args, accelerator, data, saved)
        model, lines = resumed_model(args, data.tokenizer, saved)
        for line in lines:
            accelerator.print(line)
        return data, model
    if args.init_from:
        source = Source(args, given)
        data = load_data(args, padding=True, tokenizer=source.tokenizer)
        return data, source.model()
    data = load_data(args, padding=True)
    return data, build_model(args, data.tokenizer)


def trained_model(args: argparse.Namespace, accelerator: Accelerator, trainer: Trainer) -> MinRNNForCausalLM:
    """Returns one plain float32 model with the weights to keep; only the main process gets these weights."""
    weights = trainer.best.weights if trainer.keeps_best else None
    if not args.fsdp:
        model = trainer.bare
        # Without the autocast that Accelerate wraps around forward. Its unwrap_model breaks the forward of a compiled model.
        for name in ("forward", "_original_forward"):
            vars(model).pop(name, None)
    else:
        if weights is None:
            weights = whole_state(trainer.bare, trainer.bare_optimizer)["model"]
        model = new_model(trainer.bare.config, args.seed)
    if weights and accelerator.is_main_process:
        model.load_state_dict(weights)
        model.to(accelerator.device)
    return model


def run(args: argparse.Namespace, given: set[str]) -> dict[str, float]:
    """Loads the data, trains, evaluates and saves. Returns the metrics.

    Args:
        given (`set[str]`): Names of the options that the command line contains.
    """
    disable_progress_bar()  # hides transformers' bars for saving, not the bar of the training
    check_trackers(args.trackers)
    accelerator = make_accelerator(args)
    main_process = accelerator.is_main_process
    if args.push_to_hub and main_process:  # an error comes now and not after hours of training
        make_repository(args.push_to_hub)
    folder = Path(args.output_dir)
    with ExitStack() as held:
        saved = open_folder(args, accelerator, held)
        data, model = prepare(args, given, accelerator, saved)
        describe(args, accelerator, data, model, saved)
        trainer = Trainer(args, accelerator, data, model, saved)
        if args.overwrite and main_process:
            remove_outputs(folder)
        if args.trackers:
            start_trackers(accelerator, args, resumed_at=trainer.state.step if saved else None)
        trainer.run()
        accelerator.wait_for_everyone()
        model = trained_model(args, accelerator, trainer)
        metrics = {}
        if main_process:
            metrics = finish(args, data, model, trainer)
        # The other processes do not wait: measuring may take longer than a process group lets its members wait.
        if args.trackers:
            key = f"heldout_{data.unit.replace(' ', '_')}"
            finish_trackers(accelerator, args, trainer.state.step, {key: metrics.get(key, 0)})
        return metrics


def finish(args: argparse.Namespace, data: Data, model: MinRNNForCausalLM, trainer: Trainer) -> dict[str, float]:
    """Fills the output folder, and pushes it on request. Returns the metrics."""
    folder = Path(args.output_dir)
    print(describe_kept(trainer.kept()))
    try:
        metrics = finish_run(args, data, model, trainer, folder)
        write_card(folder)
    except KeyboardInterrupt:
        raise Interrupted(f"the checkpoint of step {trainer.state.step:,} is complete: measure again") from None
    if args.push_to_hub:
        push(args.push_to_hub, folder)
    return metrics


class Interrupted(Exception):
    """Ctrl-C, with a message that says what is safe and ends before `with --resume`."""


def end_interrupted(args: argparse.Namespace, safe: str | None) -> NoReturn:
    """Ends the process after Ctrl-C, with one line that says how to continue.

    Args:
        safe (`str`, *optional*): The message of `Interrupted`.

    Raises:
        SystemExit: Always.
    """
    if safe is None:
        found = checkpoints(args.output_dir)
        if found:
            safe = f"the checkpoint of step {step_of(found[0]):,} is complete: continue"
    remedy = f"{safe} with {how_to_resume(args)}" if safe else "nothing was written yet: give the same command again"
    if os.environ.get("RANK", "0") == "0":  # one line, also in a run of several processes
        print(f"\ntraining.train_lm: interrupted; {remedy}", file=sys.stderr)
    raise SystemExit(128 + signal.SIGINT)


@reported
def main(argv: list[str] | None = None) -> dict[str, float]:
    """Runs the command line. Returns the metrics of results.json, or nothing on all but the main process.

    Raises:
        SystemExit: Bad input, with a message that names it and the remedy; or the run was stopped.
    """
    args = parse_arguments(argv)
    try:
        return run(args, given_options(argv))
    except Interrupted as interrupted:
        end_interrupted(args, str(interrupted))
    except KeyboardInterrupt:
        end_interrupted(args, None)
    except InputError:
        raise
    except PushError as error:
        raise InputError(f"--push-to-hub {error}; or leave it out") from None
    except WriteError as error:
        raise InputError(f"{error}; {remedy_for_run(error, args)}") from error
    except Exception as error:  # libraries also write to caches and temporary folders, and raise types of their own
        if error_number(error) not in DISK_FULL | {errno.EROFS}:
            raise
        name = file_name(error) or "a cache or a temporary file"
        raise InputError(
            f"{name} could not be written ({first_cause(error)}); {remedy_for_run(error, args)}"
        ) from error


if __name__ == "__main__":
    main()
