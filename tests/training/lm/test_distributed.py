# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Two processes over gloo on the CPU, DDP and FSDP2, against one process with as large a batch."""

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


def start(argv):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    if torch.accelerator.is_available():  # without one nothing has to be said
        environment["ACCELERATE_USE_CPU"] = "true"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", *SCRIPT]
    pipe = subprocess.PIPE
    return subprocess.Popen([*command, *argv], env=environment, stdout=pipe, stderr=pipe, text=True)


def two_processes(argv):
    process = start(argv)
    try:
        shown, errors = process.communicate(timeout=400)
    finally:
        process.kill()
    assert process.returncode == 0, errors
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
    # A checkpoint after every step, so that some come right after an evaluation. Scans as small as these run in plain torch
    # unless asked: so those of FSDP do, and the one process.
    argv = [*common, *KINDS[kind], *(["--config", "scan_backend=numba"] if kind == "ddp" else [])]
    shown = two_processes([*argv, "--checkpoint-every", "0.0001", "--output-dir", str(tmp_path)])
    assert shown.count("held-out bits per byte") == 1  # only the main process speaks
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
def test_a_checkpoint_goes_on_with_another_number_of_processes(common, tmp_path, kind, direction):
    argv = [*common, "--output-dir", str(tmp_path), "--checkpoint-every", "1000"]
    # A constant rate: then the number of steps changes nothing.
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
def test_sigterm_to_the_launcher_leaves_a_checkpoint_of_both(common, tmp_path):
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


def test_a_whole_state_is_taken_over(documents_file):
    args = parse_arguments([*QUICK, "--dataset", documents_file])
    models, optimizers = [], []
    for seed in (0, 1):
        args.seed = seed
        models.append(build_model(args, load_data(args).tokenizer))
        optimizers.append(build_optimizer(models[-1], args))
    ids = torch.arange(20)[None]

    def step(number):
        models[number](ids, labels=ids).loss.backward()
        optimizers[number].step()
        optimizers[number].zero_grad()

    step(0)
    optimizers[1].param_groups[0]["weight_decay"] = 0.5
    load_whole_state(models[1], optimizers[1], copy.deepcopy(whole_state(models[0], optimizers[0])))
    assert optimizers[1].param_groups[0]["weight_decay"] == 0.5  # today's
    optimizers[1].param_groups[0]["weight_decay"] = args.weight_decay
    for number in (0, 1):
        step(number)
    assert all(map(torch.equal, models[0].parameters(), models[1].parameters()))


def test_weights_of_another_block_are_refused_by_name(documents_file):
    args = parse_arguments([*QUICK, "--dataset", documents_file, "--config", "conv_position=mixer"])
    model = build_model(args, load_data(args).tokenizer)
    saved = whole_state(model, build_optimizer(model, args))
    args.config = {}
    model = build_model(args, load_data(args).tokenizer)
    with pytest.raises(
        InputError, match=r"of another model, they differ in model\.layers\.0\.conv\.depthwise\.bias: .*--overwrite"
    ):
        load_whole_state(model, build_optimizer(model, args), saved)


def test_sharding_over_one_process_is_refused(documents_file):
    with pytest.raises(SystemExit, match=r"--fsdp shards over processes, and there is one: .*torchrun"):
        train_lm.main([*QUICK, "--dataset", documents_file, "--fsdp"])
    assert make_accelerator(parse_arguments([])).num_processes == 1
