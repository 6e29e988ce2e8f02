# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The evaluation script: its numbers against plain computations, its files, and input that is rejected."""

import json
import math
import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from huggingface_hub import EvalResult, ModelCardData
from support.train_cases import TINY
from transformers import AutoModelForCausalLM, AutoTokenizer, ByT5Tokenizer, LlamaConfig, LlamaForCausalLM

from hf_minrnn import MinRNNConfig, MinRNNForCausalLM, MinRNNForSequenceClassification
from training import evaluate, train_lm
from training.corpus.load import read_text
from training.lm.evaluation import token_nats
from training.lm.run_facts import LOCAL_FILE
from training.lm.saved_model import fingerprint, trained_with
from training.lm.tokenization import build_tokenizer, encode_documents

QUICK = ["--rounds", "2", "--seeds", "3", "--new-tokens", "5", "--longest", "128"]


def plain_nats(model, ids):
    """Returns the loss of every token after the first, from one forward pass over all tokens in float64."""
    with torch.no_grad():
        logits = model.double()(torch.from_numpy(ids.astype(np.int64))[None]).logits[0, :-1]
    model.float()
    return F.cross_entropy(logits, torch.from_numpy(ids[1:].astype(np.int64)), reduction="none").numpy()


@pytest.fixture(scope="module")
def evaluated(finished_run, text_file, tmp_path_factory):
    """The folder of a finished run, the result file of its evaluation, and its content."""
    output = tmp_path_factory.mktemp("evaluated") / "out.json"
    argv = [str(finished_run[0]), "--dataset", text_file, "--dataset-license", "cc0-1.0", "--output", str(output)]
    return finished_run[0], output, evaluate.main([*argv, *QUICK])


@pytest.fixture(scope="module")
def stream(finished_run, text_file):
    """The model, and the tokens of the held-out text."""
    text = read_text(text_file)
    tokenizer = AutoTokenizer.from_pretrained(finished_run[0])
    model = AutoModelForCausalLM.from_pretrained(finished_run[0]).eval()
    return model, encode_documents(tokenizer, [text[int(len(text) * 0.9) :]])


def test_the_carried_state_gives_the_loss_of_one_forward(evaluated, finished_run, stream):
    model, stream = stream
    nats = plain_nats(model, stream.ids)
    metrics = evaluated[2]["metrics"]
    assert metrics["bits_per_byte"] == pytest.approx(nats.sum() / math.log(2) / stream.num_bytes, rel=1e-6)
    assert metrics["perplexity"] == pytest.approx(math.exp(nats.mean()), rel=1e-6)
    assert metrics["bits_per_byte"] == pytest.approx(finished_run[1]["heldout_bits_per_byte"], rel=1e-9)


