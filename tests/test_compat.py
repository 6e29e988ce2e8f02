# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The contract with transformers: every name that is not public API, and what this package expects of it."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from packaging.version import Version

from hf_minrnn import cache_minrnn, compat


def parameters(function):
    return set(inspect.signature(function).parameters)


def test_installed_version_is_supported():
    assert Version(compat.transformers_version) >= Version(compat.MINIMUM_TRANSFORMERS)


def test_cache_layers_register_themselves_by_type():
    class Layer(compat.LinearAttentionLayer, compat.CacheLayerMixin):
        _layer_type = "minrnn-contract-test"
        update = lazy_initialization = get_mask_sizes = get_seq_length = None

    try:
        assert compat.DYNAMIC_LAYER_TYPE_MAPPING["minrnn-contract-test"] is Layer
    finally:
        del compat.DYNAMIC_LAYER_TYPE_MAPPING["minrnn-contract-test"]
    assert compat.DYNAMIC_LAYER_TYPE_MAPPING[cache_minrnn.LAYER_TYPE].__name__ == "MinRNNCacheLayer"
    assert compat.STATIC_LAYER_TYPE_MAPPING[cache_minrnn.LAYER_TYPE].__name__ == "MinRNNStaticCacheLayer"


def test_cache_layers_have_the_state_interface():
    layer = compat.LinearAttentionLayer()
    for name in ("conv_states", "recurrent_states", "has_previous_state", "is_conv_states_initialized"):
        assert set(getattr(layer, name)) == {0}
    for name in ("offload", "prefetch", "reset", "reorder_cache"):
        assert callable(getattr(layer, name))
    assert {"layer_idx", "state_idx"} <= parameters(compat.Cache.update_recurrent_state)


def test_a_gradient_checkpointing_layer_passes_positional_arguments():
    class Layer(compat.GradientCheckpointingLayer):
        def forward(self, x, state=None):
            return x + state

    layer = Layer().train()
    layer.gradient_checkpointing, layer._gradient_checkpointing_func = True, lambda function, *args: function(*args)
    assert layer(torch.ones(1), torch.ones(1)).item() == 2


def test_config_hooks_that_are_overridden_exist():
    for name in ("validate_layer_type", "validate_architecture", "__post_init__"):
        assert callable(getattr(compat.PreTrainedConfig, name))


def test_relative_imports_are_followed_and_named_by_path(tmp_path):
    for name, text in (("a", "from .b import x"), ("b", "from .c import x"), ("c", "x = 1"), ("d", "x = 1")):
        (tmp_path / f"{name}.py").write_text(text)
    found = compat.get_relative_import_files(tmp_path / "a.py")
    assert {Path(path) for path in found} == {tmp_path / "b.py", tmp_path / "c.py"}


def test_initialization_respects_loaded_weights():
    loaded = torch.zeros(2)
    loaded._is_hf_initialized = True
    compat.initialization.copy_(loaded, torch.ones(2))
    compat.initialization.uniform_(loaded, 1, 2)
    assert (loaded == 0).all()


def test_generation_passes_what_is_overridden():
    wanted = {
        "input_ids",
        "next_sequence_length",
        "past_key_values",
        "attention_mask",
        "inputs_embeds",
        "is_first_iteration",
    }
    assert wanted <= parameters(compat.GenerationMixin.prepare_inputs_for_generation)
    # In this order: the last two are passed on by place.
    hook = list(inspect.signature(compat.GenerationMixin._prepare_cache_for_generation).parameters)
    assert hook[1:5] == ["generation_config", "model_kwargs", "generation_mode", "batch_size"]
    assert list(inspect.signature(compat.GenerationMixin.generate).parameters)[1:3] == ["inputs", "generation_config"]
    assert callable(compat.GenerationMixin._get_static_cache_init_shape)
    assert list(inspect.signature(compat.GenerationMixin._get_stopping_criteria).parameters)[1] == "generation_config"
    wanted = {"generation_config", "has_default_max_length", "input_ids_length"}
    assert wanted <= parameters(compat.GenerationMixin._prepare_generated_length)
    assert compat.MaxLengthCriteria(3, max_position_embeddings=2).max_position_embeddings == 2
    assert compat.GenerationMode.ASSISTED_GENERATION
    assert compat.DynamicCache().layers == [] and callable(compat.Cache.is_recording_past)


