# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Shows the progress of a run: one line that is updated on a terminal, or lines now and then in a log file."""

from __future__ import annotations

import os
import shutil
import sys
import time
from dataclasses import dataclass
from typing import TextIO

from training.common.text import amount, clock

REFRESH_SECONDS = 0.1  # on a terminal
BAR = 10  # characters
COLUMNS_FOR_BAR = 60  # a narrower terminal gets no bar
COLUMNS_FOR_DIGITS = 40  # a narrower terminal gets a rounded speed
LOG_LINES = 20  # in a log file, spread evenly over the budget
FIRST_SECONDS = 5.0  # after this time, a log file gets its first numbers
QUIET_SECONDS = 600.0  # longest time without a line in a log file


@dataclass
class Status:
    """The state of a run after a step.

    Args:
        progress (`float`): Share of the budget that is spent, in [0, 1].
        seconds_left (`float`): Estimated time until the end.
        tokens_per_second (`float`): Mean speed of the run.
        numbers (`list[str]`): The other numbers as text, the most important first.
    """

    progress: float
    seconds_left: float
    tokens_per_second: float
    numbers: list[str]

    def whole_line(self) -> str:
        """Returns a line with all numbers."""
        items = [f"{self.tokens_per_second:,.0f} tokens/s", f"{clock(self.seconds_left)} left", *self.numbers]
        return f"{self.progress:4.0%}  {', '.join(items)}"

    def line(self, columns: int) -> str:
        """Returns a line that is shorter than a terminal is wide. Numbers that do not fit are left out, the last ones first.

        >>> status = Status(0.5, 75.0, 12345.6, ["loss 5.596", "8.074 bits/byte", "step 1,000"])
        >>> for columns in (10, 20, 30, 40, 80):
        ...     print(status.line(columns))
         50%
         50% 12.3 k tok/s
         50% 12.3 k tok/s, 1:15 left
         50% 12,346 tokens/s, 1:15 left
         50% |#####     | 12,346 tokens/s, 1:15 left, loss 5.596, 8.074 bits/byte
        """
        text = f"{self.progress:4.0%}"
        if columns >= COLUMNS_FOR_BAR:
            text += f" |{'#' * int(BAR * self.progress):{BAR}}|"
        speed = f"{self.tokens_per_second:,.0f} tokens/s"
        if columns < COLUMNS_FOR_DIGITS:
            speed = f"{amount(self.tokens_per_second)} tok/s"
        separator = " "
        for item in (speed, f"{clock(self.seconds_left)} left", *self.numbers):
            # A line of the full width would make some terminals begin the next one.
            if len(text + separator + item) >= columns:
                break
            text += separator + item
            separator = ", "
        return text[: max(columns - 1, 0)]


class Progress:
    """Shows a line on a terminal that is updated several times per second.

    If the output is not a terminal, there is a line at the start, one with the first numbers after some seconds, then one for
    every twentieth of the budget, and at least one in ten minutes.

    Args:
        progress (`float`): Share of the budget that is already spent, in a resumed run; 1 if it is finished.
        enabled (`bool`): False in all but the main process.
        stream (`TextIO`, *optional*): Where to write, by default stderr.
    """

    def __init__(self, progress: float = 0.0, enabled: bool = True, stream: TextIO | None = None):
        self.stream = stream or sys.stderr
        self.enabled = enabled
        self.terminal = self.stream.isatty()
        self.first = progress
        self.began = time.monotonic()
        self.next_time = self.began
        self.next_progress = _next_line(progress)
        self.status: Status | None = None
        self.drawn = 0  # length of the line on the terminal
        if enabled and not self.terminal and progress < 1:
            self.next_time += FIRST_SECONDS
            sys.stdout.flush()  # what was printed before the training must not appear after these lines
            print(f"{progress:4.0%}  training starts", file=self.stream, flush=True)

    def update(
        self,
        progress: float,
        step: int,
        loss: float,
        bits_per_byte: float | None,
        tokens_per_second: float,
        utilisation: float | None = None,
        skipped: int = 0,
        heldout: float | None = None,
    ) -> None:
        """Shows the state after a step.

        Args:
            progress (`float`): Share of the budget that is spent.
            loss (`float`): Nats per token, smoothed.
            bits_per_byte (`float`, *optional*): The same loss; `None` if the tokenizer does not keep the text.
            utilisation (`float`, *optional*): Share of the peak of the device.
            skipped (`int`): Steps without an update so far.
            heldout (`float`, *optional*): Last estimate on the held-out text, as bits per byte.
        """
        if not self.enabled:
            return
        progress = min(progress, 1.0)
        now = time.monotonic()
        numbers = [f"loss {loss:.3f}"]
        if bits_per_byte is not None:
            numbers.append(f"{bits_per_byte:.3f} bits/byte")
        if heldout is not None:
            numbers.append(f"held out {heldout:.3f}")
        numbers.append(f"step {step:,}")
        if utilisation is not None:
            numbers.append(f"{utilisation:.0%} of the peak")
        if skipped:
            numbers.append(f"{skipped:,} skipped")
        left = (now - self.began) * (1 - progress) / max(progress - self.first, 1e-9)
        self.status = Status(progress, left, tokens_per_second, numbers)
        if self.terminal:
            if now >= self.next_time:
                self.next_time = now + REFRESH_SECONDS
                self._draw()
        elif now >= self.next_time or progress >= self.next_progress:
            self.next_time = now + QUIET_SECONDS
            self.next_progress = _next_line(progress)
            print(self.status.whole_line(), file=self.stream, flush=True)

    def close(self) -> None:
        """Shows the last state on a terminal, and ends the line."""
        if self.enabled and self.terminal and self.status is not None:
            self._draw()
            print(file=self.stream, flush=True)
            self.status = None
            self.drawn = 0

    def _draw(self) -> None:
        """Replaces the line on the terminal by one of the present width."""
        assert self.status is not None
        columns = terminal_columns(self.stream)
        line = self.status.line(columns)
        erase = "\x1b[K"  # the rest of a longer line, also where the terminal became narrower
        if os.name == "nt":  # its terminals may show the escape code
            erase = " " * (min(self.drawn, columns - 1) - len(line))
        self.stream.write(f"\r{line}{erase}")
        self.stream.flush()
        self.drawn = len(line)


def terminal_columns(stream: TextIO) -> int:
    """Returns the present width of the terminal that a stream writes to."""
    try:
        columns = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):  # a stream without a file descriptor
        columns = 0
    return columns or shutil.get_terminal_size().columns  # a terminal may report no columns


def _next_line(progress: float) -> float:
    """Returns the progress at which a log file gets its next line."""
    return (int(progress * LOG_LINES) + 1) / LOG_LINES
