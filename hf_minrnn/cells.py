# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""MinGRUCell and MinLSTMCell: the input projection and the scan, for whole sequences and for single steps.

`MinRNNCell` is the extension point for other cells. Models, layers and generation call only the `forward` of a cell, and
`register_cell` makes a cell available to `MinRNNConfig` by name.
"""

import math
import numbers
import weakref
from typing import Any

import torch
from torch import nn
from torch.fx import Proxy

from .calls_minrnn import leaf_node
from .gates import CELL_TYPES, NUM_PARTS, to_dtype
from .scan import make_spec, run_scan, scan_step
from .scan_choice import is_one_step, resolve_backend
from .time_gaps import check_time_delta

torch.fx.wrap("scan_step")  # torch.fx.symbolic_trace makes one node of it


# Standard deviation of the gates of a new cell whose decays can change sign, for an input with a standard deviation of 1. Most
# of these gates start near an end, where they keep a state or flip its sign. With small gates a state is forgotten within a few
# steps, and training on short strings gives memories that are too short for long ones (training/LOG.md, "State tracking").
SIGNED_GATE_STD = 4.0


class GateReset:
    """Replaces `reset_parameters` of a cell's `in_proj` that has its own initial gates, and also sets these.

    It is an attribute of that one `nn.Linear`. A subclass of `nn.Linear` would not work: quantization tools look for the
    exact type. The reference to the Linear is weak, so that it is freed as usual. A deep copy of the Linear gets its own
    `GateReset`.
    """

    def __init__(self, linear: nn.Linear):
        self.linear = weakref.ref(linear)

    def __reduce__(self):
        return type(self), (self.linear(),)

    def __call__(self) -> None:
        linear = self.linear()
        if linear is None:
            raise ReferenceError(
                "the nn.Linear that this reset_parameters belongs to is gone: use copy.deepcopy to copy it"
            )
        type(linear).reset_parameters(linear)
        set_gates(linear)


# A saved cell may contain one, as it contains a ScanSpec. Creating one only makes a weak reference.
torch.serialization.add_safe_globals([GateReset])


def set_gate_bias(linear: Any) -> None:
    """Sets the biases of the gates to their initial values (see `write_gate_bias`), unless `linear.gate_bias` is 0."""
    if linear.gate_bias:
        with torch.no_grad():
            write_gate_bias(linear, linear.bias)


def write_gate_bias(linear: Any, bias: torch.Tensor) -> None:
    """Writes the initial values of the gates into `bias`, in place. `linear` is the `in_proj` of a cell.

    The first `linear.gate_channels` entries get `linear.gate_bias`: a number, or a pair between which they are evenly spaced.
    With a pair, an input gate gets the negative.
    """
    value, channels = linear.gate_bias, linear.gate_channels
    if not isinstance(value, tuple):
        bias[:channels] = value
        return
    bias[:channels] = torch.linspace(value[0], value[1], channels, device=bias.device)
    if linear.has_input_gate:
        bias[channels : 2 * channels] = -bias[:channels]


def set_gates(linear: Any) -> None:
    """Sets the initial biases and weights of the gates. `linear` is the `in_proj` of a cell."""
    set_gate_bias(linear)
    if linear.gate_std:
        with torch.no_grad():
            draw_gate_weight(linear, linear.weight)


def draw_gate_weight(linear: Any, weight: torch.Tensor) -> None:
    """Draws the initial weights of the gates in `weight`, in place. `linear` is the `in_proj` of a cell.

    An input gate gets the negative of the forget gate's, so that the decay of minLSTM is distributed as that of minGRU.
    """
    channels = linear.gate_channels
    nn.init.normal_(weight[:channels], std=linear.gate_std)
    if linear.has_input_gate:
        weight[channels : 2 * channels] = -weight[:channels]


class MinRNNCell(nn.Module):
    """Base class of the cells: `in_proj`, and a scan over its output. It has no output projection and no cache.

    Models and layers call the cell itself, so forward hooks on it run. `forward` calls `project`, then `scan`; for a single
    step it calls `step`.

    To write another cell, derive from this class, set `cell_type` and `num_parts`, and define `scan`. The default `step` calls
    it. Override `step` too if a single step can be computed faster. A class that overrides only `step` is rejected, because
    it would train with one formula and generate with another. Buffers must be persistent, or loading a model loses them.
    `register_cell` makes the new cell available to models. See `notebooks/6_write_your_own_cell.ipynb` for an example.

    Args:
        input_size (`int`): Features of the input.
        hidden_size (`int`): Channels of the state.
        bias (`bool`, defaults to `True`): Whether `in_proj` has a bias.
        candidate_activation (`str`, defaults to `"g"`): "g" or "identity", see `minrnn_scan`.
        normalize_gates (`bool`, defaults to `True`): minLSTM only: divide the two gates by their sum.
        forget_gate_floor (`float`, defaults to 0.0): Floor of the decay, in [-1, 1). Below 0 the decay can change the sign of
            the state, and a new cell gets larger gate weights: most of its states are kept or flipped, and few forgotten.
        gate_bias (`float` or pair of `float`, defaults to 0.0): Initial bias that makes a new cell remember: without input
            its decay is `sigmoid(gate_bias)`. In minLSTM with `normalize_gates` it is less, because the input gate counts
            too. A pair is spread evenly over the channels: the first channel gets the first number, the last channel the
            second. The input gate of minLSTM then gets the negative, so that its decay is `sigmoid(gate_bias)` too. Needs
            `bias`.
        extra_size (`int`, defaults to 0): Features that `in_proj` computes in the same matmul for the caller.
        backend (`str`, defaults to `"auto"`): Backend of the scan.
        device, dtype: As for any `torch.nn` module.

    Raises:
        ValueError: For an unknown option or a size or number that does not fit; or a `gate_bias` without a bias.
        ImportError: For a backend that needs a package that is not installed.
    """

    cell_type: str
    num_parts: int  # blocks of hidden_size features that scan takes; in_proj computes them in this order
    formula: str | None = None  # the cell of `minrnn_scan` that the inherited scan computes
    first_part_keeps = True  # whether a larger first block means a larger decay; decides the sign of gate_bias
    has_input_gate = False  # whether the second block is an input gate

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        step_owner, scan_owner = (next(base for base in cls.__mro__ if name in vars(base)) for name in ("step", "scan"))
        if step_owner is MinRNNCell:  # this step calls scan
            return
        if scan_owner is MinRNNCell or not issubclass(step_owner, scan_owner):
            raise TypeError(
                f"{cls.__name__} has the step of {step_owner.__name__} and the scan of {scan_owner.__name__}: it would train "
                "with one formula and generate with another. Override scan, which step calls, or both in one class"
            )

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        candidate_activation: str = "g",
        normalize_gates: bool = True,
        forget_gate_floor: float = 0.0,
        gate_bias: float | tuple[float, float] = 0.0,
        extra_size: int = 0,
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        for name, size, least in (
            ("input_size", input_size, 1),
            ("hidden_size", hidden_size, 1),
            ("extra_size", extra_size, 0),
        ):
            if not isinstance(size, numbers.Integral) or size < least:
                raise ValueError(f"{name} must be a whole number from {least} on, got {size!r}")
        biases: tuple = (gate_bias,)
        if isinstance(gate_bias, tuple | list) and len(gate_bias) == 2:
            biases = tuple(gate_bias)
        if not all(isinstance(value, numbers.Real) and math.isfinite(value) for value in biases):
            raise ValueError(f"gate_bias must be a finite number or a pair of them, got {gate_bias!r}")
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.extra_size = extra_size
        self.backend = backend
        if self.formula not in (None, "mingru", "minlstm"):
            raise ValueError(
                f"formula must be 'mingru' or 'minlstm', or None for a scan of its own, got {self.formula!r}"
            )
        self.spec = make_spec(self.formula or self.cell_type, candidate_activation, normalize_gates, forget_gate_floor)
        if backend != "auto":
            resolve_backend(backend, None)
        if any(biases) and not bias:
            raise ValueError(f"gate_bias {gate_bias} needs bias=True: there is no bias to initialize")
        width = self.num_parts * hidden_size + extra_size
        in_proj: Any = nn.Linear(input_size, width, bias=bias, device=device, dtype=dtype)  # Any: gets more attributes
        if not self.first_part_keeps:
            biases = tuple(-value for value in biases)
        in_proj.gate_bias = 0.0
        in_proj.has_input_gate = self.has_input_gate
        in_proj.gate_channels = hidden_size
        if any(biases):
            in_proj.gate_bias = biases if len(biases) == 2 else biases[0]
        in_proj.gate_std = 0.0
        if forget_gate_floor < 0 and self.formula is not None:
            in_proj.gate_std = SIGNED_GATE_STD / math.sqrt(input_size)
        if in_proj.gate_bias or in_proj.gate_std:
            in_proj.reset_parameters = GateReset(in_proj)
            set_gates(in_proj)
        self.in_proj = in_proj

    def reset_parameters(self) -> None:
        """Draws new initial weights."""
        self.in_proj.reset_parameters()

    def reset_gate_bias(self) -> None:
        """Sets the gate biases from `gate_bias` again. Call it after code that has re-initialised every `nn.Linear`.

        >>> cell = MinLSTMCell(8, 16, gate_bias=2.0)
        >>> _ = [nn.init.zeros_(module.bias) for module in cell.modules() if isinstance(module, nn.Linear)]
        >>> cell.reset_gate_bias()
        >>> cell.in_proj.bias[:16].unique().tolist()
        [2.0]
        """
        set_gate_bias(self.in_proj)

    def project(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Applies `in_proj`.

        Args:
            x (`torch.Tensor` of shape `(..., input_size)`): The input.

        Returns:
            `(projected, extra)`: the blocks `(..., num_parts * hidden_size)` and the extra features `(..., extra_size)`,
            views of the result of one matmul. `extra` is `None` if `extra_size` is 0.
        """
        projected = self.in_proj(x)
        if not self.extra_size:  # no split here: the gradient of a view is a copy
            return projected, None
        projected, extra = projected.split_with_sizes([projected.shape[-1] - self.extra_size, self.extra_size], -1)
        return projected, extra

    def scan(
        self,
        projected: torch.Tensor,
        initial_state: torch.Tensor | None = None,
        *,
        attention_mask: torch.Tensor | None = None,
        cu_seqlens: torch.Tensor | None = None,
        resets: torch.Tensor | None = None,
        reset_state: torch.Tensor | None = None,
        time_delta: torch.Tensor | None = None,
        backend: str | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Scans whole sequences.

        Args:
            projected (`torch.Tensor` of shape `(batch, time, num_parts * hidden_size)`): As `project` returns it.
            initial_state, attention_mask, cu_seqlens, resets, reset_state, time_delta: As in `minrnn_scan`. `forward` passes
                `time_delta` only if it is given, so a scan of your own needs it only for events at irregular times.
            backend (`str`, *optional*): The cell's backend by default.

        Returns:
            `(h, final_state)`, as `minrnn_scan` returns them. `h[:, t]` must be the state after step `t`: speculative
            decoding and `hf_minrnn.rl` read states from it. Apply functions of the state outside of the cell.
        """
        if self.formula is None:
            raise NotImplementedError(f"{type(self).__name__} must define scan")
        backend = backend or self.backend
        return run_scan(
            projected, initial_state, attention_mask, resets, reset_state, cu_seqlens, self.spec, backend, time_delta
        )

    def forward(
        self,
        x: torch.Tensor,
        initial_state: torch.Tensor | None = None,
        *,
        attention_mask: torch.Tensor | None = None,
        cu_seqlens: torch.Tensor | None = None,
        resets: torch.Tensor | None = None,
        reset_state: torch.Tensor | None = None,
        time_delta: torch.Tensor | None = None,
        backend: str | None = None,
        record: int = 0,
    ) -> tuple[torch.Tensor, ...]:
        """Runs over whole sequences. This is what models and layers call, for single steps too.

        Args:
            x (`torch.Tensor` of shape `(batch, time, input_size)`): The input.
            initial_state, attention_mask, cu_seqlens, resets, reset_state, time_delta: As in `minrnn_scan`.
            backend (`str`, *optional*): The cell's backend by default.
            record (`int`, defaults to 0): Number of last steps for which the state before the step is returned too.

        Returns:
            `(h, final_state)`: `(batch, time, hidden_size)` in the dtype of the projection, and `(batch, hidden_size)` in
            float32 or wider. With `record`, the state is `(batch, record + 1, hidden_size)`: before each of these steps and
            after the last. With `extra_size`, the extra features `(batch, time, extra_size)` are a third element.

        Raises:
            ValueError: If `x` has another number of dimensions, or for an argument that `minrnn_scan` rejects.
        """
        if isinstance(x, Proxy):  # torch.fx.symbolic_trace runs
            options = {"attention_mask": attention_mask, "cu_seqlens": cu_seqlens, "resets": resets}
            options |= {"reset_state": reset_state, "time_delta": time_delta, "backend": backend, "record": record}
            node = leaf_node(self, MinRNNCell.forward, x, initial_state, **options)
            if node is not None:
                return node
        if x.dim() != 3:
            name = type(self).__name__
            raise ValueError(
                f"{name} takes sequences of shape (batch, time, {self.input_size}), got shape {tuple(x.shape)}: for one step "
                f"of shape (batch, {self.input_size}), as torch.nn.GRUCell takes it, call {name}.step(x, state)"
            )
        plain = attention_mask is None and resets is None and reset_state is None and time_delta is None
        plain = plain and not record
        if plain and is_one_step(x.shape[1], cu_seqlens) and (backend is None or backend == self.backend):
            return self._one_step(x.select(1, 0), initial_state)
        projected, extra = self.project(x)
        dtype = projected.dtype
        if record:  # each h must be exactly a state, not one that is rounded to the model's dtype
            projected = projected.to(torch.promote_types(dtype, torch.float32))
        gaps = {} if time_delta is None else {"time_delta": time_delta}
        h, state = self.scan(
            projected,
            initial_state,
            attention_mask=attention_mask,
            cu_seqlens=cu_seqlens,
            resets=resets,
            reset_state=reset_state,
            backend=backend or self.backend,
            **gaps,
        )
        if record:
            state = self._recorded_states(h, state, initial_state, record)
            h = to_dtype(h, dtype)
        elif not self._scans_by_formula():
            state = state.clone()  # it may share memory with h, see _one_step
        return (h, state) if extra is None else (h, state, extra)

    def _recorded_states(self, h, state, initial_state, record: int):
        """Returns the states before each of the last `record` steps and after the last, `(batch, record + 1, channels)`."""
        if not self._scans_by_formula() and not torch.allclose(h[:, -1], state, rtol=1e-3, atol=1e-3):
            raise ValueError(
                f"{type(self).__name__}.scan returns an h that is not the state: its states cannot be recorded for "
                "speculative decoding. Return the states, and apply a function to them outside of the cell"
            )
        first = torch.zeros_like(state) if initial_state is None else initial_state.to(state.dtype)
        states = torch.cat([first.unsqueeze(1), h], 1)
        return states[:, h.shape[1] - record :].clone()  # a view would keep all states alive

    def _one_step(self, x, initial_state):
        h, state, *extra = self.step(x, initial_state)
        if len(extra) != (1 if self.extra_size else 0):
            raise TypeError(
                f"{type(self).__name__}.step returned {2 + len(extra)} values: with extra_size {self.extra_size} it must "
                f"return {'(h, state, extra)' if self.extra_size else '(h, state)'}"
            )
        if h is state or not self._scans_by_formula():
            state = state.clone()  # a caller may change h in place, which must not change the state that is carried
        h = h.unsqueeze(1)
        return (h, state, extra[0].unsqueeze(1)) if extra else (h, state)

    def _scans_by_formula(self) -> bool:
        """Whether `scan` is the one of `MinRNNCell`, not one of a subclass or an instance."""
        return getattr(self.scan, "__func__", None) is MinRNNCell.scan

    def step(
        self,
        x: torch.Tensor,
        state: torch.Tensor | None = None,
        *,
        time_delta: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, ...]:
        """Runs over one step, with the same weights and results as `forward`. Differentiable.

        Args:
            x (`torch.Tensor` of shape `(batch, input_size)`): The input of one step.
            state (`torch.Tensor` of shape `(batch, hidden_size)`, *optional*): The state before it, zeros by default.
            time_delta (`torch.Tensor` of shape `(batch,)`, floating point, *optional*): The time before the step, see
                `minrnn_scan`.

        Returns:
            `(h, state)`, both `(batch, hidden_size)`: in the dtype of the projection, and in float32 or wider. They may be
            the same tensor if the dtypes are equal. With `extra_size`, the extra features `(batch, extra_size)` are a third
            element.
        """
        projected, extra = self.project(x)
        if time_delta is None and self._scans_by_formula():
            h, state = scan_step(projected, state, self.spec, backend=self.backend)
        else:
            gaps = {}
            if time_delta is not None:
                check_time_delta(time_delta, projected.shape[:1])
                gaps["time_delta"] = time_delta.unsqueeze(1)
            h, state = self.scan(projected.unsqueeze(1), state, backend=self.backend, **gaps)
            h = h.squeeze(1)
        return (h, state) if extra is None else (h, state, extra)

    def extra_repr(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self.spec._asdict().items())
        return f"{self.input_size}, {self.hidden_size}, {options}"


class MinGRUCell(MinRNNCell):
    """minGRU (arXiv 2410.01201, section 3.1): one gate, `h = (1 - z) * h + z * v`. Arguments as `MinRNNCell`.

    >>> cell = MinGRUCell(8, 16)
    >>> h, final_state = cell(torch.randn(2, 5, 8))
    >>> h.shape, final_state.shape
    (torch.Size([2, 5, 16]), torch.Size([2, 16]))
    """

    cell_type = formula = "mingru"
    num_parts = NUM_PARTS["mingru"]
    first_part_keeps = False  # the gate lets the input in


class MinLSTMCell(MinRNNCell):
    """minLSTM (arXiv 2410.01201, section 3.2): a forget and an input gate, `h = f * h + i * v`. Arguments as `MinRNNCell`.

    >>> cell = MinLSTMCell(8, 16)
    >>> h, state = cell.step(torch.randn(2, 8))
    >>> h.shape, state.dtype
    (torch.Size([2, 16]), torch.float32)
    """

    cell_type = formula = "minlstm"
    num_parts = NUM_PARTS["minlstm"]
    has_input_gate = True


CELLS: dict[str, type[MinRNNCell]] = {cell.cell_type: cell for cell in (MinGRUCell, MinLSTMCell)}


def register_cell(cell_class: type[MinRNNCell]) -> type[MinRNNCell]:
    """Makes a cell available as `MinRNNConfig(cell_type=...)`, under its `cell_type`. Usable as a class decorator.

    A saved model contains only the name of its cell. The process that loads it must register the cell first.

    Args:
        cell_class (`type`): A subclass of `MinRNNCell` with its own `cell_type` and `num_parts`.

    Returns:
        `type`: The class itself.

    Raises:
        TypeError: If it is not a subclass of `MinRNNCell`, or lacks `cell_type`, `num_parts` or `scan`.
        ValueError: If another class already has this `cell_type`.

    >>> from hf_minrnn import linear_scan
    >>> @register_cell
    ... class Average(MinRNNCell):
    ...     cell_type, num_parts = "average", 1
    ...
    ...     def scan(self, projected, initial_state=None, **options):
    ...         return linear_scan(torch.full_like(projected, 0.9), 0.1 * projected, initial_state, **options)
    >>> h, state = Average(2, 3).step(torch.ones(1, 2))
    >>> h.shape
    torch.Size([1, 3])
    """
    if not (isinstance(cell_class, type) and issubclass(cell_class, MinRNNCell)):
        raise TypeError(f"register_cell takes a subclass of MinRNNCell, got {cell_class!r}")
    name = getattr(cell_class, "cell_type", None)
    if not isinstance(name, str) or not name:
        raise TypeError(f"{cell_class.__name__} needs a cell_type, the name that a config gives it")
    if not isinstance(getattr(cell_class, "num_parts", None), int) or cell_class.num_parts < 1:
        raise TypeError(f"{cell_class.__name__} needs num_parts, the number of blocks that in_proj computes for scan")
    known = CELLS.get(name, cell_class)
    # A notebook may define the same class again.
    is_same = known.__module__ == cell_class.__module__ and known.__qualname__ == cell_class.__qualname__
    if name in NUM_PARTS or not is_same:
        raise ValueError(f"cell_type {name!r} is taken: choose another name")
    if cell_class.scan is MinRNNCell.scan and cell_class.formula is None:
        raise TypeError(f"{cell_class.__name__} must define scan")
    CELLS[name] = cell_class
    if name not in CELL_TYPES:
        CELL_TYPES.append(name)
    return cell_class
