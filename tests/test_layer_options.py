# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The defaults of MinGRU and MinLSTM, the paper's form, and options for each layer."""

import math

import pytest
import torch
from support.definition import defined_scan, relative_error

from hf_minrnn import MinGRU, MinGRUCell, MinLSTM, MinLSTMCell

both = pytest.mark.parametrize("kind", [MinGRU, MinLSTM])
CELLS = {MinGRU: MinGRUCell, MinLSTM: MinLSTMCell}


def decays_without_input(layer):
    """Returns the share of the state that each channel of each cell keeps over one step, with zero input and gate weights."""
    found = []
    for cell in layer.cells:
        with torch.no_grad():
            cell.in_proj.weight.zero_()
            cell.in_proj.bias[-cell.hidden_size :] = 0  # the bias of the candidate
        found.append(cell.step(torch.zeros(1, cell.input_size), torch.ones(1, cell.hidden_size))[1][0])
    return torch.stack(found)


@both
@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_channels_of_a_new_layer_have_memories_of_2_to_56_steps(kind, bidirectional):
    layer = kind(3, 9, num_layers=2, bidirectional=bidirectional)
    assert {cell.spec.candidate_activation for cell in layer.cells} == {"identity"}
    assert {cell.spec.forget_gate_floor for cell in layer.cells} == {0.0}
    want = torch.linspace(0, 4, 9).sigmoid().expand(len(layer.cells), 9)
    for _ in range(2):
        assert torch.allclose(decays_without_input(layer), want, atol=1e-6)
        layer.reset_parameters()
    assert round(1 / (1 - want.max().item())) == round(1 + math.exp(4)) == 56


@both
def test_the_paper_form_equals_plain_cells(kind):
    torch.manual_seed(0)
    cells = [CELLS[kind](3, 4), CELLS[kind](4, 4)]
    torch.manual_seed(0)
    layer = kind(3, 4, num_layers=2, batch_first=True, paper=True)
    x = torch.randn(2, 7, 3)
    output, want = layer(x)[0], x
    for cell, other in zip(layer.cells, cells):
        assert cell.spec == other.spec and cell.spec.candidate_activation == "g"
        assert all(torch.equal(one, two) for one, two in zip(cell.parameters(), other.parameters()))
        want = other(want)[0]
    assert torch.equal(output, want)


@both
def test_explicit_options_override_the_paper_form(kind):
    options = {"candidate_activation": "identity", "gate_bias": 1.0, "forget_gate_floor": 0.5}
    one, two = kind(3, 4, paper=True, **options), kind(3, 4, **options)
    two.load_state_dict(one.state_dict())
    x = torch.randn(5, 2, 3)
    assert torch.equal(one(x)[0], two(x)[0]) and one.cells[0].spec == two.cells[0].spec
    assert repr(one) == repr(two)


@both
@pytest.mark.parametrize("bidirectional", [False, True])
def test_each_layer_has_its_floor(kind, bidirectional):
    floors = [0.0, 0.25, 0.9]
    layer = kind(3, 4, num_layers=3, bidirectional=bidirectional, forget_gate_floor=floors)
    found = [cell.spec.forget_gate_floor for cell in layer.cells]
    assert found == [floor for floor in floors for _ in range(layer.num_directions)]
    same = kind(3, 4, num_layers=3, bidirectional=bidirectional, forget_gate_floor=0.25)
    assert {cell.spec.forget_gate_floor for cell in same.cells} == {0.25}
    x = torch.randn(1, 6, 3)
    projected = layer.cells[0].project(x)[0]
    want = defined_scan(projected, **layer.cells[0].spec._asdict())[0]
    assert relative_error(layer.cells[0](x)[0], want) < 1e-5


@both
def test_names_of_floors(kind):
    for name, floors in (("plain", [0.0, 0.0, 0.0]), ("signed", [-1.0, 0.0, 0.0])):
        layer = kind(3, 4, num_layers=3, forget_gate_floor=name)
        assert [cell.spec.forget_gate_floor for cell in layer.cells] == floors
        assert layer.forget_gate_floor == name and f"forget_gate_floor={name!r}" in repr(layer)


@both
def test_without_bias_there_is_no_gate_bias(kind):
    layer = kind(3, 4, bias=False)
    assert layer.gate_bias == 0.0 and "gate_bias" not in repr(layer)
    with pytest.raises(ValueError, match=r"gate_bias \(0, 2\) needs bias=True"):
        kind(3, 4, bias=False, gate_bias=(0, 2))


@both
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"forget_gate_floor": [0.5]}, r"one for each of the 2 layers, got 1: \[0.5\]"),
        ({"forget_gate_floor": (0.1, 0.2, 0.3)}, "one for each of the 2 layers, got 3"),
        ({"forget_gate_floor": [0.5, 1.0]}, "forget_gate_floor must be at least -1 and below 1, got 1.0"),
        ({"forget_gate_floor": None}, "forget_gate_floor must be at least -1 and below 1, got None"),
        ({"forget_gate_floor": "rising"}, "a number, a list of numbers, or one of plain, signed, got 'rising'"),
        ({"gate_bias": (0.0, 1.0, 2.0)}, r"a finite number or a pair of them, got \(0.0, 1.0, 2.0\)"),
        ({"gate_bias": (0.0, math.inf)}, r"a finite number or a pair of them, got \(0.0, inf\)"),
        ({"gate_bias": "4"}, "a finite number or a pair of them, got '4'"),
    ],
    ids=str,
)
def test_invalid_values_are_rejected(kind, options, words):
    with pytest.raises(ValueError, match=words):
        kind(3, 4, num_layers=2, **options)


def test_paper_must_be_a_bool():
    with pytest.raises(TypeError, match="paper must be True or False, got 'yes'"):
        MinGRU(3, 4, paper="yes")


@both
def test_extra_repr_shows_values_that_are_not_the_default(kind):
    for options, want in (
        ({}, "3, 4"),
        ({"gate_bias": [0.0, 4.0]}, "3, 4"),
        ({"paper": True}, "3, 4, candidate_activation='g', gate_bias=0.0"),
        ({"num_layers": 2, "forget_gate_floor": [0.0, 0.5]}, "3, 4, num_layers=2, forget_gate_floor=[0.0, 0.5]"),
        ({"gate_bias": (1, 3), "normalize_gates": False}, "3, 4, normalize_gates=False, gate_bias=(1, 3)"),
    ):
        assert kind(3, 4, **options).extra_repr() == want


@pytest.mark.parametrize("cell_type", [MinGRUCell, MinLSTMCell])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_the_defaults_of_cells_are_those_of_the_paper(cell_type, device):
    cell = cell_type(3, 4, device=device)
    assert cell.spec.candidate_activation == "g" and cell.in_proj.gate_bias == 0
    spread = cell_type(3, 4, gate_bias=(1.0, 2.0), device=device, dtype=torch.bfloat16)
    assert spread.in_proj.bias.shape == (4 * spread.spec.num_parts,)
    if device == "cpu":
        forget = spread.in_proj.bias[:4].float() * (-1 if cell_type is MinGRUCell else 1)
        assert torch.allclose(forget, torch.linspace(1, 2, 4), atol=1e-2)
