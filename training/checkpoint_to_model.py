# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Turns a checkpoint of a run into a model folder, without the run's data.

    python -m training.checkpoint_to_model runs/stdlib-mingru model              # the best weights so far
    python -m training.checkpoint_to_model runs/stdlib-mingru model --weights last --step 1200

The folder has the weights, the configuration, the tokenizer and the model's code, and the record of what the model was
trained on if it is known. `hf-minrnn card` writes its card and `hf-minrnn push` pushes it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

from transformers.utils.logging import disable_progress_bar

from training.common.checkpoint import checkpoints, newest_readable, read_checkpoint, step_of
from training.common.command_line import make_parser, reported, whole
from training.common.errors import InputError
from training.common.files import complete_files
from training.lm.model_setup import new_model, stored_config
from training.lm.saved_model import write_tokenizer_files
from training.lm.trained_on import FILE as TRAINED_ON
from training.lm.trained_on import TrainedOn, read_record


def find_checkpoint(folder: Path, step: int | None) -> dict:
    """Loads the checkpoint of a step, or the newest readable one.

    Raises:
        InputError: There is none, it cannot be read, or it is of a version that did not record the configuration.
    """
    found = checkpoints(folder)
    if not found:
        raise InputError(f"{folder} has no checkpoints: give the output folder of training.train_lm")
    if step is None:
        saved = newest_readable(folder)
        if saved is None:
            raise InputError(f"none of the {len(found)} checkpoints in {folder} can be read: give another folder")
    else:
        paths = {step_of(path): path for path in found}
        if step not in paths:
            steps = ", ".join(map(str, sorted(paths)))
            raise InputError(f"--step {step}: {folder} has no checkpoint of this step, only of {steps}")
        saved = read_checkpoint(paths[step])
    if "config" not in saved:
        raise InputError(
            f"the checkpoint in {folder} is of an earlier version and does not record the model's configuration: continue the "
            "run with training.train_lm --resume, which writes one that does"
        )
    return saved


def choose_weights(saved: dict, choice: str | None) -> tuple[str, int, dict]:
    """Returns which weights of a checkpoint are used, their step and their state dict.

    Args:
        choice (`str`, *optional*): `best` or `last`; by default the best, if the checkpoint has them.

    Raises:
        InputError: The checkpoint does not have the best weights.
    """
    best = saved["best"]
    has_best = best is not None and best["model"] is not None
    if choice == "best" and not has_best:
        raise InputError(
            "--weights best: the checkpoint has none, because it was written before the first evaluation or with "
            "--keep-weights last; give --weights last"
        )
    if choice == "last" or not has_best:
        return "last", saved["state"]["step"], saved["model"]
    return "best", best["step"], best["model"]


def record_of(folder: Path, saved: dict) -> TrainedOn | None:
    """Returns the record of the documents that a checkpoint was trained on; `None` if it is not known.

    The training text of a run that holds it in memory is the same at each step, so the record in the run's folder is that of
    all its checkpoints. A checkpoint of a stream has the record of what was read by then.
    """
    of_run = read_record(str(folder))
    if not saved["batches"]:
        return of_run
    record = TrainedOn()
    record.load_state_dict(saved["batches"].get("seen"))
    if of_run is not None:  # the held-out documents are the same at each step, too
        record.partly.update(of_run.partly)
        record.heldout.update(of_run.heldout)
    base = saved["args"].get("init_from")
    if base:
        record.merge(read_record(base))
    return record


@reported
def main(argv: list[str] | None = None) -> dict[str, str | int]:
    """Runs the command line. Returns the kind of the weights and their step.

    Raises:
        SystemExit: Bad input, with a message that names it and the remedy.
    """
    args = parse_arguments(argv)
    if args.output.exists() and not (args.output.is_dir() and not any(args.output.iterdir())):
        raise InputError(f"{args.output} is not an empty folder: give another")
    saved = find_checkpoint(args.run, args.step)
    disable_progress_bar()
    kind, step, weights = choose_weights(saved, args.weights)
    model = new_model(stored_config(saved["config"]), seed=0)
    model.load_state_dict(weights)
    model.carry_code()
    record = record_of(args.run, saved)
    with complete_files(args.output) as temporary:
        model.eval().save_pretrained(temporary)
        write_tokenizer_files(saved["tokenizer"], temporary)
        if record is not None:
            record.write(temporary)
    print(f"saved the {kind} weights, of step {step:,}, to {args.output}")
    if record is None:
        print(
            f"without {TRAINED_ON}, which a run writes at its end: training.evaluate will not know whether the model was "
            "trained on a text"
        )
    return {"weights": kind, "step": step}


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parses the command line."""
    parser = make_parser("training.checkpoint_to_model", __doc__)
    parser.add_argument("run", type=Path, help="output folder of a run")
    parser.add_argument("output", type=Path, help="folder for the model; a new or empty one")
    parser.add_argument(
        "--weights",
        choices=("best", "last"),
        default=None,
        help="those with the lowest held-out estimate so far, or those of the checkpoint's step; by default the best, if the "
        "checkpoint has them",
    )
    parser.add_argument("--step", type=whole, default=None, help="step of the checkpoint; by default the newest")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
