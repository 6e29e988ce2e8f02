# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""MinGRU and MinLSTM compared with the float64 definition; packed and reset runs compared with single episodes."""

import copy
import warnings

import pytest
import torch
from support.definition import assert_runs_close, defined_scan, relative_error
from support.scan_cases import BACKENDS
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence, pad_packed_sequence

from hf_minrnn import MinGRU, MinLSTM

both = pytest.mark.parametrize("kind", [MinGRU, MinLSTM])
TIME, FEATURES, CHANNELS = 9, 3, 4


def make(kind, seed=0, **options):
    torch.manual_seed(seed)
    return kind(options.pop("input_size", FEATURES), CHANNELS, dtype=torch.float64, **options)


def state_of(result):
    """Returns h_n from the result of either class."""
    return result[1][0] if isinstance(result[1], tuple) else result[1]


def run(layer, x, h0=None, resets=None):
    """Returns `(output, h_n)` of either class."""
    hx = h0 if h0 is None or isinstance(layer, MinGRU) else (h0, h0)
    result = layer(x, hx, resets)
    return result[0], state_of(result)


def defined(layer, x, h0=None, resets=None):
    """Runs one sequence `(time, features)` through the definition, cell by cell and direction by direction."""
    directions, finals = layer.num_directions, []
    for number in range(layer.num_layers):
        outputs = []
        for direction in range(directions):
            cell = layer.cells[number * directions + direction]
            inputs, starts = x, resets
            if direction:
                inputs = x.flip(0)
                # Read backwards, an episode begins with its last step.
                starts = None if resets is None else torch.cat([resets[1:], resets.new_zeros(1)]).flip(0)
            projected = inputs @ cell.in_proj.weight.T
            if cell.in_proj.bias is not None:
                projected = projected + cell.in_proj.bias
            gate = projected[:, cell.spec.num_parts * CHANNELS :]
            state = None if h0 is None else h0[len(finals)][None]
            reset = None if starts is None else starts[None]
            options = cell.spec._asdict()
            h, last = defined_scan(
                projected[None, :, : cell.spec.num_parts * CHANNELS], initial_state=state, resets=reset, **options
            )
            h = h[0]
            if layer.output_gate == "gate":
                h = h * torch.sigmoid(gate)
            elif layer.output_gate == "highway":
                h = torch.sigmoid(gate) * h + (1 - torch.sigmoid(gate)) * inputs
            outputs.append(h.flip(0) if direction else h)
            finals.append(last[0])
        x = torch.cat(outputs, -1)
    return x, torch.stack(finals)


def gradients(layer, inputs, results):
    """Returns the gradients of a random sum of the results with respect to the inputs and every weight."""
    generator = torch.Generator().manual_seed(1)
    loss = sum((r * torch.randn(r.shape, generator=generator, dtype=r.dtype)).sum() for r in results)
    wanted = [*inputs, *layer.parameters()]
    return dict(zip(range(len(wanted)), torch.autograd.grad(loss, wanted)))


@both
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_layers": 2, "bidirectional": True},
        {"num_layers": 3, "bias": False},
        {"output_gate": "gate", "bidirectional": True, "num_layers": 2},
        {"output_gate": "highway", "input_size": CHANNELS, "num_layers": 2},
    ],
    ids=str,
)
def test_equals_the_definition(kind, options, backend):
    layer = make(kind, backend=backend, **options)
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(TIME, layer.input_size, generator=generator, dtype=torch.float64, requires_grad=True)
    h0 = torch.randn(len(layer.cells), CHANNELS, generator=generator, dtype=torch.float64, requires_grad=True)
    resets = torch.rand(TIME, generator=generator) > 0.7
    for starts in (None, resets):
        got, want = run(layer, x, h0, starts), defined(layer, x, h0, starts)
        for one, other in zip(got, want):
            assert relative_error(one, other) < 1e-12
        assert_runs_close(gradients(layer, [x, h0], got), gradients(layer, [x, h0], want), 1e-11)


