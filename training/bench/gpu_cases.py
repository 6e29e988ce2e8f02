# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""What bench_gpu.py compares before it times: few kernels to compile, and every pair of things that a scan may be given."""

from __future__ import annotations

import itertools
import random
from contextlib import contextmanager
from typing import NamedTuple

import torch

from hf_minrnn.gates import NUM_PARTS
from hf_minrnn.scan import minrnn_scan
from training.common.timing import check_agreement

BF16, FP16, FP32 = torch.bfloat16, torch.float16, torch.float32
DTYPES = {"float32": FP32, "float16": FP16, "bfloat16": BF16}
# Relative to the norm: h and the final state, the gradients.
LIMITS = {FP32: (1e-5, 5e-5), FP16: (1e-3, 2e-3), BF16: (8e-3, 1.6e-2)}
CELLS = {"mingru": ("mingru", True), "minlstm": ("minlstm", True), "minlstm, raw": ("minlstm", False)}


class Case(NamedTuple):
    """One scan. All share their channels, which kernels are compiled for; the rows decide how a kernel cuts its work."""

    cell: str
    candidate: str
    dtype: str
    features: str  # of mask, resets, reset_state and packed
    state: bool
    strided: bool
    floor: float
    rows: int  # of the batch, or sequences packed into one
    time: int

    def __str__(self):
        words = [self.cell, self.candidate, self.dtype, self.features, f"{self.rows} rows", f"{self.time} steps"]
        words += (
            ["initial state"] * self.state + ["strided"] * self.strided + [f"floor {self.floor}"] * bool(self.floor)
        )
        return ", ".join(words)


CHANNELS = 65
FACTORS = {
    "cell": tuple(CELLS),
    "candidate": ("g", "identity"),
    "dtype": tuple(DTYPES),
    "features": ("plain", "mask", "resets", "packed", "mask+resets+reset_state", "mask+resets+reset_state+packed"),
    "state": (True, False),
    "strided": (False, True),
    "floor": (0.0, 0.3),
    "rows": (3, 256, 1024),  # with 65 channels, one for each row of the kernels' tables
    "time": (1, 2, 63, 64, 129, 1000),
}
# Long enough to be cut into chunks.
CHUNKED = [
    Case("mingru", "g", "float32", "mask+resets+reset_state+packed", True, False, 0.3, 3, 8231),
    Case("minlstm, raw", "identity", "bfloat16", "mask+resets+reset_state", False, True, 0.0, 2, 9000),
]


def pairs_of(case: dict) -> set:
    """Every two choices that a case makes."""
    return set(itertools.combinations(sorted(case.items()), 2))


def pairwise(factors: dict) -> list[dict]:
    """Few combinations of values, in which every value of each factor meets every value of each other one.

    >>> len(pairwise({"a": (1, 2), "b": (3, 4), "c": (5, 6)})) <= 6
    True
    """
    rng, cases = random.Random(0), []
    missing = [
        pair
        for one, two in itertools.combinations(sorted(factors), 2)
        for pair in itertools.product(*([(name, value) for value in factors[name]] for name in (one, two)))
    ]
    while missing:
        tries = [{name: rng.choice(values) for name, values in factors.items()} | dict(missing[0]) for _ in range(100)]
        best = max((pairs_of(case) for case in tries), key=lambda pairs: sum(pair in pairs for pair in missing))
        cases.append({name: value for pair in best for name, value in pair})
        missing = [pair for pair in missing if pair not in best]
    return cases


def grid() -> list[Case]:
    """Every pair of factors, and scans in chunks."""
    return [*(Case(**case) for case in pairwise(FACTORS)), *CHUNKED]


@contextmanager
def poisoned():
    """New memory from `torch.empty` is NaN: what is read before it is written, or never written, shows."""
    real = torch.empty

    def empty(*args, **kwargs):
        out = real(*args, **kwargs)
        return out.fill_(float("nan")) if out.is_floating_point() else out

    torch.empty = empty
    try:
        yield
    finally:
        torch.empty = real