def test_each_window_starts_from_an_empty_state(evaluated, stream):
    model, stream = stream
    assert evaluated[2]["window"] == 32  # as trained
    assert (len(stream.ids) - 1) % 32
    windows = [plain_nats(model, stream.ids[start : start + 33]) for start in range(0, len(stream.ids) - 1, 32)]
    nats = np.concatenate(windows)
    metrics = evaluated[2]["metrics"]
    assert metrics["windows_bits_per_byte"] == pytest.approx(nats.sum() / math.log(2) / stream.num_bytes, rel=1e-6)
    assert metrics["windows_bits_per_byte"] != pytest.approx(metrics["bits_per_byte"], rel=1e-6)
    np.testing.assert_allclose(token_nats(model, stream.ids, 32), nats, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("budget", [1, 70 * 257, 1000 * 257])
@pytest.mark.parametrize("window", [1, 7, 100, 10_000, None])
def test_windows_do_not_depend_on_batches_and_segments(stream, monkeypatch, budget, window):
    model, stream = stream
    ids = stream.ids[:301]
    starts = range(0, 300, min(window or 300, 300))
    want = np.concatenate([plain_nats(model, ids[start : start + starts.step + 1]) for start in starts])
    monkeypatch.setattr("training.lm.evaluation.LOGITS_AT_ONCE", budget)
    np.testing.assert_allclose(token_nats(model, ids, window), want, rtol=1e-4, atol=1e-5)


def test_the_sums_over_positions_add_up(evaluated, stream):
    model, stream = stream
    result = evaluated[2]
    rows = result["positions"]
    bounds = [(row["first"], row["last"]) for row in rows]
    assert bounds == [(1, 1), (2, 2), (3, 4), (5, 8), (9, 16), (17, 32), (33, 64), (65, 128)]
    assert sum(row["tokens"] for row in rows) == result["dataset"]["tokens"] == len(stream.ids) - 1
    for total, bits in (
        (result["pieces"]["bits_per_byte"], [row["bits"] for row in rows]),
        (result["metrics"]["bits_per_byte"], [row["with_all_before"]["bits"] for row in rows]),
    ):
        assert sum(bits) == pytest.approx(total * stream.num_bytes, rel=1e-9)
    # The first of every piece has read one token and nothing else.
    alone = [plain_nats(model, stream.ids[start : start + 2])[0] for start in range(0, len(stream.ids) - 1, 128)]
    assert rows[0]["bits"] == pytest.approx(sum(alone) / math.log(2), rel=1e-5)
    assert rows[0]["perplexity"] == pytest.approx(math.exp(np.mean(alone)), rel=1e-5)
    assert result["metrics"]["worth_past_training_length_bits_per_byte"] == pytest.approx(
        rows[5]["bits_per_byte"] - rows[5]["with_all_before"]["bits_per_byte"]
    )


def test_the_result_file_has_the_facts_of_a_card(evaluated, stream):
    _, output, result = evaluated
    assert json.loads(output.read_text()) == result
    assert output.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert result["machine"]["cores"] and result["versions"]["torch"] == torch.__version__
    assert result["command"].startswith("python -m training.evaluate ")
    dataset, metrics = result["dataset"], result["metrics"]
    assert (dataset["name"], dataset["license"], dataset["unknown_tokens"]) == ("pets", "cc0-1.0", 0)
    assert dataset["lossless"] and dataset["round_trip"]["share_checked"] == 1
    assert dataset["trained_on"] == dataset["left_out"] == 0
    assert len(dataset["sha256"]) == 64 and dataset["bytes"] == stream[1].num_bytes
    assert result["model"]["sha256"] == fingerprint(stream[0])
    assert metrics["parameters"] == stream[0].num_parameters()
    # A float32 state of 32 and 3 inputs of the convolution of 16 channels.
    assert metrics["state_bytes"] == result["decoding"]["after_tokens"]["1"]["state_bytes"] == (32 + 3 * 16) * 4
    assert metrics["decode_ms_per_token"] > 0 and metrics["reading_mib"] >= 0
    results = [
        EvalResult(
            task_type=result["task"]["type"],
            dataset_type=dataset["type"],
            dataset_name=dataset["name"],
            dataset_split=dataset["split"],
            metric_type=name,
            metric_value=metrics[name],
        )
        for name in ("bits_per_byte", "perplexity")
    ]
    card = ModelCardData(model_name="pets", license=dataset["license"], eval_results=results).to_dict()
    assert card["model-index"][0]["results"][0]["metrics"][0]["value"] == metrics["bits_per_byte"]


def test_samples_depend_on_seed_and_options_alone(evaluated, finished_run, text_file, tmp_path):
    (first,) = evaluated[2]["samples"]
    assert first["prompt"] == "" and first["seed"] == 3 and first["text"]
    argv = [str(finished_run[0]), "--dataset", text_file, *QUICK, "--limit-bytes", "200", "--output"]
    prompts = ["--prompts", "the cat", "", "--seeds", "4", "3"]
    torch.manual_seed(5)
    again = evaluate.main([*argv, str(tmp_path / "a.json"), *prompts])
    assert [(s["prompt"], s["seed"]) for s in again["samples"]] == [("the cat", 4), ("the cat", 3), ("", 4), ("", 3)]
    assert all(sample["text"].startswith(sample["prompt"]) for sample in again["samples"])
    assert again["samples"][3]["text"] == first["text"] != again["samples"][2]["text"]
    greedy = evaluate.main([*argv, str(tmp_path / "b.json"), "--top-k", "1", "--seeds", "1", "2"])
    assert greedy["samples"][0]["text"] == greedy["samples"][1]["text"]
    assert again["dataset"]["bytes"] <= 200


def test_the_default_text_is_that_of_the_training_unless_it_has_changed(finished_run, tmp_path):
    text = tmp_path / "pets.txt"
    folder = shutil.copytree(finished_run[0], tmp_path / "model")
    results = json.loads((folder / "results.json").read_text())
    local = json.loads((folder / LOCAL_FILE).read_text())
    assert results["args"]["dataset"] == "pets.txt"
    shutil.copy(local["dataset"], text)
    (folder / LOCAL_FILE).write_text(json.dumps(local | {"dataset": str(text)}))
    found = evaluate.main([str(folder), *QUICK])
    assert found["dataset"]["type"] == "pets.txt" and found["dataset"]["bytes"] == results["data"]["heldout_bytes"]
    assert found["metrics"]["bits_per_byte"] == pytest.approx(results["metrics"]["heldout_bits_per_byte"])
    text.write_text(text.read_text() * 2)  # the part that is held out now was part of the training data
    with pytest.raises(SystemExit, match=r"has no text that is held out: the model was trained on all 1 documents"):
        evaluate.main([str(folder), *QUICK])
    (folder / "trained_on.json").unlink()
    with pytest.raises(
        SystemExit, match=r"has changed since the model was trained on it: [\d,]+ bytes were held out then, "
    ):
        evaluate.main([str(folder), *QUICK])
    assert evaluate.main([str(folder), *QUICK, "--part", "whole"])["dataset"]["split"] == "all of it"
    text.unlink()
    with pytest.raises(
        SystemExit, match=r"pets\.txt' that .* was trained on does not exist here .*give its path, or choose another"
    ):
        evaluate.main([str(folder), *QUICK])


def test_a_whole_file_is_evaluated_without_results_json(finished_run, tmp_path, capsys, monkeypatch):
    """The tokenizer is in another folder, and the text is too short for context beyond the training length."""
    folder, words = tmp_path / "model", tmp_path / "words"
    AutoModelForCausalLM.from_pretrained(finished_run[0]).save_pretrained(folder)
    AutoTokenizer.from_pretrained(finished_run[0]).save_pretrained(words)
    assert trained_with(str(folder)) == {} and trained_with(str(finished_run[0]))["sequence_length"] == 32
    (tmp_path / "new.txt").write_text("the dog sees ü")
    argv = [str(folder), "--tokenizer", str(words), "--dataset", str(tmp_path / "new.txt"), "--part", "whole"]
    result = evaluate.main([*argv, "--window", "8", "--rounds", "2", "--new-tokens", "3"])
    assert result["dataset"]["bytes"] == 15 and result["dataset"]["split"] == "all of it"
    assert (folder / "evaluation.json").exists() and (folder / "evaluation.png").exists()
    assert result["metrics"]["worth_past_training_length_bits_per_byte"] is None
    assert "too short to measure the worth of context beyond the training length of 8" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("unknown is end", ["--batching", "windows"]),
        ("unknown is end", ["--stateful"]),
        ("unknown is end", ["--streaming", "--heldout-documents", "7"]),
        ("slow", ["--batching", "packed"]),
    ],
)
def test_the_held_out_loss_is_that_of_the_end_of_training(documents_file, tmp_path, kind, how):
    tokenizer = build_tokenizer("bytes", []) if kind != "slow" else ByT5Tokenizer()
    if kind != "slow":
        tokenizer.unk_token = tokenizer.eos_token  # as in GPT-2's tokenizer
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    argv = [*TINY, "--dataset", documents_file, "--tokenizer", str(tmp_path / "tokenizer"), *how, "--steps", "30"]
    argv += ["--samples", "0", "--no-baselines", "--output-dir", str(tmp_path / "run")]
    trained = train_lm.main(argv)
    found = evaluate.main([str(tmp_path / "run"), "--dataset", documents_file, *QUICK, "--longest", "64"])
    assert found["dataset"]["bytes"] == trained["heldout_bytes"] and found["dataset"]["unknown_tokens"] == 0
    assert found["metrics"]["bits_per_byte"] == pytest.approx(trained["heldout_bits_per_byte"], rel=1e-5)
    assert found["documents_apart"] == ("windows" not in how)


