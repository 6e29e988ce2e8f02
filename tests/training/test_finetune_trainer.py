# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The fine-tuning example lowers the loss and saves a model, and reports input that it cannot use."""

import json
import random
import re
from pathlib import Path

import pytest
import torch
from support.train_cases import QUICK
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, pipeline

from hf_minrnn import MinRNNConfig, MinRNNForCausalLM
from training import train_lm
from training.corpus.load import load_corpus
from training.corpus.options import TextOptions
from training.lm.tokenization import build_tokenizer
from training.lm.trained_on import read_record

pytest.importorskip("peft")

from training import finetune_trainer

OPTIONS = ["--length", "64", "--batch-size", "4", "--learning-rate", "0.02"]


@pytest.fixture
def numbers(tmp_path):
    """Writes rows of text that differ from the training data of the model."""
    rng, path = random.Random(1), tmp_path / "numbers.jsonl"
    rows = [{"body": " ".join(str(rng.randrange(100)) for _ in range(60))} for _ in range(80)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_fine_tuning_lowers_the_loss_and_saves_the_merged_model(finished_run, numbers, tmp_path, monkeypatch, capsys):
    saved, original = [], MinRNNForCausalLM.save_pretrained

    def note(self, folder, **kwargs):
        saved.append(self)
        return original(self, folder, **kwargs)

    monkeypatch.setattr(MinRNNForCausalLM, "save_pretrained", note)
    output = tmp_path / "out"
    argv = [str(finished_run[0]), str(numbers), str(output), "--text-column", "body", "--steps", "40", *OPTIONS]
    result = finetune_trainer.main([*argv, "--prompt", "1"])
    assert result["loss_after"] < result["loss_before"] - 0.3
    assert result["sample"].startswith("1") and len(result["sample"]) > 1
    assert f"{result['loss_after']:.4f} after; saved to {output}" in capsys.readouterr().out

    loaded = AutoModelForCausalLM.from_pretrained(output)
    assert not any("lora" in name for name in loaded.state_dict())
    ids = torch.randint(0, 257, (2, 40), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(loaded(ids).logits, saved[-1](ids).logits)
        assert not torch.allclose(loaded(ids).logits, AutoModelForCausalLM.from_pretrained(finished_run[0])(ids).logits)
    assert (output / "hub_minrnn.py").exists() and "auto_map" in json.loads((output / "config.json").read_text())

    # The merged model has the losses of the model with adapters, on the same batches of held-out pieces.
    heldout = load_corpus(TextOptions(str(numbers), "body")).heldout
    pieces = finetune_trainer.Pieces(heldout, AutoTokenizer.from_pretrained(output), 64)
    collate, losses = finetune_trainer.DataCollatorWithFlattening(), []
    with torch.no_grad():
        for start in range(0, len(pieces), 8):
            rows = [pieces[i] for i in range(start, min(start + 8, len(pieces)))]
            losses.append(loaded(**collate(rows)).loss.item())
    assert sum(losses) / len(losses) == pytest.approx(result["loss_after"], rel=1e-4)


def test_a_document_is_cut_into_pieces(finished_run):
    tokenizer = AutoTokenizer.from_pretrained(finished_run[0])
    text = "one line\nand another\n" * 20
    end = tokenizer.eos_token_id
    # With the second length, the last piece would only be the end of text.
    for length in (50, len(text), len(text) + 1):
        pieces = finetune_trainer.Pieces([text], tokenizer, length)
        rows = [piece["input_ids"] for piece in pieces]
        assert [len(row) for row in rows[:-1]] == [length] * (len(rows) - 1) and len(rows[-1]) > 1
        assert [after[0] for after in rows[1:]] == [before[-1] for before in rows[:-1]]
        predicted = [token for row in rows for token in row[1:]]
        assert (rows[0][0], tokenizer.decode(predicted[:-1]), predicted[-1]) == (end, text, end)


def test_the_text_of_an_end_is_not_an_end(finished_run):
    tokenizer = AutoTokenizer.from_pretrained(finished_run[0])
    (piece,) = finetune_trainer.Pieces([f"a{tokenizer.eos_token}b"], tokenizer, 64)
    assert piece["input_ids"].count(tokenizer.eos_token_id) == 2


@pytest.mark.parametrize("kind", ["csv", "folder", "lines", "validation"])
def test_text_is_read_as_in_training(finished_run, tmp_path, kind, capsys):
    lines = [f"row {i} of lorem ipsum" for i in range(40)]
    options = []
    data = tmp_path / "data.txt"
    held_out = lines[-4:]
    if kind == "csv":
        data = tmp_path / "data.csv"
        data.write_text("id,body\n" + "".join(f'{i},"{line}"\n' for i, line in enumerate(lines)))
        options = ["--text-column", "body"]
    elif kind == "folder":
        data = tmp_path / "data"
        data.mkdir()
        for i, line in enumerate(lines):
            (data / f"{i:02}.txt").write_text(line)
    elif kind == "lines":
        data.write_text("\n".join(lines))
        options = ["--document-per-line"]
    else:
        data.write_text("\n".join(lines))
        (tmp_path / "held out.txt").write_text("another text")
        options = ["--validation", str(tmp_path / "held out.txt")]
        held_out = ["another text"]
    output = tmp_path / "out"
    finetune_trainer.main([str(finished_run[0]), str(data), str(output), *options, "--steps", "1", *OPTIONS])
    record = read_record(str(output))
    assert all(record.finds(text) is False for text in held_out)
    for text in lines[:-4] if kind != "validation" else ["\n".join(lines)]:
        assert record.finds(text)
    card = (output / "README.md").read_text()
    assert f"fine-tuned on `{data.name}` by" in card and str(tmp_path) not in card


def test_a_model_fine_tuned_on_short_lines_learns_to_stop(text_file, tmp_path):
    base, path, output = tmp_path / "base", tmp_path / "lines.jsonl", tmp_path / "out"
    size = ["--hidden-size", "32", "--batch-size", "4", "--sequence-length", "64", "--learning-rate", "0.03"]
    quiet = ["--samples", "0", "--no-baselines", "--eval-every", "2", "--output-dir", str(base)]
    train_lm.main([*QUICK, *size, *quiet, "--dataset", text_file, "--steps", "150"])  # a single text without an end
    path.write_text("".join(json.dumps({"text": f"the {word} sees"}) + "\n" for word in ["cat", "dog"] * 40))
    finetune_trainer.main([str(base), str(path), str(output), "--steps", "60", *OPTIONS])
    written = {}
    for folder in (base, output):
        generator = pipeline("text-generation", model=str(folder))
        prompt = generator.tokenizer.eos_token + "the dog"
        (found,) = generator(prompt, max_new_tokens=40, do_sample=False, return_full_text=False)
        written[folder] = found["generated_text"]
    assert written[output] == " sees"
    prompt = re.search(r'writer\("(.*)", max_new_tokens=60\)', (output / "README.md").read_text())[1]
    assert prompt in ("the cat sees", "the dog sees")  # the example in its card continues a text like the training data
    assert len(written[base]) == 40


# --- bad input


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("data.txt", None, "data.txt' does not exist"),
        ("data.txt", b"", "data.txt"),
        ("data.txt", b"\x00\x01\x02\xff" * 100, "data.txt"),
        ("rows.jsonl", b'{"body": "a"}\n', "no column 'text'.*--text-column.*body"),
        ("rows.jsonl", b'{"text": ""}\n{"text": ""}\n', "rows.jsonl"),
        ("rows.jsonl", b'{"text": 5}\n', "text"),
    ],
    ids=["missing", "empty", "binary", "column", "rows without text", "numbers"],
)
def test_data_that_cannot_be_used_is_reported(finished_run, tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SystemExit, match=f"^training.finetune_trainer: .*{message}") as caught:
        finetune_trainer.main([str(finished_run[0]), str(path), str(tmp_path / "out"), *OPTIONS])
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options", ["--steps 0", "--batch-size 0", "--length 1", "--learning-rate -1", "--learning-rate nan", "--seed -1"]
)
def test_numbers_that_train_nothing_are_rejected(options, capsys):
    with pytest.raises(SystemExit):
        finetune_trainer.main(["model", "data", "out", *options.split()])
    assert f"argument {options.split()[0]}: must be" in capsys.readouterr().err


