# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The scan's ops under vmap compared with a loop, for every combination of vmapped and other arguments."""

import copy
import itertools
import warnings

import pytest
import torch
from support.definition import assert_runs_close, defined_scan
from support.scan_cases import cell_options, every_backend, every_cell, make_features, random_inputs
from torch.func import functional_call, stack_module_state

from hf_minrnn import MinGRU, MinLSTM, MinLSTMCell, scan_vmap
from hf_minrnn.scan import minrnn_scan
from hf_minrnn.scan_op import scan_backward_op, scan_op

SIZE, TIME, CHANNELS = 3, 6, 2
FEATURES = ("plain", "mask+resets", "mask+resets+reset_state", "mask+resets+packed", "mask+resets+packed+reset_state")
each_feature = pytest.mark.parametrize("features", FEATURES)


def variants(features):
    """Returns SIZE different inputs of a scan, each a dict."""
    made = []
    for seed in range(SIZE):
        batch = 1 if "packed" in features else 2
        generator = torch.Generator().manual_seed(seed)
        options = make_features(features, batch, TIME, CHANNELS)
        for name in ("attention_mask", "resets"):
            if name in options:
                options[name] = torch.rand(batch, TIME, generator=generator) > 0.4
        if "reset_state" in options:
            options["reset_state"] = torch.randn(CHANNELS, generator=generator, dtype=torch.float64)
        rows = batch
        if "cu_seqlens" in options:
            options["cu_seqlens"] = torch.tensor([0, seed, 4, 4, TIME], dtype=torch.int32)
            rows = 4
        projected = random_inputs("minlstm", batch, TIME, CHANNELS, seed=seed)[0]
        state = torch.randn(rows, CHANNELS, generator=generator, dtype=torch.float64)
        made.append({"projected": projected, "initial_state": state, **options})
    return made


def subsets(names):
    """Returns every non-empty subset of the names."""
    return itertools.chain.from_iterable(itertools.combinations(names, n + 1) for n in range(len(names)))


def stacked(made, name, at):
    """Returns the variants of one argument stacked along a dimension, and that dimension."""
    dim = at % (made[0][name].dim() + 1)
    return torch.stack([one[name] for one in made], dim), dim


@pytest.fixture
def calls(monkeypatch):
    """Records which function the vmap rule calls."""
    seen = []
    for name in ("_in_batch", "_in_channels", "_in_a_loop"):
        real = getattr(scan_vmap, name)
        monkeypatch.setattr(scan_vmap, name, lambda *args, real=real, name=name: seen.append(name) or real(*args))
    return seen


@each_feature
def test_every_combination_equals_a_loop(features, calls):
    made = variants(features)
    learned = [name for name in ("projected", "initial_state", "reset_state") if name in made[0]]
    for at, chosen in enumerate(subsets(list(made[0]))):
        stacks = {name: stacked(made, name, at) for name in chosen}
        inputs = {name: stacks[name][0] if name in chosen else x for name, x in made[0].items()}
        inputs |= {name: inputs[name].clone().requires_grad_() for name in learned}
        dims = {name: stacks[name][1] if name in chosen else None for name in made[0]}

        def scan(arguments):
            return minrnn_scan(
                arguments["projected"], "minlstm", **{k: v for k, v in arguments.items() if k != "projected"}
            )

        found = []
        for by_vmap in (True, False):
            if by_vmap:
                h, final = torch.vmap(scan, (dims,))(inputs)
            else:
                of_each = [
                    {k: x if dims[k] is None else x.select(dims[k], n) for k, x in inputs.items()} for n in range(SIZE)
                ]
                h, final = (torch.stack(values) for values in zip(*map(scan, of_each)))
            weights = [torch.linspace(-1, 1, x.numel(), dtype=x.dtype).view(x.shape) for x in (h, final)]
            grads = torch.autograd.grad([h, final], [inputs[name] for name in learned], weights)
            found.append({"h": h.detach(), "final": final.detach(), **dict(zip(learned, grads))})
        assert_runs_close(found[0], found[1], 1e-12)
    assert set(calls) == ({"_in_channels", "_in_a_loop"} if "reset_state" in features else {"_in_batch"})


