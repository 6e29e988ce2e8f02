# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""`generate` of transformers, with guards so that none of its modes corrupts the recurrent state."""

# transformers types `self` of its methods as a protocol that models do not satisfy.
# pyright: reportAttributeAccessIssue=false

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch

from .cache_minrnn import EndedRows, MinRNNCacheLayer
from .compat import (
    INSTALL_TESTED,
    VERSIONS,
    Cache,
    GenerationConfig,
    GenerationMixin,
    GenerationMode,
    MaxLengthCriteria,
    StoppingCriteriaList,
    guard_problems,
)


def _layers(cache: Cache | None) -> list[MinRNNCacheLayer]:
    # By name and not by class: another copy of this package's code may have registered its own class.
    found = getattr(cache, "layers", None) or []
    return [layer for layer in found if getattr(layer, "model_type", None) == MinRNNCacheLayer.model_type]


def _first_layer(cache: Cache | None) -> MinRNNCacheLayer | None:
    layers = _layers(cache)
    return layers[0] if layers else None


def _check_continuation(given: torch.Tensor | None, cache: Cache, mask: torch.Tensor | None, embedded: bool) -> int:
    """Checks that a prompt continues the text of a cache.

    New tokens after a cache need a mask for the whole text: without it, `generate` takes them for the whole text and drops as
    many as the cache has seen.

    Args:
        given (`torch.Tensor`, *optional*): Ids `(batch, time)` or embeddings `(batch, time, hidden_size)`.
        cache (`Cache`): The cache to continue.
        mask (`torch.Tensor`, *optional*): The attention mask.
        embedded (`bool`): Whether `given` are embeddings.

    Returns:
        `int`: Number of tokens of `given` that the cache has seen: all that it has seen if `given` is the whole text, else 0.

    Raises:
        ValueError: If `given` is neither the whole text, nor new tokens with a mask for the whole text.
    """
    seen = int(cache.get_seq_length())
    if given is None or not seen:
        return 0
    layer = _first_layer(cache)
    if layer is not None and layer.of_beams:
        raise ValueError(
            "past_key_values comes from a beam search, so its rows are beams and not the texts that were returned: give the "
            "texts without a cache"
        )
    new = given.shape[1]
    columns = new if mask is None else mask.shape[-1]
    is_whole_text = columns == new and new > seen
    if not is_whole_text and (embedded or columns != seen + new):
        raise ValueError(
            f"past_key_values has seen {seen} tokens; got {new} tokens and a mask of {columns}: give all tokens, more than "
            f"{seen}, or only the new ones with an attention_mask of {seen + new} columns"
        )
    if not is_whole_text:
        return 0
    if layer is not None and not embedded and layer.differs_from(given, mask):
        raise ValueError(
            f"past_key_values has seen {seen} tokens, which are not the first {seen} of the {new} tokens given: give the text "
            f"that it has seen, or for {new} new tokens an attention_mask of {seen + new} columns"
        )
    return seen


def _set_prompt_offset(cache: Cache | None, offset: int) -> None:
    layer = _first_layer(cache)
    if layer is not None:
        layer.prompt_offset = offset


def _note_last_tokens(cache: Cache | None, sequences: Any) -> None:
    """Stores the last tokens in a cache whose rows are the texts returned, for `_check_continuation` in the next call."""
    layer = _first_layer(cache)
    if layer is not None and isinstance(sequences, torch.Tensor):
        layer.note_last_tokens(sequences)


def _stop_recording(caches: list[Cache | None]) -> None:
    for cache in caches:
        for layer in _layers(cache):
            layer.stop_recording()


def _check_packing(kwargs: dict) -> None:
    for name in ("cu_seq_lens_q", "seq_idx", "resets"):
        if kwargs.get(name) is not None:
            raise ValueError(f"generate takes one sequence per row and no {name}: give each sequence a row of its own")


def _check_mask(mask: torch.Tensor | None) -> None:
    if mask is not None and mask.dim() == 2 and bool((mask[:, -1] == 0).any()):
        raise ValueError(
            "attention_mask ends in padding: generate continues from the last column, so pad prompts on the left "
            "(padding_side='left' in the tokenizer)"
        )


