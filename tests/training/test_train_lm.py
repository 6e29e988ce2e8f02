# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Runs of the training script: their files, values that are not finite, and input that is rejected."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState, GradientState
from support.train_cases import QUICK, TINY, losses
from transformers import AutoModelForCausalLM, pipeline

from hf_minrnn import MinRNNForCausalLM
from training import train_lm
from training.common.checkpoint import load_checkpoint
from training.lm import finish
from training.lm.evaluation import evaluate_heldout
from training.lm.model_setup import build_model
from training.lm.options import parse_arguments
from training.lm.stateful import CarriedStates
from training.lm.tokenization import build_tokenizer

HERE = str(Path(__file__).parent)


def test_a_run_writes_all_its_files(finished_run):
    folder, metrics = finished_run
    names = {path.name for path in folder.iterdir()}
    expected = {"config.json", "model.safetensors", "tokenizer.json", "results.json", "loss.png", "samples.txt"}
    assert expected <= names
    assert not any("partial" in name for name in names)
    results = json.loads((folder / "results.json").read_text())
    assert results["metrics"] == metrics
    assert results["args"]["steps"] == metrics["steps"] == 30
    assert metrics["train_tokens"] == 30 * 2 * 32
    assert len(results["curve"]["loss"]) == 30
    assert results["evaluations"]
    assert set(results["baselines"]) == {"gzip -9", "xz -9e", "xz after training text", "5-gram"}
    assert results["machine"]["threads"] == torch.get_num_threads()
    assert results["versions"]["torch"] == torch.__version__
    assert (folder / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_training_lowers_the_loss(finished_run):
    folder, metrics = finished_run
    curve = losses(folder)
    assert np.mean(curve[-5:]) < curve[0] - 0.3
    assert metrics["heldout_bits_per_byte"] < math.log2(257) - 0.4


def test_the_measured_loss_is_that_of_the_saved_model(finished_run, text_file):
    folder, metrics = finished_run
    args = parse_arguments([*QUICK, "--dataset", text_file])
    again = evaluate_heldout(AutoModelForCausalLM.from_pretrained(folder), train_lm.load_data(args).heldout)
    assert again["heldout_bits_per_byte"] == pytest.approx(metrics["heldout_bits_per_byte"], abs=1e-5)


def test_the_pipeline_loads_the_folder(finished_run):
    generator = pipeline("text-generation", model=str(finished_run[0]))
    separator, padding = generator.tokenizer.eos_token_id, generator.tokenizer.pad_token_id
    assert separator != padding
    for config in (generator.model.config, generator.model.generation_config):
        assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (separator, separator, padding)
    assert generator.model.generation_config.do_sample
    text = generator("the cat", min_new_tokens=8, max_new_tokens=8)[0]["generated_text"]
    assert text.startswith("the cat") and len(text) > 7


def test_the_learning_rate_of_a_single_step_is_not_zero(text_file, tmp_path):
    train_lm.main(
        [*QUICK, "--dataset", text_file, "--steps", "1", "--no-baselines", "--output-dir", str(tmp_path / "a")]
    )
    args = parse_arguments([*QUICK, "--dataset", text_file])
    before = build_model(args, train_lm.load_data(args).tokenizer).state_dict()
    after = load_checkpoint(tmp_path / "a")["model"]
    assert any(not torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@pytest.mark.parametrize("kind", ["bpe", "chars"])
def test_other_data_and_tokenizers(tmp_path, suffix, kind):
    import datasets

    table = datasets.Dataset.from_dict({"body": [f"row {i} has some text in it\n" for i in range(60)]})
    path = str(tmp_path / f"rows{suffix}")
    table.to_json(path) if suffix == ".jsonl" else table.to_parquet(path)
    argv = [
        *TINY,
        "--dataset",
        path,
        "--text-column",
        "body",
        "--tokenizer",
        kind,
        "--vocab-size",
        "270",
        "--steps",
        "2",
    ]
    metrics = train_lm.main([*argv, "--samples", "0", "--no-baselines", "--output-dir", str(tmp_path / "run")])
    assert metrics["steps"] == 2
    assert 0 < metrics["heldout_bits_per_byte"] < 20


def test_samples_begin_with_the_end_of_text_of_any_tokenizer(text_file, tmp_path, monkeypatch):
    tokenizer = build_tokenizer("bytes", [])
    tokenizer.bos_token = tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path / "end only")
    tokenizer.add_special_tokens({"bos_token": "<s>"})  # the model never sees it: documents end with the end of text
    tokenizer.save_pretrained(tmp_path / "both")
    began = []
    generate = MinRNNForCausalLM.generate
    monkeypatch.setattr(
        MinRNNForCausalLM,
        "generate",
        lambda self, ids, **rest: (began.append(ids[0, 0]), generate(self, ids, **rest))[1],
    )
    for name in ("end only", "both"):
        argv = [*TINY, "--dataset", text_file, "--tokenizer", str(tmp_path / name), "--steps", "1", "--samples", "1"]
        train_lm.main([*argv, "--output-dir", str(tmp_path / "runs" / name)])
    assert began == [tokenizer.eos_token_id] * 2


def test_accumulation_equals_a_larger_batch(text_file, tmp_path):
    common = [*QUICK, "--dataset", text_file, "--steps", "4", "--no-baselines", "--samples", "0"]
    runs = {"whole": ["--batch-size", "4"], "parts": ["--batch-size", "2", "--accumulate", "2"]}
    for name, options in runs.items():
        train_lm.main([*common, *options, "--output-dir", str(tmp_path / name)])
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()
    np.testing.assert_allclose(losses(tmp_path / "whole"), losses(tmp_path / "parts"), rtol=1e-4)


def test_minutes_count_training_time_alone(text_file, tmp_path):
    argv = [
        *QUICK,
        "--dataset",
        text_file,
        "--minutes",
        "0.02",
        "--no-baselines",
        "--output-dir",
        str(tmp_path / "run"),
    ]
    metrics = train_lm.main(argv)
    assert metrics["train_seconds"] >= 1.2
    seconds = load_checkpoint(tmp_path / "run")["state"]["seconds"]
    assert len(seconds) == metrics["steps"] and seconds[-2] < 1.2


def test_bf16_run_saves_float32_weights(text_file, tmp_path):
    argv = [*QUICK, "--dataset", text_file, "--steps", "2", "--bf16", "--no-baselines", "--dropout", "0.1"]
    train_lm.main([*argv, "--output-dir", str(tmp_path / "run")])
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "run").dtype == torch.float32


