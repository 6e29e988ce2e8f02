# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""What torch.nn.GRU and torch.nn.LSTM do, call by call, and what MinGRU and MinLSTM do in their place.

    PYTHONPATH=tests python -m support.layer_cases    # writes tests/layers_beside_torch.md; a test checks it

Every row is an expression, evaluated once for each layer. The rows, and the reasons for what differs,
stand in layer_calls.py.
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

TABLE = Path(__file__).parents[1] / "layers_beside_torch.md"
PAIRS = {"GRU": (nn.GRU, MinGRU), "LSTM": (nn.LSTM, MinLSTM)}
SHOWN = 80  # characters of an error's message


# --- names in the expressions ----------------------------------------------------------------------------------------


def s(*shape, dtype=torch.float32, c=None, unequal=False):
    """A state: a tensor for a GRU, which knows no cell state; `pair` stands in its place for an LSTM."""
    return torch.linspace(-1, 1, max(1, torch.Size(shape).numel()), dtype=dtype).view(shape)


def pair(*shape, dtype=torch.float32, c=None, unequal=False):
    """h_0 and c_0, which are equal unless said otherwise."""
    h = s(*shape, dtype=dtype)
    return h, 2 * h if unequal else h.clone() if c is None else s(*c, dtype=dtype)


def other_form(state):
    """A pair where a tensor belongs, and a tensor where a pair does."""
    return state[0] if isinstance(state, tuple) else (state, state)


def pack(*lengths):
    """Packed sequences of these lengths, sorted or not."""
    torch.manual_seed(1)
    ordered = list(lengths) == sorted(lengths, reverse=True)
    return pack_sequence([torch.randn(n, 3) for n in lengths], enforce_sorted=ordered)


