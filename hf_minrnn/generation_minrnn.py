# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""What `generate` needs beyond transformers' own, so that no mode of it corrupts a state."""

from contextvars import ContextVar
from typing import Any
from weakref import WeakSet

import torch

from .cache_minrnn import ASSISTANT_TOKENS
from .compat import Cache, GenerationConfig, GenerationMixin, GenerationMode, MaxLengthCriteria, StoppingCriteriaList


def _check_continuation(given, cache, mask, embedded: bool) -> int:
    """Refuses new tokens after a cache without a mask for all: `generate` would take them for the whole text and cut them.

    Returns:
        `int`: How many tokens of `given` the cache has seen, where that is the whole text.

    Raises:
        ValueError: If `given` is neither the whole text, nor new tokens with a mask for the whole text.
    """
    seen = int(cache.get_seq_length())
    if given is None or not seen:
        return 0
    if getattr(cache.layers[0], "of_beams", False):
        raise ValueError(
            "past_key_values is what a beam search left: its rows are the beams that it was following, not the texts that it "
            "returned; give the texts without a cache"
        )
    new, columns = given.shape[1], given.shape[1] if mask is None else mask.shape[-1]
    whole = columns == new and new > seen
    if not whole and (embedded or columns != seen + new):
        raise ValueError(
            f"past_key_values has seen {seen} tokens; got {new} tokens and a mask of {columns}: give all tokens, more than "
            f"{seen}, or only the new ones with an attention_mask of {seen + new} columns"
        )
    last = getattr(cache.layers[0], "last_tokens", None)
    if whole and not embedded and last is not None and last.shape[0] == given.shape[0]:
        differs = given[:, seen - 1] != last[:, 0].to(given.device)
        if mask is not None:
            differs = differs & mask[:, seen - 1].bool().to(given.device)
        if bool(differs.any()):
            raise ValueError(
                f"past_key_values has seen {seen} tokens, but not those that stand first in the {new} given: for new tokens "
                f"only, give an attention_mask of {seen + new} columns"
            )
    return seen if whole else 0


def _note_last_tokens(cache, sequences, embeds):
    # For _check_continuation, of a cache whose rows are the texts returned.
    layer = cache.layers[0] if cache is not None and cache.layers else None
    if layer is None or embeds is not None or not isinstance(sequences, torch.Tensor):
        return
    if layer.batch_size != sequences.shape[0]:
        return
    seen = int(cache.get_seq_length())
    if 0 < seen <= sequences.shape[1]:
        layer.last_tokens = sequences[:, seen - 1 : seen].clone()


def _refuse_right_padding(mask):
    if mask is not None and mask.dim() == 2 and bool((mask[:, -1] == 0).any()):
        raise ValueError(
            "attention_mask ends in padding: generate continues from the last column, so pad prompts on the left "
            "(padding_side='left' in the tokenizer)"
        )


def _refuse_cache(name):
    if name == "paged":
        raise NotImplementedError(
            "continuous batching (cache_implementation='paged', generate_batch, init_continuous_batching) keeps pages of keys "
            "and values for attention layers, and has no place for a recurrent state: call generate on prompts that are padded "
            "on the left"
        )
    if name == "quantized":
        raise ValueError(
            "cache_implementation='quantized' is for keys and values that grow with the text: leave it out, the state of this "
            "model does not grow"
        )


class _EndedRows:
    """Which rows of a batch have ended, while others are still being written.

    Ended rows are fed padding. The mask keeps it out of their state, so that the returned cache can be continued. The first
    layer of a cache holds the record, so that it moves with the rows: `ended` is True where a row's end has been fed, and
    `ending` is what the stopping criteria said of the tokens to be fed next. The record ends with the call of `generate`.
    """

    def __init__(self, layer, padding):
        self.layers, self.padding = WeakSet((layer,)), padding
        layer.ended = layer.ending = None
        layer.ended_rows = self

    def note(self, done):
        """Takes what the criteria said of the newest tokens, `(batch,)`."""
        if done.shape[0] == 1:  # decoding ends with its only row
            return
        for layer in self.layers:
            # A copy that was put aside has not been fed since the criteria were last asked, and has nothing to do with them.
            if layer.ending is None and layer.batch_size == done.shape[0]:
                layer.ending = done.unsqueeze(1)

    def mask(self, layer, tokens):
        """The mask of `tokens` `(batch, time)`, which are to be fed next; `None` where the record says nothing of them."""
        ended, ending, layer.ending = layer.ended, layer.ending, None
        if ending is not None and ended is None:
            ended = torch.zeros_like(ending)
        if ended is None or ended.shape[0] != tokens.shape[0]:
            layer.ended = None
            return None
        # A row that is fed anything but padding goes on, as when a loop has written another row over it.
        padding = ended.to(tokens.device) & (tokens == self.padding.to(tokens.device))
        ended = padding[:, -1:]
        layer.ended = ended if ending is None else ended | ending.to(tokens.device)
        return ~padding

    def __deepcopy__(self, memo):
        return self  # the copies of a cache share it

    def __reduce__(self):
        return type(None), ()  # a cache that is saved goes on without it

    def forget(self):
        """Ends the record, in all copies of the cache too."""
        for layer in self.layers:
            layer.ended = layer.ending = layer.ended_rows = None


