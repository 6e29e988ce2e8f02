# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The public API for type checkers. `typed_usage.py` says how to run them."""

import inspect
from pathlib import Path

from support import typed_usage
from transformers import PreTrainedModel

import hf_minrnn
from hf_minrnn.cells import CELLS
from hf_minrnn.gates import CELL_TYPES

CLASSES = [value for value in (getattr(hf_minrnn, name) for name in hf_minrnn.__all__) if isinstance(value, type)]


def test_the_documented_calls_run(tmp_path):
    try:
        typed_usage.run(tmp_path)
    finally:  # other tests must not see its cell
        CELLS.pop("average", None)
        CELL_TYPES[:] = [name for name in CELL_TYPES if name != "average"]


def test_every_public_name_is_in_typed_usage():
    text = Path(typed_usage.__file__).read_text()
    assert not [name for name in hf_minrnn.__all__ if text.count(name) < 2]  # the import and at least one use


def test_public_methods_have_their_own_signatures():
    """functools.wraps gives a method the type of the wrapped function with `self`, so checkers reject every call."""
    found = {}
    for cls in CLASSES:
        for base in cls.__mro__:
            if base.__module__.startswith("hf_minrnn"):
                found |= {f"{base.__name__}.{name}": value for name, value in vars(base).items() if name[0] != "_"}
    methods = {name: value for name, value in found.items() if inspect.isfunction(value)}
    assert {"MinRNNPreTrainedModel.save_pretrained", "MinRNNGenerationMixin.generate"} <= methods.keys()
    # The decorator of forward comes from transformers, which types it as a function that takes any arguments.
    wrapped = {name for name, value in methods.items() if hasattr(value, "__wrapped__")}
    assert {name for name in wrapped if not name.endswith(".forward")} == set()
    for name, value in methods.items():
        parameters = list(inspect.signature(value, follow_wrapped=False).parameters.values())
        assert parameters[0].name == "self" and parameters[0].kind is not parameters[0].VAR_POSITIONAL, name


def test_overrides_take_the_parameters_of_transformers():
    for name in ("save_pretrained", "push_to_hub"):
        theirs = inspect.signature(getattr(PreTrainedModel, name)).parameters
        ours = inspect.signature(getattr(hf_minrnn.MinRNNPreTrainedModel, name)).parameters
        assert any(parameter.kind is parameter.VAR_KEYWORD for parameter in ours.values())
        named = [key for key, parameter in ours.items() if parameter.kind is not parameter.VAR_KEYWORD]
        assert named == list(theirs)[: len(named)]
        assert [ours[key].default for key in named] == [theirs[key].default for key in named]