def warned(call):
    """The kinds of warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [w.category.__name__ for w in caught]


def first(state):
    """h of a state of either form."""
    return state[0] if isinstance(state, tuple) else state


def close(one, other):
    return bool(torch.allclose(one, other, atol=1e-5))


def changed_in_place(layer, x, state):
    before = first(state).clone()
    layer(x, state)
    return not torch.equal(before, first(state))


def steps_equal_the_whole(layer, x):
    state, outputs = None, []
    for step in x.split(1):
        output, state = layer(step, state)
        outputs.append(output)
    want, last = layer(x)
    return close(torch.cat(outputs), want) and close(first(state), first(last))


def h_n_is_the_last_output(layer, x):
    output, state = layer(x)
    return close(output[-1], first(state)[-1])


def equals_each_alone(layer, *lengths):
    packed, shape = pack(*lengths), (len(lengths), layer.hidden_size)
    h = s(2 * layer.num_layers, *shape)
    is_pair = layer.mode == "LSTM"
    output, state = layer(packed, (h, h) if is_pair else h)
    rows, _ = nn.utils.rnn.pad_packed_sequence(packed, batch_first=True)
    outputs, _ = nn.utils.rnn.pad_packed_sequence(output, batch_first=True)
    found = True
    for i, n in enumerate(lengths):
        start = h[:, i].contiguous()
        want, last = layer(rows[i, :n], (start, start) if is_pair else start)
        found = found and close(outputs[i, :n], want) and close(first(state)[:, i], first(last))
    return found


def autocast(layer, x):
    # Without oneDNN, whose LSTM in bfloat16 not every processor has.
    with torch.backends.mkldnn.flags(enabled=False), torch.autocast("cpu", torch.bfloat16):
        return layer(x)


def gradients(layer, x, state):
    x, h = x.clone().requires_grad_(), first(state).clone().requires_grad_()
    output, last = layer(x, (h, h) if isinstance(state, tuple) else h)
    found = torch.autograd.grad(output.sum() + first(last).sum(), [x, h, *layer.parameters()])
    return found[0], found[1], all(bool(g.abs().sum() > 0) for g in found)


def no_grad(layer, x):
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


def forward_mode(layer, x):
    return jvp(lambda x: layer(x)[0], (x,), (torch.ones_like(x),))[1]


def per_sample_gradients(layer, x):
    weights = {name: w.detach() for name, w in layer.named_parameters()}
    loss = lambda weights, row: functional_call(layer, weights, (row,))[0].sum()  # noqa: E731
    return all(len(g) == 2 for g in vmap(torch.func.grad(loss), (None, 1))(weights, x).values())


def functional(layer, x):
    weights = {name: torch.zeros_like(w) for name, w in layer.named_parameters()}
    return bool(functional_call(layer, weights, (x,))[0].abs().sum() < layer(x)[0].abs().sum())


def functional_gradient(layer, x):
    weights = {name: w.detach() for name, w in layer.named_parameters()}
    gradients = torch.func.grad(lambda weights: functional_call(layer, weights, (x,))[0].sum())(weights)
    layer(x)[0].sum().backward()
    return all(torch.allclose(gradients[name], w.grad, atol=1e-6) for name, w in layer.named_parameters())


def written_over(layer, x):
    x = x.clone().requires_grad_()
    output, _ = layer(x)
    output[-1] = 0
    (grad,) = torch.autograd.grad(output.sum(), x)
    return grad


def contiguous(layer, x):
    output, state = layer(x)
    return output.is_contiguous(), first(state).is_contiguous()


def h_n_shares_memory_with_output(layer, x):
    with torch.no_grad():
        output, state = layer(x)
    before = first(state).clone()
    output.zero_()
    return not torch.equal(before, first(state))


def attributes(layer):
    sizes = {name: getattr(layer, name) for name in ("input_size", "hidden_size", "num_layers", "proj_size")}
    return sizes | {
        name: getattr(layer, name) for name in ("bias", "batch_first", "dropout", "bidirectional", "training")
    }


def drawn_anew(layer):
    before = [w.clone() for w in layer.parameters()]
    layer.reset_parameters()
    return not any(torch.equal(w, old) for w, old in zip(layer.parameters(), before))


def state_dict_fits(layer, other, x):
    other.load_state_dict(layer.state_dict())
    return torch.equal(layer(x)[0], other(x)[0])


def same_output(way, layer, x):
    return close(way(layer)(x)[0], layer(x)[0])


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
    """TorchScript compiles a torch.nn.GRU inside another module."""

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


# --- what they come to -----------------------------------------------------------------------------------------------


def describe(result) -> str:
    """A result in a few words: tensors by their shape, and their dtype where it is not float32."""
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
    """What a call comes to, and what must be equal: the same, but of an error only its type."""
    torch.manual_seed(0)
    makes_pairs = issubclass(layer_class, nn.LSTM | MinLSTM)
    names = {**globals(), "L": layer_class, "x": torch.randn(5, 2, 3), "s": pair if makes_pairs else s}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            text = key = describe(eval(call, names))
        except Exception as error:
            message = " ".join(str(error).split())
            message = message if len(message) <= SHOWN else message[:SHOWN].rsplit(" ", 1)[0] + " ..."
            key = type(error).__name__
            text = f"{key}: {message}"
    return text, key


# --- the table -------------------------------------------------------------------------------------------------------


def table_rows() -> dict[str, dict[str, dict[str, list]]]:
    """Outcomes by group, call and kind: `[torch's, ours]`, each as `outcome` gives it."""
    return {
        group: {
            call: {kind: [outcome(call, layer) for layer in layers] for kind, layers in PAIRS.items()} for call in calls
        }
        for group, calls in CALLS.items()
    }


def differing(rows) -> set[str]:
    """The calls that come to something else, for either kind."""
    return {
        call
        for calls in rows.values()
        for call, kinds in calls.items()
        if any(theirs[1] != ours[1] for theirs, ours in kinds.values())
    }


def torch_version() -> str:
    """Whose words the table has."""
    return torch.__version__.partition("+")[0]


def render(rows) -> str:
    """The table as Markdown."""
    count, different = sum(map(len, rows.values())), differing(rows)
    lines = [
        f"""# MinGRU and MinLSTM beside torch.nn.GRU and torch.nn.LSTM

What {count} calls come to, by torch {torch_version()} on a CPU; {len(different)} of them differ, with the reason. Written by
`PYTHONPATH=tests python -m support.layer_cases`, where the functions in the calls are, and
checked by `test_layers_beside_torch.py`.

`L` is the layer, `x` has the shape (5, 2, 3), `s(...)` is a state of a shape (for nn.LSTM and MinLSTM a pair of them, equal
unless said otherwise), `pack(...)` packs sequences of these lengths. Results are given by their shapes, and by their dtypes
where those are not float32. Of errors the type must be the same; the words may differ."""
    ]
    for group, calls in rows.items():
        lines.append(f"\n## {group}\n")
        header = ["call", *(name for kind in PAIRS for name in (f"nn.{kind}", f"Min{kind}")), "why"]
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
