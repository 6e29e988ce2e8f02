# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""minGRU and minLSTM ("Were RNNs All We Needed?", arXiv 2410.01201) for Hugging Face Transformers.

Importing the package registers its models with `AutoConfig`, `AutoModel` and the `AutoModelFor...` of each head.
"""

from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from .cache_minrnn import detach_cache
from .cells import MinGRUCell, MinLSTMCell, MinRNNCell, register_cell
from .configuration_minrnn import MinRNNConfig
from .heads_minrnn import (
    MinRNNForQuestionAnswering,
    MinRNNForSequenceClassification,
    MinRNNForTokenClassification,
)
from .layers import MinGRU, MinLSTM
from .modeling_minrnn import MinRNNForCausalLM, MinRNNModel, MinRNNPreTrainedModel
from .scan import linear_scan, minrnn_scan
from .scan_choice import explain_backend, resolve_backend

__version__ = "0.1.0"

AutoConfig.register("minrnn", MinRNNConfig, exist_ok=True)
# AutoModel: see heads_minrnn.py
AutoModelForCausalLM.register(MinRNNConfig, MinRNNForCausalLM, exist_ok=True)
AutoModelForSequenceClassification.register(MinRNNConfig, MinRNNForSequenceClassification, exist_ok=True)
AutoModelForTokenClassification.register(MinRNNConfig, MinRNNForTokenClassification, exist_ok=True)
AutoModelForQuestionAnswering.register(MinRNNConfig, MinRNNForQuestionAnswering, exist_ok=True)

__all__ = [
    "MinGRU",
    "MinGRUCell",
    "MinLSTM",
    "MinLSTMCell",
    "MinRNNCell",
    "MinRNNConfig",
    "MinRNNForCausalLM",
    "MinRNNForQuestionAnswering",
    "MinRNNForSequenceClassification",
    "MinRNNForTokenClassification",
    "MinRNNModel",
    "MinRNNPreTrainedModel",
    "detach_cache",
    "explain_backend",
    "linear_scan",
    "minrnn_scan",
    "register_cell",
    "resolve_backend",
]
