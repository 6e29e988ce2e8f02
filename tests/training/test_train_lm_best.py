# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The weights that a run keeps, and runs that stop early."""

import json
import math
import signal

import pytest
import torch
from safetensors.torch import load_file
from support.train_cases import QUICK, losses

from training import train_lm
from training.common.checkpoint import load_checkpoint
from training.lm import trainer as trainer_module
from training.lm.best_weights import BestWeights

STEPS = 10
FALLS_THEN_RISES = [3.0, 2.0, 2.5, 2.0, 4.0]  # after steps 2, 4, 6 and 8, and of the last step
EVALUATED = [2, 4, 6, 8, 10]


@pytest.fixture
def argv(text_file):
    few = [*QUICK, "--samples", "0", "--no-baselines", "--eval-every", "0.2", "--dropout", "0.1"]
    return [*few, "--dataset", text_file, "--steps", str(STEPS)]


@pytest.fixture
def scripted(monkeypatch):
    """Returns a function that replaces the estimates of a run, by the step after which each is made."""

    def replace(estimates):
        wanted = dict(zip(EVALUATED, estimates, strict=True))
        evaluated = []
        estimate = train_lm.Trainer._estimate

        def known(self):
            assert math.isfinite(estimate(self))
            evaluated.append(self.state.step)
            return wanted.get(self.state.step, 9.0)

        monkeypatch.setattr(train_lm.Trainer, "_estimate", known)
        return evaluated

    return replace


@pytest.fixture
def history(monkeypatch):
    """Returns the weights after each step of the runs of a test, by step."""
    seen = {}
    step = train_lm.Trainer.step

    def watched(self, rate):
        result = step(self, rate)
        seen[self.state.step + 1] = {name: value.clone() for name, value in self.bare.state_dict().items()}
        return result

    monkeypatch.setattr(train_lm.Trainer, "step", watched)
    return seen


def assert_weights(found, expected):
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items())


def results_of(folder):
    return json.loads((folder / "results.json").read_text())


def test_the_saved_model_has_the_lowest_estimate(argv, tmp_path, scripted, history, capsys):
    evaluated = scripted(FALLS_THEN_RISES)
    metrics = train_lm.main([*argv, "--output-dir", str(tmp_path)])
    assert evaluated == EVALUATED  # as many evaluations as without keeping weights
    assert_weights(load_file(tmp_path / "model.safetensors"), history[4])  # the first of two equal estimates
    saved = load_checkpoint(tmp_path)
    assert_weights(saved["model"], history[STEPS])
    assert (saved["best"]["step"], saved["best"]["bits"]) == (4, 2.0)
    results = results_of(tmp_path)
    assert results["kept"] == {
        "weights": "best",
        "step": 4,
        "heldout_bits_per_byte_estimate": 2.0,
        "last_step": STEPS,
        "last_estimate": 4.0,
        "best_step": 4,
        "best_estimate": 2.0,
        "stopped_early": False,
    }
    assert metrics["steps"] == len(results["curve"]["loss"]) == STEPS
    shown = capsys.readouterr().out
    line = "kept the weights of step 4 (held out 2.000 bits per byte); those of the last step 10 have 4.000"
    assert f"{line}: the run overfits its text\n" in shown
    card = (tmp_path / "README.md").read_text()
    assert "| weights | those of step 4, 2.000 bits per byte on a part of the held-out text, the lowest" in card
    assert "those of the last step, 10, had 4.000. The run overfits its text |" in card


def test_the_last_weights_are_saved_on_request(argv, tmp_path, scripted, history, capsys):
    scripted(FALLS_THEN_RISES)
    train_lm.main([*argv, "--output-dir", str(tmp_path), "--keep-weights", "last"])
    assert_weights(load_file(tmp_path / "model.safetensors"), history[STEPS])
    assert load_checkpoint(tmp_path)["best"] == {"step": 4, "bits": 2.0, "model": None}
    kept = results_of(tmp_path)["kept"]
    assert (kept["weights"], kept["step"], kept["best_step"]) == ("last", STEPS, 4)
    assert "kept the weights of the last step 10 (held out 4.000 bits per byte); those of step 4 had 2.000" in (
        capsys.readouterr().out
    )
    card = (tmp_path / "README.md").read_text()
    assert "| weights | those of step 10, 4.000 bits per byte" in card and "those of step 4 had 2.000" in card


def test_the_last_weights_are_saved_if_none_are_better(argv, tmp_path, scripted, history):
    scripted([*FALLS_THEN_RISES[:-1], 1.0])
    train_lm.main([*argv, "--output-dir", str(tmp_path)])
    assert_weights(load_file(tmp_path / "model.safetensors"), history[STEPS])
    kept = results_of(tmp_path)["kept"]
    assert kept["step"] == kept["best_step"] == kept["last_step"] == STEPS
    assert "overfits" not in (tmp_path / "README.md").read_text()


