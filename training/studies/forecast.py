# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Forecasts a chaotic time series with MinGRU, MinLSTM, nn.GRU and nn.LSTM: error, training time, parameters.

    python -m training.studies.forecast            # writes training/results/forecast.json and .png; minutes, one thread
    python -m training.studies.forecast --help     # other widths, layers, steps, seeds

The Mackey-Glass equation, whose slope depends on what was 30 time units ago: dx/dt = 0.2 y / (1 + y^10) - 0.1 x with
y(t) = x(t - 30). A model sees one value at a time, so the past has to be in its state, and says at every step what follows
1 to 90 steps later. All models are torch.nn's layer or ours between the same input and the same Linear, with the same data,
batches, steps and learning rates to choose from; the best state on the validation part is kept, and a run ends early when
that does not improve. The test part is looked at once, at the end of a run.
"""

from __future__ import annotations

import argparse
import copy
import math
import statistics
import time
from pathlib import Path

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

import torch
from torch import nn

from hf_minrnn import MinGRU, MinLSTM
from training.common.command_line import positive, positive_int, result_file
from training.common.files import write_json
from training.common.machine import provenance
from training.common.paths import RESULTS
from training.common.timing import settings
from training.common.widths import count, widest

HORIZONS = (1, 6, 15, 30, 60, 90)
LAGS = (16, 64, 128)  # of the linear autoregression, chosen on the validation part
WARM_UP = 128  # steps at the beginning of the validation and the test part that only fill the state
LAYERS = {"nn.GRU": nn.GRU, "MinGRU": MinGRU, "nn.LSTM": nn.LSTM, "MinLSTM": MinLSTM}
OURS = {"MinGRU": "nn.GRU", "MinLSTM": "nn.LSTM"}


def mackey_glass(length: int, seed: int, delay: float = 30.0, step: float = 0.1, every: int = 10) -> torch.Tensor:
    """The series from a random start, sampled at every time unit, after the first 500.

    Args:
        length (`int`): Samples.
        seed (`int`): Of the history before the start.
        delay (`float`): Of the equation; a multiple of `step`.
        step (`float`): Of the Runge-Kutta method of order four; between its steps the delayed value is interpolated.
        every (`int`): Steps for each sample.

    Returns:
        `torch.Tensor` of shape `(length,)`, float64.

    >>> series = mackey_glass(1000, seed=0)
    >>> bool(series.min() > 0.1), bool(series.max() < 1.5)
    (True, True)
    """
    lag = round(delay / step)
    generator = torch.Generator().manual_seed(seed)
    x = (1.1 + 0.2 * torch.rand(lag + 1, generator=generator, dtype=torch.float64)).tolist()

    def slope(now, late):
        return 0.2 * late / (1 + late**10) - 0.1 * now

    for _ in range((length + 500) * every):
        now, late, later = x[-1], x[-1 - lag], x[-lag]
        middle = (late + later) / 2
        k1 = slope(now, late)
        k2 = slope(now + step / 2 * k1, middle)
        k3 = slope(now + step / 2 * k2, middle)
        k4 = slope(now + step * k3, later)
        x.append(now + step / 6 * (k1 + 2 * k2 + 2 * k3 + k4))
    return torch.tensor(x[-length * every :: every], dtype=torch.float64)


def with_targets(part: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """`(time,)` to inputs `(time - 90,)` and what follows them, `(time - 90, horizons)`."""
    length = len(part) - max(HORIZONS)
    return part[:length], torch.stack([part[h : h + length] for h in HORIZONS], -1)


def split(series: torch.Tensor, shares=(0.7, 0.1)) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Training, validation and test part, one after the other in time, by the training part's mean and deviation."""
    first, second = round(shares[0] * len(series)), round(sum(shares) * len(series))
    series = (series - series[:first].mean()) / series[:first].std()
    parts = {"train": series[:first], "validation": series[first:second], "test": series[second:]}
    return {name: with_targets(part) for name, part in parts.items()}


def errors(forecast: torch.Tensor, target: torch.Tensor) -> list[float]:
    """Root mean square errors after the warm-up by horizon, each over the target's deviation."""
    target = target[WARM_UP:]
    return ((forecast[WARM_UP:] - target).square().mean(0).sqrt() / target.std(0)).tolist()


def lagged(x: torch.Tensor, lags: int) -> torch.Tensor:
    """The last values at every step and a constant, `(time, lags + 1)`; zeros before the first."""
    columns = [torch.cat([x.new_zeros(k), x[: len(x) - k]]) for k in range(lags)]
    return torch.stack([*columns, torch.ones_like(x)], -1)


