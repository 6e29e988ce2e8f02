import argparse
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import train_lm
from accelerate.state import AcceleratorState, GradientState
from checkpoint import load_checkpoint, save_checkpoint
from corpus import InputError
from evaluation import evaluate_heldout, finished, quick_bits_per_byte, stream_nats
from model_setup import build_model, parameter_groups
from options import parse_arguments
from report import Progress, smoothed, thinned
from schedule import learning_rate_factor
from tokenization import TokenStream, build_tokenizer
from transformers import AutoModelForCausalLM, pipeline

SCRIPT = Path(train_lm.__file__)
TINY = ["--hidden-size", "16", "--num-hidden-layers", "1", "--intermediate-size", "32"]
TINY += ["--batch-size", "2", "--sequence-length", "32"]
QUICK = [*TINY, "--tokenizer", "bytes", "--samples", "1", "--eval-every", "0.5"]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    # Models this small lose more to waiting for each other's threads than they gain, most of all on a busy machine.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def fresh_accelerator():
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


@pytest.fixture(scope="module")
def text_file(tmp_path_factory):
    rng = random.Random(0)
    words = ["the", "a", "cat", "dog", "bird", "sees", "hears", "likes", "water", "bread", "wine"]
    path = tmp_path_factory.mktemp("text") / "pets.txt"
    path.write_text("\n".join(" ".join(rng.choices(words, k=6)) for _ in range(400)))
    return str(path)


@pytest.fixture(scope="module")
def finished_run(text_file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "pets"
    metrics = train_lm.main([*QUICK, "--dataset", text_file, "--steps", "30", "--output-dir", str(folder)])
    return folder, metrics


def _losses(folder):
    return load_checkpoint(folder)["state"]["losses"]


def test_run_leaves_everything_behind(finished_run):
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


def test_training_learns(finished_run):
    folder, metrics = finished_run
    losses = _losses(folder)
    assert np.mean(losses[-5:]) < losses[0] - 0.3
    assert metrics["heldout_bits_per_byte"] < math.log2(257) - 0.4


def test_measured_number_belongs_to_the_saved_model(finished_run, text_file):
    folder, metrics = finished_run
    args = parse_arguments([*QUICK, "--dataset", text_file])
    again = evaluate_heldout(AutoModelForCausalLM.from_pretrained(folder), train_lm.load_data(args).heldout)
    assert again["heldout_bits_per_byte"] == pytest.approx(metrics["heldout_bits_per_byte"], abs=1e-5)


def test_pipeline_loads_the_folder(finished_run):
    generator = pipeline("text-generation", model=str(finished_run[0]))
    separator = generator.tokenizer.eos_token_id
    for config in (generator.model.config, generator.model.generation_config):
        assert config.bos_token_id == config.eos_token_id == config.pad_token_id == separator
    assert generator.model.generation_config.do_sample
    text = generator("the cat", max_new_tokens=8)[0]["generated_text"]
    assert text.startswith("the cat") and len(text) > 7


def test_first_and_last_learning_rates_train(text_file, tmp_path):
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


def test_accumulation_equals_a_larger_batch(text_file, tmp_path):
    common = [*QUICK, "--dataset", text_file, "--steps", "4", "--no-baselines", "--samples", "0"]
    runs = {"whole": ["--batch-size", "4"], "parts": ["--batch-size", "2", "--accumulate", "2"]}
    for name, options in runs.items():
        train_lm.main([*common, *options, "--output-dir", str(tmp_path / name)])
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()
    np.testing.assert_allclose(_losses(tmp_path / "whole"), _losses(tmp_path / "parts"), rtol=1e-4)


def test_minutes_are_training_time(text_file, tmp_path):
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


# --- stopping and resuming


RESUMED_STEPS = 120


def _start(argv):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )


def _wait_for_step(folder, process, step):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[0]
        if (folder / "checkpoint.pt").exists() and load_checkpoint(folder)["state"]["step"] >= step:
            return
        time.sleep(0.02)
    raise AssertionError("no checkpoint came")


@pytest.fixture(scope="module")
def resumable(text_file):
    options = ["--dataset", text_file, "--steps", str(RESUMED_STEPS), "--dropout", "0.1", "--no-baselines"]
    return [*QUICK, *options, "--samples", "0", "--eval-every", "2"]


