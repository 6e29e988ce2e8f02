# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Every type of an option: the values it returns, and the messages for the values it rejects."""

import argparse
import errno
import os
from pathlib import Path

import pytest

from training.common import command_line
from training.common.command_line import make_parser, reported
from training.common.errors import CheckpointError, InputError, WriteError


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("number", "-1.5", -1.5),
        ("positive", "1e-3", 0.001),
        ("not_negative", "0", 0.0),
        ("share", "0", 0.0),
        ("share", "0.99", 0.99),
        ("positive_share", "1", 1.0),
        ("whole", "0", 0),
        ("positive_int", "12", 12),
        ("seed", str((1 << 63) - 1), (1 << 63) - 1),
        ("device", "cpu", "cpu"),
    ],
)
def test_a_type_returns_the_value(kind, text, value):
    found = getattr(command_line, kind)(text)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("number", "much", "must be a number, got 'much'"),
        ("number", "nan", "must be finite, got nan"),
        ("number", "-inf", "must be finite, got -inf"),
        ("positive", "0", "must be above 0, got 0"),
        ("positive", "nan", "must be finite, got nan"),
        ("not_negative", "-0.1", "must not be negative, got -0.1"),
        ("share", "1", "must be at least 0 and below 1, got 1"),
        ("share", "-0.1", "must be at least 0 and below 1, got -0.1"),
        ("positive_share", "0", "must be above 0 and at most 1, got 0"),
        ("positive_share", "1.5", "must be above 0 and at most 1, got 1.5"),
        ("whole", "-1", "must be a whole number, 0 or more, got '-1'"),
        ("whole", "1.0", "must be a whole number, 0 or more, got '1.0'"),
        ("positive_int", "0", "must be a whole number above 0, got '0'"),
        ("positive_int", "", "must be a whole number above 0, got ''"),
        ("seed", "-1", "must be a whole number from 0 to 2^63 - 1, got '-1'"),
        ("seed", str(1 << 63), f"must be a whole number from 0 to 2^63 - 1, got '{1 << 63}'"),
    ],
)
def test_a_type_rejects_a_bad_value(kind, text, message):
    with pytest.raises(argparse.ArgumentTypeError) as rejected:
        getattr(command_line, kind)(text)
    assert str(rejected.value) == message


def test_at_least_accepts_its_minimum():
    two_or_more = command_line.at_least(2)
    assert two_or_more("2") == 2
    for text in ("1", "-2", "2.5", "two"):
        with pytest.raises(argparse.ArgumentTypeError, match=f"must be a whole number, at least 2, got '{text}'"):
            two_or_more(text)


@pytest.mark.parametrize("text", ["nowhere", "cuda:99"])
def test_a_device_that_cannot_be_used_is_rejected(text):
    with pytest.raises(argparse.ArgumentTypeError, match=f"^{text} cannot be used here .*: give cpu, or"):
        command_line.device(text)


def test_a_folder_is_created(tmp_path):
    assert command_line.folder(str(tmp_path / "a" / "b")) == tmp_path / "a" / "b"
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(
        argparse.ArgumentTypeError, match=r"file/c cannot be created \(Not a directory\): choose another"
    ):
        command_line.folder(str(tmp_path / "file" / "c"))


def test_a_folder_may_begin_with_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert command_line.folder("~/runs") == tmp_path / "runs"
    assert command_line.result_file("~/new.json") == tmp_path / "new.json"


def test_the_folder_of_a_result_file_is_created(tmp_path):
    path = tmp_path / "new" / "a.json"
    assert command_line.result_file(str(path)) == path
    assert path.parent.is_dir() and not path.exists()


