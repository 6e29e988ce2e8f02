# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""State dicts of minGRU-pytorch's language model, as configuration and weights of ours."""

import re
from typing import NamedTuple

import torch

from ..configuration_minrnn import MinRNNConfig
from .checkpoints import check_fit, copies, default_eps, listed, size

CELL_PROJECTIONS = {"mingru": "to_hidden_and_gate", "minlstm": "to_hidden_and_f_i_gate"}
# What a layer's tensors are called there and here, but for the norms and the cell's input projection.
LAYER_NAMES = {
    "0.net.0.weight": "conv.depthwise.weight",
    "0.net.0.bias": "conv.depthwise.bias",
    "0.net.1.weight": "conv.pointwise.weight",
    "0.net.1.bias": "conv.pointwise.bias",
    "2.to_out.weight": "mixer.out_proj.weight",
    "4.0.weight": "mlp.up_proj.weight",
    "4.0.bias": "mlp.up_proj.bias",
    "4.2.weight": "mlp.down_proj.weight",
    "4.2.bias": "mlp.down_proj.bias",
}


class Layout(NamedTuple):
    """What the names in a state dict of `minLM` tell about the model.

    Args:
        cell_type (`str`): "mingru" or "minlstm".
        depth (`int`): Number of layers.
        conv (`bool`): Whether each layer has a convolution.
        out_proj (`bool`): Whether each cell has an output projection: it has unless its expansion is 1.
        norm (`str`): What the RMSNorms call their scale: "weight", or "gamma" in the first releases.
    """

    cell_type: str
    depth: int
    conv: bool
    out_proj: bool
    norm: str

    @classmethod
    def of(cls, names) -> "Layout":
        """The layout that fits `names` best; whatever differs from its `shapes()` is missing or unexpected.

        >>> Layout.of(["layers.0.2.to_hidden_and_gate.weight", "layers.1.2.to_out.weight"])
        Layout(cell_type='mingru', depth=2, conv=False, out_proj=True, norm='weight')
        """
        found = [match.groups() for name in names if (match := re.fullmatch(r"layers\.(\d{1,9})\.(.+)", name))]
        rests = {rest for _, rest in found}
        # A layer has several tensors: a number beyond their count is foreign, and not worth a list of what is missing.
        depth = max((int(n) + 1 for n, _ in found if int(n) < len(names)), default=1)
        cells = [cell for cell, name in CELL_PROJECTIONS.items() if f"2.{name}.weight" in rests]
        return cls(
            cell_type=cells[0] if cells else "mingru",
            depth=depth,
            conv=any(rest.startswith("0.net.") for rest in rests),
            out_proj="2.to_out.weight" in rests,
            norm="gamma" if "norm.gamma" in names and "norm.weight" not in names else "weight",
        )

    @property
    def parts(self) -> int:
        """Blocks of the cell's input projection."""
        return 2 if self.cell_type == "mingru" else 3

    @property
    def in_proj(self) -> str:
        """The name of the cell's input projection in its layer."""
        return f"2.{CELL_PROJECTIONS[self.cell_type]}.weight"

    def shapes(self, vocab=0, dim=0, state=0, width=0, kernel=0) -> dict[str, tuple[int, ...]]:
        """The shape of every tensor of the state dict, by name."""
        layer = {f"1.{self.norm}": (dim,), self.in_proj: (self.parts * state, dim), f"3.{self.norm}": (dim,)}
        layer |= {"4.0.weight": (width, dim), "4.0.bias": (width,), "4.2.weight": (dim, width), "4.2.bias": (dim,)}
        if self.conv:
            layer |= {"0.net.0.weight": (dim, 1, kernel), "0.net.0.bias": (dim,)}
            layer |= {"0.net.1.weight": (dim, dim, 1), "0.net.1.bias": (dim,)}
        if self.out_proj:
            layer["2.to_out.weight"] = (dim, state)
        shapes = {"token_emb.weight": (vocab, dim)}
        shapes |= {f"layers.{n}.{name}": shape for n in range(self.depth) for name, shape in layer.items()}
        return shapes | {f"norm.{self.norm}": (dim,), "to_logits.weight": (vocab, dim)}


