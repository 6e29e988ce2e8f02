# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Compares the results of MinGRU and MinLSTM with those of torch.nn.GRU and torch.nn.LSTM, call by call.

    PYTHONPATH=tests python -m support.layer_cases    # writes tests/layers_vs_torch.md; a test checks it

Each row of the table is an expression, evaluated once for each layer. layer_calls.py lists the expressions, and the reasons
for different results.
"""

import copy
import io
import pickle
import warnings
from pathlib import Path

import torch
from torch import nn
from torch.func import functional_call, jvp, vmap
from torch.nn.utils.rnn import PackedSequence, pack_sequence

from hf_minrnn import MinGRU, MinLSTM
from support.layer_calls import CALLS, DIFFERENCES

TABLE = Path(__file__).parents[1] / "layers_vs_torch.md"
PAIRS = {"GRU": (nn.GRU, MinGRU), "LSTM": (nn.LSTM, MinLSTM)}
SHOWN = 80  # characters of an error message in the table


# --- functions for the expressions -----------------------------------------------------------------------------------


def s(*shape, dtype=torch.float32, c=None, unequal=False):
    """Returns the state of a GRU, a tensor. `c` and `unequal` have no effect; for an LSTM, `s` is `pair`."""
    return torch.linspace(-1, 1, max(1, torch.Size(shape).numel()), dtype=dtype).view(shape)


def pair(*shape, dtype=torch.float32, c=None, unequal=False):
    """Returns the state of an LSTM, `(h_0, c_0)`. They are equal without `unequal` and `c` (the shape of c_0)."""
    h = s(*shape, dtype=dtype)
    if unequal:
        return h, 2 * h
    if c is not None:
        return h, s(*c, dtype=dtype)
    return h, h.clone()


def wrong_state_type(state):
    """Returns a pair for a GRU, and a tensor for an LSTM."""
    return state[0] if isinstance(state, tuple) else (state, state)


def pack(*lengths):
    """Returns packed sequences of these lengths, which need not be sorted."""
    torch.manual_seed(1)
    ordered = list(lengths) == sorted(lengths, reverse=True)
    return pack_sequence([torch.randn(n, 3) for n in lengths], enforce_sorted=ordered)


def warning_types(call):
    """Returns the types of the warnings of a call."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [w.category.__name__ for w in caught]


def first(state):
    """Returns h of a state of either class."""
    return state[0] if isinstance(state, tuple) else state


def close(one, other):
    return bool(torch.allclose(one, other, atol=1e-5))


def state_changed_in_place(layer, x, state):
    before = first(state).clone()
    layer(x, state)
    return not torch.equal(before, first(state))


def steps_equal_one_call(layer, x):
    state = None
    outputs = []
    for step in x.split(1):
        output, state = layer(step, state)
        outputs.append(output)
    want, last = layer(x)
    return close(torch.cat(outputs), want) and close(first(state), first(last))


def h_n_is_the_last_output(layer, x):
    output, state = layer(x)
    return close(output[-1], first(state)[-1])


def equals_separate_sequences(layer, *lengths):
    packed, shape = pack(*lengths), (len(lengths), layer.hidden_size)
    h = s(2 * layer.num_layers, *shape)
    is_lstm = layer.mode == "LSTM"
    output, state = layer(packed, (h, h) if is_lstm else h)
    rows, _ = nn.utils.rnn.pad_packed_sequence(packed, batch_first=True)
    outputs, _ = nn.utils.rnn.pad_packed_sequence(output, batch_first=True)
    equal = True
    for i, n in enumerate(lengths):
        start = h[:, i].contiguous()
        want, last = layer(rows[i, :n], (start, start) if is_lstm else start)
        equal = equal and close(outputs[i, :n], want) and close(first(state)[:, i], first(last))
    return equal


def under_autocast(layer, x):
    # Without oneDNN: not every processor supports its LSTM in bfloat16.
    with torch.backends.mkldnn.flags(enabled=False), torch.autocast("cpu", torch.bfloat16):
        return layer(x)


