# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The public scan functions. Needs torch only."""

import numbers
from typing import NoReturn

import torch

from .gates import NUM_PARTS, ScanSpec, coefficients, g, step, to_dtype
from .packed import check_bounds, check_cu_seqlens
from .scan_associative import scan as associative_scan
from .scan_choice import choose_for_scan, has_step_kernel, is_one_step
from .scan_op import scan_op
from .scan_triton import step_
from .time_gaps import apply_time_gaps, check_time_delta


def _refuse(name: str, value, expected: str) -> NoReturn:
    got = repr(value)
    if isinstance(value, torch.Tensor):
        got = f"{value.dtype} of shape {tuple(value.shape)}"
    raise ValueError(f"{name} must be {expected}, got {got}")


def make_spec(
    cell_type: str,
    candidate_activation: str = "g",
    normalize_gates: bool = True,
    forget_gate_floor: float = 0.0,
) -> ScanSpec:
    """Returns the `ScanSpec` for options as `minrnn_scan` takes them.

    Raises:
        ValueError: For an unknown `candidate_activation`, or a `forget_gate_floor` outside [-1, 1).
    """
    if candidate_activation not in ("g", "identity"):
        _refuse("candidate_activation", candidate_activation, "'g' or 'identity'")
    if not isinstance(forget_gate_floor, numbers.Real) or not -1 <= forget_gate_floor < 1:
        _refuse("forget_gate_floor", forget_gate_floor, "at least -1 and below 1")
    return ScanSpec(cell_type, candidate_activation, bool(normalize_gates), float(forget_gate_floor))


