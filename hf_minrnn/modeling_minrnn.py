# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""MinRNN models: minGRU and minLSTM ("Were RNNs All We Needed?", arXiv 2410.01201) as transformers models."""

import math
from functools import wraps

import torch
import torch.nn.functional as F
from torch import nn

from .cells import CELLS
from .compat import (
    ACT2FN,
    BaseModelOutputWithPast,
    Cache,
    CausalLMOutputWithPast,
    DynamicCache,
    GenerationMixin,
    GradientCheckpointingLayer,
    PreTrainedModel,
    TransformersKwargs,
    Unpack,
    auto_docstring,
    can_return_tuple,
    capture_outputs,
    initialization,
    logging,
    merge_with_config_defaults,
    slice_logits_to_keep,
)
from .configuration_minrnn import MinRNNConfig
from .conv_minrnn import MinRNNCausalConv1d
from .gates import g
from .inputs_minrnn import check_cache, padding_mask, refuse_packing
from .scan import BACKENDS

logger = logging.get_logger(__name__)


class MinRNNResidualConv(nn.Module):
    """The paper's convolution: depthwise, then pointwise."""

    def __init__(self, config: MinRNNConfig):
        super().__init__()
        self.depthwise = MinRNNCausalConv1d(config.hidden_size, config.conv_kernel_size, config.conv_bias)
        self.pointwise = nn.Linear(config.hidden_size, config.hidden_size, bias=config.conv_bias)

    def forward(self, hidden_states, tail=None, attention_mask=None):
        hidden_states, tail = self.depthwise(hidden_states, tail, attention_mask)
        return self.pointwise(hidden_states), tail


class MinRNNMixer(nn.Module):
    """The recurrent half of a block: convolution, cell, norm of the state, output gate, output projection."""

    def __init__(self, config: MinRNNConfig, layer_idx: int):
        super().__init__()
        size = config.state_size
        self.candidate_activation, self.output_gate = config.candidate_activation, config.output_gate
        self.conv = None
        if config.conv_kernel_size and config.conv_position == "mixer":
            self.conv = MinRNNCausalConv1d(config.hidden_size, config.conv_kernel_size, config.conv_bias)
        backend = config.scan_backend
        if backend not in BACKENDS:
            logger.warning_once(f"scan_backend {backend!r} is not one of {', '.join(BACKENDS)}: using 'auto'")
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
        self.norm = nn.RMSNorm(size, eps=config.rms_norm_eps) if config.state_norm else None
        self.out_proj = nn.Linear(size, config.hidden_size, bias=config.use_bias) if config.output_projection else None

    def first_state(self, batch: int) -> torch.Tensor | None:
        """The state that a sequence starts from, `(batch, state_size)`, or `None` for zeros."""
        if self.initial_state is None:
            return None
        state = self.initial_state.to(torch.promote_types(self.initial_state.dtype, torch.float32))
        # g is for the parameter alone: a carried state is the state itself.
        state = g(state) if self.candidate_activation == "g" else state
        return state.expand(batch, -1)

    def forward(self, hidden_states, state=None, tail=None, attention_mask=None):
        if self.conv is not None:
            hidden_states, tail = self.conv(hidden_states, tail, attention_mask)
        projected, gate = self.cell.project(hidden_states)
        if state is None:
            state = self.first_state(hidden_states.shape[0])
        h, state = self.cell.scan(projected, state, attention_mask=attention_mask)
        if self.norm is not None:
            h = self.norm(h)
        if self.output_gate:
            h = h * F.silu(gate)
        return h if self.out_proj is None else self.out_proj(h), state, tail


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
        up = self.up_proj(hidden_states)
        up = self.act(up) if self.gate_proj is None else self.act(self.gate_proj(hidden_states)) * up
        return self.down_proj(up)


