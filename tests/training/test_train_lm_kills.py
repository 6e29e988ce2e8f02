# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Ten kills in one run, some of them while a checkpoint is written: nothing is lost.

The same command, with --resume auto, starts the run and continues it. Each kill releases the lock of the folder.
"""

import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch
from support.train_cases import QUICK, losses

from training.common.checkpoint import checkpoints, load_checkpoint
from training.common.errors import InputError
from training.common.folder_lock import FolderLock

STEPS = 400
KILLS = 10
IN_WRITES = {1, 4, 6, 9}

# The process that is killed: with a number, it kills itself when the file of its n-th checkpoint is half written.
CHILD = """
import os, signal, sys, torch
from training import train_lm
save, left = torch.save, int(sys.argv[1])

def save_or_die(payload, file):
    global left
    left -= 1
    if left == 0:
        whole = __import__("io").BytesIO()
        save(payload, whole)
        file.write(whole.getvalue()[: len(whole.getvalue()) // 2])
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    save(payload, file)

torch.set_num_threads(1)
torch.save = save_or_die
train_lm.main(sys.argv[2:])
"""


def start(argv, die_in_write):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", CHILD, str(die_in_write), *argv]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def run(argv):
    """Runs the command to its end, in a process that no other test has used."""
    process = start(argv, 0)
    output = process.communicate(timeout=400)[0]
    assert process.returncode == 0, output


def newest(folder):
    found = checkpoints(folder)
    return int(found[0].stem[-10:]) if found else -1


@pytest.mark.slow
def test_ten_kills_lose_nothing(documents_file, tmp_path):
    rng = random.Random(time.time_ns())
    argv = [*QUICK, "--dataset", documents_file, "--streaming", "--stateful", "--shuffle-buffer", "10"]
    argv += ["--heldout-documents", "5", "--steps", str(STEPS), "--samples", "0", "--eval-every", "0.05"]
    argv += ["--dropout", "0.1", "--no-baselines"]
    argv += ["--learning-rate", "0.05"]  # too high: the last weights are not the best
    run([*argv, "--output-dir", str(tmp_path / "whole")])
    folder = tmp_path / "killed"
    again = [*argv, "--checkpoint-every", "0.0001", "--resume", "auto", "--output-dir", str(folder)]
    reached, half_written = [], 0
    for kill in range(KILLS):
        before = newest(folder)
        in_write = kill in IN_WRITES
        process = start(again, rng.randrange(5, 25) if in_write else 0)
        try:
            deadline = time.monotonic() + 200
            while not in_write and newest(folder) < before + 3 and time.monotonic() < deadline:
                assert process.poll() is None, process.communicate()[0]
                time.sleep(0.01)
            if kill == 0:
                with pytest.raises(InputError, match="another process is training"):
                    FolderLock(folder).__enter__()
            if not in_write:
                time.sleep(rng.uniform(0, 0.2))  # about ten steps
                process.kill()
            output = process.communicate(timeout=200)[0]
        finally:
            process.kill()
        assert process.returncode == -signal.SIGKILL, output
        half_written += len(list(folder.glob("*.partial")))
        reached.append(newest(folder))
        assert reached[-1] > before or in_write
        assert load_checkpoint(folder)["state"]["step"] == reached[-1] < STEPS
    assert half_written >= 3
    assert reached == sorted(reached)
    run(again)
    pairs = zip(losses(folder), losses(tmp_path / "whole"), strict=True)
    different = [step for step, (one, other) in enumerate(pairs) if one != other]
    assert not different, f"killed after steps {reached}: the losses differ from step {different[0]} on"
    ends = [load_checkpoint(path) for path in (folder, tmp_path / "whole")]
    best = [saved["best"] for saved in ends]
    assert (best[0]["step"], best[0]["bits"]) == (best[1]["step"], best[1]["bits"])
    assert best[0]["step"] < STEPS
    for one, other in ([saved["model"] for saved in ends], [saved["model"] for saved in best]):
        assert all(torch.equal(one[name], other[name]) for name in one)
