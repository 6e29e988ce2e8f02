# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Chooses among the rows of an experiment: the best learning rate, the rows of each group, their curves and scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def contest(
    rates: Sequence[float],
    seeds: Sequence[int],
    run: Callable[[float, int], dict],
    loss: Callable[[dict], float | None],
) -> tuple[list[dict], list[dict]]:
    """Runs every learning rate with the first seed, then the best one with the others.

    Args:
        rates (`list[float]`): Learning rates.
        seeds (`list[int]`): Seeds.
        run: Function of a learning rate and a seed that returns a row.
        loss: Function of a row that returns its loss, or `None` if the row failed. The rate with the lowest loss is the best;
            of several with the same loss, the lowest rate.

    Returns:
        The rows of the first seed, one for each rate, and those of the best rate, one for each seed. The latter are empty if
        all rates failed.

    >>> run = lambda rate, seed: {"rate": rate, "seed": seed}
    >>> first, best = contest([0.1, 0.2], [0, 1], run, loss=lambda row: -row["rate"])
    >>> best
    [{'rate': 0.2, 'seed': 0}, {'rate': 0.2, 'seed': 1}]
    """
    first = [run(rate, seeds[0]) for rate in rates]
    judged = [
        (loss(row), rate, number) for number, (rate, row) in enumerate(zip(rates, first)) if loss(row) is not None
    ]
    if not judged:
        return first, []
    _, rate, number = min(judged)
    return first, [first[number], *(run(rate, seed) for seed in seeds[1:])]


def _by_rate(result: dict, by: tuple[str, ...]) -> dict[tuple, dict[float, list[dict]]]:
    found: dict[tuple, dict[float, list]] = {}
    for row in result["rows"].values():
        rates = found.setdefault(tuple(row["settings"][name] for name in by), {})
        rates.setdefault(row["settings"]["rate"], []).append(row)
    return found


def groups(result: dict, by: tuple[str, ...], metric: str) -> dict[tuple, list[dict]]:
    """Returns the rows of each group at its best learning rate; they differ in the seed only.

    Args:
        result (`dict`): Content of a result file.
        by (`tuple[str, ...]`): Settings in which the groups differ.
        metric (`str`): "accuracy" or "loss", on the validation part.

    >>> row = lambda rate, seed, a: {"settings": {"model": "x", "rate": rate, "seed": seed}, "best": {"accuracy": a}}
    >>> rows = {"a": row(1e-3, 0, 0.5), "b": row(1e-2, 0, 0.7), "c": row(1e-2, 1, 0.6), "d": row(1, 0, 0) | {"best": None}}
    >>> rows["e"] = row(3e-2, 0, 0.7)
    >>> {key: [r["settings"]["seed"] for r in group] for key, group in groups({"rows": rows}, ("model",), "accuracy").items()}
    {('x',): [0, 1]}
    """
    sign = -1 if metric == "loss" else 1

    def rank(item: tuple[float, list[dict]]) -> tuple:
        rate, rows = item
        best = max((sign * row["best"][metric] for row in rows if row["best"]), default=float("-inf"))
        # Of equal rates, `contest` gave the other seeds to one: that with the most rows. If there is one seed, the lowest.
        return best, len(rows), -rate

    return {key: max(rates.items(), key=rank)[1] for key, rates in _by_rate(result, by).items()}


def tried(result: dict, by: tuple[str, ...]) -> dict[tuple, list[float]]:
    """Returns the learning rates that were tried for each group of `groups`, in ascending order."""
    return {key: sorted(rates) for key, rates in _by_rate(result, by).items()}


def curves(result: dict, by: tuple[str, ...], metric: str) -> dict[tuple, list[tuple[int, float]]]:
    """Returns the steps and the validation scores of the first row of each group of `groups`.

    Groups that diverged before the first evaluation are left out.
    """
    found = {key: rows[0]["curve"] for key, rows in groups(result, by, metric).items() if rows[0]["curve"]}
    return {key: [(entry["step"], entry[metric]) for entry in curve] for key, curve in found.items()}


def numbers(rows: list[dict], name: str, state: str = "best") -> list:
    """Returns a test score of each row: that of its `state`, "best" or "final", or of the last one if it has no best."""
    return [row["test"].get(state, row["test"]["final"])[name] for row in rows]
