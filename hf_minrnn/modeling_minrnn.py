# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""MinRNN models: minGRU and minLSTM ("Were RNNs All We Needed?", arXiv 2410.01201) as transformers models."""

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
from .calls_minrnn import forwards, make_output
from .cells import write_gate_bias
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
from .inputs_minrnn import PACKING_ARGS, check_cache, check_labels, padding_mask, sequence_starts
from .norm_minrnn import MinRNNRMSNorm

logger = logging.get_logger(__name__)


class _OnClassOrInstance:
    """A method whose first argument is the instance it is called on, or the class."""

    def __init__(self, function):
        update_wrapper(self, function)

    def __get__(self, instance, owner) -> Callable[[], None]:
        return MethodType(self.__wrapped__, owner if instance is None else instance)


def _is_saved_for_a_push() -> bool:
    """Whether a Trainer that has a repository on the Hub is saving. It uploads its folder by itself, and what it passes to
    `save_pretrained` does not tell, so it is looked for among the callers.
    """
    frame = sys._getframe(2)
    while frame is not None and frame.f_globals.get("__name__") != "transformers.trainer":
        frame = frame.f_back
    return frame is not None and getattr(frame.f_locals.get("self"), "hub_model_id", None) is not None


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
        """From now on this model is saved and pushed together with its code, by `Trainer` as well: a process without this
        package loads it through any Auto class with `trust_remote_code=True`, and what that process saves carries the code on.

        Called on a class, `MinRNNForCausalLM.carry_code()`, it does so for every model of this class and of those derived
        from it, as long as the process lives.

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
                f"cell_type {config.cell_type!r} is not part of hf_minrnn, and its code is not saved with the model: whoever "
                "loads the model must run the code that registers the cell first"
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
        """`PreTrainedModel.save_pretrained`, which also saves the code after `carry_code()`. Where blocks have been taken out
        or put in, the config gets the forget-gate floor of each block.
        """
        if self._carries_code:
            self.carry_code()
        if push_to_hub or _is_saved_for_a_push():
            self._warn_of_a_push_without_code()
        # Where blocks have been taken out or put in, the config's rule would give those that are left other floors.
        blocks = [module for module in self.modules() if isinstance(module, MinRNNLayer)]
        floors, known = [block.mixer.cell.spec.forget_gate_floor for block in blocks], self.config.forget_gate_floor
        if not isinstance(known, list):
            known = [self.config.layer_forget_gate_floor(n) for n in range(len(floors))]
        if floors != known[: len(floors)]:
            self.config.forget_gate_floor = floors
        super().save_pretrained(save_directory, is_main_process, state_dict, push_to_hub, **kwargs)

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> str:
        """`PreTrainedModel.push_to_hub`, which warns once where the model does not carry its code.

        Args:
            repo_id (`str`): The repository, `owner/name`, or a name of one's own. It is made if there is none.
            kwargs: The other arguments of `PreTrainedModel.push_to_hub`, such as `private`, `revision` and `commit_message`.
        """
        self._warn_of_a_push_without_code()
        return super().push_to_hub(repo_id, **kwargs)

    def _warn_of_a_push_without_code(self):
        config = self.config
        if self._carries_code or self._auto_class or config._auto_class or getattr(config, "auto_map", None):
            return
        logger.warning_once(
            "the model is pushed without its code, so it loads only where hf_minrnn is installed and imported: call "
            "model.carry_code() before the push"
        )

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
            write_gate_bias(module, start)
            initialization.copy_(module.bias, start)
        elif getattr(module, "initial_state", None) is not None:
            initialization.zeros_(module.initial_state)

    def _check_and_adjust_attn_implementation(self, attn_implementation, *args, **kwargs):
        return "eager"  # the model has no attention, so every implementation gives the same, whether it is installed or not

    def get_correct_attn_implementation(self, *args, **kwargs):
        return "eager"

    def get_correct_experts_implementation(self, *args, **kwargs):
        return "eager"  # it has no experts either

    @classmethod
    def prepare_distribute_model(cls, distributed_config, *args, **kwargs):
        """Raises `ValueError` for tensor and expert parallelism: the model defines no plan for them."""
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
        # No padding_idx: padding has no effect on anything, and a pad token may well be the one that ends a text.
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList([MinRNNLayer(config, layer_idx) for layer_idx in range(config.num_hidden_layers)])
        self.norm = MinRNNRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        names = ("cell_type", "hidden_size", "state_size", "conv_kernel_size", "conv_position", "normalize_gates")
        self.made_by = tuple((name, getattr(config, name)) for name in names)
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
        packing = {"position_ids": position_ids, "seq_idx": seq_idx, "cu_seq_lens_q": cu_seq_lens_q, "resets": resets}
        inputs = (input_ids, attention_mask, past_key_values, inputs_embeds, use_cache, packing)
        if return_dict is None:
            return_dict = self.config.return_dict
        asked = kwargs.get("output_hidden_states")
        if asked or (asked is None and self.config.output_hidden_states):
            return self._captured(*inputs, return_dict=return_dict, **kwargs)
        # capture_outputs and the output class cost more than the matmuls of a small block's step.
        hidden_states, past_key_values = self._run(*inputs, kwargs)
        if return_dict is not False:
            return BaseModelOutputWithPast(last_hidden_state=hidden_states, past_key_values=past_key_values)
        return (hidden_states,) if past_key_values is None else (hidden_states, past_key_values)

    @capture_outputs
    def _captured(self, *inputs, **kwargs):
        hidden_states, past_key_values = self._run(*inputs, kwargs)
        return BaseModelOutputWithPast(last_hidden_state=hidden_states, past_key_values=past_key_values)

    def _run(self, input_ids, attention_mask, past_key_values, inputs_embeds, use_cache, packing, kwargs):
        embed_tokens, norm = forwards(self, "embed_tokens", "norm")
        if (input_ids is None) ^ (inputs_embeds is not None):
            raise ValueError("give exactly one of input_ids and inputs_embeds")
        if inputs_embeds is None:
            inputs_embeds = embed_tokens(input_ids)
        elif inputs_embeds.shape[-1] != self.config.hidden_size:
            raise ValueError(
                f"inputs_embeds must be [batch, time, {self.config.hidden_size}], got shape {tuple(inputs_embeds.shape)}"
            )
        if inputs_embeds.dim() != 3:
            raise ValueError(
                f"input_ids must be [batch, time], got an input of shape {tuple(inputs_embeds.shape[:-1])}"
            )
        batch, time, _ = inputs_embeds.shape
        config, given = self.config, past_key_values
        layers, depth = self.layers, config.num_hidden_layers
        if depth < len(layers):  # for a while, where generate exits early
            layers = layers[:depth]
        cached, continued, record = [None] * depth, False, 0
        if config.bidirectional and past_key_values is not None:
            raise ValueError("a bidirectional model reads whole texts and carries no state: leave past_key_values out")
        if past_key_values is None and not config.bidirectional and self._wants_cache(use_cache):
            past_key_values = DynamicCache(config=config)
        if past_key_values is not None:
            made_by = (*self.made_by, ("dtype", self.norm.weight.dtype))
            cached = check_cache(past_key_values, depth, batch, made_by)
            continued = cached[0].has_previous_state[0]
            if cached[0].record_past:
                asked = kwargs.get("logits_to_keep")
                record = min(time, max(asked if isinstance(asked, int) else 0, cached[0].recorded_tokens))
        mask = padding_mask(attention_mask, batch, time, continued)
        packable = not (continued or record)
        starts = sequence_starts(batch, time, packing, packable, attention_mask, given, bool(record))

        hidden_states = F.dropout(inputs_embeds, config.dropout, True) if self.training else inputs_embeds
        states = []
        for layer, cache in zip(forwards(layers, *layers._modules), cached):
            state, tail = cache.carried() if continued else (None, None)
            hidden_states, state, tail = layer(hidden_states, state, tail, mask, starts, record)
            states.append((state, tail))
        # Only now, so that a forward that fails halfway leaves the cache as it was.
        if past_key_values is not None:
            for cache, (state, tail) in zip(cached, states):
                cache.advance(state, tail, time, record, made_by)
            # What a text must have in this place to be the one that the cache has seen; generate notes it for static ones.
            known = input_ids is not None and not cached[0].is_compileable
            cached[0].last_tokens = (input_ids if time == 1 else input_ids[:, -1:]).clone() if known else None
        return norm(hidden_states), past_key_values

    def _wants_cache(self, use_cache):
        if use_cache is None:
            use_cache = self.config.use_cache
        if use_cache and self.gradient_checkpointing and self.training:
            logger.warning_once("use_cache=True makes no cache under gradient checkpointing: pass past_key_values")
            return False
        return use_cache


@auto_docstring
class MinRNNForCausalLM(MinRNNPreTrainedModel, MinRNNGenerationMixin):
    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}
    _fsdp_plan = {"lm_head": "keep_full_weight"}

    def __init__(self, config: MinRNNConfig):
        if config.bidirectional:
            raise ValueError(
                "bidirectional=True sees the tokens that a causal language model is to predict: set it to False"
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
        The loss of packed rows also counts each sequence's first token, predicted from the sequence before it: set its label
        to -100. Labels that are shifted already are given as `shift_labels`, together with `labels`. `Trainer` passes that
        column on with `TrainingArguments(label_names=["labels", "shift_labels"])`.

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
        config = self.config
        # shift_labels is not in the signature: Trainer takes each argument there whose name has "label" in it for one that
        # every batch must have, and would evaluate other data sets without a loss.
        if labels is not None or "shift_labels" in kwargs:
            self._check_labels(input_ids if inputs_embeds is None else inputs_embeds, labels, logits_to_keep, kwargs)
        asked = kwargs.pop("output_hidden_states", None)
        if asked is None:
            asked = config.output_hidden_states
        backbone, lm_head = forwards(self, "model", "lm_head")
        outputs = backbone(
            input_ids=input_ids,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            logits_to_keep=logits_to_keep,
            output_hidden_states=asked,
            return_dict=bool(asked),  # a tuple is quicker to make
            position_ids=position_ids,
            seq_idx=seq_idx,
            cu_seq_lens_q=cu_seq_lens_q,
            resets=resets,
            **kwargs,
        )
        hidden_states = outputs.last_hidden_state if asked else outputs[0]
        past_key_values = outputs.get("past_key_values") if asked else (*outputs, None)[1]
        if hidden_states.shape[1] != 1 or not isinstance(logits_to_keep, int):  # else there is nothing to leave out
            hidden_states = slice_logits_to_keep(hidden_states, logits_to_keep)
        logits = lm_head(hidden_states)
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, **kwargs)
        output = make_output(
            CausalLMOutputWithPast,
            loss=loss,
            logits=logits,
            past_key_values=past_key_values,
            hidden_states=outputs.hidden_states if asked else None,
        )
        if return_dict is None:
            return_dict = config.return_dict
        return output.to_tuple() if return_dict is False else output

    def _check_labels(self, inputs, labels, logits_to_keep, kwargs):
        if inputs is None:  # which the model refuses by name
            return
        (batch, time), kept = inputs.shape[:2], None
        if isinstance(logits_to_keep, int):
            kept = (batch, len(range(time)[-logits_to_keep:]) if logits_to_keep else time)
        elif logits_to_keep.dim() == 1 and logits_to_keep.dtype != torch.bool:
            kept = (batch, logits_to_keep.shape[0])
        for given, shape in ((labels, kept), (kwargs.get("shift_labels"), None)):
            if given is not None:
                check_labels(given, shape, self.config.vocab_size, kwargs.get("ignore_index", -100))


# Trainer's label smoothing shifts the labels of causal language models only. It knows these by their classes' names in this
# table, and would have any other model learn to repeat its input. The package's registration.py enters the name too; this line
# is for models that are loaded by remote code.
MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[MinRNNConfig.model_type] = MinRNNForCausalLM.__name__

__all__ = ["MinRNNForCausalLM", "MinRNNModel", "MinRNNPreTrainedModel"]