# --- bad input


@pytest.fixture
def model_folder(finished_run, tmp_path):
    """A copy of a finished run that a test may damage."""
    folder = tmp_path / "model"
    shutil.copytree(finished_run[0], folder, ignore=shutil.ignore_patterns("checkpoint.pt"))
    return folder


def no_folder(folder, options):
    shutil.rmtree(folder)


def no_model(folder, options):
    (folder / "config.json").unlink()


def a_file(folder, options):
    shutil.rmtree(folder)
    folder.write_text("model")


def another_type(folder, options):
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    LlamaForCausalLM(LlamaConfig(vocab_size=300, **sizes)).save_pretrained(folder)


def another_head(folder, options):
    config = MinRNNConfig(vocab_size=257, hidden_size=8, num_hidden_layers=1)
    MinRNNForSequenceClassification(config).save_pretrained(folder)


def broken_config(folder, options):
    (folder / "config.json").write_text("{")


def no_tokenizer(folder, options):
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()


def larger_tokenizer(folder, options):
    build_tokenizer("bpe", ["the cat " * 50, "a dog"], 260).save_pretrained(folder / "other")
    options += ["--tokenizer", str(folder / "other")]


def no_separator(folder, options):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.eos_token = None
    tokenizer.save_pretrained(folder)


def no_weights(folder, options):
    (folder / "model.safetensors").unlink()


