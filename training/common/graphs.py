# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Records training steps in CUDA graphs.

A step of a small model consists of hundreds of kernels. Launching them one by one takes longer than running them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

# Steps of a shape before it is recorded. They compile kernels and create workspaces and the optimizer's state.
EAGER_STEPS = 3


class GraphedSteps:
    """Calls a function of two tensors. From the fourth call with the same shapes on it replays a CUDA graph.

    If the function cannot be recorded, a line says why, and from then on it is called directly.

    Args:
        function: Function of two int64 tensors on the GPU that returns a tensor there. It may change weights in place. It
            must not read values on the CPU, and everything that it reads besides its arguments must keep its address.
    """

    def __init__(self, function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]):
        self.function = function
        self.calls: dict[tuple, int] = {}
        self.recorded: dict[tuple, tuple] = {}
        self.pool = None
        # Recording needs another stream than the default, and so do the calls before it.
        self.stream = torch.cuda.Stream()
        self.works = True

    def __call__(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Returns the result of the function for two tensors on the CPU; it must be read before the next call."""
        shapes = (first.shape, second.shape)
        self.calls[shapes] = self.calls.get(shapes, 0) + 1
        if shapes not in self.recorded:
            inputs = first.cuda(), second.cuda()
            if not self.works or self.calls[shapes] <= EAGER_STEPS:
                self.stream.wait_stream(torch.cuda.current_stream())
                with torch.cuda.stream(self.stream):
                    out = self.function(*inputs)
                torch.cuda.current_stream().wait_stream(self.stream)
                return out
            try:
                self._record(shapes, inputs)
            except RuntimeError as error:
                print(f"no CUDA graph of this step: {str(error).splitlines()[0]}", flush=True)
                self.works = False
                return self.function(*inputs)
        graph, inputs, out = self.recorded[shapes]
        for static, given in zip(inputs, (first, second)):
            static.copy_(given.pin_memory(), non_blocking=True)
        graph.replay()
        return out

    def _record(self, shapes, inputs) -> None:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool, stream=self.stream):
            out = self.function(*inputs)
        self.pool = graph.pool()
        self.recorded[shapes] = graph, inputs, out
