# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""TRL: texts packed into a row are independent, and every trainer takes the path of a saved model."""

import pytest
import torch
from datasets import Dataset
from support.model_cases import build, close, token_ids
from transformers import AutoModelForCausalLM

from hf_minrnn import MinRNNForSequenceClassification

trl = pytest.importorskip("trl")


def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({str(n): n for n in range(97)}, unk_token="2"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="0", eos_token="1")


ONE_STEP = {
    "max_steps": 1,
    "learning_rate": 0.01,
    "logging_steps": 1,
    "report_to": "none",
    "use_cpu": True,
    "disable_tqdm": True,
    "save_strategy": "no",
    "gradient_checkpointing": False,
    "bf16": False,
}


def fine_tuned(folder, rows, **options):
    model = build("no-conv").train()
    config = trl.SFTConfig(output_dir=str(folder), **ONE_STEP, **options)
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
    assert batch["input_ids"].shape == (1, 24) and "attention_mask" not in batch  # the format of TRL
    _, wanted, padded = fine_tuned(tmp_path, rows, max_length=24, per_device_train_batch_size=4)
    assert loss == pytest.approx(wanted, rel=1e-4)
    assert all(close(a, b, 1e-3) for a, b in zip(packed, padded))
    # The base model separates the texts, too. TRL's own losses call it directly.
    model = build("no-conv")
    given = {key: value for key, value in batch.items() if key not in ("labels",) and torch.is_tensor(value)}
    hidden = model.model(**given).last_hidden_state[0]
    begins = (given["position_ids"][0] == 0).nonzero().flatten().tolist()
    alone = [
        model.model(batch["input_ids"][:, begin:end]).last_hidden_state[0]
        for begin, end in zip(begins, [*begins[1:], 24])
    ]
    assert len(begins) == 4 and close(hidden, torch.cat(alone))


PAIRS = [{"prompt": "5 6", "chosen": " 7", "rejected": " 8"}] * 4
JUDGED = [{"prompt": "5 6", "completion": f" {n}", "label": n == 7} for n in (7, 8)] * 4
GENERATING = {"beta": 0.1, "num_generations": 2, "max_completion_length": 4}  # without beta there is no reference model
# Examples and options of each trainer. All but SFT keep the initial model as a reference.
TRAINERS = {
    "SFT": ([{"text": "5 6 7"}] * 4, {}),
    "DPO": (PAIRS, {}),
    "KTO": (JUDGED, {}),
    "GRPO": ([{"prompt": "5 6"}] * 4, GENERATING),
    "RLOO": ([{"prompt": "5 6"}] * 4, GENERATING),
}


@pytest.mark.parametrize("given", ["path", "model"])
@pytest.mark.parametrize("name", TRAINERS)
def test_every_trainer_trains_a_saved_model(tmp_path, name, given):
    folder, (examples, options) = tmp_path / "model", TRAINERS[name]
    build("mingru", pad_token_id=0).save_pretrained(folder)
    start = AutoModelForCausalLM.from_pretrained(folder)
    rewards = {}
    if options is GENERATING:
        rewards = {"reward_funcs": lambda completions, **_: [float(n) for n in range(len(completions))]}
    config = getattr(trl, f"{name}Config")(str(tmp_path), per_device_train_batch_size=2, **ONE_STEP, **options)
    trainer = getattr(trl, f"{name}Trainer")(
        str(folder) if given == "path" else AutoModelForCausalLM.from_pretrained(folder),
        args=config,
        train_dataset=Dataset.from_list(examples),
        processing_class=tokenizer(),
        **rewards,
    )
    trainer.train()
    before, after = start.state_dict(), trainer.model.state_dict()
    assert type(trainer.model) is type(start) and any(not torch.equal(before[key], after[key]) for key in before)
    if name != "SFT":
        assert all(torch.equal(before[key], value.float()) for key, value in trainer.ref_model.state_dict().items())


def test_a_reward_model_from_a_saved_language_model(tmp_path):
    build("mingru", pad_token_id=0).save_pretrained(tmp_path)
    config = trl.RewardConfig(str(tmp_path / "out"), **ONE_STEP)
    pairs = Dataset.from_list(PAIRS)
    trainer = trl.RewardTrainer(str(tmp_path), args=config, train_dataset=pairs, processing_class=tokenizer())
    trainer.train()
    assert type(trainer.model) is MinRNNForSequenceClassification
