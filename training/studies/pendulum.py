# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Follows pendulums that are observed at irregular times: MinGRU and MinLSTM with time gaps against other layers.

    python -m training.studies.pendulum            # an hour or two on one core; writes training/results/pendulum.json
    python -m training.studies.pendulum --tasks hidden --models nn.GRU "MinGRU, time_delta"

At every observation a model has to name sine and cosine of the true angle. The task "published" is that of the benchmark of
mingru-scans: all positions are seen, with noise. In "hidden" seven of ten are not, so that a model has to carry the swing over
longer gaps. A model reads the logarithm of one plus the seconds since the last observation as a feature, or it raises its decay
to the power of the gap (`time_delta`), or both, or neither. The models of mingru-scans are as in their benchmark: those with
decays have both. "blocks" are the default blocks of our models, with MLPs as those of mingru-scans have; our other models are
layers without one. All models have at most as many parameters as the one with nn.GRU, two layers, and the same batches and
steps. The first seed runs every rate; the rate with the best validation result runs the other seeds. Rows that the result file
already has are not run again.
"""

from __future__ import annotations

import argparse
import math
import shlex
import statistics
import time
from dataclasses import dataclass

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

import torch
from torch import nn

from hf_minrnn import MinGRU, MinLSTM, MinRNNConfig, MinRNNModel
from training.common.command_line import make_parser, positive, positive_int, reported, result_file, whole
from training.common.experiment import Run
from training.common.paths import RESULTS
from training.common.result_store import ResultStore
from training.common.rows import contest
from training.common.scans_comparators import SCANS, allowed_width, make_stack, missing_scans
from training.common.timing import settings as thread_settings
from training.common.widths import count, widest
from training.studies.pendulum_data import PENDULUMS, Batch, Pendulum, last_seen, parts

TORCH = {"nn.GRU": nn.GRU, "nn.LSTM": nn.LSTM}
OURS = {"MinGRU": MinGRU, "MinLSTM": MinLSTM}
BLOCKS = {"blocks": "rising", "blocks, signed": "signed"}  # their forget_gate_floor
LAYERS = 2
DECAY = {"decay": "learnable", "decay_rate": 0.05, "log1p_delta": True}  # of mingru-scans, as in its benchmark


@dataclass(frozen=True)
class Contestant:
    """A model of the comparison.

    Args:
        layer (`str`): Key of `TORCH`, `OURS`, `BLOCKS` or `SCANS`.
        reads_gaps (`bool`): Whether it reads the logarithm of one plus the gap as a feature.
        decays (`bool`): Whether its decay depends on the gap.
    """

    layer: str
    reads_gaps: bool = True
    decays: bool = False


CONTESTANTS = {
    "nn.GRU": Contestant("nn.GRU"),
    "nn.LSTM": Contestant("nn.LSTM"),
    "MinGRU": Contestant("MinGRU"),
    "MinGRU, time_delta": Contestant("MinGRU", reads_gaps=False, decays=True),
    "MinGRU, both": Contestant("MinGRU", decays=True),
    "MinLSTM": Contestant("MinLSTM"),
    "MinLSTM, time_delta": Contestant("MinLSTM", reads_gaps=False, decays=True),
    "MinLSTM, both": Contestant("MinLSTM", decays=True),
    "nn.GRU, without gaps": Contestant("nn.GRU", reads_gaps=False),
    "MinGRU, without gaps": Contestant("MinGRU", reads_gaps=False),
    "blocks": Contestant("blocks"),
    "blocks, signed": Contestant("blocks, signed"),
    "scans-log": Contestant("scans-log", decays=True),
    "scans-signed": Contestant("scans-signed", decays=True),
    "scans-rotation": Contestant("scans-rotation", decays=True),
    "scans-signed-delta": Contestant("scans-signed-delta"),
}
FULL = {"width": 64, "steps": 1000, "batch": 64, "every": 100, "sizes": (16_384, 1024, 4096)}
SMALL = {"width": 6, "steps": 4, "batch": 4, "every": 2, "sizes": (16, 8, 8)}


class Blocks(nn.Module):
    """The default blocks of this package, with an input of features; called as a recurrent layer of torch.nn is.

    Args:
        inputs (`int`): Features of the input.
        width (`int`): Width of the blocks.
        floor (`str`): Their `forget_gate_floor`.
    """

    def __init__(self, inputs: int, width: int, floor: str):
        super().__init__()
        config = MinRNNConfig(vocab_size=1, hidden_size=width, num_hidden_layers=LAYERS, forget_gate_floor=floor)
        self.in_proj = nn.Linear(inputs, width)
        self.model = MinRNNModel(config)

    def forward(self, observed: torch.Tensor) -> tuple[torch.Tensor, None]:
        return self.model(inputs_embeds=self.in_proj(observed), use_cache=False).last_hidden_state, None


class Follower(nn.Module):
    """Maps observations and gaps to sine and cosine `(batch, time, 2)`.

    Args:
        contestant (`Contestant`): How the gaps are used.
        task (`Pendulum`): The task.
        width (`int`): Width of the recurrent layers.
    """

    def __init__(self, contestant: Contestant, task: Pendulum, width: int):
        super().__init__()
        self.contestant = contestant
        self.mean_gap = sum(task.gaps) / 2
        name = contestant.layer
        inputs = task.features + contestant.reads_gaps
        if name in SCANS:
            blocks = allowed_width(name, width)
            self.recurrent = make_stack(name, inputs, blocks, LAYERS, 4 * width, **(DECAY if contestant.decays else {}))
            width = blocks
        elif name in BLOCKS:
            self.recurrent = Blocks(inputs, width, BLOCKS[name])
        else:
            self.recurrent = (TORCH | OURS)[name](inputs, width, LAYERS, batch_first=True)
        self.head = nn.Linear(width, 2)

    def forward(self, observed: torch.Tensor, gaps: torch.Tensor) -> torch.Tensor:
        if self.contestant.reads_gaps:
            observed = torch.cat([observed, gaps.log1p()[..., None]], -1)
        options = {}
        if self.contestant.decays and self.contestant.layer in SCANS:
            options["delta_t"] = gaps
        elif self.contestant.decays:
            # In units of the mean gap, so that the decays start as those of even steps. The first step has no gap: one unit.
            options["time_delta"] = torch.cat([torch.ones_like(gaps[:, :1]), gaps[:, 1:] / self.mean_gap], 1)
        return self.head(self.recurrent(observed, **options)[0])


@torch.no_grad()
def errors(model: nn.Module, batch: Batch, rows: int = 512) -> dict[str, float | None]:
    """Returns the mean square errors of a model: over all positions, and over the hidden ones if there are any."""
    batches = zip(batch.observed.split(rows), batch.gaps.split(rows))
    return scores(torch.cat([model(observed, gaps) for observed, gaps in batches]), batch)


def scores(found: torch.Tensor, batch: Batch) -> dict[str, float | None]:
    """Returns the mean square errors of `found` `(rows, time, 2)`: over all positions, and over the hidden ones if any."""
    squares = (found - batch.truth).square().mean(-1)
    hidden = None if batch.seen.all() else squares[~batch.seen].mean().item()
    return {"error": squares.mean().item(), "hidden": hidden}


def train(model: Follower, task: Pendulum, rate: float, seed: int, size: dict) -> dict:
    """Trains a model, and tests the best state on the validation part."""
    training, validation, test = parts(task, size["sizes"])
    generator = torch.Generator().manual_seed(seed)
    steps = size["steps"]

    def batch(step: int) -> tuple[Batch, torch.Tensor]:
        rows = training.rows(torch.randint(len(training.gaps), (size["batch"],), generator=generator))
        return rows, rows.truth

    run = Run(
        model,
        torch.optim.Adam(model.parameters(), lr=rate),
        steps=steps,
        batch=batch,
        loss=lambda model, rows, truth: (model(rows.observed, rows.gaps) - truth).square().mean(),
        learning_rate=lambda step: rate * min(1, (step + 1) / 20) * (0.55 + 0.45 * math.cos(math.pi * step / steps)),
        validate=lambda model: {"error": errors(model, validation)["error"]},
        every=size["every"],
        metric="error",
        timer=time.process_time,
    )
    found = run.train()
    run.restore_best()
    best = found["best"]["error"] if found["best"] else math.inf
    return {"rate": rate, "seed": seed, "validation": best, "seconds": found["seconds"], **errors(model, test)}


def compare(contestant: Contestant, task: Pendulum, rates: list[float], seeds: list[int], size: dict) -> dict:
    """Runs all learning rates with the first seed, and the best one with the others; returns the results of the row."""
    limit = count(Follower(CONTESTANTS["nn.GRU"], task, size["width"]))
    width = widest(lambda width: Follower(contestant, task, width), limit)
    runs = []

    def run(rate: float, seed: int) -> dict:
        torch.manual_seed(seed)
        model = Follower(contestant, task, width)
        runs.append({**train(model, task, rate, seed, size), "parameters": count(model)})
        return runs[-1]

    _, kept = contest(rates, seeds, run, lambda entry: entry["validation"])
    hidden = [entry["hidden"] for entry in kept]
    return {
        "parameters": runs[0]["parameters"],
        "width": width,
        "rate": kept[0]["rate"],
        "median": statistics.median(entry["error"] for entry in kept),
        "worst": max(entry["error"] for entry in kept),
        "hidden": None if None in hidden else statistics.median(hidden),
        "seconds": statistics.median(entry["seconds"] for entry in kept),
        "runs": runs,
    }


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parses the command line."""
    tasks, models = list(PENDULUMS), list(CONTESTANTS)
    parser = make_parser("training.studies.pendulum", __doc__)
    parser.add_argument("--small", action="store_true", help="a few seconds of training, to test the script")
    parser.add_argument("--tasks", nargs="+", choices=tasks, default=tasks, help="tasks (default: both)")
    parser.add_argument(
        "--models", nargs="+", choices=models, default=models, metavar="MODEL", help=f"models, of {'; '.join(models)}"
    )
    parser.add_argument("--seeds", nargs="+", type=whole, default=[0, 1, 2], help="seeds")
    parser.add_argument("--rates", nargs="+", type=positive, default=[3e-3, 1e-2], help="learning rates to try")
    parser.add_argument("--threads", type=positive_int, default=1, help="threads of torch")
    parser.add_argument("--output", type=result_file, default=RESULTS / "pendulum.json", help="result file")
    return parser.parse_args(argv)


