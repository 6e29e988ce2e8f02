# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""transformers' Trainer computes the losses and gradients of the model for every form of batch."""

import pytest
import torch
from support.model_cases import build, close, token_ids
from transformers import DataCollatorWithFlattening, Trainer, TrainingArguments

from hf_minrnn import (
    MinRNNForCausalLM,
    MinRNNForQuestionAnswering,
    MinRNNForSequenceClassification,
    MinRNNForTokenClassification,
)

TEXTS = [{"input_ids": row.tolist(), "labels": row.tolist()} for row in token_ids(8, 12)]


def trained(folder, data=TEXTS, name="no-conv", collator=None, model=None, **options):
    """Returns a trainer after two optimizer steps over eight texts, and the logged losses."""
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
    model = model or build(name).train()
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
    """The rows have different numbers of labels, so a mean of the batches' means would be wrong."""
    data = [dict(text, labels=[-100] * n + text["labels"][n:]) for n, text in enumerate(TEXTS)]
    big, losses = trained(tmp_path, data)
    small, accumulated = trained(tmp_path, data, per_device_train_batch_size=1, gradient_accumulation_steps=4)
    assert len(losses) == len(accumulated) == 2 and losses == pytest.approx(accumulated, rel=1e-3)
    assert difference(big, small) < 1e-4


HEADS = {
    "one label": (MinRNNForSequenceClassification, lambda n, ids: {"labels": n % 3}),
    "a number each": (MinRNNForSequenceClassification, lambda n, ids: {"labels": [0.5 * n, 1.0, -0.25 * n]}),
    "several labels": (MinRNNForSequenceClassification, lambda n, ids: {"labels": [n % 2 * 1.0, 1.0, 0.0]}),
    "tokens": (MinRNNForTokenClassification, lambda n, ids: {"labels": [-100] * n + [i % 3 for i in ids[n:]]}),
    "spans": (MinRNNForQuestionAnswering, lambda n, ids: {"start_positions": n, "end_positions": n + 2}),
}
PROBLEMS = {"a number each": "regression", "several labels": "multi_label_classification"}


@pytest.mark.parametrize("kind", HEADS)
def test_gradient_accumulation_equals_the_big_batch_for_every_head(kind, tmp_path):
    """With seven texts the last small batch is smaller. For spans, Trainer takes the mean of the batches' means, so eight."""
    head, labels = HEADS[kind]
    data = [{"input_ids": text["input_ids"], **labels(n, text["input_ids"])} for n, text in enumerate(TEXTS)]
    data = data if kind == "spans" else data[:7]
    found = []
    for size, steps in ((8, 1), (2, 4)):
        torch.manual_seed(0)
        model = build("no-conv", head, num_labels=3, problem_type=PROBLEMS.get(kind), classifier_dropout=0.0).train()
        options = {"per_device_train_batch_size": size, "gradient_accumulation_steps": steps}
        found.append(trained(tmp_path, data, model=model, optim="sgd", max_grad_norm=0.0, **options))
    (big, losses), (small, accumulated) = found
    assert len(losses) == len(accumulated) == 1 and losses == pytest.approx(accumulated, rel=1e-5)
    assert difference(big, small) < 1e-6


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
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_torch_compile(backend, tmp_path):
    plain, losses = trained(tmp_path)
    compiled, again = trained(tmp_path, torch_compile=True, torch_compile_backend=backend)
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


@pytest.mark.parametrize("name", ["no-conv", "mingru"])
def test_label_smoothing_predicts_the_next_token(name, tmp_path):
    model, ids = build(name).eval(), token_ids(4, 9)
    arguments = TrainingArguments(str(tmp_path), label_smoothing_factor=1e-9, report_to="none", use_cpu=True)
    smoothed = Trainer(model, arguments).compute_loss(model, {"input_ids": ids, "labels": ids})
    assert close(smoothed, model(ids, labels=ids).loss)
