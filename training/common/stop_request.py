# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Turns signals that ask a run to stop into a flag that its loop reads."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

# Schedulers announce the end of a job by one of these. SIGHUP comes when the terminal is closed.
NAMES = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGHUP")
ASKED_FOR = ("SIGINT", "SIGTERM")  # these count even if the process was started with them ignored


class StopRequest:
    """Context manager: inside it, the signals of `NAMES` set the attribute `signal`, which is 0 before.

    A second Ctrl-C acts as usual. A second SIGTERM does not: schedulers send one to every process, and the launcher passes
    its own on, while the checkpoint that the first one asked for is being written. A SIGHUP, SIGUSR1 or SIGUSR2 that is ignored
    stays ignored, as under nohup.
    """

    def __init__(self):
        self.signal = 0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for name in NAMES:
                number = getattr(signal, name, None)  # Windows has only the first two
                if number is None or (name not in ASKED_FOR and signal.getsignal(number) == signal.SIG_IGN):
                    continue
                self._previous[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = self.signal or number
        if number == signal.SIGINT:
            signal.signal(number, self._previous.pop(number))

    def __exit__(self, *exception: object) -> None:
        while self._previous:
            signal.signal(*self._previous.popitem())
