# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Checks of the models' arguments: caches, masks, labels and packed sequences.

Values are only read on the CPU: on another device the host would wait for it. They are not read under tracing or a transform
either: a graph would keep them as constants, or there are no values.
"""

from typing import Any

import torch

from .cache_minrnn import MinRNNCacheLayer
from .compat import Cache
from .packed import check_bounds
from .torch_private import is_eager

_INTEGERS = (torch.int32, torch.int64)
# Part of the docstring of the forward of the model and of every head. Trainer only passes on the columns of a data set that
# are in the signature, so each argument that changes the result is in every signature.
PACKING_ARGS = r"""
position_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*):
    A new sequence starts wherever a number is not the previous one plus one. The numbers have no other effect. They have no
    effect at all together with `attention_mask` or `past_key_values`; use `seq_idx` or `resets` with a mask.
seq_idx (`torch.LongTensor` or `torch.IntTensor` of shape `(batch_size, sequence_length)`, *optional*):
    The number of each token's sequence. A new sequence starts wherever the number changes.
cu_seq_lens_q (`torch.LongTensor` or `torch.IntTensor` of shape `(num_sequences + 1,)` or `(1, num_sequences + 1)`, *optional*):
    The offsets of the sequences in a batch of one row, from 0 to `sequence_length`.
resets (`torch.BoolTensor` of shape `(batch_size, sequence_length)`, *optional*):
    True at each token that starts a new sequence. It may be True at a row's first token. With `past_key_values`, a row does
    not use the cached state from its first reset on.
