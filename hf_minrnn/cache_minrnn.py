# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The cache of a block: its recurrent state, the last inputs of its convolution and how many tokens it has seen.

`DynamicCache(config=...)` and `StaticCache(config=...)` of transformers build these layers by themselves. Their size does
not depend on the number of tokens.

A forward can be taken back, as speculative decoding does with the candidates that it rejects: after
`activate_past_recording()` the states before each new token are kept, until `crop(-n)` goes back to the one before the
last n tokens, or `crop(0)` accepts them all.
"""

import copy
import hashlib
from pathlib import Path

import torch

from .compat import (
    STATIC_LAYER_TYPE_MAPPING,
    CacheLayerMixin,
    LinearAttentionLayer,
    is_torchdynamo_compiling,
)
from .torch_private import mark_static_address

# The name under which DynamicCache and StaticCache find this package's cache layers. It carries a hash of their source:
# two revisions of remote code in one process would otherwise build each other's.
LAYER_TYPE = "minrnn_" + hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]

# How many of a forward's last tokens can be taken back where nothing tells how many are candidates: more than that would
# make the memory of a prompt, while recording, grow with its length.
RECORDED_TOKENS = 64


# As many, for an assistant: another tokenizer's texts may differ in tokens long taken over.
ASSISTANT_TOKENS = 256


def _pick(recorded, index: int):
    # A copy: a view would keep all that was recorded alive.
    return None if recorded is None else recorded[:, index].clone()


class MinRNNCacheLayer(LinearAttentionLayer, CacheLayerMixin):
    """State of one block: `recurrent_states[0]` `(batch, state_size)` in float32 or wider, `conv_states[0]` `(batch,
    conv_kernel_size - 1, channels)` or `None`, and the number of tokens seen, padding included.

    States are replaced, not overwritten, so that a loss can be propagated through a cache into earlier segments;
    `detach_cache` ends that.

    `history` holds what was recorded since the last crop, one entry a forward: the states `(batch, n, state_size)` before
    each of its last n tokens and the tails `(batch, n, conv_kernel_size - 1, channels)` or `None`.

    `ended` and `ending`, bool `(batch, 1)` or `None`, are the record of ended rows while `generate` decodes.
    """

    _layer_type = LAYER_TYPE
    model_type = "minrnn"
    is_compileable = False
    is_croppable = True

    def __init__(self, **kwargs):
        CacheLayerMixin.__init__(self)
        LinearAttentionLayer.__init__(self)
        self.cumulative_length = 0
        self.history = []
        self.recorded_tokens, self.kept_tokens = RECORDED_TOKENS, 0
        self.made_by = None
        self.last_tokens, self.of_beams = None, False
        self.ended = self.ending = self.ended_rows = None

    def update(self, key_states, value_states, *args, **kwargs):
        """Raises: there are no keys and values."""
        raise TypeError(f"{type(self).__name__} holds a recurrent state, not keys and values")

    def __deepcopy__(self, memo):
        # States that a loss could still be propagated through cannot be copied as they are, only their values can.
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

    def carried(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The state and the convolution's last inputs, to start the next forward from."""
        return self.recurrent_states[0], self.conv_states[0]

    def advance(self, state, tail, num_new_tokens: int, record: int = 0, made_by: tuple | None = None):
        """Stores what a block returned for `num_new_tokens` tokens, see `MinRNNLayer.forward` for `record`; `made_by` tells
        one model's states from another's.
        """
        if record < num_new_tokens:  # what was recorded before is out of reach now
            self.history.clear()
        if record:
            self.history.append((state[:, :-1], None if tail is None else tail[:, :-1]))
            state, tail = _pick(state, -1), _pick(tail, -1)
        self.made_by = made_by
        self.update_conv_state(tail)
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
    ) -> torch.Tensor:
        """Stores the state `(batch, state_size)` after `num_new_tokens` more tokens."""
        self._store(self.recurrent_states, recurrent_states, state_idx)
        self.is_recurrent_states_initialized[state_idx] = True
        self.has_previous_state[state_idx] = True
        self.is_initialized = True
        self.device, self.dtype = recurrent_states.device, recurrent_states.dtype
        self._count(num_new_tokens)
        return self.recurrent_states[state_idx]

    def _store(self, states: dict, new: torch.Tensor, state_idx: int):
        states[state_idx] = new

    def _count(self, num_new_tokens: int):
        self.cumulative_length += num_new_tokens

    def get_seq_length(self) -> int:
        """Tokens seen."""
        return self.cumulative_length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of a mask that covers all tokens."""
        return self.get_seq_length() + query_length, 0

    def get_max_length(self) -> int:
        """-1: there is no longest sequence."""
        return -1

    @property
    def batch_size(self) -> int:
        """Rows of the state, -1 before the first token."""
        state = self.recurrent_states[0]
        return -1 if state is None else state.shape[0]

    def reset(self) -> None:
        """Forgets everything but whether it records."""
        kept = self.record_past, self.recorded_tokens, self.kept_tokens, self.ended_rows
        self.__init__()
        self.record_past, self.recorded_tokens, self.kept_tokens, self.ended_rows = kept

    def activate_past_recording(self):
        """From now on, keeps the states before each new token until the next `crop`.

        Of a forward over a long text it keeps the last `recorded_tokens`, or as many as logits were asked for.
        """
        self.record_past = True

    def crop(self, tokens_to_remove: int):
        """Goes back by `-tokens_to_remove` tokens, exactly, and drops what was recorded, up to `kept_tokens` (none, but for
        an assistant); `crop(0)` only drops it.

        Raises:
            RuntimeError: If it is positive, or goes back further than was recorded since the last crop.
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
            self.cumulative_length -= steps
            self.last_tokens = None
            left = steps
            while left:
                states, tails = self.history.pop()
                stay = max(states.shape[1] - left, 0)
                left -= states.shape[1] - stay
                if stay:
                    self.history.append((states[:, :stay], None if tails is None else tails[:, :stay]))
            self.recurrent_states[0], self.conv_states[0] = _pick(states, stay), _pick(tails, stay)
            if not self.cumulative_length:
                self.reset()
        self._forget(self.kept_tokens)

    def _forget(self, kept: int):
        # Whole entries only: what is left of the first one is no more than a forward's candidates.
        lengths = [states.shape[1] for states, _ in self.history]
        while lengths and sum(lengths[1:]) >= kept:
            del lengths[0], self.history[0]

    def detach(self):
        """Cuts the graph: a loss on what follows is not propagated into what came before."""
        for states in (self.conv_states, self.recurrent_states):
            for index, state in states.items():
                if state is not None:  # torch.inference_mode's own may not be saved for a backward at all
                    states[index] = state.clone() if state.is_inference() else state.detach()

    def _select_rows(self, select):
        for states in (self.conv_states, self.recurrent_states):
            for index, state in states.items():
                if state is not None:
                    states[index] = select(state)
        self.history = [tuple(None if x is None else select(x) for x in entry) for entry in self.history]
        for name in ("last_tokens", "ended", "ending"):
            value = getattr(self, name)
            setattr(self, name, None if value is None else select(value))

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        """Takes the rows `beam_idx`, as beam search does: they are its beams then, and `generate` does not go on from them.
        `batch_select_indices` is for all else.
        """
        self._select_rows(lambda state: state.index_select(0, beam_idx.to(state.device)))
        self.of_beams = True

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keeps the rows `indices`."""
        self._select_rows(lambda state: state[indices.to(state.device)])

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeats every row."""
        self._select_rows(lambda state: state.repeat_interleave(repeats, 0))


