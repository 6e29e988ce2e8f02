# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""What trackers get from new, resumed and overwritten runs. Stand-ins take the place of wandb and trackio."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from accelerate import tracking
from accelerate.state import AcceleratorState
from accelerate.utils import LoggerType
from support.train_cases import QUICK, losses

from training import train_lm
from training.common.checkpoint import checkpoints
from training.common.errors import InputError
from training.lm.trackers import PRIVATE, check_trackers

STAND_IN = """
import json, os
from pathlib import Path

RECORD = Path({record!r})

def record(*entry):
    with RECORD.open("a") as file:
        file.write(json.dumps(entry) + "\\n")

class Config:
    def update(self, values, allow_val_change=False):
        record("config", values)

class Run:
    def log(self, values, step=None, **options):
        record("log", step, values)

    def finish(self):
        record("finish")

config = Config()

def init(**options):
    record("init", options, os.environ.get("WANDB_CONSOLE"))
    if {error!r}:
        raise RuntimeError({error!r})
    return Run()

def finish():
    record("finish")
"""


class Killed(Exception):
    """Takes the place of a kill."""


@pytest.fixture
def tensorboard(monkeypatch):
    """Skips a test where TensorBoard is not installed, and numbers the event files of each test from 0. TensorBoard reads files
    of one second and process in the order of the text of their numbers, in which 10 comes before 9. The runs of a user are
    processes of their own.
    """
    pytest.importorskip("tensorboard")
    from tensorboard.summary.writer import event_file_writer

    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(0))


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Returns a function that installs a stand-in for a tracker and returns a function that reads what it was told."""
    names = []

    def install(name, error=""):
        site = tmp_path / "site"
        site.mkdir(exist_ok=True)
        record = tmp_path / f"{name}.jsonl"
        (site / f"{name}.py").write_text(STAND_IN.format(record=str(record), error=error))
        monkeypatch.syspath_prepend(str(site))
        # Accelerate looks for packages when it is imported.
        monkeypatch.setattr(tracking, "_available_trackers", [*tracking._available_trackers, LoggerType(name)])
        sys.modules.pop(name, None)
        names.append(name)
        return lambda: [json.loads(line) for line in record.read_text().splitlines()]

    # Recorded, so that the values that a run sets are removed after the test.
    for variable in PRIVATE:
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    yield install
    for name in names:
        sys.modules.pop(name, None)


@pytest.fixture
def argv(text_file, tmp_path):
    folder = tmp_path / "secret" / "run"
    return [*QUICK, "--dataset", text_file, "--steps", "8", "--no-baselines", "--output-dir", str(folder)]


def run_killed(argv, at, checkpoint_at):
    """Runs until step `at`, with a checkpoint after step `checkpoint_at` and no later one."""
    step = train_lm.Trainer.step
    save = train_lm.Trainer.save

    def killed(self, rate):
        if self.state.step == at:
            raise Killed
        return step(self, rate)

    def saved(self):
        if self.state.step in (0, checkpoint_at):
            save(self)

    with pytest.raises(Killed), pytest.MonkeyPatch.context() as patches:
        patches.setattr(train_lm.Trainer, "step", killed)
        patches.setattr(train_lm.Trainer, "save", saved)
        train_lm.main([*argv, "--checkpoint-every", "0.0001"])
    AcceleratorState._reset_state(reset_partial_state=True)


def curves(folder):
    """Returns the values of each curve that TensorBoard shows for a run, by step; a step that is there twice is an error."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder / folder.name), size_guidance={"scalars": 0}).Reload()
    found = {}
    for tag in read.Tags()["scalars"]:
        events = read.Scalars(tag)
        found[tag] = {event.step: event.value for event in events}
        assert len(found[tag]) == len(events), f"{tag} has a step twice"
    return found


def raise_killed(*args):
    raise Killed


def folder_of(argv):
    return Path(argv[-1])


