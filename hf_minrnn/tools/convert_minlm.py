# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Converts state dicts of minGRU-pytorch's language model `minLM`."""

import re
from collections.abc import Iterable
from typing import NamedTuple

import torch

from ..configuration_minrnn import MinRNNConfig
from .checkpoints import check_fit, copies, default_eps, listed, size

CELL_PROJECTIONS = {"mingru": "to_hidden_and_gate", "minlstm": "to_hidden_and_f_i_gate"}
# Names of a layer's tensors in minLM and in this package, except the norms and the cell's input projection.
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
    """The structure of a `minLM`, read from the names in its state dict.

    Args:
        cell_type (`str`): "mingru" or "minlstm".
        depth (`int`): Number of layers.
        conv (`bool`): Whether each layer has a convolution.
        out_proj (`bool`): Whether each cell has an output projection. It has one unless its expansion is 1.
        norm (`str`): Name of the scale of the RMSNorms: "weight", or "gamma" in the first releases.
    """

    cell_type: str
    depth: int
    conv: bool
    out_proj: bool
    norm: str

    @classmethod
    def of(cls, names: Iterable[str]) -> "Layout":
        """Returns the layout that fits `names` best. Names that differ from its `shapes()` are missing or unexpected.

        >>> Layout.of(["layers.0.2.to_hidden_and_gate.weight", "layers.1.2.to_out.weight"])
        Layout(cell_type='mingru', depth=2, conv=False, out_proj=True, norm='weight')
        """
        names = list(names)
        matches = [re.fullmatch(r"layers\.(\d{1,9})\.(.+)", name) for name in names]
        found = [match.groups() for match in matches if match]
        in_layers = {name for _, name in found}
        # A layer has several tensors. A number beyond their count is not a layer: do not list all layers before it as missing.
        depth = max((int(n) + 1 for n, _ in found if int(n) < len(names)), default=1)
        cells = [cell for cell, name in CELL_PROJECTIONS.items() if f"2.{name}.weight" in in_layers]
        return cls(
            cell_type=cells[0] if cells else "mingru",
            depth=depth,
            conv=any(name.startswith("0.net.") for name in in_layers),
            out_proj="2.to_out.weight" in in_layers,
            norm="gamma" if "norm.gamma" in names and "norm.weight" not in names else "weight",
        )

    @property
    def parts(self) -> int:
        """Number of blocks of the cell's input projection."""
        return 2 if self.cell_type == "mingru" else 3

    @property
    def in_proj(self) -> str:
        """Name of the cell's input projection in its layer."""
        return f"2.{CELL_PROJECTIONS[self.cell_type]}.weight"

    def shapes(
        self, vocab: int = 0, dim: int = 0, state: int = 0, width: int = 0, kernel: int = 0
    ) -> dict[str, tuple[int, ...]]:
        """Returns the shape of every tensor of the state dict, by name."""
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


def is_minlm(names: Iterable[str]) -> bool:
    """Whether these are the names of such a state dict, complete or not. The cells' input projections identify it.

    >>> is_minlm(["layers.0.2.to_hidden_and_gate.weight"]), is_minlm(["layers.0.rnn.in_proj.weight"])
    (True, False)
    """
    projections = "|".join(CELL_PROJECTIONS.values())
    return any(re.fullmatch(rf"layers\.\d+\.2\.({projections})\.weight", name) for name in names)


def read_config(tensors: dict[str, torch.Tensor]) -> MinRNNConfig:
    """Returns the configuration of the model for a state dict of `minLM`.

    Args:
        tensors (dict of `torch.Tensor` by name): The state dict.

    Returns:
        `MinRNNConfig`: The paper's block without biases in the cell.

    Raises:
        ValueError: If tensors are missing or unexpected, or a shape or dtype does not fit. The message names them.
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
        "state": dim,
        "width": size(tensors, "layers.0.4.0.weight", 0),
        "kernel": 0,
    }
    if layout.out_proj:
        sizes["state"] = size(tensors, f"layers.0.{layout.in_proj}", 0) // layout.parts
    if layout.conv:
        sizes["kernel"] = size(tensors, "layers.0.0.net.0.weight", -1)
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
        # The first releases divided by the length of the vector and only avoided a division by 0.
        rms_norm_eps=1e-24 if layout.norm == "gamma" else default_eps(tensors),
    )


def rename(tensors: dict[str, torch.Tensor], config: MinRNNConfig) -> dict[str, torch.Tensor]:
    """Returns the state dict of `MinRNNForCausalLM` for a state dict of `minLM`.

    Args:
        tensors (dict of `torch.Tensor` by name): The state dict.
        config (`MinRNNConfig`): The result of `read_config`.

    Returns:
        dict of `torch.Tensor` by name, none of which share memory.
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
        renamed[f"{here}.norm.weight"] = norm(f"{there}.1")
        renamed[f"{here}.mlp_norm.weight"] = norm(f"{there}.3")
        # minLM has the candidate first, this package last. The order and signs of the gates are the same.
        candidate, *gates = tensors[f"{there}.{layout.in_proj}"].chunk(layout.parts)
        renamed[f"{here}.mixer.cell.in_proj.weight"] = torch.cat([*gates, candidate])
        for old, new in LAYER_NAMES.items():
            if f"{there}.{old}" in tensors:
                renamed[f"{here}.{new}"] = tensors[f"{there}.{old}"]
        if layout.conv:  # a convolution with kernel size 1 is a Linear
            renamed[f"{here}.conv.pointwise.weight"] = renamed[f"{here}.conv.pointwise.weight"].squeeze(-1)
    return copies(renamed)


__all__ = ["is_minlm", "read_config", "rename"]
