# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""MinLSTM in the policy of sb3-contrib's RecurrentPPO, which calls its layer once for every step."""

import warnings

import pytest
import torch

from hf_minrnn import MinLSTM

gymnasium = pytest.importorskip("gymnasium")
sb3_contrib = pytest.importorskip("sb3_contrib")
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy  # noqa: E402


class MinLSTMPolicy(RecurrentActorCriticPolicy):
    """The standard policy with MinLSTM instead of nn.LSTM."""

    def __init__(self, observation_space, action_space, lr_schedule, **kwargs):
        super().__init__(observation_space, action_space, lr_schedule, **kwargs)
        for name in ("lstm_actor", "lstm_critic"):
            old = getattr(self, name)
            setattr(self, name, MinLSTM(old.input_size, old.hidden_size, old.num_layers))
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)


def agent(policy):
    kwargs = {"lstm_hidden_size": 16, "net_arch": [16]}
    options = {"n_steps": 64, "batch_size": 32, "n_epochs": 2, "seed": 0, "device": "cpu", "policy_kwargs": kwargs}
    return sb3_contrib.RecurrentPPO(policy, gymnasium.make("CartPole-v1"), **options)


def test_a_policy_trains_with_minlstm():
    model = agent(MinLSTMPolicy)
    before = [parameter.clone() for parameter in model.policy.lstm_actor.parameters()]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*c_0.*")  # the policy returns the pair of states that it got
        model.learn(128)
    assert any(not torch.equal(p, old) for p, old in zip(model.policy.lstm_actor.parameters(), before))
    action, state = model.predict(model.env.reset())
    assert action.shape == (1,) and state[0].shape == (1, 1, 16)


def test_steps_with_episode_starts_equal_separate_episodes():
    policy = agent(MinLSTMPolicy).policy
    layer, features = policy.lstm_actor, torch.randn(10, 4)
    starts = torch.tensor([1.0, 0, 0, 0, 1, 0, 0, 0, 0, 0])
    state = (torch.randn(1, 1, 16),) * 2
    output, (after, _) = policy._process_sequence(features, state, starts, layer)
    episodes = [layer(part.unsqueeze(1)) for part in (features[:4], features[4:])]
    torch.testing.assert_close(output, torch.cat([h.squeeze(1) for h, _ in episodes]))
    torch.testing.assert_close(after, episodes[1][1][0])
    loss = torch.autograd.grad(output.square().sum(), list(layer.parameters()))
    wanted = torch.autograd.grad(sum(h.square().sum() for h, _ in episodes), list(layer.parameters()))
    for got, want in zip(loss, wanted, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-6)
