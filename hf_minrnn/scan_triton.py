# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The GPU backend: launches the kernels of `scan_triton_kernels`, which are compiled on first use.

A scan is one launch forward and one backward. With few channels and many steps, that would be too few programs to fill a GPU.
Then time is cut into chunks: `scan_reduce` finds the effect of each chunk on a state, a scan over the chunks (by `scan_fwd`)
turns that into the state that enters each chunk, and all chunks run in parallel.

Nothing here waits for the device: only the kernels read the values of `cu_seqlens`.
"""

import os
import struct
from importlib.util import find_spec
from typing import NamedTuple

import torch

from .gates import ScanSpec


class Tile(NamedTuple):
    """How a kernel divides its work; `scan_triton_kernels` explains the terms.

    Args:
        runs (`int`): Runs of a tile, side by side.
        steps (`int`): Steps of a run.
        channels (`int`): Channels of a program.
        warps (`int`): Warps of a program.
        stages (`int`): Tiles in the software pipeline.
    """

    runs: int
    steps: int
    channels: int
    warps: int
    stages: int


# By direction, then by the least number of channels of all sequences together. Each entry has four tiles: for two parts in two
# bytes an element, two parts in more bytes, three parts in two bytes, three parts in more. With fewer channels, more steps must
# be loaded at once to use the memory bandwidth, hence the runs. In bfloat16 these tiles were the fastest of about 90 on an
# H100, or within a few percent of the fastest. Wider elements were not measured; their tiles load as many bytes at once.
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
# Time is cut into chunks if there are fewer channels than CHUNKED_CHANNELS and at least CHUNKS chunks of CHUNK_STEPS steps.
# Chunks are longer than that where all of them together would have more than ENOUGH_CHANNELS channels.
CHUNKED_CHANNELS, CHUNK_STEPS, CHUNKS, ENOUGH_CHANNELS = 4096, 512, 8, 131072
# Channels and warps of a program of `scan_step`.
STEP_CHANNELS, STEP_WARPS = 256, 2

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
# Constants, so that torch.compile can read them. Triton itself is imported when a kernel first runs.
INSTALLED = find_spec("triton") is not None
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


def runs_on(device: torch.device | str) -> bool:
    """Whether Triton runs kernels on tensors of a device: on a GPU, or on a CPU in its interpreter.

    >>> runs_on("cuda:1"), runs_on("meta")
    (True, False)
    """
    kind = torch.device(device).type
    return kind == "cuda" or (kind == "cpu" and INTERPRETED)


def tile(direction: str, sequences: int, channels: int, parts: int, itemsize: int, flags: bool = False) -> Tile:
    """Chooses how a kernel divides its work.

    Args:
        direction (`str`): "forward" or "backward".
        sequences (`int`): Sequences, or chunks of them.
        channels (`int`): Channels of each.
        parts (`int`): Parts of the projected input, 2 or 3.
        itemsize (`int`): Bytes of an element.
        flags (`bool`, defaults to `False`): Whether the kernel reads flags for each step. Then, and with eight bytes an
            element, only half as many steps fit into the registers.

    >>> tile("forward", 8, 2048, 2, itemsize=2)
    Tile(runs=8, steps=8, channels=32, warps=4, stages=3)
    """
    tiles = next(tiles for least, tiles in TILES[direction].items() if sequences * channels >= least)
    found = tiles[2 * (parts - 2) + (itemsize > 2)]
    steps, block = found.steps, found.channels
    if flags or itemsize > 4:
        steps //= 2
    while channels % block and block > SMALLEST_BLOCK:
        block //= 2
    return found._replace(steps=steps, channels=block)


def chunk_steps(time: int, channels: int) -> int:
    """Steps of the chunks that time is cut into, or `time` where it is not cut.

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

    is_raw = spec.cell_type == "minlstm" and not spec.normalize_gates
    scale = 1 - spec.forget_gate_floor
    (rounded,) = struct.unpack("f", struct.pack("f", scale))
    arguments = {
        "projected": projected,
        "scale": rounded,
        "scale_rest": scale - rounded,
        "CELL": "minlstm_raw" if is_raw else spec.cell_type,
        "WITH_G": spec.candidate_activation == "g",
        **arguments,
    }
    with torch.cuda.device_of(projected):
        KERNELS[name][(programs,)](**arguments)


