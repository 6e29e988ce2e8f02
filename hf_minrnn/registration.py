# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Registers the model type with transformers and PEFT, without importing either of them.

transformers finds its own models by name. Its tables map a model type to the names of classes, and the module
`transformers.models.<type>` contains these classes. It imports a model only when a class is used. `install` adds the names of
this package to the tables in the same form, with a module `transformers.models.minrnn` that has the attributes of this package.
It also adds default target modules to PEFT's tables.

If the module that contains a table has been imported, `install` changes the table at once. If another thread is still importing
that module, `install` waits for it. If the module has not been imported, a finder on `sys.meta_path` changes the table right
after the import. A program that only uses the layers pays nothing for it.

If the model files cannot be imported, the tables contain placeholders, like those of transformers for classes whose
requirements are missing. The tables can still be listed, and using a placeholder raises the error of the import.
"""

import importlib
import sys
import warnings
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

MODEL_TYPE, CONFIG = "minrnn", "MinRNNConfig"
# Class for each of transformers' tables, by the beginning of the table's name.
MODELS = {
    "MODEL": "MinRNNModel",
    "MODEL_FOR_CAUSAL_LM": "MinRNNForCausalLM",
    "MODEL_FOR_SEQUENCE_CLASSIFICATION": "MinRNNForSequenceClassification",
    "MODEL_FOR_TOKEN_CLASSIFICATION": "MinRNNForTokenClassification",
    "MODEL_FOR_QUESTION_ANSWERING": "MinRNNForQuestionAnswering",
}

# Modules that PEFT adapts by default: those that mix tokens. Some methods need other modules.
TARGETS = ["in_proj", "out_proj"]
OTHER_TARGETS = {
    "BEFT": ["in_proj"],  # the method trains biases
    "IA3": ["in_proj", "down_proj"],
    "LNTUNING": ["norm", "mlp_norm"],
    "OSF": ["pointwise", "in_proj", "out_proj", "gate_proj", "up_proj", "down_proj"],
}


class _Unavailable(type):
    """Type of the placeholders for classes that cannot be imported. Using a placeholder raises the error of the import."""

    def __new__(cls, name: str, error: ImportError):
        return super().__new__(cls, name, (), {"__module__": __package__})

    def __init__(cls, name: str, error: ImportError):
        super().__init__(name, (), {})
        cls._error = error

    def __getattr__(cls, name):
        if name.startswith("__"):  # inspect looks for such names on any object
            raise AttributeError(f"type object {cls.__name__!r} has no attribute {name!r}")
        raise ImportError(str(cls._error)) from cls._error

    def __call__(cls, *args, **options):
        raise ImportError(str(cls._error)) from cls._error


def _find_class(name: str):
    # Not a variable: the package may have been removed from sys.modules and imported again.
    package = importlib.import_module(__name__.rpartition(".")[0])
    try:
        return getattr(package, name)
    except ImportError as error:
        return _Unavailable(name, error)


class _Alias(ModuleType):
    """Module `transformers.models.minrnn`, with the attributes of this package.

    The package itself cannot be used: it has a `__path__`, so `import transformers.models.minrnn.modeling_minrnn` would load a
    second copy of the file.
    """

    def __init__(self):
        name = f"transformers.models.{MODEL_TYPE}"
        super().__init__(name, f"Models of {__package__}.")
        self.__spec__ = ModuleSpec(name, None, origin=__file__)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return _find_class(name)


class _Attribute:
    """Descriptor that makes a class of this package an attribute of the module transformers.

    An attribute that is set on the module itself has precedence.
    """

    def __init__(self, name: str):
        self.name = name

    def __get__(self, module, owner=None):
        if getattr(module, "__name__", None) != "transformers":
            raise AttributeError(self.name)
        return _find_class(self.name)


def _add_attributes(import_utils) -> None:
    # TRL, MLflow, `transformers serve` and pipelines with an assistant look up `transformers.MinRNNForCausalLM`. The attribute
    # is set on the class of the module, as there are several modules: transformers.processing_utils makes a second one.
    for name in (CONFIG, *MODELS.values()):
        setattr(import_utils._LazyModule, name, _Attribute(name))


def _add_config(configuration_auto) -> None:
    alias = _Alias()
    sys.modules[alias.__name__] = alias
    configuration_auto.CONFIG_MAPPING_NAMES[MODEL_TYPE] = CONFIG


def _add_models(modeling_auto) -> None:
    for table, name in MODELS.items():
        getattr(modeling_auto, f"{table}_MAPPING_NAMES")[MODEL_TYPE] = name
        # transformers built this inverse table when it imported the module, possibly before our config was registered.
        getattr(modeling_auto, f"{table}_MAPPING")._reverse_config_mapping[CONFIG] = MODEL_TYPE


def _add_targets(constants) -> None:
    prefix, suffix = "TRANSFORMERS_MODELS_TO_", "_TARGET_MODULES_MAPPING"
    for name, table in vars(constants).items():
        if name.startswith(prefix) and name.endswith(suffix):
            method = name.removeprefix(prefix).removesuffix(suffix)
            table.setdefault(MODEL_TYPE, OTHER_TARGETS.get(method, TARGETS))
    constants.TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING.setdefault(MODEL_TYPE, ["down_proj"])


CHANGES = {
    "transformers.utils.import_utils": _add_attributes,
    "transformers.models.auto.configuration_auto": _add_config,
    "transformers.models.auto.modeling_auto": _add_models,
    "peft.utils.constants": _add_targets,
}


def _change(name: str) -> None:
    try:
        CHANGES[name](sys.modules[name])
    except AttributeError as error:  # another version of transformers; most of this package works without the tables
        warnings.warn(
            f"hf_minrnn could not register its models in {name} ({error}): {name.split('.')[0]} may be too old or too new, "
            "install a version that hf_minrnn was tested with",
            stacklevel=2,
        )


class _ChangingLoader(Loader):
    """Runs another loader, then changes the tables of the module that it has loaded."""

    loader: Any = None  # without a default, __getattr__ would not end on an instance that copy.copy makes

    def __init__(self, loader: Any):
        self.loader = loader

    def __getattr__(self, name):
        return getattr(self.loader, name)

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        spec: Any = module.__spec__
        spec.loader = module.__loader__ = self.loader  # this loader must leave no trace
        name = spec.name
        self.loader.exec_module(module)
        _change(name)


class _Finder(MetaPathFinder):
    """Finds modules with the other finders, and wraps their loader in a `_ChangingLoader`."""

    def __init__(self):
        self.asking: set[str] = set()  # modules that the other finders are looking for

    def find_spec(self, name, path=None, target=None):
        if name not in CHANGES or name in self.asking:
            return None
        self.asking.add(name)  # another finder that works like this one may ask this one
        try:
            others = [finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec")]
            specs = (finder.find_spec(name, path, target) for finder in others)
            spec = next((spec for spec in specs if spec is not None), None)
        finally:
            self.asking.discard(name)
        if spec is not None and hasattr(spec.loader, "exec_module"):
            spec.loader = _ChangingLoader(spec.loader)
        return spec


_FINDER = _Finder()


def _is_of_another_copy(finder) -> bool:
    kind = type(finder)
    return kind is not _Finder and (kind.__module__, kind.__qualname__) == (_Finder.__module__, _Finder.__qualname__)


def install() -> None:
    """Registers the model type with transformers and PEFT, whether they have been imported or not.

    It can be called again without harm.
    """
    for finder in list(sys.meta_path):
        if _is_of_another_copy(finder):  # from an earlier import of this package
            sys.meta_path.remove(finder)
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
    for name in CHANGES:
        if name in sys.modules:
            importlib.import_module(name)  # waits for another thread that is importing it
            _change(name)
