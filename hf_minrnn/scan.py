# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The public scan functions. Needs torch only."""

import numbers

import torch

from .calls_minrnn import is_plain
from .gates import ScanSpec, coefficients, g, step, to_dtype
from .scan_associative import scan as associative_scan
from .scan_choice import resolve_backend
from .scan_op import beyond_the_op, scan_op
from .scan_triton import step_
from .scan_vmap import check_bounds


def _refuse(name, value, expected: str):
    got = f"{value.dtype} of shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else repr(value)
    raise ValueError(f"{name} must be {expected}, got {got}")


def is_one_step(time, cu_seqlens=None) -> bool:
    """Whether a scan over `time` steps is a single step, for which plain torch costs less than dispatching the custom op.

    >>> is_one_step(1), is_one_step(2), is_one_step(1, torch.tensor([0, 1]))
    (True, False, False)
    """
    return isinstance(time, int) and time == 1 and cu_seqlens is None  # a symbolic size is not an int


def make_spec(cell_type, candidate_activation="g", normalize_gates=True, forget_gate_floor=0.0) -> ScanSpec:
    """The `ScanSpec` of a cell, from options as `minrnn_scan` takes them.

    Raises:
        ValueError: For a name or a number that does not fit, by name.
    """
    if candidate_activation not in ("g", "identity"):
        _refuse("candidate_activation", candidate_activation, "'g' or 'identity'")
    if not isinstance(forget_gate_floor, numbers.Real) or not 0 <= forget_gate_floor < 1:
        _refuse("forget_gate_floor", forget_gate_floor, "at least 0 and below 1")
    return ScanSpec(cell_type, candidate_activation, bool(normalize_gates), float(forget_gate_floor))


def _check_cu_seqlens(cu_seqlens, batch):
    is_1d = isinstance(cu_seqlens, torch.Tensor) and cu_seqlens.dim() == 1 and cu_seqlens.numel() > 1
    if not is_1d or cu_seqlens.is_floating_point() or cu_seqlens.is_complex() or cu_seqlens.dtype == torch.bool:
        _refuse("cu_seqlens", cu_seqlens, "a 1-D integer tensor [0, ..., time]")
    if batch != 1:
        raise ValueError(f"cu_seqlens needs batch size 1, got {batch}: flatten the batch first")


def _check_reset_state(reset_state, resets, *per_step):
    shapes = per_step[-1:], per_step
    if not _is_float(reset_state) or reset_state.shape not in shapes:
        _refuse("reset_state", reset_state, f"floating point of shape {shapes[0]} or {shapes[1]}")
    if resets is None:
        raise ValueError("reset_state needs resets: they say where it goes")


def _check_devices(device, **tensors):
    # Of tensors without numbers, as on "meta", the op's result would have none either, and look as if it had.
    for name, tensor in tensors.items():
        if tensor is not None and tensor.device != device:
            raise ValueError(f"{name} is on {tensor.device} and the input on {device}: use {name}.to({str(device)!r})")


def _is_float(x) -> bool:
    return isinstance(x, torch.Tensor) and x.is_floating_point()


def _is_tensor(x, *shape) -> bool:
    return isinstance(x, torch.Tensor) and x.shape == shape


