# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""An evaluation calls held out only what no training of the model has read."""

import json
import random
import shutil

import pytest
from support.train_cases import TINY

from training import evaluate, train_lm
from training.lm.run_facts import LOCAL_FILE
from training.lm.trained_on import FILE

QUICK = ["--rounds", "2", "--seeds", "3", "--new-tokens", "2", "--window", "16"]
RNG = random.Random(0)
DOCUMENTS = [" ".join("".join(RNG.choices("abcdefgh", k=5)) for _ in range(RNG.randrange(5, 25))) for _ in range(60)]
TUNE = ["--steps", "1", "--length", "64", "--batch-size", "2"]


def write_rows(path, documents):
    path.write_text("".join(json.dumps({"text": document}) + "\n" for document in documents))
    return path


def train(dataset, folder, *options):
    argv = [*TINY, "--tokenizer", "bytes", "--samples", "0", "--no-baselines", "--steps", "2", *options]
    train_lm.main([*argv, "--dataset", str(dataset), "--output-dir", str(folder)])
    return folder


def tune(base, dataset, folder, *options):
    finetune_trainer = pytest.importorskip("training.finetune_trainer", exc_type=ImportError)
    finetune_trainer.main([str(base), str(dataset), str(folder), *TUNE, *options])
    return folder


def measured(model, dataset, *options):
    """The description of the text that an evaluation measured."""
    output = model.parent / "evaluation.json"
    return evaluate.main([str(model), "--dataset", str(dataset), "--output", str(output), *QUICK, *options])["dataset"]


def assert_nothing_is_held_out(model, dataset, *options):
    with pytest.raises(SystemExit, match="has no text that is held out: the model was trained on all") as caught:
        measured(model, dataset, *options)
    assert "give another text, or measure it as it is with --part whole" in str(caught.value)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """A table, and a model that was trained on it."""
    folder = tmp_path_factory.mktemp("rows")
    path = write_rows(folder / "rows.jsonl", DOCUMENTS)
    return path, train(path, folder / "model")


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """A text file, and a model that was trained on its first 90 %."""
    folder = tmp_path_factory.mktemp("book")
    path = folder / "book.txt"
    path.write_text("\n".join(DOCUMENTS))
    return path, train(path, folder / "model")


def test_documents_that_training_held_out(rows, tmp_path, capsys):
    path, model = rows
    found = measured(model, path)
    assert (found["documents"], found["trained_on"], found["left_out"]) == (6, 0, 0)
    assert found["split"] == "last 6 of 60 documents held out"
    renamed = shutil.copy(path, tmp_path / "another name.jsonl")
    assert measured(model, renamed)["documents"] == 6
    capsys.readouterr()
    whole = measured(model, path, "--part", "whole")
    assert (whole["documents"], whole["trained_on"], whole["split"]) == (60, 54, "all of it")
    shown = capsys.readouterr().out
    assert "the model was trained on 54 of these documents, or on parts of them\n" in shown
    assert "  measured  1 file: rows.jsonl\n" in shown and "held out" not in shown
    limited = measured(model, path, "--part", "whole", "--limit-bytes", str(len(DOCUMENTS[0]) + 5))
    assert (limited["documents"], limited["trained_on"]) == (2, 2)


def test_documents_in_another_order(rows, tmp_path, capsys):
    _, model = rows
    assert_nothing_is_held_out(model, write_rows(tmp_path / "rows.jsonl", DOCUMENTS[::-1]))
    moved = [*DOCUMENTS[:50], *DOCUMENTS[54:], *DOCUMENTS[50:54]]  # 2 of the last 6 were held out
    found = measured(model, write_rows(tmp_path / "rows.jsonl", moved))
    assert (found["documents"], found["left_out"], found["trained_on"]) == (2, 4, 0)
    assert found["split"].endswith(
        "; 4 of 6 documents left out, because the model was trained on them or on parts of them"
    )
    assert "4 of 6 documents left out" in capsys.readouterr().out