def test_models_that_cannot_be_used_are_reported(finished_run, numbers, tmp_path):
    def check_rejected(folder, message, output=tmp_path / "out"):
        with pytest.raises(SystemExit, match=message) as caught:
            finetune_trainer.main([str(folder), str(numbers), str(output), "--text-column", "body"])
        assert "\n" not in str(caught.value)

    check_rejected(tmp_path / "nowhere", "nowhere cannot be loaded, give a folder written by train_lm.py")
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    LlamaForCausalLM(LlamaConfig(vocab_size=300, **sizes)).save_pretrained(tmp_path / "llama")
    build_tokenizer("bytes", []).save_pretrained(tmp_path / "llama")
    check_rejected(tmp_path / "llama", "holds a llama model: give a minGRU or minLSTM")
    AutoModelForCausalLM.from_pretrained(finished_run[0]).save_pretrained(tmp_path / "large")
    build_tokenizer("bpe", ["the cat " * 50, "a dog"], 260).save_pretrained(tmp_path / "large")
    check_rejected(tmp_path / "large", "has 260 tokens, too many: save the model's own there")
    check_rejected(finished_run[0], "is not an empty folder: give another", output=finished_run[0])


def test_the_script_stays_short():
    assert len(Path(finetune_trainer.__file__).read_text().splitlines()) < 180


def test_the_loss_counts_every_token_equally():
    model = MinRNNForCausalLM(MinRNNConfig(vocab_size=20, hidden_size=16, num_hidden_layers=1))
    pieces = [{"input_ids": [*range(n)]} for n in (20, 3)]
    nats = [model(input_ids=torch.tensor([p["input_ids"]]), labels=torch.tensor([p["input_ids"]])).loss for p in pieces]
    assert finetune_trainer.loss_per_token(model, pieces) == pytest.approx((19 * nats[0] + 2 * nats[1]).item() / 21)
