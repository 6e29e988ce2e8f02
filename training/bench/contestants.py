# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The registry of everything that the benchmarks time: this package's scans, layers and models, and those of others.

There are four dictionaries of `Contestant`s by name, one for each kind:

- `SCANS`: functions of `(projected [B, T, K*D], cell_type)` that return h `[B, T, D]`;
- `LAYERS`: modules from `[B, T, D]` to an output with the same first two dimensions, an input projection and a recurrence;
- `MODULES`: replacements of `nn.GRU` and `nn.LSTM`, with their arguments and outputs;
- `MODELS`: causal language models of transformers, or with a forward that returns logits.

To add a comparator, write a function that makes it, add an entry here, and add its name to the list of names in a benchmark. If
it must compute the same as another contestant, give it the same weights and set `same_as` and `limits`: the benchmarks then
compare outputs and gradients before they time anything. Packages are imported when a contestant is made, so that the processes
that measure memory start quickly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from hf_minrnn import MinGRU, MinGRUCell, MinLSTM, MinLSTMCell
from hf_minrnn.gates import NUM_PARTS
from hf_minrnn.scan import minrnn_scan
from hf_minrnn.scan_choice import available_backends
from hf_minrnn.scan_op import OP_BACKENDS
from training.common.widths import count

SMALL = 1 << 17  # elements of batch * time * channels up to which loops run on a CPU


@dataclass(frozen=True)
class Contestant:
    """A scan, layer or model that takes part in benchmarks.

    Args:
        make (`Callable`): Makes it. Arguments: none for `SCANS`, the number of channels for `LAYERS`, those of `nn.GRU` for
            `MODULES`, and `(num_layers, hidden_size, vocab_size, **options)` for `MODELS`.
        same_as (`str`, *optional*): Contestant that computes the same from the same weights.
        limits (`tuple[float, float]`): Largest differences of the outputs and of the gradients by the input from those of
            `same_as`, relative to the norm.
        package (`str`, *optional*): Import name of the optional package that it needs.
        gpu_only (`bool`): Whether it runs on a GPU only.
        loop_on_cpu (`bool`): Whether it is a loop over time on a CPU, or as slow as one.
        compiled (`bool`): Whether torch compiles it for every shape.
    """

    make: Callable[..., Any]
    same_as: str | None = None
    limits: tuple[float, float] = (1e-5, 1e-5)
    package: str | None = None
    gpu_only: bool = False
    loop_on_cpu: bool = False
    compiled: bool = False


# The error of the log-space scan itself grows with length: 4e-4 at 4096 steps and gates N(0, 1).
LOG_SPACE_LIMITS = (1e-2, 1e-1)


# --- scans -----------------------------------------------------------------------------------------------------------


def backend_scan(backend: str) -> Callable[[torch.Tensor, str], torch.Tensor]:
    """Returns the scan of this package on one backend."""
    return lambda projected, cell_type: minrnn_scan(projected, cell_type, backend=backend)[0]


def log_space_scan(log_decay: torch.Tensor, log_value: torch.Tensor) -> torch.Tensor:
    """Returns h[t] = exp(log_decay[t]) * h[t-1] + exp(log_value[t]) from zero, as in appendix B of arXiv 2410.01201."""
    total = log_decay.cumsum(1)
    return torch.exp(total + torch.logcumsumexp(log_value - total, dim=1))


def log_activation(x: torch.Tensor) -> torch.Tensor:
    """Returns log g(x), without a branch that could become infinite."""
    return torch.where(x >= 0, torch.log(F.relu(x) + 0.5), -F.softplus(-x))


def log_space(projected: torch.Tensor, cell_type: str) -> torch.Tensor:
    """Computes minGRU or normalised minLSTM with the activation g, all in logarithms."""
    *gates, candidate = projected.chunk(NUM_PARTS[cell_type], -1)
    if cell_type == "mingru":
        logit = gates[0]
    else:  # the logit of the input gate: the two gates of minLSTM divided by their sum are one gate
        logit = F.softplus(-gates[0]) - F.softplus(-gates[1])
    return log_space_scan(-F.softplus(logit), -F.softplus(-logit) + log_activation(candidate))