@both
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("enforce_sorted", [False, True])
def test_packed_sequences_equal_each_alone(kind, bidirectional, enforce_sorted):
    layer = make(kind, num_layers=2, bidirectional=bidirectional)
    generator = torch.Generator().manual_seed(3)
    for lengths in ([5, 1, 9, 9, 3], [1], [1, 1], [7, 4]):
        lengths = sorted(lengths, reverse=True) if enforce_sorted else lengths
        rows = [torch.randn(n, FEATURES, generator=generator, dtype=torch.float64, requires_grad=True) for n in lengths]
        starts = [torch.rand(n, generator=generator) > 0.6 for n in lengths]
        h0 = torch.randn(len(layer.cells), len(lengths), CHANNELS, generator=generator, dtype=torch.float64)
        h0.requires_grad_()
        for with_resets in (False, True):
            resets = pack_sequence(starts, enforce_sorted) if with_resets else None
            output, h_n = run(layer, pack_sequence(rows, enforce_sorted), h0, resets)
            assert isinstance(output, PackedSequence)
            padded, found = pad_packed_sequence(output, batch_first=True)
            assert found.tolist() == lengths
            got = [padded[i, :n] for i, n in enumerate(lengths)]
            alone = [run(layer, row, h0[:, i], starts[i] if with_resets else None) for i, row in enumerate(rows)]
            for one, (other, _) in zip(got, alone):
                assert relative_error(one, other) < 1e-12
            want_h = torch.stack([h for _, h in alone], 1)
            assert relative_error(h_n, want_h) < 1e-12
            mine = gradients(layer, [*rows, h0], [*got, h_n])
            assert_runs_close(mine, gradients(layer, [*rows, h0], [*[o for o, _ in alone], want_h]), 1e-11)


@both
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_resets_equal_each_episode_alone_even_after_a_nan(kind, bidirectional, packed):
    layer = make(kind, num_layers=2, bidirectional=bidirectional)
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(2, TIME, FEATURES, generator=generator, dtype=torch.float64)
    resets = torch.zeros(2, TIME, dtype=torch.bool)
    resets[0, 4] = resets[1, [2, 7]] = True
    x[0, 2] = x[1, 8] = float("nan")  # in the first row's first episode and in the second one's last
    x.requires_grad_()
    if packed:
        lengths = torch.tensor([TIME, TIME])
        result, _ = run(
            layer, pack_padded_sequence(x, lengths, True), None, pack_padded_sequence(resets, lengths, True)
        )
        output = pad_packed_sequence(result, batch_first=True)[0]
    else:
        layer.batch_first = True
        output, _ = run(layer, x, None, resets)
    clean = [(0, 4, TIME), (1, 0, 2), (1, 2, 7)]
    got = [output[row, begin:end] for row, begin, end in clean]
    want = [run(layer, x[row, begin:end])[0] for row, begin, end in clean]
    for one, other in zip(got, want):
        assert relative_error(one, other) < 1e-12
    generator.manual_seed(5)
    weights = [torch.randn(o.shape, generator=generator, dtype=o.dtype) for o in got]
    grads = [torch.autograd.grad(sum((o * w).sum() for o, w in zip(outs, weights)), x)[0] for outs in (got, want)]
    for row, begin, end in clean:
        assert relative_error(grads[0][row, begin:end], grads[1][row, begin:end]) < 1e-12


@both
def test_chunks_and_steps_equal_the_whole(kind):
    layer = make(kind, num_layers=2)
    x = torch.randn(TIME, 2, FEATURES, dtype=torch.float64)
    resets = torch.zeros(TIME, 2, dtype=torch.bool)
    resets[[0, 3, 8], [1, 0, 1]] = True
    for grad in (False, True):
        with torch.set_grad_enabled(grad):
            want, last = run(layer, x, None, resets)
            for size in (1, 4):
                state, outputs = None, []
                for piece, starts in zip(x.split(size), resets.split(size)):
                    output, state = run(layer, piece, state, starts)
                    outputs.append(output)
                assert relative_error(torch.cat(outputs), want) < 1e-12 and relative_error(state, last) < 1e-12


