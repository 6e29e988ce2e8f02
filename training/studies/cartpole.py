# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""A policy with memory: CartPole without its velocities, by PPO, with MinGRU and with nn.GRU in the same place.

    python -m training.studies.cartpole                     # a few minutes; writes training/results/rl_cartpole.json and .png
    python -m training.studies.cartpole --seeds 0 --layers mingru

The policy sees where the cart is and how the pole leans, and must remember to know how fast either moves. Episodes end
anywhere in a rollout. MinGRU takes the whole rollout in one pass, with `resets` where an episode begins; nn.GRU has no
such argument, and takes the stretches between the steps at which any row's episode begins (which was faster than episodes
packed into a PackedSequence, and than a loop over steps). All else is shared: hyperparameters, seeds, the rest of the
network. The settings were looked for on seeds 0 to 2, mostly with MinGRU, which is harder to please; other seeds are
measured. Needs gymnasium, which is in the extra "rl".
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN, "gymnasium")

import gymnasium
import torch
import torch.nn.functional as F
from torch import nn

from hf_minrnn import MinGRU, MinLSTM
from training.common.command_line import positive_int, result_file, whole
from training.common.files import write_json
from training.common.machine import machine, versions
from training.common.paths import RESULTS

SEEN, SCALE = (
    (0, 2),
    (2.0, 20.0),
)  # cart position and pole angle, which fail at 2.4 m and 0.21 rad; what matters is small
RECENT = 30  # episodes that a training score is the mean of
LIMIT = 500  # steps after which an episode is cut off: the best return there is
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
QUICK = {"steps": 2 * 4 * 32, "environments": 4, "rollout": 32, "width": 8, "epochs": 2, "minibatches": 2}

# --- policy ----------------------------------------------------------------------------------------------------------


def over_episodes(layer: nn.Module, x: torch.Tensor, state: torch.Tensor, resets: torch.Tensor):
    """A recurrent layer over rows in which episodes begin; the state is one tensor, of nn.LSTM both parts in a row."""
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


LAYERS = {
    # The highway lets the present through, which a state without look at itself can hardly tell from the past.
    "mingru": lambda width: MinGRU(width, width, batch_first=True, output_gate="highway"),
    "gru": lambda width: nn.GRU(width, width, batch_first=True),
}


class Policy(nn.Module):
    """Encoder, recurrent layer, and two heads: for the action and for the value.

    `policy(observations, state, resets)` takes `(rows, time, 2)`, `(1, rows, state_size)` and bool `(rows, time)`, and
    returns logits `(rows, time, 2)`, values `(rows, time)` and the state after the last step.

    Args:
        recurrent (`nn.Module`): The recurrent layer, with `batch_first`, from `width` features.
        width (`int`): Of the encoder and the heads.
    """

    def __init__(self, recurrent: nn.Module, width: int):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(2, width), nn.SiLU())
        self.recurrent, hidden = recurrent, recurrent.hidden_size
        self.state_size = 2 * hidden if isinstance(recurrent, nn.LSTM) else hidden
        self.action, self.value = (
            nn.Sequential(nn.Linear(hidden, width), nn.SiLU(), nn.Linear(width, outputs)) for outputs in (2, 1)
        )
        with torch.no_grad():
            self.action[-1].weight *= 0.01  # at first, either action is as likely

    def forward(self, observations, state, resets):
        h, state = over_episodes(self.recurrent, self.encoder(observations), state, resets)
        return self.action(h), self.value(h).squeeze(-1), state


class Environments:
    """CartPoles of which position and angle are seen; each is set up again in the step after an episode's last.

    In that step the action is ignored and no reward is given: `idle` says where. What is seen in it is where the episode
    ended, so that its value stands for what an episode that was only cut off would still have brought.
    """

    def __init__(self, count: int, seed: int):
        self.env = gymnasium.make_vec("CartPole-v1", num_envs=count, vectorization_mode="vector_entry_point")
        self.resets, self.idle = torch.ones(count, dtype=torch.bool), torch.zeros(count, dtype=torch.bool)
        self.seen = self._view(self.env.reset(seed=seed)[0])

    def _view(self, observations):
        return torch.from_numpy(observations)[:, SEEN] * torch.tensor(SCALE)

    def step(self, actions: torch.Tensor):
        """`(rewards, terminated, done)`, each `(count,)`, after which `seen`, `resets` and `idle` are the next step's."""
        observations, rewards, terminated, truncated, _ = self.env.step(actions.numpy())
        self.seen, self.resets = self._view(observations), self.idle
        terminated, truncated = torch.from_numpy(terminated), torch.from_numpy(truncated)
        self.idle = terminated | truncated
        return torch.from_numpy(rewards).float(), terminated, self.idle


