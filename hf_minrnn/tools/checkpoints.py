# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Reads checkpoints of other projects, without running code from them, and checks their tensors."""

import re
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import TypeGuard

import safetensors.torch
import torch

WRAPPERS = ("model", "state_dict", "model_state_dict")
# Prefixes that DistributedDataParallel, Lightning and torch.compile add to the names in a model.
PREFIX = re.compile(r"(?:(?:module|model|_orig_mod)\.)*")
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def read_checkpoint(path: str | Path) -> dict[str, torch.Tensor]:
    """Returns the tensors of a file, on the CPU. No code from the file is run.

    Args:
        path (`str` or `Path`): A file of `torch.save`, or of safetensors with the suffix .safetensors. It contains a state
            dict, or a dict with one under "model", "state_dict" or "model_state_dict".

    Returns:
        dict of `torch.Tensor` by name.

    Raises:
        ValueError: If the file is damaged, contains code, or has no state dict. Files of `torch.save` have checksums. In
            old files and in safetensors, changed numbers are not noticed.
        OSError: If the file cannot be opened.

    >>> read_checkpoint("no/such/file.pt")
    Traceback (most recent call last):
    ...
    FileNotFoundError: [Errno 2] No such file or directory: 'no/such/file.pt'
    """
    path = Path(path)
    path.open("rb").close()  # raises if the file cannot be opened; an OSError below means a damaged file
    try:
        if path.suffix == ".safetensors":
            content = safetensors.torch.load_file(path)
        else:
            _check_sums(path)
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of any type: the readers raise whatever a damaged file leads to
        raise ValueError(f"{path} is damaged, or contains more than tensors ({_reason(error)})") from error
    if isinstance(content, dict) and not _is_state_dict(content):
        content = next((content[name] for name in WRAPPERS if _is_state_dict(content.get(name))), content)
    if not _is_state_dict(content):
        raise ValueError(f"{path} contains no state dict, neither at the top nor under {', '.join(WRAPPERS)}")
    return dict(content)


def _reason(error: Exception) -> str:
    """The important part of an error. torch's message begins with how to disable the safety check."""
    text = str(error)
    unsupported = re.search(r"[Uu]nsupported (?:class|global|operand|GLOBAL)[^\n]*?(?= whose| was not|$)", text, re.M)
    return f"{type(error).__name__}: {unsupported[0] if unsupported else text.split('. ')[0]}"


def _check_sums(path: Path):
    """Verifies the checksums of an archive, which torch.load does not."""
    if zipfile.is_zipfile(path):  # old versions of torch.save wrote no archive
        with zipfile.ZipFile(path) as archive:
            # All are 0 in files saved after torch.serialization.set_crc32_options(False).
            broken = archive.testzip() if any(part.CRC for part in archive.infolist()) else None
        if broken:
            raise ValueError(f"wrong checksum of {broken}")


def _is_state_dict(content) -> TypeGuard[dict[str, torch.Tensor]]:
    return (
        isinstance(content, dict)
        and len(content) > 0
        and all(isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in content.items())
    )


def bare(name: str) -> str:
    """Returns a tensor's name without the prefixes that wrappers of the model add.

    >>> bare("module._orig_mod.norm.weight")
    'norm.weight'
    """
    prefix = PREFIX.match(name)
    assert prefix is not None  # it may be empty
    return name[prefix.end() :]


def unwrapped(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Returns the tensors by their bare names.

    Raises:
        ValueError: If two tensors have the same bare name.

    >>> list(unwrapped({"module.norm.weight": torch.ones(3)}))
    ['norm.weight']
    """
    found: dict[str, str] = {}
    for name in tensors:
        other = found.setdefault(bare(name), name)
        if other != name:
            raise ValueError(f"{other} and {name} are names of the same tensor: keep only one model in the file")
    return {short: tensors[name] for short, name in found.items()}


def listed(what: str, items: Iterable[str], limit: int = 8) -> list[str]:
    """Returns a list with one message, `what` and the first `limit` items. Without items, the list is empty.

    >>> listed("missing", ["a", "b", "c"], limit=2), listed("missing", [])
    (['missing a, b and 1 more'], [])
    """
    items = list(items)
    if not items:
        return []
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return [f"{what} {', '.join(items[:limit])}{more}"]


def size(tensors: dict[str, torch.Tensor], name: str, axis: int) -> int:
    """Returns the size of a tensor along an axis, or 0 if it is a scalar."""
    shape = tensors[name].shape
    return shape[axis] if shape else 0


def check_fit(tensors: dict[str, torch.Tensor], shapes: dict[str, tuple[int, ...]]) -> None:
    """Rejects tensors that do not fit into a model.

    Args:
        tensors (dict of `torch.Tensor` by name): The state dict.
        shapes (dict of shapes by name): The shape that each of them must have.

    Raises:
        ValueError: If a tensor has another shape, is empty, sparse or on the meta device, or if the tensors do not have one
            floating-point dtype. The message names them.

    >>> check_fit({"norm.weight": torch.ones(3)}, {"norm.weight": (4,)})
    Traceback (most recent call last):
    ...
    ValueError: cannot be converted: shapes that do not fit: norm.weight (3,) instead of (4,)
    """
    dtypes = {tensor.dtype for tensor in tensors.values()}
    problems = listed(
        "shapes that do not fit:",
        (
            f"{name} {tuple(tensors[name].shape)} instead of {shape}"
            for name, shape in shapes.items()
            if tensors[name].shape != shape
        ),
    )
    # A feed-forward part of width 0 still adds a bias, which MinRNNConfig cannot express.
    problems += listed("no entries in", (name for name in tensors if not tensors[name].numel()))
    if len(dtypes) > 1 or not dtypes <= set(DTYPES):
        problems.append(f"all tensors must have one floating dtype, got {', '.join(sorted(map(str, dtypes)))}")
    problems += listed("not dense:", (name for name in tensors if tensors[name].layout != torch.strided))
    problems += listed("no data (meta device) in", (name for name in tensors if tensors[name].is_meta))
    if problems:
        raise ValueError(f"cannot be converted: {'; '.join(problems)}")


def default_eps(tensors: dict[str, torch.Tensor]) -> float:
    """Returns the default eps of `torch.nn.RMSNorm`: that of the dtype in which it computes, float32 for half precision."""
    wide = all(tensor.dtype == torch.float64 for tensor in tensors.values())
    return torch.finfo(torch.float64 if wide else torch.float32).eps


def copies(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Returns copies that share no memory: save_pretrained writes only one of several tensors that do, as tied embeddings."""
    return {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}


__all__ = ["bare", "check_fit", "copies", "default_eps", "listed", "read_checkpoint", "size", "unwrapped"]
