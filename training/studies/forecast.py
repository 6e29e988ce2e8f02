# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Forecasts a chaotic time series with MinGRU, MinLSTM, nn.GRU and nn.LSTM: error, training time, parameters.

    python -m training.studies.forecast            # writes training/results/forecast.json and .png; minutes, one thread
    python -m training.studies.forecast --help     # other widths, layers, steps, seeds

The series solves the Mackey-Glass equation, whose slope depends on the value 30 time units ago:
dx/dt = 0.2 y / (1 + y^10) - 0.1 x with y(t) = x(t - 30). A model reads one value at a time, so its state has to hold the past.
At every step it forecasts the values 1 to 90 steps later. All models are a layer of torch.nn or ours between the same input and
the same Linear, with the same data, batches, steps and learning rates to choose from. The best state on the validation part is
kept, and a run ends early if that stops improving. The test part is read once, at the end of a run.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import time
from typing import Any

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

import torch
from torch import nn

from hf_minrnn import MinGRU, MinLSTM
from training.common.command_line import make_parser, positive, positive_int, reported, result_file
from training.common.errors import InputError
from training.common.experiment import Run
from training.common.files import write_json
from training.common.machine import provenance
from training.common.paths import RESULTS
from training.common.plots import legend_below, save_figure
from training.common.rows import contest
from training.common.timing import settings
from training.common.widths import count, widest

HORIZONS = (1, 6, 15, 30, 60, 90)
LAGS = (16, 64, 128)  # lags of the linear autoregression to choose from, on the validation part
WARM_UP = 128  # steps at the beginning of the validation and the test part that only fill the state
LAYERS = {"nn.GRU": nn.GRU, "MinGRU": MinGRU, "nn.LSTM": nn.LSTM, "MinLSTM": MinLSTM}
COLORS = {"nn.GRU": "#222222", "MinGRU": "#cc3311", "nn.LSTM": "#228833", "MinLSTM": "#4477aa"}
OURS = {"MinGRU": "nn.GRU", "MinLSTM": "nn.LSTM"}  # our layers, and the layer of torch.nn that each is compared with
SHOWN = ("nn.GRU", "MinGRU", "MinGRU, nn.GRU's size, longer")  # models whose forecasts are drawn
SHOWN_HORIZON = 60  # horizon of the forecasts that are drawn
SHOWN_STEPS = 400  # number of the forecasts that are drawn
QUICK = {
    "width": 4,
    "steps": 4,
    "seeds": 2,
    "rates": [1e-2, 3e-2],
    "every": 2,
    "batch": 2,
    "window": 32,
    "length": 3000,
}


def mackey_glass(length: int, seed: int, delay: float = 30.0, step: float = 0.1, every: int = 10) -> torch.Tensor:
    """Returns the series from a random start, sampled at every time unit, without the first 500.

    Args:
        length (`int`): Number of samples.
        seed (`int`): Seed of the history before the start.
        delay (`float`): Delay of the equation; a multiple of `step`.
        step (`float`): Step of the Runge-Kutta method of order four; between its steps the delayed value is interpolated.
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
    """Returns the inputs `(time - 90,)` of a part `(time,)`, and the values that follow them, `(time - 90, horizons)`."""
    length = len(part) - max(HORIZONS)
    return part[:length], torch.stack([part[h : h + length] for h in HORIZONS], -1)


def split(series: torch.Tensor, shares=(0.7, 0.1)) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Returns training, validation and test part, consecutive in time, normalized by the training part."""
    first = round(shares[0] * len(series))
    second = round(sum(shares) * len(series))
    series = (series - series[:first].mean()) / series[:first].std()
    parts = {"train": series[:first], "validation": series[first:second], "test": series[second:]}
    return {name: with_targets(part) for name, part in parts.items()}


def errors(forecast: torch.Tensor, target: torch.Tensor) -> list[float]:
    """Returns the root mean square error after the warm-up for each horizon, divided by the target's deviation."""
    target = target[WARM_UP:]
    return ((forecast[WARM_UP:] - target).square().mean(0).sqrt() / target.std(0)).tolist()


def lagged(x: torch.Tensor, lags: int) -> torch.Tensor:
    """Returns the last values at every step and a constant, `(time, lags + 1)`; values before the first are zero."""
    columns = [torch.cat([x.new_zeros(k), x[: len(x) - k]]) for k in range(lags)]
    return torch.stack([*columns, torch.ones_like(x)], -1)


def baselines(parts: dict) -> dict:
    """Returns the errors of repeating the last value, and of a linear autoregression: least squares for each horizon."""
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
    """Maps values `(batch, time)` to forecasts `(batch, time, horizons)`."""

    def __init__(self, layer: str, width: int, num_layers: int):
        super().__init__()
        self.rnn = LAYERS[layer](1, width, num_layers, batch_first=True)
        self.head = nn.Linear(width, len(HORIZONS))

    def forward(self, x):
        return self.head(self.rnn(x.unsqueeze(-1))[0])


