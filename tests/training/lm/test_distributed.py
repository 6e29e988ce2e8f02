# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Two processes over gloo on the CPU, with DDP and FSDP2, against one process with a batch of the same size."""

import copy
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from support.train_cases import QUICK, SCRIPT, losses
from transformers import AutoModelForCausalLM

from training import train_lm
from training.common.checkpoint import checkpoints, load_checkpoint
from training.common.errors import InputError
from training.lm.data import load_data
from training.lm.distributed import load_whole_state, make_accelerator, whole_state
from training.lm.evaluation import evaluate_heldout
from training.lm.model_setup import build_model, build_optimizer
from training.lm.options import parse_arguments

STEPS = 60
KINDS = {"ddp": [], "fsdp": ["--fsdp"]}


# Estimates that fall until step 20 and then rise, and differ between the processes.
SCRIPTED_ESTIMATES = """
import os, sys
from training import train_lm
from training.lm import trainer

estimate = train_lm.Trainer._estimate
rank = int(os.environ["RANK"])

def scripted(self):
    real = trainer.quick_bits_per_byte
    value = abs(self.state.step - 20) + 1.0 if rank == 0 else -self.state.step
    trainer.quick_bits_per_byte = lambda *args: real(*args) * 0 + value
    try:
        return estimate(self)
    finally:
        trainer.quick_bits_per_byte = real

train_lm.Trainer._estimate = scripted
train_lm.main(sys.argv[1:])
"""
# The second process of the first attempt kills itself in step 15.
KILLS_ITSELF = """
import os, signal, sys
from training import train_lm

step = train_lm.Trainer.step

def step_or_die(self, rate):
    if self.state.step == 15 and os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, rate)

train_lm.Trainer.step = step_or_die
train_lm.main(sys.argv[1:])
"""


def start(argv, script=SCRIPT, restarts=0):
    # With a shared store, a process of a second attempt may read the address of one of the first (training/README.md).
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    if torch.accelerator.is_available():  # otherwise accelerate would use it
        environment["ACCELERATE_USE_CPU"] = "true"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["--max-restarts", str(restarts), *script]
    pipe = subprocess.PIPE
    return subprocess.Popen([*command, *argv], env=environment, stdout=pipe, stderr=pipe, text=True)


def two_processes(argv, script=SCRIPT, restarts=0):
    process = start(argv, script, restarts)
    try:
        shown, errors = process.communicate(timeout=400)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    assert "strides" not in errors  # DDP warns if a gradient has other strides than its parameter
    return shown


@pytest.fixture(scope="module")
def common(documents_file):
    argv = [*QUICK, "--dataset", documents_file, "--stateful", "--steps", str(STEPS), "--no-baselines"]
    return [*argv, "--samples", "0", "--num-hidden-layers", "2", "--eval-every", "0.25"]


