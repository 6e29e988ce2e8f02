# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The gate formulas of minGRU and minLSTM and the candidate activation g, once, for every backend.

Every cell is one recurrence over the channels of a single state vector, h[t] = a[t] * h[t-1] + b[t]. Its gates come in
blocks ("parts") of the projected input, each of shape `(..., channels)`:

| cell | parts | decay a | input b |
| --- | --- | --- | --- |
| `mingru` (arXiv 2410.01201, section 3.1) | gate, candidate | `sigmoid(-gate)` | `sigmoid(gate) * v` |
| `minlstm`, normalised (section 3.2) | forget, input, candidate | `F / (F + I)` | `I / (F + I) * v` |
| `minlstm`, not normalised | forget, input, candidate | `F` | `I * v` |
| `linear` | a, b | `a` | `b` |

with `F = sigmoid(forget)`, `I = sigmoid(input)` and `v` the candidate itself or g of it. A forget-gate floor lifts the
decay to `floor + (1 - floor) * a`; where the input gate is one minus the decay, it shrinks with it.
"""

from typing import NamedTuple

import torch
from torch.nn.functional import logsigmoid

NUM_PARTS = {"mingru": 2, "minlstm": 3, "linear": 2}

# The names that a model's config accepts as its cell_type. `cells.register_cell` appends to it.
CELL_TYPES = ["mingru", "minlstm"]


class ScanSpec(NamedTuple):
    """What a scan computes: the cell and its options, without any tensor."""

    cell_type: str
    candidate_activation: str = "g"
    normalize_gates: bool = True
    forget_gate_floor: float = 0.0

    @property
    def num_parts(self) -> int:
        """Blocks of the projected input."""
        return NUM_PARTS[self.cell_type]

    @property
    def form(self) -> str:
        """How one step is written, see `step`.

        >>> ScanSpec("mingru").form, ScanSpec("minlstm", normalize_gates=False).form, ScanSpec("linear").form
        ('lerp', 'complement', 'affine')
        """
        if self.cell_type == "linear":
            return "affine"
        return "lerp" if self.cell_type == "mingru" or self.normalize_gates else "complement"


# A saved module holds one. torch.load with weights_only=True should not ask the user for a class that is not public.
torch.serialization.add_safe_globals([ScanSpec])


def step(h, w, x, form: str, out=None):
    """One step of the recurrence, element by element.

    "lerp" is h + w * (x - h) with w = 1 - decay. At long memory it is far more accurate than "affine", w * h + x with
    w = decay, because 1 - decay keeps its relative precision where the decay itself rounds to 1. "complement",
    h + (x - w * h) with w = 1 - decay, is the same idea for a decay that is not tied to the input gate.

    >>> h, w, x = torch.tensor(1.0), torch.tensor(0.25), torch.tensor(5.0)
    >>> [step(h, w, x, form).item() for form in ("lerp", "affine", "complement")]
    [2.0, 5.25, 5.75]
    """
    if form == "lerp":
        return torch.lerp(h, x, w, out=out)
    if form == "affine":
        return torch.addcmul(x, w, h, out=out)
    return torch.add(torch.addcmul(x, w, h, value=-1), h, out=out)


def g(x: torch.Tensor) -> torch.Tensor:
    """The candidate activation of the paper's log-space form (appendix B): `x + 0.5` from 0 on, `sigmoid(x)` below.

    Args:
        x (`torch.Tensor` of any shape): Candidate before the activation.

    Returns:
        `torch.Tensor`: Same shape and dtype, nowhere negative.

    >>> g(torch.tensor([-1e4, 0.0, 2.0])).tolist()
    [0.0, 0.5, 2.5]
    """
    return torch.where(x >= 0, x + 0.5, torch.sigmoid(x))


def to_dtype(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """`x` in another dtype. float16 ends at 65504: a state beyond it saturates instead of turning into inf.

    >>> to_dtype(torch.tensor([1.0, 1e6]), torch.float16).tolist()
    [1.0, 65504.0]
    """
    if dtype == torch.float16:
        x = x.clamp(-torch.finfo(dtype).max, torch.finfo(dtype).max)
    return x.to(dtype)


class Workspace:
    """Buffers of one shape, dtype and device that are written again tile after tile.

    Fresh memory of this size costs more in page faults than the arithmetic done in it. `work[name]` is always the same
    buffer; a workspace without a shape hands out `None`, with which every `out=` below allocates, as autograd needs.
    """

    def __init__(self, like: torch.Tensor | None = None):
        self._like, self._buffers = like, {}

    def __getitem__(self, name: str) -> torch.Tensor | None:
        if self._like is None:
            return None
        if name not in self._buffers:
            self._buffers[name] = torch.empty_like(self._like)
        return self._buffers[name]


def _candidate(candidate, spec: ScanSpec, work: Workspace):
    if spec.candidate_activation != "g":
        return candidate
    if work["v"] is None:
        return g(candidate)
    # g without a branch: from 0 on the sigmoid is sigmoid(0) = 0.5, below it the clamp is 0. torch.where is slower.
    v = torch.clamp(candidate, max=0, out=work["v"]).sigmoid_()
    return v.add_(torch.clamp(candidate, min=0, out=work["t"]))


def _input_share(forget, input, work: Workspace):
    if work["w"] is None:  # fewer operations, which is all that one step costs
        return torch.sigmoid(logsigmoid(input) - logsigmoid(forget))
    # I / (F + I) = P / (P + Q) with P = 1 + exp(-forget), Q = 1 + exp(-input). Scaling both by exp(min(forget, input, 0))
    # makes every exponent non-positive, so that nothing overflows, and no logarithm is needed: quicker over a tile.
    scale = torch.clamp(torch.minimum(forget, input, out=work["w"]), max=0, out=work["w"])
    p = torch.exp(torch.sub(scale, forget, out=work["t"]), out=work["t"])
    q = torch.exp(torch.sub(scale, input, out=work["s"]), out=work["s"])
    unit = torch.exp(scale, out=work["w"])
    p = torch.add(p, unit, out=work["t"])
    q = torch.add(torch.add(q, unit, out=work["s"]), p, out=work["s"])
    return torch.div(p, q, out=work["w"])


def coefficients(parts, spec: ScanSpec, work: Workspace | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """What `step` takes.

    Args:
        parts (sequence of `torch.Tensor`, all of one shape): Float32 or wider.
        spec (`ScanSpec`): The cell.
        work (`Workspace`, *optional*): Memory to write to. Without it the result is differentiable by autograd.

    Returns:
        `(w, x)` of the parts' shape and dtype. Either may be one of the parts itself.
    """
    work = work or Workspace()
    *gates, candidate = parts
    if spec.cell_type == "linear":
        return gates[0], candidate
    v = _candidate(candidate, spec, work)
    if spec.form == "complement":
        w = torch.sigmoid(torch.neg(gates[0], out=work["w"]), out=work["w"])
        return _scaled(w, 1 - spec.forget_gate_floor, work), torch.mul(
            torch.sigmoid(gates[1], out=work["t"]), v, out=work["x"]
        )
    z = torch.sigmoid(gates[0], out=work["w"]) if spec.cell_type == "mingru" else _input_share(*gates, work)
    return _scaled(z, 1 - spec.forget_gate_floor, work), v


def _scaled(w, factor: float, work: Workspace):
    return w if factor == 1 else torch.mul(w, factor, out=work["w"])


def part_gradients(grad, h_prev, w, x, parts, spec: ScanSpec, work: Workspace) -> list[torch.Tensor]:
    """Gradients of the parts, by hand, given the recurrence's adjoint. Overwrites `grad`, `h_prev`, `w` and `x`.

    Args:
        grad (`torch.Tensor`): G[t], the gradient of the loss by h[t], later steps included.
        h_prev (`torch.Tensor`): The state each step started from.
        w, x (`torch.Tensor`): What `coefficients` returned for `parts` with `work`.
        parts (sequence of `torch.Tensor`), spec (`ScanSpec`): As in `coefficients`.
        work (`Workspace`): The one that `coefficients` wrote to.

    Returns:
        list of `torch.Tensor`: One gradient for each part, in order. Each is a buffer of its own, but none is new: they are
            `grad`, `h_prev` and buffers of `work`. Copy them before any of these is used again.
    """
    *gates, candidate = parts
    if spec.form == "affine":
        return [h_prev.mul_(grad), grad]
    v = work["v"] if spec.candidate_activation == "g" else candidate
    if spec.form == "complement":
        # w = (1 - floor) * sigmoid(-forget): dw/dforget = -w * sigmoid(forget), and h falls by w * h_prev.
        grad_forget = h_prev.mul_(grad).mul_(w).mul_(torch.sigmoid(gates[0], out=work["t"]))
        input_gate = torch.sigmoid(gates[1], out=work["t"])
        grad_v = torch.mul(grad, input_gate, out=work["w"])
        grad_input = torch.mul(
            grad.mul_(v), torch.addcmul(input_gate, input_gate, input_gate, value=-1, out=work["x"]), out=work["x"]
        )
        grad_gates = [grad_forget, grad_input]
    else:
        # w = (1 - floor) * sigmoid(u): dw/du = w * sigmoid(-u), and h changes by x - h_prev for every w.
        grad_v = grad.mul_(w)
        grad_u = torch.sub(x, h_prev, out=h_prev).mul_(grad_v)
        grad_u.addcmul_(grad_u, w, value=-1 / (1 - spec.forget_gate_floor))
        grad_gates = [grad_u]
        if spec.cell_type == "minlstm":  # u = softplus(-forget) - softplus(-input)
            rest = [torch.sigmoid(torch.neg(gate, out=work[n]), out=work[n]) for gate, n in zip(gates, "ts")]
            grad_gates = [rest[0].mul_(grad_u).neg_(), rest[1].mul_(grad_u)]
    if spec.candidate_activation == "g":
        # g' is 1 from 0 on and v - v^2 <= 0.25 below. (A relu-guarded logarithm would give 0 at exactly 0.)
        slope = torch.addcmul(v, v, v, value=-1, out=work["v"])
        above = torch.ge(candidate, 0, out=work["x"] if spec.form == "lerp" else work["w2"])
        grad_v = grad_v.mul_(torch.maximum(slope, above, out=slope))
    return [*grad_gates, grad_v]
