# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The gate formulas of minGRU and minLSTM and the candidate activation g, shared by all backends.

Every cell is one recurrence over the channels of a single state vector, h[t] = a[t] * h[t-1] + b[t]. Its gates come in
blocks ("parts") of the projected input, each of shape `(..., channels)`:

| cell | parts | decay a | input b |
| --- | --- | --- | --- |
| `mingru` (arXiv 2410.01201, section 3.1) | gate, candidate | `sigmoid(-gate)` | `sigmoid(gate) * v` |
| `minlstm`, normalised (section 3.2) | forget, input, candidate | `F / (F + I)` | `I / (F + I) * v` |
| `minlstm`, not normalised | forget, input, candidate | `F` | `I * v` |
| `linear` | a, b | `a` | `b` |

Here `F = sigmoid(forget)`, `I = sigmoid(input)` and `v` is the candidate itself or g of it. A forget-gate floor changes
the decay to `floor + (1 - floor) * a`: above 0 it raises the decay, below 0 the decay can change the sign of the state
(arXiv 2411.12537). Where the input gate is one minus the decay, it changes with it.

The recurrence is computed in one of three forms, see `step`. Its coefficients are called `w` and `x` in all of them:

| form | next state | w | x |
| --- | --- | --- | --- |
| `lerp` | `h + w * (x - h)` | input gate, `1 - decay` | candidate v |
| `complement` | `h + (x - w * h)` | `1 - decay` | input b |
| `affine` | `w * h + x` | decay | input b |
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch.nn.functional import logsigmoid

NUM_PARTS = {"mingru": 2, "minlstm": 3, "linear": 2}

# The names that a model's config accepts as its cell_type. `cells.register_cell` appends to it.
CELL_TYPES = ["mingru", "minlstm"]


class ScanSpec(NamedTuple):
    """The cell of a scan and its options."""

    cell_type: str
    candidate_activation: str = "g"
    normalize_gates: bool = True
    forget_gate_floor: float = 0.0

    @property
    def num_parts(self) -> int:
        """Number of blocks of the projected input."""
        return NUM_PARTS[self.cell_type]

    @property
    def form(self) -> str:
        """Form of the recurrence, see `step`.

        >>> ScanSpec("mingru").form, ScanSpec("minlstm", normalize_gates=False).form, ScanSpec("linear").form
        ('lerp', 'complement', 'affine')
        """
        if self.cell_type == "linear":
            return "affine"
        return "lerp" if self.cell_type == "mingru" or self.normalize_gates else "complement"


# A saved module contains one. torch.load with weights_only=True must be able to load it without asking the user.
torch.serialization.add_safe_globals([ScanSpec])


def step(h: torch.Tensor, w: torch.Tensor, x: torch.Tensor, form: str, out: torch.Tensor | None = None) -> torch.Tensor:
    """Returns the next state, element by element.

    "lerp" is h + w * (x - h) with w = 1 - decay. For long memories it is far more accurate than "affine", w * h + x with
    w = decay, because 1 - decay keeps its relative precision where the decay itself rounds to 1. "complement",
    h + (x - w * h) with w = 1 - decay, does the same for a decay that is not tied to the input gate.

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
    """Returns the candidate activation of the paper's log-space form (appendix B): `x + 0.5` for x >= 0, else `sigmoid(x)`.

    Args:
        x (`torch.Tensor` of any shape): Candidate before the activation.

    Returns:
        `torch.Tensor`: Same shape and dtype, never negative.

    >>> g(torch.tensor([-1e4, 0.0, 2.0])).tolist()
    [0.0, 0.5, 2.5]
    """
    return torch.where(x >= 0, x + 0.5, torch.sigmoid(x))


def to_dtype(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Returns `x` in another dtype. In float16, values beyond 65504 saturate instead of becoming infinite.

    >>> to_dtype(torch.tensor([1.0, 1e6]), torch.float16).tolist()
    [1.0, 65504.0]
    """
    if dtype == torch.float16:
        x = x.clamp(-torch.finfo(dtype).max, torch.finfo(dtype).max)
    return x.to(dtype)


class Workspace:
    """Buffers of one shape, dtype and device that are reused for every tile.

    Fresh memory of this size costs more in page faults than the arithmetic in it. `work[name]` is always the same buffer.
    """

    def __init__(self, like: torch.Tensor):
        self._like = like
        self._buffers: dict[str, torch.Tensor] = {}

    def __getitem__(self, name: str) -> torch.Tensor:
        if name not in self._buffers:
            self._buffers[name] = torch.empty_like(self._like)
        return self._buffers[name]


