# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import pytest
import torch

from training.common import graphs
from training.common.comparators import build
from training.common.experiment import Recipe, run_on_task
from training.paper.tasks import chomsky

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]


def losses(model: str, **recipe):
    """Returns a run over rows of three lengths, with dropout and a changing learning rate, its results and its last weights."""
    torch.manual_seed(0)
    task = chomsky("cycle_nav")
    made = build(model, vocab_size=5, hidden_size=16, num_layers=2, max_length=40, dropout=0.1).cuda()
    recipe = Recipe(**{"steps": 40, "batch_size": 4, "lengths": (7, 9), "every": 20, "warmup": 9, **recipe})
    run = run_on_task(made, task, recipe, 0, lambda: task.fixed("validation", 8, 9, 2))
    found = run.train()
    return run, found, torch.cat([weight.flatten() for weight in made.state_dict().values()])


@pytest.mark.parametrize("model", ["mingru", "minlstm-default", "gru", "llama", "transformer"])
def test_recorded_steps_equal_eager_steps(model, monkeypatch):
    run, _, weights = losses(model)
    assert run._update.works and len(run._update.recorded) == 3
    monkeypatch.setattr(graphs, "EAGER_STEPS", 1000)
    plain, _, want = losses(model)
    assert not plain._update.recorded
    torch.testing.assert_close(torch.tensor(run.losses), torch.tensor(plain.losses), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(weights, want, rtol=1e-2, atol=1e-3)


def test_a_gradient_that_is_not_finite_leaves_the_weights(monkeypatch):
    steps = []

    def loss(logits, labels):
        steps.append(len(steps))
        return real(logits, labels) * (float("inf") if len(steps) > 2 else 1.0)

    real = torch.nn.functional.cross_entropy
    monkeypatch.setattr("training.common.experiment.F.cross_entropy", loss)
    _, found, weights = losses("mingru", lengths=(9, 9))
    assert found["diverged"] and found["steps"] == 3 and weights.isfinite().all()


def test_a_function_that_cannot_be_recorded_is_called_eagerly(capsys):
    def looks(first, second):
        return first + second if first.sum().item() > 0 else first - second

    steps, one = graphs.GraphedSteps(looks), torch.ones(3, dtype=torch.int64)
    assert [steps(one, one).tolist() for _ in range(6)] == [[2, 2, 2]] * 6
    assert not steps.works and capsys.readouterr().out.count("no CUDA graph of this step") == 1
