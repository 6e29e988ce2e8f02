# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Private names of transformers that the package uses: they exist, and a missing one is reported."""

import ast
import importlib
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from packaging.version import Version
from transformers.models.auto import auto_factory, modeling_auto

from hf_minrnn import cache_minrnn, compat, registration
from hf_minrnn.generation_minrnn import MinRNNGenerationMixin


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


PRIVATE_NAMES = [f"{owner}.{name}" for owner, names in compat.PRIVATE_NAMES.items() for name in names]
REGISTRATION_NAMES = [f"{module}:{name}" for module, names in compat.REGISTRATION_NAMES.items() for name in names]


@pytest.mark.parametrize("name", PRIVATE_NAMES)
def test_private_name_exists(name):
    assert name not in compat.missing_private_names(), f"transformers {compat.transformers_version} has no {name}"


@pytest.mark.parametrize("name", REGISTRATION_NAMES)
def test_private_name_of_the_registration_exists(name):
    module, name = name.split(":")
    assert hasattr(importlib.import_module(module), name)


def test_registration_names_are_those_that_the_registration_uses():
    listed = set(compat.REGISTRATION_NAMES["transformers.models.auto.modeling_auto"])
    used = {f"{table}_MAPPING{suffix}" for table in registration.MODELS for suffix in ("", "_NAMES")}
    assert listed == used
    modules = {module for module in registration.CHANGES if module.startswith("transformers.")}
    assert set(compat.REGISTRATION_NAMES) == modules | {"transformers.models.auto.auto_factory"}
    assert isinstance(modeling_auto.MODEL_MAPPING, auto_factory._LazyAutoMapping)
    assert isinstance(modeling_auto.MODEL_MAPPING._reverse_config_mapping, dict)


@pytest.mark.parametrize("name", compat.PRIVATE_NAMES["GenerationMixin"])
def test_override_has_the_parameters_of_the_hook(name):
    assert name in vars(MinRNNGenerationMixin)
    assert compat.hook_problem(compat.GenerationMixin, MinRNNGenerationMixin, name) is None


HOOK_PROBLEMS = {
    "the same": (lambda self, a, b: a, None),
    "others as arguments": (lambda self, a, *args: a, None),
    "others by name": (lambda self, *args, b, **kwargs: b, None),
    "renamed": (lambda self, x, b: x, "has no parameter x"),
    "moved": (lambda self, b, *args: b, "has b at another position"),
    "added": (lambda self, a: a, "has the new parameter b"),
}


@pytest.mark.parametrize("case", HOOK_PROBLEMS)
def test_a_hook_with_other_parameters_is_a_problem(case):
    method, problem = HOOK_PROBLEMS[case]
    base = type("Base", (), {"hook": lambda self, a, b: a})
    assert compat.hook_problem(base, type("Override", (base,), {"hook": method}), "hook") == problem


def test_every_override_of_generation_is_listed():
    public = {"generate", "heal_tokens", "init_continuous_batching"}
    own = {name for name in vars(MinRNNGenerationMixin) if not name.startswith("__")}
    overridden = {name for name in own if hasattr(compat.GenerationMixin, name)}
    assert overridden == public | set(compat.PRIVATE_NAMES["GenerationMixin"])
    for name in public:
        assert compat.hook_problem(compat.GenerationMixin, MinRNNGenerationMixin, name) is None


def private_attributes(tree):
    """Returns the attributes with an underscore that a file reads, but neither defines nor sets, except those of torch."""
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    own |= {node.attr for node in attributes if isinstance(node.ctx, ast.Store)}
    own |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    found = set()
    for node in attributes:
        of_module = isinstance(node.value, ast.Name) and node.value.id in ("sys", "torch", "nn")
        if re.match("_[^_]", node.attr) and not of_module:
            found.add(node.attr)
    return found - own - {"_modules"}


