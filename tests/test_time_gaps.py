# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Scans, cells and layers with a `time_delta`, compared with the float64 definition, laws, and each sequence alone."""

import itertools

import pytest
import torch
from support.definition import assert_runs_close, defined_scan, relative_error, run_with_gradients
from support.scan_cases import (
    CELLS,
    alternating_cases,
    cell_options,
    check_backend,
    every_backend,
    every_cell,
    random_inputs,
)
from torch.nn.utils.rnn import pack_sequence, pad_packed_sequence

from hf_minrnn import MinGRU, MinGRUCell, MinLSTM, MinLSTMCell, register_cell
from hf_minrnn.cells import CELLS as REGISTERED
from hf_minrnn.cells import MinRNNCell
from hf_minrnn.gates import ScanSpec
from hf_minrnn.packed import turn_index
from hf_minrnn.scan import linear_scan, minrnn_scan
from hf_minrnn.time_gaps import apply_time_gaps, gaps_backwards

FEATURES = ("gaps", "mask+gaps+strided", "packed+gaps", "mask+resets+gaps", "mask+resets+reset_state+gaps")
FEATURES += ("resets+packed+reset_state+gaps", "mask+resets_all+packed+reset_states+gaps")
TIED = [cell for cell in CELLS if cell != "minlstm_raw"]  # cells whose input gate is one minus the decay
every_tied_cell = pytest.mark.parametrize("cell", TIED)
both = pytest.mark.parametrize("kind", [MinGRU, MinLSTM])


