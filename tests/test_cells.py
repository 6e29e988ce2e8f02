# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import numpy as np
import pytest
import torch
from definition import define

from hf_minrnn import MinGRUCell, MinLSTMCell, MinRNNCell, MinRNNConfig, MinRNNForCausalLM, linear_scan, register_cell
from hf_minrnn.cells import CELLS
from hf_minrnn.gates import CELL_TYPES
from hf_minrnn.layers import MinRNNBase

OPTIONS = [
    (MinGRUCell, {}),
    (MinGRUCell, {"candidate_activation": "identity", "forget_gate_floor": 0.5}),
    (MinLSTMCell, {}),
    (MinLSTMCell, {"normalize_gates": False, "bias": False}),
]


def build(cell, options, **more):
    torch.manual_seed(0)
    return cell(5, 7, **options, **more)


@pytest.mark.parametrize(("cell", "options"), OPTIONS, ids=str)
def test_sequence_steps_and_definition_agree(cell, options):
    cell = build(cell, options)
    x, state = torch.randn(3, 20, 5), torch.randn(3, 7)
    h, final = cell(x, state)
    spec = cell.spec._asdict()
    exact, exact_final = define(cell.in_proj(x).detach(), spec.pop("cell_type"), state, **spec)
    assert torch.allclose(h.double(), exact, atol=1e-5) and torch.allclose(final.double(), exact_final, atol=1e-5)
    steps = []
    for t in range(20):
        out, state = cell.step(x[:, t], state)
        steps.append(out)
    assert torch.allclose(torch.stack(steps, 1), h, atol=1e-5) and torch.allclose(state, final, atol=1e-5)


@pytest.mark.parametrize(("cell", "options"), OPTIONS, ids=str)
def test_steps_and_sequence_have_the_same_gradients(cell, options):
    cell, x = build(cell, options), torch.randn(2, 9, 5)
    cell(x)[0].square().sum().backward()
    grads = [parameter.grad.clone() for parameter in cell.parameters()]
    cell.zero_grad()
    state, loss = None, 0
    for t in range(9):
        h, state = cell.step(x[:, t], state)
        loss = loss + h.square().sum()
    loss.backward()
    assert all(torch.allclose(p.grad, grad, rtol=1e-4, atol=1e-5) for p, grad in zip(cell.parameters(), grads))