@pytest.fixture(scope="module")
def uninterrupted(resumable, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    train_lm.main([*resumable, "--output-dir", str(folder)])
    return _losses(folder)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_interrupted_run_resumes_to_the_same_losses(resumable, uninterrupted, tmp_path, number):
    process = _start([*resumable, "--checkpoint-every", "0.001", "--output-dir", str(tmp_path)])
    try:
        _wait_for_step(tmp_path, process, 5)
        process.send_signal(number)
        output = process.communicate(timeout=60)[0]
    finally:
        process.kill()
    reached = load_checkpoint(tmp_path)["state"]["step"]
    assert 5 <= reached < RESUMED_STEPS
    if number == signal.SIGTERM:
        assert process.returncode == 128 + signal.SIGTERM
        assert f"after step {reached}," in output and "--resume" in output
    train_lm.main([*resumable, "--resume", "--output-dir", str(tmp_path)])
    assert len(_losses(tmp_path)) == RESUMED_STEPS
    np.testing.assert_allclose(_losses(tmp_path), uninterrupted, rtol=1e-4)


def test_finished_run_can_be_prolonged_with_another_learning_rate(finished_run, text_file, tmp_path, capsys):
    folder = shutil.copytree(finished_run[0], tmp_path / "run")
    argv = [*QUICK, "--dataset", text_file, "--steps", "34", "--learning-rate", "1e-4", "--no-baselines", "--resume"]
    assert train_lm.main([*argv, "--output-dir", str(folder)])["steps"] == 34
    shown = capsys.readouterr().out
    assert "learning_rate 0.0001 instead of 0.003" in shown
    assert _losses(folder)[:30] == _losses(finished_run[0])
    assert {group["lr"] for group in load_checkpoint(folder)["optimizer"]["param_groups"]} != {3e-3}


@pytest.mark.parametrize(
    "option, name",
    [
        (["--hidden-size", "24"], "hidden_size 16, not 24"),
        (["--cell-type", "minlstm"], "cell_type 'mingru', not 'minlstm'"),
        (["--batch-size", "3"], "batch_size 2, not 3"),
        (["--seed", "7"], "seed 0, not 7"),
    ],
)
def test_checkpoint_of_another_run_is_refused(finished_run, text_file, option, name):
    argv = [*QUICK, "--dataset", text_file, "--steps", "30", "--output-dir", str(finished_run[0]), "--resume", *option]
    with pytest.raises(SystemExit, match=f"made with {name}"):
        train_lm.main(argv)


def test_checkpoint_of_changed_data_is_refused(text_file, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(Path(text_file).read_text())
    argv = [*QUICK, "--dataset", str(path), "--steps", "1", "--no-baselines", "--output-dir", str(tmp_path / "run")]
    train_lm.main(argv)
    path.write_text(Path(text_file).read_text().replace("cat", "cow"))
    with pytest.raises(SystemExit, match="made with training text"):
        train_lm.main([*argv, "--resume"])


def test_a_write_that_fails_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, {"step": 1})

    def run_out_of_disk(payload, file):
        file.write(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(torch, "save", run_out_of_disk)
    with pytest.raises(OSError, match="no space"):
        save_checkpoint(tmp_path, {"step": 2})
    assert load_checkpoint(tmp_path)["step"] == 1


@pytest.mark.slow
def test_two_processes_equal_one_with_a_larger_batch(text_file, tmp_path):
    common = [*QUICK, "--dataset", text_file, "--steps", "4", "--no-baselines", "--samples", "0"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "ACCELERATE_USE_CPU": "true"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(SCRIPT)]
    command += [*common, "--output-dir", str(tmp_path / "two")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("held-out bits per byte") == 1  # only the main process speaks
    train_lm.main([*common, "--batch-size", "4", "--output-dir", str(tmp_path / "one")])
    np.testing.assert_allclose(_losses(tmp_path / "two"), _losses(tmp_path / "one"), rtol=1e-4)


# --- values that are not finite


def test_bad_steps_are_skipped_and_leave_the_weights(text_file, tmp_path, monkeypatch):
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
    unchanged = [all(map(torch.equal, before, after)) for before, after in zip(seen, seen[1:], strict=False)]
    assert unchanged == [False, True, True, False]
    assert [math.isnan(loss) for loss in _losses(tmp_path / "run")] == [False, True, True, False, False]
    assert json.loads((tmp_path / "run" / "results.json").read_text())["curve"]["loss"][1] is None


def test_many_bad_steps_stop_the_run(text_file, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *args, **kwargs: torch.tensor(float("inf")))
    argv = [*QUICK, "--dataset", text_file, "--steps", "50", "--output-dir", str(tmp_path / "run")]
    with pytest.raises(SystemExit, match=r"step 10: .*not finite 10 steps.*--learning-rate below 0\.003"):
        train_lm.main(argv)
    assert load_checkpoint(tmp_path / "run")["state"]["skipped"] == 10


# --- bad input


@pytest.mark.parametrize(
    "options, message",
    [
        (["--sequence-length", "100000"], r"--sequence-length 100000 is longer than the training text of \d+ tokens"),
        (["--tokenizer", "bpe", "--vocab-size", "200"], "vocabulary size 200 is too small"),
        (["--config", "hiden_act=relu"], "hiden_act: .* no such field; did you mean hidden_act"),
        (["--config", "hidden_size=8"], "use --hidden-size 8"),
        (["--config", "vocab_size=100"], "vocab_size=100 is below the tokenizer's 257 tokens"),
        (["--config", "vocab_size"], "is not KEY=VALUE"),
        (["--config", "initializer_range=wide"], "cannot be built"),
        (["--resume"], "nothing to resume"),
        (["--dataset", "nowhere.txt"], "'nowhere.txt' is not there"),
    ],
)
def test_bad_input_is_refused_before_training(text_file, tmp_path, options, message):
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
        (["--seed", "-1"], "--seed: must not be negative"),
        (["--steps", "5", "--minutes", "5"], "not allowed with"),
    ],
)
def test_bad_numbers_are_refused(options, message, capsys):
    with pytest.raises(SystemExit):
        train_lm.main(options)
    assert message in capsys.readouterr().err


def test_overwriting_takes_away_the_earlier_model_at_once(finished_run, text_file, tmp_path, monkeypatch):
    folder = shutil.copytree(finished_run[0], tmp_path / "run")
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *args, **kwargs: torch.tensor(float("nan")))
    with pytest.raises(SystemExit, match="not finite"):
        train_lm.main([*QUICK, "--dataset", text_file, "--steps", "20", "--output-dir", str(folder), "--overwrite"])
    assert not (folder / "model.safetensors").exists() and not (folder / "results.json").exists()
    assert load_checkpoint(folder)["state"]["step"] == 10