def features_of(case: Case, channels: int, device: str) -> dict:
    """Masks, resets, what they put in the state's place, and bounds of packed sequences, some of them empty."""
    generator = torch.Generator().manual_seed(case.time)
    size = (1 if "packed" in case.features else case.rows, case.time)
    made = {}
    if "mask" in case.features:
        made["attention_mask"] = torch.rand(size, generator=generator) > 0.3
    if "resets" in case.features:
        made["resets"] = torch.rand(size, generator=generator) > 0.95
        made["resets"][:, case.time // 2] = True
    if "reset_state" in case.features:
        made["reset_state"] = torch.randn(channels, generator=generator)
    if "packed" in case.features:
        inner = torch.randint(0, case.time + 1, (case.rows - 1,), generator=generator).sort().values
        made["cu_seqlens"] = torch.tensor([0, *inner.tolist(), case.time], dtype=torch.int32)
    return {name: x.to(device) for name, x in made.items()}


def random_numbers(*shape, device: str, seed: int = 0) -> torch.Tensor:
    """N(0, 1) as bfloat16 rounds it, so that every precision sees the same numbers."""
    generator = torch.Generator(device).manual_seed(seed)
    return torch.randn(shape, generator=generator, device=device).bfloat16().float()


def values_and_gradients(projected, state, options, backend: str, weights) -> list[torch.Tensor]:
    """`[h, final state]`, then the gradients by the input and, where there are such, the initial and the reset state.

    `weights` are the gradients by h and the final state.
    """
    inputs = {"projected": projected, "initial_state": state, "reset_state": options.get("reset_state")}
    inputs = {name: x.detach().requires_grad_() for name, x in inputs.items() if x is not None}
    with torch.enable_grad():
        outputs = minrnn_scan(**{**options, **inputs}, backend=backend)
        weights = [w.to(x.dtype) for w, x in zip(weights, outputs, strict=True)]
        return [x.detach() for x in (*outputs, *torch.autograd.grad(outputs, list(inputs.values()), weights))]


def compare(what: str, got, want, dtype: torch.dtype) -> list[float]:
    """Relative errors; raises `Disagreement`. What is zero on both sides, as a gradient past a reset, counts as equal."""
    values, gradients = LIMITS[dtype]
    limits = [values] * 2 + [gradients] * (len(want) - 2)
    some = [(g.double(), w, limit) for g, w, limit in zip(got, want, limits, strict=True) if g.any() or w.any()]
    return check_agreement(what, *zip(*some)) if some else []


def check_case(case: Case, backend: str, device: str, channels: int = CHANNELS) -> list[float]:
    """Relative errors of a backend against "torch" in float64; raises `Disagreement` where one is too large."""
    cell_type, normalize = CELLS[case.cell]
    dtype, made = DTYPES[case.dtype], features_of(case, channels, device)
    batch, width = 1 if "packed" in case.features else case.rows, NUM_PARTS[cell_type] * channels
    projected = 2 * random_numbers(batch, case.time, width + 16 * case.strided, device=device)
    projected = projected.to(dtype)[..., -width:]
    state = random_numbers(case.rows, channels, device=device, seed=1) if case.state else None
    options = {"cell_type": cell_type, "normalize_gates": normalize, "forget_gate_floor": case.floor, **made}
    options["candidate_activation"] = case.candidate
    weights = [random_numbers(*size, channels, device=device, seed=2) for size in ((batch, case.time), (case.rows,))]
    with poisoned():
        got = values_and_gradients(projected, state, options, backend, weights)
    wide = {name: x.double() if name == "reset_state" else x for name, x in options.items()}
    state = None if state is None else state.double()
    want = values_and_gradients(projected.double(), state, wide, "torch", weights)
    return compare(f"{backend} and torch in float64 ({case})", got, want, dtype)


def check_whole(cell_type: str, shape, dtype: torch.dtype, backend: str, device: str) -> list[float]:
    """As `check_case` for a scan as large as is timed; in float64 only its outer channels, which are independent."""
    batch, steps, channels = shape
    parts = NUM_PARTS[cell_type]
    columns = sorted({*range(channels)[:4], *range(channels)[-4:]})
    projected = 2 * random_numbers(batch, steps, parts * channels, device=device)
    weights = [random_numbers(*size, channels, device=device, seed=1) for size in ((batch, steps), (batch,))]
    with poisoned():
        got = values_and_gradients(projected.to(dtype), None, {"cell_type": cell_type}, backend, weights)

    def outer(x, blocks=1):
        return x.unflatten(-1, (blocks, channels))[..., columns].flatten(-2)

    some = [outer(w) for w in weights]
    want = values_and_gradients(outer(projected, parts).double(), None, {"cell_type": cell_type}, "torch", some)
    got = [outer(got[0]), outer(got[1]), outer(got[2], parts)]
    return compare(f"{backend} and torch in float64 ({cell_type}, {shape}, {str(dtype)[6:]})", got, want, dtype)