# --- the public functions --------------------------------------------------------------------------------------------


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
    time_delta: torch.Tensor | None = None,
    backend: str = "auto",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Computes the gates and the scan of minGRU or minLSTM over a projected input (arXiv 2410.01201, sections 3.1 and 3.2).

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
        forget_gate_floor (`float`): In [-1, 1). The decay becomes `floor + (1 - floor) * decay`. Below 0, the decay can change
            the sign of the state (arXiv 2411.12537). Where the input gate is one minus the decay, it changes with it: it is at
            most `1 - floor`. In float32, a decay near -1 has an error of up to 2^-22, so what is left of a state after n such
            steps has an error of up to n * 2^-22 of itself. Decays near 1 are more exact. In the backends "triton" and
            "associative", the gradient of a gate has a relative error of about 6e-8 / (1 + decay) near a decay of -1.
        attention_mask (`torch.Tensor` of shape `(batch, time)`, bool or int, *optional*):
            Where it is 0, the state passes through unchanged.
        cu_seqlens (`torch.Tensor` of shape `(sequences + 1,)`, integer, *optional*):
            Offsets of sequences packed one after the other into a batch of one: 0, ..., time. Each sequence starts from its
            own initial state.
        resets (`torch.Tensor` of shape `(batch, time)`, bool, *optional*):
            Where True, the state before that step is replaced by `reset_state`. This also applies to masked steps, and to
            the first step of a packed sequence, where it replaces the initial state.
        reset_state (`torch.Tensor` of shape `(channels,)` or `(batch, time, channels)`, floating point, *optional*):
            The state that replaces another at `resets`: one for all of them, or one for each step, read only at steps with
            a reset. Zeros by default.
        time_delta (`torch.Tensor` of shape `(batch, time)`, floating point, *optional*):
            For events at irregular times: the time before each step, in a unit of your choice. The decay of the step, with
            its floor, is raised to this power, so 1 is an ordinary step. Where the input gate is one minus the decay, it
            changes too, and with a gap of 0 the state stays as it is, whatever the input. In minLSTM without
            `normalize_gates` only the decay changes. This also applies to the first step of a sequence and, at a reset, to
            the state that has replaced another. It has no effect on masked steps. Gaps must be finite and at least 0. Their
            values are checked in eager code on a CPU only, because checking them on another device would make the host wait.
            Needs a `forget_gate_floor` of at least 0.
        backend (`str`): "auto" or a name, see `resolve_backend`. "associative" is plain torch without a custom op: it
            can be exported to any format, and has second and forward-mode derivatives. "auto" uses it in forward mode and under
            `torch.func.grad`, except for `torch.func.grad` inside code that `torch.compile` traces.

    Returns:
        `(h, final_state)`: `h` `(batch, time, channels)` in the dtype of `projected`; in float16, values beyond 65504
        saturate. `final_state` `(batch, channels)`, or `(sequences, channels)` with `cu_seqlens`, in float32 or wider.

    Raises:
        ValueError: For an argument whose shape, dtype, device or value does not fit; the message names it.
        ImportError: For a backend that needs a package that is not installed.
        NotImplementedError: For second derivatives, unless the backend is "associative"; for forward-mode derivatives and
            those of `torch.func` if a backend without them is given by name.

    >>> projected = torch.tensor([[[0.0, 4.0], [0.0, 2.0]]])  # a gate of 0 keeps one half
    >>> h, final_state = minrnn_scan(projected, "mingru", candidate_activation="identity")
    >>> h.flatten().tolist(), final_state.tolist()
    ([2.0, 2.0], [[2.0]])
    >>> gaps = torch.tensor([[2.0, 0.0]])  # after twice the time the state has kept a quarter; after none, everything
    >>> h, _ = minrnn_scan(projected, "mingru", candidate_activation="identity", time_delta=gaps)
    >>> h.flatten().round(decimals=4).tolist()
    [3.0, 3.0]
    """
    if cell_type not in ("mingru", "minlstm"):
        _refuse("cell_type", cell_type, "'mingru' or 'minlstm'")
    spec = make_spec(cell_type, candidate_activation, normalize_gates, forget_gate_floor)
    return run_scan(
        projected, initial_state, attention_mask, resets, reset_state, cu_seqlens, spec, backend, time_delta
    )


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
    """Computes h[t] = a[t] * h[t-1] + b[t], accumulated in float32 or wider.

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
        ImportError, NotImplementedError: As in `minrnn_scan`.

    >>> a, b = torch.full((1, 3, 1), 0.5), torch.ones(1, 3, 1)
    >>> linear_scan(a, b)[0].flatten().tolist()
    [1.0, 1.5, 1.75]
    >>> linear_scan(a, b, resets=torch.tensor([[False, True, False]]))[0].flatten().tolist()
    [1.0, 1.0, 1.5]
    """
    if not _is_float(a) or a.dim() != 3:
        _refuse("a", a, "floating point [batch, time, channels]")
    if not _is_tensor(b, a.shape) or b.dtype != a.dtype:
        _refuse("b", b, f"like a, {a.dtype} of shape {tuple(a.shape)}")
    spec = ScanSpec("linear", "identity")
    projected = torch.cat([a, b], -1)
    return run_scan(projected, initial_state, attention_mask, resets, reset_state, cu_seqlens, spec, backend)


# --- the checks and the choice of an implementation ------------------------------------------------------------------


def run_scan(
    projected: torch.Tensor,
    initial_state: torch.Tensor | None,
    attention_mask: torch.Tensor | None,
    resets: torch.Tensor | None,
    reset_state: torch.Tensor | None,
    cu_seqlens: torch.Tensor | None,
    spec: ScanSpec,
    backend: str,
    time_delta: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Checks the arguments of a scan and runs it; everything as in `minrnn_scan`, with the options in `spec`."""
    channels = _check(projected, initial_state, attention_mask, resets, reset_state, cu_seqlens, spec, time_delta)
    if attention_mask is not None:
        attention_mask = attention_mask.bool()
    if time_delta is not None:
        wide, spec = apply_time_gaps(projected, time_delta, attention_mask, spec)
        h, final_state = run_scan(wide, initial_state, attention_mask, resets, reset_state, cu_seqlens, spec, backend)
        return to_dtype(h, projected.dtype), final_state
    if reset_state is not None and reset_state.dim() == 3:
        wide, attention_mask, spec = _write_reset_states(projected, attention_mask, resets, reset_state, spec)
        h, final_state = run_scan(wide, initial_state, attention_mask, resets, None, cu_seqlens, spec, backend)
        return to_dtype(h, projected.dtype), final_state
    time = projected.shape[1]
    if is_one_step(time, cu_seqlens):
        return _one_step(projected, initial_state, attention_mask, resets, reset_state, spec, backend)
    backend = choose_for_scan(backend, projected, channels, initial_state, reset_state)
    if backend != "associative":
        return scan_op(projected, initial_state, attention_mask, resets, reset_state, cu_seqlens, *spec, backend)
    if cu_seqlens is not None:
        check_bounds(cu_seqlens, time)
    return associative_scan(projected, initial_state, attention_mask, resets, reset_state, cu_seqlens, spec)


