# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""The folder of a run in common recipes: batches are padded, and every end of a text is a label."""

import pytest
import torch
from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    DataCollatorWithFlattening,
    Trainer,
    TrainingArguments,
    pipeline,
)

TEXTS = ["the cat sees", "a dog hears water and bread"]
ONE_STEP = {"max_steps": 1, "per_device_train_batch_size": 2, "use_cpu": True, "disable_tqdm": True}
ONE_STEP |= {"report_to": "none", "save_strategy": "no"}


@pytest.fixture
def saved(finished_run):
    folder = finished_run[0]
    return AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


def ends(batch, tokenizer):
    """Counts the labels that are the end of a text. The label of a row's first token has no logits and does not count."""
    return (batch["labels"][:, 1:] == tokenizer.eos_token_id).sum().item()


def rows(tokenizer):
    return Dataset.from_list([{"input_ids": tokenizer(text + tokenizer.eos_token).input_ids} for text in TEXTS])


@pytest.mark.parametrize("side", ["left", "right"])
def test_trainer_and_its_usual_collator_train_every_end(saved, side, tmp_path):
    model, tokenizer = saved
    tokenizer.padding_side = side
    trainer = Trainer(
        model=model,
        args=TrainingArguments(str(tmp_path), **ONE_STEP),
        train_dataset=rows(tokenizer),
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
        processing_class=tokenizer,
    )
    (batch,) = trainer.get_train_dataloader()
    assert ends(batch, tokenizer) == len(TEXTS)
    counted = (batch["labels"][:, 1:] != -100).sum().item()
    tokens = sum(len(row) for row in trainer.train_dataset["input_ids"])
    # With padding on the left, the first token of the shorter row is a label, too. It is predicted from padding.
    assert counted == tokens - len(TEXTS) + (side == "left")
    trainer.train()
    for config in (model.config, model.generation_config):  # Trainer compares them with those of the tokenizer
        assert (config.eos_token_id, config.pad_token_id) == (tokenizer.eos_token_id, tokenizer.pad_token_id)


def test_the_flattening_collator_trains_every_end_and_has_the_loss_of_padded_rows(saved):
    model, tokenizer = saved
    tokenizer.padding_side = "right"
    features = list(rows(tokenizer))
    flat, padded = (
        collate(features)
        for collate in (DataCollatorWithFlattening(), DataCollatorForLanguageModeling(tokenizer, mlm=False))
    )
    assert ends(flat, tokenizer) == len(TEXTS)
    with torch.no_grad():
        assert model(**flat).loss.item() == pytest.approx(model(**padded).loss.item(), rel=1e-5)


@pytest.mark.parametrize("options", [{}, {"padding_free": True, "max_length": None}], ids=["padded", "padding-free"])
def test_trl_trains_every_end(saved, options, tmp_path):
    trl = pytest.importorskip("trl")
    model, tokenizer = saved
    args = trl.SFTConfig(str(tmp_path), bf16=False, gradient_checkpointing=False, **ONE_STEP, **options)
    data = Dataset.from_dict({"text": TEXTS})
    trainer = trl.SFTTrainer(model=model, args=args, train_dataset=data, processing_class=tokenizer)
    (batch,) = trainer.get_train_dataloader()
    assert ends(batch, tokenizer) == len(TEXTS)
    trainer.train()


def test_a_padded_batch_continues_like_each_text_alone(saved):
    model, tokenizer = saved
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    together = model.generate(**batch, do_sample=False, max_new_tokens=6)[:, -6:]
    for text, row in zip(TEXTS, together):
        alone = model.generate(**tokenizer(text, return_tensors="pt"), do_sample=False, max_new_tokens=6)
        assert torch.equal(alone[0, -6:], row)


def test_the_pipeline_takes_a_batch_and_stops_at_the_end_of_a_text(finished_run, monkeypatch):
    generator = pipeline("text-generation", model=str(finished_run[0]))
    end = generator.tokenizer.eos_token_id
    forward = type(generator.model).forward

    def ends_at_once(self, *args, **kwargs):
        output = forward(self, *args, **kwargs)
        output.logits[:, :, end] = 1e4
        return output

    monkeypatch.setattr(type(generator.model), "forward", ends_at_once)
    found = generator(TEXTS, batch_size=2, max_new_tokens=20)
    assert [texts[0]["generated_text"] for texts in found] == TEXTS
