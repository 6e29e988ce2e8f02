# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Runs a benchmark: its command line, its result file and its picture, and lines for the terminal.

Every benchmark is a `Benchmark`. Its contestants are in `contestants.py`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.common.command_line import at_least, make_parser, positive_int, result_file
from training.common.files import write_json
from training.common.machine import provenance
from training.common.paths import RESULTS
from training.common.timing import in_new_process, settings

SHAPES = [(1, 512, 256), (1, 4096, 512), (8, 512, 512), (64, 512, 64), (4, 16384, 256)]  # batch, time, channels
QUICK_SHAPES = [(2, 8, 16), (1, 33, 8)]
MEMORY = "MiB added to the resident memory of a fresh process by one forward + backward"


@dataclass(frozen=True)
class Benchmark:
    """The declaration of a benchmark.

    Args:
        module (`str`): The script, as `python -m` takes it.
        description (`str`): Its docstring.
        measured (`str`): How times were measured, as one line for the result file.
        bench (`Callable[[argparse.Namespace], dict]`): Checks, times and prints; returns the rest of the result file.
        rounds (`int`): Timed rounds by default.
        quick (`bool`): Whether there is `--quick`, for tiny shapes and two rounds.
        draw (`Callable[[dict, Path], None]`, *optional*): Draws the picture of a result file.
        memory_of (`Callable`, *optional*): Measures the memory of one contestant in this process, which is a fresh one.
    """

    module: str
    description: str | None
    measured: str
    bench: Callable[[argparse.Namespace], dict]
    rounds: int
    quick: bool = False
    draw: Callable[[dict, Path], None] | None = None
    memory_of: Callable[..., Any] | None = None

    def parser(self) -> argparse.ArgumentParser:
        """Returns a parser of the options that benchmarks share."""
        parser = make_parser(self.module, self.description)
        parser.add_argument("--threads", type=positive_int, default=1, help="threads of every contestant")
        quick = ", with --quick 2" if self.quick else ""
        parser.add_argument("--rounds", type=at_least(2), help=f"timed rounds (default: {self.rounds}{quick})")
        if self.quick:
            parser.add_argument("--quick", action="store_true", help="tiny shapes, to test the script; not for speeds")
        output = RESULTS / f"bench_{self.module.rpartition('.')[2]}.json"
        picture = "" if self.draw is None else ", with a PNG next to it"
        parser.add_argument("--output", type=result_file, default=output, help=f"result file{picture}")
        parser.add_argument("--memory-of", type=json.loads, help=argparse.SUPPRESS)
        return parser

    def parse(self, argv: list[str] | None, parser: argparse.ArgumentParser | None = None) -> argparse.Namespace:
        """Parses the arguments; `rounds` gets its default, which depends on `--quick`."""
        options = (parser or self.parser()).parse_args(argv)
        if options.rounds is None:
            options.rounds = 2 if self.quick and options.quick else self.rounds
        return options

    def run(self, options: argparse.Namespace, argv: list[str] | None) -> dict:
        """Runs the benchmark and writes its result file and picture; returns the content of the file."""
        with settings(options.threads):
            if options.memory_of:
                memory = self.memory_of(*options.memory_of)
                print(json.dumps(memory))
                return {"memory_mib": memory}
            about = {**provenance(self.module, argv), "measured": self.measured, "rounds": options.rounds}
            result = {**about, **self.bench(options)}
        write_json(options.output, result)
        print(f"wrote {options.output}")
        if self.draw is not None:
            picture = options.output.with_suffix(".png")
            self.draw(result, picture)
            print(f"wrote {picture}")
        return result

    def memory_in_new_process(self, options: argparse.Namespace, *arguments: Any) -> Any:
        """Returns `memory_of(*arguments)` from a new process, or `None` if the system does not report memory."""
        command = ["--threads", str(options.threads), "--memory-of", json.dumps(arguments)]
        return in_new_process(self.module, command)


def in_turn(shapes: Iterable, measure_shape: Callable[[Any], dict], table: Callable[[dict], str]) -> list[dict]:
    """Measures one shape after the other and prints each result as soon as it is available."""
    results = []
    for shape in shapes:
        results.append(measure_shape(shape))
        print(table(results[-1]), flush=True)
    return results


def named_shape(shape: tuple[int, int, int]) -> dict[str, int]:
    """Returns a shape as result files hold it."""
    return dict(zip(("batch", "time", "channels"), shape))


def ratio_of(timings: dict, slow: Any, fast: Any, target: float | None = None) -> dict[str, float | None]:
    """Returns the time of one contestant over that of another, with its target if it has one."""
    return {"ratio": timings[slow]["median_ms"] / timings[fast]["median_ms"], "target": target}


# --- lines for the terminal ------------------------------------------------------------------------------------------


def title(result: dict) -> str:
    """Returns the shape of a result."""
    return "B={batch} T={time} D={channels}".format(**result["shape"])


def timing_line(name: str, timing: dict, digits: int = 2, more: str = "", memory: float | None = None) -> str:
    """Returns a contestant's median and quartiles, and its memory in MiB if that was measured.

    >>> timing_line("a", {"median_ms": 1.0, "q1_ms": 0.5, "q3_ms": 2.0}, memory=3.0).split()
    ['a', '1.00', 'ms', '(0.50', 'to', '2.00)', '3.0', 'MiB']
    """
    quartiles = f"({timing['q1_ms']:.{digits}f} to {timing['q3_ms']:.{digits}f})"
    mebibytes = "" if memory is None else f"{memory:9.1f} MiB"
    return f"  {name:<40}{timing['median_ms']:10.{digits}f} ms {quartiles:<24}{more}{mebibytes}".rstrip()


def ratio_lines(ratios: dict, smaller: bool = False, digits: int = 2) -> list[str]:
    """Returns one line for each ratio, which says if its target is missed; `smaller` if a small ratio is better.

    >>> [line.split() for line in ratio_lines({"a/b": {"ratio": 1.5, "target": 2.0}, "c/d": {"ratio": 3.0, "target": None}})]
    [['a/b', '1.50', 'target', '2', 'MISSED'], ['c/d', '3.00']]
    """
    lines = []
    for name, entry in ratios.items():
        target = entry["target"]
        line = f"  {name:<60}{entry['ratio']:10.{digits}f}"
        if target is not None:
            reached = entry["ratio"] <= target if smaller else entry["ratio"] >= target
            line += f"  target {target:.3g}{'' if reached else '  MISSED'}"
        lines.append(line)
    return lines
