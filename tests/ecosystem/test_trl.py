# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""TRL's supervised fine-tuning with packing: texts packed into a row do not leak into each other."""

import pytest
import torch
from datasets import Dataset
from model_cases import build, close, token_ids

trl = pytest.importorskip("trl")


def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({str(n): n for n in range(97)}, unk_token="2"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="0", eos_token="1")


def fine_tuned(folder, rows, **options):
    model = build("no-conv").train()
    config = trl.SFTConfig(
        output_dir=str(folder),
        max_steps=1,
        learning_rate=0.01,
        logging_steps=1,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        save_strategy="no",
        gradient_checkpointing=False,
        bf16=False,
        **options,
    )
    trainer = trl.SFTTrainer(
        model=model, args=config, train_dataset=Dataset.from_dict({"input_ids": rows}), processing_class=tokenizer()
    )
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return batch, losses[0], [p.detach().clone() for p in model.parameters()]


@pytest.mark.parametrize("options", [{"padding_free": True}, {"packing": True}], ids=str)
def test_packed_fine_tuning_equals_padded(tmp_path, options):
    rows = [token_ids(1, n, seed=n)[0].tolist() for n in (9, 5, 3, 7)]
    batch, loss, packed = fine_tuned(
        tmp_path,
        rows,
        max_length=None if "padding_free" in options else 24,
        per_device_train_batch_size=4 if "padding_free" in options else 1,
        **options,
    )
    assert batch["input_ids"].shape == (1, 24) and "attention_mask" not in batch  # what TRL sends
    _, wanted, padded = fine_tuned(tmp_path, rows, max_length=24, per_device_train_batch_size=4)
    assert loss == pytest.approx(wanted, rel=1e-4)
    assert all(close(a, b, 1e-3) for a, b in zip(packed, padded))
    # The base model alone, as TRL's own losses call it, keeps the texts apart too.
    model = build("no-conv")
    given = {key: value for key, value in batch.items() if key not in ("labels",) and torch.is_tensor(value)}
    hidden = model.model(**given).last_hidden_state[0]
    begins = (given["position_ids"][0] == 0).nonzero().flatten().tolist()
    alone = [
        model.model(batch["input_ids"][:, begin:end]).last_hidden_state[0]
        for begin, end in zip(begins, [*begins[1:], 24])
    ]
    assert len(begins) == 4 and close(hidden, torch.cat(alone))
