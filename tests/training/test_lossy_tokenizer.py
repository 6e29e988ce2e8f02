# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""A run with a tokenizer that does not keep the text reports perplexity alone, and says why."""

import json
import random

import pytest
from huggingface_hub import ModelCard
from support.train_cases import TINY
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from training import evaluate, train_lm

REASON = "this tokenizer does not keep the text: "


@pytest.fixture(scope="module")
def lossy(tmp_path_factory):
    """A text whose content is in its case and its blanks, a model with a tokenizer that loses both, and the output."""
    root = tmp_path_factory.mktemp("lossy")
    rng = random.Random(0)
    text = "".join(rng.choice(["Word", "word", "WORD"]) + " " * rng.randint(1, 8) for _ in range(3000))
    (root / "text.txt").write_text(text)
    tokenizer = Tokenizer(models.Unigram())
    blanks = normalizers.Replace(Regex(" {2,}"), " ")
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), blanks])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=30, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator([text], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>")
    tokenizer.save_pretrained(root / "tokenizer")
    argv = [*TINY, "--dataset", str(root / "text.txt"), "--tokenizer", str(root / "tokenizer"), "--steps", "30"]
    metrics = train_lm.main([*argv, "--samples", "1", "--output-dir", str(root / "run")])
    return root / "run", metrics


def test_results_have_no_bits_per_byte(lossy):
    folder, metrics = lossy
    assert "heldout_bits_per_byte" not in metrics and metrics["heldout_perplexity"] > 1
    results = json.loads((folder / "results.json").read_text())
    assert results["baselines"] == {}
    data = results["data"]
    assert data["lossless"] is False and data["round_trip"]["characters_lost"] > 100
    assert data["round_trip"]["before"] != data["round_trip"]["after"]
    assert {*results["evaluations"][0]} == {"seconds", "heldout_bits_per_token_estimate"}
    assert "bits_per_byte" not in json.dumps(results)
    last = results["evaluations"][-1]["heldout_bits_per_token_estimate"]
    assert 0 < last < 6 and results["kept"]["heldout_bits_per_token_estimate"] <= last


def test_the_card_says_why(lossy):
    folder, metrics = lossy
    card = ModelCard.load(folder / "README.md")
    assert [result.metric_type for result in card.data.eval_results] == ["perplexity"]
    assert f"T{REASON[1:]}" in card.text and "Bits per\nbyte can." not in card.text
    assert f"| **minGRU** | {metrics['heldout_perplexity']:.2f} |\n" in card.text
    assert "bits per token on a part of the held-out text" in card.text
    text = card.text.replace("so bits per byte would be those of another text", "")
    assert "bits per byte" not in text


def test_the_evaluation_has_perplexity_and_bits_per_token(lossy, capsys):
    folder, metrics = lossy
    result = evaluate.main([str(folder), "--rounds", "2", "--seeds", "0", "--new-tokens", "3", "--longest", "128"])
    shown = capsys.readouterr().out
    assert f"lossy      {REASON}" in shown
    assert result["metrics"]["perplexity"] == pytest.approx(metrics["heldout_perplexity"], rel=1e-4)
    assert result["metrics"]["bits_per_byte"] is None and result["metrics"]["windows_bits_per_byte"] is None
    assert result["dataset"]["lossless"] is False and "bits_per_byte" not in json.dumps(result["positions"])
    assert all(row["bits_per_token"] == row["bits"] / row["tokens"] for row in result["positions"])
    assert f"state carried through the text    {result['metrics']['perplexity']:>10.3f}\n" in shown
    assert "bits per byte  " not in shown
    assert "is worth" in shown and "bits per token (at positions" in shown
    train_lm.write_card(folder)
    card = (folder / "README.md").read_text()
    assert "### Use of context" in card and "| tokens read | perplexity | after the whole text |" in card
    (folder / "evaluation.json").unlink()


def test_the_training_shows_the_loss_alone(lossy, capsys):
    folder, _ = lossy
    train_lm.main([*TINY, *resumed(folder), "--steps", "40", "--samples", "0", "--output-dir", str(folder), "--resume"])
    captured = capsys.readouterr()
    assert f"lossy     {REASON}" in captured.out
    assert captured.out.rstrip("\n").count(REASON) == 2  # before the training and after it
    assert "loss " in captured.err
    for line in (captured.err + captured.out).splitlines():
        assert "bits per byte" not in line.replace("so bits per byte would be", "") and "bits/byte" not in line


def resumed(folder):
    local = json.loads((folder / ".local.json").read_text())
    return ["--dataset", local["dataset"], "--tokenizer", local["tokenizer"]]
