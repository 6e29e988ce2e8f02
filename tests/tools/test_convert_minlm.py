# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Converted checkpoints of minGRU-pytorch's minLM equal its formulas, and its code if that is installed."""

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from support.checkpoint_cases import DIM, VOCAB
from support.checkpoint_cases import minlm as make

from hf_minrnn import MinRNNForCausalLM
from hf_minrnn.tools.convert import convert
from hf_minrnn.tools.convert_minlm import read_config

CASES = [
    # cell, depth, expansion, kernel (0 for no convolution), ff_mult
    ("mingru", 1, 1.0, 0, 4),
    ("mingru", 3, 1.5, 0, 4),
    ("mingru", 2, 2.25, 3, 2),
    ("mingru", 2, 1.0, 4, 4),
    ("minlstm", 1, 1.0, 0, 4),
    ("minlstm", 3, 1.5, 3, 4),
    ("minlstm", 2, 0.5, 1, 1.5),
    ("minlstm", 2, 1.01, 2, 3),  # int(8 * 1.01) is 8, but it has an output projection
]
cases = pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))


def rms_norm(x, w, name):
    length = x.pow(2).sum(-1, keepdim=True)
    if f"{name}.gamma" in w:
        return x / length.sqrt() * x.shape[-1] ** 0.5 * (w[f"{name}.gamma"] + 1)
    return x / (length / x.shape[-1] + 2.0**-23).sqrt() * w[f"{name}.weight"]


def defined_logits(tensors, ids):
    """Returns the logits `(time, vocab)` in float64 for one row of ids, computed token by token from the original weights."""
    w = {name: tensor.double() for name, tensor in tensors.items()}
    depth = 1 + max(int(name.split(".")[1]) for name in w if name.startswith("layers."))
    past, states, out = [[] for _ in range(depth)], [0.0] * depth, []
    for token in ids.tolist():
        x = w["token_emb.weight"][token]
        for n in range(depth):
            layer = f"layers.{n}"
            if f"{layer}.0.net.0.weight" in w:
                past[n].append(x)
                kernel = w[f"{layer}.0.net.0.weight"][:, 0]
                y = w[f"{layer}.0.net.0.bias"]
                for back, seen in enumerate(reversed(past[n][-kernel.shape[1] :])):
                    y = y + kernel[:, kernel.shape[1] - 1 - back] * seen
                x = x + w[f"{layer}.0.net.1.weight"][:, :, 0] @ y + w[f"{layer}.0.net.1.bias"]
            y = rms_norm(x, w, f"{layer}.1")
            if f"{layer}.2.to_hidden_and_gate.weight" in w:
                hidden, gate = (w[f"{layer}.2.to_hidden_and_gate.weight"] @ y).chunk(2)
                new = torch.sigmoid(gate)
                decay = 1 - new
            else:
                hidden, forget, enter = (w[f"{layer}.2.to_hidden_and_f_i_gate.weight"] @ y).chunk(3)
                both = torch.sigmoid(forget) + torch.sigmoid(enter)
                decay, new = torch.sigmoid(forget) / both, torch.sigmoid(enter) / both
            y = states[n] = decay * states[n] + new * torch.where(hidden >= 0, hidden + 0.5, torch.sigmoid(hidden))
            x = x + (w[f"{layer}.2.to_out.weight"] @ y if f"{layer}.2.to_out.weight" in w else y)
            y = F.gelu(w[f"{layer}.4.0.weight"] @ rms_norm(x, w, f"{layer}.3") + w[f"{layer}.4.0.bias"])
            x = x + w[f"{layer}.4.2.weight"] @ y + w[f"{layer}.4.2.bias"]
        out.append(w["to_logits.weight"] @ rms_norm(x, w, "norm"))
    return torch.stack(out)


def converted(tensors, tmp_path):
    torch.save(tensors, tmp_path / "minlm.pt")
    convert(tmp_path / "minlm.pt", tmp_path / "folder")
    model, info = MinRNNForCausalLM.from_pretrained(tmp_path / "folder", output_loading_info=True)
    assert not any(info.values()), info
    return model.eval()


def some_ids(time=17):
    return torch.randint(VOCAB, (2, time), generator=torch.Generator().manual_seed(1))


