# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""What the models are given, checked at the door: masks, caches, and packing, which they refuse."""

import torch

from .cache_minrnn import MinRNNCacheLayer
from .compat import Cache


def check_cache(past_key_values, num_layers: int, batch: int):
    """The layers of a cache.

    Raises:
        ValueError: If it is not a cache for this model and batch.
    """
    layers = past_key_values.layers if isinstance(past_key_values, Cache) else []
    # By name and not by class: another copy of this package's code may have registered its own class meanwhile.
    model_type = MinRNNCacheLayer.model_type
    if len(layers) != num_layers or any(getattr(layer, "model_type", None) != model_type for layer in layers):
        raise ValueError(
            f"past_key_values must be a cache of this model, with {num_layers} MinRNN layers, got {past_key_values!r:.200}: "
            "build it with DynamicCache(config=model.config)"
        )
    if layers[0].batch_size not in (-1, batch):
        raise ValueError(
            f"past_key_values holds {layers[0].batch_size} rows but the input has {batch}: select or repeat its rows with "
            "batch_select_indices or batch_repeat_interleave"
        )
    return layers


def padding_mask(attention_mask, batch: int, time: int, continued: bool):
    """The bool mask `(batch, time)` of the current tokens, or `None` where nothing is padded.

    Its values are looked at on the CPU alone: elsewhere that would make the host wait for the device, and under
    torch.compile it would freeze them into the graph.

    Raises:
        ValueError: If the mask does not fit the input, or is a mask of scores to be added.
    """
    if attention_mask is None:
        return None
    columns = attention_mask.shape[-1]
    fits = attention_mask.dim() == 2 and attention_mask.shape[0] == batch
    if not fits or (columns < time if continued else columns != time) or attention_mask.is_floating_point():
        raise ValueError(
            f"attention_mask must be bool or integer of shape ({batch}, {time}), or with columns for the tokens before "
            f"where a cache is continued; got {attention_mask.dtype} of shape {tuple(attention_mask.shape)}"
        )
    mask = attention_mask[:, columns - time :].bool()
    if mask.device.type == "cpu" and not torch.compiler.is_compiling() and bool(mask.all()):
        return None
    return mask


def refuse_packing(kwargs: dict, mask, continued: bool):
    """Sequences packed into one row would leak into each other without a word.

    Raises:
        ValueError: For `position_ids` that do not grow by one from a token to the next, `seq_idx` or `cu_seq_lens_q`.
    """
    packed = any(kwargs.get(name) is not None for name in ("seq_idx", "cu_seq_lens_q", "cu_seqlens"))
    position_ids = kwargs.get("position_ids")
    if position_ids is not None and not continued and not torch.compiler.is_compiling():
        breaks = position_ids.diff() != 1
        if mask is not None:
            breaks = breaks & mask[:, 1:] & mask[:, :-1]
        packed = packed or bool(breaks.any())
    if packed:
        raise ValueError(
            "packed sequences (position_ids that start anew, seq_idx, cu_seq_lens_q) are not supported by the model: "
            "give each sequence a row of its own and an attention_mask"
        )
