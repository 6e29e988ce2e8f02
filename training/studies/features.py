# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Tests minGRU-pytorch in the modes of training.studies.modes, and further features of several projects.

    python -m training.studies.features        # a minute; writes training/results/compare_features.json

The further features are the gradient through a carried state, compiled and exported graphs, and reduced precision. The script
needs minGRU-pytorch, which comes with the extra `ecosystem`.

minGRU-pytorch's `minLM` is not a model of transformers and takes no mask, so its batches have none. Its state is the list
that `return_prev_hiddens` returns. The reference is that of `training.studies.modes`: a row alone, from scratch.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN, "minGRU_pytorch")

import torch
from minGRU_pytorch.minGRU import minGRU
from minGRU_pytorch.minLM import minLM
from minGRU_pytorch.minLSTM import minLSTM
from transformers import DynamicCache

from hf_minrnn import minrnn_scan
from training.bench.contestants import loop
from training.common.command_line import make_parser, reported, result_file
from training.common.files import write_json
from training.common.machine import provenance
from training.common.paths import RESULTS
from training.common.timing import settings
from training.studies.modes import (
    LONG,
    MORE,
    NOISE,
    PACKED,
    PIECE,
    PROMPT,
    SHORT,
    TOLERANCE,
    VOCABULARY,
    WIDTH,
    add_noise,
    difference,
    feed,
    judge,
    make,
    padded,
    tokens,
    verdict_cell,
)

LAYERS = {"minGRU": minGRU, "minLSTM": minLSTM}
OURS, MAMBA = "minGRU", "Mamba"  # names in `modes.MODELS`
STEPS, CHANNELS = 4096, 64  # shape of the scan in reduced precision
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

# --- minGRU-pytorch in the modes of training.studies.modes -----------------------------------------------------------


def make_lm(cell: str) -> torch.nn.Module:
    """Returns minGRU-pytorch's language model with one of its cells, the same at every call."""
    torch.manual_seed(0)
    model = minLM(num_tokens=VOCABULARY, dim=WIDTH, depth=2, use_lstm=cell == "minLSTM")
    return add_noise(model.eval(), NOISE, seed=1)


def read(model, ids: torch.Tensor, states=None):
    """Returns the logits and the states after `ids`; with states the model reads only the last token of `ids`."""
    return model(ids, return_prev_hiddens=True, prev_hiddens=states)


def step_by_step(model, ids: torch.Tensor, states) -> torch.Tensor:
    """Returns the logits of `ids`, token by token from given states."""
    found = []
    for t in range(ids.shape[1]):
        logits, states = read(model, ids[:, t : t + 1], states)
        found.append(logits)
    return torch.cat(found, 1)


def lm_right_padding(cell: str) -> dict:
    """Checks a batch with a row padded on the right, continued from its states."""
    ids, _, row = padded("right")
    more = tokens(2 * MORE, 3).reshape(2, MORE)
    model = make_lm(cell)
    want = model(torch.cat([row, more[1:]], 1))[:, SHORT:]
    return {"one by one": judge(lambda: (step_by_step(model, more, read(model, ids)[1])[1:], want))}


def lm_left_padding(cell: str) -> dict:
    """Checks the logits at the real tokens of a row padded on the left."""
    ids, _, row = padded("left")
    model = make_lm(cell)
    return {"batch": judge(lambda: (model(ids)[1:, LONG - SHORT :], model(row)))}


def lm_packing(cell: str) -> dict:
    """Checks two sequences in one row."""
    rows = [tokens(count, 4 + i) for i, count in enumerate(PACKED)]
    model = make_lm(cell)
    return {"one row": judge(lambda: (model(torch.cat(rows, 1)), torch.cat([model(row) for row in rows], 1)))}


def split(layer, x: torch.Tensor) -> torch.Tensor:
    """Returns the outputs of a layer from step PIECE on, computed in two parallel parts."""
    _, state = layer(x[:, :PIECE], return_next_prev_hidden=True)
    return layer(x[:, PIECE:], state)