@cases
@pytest.mark.parametrize("norm", ["weight", "gamma"])
def test_logits_are_those_of_the_formulas(case, norm, tmp_path):
    tensors, ids = make(*case, norm=norm), some_ids()
    with torch.no_grad():
        got = converted(tensors, tmp_path)(ids).logits
    expected = torch.stack([defined_logits(tensors, row) for row in ids])
    assert expected.abs().max() > 1
    torch.testing.assert_close(got.double(), expected, atol=1e-4, rtol=0)


@cases
def test_logits_are_those_of_the_original(case, tmp_path):
    pytest.importorskip("minGRU_pytorch")
    from minGRU_pytorch.minLM import minLM

    cell, depth, expansion, kernel, ff_mult = case
    torch.manual_seed(0)
    original = minLM(
        num_tokens=VOCAB,
        dim=DIM,
        depth=depth,
        ff_mult=ff_mult,
        expansion=expansion,
        conv_kernel_size=kernel or 3,
        use_lstm=cell == "minlstm",
        enable_conv=kernel > 0,
        dropout=0.5,  # not stored in a state dict
    ).eval()
    tensors = make(*case)
    assert {k: v.shape for k, v in original.state_dict().items()} == {k: v.shape for k, v in tensors.items()}
    for weights in (tensors, original.state_dict()):
        original.load_state_dict(weights)
        (tmp_path / "minlm.pt").unlink(missing_ok=True)
        folder = tmp_path / ("drawn" if weights is tensors else "fresh")
        torch.save({"step": 1, "model": original.state_dict()}, tmp_path / "minlm.pt")
        convert(tmp_path / "minlm.pt", folder)
        model = MinRNNForCausalLM.from_pretrained(folder).eval()
        for time in (1, 2, 40):
            ids = some_ids(time)
            with torch.no_grad():
                torch.testing.assert_close(model(ids).logits, original(ids), atol=1e-4, rtol=0)


def test_the_recurrent_form_computes_the_same(tmp_path):
    tensors, ids = make(*CASES[5]), some_ids()
    model = converted(tensors, tmp_path)
    with torch.no_grad():
        first = model(ids[:, :9])
        rest = [first.logits]
        cache = first.past_key_values
        for t in range(9, ids.shape[1]):
            rest.append(model(ids[:, t : t + 1], past_key_values=cache).logits)
    expected = torch.stack([defined_logits(tensors, row) for row in ids])
    torch.testing.assert_close(torch.cat(rest, 1).double(), expected, atol=1e-4, rtol=0)
    assert model.generate(ids, max_new_tokens=3, do_sample=False).shape == (2, 20)