def is_minlm(names) -> bool:
    """Whether these are the names of such a state dict, complete or not: the cells' input projections tell.

    >>> is_minlm(["layers.0.2.to_hidden_and_gate.weight"]), is_minlm(["layers.0.rnn.in_proj.weight"])
    (True, False)
    """
    projections = "|".join(CELL_PROJECTIONS.values())
    return any(re.fullmatch(rf"layers\.\d+\.2\.({projections})\.weight", name) for name in names)


def read_config(tensors: dict[str, torch.Tensor]) -> MinRNNConfig:
    """The configuration of the model that a state dict of `minLM` belongs to.

    Args:
        tensors (dict of `torch.Tensor` by name): The state dict.

    Returns:
        `MinRNNConfig`: The paper's block without biases in the cell.

    Raises:
        ValueError: By name, for tensors that are missing, unexpected, or of a shape or dtype that does not fit.
    """
    layout = Layout.of(tensors)
    names = layout.shapes()
    problems = listed("missing", (name for name in names if name not in tensors))
    problems += listed("unexpected", (name for name in tensors if name not in names))
    if problems:
        raise ValueError(f"not a state dict of minGRU-pytorch's minLM: {'; '.join(problems)}")

    dim = size(tensors, "token_emb.weight", -1)
    sizes = {
        "vocab": size(tensors, "token_emb.weight", 0),
        "dim": dim,
        "state": size(tensors, f"layers.0.{layout.in_proj}", 0) // layout.parts if layout.out_proj else dim,
        "width": size(tensors, "layers.0.4.0.weight", 0),
        "kernel": size(tensors, "layers.0.0.net.0.weight", -1) if layout.conv else 0,
    }
    check_fit(tensors, layout.shapes(**sizes))
    return MinRNNConfig.paper(
        layout.cell_type,
        vocab_size=sizes["vocab"],
        hidden_size=dim,
        num_hidden_layers=layout.depth,
        expand_ratio=sizes["state"] / dim,
        output_projection=layout.out_proj,
        intermediate_size=sizes["width"],
        conv_kernel_size=sizes["kernel"],
        use_bias=False,
        gate_bias=0.0,
        # The first releases divided by the vector's length itself, guarded only against 0.
        rms_norm_eps=1e-24 if layout.norm == "gamma" else default_eps(tensors),
    )


def rename(tensors: dict[str, torch.Tensor], config: MinRNNConfig) -> dict[str, torch.Tensor]:
    """The state dict of `MinRNNForCausalLM` for a state dict of `minLM`.

    Args:
        tensors (dict of `torch.Tensor` by name): The state dict.
        config (`MinRNNConfig`): What `read_config` made of it.

    Returns:
        dict of `torch.Tensor` by name, none of which shares memory with another.
    """
    layout = Layout.of(tensors)

    def norm(name):
        scale = tensors[f"{name}.{layout.norm}"]
        return scale + 1 if layout.norm == "gamma" else scale

    renamed = {
        "model.embed_tokens.weight": tensors["token_emb.weight"],
        "model.norm.weight": norm("norm"),
        "lm_head.weight": tensors["to_logits.weight"],
    }
    for n in range(config.num_hidden_layers):
        there, here = f"layers.{n}", f"model.layers.{n}"
        renamed[f"{here}.norm.weight"], renamed[f"{here}.mlp_norm.weight"] = norm(f"{there}.1"), norm(f"{there}.3")
        # Theirs has the candidate first, ours last; the gates have one order and one sign.
        candidate, *gates = tensors[f"{there}.{layout.in_proj}"].chunk(layout.parts)
        renamed[f"{here}.mixer.cell.in_proj.weight"] = torch.cat([*gates, candidate])
        for old, new in LAYER_NAMES.items():
            if f"{there}.{old}" in tensors:
                renamed[f"{here}.{new}"] = tensors[f"{there}.{old}"]
        if layout.conv:  # a convolution of one step is a Linear
            renamed[f"{here}.conv.pointwise.weight"] = renamed[f"{here}.conv.pointwise.weight"].squeeze(-1)
    return copies(renamed)


__all__ = ["is_minlm", "read_config", "rename"]
