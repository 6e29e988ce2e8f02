# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Settings for all tests: offline, and one thread per process, because more threads would slow down the tiny models.

`pytest --expect-skips FILE` fails if it skips a test that FILE does not name, or runs a test that FILE names.
"""

import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch

torch.set_num_threads(1)


def pytest_addoption(parser):
    parser.addoption(
        "--expect-skips",
        type=Path,
        help="file with the ids of the tests that must be skipped; no other test may be skipped",
    )


class Skips:
    """Compares the tests that this run skips with the expected ones.

    With several processes, each worker sees the collection reports of its files. The main process also sees the reports of all
    tests.
    """

    def __init__(self, expected: set[str]):
        self.expected = expected
        self.ran: set[str] = set()
        self.skipped: set[str] = set()

    def pytest_collectreport(self, report):  # for files that are skipped as a whole
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
        unexpected = sorted(self.skipped - self.expected)
        ran = sorted(self.expected & self.ran - self.skipped)
        lines = [f"skipped unexpectedly: {name}" for name in unexpected]
        return lines + [f"expected to be skipped, but ran: {name}" for name in ran]

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
        expected = {line for line in lines if line and not line.startswith("#")}
        config.pluginmanager.register(Skips(expected), "expected-skips")