def random_gaps(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.empty(shape, dtype=dtype).log_normal_(0, 1, generator=generator)


# --- the scan and its definition -------------------------------------------------------------------------------------


@every_backend
@pytest.mark.parametrize("case, dtype", list(alternating_cases(FEATURES, (0.0, 0.7), (17, 1, 70))))
def test_values_and_gradients(case, dtype, backend):
    check_backend(case, dtype, backend)


# --- laws ------------------------------------------------------------------------------------------------------------


@every_backend
@every_cell
@pytest.mark.parametrize("floor", [0.0, 0.7])
def test_a_gap_of_one_is_an_ordinary_step(cell, backend, floor):
    projected, state = random_inputs(cell, 2, 9, 3)
    options = {**cell_options(cell), "forget_gate_floor": floor, "backend": backend}
    cell_type = options.pop("cell_type")
    want = run_with_gradients(minrnn_scan, projected, cell_type, state, **options)
    gaps = torch.ones(2, 9, dtype=projected.dtype)
    got = run_with_gradients(minrnn_scan, projected, cell_type, state, time_delta=gaps, **options)
    del got["d_gaps"]
    assert_runs_close(got, want, 1e-12)


@every_backend
@every_tied_cell
@pytest.mark.parametrize("floor", [0.0, 0.7])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_gap_of_zero_keeps_the_state(cell, backend, floor, dtype):
    projected, state = random_inputs(cell, 2, 4, 3, dtype=dtype)
    gaps = torch.zeros(2, 4, dtype=dtype)
    options = {**cell_options(cell), "forget_gate_floor": floor}
    cell_type = options.pop("cell_type")
    got = run_with_gradients(minrnn_scan, projected, cell_type, state, time_delta=gaps, backend=backend, **options)
    assert torch.equal(got["h"], state[:, None].expand(2, 4, 3)) and torch.equal(got["final"], state)
    assert got["d_projected"].abs().max() < 1e-17
    inputs = (projected.double(), cell_type, state.double())
    want = run_with_gradients(defined_scan, *inputs, time_delta=gaps.double(), **options)
    del got["d_projected"], want["d_projected"]
    assert want["d_gaps"].abs().min() > 0.001  # the limit of the gradient is not zero
    assert_runs_close(got, want, 1e-13 if dtype == torch.float64 else 3e-6)


@every_tied_cell
def test_a_gap_of_zero_at_the_beginning_leaves_a_state_of_zero(cell):
    projected, _ = random_inputs(cell, 2, 3, 3, dtype=torch.float32)
    h, _ = minrnn_scan(projected, **cell_options(cell), time_delta=torch.zeros(2, 3))
    assert h.abs().max() < 1e-18


@every_backend
def test_a_gap_of_zero_adds_the_input_if_the_gates_are_independent(backend):
    projected, state = random_inputs("minlstm_raw", 2, 1, 3)
    options = {"normalize_gates": False, "candidate_activation": "identity", "backend": backend}
    h, _ = minrnn_scan(projected, "minlstm", state, time_delta=torch.zeros(2, 1, dtype=state.dtype), **options)
    _, input, candidate = projected[:, 0].chunk(3, -1)
    torch.testing.assert_close(h[:, 0], state + torch.sigmoid(input) * candidate)


@every_backend
@every_cell
@pytest.mark.parametrize("floor", [0.0, 0.7])
def test_a_step_can_be_cut_into_shorter_ones_with_the_same_input(cell, backend, floor):
    """This holds for tied gates, and for independent ones while nothing is added."""
    projected, state = random_inputs(cell, 2, 5, 3)
    if cell not in TIED:
        projected[..., -3:] = 0.0
    options = {**cell_options(cell), "candidate_activation": "identity", "forget_gate_floor": floor, "backend": backend}
    gaps = random_gaps(2, 5)
    whole, last = minrnn_scan(projected, initial_state=state, time_delta=gaps, **options)
    share = torch.tensor([0.2, 0.5, 0.3], dtype=gaps.dtype)
    pieces, repeated = (gaps[..., None] * share).flatten(1), projected.repeat_interleave(3, 1)
    cut, end = minrnn_scan(repeated, initial_state=state, time_delta=pieces, **options)
    assert relative_error(cut[:, 2::3], whole) < 1e-12 and relative_error(end, last) < 1e-12
    two = torch.full_like(gaps, 2.0)
    double, _ = minrnn_scan(projected, initial_state=state, time_delta=two, **options)
    steps, _ = minrnn_scan(projected.repeat_interleave(2, 1), initial_state=state, **options)
    assert relative_error(double, steps[:, 1::2]) < 1e-12


# --- precision and extreme values ------------------------------------------------------------------------------------


@pytest.mark.parametrize("floor", [0.0, 1e-30, 1e-4, 0.5, 0.9, 0.999])
def test_short_and_long_gaps_keep_their_relative_precision(floor):
    gates, gaps = torch.linspace(-14, 90, 93), torch.logspace(-6, 4, 93)
    projected = torch.stack([gates, torch.zeros(93)], -1).expand(93, 93, 2)
    delta = gaps[:, None].expand(93, 93)
    rewritten, spec = apply_time_gaps(projected, delta, None, ScanSpec("mingru", "identity", True, floor))
    assert rewritten.dtype == torch.float32 and spec.forget_gate_floor == 0.0
    u = gates.double()
    w = (1 - floor) * torch.sigmoid(u)
    decay = floor + (1 - floor) * torch.sigmoid(-u)
    exponent = gaps.double()[:, None] * torch.where(w < 0.5, -torch.log1p(-w), -torch.log(decay))
    input_gate, decay = (torch.sigmoid(sign * rewritten[..., 0].double()) for sign in (1, -1))
    want = -torch.expm1(-exponent)
    assert ((input_gate - want).abs() / want)[exponent > 1e-12].max() < 3e-6
    assert (decay - torch.exp(-exponent)).abs().max() < 5e-7


@every_backend
@every_cell
@pytest.mark.parametrize("floor", [0.0, 1e-42, 0.7])
def test_extreme_gates_and_gaps_stay_finite(cell, backend, floor):
    corners = torch.cartesian_prod(*[torch.tensor([-1e4, -89.0, 0.0, 89.0, 1e4])] * CELLS[cell][2])
    gaps = torch.tensor([[0.0, 1.0, 1e2, 1e-30, 1e30]])
    inputs = corners.T.flatten().expand(1, 5, -1).clone(), CELLS[cell][0], torch.full((1, len(corners)), 1e3)
    options = {"normalize_gates": CELLS[cell][1], "forget_gate_floor": floor, "time_delta": gaps}
    got = run_with_gradients(minrnn_scan, *inputs, backend=backend, **options)
    assert all(x.isfinite().all() for x in got.values())
    want, _ = defined_scan(*inputs, **options)
    assert relative_error(got["h"][:, :3], want[:, :3]) < 1e-5  # the definition rounds its decays, to 0 and to 1


@every_backend
@every_cell
def test_nothing_in_the_padding_leaks(cell, backend):
    projected, state = random_inputs(cell, 2, 12, 3)
    mask, gaps = torch.arange(12) != torch.tensor([[11], [5]]), random_gaps(2, 12)
    options = {**cell_options(cell), "attention_mask": mask}
    cell_type = options.pop("cell_type")
    want = run_with_gradients(defined_scan, projected, cell_type, state, time_delta=gaps, **options)
    projected, gaps = projected.masked_fill(~mask[..., None], torch.nan), gaps.masked_fill(~mask, torch.nan)
    got = run_with_gradients(minrnn_scan, projected, cell_type, state, time_delta=gaps, backend=backend, **options)
    assert_runs_close(got, want, 1e-12)


@every_cell
def test_float16_saturates(cell):
    projected = torch.full((1, 4, 3 * CELLS[cell][2]), 6e4, dtype=torch.float16)
    options = {**cell_options(cell), "time_delta": torch.ones(1, 4)}
    h, final = minrnn_scan(projected, initial_state=torch.full((1, 3), 1e6), **options)
    assert h.dtype == torch.float16 and h.isfinite().all() and final.dtype == torch.float32


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [-0.5, float("nan"), float("inf")])
@pytest.mark.parametrize("time", [1, 5])
def test_gaps_that_are_no_times_are_refused(value, time):
    gaps = torch.ones(2, time)
    gaps[1, -1] = value
    with pytest.raises(ValueError, match=rf"finite numbers of at least 0, got {value}: a gap is .* times.diff\(\)"):
        minrnn_scan(torch.randn(2, time, 4), "mingru", time_delta=gaps)