class MinRNNLayer(GradientCheckpointingLayer):
    """One block. It takes and returns its state as tensors, so that gradient checkpointing, which withholds the cache from
    a layer, cannot lose it.
    """

    def __init__(self, config: MinRNNConfig, layer_idx: int):
        super().__init__()
        residual_conv = config.conv_kernel_size and config.conv_position == "residual"
        self.conv = MinRNNResidualConv(config) if residual_conv else None
        self.norm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.mixer = MinRNNMixer(config, layer_idx)
        self.mlp_norm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps) if config.intermediate_size else None
        self.mlp = MinRNNMLP(config) if config.intermediate_size else None
        self.dropout = config.dropout

    def forward(self, hidden_states, state=None, tail=None, attention_mask=None):
        """
        Args:
            hidden_states (`torch.Tensor` of shape `(batch, time, hidden_size)`): The residual stream.
            state (`torch.Tensor` of shape `(batch, state_size)`, *optional*): Recurrent state before the first step.
            tail (`torch.Tensor` of shape `(batch, conv_kernel_size - 1, hidden_size)`, *optional*): The convolution's
                inputs before the first step.
            attention_mask (`torch.Tensor` of shape `(batch, time)`, bool, *optional*): False at padding.

        Returns:
            `(hidden_states, state, tail)` after the last step.
        """
        if self.conv is not None:
            added, tail = self.conv(hidden_states, tail, attention_mask)
            hidden_states = self._add(hidden_states, added)
        added, state, tail = self.mixer(self.norm(hidden_states), state, tail, attention_mask)
        hidden_states = self._add(hidden_states, added)
        if self.mlp is not None:
            hidden_states = self._add(hidden_states, self.mlp(self.mlp_norm(hidden_states)))
        return hidden_states, state, tail

    def _add(self, hidden_states, added):
        return hidden_states + F.dropout(added, self.dropout, self.training)


@auto_docstring
class MinRNNPreTrainedModel(PreTrainedModel):
    config: MinRNNConfig
    config_class = MinRNNConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["MinRNNLayer"]
    _skip_keys_device_placement = ["past_key_values"]
    _is_stateful = True  # a forward cannot be taken back yet, which assisted generation would need
    _can_compile_fullgraph = True
    _can_record_outputs = {"hidden_states": MinRNNLayer}

    @torch.no_grad()
    def _init_weights(self, module):
        super()._init_weights(module)
        if isinstance(module, MinRNNCausalConv1d):
            if self.config.conv_position == "mixer":  # the identity
                identity = torch.zeros_like(module.weight)
                identity[..., -1] = 1.0
                initialization.copy_(module.weight, identity)
            else:
                bound = 1 / math.sqrt(module.kernel_size)
                initialization.uniform_(module.weight, -bound, bound)
            if module.bias is not None:
                initialization.zeros_(module.bias)
        elif getattr(module, "gate_bias", 0.0) and module.bias is not None:  # a cell's in_proj
            start = torch.zeros_like(module.bias)
            start[: module.gate_channels] = module.gate_bias
            initialization.copy_(module.bias, start)
        elif getattr(module, "initial_state", None) is not None:
            initialization.zeros_(module.initial_state)


@auto_docstring
class MinRNNModel(MinRNNPreTrainedModel):
    def __init__(self, config: MinRNNConfig):
        super().__init__(config)
        # No padding_idx: padding has no effect on anything, and a pad token may well be the one that ends a text.
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList([MinRNNLayer(config, layer_idx) for layer_idx in range(config.num_hidden_layers)])
        self.norm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.gradient_checkpointing = False
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs
    @auto_docstring
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutputWithPast:
        if (input_ids is None) ^ (inputs_embeds is not None):
            raise ValueError("give exactly one of input_ids and inputs_embeds")
        if inputs_embeds is None:
            inputs_embeds = self.embed_tokens(input_ids)
        if inputs_embeds.dim() != 3:
            raise ValueError(
                f"input_ids must be [batch, time], got an input of shape {tuple(inputs_embeds.shape[:-1])}"
            )
        batch, time = inputs_embeds.shape[:2]
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        cached, states = [None] * len(self.layers), []
        if past_key_values is not None:
            cached = check_cache(past_key_values, len(self.layers), batch)
        continued = past_key_values is not None and cached[0].has_previous_state[0]
        mask = padding_mask(attention_mask, batch, time, continued)
        refuse_packing(kwargs, mask, continued)

        hidden_states = F.dropout(inputs_embeds, self.config.dropout, self.training)
        for layer, cache in zip(self.layers, cached):
            state, tail = cache.carried() if continued else (None, None)
            hidden_states, state, tail = layer(hidden_states, state, tail, mask)
            states.append((state, tail))
        # Only now, so that a forward that fails halfway leaves the cache as it was.
        for cache, (state, tail) in zip(cached, states):
            if cache is not None:
                cache.update_conv_state(tail)
                cache.update_recurrent_state(state, num_new_tokens=time)
        return BaseModelOutputWithPast(last_hidden_state=self.norm(hidden_states), past_key_values=past_key_values)