def logit_and_candidate(projected: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the logit of minGRU's input gate, and its candidate after the activation g."""
    logit, candidate = projected.chunk(2, -1)
    return logit, torch.where(candidate >= 0, candidate + 0.5, torch.sigmoid(candidate))


def decay_and_added(projected: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns minGRU as h[t] = decay[t] * h[t-1] + added[t]."""
    logit, candidate = logit_and_candidate(projected)
    return torch.sigmoid(-logit), torch.sigmoid(logit) * candidate


def loop(projected: torch.Tensor, cell_type: str) -> torch.Tensor:
    """Computes minGRU with the activation g in a loop over time, with autograd; `cell_type` must be "mingru"."""
    logit, candidate = logit_and_candidate(projected)
    h = torch.zeros_like(candidate[:, 0])
    states = []
    for gate_t, candidate_t in zip(torch.sigmoid(logit).unbind(1), candidate.unbind(1)):
        h = torch.lerp(h, candidate_t, gate_t)
        states.append(h)
    return torch.stack(states, 1)


REFERENCE_SCAN = "torch"
SCANS: dict[str, Contestant] = {
    name: Contestant(lambda name=name: backend_scan(name), same_as=REFERENCE_SCAN) for name in OP_BACKENDS
}
SCANS |= {
    "log-space": Contestant(lambda: log_space, same_as=REFERENCE_SCAN, limits=LOG_SPACE_LIMITS),
    "loop": Contestant(lambda: loop, same_as=REFERENCE_SCAN, limits=(1e-4, 1e-4)),
}


def floor_bytes(cell_type: str, shape: tuple[int, int, int], itemsize: int = 4) -> tuple[int, int]:
    """Returns the bytes that forward and backward of a scan cannot avoid moving.

    >>> floor_bytes("mingru", (1, 1, 1), 2), floor_bytes("minlstm", (1, 1, 1))
    ((6, 12), (16, 32))
    """
    batch, time, channels = shape
    elements = batch * time * channels * itemsize
    parts = NUM_PARTS[cell_type]
    return (parts + 1) * elements, (2 * parts + 2) * elements


def fast_backends() -> list[str]:
    """Returns the backends with a forward and a backward kernel that run on this CPU, without the reference."""
    return [name for name in available_backends("cpu") if name in OP_BACKENDS and name != "reference"]


# --- layers ----------------------------------------------------------------------------------------------------------


class Layer(nn.Module):
    """A module followed by a function that turns its output into `[B, T, D]`."""

    def __init__(self, module: nn.Module, finish: Callable = lambda y: y):
        super().__init__()
        self.module = module
        self.finish = finish

    def forward(self, x):
        return self.finish(self.module(x))


def first_output(module: nn.Module) -> Layer:
    """Returns a layer that keeps only the first output of a module."""
    return Layer(module, lambda outputs: outputs[0])


def gate_weights(channels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the gate's and the candidate's matrix `(channels, channels)` of minGRU, the same at every call."""
    generator = torch.Generator().manual_seed(channels)
    gate, candidate = torch.randn(2, channels, channels, generator=generator) / channels**0.5
    return gate, candidate


def linear(*weights: torch.Tensor) -> nn.Linear:
    """Returns a Linear with these blocks of rows as its weight and a bias of zero."""
    module = nn.Linear(weights[0].shape[1], sum(len(weight) for weight in weights))
    with torch.no_grad():
        module.weight.copy_(torch.cat(weights))
        module.bias.zero_()
    return module


def mingru(channels: int) -> nn.Module:
    """Makes the minGRU cell of this package."""
    cell = MinGRUCell(channels, channels)
    cell.in_proj = linear(*gate_weights(channels))
    return first_output(cell)


def minlstm(channels: int) -> nn.Module:
    """Makes the minLSTM cell of this package."""
    return first_output(MinLSTMCell(channels, channels))


def mingru_with(scan: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[int], nn.Module]:
    """Returns a function that makes a layer of minGRU's Linear and another scan of the projected input."""
    return lambda channels: Layer(linear(*gate_weights(channels)), scan)


def mingru_pytorch(channels: int) -> nn.Module:
    """Makes the minGRU of the package minGRU-pytorch: it scans in log space, and its Linear has no bias."""
    from minGRU_pytorch import minGRU

    module = minGRU(channels)
    gate, candidate = gate_weights(channels)
    with torch.no_grad():
        module.to_hidden_and_gate.weight.copy_(torch.cat([candidate, gate]))
    return Layer(module)


def compose(first, second):
    """Combines two steps h -> a * h + b into one."""
    return first[0] * second[0], second[0] * first[1] + second[1]


def associative_scan(projected: torch.Tensor) -> torch.Tensor:
    """Computes minGRU with the associative_scan of PyTorch, which is meant to be compiled."""
    from torch._higher_order_ops.associative_scan import associative_scan

    mode = "pointwise" if projected.is_cuda else "generic"  # the CPU has no other mode
    return associative_scan(compose, decay_and_added(projected), 1, combine_mode=mode)[1]


def accelerated_scan(projected: torch.Tensor) -> torch.Tensor:
    """Computes minGRU with the package accelerated-scan, whose tensors have channels before time."""
    from accelerated_scan.scalar import scan

    decay, added = (tensor.transpose(1, 2).contiguous() for tensor in decay_and_added(projected))
    return scan(decay, added).transpose(1, 2)


def hgrn(mode: str) -> Callable[[int], nn.Module]:
    """Returns a function that makes a Linear and the HGRN scan of flash-linear-attention, the nearest relative of minGRU."""

    def scan(projected: torch.Tensor) -> torch.Tensor:
        from fla.ops import hgrn

        gate, candidate = projected.chunk(2, -1)
        log_decay = F.logsigmoid(gate)
        added = (1 - log_decay.exp()) * F.silu(candidate)
        return getattr(hgrn, f"{mode}_hgrn")(added, log_decay)[0]

    return lambda channels: Layer(nn.Linear(channels, 2 * channels), scan)


class StepByStep(nn.Module):
    """nn.GRU or nn.LSTM as a Python loop over its cell, with the same weights: the baseline of arXiv 2410.01201."""

    def __init__(self, fused: nn.GRU | nn.LSTM):
        super().__init__()
        make = nn.GRUCell if isinstance(fused, nn.GRU) else nn.LSTMCell
        self.cell = make(fused.input_size, fused.hidden_size)
        self.cell.load_state_dict({name.removesuffix("_l0"): weight for name, weight in fused.state_dict().items()})

    def forward(self, x):
        state = None
        outputs = []
        for x_t in x.unbind(1):
            state = self.cell(x_t, state)
            outputs.append(state[0] if isinstance(state, tuple) else state)
        return torch.stack(outputs, 1)


def log_space_layer(cell: nn.Module, cell_type: str) -> nn.Module:
    """Makes a layer of a cell's Linear and the log-space scan."""
    return Layer(cell.module.in_proj, lambda projected: log_space(projected, cell_type))


def equal_parameters(channels: int) -> int:
    """Returns the hidden size w at which nn.GRU has as many weights as a minGRU of `channels` d, a multiple of 8.

    It solves 3 w (d + w) = 2 d^2.

    >>> equal_parameters(1024)
    472
    """
    return 8 * max(round(channels * (33**0.5 - 3) / 6 / 8), 1)


def mamba_mixer(channels: int) -> nn.Module:
    """Makes one mixer layer of the Mamba of transformers, with the scan of mambapy where it is installed."""
    from transformers import MambaConfig
    from transformers.models.mamba.modeling_mamba import MambaMixer
    from transformers.utils.import_utils import is_mambapy_available

    return Layer(MambaMixer(MambaConfig(hidden_size=channels, use_mambapy=is_mambapy_available()), layer_idx=0))


LAYERS: dict[str, Contestant] = {
    "minGRU": Contestant(mingru),
    "minLSTM": Contestant(minlstm),
    "matmul of minGRU": Contestant(lambda d: Layer(nn.Linear(d, 2 * d))),
    "matmul of minLSTM": Contestant(lambda d: Layer(nn.Linear(d, 3 * d))),
    "nn.GRU": Contestant(lambda d: first_output(nn.GRU(d, d, batch_first=True))),
    "nn.LSTM": Contestant(lambda d: first_output(nn.LSTM(d, d, batch_first=True))),
    "nn.GRU, equal parameters": Contestant(lambda d: first_output(nn.GRU(d, equal_parameters(d), batch_first=True))),
    "minGRU-pytorch": Contestant(mingru_pytorch, "minGRU", LOG_SPACE_LIMITS, package="minGRU_pytorch"),
    "minGRU-pytorch, compiled": Contestant(
        lambda d: torch.compile(mingru_pytorch(d)), "minGRU", LOG_SPACE_LIMITS, package="minGRU_pytorch", compiled=True
    ),
    "associative_scan, compiled": Contestant(  # on a CPU it is compiled to a loop
        lambda d: torch.compile(mingru_with(associative_scan)(d)),
        "minGRU",
        (1e-4, 1e-4),
        loop_on_cpu=True,
        compiled=True,
    ),
    "accelerated-scan": Contestant(
        mingru_with(accelerated_scan), "minGRU", (1e-4, 1e-4), package="accelerated_scan", gpu_only=True
    ),
    "HGRN, chunk": Contestant(hgrn("chunk"), package="fla", gpu_only=True),
    "HGRN, fused recurrent": Contestant(hgrn("fused_recurrent"), package="fla", gpu_only=True),
    # Without its kernels a loop in Python, or with mambapy as slow as one where time is long.
    "Mamba": Contestant(mamba_mixer, loop_on_cpu=True),
    "GRU, step by step": Contestant(lambda d: StepByStep(nn.GRU(d, d)), "nn.GRU", (1e-4, 1e-4)),
    "LSTM, step by step": Contestant(lambda d: StepByStep(nn.LSTM(d, d)), "nn.LSTM", (1e-4, 1e-4)),
    "minGRU, log-space": Contestant(lambda d: log_space_layer(mingru(d), "mingru"), "minGRU", LOG_SPACE_LIMITS),
    "minLSTM, log-space": Contestant(lambda d: log_space_layer(minlstm(d), "minlstm"), "minLSTM", LOG_SPACE_LIMITS),
}


def left_out(name: str, shape: tuple[int, int, int], device: str) -> str | None:
    """Returns why a layer does not take part at a shape `(batch, time, channels)`, or `None` where it does."""
    batch, time, channels = shape
    layer = LAYERS[name]
    if layer.package is not None and find_spec(layer.package) is None:
        return f"{layer.package} is not installed"
    if layer.gpu_only and device == "cpu":
        return "runs on a GPU only"
    if name == "accelerated-scan" and time % 2048:
        return "its gradient reads beyond its tensors unless the time is a multiple of 2,048"
    if layer.loop_on_cpu and device == "cpu" and batch * time * channels > SMALL:
        return f"a loop on a CPU, or as slow as one, up to {SMALL:,} elements here: seconds to minutes per call"
    return None


# --- replacements of nn.GRU and nn.LSTM ------------------------------------------------------------------------------

MODULES: dict[str, Contestant] = {
    "nn.GRU": Contestant(nn.GRU),
    "MinGRU": Contestant(MinGRU),
    "nn.LSTM": Contestant(nn.LSTM),
    "MinLSTM": Contestant(MinLSTM),
}

# --- language models -------------------------------------------------------------------------------------------------

NO_SPECIAL_TOKENS = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))


