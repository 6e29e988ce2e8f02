# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Values of --config."""

import argparse

import pytest

from training.common.errors import InputError
from training.lm.options import parse_arguments


def test_config_values_are_parsed():
    args = parse_arguments(["--config", "a=1", "b=true", "c=silu", "d=None", "e=0.5"])
    assert args.config == {"a": 1, "b": True, "c": "silu", "d": None, "e": 0.5}
    assert isinstance(args, argparse.Namespace)
    with pytest.raises(InputError, match="KEY=VALUE"):
        parse_arguments(["--config", "a"])
