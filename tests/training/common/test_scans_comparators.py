# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
from importlib import metadata

import pytest
from torch import nn

from training.common import scans_comparators
from training.common.comparators import build, missing
from training.common.scans_comparators import SCANS

SIZE = {"vocab_size": 6, "hidden_size": 24, "num_layers": 3, "max_length": 16, "mlp": 4.0}
installed = pytest.mark.skipif(missing("scans-log", "cpu") is not None, reason="mingru-scans is not installed")


@installed
@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("scans-log", ["MinGRU"] * 3),
        ("scans-coupled", ["SignedMinGRU"] * 3),
        ("scans-rotation", ["RotationMinGRU"]),
        ("scans-signed-rotation", ["SignedMinGRU", "SignedMinGRU", "RotationMinGRU"]),
        ("scans-givens", ["GivensMinGRU"] * 3),
        ("scans-signed-delta-4", ["SignedMinGRU", "SignedMinGRU", "DeltaMinGRU"]),
    ],
)
def test_blocks_have_the_mixers_of_the_name(name, layers):
    blocks = build(name, **SIZE).model.stack.blocks
    assert [type(block.mingru).__name__ for block in blocks] == layers
    last = blocks[-1].mingru
    assert getattr(last, "coupled", False) is (name == "scans-coupled")
    assert getattr(last, "nh", 4) == 4 and getattr(last, "d_k", 16) == 16


@installed
def test_widths_are_multiples_and_the_mlp_takes_the_rest():
    found = {width: build("scans-givens", **SIZE | {"hidden_size": width}).model for width in (24, 29, 32)}
    assert {width: model.embed_tokens.embedding_dim for width, model in found.items()} == {24: 24, 29: 24, 32: 32}
    assert [model.stack.blocks[0].mlp[0].out_features for model in found.values()] == [96, 116, 128]
    bare = build("scans-rotation", **SIZE | {"hidden_size": 7, "mlp": 0.0}).model
    assert bare.embed_tokens.embedding_dim == 6 and bare.stack.blocks[0].mlp is None


@installed
def test_the_blocks_are_those_of_the_package():
    from mingru import MinGRUStack

    ours = build("scans-signed", **SIZE).model.stack
    theirs = MinGRUStack(24, 24, 3, mixer="signed")
    ours_shapes, theirs_shapes = (
        sorted(str(weight.shape) for weight in stack.parameters()) for stack in (ours, theirs)
    )
    assert ours_shapes == theirs_shapes
    assert [type(part) for part in ours.blocks[0].mlp] == [nn.Linear, nn.GELU, nn.Linear]


@installed
def test_two_kinds_of_mixers_need_two_layers():
    for name, (first, last, _, _) in SCANS.items():
        if first in (None, last):
            build(name, **SIZE | {"num_layers": 1})
        else:
            with pytest.raises(ValueError, match=f"{name} needs two layers or more"):
                build(name, **SIZE | {"num_layers": 1})


def test_a_missing_package_is_named(monkeypatch):
    def version(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(scans_comparators.metadata, "version", version)
    message = r'mingru-scans is not installed: run pip install -e "\.\[ecosystem\]"'
    assert missing("scans-delta", "cuda") == message.replace("\\", "")
    with pytest.raises(ImportError, match=message):
        build("scans-delta", **SIZE)
