# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""minGRU and minLSTM ("Were RNNs All We Needed?", arXiv 2410.01201) for Hugging Face Transformers.

Importing the package registers its models with `AutoConfig`, `AutoModel` and the `AutoModelFor...` class of each head,
whether transformers is imported before or after it. The layers, the cells and the scan only need torch: each name is imported
when it is first used.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from .registration import install

if TYPE_CHECKING:
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

_MODULES = {
    "cache_minrnn": ["detach_cache"],
    "cells": ["MinGRUCell", "MinLSTMCell", "MinRNNCell", "register_cell"],
    "configuration_minrnn": ["MinRNNConfig"],
    "heads_minrnn": ["MinRNNForQuestionAnswering", "MinRNNForSequenceClassification", "MinRNNForTokenClassification"],
    "layers": ["MinGRU", "MinLSTM"],
    "modeling_minrnn": ["MinRNNForCausalLM", "MinRNNModel", "MinRNNPreTrainedModel"],
    "scan": ["linear_scan", "minrnn_scan"],
    "scan_choice": ["explain_backend", "resolve_backend"],
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


if not TYPE_CHECKING:  # with this function, type checkers would accept every name

    def __getattr__(name: str) -> object:
        if name in _MODULE_OF:
            module = import_module(f".{_MODULE_OF[name]}", __name__)
            value = globals()[name] = getattr(module, name)
            return value
        if name.isidentifier() and not name.startswith("_") and find_spec(f"{__name__}.{name}"):
            return import_module(f".{name}", __name__)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


install()
