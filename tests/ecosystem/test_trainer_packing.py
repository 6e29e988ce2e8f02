# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Data sets with packed rows: Trainer with its defaults passes the column that describes the packing to the model."""

import datasets
import pytest
import torch
import torch.nn.functional as F
from support.model_cases import build, close, token_ids
from transformers import Trainer, TrainingArguments

from hf_minrnn import (
    MinRNNForCausalLM,
    MinRNNForQuestionAnswering,
    MinRNNForSequenceClassification,
    MinRNNForTokenClassification,
)
from training.lm.tokenization import build_tokenizer

LENGTHS = ((5, 3), (2, 6))  # of the sequences in each row
IDS = token_ids(2, 8)
MARKS = {
    "position_ids": [[n for length in lengths for n in range(length)] for lengths in LENGTHS],
    "seq_idx": [[i for i, length in enumerate(lengths) for _ in range(length)] for lengths in LENGTHS],
    "resets": [[n == lengths[0] for n in range(8)] for lengths in LENGTHS],
    "cu_seq_lens_q": [[0, lengths[0], 8] for lengths in LENGTHS],
}
HEADS = {"causal": MinRNNForCausalLM, "tokens": MinRNNForTokenClassification, "spans": MinRNNForQuestionAnswering}
SOURCES = {"list": list, "Dataset": datasets.Dataset.from_list}


def rows(kind, *marks):
    """Returns the two rows with labels and packing columns. The first token of a sequence is no label of the previous one."""
    data = [{"input_ids": ids, "note": "not for the model"} for ids in IDS.tolist()]
    for n, row in enumerate(data):
        if kind == "spans":
            row |= {"start_positions": n, "end_positions": n + 2}
        elif kind == "tokens":
            row["labels"] = [i % 3 for i in row["input_ids"]]
        else:
            row["labels"] = [-100 if i == LENGTHS[n][0] else label for i, label in enumerate(row["input_ids"])]
        row |= {name: MARKS[name][n] for name in marks}
    return data


def logits_of(output, kind):
    return torch.stack([output.start_logits, output.end_logits], -1) if kind == "spans" else output.logits


def expected(model, kind, count):
    """Returns the logits of the first `count` rows, with each sequence read alone, and the loss of these logits."""
    logits = torch.stack(
        [
            torch.cat([logits_of(model(part), kind)[0] for part in IDS[n : n + 1].split(LENGTHS[n], 1)])
            for n in range(count)
        ]
    )
    data = rows(kind)[:count]
    if kind == "spans":
        names = ("start_positions", "end_positions")
        losses = [
            F.cross_entropy(part, torch.tensor([row[name] for row in data]))
            for part, name in zip(logits.unbind(-1), names)
        ]
        return logits, sum(losses) / 2
    labels = torch.tensor([row["labels"] for row in data])
    if kind == "causal":
        return logits, F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    return logits, F.cross_entropy(logits.flatten(0, 1), labels.flatten())


def trainer_of(model, data, folder, batch_size, processing_class=None, **options):
    options = {"report_to": "none", "use_cpu": True, "disable_tqdm": True, "save_strategy": "no"} | options
    args = TrainingArguments(
        str(folder), per_device_train_batch_size=batch_size, per_device_eval_batch_size=batch_size, **options
    )
    return Trainer(model, args, train_dataset=data, eval_dataset=data, processing_class=processing_class)


def model_for(kind):
    options = {} if kind == "causal" else {"num_labels": 2 if kind == "spans" else 3, "classifier_dropout": 0.0}
    return build("mingru", HEADS[kind], **options)


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    ("mark", "count"), [(name, n) for name in MARKS for n in (1, 2) if (name, n) != ("cu_seq_lens_q", 2)]
)
def test_packed_rows_equal_the_sequences_alone(kind, source, mark, count, tmp_path):
    model, data = model_for(kind), SOURCES[source](rows(kind, mark)[:count])
    trainer = trainer_of(model, data, tmp_path, count)
    batch = next(iter(trainer.get_eval_dataloader()))
    assert mark in batch and "note" not in batch
    want, loss = expected(model, kind, count)
    with torch.no_grad():
        found, output = trainer.compute_loss(model, dict(batch), return_outputs=True)
    assert close(logits_of(output, kind), want) and close(found, loss)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(loss.item(), rel=1e-4)
    assert not close(logits_of(model(IDS[:count]), kind), want)  # without the column the result differs


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("adapted", [False, True], ids=["whole", "LoRA"])
def test_training_gives_the_same_weights_as_separate_sequences(mark, adapted, tmp_path):
    def trained(data, batch_size):
        model = model_for("causal").train()
        if adapted:
            peft = pytest.importorskip("peft")
            torch.manual_seed(0)
            model = peft.get_peft_model(model, peft.LoraConfig(target_modules=["in_proj"], task_type="CAUSAL_LM"))
        options = {
            "max_steps": 2,
            "learning_rate": 0.1,
            "optim": "sgd",
            "gradient_accumulation_steps": len(data) // batch_size,
        }
        trainer_of(model, data, tmp_path, batch_size, **options).train()
        return [parameter for parameter in model.parameters() if parameter.requires_grad]

    alone = []
    for row, lengths in zip(rows("causal"), LENGTHS):
        parts = zip(torch.tensor(row["input_ids"]).split(lengths), torch.tensor(row["labels"]).split(lengths))
        alone += [{"input_ids": ids.tolist(), "labels": labels.tolist()} for ids, labels in parts]
    packed = trained(rows("causal", mark), 1 if mark == "cu_seq_lens_q" else 2)
    assert all(close(x, y) for x, y in zip(packed, trained(alone, 1)))


def test_a_row_of_several_texts_with_one_label_is_rejected(tmp_path):
    model = build("mingru", MinRNNForSequenceClassification, num_labels=3)
    for mark in MARKS:
        data = [{"input_ids": IDS[0].tolist(), "labels": 1, mark: MARKS[mark][0]}]
        with pytest.raises(ValueError, match=f"{mark}: a row has one label"):
            trainer_of(model, data, tmp_path, 1).evaluate()


@pytest.mark.parametrize("mark", ["seq_idx", "resets"])
def test_the_collator_of_a_tokenizer_adds_a_mask_and_keeps_these_marks(mark, tmp_path):
    model, tokenizer = model_for("causal"), build_tokenizer("chars", ["".join(map(chr, range(32, 127)))])
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    trainer = trainer_of(model, rows("causal", mark), tmp_path, 2, processing_class=tokenizer)
    assert "attention_mask" in next(iter(trainer.get_eval_dataloader()))
    assert trainer.evaluate()["eval_loss"] == pytest.approx(expected(model, "causal", 2)[1].item(), rel=1e-4)


def test_shifted_labels_are_used_if_label_names_contains_them(tmp_path):
    model, data = model_for("causal"), rows("causal")
    plain = trainer_of(model, data, tmp_path, 2).evaluate()[
        "eval_loss"
    ]  # Trainer computes a loss without shift_labels, too
    shifted = [dict(row, shift_labels=[*row["labels"][1:], -100], labels=row["input_ids"]) for row in data]
    named = trainer_of(model, shifted, tmp_path, 2, label_names=["labels", "shift_labels"])
    assert named.evaluate()["eval_loss"] == pytest.approx(plain, rel=1e-5)
