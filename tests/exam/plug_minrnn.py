# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The models under test."""

import hf_minrnn

config_class = hf_minrnn.MinRNNConfig
base_model_class, causal_lm_class = hf_minrnn.MinRNNModel, hf_minrnn.MinRNNForCausalLM
all_model_classes = (
    base_model_class,
    causal_lm_class,
    hf_minrnn.MinRNNForSequenceClassification,
    hf_minrnn.MinRNNForTokenClassification,
    hf_minrnn.MinRNNForQuestionAnswering,
)
sizes = {"learn_initial_state": True}