def command(options: argparse.Namespace, task: str, model: str) -> str:
    """Returns the command that runs one row."""
    words = ["python", "-m", "training.studies.pendulum", "--tasks", task, "--models", model]
    if options.small:
        words += ["--small"]
    words += ["--seeds", *map(str, options.seeds), "--rates", *map(str, options.rates)]
    return shlex.join(words)


@reported
def main(argv: list[str] | None = None) -> dict:
    """Runs the rows that the result file lacks; returns the content of the file."""
    options = parse_arguments(argv)
    size = SMALL if options.small else FULL
    baselines = {}
    for name in options.tasks:
        test = parts(PENDULUMS[name], size["sizes"])[2]
        baselines[name] = scores(last_seen(test), test)
    results = ResultStore(options.output, {"about": __doc__.splitlines()[0], "baselines": baselines})
    with thread_settings(options.threads):
        for task_name in options.tasks:
            for name in options.models:
                reason = missing_scans("cpu") if CONTESTANTS[name].layer in SCANS else None
                if reason:
                    print(f"{name} is left out: {reason}", flush=True)
                    continue
                _add_row(results, task_name, name, options, size)
    return results.value


def _add_row(results: ResultStore, task_name: str, name: str, options: argparse.Namespace, size: dict) -> None:
    task = PENDULUMS[task_name]
    contestant = CONTESTANTS[name]
    about = {"task": task_name, "model": name, "layers": LAYERS, "rates": options.rates, "seeds": options.seeds}
    about |= {**size, **vars(task), **vars(contestant)}
    row = results.row(
        f"{task_name}, {name}",
        about,
        command(options, task_name, name),
        lambda: compare(contestant, task, options.rates, options.seeds, size),
    )
    print(
        f"{task_name}, {name}: {row['parameters']:,} parameters, {row['seconds']:.0f} s, error {row['median']:.5f}, worst "
        f"{row['worst']:.5f}, rate {row['rate']:g}",
        flush=True,
    )


if __name__ == "__main__":
    main()