@pytest.mark.usefixtures("tensorboard")
def test_a_resumed_run_has_each_step_once_in_tensorboard(argv):
    folder = folder_of(argv)
    argv = [*argv, "--trackers", "tensorboard"]
    run_killed(argv, at=6, checkpoint_at=3)
    before = curves(folder)
    assert [*before["loss"]] == [1, 2, 3, 4, 5, 6]
    # Another learning rate shows whose values are kept.
    metrics = train_lm.main([*argv, "--resume", "--learning-rate", "1e-4"])
    after = curves(folder)
    assert {*after} == {"loss", "learning_rate", "gradient_norm", "tokens_per_second", "heldout_bits_per_byte"}
    for tag in ("loss", "learning_rate", "gradient_norm", "tokens_per_second"):
        assert [*after[tag]] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [after["loss"][step] for step in after["loss"]] == pytest.approx(losses(folder), rel=1e-6)
    assert all(after["learning_rate"][step] == before["learning_rate"][step] for step in (1, 2, 3))
    assert all(after["learning_rate"][step] < 2e-4 < before["learning_rate"][step] for step in (4, 5))
    assert after["heldout_bits_per_byte"][8] == pytest.approx(metrics["heldout_bits_per_byte"])
    assert all(np.isfinite(value) and value > 0 for value in after["gradient_norm"].values())


@pytest.mark.usefixtures("tensorboard")
def test_a_finished_run_that_is_resumed_logs_nothing_twice(argv):
    folder = folder_of(argv)
    argv = [*argv, "--trackers", "tensorboard"]
    train_lm.main(argv)
    before = curves(folder)
    AcceleratorState._reset_state(reset_partial_state=True)
    train_lm.main([*argv, "--resume"])
    assert curves(folder) == before
    AcceleratorState._reset_state(reset_partial_state=True)
    train_lm.main([*argv, "--resume", "--steps", "10"])
    after = curves(folder)
    assert [*after["loss"]] == [*range(1, 11)] and {*after["heldout_bits_per_byte"]} >= {8, 10}
    # One set of arguments, that of the last start.
    assert len([*folder.rglob("hparams.yml")]) == 1
    assert "steps: '10'" in next(folder.rglob("hparams.yml")).read_text()


@pytest.mark.parametrize("again", [["--trackers", "tensorboard"], []], ids=["tracked", "untracked"])
@pytest.mark.usefixtures("tensorboard")
def test_overwriting_a_run_removes_its_curve_and_nothing_else(argv, again):
    folder = folder_of(argv)
    train_lm.main([*argv, "--trackers", "tensorboard"])
    earlier = {*folder.rglob("events.out.tfevents.*"), *folder.rglob("hparams.yml")}
    mine = [folder / folder.name / "notes.txt", folder / "other" / "events.out.tfevents.1.host"]
    for path in mine:
        path.parent.mkdir(exist_ok=True)
        path.write_text("of the user")
    AcceleratorState._reset_state(reset_partial_state=True)
    train_lm.main([*argv, *again, "--overwrite", "--steps", "3"])
    assert len(earlier) >= 3 and not any(path.exists() for path in earlier)
    assert all(path.read_text() == "of the user" for path in mine)
    if again:
        assert [*curves(folder)["loss"]] == [1, 2, 3]


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_tracker_continues_the_same_run_after_a_resume(name, argv, stand_in):
    told = stand_in(name)
    folder = folder_of(argv)
    argv = [*argv, "--trackers", name]

    def identity(entries):
        (options,) = [entry[1] for entry in entries if entry[0] == "init"]
        assert options["project"] == folder.name and options["resume"] == "allow"
        return options["id" if name == "wandb" else "name"]

    run_killed(argv, at=6, checkpoint_at=3)
    killed = told()
    assert [entry[1] for entry in killed if entry[0] == "log" and "loss" in entry[2]] == [1, 2, 3, 4, 5, 6]
    train_lm.main([*argv, "--resume"])
    resumed = told()[len(killed) :]
    assert [entry[1] for entry in resumed if entry[0] == "log" and "loss" in entry[2]] == [4, 5, 6, 7, 8]
    assert identity(resumed) == identity(killed) and resumed[-1] == ["finish"]
    assert {"loss", "learning_rate", "gradient_norm", "tokens_per_second"} <= {*resumed[2][2]}
    AcceleratorState._reset_state(reset_partial_state=True)
    before = len(told())
    train_lm.main([*argv, "--overwrite"])
    assert identity(told()[before:]) != identity(killed)