@pytest.mark.parametrize("extra", [0, 3])
@pytest.mark.parametrize("record", [0, 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_sequence_of_one_step_is_a_step(dtype, record, extra):
    cell = build(MinLSTMCell, {}, extra_size=extra, dtype=dtype)
    x, state = torch.randn(3, 5, dtype=dtype), torch.randn(3, 7)
    h, after, *rest = cell(x[:, None], state, record=record)
    want = cell.step(x, state)
    assert len(rest) == len(want) - 2 == (extra > 0)
    assert torch.equal(h[:, 0], want[0]) and h.dtype == dtype
    states = torch.stack([state, want[1]], 1) if record else want[1]
    torch.testing.assert_close(after, states)
    if extra:
        assert torch.equal(rest[0][:, 0], want[2])
    with torch.no_grad():
        h.add_(1.0)  # what a caller does to the output does not reach the state
    torch.testing.assert_close(after, states)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_recorded_states_are_those_of_every_step(dtype):
    cell = build(MinGRUCell, {}, dtype=dtype)
    x, state = torch.randn(2, 6, 5, dtype=dtype), torch.randn(2, 7)
    h, states = cell(x, state, record=4)
    assert states.shape == (2, 5, 7) and states.dtype == torch.float32
    torch.testing.assert_close(h, cell(x, state)[0])
    for n in range(5):
        projected = cell.project(x)[0][:, : 2 + n]
        torch.testing.assert_close(states[:, n], cell.scan(projected, state)[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("cell", "options"), OPTIONS, ids=str)
def test_one_step_a_call_has_the_gradients_of_the_sequence(cell, options):
    """Training loops that call a layer once for every step differentiate through many calls."""
    cell, x = build(cell, options), torch.randn(2, 9, 5)
    state = torch.randn(2, 7, requires_grad=True)
    whole = torch.autograd.grad(cell(x, state)[0].square().sum(), [state, *cell.parameters()])
    loss, now = 0, state
    for t in range(9):
        h, now = cell(x[:, t : t + 1], now)
        loss = loss + h.square().sum()
    for got, want in zip(torch.autograd.grad(loss, [state, *cell.parameters()]), whole):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def test_an_input_of_one_step_names_step():
    for cell in (MinGRUCell(5, 7), MinLSTMCell(5, 7)):
        name = type(cell).__name__
        with pytest.raises(
            ValueError, match=rf"shape \(batch, time, 5\), got shape \(2, 5\).* call {name}.step\(x, state\)"
        ):
            cell(torch.randn(2, 5))


def test_options_of_the_scan_pass_through():
    cell, x = build(MinGRUCell, {}), torch.randn(1, 6, 5)
    mask = torch.tensor([[1, 1, 1, 0, 0, 0]])
    assert torch.allclose(cell(x, attention_mask=mask)[1], cell(x[:, :3])[1])
    packed = cell(x, cu_seqlens=torch.tensor([0, 2, 6]))
    assert torch.allclose(packed[0][:, 2:], cell(x[:, 2:])[0]) and packed[1].shape == (2, 7)
    resets = torch.tensor([[False, False, True, False, False, False]])
    assert torch.allclose(cell(x, resets=resets)[0], packed[0])
    start = torch.randn(7)
    assert torch.allclose(cell(x, resets=resets, reset_state=start)[0][:, 2:], cell(x[:, 2:], start[None])[0])


def test_extra_features_ride_in_the_same_matmul():
    cell, x = build(MinLSTMCell, {}, extra_size=4), torch.randn(2, 6, 5)
    projected, extra = cell.project(x)
    assert projected.shape == (2, 6, 21) and extra.shape == (2, 6, 4)
    assert torch.equal(torch.cat([projected, extra], -1), cell.in_proj(x))
    alone = build(MinLSTMCell, {})
    projected, extra = alone.project(x)
    assert extra is None and torch.equal(projected, alone.in_proj(x))
    assert torch.allclose(cell.scan(projected)[0], cell.scan(projected.contiguous())[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"candidate_activation": "G"}, "candidate_activation"),
        ({"forget_gate_floor": 3.0}, "forget_gate_floor"),
        ({"backend": "cuda"}, "backend must be one of"),
        ({"gate_bias": 1.0, "bias": False}, "gate_bias 1.0 needs bias=True"),
        ({"gate_bias": float("nan")}, "gate_bias must be a finite number, got nan"),
        ({"forget_gate_floor": "0.5"}, "forget_gate_floor must be at least 0 and below 1, got '0.5'"),
        ({"extra_size": -1}, "extra_size must be a whole number from 0 on, got -1"),
    ],
)
def test_unknown_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MinGRUCell(3, 4, **options)


def test_numbers_of_other_libraries_are_numbers():
    cell = MinGRUCell(np.prod((3, 2)), np.int64(4), forget_gate_floor=np.float32(0.5))
    assert cell(torch.randn(1, 2, 6))[0].shape == (1, 2, 4) and cell.spec.forget_gate_floor == 0.5


@pytest.mark.parametrize("size", [0, -4, 4.0])
def test_sizes_are_checked(size):
    for arguments, name in (((3, size), "hidden_size"), ((size, 4), "input_size")):
        with pytest.raises(ValueError, match=f"{name} must be a whole number from 1 on, got {size}"):
            MinGRUCell(*arguments)


@pytest.mark.parametrize(
    "state", [torch.ones(2, 4).long(), torch.ones(2, 4) + 1j, [0.0] * 4], ids=["long", "complex", "list"]
)
def test_a_state_of_no_real_numbers_is_refused(state):
    cell = MinGRUCell(3, 4)
    for grad in (True, False):
        with (
            torch.set_grad_enabled(grad),
            pytest.raises(ValueError, match=r"state must be floating point of shape \(2, 4\)"),
        ):
            cell.step(torch.randn(2, 3), state)


def test_shapes_of_a_step_are_checked():
    cell = MinGRUCell(3, 4)
    for x, state, message in (((2, 3), (5, 4), "state"), ((2, 2, 3), (2, 4), "projected"), ((2, 3), (1, 4), "state")):
        with pytest.raises(ValueError, match=message):
            cell.step(torch.zeros(x), torch.zeros(state))


def test_bfloat16_and_double():
    for dtype, state in ((torch.bfloat16, torch.float32), (torch.float64, torch.float64)):
        cell = build(MinGRUCell, {}, dtype=dtype)
        h, final = cell(torch.randn(2, 6, 5, dtype=dtype))
        assert h.dtype == dtype and final.dtype == state


# --- cells of one's own ----------------------------------------------------------------------------------------------


@pytest.fixture
def restore_registry():
    cells, names = dict(CELLS), list(CELL_TYPES)
    yield
    CELLS.clear()
    CELLS.update(cells)
    CELL_TYPES[:] = names


def signed_cell(name="signed"):
    """A cell whose decay lies in (-1, 1)."""

    class Signed(MinRNNCell):
        cell_type, num_parts = name, 2

        def scan(self, projected, initial_state=None, **options):
            gate, candidate = projected.chunk(2, -1)
            decay = torch.tanh(gate)
            return linear_scan(decay, (1 - decay.abs()) * candidate, initial_state, **options)

    return Signed


def tiny(cell_type, **options):
    torch.manual_seed(0)
    config = MinRNNConfig(vocab_size=11, hidden_size=8, num_hidden_layers=2, cell_type=cell_type, **options)
    return MinRNNForCausalLM(config).eval()


@pytest.mark.parametrize(
    "options", [{}, {"learn_initial_state": True}, {"output_gate": False, "conv_kernel_size": 0}], ids=str
)
def test_a_registered_cell_works_everywhere(options, restore_registry, tmp_path):
    register_cell(signed_cell())
    model = tiny("signed", **options)
    ids = torch.randint(11, (2, 9))
    whole = model(ids).logits
    first = model(ids[:, :5])
    rest = [first]
    for t in range(5, 9):  # token by token
        rest.append(model(ids[:, t : t + 1], past_key_values=first.past_key_values))
    torch.testing.assert_close(torch.cat([part.logits for part in rest], 1), whole, rtol=1e-4, atol=1e-5)
    mask = torch.tensor([[0, 0, 1, 1, 1, 1, 1, 1, 1]]).expand(2, -1)
    torch.testing.assert_close(
        model(ids, attention_mask=mask).logits[:, 2:], model(ids[:, 2:]).logits, rtol=1e-4, atol=1e-5
    )
    packed = model(ids[:1], seq_idx=torch.tensor([[0] * 4 + [1] * 5])).logits
    torch.testing.assert_close(packed[:, 4:], model(ids[:1, 4:]).logits, rtol=1e-4, atol=1e-5)
    greedy = model.generate(ids, max_new_tokens=8, do_sample=False)
    looked_up = model.generate(ids[:1], max_new_tokens=8, do_sample=False, prompt_lookup_num_tokens=3)
    assert torch.equal(greedy[:1], looked_up)
    model(ids, labels=ids).loss.backward()
    assert all(p.grad is not None for name, p in model.named_parameters() if "cell" in name)
    model.save_pretrained(tmp_path)
    loaded = MinRNNForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(loaded(ids).logits, whole)


def test_a_registered_cell_makes_a_layer(restore_registry):
    register_cell(signed_cell())

    class SignedRNN(MinRNNBase):
        cell_type, mode = "signed", "GRU"

    layer, x = SignedRNN(3, 4, num_layers=2, bidirectional=True), torch.randn(6, 2, 3)
    output, state = layer(x)
    assert output.shape == (6, 2, 8) and state.shape == (4, 2, 4) and type(layer.cells[0]).__name__ == "Signed"


def test_a_config_of_an_unknown_cell_says_how_to_register_it(restore_registry, tmp_path):
    register_cell(signed_cell())
    tiny("signed").save_pretrained(tmp_path)
    CELL_TYPES.remove("signed")
    for make in (lambda: MinRNNConfig(cell_type="signed"), lambda: MinRNNConfig.from_pretrained(tmp_path)):
        with pytest.raises(Exception, match="got 'signed': a cell that is not part of hf_minrnn must be registered"):
            make()


@pytest.mark.parametrize("method", ["project", "scan", "step and scan"])
@pytest.mark.parametrize("cell_type", ["mingru", "minlstm"])
def test_what_a_subclass_overrides_counts_in_training_and_in_decoding(cell_type, method, restore_registry):
    """Every token read alone must give what the sequence gives, whatever part of a cell is replaced."""
    base = CELLS[cell_type]

    class Changed(base):
        if method == "project":

            def project(self, x):
                projected, extra = super().project(x)
                return 0.5 * projected, extra

        else:

            def scan(self, projected, *args, **kwargs):
                return super().scan(0.5 * projected, *args, **kwargs)

        if method == "step and scan":

            def step(self, x, state=None, **options):
                projected, extra = self.project(x)
                h, state = MinRNNCell.scan(self, 0.5 * projected[:, None], state, **options)
                return h[:, 0], state, extra

    plain, ids = tiny(cell_type), torch.randint(11, (1, 6))
    CELLS[cell_type] = Changed
    model = tiny(cell_type)
    whole = model(ids).logits
    assert not torch.allclose(whole, plain(ids).logits, atol=1e-4)
    with torch.no_grad():
        cache, tokens = None, []
        for t in range(6):
            output = model(ids[:, t : t + 1], past_key_values=cache)
            cache = output.past_key_values
            tokens.append(output.logits)
    torch.testing.assert_close(torch.cat(tokens, 1), whole, rtol=1e-4, atol=1e-5)


def test_a_step_without_a_scan_is_refused():
    with pytest.raises(TypeError, match="Half overrides step but not scan"):

        class Half(MinGRUCell):
            def step(self, x, state=None):
                return x, state


def test_what_cannot_be_registered_is_refused(restore_registry):
    class WithoutName(MinRNNCell):
        num_parts = 2

    class WithoutParts(MinRNNCell):
        cell_type = "without-parts"

    class WithoutScan(MinRNNCell):
        cell_type, num_parts = "without-scan", 2

    for cell, message in (
        (torch.nn.GRUCell, "subclass of MinRNNCell"),
        (WithoutName, "WithoutName needs a cell_type"),
        (WithoutParts, "WithoutParts needs num_parts"),
        (WithoutScan, "WithoutScan must define scan"),
    ):
        with pytest.raises(TypeError, match=message):
            register_cell(cell)
    with pytest.raises(ValueError, match="cell_type 'mingru' is taken by MinGRUCell"):
        register_cell(signed_cell("mingru"))
    first = register_cell(signed_cell())
    assert register_cell(signed_cell()) is not first  # the same class, defined again in a notebook
    with pytest.raises(ValueError, match="cell_type 'signed' is taken by Signed"):
        register_cell(type("Other", (signed_cell(),), {}))


def test_a_cell_that_is_not_part_of_the_package_is_named_when_code_is_carried(restore_registry, caplog):
    register_cell(signed_cell("signed-and-carried"))
    tiny("signed-and-carried").carry_code()
    assert "cell_type 'signed-and-carried' is not part of hf_minrnn" in caplog.text
