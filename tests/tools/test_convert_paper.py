# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Converted checkpoints of the paper's layers equal the formulas, computed token by token in float64."""

import math
import re

import pytest
import torch
from safetensors.torch import save_file
from support.checkpoint_cases import DIM, VOCAB, minlm, paper

from hf_minrnn import MinRNNForCausalLM
from hf_minrnn.tools.convert import Options, convert, read_model
from hf_minrnn.tools.convert_paper import IN_LAYER, TOP, describe, find, read

CASES = [
    # cell, depth, expansion, kernel (0 for no convolution), ff_mult (0 for no feed-forward)
    ("mingru", 1, 1.0, 0, 0),
    ("mingru", 3, 6.0, 0, 0),
    ("mingru", 2, 0.5, 4, 0),
    ("mingru", 2, 1.0, 3, 4),
    ("mingru", 2, 2.0, 0, 4),  # the gates and the up projection have the same shape
    ("minlstm", 1, 1.0, 0, 0),
    ("minlstm", 3, 6.0, 0, 0),
    ("minlstm", 2, 1.5, 0, 2.5),
    ("minlstm", 2, 2.25, 1, 0),
    ("minlstm", 2, 1.0, 4, 4),
]
cases = pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
ORDER = {"mingru": "gc", "minlstm": "fic"}
MINGRU, MINLSTM = paper("mingru", 2, 1.5), paper("minlstm", 2, 1.5)


def gelu(x):
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def defined_logits(tensors, ids, order, normalized=True, g=True, forget_bias=0.0, start=0.0, act=gelu, eps=2.0**-23):
    """Returns the logits `(time, vocab)` in float64 for one row of ids, computed token by token.

    `order` has one letter per block of the gates' weights: g(ate), c(andidate), f(orget), i(nput).
    """
    w = {name: tensor.double() for name, tensor in tensors.items()}

    def norm(x, name):
        return x / (x.pow(2).mean() + eps).sqrt() * w[f"{name}.weight"]

    def linear(x, name):
        return w[f"{name}.weight"] @ x + w.get(f"{name}.bias", 0)

    depth = 1 + max(int(name.split(".")[1]) for name in w if name.startswith("layers."))
    seen, states, out = [[] for _ in range(depth)], [start] * depth, []
    for token in ids.tolist():
        x = w["embedding.weight"][token]
        for n in range(depth):
            layer = f"layers.{n}"
            if f"{layer}.conv.depthwise.weight" in w:
                seen[n].append(x)
                kernel = w[f"{layer}.conv.depthwise.weight"][:, 0].unbind(1)
                # The kernel's last entry is for the current token.
                y = sum(k * past for k, past in zip(reversed(kernel), reversed(seen[n])))
                y = y + w.get(f"{layer}.conv.depthwise.bias", 0)
                x = x + w[f"{layer}.conv.pointwise.weight"].reshape(DIM, DIM) @ y
                x = x + w.get(f"{layer}.conv.pointwise.bias", 0)
            y = linear(norm(x, f"{layer}.norm"), f"{layer}.rnn.gates")
            blocks = dict(zip(order, y.chunk(len(order))))
            if "g" in blocks:
                new = torch.sigmoid(blocks["g"])
                keep = 1 - new
            else:
                keep, new = torch.sigmoid(blocks["f"] + forget_bias), torch.sigmoid(blocks["i"])
                if normalized:
                    keep, new = keep / (keep + new), new / (keep + new)
            candidate = blocks["c"]
            if g:
                candidate = torch.where(candidate >= 0, candidate + 0.5, torch.sigmoid(candidate))
            states[n] = keep * states[n] + new * candidate
            x = x + linear(states[n], f"{layer}.rnn.out")
            if f"{layer}.ff.up.weight" in w:
                x = x + linear(act(linear(norm(x, f"{layer}.ff_norm"), f"{layer}.ff.up")), f"{layer}.ff.down")
        out.append(w["head.weight"] @ norm(x, "final_norm"))
    return torch.stack(out)


def some_ids(time=17):
    return torch.randint(VOCAB, (2, time), generator=torch.Generator().manual_seed(1))


def converted(tensors, tmp_path, **options):
    torch.save(tensors, tmp_path / "paper.pt")
    convert(tmp_path / "paper.pt", tmp_path / "folder", Options(**options))
    model, info = MinRNNForCausalLM.from_pretrained(tmp_path / "folder", output_loading_info=True)
    assert not any(info.values()), info
    return model.eval()


