# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Measures tokens per second of a training step of a model of 20 M parameters, and the share of the scan in its time.

    python -m training.bench.step            # writes training/results/bench_step.json, a few minutes

A step is forward, loss, backward and AdamW on random tokens. The models are compared with the same ones with the scan replaced
by the identity (the rest of the step, without a recurrence), with the minLM of minGRU-pytorch and with Llama, each with the
number of layers that comes nearest to the same number of parameters.
Before anything is timed, loss and gradient of our models are compared with those of the scan's definition in float64 on the
same weights, and the script ends if they disagree. Medians of rounds in which each contestant makes one step. The scan's share
is the profiler's, from a step of its own.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

import torch
import torch.nn.functional as F
from torch import nn
from torch.profiler import ProfilerActivity, profile

from hf_minrnn.cells import MinRNNCell
from training.bench import runner
from training.bench.calls import EXACT, by_definition
from training.bench.contestants import models_of_size
from training.common.command_line import at_least, positive_int, reported
from training.common.timing import check_agreement, measure
from training.common.widths import count

OURS = ("minGRU", "minLSTM")
OTHER = "minGRU-pytorch's minLM"
NAMES = (*OURS, "Llama", OTHER)  # Mamba is a Python loop on a CPU: minutes per step
VOCABULARY = 256
ROUNDED = (1e-2, 1e-1)  # like EXACT, in bfloat16
SCAN_SHARE = 0.08  # target: at most
OVER_MINLM = 1.4  # target: at least


@contextmanager
def identity_scan() -> Iterator[None]:
    """Context, or decorator, in which the scan of every cell returns the candidate as it is."""
    scan = MinRNNCell.scan

    def identity(cell, projected, *_, **__):
        candidate = projected[..., -cell.hidden_size :]
        return candidate, candidate[:, -1].float()

    MinRNNCell.scan = identity
    try:
        yield
    finally:
        MinRNNCell.scan = scan


def loss_of(model: nn.Module, ids: torch.Tensor, bfloat16: bool = False) -> torch.Tensor:
    """Returns the mean loss of the next token, computed the same way for every model."""
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        output = model(ids)
        logits = getattr(output, "logits", output)
        return F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), ids[:, 1:].flatten())


def training_step(model: nn.Module, ids: torch.Tensor, bfloat16: bool = False) -> Callable[[], float]:
    """Returns a function that makes one training step and returns its loss."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step() -> float:
        loss = loss_of(model, ids, bfloat16)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return step


def loss_and_gradient(model: nn.Module, ids: torch.Tensor, bfloat16: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the loss and its gradient by all parameters in one row, in float64."""
    loss = loss_of(model, ids, bfloat16)
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    return loss.detach().double(), torch.cat([gradient.flatten() for gradient in gradients]).double()


def check_ours(models: dict[str, nn.Module], ids: torch.Tensor) -> dict[str, list[float]]:
    """Returns the relative errors of loss and gradient of our models against the definition; raises `Disagreement`."""
    errors = {}
    for name in OURS:
        want = loss_and_gradient(by_definition(models[name]), ids)
        what = "and its definition (loss, gradient)"
        errors[name] = check_agreement(f"{name} {what}", loss_and_gradient(models[name], ids), want, EXACT)
        if name == "minGRU":
            rounded = f"{name}, bfloat16"
            got = loss_and_gradient(models[name], ids, bfloat16=True)
            errors[rounded] = check_agreement(f"{rounded} {what}", got, want, ROUNDED)
    return errors


def scan_share(step: Callable) -> dict[str, float]:
    """Returns the share of the scan's ops in the time of a step, forward, backward and in total, by the profiler."""
    step()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        step()
    events = profiler.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    found = {}
    for part, op in (("forward", "::scan"), ("backward", "::scan_backward")):
        ours = [event for event in events if event.key.startswith("hf_minrnn_") and event.key.endswith(op)]
        found[part] = sum(event.cpu_time_total for event in ours) / total
    if not all(found.values()):
        raise RuntimeError(f"the profiler did not see the scan: {found}")
    return found | {"total": sum(found.values())}


def ratios(speeds: dict[str, float]) -> dict:
    """Returns the ratios of tokens per second, with their targets."""
    targets = {(f"{name}, scan replaced by the identity", name): None for name in OURS}
    targets |= {("minGRU", OTHER): OVER_MINLM, ("minGRU", "Llama"): None}
    return {
        f"{fast} / {slow}": {"ratio": speeds[fast] / speeds[slow], "target": target}
        for (fast, slow), target in targets.items()
        if slow in speeds
    }


def table(result: dict) -> str:
    """Returns the results for the terminal."""
    lines = []
    for name, entry in result["steps"].items():
        lines.append(f"{name:<45}{entry['median_ms']:9.1f} ms a step{entry['tokens_per_s']:10,.0f} tokens/s")
    for name in OURS:
        share = result["scan_share"][name]["total"]
        missed = "" if share <= SCAN_SHARE else "  MISSED"
        lines.append(f"the scan's share of {name}'s step: {share:.1%}  target {SCAN_SHARE:.0%}{missed}")
    return "\n".join(lines + runner.ratio_lines(result["ratios"]))


def bench(options: argparse.Namespace) -> dict:
    """Checks and measures all steps; returns the content of the result file."""
    models = models_of_size(NAMES, options.parameters, options.hidden_size, VOCABULARY)
    size = (options.batch, options.time)
    ids = torch.randint(0, VOCABULARY, size, generator=torch.Generator().manual_seed(0))
    steps = {name: training_step(model.train(), ids) for name, model in models.items()}
    errors = check_ours(models, ids)
    for name in OURS:
        steps[f"{name}, scan replaced by the identity"] = identity_scan()(steps[name])
    steps["minGRU, bfloat16"] = training_step(models["minGRU"], ids, bfloat16=True)
    timings = measure(steps, options.rounds)
    shares = {name: scan_share(steps[name]) for name in OURS}
    for entry in timings.values():
        entry["tokens_per_s"] = 1e3 * options.batch * options.time / entry["median_ms"]
    result = {
        "batch": options.batch,
        "time": options.time,
        "models": {
            name: {"parameters": count(model), "hidden_size": options.hidden_size} for name, model in models.items()
        },
        "relative_errors": errors,
        "steps": timings,
        "scan_share": shares | {"target": SCAN_SHARE},
        "ratios": ratios({name: entry["tokens_per_s"] for name, entry in timings.items()}),
    }
    print(table(result))
    return result


MEASURED = "training steps, medians and quartiles of interleaved rounds, float32 unless named"
BENCHMARK = runner.Benchmark("training.bench.step", __doc__, MEASURED, bench, rounds=7)


@reported
def main(argv: list[str] | None = None) -> dict:
    """Runs the benchmark; returns the content of the result file."""
    parser = BENCHMARK.parser()
    parser.add_argument("--batch", type=positive_int, default=2, help="rows in a step")
    parser.add_argument("--time", type=at_least(2), default=512, help="tokens in a row")
    parser.add_argument(
        "--parameters", type=positive_int, default=20_000_000, help="number of parameters of every model, nearly"
    )
    parser.add_argument("--hidden-size", type=positive_int, default=512, help="width of every model")
    return BENCHMARK.run(BENCHMARK.parse(argv, parser), argv)


if __name__ == "__main__":
    main()
