# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Shows the progress of a run: a bar on a terminal, a few lines in a log file."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TextIO

from tqdm import tqdm

from training.common.text import clock

PLAIN_LINES = 20  # in a log file


class Progress:
    """A bar on a terminal, or about twenty plain lines if the output is a file.

    Args:
        progress (`float`): Share of the budget that is already spent, in a resumed run.
        enabled (`bool`): False in all but the main process.
        stream (`TextIO`, *optional*): Where to write, by default stderr.
    """

    def __init__(self, progress: float = 0.0, enabled: bool = True, stream: TextIO | None = None):
        self.stream = stream or sys.stderr
        self.enabled = enabled
        self.terminal = self.stream.isatty()
        self.first = progress
        self.began = time.monotonic()
        self.next_line = _next_line(progress)
        self.bar = None
        if enabled and self.terminal:
            layout = "{percentage:3.0f} % |{bar:20}| {desc}, {remaining} left"
            # tqdm shows nothing if a terminal reports no rows or columns; this function falls back to 80 x 24.
            columns, rows = shutil.get_terminal_size()
            self.bar = tqdm(
                total=1.0,
                initial=min(progress, 1.0),
                file=self.stream,
                bar_format=layout,
                ncols=columns - 1,
                nrows=rows,
            )

    def update(
        self,
        progress: float,
        step: int,
        loss: float,
        bits_per_byte: float | None,
        tokens_per_second: float,
        utilisation: float | None = None,
        skipped: int = 0,
    ) -> None:
        """Shows the state after a step.

        Args:
            progress (`float`): Share of the budget that is spent.
            loss (`float`): Nats per token, smoothed.
            bits_per_byte (`float`, *optional*): The same loss; `None` if the tokenizer does not keep the text.
            utilisation (`float`, *optional*): Share of the peak of the device.
            skipped (`int`): Steps without an update so far.
        """
        if not self.enabled:
            return
        progress = min(progress, 1.0)
        text = f"step {step:,}, loss {loss:.3f}"
        if bits_per_byte is not None:
            text += f" ({bits_per_byte:.3f} bits per byte)"
        text += f", {tokens_per_second:,.0f} tokens/s"
        if utilisation is not None:
            text += f" ({utilisation:.0%} of the peak)"
        if skipped:
            text += f", {skipped:,} steps skipped"
        if self.bar is not None:
            self.bar.set_description_str(text, refresh=False)
            self.bar.update(progress - self.bar.n)
        elif progress >= self.next_line:
            self.next_line = _next_line(progress)
            left = (time.monotonic() - self.began) * (1 - progress) / max(progress - self.first, 1e-9)
            print(f"{100 * progress:3.0f} %  {text}, {clock(left)} left", file=self.stream, flush=True)

    def close(self) -> None:
        """Ends the line of the bar."""
        if self.bar is not None:
            self.bar.close()


def _next_line(progress: float) -> float:
    """Returns the progress at which a log file gets its next line."""
    return (int(progress * PLAIN_LINES) + 1) / PLAIN_LINES
