# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Inputs that the tests of the scans share, their results by the float64 definition, and the grid that all backends run."""

import itertools
import shutil
from contextlib import contextmanager
from functools import cache
from typing import NamedTuple

import pytest
import torch

from hf_minrnn.scan import minrnn_scan
from support.definition import assert_runs_close, defined_scan, run_with_gradients

needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None and shutil.which("clang++") is None, reason="inductor needs a compiler"
)
BACKENDS = ("reference", "torch", "numba", "associative")
OP_BACKENDS = ("reference", "torch", "numba")
CELLS = {  # name: (cell_type, normalize_gates, parts of the projected input)
    "mingru": ("mingru", True, 2),
    "minlstm": ("minlstm", True, 3),
    "minlstm_raw": ("minlstm", False, 3),
}
FLOORS = (0.0, 0.7, -1.0, -0.5)  # below 0, decays have either sign
# Largest relative errors of values and gradients.
TOLERANCES = {torch.float64: (1e-10, 1e-10), torch.float32: (1e-5, 5e-5)}

every_backend = pytest.mark.parametrize("backend", BACKENDS)
every_op_backend = pytest.mark.parametrize("backend", OP_BACKENDS)
every_cell = pytest.mark.parametrize("cell", CELLS)


class Case(NamedTuple):
    """Inputs and options of one scan. `feature` is a name that `make_features` knows, or several joined by "+"."""

    cell: str
    candidate: str
    batch: int
    time: int
    channels: int
    floor: float = 0.0
    state: bool = True
    feature: str = "plain"

    def __str__(self):
        text = f"{self.cell}-{self.candidate}-B{self.batch}-T{self.time}-D{self.channels}"
        if self.floor:
            text += f"-floor{self.floor}"
        if not self.state:
            text += "-h0none"
        if self.feature != "plain":
            text += f"-{self.feature}"
        return text

    @property
    def cell_type(self):
        return CELLS[self.cell][0]

    @property
    def options(self):
        """Keyword arguments of the scan that describe the cell."""
        return {
            "candidate_activation": self.candidate,
            "normalize_gates": CELLS[self.cell][1],
            "forget_gate_floor": self.floor,
        }

    def inputs(self, dtype=torch.float32):
        """Returns `(projected, initial_state, features)` in `dtype`. The numbers are exact in float32 and float64."""
        generator = torch.Generator().manual_seed(self.time * 131 + self.channels)
        features = make_features(self.feature, self.batch, self.time, self.channels)
        if "reset_state" in features:
            features["reset_state"] = features["reset_state"].to(dtype)
        if "time_delta" in features:
            features["time_delta"] = features["time_delta"].to(torch.promote_types(dtype, torch.float32))
        packed = features.get("cu_seqlens")
        rows = self.batch if packed is None else len(packed) - 1
        width = CELLS[self.cell][2] * self.channels
        projected = 2 * torch.randn(self.batch, self.time, width, generator=generator)
        if projected.numel():
            projected[0, -1, -1] = 0.0  # the kink of g, where its derivative is 1
        state = torch.randn(rows, self.channels, generator=generator) if self.state else None
        projected = projected.to(dtype)
        if "strided" in self.feature:  # a view of a wider tensor, whose other columns are NaN
            wide = projected.new_full((self.batch, self.time, width + 5), float("nan"))
            projected = wide[..., 3:-2].copy_(projected)
        if state is not None:
            state = state.to(dtype)
        return projected, state, features