def make_layer(cell: str):
    """Returns a layer of minGRU-pytorch and an input `(1, PROMPT, WIDTH)` for it."""
    torch.manual_seed(0)
    return LAYERS[cell](WIDTH), torch.randn(1, PROMPT, WIDTH)


def lm_chunked_prefill(cell: str) -> dict:
    """Checks a prompt in two parts; the model reads the second one token by token and at once, a layer at once."""
    prompt = tokens(PROMPT, 6)
    model = make_lm(cell)
    first = prompt[:, :PIECE]
    rest = prompt[:, PIECE:]
    want = model(prompt)[:, PIECE:]
    layer, x = make_layer(cell)
    return {
        "token by token": judge(lambda: (step_by_step(model, rest, read(model, first)[1]), want)),
        "at once": judge(lambda: (read(model, rest, read(model, first)[1])[0], want)),
        "layer": judge(lambda: (split(layer, x), layer(x)[:, PIECE:])),
    }


# --- the gradient through a carried state ----------------------------------------------------------------------------


def gradient(loss: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """Returns the gradient of a loss at a tensor."""
    return torch.autograd.grad(loss, at)[0]


def layer_gradient(cell: str) -> dict:
    """Checks the gradient of the second part's outputs at the input of both parts, against one pass."""
    layer, x = make_layer(cell)
    x.requires_grad_()
    weights = torch.randn(1, PROMPT - PIECE, WIDTH, generator=torch.Generator().manual_seed(8))

    def check():
        return gradient((split(layer, x) * weights).sum(), x), gradient((layer(x)[:, PIECE:] * weights).sum(), x)

    return {"layer": judge(check)}


def model_gradient(name: str) -> dict:
    """Checks the gradient of the last logits at the embeddings, with one or several tokens after a cache, against one pass."""
    prompt = tokens(PROMPT, 6)
    mask = torch.ones_like(prompt)
    weights = torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(8))

    def check(last: int):
        model = make(name)
        table = model.get_input_embeddings().weight
        want = gradient(model(prompt, use_cache=False).logits[0, -1] @ weights, table)
        _, past = feed(model, prompt[:, :-last], mask[:, :-last], PROMPT - last)
        logits, _ = feed(model, prompt, mask, last, past)
        return gradient(logits[0, -1] @ weights, table), want

    return {"one token": judge(lambda: check(1)), "segment": judge(lambda: check(PROMPT - PIECE))}


# --- graphs ----------------------------------------------------------------------------------------------------------


