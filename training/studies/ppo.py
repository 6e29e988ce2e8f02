# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Proximal policy optimization (arXiv 1707.06347) of a policy with memory, on CartPole without its velocities."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from hf_minrnn import MinGRU, MinLSTM
from training.common.widths import count

SEEN = (0, 2)  # cart position and pole angle among the four observations
SCALE = (2.0, 20.0)  # factors for them: episodes fail at 2.4 m and 0.21 rad, and small values matter
RECENT = 30  # episodes whose mean return is the training score
LIMIT = 500  # steps after which an episode is cut off, and so the highest return
SETTINGS = {
    "steps": 200_000,  # of all environments together
    "environments": 16,
    "rollout": 128,
    "width": 64,
    "epochs": 4,
    "minibatches": 4,
    "learning_rate": 2.5e-3,  # falls to zero
    "discount": 0.99,
    "trace": 0.95,  # lambda of the advantage estimates
    "clip": 0.2,
    "entropy": 0.001,
    "value": 0.5,
    "norm": 0.5,
}


# --- policy and environments -----------------------------------------------------------------------------------------


def over_episodes(
    layer: nn.Module, x: torch.Tensor, state: torch.Tensor, resets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Applies a recurrent layer to rows in which episodes begin; the two states of nn.LSTM are concatenated.

    Args:
        layer (`nn.Module`): `MinGRU`, `MinLSTM`, `nn.GRU` or `nn.LSTM` with `batch_first`.
        x (`torch.Tensor` of shape `(rows, time, features)`): Inputs.
        state (`torch.Tensor` of shape `(1, rows, state_size)`): State before the first step.
        resets (`torch.Tensor` of shape `(rows, time)`): True where an episode begins.
    """
    if isinstance(layer, MinGRU):
        return layer(x, state, resets)
    if isinstance(layer, MinLSTM):
        output, (state, _) = layer(x, (state, state), resets)
        return output, state
    bounds = sorted({0, *resets.any(0).nonzero().flatten().tolist(), x.shape[1]})
    outputs = []
    for begin, end in zip(bounds, bounds[1:]):
        state = state * ~resets[:, begin, None]
        if isinstance(layer, nn.LSTM):
            output, parts = layer(x[:, begin:end], tuple(part.contiguous() for part in state.chunk(2, -1)))
            state = torch.cat(parts, -1)
        else:
            output, state = layer(x[:, begin:end], state)
        outputs.append(output)
    return torch.cat(outputs, 1), state


class Policy(nn.Module):
    """Encoder, recurrent layer, and two heads: for the action and for the value.

    `policy(observations, state, resets)` takes `(rows, time, 2)`, `(1, rows, state_size)` and bool `(rows, time)`. It returns
    logits `(rows, time, 2)`, values `(rows, time)` and the state after the last step.

    Args:
        recurrent (`nn.Module`): Recurrent layer with `batch_first`, from `width` features.
        width (`int`): Width of the encoder and the heads.
    """

    def __init__(self, recurrent: nn.Module, width: int):
        super().__init__()
        hidden = recurrent.hidden_size
        self.encoder = nn.Sequential(nn.Linear(2, width), nn.SiLU())
        self.recurrent = recurrent
        self.state_size = 2 * hidden if isinstance(recurrent, nn.LSTM) else hidden
        self.action = nn.Sequential(nn.Linear(hidden, width), nn.SiLU(), nn.Linear(width, 2))
        self.value = nn.Sequential(nn.Linear(hidden, width), nn.SiLU(), nn.Linear(width, 1))
        with torch.no_grad():
            self.action[-1].weight *= 0.01  # both actions are about equally likely at first

    def forward(
        self, observations: torch.Tensor, state: torch.Tensor, resets: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        hidden, state = over_episodes(self.recurrent, self.encoder(observations), state, resets)
        return self.action(hidden), self.value(hidden).squeeze(-1), state


class Environments:
    """CartPole environments that show position and angle only. Each is reset in the step after the last one of an episode.

    In that step the action is ignored and the reward is zero; `idle` says where. The observation of that step is the one at the
    end of the episode. So its value estimates what an episode that was cut off would still have returned.
    """

    def __init__(self, count: int, seed: int):
        import gymnasium  # not at the top: results are drawn without it

        self.env = gymnasium.make_vec("CartPole-v1", num_envs=count, vectorization_mode="vector_entry_point")
        self.resets = torch.ones(count, dtype=torch.bool)
        self.idle = torch.zeros(count, dtype=torch.bool)
        self.seen = self._view(self.env.reset(seed=seed)[0])

    def _view(self, observations) -> torch.Tensor:
        return torch.from_numpy(observations)[:, SEEN] * torch.tensor(SCALE)

    def step(self, actions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Returns `(rewards, terminated, done)`, each `(count,)`; updates `seen`, `resets` and `idle` to the next step."""
        observations, rewards, terminated, truncated, _ = self.env.step(actions.numpy())
        self.seen = self._view(observations)
        self.resets = self.idle
        terminated = torch.from_numpy(terminated)
        self.idle = terminated | torch.from_numpy(truncated)
        return torch.from_numpy(rewards).float(), terminated, self.idle


# --- PPO -------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def collect(
    policy: Policy, environments: Environments, state: torch.Tensor, steps: int, returns: torch.Tensor
) -> tuple[dict[str, torch.Tensor], torch.Tensor, list[float]]:
    """Returns a rollout as tensors `(environments, steps)` by name, the state after it, and the returns of finished episodes.

    `returns` holds the return so far of each running episode; it is updated in place.
    """
    columns: list[dict[str, torch.Tensor]] = []
    ended = []
    first = state
    for _ in range(steps):
        column = {"seen": environments.seen, "resets": environments.resets, "idle": environments.idle}
        logits, values, state = policy(column["seen"][:, None], state, column["resets"][:, None])
        actions = torch.multinomial(logits[:, 0].softmax(-1), 1).squeeze(1)
        chances = logits[:, 0].log_softmax(-1).gather(1, actions[:, None]).squeeze(1)
        rewards, terminated, done = environments.step(actions)
        column |= {"actions": actions, "chances": chances, "values": values[:, 0]}
        columns.append(column | {"rewards": rewards, "terminated": terminated, "done": done})
        returns += rewards
        ended += returns[done].tolist()
        returns[done] = 0.0
    _, last, _ = policy(environments.seen[:, None], state, environments.resets[:, None])
    rollout = {name: torch.stack([column[name] for column in columns], 1) for name in columns[0]}
    rollout["values"] = torch.cat([rollout["values"], last], 1)
    return rollout | {"state": first}, state, ended


