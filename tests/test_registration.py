# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""`import hf_minrnn` registers its models in transformers, for any order and place of the two imports."""

import ast
import importlib.util
import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import transformers
from support.model_cases import build

import hf_minrnn
from hf_minrnn import registration
from hf_minrnn.configuration_minrnn import AUTO_MAP

CHECK = """
def check(folder):
    import transformers
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForQuestionAnswering
    from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, MinRNNConfig
    import hf_minrnn
    config = AutoConfig.from_pretrained(folder)
    assert type(config) is MinRNNConfig is hf_minrnn.MinRNNConfig is type(AutoConfig.for_model("minrnn"))
    for auto, name in {
        AutoModel: "MinRNNModel",
        AutoModelForCausalLM: "MinRNNForCausalLM",
        AutoModelForSequenceClassification: "MinRNNForSequenceClassification",
        AutoModelForTokenClassification: "MinRNNForTokenClassification",
        AutoModelForQuestionAnswering: "MinRNNForQuestionAnswering",
    }.items():
        model = auto.from_config(config)
        assert type(model) is getattr(hf_minrnn, name) is getattr(transformers, name), name
        assert type(model).__module__.startswith("hf_minrnn.")
    assert type(AutoModelForCausalLM.from_pretrained(folder)) is hf_minrnn.MinRNNForCausalLM
    print("checked")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    build("mingru").save_pretrained(path)
    return path


# Runs each program in a fork of a process that has imported the dependencies of transformers, but not transformers. Importing
# them for each program would take seconds.
FORKS = """
import contextlib, importlib, json, os, sys, traceback, warnings
warnings.simplefilter("ignore")
for name in ("torch", "torch._dynamo", "huggingface_hub", "tokenizers", "accelerate", "torchao", "scipy.optimize", "jinja2"):
    with contextlib.suppress(ImportError):  # some are optional
        importlib.import_module(name)
assert not {"transformers", "hf_minrnn"} & set(sys.modules)
results = {}
for name, program in json.loads(sys.stdin.read()).items():
    read, write = os.pipe()
    if os.fork() == 0:
        sys.stdout = sys.stderr = os.fdopen(write, "w")
        try:
            exec(program, {"__name__": "__main__"})
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        os._exit(0)
    os.close(write)
    results[name] = os.fdopen(read).read()
    os.wait()
print(json.dumps(results))
"""


def run(programs):
    """Returns the output of each program, by its name."""
    given = json.dumps({name: CHECK + program for name, program in programs.items()})
    result = subprocess.run([sys.executable, "-c", FORKS], input=given, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


ORDERS = {
    "hf_minrnn, transformers": "import hf_minrnn, transformers",
    "transformers, hf_minrnn": "import transformers, hf_minrnn",
    "Auto classes, hf_minrnn": "from transformers import AutoConfig, AutoModelForCausalLM; import hf_minrnn",
    # transformers.modeling_layers imports the Auto classes while it is half imported itself.
    "a module that imports the Auto classes": "import hf_minrnn, transformers.modeling_layers",
    "the config's file": "from hf_minrnn.configuration_minrnn import MinRNNConfig",
    "Auto classes, a model's file": "from transformers import AutoModel\nfrom hf_minrnn.modeling_minrnn import MinRNNModel",
    "the config by name": "from hf_minrnn import MinRNNConfig",
    "the layers": "from hf_minrnn import MinGRU",
    "every name": "from hf_minrnn import *",
    "a second module transformers": """
import transformers
import hf_minrnn
first = transformers
import transformers.processing_utils
import transformers
assert first is not transformers and first.MinRNNModel is transformers.MinRNNModel is hf_minrnn.MinRNNModel
""",
    "in a thread": """
import threading
threads = [threading.Thread(target=exec, args=(line, {})) for line in (
    "import hf_minrnn",
    "from transformers import AutoModelForCausalLM",
    "from hf_minrnn.configuration_minrnn import MinRNNConfig",
    "from hf_minrnn import MinRNNForTokenClassification",
)]
failed = []
threading.excepthook = failed.append
for thread in threads: thread.start()
for thread in threads: thread.join()
assert not failed, failed
""",
    "twice": """
import importlib, sys
import hf_minrnn
hf_minrnn.registration.install()
first = hf_minrnn.MinRNNConfig
importlib.reload(hf_minrnn)
import transformers
importlib.reload(hf_minrnn)
assert hf_minrnn.MinRNNConfig is first and sum(type(f).__name__ == "_Finder" for f in sys.meta_path) == 1
for name in [name for name in sys.modules if name.split(".")[0] == "hf_minrnn"]:
    del sys.modules[name]
