# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The TorchRL modules compared with TorchRL's own GRUModule, and sequences compared with steps."""

import subprocess
import sys

import pytest
import torch
from support.definition import assert_runs_close, relative_error
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from hf_minrnn import MinGRU, MinLSTM

pytest.importorskip("torchrl")

from tensordict import TensorDict
from tensordict.nn import TensorDictModule, TensorDictSequential
from torchrl.modules import GRUModule, set_recurrent_mode

from hf_minrnn.rl import MinGRUModule, MinLSTMModule

both = pytest.mark.parametrize("kind", [MinGRUModule, MinLSTMModule])
ROWS, TIME, FEATURES, CHANNELS, LAYERS = 3, 7, 2, 4, 2
KEYS = {"in_keys": ["x", "state"], "out_keys": ["y", ("next", "state")]}


def make(kind, layers=LAYERS, **options):
    torch.manual_seed(0)
    options = {"dtype": torch.float64} | options
    return kind(FEATURES, CHANNELS, layers, **KEYS, **options)


def rollout_data(shape=(ROWS, TIME), seed=1):
    """Returns random values, `is_init`, and states like those of a rollout: arbitrary, but zero at the start of an episode."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(*shape, FEATURES, generator=generator, dtype=torch.float64)
    state = torch.randn(*shape, LAYERS, CHANNELS, generator=generator, dtype=torch.float64)
    is_init = torch.rand(*shape, 1, generator=generator) > 0.7
    return TensorDict({"x": x, "state": state * ~is_init[..., None], "is_init": is_init}, shape)


def steps(module, data):
    """Runs a rollout step by step from the state stored at each row's first step. Returns `(y, state after each step)`."""
    state, outputs, states = data["state"][:, 0], [], []
    for t in range(data.shape[1]):
        step = module(
            TensorDict({"x": data["x"][:, t], "state": state, "is_init": data["is_init"][:, t]}, data.shape[:1])
        )
        state = step["next", "state"]
        outputs.append(step["y"])
        states.append(state)
    return torch.stack(outputs, 1), torch.stack(states, 1)