@auto_docstring
class MinRNNForCausalLM(MinRNNPreTrainedModel, GenerationMixin):
    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}
    _fsdp_plan = {"lm_head": "keep_full_weight"}

    def __init__(self, config: MinRNNConfig):
        super().__init__(config)
        self.model = MinRNNModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    @wraps(GenerationMixin.generate)
    def generate(self, *args, **kwargs):
        mask = kwargs.get("attention_mask")
        if mask is not None and mask.dim() == 2 and bool((mask[:, -1] == 0).any()):
            raise ValueError(
                "attention_mask ends in padding: generate continues from the last column, so pad prompts on the left "
                "(padding_side='left' in the tokenizer)"
            )
        return super().generate(*args, **kwargs)

    def prepare_inputs_for_generation(
        self,
        input_ids,
        next_sequence_length=None,
        past_key_values=None,
        attention_mask=None,
        inputs_embeds=None,
        is_first_iteration=False,
        **kwargs,
    ):
        if next_sequence_length == 1 and not is_first_iteration and past_key_values is not None:
            attention_mask = self._unfinished(input_ids)
        return super().prepare_inputs_for_generation(
            input_ids,
            next_sequence_length=next_sequence_length,
            past_key_values=past_key_values,
            attention_mask=attention_mask,
            inputs_embeds=inputs_embeds,
            is_first_iteration=is_first_iteration,
            **kwargs,
        )

    def _unfinished(self, input_ids):
        # While one row of a batch is still being written, those that have ended are fed padding. Masked, it leaves their
        # state alone, so that the returned cache can be continued.
        pad, eos = self.generation_config.pad_token_id, self.generation_config.eos_token_id
        if eos is None or input_ids.shape[0] == 1 or input_ids.shape[1] < 2:
            return None
        ended_by = eos if isinstance(eos, list) else [eos]
        pad = ended_by[0] if pad is None else pad
        before, newest = input_ids[:, -2:].split(1, 1)
        ended = before == pad
        for token in ended_by:
            ended = ended | (before == token)
        return (~(ended & (newest == pad))).long()

    @can_return_tuple
    @auto_docstring
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        labels: torch.LongTensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        **kwargs: Unpack[TransformersKwargs],
    ) -> CausalLMOutputWithPast:
        r"""
        Example:

        ```python
        >>> import torch
        >>> from hf_minrnn import MinRNNConfig, MinRNNForCausalLM

        >>> config = MinRNNConfig(vocab_size=256, hidden_size=64, num_hidden_layers=2)
        >>> model = MinRNNForCausalLM(config).eval()
        >>> ids = torch.tensor([[1, 2, 3, 4]])
        >>> first = model(ids[:, :3])
        >>> rest = model(ids[:, 3:], past_key_values=first.past_key_values)  # carries the state on
        >>> torch.allclose(rest.logits, model(ids).logits[:, 3:], atol=1e-5)
        True

        ```"""
        outputs: BaseModelOutputWithPast = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            **kwargs,
        )
        logits = self.lm_head(slice_logits_to_keep(outputs.last_hidden_state, logits_to_keep))
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, **kwargs)
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
        )


__all__ = ["MinRNNForCausalLM", "MinRNNModel", "MinRNNPreTrainedModel"]
