# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Inputs that the tests of the scans share, with their float64 definition computed once."""

from functools import cache
from typing import NamedTuple

import pytest
import torch
from definition import define, run

BACKENDS = ("reference", "torch", "numba", "associative")
OP_BACKENDS = ("reference", "torch", "numba")
CELLS = {  # name -> cell_type, normalize_gates, parts
    "mingru": ("mingru", True, 2),
    "minlstm": ("minlstm", True, 3),
    "minlstm_raw": ("minlstm", False, 3),
}
# Relative to the norm of what is compared: values, gradients.
TOLERANCES = {torch.float64: (1e-10, 1e-10), torch.float32: (1e-5, 5e-5)}

every_backend = pytest.mark.parametrize("backend", BACKENDS)
every_op_backend = pytest.mark.parametrize("backend", OP_BACKENDS)
every_cell = pytest.mark.parametrize("cell", CELLS)


class Case(NamedTuple):
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
        text += f"-floor{self.floor}" if self.floor else ""
        text += "" if self.state else "-h0none"
        return text + ("" if self.feature == "plain" else f"-{self.feature}")

    @property
    def cell_type(self):
        return CELLS[self.cell][0]

    @property
    def options(self):
        """The scan's keyword arguments that describe the cell."""
        return {
            "candidate_activation": self.candidate,
            "normalize_gates": CELLS[self.cell][1],
            "forget_gate_floor": self.floor,
        }

    def inputs(self, dtype=torch.float32):
        """`(projected, initial_state, features)`; random numbers that float32 represents exactly, in `dtype`."""
        generator = torch.Generator().manual_seed(self.time * 131 + self.channels)
        features = make_features(self.feature, self.batch, self.time, self.channels)
        if "reset_state" in features:
            features["reset_state"] = features["reset_state"].to(dtype)
        packed = features.get("cu_seqlens")
        rows = self.batch if packed is None else len(packed) - 1
        width = CELLS[self.cell][2] * self.channels
        projected = 2 * torch.randn(self.batch, self.time, width, generator=generator)
        if projected.numel():
            projected[0, -1, -1] = 0.0  # the kink of g, where its derivative is 1
        state = torch.randn(rows, self.channels, generator=generator) if self.state else None
        return projected.to(dtype), None if state is None else state.to(dtype), features


def make_features(names, batch, time, channels=None):
    """Masks, resets, what they put in place and packing by name, joined by "+"."""
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
            elif name == "resets_rare":  # whole chunks without one, too
                resets = (torch.arange(time) + 7 * torch.arange(batch)[:, None]) % 70 == 40
            elif name == "resets_all":
                resets = torch.ones(batch, time, dtype=torch.bool)
            out["resets"] = resets
        elif name == "reset_state":
            out["reset_state"] = torch.randn(channels, generator=generator)
        elif name == "packed":  # empty ones first, in between and last; lengths of one
            bounds = [0, 0, 1, time // 3, time // 3, time // 3 + 1, time // 2, time - 1, time, time]
            out["cu_seqlens"] = torch.tensor(bounds, dtype=torch.int32)
        elif name == "packed_one":
            out["cu_seqlens"] = torch.tensor([0, time])
    return out


FEATURES = ("mask", "mask_left", "mask_right", "mask_row", "resets", "resets_first", "resets_last", "resets_all")
FEATURES += ("packed", "packed_one", "mask+resets", "mask+packed", "resets+packed", "resets_all+packed")
FEATURES += ("mask+resets+packed", "resets+reset_state", "resets_first+reset_state", "resets_last+reset_state")
FEATURES += ("resets_all+reset_state", "mask+resets+reset_state", "resets+packed+reset_state")
FEATURES += ("resets_all+packed+reset_state", "mask+resets+packed+reset_state")


def feature_cases(time=37, channels=5):
    """Every feature with every cell; the candidate and the floor alternate."""
    for i, feature in enumerate(FEATURES):
        for j, cell in enumerate(CELLS):
            batch = 1 if "packed" in feature else 3
            candidate, floor = ("g", "identity")[(i + j) % 2], (0.0, 0.7)[(i + j) // 2 % 2]
            for state in (True, False) if feature in ("packed", "resets", "resets+reset_state") else (True,):
                yield Case(cell, candidate, batch, time, channels, floor, state, feature)


@cache
def expected(case: Case):
    """What the definition gives for a case, in float64."""
    projected, state, features = case.inputs(torch.float64)
    return run(define, projected, case.cell_type, state, **case.options, **features)


def random_inputs(cell, batch=2, time=7, channels=3, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    projected = 2 * torch.randn(batch, time, CELLS[cell][2] * channels, generator=generator, dtype=dtype)
    return projected, torch.randn(batch, channels, generator=generator, dtype=dtype)


def cell_options(cell):
    return {"cell_type": CELLS[cell][0], "normalize_gates": CELLS[cell][1]}


def same_run(one, two):
    return all(torch.equal(one[name], two[name]) for name in one)
