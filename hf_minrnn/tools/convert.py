# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Checkpoints of minGRU-pytorch's language model as folders that `from_pretrained` loads."""

import os
import re
import shutil
from pathlib import Path
from typing import NamedTuple

import safetensors.torch
import torch

from ..configuration_minrnn import MinRNNConfig
from ..modeling_minrnn import MinRNNForCausalLM

WRAPPERS = ("model", "state_dict", "model_state_dict")
CELL_PROJECTIONS = {"mingru": "to_hidden_and_gate", "minlstm": "to_hidden_and_f_i_gate"}
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
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


def read_checkpoint(path) -> dict[str, torch.Tensor]:
    """The tensors of a file, on the CPU. No code in it is run.

    Args:
        path (`str` or `Path`): A file of `torch.save`, or one of safetensors by its suffix: a state dict, or a dict with
            one under "model", "state_dict" or "model_state_dict".

    Returns:
        dict of `torch.Tensor` by name.

    Raises:
        ValueError: For a damaged file, one that holds more than data, and one without a state dict.
        OSError: For a file that cannot be opened.
    """
    path = Path(path)
    path.open("rb").close()  # so that an OSError below is about what the file holds, as torch's for a cut archive is
    try:
        if path.suffix == ".safetensors":
            content = safetensors.torch.load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # any kind, down to KeyError: the readers trip over whatever they meet first
        # torch's own message opens with how to switch the safety off, and names what is wrong in the middle.
        text = str(error)
        refused = re.search(r"[Uu]nsupported (?:class|global|operand|GLOBAL)[^\n]*?(?= whose| was not|$)", text, re.M)
        reason = f"{type(error).__name__}: {refused[0] if refused else text.split('. ')[0]}"
        raise ValueError(f"{path} is damaged, or not a file of tensors alone ({reason})") from error
    if isinstance(content, dict) and not _is_state_dict(content):
        content = next((content[name] for name in WRAPPERS if _is_state_dict(content.get(name))), content)
    if not _is_state_dict(content):
        raise ValueError(f"{path} holds no state dict, neither bare nor under any of {', '.join(WRAPPERS)}")
    return dict(content)


def _is_state_dict(content) -> bool:
    return (
        isinstance(content, dict)
        and len(content) > 0
        and all(isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in content.items())
    )


def _listed(what: str, items, limit: int = 8) -> list[str]:
    items = list(items)
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return [f"{what} {', '.join(items[:limit])}{more}"] if items else []


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
    problems = _listed("missing", (name for name in names if name not in tensors))
    problems += _listed("unexpected", (name for name in tensors if name not in names))
    if problems:
        raise ValueError(f"not a state dict of minGRU-pytorch's minLM: {'; '.join(problems)}")

    def size(name, axis):
        shape = tensors[name].shape
        return shape[axis] if shape else 0

    dim = size("token_emb.weight", -1)
    sizes = {
        "vocab": size("token_emb.weight", 0),
        "dim": dim,
        "state": size(f"layers.0.{layout.in_proj}", 0) // layout.parts if layout.out_proj else dim,
        "width": size("layers.0.4.0.weight", 0),
        "kernel": size("layers.0.0.net.0.weight", -1) if layout.conv else 0,
    }
    dtypes = {tensor.dtype for tensor in tensors.values()}
    problems = _listed(
        "shapes that do not fit:",
        (
            f"{name} {tuple(tensors[name].shape)} instead of {shape}"
            for name, shape in layout.shapes(**sizes).items()
            if tensors[name].shape != shape
        ),
    )
    # A feed-forward without a middle (ff_mult 0) still adds a bias, which no option of MinRNNConfig expresses.
    problems += _listed("no entries in", (name for name in tensors if not tensors[name].numel()))
    if len(dtypes) > 1 or not dtypes <= set(DTYPES):
        problems.append(f"one floating dtype is wanted, not {', '.join(sorted(map(str, dtypes)))}")
    problems += _listed("not dense:", (name for name in tensors if tensors[name].layout != torch.strided))
    if problems:
        raise ValueError(f"cannot be converted: {'; '.join(problems)}")

    if layout.norm == "gamma":
        # The first releases divided by the vector's length itself, guarded only against 0.
        eps = 1e-24
    else:
        # torch.nn.RMSNorm without an eps takes that of the dtype it computes in, which is float32 for the half ones.
        eps = torch.finfo(torch.float64 if dtypes == {torch.float64} else torch.float32).eps
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
        rms_norm_eps=eps,
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
    # Copies: of tensors that share memory, as those of tied embeddings do, save_pretrained writes only one.
    return {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in renamed.items()}


def convert(checkpoint, folder) -> MinRNNConfig:
    """Makes a folder for `MinRNNForCausalLM.from_pretrained` of a state dict of minGRU-pytorch's `minLM`.

    Names and shapes tell everything that a forward needs. The dropout of the original, which they do not tell, has no
    counterpart here (it drops from the whole residual stream, in training alone): the folder says 0. Depth 0 and
    `ff_mult` 0 have none either, and are refused. A checkpoint without its last layers looks like a model that has fewer.

    Args:
        checkpoint (`str` or `Path`): The file, see `read_checkpoint`.
        folder (`str` or `Path`): What to make; an existing folder must be empty. It gets its name only once it is whole.

    Returns:
        `MinRNNConfig`: The configuration of the converted model, which has the checkpoint's dtype.

    Raises:
        ValueError: For a checkpoint that is damaged or anything but such a state dict. Nothing is written.
        OSError: For a folder that exists and is not empty, and for what cannot be read or written.
    """
    folder = Path(folder).resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} exists and is not an empty folder")
    tensors = read_checkpoint(checkpoint)
    try:
        config = read_config(tensors)
    except ValueError as error:
        raise ValueError(f"{checkpoint}: {error}") from None
    with torch.device("meta"):
        model = MinRNNForCausalLM(config)
    model.load_state_dict(rename(tensors, config), assign=True)

    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    partial.mkdir(parents=True)
    try:
        model.save_pretrained(partial)
        if folder.exists():
            folder.rmdir()
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return config


__all__ = ["convert", "read_checkpoint", "read_config", "rename"]
