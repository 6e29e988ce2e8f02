# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Everything this package takes from inside transformers, in one place, and one clear line where it cannot be imported."""

import re

MINIMUM_TRANSFORMERS, TESTED_TRANSFORMERS = "5.21.1", "5.23.0"


def _problem(error: ImportError) -> str:
    """What to say of an import below that failed: the remedy depends on whose fault it is."""
    install = f'pip install "transformers=={TESTED_TRANSFORMERS}"'
    needed = f"hf_minrnn needs transformers {MINIMUM_TRANSFORMERS} or later"
    if isinstance(error, ModuleNotFoundError) and error.name in ("transformers", "huggingface_hub"):
        return f"{needed}, and {error.name} is not installed: {install}"
    try:
        from transformers import __version__ as found
    except ImportError:
        found = "of unknown version"
    if _numbers(found) and _numbers(found) < _numbers(MINIMUM_TRANSFORMERS):
        return f"{needed}, found {found} ({error}): {install}"
    if error.__traceback__.tb_next is None:  # raised by an import statement below, not by a file that it imports
        return f"{needed} and was tested up to {TESTED_TRANSFORMERS}, found {found} ({error}): {install}"
    first = error
    while first.__cause__ is not None:  # transformers puts a general message in front of some
        first = first.__cause__
    return f"hf_minrnn needs transformers ({found}), whose import failed with {type(first).__name__}: {first}"


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)[:3]]


try:
    from huggingface_hub.dataclasses import strict
    from transformers import __version__ as transformers_version
    from transformers import initialization
    from transformers.activations import ACT2FN
    from transformers.cache_utils import (
        DYNAMIC_LAYER_TYPE_MAPPING,
        STATIC_LAYER_TYPE_MAPPING,
        Cache,
        CacheLayerMixin,
        DynamicCache,
        LinearAttentionLayer,
    )
    from transformers.configuration_utils import PreTrainedConfig
    from transformers.distributed import DistributedConfig
    from transformers.dynamic_module_utils import get_relative_import_files
    from transformers.generation import GenerationConfig, GenerationMixin, MaxLengthCriteria, StoppingCriteriaList
    from transformers.generation.configuration_utils import GenerationMode
    from transformers.modeling_layers import (
        GenericForQuestionAnswering,
        GenericForSequenceClassification,
        GenericForTokenClassification,
        GradientCheckpointingLayer,
    )
    from transformers.modeling_outputs import (
        BaseModelOutputWithPast,
        CausalLMOutputWithPast,
        QuestionAnsweringModelOutput,
        SequenceClassifierOutputWithPast,
        TokenClassifierOutput,
    )
    from transformers.modeling_utils import PreTrainedModel, slice_logits_to_keep
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, AutoModel
    from transformers.processing_utils import Unpack
    from transformers.utils import TransformersKwargs, auto_docstring, can_return_tuple, logging
    from transformers.utils.import_utils import is_torchdynamo_compiling
    from transformers.utils.output_capturing import capture_outputs
except ImportError as error:
    raise ImportError(_problem(error)) from error

__all__ = [
    "ACT2FN",
    "DYNAMIC_LAYER_TYPE_MAPPING",
    "MINIMUM_TRANSFORMERS",
    "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "STATIC_LAYER_TYPE_MAPPING",
    "AutoModel",
    "BaseModelOutputWithPast",
    "Cache",
    "CacheLayerMixin",
    "CausalLMOutputWithPast",
    "DistributedConfig",
    "DynamicCache",
    "GenerationConfig",
    "GenerationMixin",
    "GenerationMode",
    "GenericForQuestionAnswering",
    "GenericForSequenceClassification",
    "GenericForTokenClassification",
    "GradientCheckpointingLayer",
    "LinearAttentionLayer",
    "MaxLengthCriteria",
    "PreTrainedConfig",
    "PreTrainedModel",
    "QuestionAnsweringModelOutput",
    "SequenceClassifierOutputWithPast",
    "StoppingCriteriaList",
    "TokenClassifierOutput",
    "TransformersKwargs",
    "Unpack",
    "auto_docstring",
    "can_return_tuple",
    "capture_outputs",
    "get_relative_import_files",
    "initialization",
    "is_torchdynamo_compiling",
    "logging",
    "slice_logits_to_keep",
    "strict",
    "transformers_version",
]