"""


def _readable(x) -> bool:
    return x.device.type == "cpu" and is_eager()


def _is_table(x, batch, time) -> bool:
    # Size by size: torch.compile cannot compare whole shapes if some sizes are symbols.
    return isinstance(x, torch.Tensor) and x.dim() == 2 and x.shape[0] == batch and x.shape[1] == time


def _described(x) -> str:
    if isinstance(x, torch.Tensor):
        return f"{x.dtype} of shape {tuple(x.shape)}"
    return f"{x!r:.200}"


def check_cache(past_key_values: Cache, num_layers: int, batch: int, made_by: tuple) -> list[Any]:
    """Returns the layers of a cache.

    Args:
        past_key_values (`Cache`): The cache.
        num_layers (`int`): Blocks of the model.
        batch (`int`): Rows of the input.
        made_by (`tuple`): Pairs of a name and a value that identify the model whose states are compatible.

    Raises:
        ValueError: If the cache does not fit this model and batch.
    """
    layers: list[Any] = past_key_values.layers if isinstance(past_key_values, Cache) else []
    fits = len(layers) == num_layers
    for layer in layers:
        # By name, not by class: another copy of this package may have registered its own class.
        fits = fits and getattr(layer, "model_type", None) == MinRNNCacheLayer.model_type
    if not fits:
        raise ValueError(
            f"past_key_values must be a cache of this model, with {num_layers} MinRNN layers, got {past_key_values!r:.200}: "
            "build it with DynamicCache(config=model.config)"
        )
    state = layers[0].recurrent_states[0]
    if state is None or not layers[0].has_previous_state[0]:  # a static cache keeps its tensors when it is reset
        return layers
    if state.shape[0] != batch:
        raise ValueError(
            f"past_key_values holds {state.shape[0]} rows but the input has {batch}: select or repeat its rows with "
            "batch_select_indices or batch_repeat_interleave"
        )
    maker = layers[0].made_by
    if maker is not None and maker != made_by:
        wrong = ", ".join(f"{name} {one} and not {own}" for (name, one), (_, own) in zip(maker, made_by) if one != own)
        raise ValueError(f"past_key_values is from a model with {wrong}: use the cache that this model returned")
    return layers


def check_attention_mask(attention_mask: torch.Tensor, batch: int, time: int, continued: bool) -> torch.Tensor | None:
    """Returns the mask of the current tokens, bool `(batch, time)`, or `None` if there is no padding.

    Args:
        attention_mask (`torch.Tensor` of shape `(batch, columns)`): Zero at padding. Floating-point masks of zeros and ones
            are accepted: torch.ones makes them, and PEFT for its virtual tokens.
        batch, time (`int`): Shape of the input.
        continued (`bool`): Whether there may be columns for earlier tokens, which are in a cache.

    Raises:
        ValueError: If the mask does not fit the input, or holds scores that would be added.
    """
    fits = isinstance(attention_mask, torch.Tensor) and attention_mask.dim() == 2 and attention_mask.shape[0] == batch
    columns = attention_mask.shape[1] if fits else 0
    if fits:
        if continued:
            fits = columns >= time
        else:
            fits = columns == time
    if not fits or _may_be_scores(attention_mask):
        raise ValueError(
            f"attention_mask must be bool, integer, or floats 0 and 1 (not 0 alone), of shape ({batch}, {time}), or with "
            f"columns for the earlier tokens if a cache is continued; got {_described(attention_mask)}"
        )
    mask = attention_mask[:, columns - time :].bool()
    if _readable(mask) and bool(mask.all()):
        return None
    return mask


def _may_be_scores(attention_mask) -> bool:
    # All zeros could be scores that mask nothing. Floats whose values cannot be read are taken for a mask.
    if not attention_mask.is_floating_point() or not _readable(attention_mask):
        return False
    ones = attention_mask == 1
    return not bool(((attention_mask == 0) | ones).all() & ones.any())


def check_labels(
    labels: torch.Tensor, shape: tuple[int, int] | None, vocab_size: int, ignore_index: int = -100
) -> None:
    """Checks the dtype, the shape and the values of labels.

    Raises:
        ValueError: If labels are not int64 of `shape` (of any shape if that is `None`), in [0, vocab_size) or `ignore_index`.
    """
    fits = isinstance(labels, torch.Tensor) and labels.dtype == torch.int64
    if not fits or (shape is not None and not _is_table(labels, *shape)):
        wanted = "" if shape is None else f" of shape {tuple(shape)}"
        raise ValueError(f"labels must be integers (torch.int64){wanted}, got {_described(labels)}")
    if _readable(labels):
        wrong = labels[((labels < 0) | (labels >= vocab_size)) & (labels != ignore_index)]
        if wrong.numel():
            raise ValueError(
                f"labels must be in [0, {vocab_size}), or {ignore_index} for tokens without a label; got {wrong[0].item()}"
            )


def packing_resets(
    batch: int,
    time: int,
    *,
    position_ids: torch.Tensor | None = None,
    seq_idx: torch.Tensor | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    resets: torch.Tensor | None = None,
    continued: bool = False,
    record: bool = False,
) -> torch.Tensor | None:
    """Returns where a new sequence starts within a row, bool `(batch, time)`, or `None` if none does.

    Args:
        batch, time (`int`): Shape of the input.
        position_ids, seq_idx, cu_seq_lens_q, resets (*optional*): As in `PACKING_ARGS`, but `position_ids` always count.
        continued (`bool`): Whether the rows continue a cache.
        record (`bool`): Whether a cache records the states of each step.

    Raises:
        ValueError: If an argument does not fit the input, or packed sequences are given together with such a cache.
    """
    found = []
    if resets is not None:
        if not _is_table(resets, batch, time) or resets.dtype != torch.bool:
            raise ValueError(f"resets must be bool of shape {(batch, time)}, got {_described(resets)}")
        if record:
            raise ValueError("resets cannot be combined with a cache that records: leave out activate_past_recording()")
        found.append(resets)
    if cu_seq_lens_q is not None:
        found.append(_resets_of_offsets(cu_seq_lens_q, batch, time))
    if seq_idx is not None:
        _check_numbers("seq_idx", seq_idx, batch, time)
        found.append(_resets_of_numbers(seq_idx, 0))
    if position_ids is not None:
        _check_numbers("position_ids", position_ids, batch, time)
        found.append(_resets_of_numbers(position_ids, 1))
    if not found:
        return None
    if (cu_seq_lens_q is not None or seq_idx is not None) and (continued or record):
        raise ValueError(
            "packed sequences (cu_seq_lens_q, seq_idx) cannot continue a cache or be recorded by one: give each sequence a "
            "row of its own"
        )
    combined = found[0]
    for more in found[1:]:
        combined = combined | more
    if _readable(combined) and not bool(combined.any()):
        return None
    return combined.expand(batch, time)


def packing_argument(packing: dict[str, torch.Tensor | None], attention_mask: torch.Tensor | None = None) -> str | None:
    """Returns the name of the argument that says that a row holds several sequences, or `None` if there is none or its values
    cannot be read.

    Args:
        packing (`dict`): Arguments of `PACKING_ARGS` by name.
        attention_mask (`torch.Tensor`, *optional*): Bool `(batch, time)`, False at padding, where positions are ignored.

    >>> packing_argument({"resets": torch.tensor([[True, False]])}), packing_argument({"resets": torch.tensor([[False, True]])})
    (None, 'resets')
    """
    for name in ("seq_idx", "cu_seq_lens_q"):
        if packing.get(name) is not None:
            return name
    resets = packing.get("resets")
    position_ids = packing.get("position_ids")
    if isinstance(resets, torch.Tensor) and resets.dim() == 2 and _readable(resets) and bool(resets[:, 1:].any()):
        return "resets"
    if isinstance(position_ids, torch.Tensor) and position_ids.dim() == 2 and _readable(position_ids):
        resets = _resets_of_numbers(position_ids, 1)[:, 1:]
        if attention_mask is not None and attention_mask.shape[1] == position_ids.shape[1]:
            resets = resets & attention_mask[:, 1:] & attention_mask[:, :-1]
        if bool(resets.any()):
            return "position_ids"
    return None


def _check_numbers(name: str, numbers, batch: int, time: int):
    fits = _is_table(numbers, batch, time) or _is_table(numbers, 1, time)
    if not fits or numbers.dtype not in _INTEGERS:
        raise ValueError(f"{name} must be integers of shape {(batch, time)}, got {_described(numbers)}")


def _resets_of_numbers(numbers, step: int):
    # True where a number is not the previous one plus `step`. Never at the first token: the initial state comes before it.
    previous = torch.cat([numbers[:, :1] - step, numbers], 1)[:, :-1]
    return numbers - previous != step


def _resets_of_offsets(cu_seqlens, batch: int, time: int):
    if batch != 1:
        raise ValueError(f"cu_seq_lens_q needs batch size 1, got {batch}: flatten the batch first")
    integer = isinstance(cu_seqlens, torch.Tensor) and cu_seqlens.dtype in _INTEGERS
    if integer and cu_seqlens.dim() == 2 and cu_seqlens.shape[0] == 1:  # one row of a data set, stacked by a collator
        cu_seqlens = cu_seqlens[0]
    if not integer or cu_seqlens.dim() != 1 or cu_seqlens.shape[0] < 2:
        raise ValueError(f"cu_seq_lens_q must be a 1-D integer tensor [0, ..., {time}], got {_described(cu_seqlens)}")
    if _readable(cu_seqlens):
        check_bounds(cu_seqlens, time, "cu_seq_lens_q")
    # One more than `time`: an empty last sequence starts there.
    resets = torch.zeros(time + 1, dtype=torch.bool, device=cu_seqlens.device)
    resets = resets.index_fill(0, cu_seqlens.long(), True)[:time]
    return (resets & (torch.arange(time, device=resets.device) > 0))[None]
