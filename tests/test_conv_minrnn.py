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
    """y[t] for one row `(time, channels)`, by a loop."""
    out = []
    for t in range(len(x)):
        y = sum(conv.weight[:, 0, 3 - j] * x[t - j] for j in range(min(4, t + 1)))
        out.append(y if conv.bias is None else y + conv.bias)
    return torch.stack(out)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("time", [1, 2, 3, 4, 17])
def test_equals_the_definition_and_torch(bias, time):
    conv, x = build(bias), torch.randn(3, time, 5, dtype=torch.float64, requires_grad=True)
    y, tail = conv(x)
    assert torch.allclose(y, torch.stack([defined(conv, row) for row in x]))
    padded = torch.nn.functional.pad(x.transpose(1, 2), (3, 0))
    assert torch.allclose(y, torch.nn.functional.conv1d(padded, conv.weight, conv.bias, groups=5).transpose(1, 2))
    assert torch.equal(tail, padded[..., -3:].transpose(1, 2))
    assert torch.autograd.gradcheck(lambda x: conv(x), (x,))


@pytest.mark.parametrize("cuts", [(1, 2, 3), (5,), (0, 9)], ids=str)
def test_carried_on_equals_whole(cuts):
    conv, x = build(), torch.randn(2, 10, 5, dtype=torch.float64)
    tail, parts = None, []
    for begin, end in zip((0, *cuts), (*cuts, 10)):
        y, tail = conv(x[:, begin:end], tail)
        parts.append(y)
    assert torch.allclose(torch.cat(parts, 1), conv(x)[0])


def test_looks_past_padding_anywhere():
    conv, x, tail = build(), torch.randn(4, 12, 5, dtype=torch.float64), torch.randn(4, 3, 5, dtype=torch.float64)
    mask = torch.rand(4, 12, generator=torch.Generator().manual_seed(1)) > 0.5
    mask[0], mask[1, 6:] = False, False
    x[~mask] = torch.nan
    y, new_tail = conv(x, tail, mask)
    for row in range(4):
        alone, alone_tail = conv(x[row, mask[row]][None], tail[row][None])
        assert torch.allclose(y[row, mask[row]], alone[0]) and torch.allclose(new_tail[row], alone_tail[0])
    assert (y[~mask] == 0).all()


def test_a_tail_does_not_keep_the_input_alive():
    tail = build()(torch.randn(1, 1000, 5, dtype=torch.float64))[1]
    assert tail.untyped_storage().nbytes() == 3 * 5 * 8
