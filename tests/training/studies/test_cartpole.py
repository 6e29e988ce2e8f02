# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import json

import pytest
import torch
from support.definition import relative_error

pytest.importorskip("gymnasium")

from training.studies import cartpole as rl_cartpole
from training.studies import ppo
from training.studies.ppo import Environments, Policy

both = pytest.mark.parametrize("layer", list(rl_cartpole.LAYERS))
ROWS, TIME, WIDTH = 3, 9, 8


def test_a_quick_run_writes_the_result_that_it_returns(tmp_path, capsys):
    path, threads = tmp_path / "new" / "cartpole.json", torch.get_num_threads()
    result = rl_cartpole.main(["--quick", "--seeds", "0", "1", "--output", str(path)])
    assert torch.get_num_threads() == threads
    assert json.loads(path.read_text(encoding="utf-8")) == json.loads(json.dumps(result))
    assert sorted(file.name for file in path.parent.iterdir()) == ["cartpole.json", "cartpole.png"]
    assert result["command"] == f"python -m training.studies.cartpole --quick --seeds 0 1 --output {path}"
    assert result["versions"]["gymnasium"] and result["machine"]["threads"] == 1
    printed = capsys.readouterr().out
    for layer in rl_cartpole.LAYERS:
        runs, summary = result["runs"][layer], result["summary"][layer]
        assert [run["seed"] for run in runs] == [0, 1]
        for run in runs:
            times = run["seconds"]
            assert times["all"] == times["rollout"] + times["update"] and min(times.values()) > 0
            assert 0 < run["score"] <= 500 and 0 < run["greedy"] <= 500
            assert [point[0] for point in run["curve"]] == [128, 256]
        assert summary["score"]["mean"] == sum(run["score"] for run in runs) / 2
        assert f"{layer:<7} seed 1" in printed


def test_too_few_steps_are_rejected(capsys):
    with pytest.raises(SystemExit):
        rl_cartpole.main(["--quick", "--steps", "127"])
    assert "at least a rollout's 128" in capsys.readouterr().err


@both
def test_a_rollout_in_one_pass_equals_its_steps(layer):
    torch.manual_seed(0)
    policy = Policy(rl_cartpole.LAYERS[layer](WIDTH), WIDTH).double()
    seen, state = torch.randn(ROWS, TIME, 2).double(), torch.randn(1, ROWS, WIDTH).double()
    resets = torch.rand(ROWS, TIME) > 0.7
    resets[0, 0], resets[1, 0] = True, False
    found = []
    for size in (TIME, 1):
        start, outputs = state.clone().requires_grad_(), []
        now = start
        for piece, starts in zip(seen.split(size, 1), resets.split(size, 1)):
            logits, values, now = policy(piece, now, starts)
            outputs.append(torch.cat([logits, values[..., None]], -1))
        results = [torch.cat(outputs, 1), now]
        loss = sum((r * torch.linspace(-1, 1, r.numel()).view_as(r)).sum() for r in results)
        found.append([*results, *torch.autograd.grad(loss, [start, *policy.parameters()])])
    for got, want in zip(*found):
        assert relative_error(got, want) < 1e-10
    assert not found[0][2][0, 0].any() and found[0][2][0, 1].any()  # the state of a row that is reset has no effect


@both
def test_an_update_computes_the_values_that_were_collected(layer):
    torch.manual_seed(1)
    policy, environments = Policy(rl_cartpole.LAYERS[layer](WIDTH), WIDTH), Environments(4, 0)
    state, returns = torch.zeros(1, 4, WIDTH), torch.zeros(4)
    ended = []
    for _ in range(3):  # the later ones begin within an episode
        rollout, state, new = ppo.collect(policy, environments, state, 30, returns)
        ended += new
        logits, values, last = policy(rollout["seen"], rollout["state"], rollout["resets"])
        chances = logits.log_softmax(-1).gather(-1, rollout["actions"][..., None]).squeeze(-1)
        assert relative_error(values, rollout["values"][:, :-1]) < 1e-5
        assert relative_error(chances, rollout["chances"]) < 1e-5 and relative_error(last, state) < 1e-5
    assert ended and min(ended) >= 1
    assert rollout["resets"].any() and torch.equal(rollout["resets"][:, 1:], rollout["idle"][:, :-1])
    assert not rollout["rewards"][rollout["idle"]].any() and (rollout["rewards"][~rollout["idle"]] == 1).all()


