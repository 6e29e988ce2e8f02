# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Trackers of a run: TensorBoard, trackio and Weights & Biases (wandb). A resumed run continues its curves."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import re
import secrets
from pathlib import Path

from accelerate import Accelerator

from training.common.errors import InputError, first_line
from training.common.files import remove_file, write_json
from training.lm.run_facts import public_arguments

STATE_FILE = ".trackers.json"  # in the output folder: the run's id, and the step whose final values were logged
EVENTS = "events.out.tfevents.*"
# By default, wandb uploads the command line, the name of the machine, local paths and what the script prints. Whoever wants
# that sets these variables otherwise.
PRIVATE = {
    "WANDB_CONSOLE": "off",
    "WANDB_DISABLE_CODE": "true",
    "WANDB_DISABLE_GIT": "true",
    "WANDB_HOST": "localhost",
    "WANDB_X_DISABLE_META": "true",
    "WANDB_X_SAVE_REQUIREMENTS": "false",
}


def check_trackers(names: list[str]) -> None:
    """Checks that the packages of trackers are installed.

    Raises:
        InputError: One of them is not.
    """
    for name in names:
        spec = importlib.util.find_spec(name)
        # A folder without a package has no origin. wandb leaves one with its own name where it runs.
        if spec is None or spec.origin is None:
            raise InputError(f"--trackers {name}: not installed; pip install {name}")


def start_trackers(accelerator: Accelerator, args: argparse.Namespace, resumed_at: int | None) -> None:
    """Starts the trackers of a run. They are told its arguments, without the folders of local paths.

    Args:
        resumed_at (`int`, *optional*): Number of steps of the checkpoint that the run continues from; `None` for a new run.

    Raises:
        InputError: A tracker failed, for example because it needs a login.
    """
    folder = Path(args.output_dir)
    name = project_name(folder)
    run_id = ""
    if accelerator.is_main_process:
        if resumed_at is None:
            remove_curves(folder)
        run_id = _run_id(folder)
        _remove_hyperparameters(folder)
    options: dict[str, dict] = {
        "trackio": {"name": f"{name}-{run_id}", "resume": "allow"},
        "wandb": {"id": run_id, "name": name, "dir": str(folder), "resume": "allow"},
    }
    if resumed_at is not None:
        # Steps between the checkpoint and the end of the earlier process are logged again: TensorBoard drops the first ones.
        options["tensorboard"] = {"purge_step": resumed_at + 1}
    if "wandb" in args.trackers:
        for variable, value in PRIVATE.items():
            os.environ.setdefault(variable, value)
    described = {key: str(value) for key, value in public_arguments(vars(args)).items()}
    try:
        accelerator.init_trackers(name, described, options)
    except Exception as error:  # each tracker has types of its own
        if accelerator.is_main_process and resumed_at is None:  # or the corrected command would find the folder in use
            remove_curves(folder)
        names = " ".join(args.trackers)
        reason = first_line(error).rstrip(".")
        raise InputError(f"--trackers {names}: {reason}; correct this, or leave the tracker out") from error


def finish_trackers(accelerator: Accelerator, args: argparse.Namespace, step: int, values: dict[str, float]) -> None:
    """Logs the final values of a run, once also if the finished run is resumed, and ends the trackers."""
    folder = Path(args.output_dir)
    if accelerator.is_main_process and _read_state(folder).get("finished") != step:
        accelerator.log(values, step=step)
        write_json(folder / STATE_FILE, {"id": _run_id(folder), "finished": step})
    accelerator.end_training()


def project_name(folder: Path) -> str:
    """Returns the name under which trackers show the runs of an output folder.

    >>> project_name(Path("runs/pets"))
    'pets'
    """
    return Path(os.path.abspath(folder)).name or "run"


def remove_curves(folder: Path) -> None:
    """Deletes the TensorBoard files of an earlier run in an output folder, and the id under which it would be continued."""
    remove_file(folder / STATE_FILE)
    _remove_hyperparameters(folder)
    curves = folder / project_name(folder)
    for path in curves.glob(EVENTS):
        remove_file(path)
    with contextlib.suppress(OSError):  # it does not exist, or holds files of the user
        curves.rmdir()


def is_of_trackers(path: Path) -> bool:
    """Whether only trackers have written to a file or folder of an output folder."""
    if path.name in (STATE_FILE, "wandb"):
        return True
    files = [entry for entry in path.rglob("*") if not entry.is_dir()]
    curves = all(entry.match(EVENTS) or entry.name == "hparams.yml" for entry in files)
    return path.is_dir() and path.name == project_name(path.parent) and curves


def _remove_hyperparameters(folder: Path) -> None:
    """Deletes the arguments of earlier starts that TensorBoard would show as runs of their own."""
    for entry in (folder / project_name(folder)).glob("*"):
        if entry.is_dir() and re.fullmatch(r"\d+\.\d+", entry.name):  # the time of the start
            for path in [*entry.glob(EVENTS), *entry.glob("hparams.yml")]:
                remove_file(path)
            with contextlib.suppress(OSError):  # it holds files of the user
                entry.rmdir()


def _read_state(folder: Path) -> dict:
    try:
        state = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # a new run, or a damaged file
        return {}
    return state if isinstance(state, dict) else {}


def _run_id(folder: Path) -> str:
    """Returns the id that the run has had since its first start with a tracker."""
    run_id = _read_state(folder).get("id")
    if not isinstance(run_id, str):
        run_id = secrets.token_hex(4)
        write_json(folder / STATE_FILE, {"id": run_id})
    return run_id
