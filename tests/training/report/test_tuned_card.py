# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The card of a fine-tuned model names its base and its text, and no folder of this machine."""

import argparse

import pytest
from huggingface_hub import ModelCard

from training.corpus.corpus import Corpus, Reading
from training.corpus.options import TextOptions
from training.lm.trained_on import TrainedOn
from training.report.tuned_card import write_tuned_card

READING = Reading(train=["a.txt", "b.txt"], heldout=["c.txt"])
NOTES = Corpus("notes", "folder", ["some text", "more text"], ["words that are held out"], "last 1 of 3", READING)
OPTIONS = {"dataset_name": None, "dataset_license": None, "license": None, "push_to_hub": None, "prompt": ""}
OPTIONS |= {"steps": 1000, "batch_size": 8, "length": 64}


def write(folder, model, dataset, corpus=NOTES, seen=0, **options):
    folder.mkdir(exist_ok=True)
    args = argparse.Namespace(**vars(TextOptions(dataset)), **(OPTIONS | options), model=model, output=str(folder))
    write_tuned_card(args, corpus, "minlstm", 2.5, 2.25, TrainedOn(heldout_seen=seen))
    return ModelCard((folder / "README.md").read_text(encoding="utf-8"))


def test_a_base_on_the_hub_is_linked_with_its_owner(tmp_path):
    options = {"license": "mit", "dataset_license": "cc-by-4.0", "push_to_hub": "me/letters"}
    card = write(tmp_path / "out", "owner/base", str(tmp_path / "notes"), **options)
    assert (card.data.base_model, card.data.license, card.data.datasets) == ("owner/base", "mit", None)
    assert "# letters\n" in card.text
    assert "model: [owner/base](https://huggingface.co/owner/base), fine-tuned on `notes` by" in card.text
    assert "The fine-tuning took\n1,000 steps of 8 pieces of at most 64 tokens" in card.text
    for line in (
        "- Source: a folder of 3 files. Each file is a document.",
        "- Licence of the text: cc-by-4.0.",
        "- Training text: 18 B in 2 documents.",
        "- Held-out text: 23 B in 1 document (last 1 of 3).",
        "- Loss per token of the held-out text: 2.5000 before, 2.2500 after.",
    ):
        assert f"{line}\n" in card.text
    assert str(tmp_path) not in card.content and "earlier training" not in card.text


def test_a_local_base_is_named_without_its_folder(tmp_path):
    (tmp_path / "client" / "base").mkdir(parents=True)
    card = write(
        tmp_path / "out", str(tmp_path / "client" / "base"), "me/texts:small", Corpus("x", "hub", [], ["a"], ""), 1
    )
    assert card.data.base_model is None and card.data.license is None and card.data.datasets == ["me/texts"]
    assert "the local model `base`, fine-tuned on [me/texts](" in card.text and "client" not in card.content
    assert "- An earlier training of these weights read 1 held-out document, in whole or in part, so" in card.text
    assert "Licence" not in card.text


@pytest.mark.parametrize(("prompt", "shown"), [("", "words that are"), ("It is", "It is")])
def test_the_example_starts_like_the_text(tmp_path, prompt, shown):
    card = write(tmp_path / "out", "owner/base", "notes", prompt=prompt)
    assert f'print(writer("{shown}", max_new_tokens=60)' in card.text and 'name = "out"' in card.text
