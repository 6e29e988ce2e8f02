# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The cases that `training.bench.gpu` checks before it times: few kernels to compile, but every pair of options of a scan."""

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
# Largest errors of h and the final state, and of the gradients, relative to the norm.
LIMITS = {FP32: (1e-5, 5e-5), FP16: (1e-3, 2e-3), BF16: (8e-3, 1.6e-2)}
CELLS = {"mingru": ("mingru", True), "minlstm": ("minlstm", True), "minlstm, raw": ("minlstm", False)}


class Case(NamedTuple):
    """One scan. All have the same channels, for which kernels are compiled; how these split the work depends on the rows."""

    cell: str
    candidate: str
    dtype: str
    features: str  # any of mask, resets, reset_state and packed
    state: bool
    strided: bool
    floor: float
    rows: int  # rows of the batch, or sequences packed into one
    time: int

    def __str__(self):
        words = [self.cell, self.candidate, self.dtype, self.features, f"{self.rows} rows", f"{self.time} steps"]
        optional = {"initial state": self.state, "strided": self.strided, f"floor {self.floor}": self.floor}
        return ", ".join(words + [word for word, wanted in optional.items() if wanted])


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
# Long enough to be split into chunks.
CHUNKED = [
    Case("mingru", "g", "float32", "mask+resets+reset_state+packed", True, False, 0.3, 3, 8231),
    Case("minlstm, raw", "identity", "bfloat16", "mask+resets+reset_state", False, True, 0.0, 2, 9000),
]


def pairs_of(case: dict) -> set:
    """Returns every pair of choices of a case."""
    return set(itertools.combinations(sorted(case.items()), 2))


def pairwise(factors: dict) -> list[dict]:
    """Returns few combinations of values in which every value of each factor meets every value of each other factor.

    >>> len(pairwise({"a": (1, 2), "b": (3, 4), "c": (5, 6)})) <= 6
    True
    """
    rng = random.Random(0)
    cases = []
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
    """Returns cases with every pair of factors, and scans in chunks."""
    return [*(Case(**case) for case in pairwise(FACTORS)), *CHUNKED]


@contextmanager
def poisoned():
    """Fills new memory of `torch.empty` with NaN, to find values that are read before they are written, or never written."""
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
    """Returns a mask, resets, a reset state and the offsets of packed sequences, some of them empty."""
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
    """Returns numbers from N(0, 1), rounded to bfloat16 so that every precision gets the same."""
    generator = torch.Generator(device).manual_seed(seed)
    return torch.randn(shape, generator=generator, device=device).bfloat16().float()


def values_and_gradients(projected, state, options, backend: str, weights) -> list[torch.Tensor]:
    """Returns `[h, final state]`, then the gradients by the input and, where given, by the initial and the reset state.

    `weights` are the gradients of h and the final state.
    """
    inputs = {"projected": projected, "initial_state": state, "reset_state": options.get("reset_state")}
    inputs = {name: x.detach().requires_grad_() for name, x in inputs.items() if x is not None}
    with torch.enable_grad():
        outputs = minrnn_scan(**{**options, **inputs}, backend=backend)
        weights = [w.to(x.dtype) for w, x in zip(weights, outputs, strict=True)]
        return [x.detach() for x in (*outputs, *torch.autograd.grad(outputs, list(inputs.values()), weights))]


def compare(what: str, got, want, dtype: torch.dtype) -> list[float]:
    """Returns relative errors, without those of results that are zero on both sides; raises `Disagreement`."""
    values, gradients = LIMITS[dtype]
    limits = [values] * 2 + [gradients] * (len(want) - 2)
    some = [(g.double(), w, limit) for g, w, limit in zip(got, want, limits, strict=True) if g.any() or w.any()]
    return check_agreement(what, *zip(*some)) if some else []


def check_case(case: Case, backend: str, device: str, channels: int = CHANNELS) -> list[float]:
    """Returns the relative errors of a backend against "torch" in float64; raises `Disagreement` if one is too large."""
    cell_type, normalize = CELLS[case.cell]
    dtype = DTYPES[case.dtype]
    made = features_of(case, channels, device)
    batch = 1 if "packed" in case.features else case.rows
    width = NUM_PARTS[cell_type] * channels
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
    """Checks a scan at a timed shape like `check_case`, in the first and last channels only: channels are independent."""
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