@both
def test_all_input_layouts_give_the_same_results(kind):
    first, second = make(kind, bidirectional=True), make(kind, bidirectional=True, batch_first=True)
    x, h0 = torch.randn(TIME, 2, FEATURES, dtype=torch.float64), torch.randn(2, 2, CHANNELS, dtype=torch.float64)
    resets = torch.rand(TIME, 2) > 0.7
    (one, h_one), (other, h_other) = run(first, x, h0, resets), run(second, x.transpose(0, 1), h0, resets.T)
    assert torch.equal(one, other.transpose(0, 1)) and torch.equal(h_one, h_other)
    assert one.is_contiguous() and other.is_contiguous() and h_one.is_contiguous()
    alone, h_alone = run(first, x[:, 1], h0[:, 1], resets[:, 1])
    assert relative_error(alone, one[:, 1]) < 1e-12 and relative_error(h_alone, h_one[:, 1]) < 1e-12


def test_dropout_applies_between_layers_in_training_only():
    layer = make(MinGRU, num_layers=2, dropout=1.0)
    x = torch.randn(TIME, 2, FEATURES, dtype=torch.float64)
    zeros, _ = make(MinGRU, num_layers=2)(x)
    dropped, h_n = layer(x)
    nothing, _ = layer.cells[1](torch.zeros(2, TIME, CHANNELS, dtype=torch.float64))
    assert relative_error(dropped, nothing.transpose(0, 1)) < 1e-12
    assert torch.equal(layer.eval()(x)[0], zeros) and h_n[0].abs().sum() > 0
    with pytest.warns(UserWarning, match="does nothing"):
        MinGRU(2, 3, dropout=0.5)