# --- values that are not finite


def test_bad_steps_are_skipped_and_leave_the_weights(text_file, tmp_path, monkeypatch, capsys):
    seen = []
    clip = torch.nn.utils.clip_grad_norm_

    def sometimes_nan(parameters, *args, **kwargs):
        parameters = list(parameters)
        seen.append([parameter.detach().clone() for parameter in parameters])
        norm = clip(parameters, *args, **kwargs)
        return torch.tensor(float("nan")) if len(seen) in (2, 3) else norm

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", sometimes_nan)
    argv = [*QUICK, "--dataset", text_file, "--steps", "5", "--no-baselines", "--output-dir", str(tmp_path / "run")]
    metrics = train_lm.main(argv)
    assert metrics["skipped_steps"] == 2
    shown = capsys.readouterr()
    assert "5 steps (2 skipped, not finite)" in shown.out and ", 2 skipped" in shown.err
    unchanged = [all(map(torch.equal, before, after)) for before, after in zip(seen, seen[1:], strict=False)]
    assert unchanged == [False, True, True, False]
    assert [math.isnan(loss) for loss in losses(tmp_path / "run")] == [False, True, True, False, False]
    assert json.loads((tmp_path / "run" / "results.json").read_text())["curve"]["loss"][1] is None


def test_many_bad_steps_stop_the_run(text_file, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *args, **kwargs: torch.tensor(float("inf")))
    argv = [*QUICK, "--dataset", text_file, "--steps", "50", "--output-dir", str(tmp_path / "run")]
    with pytest.raises(SystemExit, match=r"step 10: .*not finite 10 steps.*--learning-rate below 0\.01"):
        train_lm.main(argv)
    assert load_checkpoint(tmp_path / "run")["state"]["step"] == 0


def test_no_checkpoint_is_written_between_bad_steps(text_file, tmp_path, monkeypatch, capsys):
    calls, clip = [], torch.nn.utils.clip_grad_norm_

    def bad_from_the_fifth_on(*args, **kwargs):
        calls.append(clip(*args, **kwargs))
        return torch.tensor(float("nan")) if len(calls) >= 5 else calls[-1]

    argv = [*QUICK, "--dataset", text_file, "--steps", "30", "--checkpoint-every", "0.0001", "--no-baselines"]
    argv += ["--output-dir", str(tmp_path / "run")]
    with monkeypatch.context() as patches:
        patches.setattr(torch.nn.utils, "clip_grad_norm_", bad_from_the_fifth_on)
        with pytest.raises(SystemExit, match=r"step 14: .*The earlier checkpoint-0000000004\.pt is kept"):
            train_lm.main(argv)
    assert train_lm.main([*argv, "--resume", "--learning-rate", "1e-3"])["skipped_steps"] == 0
    assert "from step 4\n" in capsys.readouterr().out