import hf_minrnn
assert hf_minrnn.MinRNNConfig is not first and sum(type(f).__name__ == "_Finder" for f in sys.meta_path) == 1
""",
    "again, after the Auto classes have loaded the models": """
import sys
import hf_minrnn
from transformers import AutoConfig, AutoModelForCausalLM
def load():
    config = AutoConfig.for_model("minrnn", vocab_size=9, hidden_size=8, num_hidden_layers=1)
    return type(config), type(AutoModelForCausalLM.from_config(config))
first = load()
finders = [finder for finder in sys.meta_path if type(finder).__name__ == "_Finder"]
for name in [name for name in sys.modules if name.split(".")[0] == "hf_minrnn"]:
    del sys.modules[name]
import hf_minrnn
assert load() == (hf_minrnn.MinRNNConfig, hf_minrnn.MinRNNForCausalLM) != first
assert [finder for finder in sys.meta_path if type(finder).__name__ == "_Finder"] == [hf_minrnn.registration._FINDER]
assert finders != [hf_minrnn.registration._FINDER]
""",
    "the module of the model type": """
import importlib, importlib.util
import hf_minrnn
from transformers import AutoConfig
import transformers.models.minrnn as alias
from transformers.models.minrnn import MinRNNConfig, modeling_minrnn
assert MinRNNConfig is hf_minrnn.MinRNNConfig and modeling_minrnn is hf_minrnn.modeling_minrnn
assert not hasattr(alias, "__path__") and not hasattr(alias, "MinTransformer")
assert importlib.util.find_spec("transformers.models.minrnn") is alias.__spec__
try:
    importlib.import_module("transformers.models.minrnn.modeling_minrnn")
except ModuleNotFoundError as error:
    assert "not a package" in str(error)
else:
    raise AssertionError
""",
    "with another finder of the same kind": """
import importlib.util, sys
seen = []
class Other:
    asking = False
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] != "transformers" or self.asking:
            return None
        self.asking = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self.asking = False
        seen.append(name)
        return spec
sys.meta_path.insert(0, Other())
import hf_minrnn
sys.meta_path.insert(0, Other())
import transformers.models.auto.modeling_auto
assert set(hf_minrnn.registration.CHANGES) - {"peft.utils.constants"} <= set(seen)
""",
}


ORDERS["nothing else is imported"] = """
import sys
import hf_minrnn
assert not {"transformers", "peft"} & set(sys.modules) and set(hf_minrnn.__all__) <= set(dir(hf_minrnn))
import transformers.models.auto.modeling_auto
for name in hf_minrnn.registration.CHANGES:  # the finder leaves no loader of its own on the modules
    assert name.startswith("peft") or type(sys.modules[name].__spec__.loader).__name__ == "SourceFileLoader", name
assert {name for name in sys.modules if name.startswith("hf_minrnn.")} == {"hf_minrnn.registration"}
"""


@pytest.fixture(scope="module")
def printed(folder):
    return run({order: f"{program}\ncheck({str(folder)!r})\n" for order, program in ORDERS.items()})


@pytest.mark.parametrize("order", ORDERS)
def test_any_import_order_registers_the_models(printed, order):
    assert printed[order].endswith("checked\n"), printed[order]


# The code that causes the problem, and the error message.
CANNOT_BE_IMPORTED = {
    "a file of this package is missing": ("import sys; sys.modules['hf_minrnn.compat'] = None", "hf_minrnn.compat"),
    "transformers is too old": (
        "import transformers.cache_utils\ntransformers.__version__ = '5.0.0'\n"
        "del transformers.cache_utils.DYNAMIC_LAYER_TYPE_MAPPING",
        "or later, found 5.0.0 (cannot import name 'DYNAMIC_LAYER_TYPE_MAPPING'",
    ),
}


def test_model_files_that_cannot_be_imported_only_fail_when_they_are_used(folder):
    program = f"""
from hf_minrnn import MinGRU
import transformers
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer, GPT2Config, PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

# Uses that must still work: lists of all models, lookups of any name, models of other types.
assert dict(CONFIG_MAPPING.items())["gpt2"] is GPT2Config
assert GPT2Config in list(AutoModelForCausalLM._model_mapping.keys())
for name in ("MinRNNModel", "MinRNNConfig"):
    found = getattr(transformers, name)
    assert found.__name__ == name and found.__module__ == "hf_minrnn" and name in repr(found)
    assert not hasattr(found, "__wrapped__") and not isinstance(1, found)
