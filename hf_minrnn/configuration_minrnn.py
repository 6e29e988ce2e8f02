# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""MinRNNConfig: the shape of a minGRU or minLSTM language model."""

import math
import shutil
from pathlib import Path

from .cache_minrnn import LAYER_TYPE
from .compat import ACT2FN, PreTrainedConfig, get_relative_import_files, strict
from .gates import CELL_TYPES

CHOICES = {
    "candidate_activation": ("g", "identity"),
    "conv_position": ("residual", "mixer"),
}

# What remote code is loaded by, see hub_minrnn.py.
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


def _mlp_width(plain: int, gated: bool) -> int:
    # Whole numbers: a float a little above a multiple of 64 would be rounded up to the next.
    return -(-2 * plain // 192) * 64 if gated else -(-plain // 64) * 64


@strict
class MinRNNConfig(PreTrainedConfig):
    r"""
    Configuration of [`MinRNNModel`] and its heads (minGRU and minLSTM, "Were RNNs All We Needed?", arXiv 2410.01201).

    The defaults are this project's block: the paper's with the identity as candidate, a state twice as wide, a forget-gate
    floor that rises with depth, RMSNorm on the state, a SiLU output gate, a gated MLP without biases, narrower for the
    state's sake, and tied embeddings. [`MinRNNConfig.paper`] is the paper's block.

    Args:
        vocab_size (`int`, defaults to 32000): Tokens in the vocabulary.
        hidden_size (`int`, defaults to 768): Width of the residual stream.
        num_hidden_layers (`int`, defaults to 12): Number of blocks.
        cell_type (`str`, defaults to `"mingru"`): `"mingru"`, `"minlstm"`, or the name of a cell that was registered with
            `hf_minrnn.register_cell`.
        expand_ratio (`float`, defaults to 2.0): Channels of the recurrent state per unit of `hidden_size`.
        output_projection (`bool`, defaults to `True`): Whether a Linear brings the state back to `hidden_size`. Without
            it `expand_ratio` must be 1.
        intermediate_size (`int`, *optional*): Width of the MLP of each block; 0 for none. By default 6 times
            `hidden_size` less twice the state, and at least 2 times `hidden_size`, so that a minGRU with an output gate has
            about as many parameters with any state; with `gated_mlp` two thirds of that; rounded up to a multiple of 64.
        hidden_act (`str`, defaults to `"silu"`): Activation of the MLP.
        gated_mlp (`bool`, defaults to `True`): Whether the MLP is `down(act(gate(x)) * up(x))` rather than
            `down(act(up(x)))`.
        conv_kernel_size (`int`, defaults to 4): Steps that the causal convolution sees; 0 for no convolution.
        conv_position (`str`, defaults to `"residual"`): `"residual"`: the paper's, depthwise then pointwise, added to the
            residual stream before the norm. `"mixer"`: depthwise, after the norm and before the gates, starting as the
            identity.
        candidate_activation (`str`, defaults to `"identity"`): `"identity"` (the paper's section 3) or `"g"` (appendix B).
        normalize_gates (`bool`, defaults to `True`): minLSTM only: divide the two gates by their sum.
        gate_bias (`float`, defaults to 0.0): What the bias of the forget side starts from: the decay of a fresh model is
            around `sigmoid(gate_bias)`, before the floor.
        learn_initial_state (`bool`, defaults to `False`): Whether sequences start from a learned state instead of zeros.
        output_gate (`bool`, defaults to `True`): Multiply the state by `silu` of a gate from the same projection.
        forget_gate_floor (`float` or list of `float`, defaults to 0.9): Floor of the decay in the last block, in [0, 1); it
            rises linearly with depth from 0 in the first; a single block has none. Or the floor of each block, as it is
            saved of a model from which blocks have been taken out.
        forget_gate_floor_depth (`int`, *optional*): Blocks over which the floor rises, by default `num_hidden_layers`. It is
            saved, so that `from_pretrained(..., num_hidden_layers=3)` leaves the first three as they were; for a fresh
            model of another depth set it to `None`.
        state_norm (`bool`, defaults to `True`): RMSNorm on the state before the output gate.
        bidirectional (`bool`, defaults to `False`): A second mixer in each block that runs from the end of each text to its
            beginning, added to the first; for the classification heads. There is then no state to carry, no cache and no
            `generate`. A convolution at `"residual"` is one for both, and looks back only.
        use_bias (`bool`, defaults to `True`): Biases in the input and output projections of the cell.
        conv_bias (`bool`, defaults to `True`): Biases in the convolution.
        mlp_bias (`bool`, defaults to `False`): Biases in the MLP.
        rms_norm_eps (`float`, defaults to 1e-6): Epsilon of every RMSNorm.
        dropout (`float`, defaults to 0.0): Dropout on the embeddings and on what each branch adds to the residual stream.
        initializer_range (`float`, defaults to 0.02): Standard deviation of fresh weight matrices.
        scan_backend (`str`, defaults to `"auto"`): Backend of the scan, see `hf_minrnn.resolve_backend`. A wish: where it
            does not exist, "auto" is used and a warning says so.
        use_cache (`bool`, defaults to `True`): Whether the model returns its state.
        max_position_embeddings (`int`, *optional*, defaults to 32768): No limit of the model, which has none and no
            positions either, and none of its `generate`: what tools that ask for a longest text, such as lm-eval, cut texts
            to. With `None` they take defaults of their own.

    Raises:
        huggingface_hub.errors.StrictDataclassError: For a value or a combination that makes no sense, by the field's name.

    ```python
    >>> from hf_minrnn import MinRNNConfig

    >>> config = MinRNNConfig(vocab_size=256, hidden_size=64, num_hidden_layers=2)
    >>> config.state_size, config.intermediate_size, config.layer_forget_gate_floor(1)
    (128, 128, 0.9)
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
    forget_gate_floor: float | int | list[float | int] = 0.9
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
    # Tools compute the logits of a text of this length at once: more would fill the memory, with the default vocabulary.
    max_position_embeddings: int | None = 32768
    tie_word_embeddings: bool = True
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None

    def __post_init__(self, **kwargs):
        if "state_size" in kwargs:
            raise ValueError("state_size is hidden_size times expand_ratio: give expand_ratio")
        if self.intermediate_size is None and math.isfinite(self.expand_ratio):  # what is not is refused below
            width = max(2 * self.hidden_size, 6 * self.hidden_size - 2 * self.state_size)
            self.intermediate_size = _mlp_width(width, self.gated_mlp)
        super().__post_init__(**kwargs)

    @classmethod
    def paper(cls, cell_type: str = "mingru", **kwargs) -> "MinRNNConfig":
        """The paper's block: x + conv(x), x + cell(norm(x)), x + mlp(norm(x)), with candidate g and untied embeddings.

        Any field can be given; what is not takes the paper's value instead of this project's: the MLP is 4 times as wide as
        `hidden_size`, or with `gated_mlp` 8/3 times, whatever the state.

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
        if kwargs.get("intermediate_size") is None and isinstance(hidden_size, int):  # others are refused by their name
            kwargs["intermediate_size"] = _mlp_width(4 * hidden_size, kwargs.get("gated_mlp", False))
        return cls(cell_type=cell_type, **(paper | kwargs))

    @property
    def layer_types(self) -> list[str]:
        """The kind of cache layer of each block, as `DynamicCache` and `StaticCache` read it."""
        return [LAYER_TYPE] * self.num_hidden_layers

    @property
    def state_size(self) -> int:
        """Channels of one block's recurrent state."""
        return round(self.hidden_size * self.expand_ratio)

    def layer_forget_gate_floor(self, layer_idx: int) -> float:
        """Floor of the decay in block `layer_idx`: as listed, or rising linearly with depth from 0 to `forget_gate_floor`."""
        if isinstance(self.forget_gate_floor, list):
            if layer_idx >= len(self.forget_gate_floor):
                raise ValueError(
                    f"forget_gate_floor has {len(self.forget_gate_floor)} values for {self.num_hidden_layers} blocks: give "
                    "one for each, or a number for the last"
                )
            return self.forget_gate_floor[layer_idx]
        last = max((self.forget_gate_floor_depth or self.num_hidden_layers) - 1, 1)
        return self.forget_gate_floor * min(layer_idx / last, 1)

    def to_dict(self) -> dict:
        """The fields, with the depth that the floor rises over. An `auto_map`, where there is one, is complete: transformers
        enters only the class that is saved, by the file that defines it. Entries for classes of other names, as of a
        subclass, stay.
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

    def save_pretrained(self, save_directory, push_to_hub: bool = False, **kwargs):
        """Saves the config, and with an `auto_map` all files of the code that it names."""
        if not (getattr(self, "auto_map", None) or self._auto_class):
            return super().save_pretrained(save_directory, push_to_hub=push_to_hub, **kwargs)
        super().save_pretrained(save_directory)
        door = Path(__file__).with_name("hub_minrnn.py")
        for source in (door, *map(Path, get_relative_import_files(door))):
            target = Path(save_directory, source.name)
            if not (target.exists() and target.samefile(source)):
                shutil.copyfile(source, target)
        if push_to_hub:  # by another way than transformers' own, which pushes only the files that it wrote itself
            self.push_to_hub(kwargs.pop("repo_id", Path(save_directory).name), **kwargs)

    def validate_layer_type(self):
        """`layer_types` is derived, and its one value is registered by this package, so there is nothing to check."""

    def validate_architecture(self):
        """Refuses values and combinations that make no sense, by name."""
        super().validate_architecture()
        if self.cell_type not in CELL_TYPES:
            raise ValueError(
                f"cell_type must be one of {', '.join(CELL_TYPES)}, got {self.cell_type!r}: a cell that is not part of "
                "hf_minrnn must be registered with hf_minrnn.register_cell before its config is created or loaded"
            )
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}")
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
        floors = self.forget_gate_floor if isinstance(self.forget_gate_floor, list) else [self.forget_gate_floor]
        for name, values in (("forget_gate_floor", floors), ("dropout", [self.dropout])):
            for value in values:
                if not 0 <= value < 1:
                    raise ValueError(f"{name} must be at least 0 and below 1, got {value}")
        self.layer_forget_gate_floor(self.num_hidden_layers - 1)  # which refuses a list that is too short
        if self.hidden_act not in ACT2FN:
            raise ValueError(f"hidden_act must be one of transformers' activations, got {self.hidden_act!r}")
        if abs(self.hidden_size * self.expand_ratio - self.state_size) > 1e-6 * self.hidden_size or not self.state_size:
            raise ValueError(
                f"expand_ratio {self.expand_ratio} times hidden_size {self.hidden_size} is no whole number of channels: "
                f"use {max(self.state_size, 1) / self.hidden_size!r}"
            )
        if not self.output_projection and self.state_size != self.hidden_size:
            raise ValueError(f"output_projection=False needs expand_ratio=1, got {self.expand_ratio}")
        if self.gate_bias and not self.use_bias:
            raise ValueError(f"gate_bias {self.gate_bias} needs use_bias=True: there is no bias to start from it")
        if not self.normalize_gates and self.cell_type != "minlstm":
            raise ValueError('normalize_gates=False needs cell_type="minlstm": minGRU has one gate')
        if self.conv_kernel_size == 1 and self.conv_position == "mixer":
            raise ValueError(
                'conv_kernel_size 1 in the "mixer" sees one step, no neighbours: use 0 for none, or 2 and more'
            )


__all__ = ["MinRNNConfig"]