def gradients(layer, x, state):
    x, h = x.clone().requires_grad_(), first(state).clone().requires_grad_()
    output, last = layer(x, (h, h) if isinstance(state, tuple) else h)
    grads = torch.autograd.grad(output.sum() + first(last).sum(), [x, h, *layer.parameters()])
    return grads[0], grads[1], all(bool(g.abs().sum() > 0) for g in grads)


def requires_grad_under_no_grad(layer, x):
    with torch.no_grad():
        output, state = layer(x)
    return output.requires_grad, first(state).requires_grad


def eval_and_train_differ(layer, x):
    torch.manual_seed(2)
    return not torch.equal(layer.train()(x)[0], layer.eval()(x)[0])


def second_derivative(layer, x):
    x = x.clone().requires_grad_()
    (grad,) = torch.autograd.grad(layer(x)[0].sum(), x, create_graph=True)
    return torch.autograd.grad(grad.square().sum(), x)[0]


def forward_mode_derivative(layer, x):
    return jvp(lambda x: layer(x)[0], (x,), (torch.ones_like(x),))[1]


def per_sample_gradients(layer, x):
    weights = {name: w.detach() for name, w in layer.named_parameters()}
    loss = lambda weights, row: functional_call(layer, weights, (row,))[0].sum()  # noqa: E731
    return all(len(g) == 2 for g in vmap(torch.func.grad(loss), (None, 1))(weights, x).values())


def functional_call_uses_given_weights(layer, x):
    weights = {name: torch.zeros_like(w) for name, w in layer.named_parameters()}
    return bool(functional_call(layer, weights, (x,))[0].abs().sum() < layer(x)[0].abs().sum())


def functional_gradients_equal_backward(layer, x):
    weights = {name: w.detach() for name, w in layer.named_parameters()}
    gradients = torch.func.grad(lambda weights: functional_call(layer, weights, (x,))[0].sum())(weights)
    layer(x)[0].sum().backward()
    return all(torch.allclose(gradients[name], w.grad, atol=1e-6) for name, w in layer.named_parameters())


def gradient_after_overwriting_output(layer, x):
    x = x.clone().requires_grad_()
    output, _ = layer(x)
    output[-1] = 0
    (grad,) = torch.autograd.grad(output.sum(), x)
    return grad


def output_and_state_contiguous(layer, x):
    output, state = layer(x)
    return output.is_contiguous(), first(state).is_contiguous()


def h_n_shares_memory_with_output(layer, x):
    with torch.no_grad():
        output, state = layer(x)
    before = first(state).clone()
    output.zero_()
    return not torch.equal(before, first(state))


def attributes(layer):
    names = ["input_size", "hidden_size", "num_layers", "proj_size"]
    names += ["bias", "batch_first", "dropout", "bidirectional", "training"]
    return {name: getattr(layer, name) for name in names}


def reset_parameters_changes_weights(layer):
    before = [w.clone() for w in layer.parameters()]
    layer.reset_parameters()
    return not any(torch.equal(w, old) for w, old in zip(layer.parameters(), before))


def state_dict_loads(layer, other, x):
    other.load_state_dict(layer.state_dict())
    return torch.equal(layer(x)[0], other(x)[0])


def same_output(convert, layer, x):
    return close(convert(layer)(x)[0], layer(x)[0])


def copied(layer):
    return copy.deepcopy(layer)


def pickled(layer):
    return pickle.loads(pickle.dumps(layer))


def saved(layer):
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


