# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""What the models are given, checked at the door: caches, masks, labels, and the bounds of packed sequences.

Values are looked at on the CPU alone: elsewhere that would make the host wait for the device; and not where something traces
or transforms, which would freeze them into a graph or have none to show.
"""

import torch

from .cache_minrnn import MinRNNCacheLayer
from .compat import Cache
from .packed import check_bounds
from .torch_private import is_eager

_INTEGERS = (torch.int32, torch.int64)
# What the forward of the model and of each head says of these arguments. Trainer passes on only the columns of a data set
# that a forward names, so each argument that changes the result is named by each of them.
PACKING_ARGS = r"""
position_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*):
    A new sequence starts wherever a number is not the one before it plus one. The numbers have no other effect, and none
    at all together with `attention_mask` or `past_key_values`; `seq_idx` and `resets` go with a mask.
seq_idx (`torch.LongTensor` or `torch.IntTensor` of shape `(batch_size, sequence_length)`, *optional*):
    The number of each token's sequence. A new sequence starts wherever the number changes.
cu_seq_lens_q (`torch.LongTensor` or `torch.IntTensor` of shape `(num_sequences + 1,)` or `(1, num_sequences + 1)`, *optional*):
    The bounds of the sequences in a batch of one row, from 0 to `sequence_length`.
resets (`torch.BoolTensor` of shape `(batch_size, sequence_length)`, *optional*):
    True at each token that starts a new sequence. It may be True at a row's first token, and it may be given with
    `past_key_values`: the row then leaves the cached state behind.
"""


def _readable(x) -> bool:
    return x.device.type == "cpu" and is_eager()


def _is_table(x, batch, time) -> bool:
    # Size by size: torch.compile does not compare whole shapes where some are symbols.
    return isinstance(x, torch.Tensor) and x.dim() == 2 and x.shape[0] == batch and x.shape[1] == time


def _described(x) -> str:
    return f"{x.dtype} of shape {tuple(x.shape)}" if isinstance(x, torch.Tensor) else f"{x!r:.200}"


def check_cache(past_key_values, num_layers: int, batch: int, made_by: tuple):
    """The layers of a cache. `made_by` is what tells the model's states from another's: pairs of a name and a value.

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
    state = layers[0].recurrent_states[0]
    if state is None or not layers[0].has_previous_state[0]:  # a static one keeps its place when it is reset
        return layers
    if state.shape[0] != batch:
        raise ValueError(
            f"past_key_values holds {state.shape[0]} rows but the input has {batch}: select or repeat its rows with "
            "batch_select_indices or batch_repeat_interleave"
        )
    maker = layers[0].made_by
    if maker is not None and maker != made_by:
        wrong = ", ".join(f"{name} {one} and not {own}" for (name, one), (_, own) in zip(maker, made_by) if one != own)
        raise ValueError(f"past_key_values is of a model with {wrong}: use the cache that this very model returned")
    return layers


def padding_mask(attention_mask, batch: int, time: int, continued: bool):
    """The bool mask `(batch, time)` of the current tokens, or `None` where nothing is padded.

    Floats that are 0 and 1, as torch.ones makes them and PEFT for its virtual tokens, are taken for integers.

    Raises:
        ValueError: If the mask does not fit the input, or is a mask of scores to be added.
    """
    if attention_mask is None:
        return None
    fits = isinstance(attention_mask, torch.Tensor) and attention_mask.dim() == 2 and attention_mask.shape[0] == batch
    columns = attention_mask.shape[1] if fits else 0
    if not fits or (columns < time if continued else columns != time) or _may_be_scores(attention_mask):
        raise ValueError(
            f"attention_mask must be bool, integer, or floats 0 and 1, of shape ({batch}, {time}), or with columns for the "
            f"tokens before where a cache is continued; got {_described(attention_mask)}"
        )
    mask = attention_mask[:, columns - time :].bool()
    if _readable(mask) and bool(mask.all()):
        return None
    return mask


def _may_be_scores(mask) -> bool:
    # Zeros alone could be scores that leave everything in. Where floats cannot be looked at they are taken for a mask.
    if not mask.is_floating_point() or not _readable(mask):
        return False
    return not bool(((mask == 0) | (mask == 1)).all() & (mask == 1).any())


def check_labels(labels, shape, vocab_size: int, ignore_index: int = -100):
    """
    Raises:
        ValueError: If labels are not int64 of `shape` (any, for `None`), in [0, vocab_size) or `ignore_index`.
    """
    fits = isinstance(labels, torch.Tensor) and labels.dtype == torch.int64
    if not fits or (shape is not None and not _is_table(labels, *shape)):
        wanted = "" if shape is None else f" of shape {tuple(shape)}"
        raise ValueError(f"labels must be integers (torch.int64){wanted}, got {_described(labels)}")
    if _readable(labels):
        wrong = labels[((labels < 0) | (labels >= vocab_size)) & (labels != ignore_index)]
        if wrong.numel():
            raise ValueError(
                f"labels must be in [0, {vocab_size}), or {ignore_index} where there is none; got {wrong[0].item()}"
            )