def minrnn_scan(
    projected: torch.Tensor,
    cell_type: str,
    initial_state: torch.Tensor | None = None,
    *,
    candidate_activation: str = "g",
    normalize_gates: bool = True,
    forget_gate_floor: float = 0.0,
    attention_mask: torch.Tensor | None = None,
    cu_seqlens: torch.Tensor | None = None,
    resets: torch.Tensor | None = None,
    reset_state: torch.Tensor | None = None,
    backend: str = "auto",
) -> tuple[torch.Tensor, torch.Tensor]:
    """The gates and the scan of minGRU or minLSTM over a projected input (arXiv 2410.01201, sections 3.1 and 3.2).

    The state is kept in float32 or wider, whatever the dtype of `projected`.

    Args:
        projected (`torch.Tensor` of shape `(batch, time, K * channels)`):
            The input after its Linear, in blocks: [gate | candidate] for "mingru", [forget | input | candidate] for
            "minlstm". May be a slice of a wider tensor.
        cell_type (`str`): "mingru" or "minlstm".
        initial_state (`torch.Tensor` of shape `(batch, channels)`, or `(sequences, channels)` with `cu_seqlens`, *optional*):
            State before the first step, as a scan returns it. Zeros by default.
        candidate_activation (`str`): "g" (the paper's appendix B) or "identity" (its section 3).
        normalize_gates (`bool`): minLSTM only: whether the two gates are divided by their sum.
        forget_gate_floor (`float`): In [0, 1). The decay is `floor + (1 - floor) * decay`; where the input gate is one
            minus the decay it shrinks with it.
        attention_mask (`torch.Tensor` of shape `(batch, time)`, bool or int, *optional*):
            Where it is 0 the state passes through unchanged.
        cu_seqlens (`torch.Tensor` of shape `(sequences + 1,)`, integer, *optional*):
            Bounds of sequences packed one after the other into a batch of one: 0, ..., time. Each starts from its own
            initial state.
        resets (`torch.Tensor` of shape `(batch, time)`, bool, *optional*):
            Where True the state is replaced before that step, by `reset_state`. At a step that the mask leaves out too,
            and at a packed sequence's first, where it takes the initial state's place.
        reset_state (`torch.Tensor` of shape `(channels,)` or `(batch, time, channels)`, floating point, *optional*):
            What `resets` put in the state's place: one state for all of them, or one for each step, read only at steps
            with a reset. Zeros by default.
        backend (`str`): "auto" or a name, see `resolve_backend`. "associative" is plain torch without a custom op: it
            exports anywhere and has second and forward-mode derivatives. Under `torch.func.grad` and in forward mode "auto"
            takes it, but for `torch.func.grad` inside what `torch.compile` traces.

    Returns:
        `(h, final_state)`: `h` `(batch, time, channels)` in the dtype of `projected`; in float16, values beyond 65504
        saturate. `final_state` `(batch, channels)`, or `(sequences, channels)` with `cu_seqlens`, in float32 or wider.

    Raises:
        ValueError: For a shape, dtype, name or number that does not fit, by name.
        NotImplementedError: For second derivatives, unless the backend is "associative"; for forward-mode ones and those of
            `torch.func` where a backend without them is asked for by name.

    >>> projected = torch.tensor([[[0.0, 4.0], [0.0, 2.0]]])  # gate 0 keeps one half
    >>> h, final_state = minrnn_scan(projected, "mingru", candidate_activation="identity")
    >>> h.flatten().tolist(), final_state.tolist()
    ([2.0, 2.0], [[2.0]])
    """
    if cell_type not in ("mingru", "minlstm"):
        _refuse("cell_type", cell_type, "'mingru' or 'minlstm'")
    spec = make_spec(cell_type, candidate_activation, normalize_gates, forget_gate_floor)
    return _scan(projected, initial_state, attention_mask, cu_seqlens, resets, reset_state, spec, backend)