@pytest.fixture(scope="module")
def alone(common, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    train_lm.main([*common, "--batch-size", "4", "--output-dir", str(folder)])
    return folder


def assert_same_run(folder, alone):
    np.testing.assert_allclose(losses(folder), losses(alone), rtol=1e-4)
    here, there = (load_checkpoint(path)["state"]["evaluations"] for path in (folder, alone))
    np.testing.assert_allclose([bits for _, bits in here], [bits for _, bits in there], rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_equal_one(common, alone, documents_file, tmp_path, kind):
    # A checkpoint after every step, so that some come right after an evaluation. DDP uses numba; by default, scans as small as
    # these run in plain torch, also in the single process.
    argv = [*common, *KINDS[kind], *(["--config", "scan_backend=numba"] if kind == "ddp" else [])]
    shown = two_processes([*argv, "--checkpoint-every", "0.0001", "--output-dir", str(tmp_path)])
    assert shown.count("held-out bits per byte") == 1  # only the main process prints
    assert len(losses(tmp_path)) == STEPS
    assert_same_run(tmp_path, alone)
    args = parse_arguments([*QUICK, "--dataset", documents_file, "--stateful"])
    data = load_data(args)
    found = [
        evaluate_heldout(AutoModelForCausalLM.from_pretrained(folder), data.heldout, data.tokenizer.eos_token_id)
        for folder in (tmp_path, alone)
    ]
    assert found[0]["heldout_loss"] == pytest.approx(found[1]["heldout_loss"], rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("direction", ["two then one", "one then two"])
def test_a_checkpoint_is_resumed_by_another_number_of_processes(common, tmp_path, kind, direction):
    argv = [*common, "--output-dir", str(tmp_path), "--checkpoint-every", "1000"]
    # With a constant rate, the losses do not depend on the number of steps.
    schedule = ["--schedule", "wsd", "--warmup", "0", "--final-ratio", "1", "--learning-rate", "3e-3"]
    half, whole = ["--steps", "30", *schedule], schedule
    if direction == "two then one":
        two_processes([*argv, *KINDS[kind], *half])
        train_lm.main([*argv, *whole, "--batch-size", "4", "--resume"])
    else:
        train_lm.main([*argv, *half, "--batch-size", "2", "--accumulate", "2"])
        two_processes([*argv, *KINDS[kind], *whole, "--resume"])
    reference = tmp_path / "reference"
    train_lm.Accelerator().free_memory()
    train_lm.main([*common, *whole, "--batch-size", "4", "--output-dir", str(reference)])
    np.testing.assert_allclose(losses(tmp_path), losses(reference), rtol=1e-3)


@pytest.mark.slow
def test_a_checkpoint_of_ddp_is_resumed_with_fsdp(common, tmp_path):
    constant = ["--schedule", "wsd", "--warmup", "0", "--final-ratio", "1", "--learning-rate", "3e-3"]
    argv = [*common, *constant, "--output-dir", str(tmp_path), "--checkpoint-every", "1000"]
    two_processes([*argv, "--steps", "30"])
    two_processes([*argv, "--fsdp", "--resume"])
    reference = tmp_path / "reference"
    train_lm.main([*common, *constant, "--batch-size", "4", "--output-dir", str(reference)])
    np.testing.assert_allclose(losses(tmp_path), losses(reference), rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_all_processes_agree_on_the_best_weights_and_stop_together(common, tmp_path, kind):
    script = tmp_path / "scripted.py"
    script.write_text(SCRIPTED_ESTIMATES)
    argv = [*common, *KINDS[kind], "--eval-every", "0.1666", "--patience", "2", "--learning-rate", "3e-3"]
    folder = tmp_path / "run"
    shown = two_processes([*argv, "--output-dir", str(folder)], [str(script)])
    assert "stopped early at step 40" in shown
    best = load_checkpoint(folder)["best"]
    assert (best["step"], best["bits"]) == (20, 1.0)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert all(torch.equal(value, best["model"][name]) for name, value in model.state_dict().items())
    # The weights are whole, and those of step 20: one process has the same after as many steps.
    alone = tmp_path / "alone"
    constant = ["--batch-size", "4", "--checkpoint-every", "0.0001", "--keep", "100", "--keep-weights", "last"]
    train_lm.main([*common, "--learning-rate", "3e-3", *constant, "--output-dir", str(alone)])
    expected = torch.load(alone / "checkpoint-0000000020.pt", weights_only=True)["model"]
    for name, value in best["model"].items():
        torch.testing.assert_close(value, expected[name], rtol=1e-2, atol=2e-3)


@pytest.mark.slow
def test_the_launcher_repeats_one_command_until_the_run_is_finished(common, tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(KILLS_ITSELF)
    argv = [*common, "--steps", "30", "--checkpoint-every", "0.0001", "--resume", "auto"]
    shown = two_processes([*argv, "--output-dir", str(tmp_path / "killed")], [str(script)], restarts=1)
    assert "from step 1" in shown  # from step 14 or 15: the last checkpoint before the kill
    two_processes([*argv, "--output-dir", str(tmp_path / "whole")])
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")


@pytest.mark.slow
def test_sigterm_to_the_launcher_leaves_a_checkpoint(common, tmp_path):
    argv = [*common, "--steps", "4000", "--fsdp", "--output-dir", str(tmp_path), "--checkpoint-every", "1"]
    process = start(argv)
    try:
        deadline = time.monotonic() + 200
        while len(checkpoints(tmp_path)) < 2 and time.monotonic() < deadline:
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.05)
        process.terminate()
        shown = process.communicate(timeout=100)[0]
    finally:
        process.kill()
    state = load_checkpoint(tmp_path)["state"]
    assert f"stopped after step {state['step']}, checkpoint saved" in shown
    assert process.returncode != 0 and not list(tmp_path.glob("*.partial"))


def new_model(argv, seed=0):
    """A model and its optimizer, from the options of a run."""
    args = parse_arguments(argv)
    args.seed = seed
    model = build_model(args, load_data(args).tokenizer)
    return model, build_optimizer(model, args)


def train_a_step(model, optimizer):
    ids = torch.arange(20)[None]
    model(ids, labels=ids).loss.backward()
    optimizer.step()
    optimizer.zero_grad()


def test_a_loaded_state_trains_on_with_the_settings_of_the_present_run(documents_file):
    argv = [*QUICK, "--dataset", documents_file]
    model, optimizer = new_model(argv)
    train_a_step(model, optimizer)
    other, other_optimizer = new_model(argv, seed=1)
    other_optimizer.param_groups[0]["weight_decay"] = 0.5
    load_whole_state(other, other_optimizer, copy.deepcopy(whole_state(model, optimizer)))
    assert other_optimizer.param_groups[0]["weight_decay"] == 0.5  # the value of the present run
    other_optimizer.param_groups[0]["weight_decay"] = optimizer.param_groups[0]["weight_decay"]
    for pair in ((model, optimizer), (other, other_optimizer)):
        train_a_step(*pair)
    assert all(map(torch.equal, model.parameters(), other.parameters()))


def test_saving_before_the_first_step_leaves_the_optimizer_empty(documents_file):
    model, optimizer = new_model([*QUICK, "--dataset", documents_file])
    saved = whole_state(model, optimizer)
    assert saved["optimizer"]["state"] == {} and not optimizer.state
    other, other_optimizer = new_model([*QUICK, "--dataset", documents_file], seed=1)
    load_whole_state(other, other_optimizer, saved)
    assert not other_optimizer.state
    assert all(map(torch.equal, model.parameters(), other.parameters()))


@pytest.mark.parametrize("tied", ["true", "false"])
def test_the_state_is_stored_by_name_with_tied_weights_or_without(documents_file, tied):
    argv = [*QUICK, "--dataset", documents_file, "--config", f"tie_word_embeddings={tied}"]
    model, optimizer = new_model(argv)
    train_a_step(model, optimizer)
    saved = copy.deepcopy(whole_state(model, optimizer))
    assert saved["model"].keys() == model.state_dict().keys()
    assert saved["optimizer"]["state"].keys() == {name for name, _ in model.named_parameters()}
    assert ("lm_head.weight" in saved["optimizer"]["state"]) == (tied == "false")
    for group in saved["optimizer"]["param_groups"]:  # earlier checkpoints have groups without names
        del group["params"]
    other, other_optimizer = new_model(argv, seed=1)
    load_whole_state(other, other_optimizer, saved)
    for name, parameter in other.named_parameters():
        for key, value in saved["optimizer"]["state"][name].items():
            assert torch.equal(other_optimizer.state[parameter][key], value)
    for pair in ((model, optimizer), (other, other_optimizer)):
        train_a_step(*pair)
    assert all(map(torch.equal, model.parameters(), other.parameters()))


def test_weights_of_another_block_are_rejected_by_name(documents_file):
    argv = [*QUICK, "--dataset", documents_file]
    saved = whole_state(*new_model([*argv, "--config", "conv_position=mixer"]))
    model, optimizer = new_model(argv)
    with pytest.raises(
        InputError, match=r"of another model, they differ in model\.layers\.0\.conv\.depthwise\.bias: .*--overwrite"
    ):
        load_whole_state(model, optimizer, saved)


def test_sharding_over_one_process_is_rejected(documents_file):
    with pytest.raises(SystemExit, match=r"--fsdp shards over processes, and there is one: .*torchrun"):
        train_lm.main([*QUICK, "--dataset", documents_file, "--fsdp"])
    assert make_accelerator(parse_arguments([])).num_processes == 1