# --- PPO -------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def collect(policy: Policy, environments: Environments, state: torch.Tensor, steps: int, returns: torch.Tensor):
    """A rollout: tensors `(environments, steps)` by name, the state after it and the returns of episodes that ended in it.

    `returns` holds what each running episode has brought so far, and is added to.
    """
    columns: list[dict[str, torch.Tensor]] = []
    ended, first = [], state
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


def advantages(rewards, values, terminated, done, discount: float, trace: float) -> torch.Tensor:
    """Generalised advantage estimates (arXiv 1506.02438).

    Args:
        rewards, terminated, done (`torch.Tensor` of shape `(rows, time)`): After each step; `done` is `terminated` or cut off.
        values (`torch.Tensor` of shape `(rows, time + 1)`): Of what is seen before each step, and after the last.
    """
    gain = rewards + discount * values[:, 1:] * ~terminated - values[:, :-1]
    out, after = torch.empty_like(gain), torch.zeros_like(gain[:, 0])
    for t in reversed(range(gain.shape[1])):
        after = gain[:, t] + discount * trace * after * ~done[:, t]
        out[:, t] = after
    return out


def update(policy: Policy, optimizer, rollout: dict[str, torch.Tensor], settings: dict) -> None:
    """Epochs over a rollout, in minibatches of whole rows."""
    rows = len(rollout["seen"])
    # Rewards are divided by the sum of the discounts, so that values are about 1 at most.
    rewards = rollout["rewards"] * (1 - settings["discount"])
    ends = rollout["terminated"], rollout["done"]
    gains = advantages(rewards, rollout["values"], *ends, settings["discount"], settings["trace"])
    targets = gains + rollout["values"][:, :-1]
    for _ in range(settings["epochs"]):
        for part in torch.randperm(rows).chunk(settings["minibatches"]):
            logits, values, _ = policy(rollout["seen"][part], rollout["state"][:, part], rollout["resets"][part])
            counts = ~rollout["idle"][part]
            chances = logits.log_softmax(-1)
            entropy = -(chances.exp() * chances).sum(-1)[counts].mean()
            chosen = chances.gather(-1, rollout["actions"][part][..., None]).squeeze(-1)
            ratio = (chosen - rollout["chances"][part]).exp()[counts]
            gain = gains[part][counts]
            gain = (gain - gain.mean()) / (gain.std() + 1e-8)
            clipped = ratio.clamp(1 - settings["clip"], 1 + settings["clip"])
            error = F.mse_loss(values[counts], targets[part][counts])
            loss = -torch.minimum(ratio * gain, clipped * gain).mean()
            loss = loss + settings["value"] * error - settings["entropy"] * entropy
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(policy.parameters(), settings["norm"])
            optimizer.step()


@torch.no_grad()
def evaluate(policy: Policy, seed: int, episodes: int = 100) -> float:
    """Mean return of the likelier action over one episode in each of as many environments."""
    environments = Environments(episodes, seed)
    state, running, total = torch.zeros(1, episodes, policy.state_size), torch.ones(episodes, dtype=torch.bool), 0.0
    while running.any():
        logits, _, state = policy(environments.seen[:, None], state, environments.resets[:, None])
        rewards, _, done = environments.step(logits[:, 0].argmax(-1))
        total += rewards[running].sum().item()
        running &= ~done
    return total / episodes


def train(make: Callable[[int], nn.Module], seed: int, settings: dict) -> dict:
    """One run: its scores, its seconds and its curve, a point `(steps, seconds, score)` after each rollout.

    `make` returns the recurrent layer for the width of the encoder.
    """
    torch.manual_seed(seed)
    count, width = settings["environments"], settings["width"]
    policy, environments = Policy(make(width), width), Environments(count, seed)
    optimizer = torch.optim.Adam(policy.parameters(), lr=settings["learning_rate"], eps=1e-5)
    iterations = settings["steps"] // (count * settings["rollout"])
    state, returns, recent = torch.zeros(1, count, policy.state_size), torch.zeros(count), []
    seconds, curve = {"rollout": 0.0, "update": 0.0}, []  # of the processor: other processes do not slow them down
    for iteration in range(iterations):
        optimizer.param_groups[0]["lr"] = settings["learning_rate"] * (1 - iteration / iterations)
        began = time.process_time()
        rollout, state, ended = collect(policy, environments, state, settings["rollout"], returns)
        between = time.process_time()
        update(policy, optimizer, rollout, settings)
        seconds["rollout"] += between - began
        seconds["update"] += time.process_time() - between
        recent = (recent + ended)[-RECENT:]
        if recent:
            steps = (iteration + 1) * count * settings["rollout"]
            curve.append((steps, round(sum(seconds.values()), 3), round(statistics.mean(recent), 2)))
    seconds["all"] = sum(seconds.values())
    return {
        "seed": seed,
        "score": statistics.mean(recent) if recent else None,
        "greedy": evaluate(policy, seed + 1000),
        "seconds": seconds,
        "parameters": sum(weight.numel() for weight in policy.parameters()),
        "recurrent_parameters": sum(weight.numel() for weight in policy.recurrent.parameters()),
        "curve": curve,
    }


