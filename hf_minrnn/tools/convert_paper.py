# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Converts state dicts of the paper's layers, stacked as in its selective-copying experiment.

`LAYOUT` describes the accepted state dicts, `describe()` adds the names of their parts, and `Options` holds what a state dict
does not contain.
"""

import math
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch

from ..compat import ACT2FN
from ..configuration_minrnn import MinRNNConfig
from .checkpoints import bare, check_fit, copies, default_eps, listed, size

LAYOUT = """\
The paper's layers: an embedding, layers of
    x = x + pointwise(depthwise(x))                 optional, causal
    x = x + out(scan(gates(norm(x))))
    x = x + ff_down(activation(ff_up(ff_norm(x))))  optional
then a final norm and a separate head without bias. gates is one Linear with bias. It has 2 (minGRU) or 3 (minLSTM) times as
many rows as out has columns. Every norm is an RMSNorm with a weight. A LayerNorm with a bias is rejected; one without bias
looks like an RMSNorm. The biases of out, of the convolution and of ff may be missing. depthwise is (dim, 1, kernel);
pointwise is a Linear or a convolution with kernel size 1. Each part is a module with weight and bias, or a tensor with the
name of the part, which is its weight. All layers have the same parts.

The names in a layer are LAYERS.NUMBER.NAME. Every name, and the NAME in a layer, may begin with module., model. and
_orig_mod.; [a|b.] may be left out, except before a number. A file with missing or additional tensors is rejected. If the
file uses another name for a part, give it with --name (Options.names in Python)."""


class Role(NamedTuple):
    """The names that a part may have: one of `names`, optionally inside one of the modules `within`.

    >>> print(Role("rnn cell", "out_proj out"), Role("rnn cell", "out_proj out").paths())
    [rnn|cell.](out_proj|out) ['out_proj', 'out', 'rnn.out_proj', 'rnn.out', 'cell.out_proj', 'cell.out']
    """

    within: str
    names: str

    def paths(self) -> list[str]:
        """Returns all names of the part."""
        names, modules = self.names.split(), self.within.split()
        alone = [name for name in names if not name.isdigit()]
        return alone + [f"{module}.{name}" for module in modules for name in names]

    def __str__(self) -> str:
        modules = f"[{self.within}.]" if self.within else ""
        return f"{modules}({self.names})".replace(" ", "|")


CELL, FF = "rnn cell mixer mingru minlstm", "ff ffn mlp feed_forward"
LAYERS = "layers"
TOP = {
    LAYERS: Role("", "layers blocks"),
    "embedding": Role("", "embedding embed emb embed_tokens token_emb token_embedding wte"),
    "final_norm": Role("", "final_norm norm norm_f out_norm"),
    "head": Role("", "head lm_head to_logits output out_head"),
}
IN_LAYER = {
    "depthwise": Role("conv", "depthwise depthwise_conv 0"),
    "pointwise": Role("conv", "pointwise pointwise_conv 1"),
    "norm": Role("", "norm norm1 norm_1 rnn_norm cell_norm mixer_norm"),
    "gates": Role(CELL, "gates to_gates in_proj input_proj linear_in to_hidden_and_gate to_hidden_and_f_i_gate"),
    "out": Role(CELL, "out to_out out_proj output_proj linear_out"),
    "ff_norm": Role("", "ff_norm mlp_norm norm2 norm_2"),
    "ff_up": Role(FF, "ff_up up up_proj fc1 linear1 0"),
    "ff_down": Role(FF, "ff_down down down_proj fc2 linear2 2 3"),
}
PARTS = TOP | IN_LAYER
# Tensors that a MinRNN model cannot hold, with the reason.
REJECTED = {part: "a norm with a bias is a LayerNorm" for part in ("norm.bias", "ff_norm.bias", "final_norm.bias")}
REJECTED["head.bias"] = "the head has no bias"
# Blocks of `gates`, in the order of this package.
BLOCKS = {"mingru": ("gate", "candidate"), "minlstm": ("forget", "input", "candidate")}


def describe() -> str:
    """Returns the accepted layout and the names of its parts, as `hf-minrnn convert --help` prints them."""
    rows = [f"    {role:<11}{names}" for role, names in PARTS.items()]
    return "\n".join([LAYOUT, *rows])


class Options(NamedTuple):
    """What a state dict of the paper's layers does not contain. The defaults are those of the paper; published code may differ.

    Args:
        names (dict of `str` by `str`, *optional*): The file's name for a part of the layout (without the layer, for a part of
            a layer), in place of the names in `TOP` and `IN_LAYER`.
        order (tuple of `str`, *optional*): The order of the blocks of `gates`. By default ("gate", "candidate") or
            ("forget", "input", "candidate").
        normalize_gates (`bool`, defaults to `True`): Whether the two gates of a minLSTM are divided by their sum.
        candidate_activation (`str`, defaults to `"g"`): "g" (appendix B) or "identity" (section 3).
        forget_bias (`float`, defaults to 0.0): What the original code of a minLSTM adds to the forget gate at run time. Leave
            it 0 if the stored bias contains it: `hf-minrnn convert` prints the mean of the stored bias. The sum is rounded to
            the checkpoint's dtype.
        initial_state (`float`, defaults to 0.0): Value of every channel of the state before the first token. It is 0.5 if the
            original code applies g to zeros.
        hidden_act (`str`, defaults to `"gelu"`): Activation of the feed-forward part.
        rms_norm_eps (`float`, *optional*): eps of every norm. By default that of `torch.nn.RMSNorm`.
    """

    names: dict[str, str] | None = None
    order: tuple[str, ...] | None = None
    normalize_gates: bool = True
    candidate_activation: str = "g"
    forget_bias: float = 0.0
    initial_state: float = 0.0
    hidden_act: str = "gelu"
    rms_norm_eps: float | None = None


def find(names: Iterable[str], options: Options | None = None) -> tuple[dict[str, str], list[str]]:
    """Assigns the names of a state dict to the parts of the layout.

    Args:
        names (iterable of `str`): The names.
        options (`Options`, *optional*): Its `names` are used.

    Returns:
        `(found, left)`: the names by part, such as "head.weight" and "layers.0.gates.bias", and the names that belong to no
        part.

    Raises:
        ValueError: If `options.names` has an unknown part, or one name for two parts.

    >>> find(["model.emb.weight", "model.blocks.0.rnn.out.bias", "wpe.weight"])
    ({'embedding.weight': 'model.emb.weight', 'layers.0.out.bias': 'model.blocks.0.rnn.out.bias'}, ['wpe.weight'])
    """
    names = list(names)
    given = (options and options.names) or {}
    unknown = [role for role in given if role not in PARTS]
    if unknown:
        raise ValueError(f"unknown part {', '.join(unknown)}: the parts are {', '.join(PARTS)}")
    top = _by_path(TOP, given)
    in_layer = _by_path(IN_LAYER, given)
    containers = "|".join(re.escape(path) for path, role in top.items() if role == LAYERS)
    numbered = re.compile(rf"(?:{containers})\.(\d{{1,9}})\.(.+)")
    found, left = {}, []
    for name in names:
        path = bare(name)
        match = numbered.fullmatch(path)
        # A layer has several tensors. A number beyond their count is not a layer: do not list all layers before it as missing.
        if match and int(match[1]) < len(names):
            part = _part(bare(match[2]), in_layer)
            part = part and f"{LAYERS}.{int(match[1])}.{part}"
        else:
            part = _part(path, top)
        if part is None or part in found:
            left.append(name)
        else:
            found[part] = name
    return found, left


def _by_path(roles: dict[str, Role], given: dict[str, str]) -> dict[str, str]:
    paths = {path: role for role, names in roles.items() if role not in given for path in names.paths()}
    own = {role: bare(path) for role, path in given.items() if role in roles}
    if len(set(own.values())) < len(own):
        pairs = ", ".join(f"{role}={path}" for role, path in own.items())
        raise ValueError(f"one name for two parts: {pairs}: give each part a name of its own")
    return paths | {path: role for role, path in own.items()}


def _part(path: str, roles: dict[str, str]) -> str | None:
    module, _, leaf = path.rpartition(".")
    if leaf in ("weight", "bias") and module in roles:
        return f"{roles[module]}.{leaf}"
    return f"{roles[path]}.weight" if path in roles else None


def is_paper(names: Iterable[str], options: Options | None = None) -> bool:
    """Whether these are the names of such a state dict, complete or not. It has gates, or `options.names` is given.

    >>> is_paper(["layers.0.rnn.in_proj.weight"]), is_paper(["layers.0.attn.in_proj.weight"])
    (True, False)
    """
    if options and options.names:
        return True
    found, _ = find(names, options)
    return any(part.endswith(".gates.weight") for part in found)


def read(
    tensors: dict[str, torch.Tensor], options: Options | None = None
) -> tuple[MinRNNConfig, dict[str, torch.Tensor], list[str]]:
    """Converts a state dict of the paper's layers to configuration and weights of `MinRNNForCausalLM`.

    Args:
        tensors (dict of `torch.Tensor` by name): The state dict.
        options (`Options`, *optional*): What the state dict does not contain.

    Returns:
        `(config, tensors, taken)`: `MinRNNConfig`; dict of `torch.Tensor` by name, none of which share memory; and what
        was taken from the options, a list of `str`.

    Raises:
        ValueError: If parts are missing, names are left over, shapes or dtypes do not fit, `MinRNNConfig` cannot express the
            model, or options are invalid. The message names them.
    """
    options = options or Options()
    found, parts, depth = _find_all(tensors, options)
    by_part = {part: tensors[name] for part, name in found.items()}
    cell_type, sizes = _sizes(by_part, found, parts)
    check_fit(tensors, {found[part]: shape for part, shape in _shapes(parts, depth, **sizes).items()})
    order = _check(options, cell_type)
    config = MinRNNConfig.paper(
        cell_type,
        vocab_size=sizes["vocab"],
        hidden_size=sizes["dim"],
        num_hidden_layers=depth,
        expand_ratio=sizes["state"] / sizes["dim"],
        intermediate_size=sizes.get("width", 0),
        hidden_act=options.hidden_act,
        conv_kernel_size=sizes.get("kernel", 0),
        conv_bias=bool(parts & {"depthwise.bias", "pointwise.bias"}),
        mlp_bias=bool(parts & {"ff_up.bias", "ff_down.bias"}),
        candidate_activation=options.candidate_activation,
        normalize_gates=options.normalize_gates,
        learn_initial_state=options.initial_state != 0,
        rms_norm_eps=default_eps(tensors) if options.rms_norm_eps is None else options.rms_norm_eps,
    )
    return config, _rename(by_part, config, order, options), _taken(by_part, config, order, options)


def _find_all(tensors: dict[str, torch.Tensor], options: Options) -> tuple[dict[str, str], set[str], int]:
    """Returns the names by part, the kinds of tensors in a layer, and the number of layers; rejects other state dicts."""
    found, left = find(tensors, options)
    in_layers = [part for part in found if part.startswith(f"{LAYERS}.")]
    parts = {_kind(part) for part in in_layers}
    depth = 1 + max((int(part.split(".")[1]) for part in in_layers), default=0)
    shapes = _shapes(parts, depth)
    left += [name for part, name in found.items() if part not in shapes and _kind(part) not in REJECTED]
    problems = listed("missing", (part for part in shapes if part not in found))
    problems += listed("left over", (f"{name} {tuple(tensors[name].shape)}" for name in left))
    if problems:
        hint = "hf-minrnn convert --help lists the accepted names, and --name adds one"
        raise ValueError(f"not a state dict of the paper's layers: {'; '.join([*problems, hint])}")
    rejected = [f"{name} ({REJECTED[_kind(part)]})" for part, name in found.items() if _kind(part) in REJECTED]
    if rejected:
        raise ValueError(listed("a MinRNN model has RMSNorms and a head without bias; it cannot hold", rejected)[0])
    return found, parts, depth


def _sizes(by_part: dict[str, torch.Tensor], found: dict[str, str], parts: set[str]) -> tuple[str, dict[str, int]]:
    """Returns the cell type, and the sizes that `_shapes` takes, from the shapes of the first layer and the embedding."""
    rows = size(by_part, "layers.0.gates.weight", 0)
    state = size(by_part, "layers.0.out.weight", -1)
    cell_type = {2 * state: "mingru", 3 * state: "minlstm"}.get(rows)
    if not state or cell_type is None:
        raise ValueError(
            f"cannot be converted: {found['layers.0.gates.weight']} has {rows} rows, neither 2 nor 3 times the "
            f"{state} columns of {found['layers.0.out.weight']}"
        )
    sizes = {
        "vocab": size(by_part, "embedding.weight", 0),
        "dim": size(by_part, "embedding.weight", -1),
        "rows": rows,
        "state": state,
    }
    if "ff_up.weight" in parts:
        sizes["width"] = size(by_part, "layers.0.ff_up.weight", 0)
    if "depthwise.weight" in parts:
        sizes["kernel"] = size(by_part, "layers.0.depthwise.weight", -1)
        sizes["pointwise_ndim"] = by_part["layers.0.pointwise.weight"].ndim
    return cell_type, sizes


def _kind(part: str) -> str:
    """The part without its layer: "gates.bias" for "layers.0.gates.bias"."""
    return part.split(".", 2)[2] if part.startswith(f"{LAYERS}.") else part


def _shapes(
    parts: set[str],
    depth: int,
    vocab: int = 0,
    dim: int = 0,
    rows: int = 0,
    state: int = 0,
    width: int = 0,
    kernel: int = 0,
    pointwise_ndim: int = 3,
) -> dict[str, tuple[int, ...]]:
    """The shape of every part of a model whose layers have the tensors `parts`."""
    layer = {"norm.weight": (dim,), "gates.weight": (rows, dim), "gates.bias": (rows,), "out.weight": (dim, state)}
    biases = {"out.bias": (dim,)}
    if any(part.startswith(("depthwise", "pointwise")) for part in parts):
        layer["depthwise.weight"] = (dim, 1, kernel)
        layer["pointwise.weight"] = (dim, dim) if pointwise_ndim == 2 else (dim, dim, 1)
        biases |= {"depthwise.bias": (dim,), "pointwise.bias": (dim,)}
    if any(part.startswith("ff_") for part in parts):
        layer |= {"ff_norm.weight": (dim,), "ff_up.weight": (width, dim), "ff_down.weight": (dim, width)}
        biases |= {"ff_up.bias": (width,), "ff_down.bias": (dim,)}
    layer |= {part: shape for part, shape in biases.items() if part in parts}
    shapes = {"embedding.weight": (vocab, dim)}
    shapes |= {f"{LAYERS}.{n}.{part}": shape for n in range(depth) for part, shape in layer.items()}
    return shapes | {"final_norm.weight": (dim,), "head.weight": (vocab, dim)}


def _check(options: Options, cell_type: str) -> tuple[str, ...]:
    """Returns the order of the blocks of the gates; rejects options that do not fit."""
    blocks = BLOCKS[cell_type]
    order = blocks if options.order is None else tuple(options.order)
    if sorted(order) != sorted(blocks):
        raise ValueError(
            f"order {','.join(order)}: the gates of this {cell_type} have {', '.join(blocks)}, in any order"
        )
    if cell_type == "mingru" and (not options.normalize_gates or options.forget_bias):
        raise ValueError("normalize_gates and forget_bias are for minLSTM, but these gates are those of a minGRU")
    if options.candidate_activation not in ("g", "identity"):
        raise ValueError(f"candidate_activation must be g or identity, got {options.candidate_activation!r}")
    if not (math.isfinite(options.forget_bias) and math.isfinite(options.initial_state)):
        raise ValueError(f"forget_bias {options.forget_bias} and initial_state {options.initial_state} must be finite")
    if options.candidate_activation == "g" and options.initial_state < 0:
        raise ValueError(f"initial_state {options.initial_state}: must not be negative with candidate g")
    if options.hidden_act not in ACT2FN or list(ACT2FN[options.hidden_act].parameters()):
        raise ValueError(
            f"hidden_act must be one of transformers' activations without parameters, got {options.hidden_act!r}"
        )
    if options.rms_norm_eps is not None and not 0 < options.rms_norm_eps < math.inf:
        raise ValueError(f"rms_norm_eps must be positive and finite, got {options.rms_norm_eps}")
    return order


def _rename(
    by_part: dict[str, torch.Tensor], config: MinRNNConfig, order: Sequence[str], options: Options
) -> dict[str, torch.Tensor]:
    """The state dict of `MinRNNForCausalLM`."""
    renamed = {
        "model.embed_tokens.weight": by_part["embedding.weight"],
        "model.norm.weight": by_part["final_norm.weight"],
        "lm_head.weight": by_part["head.weight"],
    }
    like = by_part["head.weight"]
    names = {"out": "mixer.out_proj", "norm": "norm"}
    has_bias = {"out"}
    if config.conv_kernel_size:
        names |= {"depthwise": "conv.depthwise", "pointwise": "conv.pointwise"}
    if config.conv_bias:
        has_bias |= {"depthwise", "pointwise"}
    if config.intermediate_size:
        names |= {"ff_norm": "mlp_norm", "ff_up": "mlp.up_proj", "ff_down": "mlp.down_proj"}
    if config.mlp_bias:
        has_bias |= {"ff_up", "ff_down"}
    for n in range(config.num_hidden_layers):
        there, here = f"{LAYERS}.{n}", f"model.layers.{n}"
        for old, new in names.items():
            weight = by_part[f"{there}.{old}.weight"]
            renamed[f"{here}.{new}.weight"] = weight.flatten(1) if old == "pointwise" else weight
            if old in has_bias:
                bias = by_part.get(f"{there}.{old}.bias")
                renamed[f"{here}.{new}.bias"] = like.new_zeros(weight.shape[0]) if bias is None else bias
        for leaf in ("weight", "bias"):
            blocks = dict(zip(order, by_part[f"{there}.gates.{leaf}"].chunk(len(order))))
            if leaf == "bias" and options.forget_bias:
                blocks["forget"] = blocks["forget"] + options.forget_bias
            in_order = [blocks[block] for block in BLOCKS[config.cell_type]]
            renamed[f"{here}.mixer.cell.in_proj.{leaf}"] = torch.cat(in_order)
        if config.learn_initial_state:
            start = _initial_parameter(options.initial_state, config.candidate_activation)
            renamed[f"{here}.mixer.initial_state"] = like.new_full((config.state_size,), start)
    return copies(renamed)


def _initial_parameter(state: float, candidate_activation: str) -> float:
    """The parameter of an initial state. With candidate activation g, the state is g of the parameter."""
    if candidate_activation != "g":
        return state
    if state >= 0.5:
        return state - 0.5
    return math.log(state) - math.log1p(-state)


def _taken(by_part: dict[str, torch.Tensor], config: MinRNNConfig, order: Sequence[str], options: Options) -> list[str]:
    """What was taken from the options, one phrase each."""
    taken = [f"gates in the order {', '.join(order)}"]
    if config.cell_type == "minlstm":
        block = order.index("forget")
        biases = [by_part[f"{LAYERS}.{n}.gates.bias"].chunk(3)[block] for n in range(config.num_hidden_layers)]
        mean = torch.cat([bias.double() for bias in biases]).mean()
        taken.append("normalized" if config.normalize_gates else "not normalized")
        taken.append(f"forget bias {options.forget_bias:+g} added to stored ones of mean {mean:.2f}")
    taken.append(f"candidate {config.candidate_activation}")
    taken.append(f"initial state {options.initial_state:g}")
    if config.intermediate_size:
        taken.append(f"activation {config.hidden_act}")
    taken.append(f"RMSNorm with eps {config.rms_norm_eps:.3g}")
    return taken


__all__ = ["Options", "describe", "find", "is_paper", "read"]
