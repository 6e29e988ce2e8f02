# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Cache layers: the recurrent state of a block, the last inputs of its convolution and the number of tokens seen.

`DynamicCache(config=...)` and `StaticCache(config=...)` of transformers build these layers. Their size does not depend on the
number of tokens.

Speculative decoding rejects tokens that the model has already read. After `activate_past_recording()`, a layer keeps the states
before each new token. `crop(-n)` then goes back to the state before the last n tokens, and `crop(0)` accepts all tokens.
"""

import copy
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import WeakSet

import torch

from .compat import (
    STATIC_LAYER_TYPE_MAPPING,
    Cache,
    CacheLayerMixin,
    LinearAttentionLayer,
    is_torchdynamo_compiling,
)
from .torch_private import mark_static_address

# DynamicCache and StaticCache find the layer classes under this name. It contains a hash of this file: without it, two
# revisions of remote code in one process would build each other's layers.
LAYER_TYPE = "minrnn_" + hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]

# Number of last tokens of a forward that can be taken back if the caller does not ask for the logits of more. Without this
# limit, the memory for a prompt would grow with its length while the cache records.
RECORDED_TOKENS = 64

# The same for the cache of a draft model. With another tokenizer, its text may differ from the final one in tokens that were
# accepted long ago.
ASSISTANT_TOKENS = 256


def _pick(recorded: torch.Tensor, index: int) -> torch.Tensor:
    return recorded[:, index].clone()  # a view would keep the whole record in memory


class EndedRows:
    """Tracks which rows of a batch have ended while `generate` still writes the others.

    Ended rows are fed padding. The masks from `MinRNNCacheLayer.mask_ended_rows` keep this padding out of their state, so that
    the returned cache can be continued. All copies of a cache share one tracker. The record is part of the first layer of each
    copy, so that it moves with the rows.

    Args:
        layer (`MinRNNCacheLayer`): First layer of the cache.
        padding (`torch.Tensor`): Id of the padding token, a scalar.
    """

    def __init__(self, layer: "MinRNNCacheLayer", padding: torch.Tensor):
        self.layers = WeakSet((layer,))
        self.padding = padding

    def note(self, done: torch.Tensor) -> None:
        """Stores the verdict of the stopping criteria on the newest tokens, bool `(batch,)`."""
        if done.shape[0] == 1:  # decoding stops when its only row ends
            return
        for layer in self.layers:
            # A copy with a stored verdict has not been fed since, so this verdict is about the other copies.
            if layer.ending is None and layer.batch_size == done.shape[0]:
                layer.ending = done.unsqueeze(1)

    def forget(self) -> None:
        """Deletes the record, also in all copies of the cache."""
        for layer in self.layers:
            layer.ended = layer.ending = layer.ended_rows = None

    def __deepcopy__(self, memo):
        return self

    def __reduce__(self):
        return type(None), ()  # a pickled cache has no tracker


class MinRNNCacheLayer(LinearAttentionLayer, CacheLayerMixin):
    """State of one block.

    States are replaced, not overwritten, so that gradients can flow through a cache into earlier segments of a text;
    `detach_cache` stops them.

    Attributes:
        recurrent_states (`dict[int, torch.Tensor | None]`): The recurrent state `(batch, state_size)` under key 0, in float32
            or wider.
        conv_states (`dict[int, torch.Tensor | None]`): The last inputs of the convolution `(batch, conv_kernel_size - 1,
            channels)` under key 0; `None` without a convolution.
        cumulative_length (`int`): Number of tokens seen, including padding.
        record_past (`bool`): Whether states are recorded, see `activate_past_recording`.
        history (`list[tuple[torch.Tensor, torch.Tensor | None]]`): States recorded since the last crop, one entry per forward:
            the recurrent states `(batch, n, state_size)` and the convolution's inputs `(batch, n, conv_kernel_size - 1,
            channels)` before each of its last n tokens.
        recorded_tokens (`int`): Number of last tokens that a forward records at least, if it has as many.
        kept_tokens (`int`): Number of recorded tokens that `crop` keeps.
        made_by (`tuple`, *optional*): Identifies the model that made the state: pairs of a name and a value.

    These attributes are set in the first layer of a cache only:
        last_tokens (`torch.Tensor`, *optional*): Last token that each row has seen, `(batch, 1)`, to recognize the text.
        of_beams (`bool`): Whether the rows are beams of a beam search, which need not be the texts that it returned.
        prompt_offset (`int`): Number of tokens of the prompt that the first forward of `generate` leaves out.
        ended (`torch.Tensor`, *optional*): Bool `(batch, 1)`, True for rows whose last token has been fed.
        ending (`torch.Tensor`, *optional*): Bool `(batch, 1)`, True for rows that end with the token that is fed next.
        ended_rows (`EndedRows`, *optional*): Tracker that fills `ending`, while `generate` runs.
    """

    _layer_type = LAYER_TYPE
    model_type = "minrnn"
    is_compileable = False
    is_croppable = True  # pyright: ignore[reportAssignmentType] (a property in the base class)

    def __init__(self, **kwargs):
        CacheLayerMixin.__init__(self)
        LinearAttentionLayer.__init__(self)
        self.cumulative_length = 0
        self.history: list[tuple[torch.Tensor, torch.Tensor | None]] = []
        self.recorded_tokens = RECORDED_TOKENS
        self.kept_tokens = 0
        self.made_by: tuple | None = None
        self.last_tokens: torch.Tensor | None = None
        self.of_beams = False
        self.prompt_offset = 0
        self.ended: torch.Tensor | None = None
        self.ending: torch.Tensor | None = None
        self.ended_rows: EndedRows | None = None

    def update(self, key_states, value_states, *args, **kwargs):
        """Raises `TypeError`: there are no keys and values."""
        raise TypeError(f"{type(self).__name__} holds a recurrent state, not keys and values")

    def __deepcopy__(self, memo):
        # Tensors with a graph cannot be deep-copied, so the copy has their values without the graph.
        new = memo[id(self)] = type(self)()
        for name, value in vars(self).items():
            if name in ("conv_states", "recurrent_states"):
                value = {index: None if state is None else state.detach().clone() for index, state in value.items()}
            elif name == "history":
                value = [tuple(None if x is None else x.detach().clone() for x in entry) for entry in value]
            setattr(new, name, copy.deepcopy(value, memo))
        if self.ended_rows is not None:
            self.ended_rows.layers.add(new)
        return new

    def carried(self) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Returns the recurrent state and the convolution's last inputs, where the next forward starts."""
        return self.recurrent_states[0], self.conv_states[0]

    def advance(
        self,
        state: torch.Tensor,
        conv_state: torch.Tensor | None,
        num_new_tokens: int,
        record: int = 0,
        made_by: tuple | None = None,
    ) -> None:
        """Stores the states that a block returned.

        Args:
            state (`torch.Tensor` of shape `(batch, state_size)`): Recurrent state after the last token. With `record` there
                are `record + 1` states in a new dimension after the batch, see `MinRNNLayer.forward`.
            conv_state (`torch.Tensor` of shape `(batch, conv_kernel_size - 1, channels)`, *optional*): Last inputs of the
                convolution, with `record` in the same form.
            num_new_tokens (`int`): Number of tokens of the forward.
            record (`int`, defaults to 0): Number of last tokens whose states are recorded.
            made_by (`tuple`, *optional*): Identifies the model, see the attribute.
        """
        if record < num_new_tokens:  # a crop cannot reach what was recorded before
            self.history.clear()
        if record:
            conv_history = None if conv_state is None else conv_state[:, :-1]
            self.history.append((state[:, :-1], conv_history))
            state = _pick(state, -1)
            if conv_state is not None:
                conv_state = _pick(conv_state, -1)
        self.made_by = made_by
        self.update_conv_state(conv_state)
        self.update_recurrent_state(state, num_new_tokens=num_new_tokens)

    def update_conv_state(self, conv_states: torch.Tensor | None, state_idx: int = 0, **kwargs) -> torch.Tensor | None:
        """Stores the last inputs of the convolution, `(batch, conv_kernel_size - 1, channels)`; `None` if there is none."""
        if conv_states is None:
            return None
        self._store(self.conv_states, conv_states, state_idx)
        self.is_conv_states_initialized[state_idx] = True
        return self.conv_states[state_idx]

    def update_recurrent_state(
        self, recurrent_states: torch.Tensor, state_idx: int = 0, num_new_tokens: int = 1, **kwargs
    ) -> torch.Tensor | None:
        """Stores the state `(batch, state_size)` after `num_new_tokens` more tokens."""
        self._store(self.recurrent_states, recurrent_states, state_idx)
        self.is_recurrent_states_initialized[state_idx] = True
        self.has_previous_state[state_idx] = True
        self.is_initialized = True
        self.device = recurrent_states.device
        self.dtype = recurrent_states.dtype
        self.cumulative_length += num_new_tokens  # in place if it is the tensor of a static cache
        return self.recurrent_states[state_idx]

    def _store(self, states: dict, new: torch.Tensor, state_idx: int):
        states[state_idx] = new

    def get_seq_length(self) -> int:
        """Returns the number of tokens seen."""
        return self.cumulative_length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Returns the length and the offset of a mask that covers all tokens."""
        return self.get_seq_length() + query_length, 0

    def get_max_length(self) -> int:
        """Returns -1: the length of a text is not limited."""
        return -1

    @property
    def batch_size(self) -> int:
        """Number of rows; -1 before the first token."""
        state = self.recurrent_states[0]
        return -1 if state is None else state.shape[0]

    def reset(self) -> None:
        """Returns to the initial state. The settings of the recording and the tracker of ended rows stay."""
        settings = ("record_past", "recorded_tokens", "kept_tokens", "ended_rows")
        kept = {name: getattr(self, name) for name in settings}
        self.__init__()
        vars(self).update(kept)

    def activate_past_recording(self) -> None:
        """Starts to record the state before each new token. `crop` goes back to such a state and drops the record.

        A forward over a long text records its last `recorded_tokens` tokens, or as many as it returns logits of.
        """
        self.record_past = True

    def stop_recording(self) -> None:
        """Stops recording and drops the record."""
        self.record_past = False
        self.history = []

    def record_for_assistant(self) -> None:
        """Records more tokens and keeps them after a crop, as the cache of a draft model must."""
        self.recorded_tokens = self.kept_tokens = ASSISTANT_TOKENS

    def crop(self, tokens_to_remove: int) -> None:
        """Goes back by `-tokens_to_remove` tokens to the exact state before them, then drops the record.

        The last `kept_tokens` tokens stay in the record: none, except for a draft model. `crop(0)` only drops the record.

        Raises:
            RuntimeError: If `tokens_to_remove` is positive, or if more tokens are removed than are recorded.
        """
        steps = -tokens_to_remove
        recorded = sum(states.shape[1] for states, _ in self.history)
        if steps < 0:
            raise RuntimeError(
                f"crop takes the number of tokens to remove as a negative number, got {tokens_to_remove}"
            )
        if steps > recorded:
            raise RuntimeError(
                f"cannot take back {steps} tokens, only the last {recorded} are recorded: call activate_past_recording() "
                "before the forward to be taken back, and crop() after each"
            )
        if steps:
            self._go_back(steps)
        self._drop_history(self.kept_tokens)

    def _go_back(self, steps: int):
        self.cumulative_length -= steps
        self.last_tokens = None
        states, conv_states = self.history.pop()
        while states.shape[1] < steps:
            steps -= states.shape[1]
            states, conv_states = self.history.pop()
        index = states.shape[1] - steps
        if index:
            conv_history = None if conv_states is None else conv_states[:, :index]
            self.history.append((states[:, :index], conv_history))
        self.recurrent_states[0] = _pick(states, index)
        self.conv_states[0] = None if conv_states is None else _pick(conv_states, index)
        if not self.cumulative_length:
            self.reset()

    def _drop_history(self, kept: int):
        # Entries are dropped as a whole: the rest of the first one is no more than the candidates of one forward.
        lengths = [states.shape[1] for states, _ in self.history]
        while lengths and sum(lengths[1:]) >= kept:
            del lengths[0], self.history[0]

    def detach(self) -> None:
        """Cuts the graph: the loss on later tokens has no gradient with respect to earlier ones."""
        for states in (self.conv_states, self.recurrent_states):
            for index, state in states.items():
                if state is None:
                    continue
                # Tensors of torch.inference_mode cannot be saved for a backward pass, not even detached.
                states[index] = state.clone() if state.is_inference() else state.detach()

    def note_last_tokens(self, sequences: torch.Tensor) -> None:
        """Stores the last token that each row has seen.

        Args:
            sequences (`torch.Tensor` of shape `(batch, time)`): The texts from their first token, which may go on after the
                last token seen. Nothing is stored if they have another number of rows or fewer tokens than were seen.
        """
        seen = int(self.get_seq_length())
        if self.batch_size == sequences.shape[0] and 0 < seen <= sequences.shape[1]:
            self.last_tokens = sequences[:, seen - 1 : seen].clone()

    def differs_from(self, sequences: torch.Tensor, attention_mask: torch.Tensor | None) -> bool:
        """Returns whether the last token seen is another one in `sequences`, unless it is padding there.

        Only one token per row is compared: the cache does not keep the text.

        Args:
            sequences (`torch.Tensor` of shape `(batch, time)`): Texts with more tokens than the cache has seen.
            attention_mask (`torch.Tensor` of shape `(batch, time)`, *optional*): 0 at padding.
        """
        last = self.last_tokens
        if last is None or last.shape != (len(sequences), 1):  # the last forward may have had other rows or no tokens
            return False
        index = int(self.get_seq_length()) - 1
        differs = sequences[:, index] != last[:, 0].to(sequences.device)
        if attention_mask is not None:
            differs = differs & attention_mask[:, index].bool().to(sequences.device)
        return bool(differs.any())

    def track_ended_rows(self, padding: torch.Tensor) -> EndedRows:
        """Starts to track ended rows, in this layer and its copies; see `EndedRows`."""
        self.ended = self.ending = None
        self.ended_rows = EndedRows(self, padding)
        return self.ended_rows

    def mask_ended_rows(self, tokens: torch.Tensor) -> torch.Tensor | None:
        """Returns a mask for the tokens that are fed next: False where an ended row is fed padding.

        Args:
            tokens (`torch.Tensor` of shape `(batch, time)`): Ids of these tokens. They must be fed afterwards.

        Returns:
            `torch.Tensor` of shape `(batch, time)`, bool, or `None` if no row has ended or ended rows are not tracked.
        """
        if self.ended_rows is None:
            return None
        ended = self.ended
        ending = self.ending
        self.ending = None
        if ended is None and ending is not None:
            ended = torch.zeros_like(ending)
        if ended is None or ended.shape[0] != tokens.shape[0]:
            self.ended = None
            return None
        # A row that is fed another token goes on, e.g. because a decoding loop has copied another row over it.
        padding = ended.to(tokens.device) & (tokens == self.ended_rows.padding.to(tokens.device))
        self.ended = padding[:, -1:]
        if ending is not None:
            self.ended = self.ended | ending.to(tokens.device)
        return ~padding

    def _select_rows(self, select: Callable[[torch.Tensor], torch.Tensor]):
        for states in (self.conv_states, self.recurrent_states):
            for index, state in states.items():
                if state is not None:
                    states[index] = select(state)
        self.history = [
            (select(states), None if conv_states is None else select(conv_states))
            for states, conv_states in self.history
        ]
        for name in ("last_tokens", "ended", "ending"):
            value = getattr(self, name)
            setattr(self, name, None if value is None else select(value))

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        """Selects the rows `beam_idx` for a beam search. `generate` cannot continue the rows afterwards, as they are beams.

        Use `batch_select_indices` for any other purpose.
        """
        self._select_rows(lambda state: state.index_select(0, beam_idx.to(state.device)))
        self.of_beams = True

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Selects the rows `indices`."""
        self._select_rows(lambda state: state[indices.to(state.device)])

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeats every row `repeats` times."""
        self._select_rows(lambda state: state.repeat_interleave(repeats, 0))


class MinRNNStaticCacheLayer(MinRNNCacheLayer):
    """State of one block at fixed addresses, for compiled decoding.

    States are copied into the same tensors, and `cumulative_length` is a tensor.
    """

    _layer_type = None
    is_compileable = True
    is_croppable = False

    def __init__(self, max_cache_len: int = -1, **kwargs):
        super().__init__()
        self.cumulative_length = torch.zeros((), dtype=torch.long)

    def _store(self, states: dict, new: torch.Tensor, state_idx: int):
        old = states[state_idx]
        if old is None or (old.shape, old.dtype, old.device) != (new.shape, new.dtype, new.device):
            states[state_idx] = torch.empty_like(new)
            self.cumulative_length = self.cumulative_length.to(new.device)
            if not is_torchdynamo_compiling():
                mark_static_address(states[state_idx])
                mark_static_address(self.cumulative_length)
        states[state_idx].copy_(new.detach())

    def carried(self) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Returns the states; copies if gradients are enabled, as the next update overwrites what backward needs."""
        state, conv_state = super().carried()
        if torch.is_grad_enabled():
            state = None if state is None else state.clone()
            conv_state = None if conv_state is None else conv_state.clone()
        return state, conv_state

    def activate_past_recording(self) -> None:
        """Raises `NotImplementedError`: states that have been overwritten cannot be restored."""
        raise NotImplementedError("a static cache cannot be rolled back: use a DynamicCache(config=model.config)")

    def reset(self) -> None:
        """Returns to the initial state, in place."""
        LinearAttentionLayer.reset(self)
        self.cumulative_length.zero_()
        self.last_tokens = None
        self.of_beams = False
        self.prompt_offset = 0
        self.ended = self.ending = None


def detach_cache(past_key_values: Cache) -> Cache:
    """Cuts the graph at a cache, in place: for truncated backpropagation over a text that is read in segments.

    Args:
        past_key_values (`Cache`): Cache that a model returned for the segment before.

    Returns:
        `Cache`: The same object.

    >>> from hf_minrnn import MinRNNConfig, MinRNNForCausalLM
    >>> model = MinRNNForCausalLM(MinRNNConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1))
    >>> first = model(torch.tensor([[1, 2, 3]]))
    >>> rest = model(torch.tensor([[4, 5]]), past_key_values=detach_cache(first.past_key_values), labels=torch.tensor([[4, 5]]))
    >>> rest.loss.backward()  # its gradient is that of the second segment alone
    """
    layers: list[Any] = past_key_values.layers
    for layer in layers:
        layer.detach()
    return past_key_values


STATIC_LAYER_TYPE_MAPPING[LAYER_TYPE] = MinRNNStaticCacheLayer
