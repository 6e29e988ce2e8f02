# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import warnings

import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx

from hf_minrnn.norm_minrnn import MinRNNRMSNorm


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(7,), (1, 1, 64), (3, 5, 7), (2, 0, 4)], ids=str)
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_result_is_the_same_with_and_without_gradients(dtype, shape, scale):
    torch.manual_seed(0)
    norm = MinRNNRMSNorm(shape[-1], eps=1e-6).to(dtype)
    torch.nn.init.normal_(norm.weight)
    x = (scale * torch.randn(shape)).to(dtype)
    kept = x.clone()
    with torch.no_grad():
        short = norm(x)
    exact = x.double() / torch.sqrt(x.double().square().mean(-1, keepdim=True) + 1e-6) * norm.weight.double()
    tolerance = {torch.float32: 1e-6, torch.float64: 1e-12, torch.bfloat16: 2e-2}[dtype]
    for y in (short, norm(x)):
        assert (
            y.dtype == dtype
            and y.shape == x.shape
            and torch.allclose(y.double(), exact, rtol=tolerance, atol=tolerance)
        )
    assert torch.equal(x, kept)


@pytest.mark.parametrize("dtypes", [(torch.bfloat16, torch.float32), (torch.float32, torch.bfloat16)], ids=str)
@pytest.mark.parametrize("eps", [1e-6, 1e-2])
def test_another_dtype_than_the_weight_gives_the_same_without_a_warning(dtypes, eps):
    norm, x = MinRNNRMSNorm(4, eps=eps).to(dtypes[1]), torch.randn(2, 4).to(dtypes[0])
    torch.nn.init.normal_(norm.weight)
    want = torch.nn.functional.rms_norm(x, (4,), norm.weight, eps)
    always = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            got = norm(x)
            with torch.no_grad():
                assert torch.equal(norm(x), got)
    finally:
        torch.set_warn_always(always)
    assert torch.equal(got, want) and got.dtype == want.dtype


def test_tracing_and_transforms_use_the_ordinary_norm():
    norm, x, other = MinRNNRMSNorm(4), torch.randn(1, 4), torch.randn(1, 4)
    assert norm.eps is None
    with torch.no_grad():
        short = norm(other)
        assert torch.allclose(torch.jit.trace(norm, x)(other), short)
        assert torch.allclose(torch.vmap(norm)(torch.cat([x, other]))[1:], short)
        assert torch.allclose(make_fx(norm)(x)(other), short)
        wanted = torch.func.jvp(norm, (x,), (other,))[1]
        with forward_ad.dual_level():
            tangent = forward_ad.unpack_dual(norm(forward_ad.make_dual(x, other))).tangent
        assert torch.allclose(tangent, wanted)
        with FakeTensorMode(allow_non_fake_inputs=True) as fake:
            for rows in (1, 3):
                assert norm(fake.from_tensor(torch.ones(rows, 4))).shape == (rows, 4)
        assert torch.equal(norm(other), short)  # no trace of the transforms remains
