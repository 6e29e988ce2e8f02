# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Signals that ask a run to stop, as a flag that the loop reads."""

from __future__ import annotations

import signal
import threading


class StopRequest:
    """Turns the first SIGTERM or Ctrl-C into a flag that the loop reads; the second one acts as usual."""

    def __init__(self):
        self.signal = 0
        self._previous = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def _note(self, number, frame):
        self.signal = number
        self._restore()

    def _restore(self):
        while self._previous:
            signal.signal(*self._previous.popitem())

    def __exit__(self, *exception):
        self._restore()
