# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Tokens per second of a training step of 20 M parameters, and how much of it is the scan.

    python -m training.bench.step            # writes training/results/bench_step.json, a few minutes

A step is forward, loss, backward and AdamW on random tokens. Beside the models stand the same ones with the scan replaced by
the identity (the rest of the step, in which nothing is recurrent), minGRU-pytorch's minLM and Llama, each of as many layers as
come nearest to as many parameters.
Before anything is timed, the loss and its gradient of ours are compared with those of the scan's definition in float64 on the
same weights, and the run ends if they don't agree. Medians of rounds in which each contestant makes one step; the
profiler's share of the scan is of a step of its own.
"""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

import torch
import torch.nn.functional as F
from torch import nn
from torch.profiler import ProfilerActivity, profile

from hf_minrnn.cells import MinRNNCell
from training.bench.by_definition import EXACT, by_definition
from training.bench.decode import make_models
from training.common.files import write_json
from training.common.machine import provenance
from training.common.paths import RESULTS
from training.common.timing import check_agreement, measure, settings

OURS, OTHER = ("minGRU", "minLSTM"), "minGRU-pytorch's minLM"
ROUNDED = (1e-2, 1e-1)  # as EXACT, in bfloat16
SCAN_SHARE, OVER_MINLM = 0.08, 1.4  # at most, at least


def make_minlm(parameters: int, hidden_size: int, vocab_size: int) -> nn.Module:
    """minGRU-pytorch's language model of as many layers as come nearest to `parameters`."""
    from minGRU_pytorch.minLM import minLM

    def make(depth):
        torch.manual_seed(0)
        return minLM(num_tokens=vocab_size, dim=hidden_size, depth=depth)

    first, second = (sum(w.numel() for w in make(depth).parameters()) for depth in (1, 2))
    return make(max(1, round((parameters - first) / (second - first)) + 1))


class Identity:
    """While it is entered, the scan of every cell returns the candidate as it is."""

    def __enter__(self):
        self.scan = MinRNNCell.scan

        def identity(cell, projected, *_, **__):
            candidate = projected[..., -cell.hidden_size :]
            return candidate, candidate[:, -1].float()

        MinRNNCell.scan = identity

    def __exit__(self, *_):
        MinRNNCell.scan = self.scan


def loss_of(model: nn.Module, ids: torch.Tensor) -> torch.Tensor:
    """Mean loss of the next token, computed the same way for every model."""
    output = model(ids)
    logits = getattr(output, "logits", output)
    return F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), ids[:, 1:].flatten())


def training_step(model: nn.Module, ids: torch.Tensor, bfloat16: bool = False):
    """A function that makes one step and returns its loss."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step():
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = loss_of(model, ids)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return step


def check_ours(models: dict, ids: torch.Tensor) -> dict[str, list[float]]:
    """Relative errors of loss and gradient against the definition, by contestant; raises `Disagreement`."""

    def values(model, bfloat16=False):
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = loss_of(model, ids)
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        return loss.detach().double(), torch.cat([gradient.flatten() for gradient in gradients]).double()

    errors = {}
    for name in OURS:
        want = values(by_definition(models[name]))
        what = " and its definition (loss, gradient)"
        errors[name] = check_agreement(name + what, values(models[name]), want, EXACT)
        if name == "minGRU":
            rounded = f"{name}, bfloat16"
            errors[rounded] = check_agreement(rounded + what, values(models[name], bfloat16=True), want, ROUNDED)
    return errors


def within(context, step):
    """The function `step`, called inside a context."""

    def run():
        with context:
            return step()

    return run


def scan_share(step) -> dict[str, float]:
    """What share of a step's time the profiler finds in the scan's ops, forward and backward."""
    step()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        step()
    events = profiler.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    ops = {"forward": "::scan", "backward": "::scan_backward"}
    found = {
        part: sum(e.cpu_time_total for e in events if e.key.startswith("hf_minrnn_") and e.key.endswith(name)) / total
        for part, name in ops.items()
    }
    if not all(found.values()):
        raise RuntimeError(f"the profiler did not see the scan: {found}")
    return found | {"total": sum(found.values())}


def bench(batch: int, time: int, parameters: int, hidden_size: int, rounds: int) -> dict:
    """Everything: tokens per second, the ratios and the scan's share."""
    vocab_size = 256
    models = make_models(parameters, hidden_size, vocab_size)
    del models["Mamba"]  # a Python loop on a CPU: minutes per step
    if find_spec("minGRU_pytorch"):
        models[OTHER] = make_minlm(parameters, hidden_size, vocab_size)
    ids = torch.randint(0, vocab_size, (batch, time), generator=torch.Generator().manual_seed(0))
    steps = {name: training_step(model.train(), ids) for name, model in models.items()}
    errors = check_ours(models, ids)
    for name in OURS:
        steps[f"{name}, scan replaced by the identity"] = within(Identity(), steps[name])
    steps["minGRU, bfloat16"] = training_step(models["minGRU"], ids, bfloat16=True)
    timings = measure(steps, rounds)
    shares = {name: scan_share(steps[name]) for name in OURS}
    for entry in timings.values():
        entry["tokens_per_s"] = 1e3 * batch * time / entry["median_ms"]
    speed = {name: entry["tokens_per_s"] for name, entry in timings.items()}
    ratios = {f"{name}, scan replaced by the identity / {name}": None for name in OURS}
    ratios |= {f"minGRU / {name}": OVER_MINLM if name == OTHER else None for name in (OTHER, "Llama") if name in models}
    return {
        "batch": batch,
        "time": time,
        "models": {
            name: {"parameters": sum(w.numel() for w in model.parameters()), "hidden_size": hidden_size}
            for name, model in models.items()
        },
        "relative_errors": errors,
        "steps": timings,
        "scan_share": shares | {"target": SCAN_SHARE},
        "ratios": {
            name: {"ratio": speed[name.split(" / ")[0]] / speed[name.split(" / ")[1]], "target": wanted}
            for name, wanted in ratios.items()
        },
    }


def main(argv: list[str] | None = None) -> dict:
    """Measures, prints and writes the result file; returns what it wrote."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--time", type=int, default=512, help="tokens of a row")
    parser.add_argument("--parameters", type=int, default=20_000_000)
    parser.add_argument("--hidden-size", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=RESULTS / "bench_step.json")
    args = parser.parse_args(argv)
    if min(args.batch, args.threads) < 1 or min(args.time, args.rounds) < 2:
        parser.error("--batch and --threads must be positive, --time and --rounds at least 2")
    with settings(args.threads):
        result = {
            **provenance("training.bench.step", argv),
            "measured": "training steps, medians and quartiles of interleaved rounds, float32 unless named",
            "rounds": args.rounds,
            **bench(args.batch, args.time, args.parameters, args.hidden_size, args.rounds),
        }
    for name, entry in result["steps"].items():
        print(f"{name:<45}{entry['median_ms']:9.1f} ms a step{entry['tokens_per_s']:10,.0f} tokens/s")
    for name in OURS:
        share = result["scan_share"][name]["total"]
        missed = "" if share <= SCAN_SHARE else "  MISSED"
        print(f"the scan's share of {name}'s step: {share:.1%}  target {SCAN_SHARE:.0%}{missed}")
    for name, entry in result["ratios"].items():
        print(f"{name:<60}{entry['ratio']:6.2f}{'' if entry['target'] is None else '  target ' + str(entry['target'])}")
    write_json(args.output, result)
    print(f"wrote {args.output}")
    return result


if __name__ == "__main__":
    main()