def make_features(names, batch, time, channels=None):
    """Returns keyword arguments of the scan (masks, resets, reset states, gaps, packing) for names joined by "+"."""
    generator = torch.Generator().manual_seed(time)
    out = {}
    for name in names.split("+"):
        if name.startswith("mask"):
            mask = torch.rand(batch, time, generator=generator) > 0.4
            if name == "mask_left":
                mask = torch.arange(time) >= torch.arange(batch)[:, None] * 3
            elif name == "mask_right":
                mask = torch.arange(time) < time - torch.arange(batch)[:, None] * 3
            elif name == "mask_row":
                mask[0] = False
            out["attention_mask"] = mask.long() if name == "mask_left" else mask
        elif name.startswith("resets"):
            resets = torch.rand(batch, time, generator=generator) > 0.8
            if name == "resets_first":
                resets = torch.arange(time).expand(batch, time) == 0
            elif name == "resets_last":
                resets = torch.arange(time).expand(batch, time) == time - 1
            elif name == "resets_rare":  # some chunks have none
                resets = (torch.arange(time) + 7 * torch.arange(batch)[:, None]) % 70 == 40
            elif name == "resets_all":
                resets = torch.ones(batch, time, dtype=torch.bool)
            out["resets"] = resets
        elif name == "reset_state":
            out["reset_state"] = torch.randn(channels, generator=generator)
        elif name == "reset_states":  # one for each step
            out["reset_state"] = torch.randn(batch, time, channels, generator=generator)
        elif name == "gaps":  # from short to long, and some of 0
            gaps = torch.empty(batch, time).log_normal_(0, 2, generator=generator)
            out["time_delta"] = gaps.masked_fill(torch.rand(batch, time, generator=generator) > 0.8, 0.0)
        elif name == "packed":  # with empty sequences at the start, inside and at the end, and sequences of one step
            bounds = [0, 0, 1, time // 3, time // 3, time // 3 + 1, time // 2, time - 1, time, time]
            out["cu_seqlens"] = torch.tensor(sorted(bounds), dtype=torch.int32)
        elif name == "packed_one":
            out["cu_seqlens"] = torch.tensor([0, time])
    return out


FEATURES = ("mask", "mask_left", "mask_right", "mask_row", "resets", "resets_first", "resets_last", "resets_all")
FEATURES += ("packed", "packed_one", "mask+resets", "mask+packed", "resets+packed", "resets_all+packed")
FEATURES += ("mask+resets+packed", "resets+reset_state", "resets_first+reset_state", "resets_last+reset_state")
FEATURES += ("resets_all+reset_state", "mask+resets+reset_state", "resets+packed+reset_state")
FEATURES += ("resets_all+packed+reset_state", "mask+resets+packed+reset_state")


def feature_cases(time=37, channels=5):
    """Yields a case for every feature with every cell. The candidate activation and the floor alternate."""
    for i, feature in enumerate(FEATURES):
        for j, cell in enumerate(CELLS):
            batch = 1 if "packed" in feature else 3
            candidate = ("g", "identity")[(i + j) % 2]
            floor = FLOORS[(i + j) // 2 % 4]
            without_state = feature in ("packed", "resets", "resets+reset_state")
            for state in (True, False) if without_state else (True,):
                yield Case(cell, candidate, batch, time, channels, floor, state, feature)


@cache
def expected(case: Case, dtype=torch.float64):
    """Returns the result of the float64 definition for a case whose inputs are rounded to `dtype`."""
    projected, state, features = case.inputs(dtype)
    for name in ("reset_state", "time_delta"):
        if name in features:
            features[name] = features[name].double()
    state = None if state is None else state.double()
    return run_with_gradients(defined_scan, projected.double(), case.cell_type, state, **case.options, **features)


# --- grid ------------------------------------------------------------------------------------------------------------

DTYPES = (torch.float32, torch.bfloat16, torch.float64, torch.float16)
CHANNELS = {1: 33, 2: 35, 63: 5, 64: 7, 129: 3, 1000: 5}  # number of time steps: number of channels
KINDS = tuple(itertools.product(CELLS, ("g", "identity")))
GRID_FEATURES = ("plain", "strided", *FEATURES, "resets_rare+reset_state", "mask+resets_rare+packed+reset_state")
GRID_FEATURES += ("mask+resets+strided", "mask+resets+packed+reset_state+strided")


def grid():
    """Yields `(case, dtype)` so that every feature meets every cell and candidate activation.

    Any two values of feature, cell with candidate activation, time, dtype, floor, and presence of an initial state also meet
    in at least one case.
    """
    for i, feature in enumerate(GRID_FEATURES):
        for j, (cell, candidate) in enumerate(KINDS):
            time = list(CHANNELS)[(i + j) % 6]
            dtype = DTYPES[(j + i // 6) % 4]
            floor = FLOORS[(j + i // 3) % 4]
            state = (i // 2 + j) % 2 == 0
            batch = 1 if "packed" in feature else 2
            yield Case(cell, candidate, batch, time, CHANNELS[time], floor, state, feature), dtype


def assert_matches_definition(got, case, dtype, truncated=False):
    """Compares a run in `dtype` with the definition. `truncated`: the backend truncates bfloat16 instead of rounding it."""
    want = expected(case, dtype)
    wide = torch.promote_types(dtype, torch.float32)
    assert got["h"].dtype == got["d_projected"].dtype == dtype and got["final"].dtype == wide
    if dtype == wide:
        return assert_runs_close(got, want, *TOLERANCES[dtype])
    # The state is float32. Only h is rounded, once; gradients are rounded, and computed from rounded states.
    eps = torch.finfo(dtype).eps
    limit, _ = TOLERANCES[wide]
    truncated = truncated and dtype == torch.bfloat16
    atol = limit * want["h"].abs().max().item()
    torch.testing.assert_close(got["h"].double(), want["h"], rtol=eps * (1 if truncated else 0.505), atol=atol)
    assert_runs_close({"final": got["final"]}, {"final": want["final"]}, limit)
    gradients = [{name: x for name, x in one.items() if name.startswith("d_")} for one in (got, want)]
    return assert_runs_close(*gradients, (2 if truncated else 1) * eps)


def alternating_cases(features, floors, times):
    """Yields `(case, dtype)`: every feature with every cell and candidate. The other values alternate.

    Args:
        features: Names for `make_features`.
        floors, times: Forget-gate floors and numbers of time steps, in turn.
    """
    dtypes = (torch.float64, torch.float32, torch.bfloat16)
    for n, (feature, (cell, candidate)) in enumerate(itertools.product(features, KINDS)):
        m = n + n // 6
        batch = 1 if "packed" in feature else 2
        floor, time, dtype = floors[m % len(floors)], times[m % len(times)], dtypes[(n // 2 + n // 6) % 3]
        case = Case(cell, candidate, batch, time, 5, floor, n % 4 < 2, feature)
        yield pytest.param(case, dtype, id=f"{case}-{str(dtype)[6:]}")


def check_backend(case, dtype, backend):
    """Compares values and gradients of `minrnn_scan` on a backend with the definition."""
    projected, state, features = case.inputs(dtype)
    got = run_with_gradients(minrnn_scan, projected, case.cell_type, state, backend=backend, **case.options, **features)
    assert_matches_definition(got, case, dtype)


@contextmanager
def poisoned():
    """Fills new memory with NaN, which shows if it is read before it is written. Yields a list with the number of calls."""
    count = [0]

    def poison(make):
        def poisoned_make(*args, **kwargs):
            out = make(*args, **kwargs)
            count[0] += 1
            return out.fill_(float("nan")) if out.is_floating_point() else out

        return poisoned_make

    with pytest.MonkeyPatch.context() as patch:
        for name in ("empty", "empty_like"):
            patch.setattr(torch, name, poison(getattr(torch, name)))
        yield count


# --- other inputs ----------------------------------------------------------------------------------------------------


def random_inputs(cell, batch=2, time=7, channels=3, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    projected = 2 * torch.randn(batch, time, CELLS[cell][2] * channels, generator=generator, dtype=dtype)
    return projected, torch.randn(batch, channels, generator=generator, dtype=dtype)


def cell_options(cell):
    return {"cell_type": CELLS[cell][0], "normalize_gates": CELLS[cell][1]}


def runs_equal(one, two):
    return all(torch.equal(one[name], two[name]) for name in one)


def move_to(device, *values):
    """Returns the values with all tensors moved to a device, also those in dicts."""

    def move(value):
        if isinstance(value, dict):
            return {name: move(x) for name, x in value.items()}
        return value.to(device) if isinstance(value, torch.Tensor) else value

    return [move(value) for value in values]