def baselines(parts: dict) -> dict:
    """The last value for ever, and a linear autoregression by least squares, a regression for each horizon."""
    x, y = parts["test"]
    train_x, train_y = parts["train"]
    fitted = {}
    for lags in LAGS:
        weights = torch.linalg.lstsq(lagged(train_x, lags)[lags:], train_y[lags:]).solution
        scores = [errors(lagged(part, lags) @ weights, target) for part, target in (parts["validation"], (x, y))]
        fitted[lags] = (statistics.mean(scores[0]), scores[1])
    lags = min(fitted, key=lambda lags: fitted[lags][0])
    return {
        "last value": {"errors": errors(x[:, None].expand_as(y), y)},
        f"linear, {lags} lags": {"errors": fitted[lags][1]},
    }


class Forecaster(nn.Module):
    """`(batch, time)` to forecasts `(batch, time, horizons)`."""

    def __init__(self, layer: str, width: int, num_layers: int):
        super().__init__()
        self.rnn = LAYERS[layer](1, width, num_layers, batch_first=True)
        self.head = nn.Linear(width, len(HORIZONS))

    def forward(self, x):
        return self.head(self.rnn(x.unsqueeze(-1))[0])


@torch.no_grad()
def forecast(model: nn.Module, part) -> tuple[torch.Tensor, list[float]]:
    """A model's forecasts `(time, horizons)` in one pass, and their errors."""
    x, y = (values.float() for values in part)
    found = model(x[None])[0]
    return found, errors(found, y)