class Outer(nn.Module):
    """Contains the layer: TorchScript only compiles a torch.nn.GRU inside another module."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor):
        return self.layer(x)


def scripted(layer):
    return torch.jit.script(Outer(layer))


def traced(layer):
    return torch.jit.trace(layer, (torch.ones(5, 2, 3),))


def compiled(layer):
    torch.compiler.reset()
    return torch.compile(layer, fullgraph=True, backend="eager")


def exported(layer):
    return torch.export.export(layer, (torch.ones(5, 2, 3),)).module()


# --- results ---------------------------------------------------------------------------------------------------------


def describe(result) -> str:
    """Describes a result briefly: a tensor by its shape, and by its dtype if it is not float32."""
    if isinstance(result, PackedSequence):
        data, batch_sizes, order, _ = result
        order = "" if order is None else f", order {order.tolist()}"
        return f"packed {describe(data)}, batch sizes {batch_sizes.tolist()}{order}"
    if isinstance(result, tuple):
        return ", ".join(f"({describe(r)})" if isinstance(r, tuple) else describe(r) for r in result)
    if isinstance(result, torch.Tensor):
        dtype = "" if result.dtype == torch.float32 else f" {result.dtype}".replace("torch.", "")
        device = "" if result.device.type == "cpu" else f" {result.device}"
        return str(tuple(result.shape)).replace(" ", "") + dtype + device
    return str(result)


def outcome(call: str, layer_class) -> tuple[str, str]:
    """Returns the description of a call's result, and a key that must be equal. The key of an error is its type."""
    torch.manual_seed(0)
    makes_pairs = issubclass(layer_class, nn.LSTM | MinLSTM)
    names = {**globals(), "L": layer_class, "x": torch.randn(5, 2, 3), "s": pair if makes_pairs else s}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            text = describe(eval(call, names))
            key = text
        except Exception as error:
            message = " ".join(str(error).split())
            if len(message) > SHOWN:
                message = message[:SHOWN].rsplit(" ", 1)[0] + " ..."
            key = type(error).__name__
            text = f"{key}: {message}"
    return text, key


# --- the table -------------------------------------------------------------------------------------------------------


def table_rows() -> dict[str, dict[str, dict[str, list]]]:
    """Returns the outcomes by group, call and kind: `[torch's, ours]`, each a result of `outcome`."""
    rows = {}
    for group, calls in CALLS.items():
        rows[group] = {}
        for call in calls:
            rows[group][call] = {kind: [outcome(call, layer) for layer in layers] for kind, layers in PAIRS.items()}
    return rows


def differing(rows) -> set[str]:
    """Returns the calls whose results differ, for GRU or LSTM."""
    return {
        call
        for calls in rows.values()
        for call, kinds in calls.items()
        if any(theirs[1] != ours[1] for theirs, ours in kinds.values())
    }


def torch_version() -> str:
    """Returns the version of torch, without the build. The table has its error messages."""
    return torch.__version__.partition("+")[0]


def render(rows) -> str:
    """Returns the table as Markdown."""
    count = sum(len(calls) for calls in rows.values())
    different = len(differing(rows))
    lines = [
        f"""# MinGRU and MinLSTM compared with torch.nn.GRU and torch.nn.LSTM

The results of {count} calls, by torch {torch_version()} on a CPU. {different} of them differ; the last column says why.

In the calls, `L` is the layer, `x` has the shape (5, 2, 3), and `s(...)` is a state of the given shape. For nn.LSTM and MinLSTM
it is a pair of equal states, except with `unequal=True` or `c=`, the shape of c_0. `pack(...)` returns packed sequences of the
given lengths. The other functions are in `tests/support/layer_cases.py`.

A tensor is described by its shape, and by its dtype if it is not float32. Two errors count as equal if they have the same type.

The command `PYTHONPATH=tests python -m support.layer_cases` writes this page. `test_layers_vs_torch.py` checks it."""
    ]
    for group, calls in rows.items():
        lines.append(f"\n## {group}\n")
        header = ["call", *(name for kind in PAIRS for name in (f"nn.{kind}", f"Min{kind}")), "reason"]
        lines += [f"| {' | '.join(header)} |", "| " + " | ".join([":--"] * len(header)) + " |"]
        for call, kinds in calls.items():
            cells = []
            for (theirs, _), (ours, _) in kinds.values():
                cells += [theirs, "same" if ours == theirs else ours]
            lines.append(f"| `{call}` | {' | '.join(cells)} | {DIFFERENCES.get(call, '')} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    TABLE.write_text(render(table_rows()), encoding="utf-8")
    print(f"wrote {TABLE}")
