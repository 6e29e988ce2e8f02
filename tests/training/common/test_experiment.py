# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import copy
import os
import signal

import pytest
import torch
from torch import nn

from training.common.checkpoint import checkpoints
from training.common.comparators import build
from training.common.errors import InputError
from training.common.experiment import Recipe, evaluate, run_on_task
from training.common.widths import count
from training.paper.tasks import Task, chomsky

SIZE = {"vocab_size": 5, "hidden_size": 16, "num_layers": 2, "max_length": 40, "dropout": 0.1}
RECIPE = Recipe(steps=12, batch_size=4, lengths=(1, 9), rate=1e-2, every=4, warmup=3, schedule="cosine")


def make(name="mingru", seed=0, recipe=RECIPE, folder=None, task=None, every=0.0, about=None):
    torch.manual_seed(seed)
    task = task or chomsky("cycle_nav")
    model, validation = build(name, **SIZE), lambda: task.fixed("validation", 8, 9, 2)
    return run_on_task(model, task, recipe, seed, validation, about, folder=folder, title=name, checkpoint_every=every)


def weights(run):
    return {name: weight.clone() for name, weight in run.model.state_dict().items()}


def test_evaluation_is_the_mean_over_labels():
    class Says(nn.Module):  # "1" with probability 3/4, whatever it reads
        def __init__(self):
            super().__init__()
            self.bias = nn.Parameter(torch.tensor([0.0, 3.0]).log().nan_to_num(neginf=0.0))

        def forward(self, ids):
            return self.bias.expand(*ids.shape, 2)

    ids = torch.zeros(2, 3, dtype=torch.long)
    batches = [(ids, torch.tensor([[1, -100, 1], [0, -100, -100]])), (ids, torch.tensor([[1, -100, -100]] * 2))]
    found = evaluate(Says(), batches)
    p = torch.tensor(0.75)
    assert found["accuracy"] == 4 / 5
    assert found["loss"] == pytest.approx((-(4 * p.log() + (1 - p).log()) / 5).item(), rel=1e-6)
    with pytest.raises(ValueError, match="no label to score"):
        evaluate(Says(), [(ids, torch.full_like(ids, -100))])


@pytest.mark.parametrize("name", ["minlstm", "transformer"])
def test_a_resumed_run_has_the_losses_of_one_that_was_not_stopped(name, tmp_path, monkeypatch):
    whole = make(name)
    found = whole.train()
    assert len(whole.losses) == 12 and [entry["step"] for entry in found["curve"]] == [4, 8, 12]
    parts = []
    for stop in (5, 9, None):
        run = make(name, folder=tmp_path)
        if parts:
            assert run.step == len(parts[-1].losses)
        parts.append(run)
        if stop:
            step = run._train_step

            def interrupted(step=step, run=run, stop=stop):
                if run.step == stop - 1:
                    os.kill(os.getpid(), signal.SIGTERM)
                return step()

            monkeypatch.setattr(run, "_train_step", interrupted)
            with pytest.raises(SystemExit) as error:
                run.train()
            assert error.value.code == 128 + signal.SIGTERM and len(checkpoints(tmp_path)) == 1
    again = parts[-1].train()
    assert parts[-1].losses == whole.losses and again["curve"] == found["curve"] and again["best"] == found["best"]
    assert all(torch.equal(a, b) for a, b in zip(weights(whole).values(), weights(parts[-1]).values()))
    test = list(chomsky("cycle_nav").fixed("test", 8, 9, 1))
    tests = [run.test(lambda model: evaluate(model, test)) for run in (whole, parts[-1])]
    assert tests[0] == tests[1]


def test_the_checkpoint_of_another_run_is_rejected(tmp_path):
    run = make(folder=tmp_path)
    run.save()
    with pytest.raises(InputError, match=r"made with rate 0.01, not 0.02: .* or delete .* to start again"):
        make(folder=tmp_path, recipe=Recipe(**{**RECIPE.__dict__, "rate": 0.02}))
    with pytest.raises(InputError, match="made with seed 0, not 1"):
        make(folder=tmp_path, seed=1)
    with pytest.raises(InputError, match=r"made with dropout None, not 0.5"):
        make(folder=tmp_path, about={"dropout": 0.5})


