# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Cheaper calls for single tokens of small models, where calling a module costs more than its arithmetic.

They run the same code. Where a module is hooked, patched, traced or differentiated, the ordinary call is made.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.fx import Proxy
from torch.nn.modules import linear

from .torch_private import (
    CAN_SKIP_MODULE_CALLS,
    get_tracing_state,
    global_forward_hooks,
    global_forward_pre_hooks,
    wrapped_call,
)

# torch's own nn.Linear.forward, or None if a library had replaced it before this file was imported.
_LINEAR_FORWARD = nn.Linear.forward
if getattr(_LINEAR_FORWARD, "__code__", None) is None or _LINEAR_FORWARD.__code__.co_filename != linear.__file__:
    _LINEAR_FORWARD = None


def forwards(module: nn.Module, *names: str) -> list:
    """Callables that do the same as calling each of a module's submodules, with less overhead where nothing is hooked to
    them; `None` for a submodule that does not exist.

    >>> model = nn.Sequential(nn.Linear(2, 3))
    >>> with torch.no_grad():
    ...     (first, second) = forwards(model, "0", "1")
    >>> torch.equal(first(torch.ones(1, 2)), model(torch.ones(1, 2))), second
    (True, None)
    """
    modules = module._modules
    if (
        torch.is_grad_enabled()
        or not CAN_SKIP_MODULE_CALLS
        or global_forward_hooks
        or global_forward_pre_hooks
        or nn.Module.__call__ is not wrapped_call  # replaced, as torch.fx does while it traces
        or torch.compiler.is_compiling()
        or get_tracing_state() is not None
    ):
        return [modules.get(name) for name in names]
    return [_forward(modules.get(name)) for name in names]


def _forward(module):
    if module is None or module._forward_hooks or module._forward_pre_hooks or module._compiled_call_impl:
        return module
    kind = type(module)
    if kind.__call__ is not nn.Module.__call__:
        return module
    if kind is nn.Linear and nn.Linear.forward is _LINEAR_FORWARD and "forward" not in module.__dict__:
        weight, parameters = module._parameters.get("weight"), module._parameters
        # Something else may provide the weight or the bias, or the weight may be of another kind.
        if type(weight) is nn.Parameter and "bias" in parameters:
            return partial(F.linear, weight=weight, bias=parameters["bias"])
    return module.forward


def leaf_node(module: nn.Module, forward: Callable, *args: Any, **kwargs: Any) -> Any:
    """Returns one graph node for a call of `module` if `torch.fx.symbolic_trace` runs, as it makes for torch.nn's modules.

    Call it at the top of `forward`, and return its result unless that is `None`. It is `None` outside of a trace, and for a
    subclass with its own `forward`: one node would stand for all of that. A decorator is not used because all decorated
    functions would share its code object, and with it torch.compile's limit on recompilations.

    >>> class Double(nn.Module):
    ...     def forward(self, x):
    ...         node = leaf_node(self, Double.forward, x)
    ...         if node is not None:
    ...             return node
    ...         return 2 * x if x.sum() > 0 else x
    >>> traced = torch.fx.symbolic_trace(nn.Sequential(Double()))
    >>> [node.op for node in traced.graph.nodes], traced(torch.ones(1)).item()
    (['placeholder', 'call_module', 'output'], 2.0)
    """
    tracer: Any = None
    for value in (*args, *kwargs.values()):
        for one in value if isinstance(value, tuple) else (value,):  # a tuple is a pair of states
            if isinstance(one, Proxy):
                tracer = one.tracer
    if tracer is None or module is tracer.root or type(module).forward is not forward:
        return None
    return tracer.create_proxy("call_module", tracer.path_of_module(module), args, kwargs)


def make_output(output_class, **values):
    """`output_class(**values)`, an output class of transformers.

    >>> from transformers.modeling_outputs import BaseModelOutput
    >>> make_output(BaseModelOutput, last_hidden_state=torch.ones(1)).keys()
    odict_keys(['last_hidden_state'])
    """
    if torch.compiler.is_compiling():
        return output_class(**values)
    output = output_class.__new__(output_class)
    output.__dict__.update(dict.fromkeys(output_class.__dataclass_fields__), **values)
    for name in output_class.__dataclass_fields__:
        if values.get(name) is not None:
            OrderedDict.__setitem__(output, name, values[name])
    return output
