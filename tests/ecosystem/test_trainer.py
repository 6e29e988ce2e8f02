# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""transformers' Trainer: what it computes is what the model computes, however the batch reaches it."""

import pytest
import torch
from model_cases import build, close, token_ids
from transformers import DataCollatorWithFlattening, Trainer, TrainingArguments

from hf_minrnn import MinRNNForCausalLM

TEXTS = [{"input_ids": row.tolist(), "labels": row.tolist()} for row in token_ids(8, 12)]


def trained(folder, data=TEXTS, name="no-conv", collator=None, **options):
    """A model after two optimizer steps over eight texts, and the losses that were logged."""
    defaults = {
        "per_device_train_batch_size": 4,
        "num_train_epochs": 1,
        "learning_rate": 0.01,
        "logging_steps": 1,
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
        "save_strategy": "no",
        "seed": 1,
    }
    model = build(name).train()
    trainer = Trainer(
        model=model,
        args=TrainingArguments(output_dir=str(folder), **{**defaults, **options}),
        train_dataset=data,
        eval_dataset=data,
        data_collator=collator,
    )
    trainer.train()
    return trainer, [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def difference(one, other):
    return max((a - b).abs().max().item() for a, b in zip(one.model.parameters(), other.model.parameters()))


def test_gradient_accumulation_equals_the_big_batch(tmp_path):
    """With rows of different numbers of labels, which a mean of means would weigh wrongly."""
    data = [dict(text, labels=[-100] * n + text["labels"][n:]) for n, text in enumerate(TEXTS)]
    big, losses = trained(tmp_path, data)
    small, accumulated = trained(tmp_path, data, per_device_train_batch_size=1, gradient_accumulation_steps=4)
    assert len(losses) == len(accumulated) == 2 and losses == pytest.approx(accumulated, rel=1e-3)
    assert difference(big, small) < 1e-4


def test_gradient_checkpointing_changes_nothing(tmp_path):
    plain, losses = trained(tmp_path)
    checkpointed, again = trained(tmp_path, gradient_checkpointing=True)
    assert losses == pytest.approx(again, rel=1e-4) and difference(plain, checkpointed) < 1e-4


def test_flattened_batches_equal_padded_ones(tmp_path):
    texts = [
        {"input_ids": text["input_ids"][: 4 + n], "labels": text["labels"][: 4 + n]} for n, text in enumerate(TEXTS)
    ]

    def pad_right(features):
        longest = max(len(f["input_ids"]) for f in features)
        fill = {"input_ids": 0, "labels": -100, "attention_mask": 0}
        rows = [{**f, "attention_mask": [1] * len(f["input_ids"])} for f in features]
        return {k: torch.tensor([r[k] + [fill[k]] * (longest - len(r[k])) for r in rows]) for k in fill}

    padded, losses = trained(tmp_path, texts, collator=pad_right)
    flat, again = trained(tmp_path, texts, collator=DataCollatorWithFlattening())
    assert losses == pytest.approx(again, rel=1e-4) and difference(padded, flat) < 1e-4


def test_bfloat16_is_near_float32(tmp_path):
    _, losses = trained(tmp_path)
    _, half = trained(tmp_path, bf16=True)
    assert losses == pytest.approx(half, rel=0.02)


@pytest.mark.slow
def test_torch_compile(tmp_path):
    plain, losses = trained(tmp_path)
    compiled, again = trained(tmp_path, torch_compile=True, torch_compile_backend="aot_eager")
    assert losses == pytest.approx(again, rel=1e-4) and difference(plain, compiled) < 1e-4


def test_evaluates_saves_and_resumes(tmp_path):
    whole, _ = trained(tmp_path / "whole", num_train_epochs=2)
    first, _ = trained(tmp_path / "cut", num_train_epochs=2, save_strategy="epoch", max_steps=2)
    metrics = first.evaluate()
    assert metrics["eval_loss"] > 0
    options = {"num_train_epochs": 2, "save_strategy": "no"}
    model = build("no-conv").train()
    args = first.args
    for key, value in {**options, "max_steps": -1}.items():
        setattr(args, key, value)
    resumed = Trainer(model=model, args=args, train_dataset=TEXTS)
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == whole.state.global_step == 4
    ids = token_ids(2, 9)
    loaded = MinRNNForCausalLM.from_pretrained(tmp_path / "cut" / "checkpoint-2")
    assert close(loaded(ids).logits, first.model.eval()(ids).logits)
