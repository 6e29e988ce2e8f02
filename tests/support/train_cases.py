# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Command lines that the tests of training share. Each run takes one or two seconds."""

from training.common.checkpoint import load_checkpoint

SCRIPT = ["-m", "training.train_lm"]  # arguments of python
TINY = ["--hidden-size", "16", "--num-hidden-layers", "1", "--intermediate-size", "32"]
TINY += ["--batch-size", "2", "--sequence-length", "32"]
QUICK = [*TINY, "--tokenizer", "bytes", "--samples", "1", "--eval-every", "0.5"]


def losses(folder):
    """Returns the training loss of every step of the run in a folder."""
    return load_checkpoint(folder)["state"]["losses"]
