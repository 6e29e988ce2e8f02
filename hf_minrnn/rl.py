# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""MinGRUModule and MinLSTMModule: the layers where TorchRL has its GRUModule. Needs the extra "rl"."""

import torch
import torch.nn.functional as F

from .layers import MinGRU, MinLSTM
from .torch_private import is_eager

try:
    from tensordict import unravel_key_list
    from tensordict.nn import TensorDictModuleBase, dispatch
    from torchrl.data import Unbounded
    from torchrl.envs import TensorDictPrimer
    from torchrl.modules import recurrent_mode
except ImportError as error:
    raise ImportError(f"hf_minrnn.rl needs TorchRL ({error}): pip install torchrl") from error


class MinRNNModuleBase(TensorDictModuleBase):
    """What `MinGRUModule` and `MinLSTMModule` share; arguments as there."""

    layer_class: type
    layer_name: str  # of the argument and of the attribute that hold the layer
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
        in_key=None,
        in_keys=None,
        out_key=None,
        out_keys=None,
        device=None,
        default_recurrent_mode: bool | None = None,
        **options,
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
            raise ValueError(f"{self.layer_name} must not be bidirectional: a step knows nothing of those after it")
        self.add_module(self.layer_name, layer)
        in_keys = self._keys("in_key", in_key, in_keys, self.DEFAULT_IN_KEYS)
        if in_keys[2:] not in ([], ["is_init"]) or len(in_keys) < 2:
            raise ValueError(f"in_keys must be a value, a state and maybe 'is_init', got {in_keys}")
        self.in_keys = [*in_keys[:2], "is_init"]
        self.out_keys = self._keys("out_key", out_key, out_keys, self.DEFAULT_OUT_KEYS)
        if len(self.out_keys) != 2:
            raise ValueError(f"out_keys must be a value and a state, got {self.out_keys}")
        self._recurrent_mode = default_recurrent_mode

    @staticmethod
    def _keys(name, key, keys, others):
        if (key is None) == (keys is None):
            raise ValueError(f"one of {name} and {name}s must be given, and one only, got {key!r} and {keys!r}")
        return unravel_key_list([key, *others] if keys is None else list(keys))

    @property
    def layer(self):
        """The wrapped layer, whatever its name."""
        return getattr(self, self.layer_name)

    @property
    def recurrent_mode(self) -> bool:
        """Whether a call runs over sequences: as TorchRL's `set_recurrent_mode` says, else `default_recurrent_mode`."""
        mode = recurrent_mode()
        return bool(self._recurrent_mode if mode is None else mode)

    def make_tensordict_primer(self):
        """The `TensorDictPrimer` by which an environment carries the state from step to step, zeros at a reset.

        Raises:
            RuntimeError: If the state's out key is not `("next", in key)`.
        """
        state, following = self.in_keys[1], self.out_keys[1]
        state = state if isinstance(state, tuple) else (state,)
        if following != ("next", *state):
            raise RuntimeError(f"a primer needs the state's out key to be {('next', *state)}, got {following!r}")
        layer = self.layer
        dtype = layer.state_dtype or next(layer.parameters()).dtype
        spec = Unbounded(shape=(layer.num_layers, layer.hidden_size), dtype=dtype)
        return TensorDictPrimer({state: spec}, expand_specs=True)

    @dispatch
    def forward(self, tensordict):
        """Runs one step for every element of a tensordict or, in recurrent mode, along its last dimension.

        Args:
            tensordict (`TensorDictBase` of shape `(..., [time])`): With the value `(..., input_size)`, `is_init` `(..., 1)`
                and, zeros by default, the state `(..., num_layers, hidden_size)`.

        Returns:
            The same tensordict, with the output `(..., hidden_size)` and the state after each step, shaped as the one before.

        Raises:
            ValueError: In recurrent mode, for a tensordict without dimensions.
            KeyError: If the value or `is_init` is missing.
        """
        shape, sequences = tensordict.shape, self.recurrent_mode
        if sequences and not shape:
            raise ValueError(f"{type(self).__name__} in recurrent mode needs a time dimension, got shape ()")
        rows, time = (shape[:-1].numel(), shape[-1]) if sequences else (shape.numel(), 1)
        value, state = tensordict[self.in_keys[0]], tensordict.get(self.in_keys[1], None)
        value = value.reshape(rows, time, value.shape[-1])
        is_init = tensordict["is_init"].reshape(rows, time).bool()
        if state is not None:
            state = state.reshape(rows, time, *state.shape[-2:])
        output, states = self._run(value, state, is_init, sequences)
        tensordict.set(self.out_keys[0], output.reshape(*shape, output.shape[-1]))
        tensordict.set(self.out_keys[1], states.reshape(*shape, *states.shape[-2:]))
        return tensordict

    def _run(self, value, state, is_init, sequences):
        """`(rows, time, hidden_size)` and the states after each step, `(rows, time, num_layers, hidden_size)`."""
        layer, kept, starts = self.layer, [], None
        layer._check_features(value)
        hx = None if state is None else state[:, 0].transpose(0, 1)
        if hx is not None:
            layer._check_state(hx, value.shape[0])
        if sequences and state is not None:  # a row's first step starts from hx
            is_init = F.pad(is_init[:, 1:], (1, 0))
            starts = None if _all_zero(state, is_init) else state
        output, last = layer._run(value, hx, is_init, None, kept, starts)
        states = torch.stack(kept, 2).to(last.dtype)
        if last.dtype != output.dtype:
            states[:, -1] = last.transpose(0, 1)  # as wide as it is, for the step after
        return output, states


