# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Makes transformers and PEFT know the model type, without importing either of them.

transformers describes its own models by name: tables that lead from a model type to the names of classes, and
`transformers.models.<type>`, the module that has them. Nothing is imported before somebody asks for a class. `install` adds
this package's names to these tables in the same way, with a module `transformers.models.minrnn` that leads to this package, and
its default target modules to PEFT's tables.

If the module that holds a table has been imported, `install` changes the table at once, and waits for another thread that is
still importing that module. Otherwise a finder on `sys.meta_path` changes the table right after the import. This later change
imports nothing and waits for nothing, and it costs nothing in a program that uses the layers alone.

If the model files cannot be imported, the tables hold placeholders, as transformers has them for classes whose requirements are
missing. The tables can be listed as ever, and the use of a placeholder raises the error of the import.
"""

import importlib
import sys
import warnings
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

MODEL_TYPE, CONFIG = "minrnn", "MinRNNConfig"
# The class for each Auto class, under the name that transformers' tables have for it.
MODELS = {
    "MODEL": "MinRNNModel",
    "MODEL_FOR_CAUSAL_LM": "MinRNNForCausalLM",
    "MODEL_FOR_SEQUENCE_CLASSIFICATION": "MinRNNForSequenceClassification",
    "MODEL_FOR_TOKEN_CLASSIFICATION": "MinRNNForTokenClassification",
    "MODEL_FOR_QUESTION_ANSWERING": "MinRNNForQuestionAnswering",
}

# PEFT adapts what mixes tokens by default, and with these methods something else.
TARGETS = ["in_proj", "out_proj"]
OTHER_TARGETS = {
    "BEFT": ["in_proj"],  # trains biases
    "IA3": ["in_proj", "down_proj"],
    "LNTUNING": ["norm", "mlp_norm"],
    "OSF": ["pointwise", "in_proj", "out_proj", "gate_proj", "up_proj", "down_proj"],
}


class _Unavailable(type):
    """The type of the placeholders for classes that cannot be imported: any use of one raises the error of the import."""

    def __new__(cls, name: str, error: ImportError):
        return super().__new__(cls, name, (), {"__module__": __package__, "_error": error})

    def __init__(cls, name: str, error: ImportError):
        super().__init__(name, (), {})

    def __getattr__(cls, name):
        if name.startswith("__"):  # inspection of any object asks for such names
            raise AttributeError(f"type object {cls.__name__!r} has no attribute {name!r}")
        raise ImportError(str(cls._error)) from cls._error

    def __call__(cls, *args, **options):
        raise ImportError(str(cls._error)) from cls._error


def _find_class(name: str):
    package = importlib.import_module(__package__)  # not a variable: the package may have been imported a second time
    try:
        return getattr(package, name)
    except ImportError as error:
        return _Unavailable(name, error)


class _Alias(ModuleType):
    """The module `transformers.models.minrnn`, with the attributes of this package.

    It is not the package itself: the `__path__` of a package would let `import transformers.models.minrnn.modeling_minrnn`
    load a second copy of the file.
    """

    def __init__(self):
        name = f"transformers.models.{MODEL_TYPE}"
        super().__init__(name, f"The models of {__package__}.")
        self.__spec__ = ModuleSpec(name, None, origin=__file__)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return _find_class(name)


class _Attribute:
    """A class of this package, as an attribute of the module transformers; what is set on the module itself comes first."""

    def __init__(self, name: str):
        self.name = name

    def __get__(self, module, owner=None):
        if getattr(module, "__name__", None) != "transformers":
            raise AttributeError(self.name)
        return _find_class(self.name)


def _add_attributes(import_utils) -> None:
    # TRL, MLflow, `transformers serve` and pipelines with an assistant look up `transformers.MinRNNForCausalLM`. The class
    # of the module gets it, as there is more than one such module: transformers.processing_utils makes another.
    for name in (CONFIG, *MODELS.values()):
        setattr(import_utils._LazyModule, name, _Attribute(name))


def _add_config(configuration_auto) -> None:
    alias = _Alias()
    sys.modules[alias.__name__] = alias
    configuration_auto.CONFIG_MAPPING_NAMES[MODEL_TYPE] = CONFIG


def _add_models(modeling_auto) -> None:
    for table, name in MODELS.items():
        getattr(modeling_auto, f"{table}_MAPPING_NAMES")[MODEL_TYPE] = name
        # Made from the configs' names when the module was imported, which may have been before ours was there.
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
    except AttributeError as error:  # another version: what does not need the tables must go on working
        warnings.warn(
            f"hf_minrnn could not register its models in {name} ({error}). {name.split('.')[0]} may be too old or too new "
            "for this version of hf_minrnn.",
            stacklevel=2,
        )


class _ChangingLoader(Loader):
    """Another loader, followed by the change of what it has loaded."""

    loader: Loader | None = None

    def __init__(self, loader):
        self.loader = loader

    def __getattr__(self, name):
        return getattr(self.loader, name)

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        module.__spec__.loader = module.__loader__ = self.loader  # as if this one had never been there
        name = module.__spec__.name
        self.loader.exec_module(module)
        _change(name)


class _Finder(MetaPathFinder):
    """Leaves the search to the other finders, and gives what they find to a `_ChangingLoader`."""

    def __init__(self):
        self.asking = set()

    def find_spec(self, name, path=None, target=None):
        if name not in CHANGES or name in self.asking:
            return None
        self.asking.add(name)  # another finder of this kind may ask this one in turn
        try:
            others = [finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec")]
            found = (finder.find_spec(name, path, target) for finder in others)
            spec = next((spec for spec in found if spec is not None), None)
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
    """Registers the model type, now and with what is imported later; harmless when it is called again."""
    for finder in list(sys.meta_path):
        if _is_of_another_copy(finder):  # left by an earlier import of this package
            sys.meta_path.remove(finder)
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
    for name in CHANGES:
        if name in sys.modules:
            importlib.import_module(name)  # waits for another thread that is importing it
            _change(name)