def test_other_arguments_that_do_not_fit_are_refused():
    projected, gaps = torch.randn(2, 5, 4), torch.ones(2, 5)
    for bad, words in (
        (gaps[:, :1], r"time_delta must be floating point of shape \(2, 5\), got torch.float32 of shape \(2, 1\)"),
        (gaps.long(), r"got torch.int64 of shape \(2, 5\)"),
        (1.0, "of shape .*, got 1.0"),
        (gaps.to("meta"), "time_delta is on meta and the input on cpu"),
    ):
        with pytest.raises(ValueError, match=words):
            minrnn_scan(projected, "mingru", time_delta=bad)
    with pytest.raises(ValueError, match=r"needs a forget_gate_floor of at least 0, got -0.5"):
        minrnn_scan(projected, "mingru", time_delta=gaps, forget_gate_floor=-0.5)
    with pytest.raises(TypeError, match="time_delta"):
        linear_scan(projected, projected, time_delta=gaps)


# --- compilation and torch.func --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_associative_backend_compiles_in_one_graph():
    torch._dynamo.reset()
    projected, state = random_inputs("minlstm", 2, 4, 3)
    options = {
        "backend": "associative",
        "forget_gate_floor": 0.3,
        "attention_mask": torch.arange(4) > torch.tensor([[0], [2]]),
    }
    scan = torch.compile(minrnn_scan, fullgraph=True, backend="aot_eager")
    got, want = (
        run_with_gradients(f, projected, "minlstm", state, time_delta=random_gaps(2, 4), **options)
        for f in (scan, minrnn_scan)
    )
    assert_runs_close(got, want, 1e-12)


@every_backend
def test_vmap_over_any_argument_equals_a_loop(backend):
    inputs = [random_inputs("minlstm", 2, 5, 3, seed=seed) for seed in range(3)]
    projected, state = (torch.stack(values) for values in zip(*inputs))
    gaps = random_gaps(3, 2, 5)

    def scan(projected, state, gaps):
        return minrnn_scan(projected, "minlstm", state, time_delta=gaps, backend=backend)[0]

    for dims in itertools.product((0, None), repeat=3):
        if dims == (None,) * 3:
            continue
        given = [x if dim == 0 else x[0] for x, dim in zip((projected, state, gaps), dims)]
        each = [[x[n] if dim == 0 else x for x, dim in zip(given, dims)] for n in range(3)]
        assert relative_error(torch.vmap(scan, dims)(*given), torch.stack([scan(*one) for one in each])) < 1e-12


@every_backend
def test_derivatives_of_torch_func(backend):
    projected, state = random_inputs("mingru", 2, 5, 3)
    gaps = random_gaps(2, 5)

    def loss(projected, gaps, backend=None):
        return minrnn_scan(projected, "mingru", state, time_delta=gaps, backend=backend or "auto")[0].square().sum()

    inputs = [x.clone().requires_grad_() for x in (projected, gaps)]
    want = torch.autograd.grad(loss(*inputs, backend), inputs)
    for got, one in zip(torch.func.grad(loss, (0, 1))(projected, gaps), want):
        assert relative_error(got, one) < 1e-12
    _, slope = torch.func.jvp(loss, (projected, gaps), (projected, gaps))
    torch.testing.assert_close(slope, (want[0] * projected).sum() + (want[1] * gaps).sum())


