# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Reading checkpoints of others: files of tensors alone, and what in them does not fit."""

import re
import zipfile
from pathlib import Path

import safetensors.torch
import torch

WRAPPERS = ("model", "state_dict", "model_state_dict")
# What wrappers of a model put in front of its names: DistributedDataParallel, Lightning, torch.compile.
PREFIXES = re.compile(r"(?:(?:module|model|_orig_mod)\.)*")
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def read_checkpoint(path) -> dict[str, torch.Tensor]:
    """The tensors of a file, on the CPU. No code in it is run.

    Args:
        path (`str` or `Path`): A file of `torch.save`, or one of safetensors by its suffix: a state dict, or a dict with
            one under "model", "state_dict" or "model_state_dict".

    Returns:
        dict of `torch.Tensor` by name.

    Raises:
        ValueError: For a damaged file, one that holds more than data, and one without a state dict. What torch.save writes
            has checksums of the numbers; in old files of it and in safetensors, changed numbers pass for numbers.
        OSError: For a file that cannot be opened.
    """
    path = Path(path)
    path.open("rb").close()  # so that an OSError below is about what the file holds, as torch's for a cut archive is
    try:
        if path.suffix == ".safetensors":
            content = safetensors.torch.load_file(path)
        else:
            _check_sums(path)
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


def _check_sums(path: Path):
    """Compares what an archive holds with its checksums, which torch.load itself does not look at."""
    if zipfile.is_zipfile(path):  # old versions of torch.save wrote no archive
        with zipfile.ZipFile(path) as archive:
            # torch.serialization.set_crc32_options(False) leaves them all 0.
            broken = archive.testzip() if any(part.CRC for part in archive.infolist()) else None
        if broken:
            raise ValueError(f"wrong checksum of {broken}")


def _is_state_dict(content) -> bool:
    return (
        isinstance(content, dict)
        and len(content) > 0
        and all(isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in content.items())
    )


def bare(name: str) -> str:
    """A tensor's name without what wrappers of the model put in front of it.

    >>> bare("module._orig_mod.norm.weight")
    'norm.weight'
    """
    return name[PREFIXES.match(name).end() :]


def unwrapped(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors by their bare names.

    Raises:
        ValueError: Where two have the same.
    """
    found = {}
    for name in tensors:
        if (other := found.setdefault(bare(name), name)) != name:
            raise ValueError(f"{other} and {name} are one tensor's names: keep one model in the file")
    return {short: tensors[name] for short, name in found.items()}


def listed(what: str, items, limit: int = 8) -> list[str]:
    """One problem with what it is about, the first `limit` by name; none where there is nothing to list.

    >>> listed("missing", ["a", "b", "c"], limit=2), listed("missing", [])
    (['missing a, b and 1 more'], [])
    """
    items = list(items)
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return [f"{what} {', '.join(items[:limit])}{more}"] if items else []


def size(tensors: dict[str, torch.Tensor], name: str, axis: int) -> int:
    """How long a tensor is along an axis; 0 for one that has no axes."""
    shape = tensors[name].shape
    return shape[axis] if shape else 0


def check_fit(tensors: dict[str, torch.Tensor], shapes: dict[str, tuple[int, ...]]):
    """Refuses tensors that no model could hold.

    Args:
        tensors (dict of `torch.Tensor` by name): The state dict.
        shapes (dict of shapes by name): What shape each of them must have.

    Raises:
        ValueError: By name, for other shapes, tensors without entries, more than one dtype or one that is not floating,
            and tensors that are sparse or on the meta device.

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
    # A feed-forward without a middle still adds a bias, which no option of MinRNNConfig expresses.
    problems += listed("no entries in", (name for name in tensors if not tensors[name].numel()))
    if len(dtypes) > 1 or not dtypes <= set(DTYPES):
        problems.append(f"one floating dtype is wanted, not {', '.join(sorted(map(str, dtypes)))}")
    problems += listed("not dense:", (name for name in tensors if tensors[name].layout != torch.strided))
    problems += listed("no data, as on the meta device, in", (name for name in tensors if tensors[name].is_meta))
    if problems:
        raise ValueError(f"cannot be converted: {'; '.join(problems)}")


def default_eps(tensors: dict[str, torch.Tensor]) -> float:
    """The eps of a `torch.nn.RMSNorm` that was given none: that of the dtype it computes in, float32 for the half ones."""
    wide = all(tensor.dtype == torch.float64 for tensor in tensors.values())
    return torch.finfo(torch.float64 if wide else torch.float32).eps


def copies(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same tensors, none of which shares memory with another: of those that do, as tied embeddings, save_pretrained
    writes only one.
    """
    return {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}


__all__ = ["bare", "check_fit", "copies", "default_eps", "listed", "read_checkpoint", "size", "unwrapped"]
