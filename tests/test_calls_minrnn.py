# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The shortcuts change no result: hooks and replaced functions are still called."""

import importlib.util
import pickle

import pytest
import torch
from support.model_cases import build, token_ids
from torch import nn
from torch.nn.utils import prune
from transformers.modeling_outputs import CausalLMOutputWithPast

from hf_minrnn import MinGRU, MinGRUCell, MinLSTM, MinLSTMCell, calls_minrnn
from hf_minrnn.block_minrnn import MinRNNLayer, MinRNNMixer, MinRNNMLP
from hf_minrnn.calls_minrnn import forwards, make_output
from hf_minrnn.norm_minrnn import MinRNNRMSNorm


class Parent(nn.Module):
    def __init__(self, child):
        super().__init__()
        self.child = child


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


X = torch.ones(2, 3)


def replaced(linear):
    linear.forward = lambda x: torch.zeros(2, 4)
    return linear


def hooked(linear):
    linear.register_forward_hook(lambda module, args, output: output + 1)
    return linear


def pre_hooked(linear):
    linear.register_forward_pre_hook(lambda module, args: (args[0] + 1,))
    return linear


def compiled(linear):
    linear.compile(backend=lambda graph, inputs: lambda *args: (torch.full((2, 4), 5.0),))
    return linear


def pruned(linear):
    return prune.l1_unstructured(linear, "weight", amount=0.5)


def with_a_bias_of_its_own(linear):
    bias = linear.bias.detach() + 1
    del linear.bias
    linear.bias = bias
    return linear


CHILDREN = {
    "linear": lambda: nn.Linear(3, 4),
    "without-bias": lambda: nn.Linear(3, 4, bias=False),
    "subclass": lambda: Doubled(3, 4),
    "norm": lambda: nn.LayerNorm(3),
    "embedding": lambda: nn.Embedding(5, 3),
    "embedding-of-a-norm": lambda: nn.Embedding(5, 3, max_norm=0.1),
    "replaced": lambda: replaced(nn.Linear(3, 4)),
    "hooked": lambda: hooked(nn.Linear(3, 4)),
    "pre-hooked": lambda: pre_hooked(nn.Linear(3, 4)),
    "compiled": lambda: compiled(nn.Linear(3, 4)),
    "with-a-bias-of-its-own": lambda: with_a_bias_of_its_own(nn.Linear(3, 4)),
    "pruned": lambda: pruned(nn.Linear(3, 4)),
    "parametrized": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)),
}


@pytest.mark.parametrize("kind", CHILDREN)
def test_forwards_gives_the_same_as_calling_the_modules(kind):
    parent = Parent(CHILDREN[kind]())
    with torch.no_grad():
        (child,) = forwards(parent, "child")
        x = X.long() if kind.startswith("embedding") else X
        assert torch.allclose(child(x), parent.child(x))  # an embedding with a norm rounds its weights at every call
        assert (child is parent.child) == (kind in ("hooked", "pre-hooked", "compiled", "pruned"))
    (child,) = forwards(parent, "child")
    assert child is parent.child


def test_hooks_on_every_module_are_called():
    parent, seen = Parent(nn.Linear(3, 4)), []
    handle = nn.modules.module.register_module_forward_hook(lambda module, *_: seen.append(module))
    try:
        with torch.no_grad():
            forwards(parent, "child")[0](X)
    finally:
        handle.remove()
    assert seen == [parent.child]


def test_every_hook_of_a_model_sees_every_token():
    """Hooks on any part of a model are called for single tokens as they are for whole texts."""
    model, ids, calls = build("mingru"), token_ids(1, 5), {}

    def count(name):
        return lambda *_: calls.__setitem__(name, calls.get(name, 0) + 1)

    for name, module in model.named_modules():
        if name and not isinstance(module, nn.ModuleList):
            module.register_forward_hook(count(name))
    with torch.no_grad():
        cache = model(ids).past_key_values
        whole, calls_of_whole = model(ids).logits, dict(calls)
        calls.clear()
        model(ids[:, :1], past_key_values=cache)
    assert calls.keys() == calls_of_whole.keys() and set(calls.values()) == {1} and whole.isfinite().all()
    assert calls.keys() == {name for name, _ in model.named_modules() if name and not name.endswith("layers")}


PATCHED = (nn.Linear, nn.Embedding, MinRNNRMSNorm, MinGRUCell, MinRNNMLP, MinRNNMixer, MinRNNLayer)


@pytest.mark.parametrize("tokens", [1, 5])
@pytest.mark.parametrize("kind", PATCHED, ids=lambda kind: kind.__name__)
def test_a_patched_forward_is_called_with_and_without_gradients(kind, tokens, monkeypatch):
    """If a library replaces the forward of a class, the replacement is also called without gradients."""
    model, ids = build("mingru"), token_ids(1, tokens)
    model(ids)  # a kernel that is compiled at the first call must not be part of the comparison
    plain, real = model(ids).logits, kind.forward

    def halved(self, *args, **kwargs):
        result = real(self, *args, **kwargs)
        return (0.5 * result[0], *result[1:]) if isinstance(result, tuple) else 0.5 * result

    monkeypatch.setattr(kind, "forward", halved)
    with_gradients = model(ids).logits
    with torch.no_grad():
        without = model(ids).logits
    assert torch.allclose(with_gradients, without, atol=1e-5) and not torch.allclose(plain, without, atol=1e-5)


