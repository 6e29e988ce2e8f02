# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Runs transformers' own model tests on the classes of a plug (plug_*.py).

    python tests/exam/run.py plug_minrnn --json result.json

The first run downloads the tests of the installed transformers with pip (13 MB) and keeps them in --cache.
"""

import argparse
import json
import os
import sys
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = HERE.parent.parent / ".ci" / "cache" / "exam"


class Tally:
    """A pytest plugin that records the outcome of every test and the number of its skipped subtests."""

    def __init__(self):
        self.outcomes, self.reasons, self.skipped_subtests = {}, {}, Counter()

    def pytest_collectreport(self, report):
        if report.failed:  # a module that cannot be imported, so none of its tests runs
            self.outcomes[report.nodeid] = "failed"
            self.reasons[report.nodeid] = str(report.longrepr)[-600:]

    def pytest_runtest_logreport(self, report):
        name = report.nodeid.split("::")[-1]
        if hasattr(report, "context") and report.skipped:
            self.skipped_subtests[name] += 1  # the test itself still counts as passed
        elif (report.when == "call" or report.outcome != "passed") and self.outcomes.get(name) != "failed":
            self.outcomes[name] = report.outcome
            if report.outcome != "passed":
                reason = report.longrepr[2] if report.skipped else report.longrepr
                self.reasons[name] = str(reason)[-600:]

    def summary(self) -> dict:
        names = {"passed": [], "skipped": [], "failed": []}
        for name, outcome in sorted(self.outcomes.items()):
            names[outcome].append(name)
        return {**names, "skipped_subtests": dict(self.skipped_subtests), "reasons": self.reasons}


def main(argv=None) -> dict:
    """Runs the tests, prints their tally and returns it: names by outcome, reasons, and skipped subtests by test."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plug", choices=sorted(path.stem for path in HERE.glob("plug_*.py")))
    parser.add_argument("--json", type=Path, help="file for the tally")
    parser.add_argument("--cache", type=Path, default=CACHE)
    args = parser.parse_args(argv)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ["RUN_TRAINING_TESTS"] = "1"
    os.environ["MINRNN_EXAM_PLUG"] = args.plug
    sys.path.insert(0, str(HERE))
    import pytest
    import transformers
    import upstream

    upstream.mount(upstream.fetch(args.cache))
    tally = Tally()
    quiet = ["-q", "-p", "no:cacheprovider", "--no-header", "--tb=short", "-W", "ignore"]
    pytest.main([str(HERE / "cases.py"), *quiet, "--rootdir", str(HERE), "-c", os.devnull], plugins=[tally])
    summary = {"transformers": transformers.__version__, **tally.summary()}
    print(
        f"{args.plug}, transformers {transformers.__version__}:",
        ", ".join(f"{len(summary[k])} {k}" for k in ("passed", "skipped", "failed")),
    )
    if args.json:
        args.json.write_text(json.dumps(summary, indent=1) + "\n")
    return summary


if __name__ == "__main__":
    summary = main()
    sys.exit(bool(summary["failed"]) or not summary["passed"])
