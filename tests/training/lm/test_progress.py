# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The lines that a log file gets."""

from training.lm.progress import Progress


def test_progress_in_a_file_is_a_few_lines(tmp_path):
    path = tmp_path / "log"
    with path.open("w") as stream:
        bar = Progress(0.5, stream=stream)
        for step in range(5000, 10_001):
            bar.update(step / 10_000, step, 1.0, 1.443, 100.0)
        bar.close()
    lines = path.read_text().splitlines()
    assert 9 <= len(lines) <= 11
    assert lines[-1].startswith("100 %") and "1.443 bits per byte" in lines[-1]
