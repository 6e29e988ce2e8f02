# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Trains policies with memory on CartPole without velocities, by PPO, with MinGRU and with nn.GRU in the same place.

    python -m training.studies.cartpole                     # a few minutes; writes training/results/rl_cartpole.json and .png
    python -m training.studies.cartpole --seeds 0 --layers mingru

The policy sees the position of the cart and the angle of the pole; it needs memory to know how fast they change. Episodes can
end anywhere in a rollout. MinGRU processes the whole rollout in one pass, with `resets` where an episode begins. nn.GRU has no
such argument; it processes the stretches between the steps at which an episode begins in any row. That was faster than episodes
packed into a PackedSequence, and than a loop over steps. Hyperparameters, seeds and the rest of the network are shared. The
hyperparameters were chosen on seeds 0 to 2, mostly with MinGRU, which is more sensitive to them; other seeds are measured. The
script needs gymnasium, which is in the extra "rl".
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import sys
from importlib import metadata

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN, "gymnasium")

from torch import nn

from hf_minrnn import MinGRU
from training.common.command_line import make_parser, positive_int, reported, result_file, whole
from training.common.files import write_json
from training.common.machine import machine, versions
from training.common.paths import RESULTS
from training.common.plots import legend_below, save_figure
from training.common.timing import settings as thread_settings
from training.studies.ppo import LIMIT, RECENT, SETTINGS, train

QUICK = {"steps": 2 * 4 * 32, "environments": 4, "rollout": 32, "width": 8, "epochs": 2, "minibatches": 2}
LAYERS = {
    # The highway lets the present input through: gates that do not see the state can hardly tell it from the past.
    "mingru": lambda width: MinGRU(width, width, batch_first=True, output_gate="highway"),
    "gru": lambda width: nn.GRU(width, width, batch_first=True),
}


def spread(values: list[float]) -> dict[str, float]:
    """Returns mean and standard deviation."""
    return {"mean": statistics.mean(values), "deviation": statistics.stdev(values) if len(values) > 1 else 0.0}


def summarize(runs: list[dict]) -> dict:
    """Returns means and deviations over the seeds."""
    out = {name: spread([run[name] for run in runs]) for name in ("score", "greedy") if runs[0][name] is not None}
    out |= {f"{name}_seconds": spread([run["seconds"][name] for run in runs]) for name in runs[0]["seconds"]}
    return out | {name: runs[0][name] for name in ("parameters", "recurrent_parameters")}


def draw(result: dict, path: str | os.PathLike) -> None:
    """Draws the learning curves as a PNG, one line for each seed: by steps and by seconds."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(9, 4.1), dpi=130, layout="constrained", sharey=True)
    for axes, column, label in zip(panels, (0, 1), ("thousands of steps", "processor seconds of training")):
        for (layer, runs), color in zip(result["runs"].items(), ("#cc3311", "#4477aa")):
            for number, run in enumerate(runs):
                points = [(point[column] / (1 if column else 1000), point[2]) for point in run["curve"]]
                axes.plot(*zip(*points), color=color, lw=1.2, alpha=0.8, label=None if number else layer)
        axes.axhline(LIMIT, color="0.7", lw=1, ls=(0, (4, 3)), label=f"highest return, {LIMIT}")
        axes.set_xlabel(label)
        axes.grid(color="0.92")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel(f"mean return of the last {RECENT} episodes")
    legend_below(figure, *panels)
    figure.suptitle("CartPole without velocities, PPO, one line for each seed")
    save_figure(path, figure)


def parse_arguments(argv: list[str] | None) -> tuple[argparse.Namespace, dict]:
    """Returns the options and the settings of PPO."""
    parser = make_parser("training.studies.cartpole", __doc__)
    parser.add_argument(
        "--layers", nargs="+", choices=list(LAYERS), default=list(LAYERS), help="layers to train (default: all)"
    )
    parser.add_argument("--seeds", nargs="+", type=whole, default=[10, 11, 12], help="seeds")
    parser.add_argument(
        "--steps", type=positive_int, help=f"steps of all environments together (default: {SETTINGS['steps']:,})"
    )
    parser.add_argument("--threads", type=positive_int, default=1, help="threads of torch")
    parser.add_argument("--quick", action="store_true", help="a few seconds of training, to test the script")
    parser.add_argument("--output", type=result_file, default=RESULTS / "rl_cartpole.json", help="result file")
    options = parser.parse_args(argv)
    settings = SETTINGS | (QUICK if options.quick else {})
    settings["steps"] = options.steps or settings["steps"]
    rollout = settings["environments"] * settings["rollout"]
    if settings["steps"] < rollout:
        parser.error(f"--steps must be at least a rollout's {rollout}")
    return options, settings


def run_all(options: argparse.Namespace, settings: dict) -> dict[str, list[dict]]:
    """Trains every layer with every seed; returns the runs by layer."""
    runs: dict[str, list[dict]] = {layer: [] for layer in options.layers}
    for seed in options.seeds:  # the layers take turns, so that other load on the machine affects all of them
        for layer in options.layers:
            run = train(LAYERS[layer], seed, settings)
            runs[layer].append(run)
            score = "-" if run["score"] is None else f"{run['score']:.0f}"
            times = ", ".join(f"{name} {value:.1f} s" for name, value in run["seconds"].items())
            print(f"{layer:<7} seed {seed}: score {score}, greedy {run['greedy']:.0f}, {times}", flush=True)
    return runs


@reported
def main(argv: list[str] | None = None) -> dict:
    """Trains, prints and writes the result file and the plot; returns the content of the result file."""
    options, settings = parse_arguments(argv)
    words = ["python", "-m", "training.studies.cartpole", *(sys.argv[1:] if argv is None else argv)]
    with thread_settings(options.threads):
        runs = run_all(options, settings)
        result = {
            "command": shlex.join(words),
            "measured": f"score: mean return of the last {RECENT} episodes of training; greedy: mean return of 100 episodes "
            f"of the likelier action; at most {LIMIT}",
            "settings": settings,
            "summary": {layer: summarize(found) for layer, found in runs.items()},
            "runs": runs,
            "machine": machine(),
            "versions": versions() | {"gymnasium": metadata.version("gymnasium")},
        }
    write_json(options.output, result)
    draw(result, options.output.with_suffix(".png"))
    for layer, found in result["summary"].items():
        scores = [f"{k} {v['mean']:.1f} ± {v['deviation']:.1f}" for k, v in found.items() if isinstance(v, dict)]
        print(f"{layer}: {', '.join(scores)}, {found['parameters']:,} parameters")
    print(f"wrote {options.output} and {options.output.with_suffix('.png').name}")
    return result


if __name__ == "__main__":
    main()
