# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The cost of running a model on one text: milliseconds per token, bytes of state, memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from transformers import Cache

from hf_minrnn import MinRNNForCausalLM
from hf_minrnn.scan_choice import NUMBA_ELEMENTS
from training.common.timing import measure, peak_gpu_memory, peak_memory

WARM_UPS = 3


def state_bytes(cache) -> int:
    """Returns the bytes of state in a cache, without counters and without the last token that ours keeps."""
    tensors = []
    for layer in cache.layers:
        for value in vars(layer).values():
            if isinstance(value, dict):
                values = value.values()
            elif isinstance(value, list | tuple):
                values = value
            else:
                values = [value]
            tensors += [x for x in values if isinstance(x, torch.Tensor) and x.is_floating_point()]
    storages = [x.untyped_storage() for x in tensors]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def greedy_steps(model: MinRNNForCausalLM, ids: torch.Tensor) -> tuple[Callable[[], None], Cache]:
    """Reads `ids` `(1, tokens)`. Returns a function that decodes one more token at each call, and its cache."""
    output = model(ids, use_cache=True, logits_to_keep=1)
    cache = output.past_key_values
    token = output.logits.argmax(-1)

    def step() -> None:
        nonlocal token
        token = model(token, past_key_values=cache, use_cache=True).logits.argmax(-1)
        token.item()  # waits for an accelerator

    return step, cache


@torch.inference_mode()
def measure_decoding(model: MinRNNForCausalLM, ids: torch.Tensor, rounds: int) -> dict:
    """Measures milliseconds per token and bytes of state after one token and after all of `ids` `(1, tokens)`."""
    steps = {length: greedy_steps(model, ids[:, :length]) for length in (1, ids.shape[1])}
    times = measure({length: step for length, (step, _) in steps.items()}, rounds, WARM_UPS)
    return {str(length): times[length] | {"state_bytes": state_bytes(cache)} for length, (_, cache) in steps.items()}


@torch.inference_mode()
def measure_peak(model: MinRNNForCausalLM, ids: torch.Tensor, new_tokens: int = 16) -> float | None:
    """Measures the memory that reading `ids` `(1, tokens)` and decoding a few more needs on top of the model and kernels.

    Call it before anything else, see `timing.peak_memory`.

    Returns:
        MiB, or `None` if the system does not report memory.
    """
    # Enough text to import and compile the kernels: on a CPU they need more memory than a small model.
    greedy_steps(model, ids[:, : -(-NUMBA_ELEMENTS // model.config.state_size)])[0]()

    def work():
        step, cache = greedy_steps(model, ids)
        for _ in range(new_tokens):
            step()
        return cache

    if ids.is_cuda:
        return peak_gpu_memory(work, ids.device)
    return peak_memory(work) if Path("/proc/self/status").exists() else None