def cut_weights(folder, options):
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-100])


def few_weights(folder, options):
    model = MinRNNForCausalLM.from_pretrained(folder)
    model.save_pretrained(folder, state_dict={k: v for k, v in model.state_dict().items() if "in_proj" not in k})


def weights_that_are_no_numbers(folder, options):
    model = MinRNNForCausalLM.from_pretrained(folder)
    model.model.norm.weight.data[0] = float("nan")
    model.save_pretrained(folder)


def no_results(folder, options):
    (folder / "results.json").unlink()


def missing_text(folder, options):
    options += ["--dataset", str(folder / "nowhere.txt")]


def empty_text(folder, options):
    (folder / "empty.txt").write_text("")
    options += ["--dataset", str(folder / "empty.txt"), "--part", "whole"]


def empty_held_out_text(folder, options):
    (folder / "empty.txt").write_text("")
    options += ["--dataset", str(folder / "empty.txt")]


def latin_text(folder, options):
    (folder / "latin.txt").write_bytes(b"caf\xe9")
    options += ["--dataset", str(folder / "latin.txt"), "--part", "whole"]


def missing_column(folder, options):
    (folder / "rows.jsonl").write_text('{"body": "a"}\n{"body": "b"}\n')
    options += ["--dataset", str(folder / "rows.jsonl")]


def no_json(folder, options):
    options += ["--output", str(folder / "out.txt")]


def no_place(folder, options):
    options += ["--output", str(folder / "config.json" / "out.json")]


def long_pieces(folder, options):
    options += ["--longest", "1000000"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (no_folder, "model folder .* does not exist: give one written by"),
        (no_model, "has no config.json: give a folder written by"),
        (a_file, "is a file: give the folder"),
        (another_type, "holds a LlamaForCausalLM of type llama: give the folder of a MinRNNForCausalLM"),
        (another_head, "holds a MinRNNForSequenceClassification of type minrnn"),
        (broken_config, r"model .* cannot be read \(.*\): give a folder"),
        (no_tokenizer, "no tokenizer can be loaded from .* give its folder with --tokenizer"),
        (larger_tokenizer, "has 260 tokens, the model's vocabulary only 258: save the tokenizer that"),
        (
            no_separator,
            "has no eos_token, which separates documents: save one that has it there, or give its folder with",
        ),
        (no_weights, r"the weights of .* cannot be loaded \(.*\): save the model again"),
        (cut_weights, r"the weights of .* cannot be loaded \(.*\): save the model again"),
        (few_weights, "the weights of .* lack .*in_proj.*: save the whole model again"),
        (weights_that_are_no_numbers, "loss is not finite at token 1: its weights are damaged"),
        (no_results, "no results.json of .* gives its training length: set it with --window"),
        (missing_text, "nowhere.txt' does not exist: give the path"),
        (empty_text, "empty.txt is empty: give a file with text in it"),
        (empty_held_out_text, "empty.txt is empty: give a file with text in it"),
        (latin_text, r"not UTF-8 at byte 3, probably cp1252\): give --encoding cp1252"),
        (missing_column, "has no column 'text': choose --text-column from body"),
        (no_json, "is not the name of a JSON file: give a name that ends in .json"),
        (no_place, "cannot be written .*: choose another"),
        (long_pieces, r"--longest 1000000 is longer than the text of \d+ tokens: give at most that"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_bad_input_is_reported_in_one_line(model_folder, text_file, spoil, message):
    options = ["--dataset", text_file, "--rounds", "2"]
    spoil(model_folder, options)
    with pytest.raises(SystemExit, match=f"^training.evaluate: .*{message}") as caught:
        evaluate.main([str(model_folder), *options])
    assert "\n" not in str(caught.value)
    assert not (model_folder / "evaluation.json").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--window", "0"], "--window: must be a whole number above 0, got '0'"),
        (["--limit-bytes", "-5"], "--limit-bytes: must be a whole number above 0"),
        (["--temperature", "0"], "--temperature: must be above 0"),
        (["--temperature", "inf"], "--temperature: must be finite"),
        (["--top-k", "-1"], "--top-k: must be a whole number, 0 or more"),
        (["--top-p", "1.5"], "--top-p: must be above 0 and at most 1"),
        (["--seeds", "0", "-1"], "--seeds: must be a whole number from 0"),
        (["--rounds", "1"], "--rounds: must be a whole number, at least 2"),
        (["--device", "nowhere"], "--device: nowhere cannot be used here"),
    ],
)
def test_bad_numbers_are_rejected(options, message, capsys):
    with pytest.raises(SystemExit):
        evaluate.main(["model", *options])
    assert message in capsys.readouterr().err
