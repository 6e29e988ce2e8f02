# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The private names of torch that the package uses: this torch has them, and the package works without each of them."""

import ast
import json
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.fx.experimental import symbolic_shapes

import hf_minrnn
from hf_minrnn import torch_private
from hf_minrnn.torch_private import TESTED_TORCH, has_functional_derivative, is_eager, is_wrapped, warn_of_newer_torch

PACKAGE = Path(hf_minrnn.__file__).parent
# Names with a fallback. The semi-public ones have none, see the docstring of torch_private.py.
NAMES = (
    "torch._C._get_tracing_state",
    "torch._C._len_torch_dispatch_stack",
    "torch._C._is_any_autocast_enabled",
    "torch._C._functorch",
    "torch._C._functorch.peek_interpreter_stack",
    "torch._C._functorch.is_functorch_wrapped_tensor",
    "torch._C._functorch.is_gradtrackingtensor",
    "torch._C._functorch.get_unwrapped",
    "torch.jit.is_tracing",
    "torch._check",
    "torch._dynamo.mark_static_address",
    "torch.compiler._is_exporting_flag",
    "torch.autograd.forward_ad._current_level",
    "torch.nn.modules.module._global_forward_hooks",
    "torch.nn.modules.module._global_forward_pre_hooks",
    "torch.nn.Module._wrapped_call_impl",
    "torch.nn.Module()._forward_hooks",
    "torch.nn.Module()._forward_pre_hooks",
    "torch.nn.Module()._compiled_call_impl",
)
SEMI_PUBLIC = ("torch.nn.Module()._modules", "torch.nn.Module()._parameters")


@pytest.mark.parametrize("name", NAMES + SEMI_PUBLIC)
def test_torch_has_the_name(name):
    owner, _, attribute = name.rpartition(".")
    missing = f"torch {torch.__version__} has no {name}: find its replacement for hf_minrnn/torch_private.py"
    assert hasattr(eval(owner, {"torch": torch}), attribute), missing


def test_the_private_names_behave_as_expected():
    def marked():
        pass

    assert torch.compiler.assume_constant_result(marked)._dynamo_marked_constant is True
    assert torch_private.constant_result(lambda: None)._dynamo_marked_constant is True
    assert nn.Module.__call__ is torch_private.wrapped_call and torch_private.CAN_SKIP_MODULE_CALLS
    assert torch_private.check(True) is None
    with pytest.raises(RuntimeError):
        torch_private.check(False)
    with pytest.raises(RuntimeError, match="a size"):
        torch_private._check(False)


def test_without_transforms_nothing_is_active():
    assert forward_ad._current_level == -1 and symbolic_shapes.statically_known_true(True)
    assert callable(torch._dynamo.mark_static_address)
    assert torch._C._get_tracing_state() is None and torch._C._len_torch_dispatch_stack() == 0
    assert torch._C._functorch.peek_interpreter_stack() is None
    assert nn.modules.module._global_forward_hooks == nn.modules.module._global_forward_pre_hooks == {}
    assert nn.Linear(1, 1)._compiled_call_impl is None


def test_a_condition_is_decided_without_symbolic_shapes(monkeypatch):
    assert torch_private.is_known_true(True) and not torch_private.is_known_true(False)
    monkeypatch.delattr(symbolic_shapes, "statically_known_true")
    assert torch_private.is_known_true(True) and not torch_private.is_known_true(False)


def test_other_files_use_no_private_name_of_torch():
    """Exceptions are the semi-public attributes of modules, and the attributes that CAN_SKIP_MODULE_CALLS covers."""
    allowed = {"_modules", "_parameters", "_forward_hooks", "_forward_pre_hooks", "_compiled_call_impl"}
    listed = allowed | {name.rpartition(".")[2] for name in NAMES}
    for path in sorted(PACKAGE.rglob("*.py")):
        found = re.findall(r"\b(?:torch|nn|forward_ad|_functorch)(?:\.\w+)*\._(?!_)\w+(?:\.\w+)*", path.read_text())
        if path.stem == "torch_private":
            continue
        assert not found, f"{path.name} uses {found}: move them to torch_private.py"
        attributes = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
        assert attributes & listed <= allowed, f"{path.name} uses {attributes & listed - allowed}"


