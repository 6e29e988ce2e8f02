# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""MinRNNConfig: the configuration of a minGRU or minLSTM language model."""

import math
import os
import shutil
from pathlib import Path
from typing import Any

from .cache_minrnn import LAYER_TYPE
from .compat import ACT2FN, PreTrainedConfig, get_relative_import_files, strict
from .gates import CELL_TYPES

CHOICES = {
    "candidate_activation": ("g", "identity"),
    "conv_position": ("residual", "mixer"),
}
# What the names of `forget_gate_floor` stand for: the floor of the last block. "signed" has SIGNED_FLOOR in the first block.
NAMED_FLOORS = {"rising": 0.9, "signed": 0.9, "plain": 0.0}
SIGNED_FLOOR = -1.0

# Classes that transformers loads from remote code, see hub_minrnn.py.
AUTO_MAP = {
    "AutoConfig": "hub_minrnn.MinRNNConfig",
    "AutoModel": "hub_minrnn.MinRNNModel",
    "AutoModelForCausalLM": "hub_minrnn.MinRNNForCausalLM",
    "AutoModelForQuestionAnswering": "hub_minrnn.MinRNNForQuestionAnswering",
    "AutoModelForSequenceClassification": "hub_minrnn.MinRNNForSequenceClassification",
    "AutoModelForTokenClassification": "hub_minrnn.MinRNNForTokenClassification",
}


def _class_name(reference: str) -> str:
    return reference.rpartition(".")[2]