@every_cell
def test_second_derivatives_of_the_associative_backend(cell):
    projected, state = random_inputs(cell, 1, 4, 2)
    inputs = [x.clone().requires_grad_() for x in (projected, state, random_gaps(1, 4))]
    options = {**cell_options(cell), "forget_gate_floor": 0.2, "backend": "associative"}

    def scan(projected, state, gaps):
        return minrnn_scan(projected, initial_state=state, time_delta=gaps, **options)

    assert torch.autograd.gradgradcheck(scan, inputs)


# --- cells -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [MinGRUCell, MinLSTMCell])
@pytest.mark.parametrize("extra", [0, 2])
def test_steps_of_a_cell_equal_its_sequence_and_the_definition(kind, extra):
    torch.manual_seed(0)
    cell = kind(3, 4, extra_size=extra, dtype=torch.float64)
    x, state, gaps = torch.randn(2, 6, 3).double(), torch.randn(2, 4).double(), random_gaps(2, 6)
    h, final, *more = cell(x, state, time_delta=gaps)
    spec = cell.spec._asdict()
    want = defined_scan(cell.project(x)[0], spec.pop("cell_type"), state, time_delta=gaps, **spec)
    assert relative_error(h, want[0]) < 1e-12 and relative_error(final, want[1]) < 1e-12
    recorded = cell(x, state, time_delta=gaps, record=2)[1]
    assert relative_error(recorded, h[:, 3:]) < 1e-12
    by_step, by_call = state, state
    for t in range(6):
        one, by_step, *rest = cell.step(x[:, t], by_step, time_delta=gaps[:, t])
        out, by_call, *_ = cell(x[:, t : t + 1], by_call, time_delta=gaps[:, t : t + 1])
        assert relative_error(one, h[:, t]) < 1e-12 and relative_error(out[:, 0], h[:, t]) < 1e-12
        assert len(rest) == len(more) and all(relative_error(x, more[0][:, t]) < 1e-12 for x in rest)
    assert relative_error(by_step, final) < 1e-12 and relative_error(by_call, final) < 1e-12
    for bad in (gaps[:, :1], 1.0):
        with pytest.raises(ValueError, match=r"time_delta must be floating point of shape \(2,\)"):
            cell.step(x[:, 0], state, time_delta=bad)


def test_a_cell_of_ones_own_takes_gaps_if_its_scan_does(monkeypatch):
    monkeypatch.setattr("hf_minrnn.cells.CELLS", dict(REGISTERED))

    @register_cell
    class Slow(MinGRUCell):
        cell_type = "slow_events"

        def scan(self, projected, initial_state=None, **options):
            return super().scan(projected - 1, initial_state, **options)

    class Fixed(MinRNNCell):
        cell_type, num_parts = "fixed_events", 1

        def scan(self, projected, initial_state=None, *, backend="auto", **options):
            return linear_scan(torch.full_like(projected, 0.5), projected, initial_state, **options)

    x, gaps = torch.randn(2, 5, 3), torch.rand(2, 5)
    slow = Slow(3, 4)
    want = minrnn_scan(slow.project(x)[0] - 1, "mingru", time_delta=gaps)[0]
    torch.testing.assert_close(slow(x, time_delta=gaps)[0], want)
    fixed = Fixed(3, 4)
    assert fixed(x)[0].shape == (2, 5, 4)
    with pytest.raises(TypeError, match="time_delta"):
        fixed(x, time_delta=gaps)


# --- layers ----------------------------------------------------------------------------------------------------------

TIME, INPUTS, CHANNELS = 9, 3, 4


def make(kind, **options):
    torch.manual_seed(0)
    return kind(INPUTS, CHANNELS, dtype=torch.float64, **options)


def run(layer, x, h0=None, resets=None, gaps=None):
    """Returns `(output, h_n)` of either class."""
    hx = h0 if h0 is None or isinstance(layer, MinGRU) else (h0, h0)
    output, state = layer(x, hx, resets, time_delta=gaps)
    return output, state[0] if isinstance(state, tuple) else state


