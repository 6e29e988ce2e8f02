# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The GPU backend: runs the kernels of `scan_triton_kernels`, which are compiled on first use.

One launch forward and one backward. Where few channels meet a long time, that would be too few programs to keep a GPU
busy: then time is cut into chunks, `scan_reduce` finds what each does to a state, a scan over the chunks (by the same
kernel) turns that into the state that enters each, and all chunks run at once.

Nothing here waits for the device: the values of `cu_seqlens` are read by the kernels only.
"""

import os
import struct
from importlib.util import find_spec
from typing import NamedTuple

import torch

from .gates import ScanSpec


class Tile(NamedTuple):
    """How a kernel cuts its work: runs side by side, steps in a run, channels of a program, warps; tiles in the pipeline."""

    runs: int
    steps: int
    channels: int
    warps: int
    stages: int


# By direction, from so many channels (of all sequences together) on: for two parts in two bytes an element, two parts in more,
# three parts in two bytes and three in more. The fewer the channels, the more steps must be on their way from memory at once
# to keep it busy, hence the runs. In bfloat16 these were the fastest of some 90 on an H100, or within a few percent of them;
# wider elements were not swept, and have as many bytes on their way.
TILES = {
    "forward": {
        65536: (Tile(1, 8, 128, 1, 4), Tile(1, 8, 128, 1, 4), Tile(1, 8, 128, 1, 4), Tile(1, 4, 128, 1, 4)),
        16384: (Tile(8, 8, 32, 4, 3), Tile(4, 8, 32, 2, 3), Tile(4, 8, 32, 2, 3), Tile(4, 8, 32, 2, 3)),
        0: (Tile(8, 8, 32, 4, 3),) * 4,
    },
    "backward": {
        65536: (Tile(1, 8, 128, 1, 4), Tile(1, 4, 128, 1, 4), Tile(1, 8, 128, 1, 4), Tile(1, 4, 128, 1, 4)),
        16384: (Tile(2, 8, 64, 2, 3),) * 4,
        0: (Tile(8, 8, 32, 4, 3), Tile(8, 8, 32, 4, 3), Tile(8, 4, 32, 4, 3), Tile(8, 4, 32, 4, 3)),
    },
}
SMALLEST_BLOCK = 32
# With fewer channels than this a long time is cut into chunks, of so many steps at least, where that gives at least so
# many of them, and into no more than make up so many channels.
CHUNKED_CHANNELS, CHUNK_STEPS, CHUNKS, ENOUGH_CHANNELS = 4096, 512, 8, 131072
STEP_CHANNELS, STEP_WARPS = 256, 2


DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
# Constants, so that torch.compile can look at them. Triton itself is imported when a kernel first runs.
INSTALLED = find_spec("triton") is not None
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


def runs_on(device: torch.device | str) -> bool:
    """Whether triton runs kernels on a device's tensors: a GPU's, and a CPU's in its interpreter.

    >>> runs_on("cuda:1"), runs_on("meta")
    (True, False)
    """
    kind = torch.device(device).type
    return kind == "cuda" or (kind == "cpu" and INTERPRETED)


def tile(direction: str, sequences: int, channels: int, parts: int, itemsize: int, flags: bool = False) -> Tile:
    """How a kernel is to cut its work on so many sequences, or chunks of them, of so many channels each.

    With flags for each step, and for eight bytes an element, half as many steps fit into the registers.

    >>> tile("forward", 8, 2048, 2, itemsize=2)
    Tile(runs=8, steps=8, channels=32, warps=4, stages=3)
    """
    rows = TILES[direction].items()
    kinds = next(kinds for least, kinds in rows if sequences * channels >= least)
    cut = kinds[2 * (parts - 2) + (itemsize > 2)]
    block, steps = cut.channels, cut.steps // 2 if flags or itemsize > 4 else cut.steps
    while channels % block and block > SMALLEST_BLOCK:
        block //= 2
    return cut._replace(steps=steps, channels=block)


def chunk_steps(time: int, channels: int) -> int:
    """Into chunks of how many steps time is cut; all of them where it is not.

    >>> chunk_steps(2048, 512), chunk_steps(4096, 512), chunk_steps(131072, 4096)
    (2048, 512, 131072)
    >>> chunk_steps(131072, 2048)
    2048
    """
    if channels >= CHUNKED_CHANNELS or time < CHUNKS * CHUNK_STEPS:
        return time
    return CHUNK_STEPS * max(1, -(-time * channels // (ENOUGH_CHANNELS * CHUNK_STEPS)))


def _run(name: str, programs: int, projected: torch.Tensor, spec: ScanSpec, **arguments):
    from .scan_triton_kernels import KERNELS

    raw = spec.cell_type == "minlstm" and not spec.normalize_gates
    scale = 1 - spec.forget_gate_floor
    (rounded,) = struct.unpack("f", struct.pack("f", scale))
    arguments = {
        "projected": projected,
        "scale": rounded,
        "rest": scale - rounded,
        "CELL": "minlstm_raw" if raw else spec.cell_type,
        "G": spec.candidate_activation == "g",
        **arguments,
    }
    # Absent tensors are never read, but a kernel wants a pointer.
    arguments = {key: projected if value is None else value for key, value in arguments.items()}
    with torch.cuda.device_of(projected):
        KERNELS[name][(programs,)](**arguments)


class _Launch:
    """One call's tensors as the kernels want them, and its sizes."""

    def __init__(self, projected, initial_state, keep, resets, reset_state, cu_seqlens, spec: ScanSpec):
        self.spec = spec
        self.dtype = torch.promote_types(projected.dtype, torch.float32)
        self.projected = projected if projected.stride(-1) == 1 else projected.contiguous()
        self.batch, self.time, width = projected.shape
        self.channels = width // spec.num_parts
        self.rows = self.batch if cu_seqlens is None else cu_seqlens.shape[0] - 1
        self.keep, self.resets, self.bounds = (
            None if x is None else x.contiguous() for x in (keep, resets, cu_seqlens)
        )
        starts = (initial_state, reset_state)
        self.state, self.reset_state = (None if x is None else x.to(self.dtype).contiguous() for x in starts)
        self.steps = chunk_steps(self.time, self.rows * self.channels)
        self.chunks = -(-self.time // self.steps) if self.time else 1

    def new(self, *shape, dtype=None):
        return torch.empty(shape, dtype=dtype or self.dtype, device=self.projected.device)

    def run(self, name: str, direction: str, **arguments):
        """Launches a kernel, one program for each segment and block of channels; `arguments` besides the common ones."""
        projected = self.projected
        flags = {"keep": self.keep, "resets": self.resets, "reset_state": self.reset_state}
        arguments = {
            "bounds": self.bounds,
            "batch_stride": projected.stride(0),
            "time": self.time,
            "chunks": self.chunks,
            "steps": self.steps,
            "PACKED": self.bounds is not None,
            "STRIDE": projected.stride(1),
            **flags,
            **{f"HAS_{flag.upper()}": tensor is not None for flag, tensor in flags.items()},
            **arguments,
        }
        segments = self.rows * arguments["chunks"]
        busy = self.rows + arguments["chunks"] - 1 if arguments["PACKED"] else segments  # the others have no steps
        source = arguments.pop("projected", projected)
        parts = 2 if source is not projected else self.spec.num_parts
        flagged = arguments["HAS_KEEP"] or arguments["HAS_RESETS"]
        cut = tile(direction, busy, self.channels, parts, source.dtype.itemsize, flagged)
        arguments |= {
            "W": cut.runs,
            "U": cut.steps,
            "BLOCK_D": cut.channels,
            "STAGES": cut.stages,
            "num_warps": cut.warps,
        }
        programs = segments * -(-self.channels // cut.channels)
        _run(name, programs, source, self.spec, D=self.channels, **arguments)

    def entering(self, state, grad_h=None):
        """What enters each chunk, `(rows, chunks + 1, channels)` with what leaves the last, when `state` enters the first.

        With `grad_h`, the gradients that enter the chunks from behind, the last chunk first.
        """
        rows, chunks, channels = self.rows, self.chunks, self.channels
        pairs, out = self.new(rows, chunks, 2 * channels), self.new(rows, chunks + 1, channels)
        back = grad_h is not None
        self.run("scan_reduce", "backward" if back else "forward", grad_h=grad_h, out=pairs, BACK=back)
        out[:, 0] = 0 if state is None else state
        self.run(
            "scan_fwd",
            "forward",
            projected=pairs,
            state=out,
            h=out[:, 1:],
            final=self.new(rows, channels),
            batch_stride=pairs.stride(0),
            h_stride=out.stride(0),
            state_stride=out.stride(0),
            time=chunks,
            chunks=1,
            steps=chunks,
            CELL="carry_affine" if self.spec.form == "affine" else "carry",
            G=False,
            STRIDE=2 * channels,
            HAS_STATE=True,
            HAS_KEEP=False,
            HAS_RESETS=False,
            HAS_RESET_STATE=False,
            PACKED=False,
        )
        return out


def forward(projected, initial_state, keep, resets, reset_state, cu_seqlens, spec: ScanSpec):
    """As `scan_torch.forward`."""
    launch = _Launch(projected, initial_state, keep, resets, reset_state, cu_seqlens, spec)
    h = launch.new(launch.batch, launch.time, launch.channels, dtype=projected.dtype)
    final = launch.new(launch.rows, launch.channels)
    if final.numel():
        state = launch.state if launch.chunks == 1 else launch.entering(launch.state)
        launch.run(
            "scan_fwd",
            "forward",
            state=state,
            h=h,
            final=final,
            h_stride=h.stride(0),
            state_stride=0 if state is None else state.stride(0),
            HAS_STATE=state is not None,
        )
    return h, final


def backward(grad_h, grad_final, projected, h, initial_state, keep, resets, reset_state, cu_seqlens, spec: ScanSpec):
    """As `scan_torch.backward`."""
    launch = _Launch(projected, initial_state, keep, resets, reset_state, cu_seqlens, spec)
    grad_projected = launch.new(*projected.shape, dtype=projected.dtype)
    grad_initial = launch.new(launch.rows, launch.channels)
    grad_reset = launch.new(launch.rows * launch.chunks if reset_state is not None else 0, launch.channels)
    if grad_initial.numel():
        grad_h, grad_state = grad_h.contiguous(), grad_final.to(launch.dtype).contiguous()
        if launch.chunks > 1:
            grad_state = launch.entering(grad_state, grad_h)
        launch.run(
            "scan_bwd",
            "backward",
            h=h.contiguous(),
            state=launch.state,
            grad_h=grad_h,
            grad_state=grad_state,
            grad_projected=grad_projected,
            grad_initial=grad_initial,
            grad_reset=grad_reset,
            state_stride=grad_state.stride(0),
            HAS_STATE=launch.state is not None,
        )
    return grad_projected, grad_initial, grad_reset.sum(0)


def step_(projected: torch.Tensor, state: torch.Tensor, spec: ScanSpec) -> torch.Tensor:
    """One step of a scan: `state` is brought up to date in place, at the same address, as a CUDA graph needs it.

    Args:
        projected (`torch.Tensor` of shape `(batch, K * channels)`): The projected input of one step; may be a slice of a
            wider tensor.
        state (`torch.Tensor` of shape `(batch, channels)`, float32, or float64 for float64 input, contiguous): The state
            before the step, overwritten by the one after it.
        spec (`ScanSpec`): The cell.

    Returns:
        `torch.Tensor` of shape `(batch, channels)`: The new state in the dtype of `projected`; new memory.

    Raises:
        ValueError: For a state that does not fit, or that differentiates.
    """
    dtype = torch.promote_types(projected.dtype, torch.float32)
    batch, channels = projected.shape[0], projected.shape[1] // spec.num_parts
    if state.shape != (batch, channels) or state.dtype != dtype or not state.is_contiguous():
        got = f"{state.dtype} of shape {tuple(state.shape)}"
        raise ValueError(f"state must be {dtype}, contiguous and of shape {(batch, channels)}, got {got}")
    if torch.is_grad_enabled() and (projected.requires_grad or state.requires_grad):
        raise ValueError("step_ writes in place and has no gradient: call it under torch.no_grad()")
    h = torch.empty(batch, channels, dtype=projected.dtype, device=projected.device)
    if h.numel():
        projected = projected if projected.stride(1) == 1 else projected.contiguous()
        _run(
            "scan_step",
            batch * -(-channels // STEP_CHANNELS),
            projected,
            spec,
            state=state,
            h=h,
            row_stride=projected.stride(0),
            D=channels,
            BLOCK_D=STEP_CHANNELS,
            num_warps=STEP_WARPS,
        )
    return h
