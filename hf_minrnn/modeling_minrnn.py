# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""MinRNN models: minGRU and minLSTM ("Were RNNs All We Needed?", arXiv 2410.01201) as transformers models."""

# pyright: reportGeneralTypeIssues=false, reportCallIssue=false, reportIncompatibleMethodOverride=false
# pyright: reportPrivateImportUsage=false
# TransformersKwargs also names arguments of the signatures below, these differ from transformers' own, and compat.py imports
# names that transformers does not list as exported.

import math
import os
import sys
from collections.abc import Callable
from functools import update_wrapper
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from .block_minrnn import MinRNNLayer
from .calls_minrnn import make_output
from .cells import draw_gate_weight, write_gate_bias
from .compat import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    BaseModelOutputWithPast,
    Cache,
    CausalLMOutputWithPast,
    DistributedConfig,
    DynamicCache,
    PreTrainedModel,
    TransformersKwargs,
    Unpack,
    auto_docstring,
    capture_outputs,
    initialization,
    logging,
    slice_logits_to_keep,
)
from .configuration_minrnn import AUTO_MAP, MinRNNConfig
from .conv_minrnn import MinRNNCausalConv1d
from .gates import NUM_PARTS
from .generation_minrnn import MinRNNGenerationMixin
from .inputs_minrnn import PACKING_ARGS, check_attention_mask, check_cache, check_labels, packing_resets
from .norm_minrnn import MinRNNRMSNorm

logger = logging.get_logger(__name__)


class _OnClassOrInstance:
    """A method whose first argument is the instance that it is called on, or the class if it is called on the class."""

    def __init__(self, function):
        self.function = function
        update_wrapper(self, function)  # pyright: ignore[reportArgumentType]  # any object takes a docstring

    def __get__(self, instance, owner) -> Callable[[], None]:
        return MethodType(self.function, owner if instance is None else instance)


def _is_saved_for_a_push() -> bool:
    """Returns whether the caller of `save_pretrained` is a Trainer that pushes to the Hub.

    A Trainer uploads its folder itself, and its arguments to `save_pretrained` do not say so. The stack does.
    """
    frame = sys._getframe(2)
    while frame is not None and frame.f_globals.get("__name__") != "transformers.trainer":
        frame = frame.f_back
    if frame is None:
        return False
    return getattr(frame.f_locals.get("self"), "hub_model_id", None) is not None