def test_without_overfitting_the_numbers_are_those_of_the_last_weights(argv, tmp_path):
    found = {}
    for choice in ("best", "last"):
        folder = tmp_path / choice
        metrics = train_lm.main([*argv, "--output-dir", str(folder), "--keep-weights", choice])
        assert results_of(folder)["kept"]["step"] == STEPS
        found[choice] = metrics["heldout_bits_per_byte"], results_of(folder)["weights_sha256"]
    assert found["best"] == found["last"]


def test_the_best_weights_survive_an_interruption(argv, tmp_path, scripted, history, monkeypatch):
    scripted(FALLS_THEN_RISES)
    train_lm.main([*argv, "--output-dir", str(tmp_path / "whole")])
    step = train_lm.Trainer.step

    def stopped(self, rate):
        if self.state.step == 6:
            signal.raise_signal(signal.SIGTERM)
        return step(self, rate)

    with monkeypatch.context() as patches:
        patches.setattr(train_lm.Trainer, "step", stopped)
        with pytest.raises(SystemExit):
            train_lm.main([*argv, "--output-dir", str(tmp_path / "stopped")])
    train_lm.main([*argv, "--output-dir", str(tmp_path / "stopped"), "--resume"])
    whole, stopped = (load_checkpoint(tmp_path / name)["best"] for name in ("whole", "stopped"))
    assert (whole["step"], whole["bits"]) == (stopped["step"], stopped["bits"]) == (4, 2.0)
    assert_weights(stopped["model"], whole["model"])
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "stopped")]
    assert files[0] == files[1]


def test_a_checkpoint_contains_equal_weights_once(argv, tmp_path, scripted):
    scripted([5.0, 4.0, 3.0, 2.0, 1.0])
    train_lm.main([*argv, "--output-dir", str(tmp_path / "last is best")])
    train_lm.main([*argv, "--output-dir", str(tmp_path / "last only"), "--keep-weights", "last"])
    sizes = [(tmp_path / name / f"checkpoint-{STEPS:010d}.pt").stat().st_size for name in ("last is best", "last only")]
    assert sizes[0] - sizes[1] < 20_000


def test_a_run_that_kept_the_last_weights_can_keep_the_best_from_then_on(argv, tmp_path, scripted, history):
    scripted(FALLS_THEN_RISES)
    train_lm.main([*argv, "--output-dir", str(tmp_path), "--keep-weights", "last"])
    train_lm.main([*argv, "--output-dir", str(tmp_path), "--resume"])
    kept = results_of(tmp_path)["kept"]
    assert (kept["weights"], kept["step"]) == ("best", STEPS)  # the weights of step 4 are lost
    assert_weights(load_file(tmp_path / "model.safetensors"), history[STEPS])


@pytest.mark.slow
@pytest.mark.parametrize("options", [["--bf16"], ["--compile"], ["--bf16", "--compile"]], ids=" ".join)
def test_the_best_weights_of_a_wrapped_model(argv, tmp_path, scripted, options):
    scripted(FALLS_THEN_RISES)
    metrics = train_lm.main([*argv, "--output-dir", str(tmp_path), *options])
    saved = load_checkpoint(tmp_path)
    model = load_file(tmp_path / "model.safetensors")
    assert saved["best"]["step"] == 4 and {value.dtype for value in model.values()} == {torch.float32}
    assert_weights(model, saved["best"]["model"])
    assert math.isfinite(metrics["heldout_bits_per_byte"])


# --- --patience


def test_a_run_stops_after_evaluations_without_a_lower_estimate(argv, tmp_path, scripted, history, capsys):
    scripted(FALLS_THEN_RISES)
    command = [*argv, "--output-dir", str(tmp_path), "--patience", "2"]
    assert train_lm.main(command)["steps"] == 8
    kept = results_of(tmp_path)["kept"]
    assert kept["stopped_early"] and (kept["step"], kept["last_step"]) == (4, 8)
    assert (
        "stopped early at step 8: 2 evaluations in a row without a lower held-out estimate" in capsys.readouterr().out
    )
    assert "It stopped early, after 2 evaluations without a lower estimate" in (tmp_path / "README.md").read_text()
    assert len(losses(tmp_path)) == 8
    # The run is finished: resumed without a change, or with more steps, it only measures again.
    for change in ([], ["--steps", "20"]):
        assert train_lm.main([*command, *change, "--resume"])["steps"] == 8
        assert "stopped early at step 8" in capsys.readouterr().out
    assert_weights(load_file(tmp_path / "model.safetensors"), history[4])