def test_options_of_the_text_that_are_given_replace_those_of_the_training(tmp_path, capsys):
    folder = tmp_path / "texts"
    folder.mkdir()
    for i, document in enumerate(DOCUMENTS[:20]):
        (folder / f"{i:02}.txt").write_text(document)
    model = train(folder, tmp_path / "model", "--exclude", "00.txt")
    output = ["--output", str(tmp_path / "evaluation.json")]
    evaluate.main([str(model), *QUICK, *output])
    assert "00.txt" in capsys.readouterr().out.partition("skipped")[2]
    (folder / "other.txt").write_text("a text that is new")
    found = evaluate.main([str(model), *QUICK, *output, "--include", "other.txt", "--part", "whole"])["dataset"]
    assert (found["documents"], found["trained_on"]) == (1, 0)


def test_copies_of_training_documents(tmp_path, capsys):
    path = write_rows(tmp_path / "rows.jsonl", [*DOCUMENTS[:18], DOCUMENTS[0], "a document that is new"])
    model = train(path, tmp_path / "model")
    assert "1 of the 2 held-out documents are exact copies of training documents" in capsys.readouterr().out
    card = (model / "README.md").read_text()
    assert "- The training text contains exact copies of 1 held-out document, so" in card
    found = measured(model, path)
    assert (found["documents"], found["left_out"]) == (1, 1)


def test_documents_with_lines_in_common(tmp_path):
    common = "\n".join(DOCUMENTS[:8])
    path = write_rows(tmp_path / "rows.jsonl", [f"{common}\n{i} {document}" for i, document in enumerate(DOCUMENTS)])
    model = train(path, tmp_path / "model")
    found = measured(model, path)
    assert (found["documents"], found["left_out"]) == (6, 0)  # the training held them out


def test_more_documents(rows, tmp_path):
    new = [document[::-1] for document in DOCUMENTS]
    found = measured(rows[1], write_rows(tmp_path / "rows.jsonl", [*DOCUMENTS, *new]))
    assert (found["documents"], found["left_out"]) == (12, 0)  # all of them are new
    found = measured(rows[1], write_rows(tmp_path / "rows.jsonl", [*new, *DOCUMENTS]))
    assert (found["documents"], found["left_out"]) == (6, 6)


