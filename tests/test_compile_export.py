# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The model compiled in one graph, forward and backward, and exported for any batch size and length."""

import pytest
import torch
from support.model_cases import CONFIGS, build, close, pad, token_ids
from support.scan_cases import needs_compiler
from torch import nn
from transformers import StaticCache

from hf_minrnn.scan import minrnn_scan

NAMES = tuple(CONFIGS)


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", ["mingru", "minlstm-paper"])
@pytest.mark.parametrize("compiler", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiles_in_one_graph_forward_and_backward(name, compiler):
    torch._dynamo.reset()
    model, ids = build(name), token_ids(2, 12)
    compiled = torch.compile(model, fullgraph=True, backend=compiler)
    assert close(compiled(ids, use_cache=False).logits, model(ids).logits)
    grads = gradients(model, compiled(ids, labels=ids, use_cache=False).loss)
    wanted = gradients(model, model(ids, labels=ids, use_cache=False).loss)
    assert grads.keys() == wanted.keys() and all(close(grads[n], wanted[n]) for n in wanted)
    mask = torch.ones_like(ids)
    mask[0, :5] = 0
    assert close(
        compiled(ids, attention_mask=mask, use_cache=False).logits[mask == 1],
        model(ids, attention_mask=mask, use_cache=False).logits[mask == 1],
    )
    cache = StaticCache(config=model.config, max_cache_len=32)
    with torch.no_grad():
        model(ids[:, :8], past_key_values=cache)
        for t in range(8, 12):
            step = compiled(ids[:, t : t + 1], past_key_values=cache)
        assert close(step.logits, model(ids).logits[:, -1:])


@pytest.mark.parametrize(
    ("cell", "time", "ratio"),
    [("mingru", 1, 4)] + [pytest.param(*x, marks=pytest.mark.slow) for x in (("minlstm", 1, 4), ("mingru", 3, 2))],
)
@needs_compiler
def test_inductor_does_not_overwrite_the_residual_stream_in_the_convolution(cell, time, ratio):
    """With this ratio the MLP needs a buffer of the same size as the convolution's inputs, which contain x."""
    torch._dynamo.reset()
    options = {"cell_type": cell, "intermediate_size": ratio * 16, "conv_kernel_size": 4, "conv_position": "residual"}
    model, ids = build("mingru", hidden_size=16, **options), token_ids(1, 8 + time)
    caches = [StaticCache(config=model.config, max_cache_len=32) for _ in range(2)]
    with torch.no_grad():
        for cache in caches:
            model(ids[:, :8], past_key_values=cache)
        want = model(ids[:, 8:], past_key_values=caches[0]).logits
        got = torch.compile(model, fullgraph=True)(ids[:, 8:], past_key_values=caches[1]).logits
    assert close(got, want)


class Logits(nn.Module):
    """Takes and returns plain tensors, as exporters require."""

    def __init__(self, model, name):
        super().__init__()
        self.model, self.name = model, name

    def forward(self, input_ids, other):
        return self.model(input_ids, use_cache=False, **({self.name: other} if self.name else {})).logits


GIVEN = (None, "attention_mask", "position_ids", "seq_idx")
QUICK = [(name, given, "auto") for name in ("mingru", "minlstm-paper") for given in GIVEN]
REST = sorted({(n, g, b) for n in NAMES for g in GIVEN for b in ("auto", "associative")} - set(QUICK), key=str)


@pytest.mark.parametrize(("name", "given", "backend"), QUICK + [pytest.param(*x, marks=pytest.mark.slow) for x in REST])
def test_exports_with_dynamic_batch_and_length(name, given, backend):
    model, ids = build(name, scan_backend=backend), token_ids(3, 12)
    batch, time = torch.export.Dim("batch", min=1, max=64), torch.export.Dim("time", min=2, max=1024)
    shapes = {"input_ids": {0: batch, 1: time}, "other": {0: batch, 1: time}}
    with torch.no_grad():
        program = torch.export.export(Logits(model, given), (ids, torch.ones_like(ids)), dynamic_shapes=shapes)
        for rows, length in ((1, 2), (2, 7), (5, 133)):
            ids, mask = pad(token_ids(rows, length), [list(range(row % 2, length)) for row in range(rows)], length)
            other = {
                "position_ids": torch.arange(length).expand(rows, -1) % 5,
                "seq_idx": torch.arange(length).expand(rows, -1) // 3,
            }.get(given, mask)
            want = model(ids, use_cache=False, **({given: other} if given else {})).logits
            got = program.module()(ids, other)
            kept = mask.bool() if given == "attention_mask" else torch.ones_like(mask).bool()
            assert close(got[kept], want[kept])


@pytest.mark.parametrize("backend", ["torch", "reference", "numba"])
def test_a_compiled_scan_rejects_wrong_cu_seqlens(backend):
    """The offsets are checked at run time, because a kernel with wrong offsets would access memory outside its tensors."""
    if backend == "numba":
        pytest.importorskip("numba")
    torch._dynamo.reset()
    scan = torch.compile(
        lambda x, bounds: minrnn_scan(x, "mingru", cu_seqlens=bounds, backend=backend), backend="eager"
    )
    projected = torch.randn(1, 8, 6)
    assert scan(projected, torch.tensor([0, 3, 8]))[0].shape == (1, 8, 3)
    for bounds in ([0, 3, 6], [0, 5, 2000], [-1, 3, 8], [0, 7, 3, 8]):
        with pytest.raises(ValueError, match="cu_seqlens must rise from 0 to the length 8"):
            scan(projected, torch.tensor(bounds))
