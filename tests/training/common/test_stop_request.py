# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The signals that ask a run to stop."""

import signal

import pytest

from training.common.stop_request import NAMES, StopRequest

POSIX = [name for name in NAMES if name not in ("SIGINT", "SIGTERM")]


@pytest.mark.parametrize("name", POSIX)
def test_a_signal_is_noted_and_its_handler_restored(name):
    number = getattr(signal, name)
    before = signal.signal(number, signal.SIG_DFL)
    try:
        with StopRequest() as stop:
            signal.raise_signal(number)
            signal.raise_signal(number)
            assert stop.signal == number
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("name", POSIX)
def test_an_ignored_signal_stays_ignored(name):
    number = getattr(signal, name)
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            signal.raise_signal(number)
            assert stop.signal == 0
        assert signal.getsignal(number) == signal.SIG_IGN
    finally:
        signal.signal(number, before)


def test_signals_that_a_system_lacks_are_left_out(monkeypatch):
    for name in POSIX:
        monkeypatch.delattr(signal, name)
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGTERM)
    assert stop.signal == signal.SIGTERM