def test_folder_in_use_is_not_overwritten(finished_run, text_file, tmp_path):
    (tmp_path / "precious").write_text("do not touch")
    argv = [*QUICK, "--dataset", text_file, "--steps", "1", "--no-baselines", "--output-dir"]
    with pytest.raises(SystemExit, match=r"is not empty: .*--resume.*--overwrite"):
        train_lm.main([*argv, str(tmp_path)])
    assert train_lm.main([*argv, str(tmp_path), "--overwrite"])["steps"] == 1
    assert (tmp_path / "precious").read_text() == "do not touch"
    with pytest.raises(SystemExit, match="is a file"):
        train_lm.main([*argv, str(tmp_path / "precious")])


# --- parts


def test_windows_are_a_pure_function_of_seed_and_step():
    tokens = np.arange(1000, dtype=np.uint16)
    first = train_lm.draw_windows(tokens, 16, 8, seed=1, step=2)
    assert first.shape == (8, 17)
    assert (np.diff(first) == 1).all()
    assert np.array_equal(first, train_lm.draw_windows(tokens, 16, 8, seed=1, step=2))
    assert not np.array_equal(first, train_lm.draw_windows(tokens, 16, 8, seed=1, step=3))
    assert not np.array_equal(first, train_lm.draw_windows(tokens, 16, 8, seed=2, step=2))
    shortest = train_lm.draw_windows(tokens[:17], 16, 4, seed=0, step=0)
    assert (shortest == tokens[:17]).all()
    starts = train_lm.draw_windows(tokens[:20], 16, 200, seed=0, step=0)[:, 0]
    assert set(starts.tolist()) == {0, 1, 2, 3}


@pytest.fixture(scope="module")
def tiny_model():
    tokenizer = build_tokenizer("bytes", [])
    return build_model(parse_arguments([*TINY, "--tokenizer", "bytes"]), tokenizer).eval()