def test_seeds_and_lengths_make_different_runs():
    runs = [make(seed=seed) for seed in (0, 0, 1)]
    losses = [[run._train_step() for run.step in range(3)] for run in runs]
    assert losses[0] == losses[1] != losses[2]
    lengths = set()
    draw = chomsky("parity").draw
    task = Task("lengths", 5, lambda seed, rows, length: lengths.add(length) or draw(seed, rows, length))
    run = make(task=task)
    for run.step in range(60):
        run._train_step()
    assert lengths == set(range(1, 10))


def scripted(run, scores, monkeypatch):
    """Makes the evaluations return these accuracies in order. Returns the weights at each evaluation."""
    seen, scores = [], iter(scores)

    def judged(model, batches, bf16=False):
        seen.append(copy.deepcopy(model.state_dict()))
        value = next(scores)
        return {"accuracy": value, "loss": 1 - value}

    monkeypatch.setattr("training.common.experiment.evaluate", judged)
    return seen


@pytest.mark.parametrize("metric", ["accuracy", "loss"])
def test_the_best_state_is_kept_and_tested(metric, monkeypatch):
    run = make(recipe=Recipe(steps=40, batch_size=2, lengths=(3, 3), every=1, metric=metric, patience=3, rate=1e-2))
    seen = scripted(run, [0.1, 0.5, 0.2, 0.3, 0.4, 0.9], monkeypatch)
    found = run.train()
    assert found["steps"] == 5 and found["best"]["step"] == 2 and found["final"]["step"] == 5
    tests = run.test(lambda model: {"weights": copy.deepcopy(model.state_dict())})
    for state, index in (("final", 4), ("best", 1)):
        assert all(torch.equal(tests[state]["weights"][name], weight) for name, weight in seen[index].items())


def test_a_solved_task_ends_the_run(monkeypatch):
    run = make(recipe=Recipe(steps=40, batch_size=2, lengths=(3, 3), every=5, solved=0.99))
    scripted(run, [0.5, 0.98, 0.995, 1.0], monkeypatch)
    found = run.train()
    assert found["steps"] == 15 and found["best"]["accuracy"] == 0.995
    assert found["parameters"] == count(run.model) and found["steps_per_second"] > 0


def test_a_gradient_that_is_not_finite_ends_the_run():
    run = make()
    run._train_step()
    before = weights(run)
    with torch.no_grad():
        run.model.model.lm_head.weight[0, 0] = float("nan")
    found = run.train()
    assert found["diverged"] and found["steps"] == 1 and found["best"] is None and found["final"] is None
    after = weights(run)
    assert all(torch.equal(before[name], after[name]) for name in before if "lm_head" not in name)
    assert list(run.test(lambda model: {"x": 1})) == ["final"]


def test_a_gradient_that_is_not_finite_ends_the_run_at_an_evaluation_too(monkeypatch):
    run = make(recipe=Recipe(steps=6, batch_size=2, lengths=(3, 3), every=2))
    clip = torch.nn.utils.clip_grad_norm_
    norms = [clip, lambda *_: torch.tensor(float("nan"))]  # the second step is skipped
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *args: norms.pop(0)(*args))
    found = run.train()
    assert found["diverged"] and found["steps"] == 2 and [entry["step"] for entry in found["curve"]] == [2]


def test_an_evaluation_that_is_not_finite_ends_the_run_and_is_dropped():
    run = make(
        recipe=Recipe(steps=4, batch_size=2, lengths=(3, 3), every=1, rate=1e38)
    )  # the gradient of step 1 is finite
    found = run.train()
    assert found["diverged"] and found["steps"] == 1 and found["best"] is None and found["curve"] == []


def test_bf16_trains_near_float32():
    losses = []
    for bf16 in (False, True):
        run = make(recipe=Recipe(**{**RECIPE.__dict__, "bf16": bf16}))
        losses.append(torch.tensor([run._train_step() for run.step in range(4)]))
    assert 0 < (losses[0] - losses[1]).abs().max() < 0.05


@pytest.mark.parametrize("name", ["mingru", "minlstm", "mingru-default"])
def test_it_learns(name):
    """Whether any bit of the string is 1, which needs a state."""

    def draw(seed, rows, length):
        ids, labels = chomsky("even_pairs").draw(seed, rows, length)
        labels[:, -1] = (ids[:, :-1] == 1).any(1).long()
        return ids, labels

    recipe = Recipe(steps=300, batch_size=32, lengths=(2, 5), rate=1e-2, every=50, solved=0.99, warmup=10)
    assert make(name, recipe=recipe, task=Task("any", 5, draw)).train()["best"]["accuracy"] > 0.95
