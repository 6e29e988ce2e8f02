# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import pytest
import torch
from support.model_cases import CONFIGS, build, close

NAMES = tuple(CONFIGS)


def layer_and_input(name, time=7):
    generator = torch.Generator().manual_seed(1)
    return build(name).model.layers[1], torch.randn(2, time, 24, generator=generator)


@pytest.mark.parametrize("name", NAMES)
def test_steps_with_and_without_gradients_equal_the_whole(name):
    layer, x = layer_and_input(name)
    whole, last, last_conv_state = layer(x)
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            state, conv_state, steps = None, None, []
            for t in range(7):
                y, state, conv_state = layer(x[:, t : t + 1], state, conv_state)
                steps.append(y)
            assert close(torch.cat(steps, 1), whole) and close(state, last)
            assert last_conv_state is conv_state is None or close(conv_state, last_conv_state)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("record", [1, 4, 7])
@pytest.mark.parametrize("carried", [False, True])
def test_recorded_states_are_those_before_each_step(name, record, carried):
    layer, x = layer_and_input(name)
    _, start, start_conv_state = layer(x) if carried else (None, None, None)
    y, states, conv_states = layer(x, start, start_conv_state, None, None, record)
    assert close(y, layer(x, start, start_conv_state)[0]) and states.shape == (
        2,
        record + 1,
        layer.mixer.cell.hidden_size,
    )
    for n in range(record + 1):
        end = 7 - record + n
        if end:
            _, state, conv_state = layer(x[:, :end], start, start_conv_state)
        else:
            state, conv_state = start, start_conv_state
            if not carried:
                first = layer.mixer.first_state()
                state = torch.zeros_like(states[:, 0]) if first is None else first.expand(2, -1)
                conv_state = None if conv_states is None else torch.zeros_like(conv_states[:, 0])
        assert close(states[:, n], state) and (conv_states is None or close(conv_states[:, n], conv_state))


@pytest.mark.parametrize("name", NAMES)
def test_a_packed_sequence_starts_from_the_initial_state(name):
    layer, x = layer_and_input(name)
    resets = torch.zeros(2, 7, dtype=torch.bool)
    resets[0, 3], resets[1, 5] = True, True
    y, state, _ = layer(x, None, None, None, resets)
    for row, at in ((0, 3), (1, 5)):
        first, second = layer(x[row : row + 1, :at]), layer(x[row : row + 1, at:])
        assert close(y[row], torch.cat([first[0], second[0]], 1)[0]) and close(state[row], second[1][0])


@pytest.mark.parametrize("cell", ["mingru", "minlstm"])
def test_a_step_does_not_share_memory_with_what_is_kept(cell):
    layer, x = layer_and_input(cell, 1)
    with torch.no_grad():
        y, state, conv_state = layer(x)
        kept = state.clone(), conv_state.clone()
        y.fill_(9.0)
        x.fill_(9.0)
    assert torch.equal(state, kept[0]) and torch.equal(conv_state, kept[1])


def test_dropout_is_for_training_only():
    layer, x = layer_and_input("mingru")
    layer.dropout = 0.5
    assert torch.equal(layer(x)[0], layer(x)[0])
    layer.train()
    torch.manual_seed(0)
    assert not torch.equal(layer(x)[0], layer(x)[0])