def advantages(
    rewards: torch.Tensor,
    values: torch.Tensor,
    terminated: torch.Tensor,
    done: torch.Tensor,
    discount: float,
    trace: float,
) -> torch.Tensor:
    """Returns generalized advantage estimates (arXiv 1506.02438).

    Args:
        rewards, terminated, done (`torch.Tensor` of shape `(rows, time)`): Results of each step; `done` is `terminated` or cut
            off.
        values (`torch.Tensor` of shape `(rows, time + 1)`): Values before each step, and after the last one.
        discount, trace (`float`): Discount of the rewards, and lambda of the estimates.
    """
    gain = rewards + discount * values[:, 1:] * ~terminated - values[:, :-1]
    out = torch.empty_like(gain)
    after = torch.zeros_like(gain[:, 0])
    for t in reversed(range(gain.shape[1])):
        after = gain[:, t] + discount * trace * after * ~done[:, t]
        out[:, t] = after
    return out


def update(policy: Policy, optimizer: torch.optim.Optimizer, rollout: dict[str, torch.Tensor], settings: dict) -> None:
    """Trains several epochs on a rollout, in minibatches of whole rows."""
    rows = len(rollout["seen"])
    # Division by the sum of the discounts keeps the values below about 1.
    rewards = rollout["rewards"] * (1 - settings["discount"])
    ends = rollout["terminated"], rollout["done"]
    gains = advantages(rewards, rollout["values"], *ends, settings["discount"], settings["trace"])
    targets = gains + rollout["values"][:, :-1]
    for _ in range(settings["epochs"]):
        for part in torch.randperm(rows).chunk(settings["minibatches"]):
            loss = _loss(policy, rollout, part, gains[part], targets[part], settings)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(policy.parameters(), settings["norm"])
            optimizer.step()


