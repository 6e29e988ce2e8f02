# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The states that rows carry from one segment to the next in stateful training."""

from __future__ import annotations

import torch
from transformers import DynamicCache

from hf_minrnn import detach_cache


class CarriedStates:
    """The states of this process's rows, one cache's worth for each micro-batch; they begin as the model's initial ones.

    Args:
        config (`MinRNNConfig`): Of the model.
        micro_batches (`int`): In a step of one process.
    """

    def __init__(self, config, micro_batches: int):
        self.config = config
        self.micro_batches: list[list | None] = [None] * micro_batches

    def cache(self, number: int) -> DynamicCache:
        """A cache to run micro-batch `number` from; these states stay as they are, should the step be thrown away."""
        cache = DynamicCache(config=self.config)
        for layer, (state, tail) in zip(cache.layers, self.micro_batches[number] or []):
            layer.update_conv_state(tail)
            layer.update_recurrent_state(state)
        return cache

    def keep(self, caches: list[DynamicCache]) -> None:
        """Takes the states after a step over, one cache of each micro-batch; no gradient goes back through them."""
        self.micro_batches = [[layer.carried() for layer in detach_cache(cache).layers] for cache in caches]

    def gathered(self, accelerator) -> list | None:
        """The states of all rows of all processes, on the CPU: `(state, tail)` of each layer; to be called by all."""
        if self.micro_batches[0] is None:
            return None
        layers = []
        for parts in zip(*self.micro_batches):
            columns = (None if column[0] is None else torch.cat(column) for column in zip(*parts))
            layers.append(tuple(None if x is None else accelerator.gather(x.contiguous()).cpu() for x in columns))
        return layers

    def scatter(self, layers: list | None, accelerator) -> None:
        """Takes this process's rows of what `gathered` returned, whatever the number of processes was then."""
        if layers is None:
            return
        number, parts = accelerator.process_index, accelerator.num_processes * len(self.micro_batches)
        split = [
            [[None] * parts if x is None else x.to(accelerator.device).chunk(parts) for x in layer] for layer in layers
        ]
        first = number * len(self.micro_batches)
        self.micro_batches = [
            [(states[i], tails[i]) for states, tails in split] for i in range(first, first + len(self.micro_batches))
        ]
