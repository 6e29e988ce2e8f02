# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Time gaps: events at irregular times. The decay d of a step becomes d ** time_delta. Needs torch only.

A gap is the time between an event and the one before it. Its unit is the user's choice: with a gap of 1 a step is an ordinary
step, with 2 the state forgets as much as in two of them, and with 0 it forgets nothing. Where the input gate is one minus the
decay, a step with gap t is the exact solution of dh/dt = rate * (v - h) after the time t, with the candidate v and
rate = -log d. A gap of 0 then keeps the state, and the step's input has no effect. In minLSTM without `normalize_gates` only
the decay changes, and a step with gap 0 adds its input to the state.

`apply_time_gaps` rewrites the gates before the scan, in differentiable torch, so that every backend computes them without
knowing of gaps. Let B = time_delta * rate. The rewritten gate u has sigmoid(-u) = exp(-B), that is u = log(exp(B) - 1).
1 - exp(-B) keeps its relative precision for small B, up to the rounding of u itself: 1e-6 in float32 at B = 1e-12.
"""

from collections.abc import Sequence

import torch
from torch.nn.functional import logsigmoid

from .gates import ScanSpec
from .torch_private import is_eager

# This is added to B, because u is minus infinity at B = 0, and the gradient with respect to a gap of 0 would be NaN. The input
# gate of such a step is then 5e-20 in float32 instead of 0, which no state other than zero can resolve. With a much smaller
# number, gradients of the gate would underflow. The second derivative with respect to a gap has a relative error of eps / B.
LEAST_EXPONENT = {torch.float32: 2.0**-64, torch.float64: 2.0**-512}
# exp(-1000) is 0 in float64 too, so a larger B changes neither values nor gradients. It could become infinite.
LARGEST_EXPONENT = 1000.0


def check_time_delta(time_delta: torch.Tensor, shape: Sequence[int]) -> None:
    """Raises `ValueError` unless `time_delta` is a floating-point tensor of this shape. Reads no values.

    >>> check_time_delta(torch.tensor([[1, 2]]), (1, 2))
    Traceback (most recent call last):
    ...
    ValueError: time_delta must be floating point of shape (1, 2), got torch.int64 of shape (1, 2)
    """
    is_tensor = isinstance(time_delta, torch.Tensor)
    if not (is_tensor and time_delta.is_floating_point() and time_delta.shape == torch.Size(shape)):
        got = f"{time_delta.dtype} of shape {tuple(time_delta.shape)}" if is_tensor else repr(time_delta)
        raise ValueError(f"time_delta must be floating point of shape {tuple(shape)}, got {got}")


def _check_gaps(gaps: torch.Tensor) -> None:
    """Raises `ValueError` for a gap that is negative, infinite or NaN, where reading values costs nothing."""
    if not (is_eager() and gaps.device.type == "cpu"):
        return
    bad = ~((gaps >= 0) & (gaps < torch.inf))
    if bad.any():
        raise ValueError(
            f"time_delta must hold finite numbers of at least 0, got {gaps[bad][0].item()}: a gap is the time since the event "
            "before, as times.diff() returns it for times in rising order"
        )


def apply_time_gaps(
    projected: torch.Tensor, time_delta: torch.Tensor, attention_mask: torch.Tensor | None, spec: ScanSpec
) -> tuple[torch.Tensor, ScanSpec]:
    """Rewrites a projected input so that an ordinary scan raises each step's decay to the power of its gap.

    Args:
        projected (`torch.Tensor` of shape `(batch, time, K * channels)`): As `minrnn_scan` takes it.
        time_delta (`torch.Tensor` of shape `(batch, time)`, floating point): The gap before each step.
        attention_mask (`torch.Tensor` of shape `(batch, time)`, bool, *optional*): The scan's mask. Masked steps are set to
            zero, so that a NaN in them cannot reach a gradient.
        spec (`ScanSpec`): The cell, minGRU or minLSTM.

    Returns:
        `(projected, spec)` for the scan: an input in float32 or wider, and a cell without a floor. A cell whose input gate is
        one minus its decay becomes a minGRU.

    Raises:
        ValueError: For a `forget_gate_floor` below 0, or a gap that is negative, infinite or NaN. Gaps are read on the CPU in
            eager code only.

    >>> projected = torch.tensor([[[0.0, 4.0]]])  # a gate of 0 keeps one half in one step, a quarter in two
    >>> gates, spec = apply_time_gaps(projected, torch.tensor([[2.0]]), None, ScanSpec("mingru"))
    >>> round(torch.sigmoid(-gates[0, 0, 0]).item(), 6)
    0.25
    """
    if spec.forget_gate_floor < 0:
        raise ValueError(
            f"time_delta needs a forget_gate_floor of at least 0, got {spec.forget_gate_floor}: below 0 a decay can be "
            "negative, and then it has no real powers"
        )
    dtype = torch.promote_types(projected.dtype, torch.float32)
    gaps = time_delta.to(dtype)
    if attention_mask is not None:
        projected = torch.where(attention_mask.unsqueeze(-1), projected, 0.0)
        gaps = torch.where(attention_mask, gaps, 0.0)
    _check_gaps(gaps)
    parts = [part.to(dtype) for part in projected.chunk(spec.num_parts, -1)]
    exponent = gaps.unsqueeze(-1) * _rate(parts, spec)
    exponent = exponent.clamp(max=LARGEST_EXPONENT) + LEAST_EXPONENT[dtype]
    # log(exp(B) - 1) without overflow, and precise for any B.
    gate = exponent + torch.log(-torch.expm1(-exponent))
    if spec.form == "lerp":
        spec = spec._replace(cell_type="mingru", normalize_gates=True, forget_gate_floor=0.0)
        gates = [gate]
    else:
        spec = spec._replace(forget_gate_floor=0.0)
        gates = [-gate, parts[1]]
    return torch.cat([*gates, parts[-1]], -1), spec


def _rate(parts: list[torch.Tensor], spec: ScanSpec) -> torch.Tensor:
    """Returns -log of the decay with its floor, precise for decays close to 1 and close to 0."""
    if spec.cell_type == "mingru":
        u = parts[0]
    elif spec.normalize_gates:
        u = logsigmoid(parts[1]) - logsigmoid(parts[0])
    else:
        u = -parts[0]
    floor = spec.forget_gate_floor
    if floor < torch.finfo(u.dtype).tiny:  # next to no floor, and its logarithm could be infinite
        return -logsigmoid(-u)
    w = (1 - floor) * torch.sigmoid(u)
    decay = floor + (1 - floor) * torch.sigmoid(-u)
    # 1 - w rounds w away if it is small, and log1p loses the decay if w is close to 1.
    return torch.where(w < 0.5, -torch.log1p(-w.clamp(max=0.5)), -torch.log(decay))


def gaps_backwards(
    time_delta: torch.Tensor | None,
    turn: torch.Tensor,
    resets: torch.Tensor | None,
    cu_seqlens: torch.Tensor | None,
) -> torch.Tensor | None:
    """Returns the gaps of the reversed sequences.

    Read backwards, the gap before a step is the one between it and the next step in time. The step that is read first, the
    last one of a sequence or of an episode, has none. It is an ordinary step, with a gap of 1.

    Args:
        time_delta (`torch.Tensor` of shape `(batch, time)`, floating point, *optional*): The gaps.
        turn (`torch.Tensor` of shape `(time,)`): The result of `turn_index`.
        resets (`torch.Tensor` of shape `(batch, time)`, bool, *optional*): The first steps of episodes, not reversed.
        cu_seqlens (`torch.Tensor` of shape `(sequences + 1,)`, *optional*): Offsets of packed sequences.

    Returns:
        `torch.Tensor` of shape `(batch, time)`, or `None` without `time_delta`.

    >>> gaps_backwards(torch.tensor([[1.0, 0.5, 3.0]]), torch.tensor([2, 1, 0]), None, None)
    tensor([[1.0000, 3.0000, 0.5000]])
    """
    if time_delta is None:
        return None
    following = time_delta.roll(-1, 1)  # rolled instead of sliced for the reason in `resets_backwards`
    if resets is not None:
        following = torch.where(resets.roll(-1, 1), 1.0, following)
    ends = turn[:1] if cu_seqlens is None else cu_seqlens[1:] - 1
    return following.index_fill(1, ends, 1.0).index_select(1, turn)