def _is_float(x) -> bool:
    return isinstance(x, torch.Tensor) and x.is_floating_point()


def _is_tensor(x, shape) -> bool:
    return isinstance(x, torch.Tensor) and x.shape == shape


def _is_mask(x, shape) -> bool:
    return _is_tensor(x, shape) and not x.is_floating_point()


def _check(
    projected, initial_state, attention_mask, resets, reset_state, cu_seqlens, spec: ScanSpec, time_delta
) -> int:
    """Raises `ValueError` for an argument that does not fit. Returns the number of channels."""
    num_parts = spec.num_parts
    if not _is_float(projected) or projected.dim() != 3 or projected.shape[-1] % num_parts:
        _refuse("projected", projected, f"floating point [batch, time, {num_parts} * channels]")
    batch, time, width = projected.shape
    channels = width // num_parts
    rows = batch
    if cu_seqlens is not None:
        check_cu_seqlens(cu_seqlens, batch)
        rows = cu_seqlens.shape[0] - 1
    if initial_state is not None and not (_is_float(initial_state) and initial_state.shape == (rows, channels)):
        _refuse("initial_state", initial_state, f"floating point of shape {(rows, channels)}")
    if resets is not None and not (_is_tensor(resets, (batch, time)) and resets.dtype == torch.bool):
        _refuse("resets", resets, f"bool of shape {(batch, time)}")
    if reset_state is not None:
        _check_reset_state(reset_state, resets, (batch, time, channels))
    if attention_mask is not None and not _is_mask(attention_mask, (batch, time)):
        _refuse("attention_mask", attention_mask, f"bool or integer of shape {(batch, time)}")
    if time_delta is not None:
        check_time_delta(time_delta, (batch, time))
    given = {
        "initial_state": initial_state,
        "attention_mask": attention_mask,
        "cu_seqlens": cu_seqlens,
        "resets": resets,
        "reset_state": reset_state,
        "time_delta": time_delta,
    }
    for name, tensor in given.items():
        if tensor is not None and tensor.device != projected.device:
            _refuse_device(name, tensor, projected.device)
    return channels


def _refuse_device(name: str, tensor: torch.Tensor, device: torch.device) -> NoReturn:
    # For a tensor without values, as on "meta", the op would return memory that was never written.
    raise ValueError(f"{name} is on {tensor.device} and the input on {device}: use {name}.to({str(device)!r})")


def _check_reset_state(reset_state, resets, shape_of_each_step):
    shapes = shape_of_each_step[-1:], shape_of_each_step
    if not _is_float(reset_state) or reset_state.shape not in shapes:
        _refuse("reset_state", reset_state, f"floating point of shape {shapes[0]} or {shapes[1]}")
    if resets is None:
        raise ValueError("reset_state needs resets: they say where it replaces the state")


# --- a reset_state for each step -------------------------------------------------------------------------------------

# Values of the gates with which a step replaces a state of zero by its candidate.
_OPEN_GATES = {"mingru": (100.0,), "minlstm": (-100.0, 100.0), "linear": (0.0,)}


def _write_reset_states(projected, attention_mask, resets, reset_state, spec: ScanSpec):
    """Writes a `reset_state` of each step into the input, so that a scan with resets to zero gives the same result.

    Each step with a reset is computed here, from its own state. Its result becomes the candidate of a step with open gates.
    All values are selected by `torch.where`, so that a NaN cannot reach another step's value or gradient.

    Returns:
        `(projected, attention_mask, spec)` for the scan, `projected` in float32 or wider.
    """
    dtype = torch.promote_types(projected.dtype, torch.float32)
    if attention_mask is not None:
        projected = torch.where(attention_mask.unsqueeze(-1), projected, 0.0)
    *gates, candidate = (part.to(dtype) for part in projected.chunk(spec.num_parts, -1))
    if spec.candidate_activation == "g":
        candidate = g(candidate)
    spec = spec._replace(candidate_activation="identity")
    at = resets.unsqueeze(-1)
    before = torch.where(at, reset_state.to(dtype), 0.0)
    w, x = coefficients([*gates, candidate], spec)
    after = step(before, w, x, spec.form)
    if attention_mask is not None:
        after = torch.where(attention_mask.unsqueeze(-1), after, before)
        attention_mask = attention_mask | resets
    if spec.form == "lerp":
        after = after / (1 - spec.forget_gate_floor)  # the scan multiplies by this, even if the gate is open
    gates = [torch.where(at, is_open, gate) for gate, is_open in zip(gates, _OPEN_GATES[spec.cell_type])]
    return torch.cat([*gates, torch.where(at, after, candidate)], -1), attention_mask, spec