def test_a_bad_step_does_not_reach_the_carried_states(text_file, tmp_path, monkeypatch):
    kept = []
    keep, clip = CarriedStates.keep, torch.nn.utils.clip_grad_norm_
    monkeypatch.setattr(CarriedStates, "keep", lambda self, caches: (kept.append(len(seen)), keep(self, caches)))
    seen = []

    def second_is_nan(*args, **kwargs):
        seen.append(clip(*args, **kwargs))
        return torch.tensor(float("nan")) if len(seen) == 2 else seen[-1]

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", second_is_nan)
    argv = [*QUICK, "--dataset", text_file, "--stateful", "--steps", "4", "--no-baselines"]
    assert train_lm.main([*argv, "--output-dir", str(tmp_path / "run")])["skipped_steps"] == 1
    assert kept == [1, 3, 4]


# --- trackers, and the Hub, see test_hub_round_trip.py


def test_tensorboard_gets_the_curves(text_file, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    argv = [*QUICK, "--dataset", text_file, "--steps", "6", "--no-baselines", "--trackers", "tensorboard"]
    metrics = train_lm.main([*argv, "--output-dir", str(tmp_path / "run")])
    (events,) = {
        path.parent for path in tmp_path.rglob("events.out.tfevents.*") if path.parent.parent == tmp_path / "run"
    }
    read = EventAccumulator(str(events)).Reload()
    assert [event.step for event in read.Scalars("loss")] == [1, 2, 3, 4, 5, 6]
    np.testing.assert_allclose([event.value for event in read.Scalars("loss")], losses(tmp_path / "run"), rtol=1e-6)
    found = read.Scalars("heldout_bits_per_byte")[-1]
    assert (found.step, found.value) == (6, pytest.approx(metrics["heldout_bits_per_byte"]))


def test_a_hub_that_cannot_be_reached_is_reported_before_training(text_file, tmp_path, monkeypatch):
    argv = [*QUICK, "--dataset", text_file, "--push-to-hub", "me/pets", "--output-dir", str(tmp_path / "run")]
    monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
    with pytest.raises(SystemExit, match=r"--push-to-hub me/pets: HF_HUB_OFFLINE.*is set.*: unset it; or leave it out"):
        train_lm.main(argv)
    assert not (tmp_path / "run").exists()


# --- bad input


@pytest.mark.parametrize(
    "options, message",
    [
        (["--sequence-length", "100000"], r"--sequence-length 100000 is longer than the training text of \d+ tokens"),
        (["--tokenizer", "bpe", "--vocab-size", "200"], "vocabulary size 200 is too small"),
        (["--config", "hiden_act=relu"], "hiden_act: .* no such field to set; did you mean hidden_act"),
        (["--config", "return_dict=false"], "return_dict: .* no such field to set; the fields are bidirectional, "),
        (["--config", "eos_token_id=3"], "eos_token_id: .* no such field to set"),
        (["--config", "hidden_size=8"], "use --hidden-size 8"),
        (["--config", "vocab_size=100"], "vocab_size=100 is below the tokenizer's 258 tokens"),
        (["--config", "vocab_size"], "is not KEY=VALUE"),
        (["--config", "initializer_range=wide"], "cannot be built: Field 'initializer_range' .*got str"),
        (["--config", "conv_kernel_size=-1"], "cannot be built: conv_kernel_size must not be negative"),
        (["--resume"], "nothing to resume"),
        (["--dataset", "nowhere.txt"], "'nowhere.txt' does not exist"),
        (["--tokenizer", "no/such"], "could not load tokenizer 'no/such', which is neither"),
    ],
)
def test_bad_input_is_rejected_before_training(text_file, tmp_path, options, message):
    folder = tmp_path / "run"
    with pytest.raises(SystemExit, match=message):
        train_lm.main([*QUICK, "--dataset", text_file, "--output-dir", str(folder), *options])
    assert not folder.exists()


@pytest.mark.parametrize(
    "options, message",
    [
        (["--steps", "0"], "--steps: must be a whole number above 0, got '0'"),
        (["--batch-size", "-2"], "--batch-size: must be a whole number above 0"),
        (["--learning-rate", "0"], "--learning-rate: must be above 0"),
        (["--minutes", "nan"], "--minutes: must be finite"),
        (["--dropout", "1"], "--dropout: must be at least 0 and below 1"),
        (["--seed", "-1"], "--seed: must be a whole number from 0 to 2^63 - 1, got '-1'"),
        (["--seed", str(1 << 64)], "--seed: must be a whole number from 0 to 2^63 - 1"),
        (["--dataset", HERE, "--output-dir", f"{HERE}/run"], f"{HERE}/run lies in --dataset {HERE}, and would be read"),
        (["--steps", "5", "--minutes", "5"], "not allowed with"),
        (["--streaming", "--batching", "windows"], "a stream has no windows to draw from; use packed or stateful"),
        (["--shuffle-buffer", "5"], "only for --streaming"),
    ],
)
def test_bad_numbers_are_rejected(options, message, capsys):
    with pytest.raises(SystemExit):
        train_lm.main(options)
    assert message in capsys.readouterr().err


def test_overwriting_deletes_the_earlier_model_at_once(finished_run, text_file, tmp_path, monkeypatch):
    folder = shutil.copytree(finished_run[0], tmp_path / "run")
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *args, **kwargs: torch.tensor(float("nan")))
    with pytest.raises(SystemExit, match="not finite"):
        train_lm.main([*QUICK, "--dataset", text_file, "--steps", "20", "--output-dir", str(folder), "--overwrite"])
    assert not (folder / "model.safetensors").exists() and not (folder / "results.json").exists()
    assert load_checkpoint(folder)["state"]["step"] == 0