def test_stream_loss_does_not_depend_on_the_segments(tiny_model, monkeypatch):
    ids = np.random.default_rng(0).integers(0, 257, 700)
    with torch.no_grad():
        logits = tiny_model(torch.from_numpy(ids)[None]).logits[0, :-1]
        expected = torch.nn.functional.cross_entropy(logits, torch.from_numpy(ids[1:]), reduction="sum").item()
    for longest in (4096, 699, 698, 128):
        monkeypatch.setattr("evaluation.LONGEST_SEGMENT", longest)
        assert stream_nats(tiny_model, ids) == pytest.approx(expected, rel=1e-5)


def test_quick_estimate_is_near_the_whole(tiny_model):
    ids = np.random.default_rng(0).integers(0, 257, 6000).astype(np.uint16)
    stream = TokenStream(ids, num_bytes=6000)
    whole = evaluate_heldout(tiny_model, stream)["heldout_bits_per_byte"]
    assert quick_bits_per_byte(tiny_model, stream) == pytest.approx(whole, rel=0.05)
    short = TokenStream(ids[:5], num_bytes=5)
    assert quick_bits_per_byte(tiny_model, short) == evaluate_heldout(tiny_model, short)["heldout_bits_per_byte"]


def test_samples_end_at_the_separator():
    tokenizer = build_tokenizer("bytes", [])
    end, (a, newline) = tokenizer.eos_token_id, tokenizer("a\n")["input_ids"]
    rows = [[a, newline, a, end, end], [a, newline, a, a, a]]
    samples = finished(tokenizer, rows, 5)
    assert [(sample.text, sample.snippet) for sample in samples] == [("a\na", "a\na"), ("a\naaa", "a\n")]


def test_weight_decay_is_for_matrices(tiny_model):
    decayed, free = parameter_groups(tiny_model, 0.1)
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.1, 0.0)
    names = {id(parameter): name for name, parameter in tiny_model.named_parameters()}
    assert len(decayed["params"]) + len(free["params"]) == len(names)
    assert all(parameter.ndim >= 2 for parameter in decayed["params"])
    embeddings = [names[id(parameter)] for parameter in free["params"] if parameter.ndim >= 2]
    assert embeddings == ["model.embed_tokens.weight"]
    gates = {name for name in names.values() if ".in_proj." in name and name.endswith("weight")}
    assert gates
    paper = {names[id(parameter)] for parameter in parameter_groups(tiny_model, 0.1, block="paper")[0]["params"]}
    assert paper == {names[id(parameter)] for parameter in decayed["params"]} - gates


@pytest.mark.parametrize("schedule", ["cosine", "wsd"])
def test_schedule(schedule):
    values = [learning_rate_factor(i / 1000, warmup=0.1, schedule=schedule, final_ratio=0.2) for i in range(1001)]
    assert values[0] == 0
    assert values[50] == pytest.approx(0.5)
    assert values[100] == pytest.approx(1)
    assert values[-1] == pytest.approx(0.2)
    assert all(b <= a + 1e-12 for a, b in zip(values[100:], values[101:], strict=False))
    assert max(abs(b - a) for a, b in zip(values, values[1:], strict=False)) < 0.011
    assert values[500] == (1 if schedule == "wsd" else pytest.approx(0.2 + 0.4 * (1 + math.cos(math.pi * 4 / 9))))
    assert learning_rate_factor(2.0, schedule=schedule, final_ratio=0.2) == pytest.approx(0.2)
    assert learning_rate_factor(0.0, warmup=0.0, schedule=schedule) == 1


def test_unknown_schedule_is_refused():
    with pytest.raises(ValueError, match="choose cosine or wsd"):
        learning_rate_factor(0.5, schedule="linear")


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


def test_curve_helpers():
    assert smoothed([3.0, 3.0, 3.0], 0.9) == pytest.approx([3, 3, 3])
    assert thinned([0] * 10, 4) == [0, 3, 6, 9]
    assert thinned([0] * 3, 4) == [0, 1, 2]


def test_config_values_are_parsed():
    args = parse_arguments(["--config", "a=1", "b=true", "c=silu", "d=None", "e=0.5"])
    assert args.config == {"a": 1, "b": True, "c": "silu", "d": None, "e": 0.5}
    assert isinstance(args, argparse.Namespace)
    with pytest.raises(InputError, match="KEY=VALUE"):
        parse_arguments(["--config", "a"])
