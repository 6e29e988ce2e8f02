# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""What the cells are, in float64, in the plainest words there are: one step after the other.

Written from the paper (arXiv 2410.01201) and not from the package: nothing here is imported from it. Autograd
differentiates it, so every gradient of a backend has something to be compared with.
"""

import torch
from torch.nn.functional import logsigmoid


def activation(c):
    """g of the paper's appendix B. `torch.where` takes the upper branch at exactly 0, so the derivative there is 1."""
    return torch.where(c >= 0, c + 0.5, torch.sigmoid(c))


def gates(projected, cell_type, candidate_activation="g", normalize_gates=True, forget_gate_floor=0.0):
    """The decay a and the input b of h[t] = a[t] * h[t-1] + b[t], for a projected input of any leading shape."""
    projected = projected.double()
    if cell_type == "linear":
        return projected.chunk(2, -1)
    if cell_type == "mingru":
        z, candidate = projected.chunk(2, -1)
        share, decay = torch.sigmoid(z), torch.sigmoid(-z)
    else:
        forget, input, candidate = projected.chunk(3, -1)
        share, decay = torch.sigmoid(input), torch.sigmoid(forget)
        if normalize_gates:  # F / (F + I) and I / (F + I)
            log_sum = torch.logaddexp(logsigmoid(forget), logsigmoid(input))
            share, decay = torch.exp(logsigmoid(input) - log_sum), torch.exp(logsigmoid(forget) - log_sum)
    if forget_gate_floor:
        decay = forget_gate_floor + (1 - forget_gate_floor) * decay
        if cell_type == "mingru" or normalize_gates:
            share = 1 - decay
    value = activation(candidate) if candidate_activation == "g" else candidate
    return decay, share * value


def recurrence(a, b, initial_state=None, attention_mask=None, resets=None, reset_state=None):
    """h[t] = a[t] * h[t-1] + b[t] for `(batch, time, channels)`; returns every h and the last."""
    h = torch.zeros_like(a[:, 0]) if initial_state is None else initial_state.double()
    states = []
    for t, (decay, new) in enumerate(zip(a.unbind(1), b.unbind(1), strict=True)):
        if resets is not None:
            fresh = torch.zeros_like(h) if reset_state is None else reset_state.double()
            fresh = fresh[:, t] if fresh.dim() == 3 else fresh
            h = torch.where(resets[:, t, None], fresh, h)
        new = decay * h + new
        h = new if attention_mask is None else torch.where(attention_mask[:, t, None].bool(), new, h)
        states.append(h)
    return torch.stack(states, 1) if states else b, h


def define(
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
):
    """As `hf_minrnn.minrnn_scan`. Packed sequences are run each alone, an empty one keeps its initial state."""
    options = (candidate_activation, normalize_gates, forget_gate_floor)
    if cu_seqlens is None:
        a, b = gates(projected, cell_type, *options)
        return recurrence(a, b, initial_state, attention_mask, resets, reset_state)
    bounds, runs = cu_seqlens.tolist(), []
    for n in range(len(bounds) - 1):
        now = slice(bounds[n], bounds[n + 1])
        a, b = gates(projected[:, now], cell_type, *options)
        mask, reset = (None if x is None else x[:, now] for x in (attention_mask, resets))
        state = b.new_zeros(1, b.shape[-1]) if initial_state is None else initial_state[n : n + 1]
        per_step = reset_state is not None and reset_state.dim() == 3
        start = reset_state[:, now] if per_step else reset_state
        runs.append(recurrence(a, b, state.double(), mask, reset, start))
    return torch.cat([h for h, _ in runs], 1), torch.cat([final for _, final in runs], 0)


def run(scan, projected, cell_type, initial_state=None, weights=None, **options):
    """Values and every gradient of a scan: h, final_state, and the gradients by `projected`, `initial_state` and
    `reset_state`, the last two where they are given.

    The loss is the sum of h and of final_state times fixed random numbers (`weights`, a pair), so that every gradient
    that reaches the scan differs from every other.
    """
    inputs = {"d_projected": projected, "d_initial": initial_state, "d_reset": options.get("reset_state")}
    inputs = {name: x.detach().requires_grad_() for name, x in inputs.items() if x is not None}
    if "d_reset" in inputs:
        options["reset_state"] = inputs["d_reset"]
    h, final = scan(inputs["d_projected"], cell_type, inputs.get("d_initial"), **options)
    if weights is None:
        weights = loss_weights(h, final)
    # In the outputs' dtype, so that reduced precision sees the same, already rounded, incoming gradients.
    weights = [w.to(x.dtype) for w, x in zip(weights, (h, final), strict=True)]
    grads = torch.autograd.grad([h, final], list(inputs.values()), weights)
    return {"h": h.detach(), "final": final.detach(), **dict(zip(inputs, grads, strict=True))}


def loss_weights(h, final):
    """Random numbers of the outputs' shapes, exact in bfloat16 and float16 too; the same for the same shapes."""
    generator = torch.Generator().manual_seed(h.numel() + 7)
    return tuple(torch.randn(x.shape, generator=generator).bfloat16().to(torch.float64) for x in (h, final))


def relative_error(got, expected):
    """The norm of the difference over the norm of what is expected; infinite for anything that is not finite."""
    got, expected = got.double(), expected.double()
    assert got.shape == expected.shape, (got.shape, expected.shape)
    error = torch.linalg.vector_norm(got - expected) / torch.linalg.vector_norm(expected).clamp(min=1e-30)
    return error.item() if torch.isfinite(error) else float("inf")


def assert_same(got, expected, values, gradients=None):
    """Every entry of one `run` against another's."""
    assert got.keys() == expected.keys()
    for name, want in expected.items():
        if want.numel() == 0:
            assert got[name].shape == want.shape
            continue
        limit = values if gradients is None or not name.startswith("d_") else gradients
        error = relative_error(got[name], want)
        assert error <= limit, f"{name}: relative error {error:.2e} > {limit:.0e}"