def _mask_of_ended_rows(cache, tokens):
    layer = cache.layers[0] if getattr(cache, "layers", None) else None
    rows = getattr(layer, "ended_rows", None)
    return None if rows is None else rows.mask(layer, tokens)


class _WatchedCriteria(StoppingCriteriaList):
    """The same stopping criteria, which pass on what they find."""

    rows: _EndedRows

    def __call__(self, input_ids, scores, **kwargs):
        done = super().__call__(input_ids, scores, **kwargs)
        self.rows.note(done)
        return done


# The records of the running call of `generate`, one for each decoding in it, or None where nothing is recorded: a function
# given as custom_generate may call transformers' own `generate` again, as those on the Hub do.
_RECORDS = ContextVar("ended rows")


class MinRNNGenerationMixin(GenerationMixin):
    """`generate` that refuses what would silently give something else, keeps the state of ended rows, and returns a cache
    that no longer records.
    """

    def generate(
        self,
        inputs: torch.Tensor | None = None,
        generation_config: GenerationConfig | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """`GenerationMixin.generate` of transformers, with its arguments and results: ids `(batch, time)`, or an output that
        holds them as `sequences` where `return_dict_in_generate=True`.

        Raises:
            ValueError: For prompts that end in padding, packed ones, and a cache that does not fit what is given.

        >>> from hf_minrnn import MinRNNConfig, MinRNNForCausalLM
        >>> model = MinRNNForCausalLM(MinRNNConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1))
        >>> model.generate(torch.tensor([[1, 2]]), max_new_tokens=2).shape
        torch.Size([1, 4])
        """
        for name in ("cu_seq_lens_q", "seq_idx", "resets"):
            if kwargs.get(name) is not None:
                raise ValueError(
                    f"generate writes one sequence a row, and cannot take {name}: give each a row of its own"
                )
        _refuse_cache(kwargs.get("cache_implementation"))
        cache = kwargs.get("past_key_values")
        cache = cache if isinstance(cache, Cache) else None
        embeds, ids = kwargs.get("inputs_embeds"), kwargs.get("input_ids") if inputs is None else inputs
        is_assistant = getattr(generation_config, "is_assistant", False)
        if is_assistant and ids is not None and kwargs.get("attention_mask") is None:
            # Or generate would take for padding what equals it in the text.
            kwargs["attention_mask"] = torch.ones_like(ids)
        mask = kwargs.get("attention_mask")
        if isinstance(mask, torch.Tensor) and mask.is_floating_point() and bool(((mask == 0) | (mask == 1)).all()):
            kwargs["attention_mask"] = mask = mask.long()  # a chunk of it may be zeros alone
        if cache is not None:
            cache._seen_of_whole = _check_continuation(
                ids if embeds is None else embeds, cache, mask, embeds is not None
            )
        # An assistant's cache goes on recording from one call to the next, and so does one that did before.
        keep = is_assistant or bool(cache is not None and cache.layers and cache.is_recording_past(0))
        caches, records = [cache], []
        outer = _RECORDS.set(records)
        try:
            result = super().generate(inputs, generation_config, *args, **kwargs)
            caches.append(getattr(result, "past_key_values", cache))  # of a tensor: what it left in the one given
            _note_last_tokens(caches[-1], getattr(result, "sequences", result), embeds)
        finally:
            _RECORDS.reset(outer)
            for record in records:
                if record is not None:
                    record.forget()
            if not keep:
                for layer in (layer for cache in caches if cache is not None for layer in cache.layers):
                    layer.record_past, layer.history = False, []
        return result

    def init_continuous_batching(self, *args, **kwargs):
        """Raises: continuous batching has no place for a recurrent state."""
        _refuse_cache("paged")

    def _prepare_cache_for_generation(self, generation_config, model_kwargs, generation_mode, batch_size, *args):
        # The last stop before anything is computed, where the mask is known: the one given, or inferred from padding tokens.
        _refuse_cache(generation_config.cache_implementation)
        _refuse_right_padding(model_kwargs.get("attention_mask"))
        super()._prepare_cache_for_generation(generation_config, model_kwargs, generation_mode, batch_size, *args)
        cache = model_kwargs.get("past_key_values")
        if cache is not None and generation_mode != GenerationMode.ASSISTED_GENERATION:
            cache._seen_of_whole = 0  # every other mode leaves out by itself what the cache has seen
        if model_kwargs.get("inputs_embeds") is not None:
            generation_config.prefill_chunk_size = None  # of embeddings, transformers would cut the mask alone
        if generation_config.is_assistant and cache is not None:
            for layer in cache.layers:
                layer.recorded_tokens = layer.kept_tokens = ASSISTANT_TOKENS
        _RECORDS.get([]).append(self._record_ended_rows(generation_config, cache))

    def _record_ended_rows(self, generation_config, cache):
        padding, layers = getattr(generation_config, "_pad_token_tensor", None), getattr(cache, "layers", None)
        beams = (generation_config.num_beams or 1) > 1
        # Without an ending token, transformers feeds ended rows what they would have gone on with.
        if generation_config.eos_token_id is None or padding is None or beams or not layers:
            return None
        return _EndedRows(layers[0], padding)

    def _validate_generation_mode(self, generation_mode, generation_config, generation_mode_kwargs):
        super()._validate_generation_mode(generation_mode, generation_config, generation_mode_kwargs)
        if generation_config.is_assistant and not generation_config.output_scores:
            raise ValueError("transformers sets is_assistant for the drafts of an assistant_model: leave it out")
        draft = generation_mode_kwargs.get("assistant_model")
        dflash = draft is not None and getattr(generation_config, "speculation_type", None) == "dflash"
        if dflash and not hasattr(draft.config, "target_layer_ids"):
            raise ValueError(
                f"speculation_type='dflash' needs a draft model made for it, got {type(draft).__name__}: leave it out, and any "
                "causal language model can be the assistant"
            )
        generation_config.output_attentions = False  # there are none, and transformers would index into them

    def heal_tokens(self, input_ids, tokenizer=None):
        """The prompts with their last tokens replaced by those that begin with them, see transformers.

        Raises:
            ValueError: If there is no tokenizer, or it lacks a `bos_token` or a `pad_token`.
        """
        if tokenizer is not None and None in (tokenizer.bos_token_id, tokenizer.pad_token_id):
            raise ValueError(
                "token_healing needs a tokenizer with a bos_token and a pad_token, got "
                f"{tokenizer.bos_token!r} and {tokenizer.pad_token!r}: set them, or leave out token_healing"
            )
        return super().heal_tokens(input_ids, tokenizer)

    def _prepare_generated_length(self, generation_config, has_default_max_length, input_ids_length, **kwargs):
        by_default = has_default_max_length and generation_config.max_new_tokens is None
        max_new_tokens = generation_config.max_length
        kwargs |= {"has_default_max_length": has_default_max_length, "input_ids_length": input_ids_length}
        generation_config = super()._prepare_generated_length(generation_config, **kwargs)
        if by_default:  # or it would end at config.max_position_embeddings, which is no limit here
            generation_config.max_length = max_new_tokens + input_ids_length
        return generation_config

    def _get_stopping_criteria(self, generation_config, *args, **kwargs):
        criteria = super()._get_stopping_criteria(generation_config, *args, **kwargs)
        for criterion in criteria:
            if isinstance(criterion, MaxLengthCriteria):
                criterion.max_position_embeddings = None  # it would warn of longer texts
        records = _RECORDS.get([])
        if not records or records[-1] is None:
            return criteria
        watched = _WatchedCriteria(criteria)
        watched.rows = records[-1]
        return watched

    def _prepare_position_ids_for_generation(self, inputs_tensor, model_kwargs):
        # A forward that names position_ids is given some. The model has no use for them here: they could only mark packing.
        return None

    def _get_static_cache_init_shape(self):
        # There are no heads to lay a static cache out for: it takes its shape from the first state.
        return None

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
        seen = getattr(past_key_values, "_seen_of_whole", 0)
        if seen and is_first_iteration and next_sequence_length is None:
            next_sequence_length = input_ids.shape[1] - seen
        if next_sequence_length == 1 and not is_first_iteration and past_key_values is not None:
            # One more token, of which nothing is padding: what transformers does beyond this is for attention.
            newest, device = input_ids[:, -1:], self.get_input_embeddings().weight.device
            newest = newest if device.type == "meta" else newest.to(device)  # offloaded weights find their inputs
            # With strides that grow with the text, a compiled forward would be compiled anew for each token.
            newest = newest.clone(memory_format=torch.contiguous_format)
            mask = _mask_of_ended_rows(past_key_values, newest)
            for name in ("position_ids", "token_type_ids", "labels"):
                kwargs.pop(name, None)
            return {"input_ids": newest, "past_key_values": past_key_values, "attention_mask": mask, **kwargs}
        inputs = super().prepare_inputs_for_generation(
            input_ids,
            next_sequence_length=next_sequence_length,
            past_key_values=past_key_values,
            attention_mask=attention_mask,
            inputs_embeds=inputs_embeds,
            is_first_iteration=is_first_iteration,
            **kwargs,
        )
        tokens = inputs.get("input_ids")
        mask = None if is_first_iteration or tokens is None else _mask_of_ended_rows(past_key_values, tokens)
        if mask is not None:
            given = inputs.get("attention_mask")
            inputs["attention_mask"] = mask if given is None else mask & given[:, -mask.shape[1] :].bool()
        return inputs