def train(model: nn.Module, parts: dict, rate: float, seed: int, options, steps: int) -> dict:
    """Trains on random windows; leaves in the model its best state on the validation part.

    Returns:
        Validation error (mean over horizons), steps, processor seconds (validation excluded), and the test errors by horizon.
    """
    x, y = (values.float() for values in parts["train"])
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    best, seconds, since = (math.inf, copy.deepcopy(model.state_dict())), 0.0, 0
    for step in range(steps):
        begin = time.process_time()
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 20) * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        starts = torch.randint(len(x) - options.window, (options.batch,), generator=generator)
        at = starts[:, None] + torch.arange(options.window)
        # The first quarter of a window fills the state: what is asked of it there nobody could know.
        loss = (model(x[at]) - y[at])[:, options.window // 4 :].square().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        seconds += time.process_time() - begin
        if (step + 1) % options.every and step + 1 < steps:
            continue
        error = statistics.mean(forecast(model, parts["validation"])[1])
        since = 0 if error < best[0] else since + 1
        if error < best[0]:
            best = error, copy.deepcopy(model.state_dict())
        if since == options.patience:
            break
    model.load_state_dict(best[1])
    test = forecast(model, parts["test"])[1]
    return {"rate": rate, "seed": seed, "validation": best[0], "steps": step + 1, "seconds": seconds, "errors": test}


def compare(layer: str, width: int, layers: int, parts, steps: int, rates, options) -> tuple[dict, nn.Module]:
    """All learning rates with the first seed, and the best one with the others; the model of the best rate's first."""
    runs, models = [], {}

    def run(rate, seed):
        torch.manual_seed(seed)
        model = Forecaster(layer, width, layers)
        runs.append(train(model, parts, rate, seed, options, steps))
        models[rate, seed] = model
        return runs[-1]

    sweep = [run(rate, 0) for rate in rates]
    best = min(sweep, key=lambda entry: entry["validation"])
    kept = [best, *(run(best["rate"], seed) for seed in range(1, options.seeds))]
    columns = list(zip(*(entry["errors"] for entry in kept)))
    return {
        "layer": layer,
        "width": width,
        "layers": layers,
        "parameters": count(models[best["rate"], 0]),
        "rate": best["rate"],
        "errors": [statistics.mean(column) for column in columns],
        "deviations": [statistics.stdev(column) if len(column) > 1 else 0.0 for column in columns],
        "seconds": statistics.mean(entry["seconds"] for entry in kept),
        "milliseconds_per_step": 1e3 * sum(r["seconds"] for r in runs) / sum(r["steps"] for r in runs),
        "runs": runs,
    }, models[best["rate"], 0]


def plot(path: Path, parts: dict, series: dict, errors_by_name: dict, shown: int) -> None:
    """Two panels as a PNG: forecasts `shown` steps ahead against the truth, and the error by horizon."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.2), dpi=130, layout="constrained", width_ratios=(1.7, 1))
    column, window = HORIZONS.index(shown), slice(WARM_UP, WARM_UP + 400)
    left.plot(parts["test"][1][window, column], color="0.2", lw=2.2, label="truth")
    for name, values in series.items():
        left.plot(values[window, column], lw=1.1, label=name)
    left.set(xlabel="time", ylabel="x, normalised", title=f"{shown} steps ahead")
    for name, values in errors_by_name.items():
        dashed = "--" if name.startswith(("last", "linear")) else "-"
        right.plot(HORIZONS, values, "o" + dashed, lw=1.4, ms=3.5, label=name)
    right.set_yscale("log")
    right.set(xlabel="steps ahead", ylabel="error / deviation of the series", title="error on the test part")
    for axes in (left, right):
        axes.legend(frameon=False, fontsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)
    plt.close(figure)


def parse_arguments(argv) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--width", type=positive_int, default=32, help="hidden size (default: 32)")
    parser.add_argument("--layers", type=positive_int, default=2, help="(default: 2)")
    parser.add_argument("--steps", type=positive_int, default=300, help="training steps at most (default: 300)")
    parser.add_argument(
        "--longer", type=positive_int, default=4, help="ours also with so many times the steps (default: 4)"
    )
    parser.add_argument("--seeds", type=positive_int, default=3, help="(default: 3)")
    parser.add_argument("--rates", type=positive, nargs="+", default=[2e-2, 4e-2, 8e-2], help="learning rates to try")
    parser.add_argument("--batch", type=positive_int, default=16, help="windows in a step (default: 16)")
    parser.add_argument("--window", type=positive_int, default=256, help="steps of time in a window (default: 256)")
    parser.add_argument(
        "--every", type=positive_int, default=25, help="training steps between two validations (default: 25)"
    )
    parser.add_argument("--patience", type=positive_int, default=8, help="validations without progress that end a run")
    parser.add_argument("--length", type=positive_int, default=12000, help="of the series (default: 12000)")
    parser.add_argument(
        "--threads", type=positive_int, default=1, help="(default: 1: layers this small gain nothing by two)"
    )
    parser.add_argument("--quick", action="store_true", help="a few tiny steps, to see that it runs")
    parser.add_argument(
        "--output", type=result_file, default=RESULTS / "forecast.json", help="a PNG is written beside it"
    )
    options = parser.parse_args(argv)
    if options.quick:
        options.width, options.steps, options.seeds, options.rates, options.every = 4, 4, 2, [1e-2, 3e-2], 2
        options.batch, options.window, options.length = 2, 32, 3000
    return options


def main(argv=None) -> dict:
    """Runs everything, writes the result and the plot; returns what it wrote."""
    options = parse_arguments(argv)
    parts, series = split(mackey_glass(options.length, seed=0)), {}
    shortest = min(len(x) for x, _ in parts.values())
    if shortest <= options.window:
        raise SystemExit(
            f"forecast.py: --length {options.length} comes to parts of {shortest} steps and more, and --window is "
            f"{options.window}: give a longer series or a shorter window"
        )
    with settings(options.threads):
        result = {
            **provenance("training.studies.forecast", argv),
            "options": {name: value for name, value in vars(options).items() if name != "output"},
            "horizons": list(HORIZONS),
            "samples": {name: len(x) for name, (x, _) in parts.items()},
            "baselines": baselines(parts),
            "models": {},
        }
        contests = {name: (name, options.width, options.layers) for name in LAYERS}
        for ours, other in OURS.items():
            limit, layers = count(Forecaster(other, options.width, options.layers)), 2 * options.layers
            width = widest(lambda width, ours=ours, layers=layers: Forecaster(ours, width, layers), limit)
            contests[f"{ours}, {other}'s size"] = contests[f"{ours}, {other}'s size, longer"] = (ours, width, layers)
        for name, contest in contests.items():
            steps, rates = options.steps, options.rates
            if name.endswith("longer"):
                steps, rates = options.longer * steps, [result["models"][name.removesuffix(", longer")]["rate"]]
            entry, model = compare(*contest, parts, steps, rates, options)
            result["models"][name] = entry
            series[name] = forecast(model, parts["test"])[0]
            listed = " ".join(f"{error:.3f}" for error in entry["errors"])
            print(f"{name:<32}{entry['parameters']:>7,} parameters {entry['seconds']:7.1f} s  {listed}", flush=True)
    write_json(options.output, result)
    found = {**result["baselines"], **result["models"]}
    drawn = {name: series[name] for name in ("nn.GRU", "MinGRU", "MinGRU, nn.GRU's size, longer")}
    picture = options.output.with_suffix(".png")
    plot(picture, parts, drawn, {name: entry["errors"] for name, entry in found.items()}, shown=60)
    print(f"wrote {options.output} and {picture}")
    return result


if __name__ == "__main__":
    main()