@auto_docstring
class MinRNNPreTrainedModel(PreTrainedModel):
    config: MinRNNConfig
    config_class = MinRNNConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["MinRNNLayer"]
    _skip_keys_device_placement = ["past_key_values"]
    _can_compile_fullgraph = True
    _can_record_outputs = {"hidden_states": MinRNNLayer}

    _carries_code = False

    @_OnClassOrInstance
    def carry_code(model_or_class):
        """Makes this model save and push its code too, including when `Trainer` does it.

        A process without this package can then load the model through any Auto class with `trust_remote_code=True`, and the
        models that it saves include the code again. Called on a class, `MinRNNForCausalLM.carry_code()`, this applies to all
        models of this class and its subclasses until the process ends.

        >>> import os, tempfile
        >>> from hf_minrnn import MinRNNConfig, MinRNNForCausalLM
        >>> model = MinRNNForCausalLM(MinRNNConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1))
        >>> model.carry_code()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save_pretrained(folder)
        ...     {"config.json", "hub_minrnn.py", "modeling_minrnn.py", "model.safetensors"} <= set(os.listdir(folder))
        True
        """
        if isinstance(model_or_class, type):
            model_or_class._carries_code = True
            return
        config = model_or_class.config
        if config.cell_type not in NUM_PARTS:
            logger.warning_once(
                f"cell_type {config.cell_type!r} is not part of hf_minrnn, so its code is not saved with the model: register "
                "the cell in every process before it loads the model"
            )
        config.auto_map = dict(AUTO_MAP)

    def save_pretrained(
        self,
        save_directory: str | os.PathLike,
        is_main_process: bool = True,
        state_dict: dict | None = None,
        push_to_hub: bool = False,
        **kwargs: Any,
    ) -> None:
        """Calls `PreTrainedModel.save_pretrained`, and saves the code too after `carry_code()`.

        If blocks have been removed or added, it first writes the forget-gate floor of each block to the config.
        """
        if self._carries_code:
            self.carry_code()
        if push_to_hub or _is_saved_for_a_push():
            self._warn_of_a_push_without_code()
        self._update_forget_gate_floors()
        super().save_pretrained(save_directory, is_main_process, state_dict, push_to_hub, **kwargs)

    def _update_forget_gate_floors(self):
        # The config may compute floors from the number of blocks, which would give the remaining blocks other floors.
        floors = [m.mixer.cell.spec.forget_gate_floor for m in self.modules() if isinstance(m, MinRNNLayer)]
        known = self.config.forget_gate_floor
        if not isinstance(known, list):
            known = [self.config.layer_forget_gate_floor(n) for n in range(len(floors))]
        if floors != known[: len(floors)]:
            self.config.forget_gate_floor = floors

    # pyright takes the function that PreTrainedModel wraps for a class attribute.
    def push_to_hub(self, repo_id: str, **kwargs: Any) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Calls `PreTrainedModel.push_to_hub`, and warns once if the code is not pushed with the model.

        Args:
            repo_id (`str`): The repository, `owner/name`, or only a name for one of your own. It is created if it does not
                exist.
            kwargs: The other arguments of `PreTrainedModel.push_to_hub`, such as `private`, `revision` and `commit_message`.
        """
        self._warn_of_a_push_without_code()
        return super().push_to_hub(repo_id, **kwargs)  # pyright: ignore[reportArgumentType]

    def _warn_of_a_push_without_code(self):
        config = self.config
        if self._carries_code or self._auto_class or config._auto_class or getattr(config, "auto_map", None):
            return
        logger.warning_once(
            "the model is pushed without its code, so it only loads where hf_minrnn is installed and imported: call "
            "model.carry_code() before the push"
        )

    @torch.no_grad()
    def _init_weights(self, module):
        super()._init_weights(module)
        if isinstance(module, MinRNNCausalConv1d):
            if self.config.conv_position == "mixer":
                identity = torch.zeros_like(module.weight)
                identity[..., -1] = 1.0
                initialization.copy_(module.weight, identity)
            else:
                bound = 1 / math.sqrt(module.kernel_size)
                initialization.uniform_(module.weight, -bound, bound)
            if module.bias is not None:
                initialization.zeros_(module.bias)
        elif hasattr(module, "gate_bias"):  # a cell's in_proj
            self._init_gates(module)
        elif getattr(module, "initial_state", None) is not None:
            initialization.zeros_(module.initial_state)

    def _init_gates(self, in_proj):
        if in_proj.gate_bias and in_proj.bias is not None:
            bias = torch.zeros_like(in_proj.bias)
            write_gate_bias(in_proj, bias)
            initialization.copy_(in_proj.bias, bias)
        if in_proj.gate_std:
            weight = in_proj.weight.detach().clone()
            draw_gate_weight(in_proj, weight)
            initialization.copy_(in_proj.weight, weight)

    def _check_and_adjust_attn_implementation(self, attn_implementation, *args, **kwargs):
        return "eager"  # no attention: every implementation gives the same result, whether it is installed or not

    def get_correct_attn_implementation(self, *args, **kwargs):
        return "eager"

    def get_correct_experts_implementation(self, *args, **kwargs):
        return "eager"  # no experts

    @classmethod
    def prepare_distribute_model(cls, distributed_config, *args, **kwargs):
        """Raises `ValueError` for tensor and expert parallelism, for which the model has no plan."""
        if isinstance(distributed_config, dict):
            distributed_config = DistributedConfig.from_dict(distributed_config)
        if distributed_config is not None and max(distributed_config.tp_size, distributed_config.ep_size) > 1:
            raise ValueError(
                f"{cls.__name__} cannot be split by tensor or expert parallelism (tp_plan, tp_size, ep_size): give each device "
                "whole blocks with device_map='auto', or split the weights with fsdp_size in DistributedConfig"
            )
        return super().prepare_distribute_model(distributed_config, *args, **kwargs)


@auto_docstring
class MinRNNModel(MinRNNPreTrainedModel):
    def __init__(self, config: MinRNNConfig):
        super().__init__(config)
        # No padding_idx: padding has no effect anyway, and the pad token may also be the token that ends a text.
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList([MinRNNLayer(config, layer_idx) for layer_idx in range(config.num_hidden_layers)])
        self.norm = MinRNNRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        names = ("cell_type", "hidden_size", "state_size", "conv_kernel_size", "conv_position", "normalize_gates")
        self.made_by = tuple((name, getattr(config, name)) for name in names)
        self.bidirectional = config.bidirectional  # reading a config takes a noticeable part of the time for one token
        self.gradient_checkpointing = False
        self.post_init()

    @auto_docstring(custom_args=PACKING_ARGS)
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        return_dict: bool | None = None,
        position_ids: torch.Tensor | None = None,
        seq_idx: torch.Tensor | None = None,
        cu_seq_lens_q: torch.Tensor | None = None,
        resets: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutputWithPast:
        if attention_mask is not None or past_key_values is not None:
            position_ids = None  # these are only positions then, see PACKING_ARGS
        packing = {"position_ids": position_ids, "seq_idx": seq_idx, "cu_seq_lens_q": cu_seq_lens_q, "resets": resets}
        inputs = (input_ids, attention_mask, past_key_values, inputs_embeds, use_cache, packing)
        if return_dict is None:
            return_dict = self.config.return_dict
        output_hidden_states = kwargs.get("output_hidden_states")
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        if output_hidden_states:
            kwargs["output_hidden_states"] = output_hidden_states
            return self._run_and_capture(*inputs, return_dict=return_dict, **kwargs)
        hidden_states, past_key_values = self._run(*inputs, kwargs)
        output = make_output(BaseModelOutputWithPast, last_hidden_state=hidden_states, past_key_values=past_key_values)
        return output.to_tuple() if return_dict is False else output

    @capture_outputs
    def _run_and_capture(self, *inputs, **kwargs):
        # Not for every forward: capture_outputs costs more than the matmuls of one step of a small block.
        hidden_states, past_key_values = self._run(*inputs, kwargs)
        return BaseModelOutputWithPast(last_hidden_state=hidden_states, past_key_values=past_key_values)

    def _run(self, input_ids, attention_mask, past_key_values, inputs_embeds, use_cache, packing, kwargs):
        """Returns the last hidden states and the cache."""
        hidden_states = self._embed(input_ids, inputs_embeds)
        batch, time, _ = hidden_states.shape
        if past_key_values is None:
            past_key_values = self._new_cache(use_cache)
        elif self.bidirectional:
            raise ValueError("a bidirectional model reads whole texts and carries no state: leave past_key_values out")
        layers = self.layers
        num_layers = self.config.num_hidden_layers
        if num_layers < len(layers):  # generate lowers the number while it exits early
            layers = layers[:num_layers]
        cache_layers = []
        made_by = None
        continued = False
        record = 0
        if past_key_values is not None:
            made_by = (*self.made_by, ("dtype", self.norm.weight.dtype))
            cache_layers = check_cache(past_key_values, num_layers, batch, made_by)
            continued = cache_layers[0].has_previous_state[0]
            if cache_layers[0].record_past:
                record = _steps_to_record(cache_layers[0].recorded_tokens, time, kwargs.get("logits_to_keep"))
        if attention_mask is not None:
            attention_mask = check_attention_mask(attention_mask, batch, time, continued)
        resets = packing_resets(batch, time, **packing, continued=continued, record=record > 0)

        states = []
        for n, layer in enumerate(layers):
            state = conv_state = None
            if continued:
                state, conv_state = cache_layers[n].carried()
            hidden_states, state, conv_state = layer(hidden_states, state, conv_state, attention_mask, resets, record)
            states.append((state, conv_state))
        if past_key_values is not None:  # only now: a forward that fails halfway leaves the cache unchanged
            for cache_layer, (state, conv_state) in zip(cache_layers, states):
                cache_layer.advance(state, conv_state, time, record, made_by)
            last_tokens = None
            if input_ids is not None and not cache_layers[0].is_compileable:  # generate sets those of a static cache
                last_tokens = input_ids[:, -1:].clone()
            cache_layers[0].last_tokens = last_tokens
        return self.norm(hidden_states), past_key_values

    def _embed(self, input_ids, inputs_embeds):
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give exactly one of input_ids and inputs_embeds")
        if inputs_embeds is None:
            inputs_embeds = self.embed_tokens(input_ids)
        elif inputs_embeds.shape[-1] != self.config.hidden_size:
            raise ValueError(
                f"inputs_embeds must be [batch, time, {self.config.hidden_size}], got shape {tuple(inputs_embeds.shape)}"
            )
        if inputs_embeds.dim() != 3:
            raise ValueError(
                f"input_ids must be [batch, time], got an input of shape {tuple(inputs_embeds.shape[:-1])}"
            )
        if self.training:
            inputs_embeds = F.dropout(inputs_embeds, self.config.dropout)
        return inputs_embeds

    def _new_cache(self, use_cache):
        if self.bidirectional:
            return None
        if use_cache is None:
            use_cache = self.config.use_cache
        if use_cache and self.gradient_checkpointing and self.training:
            logger.warning_once("use_cache=True makes no cache under gradient checkpointing: pass past_key_values")
            return None
        return DynamicCache(config=self.config) if use_cache else None


def _steps_to_record(recorded_tokens: int, time: int, logits_to_keep) -> int:
    if isinstance(logits_to_keep, int):  # all tokens that logits are asked for may be taken back
        recorded_tokens = max(recorded_tokens, logits_to_keep)
    return min(recorded_tokens, time)


@auto_docstring
class MinRNNForCausalLM(MinRNNPreTrainedModel, MinRNNGenerationMixin):
    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}
    _fsdp_plan = {"lm_head": "keep_full_weight"}

    def __init__(self, config: MinRNNConfig):
        if config.bidirectional:
            raise ValueError(
                "bidirectional=True sees the tokens that a causal language model has to predict: set it to False"
            )
        super().__init__(config)
        self.model = MinRNNModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    @auto_docstring(custom_args=PACKING_ARGS)
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        return_dict: bool | None = None,
        position_ids: torch.Tensor | None = None,
        seq_idx: torch.Tensor | None = None,
        cu_seq_lens_q: torch.Tensor | None = None,
        resets: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> CausalLMOutputWithPast:
        r"""
        The loss of a packed row also counts the first token of each sequence, predicted from the previous sequence. Set its
        label to -100 to leave it out. Labels that are already shifted can be passed as `shift_labels`, together with `labels`.
        `Trainer` passes that column on with `TrainingArguments(label_names=["labels", "shift_labels"])`.

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
        # shift_labels is not in the signature: Trainer would expect every argument there with "label" in its name in every
        # batch, and would evaluate data sets without it without a loss.
        if labels is not None or "shift_labels" in kwargs:
            self._check_labels(input_ids if inputs_embeds is None else inputs_embeds, labels, logits_to_keep, kwargs)
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            logits_to_keep=logits_to_keep,
            return_dict=True,
            position_ids=position_ids,
            seq_idx=seq_idx,
            cu_seq_lens_q=cu_seq_lens_q,
            resets=resets,
            **kwargs,
        )
        logits = self.lm_head(slice_logits_to_keep(outputs.last_hidden_state, logits_to_keep))
        kwargs.pop("output_hidden_states", None)
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, **kwargs)
        output = make_output(
            CausalLMOutputWithPast,
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
        )
        if return_dict is None:
            return_dict = self.config.return_dict
        return output.to_tuple() if return_dict is False else output

    def _check_labels(self, inputs, labels, logits_to_keep, kwargs):
        if inputs is None:  # the model raises the error
            return
        batch, time = inputs.shape[:2]
        shape = None  # that of the kept logits, if it is known
        if isinstance(logits_to_keep, int):
            if logits_to_keep:
                time = len(range(time)[-logits_to_keep:])
            shape = (batch, time)
        elif logits_to_keep.dim() == 1 and logits_to_keep.dtype != torch.bool:
            shape = (batch, logits_to_keep.shape[0])
        ignore_index = kwargs.get("ignore_index", -100)
        if labels is not None:
            check_labels(labels, shape, self.config.vocab_size, ignore_index)
        if kwargs.get("shift_labels") is not None:
            check_labels(kwargs["shift_labels"], None, self.config.vocab_size, ignore_index)


# Trainer's label smoothing only shifts the labels of models whose class name is in this table. Without the entry, the model
# would learn to repeat its input. registration.py adds the name too; this line is for models loaded as remote code.
MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[MinRNNConfig.model_type] = MinRNNForCausalLM.__name__

__all__ = ["MinRNNForCausalLM", "MinRNNModel", "MinRNNPreTrainedModel"]