def test_minlstm_has_no_cell_state():
    layer = make(MinLSTM)
    x, h0 = torch.randn(TIME, 2, FEATURES, dtype=torch.float64), torch.randn(1, 2, CHANNELS, dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        output, (h_n, c_n) = layer(x, (h0, h0.clone()))
        layer(x, (h_n, c_n))
    assert h_n is c_n
    with pytest.warns(UserWarning, match="no cell state"):
        ignored, _ = layer(x, (h0, torch.zeros_like(h0)))
    assert torch.equal(ignored, output)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer(x, (h0, torch.zeros_like(h0)))  # once is enough
    with pytest.raises(RuntimeError, match="pair"):
        layer(x, h0)
    with pytest.raises(RuntimeError, match=r"hidden\[1\]"):
        layer(x, (h0, h0[:, :1]))


def test_a_cell_state_without_values_is_not_compared():
    layer, x = MinLSTM(FEATURES, CHANNELS), torch.randn(TIME, 2, FEATURES)
    pair = torch.zeros(1, 2, CHANNELS), torch.ones(1, 2, CHANNELS)
    with pytest.warns(UserWarning, match="no cell state"):
        want, _ = layer(x, pair)
    fresh = MinLSTM(FEATURES, CHANNELS)
    on_meta = copy.deepcopy(fresh).to("meta")(x.to("meta"), tuple(h.to("meta") for h in pair))
    assert on_meta[0].shape == want.shape and on_meta[0].is_meta
    with FakeTensorMode(allow_non_fake_inputs=True):
        assert fresh(torch.empty(x.shape), tuple(torch.empty(h.shape) for h in pair))[0].shape == want.shape
    fresh.load_state_dict(layer.state_dict())
    with torch.no_grad():
        rows = torch.vmap(lambda x, h, c: fresh(x, (h, c))[0], 1, 1)(x, *pair)
    assert relative_error(rows, want) < 1e-6


def test_state_dtype_keeps_a_float32_state_in_reduced_precision():
    # A long memory: each step adds less than the resolution of a bfloat16 state.
    narrow, wide = (make(MinGRU, gate_bias=8.0, state_dtype=dtype).bfloat16() for dtype in (None, torch.float32))
    assert run(narrow, torch.ones(1, FEATURES).bfloat16())[1].dtype == torch.bfloat16
    x = torch.ones(200, FEATURES).bfloat16()
    with torch.no_grad():
        want, states = run(wide, x)[1], {}
        assert want.dtype == torch.float32 and run(wide, x)[0].dtype == torch.bfloat16
        for name, layer in (("wide", wide), ("narrow", narrow)):
            state = torch.full((1, CHANNELS), 4.0)
            for piece in x.split(1):
                state = run(layer, piece, state)[1]
            states[name] = relative_error(state - 4, run(wide, x, torch.full((1, CHANNELS), 4.0))[1] - 4)
    assert states["wide"] < 0.02 and states["narrow"] > 0.5


@both
def test_compiles_and_exports(kind):
    torch.manual_seed(0)
    layer = kind(FEATURES, CHANNELS, 2, bidirectional=True, batch_first=True)
    x, resets = torch.randn(2, TIME, FEATURES), torch.rand(2, TIME) > 0.7
    want, h_n = run(layer, x, None, resets)
    result = torch.compile(layer, fullgraph=True, backend="aot_eager")(x, None, resets)
    got, h_got = result[0], state_of(result)
    assert torch.equal(got, want) and torch.equal(h_got, h_n)
    torch.autograd.grad(got.sum(), list(layer.parameters()))
    batch, time = torch.export.Dim("batch", min=1, max=64), torch.export.Dim("time", min=2, max=512)
    is_pair = kind is MinLSTM
    h0 = torch.randn(4, 2, CHANNELS)
    shapes = ({0: batch, 1: time}, ({1: batch},) * 2 if is_pair else {1: batch}, {0: batch, 1: time})
    program = torch.export.export(layer, (x, (h0, h0) if is_pair else h0, resets), dynamic_shapes=shapes)
    other, h0, resets = torch.randn(5, 20, FEATURES), torch.randn(4, 5, CHANNELS), torch.rand(5, 20) > 0.7
    got = program.module()(other, (h0, h0) if is_pair else h0, resets)
    want, h_n = run(layer, other, h0, resets)
    assert relative_error(got[0], want) < 1e-6 and relative_error(state_of(got), h_n) < 1e-6


@both
@pytest.mark.parametrize("enforce_sorted", [False, True])
def test_packed_sequences_compile_in_one_graph(kind, enforce_sorted):
    layer = make(kind, num_layers=2, bidirectional=True)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    for lengths in ([5, 3, 1], [9, 9, 9, 2], [4, 4]):  # the later ones with sizes left open
        lengths = lengths if enforce_sorted else lengths[::-1]
        packed = pack_sequence([torch.randn(n, FEATURES, dtype=torch.float64) for n in lengths], enforce_sorted)
        resets = pack_sequence([torch.rand(n) > 0.6 for n in lengths], enforce_sorted)
        h0 = torch.randn(4, len(lengths), CHANNELS, dtype=torch.float64, requires_grad=True)
        results, inputs = [], (h0 if kind is MinGRU else (h0, h0), resets)
        for call in (compiled, layer):
            result = call(packed, *inputs)
            results.append([result[0].data, state_of(result)])
        for one, other in zip(*results):
            assert relative_error(one, other) < 1e-12
        assert_runs_close(gradients(layer, [h0], results[0]), gradients(layer, [h0], results[1]), 1e-11)


@both
def test_quantizes(kind):
    quantization = pytest.importorskip("torchao.quantization")
    torch.manual_seed(0)
    layer = kind(FEATURES, 32, 2, bidirectional=True).eval()
    x, resets = torch.randn(TIME, 2, FEATURES), torch.rand(TIME, 2) > 0.7
    with torch.no_grad():
        want, _ = run(layer, x, None, resets)
        quantization.quantize_(layer, quantization.Int8WeightOnlyConfig())
        assert 0 < relative_error(run(layer, x, None, resets)[0], want) < 0.02
        assert (
            layer.cells[0].in_proj.weight.dtype != want.dtype
            or type(layer.cells[0].in_proj.weight) is not torch.nn.Parameter
        )


@pytest.mark.parametrize(
    "arguments, error, words",
    [
        ({"proj_size": 2}, ValueError, "proj_size must be 0, got 2"),
        ({"num_layers": 0}, ValueError, "num_layers must be a positive integer, got 0"),
        ({"hidden_size": 1.5}, TypeError, "hidden_size must be a positive integer, got 1.5"),
        ({"batch_first": 1}, TypeError, "batch_first must be True or False, got 1"),
        ({"dropout": 1.5}, ValueError, "dropout must be a probability, from 0 to 1, got 1.5"),
        ({"dropout": "0.5"}, ValueError, "dropout must be a probability, from 0 to 1, got '0.5'"),
        ({"output_gate": "tanh"}, ValueError, "output_gate must be one of"),
        ({"output_gate": "highway"}, ValueError, "got 3, 4 and bidirectional=False"),
        ({"candidate_activation": "tanh"}, ValueError, "candidate_activation must be"),
        ({"backend": "cuda"}, ValueError, "backend must be one of"),
        (
            {"state_dtype": torch.int32},
            ValueError,
            "state_dtype must be a floating-point torch.dtype, or None, got torch.int32",
        ),
        (
            {"state_dtype": "float32"},
            ValueError,
            "state_dtype must be a floating-point torch.dtype, or None, got 'float32'",
        ),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
@both
def test_invalid_arguments_are_rejected(kind, arguments, error, words):
    with pytest.raises(error, match=words):
        kind(**{"input_size": FEATURES, "hidden_size": CHANNELS, **arguments})


def test_invalid_inputs_are_rejected():
    layer, x = MinGRU(FEATURES, CHANNELS), torch.randn(TIME, 2, FEATURES)
    for bad, error, words in (
        ((x[None],), ValueError, "2D or 3D, got 4D"),
        ((x[..., :2],), RuntimeError, "Expected 3, got 2"),
        ((x, torch.zeros(1, CHANNELS)), RuntimeError, "hx should also be 3-D but got 2-D"),
        ((x[:, 0], torch.zeros(1, 2, CHANNELS)), RuntimeError, "hx should also be 2-D but got 3-D"),
        ((x, torch.zeros(1, 3, CHANNELS)), RuntimeError, r"Expected hidden size \(1, 2, 4\), got \(1, 3, 4\)"),
        ((x, None, torch.zeros(2, TIME, dtype=torch.bool)), ValueError, r"resets must be bool of shape \(9, 2\)"),
        ((x, None, torch.zeros(TIME, 2)), ValueError, "got torch.float32"),
        ((x, None, [[False, False]] * TIME), ValueError, "got list"),
    ):
        with pytest.raises(error, match=words):
            layer(*bad)
    rows = [x[:5, 0], x[:3, 1]]
    starts = [torch.zeros(5, dtype=torch.bool), torch.zeros(3, dtype=torch.bool)]
    for sorted_input, bad, words in (
        (True, torch.zeros(8, dtype=torch.bool), "PackedSequence of bool, got Tensor"),
        (True, pack_sequence([starts[0], starts[0]]), "PackedSequence of the same lengths"),
        (True, pack_sequence([s.float() for s in starts]), "one bool a step, got torch.float32"),
        (False, pack_sequence(starts[::-1], enforce_sorted=False), "in the input's order"),
        (True, pack_sequence(starts[::-1], enforce_sorted=False), "in the input's order"),
    ):
        with pytest.raises(ValueError, match=words):
            layer(pack_sequence(rows, enforce_sorted=sorted_input), None, bad)


def test_a_packed_sequence_without_indices_is_in_its_given_order():
    layer, rows, starts = (
        make(MinGRU),
        torch.randn(2, TIME, FEATURES).double().split([5, 4], 1),
        torch.rand(2, TIME) > 0.5,
    )
    rows, starts = [rows[0][0], rows[1][1]], [starts[0, :5], starts[1, :4]]
    packed = [[pack_sequence(values, enforce_sorted) for enforce_sorted in (False, True)] for values in (rows, starts)]
    found = [layer(x, None, resets)[0].data for x in packed[0] for resets in packed[1]]
    assert all(torch.equal(found[0], other) for other in found[1:])


def test_an_empty_sequence_keeps_the_state():
    layer, h0 = MinGRU(FEATURES, CHANNELS), torch.randn(1, 2, CHANNELS)
    output, h_n = layer(torch.randn(0, 2, FEATURES), h0)
    assert output.shape == (0, 2, CHANNELS) and torch.equal(h_n, h0)


def test_packed_sequences_with_another_default_device():
    packed = pack_sequence([torch.randn(5, 4), torch.randn(3, 4)])
    layer = MinGRU(4, 8)
    want = layer(packed)[0].data
    with torch.device("meta"):  # the lengths of a PackedSequence are still on the CPU
        assert torch.equal(layer(packed)[0].data, want)