def test_a_result_file_must_be_a_json_file_that_can_be_written(tmp_path, monkeypatch):
    (tmp_path / "folder.json").mkdir()
    for name in ("a.txt", "a", "folder.json"):
        with pytest.raises(
            argparse.ArgumentTypeError, match=f"{name} is not the name of a JSON file: give a name that"
        ):
            command_line.result_file(str(tmp_path / name))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(argparse.ArgumentTypeError, match=r"a\.json cannot be written, its folder is read-only: choose"):
        command_line.result_file(str(tmp_path / "a.json"))


def test_the_parser_names_the_module_and_shows_the_first_line(capsys):
    parser = make_parser("training.bench.scan", "Measures the scan.\n\nMore about it.", epilog="the end")
    parser.add_argument("--rounds", type=command_line.positive_int)
    shown = parser.format_help()
    assert shown.startswith("usage: python -m training.bench.scan [-h]")
    assert "\nMeasures the scan.\n" in shown and "More" not in shown and shown.endswith("the end\n")
    with pytest.raises(SystemExit):
        parser.parse_args(["--rounds", "0"])
    assert "error: argument --rounds: must be a whole number above 0, got '0'\n" in capsys.readouterr().err
    assert make_parser("training.x", None).description == ""


def test_the_help_shows_defaults_that_say_something():
    parser = make_parser("training.x", "")
    parser.add_argument("--steps", default=5, help="how many")
    parser.add_argument("--share", default=0.0, help="how much")
    parser.add_argument("--name", help="by default that of the file")
    parser.add_argument("--names", nargs="+", default=[], help="more of them")
    parser.add_argument("--seeds", nargs="+", default=[0, 1], help="seeds")
    parser.add_argument("--tasks", nargs="+", default=["a", "b"], help="tasks (default: all)")
    parser.add_argument("--limit", default="10 %", help="largest share")
    parser.add_argument("--fast", action="store_true", help="less exact")
    shown = parser.format_help()
    for text in (
        "how many (default: 5)\n",
        "how much (default: 0.0)\n",
        "that of the file\n",
        "more of them\n",
        "seeds (default: 0 1)\n",
        "tasks (default: all)\n",
        "largest share (default: 10 %)\n",
        "less exact\n",
    ):
        assert text in shown
    assert shown.count("(default: ") == 5


def test_an_error_of_the_user_ends_a_script_with_one_line():
    @reported
    def main(argv=None):
        """Says what it does."""
        if argv:
            raise InputError(f"{argv[0]} is wrong: give another")
        return {"done": 1}

    assert main() == {"done": 1} and main.__doc__ == "Says what it does."
    with pytest.raises(SystemExit) as ended:
        main(["a"])
    # Tests are in no package, so the name of this module is that of its file.
    assert ended.value.code == f"{Path(__file__).stem}: a is wrong: give another"


@pytest.mark.parametrize(
    "number, remedy", [(errno.ENOSPC, "make room"), (errno.EROFS, "make the folder writable, or choose another folder")]
)
@pytest.mark.parametrize("kind", [WriteError, CheckpointError])
def test_a_failed_write_ends_a_script_with_one_line(kind, number, remedy):
    @reported
    def main(argv=None):
        raise kind("a.json could not be written (reason)") from OSError(number, "reason")

    with pytest.raises(SystemExit) as ended:
        main()
    expected = f"a.json could not be written (reason); {remedy}, then give the same command again"
    assert ended.value.code == f"{Path(__file__).stem}: {expected}"


def test_an_error_of_the_program_keeps_its_traceback():
    @reported
    def main(argv=None):
        raise ValueError("a mistake")

    with pytest.raises(ValueError, match="a mistake"):
        main()


def test_a_file_without_permission_ends_a_script_with_one_line():
    @reported
    def main(argv):
        raise PermissionError(errno.EACCES, "Permission denied", *argv)

    with pytest.raises(SystemExit) as ended:
        main(["/closed/a.txt"])
    assert ended.value.code.endswith(": no permission to use /closed/a.txt: change its permissions, or give another")
    with pytest.raises(PermissionError):  # nothing could be said that helps
        main([])