def _all_zero(state, is_init) -> bool:
    """Whether the states stored at the steps with `is_init` are seen to be zero, as they are in a rollout.

    Only eager code on a CPU looks: under torch.compile and vmap there are no values, and a GPU would have to be waited for.
    """
    if not (is_eager() and state.device.type == "cpu") or state.requires_grad:
        return False
    return not ((state != 0) & is_init[:, :, None, None]).any()


class MinGRUModule(MinRNNModuleBase):
    """`MinGRU` where TorchRL has its `GRUModule`: same arguments, keys and shapes, and the same switch between the modes.

    Without `python_based`, `recurrent_backend` and what goes with them: one layer is compiled and vmapped as it is.

    A call is one step, unless `torchrl.modules.set_recurrent_mode` or `default_recurrent_mode` says that the tensordict's
    last dimension is time. Then episodes that end within a sequence are left where they are: `is_init` goes to the layer
    as `resets`, in one pass without splitting or padding.

    As in TorchRL, a step with `is_init` starts from zero, a sequence from the state that is stored at its first step, and
    at a later step with `is_init` from the one stored there: zero in a rollout, and what it was at the beginning of each
    slice in what `SliceSampler` puts together. Other than in TorchRL, a sequence writes the state after every step, where
    `GRUModule` writes zeros except at the ends of episodes.

    Args:
        input_size, hidden_size, num_layers, bias, dropout: As `MinGRU`.
        batch_first (`bool`): Refused unless True, as in TorchRL.
        bidirectional (`bool`): Refused unless False.
        in_key (`str` or tuple of them): Of the value; the state is then "recurrent_state". Or in_keys (`list`): of the value
            and the state; "is_init" may follow, and is read in any case.
        out_key (`str` or tuple of them): Of the output; the state is then ("next", "recurrent_state"). Or out_keys (`list`):
            of the output and the state.
        device: As for any `torch.nn` module.
        default_recurrent_mode (`bool`, *optional*): The mode where `set_recurrent_mode` sets none; steps by default.
        gru (`MinGRU`, *optional*): A layer to wrap, in place of the arguments that describe one.
        options: Further arguments of `MinGRU`, such as `candidate_activation` and `dtype`.

    Raises:
        ValueError: For arguments that do not fit, by name.

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
    """`MinLSTM` as `MinGRUModule` wraps `MinGRU`: with one state, other than TorchRL's `LSTMModule`, as there is no other.

    Args:
        lstm (`MinLSTM`, *optional*): A layer to wrap.
        others: As `MinGRUModule` and `MinLSTM`.

    >>> module = MinLSTMModule(3, 8, in_key="observation", out_key="features")
    >>> module.in_keys, module.out_keys
    (['observation', 'recurrent_state', 'is_init'], ['features', ('next', 'recurrent_state')])
    """

    layer_class, layer_name = MinLSTM, "lstm"
