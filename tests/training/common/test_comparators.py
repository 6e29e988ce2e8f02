# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import pytest
import torch
from torch import nn

from training.common.comparators import COMPARATORS, build, missing, nearest_width
from training.common.scans_comparators import SCANS
from training.common.widths import count

HERE = [name for name in COMPARATORS if missing(name, "cpu") is None]
SIZE = {"vocab_size": 16, "hidden_size": 32, "num_layers": 2, "max_length": 24}
each = pytest.mark.parametrize("name", HERE)


@each
def test_logits_are_causal_and_learn(name):
    torch.manual_seed(0)
    model = build(name, **SIZE, conv=4, mlp=4.0)
    ids = torch.randint(16, (3, 24))
    model.eval()
    with torch.no_grad():
        logits = model(ids)
        assert logits.shape == (3, 24, 16) and logits.dtype == torch.float32
        changed = ids.clone()
        changed[:, 15:] = (changed[:, 15:] + 1) % 16
        other = model(changed)
    assert torch.allclose(other[:, :15], logits[:, :15], atol=1e-5)
    assert (other[:, 15:] - logits[:, 15:]).abs().amax(-1).min() > 1e-6  # the model reads the changed tokens
    model.train()(ids).logsumexp(-1).sum().backward()
    silent = [key for key, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert not silent


@each
def test_dropout_is_for_training(name):
    torch.manual_seed(0)
    model = build(name, **SIZE, dropout=0.5)
    ids = torch.randint(16, (2, 10))
    with torch.no_grad():
        assert torch.equal(model.eval()(ids), model(ids))
        assert not torch.allclose(model.train()(ids), model(ids))
        model = build(name, **SIZE).train()
        assert torch.equal(model(ids), model(ids))


# The experiments' shapes, wide and narrow.
SHAPES = [
    {"vocab_size": 16, "hidden_size": 64, "num_layers": 3, "max_length": 272, "expansion": 6.0},
    {"vocab_size": 64, "hidden_size": 256, "num_layers": 2, "max_length": 512, "conv": 4, "mlp": 4.0},
    {"vocab_size": 65, "hidden_size": 384, "num_layers": 3, "max_length": 256, "conv": 4, "mlp": 4.0},
    {"vocab_size": 65, "hidden_size": 128, "num_layers": 3, "max_length": 128, "conv": 4, "mlp": 4.0},
]


# Models that differ from another one in a number only, or whose sizes follow the same rule, are built at fewer shapes.
FEWER = {name: SHAPES[:1] for name in SCANS} | {"scans-signed-givens": SHAPES[::3]}
FEWER |= {name: SHAPES[-1:] for name in ("mingru-plain", "mingru-signed", "minlstm-signed", "minlstm-raw-signed")}
BUILT = [(name, shape) for name in HERE for shape in FEWER.get(name, SHAPES)]


@pytest.mark.parametrize(
    ("name", "shape"), BUILT, ids=lambda part: part if isinstance(part, str) else part["hidden_size"]
)
def test_parameters_within_five_percent(name, shape):
    with torch.device("meta"):
        reference = count(build("mingru", **shape))
        model = build(name, parameters=reference, **shape)
    assert abs(count(model) / reference - 1) <= 0.05


def test_blocks_are_the_papers():
    size = {
        "vocab_size": 65,
        "hidden_size": 16,
        "num_layers": 1,
        "max_length": 8,
        "expansion": 2.0,
        "conv": 4,
        "mlp": 4.0,
    }
    ours, gru = (build(name, **size).model for name in ("minlstm", "gru"))
    config = ours.config
    assert (config.candidate_activation, config.conv_position, config.gate_bias) == ("g", "residual", 3.0)
    assert (config.state_size, config.intermediate_size, config.conv_kernel_size) == (32, 64, 4)
    mixer = gru.model.layers[0].mixer
    assert (mixer.rnn.input_size, mixer.rnn.hidden_size, mixer.out_proj.out_features) == (16, 32, 16)
    others = [[key for key in model.state_dict() if ".mixer." not in key] for model in (ours, gru)]
    assert others[0] == others[1]  # the rest of the block is the same
    bare = build("mingru", **SIZE).model.model.layers[0]
    assert bare.conv is None and bare.mlp is None
    default = build("mingru-default", **size).model.config
    assert default.state_norm and default.output_gate and (default.state_size, default.intermediate_size) == (64, 0)
    for expansion, mlp, width in ((1.0, 4.0, round(16 * 2 * 2 / 3)), (1.5, 4.0, round(16 * 2 / 3)), (2.0, 1.0, 0)):
        config = build("mingru-default", **size | {"expansion": expansion, "mlp": mlp}).model.config
        assert (config.state_size, config.intermediate_size) == (32 * expansion, width)


def test_signed_blocks_are_the_default_with_a_negative_floor_below():
    for name in ("mingru-signed", "minlstm-signed", "minlstm-raw-signed"):
        config = build(name, **SIZE, conv=4, mlp=4.0).model.config
        default = build(name.split("-")[0] + "-default", **SIZE, conv=4, mlp=4.0).model.config
        floors = [config.layer_forget_gate_floor(layer) for layer in (0, 1)]
        assert floors == [-1.0, default.layer_forget_gate_floor(1)] and config.normalize_gates == ("raw" not in name)
        shared = ("cell_type", "state_size", "intermediate_size", "output_gate", "state_norm", "candidate_activation")
        assert [getattr(config, key) for key in shared] == [getattr(default, key) for key in shared]
    plain = build("mingru-plain", **SIZE).model.config
    assert [plain.layer_forget_gate_floor(layer) for layer in (0, 1)] == [0.0, 0.0]


def test_the_nearest_width_is_no_further_than_its_neighbours():
    make = lambda width: nn.Linear(7, width - width % 3 + 1)  # noqa: E731  # in steps, as with heads
    for parameters in range(20, 200, 7):
        width = nearest_width(make, parameters)
        off = {other: abs(count(make(other)) - parameters) for other in range(1, 40)}
        assert off[width] == min(off.values())


def test_impossible_models_are_rejected():
    with pytest.raises(ValueError, match="there is no comparator 's4': choose one of mingru"):
        build("s4", **SIZE)
    with pytest.raises(ValueError, match="there is no comparator 's4'"):
        missing("s4", "cpu")
    with pytest.raises(ValueError, match="more than 5% from 12,000: ask for another number of layers"):
        build("llama", vocab_size=16, hidden_size=64, num_layers=40, max_length=8, parameters=12_000)
    with pytest.raises(ValueError, match="a width of 1 has"):
        build("mingru", parameters=10, **SIZE)


def test_mambas_scan_in_plain_torch_is_its_loop():
    pytest.importorskip("mambapy")
    found = []
    for plain in (True, False):
        torch.manual_seed(0)
        model = build("mamba", **SIZE)
        for block in model.model.backbone.layers:
            assert block.mixer.use_mambapy
            block.mixer.use_mambapy = plain
        logits = model(torch.arange(46).view(2, 23) % 16)  # 23 is no power of two
        found.append([logits.detach(), *torch.autograd.grad(logits.square().mean(), [*model.parameters()])])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
