# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""MinGRUModule and MinLSTMModule: replacements for TorchRL's GRUModule. Needs the extra "rl"."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from .layers import MinGRU, MinLSTM, MinRNNBase
from .torch_private import is_eager

try:
    from tensordict import NestedKey, TensorDictBase, unravel_key_list
    from tensordict.nn import TensorDictModuleBase, dispatch
    from torchrl.data import Unbounded
    from torchrl.envs import TensorDictPrimer
    from torchrl.modules import recurrent_mode
except ImportError as error:
    raise ImportError(f"hf_minrnn.rl needs TorchRL ({error}): pip install torchrl") from error


class MinRNNModuleBase(TensorDictModuleBase):
    """Base class of `MinGRUModule` and `MinLSTMModule`; arguments as there."""

    layer_class: type
    layer_name: str  # name of the argument and of the attribute for the layer
    DEFAULT_IN_KEYS = ["recurrent_state"]
    DEFAULT_OUT_KEYS = [("next", "recurrent_state")]

    def __init__(
        self,
        input_size: int | None = None,
        hidden_size: int | None = None,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = True,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        in_key: NestedKey | None = None,
        in_keys: Sequence[NestedKey] | None = None,
        out_key: NestedKey | None = None,
        out_keys: Sequence[NestedKey] | None = None,
        device: torch.device | str | None = None,
        default_recurrent_mode: bool | None = None,
        **options: Any,
    ):
        super().__init__()
        layer = options.pop(self.layer_name, None)
        if layer is None:
            shape = (input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional)
            layer = self.layer_class(*shape, device=device, **options)
        elif input_size is not None or hidden_size is not None or options:
            given = ", ".join(["input_size", "hidden_size", *options])
            raise ValueError(f"{self.layer_name} is a finished layer: leave out {given}")
        elif not isinstance(layer, self.layer_class):
            raise ValueError(f"{self.layer_name} must be a {self.layer_class.__name__}, got {type(layer).__name__}")
        if not layer.batch_first:
            raise ValueError(f"{self.layer_name} must have batch_first=True: time is a tensordict's last dimension")
        if layer.bidirectional:
            raise ValueError(f"{self.layer_name} must not be bidirectional: a step cannot read the steps after it")
        self.add_module(self.layer_name, layer)
        in_keys = self._keys("in_key", in_key, in_keys, self.DEFAULT_IN_KEYS)
        if in_keys[2:] not in ([], ["is_init"]) or len(in_keys) < 2:
            raise ValueError(f"in_keys must be a value, a state and maybe 'is_init', got {in_keys}")
        # tensordict declares keys as strings and pairs, and accepts longer tuples.
        self.in_keys = [*in_keys[:2], "is_init"]  # pyright: ignore[reportAttributeAccessIssue]
        self.out_keys = self._keys("out_key", out_key, out_keys, self.DEFAULT_OUT_KEYS)  # pyright: ignore[reportAttributeAccessIssue]
        if len(self.out_keys) != 2:
            raise ValueError(f"out_keys must be a value and a state, got {self.out_keys}")
        self._recurrent_mode = default_recurrent_mode

    @staticmethod
    def _keys(name, key, keys, others):
        if (key is None) == (keys is None):
            raise ValueError(f"exactly one of {name} and {name}s must be given, got {key!r} and {keys!r}")
        return unravel_key_list([key, *others] if keys is None else list(keys))

    @property
    def layer(self) -> MinRNNBase:
        """The wrapped layer, under any name."""
        return getattr(self, self.layer_name)

    @property
    def recurrent_mode(self) -> bool:
        """Whether a call runs over sequences, as set by TorchRL's `set_recurrent_mode`, else by `default_recurrent_mode`."""
        mode = recurrent_mode()
        return bool(self._recurrent_mode if mode is None else mode)

    def make_tensordict_primer(self) -> TensorDictPrimer:
        """Returns the `TensorDictPrimer` with which an environment carries the state from step to step, zeros at a reset.

        Raises:
            RuntimeError: If the state's out key is not `("next", in key)`.
        """
        state, next_state = self.in_keys[1], self.out_keys[1]
        if not isinstance(state, tuple):
            state = (state,)
        if next_state != ("next", *state):
            raise RuntimeError(f"a primer needs the state's out key to be {('next', *state)}, got {next_state!r}")
        layer = self.layer
        dtype = layer.state_dtype or next(layer.parameters()).dtype
        spec = Unbounded(shape=torch.Size([layer.num_layers, layer.hidden_size]), dtype=dtype)
        return TensorDictPrimer({state: spec}, expand_specs=True)

    @dispatch  # pyright: ignore[reportArgumentType] it also takes a function, which its types leave out
    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Runs one step for every element of a tensordict or, in recurrent mode, along its last dimension.

        Args:
            tensordict (`TensorDictBase` of shape `(..., [time])`): Contains the value `(..., input_size)`, `is_init`
                `(..., 1)` and the state `(..., num_layers, hidden_size)`, zeros by default.

        Returns:
            The same tensordict, with the output `(..., hidden_size)` and the state after each step, in the shape of the state.

        Raises:
            ValueError: In recurrent mode, for a tensordict without dimensions.
            KeyError: If the value or `is_init` is missing.
        """
        shape = tensordict.shape
        sequences = self.recurrent_mode
        rows, time = shape.numel(), 1
        if sequences:
            if not shape:
                raise ValueError(f"{type(self).__name__} in recurrent mode needs a time dimension, got shape ()")
            rows, time = shape[:-1].numel(), shape[-1]
        value = tensordict[self.in_keys[0]]
        state = tensordict.get(self.in_keys[1], None)
        value = value.reshape(rows, time, value.shape[-1])
        is_init = tensordict["is_init"].reshape(rows, time).bool()
        if state is not None:
            state = state.reshape(rows, time, *state.shape[-2:])
        output, states = self._run(value, state, is_init, sequences)
        tensordict.set(self.out_keys[0], output.reshape(*shape, output.shape[-1]))
        tensordict.set(self.out_keys[1], states.reshape(*shape, *states.shape[-2:]))
        return tensordict

    def _run(self, value, state, is_init, sequences: bool):
        """Returns the output `(rows, time, hidden)` and the states after each step, `(rows, time, layers, hidden)`."""
        layer = self.layer
        layer._check_features(value)
        hx = None
        if state is not None:
            hx = state[:, 0].transpose(0, 1)
            layer._check_state(hx, value.shape[0])
        reset_states = None
        if sequences and state is not None:
            is_init = F.pad(is_init[:, 1:], (1, 0))  # a row's first step starts from hx
            if not _all_zero(state, is_init):
                reset_states = state
        record = []
        output, last = layer._run(value, hx, is_init, None, record, reset_states)
        states = torch.stack(record, 2).to(last.dtype)
        if last.dtype != output.dtype:
            states[:, -1] = last.transpose(0, 1)  # not rounded to the output's dtype: the next call starts from it
        return output, states


def _all_zero(state, is_init) -> bool:
    """Whether the states at the steps with `is_init` are known to be zero, as they are in a rollout.

    Values are read in eager code on a CPU only: torch.compile and vmap have none, and reading from a GPU makes the host wait.
    """
    if not (is_eager() and state.device.type == "cpu") or state.requires_grad:
        return False
    return not ((state != 0) & is_init[:, :, None, None]).any()


class MinGRUModule(MinRNNModuleBase):
    """Replacement for TorchRL's `GRUModule` with a `MinGRU`: same arguments, keys, shapes and modes.

    It has no `python_based`, `recurrent_backend` and related arguments: the layer works under torch.compile and vmap.

    A call is one step, unless `torchrl.modules.set_recurrent_mode` or `default_recurrent_mode` makes the tensordict's last
    dimension time. A sequence may contain the ends of episodes: the layer gets `is_init` as `resets`, and runs once, without
    splitting or padding.

    As in TorchRL, a step with `is_init` starts from zero. A sequence starts from the state that is stored at its first step,
    and at a later step with `is_init` it continues from the state stored there. That is zero in a rollout, and the state at
    the beginning of each slice in what `SliceSampler` returns. Unlike `GRUModule`, which writes zeros except at the ends of
    episodes, a sequence writes the state after every step.

    Args:
        input_size, hidden_size, num_layers, bias, dropout: As in `MinGRU`.
        batch_first (`bool`): Must be True, as in TorchRL.
        bidirectional (`bool`): Must be False.
        in_key (`str` or tuple of `str`): Key of the value; the key of the state is then "recurrent_state". Alternatively
            in_keys (`list`): keys of the value and the state. "is_init" may follow, and is read in any case.
        out_key (`str` or tuple of `str`): Key of the output; that of the state is then ("next", "recurrent_state").
            Alternatively out_keys (`list`): keys of the output and the state.
        device: As for any `torch.nn` module.
        default_recurrent_mode (`bool`, *optional*): The mode if `set_recurrent_mode` sets none; steps by default.
        gru (`MinGRU`, *optional*): A layer to wrap, instead of the arguments that describe one.
        options: Further arguments of `MinGRU`, such as `candidate_activation` and `dtype`.

    Raises:
        ValueError: For an argument that does not fit; the message names it.

    >>> from tensordict import TensorDict
    >>> from torchrl.modules import set_recurrent_mode
    >>> module = MinGRUModule(3, 8, num_layers=2, in_key="observation", out_key="features")
    >>> data = {"observation": torch.randn(4, 5, 3), "is_init": torch.rand(4, 5, 1) > 0.7}
    >>> with set_recurrent_mode("recurrent"):
    ...     data = module(TensorDict(data, [4, 5]))
    >>> data["features"].shape, data["next", "recurrent_state"].shape
    (torch.Size([4, 5, 8]), torch.Size([4, 5, 2, 8]))
    """

    layer_class, layer_name = MinGRU, "gru"


class MinLSTMModule(MinRNNModuleBase):
    """Replacement for TorchRL's `LSTMModule` with a `MinLSTM`. It has one state, because there is no cell state.

    Args:
        lstm (`MinLSTM`, *optional*): A layer to wrap.
        others: As in `MinGRUModule` and `MinLSTM`.

    >>> module = MinLSTMModule(3, 8, in_key="observation", out_key="features")
    >>> module.in_keys, module.out_keys
    (['observation', 'recurrent_state', 'is_init'], ['features', ('next', 'recurrent_state')])
    """

    layer_class, layer_name = MinLSTM, "lstm"