def test_a_patched_module_call_is_called_without_gradients(monkeypatch):
    """torch.fx and profilers replace `nn.Module.__call__`."""
    model, ids, seen, real = build("mingru"), token_ids(1, 1), set(), nn.Module.__call__
    monkeypatch.setattr(
        nn.Module, "__call__", lambda self, *args, **kwargs: (seen.add(self), real(self, *args, **kwargs))[1]
    )
    with torch.no_grad():
        model(ids)
    assert seen >= {module for module in model.modules() if not isinstance(module, (nn.ModuleList, MinRNNLayer))}


def test_a_forward_that_was_patched_before_the_import_is_called(monkeypatch):
    real = nn.Linear.forward
    monkeypatch.setattr(nn.Linear, "forward", lambda self, x: 0.5 * real(self, x))
    spec = importlib.util.spec_from_file_location("hf_minrnn.calls_again", calls_minrnn.__file__)
    again = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(again)
    parent = Parent(nn.Linear(3, 4))
    with torch.no_grad():
        assert torch.equal(again.forwards(parent, "child")[0](X), 0.5 * real(parent.child, X))


def test_a_class_that_overrides_call_is_called():
    class Called(nn.Linear):
        def __call__(self, x):
            return super().__call__(x) + 1

    parent = Parent(Called(3, 4))
    with torch.no_grad():
        assert torch.equal(forwards(parent, "child")[0](X), parent.child(X))


def test_make_output_equals_the_constructor():
    values = {"loss": None, "logits": torch.ones(2), "past_key_values": "cache"}
    made, wanted = make_output(CausalLMOutputWithPast, **values), CausalLMOutputWithPast(**values)
    assert type(made) is type(wanted) and list(made.items()) == list(wanted.items()) and vars(made) == vars(wanted)
    assert made.to_tuple() == wanted.to_tuple() and made["logits"] is made.logits is made[0]
    assert made.hidden_states is None and "hidden_states" not in made
    made.loss = 1.0
    assert made["loss"] == 1.0 and pickle.loads(pickle.dumps(made)).past_key_values == "cache"
    assert torch.utils._pytree.tree_map(lambda x: x, made).keys() == made.keys()


def test_a_jit_trace_contains_the_submodules():
    class Around(Parent):
        def forward(self, x):
            (child,) = forwards(self, "child")
            return child(x)

    with torch.no_grad():
        graph = torch.jit.trace(Around(nn.Linear(3, 4)), X).graph
    assert "CallMethod" in str(graph)


# --- torch.fx ---------------------------------------------------------------------------------------------------------


class Stack(nn.Module):
    """Calls the layers and cells in the ways that user code does: arguments by position and by name, states, masks, resets."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(3, 4), nn.Tanh())
        self.gru, self.lstm = MinGRU(4, 4, 2, batch_first=True), MinLSTM(4, 4, batch_first=True, bidirectional=True)
        self.cells = nn.ModuleList([MinGRUCell(8, 5), MinLSTMCell(5, 5)])

    def forward(self, x, hx, resets, mask):
        y, h_n = self.gru(self.inner(x), hx)
        z, (last, _) = self.lstm(y, (h_n, h_n), resets=resets)
        out, final = self.cells[0](z, None, attention_mask=mask)
        out, state = self.cells[1].step(out[:, -1] + final, final)
        return out, state, last


def test_symbolic_trace_makes_one_node_of_each():
    model = Stack()
    x, hx = torch.randn(2, 6, 3), torch.randn(2, 2, 4)
    inputs = (x, hx, torch.rand(2, 6) > 0.7, torch.rand(2, 6) > 0.3)
    traced = torch.fx.symbolic_trace(model)
    called = [node.target for node in traced.graph.nodes if node.op == "call_module"]
    assert called == ["inner.0", "inner.1", "gru", "lstm", "cells.0", "cells.1.in_proj"]
    for run in (traced, pickle.loads(pickle.dumps(traced))):
        for got, want in zip(run(*inputs), model(*inputs), strict=True):
            torch.testing.assert_close(got, want)
    other = (torch.randn(1, 9, 3), torch.randn(2, 1, 4), torch.rand(1, 9) > 0.7, torch.rand(1, 9) > 0.3)
    torch.testing.assert_close(traced(*other)[0], model(*other)[0])  # the graph keeps nothing of the example


def test_symbolic_trace_finds_a_proxy_in_the_state():
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.x = MinLSTM(3, 4), torch.randn(5, 2, 3)

        def forward(self, h, c):
            return self.layer(self.x.detach(), (h, c))[0]

    model, h = Fixed(), torch.randn(1, 2, 4)
    torch.testing.assert_close(torch.fx.symbolic_trace(model)(h, h), model(h, h))


def test_a_subclass_that_overrides_forward_is_not_a_leaf():
    """A node for the subclass would also contain what its forward adds."""

    class Scaled(MinGRU):
        def forward(self, x):
            return 2 * super().forward(x)[0]

    with pytest.raises(torch.fx.proxy.TraceError):
        torch.fx.symbolic_trace(nn.Sequential(Scaled(3, 4)))
    with pytest.raises(torch.fx.proxy.TraceError):  # nor is the root, as with nn.GRU
        torch.fx.symbolic_trace(MinGRU(3, 4))
