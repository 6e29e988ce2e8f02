# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""What can be told of Apple's GPUs (MPS) without one: which backend runs there, that nothing on the way is in float64, which
MPS does not have, and that every operation is one that this torch lists as implemented for MPS.
"""

from functools import cache
from pathlib import Path

import pytest
import torch
import torchgen
import yaml
from support.model_cases import CONFIGS, build, token_ids
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hf_minrnn import minrnn_scan, resolve_backend, scan_op

KERNELS = {"scan": scan_op._forward_kernel, "scan_backward": scan_op._backward_kernel}
POSITIONS = (torch.arange(40) % 11).expand(2, -1)
MASK = torch.ones(2, 40, dtype=torch.long)
MASK[0, :3], MASK[1, 30:] = 0, 0
INPUTS = {
    "plain": {},
    "padded": {"attention_mask": MASK},
    "packed": {"position_ids": POSITIONS},
    "packed-and-padded": {"attention_mask": MASK, "seq_idx": torch.arange(40).expand(2, -1) // 11},
}


class NoFloat64(TorchDispatchMode):
    """Fails where a float64 tensor is made, also inside the scan's custom op, and notes every operation."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        namespace, name = func.name().split("::")
        if namespace == scan_op.NAMESPACE:
            with self:  # the operations that the kernel is made of
                return KERNELS[name](*args, **(kwargs or {}))
        out = func(*args, **(kwargs or {}))
        if any(isinstance(x, torch.Tensor) and x.dtype == torch.float64 for x in tree_leaves(out)):
            raise TypeError(f"{func} makes a float64 tensor")
        self.seen.add(str(func))
        return out


@cache
def listed():
    """The kernels of every operation, as torch's own list has them."""
    listing = Path(torchgen.__file__).with_name("packaged") / "ATen" / "native" / "native_functions.yaml"
    with listing.open() as file:
        entries = yaml.load(file, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return {entry["func"].split("(")[0]: entry for entry in entries}


def runs_on_mps(name: str) -> bool:
    entry = listed()[name.removeprefix("aten.").removesuffix(".default")]
    if "structured_delegate" in entry:
        return runs_on_mps(entry["structured_delegate"])
    keys = ",".join(entry.get("dispatch", {"CompositeImplicitAutograd": None})).replace(" ", "").split(",")
    return any(key == "MPS" or key.startswith("Composite") for key in keys)


def run(name, dtype, backend, **inputs):
    """Every operation of a forward, a backward and, without padding and packing, of `generate`."""
    model, ids = build(name, scan_backend=backend).to(dtype), token_ids(2, 40)
    with NoFloat64() as mode:
        model.train()(ids, labels=ids, **inputs).loss.backward()
        if not inputs:
            model.eval().generate(ids, max_new_tokens=2, do_sample=False)
    return mode.seen


def test_mps_takes_the_torch_backend():
    assert resolve_backend("auto", "mps") == resolve_backend("auto", torch.device("mps")) == "torch"


@pytest.mark.parametrize("backend", ["auto", "associative"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", CONFIGS)
def test_nothing_is_in_float64_and_every_operation_is_implemented(name, dtype, backend):
    seen = set().union(*(run(name, dtype, backend, **inputs) for inputs in INPUTS.values()))
    assert {"aten.mm.default", "aten.embedding_dense_backward.default"} <= seen
    assert not {operation for operation in seen if not runs_on_mps(operation)}


@pytest.mark.parametrize("backend", ["auto", "associative"])
@pytest.mark.parametrize("cell_type", ["mingru", "minlstm"])
def test_neither_is_in_scans_over_packed_sequences(cell_type, backend):
    projected = torch.randn(1, 40, 12, requires_grad=True)
    bounds, resets = torch.tensor([0, 11, 11, 40]), torch.rand(1, 40) < 0.1
    with NoFloat64() as mode:
        h, state = minrnn_scan(projected, cell_type, cu_seqlens=bounds, resets=resets, backend=backend)
        (h.sum() + state.sum()).backward()
    assert not {operation for operation in mode.seen if not runs_on_mps(operation)}


def test_the_norm_that_no_cpu_runs_is_implemented():
    # Where a gradient is wanted, torch composes the norm on MPS as on the CPU.
    assert runs_on_mps("aten._fused_rms_norm.default")


def test_the_checks_see_inside_the_scan():
    assert {"aten.lerp.Tensor_out", "aten.sigmoid.out"} <= run("mingru", torch.float32, "auto")
    with pytest.raises(TypeError, match="makes a float64 tensor"):
        run("mingru", torch.float64, "auto")
    assert not runs_on_mps("aten.linalg_eig.default")
