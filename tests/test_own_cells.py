# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Cells that are not part of the package: registered, subclassed and rejected."""

import pytest
import torch

from hf_minrnn import MinGRUCell, MinRNNCell, MinRNNConfig, MinRNNForCausalLM, linear_scan, register_cell
from hf_minrnn.cells import CELLS
from hf_minrnn.gates import CELL_TYPES
from hf_minrnn.layers import MinRNNBase


@pytest.fixture
def restore_registry():
    cells, names = dict(CELLS), list(CELL_TYPES)
    yield
    CELLS.clear()
    CELLS.update(cells)
    CELL_TYPES[:] = names


def signed_cell(name="signed"):
    """Returns the class of a cell whose decay is in (-1, 1)."""

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
def test_overrides_of_a_subclass_are_used_in_training_and_decoding(cell_type, method, restore_registry):
    """Reading token by token equals reading the whole sequence, for any overridden method of a cell."""
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

            def step(self, x, state=None):
                projected, extra = self.project(x)
                h, state = MinRNNCell.scan(self, 0.5 * projected[:, None], state)
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


class Both(MinGRUCell):
    def scan(self, projected, *args, **kwargs):
        return super().scan(projected, *args, **kwargs)

    def step(self, x, state=None):
        return super().step(x, state)


def test_a_step_without_a_matching_scan_is_rejected():
    with pytest.raises(TypeError, match="Half has the step of Half and the scan of MinRNNCell"):

        class Half(MinGRUCell):
            def step(self, x, state=None):
                return x, state

    with pytest.raises(TypeError, match="OtherScan has the step of Both and the scan of OtherScan"):

        class OtherScan(Both):
            def scan(self, projected, *args, **kwargs):
                return super().scan(2 * projected, *args, **kwargs)

    class FasterStep(Both):
        def step(self, x, state=None):
            return super().step(x, state)

    assert FasterStep(3, 4).step(torch.ones(1, 3))[0].shape == (1, 4)


@pytest.mark.parametrize("name", ["linear", "gru"])
def test_the_inherited_scan_only_computes_the_cells_of_minrnn_scan(name):
    """A linear scan would ignore the cell's options without a word."""

    class Unknown(MinRNNCell):
        cell_type, num_parts, formula = "unknown", 2, name

    with pytest.raises(ValueError, match=f"formula must be 'mingru' or 'minlstm', .* got '{name}'"):
        Unknown(3, 4, forget_gate_floor=0.5)


def test_a_cell_may_override_project_alone(restore_registry):
    @register_cell
    class Squashed(MinGRUCell):
        cell_type = "squashed"

        def project(self, x):
            projected, extra = super().project(x)
            return torch.tanh(projected), extra

    model, ids = tiny("squashed"), torch.randint(11, (1, 6))
    first = model(ids[:, :5])
    torch.testing.assert_close(
        model(ids[:, 5:], past_key_values=first.past_key_values).logits, model(ids).logits[:, 5:], rtol=1e-4, atol=1e-5
    )


def test_a_scan_whose_h_is_not_the_state_cannot_be_recorded(restore_registry):
    @register_cell
    class Doubled(MinRNNCell):
        cell_type, num_parts = "doubled", 2

        def scan(self, projected, initial_state=None, **options):
            h, state = linear_scan(*(0.5 * projected).chunk(2, -1), initial_state, **options)
            return 2 * h, state

    model, ids = tiny("doubled"), torch.randint(11, (1, 6))
    assert model.generate(ids, max_new_tokens=3, do_sample=False).shape == (1, 9)
    with pytest.raises(ValueError, match=r"Doubled\.scan returns an h that is not the state"):
        model.generate(ids, max_new_tokens=3, do_sample=False, prompt_lookup_num_tokens=2)


def test_results_of_a_scan_may_share_memory():
    class Sharing(MinRNNCell):
        cell_type, num_parts = "sharing", 2

        def scan(self, projected, initial_state=None, **options):
            h, _ = linear_scan(*projected.chunk(2, -1), initial_state, **options)
            return h, h[:, -1]

    cell = Sharing(3, 4)
    for time in (1, 5):
        with torch.no_grad():
            h, state = cell(torch.randn(2, time, 3))
            kept = state.clone()
            h.zero_()
        assert torch.equal(state, kept)


def test_a_step_that_omits_the_extra_features_is_reported(restore_registry):
    @register_cell
    class Forgetting(Both):
        cell_type = "forgetting"

        def step(self, x, state=None):
            return super().step(x, state)[:2]

    model = tiny("forgetting")
    with pytest.raises(
        TypeError, match=r"Forgetting\.step returned 2 values: with extra_size 16 it must return \(h, state, e"
    ):
        model.generate(torch.ones(1, 3, dtype=torch.long), max_new_tokens=2)


def test_a_gate_bias_of_a_registered_cell_reaches_a_fresh_model(restore_registry):
    @register_cell
    class Spread(MinGRUCell):
        cell_type = "wide-memory"

        def __init__(self, *args, **options):
            super().__init__(*args, **(options | {"gate_bias": (0.0, 4.0)}))

    bias = tiny("wide-memory").model.layers[0].mixer.cell.in_proj.bias
    torch.testing.assert_close(bias[:16], -torch.linspace(0, 4, 16))
    assert not bias[16:].any()


def test_invalid_cells_cannot_be_registered(restore_registry):
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
    for name in ("mingru", "linear"):
        with pytest.raises(ValueError, match=f"cell_type '{name}' is taken"):
            register_cell(signed_cell(name))
    first = register_cell(signed_cell())
    assert register_cell(signed_cell()) is not first  # the same class, defined again in a notebook
    with pytest.raises(ValueError, match="cell_type 'signed' is taken"):
        register_cell(type("Other", (signed_cell(),), {}))


def test_carry_code_warns_of_a_cell_outside_the_package(restore_registry, caplog):
    register_cell(signed_cell("signed-and-carried"))
    tiny("signed-and-carried").carry_code()
    assert "cell_type 'signed-and-carried' is not part of hf_minrnn" in caplog.text
