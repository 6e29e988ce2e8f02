# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Training steps recorded in CUDA graphs: a small model's step is hundreds of kernels, and starting them one by one takes
longer than they run."""

from __future__ import annotations

from collections.abc import Callable

import torch

EAGER_STEPS = 3  # of a shape before it is recorded: kernels are compiled, workspaces and the optimizer's state made


class GraphedSteps:
    """Calls a function of two tensors; from the fourth call with tensors of the same shapes on, by replaying a CUDA graph.

    Args:
        function: Of two int64 tensors on the GPU to a tensor on it. It may change weights in place. It must not look at
            values on the processor, and what it reads besides its arguments has to stay at its address.

    A function that cannot be recorded is called as it is from there on, and a line says why.
    """

    def __init__(self, function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]):
        self.function, self.calls, self.recorded, self.pool = function, {}, {}, None
        self.stream = torch.cuda.Stream()  # recording wants another than the default one, and so do the calls before it
        self.works = True

    def __call__(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """What the function returns for two tensors on the processor; to be read before the next call."""
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