def _loss(
    policy: Policy,
    rollout: dict[str, torch.Tensor],
    part: torch.Tensor,
    gains: torch.Tensor,
    targets: torch.Tensor,
    settings: dict,
) -> torch.Tensor:
    """Returns the loss of some rows of a rollout, which `part` names; idle steps do not count."""
    logits, values, _ = policy(rollout["seen"][part], rollout["state"][:, part], rollout["resets"][part])
    counts = ~rollout["idle"][part]
    chances = logits.log_softmax(-1)
    entropy = -(chances.exp() * chances).sum(-1)[counts].mean()
    chosen = chances.gather(-1, rollout["actions"][part][..., None]).squeeze(-1)
    ratio = (chosen - rollout["chances"][part]).exp()[counts]
    gain = gains[counts]
    gain = (gain - gain.mean()) / (gain.std() + 1e-8)
    clipped = ratio.clamp(1 - settings["clip"], 1 + settings["clip"])
    error = F.mse_loss(values[counts], targets[counts])
    loss = -torch.minimum(ratio * gain, clipped * gain).mean()
    return loss + settings["value"] * error - settings["entropy"] * entropy


@torch.no_grad()
def evaluate(policy: Policy, seed: int, episodes: int = 100) -> float:
    """Returns the mean return of the likelier action over one episode in each of `episodes` environments."""
    environments = Environments(episodes, seed)
    state = torch.zeros(1, episodes, policy.state_size)
    running = torch.ones(episodes, dtype=torch.bool)
    total = 0.0
    while running.any():
        logits, _, state = policy(environments.seen[:, None], state, environments.resets[:, None])
        rewards, _, done = environments.step(logits[:, 0].argmax(-1))
        total += rewards[running].sum().item()
        running &= ~done
    return total / episodes


def train(make: Callable[[int], nn.Module], seed: int, settings: dict) -> dict:
    """Trains one policy; returns its scores, seconds and curve, which has a point `(steps, seconds, score)` for each rollout.

    Args:
        make: Function of the width of the encoder that returns the recurrent layer.
        seed (`int`): Seed of weights, actions and environments.
        settings (`dict`): All of `SETTINGS`.
    """
    torch.manual_seed(seed)
    environment_count = settings["environments"]
    width = settings["width"]
    policy = Policy(make(width), width)
    environments = Environments(environment_count, seed)
    optimizer = torch.optim.Adam(policy.parameters(), lr=settings["learning_rate"], eps=1e-5)
    iterations = settings["steps"] // (environment_count * settings["rollout"])
    state = torch.zeros(1, environment_count, policy.state_size)
    returns = torch.zeros(environment_count)
    recent: list[float] = []
    seconds = {"rollout": 0.0, "update": 0.0}  # of the processor: other processes do not slow them down
    curve = []
    for iteration in range(iterations):
        optimizer.param_groups[0]["lr"] = settings["learning_rate"] * (1 - iteration / iterations)
        begin = time.process_time()
        rollout, state, ended = collect(policy, environments, state, settings["rollout"], returns)
        between = time.process_time()
        update(policy, optimizer, rollout, settings)
        seconds["rollout"] += between - begin
        seconds["update"] += time.process_time() - between
        recent = (recent + ended)[-RECENT:]
        if recent:
            steps = (iteration + 1) * environment_count * settings["rollout"]
            curve.append((steps, round(sum(seconds.values()), 3), round(statistics.mean(recent), 2)))
    seconds["all"] = sum(seconds.values())
    return {
        "seed": seed,
        "score": statistics.mean(recent) if recent else None,
        "greedy": evaluate(policy, seed + 1000),
        "seconds": seconds,
        "parameters": count(policy),
        "recurrent_parameters": count(policy.recurrent),
        "curve": curve,
    }
