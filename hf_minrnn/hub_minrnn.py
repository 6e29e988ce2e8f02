# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Entry point for `trust_remote_code`: a config's `auto_map` names this file, see `MinRNNPreTrainedModel.carry_code`.

transformers loads a class of remote code from a folder whose name is a hash of the class's file and everything it imports.
Because this file imports everything, the config and the models come from the same folder. If the config were loaded from its
own file, it would come from another folder, which all revisions with the same config code share. The models of the first
revision would then be used for all of them.
"""

from .configuration_minrnn import MinRNNConfig
from .heads_minrnn import (
    MinRNNForQuestionAnswering,
    MinRNNForSequenceClassification,
    MinRNNForTokenClassification,
)
from .modeling_minrnn import MinRNNForCausalLM, MinRNNModel

__all__ = [
    "MinRNNConfig",
    "MinRNNForCausalLM",
    "MinRNNForQuestionAnswering",
    "MinRNNForSequenceClassification",
    "MinRNNForTokenClassification",
    "MinRNNModel",
]