def test_environments_show_position_and_angle_only():
    environments = Environments(2, 0)
    full = torch.from_numpy(environments.env.reset(seed=0)[0])
    assert environments.seen.shape == (2, 2)
    assert torch.allclose(environments.seen, full[:, [0, 2]] * torch.tensor(ppo.SCALE))
    assert environments.resets.all() and not environments.idle.any()
    done = torch.zeros(2, dtype=torch.bool)
    while not done.all():  # always pushed to one side, both poles fall at about the same step
        _, terminated, done = environments.step(torch.ones(2, dtype=torch.long))
        assert torch.equal(environments.idle, done) and torch.equal(terminated, done)
        if done.any():
            break
    row = int(done.nonzero()[0])
    assert environments.seen[row, 1].abs() > 0.2 * ppo.SCALE[1]  # the last observation of the episode
    rewards, _, _ = environments.step(torch.ones(2, dtype=torch.long))
    assert rewards[row] == 0 and environments.resets[row] and environments.seen[row, 1].abs() <= 0.05 * ppo.SCALE[1]


def test_advantages_are_their_definition():
    generator = torch.Generator().manual_seed(0)
    rewards, values = (torch.randn(ROWS, n, generator=generator).double() for n in (TIME, TIME + 1))
    done = torch.rand(ROWS, TIME, generator=generator) > 0.7
    terminated = done & (torch.rand(ROWS, TIME, generator=generator) > 0.5)
    assert terminated.any() and (done & ~terminated).any()
    discount, trace = 0.9, 0.8
    got = ppo.advantages(rewards, values, terminated, done, discount, trace)
    for row in range(ROWS):
        for t in range(TIME):
            want = 0.0
            for k in range(t, TIME):  # the temporal-difference error of each step until the end of the episode
                after = 0.0 if terminated[row, k] else discount * values[row, k + 1]
                want += (discount * trace) ** (k - t) * (rewards[row, k] + after - values[row, k])
                if done[row, k]:
                    break
            assert abs(got[row, t] - want) < 1e-12


def test_idle_steps_do_not_affect_the_weights():
    """Action and reward of a step that only resets an environment do not affect the weights."""
    settings = ppo.SETTINGS | rl_cartpole.QUICK
    torch.manual_seed(2)
    policy, environments = (
        Policy(rl_cartpole.LAYERS["mingru"](settings["width"]), settings["width"]),
        Environments(4, 0),
    )
    state = torch.zeros(1, 4, settings["width"])
    rollout, _, _ = ppo.collect(policy, environments, state, 60, torch.zeros(4))
    idle = rollout["idle"]
    assert idle.any()
    before, results = {k: v.clone() for k, v in policy.state_dict().items()}, []
    for changed in (False, True):
        policy.load_state_dict(before)
        other = dict(rollout)
        if changed:
            other |= {"actions": torch.where(idle, 1 - rollout["actions"], rollout["actions"])}
            other |= {"chances": torch.where(idle, rollout["chances"] - 1, rollout["chances"])}
            other |= {"rewards": torch.where(idle, 7.0, rollout["rewards"])}
        torch.manual_seed(3)
        optimizer = torch.optim.Adam(policy.parameters(), lr=1e-3)
        ppo.update(policy, optimizer, other, settings)
        results.append({k: v.clone() for k, v in policy.state_dict().items()})
    for name, weight in results[0].items():
        assert torch.equal(weight, results[1][name]) and not torch.equal(weight, before[name])