class _Launch:
    """The tensors of one call in the form that the kernels need, and its sizes."""

    def __init__(self, projected, initial_state, attention_mask, resets, reset_state, cu_seqlens, spec: ScanSpec):
        self.spec = spec
        self.dtype = torch.promote_types(projected.dtype, torch.float32)
        self.projected = projected if projected.stride(-1) == 1 else projected.contiguous()
        self.batch, self.time, width = projected.shape
        self.channels = width // spec.num_parts
        self.sequences = self.batch if cu_seqlens is None else cu_seqlens.shape[0] - 1
        self.attention_mask = _contiguous(attention_mask)
        self.resets = _contiguous(resets)
        self.bounds = _contiguous(cu_seqlens)
        self.state = _contiguous(initial_state, self.dtype)
        self.reset_state = _contiguous(reset_state, self.dtype)
        self.chunk_steps = chunk_steps(self.time, self.sequences * self.channels)
        self.chunks = -(-self.time // self.chunk_steps) if self.time else 1

    def new(self, *shape, dtype=None):
        return torch.empty(shape, dtype=dtype or self.dtype, device=self.projected.device)

    def run(self, name: str, direction: str, **arguments):
        """Launches a kernel with a program for each segment and block of channels.

        Args:
            name (`str`): The kernel.
            direction (`str`): "forward" or "backward", for the tile.
            arguments: Arguments of the kernel, in addition to those of every kernel or in their place.
        """
        arguments = {
            "projected": self.projected,
            "attention_mask": self.attention_mask,
            "resets": self.resets,
            "reset_state": self.reset_state,
            "bounds": self.bounds,
            "batch_stride": self.projected.stride(0),
            "time": self.time,
            "chunks": self.chunks,
            "chunk_steps": self.chunk_steps,
            "STRIDE": self.projected.stride(1),
            **arguments,
        }
        projected = arguments.pop("projected")
        chunks = arguments["chunks"]
        segments = self.sequences * chunks
        busy = segments
        if arguments["bounds"] is not None:
            busy = self.sequences + chunks - 1  # the other segments of packed sequences are empty
        parts = self.spec.num_parts if projected is self.projected else 2
        has_flags = arguments["attention_mask"] is not None or arguments["resets"] is not None
        cut = tile(direction, busy, self.channels, parts, projected.dtype.itemsize, has_flags)
        arguments |= {
            "RUNS": cut.runs,
            "RUN_STEPS": cut.steps,
            "BLOCK_D": cut.channels,
            "STAGES": cut.stages,
            "num_warps": cut.warps,
        }
        programs = segments * -(-self.channels // cut.channels)
        _run(name, programs, projected, self.spec, D=self.channels, **arguments)

    def entering(self, state, grad_h=None):
        """Computes the states that enter the chunks.

        Args:
            state (`torch.Tensor` of shape `(sequences, channels)`, *optional*): The state that enters the first chunk. With
                `grad_h`, the gradient of the final state.
            grad_h (`torch.Tensor`, *optional*): Gradient by h. With it, the result holds the gradients of the states that
                leave the chunks, the last chunk first.

        Returns:
            `torch.Tensor` of shape `(sequences, chunks + 1, channels)`; the last entry is what leaves the last chunk.
        """
        sequences, chunks, channels = self.sequences, self.chunks, self.channels
        pairs = self.new(sequences, chunks, 2 * channels)
        out = self.new(sequences, chunks + 1, channels)
        self.run("scan_reduce", "forward" if grad_h is None else "backward", grad_h=grad_h, out=pairs)
        out[:, 0] = 0 if state is None else state
        self.run(
            "scan_fwd",
            "forward",
            projected=pairs,
            state=out,
            h=out[:, 1:],
            final=self.new(sequences, channels),
            batch_stride=pairs.stride(0),
            h_stride=out.stride(0),
            state_stride=out.stride(0),
            time=chunks,
            chunks=1,
            chunk_steps=chunks,
            attention_mask=None,
            resets=None,
            reset_state=None,
            bounds=None,
            CELL="carry_affine" if self.spec.form == "affine" else "carry",
            WITH_G=False,
            STRIDE=2 * channels,
        )
        return out


def _contiguous(x, dtype=None):
    if x is None:
        return None
    return x.to(dtype or x.dtype).contiguous()


def forward(projected, initial_state, attention_mask, resets, reset_state, cu_seqlens, spec: ScanSpec):
    """Computes what `scan_torch.forward` does."""
    launch = _Launch(projected, initial_state, attention_mask, resets, reset_state, cu_seqlens, spec)
    h = launch.new(launch.batch, launch.time, launch.channels, dtype=projected.dtype)
    final = launch.new(launch.sequences, launch.channels)
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
        )
    return h, final


def backward(
    grad_h, grad_final, projected, h, initial_state, attention_mask, resets, reset_state, cu_seqlens, spec: ScanSpec
):
    """Computes what `scan_torch.backward` does."""
    launch = _Launch(projected, initial_state, attention_mask, resets, reset_state, cu_seqlens, spec)
    grad_projected = launch.new(*projected.shape, dtype=projected.dtype)
    grad_initial = launch.new(launch.sequences, launch.channels)
    segments = launch.sequences * launch.chunks
    grad_reset = launch.new(0 if reset_state is None else segments, launch.channels)
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
        )
    return grad_projected, grad_initial, grad_reset.sum(0)


def step_(projected: torch.Tensor, state: torch.Tensor, spec: ScanSpec) -> torch.Tensor:
    """Computes one step of a scan. `state` is updated in place, at the same address, as a CUDA graph needs it.

    Args:
        projected (`torch.Tensor` of shape `(batch, K * channels)`): The projected input of one step. May be a slice of a
            wider tensor.
        state (`torch.Tensor` of shape `(batch, channels)`, float32, or float64 for float64 input, contiguous): The state
            before the step. It is overwritten by the state after it.
        spec (`ScanSpec`): The cell.

    Returns:
        `torch.Tensor` of shape `(batch, channels)`: The new state in the dtype of `projected`, in new memory.

    Raises:
        ValueError: If the state has the wrong shape or dtype, or a gradient is required.
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