def by_hand(layer, x, gaps, h0):
    """Runs one sequence `(time, features)` cell by cell. The backward cell reads the reversed sequence in a run of its own."""
    directions, finals = layer.num_directions, []
    for number in range(0, len(layer.cells), directions):
        projected = [cell.project(x)[0][None] for cell in layer.cells[number : number + directions]]
        readings = [(projected[0], gaps)]
        if directions == 2:
            backwards = [1.0, *gaps.tolist()[:0:-1]]  # the gap behind a step becomes the one before it
            readings.append((projected[1].flip(1), torch.tensor(backwards, dtype=gaps.dtype)))
        outputs = []
        for n, (parts, delta) in enumerate(readings):
            spec = layer.cells[number + n].spec._asdict()
            h, final = defined_scan(parts, initial_state=h0[number + n][None], time_delta=delta[None], **spec)
            outputs.append(h[0].flip(0) if n else h[0])
            finals.append(final[0])
        x = torch.cat(outputs, -1)
    return x, torch.stack(finals)


@both
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_layer_equals_its_cells_in_every_layout(kind, bidirectional):
    layer = make(kind, num_layers=2, bidirectional=bidirectional)
    x, h0 = torch.randn(TIME, 2, INPUTS).double(), torch.randn(len(layer.cells), 2, CHANNELS).double()
    gaps = random_gaps(TIME, 2)
    want = [by_hand(layer, x[:, row], gaps[:, row], h0[:, row]) for row in range(2)]
    output, h_n = run(layer, x, h0, None, gaps)
    for row, (one, last) in enumerate(want):
        assert relative_error(output[:, row], one) < 1e-12 and relative_error(h_n[:, row], last) < 1e-12
        alone = run(layer, x[:, row], h0[:, row], None, gaps[:, row])
        assert relative_error(alone[0], one) < 1e-12 and relative_error(alone[1], last) < 1e-12
    layer.batch_first = True
    other, h_other = run(layer, x.transpose(0, 1), h0, None, gaps.T)
    assert torch.equal(other, output.transpose(0, 1)) and torch.equal(h_other, h_n)


@both
@pytest.mark.parametrize("bidirectional", [False, True])
def test_packed_sequences_and_episodes_equal_each_alone(kind, bidirectional):
    layer = make(kind, num_layers=2, bidirectional=bidirectional)
    lengths, starts = [4, 1, 9, 6], [[2], [], [3, 4], [1, 5]]
    rows = [torch.randn(n, INPUTS).double() for n in lengths]
    gaps = [random_gaps(n, seed=n) for n in lengths]
    resets = [torch.isin(torch.arange(n), torch.tensor(at, dtype=torch.long)) for n, at in zip(lengths, starts)]
    packed = [pack_sequence(values, enforce_sorted=False) for values in (rows, resets, gaps)]
    h0 = torch.randn(len(layer.cells), 4, CHANNELS).double()
    if bidirectional:  # the backward state enters the last episode, the forward state the first
        h0.zero_()
    output, h_n = run(layer, packed[0], h0, packed[1], packed[2])
    padded, _ = pad_packed_sequence(output, batch_first=True)
    for row, (x, delta, at) in enumerate(zip(rows, gaps, starts)):
        bounds = [0, *at, len(x)]
        state, pieces = h0[:, row], []
        for begin, end in zip(bounds, bounds[1:]):
            piece, last = by_hand(layer, x[begin:end], delta[begin:end], state)
            pieces.append(piece)
            state = torch.zeros_like(state)
        assert relative_error(padded[row, : len(x)], torch.cat(pieces)) < 1e-12
        assert bidirectional or relative_error(h_n[:, row], last) < 1e-12
    whole, _ = run(layer, packed[0], h0, None, packed[2])  # without episodes
    padded, _ = pad_packed_sequence(whole, batch_first=True)
    for row, (x, delta) in enumerate(zip(rows, gaps)):
        assert relative_error(padded[row, : len(x)], by_hand(layer, x, delta, h0[:, row])[0]) < 1e-12