def check(tensors, tmp_path, options, **definition):
    """Converts the tensors with `options` and compares the logits with `defined_logits(..., **definition)`."""
    ids = some_ids()
    with torch.no_grad():
        got = converted(tensors, tmp_path, **options)(ids).logits
    expected = torch.stack([defined_logits(tensors, row, **definition) for row in ids])
    assert expected.abs().max() > 1
    torch.testing.assert_close(got.double(), expected, atol=1e-4, rtol=0)
    return expected


@cases
def test_logits_are_those_of_the_formulas(case, tmp_path):
    check(paper(*case), tmp_path, {}, order=ORDER[case[0]])


@pytest.mark.parametrize("case", [case for case in CASES if case[0] == "minlstm"], ids=lambda c: "-".join(map(str, c)))
def test_gates_that_are_not_normalized(case, tmp_path):
    check(paper(*case), tmp_path, {"normalize_gates": False}, order="fic", normalized=False)


def test_selective_copying_as_published(tmp_path):
    """The minLSTM of the official code (64 dimensions, expansion 6, 3 layers, 16 tokens), which adds the forget bias itself."""
    generator = torch.Generator().manual_seed(3)
    shapes = {"embedding.weight": (16, 64), "final_norm.weight": (64,), "head.weight": (16, 64)}
    for n in range(3):
        layer = {"norm.weight": (64,), "rnn.gates.weight": (3 * 384, 64), "rnn.gates.bias": (3 * 384,)}
        layer |= {"rnn.out.weight": (64, 384), "rnn.out.bias": (64,)}
        shapes |= {f"layers.{n}.{name}": shape for name, shape in layer.items()}
    tensors = {
        name: torch.randn(shape, generator=generator) / (shape[-1] ** 0.5 if len(shape) > 1 else 1)
        for name, shape in shapes.items()
    }
    model = converted(tensors, tmp_path, normalize_gates=False, forget_bias=3.0)
    assert (model.config.state_size, model.config.conv_kernel_size, model.config.intermediate_size) == (384, 0, 0)
    ids = torch.randint(16, (1, 100), generator=generator)
    with torch.no_grad():
        got = model(ids).logits[0].double()
    expected = defined_logits(tensors, ids[0], "fic", normalized=False, forget_bias=3.0)
    assert expected.abs().max() > 1
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=0)


FULL = {"mingru": paper("mingru", 2, 1.5, 3, 4), "minlstm": paper("minlstm", 2, 1.5, 3, 4)}
OPTIONS = {
    # cell, options of the conversion, arguments of `defined_logits`
    "mingru order": ("mingru", {"order": ("candidate", "gate")}, {"order": "cg"}),
    "minlstm order": ("minlstm", {"order": ("candidate", "forget", "input")}, {"order": "cfi"}),
    "minlstm other order": ("minlstm", {"order": ("input", "candidate", "forget"), "forget_bias": 3}, {"order": "icf"}),
    "identity": ("mingru", {"candidate_activation": "identity"}, {"g": False}),
    "forget bias": ("minlstm", {"forget_bias": 3.0}, {}),
    "initial state of g": ("mingru", {"initial_state": 0.5}, {"start": 0.5}),
    "low initial state": ("minlstm", {"initial_state": 0.1}, {"start": 0.1}),
    "high initial state": ("minlstm", {"initial_state": 2.0}, {"start": 2.0}),
    "initial state of identity": (
        "mingru",
        {"initial_state": -1.5, "candidate_activation": "identity"},
        {"start": -1.5, "g": False},
    ),
    "activation": ("mingru", {"hidden_act": "relu"}, {"act": torch.relu}),
    "eps": ("mingru", {"rms_norm_eps": 0.125}, {"eps": 0.125}),
}


@pytest.mark.parametrize("cell, options, definition", OPTIONS.values(), ids=OPTIONS)
def test_options(cell, options, definition, tmp_path):
    definition = {
        "forget_bias": options.get("forget_bias", 0.0),
        "order": ORDER[cell],
    } | definition
    expected = check(FULL[cell], tmp_path, options, **definition)
    plain = torch.stack([defined_logits(FULL[cell], row, ORDER[cell]) for row in some_ids()])
    assert (expected - plain).abs().max() > 1e-2  # the comparison above would fail without the option


@pytest.mark.parametrize("without", ["rnn.out", "conv.depthwise", "conv.pointwise", "ff.up", "ff.down", ""])
def test_biases_may_be_missing(without, tmp_path):
    tensors = {
        name: tensor
        for name, tensor in FULL["minlstm"].items()
        if not name.endswith(".bias") or "gates" in name or (without and without not in name)
    }
    assert len(tensors) == len(FULL["minlstm"]) - 2 * (1 if without else 5)
    check(tensors, tmp_path, {}, order="fic")


