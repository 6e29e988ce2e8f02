# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Signals that ask a run to stop, as a flag that the loop reads."""

from __future__ import annotations

import signal
import threading


class StopRequest:
    """Turns SIGTERM or Ctrl-C into a flag that the loop reads.

    A second Ctrl-C acts as usual. A second SIGTERM does not: schedulers send one to every process, and the launcher passes
    its own on, while the checkpoint that the first one asked for is being written.
    """

    def __init__(self):
        self.signal = 0
        self._previous = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def _note(self, number, frame):
        self.signal = self.signal or number
        if number == signal.SIGINT:
            signal.signal(number, self._previous.pop(number))

    def __exit__(self, *exception):
        while self._previous:
            signal.signal(*self._previous.popitem())
