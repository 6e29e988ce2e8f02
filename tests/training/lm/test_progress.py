# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The progress of a run on terminals of several widths and in a log file."""

import fcntl
import io
import os
import pty
import re
import struct
import termios

import pytest

from training.lm import progress
from training.lm.progress import Progress, terminal_columns

NUMBERS = {"loss": 5.0, "bits_per_byte": 7.21, "tokens_per_second": 123456.7, "utilisation": 0.4}


class Clock:
    """Replaces `time.monotonic`."""

    now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


class Terminal(io.StringIO):
    """A terminal without a file descriptor. `rows` are what it shows: it breaks lines that reach its width."""

    def isatty(self):
        return True

    def rows(self, columns):
        rows, cells = [], []
        place = 0
        for part in re.findall(r"\x1b\[K|.|\n", self.getvalue()):
            if part == "\n":
                rows.append("".join(cells))
                cells, place = [], 0
            elif part == "\r":
                place = 0
            elif part == "\x1b[K":
                del cells[place:]
            else:
                cells[place : place + 1] = [part]
                place += 1
                if place == columns:
                    rows.append("".join(cells))
                    cells, place = [], 0
        return [*rows, "".join(cells)]

    def fileno(self):
        raise io.UnsupportedOperation


def set_columns(monkeypatch, columns):
    monkeypatch.setattr(progress, "terminal_columns", lambda stream: columns)


@pytest.mark.parametrize("columns", [1, 5, 20, 30, 40, 60, 79, 80, 120, 200])
def test_the_line_fits_the_terminal(columns, clock, monkeypatch):
    set_columns(monkeypatch, columns)
    stream = Terminal()
    bar = Progress(stream=stream)
    for step in (1, 2, 10, 99, 100, 500, 999, 1000):
        clock.now += 10.0
        bar.update(step / 1000, step, **NUMBERS, heldout=7.5, skipped=step // 10)
        (line,) = stream.rows(columns)  # nothing wraps
        expected = ["tokens/s", "left", "loss", "bits/byte", "held out", "step", "of the peak", "skipped"]
        if step < 10:
            expected.remove("skipped")
        if columns < 40:
            expected[0] = "tok/s"
        found = [name for name in expected if name in line]
        assert found == expected[: len(found)]  # only the last ones are left out
        assert len(found) >= {20: 1, 30: 1, 40: 2, 60: 2, 79: 4, 80: 4, 120: 7, 200: 7}.get(columns, 0)
        whole = bar.status.line(10_000)
        assert line.rstrip() == line and all(item in whole for item in line.split(", ")[1:])  # no item is cut off
    bar.close()
    assert stream.rows(columns) == [line, ""]
    bar.close()
    assert stream.rows(columns) == [line, ""]


def test_a_terminal_that_is_resized_is_followed(clock, monkeypatch):
    stream = Terminal()
    bar = Progress(stream=stream)
    for step, columns in enumerate([80, 30, 120, 45, 200], start=1):
        set_columns(monkeypatch, columns)
        clock.now += 1.0
        before = len(stream.getvalue())
        bar.update(step / 10, step, **NUMBERS)
        drawn = stream.getvalue()[before:]
        assert drawn.startswith("\r") and drawn.endswith("\x1b[K")
        line = drawn[1:-3]
        assert line == bar.status.line(columns) and 0.5 * min(columns, 90) < len(line) < columns


def test_the_width_is_that_of_the_terminal(monkeypatch):
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as stream:
        for columns in (33, 120):
            fcntl.ioctl(leader, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
            assert terminal_columns(stream) == columns
        fcntl.ioctl(leader, termios.TIOCSWINSZ, struct.pack("HHHH", 0, 0, 0, 0))
        monkeypatch.setenv("COLUMNS", "77")
        assert terminal_columns(stream) == 77
    os.close(leader)
    assert terminal_columns(Terminal()) == 77


def test_a_terminal_is_not_written_to_at_every_step(clock):
    stream = Terminal()
    bar = Progress(stream=stream)
    for step in range(1, 1001):
        clock.now += 0.001
        bar.update(step / 1000, step, **NUMBERS)
    assert 9 <= stream.getvalue().count("\r") <= 11
    bar.close()
    assert "100%" in stream.rows(80)[0]  # the end is shown, also if it came right after another line


def log_of(clock, seconds_per_step, steps, first=0.0, **options):
    """Returns the seconds and the text of each line that a run writes to a file."""
    stream = io.StringIO()
    began = clock.now
    bar = Progress(first, stream=stream, **options)
    lines = []
    for step in range(1, steps + 1):
        lines += [(clock.now - began, line) for line in stream.getvalue().splitlines()]
        stream.seek(0)
        stream.truncate()
        clock.now += seconds_per_step
        bar.update(first + (1 - first) * step / steps, step, **NUMBERS)
    bar.close()
    return lines + [(clock.now - began, line) for line in stream.getvalue().splitlines()]


def test_a_log_file_gets_a_line_for_every_twentieth(clock):
    lines = log_of(clock, 0.9, 1000)
    assert lines[0] == (0.0, "  0%  training starts")
    assert 5 <= lines[1][0] < 6 and "123,457 tokens/s" in lines[1][1]
    assert [line[:4] for _, line in lines[2:]] == [f"{5 * n:3}%" for n in range(1, 21)]
    assert lines[-1][1] == (
        "100%  123,457 tokens/s, 0:00 left, loss 5.000, 7.210 bits/byte, step 1,000, 40% of the peak"
    )
    assert "7:30 left" in lines[11][1]


def test_a_log_file_of_a_resumed_run(clock):
    lines = log_of(clock, 0.001, 5000, first=0.5)
    assert [line[:4] for _, line in lines] == [f"{5 * n:3}%" for n in range(10, 21)]
    assert lines[0][1].endswith("training starts")


@pytest.mark.parametrize("seconds_per_step", [3, 50, 1000])
def test_a_log_file_of_a_long_run_gets_a_line_every_ten_minutes(clock, seconds_per_step):
    lines = log_of(clock, seconds_per_step, 10_000)
    times = [at for at, _ in lines]
    longest = max(later - earlier for earlier, later in zip(times, times[1:]))
    assert longest <= max(600 + seconds_per_step, seconds_per_step)
    assert lines[1][0] <= 5 + seconds_per_step


def test_what_was_printed_before_comes_before_the_first_line(tmp_path, monkeypatch):
    path = tmp_path / "log"
    with path.open("w") as out, path.open("a") as stream:
        monkeypatch.setattr("sys.stdout", out)
        print("data      pets")
        Progress(stream=stream)
        assert path.read_text() == "data      pets\n  0%  training starts\n"


def test_a_finished_run_does_not_start(clock):
    assert log_of(clock, 1, 0, first=1.02) == []


def test_other_processes_write_nothing(clock):
    assert log_of(clock, 100, 50, enabled=False) == []
    stream = Terminal()
    bar = Progress(stream=stream, enabled=False)
    bar.update(0.5, 1, **NUMBERS)
    bar.close()
    assert stream.getvalue() == ""


def test_bits_per_byte_are_left_out_if_they_are_not_known(clock):
    stream = io.StringIO()
    Progress(stream=stream).update(1.0, 3, **{**NUMBERS, "bits_per_byte": None})
    assert stream.getvalue().endswith(" left, loss 5.000, step 3, 40% of the peak\n")
