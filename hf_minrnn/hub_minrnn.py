# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The door of remote code: what a config's `auto_map` names, see `MinRNNPreTrainedModel.carry_code`.

transformers loads a class of remote code from a folder named by a hash of the class's file and of all that it imports. One
file that imports everything gives the config and the models the same folder. A config named by its own file would come from
a folder of its own, shared with every revision that changed the models alone, and the first of these models would be taken
for all of them.
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