def test_every_private_attribute_is_listed():
    listed = {name for names in compat.PRIVATE_NAMES.values() for name in names}
    listed |= {name for names in compat.REGISTRATION_NAMES.values() for name in names} | {"_reverse_config_mapping"}
    package = Path(compat.__file__).parent
    for path in package.glob("*.py"):
        tree = ast.parse(path.read_text())
        uses_transformers = any(isinstance(node, ast.ImportFrom) and node.module == "compat" for node in tree.body)
        if uses_transformers or path.stem == "registration":
            unlisted = private_attributes(tree) - listed
            assert not unlisted, f"{path.name} uses private names of transformers that compat.py does not list"


def test_attributes_that_generate_reads_exist():
    assert compat.MaxLengthCriteria(3, max_position_embeddings=2).max_position_embeddings == 2
    assert compat.GenerationMode.ASSISTED_GENERATION
    assert compat.DynamicCache().layers == [] and callable(compat.Cache.is_recording_past)
    assert not compat.PreTrainedModel._is_stateful  # assisted generation would be rejected


def test_class_attributes_that_are_set_exist():
    for name in ("is_compileable", "is_croppable", "supports_early_init"):
        assert hasattr(compat.CacheLayerMixin, name), name


# Renames a method of GenerationMixin everywhere, as a later version of transformers may do.
RENAME = """
import inspect
import torch, transformers
from transformers import GenerationConfig, GenerationMixin

def rename(old):
    for value in list(vars(GenerationMixin).values()):
        function = inspect.unwrap(value) if callable(value) else None
        if hasattr(function, "__code__"):
            names = tuple("_renamed" if name == old else name for name in function.__code__.co_names)
            function.__code__ = function.__code__.replace(co_names=names)
    GenerationMixin._renamed = vars(GenerationMixin)[old]
    delattr(GenerationMixin, old)

def move_parameter():
    original = GenerationMixin._prepare_cache_for_generation
    def changed(self, generation_config, model_kwargs, batch_size, generation_mode, max_cache_length):
        return original(self, generation_config, model_kwargs, generation_mode, batch_size, max_cache_length)
    GenerationMixin._prepare_cache_for_generation = changed
"""

# Imports, trains, and generates from prompts without padding; then prints the results of unsafe calls.
USE = """
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from hf_minrnn import MinRNNConfig, MinRNNForCausalLM
print("begin")
for warning in caught:
    if "hf_minrnn" in str(warning.message):
        print("warning:", warning.message)
torch.manual_seed(0)
config = MinRNNConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, pad_token_id=0, eos_token_id=8)
model = MinRNNForCausalLM(config)
ids = torch.tensor([[1, 2, 3], [4, 5, 6]])
model(ids, labels=ids).loss.backward()
print("trained", model.lm_head.weight.grad is not None)
options = {"max_new_tokens": 3, "do_sample": False, "suppress_tokens": [8]}
alone = torch.cat([model.generate(row[None], **options) for row in ids])
print("generated", torch.equal(model.generate(ids, **options), alone))
mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
calls = {
    "left padding": {"inputs": ids, "attention_mask": mask.flip(1)},
    "right padding": {"inputs": ids, "attention_mask": mask},
    "padding token": {"inputs": ids * mask},
    "cache": {"inputs": ids, "past_key_values": transformers.DynamicCache(config=config)},
    "returned cache": {"inputs": ids, "return_dict_in_generate": True},
    "embeddings": {"inputs_embeds": model.get_input_embeddings()(ids)},
}
for name, call in calls.items():
    try:
        print(f"{name}:", type(model.generate(**options, **call)).__name__)
    except Exception as error:
        print(f"{name}:", type(error).__name__, error)
"""