def test_class_attributes_that_are_set_exist():
    for name in (
        "_can_record_outputs",
        "_is_stateful",
        "_skip_keys_device_placement",
        "_no_split_modules",
        "_tied_weights_keys",
        "_can_compile_fullgraph",
        "_fsdp_plan",
    ):
        assert hasattr(compat.PreTrainedModel, name), name
    for name in ("is_compileable", "is_croppable", "supports_early_init", "_layer_type"):
        assert hasattr(compat.CacheLayerMixin, name), name


def test_private_names_of_torch():
    from torch.autograd import forward_ad
    from torch.fx.experimental.symbolic_shapes import statically_known_true

    assert forward_ad._current_level == -1 and statically_known_true(True)
    assert callable(torch._dynamo.mark_static_address)
    assert torch._C._get_tracing_state() is None and torch._C._len_torch_dispatch_stack() == 0
    assert torch._C._functorch.peek_interpreter_stack() is None
    assert torch.nn.modules.module._global_forward_hooks == torch.nn.modules.module._global_forward_pre_hooks == {}
    assert torch.nn.Linear(1, 1)._compiled_call_impl is None


def test_slice_logits_to_keep():
    x = torch.arange(6.0).view(1, 3, 2)
    assert torch.equal(compat.slice_logits_to_keep(x, 1), x[:, -1:])


def refusal(folder, files):
    """The last line of an import of compat.py beside a package transformers that is made of these files."""
    for name, text in files.items():
        path = folder / "transformers" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    program = f"""
import importlib.util, sys
if not {bool(files)}:
    sys.modules["transformers"] = None
spec = importlib.util.spec_from_file_location("compat", {compat.__file__!r})
spec.loader.exec_module(importlib.util.module_from_spec(spec))
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=folder)
    assert run.returncode != 0 and "direct cause" in run.stderr
    return run.stderr.strip().splitlines()[-1]


VERSION = '__version__ = "{}"\n'
INSTALL = f'pip install "transformers=={compat.TESTED_TRANSFORMERS}"'
NEEDED = f"ImportError: hf_minrnn needs transformers {compat.MINIMUM_TRANSFORMERS} or later"
# What a package transformers is made of, and how the refusal of it begins and ends.
BROKEN = "import package_that_is_missing\n"
REFUSED = {
    "missing": ({}, f"{NEEDED}, and transformers is not installed: ", INSTALL),
    "older": ({"__init__.py": VERSION.format("4.57.6")}, f"{NEEDED}, found 4.57.6 (cannot import name", INSTALL),
    "older and broken": (
        {"__init__.py": VERSION.format("5.9.0.dev0") + "initialization = 1\n", "activations.py": BROKEN},
        f"{NEEDED}, found 5.9.0.dev0 (No module named 'package_that_is_missing'): ",
        INSTALL,
    ),
    "newer": (
        {"__init__.py": VERSION.format("5.100.0")},
        f"{NEEDED} and was tested up to {compat.TESTED_TRANSFORMERS}, found 5.100.0 (cannot import name 'initialization'",
        INSTALL,
    ),
    "newer, without a module": (
        {"__init__.py": VERSION.format("6.0") + "initialization = 1\n"},
        f"{NEEDED} and was tested up to {compat.TESTED_TRANSFORMERS}, found 6.0 (No module named 'transformers.activations'",
        INSTALL,
    ),
    "broken": (
        {"__init__.py": VERSION.format(compat.TESTED_TRANSFORMERS) + "initialization = 1\n", "activations.py": BROKEN},
        f"ImportError: hf_minrnn needs transformers ({compat.TESTED_TRANSFORMERS}), whose import failed with Module",
        "ModuleNotFoundError: No module named 'package_that_is_missing'",
    ),
    "broken, behind a general message": (
        {
            "__init__.py": VERSION.format(compat.TESTED_TRANSFORMERS)
            + "def __getattr__(name):\n"
            + "    try:\n        raise RuntimeError('operator x::nms does not exist')\n"
            + "    except RuntimeError as error:\n"
            + "        raise ModuleNotFoundError(f'Could not import module {name!r}') from error\n"
        },
        f"ImportError: hf_minrnn needs transformers ({compat.TESTED_TRANSFORMERS}), whose import failed with RuntimeError: ",
        "operator x::nms does not exist",
    ),
    "broken from the start": (
        {"__init__.py": "raise ImportError('tokenizers 9 is required')\n"},
        "ImportError: hf_minrnn needs transformers (of unknown version), whose import failed with ImportError: ",
        "tokenizers 9 is required",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_failed_import_says_what_failed(tmp_path, case):
    files, begin, end = REFUSED[case]
    last = refusal(tmp_path, files)
    assert last.startswith(begin) and last.endswith(end), last
    assert ("pip install" in last) == (end == INSTALL)
