# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Counts the Python calls of a forward, a training step and a token of a one-layer model, compared with Llama.

    python -m training.bench.call_counts           # a few seconds; writes training/results/bench_call_counts.json

A call is a Python frame that is entered, counted by `sys.setprofile`; a generator counts each time it is resumed. Frames are
counted in all, in the files of hf_minrnn and in those of transformers. Every case runs a few times before it is counted.
"Shortcuts off" registers a forward hook for every module, with which hf_minrnn calls each submodule in the ordinary way. The
functions of the shortcuts themselves are not counted then.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from training.common import packages

if __name__ == "__main__":
    packages.require(*packages.TRAIN)

import torch
import transformers
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

import hf_minrnn
from training.bench.generate import random_prompt, tiny_models
from training.common.command_line import make_parser, reported, result_file
from training.common.files import write_json
from training.common.machine import provenance
from training.common.paths import RESULTS
from training.common.timing import settings

MODULE = "training.bench.call_counts"
CONTESTANTS = ("minGRU", "minLSTM", "Llama")
FOLDERS = {package.__name__: os.path.dirname(package.__file__) + os.sep for package in (hf_minrnn, transformers)}
WARM_UPS = 2
TOKENS = 8
LIMITS = {"forward": 80, "token, shortcuts off": 40}  # on calls within hf_minrnn
LIMITED = "minGRU"


def is_shortcut(frame: FrameType) -> bool:
    """Whether a call belongs to the shortcuts for single tokens: calls_minrnn.py, and the test for the norm's faster path."""
    name = Path(frame.f_code.co_filename).name
    caller = frame.f_back
    is_test_of_norm = (
        frame.f_code.co_name == "is_plain"
        and caller is not None
        and Path(caller.f_code.co_filename).name == "norm_minrnn.py"
    )
    return name == "calls_minrnn.py" or is_test_of_norm


def count_calls(function: Callable[[], object], modeling_file: str = "", shortcuts: bool = True) -> dict:
    """Counts the Python calls of `function()`.

    Args:
        function (callable): The function to run.
        modeling_file (`str`): The file that defines the model, whose calls are counted by themselves too.
        shortcuts (`bool`): Whether the calls of the shortcuts themselves count, see `is_shortcut`.

    Returns:
        The calls in all, in `modeling_file`, in transformers and in hf_minrnn; of the latter also the distinct functions and
        files.

    >>> count_calls(lambda: [str(n) for n in range(3)])["calls"] in (1, 2)  # Python 3.12 has no frame for a comprehension
    True
    """
    calls: Counter = Counter()

    def profiler(frame, event, _):
        if event == "call" and (shortcuts or not is_shortcut(frame)):
            calls[frame.f_code] += 1

    for _ in range(WARM_UPS):
        function()
    before = sys.getprofile()
    sys.setprofile(profiler)
    try:
        function()
    finally:
        sys.setprofile(before)
    own, theirs = (
        {code: count for code, count in calls.items() if code.co_filename.startswith(folder)}
        for folder in FOLDERS.values()
    )
    return {
        "calls": calls.total(),
        "modeling_file": sum(count for code, count in calls.items() if code.co_filename == modeling_file),
        "hf_minrnn": {
            "calls": sum(own.values()),
            "functions": len(own),
            "files": len({code.co_filename for code in own}),
        },
        "transformers": {"calls": sum(theirs.values()), "files": len({code.co_filename for code in theirs})},
    }


def without_shortcuts(function: Callable[[], object]) -> Callable[[], object]:
    """Returns a function that calls `function` while a forward hook is registered for every module."""

    def run():
        handle = register_module_forward_hook(_no_op)
        try:
            function()
        finally:
            handle.remove()

    return run


def _no_op(module, inputs, output):
    return None


def cases(model: nn.Module) -> dict[str, Callable[[], object]]:
    """Returns the functions to count: a forward over 8 tokens, a training step over them, and one token with a cache."""
    ids = random_prompt(TOKENS)
    with torch.no_grad():
        cache = model(ids).past_key_values

    @torch.no_grad()
    def forward():
        model(ids)

    def training_step():
        model(ids, labels=ids).loss.backward()
        model.zero_grad()

    @torch.no_grad()
    def token():
        model(ids[:, :1], past_key_values=cache)

    return {
        "forward": forward,
        "forward, shortcuts off": without_shortcuts(forward),
        "training step": training_step,
        "token": token,
        "token, shortcuts off": without_shortcuts(token),
    }


@reported
def main(argv: list[str] | None = None) -> dict:
    """Counts, prints and writes the result file; returns what it wrote."""
    parser = make_parser(MODULE, __doc__)
    parser.add_argument("--output", type=result_file, default=RESULTS / "bench_call_counts.json", help="result file")
    args = parser.parse_args(argv)
    models = tiny_models()
    counted = {}
    with settings(1):
        for name in CONTESTANTS:
            modeling_file = sys.modules[type(models[name]).__module__].__file__
            counted[name] = {
                case: count_calls(run, modeling_file, shortcuts=not case.endswith("shortcuts off"))
                for case, run in cases(models[name]).items()
            }
    result = {
        **provenance(MODULE, argv),
        "measured": f"Python calls of models of one layer and {TOKENS} tokens, after {WARM_UPS} calls of the same kind",
        "contestants": counted,
        "limits": LIMITS,
    }
    print(
        f"{'':<36}{'hf_minrnn':>10}{'functions':>10}{'files':>7}{'transformers':>14}{'its modeling file':>19}{'all':>7}"
    )
    for name, entries in counted.items():
        for case, entry in entries.items():
            own = entry["hf_minrnn"]
            line = f"{f'{name}, {case}':<36}{own['calls']:10}{own['functions']:10}{own['files']:7}"
            line += f"{entry['transformers']['calls']:14}{entry['modeling_file']:19}{entry['calls']:7}"
            if name == LIMITED and case in LIMITS:
                missed = "" if own["calls"] <= LIMITS[case] else "  MISSED"
                line += f"  limit {LIMITS[case]}{missed}"
            print(line)
    write_json(args.output, result)
    print(f"wrote {args.output}")
    return result


if __name__ == "__main__":
    main()
