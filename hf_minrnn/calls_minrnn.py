# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Shortcuts that make a single token of a small model faster. They do not change any result.

You can ignore them while you read the model: `norm, mlp = forwards(self, "norm", "mlp")` stands for `self.norm` and `self.mlp`,
and `make_output(cls, ...)` for `cls(...)`. They matter for models so small that calling Python takes longer than the arithmetic
of a token. `leaf_node` serves torch.fx instead.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.fx import Proxy

from .torch_private import (
    CAN_SKIP_MODULE_CALLS,
    get_tracing_state,
    global_forward_hooks,
    global_forward_pre_hooks,
    wrapped_call,
)


def forwards(module: nn.Module, *names: str) -> list[Any]:
    """Returns submodules by name, or their `forward` methods where that gives the same result: without gradients, hooks,
    tracing or compilation. `None` stands for a submodule that does not exist.

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
        return list(map(modules.get, names))
    found = []
    for name in names:
        child = modules.get(name)
        if child is not None and type(child).__call__ is nn.Module.__call__:
            replaced = child._forward_hooks or child._forward_pre_hooks or child._compiled_call_impl
            if not replaced:
                child = child.forward
        found.append(child)
    return found


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


def make_output(output_class: Any, **values: Any) -> Any:
    """Returns `output_class(**values)`, an output class of transformers. `values` must be in the order of its fields.

    >>> from transformers.modeling_outputs import BaseModelOutput
    >>> make_output(BaseModelOutput, last_hidden_state=torch.ones(1)).keys()
    odict_keys(['last_hidden_state'])
    """
    if torch.compiler.is_compiling():
        return output_class(**values)
    # The constructor inspects its fields and their values each time. This only sets them.
    output = output_class.__new__(output_class)
    output.__dict__.update(dict.fromkeys(output_class.__dataclass_fields__), **values)
    for name, value in values.items():
        if value is not None:
            OrderedDict.__setitem__(output, name, value)
    return output