class Unknown(PreTrainedConfig):
    model_type = "unknown"
try:
    AutoModel.from_config(Unknown())
except ValueError as error:
    assert "Unrecognized configuration class" in str(error) and "MinRNNConfig" in str(error)
else:
    raise AssertionError

for ask in (
    lambda: AutoConfig.from_pretrained({str(folder)!r}),
    lambda: AutoModelForCausalLM.from_pretrained({str(folder)!r}),
    lambda: AutoConfig.for_model("minrnn"),
    lambda: transformers.MinRNNForCausalLM.from_pretrained({str(folder)!r}),
    lambda: transformers.MinRNNConfig(),
    lambda: __import__("hf_minrnn").MinRNNModel,
    lambda: hasattr(__import__("hf_minrnn"), "MinRNNModel"),
):
    try:
        ask()
    except ImportError as error:
        assert SAID in str(error), error
    else:
        raise AssertionError
print("checked")
"""
    printed = run(
        {name: f"SAID = {said!r}\n{broken}\n{program}" for name, (broken, said) in CANNOT_BE_IMPORTED.items()}
    )
    assert set(printed) == set(CANNOT_BE_IMPORTED)
    for text in printed.values():
        assert text.endswith("checked\n"), text


def test_a_version_without_the_tables_only_gives_a_warning(monkeypatch):
    for name in registration.CHANGES:
        module = type(sys)(name)
        monkeypatch.setitem(sys.modules, name, module)
        module.__spec__ = importlib.util.spec_from_loader(name, None)
        with pytest.warns(
            UserWarning, match=f"could not register its models in {name} .*{name.split('.')[0]} may be too"
        ):
            registration._change(name)


def test_an_attribute_set_on_transformers_takes_precedence(monkeypatch):
    monkeypatch.setattr(transformers, "MinRNNModel", int, raising=True)
    assert transformers.MinRNNModel is int
    monkeypatch.undo()
    assert transformers.MinRNNModel is hf_minrnn.MinRNNModel and not hasattr(transformers.models.llama, "MinRNNModel")


def test_registered_names_are_the_names_of_the_classes():
    for name in (registration.CONFIG, *registration.MODELS.values()):
        value = getattr(hf_minrnn, name)
        assert value.__name__ == name and pickle.loads(pickle.dumps(value)) is value
    assert hf_minrnn.MinRNNConfig.model_type == registration.MODEL_TYPE
    assert {reference.rpartition(".")[2] for reference in AUTO_MAP.values()} == {
        registration.CONFIG,
        *registration.MODELS.values(),
    }


def test_public_names():
    assert {name for names in hf_minrnn._MODULES.values() for name in names} == set(hf_minrnn.__all__)
    for module, names in hf_minrnn._MODULES.items():
        assert getattr(hf_minrnn, module).__name__ == f"hf_minrnn.{module}"
        for name in names:
            assert getattr(hf_minrnn, name).__module__ == f"hf_minrnn.{module}"
    with pytest.raises(AttributeError, match="module 'hf_minrnn' has no attribute 'MinTransformer'"):
        hf_minrnn.MinTransformer  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'MinTransformer'"):
        from hf_minrnn import MinTransformer  # noqa: F401


def test_every_module_is_an_attribute_of_the_package():
    names = sorted(path.stem for path in Path(hf_minrnn.__file__).parent.glob("[!_]*.py"))
    program = f"""
import hf_minrnn, sys
for name in {names}:
    sys.modules.pop(f"hf_minrnn.{{name}}", None)
    vars(hf_minrnn).pop(name, None)
    try:
        assert getattr(hf_minrnn, name) is sys.modules[f"hf_minrnn.{{name}}"]
    except ImportError:  # TorchRL is optional, and this file alone needs it
        assert name == "rl", name
assert hf_minrnn.tools is sys.modules["hf_minrnn.tools"]
for name in ("__main__", "_gates", "gates.CELL_TYPES", "README", "py.typed", ""):
    assert not hasattr(hf_minrnn, name), name
print("checked")
"""
    printed = run({"": program})[""]
    assert printed.endswith("checked\n"), printed


def test_the_imports_for_type_checkers_are_complete():
    tree = ast.parse(Path(hf_minrnn.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {node.module: [alias.name for alias in node.names] for node in block.body}
    assert seen == hf_minrnn._MODULES