@pytest.mark.usefixtures("tensorboard")
def test_trackers_are_not_told_the_folders_of_this_machine(argv, text_file, stand_in):
    told = stand_in("wandb")
    train_lm.main([*argv, "--trackers", "wandb", "tensorboard"])
    folder = folder_of(argv)
    (config,) = [entry[1] for entry in told() if entry[0] == "config"]
    assert config["dataset"] == "pets.txt" and config["output_dir"] == "run" and config["steps"] == "8"
    (start,) = [entry for entry in told() if entry[0] == "init"]
    assert start[1].pop("dir") == str(folder) and start[2] == "off"  # what is printed names folders too
    written = json.dumps([config, start[1]]).encode()
    for path in [*folder.rglob("events.out.tfevents.*"), *folder.rglob("hparams.yml")]:
        written += path.read_bytes()
    assert b"pets.txt" in written
    assert b"secret" not in written and Path(text_file).parent.name.encode() not in written


def test_settings_of_the_user_are_kept(argv, stand_in, monkeypatch):
    told = stand_in("wandb")
    monkeypatch.setenv("WANDB_CONSOLE", "wrap")
    train_lm.main([*argv, "--trackers", "wandb"])
    assert told()[0][2] == "wrap"


@pytest.mark.usefixtures("tensorboard")
def test_a_tracker_that_fails_at_the_start_is_reported(argv, stand_in):
    stand_in("wandb", error="no key: log in with wandb login\nmore about it")
    folder = folder_of(argv)
    with pytest.raises(
        SystemExit,
        match=r"--trackers tensorboard wandb: no key: log in with wandb login; correct this, or leave .* out$",
    ):
        train_lm.main([*argv, "--trackers", "tensorboard", "wandb"])
    assert not folder.exists()
    AcceleratorState._reset_state(reset_partial_state=True)
    train_lm.main([*argv, "--trackers", "tensorboard"])
    assert [*curves(folder)["loss"]] == [*range(1, 9)]


@pytest.mark.usefixtures("tensorboard")
def test_a_run_that_was_killed_before_its_first_checkpoint_starts_again(argv):
    folder = folder_of(argv)
    argv = [*argv, "--trackers", "tensorboard", "--resume", "auto"]
    with pytest.raises(Killed), pytest.MonkeyPatch.context() as patches:
        patches.setattr(train_lm.Trainer, "run", raise_killed)
        train_lm.main(argv)
    assert (folder / ".trackers.json").exists() and not checkpoints(folder)
    AcceleratorState._reset_state(reset_partial_state=True)
    assert train_lm.main(argv)["steps"] == 8
    assert [*curves(folder)["loss"]] == [*range(1, 9)]


@pytest.mark.usefixtures("tensorboard")
def test_files_of_the_user_in_the_folder_of_the_curves_are_not_taken_for_leftovers(argv):
    folder = folder_of(argv)
    (folder / folder.name).mkdir(parents=True)
    (folder / folder.name / "notes.txt").write_text("mine")
    with pytest.raises(SystemExit, match="is not empty: replace it with --overwrite"):
        train_lm.main(argv)


def test_a_damaged_file_of_the_trackers_begins_a_new_run(argv, stand_in):
    told = stand_in("wandb")
    folder = folder_of(argv)
    argv = [*argv, "--trackers", "wandb"]
    run_killed(argv, at=6, checkpoint_at=3)
    for damage in ("{", "[1]", '{"id": 3}'):
        (folder / ".trackers.json").write_text(damage)
        AcceleratorState._reset_state(reset_partial_state=True)
        train_lm.main([*argv, "--resume"])
    ids = [entry[1]["id"] for entry in told() if entry[0] == "init"]
    assert len({*ids}) == 4


@pytest.mark.parametrize("name", ["tensorboard", "trackio", "wandb"])
def test_a_tracker_that_is_not_installed_is_reported(name, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=rf"--trackers {name}: not installed; pip install {name}"):
        train_lm.main(["--trackers", name])


def test_a_folder_with_the_name_of_a_tracker_is_not_its_package(tmp_path, monkeypatch):
    (tmp_path / "aim").mkdir()  # as wandb leaves one in the folder that it runs in
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match="--trackers aim: not installed"):
        check_trackers(["aim"])