def _check_cache_implementation(name: str | None) -> None:
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


def _complete_mask(mask: Any, ids: torch.Tensor | None, is_assistant: bool) -> Any:
    """Returns the attention mask to pass on."""
    if mask is None and is_assistant and ids is not None:
        return torch.ones_like(ids)  # without a mask, transformers takes tokens equal to the padding token for padding
    if isinstance(mask, torch.Tensor) and mask.is_floating_point() and bool(((mask == 0) | (mask == 1)).all()):
        return mask.long()  # the model rejects a floating-point mask of zeros alone, as a chunk of this one may be
    return mask


class _WatchedCriteria(StoppingCriteriaList):
    """Stopping criteria that also report their verdict to a tracker of ended rows."""

    rows: EndedRows

    def __call__(self, input_ids: torch.LongTensor, scores: Any, **kwargs: Any) -> torch.BoolTensor:
        done = super().__call__(input_ids, scores, **kwargs)
        self.rows.note(done)
        return done


# Trackers of the running call of `generate`, one per decoding; None for a decoding without a tracker. There may be several: a
# function given as custom_generate may call transformers' own `generate`, as those on the Hub do.
_TRACKERS: ContextVar[list[EndedRows | None]] = ContextVar("trackers of ended rows")


@contextmanager
def _tracked_rows() -> Iterator[None]:
    """Collects the trackers of a call of `generate`, and deletes their records at its end."""
    trackers: list[EndedRows | None] = []
    outer = _TRACKERS.set(trackers)
    try:
        yield
    finally:
        _TRACKERS.reset(outer)
        for tracker in trackers:
            if tracker is not None:
                tracker.forget()