# --- one step --------------------------------------------------------------------------------------------------------


def _one_step(projected, initial_state, attention_mask, resets, reset_state, spec: ScanSpec, backend: str):
    if attention_mask is not None:  # a NaN in the padding would turn its zero gradient into NaN
        projected = torch.where(attention_mask.unsqueeze(-1), projected, 0.0)
    h, state = scan_step(projected[:, 0], initial_state, spec, resets, reset_state, backend)
    if attention_mask is not None:
        before = torch.zeros_like(state) if initial_state is None else initial_state.to(state.dtype)
        if resets is not None:
            before = _reset(before, resets, reset_state)
        state = torch.where(attention_mask, state, before)
        h = to_dtype(state, h.dtype)
    if h.dtype == state.dtype:
        # As with the op, the outputs share no memory: changing h in place must not change a state that is kept.
        state = state.clone()
    return h.unsqueeze(1), state


def _reset(state, resets, reset_state):
    return torch.where(resets, 0.0 if reset_state is None else reset_state.to(state.dtype), state)


def scan_step(
    projected: torch.Tensor,
    state: torch.Tensor | None,
    spec: ScanSpec,
    resets: torch.Tensor | None = None,
    reset_state: torch.Tensor | None = None,
    backend: str = "auto",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Computes one step of a scan without the custom op; differentiable by autograd.

    Args:
        projected (`torch.Tensor` of shape `(batch, K * channels)`): The projected input of one step.
        state (`torch.Tensor` of shape `(batch, channels)` or `None`): The state before it; zeros by default.
        spec (`ScanSpec`): The cell.
        resets (`torch.Tensor` of shape `(batch, 1)`, bool, *optional*): Rows whose state is replaced before the step.
        reset_state (`torch.Tensor` of shape `(channels,)` or `(batch, channels)`, *optional*): The replacement, zeros by
            default.
        backend (`str`): As in `minrnn_scan`. Only triton has a kernel for one step, all others are plain torch here.

    Returns:
        `(h, state)`, both `(batch, channels)`: in the dtype of `projected`, and in float32 or wider. They may be the same
        tensor where the dtypes are equal.

    Raises:
        ValueError: If a shape, the state's dtype or device, or the backend does not fit, or for a `reset_state` without
            `resets`.
        ImportError: As in `minrnn_scan`.

    >>> h, state = scan_step(torch.tensor([[0.0, 4.0]]), torch.tensor([[2.0]]), ScanSpec("mingru", "identity"))
    >>> h.item(), state.item()
    (3.0, 3.0)
    """
    num_parts = NUM_PARTS[spec.cell_type]
    if projected.dim() != 2 or projected.shape[1] % num_parts:
        _refuse("projected", projected, f"[batch, {num_parts} * channels]")
    dtype = torch.promote_types(projected.dtype, torch.float32)
    use_kernel = has_step_kernel(projected, backend)
    if use_kernel and state is not None and resets is None and reset_state is None:
        state = state.to(dtype, copy=True, memory_format=torch.contiguous_format)
        return step_(projected, state, spec), state
    wide = projected if projected.dtype == dtype else projected.to(dtype)
    w, x = coefficients(wide.chunk(num_parts, -1), spec)
    if state is None:
        state = torch.zeros_like(w)
    elif not isinstance(state, torch.Tensor) or not state.is_floating_point() or state.shape != w.shape:
        _refuse("state", state, f"floating point of shape {tuple(w.shape)}")
    elif state.device != projected.device:
        _refuse_device("state", state, projected.device)
    elif state.dtype != dtype:
        state = state.to(dtype)
    if reset_state is not None:
        _check_reset_state(reset_state, resets, tuple(w.shape))
    if resets is not None:
        state = _reset(state, resets, reset_state)
    state = step(state, w, x, spec.form)
    return state if projected.dtype == dtype else to_dtype(state, projected.dtype), state