@each_feature
def test_every_combination_of_the_backward(features, calls):
    made = variants(features)
    options = ("minlstm", "g", True, -1.0, "torch")
    names = ("projected", "initial_state", "attention_mask", "resets", "reset_state", "cu_seqlens")
    for one in made:
        h, final = scan_op(*(one.get(name) for name in names), *options)
        one |= {"h": h, "grad_h": torch.sin(3 * h), "grad_final": torch.cos(2 * final)}
    names = ("grad_h", "grad_final", "projected", "h", *names[1:])
    for at, chosen in enumerate(subsets([name for name in names if name in made[0]])):
        if at % 7 and "reset_state" not in chosen:  # 2 ** 9 of them in all
            continue
        stacks = {name: stacked(made, name, at) for name in chosen}
        tensors = [stacks[name][0] if name in chosen else made[0].get(name) for name in names]
        dims = [stacks[name][1] if name in chosen else None for name in names]
        got = torch.vmap(lambda *tensors: scan_backward_op(*tensors, *options), tuple(dims))(*tensors)
        of_each = [[x if d is None else x.select(d, n) for x, d in zip(tensors, dims)] for n in range(SIZE)]
        want = map(torch.stack, zip(*(scan_backward_op(*each, *options) for each in of_each)))
        for one, other in zip(got, want, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    assert set(calls) == ({"_in_channels", "_in_a_loop"} if "reset_state" in features else {"_in_batch"})


@every_backend
@every_cell
def test_every_cell_nested_and_with_batched_gradients(cell, backend):
    many = torch.stack([torch.stack([random_inputs(cell, 2, 5, 3, seed=2 * i + j)[0] for j in (0, 1)]) for i in (0, 1)])
    options = {**cell_options(cell), "forget_gate_floor": -1.0}
    got = torch.vmap(torch.vmap(lambda p: minrnn_scan(p, **options, backend=backend)[0]))(many)
    assert_runs_close({"h": got}, {"h": defined_scan(many.flatten(0, 2), **options)[0].unflatten(0, (2, 2, 2))}, 1e-12)
    learned = many[0, 0].clone().requires_grad_()
    h, _ = minrnn_scan(learned, **options, backend=backend)
    directions = torch.randn(4, *h.shape, dtype=h.dtype)
    (got,) = torch.autograd.grad(h, learned, directions, retain_graph=True, is_grads_batched=True)
    want = torch.stack([torch.autograd.grad(h, learned, d, retain_graph=True)[0] for d in directions])
    assert_runs_close({"d": got}, {"d": want}, 1e-12)


@pytest.mark.parametrize("kind", [MinGRU, MinLSTM])
def test_an_ensemble_equals_its_members(kind, calls):
    """The recipe from torch.func's documentation, with gradients taken outside and inside of vmap."""
    members = [kind(3, 4, 2, bidirectional=True, dtype=torch.float64) for _ in range(SIZE)]
    params, _ = stack_module_state(members)
    base, x = copy.deepcopy(members[0]).to("meta"), torch.randn(TIME, 2, 3, dtype=torch.float64)

    def output(params, x):
        return functional_call(base, params, (x,))[0]

    def loss(params, x):
        return output(params, x).square().sum()

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch warns of an op without a rule
        got = torch.vmap(output, (0, None))(params, x)
        assert set(calls) == {"_in_batch"}
        outside = torch.autograd.grad(got.square().sum(), list(params.values()))
        inside = torch.vmap(torch.func.grad(loss), (0, None))(params, x)
    want = [member(x)[0] for member in members]
    assert_runs_close({"y": got}, {"y": torch.stack(want)}, 1e-12)
    grads = [torch.autograd.grad(y.square().sum(), list(member.parameters())) for y, member in zip(want, members)]
    each = dict(zip(params, map(torch.stack, zip(*grads))))
    assert_runs_close(dict(zip(params, outside)), each, 1e-11)
    assert_runs_close(inside, each, 1e-11)


def test_compiles_in_one_graph():
    many = torch.stack([random_inputs("mingru", seed=seed, dtype=torch.float32)[0] for seed in range(SIZE)])
    over = torch.vmap(lambda p: minrnn_scan(p, "mingru")[0])
    torch._dynamo.reset()
    torch.testing.assert_close(torch.compile(over, fullgraph=True, backend="aot_eager")(many), over(many))


@every_backend
def test_bounds_that_differ(backend):
    made = variants("packed")
    options = {name: torch.stack([one[name] for one in made]) for name in ("initial_state", "cu_seqlens")}

    def scan(projected, options):
        return minrnn_scan(projected, "minlstm", **options, backend=backend)

    got = torch.vmap(scan, (None, 0))(made[0]["projected"], options)
    for n, one in enumerate(made):
        want = defined_scan(made[0]["projected"], "minlstm", one["initial_state"], cu_seqlens=one["cu_seqlens"])
        for value, exact in zip(got, want):
            torch.testing.assert_close(value[n], exact)
    options["cu_seqlens"][1, -1] -= 1
    if backend != "associative":
        with pytest.raises(ValueError, match="cu_seqlens must rise from 0 to the length 6"):
            torch.vmap(scan, (None, 0))(made[0]["projected"], options)


def test_a_cell_over_states():
    cell, x = MinLSTMCell(3, 4), torch.randn(2, 5, 3)
    states = torch.randn(SIZE, 2, 4)
    got = torch.vmap(lambda state: cell(x, state)[1])(states)
    assert_runs_close({"s": got}, {"s": torch.stack([cell(x, state)[1] for state in states])}, 1e-6)