def sequence_starts(batch: int, time: int, packing: dict, packable: bool, mask=None, cache=None, record: bool = False):
    """True where a sequence begins that is packed into a row behind others, bool `(batch, time)`, or `None`.

    Args:
        batch, time (`int`): Shape of the input.
        packing (`dict`): The arguments of `PACKING_ARGS` by name. `resets` is the answer itself.
        packable (`bool`): Whether a row may be packed: not where it goes on from a cache, or a cache records it.
        mask, cache (*optional*): What the caller was given: with either, `position_ids` are no more than positions.
        record (`bool`): Whether a cache records the row.

    Raises:
        ValueError: If bounds or numbers do not fit the input, or the row may not be packed.
    """
    position_ids, seq_idx = packing["position_ids"], packing["seq_idx"]
    cu_seqlens, resets = packing["cu_seq_lens_q"], packing["resets"]
    if mask is not None or cache is not None:
        position_ids = None
    if cu_seqlens is None and seq_idx is None and position_ids is None and resets is None:
        return None
    found = []
    if resets is not None:
        if not _is_table(resets, batch, time) or resets.dtype != torch.bool:
            raise ValueError(f"resets must be bool of shape {(batch, time)}, got {_described(resets)}")
        if record:
            raise ValueError("resets cannot go into a cache that records: leave out activate_past_recording()")
        found.append(resets)
    if cu_seqlens is not None:
        found.append(_from_bounds(cu_seqlens, batch, time))
    for name, numbers, step in (("seq_idx", seq_idx, 0), ("position_ids", position_ids, 1)):
        if numbers is None:
            continue
        fits = _is_table(numbers, batch, time) or _is_table(numbers, 1, time)
        if not fits or numbers.dtype not in _INTEGERS:
            raise ValueError(f"{name} must be integers of shape {(batch, time)}, got {_described(numbers)}")
        found.append(_breaks(numbers, step))
    if (cu_seqlens is not None or seq_idx is not None) and not packable:
        raise ValueError(
            "packed sequences (cu_seq_lens_q, seq_idx) cannot go on from a cache, or into one that records: give each a "
            "row of its own"
        )
    starts = found[0]
    for more in found[1:]:
        starts = starts | more
    if _readable(starts) and not bool(starts.any()):
        return None
    return starts.expand(batch, time)


def marks_of_several(packing: dict, real=None) -> str | None:
    """The name of the argument which says that a row holds several sequences, where its values can be looked at.

    Args:
        packing (`dict`): The arguments of `PACKING_ARGS` by name, those that are to count.
        real (`torch.Tensor`, *optional*): Bool `(batch, time)`, False at padding, where positions mean nothing.

    >>> marks_of_several({"resets": torch.tensor([[True, False]])}), marks_of_several({"resets": torch.tensor([[False, True]])})
    (None, 'resets')
    """
    for name in ("seq_idx", "cu_seq_lens_q"):
        if packing.get(name) is not None:
            return name
    resets, positions = packing.get("resets"), packing.get("position_ids")
    if isinstance(resets, torch.Tensor) and resets.dim() == 2 and _readable(resets) and bool(resets[:, 1:].any()):
        return "resets"
    if isinstance(positions, torch.Tensor) and positions.dim() == 2 and _readable(positions):
        starts = _breaks(positions, 1)[:, 1:]
        if real is not None and real.shape[1] == positions.shape[1]:
            starts = starts & real[:, 1:] & real[:, :-1]
        if bool(starts.any()):
            return "position_ids"
    return None


def _breaks(numbers, step: int):
    # True where a number is not the one before it plus `step`. Not the first: the state before it is the initial one.
    previous = torch.cat([numbers[:, :1] - step, numbers], 1)[:, :-1]
    return numbers - previous != step


def _from_bounds(cu_seqlens, batch: int, time: int):
    if batch != 1:
        raise ValueError(f"cu_seq_lens_q needs batch size 1, got {batch}: flatten the batch first")
    integer = isinstance(cu_seqlens, torch.Tensor) and cu_seqlens.dtype in _INTEGERS
    if integer and cu_seqlens.dim() == 2 and cu_seqlens.shape[0] == 1:  # a data set's row, as a collator stacks it
        cu_seqlens = cu_seqlens[0]
    if not integer or cu_seqlens.dim() != 1 or cu_seqlens.shape[0] < 2:
        raise ValueError(f"cu_seq_lens_q must be a 1-D integer tensor [0, ..., {time}], got {_described(cu_seqlens)}")
    if _readable(cu_seqlens):
        check_bounds(cu_seqlens, time, "cu_seq_lens_q")
    starts = torch.zeros(time + 1, dtype=torch.bool, device=cu_seqlens.device)  # an empty sequence may begin at the end
    starts = starts.index_fill(0, cu_seqlens.long(), True)[:time]
    return (starts & (torch.arange(time, device=starts.device) > 0))[None]
