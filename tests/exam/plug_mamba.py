# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The reference: Mamba of transformers, also a recurrent model. No test that it passes may be skipped for our models."""

from transformers import MambaConfig, MambaForCausalLM, MambaModel

config_class = MambaConfig
base_model_class, causal_lm_class = MambaModel, MambaForCausalLM
all_model_classes = (MambaModel, MambaForCausalLM)
sizes = {"state_size": 8}
