# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""MinGRUCell and MinLSTMCell: the input projection and the scan, for whole sequences and for single steps."""

import math
import numbers

import torch
from torch import nn

from .calls_minrnn import forwards
from .scan import make_spec, minrnn_scan, scan_step
from .scan_choice import resolve_backend


class MinRNNCell(nn.Module):
    """Base of the cells: `in_proj`, and the scan over what it returns. It has no output projection and no cache.
    Models and layers call `project`, `scan` and `step`, so that forward hooks on a cell inside one do not fire.

    Args:
        input_size (`int`): Features of the input.
        hidden_size (`int`): Channels of the state.
        bias (`bool`, defaults to `True`): Whether `in_proj` has a bias.
        candidate_activation (`str`, defaults to `"g"`): "g" or "identity", see `minrnn_scan`.
        normalize_gates (`bool`, defaults to `True`): minLSTM only: divide the two gates by their sum.
        forget_gate_floor (`float`, defaults to 0.0): Floor of the decay, in [0, 1).
        gate_bias (`float`, defaults to 0.0): What the bias of the forget side starts from: without input the decay of a
            fresh cell follows from `sigmoid(gate_bias)`. Needs `bias`.
        extra_size (`int`, defaults to 0): Features that `project` computes in the same matmul, for the caller.
        backend (`str`, defaults to `"auto"`): Backend of the scan.
        device, dtype: As for any `torch.nn` module.

    Raises:
        ValueError: For an unknown option, or a `gate_bias` without a bias to hold it.
    """

    cell_type: str

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        candidate_activation: str = "g",
        normalize_gates: bool = True,
        forget_gate_floor: float = 0.0,
        gate_bias: float = 0.0,
        extra_size: int = 0,
        backend: str = "auto",
        device=None,
        dtype=None,
    ):
        super().__init__()
        for name, size, least in (
            ("input_size", input_size, 1),
            ("hidden_size", hidden_size, 1),
            ("extra_size", extra_size, 0),
        ):
            if not isinstance(size, numbers.Integral) or size < least:
                raise ValueError(f"{name} must be a whole number from {least} on, got {size!r}")
        if not (isinstance(gate_bias, numbers.Real) and math.isfinite(gate_bias)):
            raise ValueError(f"gate_bias must be a finite number, got {gate_bias!r}")
        self.input_size, self.hidden_size, self.extra_size, self.backend = input_size, hidden_size, extra_size, backend
        self.spec = make_spec(self.cell_type, candidate_activation, normalize_gates, forget_gate_floor)
        if backend != "auto":
            resolve_backend(backend, None)
        if gate_bias and not bias:
            raise ValueError(f"gate_bias {gate_bias} needs bias=True: there is no bias to start from it")
        width = self.spec.num_parts * hidden_size + extra_size
        self.in_proj = nn.Linear(input_size, width, bias=bias, device=device, dtype=dtype)
        # minGRU's gate lets the input in and so forgets; minLSTM's first gate keeps.
        self.in_proj.gate_bias = -gate_bias if self.cell_type == "mingru" else gate_bias
        self.in_proj.gate_channels = hidden_size
        self._set_gate_bias()

    def reset_parameters(self) -> None:
        """Draws the weights anew, as at the start."""
        self.in_proj.reset_parameters()
        self._set_gate_bias()

    def _set_gate_bias(self):
        if self.in_proj.gate_bias:
            with torch.no_grad():
                self.in_proj.bias[: self.hidden_size] = self.in_proj.gate_bias

    def project(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """`(projected, extra)`: the gates' blocks `(..., K * hidden_size)` and the extra features, views of one matmul; without
        `extra_size` `None`.
        """
        (in_proj,) = forwards(self, "in_proj")
        projected = in_proj(x)
        if not self.extra_size:  # the gradient of a view is a copy
            return projected, None
        return projected.split_with_sizes([projected.shape[-1] - self.extra_size, self.extra_size], -1)

    def scan(
        self,
        projected,
        initial_state=None,
        *,
        attention_mask=None,
        cu_seqlens=None,
        resets=None,
        reset_state=None,
        backend: str | None = None,
    ):
        """The scan over the gates' blocks, see `minrnn_scan`; by default with the cell's backend."""
        return minrnn_scan(
            projected,
            initial_state=initial_state,
            attention_mask=attention_mask,
            cu_seqlens=cu_seqlens,
            resets=resets,
            reset_state=reset_state,
            backend=backend or self.backend,
            **self.spec._asdict(),
        )

    def forward(self, x, initial_state=None, *, attention_mask=None, cu_seqlens=None, resets=None, reset_state=None):
        """Runs over whole sequences.

        Args:
            x (`torch.Tensor` of shape `(batch, time, input_size)`): The input.
            initial_state, attention_mask, cu_seqlens, resets, reset_state: As in `minrnn_scan`.

        Returns:
            `(h, final_state)`: `(batch, time, hidden_size)` in the dtype of the projection, and `(batch, hidden_size)` in
            float32 or wider.
        """
        return self.scan(
            self.project(x)[0],
            initial_state,
            attention_mask=attention_mask,
            cu_seqlens=cu_seqlens,
            resets=resets,
            reset_state=reset_state,
        )

    def step(self, x: torch.Tensor, state: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Runs over one step, with the same weights: what `forward` does to a sequence, one element at a time.

        Args:
            x (`torch.Tensor` of shape `(batch, input_size)`): The input of one step.
            state (`torch.Tensor` of shape `(batch, hidden_size)`, *optional*): The state before it, zeros by default.

        Returns:
            `(h, state)`, both `(batch, hidden_size)`: in the dtype of the projection, and in float32 or wider. They are
            the same tensor where the dtypes are.
        """
        return scan_step(self.project(x)[0], state, self.spec, backend=self.backend)

    def extra_repr(self) -> str:
        return (
            f"{self.input_size}, {self.hidden_size}, {', '.join(f'{k}={v!r}' for k, v in self.spec._asdict().items())}"
        )


class MinGRUCell(MinRNNCell):
    """minGRU (arXiv 2410.01201, section 3.1): one gate, `h = (1 - z) * h + z * v`. Arguments as `MinRNNCell`.

    >>> cell = MinGRUCell(8, 16)
    >>> h, final_state = cell(torch.randn(2, 5, 8))
    >>> h.shape, final_state.shape
    (torch.Size([2, 5, 16]), torch.Size([2, 16]))
    """

    cell_type = "mingru"


class MinLSTMCell(MinRNNCell):
    """minLSTM (arXiv 2410.01201, section 3.2): a forget and an input gate, `h = f * h + i * v`. Arguments as `MinRNNCell`.

    >>> cell = MinLSTMCell(8, 16)
    >>> h, state = cell.step(torch.randn(2, 8))
    >>> h.shape, state.dtype
    (torch.Size([2, 16]), torch.float32)
    """

    cell_type = "minlstm"


CELLS = {cell.cell_type: cell for cell in (MinGRUCell, MinLSTMCell)}
