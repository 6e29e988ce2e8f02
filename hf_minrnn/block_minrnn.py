# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""One residual block of the model: convolution, cell, norm, output gate and MLP, as the configuration combines them.

`forwards(self, "norm", "mlp")` stands for `self.norm` and `self.mlp`: calling the result gives the same, sometimes faster.
"""

import torch
import torch.nn.functional as F
from torch import nn

from .calls_minrnn import forwards
from .cells import CELLS
from .compat import ACT2FN, GradientCheckpointingLayer, logging
from .configuration_minrnn import MinRNNConfig
from .conv_minrnn import MinRNNCausalConv1d
from .gates import g
from .norm_minrnn import MinRNNRMSNorm
from .scan_choice import backend_or_auto, resolve_backend

logger = logging.get_logger(__name__)


class MinRNNResidualConv(nn.Module):
    """The paper's convolution: depthwise, then pointwise."""

    def __init__(self, config: MinRNNConfig):
        super().__init__()
        self.depthwise = MinRNNCausalConv1d(config.hidden_size, config.conv_kernel_size, config.conv_bias)
        self.pointwise = nn.Linear(config.hidden_size, config.hidden_size, bias=config.conv_bias)

    def forward(
        self,
        hidden_states: torch.Tensor,
        conv_state: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        resets: torch.Tensor | None = None,
        record: int = 0,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Takes and returns the same as `MinRNNCausalConv1d`."""
        depthwise, pointwise = forwards(self, "depthwise", "pointwise")
        hidden_states, final_conv_state = depthwise(hidden_states, conv_state, attention_mask, resets, record)
        return pointwise(hidden_states), final_conv_state


class MinRNNMixer(nn.Module):
    """The recurrent half of a block: cell, norm of the state, output gate and output projection. With
    `conv_position="mixer"` a convolution comes first.
    """

    def __init__(self, config: MinRNNConfig, layer_idx: int):
        super().__init__()
        size = config.state_size
        self.candidate_activation = config.candidate_activation
        self.output_gate = config.output_gate
        self.conv = None
        if config.conv_kernel_size and config.conv_position == "mixer":
            self.conv = MinRNNCausalConv1d(config.hidden_size, config.conv_kernel_size, config.conv_bias)
        self.cell = CELLS[config.cell_type](
            config.hidden_size,
            size,
            bias=config.use_bias,
            candidate_activation=config.candidate_activation,
            normalize_gates=config.normalize_gates,
            forget_gate_floor=config.layer_forget_gate_floor(layer_idx),
            gate_bias=config.gate_bias,
            extra_size=size if config.output_gate else 0,
            backend=_available_backend(config.scan_backend),
        )
        self.initial_state = nn.Parameter(torch.empty(size)) if config.learn_initial_state else None
        self.norm = MinRNNRMSNorm(size, eps=config.rms_norm_eps) if config.state_norm else None
        self.out_proj = nn.Linear(size, config.hidden_size, bias=config.use_bias) if config.output_projection else None

    def first_state(self) -> torch.Tensor | None:
        """Returns the state that every sequence starts from, `(state_size,)`, or `None` for zeros."""
        if self.initial_state is None:
            return None
        state = self.initial_state.to(torch.promote_types(self.initial_state.dtype, torch.float32))
        if self.candidate_activation == "g":  # only the parameter passes through g; a carried state is used as it is
            state = g(state)
        return state

    def forward(
        self,
        hidden_states: torch.Tensor,
        state: torch.Tensor | None = None,
        conv_state: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        resets: torch.Tensor | None = None,
        record: int = 0,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Takes and returns the same as `MinRNNLayer`."""
        conv, cell, norm, out_proj = forwards(self, "conv", "cell", "norm", "out_proj")
        if conv is not None:
            hidden_states, conv_state = conv(hidden_states, conv_state, attention_mask, resets, record)
        reset_state = None
        if state is None or resets is not None:
            first_state = self.first_state()
            if state is None and first_state is not None:
                state = first_state.expand(hidden_states.shape[0], -1)
            if resets is not None:
                reset_state = first_state
        backend = self.cell.backend
        if backend != "auto":  # the model may have been moved to a device or dtype that this backend does not support
            backend = backend_or_auto(backend, hidden_states.device, hidden_states.dtype)
        h, final_state, *gate = cell(
            hidden_states,
            state,
            attention_mask=attention_mask,
            resets=resets,
            reset_state=reset_state,
            backend=backend,
            record=record,
        )
        if norm is not None:
            h = norm(h)
        if self.output_gate:
            h = h * F.silu(gate[0])
        if out_proj is not None:
            h = out_proj(h)
        return h, final_state, conv_state


def _available_backend(backend: str) -> str:
    """Returns the backend, or "auto" with a warning if it is not available here."""
    try:
        if backend != "auto":
            resolve_backend(backend, None)
    except (ValueError, ImportError) as error:
        logger.warning_once(f"scan_backend {backend!r} is not available, using 'auto': {error}")
        return "auto"
    return backend


class MinRNNMLP(nn.Module):
    """The feed-forward half of a block."""

    def __init__(self, config: MinRNNConfig):
        super().__init__()
        size: int = config.intermediate_size  # pyright: ignore[reportAssignmentType]  # None only before __post_init__
        self.act = ACT2FN[config.hidden_act]
        self.gate_proj = nn.Linear(config.hidden_size, size, bias=config.mlp_bias) if config.gated_mlp else None
        self.up_proj = nn.Linear(config.hidden_size, size, bias=config.mlp_bias)
        self.down_proj = nn.Linear(size, config.hidden_size, bias=config.mlp_bias)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        act, gate_proj, up_proj, down_proj = forwards(self, "act", "gate_proj", "up_proj", "down_proj")
        up = up_proj(hidden_states)
        if gate_proj is None:
            return down_proj(act(up))
        return down_proj(act(gate_proj(hidden_states)) * up)


class MinRNNLayer(GradientCheckpointingLayer):
    """One block. It takes and returns its states as tensors: gradient checkpointing removes a cache from the arguments of
    a layer.
    """

    def __init__(self, config: MinRNNConfig, layer_idx: int):
        super().__init__()
        residual_conv = config.conv_kernel_size and config.conv_position == "residual"
        self.conv = MinRNNResidualConv(config) if residual_conv else None
        self.norm = MinRNNRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.mixer = MinRNNMixer(config, layer_idx)
        self.reverse_mixer = MinRNNMixer(config, layer_idx) if config.bidirectional else None
        self.mlp_norm = MinRNNRMSNorm(config.hidden_size, eps=config.rms_norm_eps) if config.intermediate_size else None
        self.mlp = MinRNNMLP(config) if config.intermediate_size else None
        self.dropout = config.dropout

    def forward(
        self,
        hidden_states: torch.Tensor,
        state: torch.Tensor | None = None,
        conv_state: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        resets: torch.Tensor | None = None,
        record: int = 0,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Returns the residual stream after this block, and the states to carry over.

        Args:
            hidden_states (`torch.Tensor` of shape `(batch, time, hidden_size)`): The residual stream.
            state (`torch.Tensor` of shape `(batch, state_size)`, *optional*): Recurrent state before the first step.
            conv_state (`torch.Tensor` of shape `(batch, conv_kernel_size - 1, hidden_size)`, *optional*): Inputs of the
                convolution before the first step.
            attention_mask (`torch.Tensor` of shape `(batch, time)`, bool, *optional*): False at padding.
            resets (`torch.Tensor` of shape `(batch, time)`, bool, *optional*): True where a new sequence starts.
            record (`int`, defaults to 0): Number of last steps before which the states are returned too. Not supported
                together with `resets`.

        Returns:
            `(hidden_states, state, conv_state)`, with the states after the last step. With `record`, `state` and `conv_state`
            have `record + 1` entries in a new dimension after the batch: before each of these steps and after the last.
        """
        conv, norm, mixer, mlp_norm, mlp = forwards(self, "conv", "norm", "mixer", "mlp_norm", "mlp")
        dropout = self.training and self.dropout > 0
        if conv is not None:
            update, conv_state = conv(hidden_states, conv_state, attention_mask, resets, record)
            if dropout:
                update = F.dropout(update, self.dropout)
            hidden_states = hidden_states + update
        normed = norm(hidden_states)
        update, final_state, conv_state = mixer(normed, state, conv_state, attention_mask, resets, record)
        if self.reverse_mixer is not None:
            update = update + _mix_backwards(self.reverse_mixer, normed, attention_mask, resets)
        if dropout:
            update = F.dropout(update, self.dropout)
        hidden_states = hidden_states + update
        if mlp is not None:
            update = mlp(mlp_norm(hidden_states))
            if dropout:
                update = F.dropout(update, self.dropout)
            hidden_states = hidden_states + update
        return hidden_states, final_state, conv_state


def _mix_backwards(mixer, hidden_states, attention_mask, resets):
    # Padding is skipped at any position, so a padded row can be reversed as it is.
    if attention_mask is not None:
        attention_mask = attention_mask.flip(1)
    if resets is not None:  # the last step of a sequence comes first now
        resets = F.pad(resets[:, 1:], (0, 1)).flip(1)
    update, _, _ = mixer(hidden_states.flip(1), None, None, attention_mask, resets)
    return update.flip(1)