class AsTorchRLCalls(nn.Module):
    """A MinGRU that TorchRL's GRUModule takes for its own Python GRU, so it splits and pads the episodes."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.batch_first, self.bidirectional = layer, True, False
        self.num_layers, self.hidden_size = layer.num_layers, layer.hidden_size

    def forward(self, x, hx, mask=None):
        if mask is None:
            return self.layer(x, hx)
        packed = pack_padded_sequence(x, mask.sum(1), batch_first=True, enforce_sorted=False)
        output, h_n = self.layer(packed, hx)
        return pad_packed_sequence(output, batch_first=True, total_length=x.shape[1])[0], h_n


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("shape", [(TIME,), (ROWS, TIME), (2, ROWS, TIME)], ids=str)
@pytest.mark.parametrize("stored", [False, True])
def test_keys_and_shapes_equal_those_of_grumodule(shape, recurrent, stored):
    results = []
    for kind in (GRUModule, MinGRUModule):
        data = rollout_data(shape)
        data.update({key: data[key].float() for key in ("x", "state")})
        data["is_init"][..., :1, :] = True
        if not stored:
            del data["state"]
        module = kind(FEATURES, CHANNELS, LAYERS, **KEYS, default_recurrent_mode=recurrent)
        assert module(data) is data and module.recurrent_mode is recurrent
        results.append({key: (value.shape, value.dtype) for key, value in data.items(True, True)})
    assert results[0] == results[1]
    ours, theirs = (kind(FEATURES, CHANNELS, in_key="x", out_key="y") for kind in (MinGRUModule, GRUModule))
    assert ours.in_keys == theirs.in_keys and ours.out_keys == theirs.out_keys


@pytest.mark.parametrize("slices", [False, True])
def test_equals_the_module_of_torchrl_with_the_same_layer(slices):
    ours = make(MinGRUModule)
    theirs = GRUModule(gru=AsTorchRLCalls(ours.gru), **KEYS)
    data = rollout_data()
    if slices:  # SliceSampler marks the start of each slice, which continues from the state stored there
        data["state"] = torch.randn_like(data["state"])
    found = []
    for module in (ours, theirs):
        leaves = {key: data[key].clone().requires_grad_() for key in ("x", "state")}
        with set_recurrent_mode("recurrent"):
            out = module(data.clone().update(leaves))
        ends = torch.cat([data["is_init"][:, 1:], torch.ones(ROWS, 1, 1, dtype=torch.bool)], 1)[..., 0]
        results = [out["y"], out["next", "state"][ends]]
        loss = sum((r * torch.linspace(-1, 1, r.numel(), dtype=r.dtype).view_as(r)).sum() for r in results)
        grads = torch.autograd.grad(loss, [*leaves.values(), *ours.parameters()])
        found.append((results, dict(enumerate(grads))))
    for got, want in zip(found[0][0], found[1][0]):
        assert relative_error(got, want) < 1e-12
    assert_runs_close(found[0][1], found[1][1], 1e-11)


@both
@pytest.mark.parametrize("through_state", [False, True])
@pytest.mark.parametrize("options", [{}, {"output_gate": "gate", "candidate_activation": "identity"}], ids=str)
def test_a_sequence_equals_its_steps(kind, options, through_state):
    module, data = make(kind, **options), rollout_data()
    data["is_init"][0, 0], data["is_init"][1:, 0] = True, False
    data["state"][0, 0] = 0.0
    assert data["is_init"][:, 1:].any() and (data["state"][1:, 0] != 0).all()
    found = []
    for sequence in (True, False):
        x, start = data["x"].clone().requires_grad_(), data["state"][:, 0].clone().requires_grad_(through_state)
        fresh = data.clone().update({"x": x, "state": torch.cat([start[:, None], data["state"][:, 1:]], 1)})
        if sequence:
            with set_recurrent_mode("recurrent"):
                out = module(fresh)
            results = [out["y"], out["next", "state"]]
        else:
            results = steps(module, fresh)
        loss = sum((r * torch.linspace(-1, 1, r.numel(), dtype=r.dtype).view_as(r)).sum() for r in results)
        wanted = [x, *([start] if through_state else []), *module.parameters()]
        grads = dict(enumerate(torch.autograd.grad(loss, wanted)))
        if through_state:
            # At the start of an episode, a single step ignores the stored state. The first step of a sequence does not.
            grads[1] = grads[1][1:]
        found.append((results, grads))
    for got, want in zip(found[0][0], found[1][0]):
        assert relative_error(got, want) < 1e-12
    assert_runs_close(found[0][1], found[1][1], 1e-11)


@both
def test_a_sequence_of_one_step_with_a_stored_state(kind):
    """A stored state that needs a gradient takes another path through the code, which must not change the result."""
    module, data = make(kind), rollout_data((ROWS, 1))
    results = []
    for grad in (False, True):
        state = data["state"].clone().requires_grad_(grad)
        with set_recurrent_mode(True):
            results.append(module(TensorDict({**data, "state": state}, data.shape)))
    torch.testing.assert_close(results[0]["y"], results[1]["y"])
    torch.testing.assert_close(results[0]["next", "state"], results[1]["next", "state"])
    (gradient,) = torch.autograd.grad(results[1]["y"].sum(), state)
    assert gradient.shape == state.shape and gradient.isfinite().all()


def test_a_step_starts_from_zero_where_an_episode_begins():
    module, data = make(MinGRUModule), rollout_data()
    data["state"] = torch.full_like(data["state"], float("nan")).where(data["is_init"][..., None], data["state"])
    found = module(data)
    assert found["y"].isfinite().all() and found["next", "state"].isfinite().all()


@both
@pytest.mark.parametrize("slices", [False, True])
def test_a_nan_stays_in_its_episode(kind, slices):
    module, data = make(kind, default_recurrent_mode=True), rollout_data()
    data["is_init"][:] = False
    data["is_init"][1, 4] = True
    data["state"][1, 4] = float(slices)
    want = module(data.clone())
    data["x"][1, 2] = float("nan")
    got = module(data)
    for key in ("y", ("next", "state")):
        assert got[key][1, 2:4].isnan().any() and torch.equal(got[key][1, 4:], want[key][1, 4:])
        assert torch.equal(got[key][0], want[key][0])


def slices_data(dtype=torch.float32):
    """Several slices of episodes in one row, with the stored state of every step."""
    data = rollout_data()
    data["state"] = torch.randn_like(data["state"])
    return data.apply(lambda x: x.to(dtype) if x.is_floating_point() else x)


@both
@pytest.mark.parametrize("stored", ["zeros", "slices"])
def test_compiles_in_one_graph_with_a_stored_state(kind, stored):
    module, data = make(kind, dtype=torch.float32, default_recurrent_mode=True), slices_data()
    if stored == "zeros":
        data["state"].zero_()
    torch._dynamo.reset()
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    found = []
    for run in (module, compiled):
        out = run(data.clone())
        grads = torch.autograd.grad(out["y"].square().sum() + out["next", "state"].sum(), list(module.parameters()))
        found.append(dict(enumerate([out["y"].detach(), out["next", "state"].detach(), *grads])))
    assert_runs_close(found[1], found[0], 1e-5)


@pytest.mark.parametrize("grad", [False, True])
@both
def test_results_are_the_same_if_stored_values_cannot_be_read(kind, grad):
    """Values cannot be read under vmap."""
    module, data = make(kind, default_recurrent_mode=True), rollout_data()
    for now in (data, slices_data(torch.float64)):
        with torch.set_grad_enabled(grad):
            want = module(now.clone())
            got = torch.vmap(module)(torch.stack([now, now.clone()]))
        for key in ("y", ("next", "state")):
            assert relative_error(got[key][1], want[key]) < 1e-12


@both
@pytest.mark.parametrize("layers", [1, LAYERS])
def test_gae_by_vmap_equals_a_loop(kind, layers):
    from torchrl.objectives.value import GAE

    module = make(kind, layers, dtype=torch.float32, default_recurrent_mode=True)
    net = TensorDictSequential(
        module, TensorDictModule(nn.Linear(CHANNELS, 1), in_keys=["y"], out_keys=["state_value"])
    )
    data = slices_data()
    data["state"] = data["state"][..., :layers, :].clone()
    after = slices_data().apply(lambda x: x.roll(1, 0))
    after["state"] = after["state"][..., :layers, :].clone()
    after.update({"reward": torch.randn(ROWS, TIME, 1), "done": data["is_init"].roll(-1, 1)})
    data["next"] = after.update({"terminated": after["done"]})
    params = TensorDict.from_module(net)
    for given in ({}, {"params": params, "target_params": params.data}):  # vmap over the parameters too
        found = []
        for deactivated in (False, True):
            gae = GAE(gamma=0.9, lmbda=0.8, value_network=net, differentiable=True, deactivate_vmap=deactivated)
            assert gae.deactivate_vmap is deactivated
            out = gae(data.clone(), **given)
            found.append({key: out[key].detach() for key in ("advantage", "value_target")})
        assert found[0]["advantage"].any()
        assert_runs_close(found[0], found[1], 1e-5)


def test_mode_follows_torchrls_switch():
    module, data = make(MinGRUModule), rollout_data()
    sequence, single = make(MinGRUModule, default_recurrent_mode=True)(data.clone())["y"], module(data.clone())["y"]
    assert relative_error(sequence, single) > 0.01
    with set_recurrent_mode("recurrent"):
        assert torch.equal(module(data.clone())["y"], sequence)
        with set_recurrent_mode("sequential"):
            assert torch.equal(module(data.clone())["y"], single)
    assert not module.recurrent_mode


def test_dispatch_and_a_given_layer():
    layer = MinGRU(FEATURES, CHANNELS, LAYERS, batch_first=True)
    module = MinGRUModule(gru=layer, in_key="x", out_key="y")
    assert module.gru is layer and {*module.state_dict()} == {f"gru.{name}" for name in layer.state_dict()}
    x, state = torch.randn(ROWS, FEATURES), torch.randn(ROWS, LAYERS, CHANNELS)
    y, following = module(x=x, recurrent_state=state, is_init=torch.zeros(ROWS, 1, dtype=torch.bool))
    want, h_n = layer(x[:, None], state.transpose(0, 1))
    assert torch.equal(y, want[:, 0]) and torch.equal(following, h_n.transpose(0, 1))


def test_a_wide_state_stays_wide():
    module = make(MinGRUModule, dtype=torch.bfloat16, state_dtype=torch.float32, default_recurrent_mode=True)
    data = rollout_data()
    data.update({"x": data["x"].bfloat16(), "state": data["state"].float()})
    out = module(data)
    assert out["y"].dtype == torch.bfloat16 and out["next", "state"].dtype == torch.float32
    assert not torch.equal(out["next", "state"][:, -1].bfloat16().float(), out["next", "state"][:, -1])
    primer = module.make_tensordict_primer().primers
    assert primer["state"].dtype == torch.float32 and primer["state"].shape == (LAYERS, CHANNELS)


@both
def test_a_rollout_in_an_environment(kind):
    pytest.importorskip("gymnasium")
    from torchrl.envs import GymEnv, InitTracker, SerialEnv, TransformedEnv
    from torchrl.modules.utils import get_env_transforms_from_module

    torch.manual_seed(0)
    module = kind(4, CHANNELS, LAYERS, in_keys=["observation", "state"], out_keys=["y", ("next", "state")])
    head = TensorDictModule(nn.Linear(CHANNELS, 2), in_keys=["y"], out_keys=["logits"])
    act = TensorDictModule(lambda x: nn.functional.one_hot(x.argmax(-1), 2), in_keys=["logits"], out_keys=["action"])
    policy = TensorDictSequential(module, head, act)
    env = TransformedEnv(SerialEnv(2, lambda: GymEnv("CartPole-v1")), get_env_transforms_from_module(policy))
    assert any(isinstance(transform, InitTracker) for transform in env.transform)
    env.set_seed(0)
    with torch.no_grad():
        data = env.rollout(40, policy, break_when_any_done=False)
    env.close()
    assert data.shape == (2, 40) and data["state"].shape == (2, 40, LAYERS, CHANNELS)
    assert data["is_init"].sum() > 2
    with set_recurrent_mode("recurrent"):
        again = policy(data.select("observation", "state", "is_init"))
    for key in ("y", "logits", ("next", "state")):
        assert relative_error(again[key], data[key]) < 1e-5
    again["logits"].sum().backward()
    assert all(weight.grad.isfinite().all() for weight in module.parameters())


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"in_key": "x", "out_key": "y", "batch_first": False}, "gru must have batch_first=True"),
        ({"in_key": "x", "out_key": "y", "bidirectional": True}, "gru must not be bidirectional"),
        ({"in_key": "x", "out_key": "y", "gru": MinGRU(2, 3)}, "leave out input_size, hidden_size"),
        ({"in_key": "x", "in_keys": ["x", "h"], "out_key": "y"}, "one of in_key and in_keys"),
        ({"in_key": "x"}, "one of out_key and out_keys"),
        ({"in_keys": ["x"], "out_key": "y"}, "in_keys must be"),
        ({"in_keys": ["x", "h", "start"], "out_key": "y"}, "in_keys must be"),
        ({"in_key": "x", "out_keys": ["y"]}, "out_keys must be"),
        ({"in_key": "x", "out_key": "y", "recurrent_state": 1}, "recurrent_state"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_invalid_arguments_are_rejected(arguments, words):
    with pytest.raises((ValueError, TypeError), match=words):
        MinGRUModule(FEATURES, CHANNELS, **arguments)


def test_invalid_calls_are_rejected():
    with pytest.raises(ValueError, match="gru must be a MinGRU, got MinLSTM"):
        MinGRUModule(gru=MinLSTM(2, 3, batch_first=True), in_key="x", out_key="y")
    module = make(MinGRUModule, default_recurrent_mode=True)
    with pytest.raises(ValueError, match="time dimension"):
        module(TensorDict({"x": torch.zeros(FEATURES), "is_init": torch.ones(1, dtype=torch.bool)}, []))
    with pytest.raises(KeyError, match="is_init"):
        module(rollout_data().exclude("is_init"))
    wrong = rollout_data()
    wrong["state"] = wrong["state"][..., :1, :]
    with pytest.raises(RuntimeError, match=r"Expected hidden size \(2, 3, 4\)"):
        module(wrong)
    with pytest.raises(RuntimeError, match="state's out key"):
        MinGRUModule(2, 3, in_keys=["x", "h"], out_keys=["y", ("next", "g")]).make_tensordict_primer()


def test_import_without_torchrl_names_the_extra(tmp_path):
    program = "import sys; sys.modules['torchrl'] = None; import hf_minrnn; import hf_minrnn.rl"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode != 0 and "pip install torchrl" in run.stderr
