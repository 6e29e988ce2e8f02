# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""`--expect-skips`: an unexpected skip fails the run, and so does an expected skip that does not happen."""

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]
CONFTEST = Path(__file__).with_name("conftest.py")
TESTS = """
import pytest
{head}
def test_runs(): pass
@pytest.mark.parametrize("n", [1, 2])
def test_skips(n):
    if n == 2: pytest.skip("why")
def test_in_time(): pytest.xfail("known")
"""


@pytest.mark.parametrize(
    "expected, head, words",
    [
        ("", "", "skipped unexpectedly: test_some.py::test_skips[[]2[]]"),
        ("test_some.py::test_skips[2]", "", None),
        ("test_some.py::test_skips[2]\n# a comment\ntest_other.py::test_of_a_run_that_is_not_this_one", "", None),
        ("test_some.py::test_skips[2]\ntest_some.py::test_runs", "", "expected to be skipped, but ran: *test_runs"),
        ("test_some.py::test_skips[2]", "pytest.importorskip('no_such_module')", "skipped unexpectedly*test_some.py"),
    ],
    ids=["unexpected", "expected", "elsewhere", "ran", "whole file"],
)
def test_expected_skips(pytester, expected, head, words):
    pytester.makeconftest(CONFTEST.read_text())
    pytester.makepyfile(test_some=TESTS.format(head=head), test_more="def test_runs(): pass")
    pytester.path.joinpath("skips.txt").write_text(expected)
    run = pytester.runpytest_inprocess("-n", "0", "--expect-skips", "skips.txt")
    assert run.ret == (0 if words is None else 1)
    if words:
        run.stdout.fnmatch_lines([words])


@pytest.mark.slow
def test_several_processes_find_the_same_skips(pytester):
    pytester.makeconftest(CONFTEST.read_text())
    pytester.makepyfile(
        test_some=TESTS.format(head=""), test_more="import pytest\npytest.importorskip('no_such_module')"
    )
    pytester.path.joinpath("skips.txt").write_text("test_some.py::test_skips[2]")
    run = pytester.runpytest_inprocess("-n", "2", "--expect-skips", "skips.txt")
    assert run.ret == 1
    run.stdout.fnmatch_lines(["skipped unexpectedly: test_more.py"])
    assert "test_some" not in str(run.stdout.get_lines_after("*unexpectedly*"))


def test_without_the_option_any_test_may_skip(pytester):
    pytester.makeconftest(CONFTEST.read_text())
    pytester.makepyfile(test_some=TESTS.format(head=""))
    assert pytester.runpytest_inprocess().ret == 0