class Logits(torch.nn.Module):
    """Makes a model of transformers a function from ids to logits."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.model(ids, use_cache=False).logits


GRAPHS: dict[str, Callable[[], torch.nn.Module]] = {
    OURS: lambda: Logits(make(OURS)),
    MAMBA: lambda: Logits(make(MAMBA)),
    "minGRU-pytorch, minGRU": lambda: make_lm("minGRU"),
    "minGRU-pytorch, minLSTM": lambda: make_lm("minLSTM"),
}


def graphs(name: str) -> dict:
    """Checks one compiled graph forward and backward, and an exported one on another batch and length."""
    ids = tokens(2 * LONG, 8).reshape(2, LONG)
    other = tokens(3 * PROMPT, 9).reshape(3, PROMPT)

    def compiled():
        model = GRAPHS[name]()
        weights = list(model.parameters())
        out = []
        for function in (torch.compile(model, fullgraph=True, backend="aot_eager"), model):
            logits = function(ids)
            found = torch.autograd.grad(logits.logsumexp(-1).sum(), weights)
            out.append(torch.cat([tensor.flatten() for tensor in (logits, *found)]))
        return out

    def exported():
        model = GRAPHS[name]()
        axis = torch.export.Dim.DYNAMIC
        with torch.no_grad():
            program = torch.export.export(model, (ids,), dynamic_shapes=({0: axis, 1: axis},))
            return program.module()(other), model(other)

    torch._dynamo.reset()
    return {"compile": {"fullgraph": judge(compiled)}, "export": {"any shape": judge(exported)}}


# --- reduced precision -----------------------------------------------------------------------------------------------


def precision(ours: bool) -> dict:
    """Returns the error of a minGRU scan over many steps by dtype, against a loop in float64 over the same rounded input."""
    exact = torch.randn(1, STEPS, 2 * CHANNELS, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    layer = minGRU(CHANNELS)
    layer.to_hidden_and_gate = torch.nn.Identity()  # the projections are the input

    def check(dtype):
        gate, candidate = exact.to(dtype).chunk(2, -1)
        want = loop(torch.cat([gate, candidate], -1).double(), "mingru")
        if ours:
            got, _ = minrnn_scan(torch.cat([gate, candidate], -1), "mingru")
        else:
            got = layer(torch.cat([candidate, gate], -1))
        return got.double(), want

    out = {}
    for name, dtype in DTYPES.items():
        try:
            out[name] = difference(*check(dtype))
        except RuntimeError as error:  # torch lacks an operation in this dtype
            out[name] = str(error).splitlines()[0][:120]
    return out


def state_dtypes(name: str) -> list[str]:
    """Returns the dtypes of the states that a bfloat16 model carries."""
    model = make(name).bfloat16()
    past = DynamicCache(config=model.config)
    argument = "past_key_values" if name == OURS else "cache_params"
    with torch.no_grad():
        model(tokens(PROMPT, 6), use_cache=True, **{argument: past})
    return sorted({str(layer.recurrent_states[0].dtype).removeprefix("torch.") for layer in past.layers})


# --- report ----------------------------------------------------------------------------------------------------------


def measure(graph_names: list[str]) -> dict:
    """Returns all results by project; `graph_names` names the models to compile and export."""
    modes = {
        "right padding": lm_right_padding,
        "packing": lm_packing,
        "chunked prefill": lm_chunked_prefill,
        "left padding": lm_left_padding,
    }
    with torch.no_grad():
        others = {cell: {"modes": {mode: check(cell) for mode, check in modes.items()}} for cell in LAYERS}
        scans = {"hf_minrnn": precision(ours=True), "minGRU-pytorch": precision(ours=False)}
    for cell in LAYERS:
        others[cell]["gradient"] = layer_gradient(cell)
    return {
        "minGRU-pytorch": others,
        "gradient": {name: model_gradient(name) for name in (OURS, MAMBA)},
        "graphs": {name: graphs(name) for name in graph_names},
        "scan": scans,
        "state dtypes": {name: state_dtypes(name) for name in (OURS, MAMBA)},
    }


@reported
def main(argv: list[str] | None = None) -> dict:
    """Compares, prints and writes the result file; returns its content."""
    parser = make_parser("training.studies.features", __doc__)
    parser.add_argument(
        "--graphs",
        nargs="+",
        choices=list(GRAPHS),
        default=list(GRAPHS),
        metavar="MODEL",
        help="models to compile and export (default: all)",
    )
    parser.add_argument("--output", type=result_file, default=RESULTS / "compare_features.json", help="result file")
    options = parser.parse_args(argv)
    with settings(threads=1):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = measure(options.graphs)
        result = {
            **provenance("training.studies.features", argv),
            "measured": "as in compare_modes.json; `scan`: largest difference from a float64 loop relative to the largest "
            f"state, {STEPS} steps, gates and candidates N(0, 1)",
            "tolerance": TOLERANCE,
            **found,
        }
    for cell, entry in found["minGRU-pytorch"].items():
        for mode, ways in entry["modes"].items():
            print(f"minGRU-pytorch, {cell}: {mode}: {verdict_cell(ways)}")
    print(*(f"{name}: {found['scan'][name]}" for name in found["scan"]), sep="\n")
    write_json(options.output, result)
    print(f"wrote {options.output}")
    return result


if __name__ == "__main__":
    main()
