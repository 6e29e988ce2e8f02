# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The tests run offline, on one thread a process: the models are tiny, and threads would only wait for each other.

`pytest --expect-skips FILE` fails if a test is skipped that FILE does not name, or one it names runs after all.
"""

import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch

torch.set_num_threads(1)


def pytest_addoption(parser):
    parser.addoption("--expect-skips", type=Path, help="file with the ids of the tests that may and must be skipped")


class Skips:
    """What is skipped, compared with what is expected, of the tests that this run has selected.

    With several processes each sees what it collects, and the first sees every test's report.
    """

    def __init__(self, expected: set[str]):
        self.expected, self.ran, self.skipped = expected, set(), set()

    def pytest_collectreport(self, report):  # a whole file
        if report.skipped:
            self.skipped.add(report.nodeid)

    def pytest_runtest_logreport(self, report):
        self.ran.add(report.nodeid)
        if report.skipped and not hasattr(report, "wasxfail"):
            self.skipped.add(report.nodeid)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node):
        self.skipped.update(node.workeroutput["skipped"])

    def problems(self) -> list[str]:
        return [f"skipped, which nobody expects: {name}" for name in sorted(self.skipped - self.expected)] + [
            f"expected to be skipped, but ran: {name}" for name in sorted(self.expected & self.ran - self.skipped)
        ]

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session):
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput["skipped"] = sorted(self.skipped)
        elif self.problems() and session.exitstatus == 0:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter):
        for line in self.problems():
            terminalreporter.write_line(line, red=True)


def pytest_configure(config):
    path = config.getoption("--expect-skips")
    if path is not None:
        lines = path.read_text().splitlines()
        config.pluginmanager.register(
            Skips({line for line in lines if line and not line.startswith("#")}), "expected-skips"
        )
