# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Imports everything that this package uses of transformers, and lists the private names that it uses.

If an import fails, the error says in one line which version is needed. If a private name is missing in a later version of
transformers, a warning names it, with the effect; see `PRIVATE_NAMES`.
"""

import inspect
import re
import warnings

MINIMUM_TRANSFORMERS = "5.21.1"
TESTED_TRANSFORMERS = "5.23.0"
INSTALL_TESTED = f'pip install "transformers=={TESTED_TRANSFORMERS}"'


def _import_problem(error: ImportError) -> str:
    """Returns the message for an import below that failed. Its remedy depends on the package at fault."""
    install = INSTALL_TESTED
    needed = f"hf_minrnn needs transformers {MINIMUM_TRANSFORMERS} or later"
    if isinstance(error, ModuleNotFoundError) and error.name in ("transformers", "huggingface_hub"):
        return f"{needed}, and {error.name} is not installed: {install}"
    try:
        from transformers import __version__ as found
    except ImportError:
        found = "of unknown version"
    if _numbers(found) and _numbers(found) < _numbers(MINIMUM_TRANSFORMERS):
        return f"{needed}, found {found} ({error}): {install}"
    traceback = error.__traceback__
    if traceback is None or traceback.tb_next is None:  # raised by an import statement below, not in an imported file
        return f"{needed} and was tested up to {TESTED_TRANSFORMERS}, found {found} ({error}): {install}"
    first: BaseException = error
    while first.__cause__ is not None:  # transformers wraps some errors in a general message
        first = first.__cause__
    return f"hf_minrnn needs transformers ({found}), whose import failed with {type(first).__name__}: {first}"


def _numbers(version: str) -> list[int]:
    """Returns the first three numbers of a version, without suffixes such as `.dev0`."""
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
    raise ImportError(_import_problem(error)) from error


VERSIONS = f"hf_minrnn was tested up to transformers {TESTED_TRANSFORMERS}, found {transformers_version}"

# All private or undocumented names of transformers that this package overrides, sets or reads: by the class that has them, with
# the effect if they are missing. Names that are imported above are not repeated, as the import fails without them.
GUARD = "generate rejects calls that could give wrong results"
PRIVATE_NAMES = {
    "GenerationMixin": {  # overridden in generation_minrnn.py
        "_prepare_cache_for_generation": GUARD,
        "_get_stopping_criteria": GUARD,
        "prepare_inputs_for_generation": GUARD,
        "_validate_generation_mode": "errors for some unsupported options of generate are less clear",
        "_prepare_generated_length": "texts of the default length end at max_position_embeddings",
        "_prepare_position_ids_for_generation": "generate makes position_ids that are not used",
        "_get_static_cache_init_shape": "cache_implementation='static' may fail",
    },
    "GenerationConfig": {  # read in generation_minrnn.py; transformers sets it on instances, and annotates the class
        "_pad_token_tensor": GUARD,
    },
    "CacheLayerMixin": {  # set in cache_minrnn.py
        "_layer_type": "the model cannot make a cache",
    },
    "PreTrainedModel": {  # overridden, set or read in modeling_minrnn.py
        "_init_weights": "new models start from other weights",
        "_check_and_adjust_attn_implementation": "attn_implementation may be rejected",
        "_no_split_modules": "device_map='auto' may split a block",
        "_skip_keys_device_placement": "device_map='auto' may move the cache",
        "_can_compile_fullgraph": "generate may not compile the model",
        "_can_record_outputs": "output_hidden_states may return nothing",
        "_tied_weights_keys": "the weights of lm_head may not be tied",
        "_fsdp_plan": "FSDP may split lm_head",
        "_auto_class": "a push may warn that the code is missing",
    },
    "PreTrainedConfig": {
        "_auto_class": "a push may warn that the code is missing",
    },
}

# The private names in registration.py, by module. That file must not import transformers, so it warns by itself if one of them
# is missing.
REGISTRATION_NAMES = {
    "transformers.utils.import_utils": ("_LazyModule",),
    "transformers.models.auto.auto_factory": ("_LazyAutoMapping",),  # its instances have _reverse_config_mapping
    "transformers.models.auto.configuration_auto": ("CONFIG_MAPPING_NAMES",),
    "transformers.models.auto.modeling_auto": (
        "MODEL_MAPPING",
        "MODEL_MAPPING_NAMES",
        "MODEL_FOR_CAUSAL_LM_MAPPING",
        "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
        "MODEL_FOR_QUESTION_ANSWERING_MAPPING",
        "MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES",
        "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING",
        "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",
        "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING",
        "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES",
    ),
}


def missing_private_names() -> dict[str, str]:
    """Returns the private names that the installed transformers does not have, as `Class.name`, with the effects."""
    missing = {}
    for owner, names in PRIVATE_NAMES.items():
        cls = globals()[owner]
        for name, effect in names.items():
            if not hasattr(cls, name) and not _is_annotated(cls, name):
                missing[f"{owner}.{name}"] = effect
    return missing


def _is_annotated(cls: type, name: str) -> bool:
    # Not vars(base)["__annotations__"]: Python 3.14 has no such entry.
    return any(name in inspect.get_annotations(base) for base in cls.__mro__)


def hook_problem(base: type, override: type, name: str) -> str | None:
    """Returns why the method `name` of `override` cannot replace that of `base`, or `None` if it can.

    Each parameter that the override names must be a parameter of the base method, at the same position unless it is
    keyword-only. The override must take all other parameters of the base method, too.
    """
    theirs = list(inspect.signature(getattr(base, name)).parameters)
    ours = inspect.signature(getattr(override, name)).parameters.values()
    for position, parameter in enumerate(ours):
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if parameter.name not in theirs:
            return f"has no parameter {parameter.name}"
        if parameter.kind is not parameter.KEYWORD_ONLY and theirs.index(parameter.name) != position:
            return f"has {parameter.name} at another position"
    takes_more = any(parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) for parameter in ours)
    added = set(theirs) - {parameter.name for parameter in ours}
    if added and not takes_more:
        return f"has the new parameter {min(added)}"
    return None


def guard_problems(override: type) -> list[str]:
    """Returns the problems with the private names that guard `generate`; empty with the tested versions.

    Args:
        override (`type`): The class that overrides the methods of `GenerationMixin`.
    """
    problems = [f"{name} is missing" for name, effect in missing_private_names().items() if effect == GUARD]
    for name, effect in PRIVATE_NAMES["GenerationMixin"].items():
        if effect == GUARD and hasattr(GenerationMixin, name):
            problem = hook_problem(GenerationMixin, override, name)
            if problem is not None:
                problems.append(f"GenerationMixin.{name} {problem}")
    return problems


def _warn_of_other_version() -> None:
    missing = missing_private_names()
    if missing:
        effects = "; ".join(f"{name} is missing: {effect}" for name, effect in missing.items())
        warnings.warn(f"{VERSIONS}: {effects}. {INSTALL_TESTED}", stacklevel=2)
    elif _numbers(transformers_version)[:2] > _numbers(TESTED_TRANSFORMERS)[:2]:  # patch releases rename nothing
        warnings.warn(f"{VERSIONS}: if something fails, {INSTALL_TESTED}", stacklevel=2)


_warn_of_other_version()

__all__ = [
    "ACT2FN",
    "DYNAMIC_LAYER_TYPE_MAPPING",
    "INSTALL_TESTED",
    "MINIMUM_TRANSFORMERS",
    "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "STATIC_LAYER_TYPE_MAPPING",
    "VERSIONS",
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
    "guard_problems",
    "initialization",
    "is_torchdynamo_compiling",
    "logging",
    "slice_logits_to_keep",
    "strict",
    "transformers_version",
]