@pytest.mark.parametrize("wrapper", ["model", "state_dict", "model_state_dict", None, "safetensors"])
def test_any_wrapper_gives_the_same_folder(wrapper, tmp_path):
    tensors = make(*CASES[1])
    if wrapper == "safetensors":
        save_file(tensors, tmp_path / "minlm.safetensors")
    else:
        content = {"optimizer": {"lr": 0.1}, "epoch": 3, wrapper: tensors} if wrapper else tensors
        torch.save(content, tmp_path / "minlm.safetensors.pt")
    (path,) = tmp_path.iterdir()
    config = convert(str(path), str(tmp_path / "new" / "folder"))
    assert (config.num_hidden_layers, config.state_size, config.output_projection) == (3, 12, True)
    weights = MinRNNForCausalLM.from_pretrained(tmp_path / "new" / "folder").state_dict()
    assert torch.equal(weights["lm_head.weight"], tensors["to_logits.weight"])
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["folder"]  # no temporary folder is left


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod."])
def test_wrapped_models_give_the_same_weights(prefix, tmp_path):
    tensors = make(*CASES[1])
    weights = converted({prefix + name: tensor for name, tensor in tensors.items()}, tmp_path).state_dict()
    torch.save(tensors, tmp_path / "bare.pt")
    convert(tmp_path / "bare.pt", tmp_path / "bare")
    wanted = MinRNNForCausalLM.from_pretrained(tmp_path / "bare").state_dict()
    assert weights.keys() == wanted.keys() and all(torch.equal(weights[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_dtype_is_kept(dtype, tmp_path):
    tensors = {name: tensor.to(dtype) for name, tensor in make(*CASES[3]).items()}
    model = converted(tensors, tmp_path)
    assert model.dtype == dtype
    assert model.config.rms_norm_eps == (2.0**-52 if dtype == torch.float64 else 2.0**-23)


def test_tied_tensors_are_written_twice(tmp_path):
    tensors = make(*CASES[0])
    tensors["to_logits.weight"] = tensors["token_emb.weight"]
    weights = converted(tensors, tmp_path).state_dict()
    assert torch.equal(weights["lm_head.weight"], tensors["token_emb.weight"])
    assert torch.equal(weights["model.embed_tokens.weight"], tensors["token_emb.weight"])


def without(*names):
    return lambda tensors: {k: v for k, v in tensors.items() if k not in names}


def with_(**added):
    return lambda tensors: tensors | {k.replace("__", "."): v for k, v in added.items()}


FOREIGN = {
    "one is missing": (without("layers.1.4.2.bias"), r"missing layers\.1\.4\.2\.bias$"),
    "one layer's output projection is missing": (without("layers.2.2.to_out.weight"), r"missing layers\.2\.2\.to_out"),
    "a middle layer is missing": (
        lambda tensors: {k: v for k, v in tensors.items() if not k.startswith("layers.1.")},
        r"missing layers\.1\.1\.weight",
    ),
    "one is unexpected": (with_(pos_emb__weight=torch.ones(2)), r"unexpected pos_emb\.weight$"),
    "a layer number is absurd": (with_(layers__999999999__1__weight=torch.ones(DIM)), r"unexpected layers\.999999999"),
    "attention next to the cells": (
        with_(layers__0__5__to_qkv__weight=torch.ones(2)),
        r"unexpected layers\.0\.5\.to_qkv",
    ),
    "both cells": (with_(layers__0__2__to_hidden_and_f_i_gate__weight=torch.ones(36, 8)), r"unexpected .*f_i_gate"),
    "both norms": (with_(norm__gamma=torch.ones(DIM)), r"unexpected norm\.gamma$"),
    "something else": (
        lambda _: {"transformer.h.0.weight": torch.ones(2)},
        r"missing token_emb.*unexpected transformer",
    ),
    "a shape": (
        with_(layers__2__4__0__weight=torch.ones(31, 8)),
        r"layers\.2\.4\.0\.weight \(31, 8\) instead of \(32, 8\)",
    ),
    "a scalar": (with_(token_emb__weight=torch.tensor(1.0)), r"token_emb\.weight \(\) instead of"),
    "an uneven projection": (
        with_(layers__0__2__to_hidden_and_gate__weight=torch.ones(25, 8)),
        r"to_hidden_and_gate\.weight \(25, 8\) instead of \(24, 8\)",
    ),
    "no output projections": (
        lambda tensors: {k: v for k, v in tensors.items() if "to_out" not in k},
        r"to_hidden_and_gate\.weight \(24, 8\) instead of \(16, 8\)",
    ),
    "a dtype": (with_(norm__weight=torch.ones(DIM).half()), r"one floating dtype.*float16, torch\.float32"),
    "integers": (lambda tensors: {k: v.long() for k, v in tensors.items()}, r"one floating dtype.*int64"),
    "two models": (
        lambda tensors: tensors | {f"module.{name}": tensor for name, tensor in tensors.items()},
        r"token_emb\.weight and module\.token_emb\.weight are names of the same tensor",
    ),
    "no data": (
        lambda tensors: {k: v.to("meta") for k, v in tensors.items()},
        r"no data \(meta device\) in token_emb\.weight, ",
    ),
    "sparse": (lambda tensors: tensors | {"norm.weight": torch.ones(DIM).to_sparse()}, r"not dense: norm\.weight"),
}


@pytest.mark.parametrize("change, message", FOREIGN.values(), ids=FOREIGN)
def test_other_state_dicts_are_rejected_by_name(change, message, tmp_path):
    torch.save(change(make(*CASES[1])), tmp_path / "minlm.pt")
    with pytest.raises(ValueError, match=message):
        convert(tmp_path / "minlm.pt", tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["minlm.pt"]


def test_a_feed_forward_part_of_width_0_is_rejected():
    with pytest.raises(ValueError, match=r"no entries in layers\.0\.4\.0\.weight, layers\.0\.4\.0\.bias"):
        read_config(make("mingru", 1, 1.0, 0, 0))