def _mlp_width(width: int, gated: bool) -> int:
    """Returns the width, or two thirds of it for a gated MLP, rounded up to a multiple of 64.

    >>> _mlp_width(3072, False), _mlp_width(3072, True)
    (3072, 2048)
    """
    # In integers: a float slightly above a multiple of 64 would be rounded up to the next one.
    if gated:
        return -(-2 * width // 192) * 64
    return -(-width // 64) * 64


@strict
class MinRNNConfig(PreTrainedConfig):
    r"""
    Configuration of [`MinRNNModel`] and its heads (minGRU and minLSTM, "Were RNNs All We Needed?", arXiv 2410.01201).

    The model is a stack of blocks on a residual stream. A block has a causal convolution, a recurrent cell (minGRU or minLSTM)
    and an MLP. The defaults are those of this project. They differ from the paper in these points: the candidate has no
    activation, the state is twice as wide as the residual stream, the forget gate has a floor that rises with depth, the state
    goes through an RMSNorm and an output gate, the MLP is gated and has no biases, and the embeddings are tied.
    [`MinRNNConfig.paper`] makes a configuration with the paper's block.

    Args:
        vocab_size (`int`, defaults to 32000): Number of tokens in the vocabulary.
        hidden_size (`int`, defaults to 768): Width of the residual stream and of the embeddings.
        num_hidden_layers (`int`, defaults to 12): Number of blocks.
        cell_type (`str`, defaults to `"mingru"`): Recurrent cell: `"mingru"` (one gate), `"minlstm"` (a forget gate and an
            input gate), or the name of a cell that was registered with `hf_minrnn.register_cell`.
        expand_ratio (`float`, defaults to 2.0): Width of the recurrent state divided by `hidden_size`. The product must be a
            whole number; `config.state_size` returns it.
        output_projection (`bool`, defaults to `True`): Whether a linear layer projects the state back to `hidden_size`. It can
            be left out only if `expand_ratio` is 1.
        intermediate_size (`int`, *optional*): Width of the MLP; 0 for blocks without an MLP. The default is `max(2 *
            hidden_size, 6 * hidden_size - 2 * state_size)`, with `gated_mlp` two thirds of it, rounded up to a multiple of 64.
            With this default, the number of parameters of a minGRU with an output gate hardly depends on `expand_ratio`.
        hidden_act (`str`, defaults to `"silu"`): Activation of the MLP, one of transformers' activations.
        gated_mlp (`bool`, defaults to `True`): Whether the MLP is `down(act(gate(x)) * up(x))`. Otherwise it is
            `down(act(up(x)))`.
        conv_kernel_size (`int`, defaults to 4): Number of steps that the causal convolution sees, including the current one; 0
            for blocks without a convolution.
        conv_position (`str`, defaults to `"residual"`): Place and kind of the convolution. `"residual"`: as in the paper, a
            depthwise and a pointwise convolution before the norm, whose result is added to the residual stream. `"mixer"`: a
            depthwise convolution between the norm and the cell. It is initialized to the identity.
        candidate_activation (`str`, defaults to `"identity"`): Activation of the candidate state: `"identity"` (section 3 of
            the paper) or `"g"` (appendix B; `x + 0.5` for positive values, else `sigmoid(x)`, so that states are positive).
        normalize_gates (`bool`, defaults to `True`): For minLSTM: whether the forget gate and the input gate are divided by
            their sum. minGRU has one gate and needs `True`.
        gate_bias (`float`, defaults to 0.0): Initial bias of the forget gate. The decay of a new model is about
            `sigmoid(gate_bias)`, before the floor applies. It needs `use_bias`.
        learn_initial_state (`bool`, defaults to `False`): Whether each block learns the state at the start of a sequence.
            Otherwise sequences start from zeros.
        output_gate (`bool`, defaults to `True`): Whether the state is multiplied by `silu` of a gate, which is computed from
            the input of the cell.
        forget_gate_floor (`float`, list of `float` or `str`, defaults to 0.9): Lower bound of the decay, in [-1, 1). A number
            from 0 on is the floor of the last block: the floor rises linearly from 0 in the first block to this number. (The
            floor of a single block is 0.) Below 0 the decay can change the sign of the state, which parity and other state
            tracking need (arXiv 2411.12537). A negative number is the floor of all blocks. A list has the floor of each block.
            A model from which blocks were removed is saved with a list. There are names for the common settings: `"rising"` is
            0.9, `"signed"` is the same but with -1 in the first block, and `"plain"` is 0 in all blocks. For state tracking
            give `"signed"` and `learn_initial_state=True`.
        forget_gate_floor_depth (`int`, *optional*): Number of blocks over which the floor rises, by default
            `num_hidden_layers`. The saved configuration contains it. `from_pretrained(..., num_hidden_layers=3)` therefore
            keeps the floors of the first three blocks. Set it to `None` for a new model with another number of blocks.
        state_norm (`bool`, defaults to `True`): Whether the state goes through an RMSNorm before the output gate.
        bidirectional (`bool`, defaults to `False`): Whether each block has a second cell that reads each text from its end to
            its beginning. The results of both are added. Only the classification heads support it, as such a model has no
            state to continue from: it has no cache and cannot generate. A convolution at `"residual"` is shared by both
            directions and sees earlier steps only.
        use_bias (`bool`, defaults to `True`): Whether the input and output projections of the cell have biases.
        conv_bias (`bool`, defaults to `True`): Whether the convolution has biases.
        mlp_bias (`bool`, defaults to `False`): Whether the MLP has biases.
        rms_norm_eps (`float`, defaults to 1e-6): Epsilon of all RMSNorms.
        dropout (`float`, defaults to 0.0): Dropout probability of the embeddings and of the result of each convolution, cell
            and MLP before it is added to the residual stream.
        initializer_range (`float`, defaults to 0.02): Standard deviation of the initial weight matrices.
        scan_backend (`str`, defaults to `"auto"`): Backend of the scan, see `hf_minrnn.resolve_backend`. If it cannot run on
            the machine, the device or the dtype, a warning says so and `"auto"` is used.
        use_cache (`bool`, defaults to `True`): Whether the model returns its state.
        max_position_embeddings (`int`, *optional*, defaults to 32768): Length to which other tools cut texts, such as lm-eval.
            With `None` they use defaults of their own. The model has no positions and no longest text, and `generate` does not
            stop there.
        tie_word_embeddings (`bool`, defaults to `True`): Whether the language model head shares its weights with the
            embeddings.
        pad_token_id (`int`, *optional*): Padding token. Padding never changes the state.
        bos_token_id (`int`, *optional*): Token at the beginning of a text.
        eos_token_id (`int` or list of `int`, *optional*): Token, or tokens, at the end of a text.

    Raises:
        huggingface_hub.errors.StrictDataclassError: For an invalid value or combination of values. The message names the field.

    ```python
    >>> from hf_minrnn import MinRNNConfig

    >>> config = MinRNNConfig(vocab_size=256, hidden_size=64, num_hidden_layers=2)
    >>> config.state_size, config.intermediate_size, config.layer_forget_gate_floor(1)
    (128, 128, 0.9)
    >>> tracking = MinRNNConfig(num_hidden_layers=3, forget_gate_floor="signed")
    >>> [tracking.layer_forget_gate_floor(n) for n in range(3)]
    [-1.0, 0.45, 0.9]
    >>> MinRNNConfig.paper(hidden_size=64).candidate_activation
    'g'

    ```
    """

    model_type = "minrnn"
    keys_to_ignore_at_inference = ["past_key_values"]

    vocab_size: int = 32000
    hidden_size: int = 768
    num_hidden_layers: int = 12
    cell_type: str = "mingru"
    expand_ratio: float | int = 2.0
    output_projection: bool = True
    intermediate_size: int | None = None
    hidden_act: str = "silu"
    gated_mlp: bool = True
    conv_kernel_size: int = 4
    conv_position: str = "residual"
    candidate_activation: str = "identity"
    normalize_gates: bool = True
    gate_bias: float | int = 0.0
    learn_initial_state: bool = False
    output_gate: bool = True
    forget_gate_floor: float | int | str | list[float | int] = 0.9
    forget_gate_floor_depth: int | None = None
    state_norm: bool = True
    bidirectional: bool = False
    use_bias: bool = True
    conv_bias: bool = True
    mlp_bias: bool = False
    rms_norm_eps: float | int = 1e-6
    dropout: float | int = 0.0
    initializer_range: float | int = 0.02
    scan_backend: str = "auto"
    use_cache: bool = True
    # Tools compute the logits of a text of this length at once. Those of a longer text would fill the memory.
    max_position_embeddings: int | None = 32768
    tie_word_embeddings: bool = True
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        if "state_size" in kwargs:
            raise ValueError("state_size is hidden_size times expand_ratio: give expand_ratio")
        if self.intermediate_size is None and math.isfinite(self.expand_ratio):  # else validate_architecture raises
            width = max(2 * self.hidden_size, 6 * self.hidden_size - 2 * self.state_size)
            self.intermediate_size = _mlp_width(width, self.gated_mlp)
        super().__post_init__(**kwargs)

    @classmethod
    def paper(cls, cell_type: str = "mingru", **kwargs: Any) -> "MinRNNConfig":
        """Makes a configuration with the paper's block: `x + conv(x)`, `x + cell(norm(x))`, `x + mlp(norm(x))`, with the
        activation g for the candidate and without tied embeddings.

        Args:
            cell_type (`str`, defaults to `"mingru"`): `"mingru"` or `"minlstm"`.
            kwargs: Any other fields. Fields that are not given have the paper's values. The width of the MLP is then 4 times
                `hidden_size`, or 8/3 times with `gated_mlp`, for any width of the state.

        >>> config = MinRNNConfig.paper("minlstm", vocab_size=65, hidden_size=384, num_hidden_layers=3)
        >>> config.conv_position, config.output_gate, config.gate_bias, config.intermediate_size
        ('residual', False, 3.0, 1536)
        """
        paper = {
            "expand_ratio": 1.0,
            "candidate_activation": "g",
            "conv_position": "residual",
            "conv_bias": True,
            "output_gate": False,
            "forget_gate_floor": 0.0,
            "state_norm": False,
            "gated_mlp": False,
            "hidden_act": "gelu",
            "mlp_bias": True,
            "gate_bias": 3.0 if cell_type == "minlstm" else 0.0,
            "tie_word_embeddings": False,
        }
        hidden_size = kwargs.get("hidden_size", cls.hidden_size)
        if kwargs.get("intermediate_size") is None and isinstance(hidden_size, int):  # other types raise an error later
            kwargs["intermediate_size"] = _mlp_width(4 * hidden_size, kwargs.get("gated_mlp", False))
        return cls(cell_type=cell_type, **(paper | kwargs))

    @property
    def layer_types(self) -> list[str]:
        """Type of the cache layer of each block, for `DynamicCache` and `StaticCache`."""
        return [LAYER_TYPE] * self.num_hidden_layers

    @property
    def state_size(self) -> int:
        """Width of the recurrent state of a block."""
        return round(self.hidden_size * self.expand_ratio)

    def layer_forget_gate_floor(self, layer_idx: int) -> float:
        """Returns the floor of the decay in block `layer_idx`.

        Raises:
            ValueError: If `forget_gate_floor` is a list without a value for this block.
        """
        floor = self.forget_gate_floor
        if isinstance(floor, list):
            if layer_idx >= len(floor):
                raise ValueError(
                    f"forget_gate_floor has {len(floor)} values for {self.num_hidden_layers} blocks: give one for each, or a "
                    "number for the last"
                )
            return floor[layer_idx]
        if floor == "signed" and layer_idx == 0:
            return SIGNED_FLOOR
        if isinstance(floor, str):
            floor = NAMED_FLOORS[floor]
        if floor < 0:
            return floor
        last = max((self.forget_gate_floor_depth or self.num_hidden_layers) - 1, 1)
        return floor * min(layer_idx / last, 1)

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields, always with a value for `forget_gate_floor_depth`.

        An existing `auto_map` is completed: transformers enters only the class that is saved, under the file that defines it.
        Entries for classes with other names, such as subclasses, are kept.
        """
        values = super().to_dict()
        if self.forget_gate_floor_depth is None:
            values["forget_gate_floor_depth"] = self.num_hidden_layers
        if values.get("auto_map"):
            values["auto_map"] = AUTO_MAP | {
                auto_class: reference
                for auto_class, reference in values["auto_map"].items()
                if auto_class not in AUTO_MAP or _class_name(reference) != _class_name(AUTO_MAP[auto_class])
            }
        return values

    def save_pretrained(self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs: Any) -> None:
        """Saves the configuration, and the files of the model's code if it has an `auto_map`.

        Args:
            save_directory (`str` or `os.PathLike`): The folder.
            push_to_hub (`bool`, defaults to `False`): Whether the folder is uploaded to the Hub.
            kwargs: The arguments of `push_to_hub`, such as `repo_id`.
        """
        if not (getattr(self, "auto_map", None) or self._auto_class):
            return super().save_pretrained(save_directory, push_to_hub=push_to_hub, **kwargs)
        super().save_pretrained(save_directory)
        entry_point = Path(__file__).with_name("hub_minrnn.py")
        for source in (entry_point, *map(Path, get_relative_import_files(entry_point))):
            target = Path(save_directory, source.name)
            if not (target.exists() and target.samefile(source)):
                shutil.copyfile(source, target)
        if push_to_hub:  # transformers' save_pretrained would only push the files that it wrote itself
            self.push_to_hub(kwargs.pop("repo_id", Path(save_directory).name), **kwargs)

    def validate_layer_type(self) -> None:
        """Accepts `layer_types`, which is a property here. transformers' check does not know its value."""

    def validate_architecture(self) -> None:
        """Checks the values and their combinations.

        Raises:
            ValueError: For an invalid value. The message names the field.
        """
        super().validate_architecture()
        self._check_choices()
        self._check_ranges()
        self._check_fractions()
        self._check_combinations()

    def _check_choices(self):
        if self.cell_type not in CELL_TYPES:
            raise ValueError(
                f"cell_type must be one of {', '.join(CELL_TYPES)}, got {self.cell_type!r}: a cell that is not part of "
                "hf_minrnn must be registered with hf_minrnn.register_cell before its config is created or loaded"
            )
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}")
        if self.hidden_act not in ACT2FN:
            raise ValueError(f"hidden_act must be one of transformers' activations, got {self.hidden_act!r}")

    def _check_ranges(self):
        for name in ("expand_ratio", "gate_bias", "initializer_range", "rms_norm_eps"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} must be finite, got {getattr(self, name)}")
        for name in ("vocab_size", "hidden_size", "num_hidden_layers", "expand_ratio", "rms_norm_eps"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("max_position_embeddings", "forget_gate_floor_depth"):
            if getattr(self, name) is not None and getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive or None, got {getattr(self, name)}")
        for name in ("intermediate_size", "conv_kernel_size", "initializer_range"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")

    def _check_fractions(self):
        floors = self.forget_gate_floor
        if isinstance(floors, str):
            if floors not in NAMED_FLOORS:
                names = ", ".join(NAMED_FLOORS)
                raise ValueError(
                    f"forget_gate_floor must be a number, a list of numbers, or one of {names}, got {floors!r}"
                )
            floors = []
        if not isinstance(floors, list):
            floors = [floors]
        for name, values, least in (("forget_gate_floor", floors, -1), ("dropout", [self.dropout], 0)):
            for value in values:
                if not least <= value < 1:
                    raise ValueError(f"{name} must be at least {least} and below 1, got {value}")

    def _check_combinations(self):
        self.layer_forget_gate_floor(self.num_hidden_layers - 1)  # raises for a list that is too short
        if abs(self.hidden_size * self.expand_ratio - self.state_size) > 1e-6 * self.hidden_size or not self.state_size:
            raise ValueError(
                f"expand_ratio {self.expand_ratio} times hidden_size {self.hidden_size} is not a whole number of channels: "
                f"use {max(self.state_size, 1) / self.hidden_size!r}"
            )
        if not self.output_projection and self.state_size != self.hidden_size:
            raise ValueError(f"output_projection=False needs expand_ratio=1, got {self.expand_ratio}")
        if self.gate_bias and not self.use_bias:
            raise ValueError(f"gate_bias {self.gate_bias} needs use_bias=True: it is the initial value of a bias")
        if not self.normalize_gates and self.cell_type != "minlstm":
            raise ValueError('normalize_gates=False needs cell_type="minlstm": minGRU has one gate')
        if self.conv_kernel_size == 1 and self.conv_position == "mixer":
            raise ValueError(
                'conv_kernel_size 1 in the "mixer" sees no other step: use 0 for no convolution, or at least 2'
            )


__all__ = ["MinRNNConfig"]