def renamed(tensors, pairs, prefix=""):
    for old, new in pairs.items():
        tensors = {re.sub(rf"(?<![^.]){re.escape(old)}(?![^.])", new, name): value for name, value in tensors.items()}
    return {prefix + name: value for name, value in tensors.items()}


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "_orig_mod.", "module.model._orig_mod."])
def test_other_names_give_the_same_weights(prefix):
    tensors = FULL["minlstm"]
    other = {"layers": "blocks", "rnn.gates": "cell.in_proj", "rnn.out": "cell.out_proj", "ff_norm": "norm2"}
    other |= {"norm": "norm1", "ff.up": "mlp.0", "ff.down": "mlp.3", "conv.depthwise": "conv.0", "embedding": "emb"}
    other |= {"conv.pointwise": "conv.1", "final_norm": "norm", "head": "lm_head"}
    own = read(tensors)[1]
    for file in (
        renamed(tensors, {}, prefix),
        renamed(tensors, other, prefix),
        renamed(tensors, {"rnn.gates": "_orig_mod.rnn.gates", "final_norm.weight": "norm"}, prefix),
    ):
        assert file.keys() != tensors.keys() or not prefix
        theirs = read(file)[1]
        assert theirs.keys() == own.keys() and all(torch.equal(theirs[name], own[name]) for name in own)


def test_names_can_be_given():
    tensors = renamed(
        FULL["minlstm"],
        {
            "layers": "net.steps",
            "norm.weight": "pre.scale",
            "rnn.gates": "2.linear",
            "embedding": "tokens",
            "head": "h",
        },
    )
    with pytest.raises(ValueError, match=r"left over tokens\.weight \(13, 8\), net\.steps\.0\.conv"):
        read(tensors)
    names = {"layers": "net.steps", "norm": "pre.scale", "gates": "2.linear", "embedding": "model.tokens", "head": "h"}
    own, theirs = read(FULL["minlstm"])[1], read(tensors, Options(names=names))[1]
    assert all(torch.equal(theirs[name], own[name]) for name in own)
    # A given name replaces those in the table. Here the names of the two norms are swapped.
    swapped = renamed(FULL["minlstm"], {"ff_norm": "norm1", "norm": "norm2"})
    theirs = read(swapped, Options(names={"ff_norm": "norm1", "norm": "norm2"}))[1]
    assert all(torch.equal(theirs[name], own[name]) for name in own)


@pytest.mark.parametrize(
    "names, message",
    [
        ({"gate": "x"}, "unknown part gate: the parts are layers, embedding"),
        ({"norm": "x", "ff_norm": "x"}, "one name for two parts: norm=x, ff_norm=x"),
        ({"gates": "nothing"}, r"missing layers\.0\.gates\.weight, .*left over layers\.0\.rnn\.gates\.weight"),
    ],
)
def test_invalid_names_are_rejected(names, message):
    with pytest.raises(ValueError, match=message):
        read(MINGRU, Options(names=names))


def test_each_name_in_the_table_belongs_to_one_part():
    for roles in (TOP, IN_LAYER):
        paths = [path for role in roles.values() for path in role.paths()]
        assert len(paths) == len(set(paths))
    for role, names in IN_LAYER.items():
        for path in names.paths():
            assert find([f"blocks.0.{path}.weight", "a", "b"])[0] == {
                f"layers.0.{role}.weight": f"blocks.0.{path}.weight"
            }
    for role, names in (TOP | IN_LAYER).items():
        assert re.search(rf"^ +{role} +\S*\({names.names.split()[0]}\|", describe(), re.M)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_dtype_is_kept(dtype, tmp_path):
    tensors = {name: tensor.to(dtype) for name, tensor in MINLSTM.items()}
    model = converted(tensors, tmp_path, forget_bias=3.0, initial_state=0.5)
    assert model.dtype == dtype
    assert model.config.rms_norm_eps == (2.0**-52 if dtype == torch.float64 else 2.0**-23)


