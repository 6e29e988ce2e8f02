# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The cache of a block: its recurrent state, the last inputs of its convolution and how many tokens it has seen.

`DynamicCache(config=...)` and `StaticCache(config=...)` of transformers build these layers by themselves. Their size does
not depend on the number of tokens.
"""

import copy

import torch

from .compat import (
    LAYER_TYPE,
    STATIC_LAYER_TYPE_MAPPING,
    CacheLayerMixin,
    LinearAttentionLayer,
    is_torchdynamo_compiling,
)


class MinRNNCacheLayer(LinearAttentionLayer, CacheLayerMixin):
    """State of one block: `recurrent_states[0]` `(batch, state_size)` in float32 or wider, `conv_states[0]` `(batch,
    conv_kernel_size - 1, channels)` or `None`, and the number of tokens seen, padding included.

    States are replaced, not overwritten, so that a loss can be propagated through a cache into earlier segments.
    """

    _layer_type = LAYER_TYPE
    model_type = "minrnn"
    is_compileable = False
    is_croppable = False

    def __init__(self, **kwargs):
        CacheLayerMixin.__init__(self)
        LinearAttentionLayer.__init__(self)
        self.cumulative_length = 0

    def update(self, key_states, value_states, *args, **kwargs):
        """Raises: there are no keys and values."""
        raise TypeError(f"{type(self).__name__} holds a recurrent state, not keys and values")

    def __deepcopy__(self, memo):
        # States that a loss could still be propagated through cannot be copied as they are, only their values can.
        new = memo[id(self)] = type(self)()
        for name, value in vars(self).items():
            if name in ("conv_states", "recurrent_states"):
                value = {index: None if state is None else state.detach().clone() for index, state in value.items()}
            setattr(new, name, copy.deepcopy(value, memo))
        return new

    def carried(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The state and the convolution's last inputs, to start the next forward from."""
        return self.recurrent_states[0], self.conv_states[0]

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
        """Forgets everything."""
        self.__init__()

    def activate_past_recording(self):
        """Raises: states are not recorded, so a forward cannot be taken back."""
        raise NotImplementedError("a MinRNN cache cannot be rolled back: generate without an assistant")

    def crop(self, tokens_to_remove: int):
        """Raises unless nothing is to be removed: a forward cannot be taken back."""
        if tokens_to_remove:
            raise NotImplementedError("a MinRNN cache cannot be rolled back: keep a copy.deepcopy of it instead")

    def _select_rows(self, select):
        for states in (self.conv_states, self.recurrent_states):
            for index, state in states.items():
                if state is not None:
                    states[index] = select(state)

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        """Takes the rows `beam_idx`, as beam search does."""
        self._select_rows(lambda state: state.index_select(0, beam_idx.to(state.device)))

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

    def __init__(self, max_cache_len: int = -1, **kwargs):
        super().__init__()
        self.cumulative_length = torch.zeros((), dtype=torch.long)

    def _store(self, states: dict, new: torch.Tensor, state_idx: int):
        if states[state_idx] is None or states[state_idx].shape != new.shape:
            states[state_idx] = torch.empty_like(new)
            self.cumulative_length = self.cumulative_length.to(new.device)
            if not is_torchdynamo_compiling():
                torch._dynamo.mark_static_address(states[state_idx])
                torch._dynamo.mark_static_address(self.cumulative_length)
        states[state_idx].copy_(new.detach())

    def _count(self, num_new_tokens):
        self.cumulative_length.add_(num_new_tokens)

    def carried(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Copies where gradients are wanted: the next update writes over what backward still needs."""
        carried = super().carried()
        if torch.is_grad_enabled():
            carried = tuple(x if x is None else x.clone() for x in carried)
        return carried

    def reset(self) -> None:
        """Forgets everything, in place."""
        LinearAttentionLayer.reset(self)
        self.cumulative_length.zero_()


STATIC_LAYER_TYPE_MAPPING[LAYER_TYPE] = MinRNNStaticCacheLayer