class MinRNNGenerationMixin(GenerationMixin):
    """Extends `generate`: it rejects calls that would silently give wrong results, keeps padding out of the state of ended
    rows, and returns a cache that no longer records.
    """

    def generate(
        self,
        inputs: torch.Tensor | None = None,
        generation_config: GenerationConfig | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Calls `GenerationMixin.generate` of transformers, with its arguments and results: ids `(batch, time)`, or an output
        that has them as `sequences` with `return_dict_in_generate=True`.

        Raises:
            ValueError: For prompts that end in padding, packed prompts, and a cache that does not fit the prompt.
            RuntimeError: If the installed transformers lacks a method that the results of this call depend on.

        >>> from hf_minrnn import MinRNNConfig, MinRNNForCausalLM
        >>> model = MinRNNForCausalLM(MinRNNConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1))
        >>> model.generate(torch.tensor([[1, 2]]), max_new_tokens=2).shape
        torch.Size([1, 4])
        """
        ids = kwargs.get("input_ids") if inputs is None else inputs
        embeds = kwargs.get("inputs_embeds")
        cache = kwargs.get("past_key_values")
        if not isinstance(cache, Cache):
            cache = None
        is_assistant = bool(getattr(generation_config, "is_assistant", False))

        _check_packing(kwargs)
        _check_cache_implementation(kwargs.get("cache_implementation"))
        mask = _complete_mask(kwargs.get("attention_mask"), ids, is_assistant)
        if mask is not None:
            kwargs["attention_mask"] = mask
        self._check_private_names(ids, generation_config, kwargs)
        if cache is not None:
            offset = _check_continuation(ids if embeds is None else embeds, cache, mask, embeds is not None)
            _set_prompt_offset(cache, offset)

        # The cache of a draft model records from one call to the next, as does one that recorded before.
        keeps_recording = is_assistant or bool(cache is not None and cache.layers and cache.is_recording_past(0))
        caches = [cache]
        try:
            with _tracked_rows():
                result = super().generate(inputs, generation_config, *args, **kwargs)
                returned = getattr(result, "past_key_values", cache)  # ids are returned without a cache
                caches.append(returned)
                if embeds is None:
                    _note_last_tokens(returned, getattr(result, "sequences", result))
        finally:
            if not keeps_recording:
                _stop_recording(caches)
        return result

    def _check_private_names(self, ids, generation_config, kwargs) -> None:
        """Rejects calls that are not safe if the installed transformers lacks names that guard `generate`.

        Without these, nothing keeps padding out of the state. Calls without padding at the end of a prompt are safe if the
        state neither comes from the caller nor is returned.

        Raises:
            RuntimeError: If the call is not safe.
        """
        if not _PROBLEMS:
            return
        configs = [config for config in (generation_config, self.generation_config) if config is not None]
        unsafe = [
            name for name in ("past_key_values", "inputs_embeds", "custom_generate") if kwargs.get(name) is not None
        ]
        name = "return_dict_in_generate"
        if kwargs.get(name, any(getattr(config, name, None) for config in configs)):
            unsafe.append(name)
        mask = kwargs.get("attention_mask")
        if mask is not None:
            _check_mask(mask)
        elif ids is not None:
            padding = {kwargs.get("pad_token_id"), *(config.pad_token_id for config in configs)} - {None}
            if not padding.isdisjoint(ids[:, -1].tolist()):
                unsafe.append("prompts that end in the padding token")
        if unsafe:
            raise RuntimeError(
                f"this call of generate ({', '.join(unsafe)}) is not safe with the installed transformers, as padding could "
                f"change the state: {'; '.join(_PROBLEMS)}. {VERSIONS}: {INSTALL_TESTED}"
            )

    def init_continuous_batching(self, *args: Any, **kwargs: Any) -> Any:
        """Raises `NotImplementedError`: continuous batching has no place for a recurrent state."""
        _check_cache_implementation("paged")

    # The methods below override private hooks of transformers. compat.PRIVATE_NAMES lists them, and the effect if a later
    # version does not call them.

    def _prepare_cache_for_generation(
        self, generation_config, model_kwargs, generation_mode, batch_size, *args, **kwargs
    ):
        # Called right before anything is computed, when the mask is known: the one given, or inferred from padding tokens.
        _check_cache_implementation(generation_config.cache_implementation)
        _check_mask(model_kwargs.get("attention_mask"))
        super()._prepare_cache_for_generation(
            generation_config, model_kwargs, generation_mode, batch_size, *args, **kwargs
        )
        cache = model_kwargs.get("past_key_values")
        if generation_mode != GenerationMode.ASSISTED_GENERATION:
            # In the other modes, transformers leaves out the tokens that the cache has seen.
            _set_prompt_offset(cache, 0)
        if model_kwargs.get("inputs_embeds") is not None:
            generation_config.prefill_chunk_size = None  # transformers would cut the mask but not the embeddings
        if generation_config.is_assistant:
            for layer in _layers(cache):
                layer.record_for_assistant()
        _TRACKERS.get([]).append(self._track_ended_rows(generation_config, cache))

    def _track_ended_rows(self, generation_config, cache) -> EndedRows | None:
        padding = getattr(generation_config, "_pad_token_tensor", None)
        layer = _first_layer(cache)
        is_beam_search = (generation_config.num_beams or 1) > 1
        # Without an ending token, transformers does not feed padding to ended rows.
        if generation_config.eos_token_id is None or padding is None or is_beam_search or layer is None:
            return None
        return layer.track_ended_rows(padding)

    def _validate_generation_mode(self, generation_mode, generation_config, generation_mode_kwargs):
        super()._validate_generation_mode(generation_mode, generation_config, generation_mode_kwargs)
        if generation_config.is_assistant and not generation_config.output_scores:
            raise ValueError("transformers sets is_assistant for the drafts of an assistant_model: leave it out")
        draft = generation_mode_kwargs.get("assistant_model")
        is_dflash = getattr(generation_config, "speculation_type", None) == "dflash"
        if draft is not None and is_dflash and not hasattr(draft.config, "target_layer_ids"):
            raise ValueError(
                f"speculation_type='dflash' needs a draft model made for it, got {type(draft).__name__}: leave it out, and any "
                "causal language model can be the assistant"
            )
        generation_config.output_attentions = False  # the model returns none, and transformers would index into them

    def heal_tokens(self, input_ids: torch.LongTensor, tokenizer: Any = None) -> torch.LongTensor:
        """Calls `GenerationMixin.heal_tokens`, which replaces the last token of each prompt by one that begins with it.

        Raises:
            ValueError: If the tokenizer lacks a `bos_token` or a `pad_token`, or there is no tokenizer.
        """
        if tokenizer is not None and None in (tokenizer.bos_token_id, tokenizer.pad_token_id):
            raise ValueError(
                "token_healing needs a tokenizer with a bos_token and a pad_token, got "
                f"{tokenizer.bos_token!r} and {tokenizer.pad_token!r}: set them, or leave out token_healing"
            )
        return super().heal_tokens(input_ids, tokenizer)

    def _prepare_generated_length(self, generation_config, has_default_max_length, *args, input_ids_length, **kwargs):
        uses_default = has_default_max_length and generation_config.max_new_tokens is None
        max_new_tokens = generation_config.max_length
        generation_config = super()._prepare_generated_length(
            generation_config, has_default_max_length, *args, input_ids_length=input_ids_length, **kwargs
        )
        if uses_default:  # transformers would stop at config.max_position_embeddings, which does not limit this model
            generation_config.max_length = max_new_tokens + input_ids_length
        return generation_config

    def _get_stopping_criteria(self, generation_config, *args, **kwargs):
        criteria = super()._get_stopping_criteria(generation_config, *args, **kwargs)
        for criterion in criteria:
            if isinstance(criterion, MaxLengthCriteria):
                criterion.max_position_embeddings = None  # prevents a warning for longer texts
        trackers = _TRACKERS.get([])
        tracker = trackers[-1] if trackers else None
        if tracker is None:
            return criteria
        watched = _WatchedCriteria(criteria)
        watched.rows = tracker
        return watched

    def _prepare_position_ids_for_generation(self, inputs_tensor, model_kwargs):
        # transformers makes position_ids for a forward that takes them. This model only looks for packed sequences in them.
        return None

    def _get_static_cache_init_shape(self):
        # There are no heads to allocate a static cache for. It takes its shape from the first state.
        return None

    def prepare_inputs_for_generation(
        self,
        input_ids: torch.Tensor,
        next_sequence_length: int | None = None,
        past_key_values: Cache | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        is_first_iteration: bool | None = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Returns the arguments of the next forward, with a mask for the padding of ended rows."""
        layer = _first_layer(past_key_values)
        offset = 0 if layer is None else layer.prompt_offset
        if offset and is_first_iteration and next_sequence_length is None:
            next_sequence_length = input_ids.shape[1] - offset
        if next_sequence_length == 1 and not is_first_iteration and past_key_values is not None:
            return self._prepare_one_token(input_ids, past_key_values, layer, kwargs)
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
        if is_first_iteration or tokens is None or layer is None:
            return inputs
        mask = layer.mask_ended_rows(tokens)
        if mask is not None:
            given = inputs.get("attention_mask")
            inputs["attention_mask"] = mask if given is None else mask & given[:, -mask.shape[1] :].bool()
        return inputs

    def _prepare_one_token(self, input_ids, past_key_values, layer, kwargs) -> dict[str, Any]:
        # transformers' own preparation of a single token is for attention and takes longer than a small model's forward.
        newest = input_ids[:, -1:]
        device = self.get_input_embeddings().weight.device
        if device.type != "meta":  # offloaded weights move their inputs by themselves
            newest = newest.to(device)
        # The strides of the slice grow with the text, and torch.compile would compile the forward again for each token.
        newest = newest.clone(memory_format=torch.contiguous_format)
        mask = None if layer is None else layer.mask_ended_rows(newest)
        for name in ("position_ids", "token_type_ids", "labels"):
            kwargs.pop(name, None)
        return {"input_ids": newest, "past_key_values": past_key_values, "attention_mask": mask, **kwargs}


_PROBLEMS = guard_problems(MinRNNGenerationMixin)
