# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The tests run offline, on one thread a process: the models are tiny, and threads would only wait for each other."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch

torch.set_num_threads(1)
