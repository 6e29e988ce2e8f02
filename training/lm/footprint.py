# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""What running a model costs, one text at a time: milliseconds per token, bytes of state, memory."""

from __future__ import annotations

from pathlib import Path

import torch

from hf_minrnn.scan_choice import NUMBA_ELEMENTS
from training.bench.decode import state_bytes
from training.common.timing import measure, peak_memory

WARM_UPS = 3


def greedy_steps(model, ids: torch.Tensor):
    """Reads `ids` `(1, tokens)` and returns a function that decodes one more token at each call, and its cache."""
    output = model(ids, use_cache=True, logits_to_keep=1)
    held = [output.past_key_values, output.logits.argmax(-1)]

    def step():
        output = model(held[1], past_key_values=held[0], use_cache=True)
        held[:] = output.past_key_values, output.logits.argmax(-1)
        held[1].item()  # waits for an accelerator

    return step, held[0]


@torch.inference_mode()
def measure_decoding(model, ids: torch.Tensor, rounds: int) -> dict:
    """Milliseconds per token and bytes of state after one token and after all of `ids` `(1, tokens)`."""
    steps = {length: greedy_steps(model, ids[:, :length]) for length in (1, ids.shape[1])}
    times = measure({length: step for length, (step, _) in steps.items()}, rounds, WARM_UPS)
    return {str(length): times[length] | {"state_bytes": state_bytes(cache)} for length, (_, cache) in steps.items()}


@torch.inference_mode()
def measure_peak(model, ids: torch.Tensor, new_tokens: int = 16) -> float | None:
    """MiB by which reading `ids` `(1, tokens)` and decoding a few more raises the memory in use above the loaded model and
    the kernels; `None` where the system doesn't say. To be called before anything else, see `timing.peak_memory`."""
    # As much text as it takes for the kernels to be imported and compiled: on a CPU that is more than a small model's work.
    greedy_steps(model, ids[:, : -(-NUMBA_ELEMENTS // model.config.state_size)])[0]()

    def work():
        step, cache = greedy_steps(model, ids)
        for _ in range(new_tokens):
            step()
        return cache

    if ids.is_cuda:
        torch.cuda.reset_peak_memory_stats(ids.device)
        before = torch.cuda.memory_allocated(ids.device)
        work()
        return (torch.cuda.max_memory_allocated(ids.device) - before) / 2**20
    return peak_memory(work) if Path("/proc/self/status").exists() else None
