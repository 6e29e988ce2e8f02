# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Division of the numba backend's work: any number of threads, concurrent callers, forked processes."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.definition import assert_runs_close, run_with_gradients
from support.scan_cases import TOLERANCES, Case, expected, feature_cases, random_inputs, runs_equal

from hf_minrnn import scan_numba
from hf_minrnn.scan import minrnn_scan
from hf_minrnn.scan_numba import _tasks

pytest.importorskip("numba")


@pytest.fixture
def many_threads(monkeypatch):
    """Uses five threads even for tiny inputs."""
    monkeypatch.setattr(scan_numba, "THREAD_ELEMENTS", 1)
    monkeypatch.setattr(scan_numba, "BLOCK_CHANNELS", 2)
    monkeypatch.setattr(scan_numba, "LINE_CHANNELS", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)


@given(st.lists(st.integers(0, 9), max_size=9), st.integers(0, 70), st.integers(1, 9), st.sampled_from([1, 1 << 16]))
def test_tasks_cover_every_row_and_channel_once(lengths, channels, threads, thread_elements):
    bounds = [0]
    for length in lengths:
        bounds.append(bounds[-1] + length)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan_numba, "THREAD_ELEMENTS", thread_elements)
        patch.setattr(scan_numba, "LINE_CHANNELS", 3)
        patch.setattr(scan_numba, "BLOCK_CHANNELS", 7)
        tasks = _tasks(bounds, channels, threads)
    assert [task[0] for task in tasks] == list(range(len(tasks))) and 1 <= len(tasks) <= threads
    covered = [(n, c) for _, row, end, left, right in tasks for n in range(row, end) for c in range(left, right)]
    assert sorted(covered) == [(n, c) for n in range(len(lengths)) for c in range(channels)]
    assert sum(end - row for _, row, end, left, _ in tasks if left == 0) == len(lengths)  # with no channels either


def test_rows_are_grouped_by_their_steps():
    tasks = _tasks([0, 10, 20, 100_000, 100_010, 200_000], 32, 2)
    assert [task[1:3] for task in tasks] == [(0, 3), (3, 5)]


CASES = [Case("mingru", "g", 3, 37, 5), Case("minlstm", "g", 1, 29, 33), *feature_cases()]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_any_number_of_threads(case, many_threads):
    projected, state, features = case.inputs(torch.float32)
    got = run_with_gradients(minrnn_scan, projected, case.cell_type, state, backend="numba", **case.options, **features)
    assert_runs_close(got, expected(case), *TOLERANCES[torch.float32])


def test_the_number_of_threads_is_that_of_torch(many_threads, monkeypatch):
    used = []
    monkeypatch.setattr(scan_numba, "_pools", {})
    real = scan_numba._Problem.run
    monkeypatch.setattr(
        scan_numba._Problem, "run", lambda self, *args: used.append(len(self.tasks)) or real(self, *args)
    )
    projected, state = random_inputs("mingru", 1, 9, 20, torch.float32)
    for threads in (1, 3, 4):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        minrnn_scan(projected, "mingru", state, backend="numba")
        assert bool(scan_numba._pools) == (threads > 1)
    assert used == [1, 3, 4]


def test_concurrent_callers(many_threads):
    """Data-parallel and lock-free training call it so. numba's own threads crash there."""
    case = Case("minlstm", "g", 3, 37, 5)
    projected, state, _ = case.inputs(torch.float32)

    def once(_):
        return run_with_gradients(minrnn_scan, projected, "minlstm", state, backend="numba", **case.options)

    want = once(0)
    with ThreadPoolExecutor(4) as pool:
        assert all(runs_equal(got, want) for got in pool.map(once, range(60)))


PROGRAM = f"""
import os, sys, threading, time, types
package = types.ModuleType("hf_minrnn")  # without the modules that import transformers
package.__path__ = [{os.path.dirname(scan_numba.__file__)!r}]
sys.modules["hf_minrnn"] = package
import torch
from hf_minrnn import scan_numba
from hf_minrnn.gates import ScanSpec
scan_numba.THREAD_ELEMENTS = scan_numba.BLOCK_CHANNELS = scan_numba.LINE_CHANNELS = 1
torch.get_num_threads = lambda: 3
p = torch.randn(2, 9, 8)
arguments = (p, None, None, None, None, None, ScanSpec("mingru"))
want, state = scan_numba.forward(*arguments)
"""


def test_all_tasks_run_when_no_thread_can_be_started(many_threads, monkeypatch):
    """This happens under a limit on processes. The pool keeps the tasks for which it could not start threads."""
    case = Case("mingru", "g", 3, 37, 5)
    projected, state, _ = case.inputs(torch.float32)
    monkeypatch.setattr(scan_numba, "_pools", {})
    with monkeypatch.context() as patch:
        patch.setattr(
            "threading.Thread.start", lambda self: (_ for _ in ()).throw(RuntimeError("can't start new thread"))
        )
        got = run_with_gradients(minrnn_scan, projected, "mingru", state, backend="numba", **case.options)
    assert_runs_close(got, expected(case), *TOLERANCES[torch.float32])


def test_an_error_in_a_task_reaches_the_caller(many_threads, monkeypatch):
    def broken(task, *_):
        raise MemoryError(f"task {int(task[0])}")

    monkeypatch.setattr(scan_numba, "_kernels", lambda *_: (broken, broken))
    with pytest.raises(MemoryError, match="task "):
        minrnn_scan(torch.randn(1, 9, 40), "mingru", backend="numba")


def test_a_thread_can_scan_while_the_interpreter_shuts_down():
    """The interpreter waits for the thread but starts no new ones, so the thread runs every task itself, once."""
    program = f"""{PROGRAM}
rest = (torch.ones_like(want), torch.ones_like(state), p, want, torch.zeros_like(state), *arguments[2:])
before = [x.clone() for x in scan_numba.backward(*rest)]

def late():
    threading.main_thread().join()
    time.sleep(0.1)
    same = all(map(torch.equal, scan_numba.backward(*rest), before))
    print(same and torch.equal(scan_numba.forward(*arguments)[0], want))

threading.Thread(target=late).start()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100)
    assert done.stdout.strip() == "True", done.stderr


def test_a_forked_process_starts_its_own_threads():
    """A DataLoader's workers are forked. Threads do not survive a fork, so waiting for them would never end."""
    program = f"""{PROGRAM}
child = os.fork()
if child == 0:
    os._exit(0 if torch.equal(scan_numba.forward(*arguments)[0], want) and len(scan_numba._pools) == 2 else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    if not hasattr(os, "fork"):
        pytest.skip("this system cannot fork")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100)
    assert done.stdout.strip() == "0", done.stderr


def test_a_gradient_beyond_float16_is_infinite():
    """A loss scaler looks for infinities. h saturates instead."""
    projected = torch.zeros(1, 1, 2, dtype=torch.float16, requires_grad=True)
    h, _ = minrnn_scan(projected, "mingru", torch.tensor([[1e5]]), backend="numba")
    (grad,) = torch.autograd.grad(h, projected, torch.full_like(h, 1e4))
    assert h.item() < 65504 and grad[0, 0, 0].item() == -torch.inf and grad[0, 0, 1].item() == 5e3