def test_safetensors_and_pointwise_linear_and_tied_embeddings(tmp_path):
    own = FULL["mingru"] | {"head.weight": FULL["mingru"]["embedding.weight"].clone()}
    flat = {name: value.squeeze(-1) if "pointwise.weight" in name else value for name, value in own.items()}
    save_file(flat, tmp_path / "flat.safetensors")
    torch.save({"state_dict": own | {"head.weight": own["embedding.weight"]}}, tmp_path / "own.bin")
    convert(tmp_path / "flat.safetensors", tmp_path / "flat")
    convert(tmp_path / "own.bin", tmp_path / "own")
    first, second = (MinRNNForCausalLM.from_pretrained(tmp_path / name).state_dict() for name in ("flat", "own"))
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_the_recurrent_form_computes_the_same(tmp_path):
    tensors, ids = FULL["minlstm"], some_ids()
    model = converted(tensors, tmp_path, normalize_gates=False, initial_state=0.5)
    with torch.no_grad():
        first = model(ids[:, :9])
        rest = [first.logits]
        for t in range(9, ids.shape[1]):
            rest.append(model(ids[:, t : t + 1], past_key_values=first.past_key_values).logits)
    expected = torch.stack([defined_logits(tensors, row, "fic", normalized=False, start=0.5) for row in ids])
    torch.testing.assert_close(torch.cat(rest, 1).double(), expected, atol=1e-4, rtol=0)


def without(*names):
    return {name: value for name, value in MINGRU.items() if name not in names}


FOREIGN = {
    "one is missing": (without("layers.1.rnn.gates.bias"), r"missing layers\.1\.gates\.bias; hf-minrnn"),
    "a bias is missing in one layer": (without("layers.1.rnn.out.bias"), r"missing layers\.1\.out\.bias; hf-minrnn"),
    "no embedding": (without("embedding.weight"), r"missing embedding\.weight; hf-minrnn"),
    "a head that is tied": (without("head.weight"), r"missing head\.weight; hf-minrnn"),
    "a middle layer is missing": (
        {name: value for name, value in paper("mingru", 3, 1.5).items() if not name.startswith("layers.1.")},
        r"missing layers\.1\.norm\.weight, layers\.1\.gates\.weight",
    ),
    "half of a convolution": (
        MINGRU | {f"layers.{n}.conv.depthwise.weight": torch.ones(DIM, 1, 3) for n in range(2)},
        r"missing layers\.0\.pointwise\.weight, layers\.1\.pointwise\.weight; hf-minrnn",
    ),
    "half of a feed-forward": (
        MINGRU | {"layers.0.ff.up.weight": torch.ones(32, DIM)},
        r"missing layers\.0\.ff_norm\.weight, layers\.0\.ff_down\.weight, layers\.1\.ff_norm",
    ),
    "one is left over": (MINGRU | {"wpe.weight": torch.ones(9, DIM)}, r"left over wpe\.weight \(9, 8\); hf-minrnn"),
    "a bias of the embedding": (MINGRU | {"embedding.bias": torch.ones(DIM)}, r"left over embedding\.bias"),
    "two names for one part": (MINGRU | {"emb.weight": MINGRU["embedding.weight"]}, r"left over emb\.weight \(13, 8\)"),
    "an absurd layer": (MINGRU | {"layers.999999999.norm.weight": torch.ones(8)}, r"left over layers\.999999999"),
    "attention": (
        {
            name.replace("rnn.gates", "attn.in_proj").replace("rnn.out", "attn.out_proj"): v
            for name, v in MINLSTM.items()
        },
        r"missing layers\.0\.gates\.weight, .*left over layers\.0\.attn\.in_proj\.weight \(36, 8\)",
    ),
    "LayerNorm": (
        MINGRU | {f"layers.{n}.norm.bias": torch.zeros(DIM) for n in range(2)},
        r"RMSNorms and a head without bias; it cannot hold layers\.0\.norm\.bias \(a norm with a bias is a LayerNorm\)",
    ),
    "final LayerNorm": (
        MINGRU | {"final_norm.bias": torch.zeros(DIM)},
        r"it cannot hold final_norm\.bias \(a norm with a bias is a LayerNorm\)",
    ),
    "head with bias": (
        MINGRU | {"head.bias": torch.zeros(VOCAB)},
        r"it cannot hold head\.bias \(the head has no bias\)",
    ),
    "a shape": (MINGRU | {"layers.1.norm.weight": torch.ones(7)}, r"layers\.1\.norm\.weight \(7,\) instead of \(8,\)"),
    "another vocabulary": (MINGRU | {"head.weight": torch.ones(14, 8)}, r"head\.weight \(14, 8\) instead of \(13, 8\)"),
    "a scalar": (MINGRU | {"embedding.weight": torch.tensor(1.0)}, r"embedding\.weight \(\) instead of"),
    "another scalar": (
        FULL["mingru"] | {f"layers.{n}.conv.pointwise.weight": torch.tensor(1.0) for n in range(2)},
        r"layers\.0\.conv\.pointwise\.weight \(\) instead of \(8, 8, 1\)",
    ),
    "four blocks": (
        MINGRU | {"layers.0.rnn.gates.weight": torch.ones(48, 8)},
        r"layers\.0\.rnn\.gates\.weight has 48 rows, neither 2 nor 3 times the 12 columns of layers\.0\.rnn\.out\.weight",
    ),
    "both cells": (
        MINGRU | {"layers.1.rnn.gates.weight": torch.ones(36, 8)},
        r"layers\.1\.rnn\.gates\.weight \(36, 8\) instead of \(24, 8\)",
    ),
    "nothing at all": (
        {name: value[:0] for name, value in MINGRU.items()},
        r"layers\.0\.rnn\.gates\.weight has 0 rows|no entries in",
    ),
    "dtypes": (MINGRU | {"head.weight": MINGRU["head.weight"].half()}, r"one floating dtype.*float16, torch\.float32"),
    "integers": ({name: value.long() for name, value in MINGRU.items()}, r"one floating dtype.*int64"),
    "sparse": (MINGRU | {"head.weight": MINGRU["head.weight"].to_sparse()}, r"not dense: head\.weight"),
    "nn.GRU": (
        {f"rnn.{name}": value for name, value in torch.nn.GRU(8, 8).state_dict().items()},
        r"minLM: missing .*unexpected rnn\.weight_ih_l0.*paper's layers: missing .*left over rnn\.weight_ih_l0 \(24, 8\)",
    ),
    "minLM within another name": (
        {f"net.{name}": value for name, value in minlm("mingru", 1, 1.0, 0, 4).items()},
        r"minLM: missing .*paper's layers: missing .*left over net\.token_emb\.weight",
    ),
}