# Loads the package in forked processes, in each with some names hidden from torch_private.py, and prints what they compute.
PROGRAM = """
import importlib.util, json, os, sys, types, warnings
import torch
torch.set_num_threads(1)
# What takes long to import, once for all processes.
import torch._dynamo, torch.fx.experimental.symbolic_shapes
from transformers import DynamicCache, GenerationMixin, PreTrainedModel
torch.func.jvp(torch.sin, (torch.ones(1),), (torch.ones(1),))

def hide(names):
    hidden = {tuple(name.replace("()", "").rsplit(".", 1)) for name in names}
    def find(owner, attribute, *default):
        for path, name in hidden:
            # Compared as objects: a module and an instance of nn.Module have other names in different places.
            real = eval(path, {"torch": torch})
            if name == attribute and (owner is real or (isinstance(real, type) and isinstance(owner, real))):
                return default[0]
        return getattr(owner, attribute, *default)
    import hf_minrnn
    spec = importlib.util.find_spec("hf_minrnn.torch_private")
    module = importlib.util.module_from_spec(spec)
    module.getattr = find  # found before the built-in function
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)

def run():
    from hf_minrnn import MinGRU, MinRNNConfig, MinRNNForCausalLM, minrnn_scan
    torch.manual_seed(0)
    config = MinRNNConfig(vocab_size=17, hidden_size=8, num_hidden_layers=2, initializer_range=0.5)
    model = MinRNNForCausalLM(config)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    ids = torch.randint(1, 17, (2, 9))
    losses = []
    for _ in range(2):
        loss = model(ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    new = model.eval().generate(ids, max_new_tokens=3, do_sample=False, pad_token_id=0)
    static = model.generate(ids, max_new_tokens=3, do_sample=False, pad_token_id=0, cache_implementation="static")
    x = torch.randn(2, 5, 4)
    layer, packed = MinGRU(4, 8, batch_first=True), torch.nn.utils.rnn.pack_sequence([x[0], x[1, :3]])
    with torch.autocast("cpu", torch.bfloat16):
        half = layer(x)[0].float()
    steps = torch.randn(3, 1, 5, 4)
    scan = lambda p, **options: minrnn_scan(p, "mingru", **options)[0].square().sum()
    gradients = torch.vmap(torch.func.grad(scan))(steps)
    tangent = torch.func.jvp(scan, (steps[0],), (torch.ones_like(steps[0]),))[1]
    plain = minrnn_scan(steps[0], "mingru", backend="torch", cu_seqlens=torch.tensor([0, 2, 5]))[0]
    values = [half, layer(packed)[0].data, gradients, tangent, plain]
    return {"losses": losses, "tokens": new.tolist(), "static": static.tolist(), "sums": [v.sum().item() for v in values]}

found = {}
for case, names in json.loads(sys.argv[1]).items():
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            hide(names)
            result = run()
        except BaseException as error:
            import traceback
            result = traceback.format_exc()
        os.write(writer, json.dumps(result).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        found[case] = json.loads(file.read())
    os.waitpid(process, 0)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def computed():
    cases = {"nothing": [], "everything": list(NAMES)} | {name: [name] for name in NAMES}
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(cases)], capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="each case runs in a forked process")
@pytest.mark.parametrize("name", [*NAMES, "everything"])
def test_training_and_generation_work_without_the_name(name, computed):
    want, got = computed["nothing"], computed[name]
    assert isinstance(want, dict), want
    assert isinstance(got, dict), got
    assert got["tokens"] == want["tokens"] == want["static"] == got["static"]
    torch.testing.assert_close(torch.tensor(got["losses"]), torch.tensor(want["losses"]))
    torch.testing.assert_close(torch.tensor(got["sums"]), torch.tensor(want["sums"]), rtol=1e-3, atol=1e-4)


def test_transformed_tensors_are_recognised():
    seen = []

    def look(x):
        seen.append((is_wrapped(x), torch_private._has_no_storage(x), has_functional_derivative(x), is_eager()))
        return x.sum()

    look(torch.ones(2))
    torch.vmap(look)(torch.ones(2, 2))
    torch.func.grad(look)(torch.ones(2))
    torch.func.jvp(look, (torch.ones(2),), (torch.ones(2),))
    assert seen == [(False, False, False, True), (True, True, False, False), (True, True, True, False), seen[3]]
    assert seen[3][2]
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(torch.ones(2), torch.ones(2))
        assert has_functional_derivative(None, dual) and not has_functional_derivative(torch.ones(2))


@pytest.mark.parametrize("version", ["99.0.0", "99.1.0a0+git1234"])
def test_newer_versions_warn(version):
    with pytest.warns(
        UserWarning, match=rf"tested with torch up to {TESTED_TORCH}, and this is torch {re.escape(version)}"
    ):
        warn_of_newer_torch(version)


def test_tested_and_older_versions_do_not_warn():
    major, minor = TESTED_TORCH.split(".")[:2]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for version in (
            TESTED_TORCH,
            "2.11.0",
            f"{major}.{minor}.9+cu130",
            f"{major}.{minor}.0.dev20260101",
            torch.__version__,
        ):
            warn_of_newer_torch(version)


def test_the_tested_version_is_the_one_of_the_constraints():
    constraints = PACKAGE.parent / "constraints.txt"
    assert f"torch=={TESTED_TORCH}" in constraints.read_text().splitlines()


def test_importing_with_a_newer_torch_warns_once_and_works():
    program = """
import warnings
import torch
torch.__version__ = torch.torch_version.TorchVersion("99.0.0")
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    from hf_minrnn import MinGRU, MinLSTM, minrnn_scan
    MinGRU(2, 3)(torch.zeros(4, 1, 2)), MinLSTM(2, 3)
print([str(w.message) for w in said if "hf_minrnn" in str(w.message)])
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert run.stdout.count("this is torch 99.0.0") == 1, run.stdout + run.stderr