def coefficients(
    parts: Sequence[torch.Tensor], spec: ScanSpec, work: Workspace | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the coefficients `(w, x)` that `step` takes.

    Args:
        parts (sequence of `torch.Tensor`, all of one shape): Blocks of the projected input, float32 or wider.
        spec (`ScanSpec`): The cell.
        work (`Workspace`, *optional*): Memory to write to. Without it the result is differentiable by autograd.

    Returns:
        `(w, x)` of the parts' shape and dtype. Either may be one of the parts itself.
    """
    if spec.cell_type == "linear":
        return parts[0], parts[1]
    if work is not None:
        return _coefficients_in(work, parts, spec)
    candidate = parts[-1]
    if spec.candidate_activation == "g":
        candidate = g(candidate)
    scale = 1 - spec.forget_gate_floor
    if spec.cell_type == "mingru":
        w, x = torch.sigmoid(parts[0]), candidate
    elif spec.normalize_gates:  # with few operations, which is all that one step costs
        w, x = torch.sigmoid(logsigmoid(parts[1]) - logsigmoid(parts[0])), candidate
    else:
        w, x = torch.sigmoid(-parts[0]), torch.sigmoid(parts[1]) * candidate
    return w if scale == 1 else w * scale, x


def _coefficients_in(work: Workspace, parts, spec: ScanSpec):
    *gates, candidate = parts
    if spec.candidate_activation == "g":
        # g without a branch: for x >= 0 the sigmoid is sigmoid(0) = 0.5, below it the clamp is 0. torch.where is slower.
        v = torch.clamp(candidate, max=0, out=work["v"]).sigmoid_()
        candidate = v.add_(torch.clamp(candidate, min=0, out=work["t"]))
    if spec.cell_type == "mingru":
        w, x = torch.sigmoid(gates[0], out=work["w"]), candidate
    elif spec.normalize_gates:
        w, x = _normalized_input_gate(gates[0], gates[1], work), candidate
    else:
        w = torch.neg(gates[0], out=work["w"]).sigmoid_()
        x = torch.mul(torch.sigmoid(gates[1], out=work["t"]), candidate, out=work["x"])
    scale = 1 - spec.forget_gate_floor
    return w if scale == 1 else torch.mul(w, scale, out=work["w"]), x


def _normalized_input_gate(forget, input, work: Workspace):
    # I / (F + I) = P / (P + Q) with P = 1 + exp(-forget), Q = 1 + exp(-input). Multiplying both by
    # exp(min(forget, input, 0)) makes every exponent non-positive, so nothing overflows. Without a logarithm, this is faster
    # over a tile.
    w, p, q = work["w"], work["t"], work["s"]
    scale = torch.minimum(forget, input, out=w).clamp_(max=0)
    torch.sub(scale, forget, out=p).exp_()
    torch.sub(scale, input, out=q).exp_()
    unit = scale.exp_()
    p.add_(unit)
    q.add_(unit).add_(p)
    return torch.div(p, q, out=w)


def _sigmoid_of_minus_u(gates, work: Workspace):
    # For w = (1 - floor) * sigmoid(u). Swapped gates have the opposite u.
    if len(gates) == 1:
        return torch.neg(gates[0], out=work["t"]).sigmoid_()
    return _normalized_input_gate(gates[1], gates[0], work)


def part_gradients(
    grad: torch.Tensor,
    h_prev: torch.Tensor,
    w: torch.Tensor,
    x: torch.Tensor,
    parts: Sequence[torch.Tensor],
    spec: ScanSpec,
    work: Workspace,
) -> list[torch.Tensor]:
    """Returns the gradients of the parts from the adjoint of the recurrence. Overwrites `grad`, `h_prev`, `w` and `x`.

    Args:
        grad (`torch.Tensor`): G[t], the gradient of the loss with respect to h[t], through all later steps too.
        h_prev (`torch.Tensor`): The state before each step.
        w, x (`torch.Tensor`): The result of `coefficients` for `parts` with `work`.
        parts (sequence of `torch.Tensor`), spec (`ScanSpec`): As in `coefficients`.
        work (`Workspace`): The one that `coefficients` wrote to.

    Returns:
        list of `torch.Tensor`: One gradient for each part, in order. Each is a buffer of its own, but none is new: they are
            `grad`, `h_prev` and buffers of `work`. Copy them before any of these is used again.
    """
    *gates, candidate = parts
    form = spec.form
    if form == "affine":
        return [h_prev.mul_(grad), grad]
    v = work["v"] if spec.candidate_activation == "g" else candidate
    if form == "complement":
        # w = (1 - floor) * sigmoid(-forget), so dw/dforget = -w * sigmoid(forget) and dh/dw = -h_prev.
        grad_forget = h_prev.mul_(grad).mul_(w).mul_(torch.sigmoid(gates[0], out=work["t"]))
        input_gate = torch.sigmoid(gates[1], out=work["t"])
        grad_v = torch.mul(grad, input_gate, out=work["w"])
        slope = torch.addcmul(input_gate, input_gate, input_gate, value=-1, out=work["x"])
        grad_gates = [grad_forget, torch.mul(grad.mul_(v), slope, out=work["x"])]
    else:
        # w = (1 - floor) * sigmoid(u), so dw/du = w * sigmoid(-u), and dh/dw = x - h_prev.
        grad_v = grad.mul_(w)
        grad_u = torch.sub(x, h_prev, out=h_prev).mul_(grad_v)
        if spec.forget_gate_floor < 0:
            # Memory is also long where sigmoid(u) rounds to 1. There 1 - sigmoid(u) would have lost its digits.
            grad_u.mul_(_sigmoid_of_minus_u(gates, work))
        else:
            grad_u.addcmul_(grad_u, w, value=-1 / (1 - spec.forget_gate_floor))
        grad_gates = [grad_u]
        if spec.cell_type == "minlstm":  # u = softplus(-forget) - softplus(-input)
            grad_forget = torch.neg(gates[0], out=work["t"]).sigmoid_().mul_(grad_u).neg_()
            grad_input = torch.neg(gates[1], out=work["s"]).sigmoid_().mul_(grad_u)
            grad_gates = [grad_forget, grad_input]
    if spec.candidate_activation == "g":
        # g' is 1 for x >= 0 and v - v^2 <= 0.25 below. (The gradient of a relu-guarded logarithm would be 0 at exactly 0.)
        slope = torch.addcmul(v, v, v, value=-1, out=work["v"])
        above = torch.ge(candidate, 0, out=work["x"] if form == "lerp" else work["w2"])
        grad_v = grad_v.mul_(torch.maximum(slope, above, out=slope))
    return [*grad_gates, grad_v]
