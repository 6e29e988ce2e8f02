# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The definition of the cells in float64, as plain as possible: a loop over the time steps.

It follows the paper (arXiv 2410.01201) and imports nothing of the package. Autograd differentiates it, so every gradient of a
backend can be compared with it.
"""

import torch
from torch.nn.functional import logsigmoid


def activation(c):
    """Returns g of the paper's appendix B. At exactly 0 `torch.where` takes the upper branch, so the derivative there is 1."""
    return torch.where(c >= 0, c + 0.5, torch.sigmoid(c))


def gates(projected, cell_type, candidate_activation="g", normalize_gates=True, forget_gate_floor=0.0, time_delta=None):
    """Returns a and b of h[t] = a[t] * h[t-1] + b[t], for a projected input with any leading dimensions.

    `time_delta` has the same leading dimensions.
    """
    projected = projected.double()
    if cell_type == "linear":
        return projected.chunk(2, -1)
    if cell_type == "mingru":
        z, candidate = projected.chunk(2, -1)
        input_gate = torch.sigmoid(z)
        decay = torch.sigmoid(-z)
    else:
        forget, input, candidate = projected.chunk(3, -1)
        if normalize_gates:  # F / (F + I) and I / (F + I)
            log_sum = torch.logaddexp(logsigmoid(forget), logsigmoid(input))
            input_gate = torch.exp(logsigmoid(input) - log_sum)
            decay = torch.exp(logsigmoid(forget) - log_sum)
        else:
            input_gate = torch.sigmoid(input)
            decay = torch.sigmoid(forget)
    is_tied = cell_type == "mingru" or normalize_gates
    if forget_gate_floor:
        decay = forget_gate_floor + (1 - forget_gate_floor) * decay
        input_gate = 1 - decay if is_tied else input_gate
    if time_delta is not None:
        decay = decay ** time_delta.double().unsqueeze(-1)
        input_gate = 1 - decay if is_tied else input_gate
    if candidate_activation == "g":
        candidate = activation(candidate)
    return decay, input_gate * candidate


def recurrence(a, b, initial_state=None, attention_mask=None, resets=None, reset_state=None):
    """Computes h[t] = a[t] * h[t-1] + b[t] for `(batch, time, channels)`. Returns the states of all steps, and the last one."""
    h = torch.zeros_like(a[:, 0]) if initial_state is None else initial_state.double()
    states = []
    for t, (decay, added) in enumerate(zip(a.unbind(1), b.unbind(1), strict=True)):
        if resets is not None:
            start = torch.zeros_like(h) if reset_state is None else reset_state.double()
            if start.dim() == 3:
                start = start[:, t]
            h = torch.where(resets[:, t, None], start, h)
        new = decay * h + added
        h = new if attention_mask is None else torch.where(attention_mask[:, t, None].bool(), new, h)
        states.append(h)
    return torch.stack(states, 1) if states else b, h


def defined_scan(
    projected,
    cell_type,
    initial_state=None,
    *,
    candidate_activation="g",
    normalize_gates=True,
    forget_gate_floor=0.0,
    attention_mask=None,
    cu_seqlens=None,
    resets=None,
    reset_state=None,
    time_delta=None,
):
    """Takes the arguments of `hf_minrnn.minrnn_scan` and returns `(h, final_state)`.

    It runs each packed sequence alone. An empty sequence keeps its initial state.
    """
    options = (candidate_activation, normalize_gates, forget_gate_floor)
    if cu_seqlens is None:
        a, b = gates(projected, cell_type, *options, time_delta)
        return recurrence(a, b, initial_state, attention_mask, resets, reset_state)
    offsets = cu_seqlens.tolist()
    results = []
    for n in range(len(offsets) - 1):
        steps = slice(offsets[n], offsets[n + 1])
        gaps = None if time_delta is None else time_delta[:, steps]
        a, b = gates(projected[:, steps], cell_type, *options, gaps)
        mask = None if attention_mask is None else attention_mask[:, steps]
        sequence_resets = None if resets is None else resets[:, steps]
        state = b.new_zeros(1, b.shape[-1]) if initial_state is None else initial_state[n : n + 1]
        start = reset_state
        if start is not None and start.dim() == 3:
            start = start[:, steps]
        results.append(recurrence(a, b, state.double(), mask, sequence_resets, start))
    return torch.cat([h for h, _ in results], 1), torch.cat([final for _, final in results], 0)


def run_with_gradients(scan, projected, cell_type, initial_state=None, weights=None, **options):
    """Returns the results of a scan and its gradients by name: h, final, d_projected, and d_initial, d_reset, d_gaps if given.

    The loss is the weighted sum of h and the final state. The weights are random (or `weights`, a pair), so that no two
    gradients that reach the scan are equal.
    """
    inputs = {"d_projected": projected, "d_initial": initial_state}
    inputs |= {"d_reset": options.get("reset_state"), "d_gaps": options.get("time_delta")}
    inputs = {name: x.detach().requires_grad_() for name, x in inputs.items() if x is not None}
    for name, option in (("d_reset", "reset_state"), ("d_gaps", "time_delta")):
        if name in inputs:
            options[option] = inputs[name]
    h, final = scan(inputs["d_projected"], cell_type, inputs.get("d_initial"), **options)
    if weights is None:
        weights = loss_weights(h, final)
    # In the dtype of the results, so that a scan in reduced precision gets the same, already rounded, gradients.
    weights = [w.to(x.dtype) for w, x in zip(weights, (h, final), strict=True)]
    grads = torch.autograd.grad([h, final], list(inputs.values()), weights)
    return {"h": h.detach(), "final": final.detach(), **dict(zip(inputs, grads, strict=True))}


def loss_weights(h, final):
    """Returns random numbers in the shapes of the results: the same for the same shapes, and exact in bfloat16 and float16."""
    generator = torch.Generator().manual_seed(h.numel() + 7)
    return tuple(torch.randn(x.shape, generator=generator).bfloat16().to(torch.float64) for x in (h, final))


def relative_error(got, expected):
    """Returns the norm of the difference, relative to the norm of `expected`; infinity if it is not finite."""
    got, expected = got.double(), expected.double()
    assert got.shape == expected.shape, (got.shape, expected.shape)
    error = torch.linalg.vector_norm(got - expected) / torch.linalg.vector_norm(expected).clamp(min=1e-30)
    return error.item() if torch.isfinite(error) else float("inf")


def assert_runs_close(got, expected, values, gradients=None):
    """Compares two results of `run_with_gradients`; `values` and `gradients` are the largest relative errors allowed."""
    assert got.keys() == expected.keys()
    for name, want in expected.items():
        if want.numel() == 0:
            assert got[name].shape == want.shape
            continue
        limit = values if gradients is None or not name.startswith("d_") else gradients
        error = relative_error(got[name], want)
        assert error <= limit, f"{name}: relative error {error:.2e} > {limit:.0e}"