def test_gaps_backwards_per_sequence_and_episode():
    gaps = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0]])
    resets, bounds = torch.tensor([[False, False, True, False, False]]), torch.tensor([0, 3, 5])
    turn = turn_index(5, bounds, "cpu")
    assert gaps_backwards(gaps, turn, None, bounds).tolist() == [[1.0, 3.0, 2.0, 1.0, 5.0]]
    assert gaps_backwards(gaps, turn, resets, bounds).tolist() == [[1.0, 1.0, 2.0, 1.0, 5.0]]
    assert gaps_backwards(gaps, turn_index(5, None, "cpu"), resets, None).tolist() == [[1.0, 5.0, 4.0, 1.0, 2.0]]
    assert gaps_backwards(None, turn, resets, bounds) is None


@both
def test_steps_of_a_layer_equal_the_whole(kind):
    layer = make(kind, num_layers=2)
    x, gaps, state, outputs = torch.randn(TIME, 2, INPUTS).double(), random_gaps(TIME, 2), None, []
    want, last = run(layer, x, None, None, gaps)
    for piece, delta in zip(x.split(1), gaps.split(1)):
        output, state = run(layer, piece, state, None, delta)
        outputs.append(output)
    assert relative_error(torch.cat(outputs), want) < 1e-12 and relative_error(state, last) < 1e-12


@both
def test_gradients_of_a_bidirectional_layer(kind):
    layer = make(kind, bidirectional=True)
    x, gaps = torch.randn(4, INPUTS).double().requires_grad_(), random_gaps(4).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, gaps: run(layer, x, None, None, gaps), (x, gaps))


@pytest.mark.slow
def test_a_layer_compiles_and_exports():
    layer = make(MinLSTM, bidirectional=True, batch_first=True)
    x, gaps = torch.randn(2, TIME, INPUTS).double(), random_gaps(2, TIME)
    torch._dynamo.reset()
    got, _ = torch.compile(layer, fullgraph=True, backend="aot_eager")(x, time_delta=gaps)
    assert relative_error(got, run(layer, x, gaps=gaps)[0]) < 1e-12
    time = torch.export.Dim("time", min=2, max=512)
    shapes = {"input": {1: time}, "time_delta": {1: time}}
    program = torch.export.export(layer, (x,), {"time_delta": gaps}, dynamic_shapes=shapes)
    x, gaps = torch.randn(2, 20, INPUTS).double(), random_gaps(2, 20)
    got = program.module()(x, time_delta=gaps)[0]
    assert relative_error(got, run(layer, x, gaps=gaps)[0]) < 1e-12


def test_a_symbolic_trace_makes_one_node_of_a_layer():
    class Outer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = MinLSTM(INPUTS, CHANNELS)

        def forward(self, x, gaps):
            return self.layer(x, time_delta=gaps)[0]

    outer, x, gaps = Outer(), torch.randn(TIME, 2, INPUTS), torch.rand(TIME, 2)
    traced = torch.fx.symbolic_trace(outer)
    assert "call_module" in [node.op for node in traced.graph.nodes]
    assert torch.equal(traced(x, gaps), outer(x, gaps))


def test_gaps_that_do_not_fit_a_layer_are_refused():
    layer, x = MinGRU(INPUTS, CHANNELS, 2, forget_gate_floor=[0.0, -1.0]), torch.randn(TIME, 2, INPUTS)
    with pytest.raises(ValueError, match="forget_gate_floor of at least 0, got -1"):
        layer(x, time_delta=torch.ones(TIME, 2))
    layer = MinGRU(INPUTS, CHANNELS)
    for bad, words in (
        (torch.ones(2, TIME), r"floating point of shape \(9, 2\), got torch.float32 of shape \(2, 9\)"),
        (torch.ones(TIME, 2, dtype=torch.long), "got torch.int64"),
        (-torch.ones(TIME, 2), "at least 0, got -1.0"),
    ):
        with pytest.raises(ValueError, match=words):
            layer(x, time_delta=bad)
    packed = pack_sequence([x[:5, 0], x[:3, 1]])
    for bad, words in (
        (torch.ones(8), "time_delta of a packed input must be a PackedSequence of float, got Tensor"),
        (pack_sequence([torch.ones(5), torch.ones(5)]), "time_delta of a packed input must be .* the same lengths"),
        (pack_sequence([torch.ones(5).long(), torch.ones(3).long()]), "one float a step, got torch.int64"),
        (pack_sequence([torch.ones(3), torch.ones(5)], enforce_sorted=False), "packed in the input's order"),
    ):
        with pytest.raises(ValueError, match=words):
            layer(packed, None, None, bad)