@pytest.mark.parametrize("change", [["--patience", "3"], []], ids=["larger", "none"])
def test_a_run_that_stopped_early_trains_on_with_more_patience(argv, tmp_path, scripted, capsys, change):
    scripted(FALLS_THEN_RISES)
    train_lm.main([*argv, "--output-dir", str(tmp_path), "--patience", "2"])
    capsys.readouterr()
    assert train_lm.main([*argv, "--output-dir", str(tmp_path), *change, "--resume"])["steps"] == STEPS
    now = change[1] if change else None
    assert f"resuming with patience {now} instead of 2\n" in capsys.readouterr().out
    kept = results_of(tmp_path)["kept"]
    assert (kept["stopped_early"], kept["step"]) == (False, 4)
    whole = tmp_path / "whole"
    train_lm.main([*argv, "--output-dir", str(whole)])
    assert losses(tmp_path) == losses(whole)


def test_patience_is_counted_over_an_interruption(argv, tmp_path, scripted, monkeypatch):
    scripted([1.0, 2.0, 2.0, 2.0, 2.0])
    command = [*argv, "--output-dir", str(tmp_path), "--patience", "3"]
    step = train_lm.Trainer.step

    def stopped(self, rate):
        if self.state.step == 5:
            signal.raise_signal(signal.SIGTERM)
        return step(self, rate)

    with monkeypatch.context() as patches:
        patches.setattr(train_lm.Trainer, "step", stopped)
        with pytest.raises(SystemExit):
            train_lm.main(command)
    assert train_lm.main([*command, "--resume"])["steps"] == 8


@pytest.mark.parametrize(
    "options, evaluations",
    [(["--patience", "4"], 4), (["--patience", "3"], None), (["--patience", "1", "--eval-every", "2"], 0), ([], None)],
)
def test_a_patience_that_cannot_stop_the_run_is_pointed_out(argv, tmp_path, capsys, options, evaluations):
    train_lm.main([*argv, "--output-dir", str(tmp_path), *options])
    shown = " ".join(capsys.readouterr().out.split())
    if evaluations is None:
        assert "cannot stop the run" not in shown
    else:
        assert f"evaluations before the end: {evaluations}; --patience {options[1]} cannot stop the run" in shown
    assert len(results_of(tmp_path)["evaluations"]) == (evaluations if evaluations is not None else 4)


@pytest.mark.parametrize("options", [["--keep-weights", "last"], ["--streaming", "--batching", "packed"]])
def test_patience_with_the_last_weights_and_with_a_stream(argv, tmp_path, scripted, options):
    scripted(FALLS_THEN_RISES)
    assert train_lm.main([*argv, "--output-dir", str(tmp_path), "--patience", "2", *options])["steps"] == 8
    kept = results_of(tmp_path)["kept"]
    assert (kept["stopped_early"], kept["step"]) == (True, 8 if "last" in options else 4)


# --- estimates that are not finite


def test_an_evaluation_that_is_not_finite_is_null_in_the_results(argv, tmp_path, scripted):
    scripted([3.0, math.nan, 2.5, math.inf, 4.0])
    train_lm.main([*argv, "--output-dir", str(tmp_path)])
    results = json.loads((tmp_path / "results.json").read_text(), parse_constant=pytest.fail)
    assert [entry["heldout_bits_per_byte_estimate"] for entry in results["evaluations"]] == [3.0, None, 2.5, None]
    assert results["kept"]["step"] == 6


def test_an_estimate_that_is_not_finite_is_never_the_best():
    best = BestWeights(keep=True)
    assert not best.offer(1, math.nan, dict) and not best.offer(2, math.inf, dict) and best.state_dict() is None
    assert best.offer(3, 5.0, dict) and not best.offer(4, math.nan, dict)
    assert best.step == 3


def test_weights_are_only_copied_when_they_are_kept():
    copies = []
    best = BestWeights(keep=True)
    for step, bits in enumerate([3.0, 4.0, 2.0, 2.0], start=1):
        best.offer(step, bits, lambda step=step: copies.append(step) or {"w": torch.tensor(step)})
    assert copies == [1, 3]
    assert BestWeights(True, best.state_dict()).weights["w"] == 3


def test_the_kept_copy_does_not_follow_the_trained_weights(argv, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer_module, "quick_bits_per_byte", lambda model, *rest: next(bits))
    bits = iter([1.0, 2.0, 3.0, 4.0, 5.0])
    train_lm.main([*argv, "--output-dir", str(tmp_path)])
    saved = load_checkpoint(tmp_path)
    assert saved["best"]["step"] == 2
    assert any(not torch.equal(saved["best"]["model"][name], saved["model"][name]) for name in saved["model"])
