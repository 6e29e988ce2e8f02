# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The block: convolution, cell, norm, gate and MLP, as the configuration combines them."""

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
from .scan_choice import resolve_backend, wished_backend

logger = logging.get_logger(__name__)


class MinRNNResidualConv(nn.Module):
    """The paper's convolution: depthwise, then pointwise."""

    def __init__(self, config: MinRNNConfig):
        super().__init__()
        self.depthwise = MinRNNCausalConv1d(config.hidden_size, config.conv_kernel_size, config.conv_bias)
        self.pointwise = nn.Linear(config.hidden_size, config.hidden_size, bias=config.conv_bias)

    def forward(self, hidden_states, tail=None, attention_mask=None, starts=None, record: int = 0):
        depthwise, pointwise = forwards(self, "depthwise", "pointwise")
        hidden_states, tail = depthwise(hidden_states, tail, attention_mask, starts, record)
        return pointwise(hidden_states), tail


class MinRNNMixer(nn.Module):
    """The recurrent half of a block: cell, norm of the state, output gate, output projection; a convolution first where
    `conv_position` is `"mixer"`."""

    def __init__(self, config: MinRNNConfig, layer_idx: int):
        super().__init__()
        size = config.state_size
        self.candidate_activation, self.output_gate = config.candidate_activation, config.output_gate
        self.conv = None
        if config.conv_kernel_size and config.conv_position == "mixer":
            self.conv = MinRNNCausalConv1d(config.hidden_size, config.conv_kernel_size, config.conv_bias)
        backend = config.scan_backend
        try:
            if backend != "auto":
                resolve_backend(backend, None)
        except (ValueError, ImportError) as error:
            logger.warning_once(f"scan_backend {backend!r} cannot be had, using 'auto': {error}")
            backend = "auto"
        self.cell = CELLS[config.cell_type](
            config.hidden_size,
            size,
            bias=config.use_bias,
            candidate_activation=config.candidate_activation,
            normalize_gates=config.normalize_gates,
            forget_gate_floor=config.layer_forget_gate_floor(layer_idx),
            gate_bias=config.gate_bias,
            extra_size=size if config.output_gate else 0,
            backend=backend,
        )
        self.initial_state = nn.Parameter(torch.empty(size)) if config.learn_initial_state else None
        self.norm = MinRNNRMSNorm(size, eps=config.rms_norm_eps) if config.state_norm else None
        self.out_proj = nn.Linear(size, config.hidden_size, bias=config.use_bias) if config.output_projection else None

    def first_state(self) -> torch.Tensor | None:
        """The state that a sequence starts from, `(state_size,)`, or `None` for zeros."""
        if self.initial_state is None:
            return None
        state = self.initial_state.to(torch.promote_types(self.initial_state.dtype, torch.float32))
        # g is for the parameter alone: a carried state is the state itself.
        return g(state) if self.candidate_activation == "g" else state

    def forward(self, hidden_states, state=None, tail=None, attention_mask=None, starts=None, record: int = 0):
        conv, cell, norm, out_proj = forwards(self, "conv", "cell", "norm", "out_proj")
        if conv is not None:
            hidden_states, tail = conv(hidden_states, tail, attention_mask, starts, record)
        first = self.first_state() if state is None or starts is not None else None
        if state is None and first is not None:
            state = first.expand(hidden_states.shape[0], -1)
        backend = self.cell.backend
        if backend != "auto":  # a wish: the model may have been moved to another device or dtype since
            backend = wished_backend(backend, hidden_states.device, hidden_states.dtype)
        h, state, *gate = cell(
            hidden_states,
            state,
            attention_mask=attention_mask,
            resets=starts,
            reset_state=first if starts is not None else None,
            backend=backend,
            record=record,
        )
        if norm is not None:
            h = norm(h)
        if self.output_gate:
            h = h * F.silu(gate[0])
        return h if out_proj is None else out_proj(h), state, tail


class MinRNNMLP(nn.Module):
    """The feed-forward half of a block."""

    def __init__(self, config: MinRNNConfig):
        super().__init__()
        self.act = ACT2FN[config.hidden_act]
        self.gate_proj = None
        if config.gated_mlp:
            self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=config.mlp_bias)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=config.mlp_bias)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=config.mlp_bias)

    def forward(self, hidden_states):
        act, gate_proj, up_proj, down_proj = forwards(self, "act", "gate_proj", "up_proj", "down_proj")
        up = up_proj(hidden_states)
        up = act(up) if gate_proj is None else act(gate_proj(hidden_states)) * up
        return down_proj(up)


class MinRNNLayer(GradientCheckpointingLayer):
    """One block. It takes and returns its state as tensors, so that gradient checkpointing, which withholds the cache from
    a layer, cannot lose it.
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

    def forward(self, hidden_states, state=None, tail=None, attention_mask=None, starts=None, record: int = 0):
        """
        Args:
            hidden_states (`torch.Tensor` of shape `(batch, time, hidden_size)`): The residual stream.
            state (`torch.Tensor` of shape `(batch, state_size)`, *optional*): Recurrent state before the first step.
            tail (`torch.Tensor` of shape `(batch, conv_kernel_size - 1, hidden_size)`, *optional*): The convolution's
                inputs before the first step.
            attention_mask (`torch.Tensor` of shape `(batch, time)`, bool, *optional*): False at padding.
            starts (`torch.Tensor` of shape `(batch, time)`, bool, *optional*): True where a packed sequence begins.
            record (`int`, defaults to 0): The number of last steps before which the state is wanted too; not with
                `starts`.

        Returns:
            `(hidden_states, state, tail)` after the last step. With `record`, state and tail have `record + 1` entries in
            a new dimension after the batch: before each of these steps and after the last.
        """
        conv, norm, mixer, mlp_norm, mlp = forwards(self, "conv", "norm", "mixer", "mlp_norm", "mlp")
        dropout = self.training and self.dropout
        if conv is not None:
            added, tail = conv(hidden_states, tail, attention_mask, starts, record)
            hidden_states = hidden_states + (F.dropout(added, dropout) if dropout else added)
        normed = norm(hidden_states)
        added, state, tail = mixer(normed, state, tail, attention_mask, starts, record)
        if self.reverse_mixer is not None:
            added = added + self._reversed(normed, attention_mask, starts)
        hidden_states = hidden_states + (F.dropout(added, dropout) if dropout else added)
        if mlp is not None:
            added = mlp(mlp_norm(hidden_states))
            hidden_states = hidden_states + (F.dropout(added, dropout) if dropout else added)
        return hidden_states, state, tail

    def _reversed(self, normed, attention_mask, starts):
        # Padding is passed over wherever it stands, so a padded row may be turned round as it is.
        if attention_mask is not None:
            attention_mask = attention_mask.flip(1)
        if starts is not None:  # a sequence's last step is the first now
            starts = F.pad(starts[:, 1:], (0, 1)).flip(1)
        return self.reverse_mixer(normed.flip(1), None, None, attention_mask, starts)[0].flip(1)
