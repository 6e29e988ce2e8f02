# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
import doctest
import json
import shlex

import pytest

from training.lm import run_facts
from training.lm.options import parse_arguments


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["--cell-type", "minlstm", "--steps", "7", "--betas", "0.8", "0.9", "--dropout", "0.1", "--bf16"],
        ["--dataset", "my text.txt", "--tokenizer", "chars", "--batching", "windows", "--minutes", "0.5"],
        ["--dataset", "me/texts", "--streaming", "--stateful", "--shuffle-buffer", "5", "--heldout-documents", "3"],
        ["--config", "gated_mlp=false", "hidden_act=gelu", "gate_bias=1.5", "--block", "paper", "--no-baselines"],
    ],
)
def test_the_command_gives_the_same_arguments(argv):
    args = parse_arguments(argv)
    watched = parse_arguments([*argv, "--resume", "--trackers", "tensorboard", "--keep", "5", "--output-dir", "there"])
    for given in (args, watched):
        words = shlex.split(run_facts.command(json.loads(json.dumps(vars(given)))))
        assert words[:3] == ["python", "-m", "training.train_lm"]
        assert parse_arguments(words[3:]) == args
    assert run_facts.command(vars(args), processes=2).startswith("torchrun --nproc_per_node 2 -m training.train_lm")


def test_the_command_names_the_output_folder_if_it_is_given():
    args = vars(parse_arguments(["--output-dir", "there"]))
    assert run_facts.command(args) == "python -m training.train_lm"
    assert run_facts.command(args, folder="my run") == "python -m training.train_lm --output-dir 'my run'"


def test_examples():
    found = doctest.testmod(run_facts)
    assert found.attempted and not found.failed