@pytest.mark.parametrize("tensors, message", FOREIGN.values(), ids=FOREIGN)
def test_other_state_dicts_are_rejected_by_name(tensors, message, tmp_path):
    torch.save(tensors, tmp_path / "paper.pt")
    with pytest.raises(ValueError, match=message):
        convert(tmp_path / "paper.pt", tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["paper.pt"]


@pytest.mark.parametrize(
    "tensors, options, message",
    [
        (MINGRU, {"order": ("forget", "input", "candidate")}, "the gates of this mingru have gate, candidate"),
        (MINLSTM, {"order": ("forget", "input")}, "order forget,input: the gates of this minlstm have"),
        (MINLSTM, {"order": ("forget", "forget", "candidate")}, "forget, input, candidate, in any order"),
        (MINGRU, {"normalize_gates": False}, "are for minLSTM"),
        (MINGRU, {"forget_bias": 3.0}, "are for minLSTM"),
        (MINGRU, {"candidate_activation": "tanh"}, "g or identity, got 'tanh'"),
        (MINLSTM, {"forget_bias": math.nan}, "forget_bias nan"),
        (MINGRU, {"initial_state": math.inf}, "initial_state inf must be finite"),
        (MINGRU, {"initial_state": -0.5}, "must not be negative with candidate g"),
        (MINGRU, {"hidden_act": "nonsense"}, "one of transformers' activations without parameters, got 'nonsense'"),
        (MINGRU, {"hidden_act": "prelu"}, "one of transformers' activations without parameters, got 'prelu'"),
        (MINGRU, {"rms_norm_eps": 0.0}, "positive and finite, got 0.0"),
    ],
)
def test_invalid_options_are_rejected(tensors, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        read(tensors, Options(**options))


def test_the_used_options_are_listed(tmp_path):
    tensors = {name: value.clone() for name, value in MINLSTM.items()}
    for n in range(2):
        tensors[f"layers.{n}.rnn.gates.bias"].chunk(3)[2].fill_(2.5 + n)
    torch.save(tensors, tmp_path / "paper.pt")
    options = Options(order=("input", "candidate", "forget"), normalize_gates=False, forget_bias=3.0)
    assert read_model(tmp_path / "paper.pt", options).taken == [
        "gates in the order input, candidate, forget",
        "not normalized",
        "forget bias +3 added to stored ones of mean 3.00",
        "candidate g",
        "initial state 0",
        "RMSNorm with eps 1.19e-07",
    ]
    assert read(FULL["mingru"])[2] == [
        "gates in the order gate, candidate",
        "candidate g",
        "initial state 0",
        "activation gelu",
        "RMSNorm with eps 1.19e-07",
    ]