# --- report ----------------------------------------------------------------------------------------------------------


def spread(values: list[float]) -> dict[str, float]:
    """Mean and standard deviation."""
    return {"mean": statistics.mean(values), "deviation": statistics.stdev(values) if len(values) > 1 else 0.0}


def summarized(runs: list[dict]) -> dict:
    """Means and deviations over the seeds."""
    out = {name: spread([run[name] for run in runs]) for name in ("score", "greedy") if runs[0][name] is not None}
    out |= {f"{name}_seconds": spread([run["seconds"][name] for run in runs]) for name in runs[0]["seconds"]}
    return out | {name: runs[0][name] for name in ("parameters", "recurrent_parameters")}


def plot(path: Path, runs: dict[str, list[dict]]) -> None:
    """Learning curves as a PNG: by steps, and by seconds."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(9, 3.8), dpi=130, layout="constrained", sharey=True)
    for axes, column, label in zip(panels, (0, 1), ("thousands of steps", "processor seconds of training")):
        for (layer, found), color in zip(runs.items(), ("#cc3311", "#4477aa")):
            for number, run in enumerate(found):
                points = [(point[column] / (1 if column else 1000), point[2]) for point in run["curve"]]
                axes.plot(*zip(*points), color=color, lw=1.2, alpha=0.8, label=None if number else layer)
        axes.axhline(LIMIT, color="0.7", lw=1, ls=(0, (4, 3)))
        axes.set_xlabel(label)
        axes.grid(color="0.92")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel(f"mean return of the last {RECENT} episodes")
    panels[0].legend(frameon=False)
    figure.suptitle("CartPole without velocities, PPO, one line a seed")
    figure.savefig(path)
    plt.close(figure)


def main(argv: list[str] | None = None) -> dict:
    """Trains, prints and writes the result file; returns what it wrote."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", nargs="+", choices=list(LAYERS), default=list(LAYERS))
    parser.add_argument("--seeds", nargs="+", type=whole, default=[10, 11, 12])
    parser.add_argument(
        "--steps", type=positive_int, help=f"of all environments together, {SETTINGS['steps']:,} by default"
    )
    parser.add_argument("--threads", type=positive_int, default=1)
    parser.add_argument("--quick", action="store_true", help="seconds: too short to learn anything")
    parser.add_argument("--output", type=result_file, default=RESULTS / "rl_cartpole.json")
    args = parser.parse_args(argv)
    settings = SETTINGS | (QUICK if args.quick else {})
    settings["steps"] = args.steps or settings["steps"]
    if settings["steps"] < settings["environments"] * settings["rollout"]:
        parser.error(f"--steps must be at least a rollout's {settings['environments'] * settings['rollout']}")
    threads = torch.get_num_threads()
    torch.set_num_threads(args.threads)
    runs: dict[str, list[dict]] = {layer: [] for layer in args.layers}
    try:
        for seed in args.seeds:  # side by side, so that whatever else the machine does meets each of them
            for layer in args.layers:
                run = train(LAYERS[layer], seed, settings)
                runs[layer].append(run)
                score = "-" if run["score"] is None else f"{run['score']:.0f}"
                times = ", ".join(f"{name} {value:.1f} s" for name, value in run["seconds"].items())
                print(f"{layer:<7} seed {seed}: score {score}, greedy {run['greedy']:.0f}, {times}", flush=True)
        result = {
            "command": shlex.join(
                ["python", "-m", "training.studies.cartpole", *(sys.argv[1:] if argv is None else argv)]
            ),
            "measured": f"score: mean return of the last {RECENT} episodes of training; greedy: mean return of 100 episodes "
            f"of the likelier action; at most {LIMIT}",
            "settings": settings,
            "summary": {layer: summarized(found) for layer, found in runs.items()},
            "runs": runs,
            "machine": machine(),
            "versions": versions() | {"gymnasium": gymnasium.__version__},
        }
    finally:
        torch.set_num_threads(threads)
    write_json(args.output, result)
    plot(args.output.with_suffix(".png"), runs)
    for layer, found in result["summary"].items():
        numbers = [f"{k} {v['mean']:.1f} ± {v['deviation']:.1f}" for k, v in found.items() if isinstance(v, dict)]
        print(f"{layer}: {', '.join(numbers)}, {found['parameters']:,} parameters")
    print(f"wrote {args.output} and {args.output.with_suffix('.png').name}")
    return result


if __name__ == "__main__":
    main()
