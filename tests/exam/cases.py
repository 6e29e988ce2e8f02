# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The test case that run.py passes to pytest: transformers' mixins applied to the classes of one plug."""

import importlib
import os
import unittest

import torch
from transformers.models.auto import modeling_auto
from transformers.testing_utils import torch_device
from transformers_tests.generation.test_utils import GenerationTesterMixin
from transformers_tests.test_configuration_common import ConfigTester
from transformers_tests.test_modeling_common import ModelTesterMixin, ids_tensor
from transformers_tests.test_training_mixin import TrainingTesterMixin

plug = importlib.import_module(os.environ["MINRNN_EXAM_PLUG"])

# The mixin looks a class up in these tables to find the labels it needs and whether it is a base model. Registering a class
# with AutoModel does not add it to them.
TABLES = {
    "Model": "MODEL_MAPPING_NAMES",
    "ForCausalLM": "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "ForSequenceClassification": "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",
    "ForTokenClassification": "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES",
    "ForQuestionAnswering": "MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES",
}
for model_class in plug.all_model_classes:
    for suffix, table in TABLES.items():
        if model_class.__name__.endswith(suffix):
            getattr(modeling_auto, table).setdefault(plug.config_class.model_type, model_class.__name__)


class Tester:
    """Gives the mixins a small configuration, and inputs for it. One row is padded on the left."""

    base_model_class, causal_lm_class = plug.base_model_class, plug.causal_lm_class
    batch_size, seq_length, num_labels, is_training = 3, 7, 3, True

    def __init__(self, parent):
        self.parent = parent
        config = self.get_config()
        self.hidden_size, self.num_hidden_layers = config.hidden_size, config.num_hidden_layers
        self.vocab_size = config.vocab_size

    def get_config(self):
        tokens = {"vocab_size": 99, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
        return plug.config_class(hidden_size=32, num_hidden_layers=2, **tokens, **plug.sizes)

    def prepare_config_and_inputs_for_common(self):
        ids = ids_tensor([self.batch_size, self.seq_length], self.vocab_size - 1) + 1
        mask = torch.ones_like(ids)
        mask[0, :2] = 0
        return self.get_config(), {"input_ids": ids.to(torch_device), "attention_mask": mask.to(torch_device)}


class ExamTest(TrainingTesterMixin, GenerationTesterMixin, ModelTesterMixin, unittest.TestCase):
    all_model_classes = plug.all_model_classes
    has_attentions = False
    pipeline_model_mapping = {}
    model_tester = None

    def setUp(self):
        self.model_tester = Tester(self)
        common = ["hidden_size", "num_hidden_layers"]
        self.config_tester = ConfigTester(
            self, config_class=plug.config_class, has_text_modality=False, common_properties=common
        )

    def test_config(self):
        self.config_tester.run_common_tests()


del TrainingTesterMixin, GenerationTesterMixin, ModelTesterMixin  # otherwise pytest would collect them, too