def test_a_folder_in_use_is_not_overwritten(finished_run, text_file, tmp_path):
    (tmp_path / "precious").write_text("do not touch")
    argv = [*QUICK, "--dataset", text_file, "--steps", "1", "--no-baselines", "--output-dir"]
    with pytest.raises(SystemExit, match=r"is not empty: replace it with --overwrite, or"):
        train_lm.main([*argv, str(tmp_path)])
    assert train_lm.main([*argv, str(tmp_path), "--overwrite"])["steps"] == 1
    assert (tmp_path / "precious").read_text() == "do not touch"
    with pytest.raises(SystemExit, match="is a file"):
        train_lm.main([*argv, str(tmp_path / "precious")])
    with pytest.raises(SystemExit, match=r"nothing can be written to .*precious: give another folder"):
        train_lm.main([*argv, str(tmp_path / "precious" / "run")])


@pytest.mark.parametrize(
    "steps", [5, 1]
)  # of 5 steps the last ones are skipped; a single step is not, and ruins the weights
def test_a_run_that_diverges_in_its_last_steps_keeps_the_earlier_checkpoint(text_file, tmp_path, steps):
    folder = tmp_path / "run"
    argv = [
        *QUICK,
        "--dataset",
        text_file,
        "--steps",
        str(steps),
        "--learning-rate",
        "1e38",
        "--output-dir",
        str(folder),
    ]
    message = r"held-out text is not finite after the last steps?\. The earlier checkpoint-0000000000\.pt is kept"
    with pytest.raises(SystemExit, match=message):
        train_lm.main(argv)
    assert load_checkpoint(folder)["state"]["step"] == 0 and not (folder / "results.json").exists()


def test_evaluations_are_as_frequent_as_requested(text_file, tmp_path):
    argv = [*QUICK, "--dataset", text_file, "--steps", "10", "--eval-every", "0.1", "--no-baselines"]
    train_lm.main([*argv, "--output-dir", str(tmp_path / "run")])
    assert len(load_checkpoint(tmp_path / "run")["state"]["evaluations"]) == 9


def test_new_weights_are_never_next_to_the_results_of_earlier_ones(text_file, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    argv = [*QUICK, "--dataset", text_file, "--no-baselines", "--output-dir", str(folder)]
    train_lm.main([*argv, "--steps", "3"])
    assert (folder / "results.json").exists() and (folder / "README.md").exists()

    def killed(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(finish, "evaluate_heldout", killed)
    with pytest.raises(SystemExit) as stopped:
        train_lm.main([*argv, "--steps", "5", "--resume"])
    assert stopped.value.code == 130
    assert (folder / "model.safetensors").exists()
    assert not (folder / "results.json").exists() and not (folder / "README.md").exists()


def test_the_folder_of_a_run_is_named_after_its_data(tmp_path, monkeypatch):
    (tmp_path / "book.txt").write_text("text")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for dataset, name in (("~/book.txt", "book"), ("book.txt", "book"), ("owner/name:part", "owner-name-part")):
        assert parse_arguments(["--dataset", dataset]).output_dir == str(Path("runs", f"{name}-mingru"))
