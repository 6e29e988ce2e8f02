# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""State dicts of the paper's layers, as its selective-copying experiment stacks them: configuration and weights of ours.

`LAYOUT` describes what is accepted, `describe()` adds the names, and `Options` is what a file cannot tell.
"""

import math
import re
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
then a final norm and a head of its own without bias. gates is one Linear with bias to 2 (minGRU) or 3 (minLSTM) times
the columns of out. Every norm is an RMSNorm times its weight: a LayerNorm is refused by its bias, and one without bias
cannot be told from it. The biases of out, of the convolution and of ff may be missing. depthwise is (dim, 1, kernel);
pointwise is a Linear or a convolution of one step. Each part is a module with weight and bias, or for the weight alone a
tensor of that name; all layers have the same parts.

A layer's names are LAYERS.NUMBER.NAME. Names, and the NAME of these, may begin with module., model. and _orig_mod.;
[a|b.] may be left out, except before a number. Anything else in the file, and anything missing from it, is refused. For
a part that the file calls otherwise, --name (in Python Options.names) says how."""


class Role(NamedTuple):
    """What a part may be called: one of `names`, inside one of `within` where there are any.

    >>> print(Role("rnn cell", "out_proj out"), Role("rnn cell", "out_proj out").paths())
    [rnn|cell.](out_proj|out) ['out_proj', 'out', 'rnn.out_proj', 'rnn.out', 'cell.out_proj', 'cell.out']
    """

    within: str
    names: str

    def paths(self) -> list[str]:
        """All of its names."""
        names, modules = self.names.split(), self.within.split()
        alone = [name for name in names if not name.isdigit()]
        return alone + [f"{module}.{name}" for module in modules for name in names]

    def __str__(self) -> str:
        return f"{f'[{self.within}.]' if self.within else ''}({self.names})".replace(" ", "|")


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
# What the model has no place for.
REFUSED = {part: "a norm with a bias is a LayerNorm" for part in ("norm.bias", "ff_norm.bias", "final_norm.bias")}
REFUSED["head.bias"] = "the head has no bias"
BLOCKS = {"mingru": ("gate", "candidate"), "minlstm": ("forget", "input", "candidate")}


def describe() -> str:
    """The accepted layout and the names of its parts, as `hf-minrnn convert --help` prints them."""
    rows = [f"    {role:<11}{names}" for role, names in PARTS.items()]
    return "\n".join([LAYOUT, *rows])


class Options(NamedTuple):
    """What a state dict of the paper's layers cannot tell. The defaults are the paper's; published code may differ.

    Args:
        names (dict of `str` by `str`, *optional*): What the file calls a part of the layout, inside its layer where it
            is a layer's, instead of the names in `TOP` and `IN_LAYER`.
        order (tuple of `str`, *optional*): The blocks of `gates`, by default ("gate", "candidate") or ("forget", "input",
            "candidate").
        normalize_gates (`bool`, defaults to `True`): minLSTM: whether the two gates are divided by their sum.
        candidate_activation (`str`, defaults to `"g"`): "g" (appendix B) or "identity" (section 3).
        forget_bias (`float`, defaults to 0.0): minLSTM: what the original adds to the forget gate at run time, 0 where
            the stored bias holds it; `hf-minrnn convert` prints what the stored ones average. The sum is rounded to
            the checkpoint's dtype.
        initial_state (`float`, defaults to 0.0): Every channel of the state before the first token; 0.5 where the
            original takes g of zeros.
        hidden_act (`str`, defaults to `"gelu"`): Activation of the feed-forward part.
        rms_norm_eps (`float`, *optional*): Of every norm; by default what `torch.nn.RMSNorm` takes by itself.
    """

    names: dict[str, str] | None = None
    order: tuple[str, ...] | None = None
    normalize_gates: bool = True
    candidate_activation: str = "g"
    forget_bias: float = 0.0
    initial_state: float = 0.0
    hidden_act: str = "gelu"
    rms_norm_eps: float | None = None


