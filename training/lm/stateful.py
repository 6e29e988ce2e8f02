# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The states that rows carry from one step to the next in stateful training."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from transformers import DynamicCache

from hf_minrnn import MinRNNConfig, detach_cache

LayerState = tuple[torch.Tensor | None, torch.Tensor | None]  # recurrent state and conv_state of a layer


class CarriedStates:
    """The states of all layers for the rows of each micro-batch of this process; at first the model's initial states.

    Args:
        config (`MinRNNConfig`): The model's configuration.
        micro_batches (`int`): Number of micro-batches in a step of one process.
    """

    def __init__(self, config: MinRNNConfig, micro_batches: int):
        self.config = config
        self.micro_batches: list[list[LayerState] | None] = [None] * micro_batches

    def cache(self, number: int) -> DynamicCache:
        """Returns a cache with the states of micro-batch `number`. The model changes the cache, but not these states."""
        cache = DynamicCache(config=self.config)
        for layer, (state, conv_state) in zip(cache.layers, self.micro_batches[number] or []):
            layer.update_conv_state(conv_state)
            layer.update_recurrent_state(state)
        return cache

    def keep(self, caches: list[DynamicCache]) -> None:
        """Replaces the states by those after a step, from the cache of each micro-batch. They carry no gradient."""
        self.micro_batches = [[layer.carried() for layer in detach_cache(cache).layers] for cache in caches]

    def gathered(self, accelerator: Accelerator) -> list[LayerState] | None:
        """Returns the states of the rows of all processes, for each layer, on the CPU; every process must call it."""
        if self.micro_batches[0] is None:
            return None
        layers = []
        for parts in zip(*self.micro_batches):  # a layer's states in each micro-batch
            gathered: list[torch.Tensor | None] = []
            for states in zip(*parts):
                if states[0] is None:
                    gathered.append(None)
                else:
                    gathered.append(accelerator.gather(torch.cat(states).contiguous()).cpu())
            layers.append(tuple(gathered))
        return layers

    def scatter(self, layers: list[LayerState] | None, accelerator: Accelerator) -> None:
        """Takes this process's rows of what `gathered` returned, for any number of processes."""
        if layers is None:
            return
        own = len(self.micro_batches)
        count = accelerator.num_processes * own
        first = accelerator.process_index * own
        self.micro_batches = [[] for _ in range(own)]
        for layer in layers:
            # For the recurrent state and the conv_state, a part for each micro-batch of each process.
            parts = []
            for state in layer:
                if state is None:
                    parts.append([None] * count)
                else:
                    parts.append(state.to(accelerator.device).chunk(count))
            states, conv_states = parts
            for number, micro_batch in enumerate(self.micro_batches, start=first):
                micro_batch.append((states[number], conv_states[number]))