def test_documents_in_files_of_a_folder(rows, tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    for i, document in enumerate(DOCUMENTS[:10]):
        (folder / f"{i}.txt").write_text(document)
    assert_nothing_is_held_out(rows[1], folder)


def test_fine_tuning_on_the_same_documents(rows, tmp_path):
    path, base = rows
    model = tune(base, path, tmp_path / "tuned")
    assert measured(model, path)["documents"] == 6  # both trainings held the same documents out
    record = json.loads((model / FILE).read_text())
    assert record["complete"] and len(record["trained"]["digests"].split()) == 54


def test_fine_tuning_on_documents_that_the_base_held_out(rows, tmp_path, capsys):
    path, base = rows
    backwards = write_rows(tmp_path / "rows.jsonl", DOCUMENTS[::-1])
    model = tune(base, backwards, tmp_path / "tuned")
    shown = capsys.readouterr().out
    assert "6 of the 6 held-out documents were trained on earlier, in whole or in part: their" in shown
    card = (model / "README.md").read_text()
    assert "- An earlier training of these weights read 6 held-out documents, in whole or in part" in card
    assert_nothing_is_held_out(model, path)
    assert_nothing_is_held_out(model, backwards)


def test_the_record_of_the_base_is_kept(rows, book, tmp_path):
    other = write_rows(tmp_path / "other.jsonl", [document[::-1] for document in DOCUMENTS])
    model = tune(rows[1], other, tmp_path / "tuned")
    assert measured(model, other)["documents"] == measured(model, rows[0])["documents"] == 6
    assert measured(model, rows[0], "--part", "whole")["trained_on"] == 54
    again = tune(model, book[0], tmp_path / "again")
    assert measured(again, other, "--part", "whole")["trained_on"] == 54


def test_a_text_that_was_cut(book, tmp_path):
    path, model = book
    found = measured(model, path)
    assert (found["documents"], found["trained_on"], found["bytes"]) == (1, 0, round(0.1 * path.stat().st_size))
    assert measured(model, path, "--part", "whole")["trained_on"] == 1
    text = path.read_text()
    (tmp_path / "twice.txt").write_text(text * 2)
    assert_nothing_is_held_out(model, tmp_path / "twice.txt")
    (tmp_path / "reordered.txt").write_text("\n".join(DOCUMENTS[::-1]))
    assert_nothing_is_held_out(model, tmp_path / "reordered.txt")
    (tmp_path / "longer.txt").write_text(text + text[::-1])
    assert measured(model, tmp_path / "longer.txt")["left_out"] == 0  # its last tenth is new
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.txt").write_text("a text that is new to the model")
    shutil.copy(path, folder / "z.txt")
    assert_nothing_is_held_out(model, folder)


def test_a_text_without_lines_that_has_changed(tmp_path):
    path = tmp_path / "genome.txt"
    path.write_text("".join(RNG.choices("ACGT", k=3000)))
    model = train(path, tmp_path / "model")
    assert measured(model, path)["trained_on"] == 0
    path.write_text(path.read_text() * 2)
    with pytest.raises(SystemExit, match="has changed since the model was trained on it: 300 bytes were held out then"):
        measured(model, path)
    copy = shutil.copy(path, tmp_path / "copy.txt")
    found = measured(model, copy)
    assert found["trained_on"] is None and found["split"].endswith(
        "an earlier training of the model read it is not known"
    )


def test_a_file_of_the_folder_that_was_trained_on(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    for i in range(12):
        (folder / f"{i:02}.txt").write_text("\n".join(DOCUMENTS[5 * i : 5 * i + 5]))
    model = train(folder, tmp_path / "model")
    assert measured(model, folder)["documents"] == 1
    assert_nothing_is_held_out(model, folder / "03.txt")
    assert measured(model, folder / "11.txt")["left_out"] == 0  # the file that was held out


def test_files_of_splits(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    write_rows(folder / "train.jsonl", DOCUMENTS[:40])
    write_rows(folder / "validation.jsonl", DOCUMENTS[40:])
    model = train(folder, tmp_path / "model")
    assert measured(model, folder)["documents"] == 20
    assert_nothing_is_held_out(model, folder / "train.jsonl")
    assert measured(model, folder / "validation.jsonl")["left_out"] == 0


def test_a_stream(tmp_path):
    path = write_rows(tmp_path / "rows.jsonl", DOCUMENTS)
    model = train(path, tmp_path / "model", "--streaming", "--heldout-documents", "5")
    found = measured(model, path)
    assert (found["documents"], found["trained_on"]) == (5, 0)
    copy = write_rows(tmp_path / "copy.jsonl", [*DOCUMENTS[20:30], *DOCUMENTS[:20]])  # the last 3 were read
    assert_nothing_is_held_out(model, copy)
    elsewhere = write_rows(tmp_path / "held out.jsonl", [*DOCUMENTS[30:], *DOCUMENTS[:5]])
    assert measured(model, elsewhere)["left_out"] == 0


def test_a_model_without_a_record(rows, tmp_path, capsys):
    path, model = rows
    old = shutil.copytree(model, tmp_path / "old")
    (old / FILE).unlink()
    found = measured(old, path)  # results.json says that the model was trained on this text
    assert (found["split"], found["trained_on"]) == ("last 6 of 60 documents held out", None)
    for name in ("results.json", LOCAL_FILE):
        (old / name).unlink()
    found = measured(old, path)
    assert found["split"] == "last 6 of 60 documents held out; whether the model was trained on this text is not known"
    assert found["trained_on"] is None and measured(old, path, "--part", "whole")["trained_on"] is None
    model = tune(old, path, tmp_path / "tuned")
    found = measured(model, path)
    assert found["split"].endswith("; whether an earlier training of the model read it is not known")
    assert found["trained_on"] is None
    assert measured(model, path, "--part", "whole")["trained_on"] == 54