def find(names, options: Options | None = None) -> tuple[dict[str, str], list[str]]:
    """Which name of a state dict stands for which part.

    Args:
        names (iterable of `str`): The names.
        options (`Options`, *optional*): For its `names`.

    Returns:
        `(found, left)`: the names by part, such as "head.weight" and "layers.0.gates.bias", and the names of no part.

    Raises:
        ValueError: For `options.names` that name a part that there is not, or one name for two.

    >>> find(["model.emb.weight", "model.blocks.0.rnn.out.bias", "wpe.weight"])
    ({'embedding.weight': 'model.emb.weight', 'layers.0.out.bias': 'model.blocks.0.rnn.out.bias'}, ['wpe.weight'])
    """
    names, given = list(names), (options and options.names) or {}
    if unknown := [role for role in given if role not in PARTS]:
        raise ValueError(f"there is no part {', '.join(unknown)}: the parts are {', '.join(PARTS)}")
    top, in_layer = _by_path(TOP, given), _by_path(IN_LAYER, given)
    containers = "|".join(re.escape(path) for path, role in top.items() if role == LAYERS)
    numbered = re.compile(rf"(?:{containers})\.(\d{{1,9}})\.(.+)")
    found, left = {}, []
    for name in names:
        path = bare(name)
        match = numbered.fullmatch(path)
        # A layer has several tensors: a number beyond their count is foreign, and not worth a list of what is missing.
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
        raise ValueError(f"one name for two parts: {', '.join(f'{role}={path}' for role, path in own.items())}")
    return paths | {path: role for role, path in own.items()}


def _part(path: str, roles: dict[str, str]) -> str | None:
    module, _, leaf = path.rpartition(".")
    if leaf in ("weight", "bias") and module in roles:
        return f"{roles[module]}.{leaf}"
    return f"{roles[path]}.weight" if path in roles else None


def is_paper(names, options: Options | None = None) -> bool:
    """Whether these are the names of such a state dict, complete or not: the gates tell, or that names are given.

    >>> is_paper(["layers.0.rnn.in_proj.weight"]), is_paper(["layers.0.attn.in_proj.weight"])
    (True, False)
    """
    return bool(options and options.names) or any(part.endswith(".gates.weight") for part in find(names, options)[0])