# Runs each change, then USE, in a fork of a process that has imported transformers, because the import takes seconds.
FORKS = """
import contextlib, json, os, sys, traceback, warnings
results = {}
for name, change in CHANGES.items():
    read, write = os.pipe()
    if os.fork() == 0:
        sys.stdout = sys.stderr = os.fdopen(write, "w")
        try:
            exec(change + USE)
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        os._exit(0)
    os.close(write)
    lines = os.fdopen(read).read().splitlines()
    results[name] = lines[lines.index("begin") + 1 :]  # importing transformers may print, too
    os.wait()
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def output():
    """Returns the lines that USE prints after each change."""
    program = f"{RENAME}\nCHANGES, USE = {CHANGES!r}, {USE!r}\n{FORKS}"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


HOOKS = compat.PRIVATE_NAMES["GenerationMixin"]
GUARDS = [name for name, effect in HOOKS.items() if effect == compat.GUARD]
MOVED = "_prepare_cache_for_generation has generation_mode at another position"
PATCH = compat.TESTED_TRANSFORMERS.rpartition(".")[0] + ".99"
VERSIONS = ["5.100.0", "6.0.0.dev0", PATCH, compat.TESTED_TRANSFORMERS]
CHANGES = (
    {f"{name} is missing": f"rename({name!r})" for name in HOOKS}
    | {MOVED: "move_parameter()"}
    | {version: f"transformers.__version__ = {version!r}" for version in VERSIONS}
)


@pytest.mark.parametrize("problem", [*(f"{name} is missing" for name in GUARDS), MOVED])
def test_without_a_guard_only_safe_calls_generate(output, problem):
    lines = output[problem]
    if problem != MOVED:
        warning = lines.pop(0)
        wanted = f"{compat.VERSIONS}: GenerationMixin.{problem}: {compat.GUARD}. {compat.INSTALL_TESTED}"
        assert warning == f"warning: {wanted}"
    trained, generated, left, right, *others = lines
    assert right.startswith("right padding: ValueError attention_mask ends in padding")
    assert (trained, generated, left) == ("trained True", "generated True", "left padding: Tensor")
    unsafe = ["prompts that end in the padding token", "past_key_values", "return_dict_in_generate", "inputs_embeds"]
    for line, name in zip(others, unsafe, strict=True):
        assert f": RuntimeError this call of generate ({name}) is not safe" in line
        assert f"GenerationMixin.{problem}. {compat.VERSIONS}: {compat.INSTALL_TESTED}" in line


@pytest.mark.parametrize("name", [name for name in HOOKS if name not in GUARDS])
def test_without_another_hook_a_warning_says_the_effect(output, name):
    warning, trained, generated, left, *others = output[f"{name} is missing"]
    wanted = f"{compat.VERSIONS}: GenerationMixin.{name} is missing: {HOOKS[name]}. {compat.INSTALL_TESTED}"
    assert warning == f"warning: {wanted}"
    assert (trained, generated, left) == ("trained True", "generated True", "left padding: Tensor")
    assert [line.split()[2] for line in others[:2]] == ["ValueError", "ValueError"]
    assert [line.split()[-1] for line in others[2:]] == ["Tensor", "GenerateDecoderOnlyOutput", "Tensor"]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_version_later_than_the_tested_one_warns_once(output, version):
    warnings = [line for line in output[version] if line.startswith("warning:")]
    tested = f"hf_minrnn was tested up to transformers {compat.TESTED_TRANSFORMERS}, found {version}"
    wanted = [f"warning: {tested}: if something fails, {compat.INSTALL_TESTED}"]
    assert warnings == ([] if version in (PATCH, compat.TESTED_TRANSFORMERS) else wanted)
    assert "generated True" in output[version]


def test_slice_logits_to_keep():
    x = torch.arange(6.0).view(1, 3, 2)
    assert torch.equal(compat.slice_logits_to_keep(x, 1), x[:, -1:])


def import_error(folder, files):
    """Imports compat.py with a package `transformers` that consists of these files. Returns the last line of the error."""
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
# Files of a package `transformers`, and the beginning and the end of the error.
BROKEN = "import package_that_is_missing\n"
IMPORT_ERRORS = {
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


@pytest.mark.parametrize("case", IMPORT_ERRORS)
def test_failed_import_names_the_cause_and_the_remedy(tmp_path, case):
    files, begin, end = IMPORT_ERRORS[case]
    last = import_error(tmp_path, files)
    assert last.startswith(begin) and last.endswith(end), last
    assert ("pip install" in last) == (end == INSTALL)