def causal_lm(name: str, package: str = "transformers", **fixed) -> Callable[..., nn.Module]:
    """Returns a function that makes a language model of a package by the name that its classes share."""

    def make(num_layers: int, hidden_size: int, vocab_size: int, **options) -> nn.Module:
        module = import_module(package)
        sizes = {"num_hidden_layers": num_layers, "hidden_size": hidden_size, "vocab_size": vocab_size}
        config = getattr(module, f"{name}Config")(**sizes, **NO_SPECIAL_TOKENS, **fixed, **options)
        return getattr(module, f"{name}ForCausalLM")(config)

    return make


def llama(num_layers: int, hidden_size: int, vocab_size: int, **options) -> nn.Module:
    """Makes the Llama of transformers, by default with heads of 64 channels and an MLP of 8/3 of the width."""
    defaults = {"num_attention_heads": max(1, hidden_size // 64), "intermediate_size": 8 * hidden_size // 3}
    defaults["max_position_embeddings"] = 1 << 17
    return causal_lm("Llama")(num_layers, hidden_size, vocab_size, **defaults | options)


def minlm(num_layers: int, hidden_size: int, vocab_size: int, **options) -> nn.Module:
    """Makes the language model of the package minGRU-pytorch, which ties no weights: `options` are ignored."""
    from minGRU_pytorch.minLM import minLM

    return minLM(num_tokens=vocab_size, dim=hidden_size, depth=num_layers)


MODELS: dict[str, Contestant] = {
    "minGRU": Contestant(causal_lm("MinRNN", "hf_minrnn", cell_type="mingru")),
    "minLSTM": Contestant(causal_lm("MinRNN", "hf_minrnn", cell_type="minlstm")),
    "Llama": Contestant(llama),
    "Mamba": Contestant(causal_lm("Mamba")),
    "minGRU-pytorch's minLM": Contestant(minlm, package="minGRU_pytorch"),
}


def models_of_size(
    names: Iterable[str], parameters: int, hidden_size: int, vocab_size: int = 256
) -> dict[str, nn.Module]:
    """Makes language models by name, each with fresh weights and the number of layers that comes nearest to `parameters`.

    Those whose package is not installed are left out.
    """
    models = {}
    for name in names:
        entry = MODELS[name]
        if entry.package is not None and find_spec(entry.package) is None:
            continue

        def make(num_layers: int, entry: Contestant = entry) -> nn.Module:
            return entry.make(num_layers, hidden_size, vocab_size, tie_word_embeddings=True)

        with torch.device("meta"):
            one_layer = count(make(1))
            each_layer = count(make(2)) - one_layer
        num_layers = max(1, round((parameters - one_layer) / each_layer) + 1)
        torch.manual_seed(0)
        models[name] = make(num_layers).eval()
    return models