def _scan(projected, initial_state, attention_mask, cu_seqlens, resets, reset_state, spec: ScanSpec, backend: str):
    num_parts, wish = spec.num_parts, backend
    if not _is_float(projected) or projected.dim() != 3 or projected.shape[-1] % num_parts:
        _refuse("projected", projected, f"floating point [batch, time, {num_parts} * channels]")
    batch, time, width = projected.shape
    one_step = is_one_step(time, cu_seqlens)
    if backend != "auto" or not one_step:
        shape = (batch, time, width // num_parts)
        backend = resolve_backend(backend, projected.device, dtype=projected.dtype, shape=shape)
    rows = batch
    if cu_seqlens is not None:
        _check_cu_seqlens(cu_seqlens, batch)
        rows = cu_seqlens.shape[0] - 1
    if initial_state is not None and not (
        _is_float(initial_state) and initial_state.shape == (rows, width // num_parts)
    ):
        _refuse("initial_state", initial_state, f"floating point of shape {(rows, width // num_parts)}")
    if resets is not None and not (_is_tensor(resets, batch, time) and resets.dtype == torch.bool):
        _refuse("resets", resets, f"bool of shape {(batch, time)}")
    if reset_state is not None:
        _check_reset_state(reset_state, resets, batch, time, width // num_parts)
    keep = None
    if attention_mask is not None:
        if not _is_tensor(attention_mask, batch, time) or attention_mask.is_floating_point():
            _refuse("attention_mask", attention_mask, f"bool or integer of shape {(batch, time)}")
        keep = attention_mask.bool()
    _check_devices(
        projected.device,
        initial_state=initial_state,
        attention_mask=attention_mask,
        cu_seqlens=cu_seqlens,
        resets=resets,
        reset_state=reset_state,
    )
    if reset_state is not None and reset_state.dim() == 3:
        wide, keep, spec = _write_starts(projected, keep, resets, reset_state, spec)
        h, final_state = _scan(wide, initial_state, keep, cu_seqlens, resets, None, spec, wish)
        return to_dtype(h, projected.dtype), final_state
    if one_step:
        # Dispatching the op costs more than the arithmetic of one step.
        return _one_step(projected, initial_state, keep, resets, reset_state, spec, backend)
    if backend != "associative" and beyond_the_op(projected, initial_state, reset_state):
        if wish != "auto":
            raise NotImplementedError(
                f"backend {wish!r} has no forward-mode derivative and none of torch.func: use backend='associative', or 'auto'"
            )
        backend = "associative"
    if backend == "associative":
        if cu_seqlens is not None:
            check_bounds(cu_seqlens, time)
        return associative_scan(projected, initial_state, keep, resets, reset_state, cu_seqlens, spec)
    return scan_op(projected, initial_state, keep, resets, reset_state, cu_seqlens, *spec, backend)


# The values of the gates with which a step takes the candidate as it is, if the state before it is zero.
_OPEN_GATES = {"mingru": (100.0,), "minlstm": (-100.0, 100.0), "linear": (0.0,)}


def _write_starts(projected, keep, resets, reset_state, spec: ScanSpec):
    """Writes the states of each reset into the input, so that a scan whose resets are to zero gives the same result.

    At a reset, the step is taken here, from that reset's own state, and what it gives becomes the candidate of a step with
    open gates. Everything is selected by `torch.where`, so that no NaN reaches another step's value or gradient.

    Returns:
        `(projected, keep, spec)` for the scan, `projected` in float32 or wider.
    """
    dtype = torch.promote_types(projected.dtype, torch.float32)
    if keep is not None:
        projected = torch.where(keep.unsqueeze(-1), projected, 0.0)
    *gates, candidate = (part.to(dtype) for part in projected.chunk(spec.num_parts, -1))
    if spec.candidate_activation == "g":
        candidate = g(candidate)
    spec = spec._replace(candidate_activation="identity")
    at = resets.unsqueeze(-1)
    start = torch.where(at, reset_state.to(dtype), 0.0)
    w, x = coefficients([*gates, candidate], spec)
    state = step(start, w, x, spec.form)
    if keep is not None:
        state = torch.where(keep.unsqueeze(-1), state, start)
        keep = keep | resets
    if spec.form == "lerp":
        state = state / (1 - spec.forget_gate_floor)  # by which the scan multiplies it, even if the gate is open
    gates = [torch.where(at, is_open, gate) for gate, is_open in zip(gates, _OPEN_GATES[spec.cell_type])]
    return torch.cat([*gates, torch.where(at, state, candidate)], -1), keep, spec


def _reset(state, resets, reset_state):
    return torch.where(resets, 0.0 if reset_state is None else reset_state.to(state.dtype), state)


def _one_step(projected, initial_state, keep, resets, reset_state, spec: ScanSpec, backend: str):
    if keep is not None:  # a NaN in the padding would turn its zero gradient into NaN
        projected = torch.where(keep.unsqueeze(-1), projected, 0.0)
    h, state = scan_step(projected[:, 0], initial_state, spec, resets, reset_state, backend)
    if keep is not None:
        before = torch.zeros_like(state) if initial_state is None else initial_state.to(state.dtype)
        if resets is not None:
            before = _reset(before, resets, reset_state)
        state = torch.where(keep, state, before)
        h = to_dtype(state, h.dtype)
    # Like the op's, the two outputs share no memory: what a caller does to h in place must not reach a kept state.
    return h.unsqueeze(1), state.clone() if h.dtype == state.dtype else state


def _has_step_kernel(projected, backend: str) -> bool:
    # One launch instead of ten; torch.compile makes one of the ten itself.
    return projected.is_cuda and is_plain() and resolve_backend(backend, "cuda", dtype=projected.dtype) == "triton"


def scan_step(
    projected, state, spec: ScanSpec, resets=None, reset_state=None, backend: str = "auto"
) -> tuple[torch.Tensor, torch.Tensor]:
    """One step of a scan, without the custom op; differentiable by autograd.

    Args:
        projected (`torch.Tensor` of shape `(batch, K * channels)`): The projected input of one step.
        state (`torch.Tensor` of shape `(batch, channels)` or `None`): The state before it; zeros by default.
        spec (`ScanSpec`): The cell.
        resets (`torch.Tensor` of shape `(batch, 1)`, bool, *optional*): Rows whose state is replaced before it.
        reset_state (`torch.Tensor` of shape `(channels,)` or `(batch, channels)`, *optional*): The replacement, zeros by
            default.
        backend (`str`): As in `minrnn_scan`. Only triton has a kernel for one step, all others are plain torch here.

    Returns:
        `(h, state)`, both `(batch, channels)`: in the dtype of `projected`, and in float32 or wider. They may be the same
        tensor where the dtypes are.

    Raises:
        ValueError: If a shape does not fit, or for a `reset_state` without `resets`.

    >>> h, state = scan_step(torch.tensor([[0.0, 4.0]]), torch.tensor([[2.0]]), ScanSpec("mingru", "identity"))
    >>> h.item(), state.item()
    (3.0, 3.0)
    """
    if projected.dim() != 2 or projected.shape[1] % spec.num_parts:
        _refuse("projected", projected, f"[batch, {spec.num_parts} * channels]")
    if backend != "auto":
        resolve_backend(backend, projected.device, dtype=projected.dtype)
    dtype = torch.promote_types(projected.dtype, torch.float32)
    if resets is None and reset_state is None and state is not None and _has_step_kernel(projected, backend):
        state = state.to(dtype, copy=True, memory_format=torch.contiguous_format)
        return step_(projected, state, spec), state
    wide = projected if projected.dtype == dtype else projected.to(dtype)
    w, x = coefficients(wide.chunk(spec.num_parts, -1), spec)
    if state is not None:
        if not (_is_float(state) and state.shape == w.shape):
            _refuse("state", state, f"floating point of shape {tuple(w.shape)}")
        _check_devices(projected.device, state=state)
    if state is None or state.dtype != dtype:
        state = torch.zeros_like(w) if state is None else state.to(dtype)
    if reset_state is not None:
        _check_reset_state(reset_state, resets, *w.shape)
    if resets is not None:
        state = _reset(state, resets, reset_state)
    state = step(state, w, x, spec.form)
    return state if projected.dtype == dtype else to_dtype(state, projected.dtype), state


def linear_scan(
    a: torch.Tensor,
    b: torch.Tensor,
    initial_state: torch.Tensor | None = None,
    *,
    attention_mask: torch.Tensor | None = None,
    cu_seqlens: torch.Tensor | None = None,
    resets: torch.Tensor | None = None,
    reset_state: torch.Tensor | None = None,
    backend: str = "auto",
) -> tuple[torch.Tensor, torch.Tensor]:
    """h[t] = a[t] * h[t-1] + b[t], accumulated in float32 or wider.

    Args:
        a (`torch.Tensor` of shape `(batch, time, channels)`): Factor of the previous state, any real number. A state that
            grows beyond the dtype's range becomes infinite.
        b (`torch.Tensor` of the same shape and dtype): What is added.
        initial_state (`torch.Tensor` of shape `(batch, channels)`, or `(sequences, channels)` with `cu_seqlens`, *optional*):
            h before the first step, zeros by default.
        attention_mask, cu_seqlens, resets, reset_state, backend: As in `minrnn_scan`.

    Returns:
        `(h, final_state)`: `h` `(batch, time, channels)`, in the dtype of the input, and `final_state` `(batch, channels)`,
        or `(sequences, channels)` with `cu_seqlens`, in float32 or wider.

    Raises:
        ValueError: If `a` and `b` differ in shape or dtype, or another argument does not fit.
        NotImplementedError: As in `minrnn_scan`.

    >>> a, b = torch.full((1, 3, 1), 0.5), torch.ones(1, 3, 1)
    >>> linear_scan(a, b)[0].flatten().tolist()
    [1.0, 1.5, 1.75]
    >>> linear_scan(a, b, resets=torch.tensor([[False, True, False]]))[0].flatten().tolist()
    [1.0, 1.0, 1.5]
    """
    if not _is_float(a) or a.dim() != 3:
        _refuse("a", a, "floating point [batch, time, channels]")
    if not _is_tensor(b, *a.shape) or b.dtype != a.dtype:
        _refuse("b", b, f"like a, {a.dtype} of shape {tuple(a.shape)}")
    spec = ScanSpec("linear", "identity")
    return _scan(torch.cat([a, b], -1), initial_state, attention_mask, cu_seqlens, resets, reset_state, spec, backend)