class MinRNNStaticCacheLayer(MinRNNCacheLayer):
    """The same at fixed addresses, for compiled decoding: states are copied into place, and the counter is a tensor."""

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

    def _count(self, num_new_tokens):
        self.cumulative_length.add_(num_new_tokens)

    def carried(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Copies where gradients are wanted: the next update writes over what backward still needs."""
        carried = super().carried()
        if torch.is_grad_enabled():
            carried = tuple(x if x is None else x.clone() for x in carried)
        return carried

    def activate_past_recording(self):
        """Raises: what has been written over cannot be taken back."""
        raise NotImplementedError("a static cache cannot be rolled back: use a DynamicCache(config=model.config)")

    def reset(self) -> None:
        """Forgets everything, in place."""
        LinearAttentionLayer.reset(self)
        self.cumulative_length.zero_()
        self.last_tokens, self.of_beams = None, False
        self.ended = self.ending = None


def detach_cache(past_key_values):
    """Cuts the graph at a cache, in place: for training over a text longer than one segment (truncated backpropagation).

    Args:
        past_key_values (`Cache`): What a model returned for the segment before.

    Returns:
        `Cache`: The same object.

    >>> from hf_minrnn import MinRNNConfig, MinRNNForCausalLM
    >>> model = MinRNNForCausalLM(MinRNNConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1))
    >>> first = model(torch.tensor([[1, 2, 3]]))
    >>> rest = model(torch.tensor([[4, 5]]), past_key_values=detach_cache(first.past_key_values), labels=torch.tensor([[4, 5]]))
    >>> rest.loss.backward()  # reaches the second segment only
    """
    for layer in past_key_values.layers:
        layer.detach()
    return past_key_values


STATIC_LAYER_TYPE_MAPPING[LAYER_TYPE] = MinRNNStaticCacheLayer