@torch.no_grad()
def forecast(model: nn.Module, part) -> tuple[torch.Tensor, list[float]]:
    """Returns the forecasts of a model, `(time, horizons)`, computed in one pass, and their errors."""
    x, y = (values.float() for values in part)
    found = model(x[None])[0]
    return found, errors(found, y)


def train(model: nn.Module, parts: dict, rate: float, seed: int, options: Any, steps: int) -> dict:
    """Trains on random windows; leaves the best state on the validation part in the model.

    Args:
        model (`nn.Module`): Maps `(batch, time)` to forecasts `(batch, time, horizons)`.
        parts (`dict`): Result of `split`.
        rate (`float`): Peak of the learning rate.
        seed (`int`): Seed of the windows.
        options: Has `window`, `batch`, `every` and `patience`, see the command line.
        steps (`int`): Largest number of steps.

    Returns:
        `dict`: Validation error (mean over the horizons), steps, processor seconds without validation, and the test errors by
        horizon.
    """
    x, y = (values.float() for values in parts["train"])
    generator = torch.Generator().manual_seed(seed)

    def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        first = torch.randint(len(x) - options.window, (options.batch,), generator=generator)
        window = first[:, None] + torch.arange(options.window)
        return x[window], y[window]

    def loss(model: nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        # The first quarter of a window fills the state; its targets cannot be known yet.
        return (model(inputs) - targets)[:, options.window // 4 :].square().mean()

    run = Run(
        model,
        torch.optim.Adam(model.parameters(), lr=rate),
        steps=steps,
        batch=batch,
        loss=loss,
        learning_rate=lambda step: rate * min(1, (step + 1) / 20) * (0.5 + 0.5 * math.cos(math.pi * step / steps)),
        validate=lambda model: {"error": statistics.mean(forecast(model, parts["validation"])[1])},
        every=options.every,
        metric="error",
        patience=options.patience,
        timer=time.process_time,
    )
    found = run.train()
    run.restore_best()
    return {
        "rate": rate,
        "seed": seed,
        "validation": found["best"]["error"] if found["best"] else math.inf,
        "steps": found["steps"],
        "seconds": found["seconds"],
        "errors": forecast(model, parts["test"])[1],
    }


def compare(
    layer: str, width: int, layers: int, parts: dict, steps: int, rates: list[float], options: argparse.Namespace
) -> tuple[dict, nn.Module]:
    """Trains a model with each learning rate and the first seed, then with the best rate and the other seeds.

    Returns:
        The entry of the result file, and the model of the best rate and the first seed.
    """
    runs, models = [], {}

    def run(rate: float, seed: int) -> dict:
        torch.manual_seed(seed)
        model = Forecaster(layer, width, layers)
        runs.append(train(model, parts, rate, seed, options, steps))
        models[rate, seed] = model
        return runs[-1]

    _, kept = contest(rates, range(options.seeds), run, lambda entry: entry["validation"])
    best = kept[0]["rate"]
    columns = list(zip(*(entry["errors"] for entry in kept)))
    return {
        "layer": layer,
        "width": width,
        "layers": layers,
        "parameters": count(models[best, 0]),
        "rate": best,
        "errors": [statistics.mean(column) for column in columns],
        "deviations": [statistics.stdev(column) if len(column) > 1 else 0.0 for column in columns],
        "seconds": statistics.mean(entry["seconds"] for entry in kept),
        "milliseconds_per_step": 1e3 * sum(r["seconds"] for r in runs) / sum(r["steps"] for r in runs),
        "runs": runs,
    }, models[best, 0]


def shown_values(values: torch.Tensor) -> list[float]:
    """Returns the values `(time, horizons)` that are drawn, rounded to what a picture can show."""
    column = values[WARM_UP : WARM_UP + SHOWN_STEPS, HORIZONS.index(SHOWN_HORIZON)]
    return [round(value, 4) for value in column.tolist()]


def contestants(options: argparse.Namespace) -> dict[str, tuple[str, int, int]]:
    """Returns layer, width and number of layers of each model by its name.

    Each of our layers also has as many parameters as its counterpart of torch.nn, with twice the layers, and is then also
    trained for more steps.
    """
    found = {name: (name, options.width, options.layers) for name in LAYERS}
    for ours, other in OURS.items():
        limit = count(Forecaster(other, options.width, options.layers))
        layers = 2 * options.layers
        width = widest(lambda width, ours=ours, layers=layers: Forecaster(ours, width, layers), limit)
        found[f"{ours}, {other}'s size"] = (ours, width, layers)
        found[f"{ours}, {other}'s size, longer"] = (ours, width, layers)
    return found


# --- picture ---------------------------------------------------------------------------------------------------------


def _style(name: str) -> dict:
    """Returns how a model is drawn: the color says which layer it has, the line which size and steps."""
    layer = name.partition(",")[0]
    if layer not in COLORS:
        return {"color": "0.6", "ls": "--" if name.startswith("linear") else ":"}
    line = "-"
    if name == layer and layer in OURS:
        line = (0, (1, 1.2))
    elif name.endswith("size"):
        line = (0, (5, 2))
    return {"color": COLORS[layer], "ls": line}


def draw(result: dict, path: str | os.PathLike) -> None:
    """Draws two panels as a PNG: some forecasts against the true values, and the error by horizon."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5), dpi=130, layout="constrained", width_ratios=(1.2, 1))
    shown = result["shown"]
    left.plot(shown["truth"], color="0.8", lw=5, label="truth")
    for name, values in shown["forecasts"].items():
        left.plot(values, lw=1.4, label=name, **_style(name))
    left.set(xlabel="time", ylabel="x, normalized", title=f"forecasts {shown['horizon']} steps ahead")
    for name, entry in (result["baselines"] | result["models"]).items():
        right.plot(result["horizons"], entry["errors"], "o", lw=1.4, ms=4, mfc="none", label=name, **_style(name))
    right.set_yscale("log")
    right.set(xlabel="steps ahead", ylabel="error / deviation of the series", title="error on the test part")
    right.grid(color="0.92")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    legend_below(figure, left, right)
    save_figure(path, figure)


# --- command line ----------------------------------------------------------------------------------------------------


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parses the command line."""
    parser = make_parser("training.studies.forecast", __doc__)
    parser.add_argument("--width", type=positive_int, default=32, help="hidden size")
    parser.add_argument("--layers", type=positive_int, default=2, help="number of layers")
    parser.add_argument("--steps", type=positive_int, default=300, help="largest number of training steps")
    parser.add_argument("--longer", type=positive_int, default=4, help="factor of the steps of our longer runs")
    parser.add_argument("--seeds", type=positive_int, default=3, help="number of seeds")
    parser.add_argument("--rates", type=positive, nargs="+", default=[2e-2, 4e-2, 8e-2], help="learning rates to try")
    parser.add_argument("--batch", type=positive_int, default=16, help="windows in a step")
    parser.add_argument("--window", type=positive_int, default=256, help="steps of time in a window")
    parser.add_argument("--every", type=positive_int, default=25, help="training steps between two validations")
    parser.add_argument(
        "--patience",
        type=positive_int,
        default=8,
        help="validations without progress after which a run ends",
    )
    parser.add_argument("--length", type=positive_int, default=12000, help="length of the series")
    parser.add_argument(
        "--threads",
        type=positive_int,
        default=1,
        help="threads of torch; a second one does not speed up layers this small",
    )
    parser.add_argument("--quick", action="store_true", help="a few tiny steps, to test the script")
    parser.add_argument(
        "--output", type=result_file, default=RESULTS / "forecast.json", help="result file; a PNG is written next to it"
    )
    options = parser.parse_args(argv)
    if options.quick:
        vars(options).update(QUICK)
    return options


def run_all(options: argparse.Namespace, parts: dict, result: dict) -> None:
    """Trains all models, adds their entries to the result and prints them."""
    shown = {"horizon": SHOWN_HORIZON, "truth": shown_values(parts["test"][1]), "forecasts": {}}
    for name, (layer, width, layers) in contestants(options).items():
        steps, rates = options.steps, options.rates
        if name.endswith("longer"):
            steps = options.longer * steps
            rates = [result["models"][name.removesuffix(", longer")]["rate"]]
        entry, model = compare(layer, width, layers, parts, steps, rates, options)
        result["models"][name] = entry
        if name in SHOWN:
            shown["forecasts"][name] = shown_values(forecast(model, parts["test"])[0])
        listed = " ".join(f"{error:.3f}" for error in entry["errors"])
        print(f"{name:<32}{entry['parameters']:>7,} parameters {entry['seconds']:7.1f} s  {listed}", flush=True)
    result["shown"] = shown


@reported
def main(argv: list[str] | None = None) -> dict:
    """Trains all models, writes the result file and the plot; returns the content of the result file."""
    options = parse_arguments(argv)
    parts = split(mackey_glass(options.length, seed=0))
    shortest = min(len(x) for x, _ in parts.values())
    if shortest <= options.window:
        raise InputError(
            f"--length {options.length} comes to parts of {shortest} steps and more, and --window is {options.window}: give "
            "a longer series or a shorter window"
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
        run_all(options, parts, result)
    write_json(options.output, result)
    picture = options.output.with_suffix(".png")
    draw(result, picture)
    print(f"wrote {options.output} and {picture}")
    return result


if __name__ == "__main__":
    main()