def read(
    tensors: dict[str, torch.Tensor], options: Options | None = None
) -> tuple[MinRNNConfig, dict[str, torch.Tensor], list[str]]:
    """Configuration and weights of `MinRNNForCausalLM` for a state dict of the paper's layers.

    Args:
        tensors (dict of `torch.Tensor` by name): The state dict.
        options (`Options`, *optional*): What it cannot tell.

    Returns:
        `(config, tensors, taken)`: `MinRNNConfig`; dict of `torch.Tensor` by name, none of which shares memory with
        another; and what was taken from the options, one `str` for each.

    Raises:
        ValueError: By name, for parts that are missing, names that are left over, what `MinRNNConfig` cannot express,
            shapes and dtypes that do not fit, and options that make no sense.
    """
    options = options or Options()
    found, left = find(tensors, options)
    # What one layer has, each must have.
    parts = {_kind(part) for part in found if part.startswith(f"{LAYERS}.")}
    depth = 1 + max((int(part.split(".")[1]) for part in found if part.startswith(f"{LAYERS}.")), default=0)
    shapes = _shapes(parts, depth)
    left += [name for part, name in found.items() if part not in shapes and _kind(part) not in REFUSED]
    problems = listed("missing", (part for part in shapes if part not in found))
    problems += listed("left over", (f"{name} {tuple(tensors[name].shape)}" for name in left))
    if problems:
        hint = "hf-minrnn convert --help lists the names that parts may have, and --name gives another"
        raise ValueError(f"not a state dict of the paper's layers: {'; '.join([*problems, hint])}")
    refused = [f"{name} ({REFUSED[_kind(part)]})" for part, name in found.items() if _kind(part) in REFUSED]
    if refused:
        raise ValueError(listed("a MinRNN model has RMSNorms and a head without bias, no place for", refused)[0])

    part = {role: tensors[name] for role, name in found.items()}
    rows, state = size(part, "layers.0.gates.weight", 0), size(part, "layers.0.out.weight", -1)
    cell_type = {2 * state: "mingru", 3 * state: "minlstm"}.get(rows)
    if not state or cell_type is None:
        raise ValueError(
            f"cannot be converted: {found['layers.0.gates.weight']} has {rows} rows, neither 2 nor 3 times the "
            f"{state} columns of {found['layers.0.out.weight']}"
        )
    dim = size(part, "embedding.weight", -1)
    sizes = {"vocab": size(part, "embedding.weight", 0), "dim": dim, "rows": rows, "state": state}
    if "ff_up.weight" in parts:
        sizes["width"] = size(part, "layers.0.ff_up.weight", 0)
    if "depthwise.weight" in parts:
        sizes["kernel"] = size(part, "layers.0.depthwise.weight", -1)
        sizes["linear"] = part["layers.0.pointwise.weight"].ndim == 2
    check_fit(tensors, {found[role]: shape for role, shape in _shapes(parts, depth, **sizes).items()})
    order = _check(options, cell_type)
    config = MinRNNConfig.paper(
        cell_type,
        vocab_size=sizes["vocab"],
        hidden_size=dim,
        num_hidden_layers=depth,
        expand_ratio=state / dim,
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
    return config, _rename(part, config, order, options), _taken(part, config, order, options)


def _kind(part: str) -> str:
    return part.split(".", 2)[2] if part.startswith(f"{LAYERS}.") else part


def _shapes(
    parts, depth, vocab=0, dim=0, rows=0, state=0, width=0, kernel=0, linear=False
) -> dict[str, tuple[int, ...]]:
    """The shape of every part, where the layers have at least one tensor of each in `parts`."""
    layer = {"norm.weight": (dim,), "gates.weight": (rows, dim), "gates.bias": (rows,), "out.weight": (dim, state)}
    biases = {"out.bias": (dim,)}
    if any(part.startswith(("depthwise", "pointwise")) for part in parts):
        layer |= {"depthwise.weight": (dim, 1, kernel), "pointwise.weight": (dim, dim) if linear else (dim, dim, 1)}
        biases |= {"depthwise.bias": (dim,), "pointwise.bias": (dim,)}
    if any(part.startswith("ff_") for part in parts):
        layer |= {"ff_norm.weight": (dim,), "ff_up.weight": (width, dim), "ff_down.weight": (dim, width)}
        biases |= {"ff_up.bias": (width,), "ff_down.bias": (dim,)}
    layer |= {part: shape for part, shape in biases.items() if part in parts}
    shapes = {"embedding.weight": (vocab, dim)}
    shapes |= {f"{LAYERS}.{n}.{part}": shape for n in range(depth) for part, shape in layer.items()}
    return shapes | {"final_norm.weight": (dim,), "head.weight": (vocab, dim)}


def _check(options: Options, cell_type: str) -> tuple[str, ...]:
    """The order of the blocks of the gates; refuses options that do not fit."""
    blocks = BLOCKS[cell_type]
    order = blocks if options.order is None else tuple(options.order)
    if sorted(order) != sorted(blocks):
        raise ValueError(
            f"order {','.join(order)}: the gates of this {cell_type} have {', '.join(blocks)}, in any order"
        )
    if cell_type == "mingru" and (not options.normalize_gates or options.forget_bias):
        raise ValueError("normalize_gates and forget_bias are for minLSTM, and the gates are those of a minGRU")
    if options.candidate_activation not in ("g", "identity"):
        raise ValueError(f"candidate_activation must be g or identity, got {options.candidate_activation!r}")
    if not all(map(math.isfinite, (options.forget_bias, options.initial_state))):
        raise ValueError(f"forget_bias {options.forget_bias} and initial_state {options.initial_state} must be finite")
    if options.candidate_activation == "g" and options.initial_state < 0:
        raise ValueError(f"initial_state {options.initial_state}: with candidate g no state is negative")
    if options.hidden_act not in ACT2FN or list(ACT2FN[options.hidden_act].parameters()):
        raise ValueError(
            f"hidden_act must be one of transformers' activations without parameters, got {options.hidden_act!r}"
        )
    if options.rms_norm_eps is not None and not 0 < options.rms_norm_eps < math.inf:
        raise ValueError(f"rms_norm_eps must be positive and finite, got {options.rms_norm_eps}")
    return order


def _rename(part: dict[str, torch.Tensor], config: MinRNNConfig, order, options: Options) -> dict[str, torch.Tensor]:
    renamed = {
        "model.embed_tokens.weight": part["embedding.weight"],
        "model.norm.weight": part["final_norm.weight"],
        "lm_head.weight": part["head.weight"],
    }
    like = part["head.weight"]
    start = options.initial_state
    if config.learn_initial_state and config.candidate_activation == "g":  # the parameter is what g makes the state of
        start = start - 0.5 if start >= 0.5 else math.log(start) - math.log1p(-start)
    names = {"out": "mixer.out_proj", "norm": "norm"}
    if config.conv_kernel_size:
        names |= {"depthwise": "conv.depthwise", "pointwise": "conv.pointwise"}
    if config.intermediate_size:
        names |= {"ff_norm": "mlp_norm", "ff_up": "mlp.up_proj", "ff_down": "mlp.down_proj"}
    biased = {"out"} | ({"depthwise", "pointwise"} if config.conv_bias else set())
    biased |= {"ff_up", "ff_down"} if config.mlp_bias else set()
    for n in range(config.num_hidden_layers):
        there, here = f"{LAYERS}.{n}", f"model.layers.{n}"
        for old, new in names.items():
            weight = part[f"{there}.{old}.weight"]
            renamed[f"{here}.{new}.weight"] = weight.flatten(1) if old == "pointwise" else weight
            if old in biased:
                bias = part.get(f"{there}.{old}.bias")
                renamed[f"{here}.{new}.bias"] = like.new_zeros(weight.shape[0]) if bias is None else bias
        for leaf in ("weight", "bias"):
            blocks = dict(zip(order, part[f"{there}.gates.{leaf}"].chunk(len(order))))
            if leaf == "bias" and options.forget_bias:
                blocks["forget"] = blocks["forget"] + options.forget_bias
            blocks = [blocks[block] for block in BLOCKS[config.cell_type]]
            renamed[f"{here}.mixer.cell.in_proj.{leaf}"] = torch.cat(blocks)
        if config.learn_initial_state:
            renamed[f"{here}.mixer.initial_state"] = like.new_full((config.state_size,), start)
    return copies(renamed)


def _taken(part: dict[str, torch.Tensor], config: MinRNNConfig, order, options: Options) -> list[str]:
    taken = [f"gates in the order {', '.join(order)}"]
    if config.cell_type == "minlstm":
        at = order.index("forget")
        stored = [part[f"{LAYERS}.{n}.gates.bias"].chunk(3)[at].double() for n in range(config.num_hidden_layers)]
        taken.append("normalized" if config.normalize_gates else "not normalized")
        taken.append(
            f"forget bias {options.forget_bias:+g} on stored ones of {torch.cat(stored).mean():.2f} on average"
        )
    taken.append(f"candidate {config.candidate_activation}")
    taken.append(f"initial state {options.initial_state:g}")
    if config.intermediate_size:
        taken.append(f"activation {config.hidden_act}")
    return [*taken, f"RMSNorm with eps {config.rms_norm_eps:.3g}"]


__all__ = ["Options", "describe", "find", "is_paper", "read"]
