# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import pytest
import torch

from hf_minrnn.conv_minrnn import MinRNNCausalConv1d


def build(bias=True, dtype=torch.float64):
    torch.manual_seed(0)
    conv = MinRNNCausalConv1d(5, 4, bias).to(dtype)
    with torch.no_grad():
        for parameter in conv.parameters():
            parameter.normal_()
    return conv


def defined(conv, x):
    """Computes y[t] for one row `(time, channels)` in a loop."""
    out = []
    for t in range(len(x)):
        y = sum(conv.weight[:, 0, 3 - j] * x[t - j] for j in range(min(4, t + 1)))
        out.append(y if conv.bias is None else y + conv.bias)
    return torch.stack(out)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("time", [1, 2, 3, 4, 17])
def test_equals_the_definition_and_torch(bias, time):
    conv, x = build(bias), torch.randn(3, time, 5, dtype=torch.float64, requires_grad=True)
    y, conv_state = conv(x)
    assert torch.allclose(y, torch.stack([defined(conv, row) for row in x]))
    padded = torch.nn.functional.pad(x.transpose(1, 2), (3, 0))
    assert torch.allclose(y, torch.nn.functional.conv1d(padded, conv.weight, conv.bias, groups=5).transpose(1, 2))
    assert torch.equal(conv_state, padded[..., -3:].transpose(1, 2))
    assert torch.autograd.gradcheck(lambda x: conv(x), (x,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("time", [1, 2, 4, 17])
def test_gradients_have_the_strides_of_the_parameters(time, dtype):
    """DDP compares all strides, also those of dimensions of size 1, and warns about each difference."""
    conv = build(dtype=dtype)
    conv(torch.randn(3, time, 5, dtype=dtype))[0].sum().backward()
    for parameter in conv.parameters():
        assert parameter.grad.stride() == parameter.stride()


@pytest.mark.parametrize("cuts", [(1, 2, 3), (5,), (0, 9)], ids=str)
def test_continuing_equals_the_whole(cuts):
    conv, x = build(), torch.randn(2, 10, 5, dtype=torch.float64)
    conv_state, parts = None, []
    for begin, end in zip((0, *cuts), (*cuts, 10)):
        y, conv_state = conv(x[:, begin:end], conv_state)
        parts.append(y)
    assert torch.allclose(torch.cat(parts, 1), conv(x)[0])


def test_padding_is_ignored_at_any_position():
    conv, x, conv_state = build(), torch.randn(4, 12, 5, dtype=torch.float64), torch.randn(4, 3, 5, dtype=torch.float64)
    mask = torch.rand(4, 12, generator=torch.Generator().manual_seed(1)) > 0.5
    mask[0], mask[1, 6:] = False, False
    x[~mask] = torch.nan
    y, new_conv_state = conv(x, conv_state, mask)
    for row in range(4):
        alone, alone_conv_state = conv(x[row, mask[row]][None], conv_state[row][None])
        assert torch.allclose(y[row, mask[row]], alone[0]) and torch.allclose(new_conv_state[row], alone_conv_state[0])
    assert (y[~mask] == 0).all()


def test_a_conv_state_does_not_keep_the_input_alive():
    conv_state = build()(torch.randn(1, 1000, 5, dtype=torch.float64))[1]
    assert conv_state.untyped_storage().nbytes() == 3 * 5 * 8


def test_packed_sequences_are_independent():
    conv, x, conv_state = build(), torch.randn(3, 14, 5, dtype=torch.float64), torch.randn(3, 3, 5, dtype=torch.float64)
    resets = torch.zeros(3, 14, dtype=torch.bool)
    resets[0, [5, 6, 8]], resets[1, 0], resets[2, 12] = True, True, True
    y, new_conv_state = conv(x, conv_state, resets=resets)
    for row in range(3):
        cuts = [0, *resets[row].nonzero().flatten().tolist(), 14]
        carried, parts = conv_state[row : row + 1], []
        for n, (begin, end) in enumerate(zip(cuts, cuts[1:])):
            part, last = conv(x[row : row + 1, begin:end], carried if n == 0 else None)
            parts.append(part)
        assert torch.allclose(y[row], torch.cat(parts, 1)[0]) and torch.allclose(new_conv_state[row], last[0])


def test_packing_and_padding_together():
    conv, x = build(), torch.randn(2, 14, 5, dtype=torch.float64)
    resets, mask = torch.zeros(2, 14, dtype=torch.bool), torch.ones(2, 14, dtype=torch.bool)
    resets[0, [4, 9]], mask[0, [0, 4, 5, 8, 13]] = True, False  # one sequence starts in padding
    resets[1, 12], mask[1, 10:] = True, False  # and one sequence is padding only
    x[~mask] = torch.nan
    y, conv_state = conv(x, None, mask, resets)
    for row, cuts in ((0, [0, 4, 9, 14]), (1, [0, 12, 14])):
        for begin, end in zip(cuts, cuts[1:]):
            now = slice(begin, end)
            alone, last = conv(x[row, now][mask[row, now]][None])
            assert torch.allclose(y[row, now][mask[row, now]], alone[0])
        assert torch.allclose(conv_state[row], last[0])


def test_a_nan_does_not_reach_another_sequence():
    conv, x = build(), torch.randn(1, 9, 5, dtype=torch.float64)
    x[0, 3] = torch.nan
    x.requires_grad_()
    resets = torch.arange(9)[None] == 4
    y, conv_state = conv(x, None, None, resets)
    assert y[0, 4:].isfinite().all() and conv_state.isfinite().all()
    (grad,) = torch.autograd.grad(y[0, 4:].sum(), x)
    assert grad.isfinite().all() and (grad[0, :4] == 0).all() and (grad[0, 4:] != 0).any()


@pytest.mark.parametrize("record", [1, 3, 8])
@pytest.mark.parametrize("masked", [False, True])
def test_recorded_conv_states_are_those_before_each_step(record, masked):
    conv, x, conv_state = build(), torch.randn(2, 8, 5, dtype=torch.float64), torch.randn(2, 3, 5, dtype=torch.float64)
    mask = torch.rand(2, 8, generator=torch.Generator().manual_seed(3)) > 0.4 if masked else None
    y, conv_states = conv(x, conv_state, mask, record=record)
    assert torch.equal(y, conv(x, conv_state, mask)[0]) and conv_states.shape == (2, record + 1, 3, 5)
    for n in range(record + 1):
        end = 8 - record + n
        _, wanted = conv(x[:, :end], conv_state, None if mask is None else mask[:, :end])
        assert torch.equal(conv_states[:, n], wanted)


@pytest.mark.parametrize("kernel_size", [1, 2, 4])
@pytest.mark.parametrize("time", [0, 1, 2, 7])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_path_for_the_compiler_computes_the_same(kernel_size, time, dtype, monkeypatch):
    conv, x = MinRNNCausalConv1d(5, kernel_size, bias=True).to(dtype), torch.randn(2, time, 5, dtype=dtype)
    for parameter in conv.parameters():
        torch.nn.init.normal_(parameter)
    conv_state, mask = torch.randn(2, kernel_size - 1, 5, dtype=dtype), torch.rand(2, time) < 0.7
    resets = torch.rand(2, time) < 0.3
    cases = [
        {},
        {"conv_state": conv_state},
        {"conv_state": conv_state, "attention_mask": mask},
        {"conv_state": conv_state, "resets": resets},
    ]
    cases += [{"conv_state": conv_state.float()}, {"conv_state": conv_state, "record": 1}] if time else []
    wanted = [conv(x, **case) for case in cases]
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    for case, (y, after) in zip(cases, wanted):
        got = conv(x, **case)
        assert torch.equal(got[0], y) and torch.equal(got[1], after)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, "autocast"])
def test_every_path_rounds_once(dtype):
    """Single steps and packed rows give the numbers of whole texts. If each product were rounded, 40 % of them would differ."""
    conv, x = MinRNNCausalConv1d(64, 4, bias=True), torch.randn(2, 30, 64)
    for parameter in conv.parameters():
        torch.nn.init.normal_(parameter)
    autocast = dtype == "autocast"
    if not autocast:
        conv, x = conv.to(dtype), x.to(dtype)
    resets = torch.zeros(2, 30, dtype=torch.bool)
    resets[:, [0, 15]] = True
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        whole, conv_state, steps = conv(x)[0], None, []
        for t in range(30):
            y, conv_state = conv(x[:, t : t + 1], conv_state)
            steps.append(y)
        alone, packed = torch.cat([conv(x[:, :15])[0], conv(x[:, 15:])[0]], 1), conv(x, resets=resets)[0]
    assert whole.dtype == steps[0].dtype == packed.dtype == (torch.bfloat16 if autocast else dtype)
    assert (torch.cat(steps, 1) != whole).float().mean() < 0.01
    assert (packed != alone).float().mean() < 0.01
