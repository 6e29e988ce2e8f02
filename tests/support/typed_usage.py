# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Uses the public API as the documentation does, for type checkers. `pip install mypy pyright`, then in the repository's root:

    mypy --follow-imports=silent tests/support/typed_usage.py && pyright tests/support/typed_usage.py

Neither may report an error. Each takes a minute, so the tests run this file and check signatures instead.
"""

from pathlib import Path
from typing import Any, assert_type

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    DynamicCache,
    GenerationConfig,
    Trainer,
    TrainingArguments,
)

import hf_minrnn
from hf_minrnn import (
    MinGRU,
    MinGRUCell,
    MinLSTM,
    MinLSTMCell,
    MinRNNCell,
    MinRNNConfig,
    MinRNNForCausalLM,
    MinRNNForQuestionAnswering,
    MinRNNForSequenceClassification,
    MinRNNForTokenClassification,
    MinRNNModel,
    MinRNNPreTrainedModel,
    detach_cache,
    explain_backend,
    linear_scan,
    minrnn_scan,
    register_cell,
    resolve_backend,
)
from hf_minrnn.tools.card import write_card
from hf_minrnn.tools.command import main
from hf_minrnn.tools.hub import check_folder


def configs() -> MinRNNConfig:
    config = MinRNNConfig(vocab_size=97, hidden_size=8, num_hidden_layers=1, cell_type="minlstm", expand_ratio=2)
    floors = MinRNNConfig(hidden_size=8, num_hidden_layers=2, forget_gate_floor=[0.0, 0.5], eos_token_id=[1, 2])
    assert_type(MinRNNConfig.paper("minlstm", vocab_size=97, hidden_size=8, num_hidden_layers=1), MinRNNConfig)
    assert_type(config.state_size, int)
    assert_type(config.layer_types, list[str])
    assert_type(floors.layer_forget_gate_floor(1), float)
    assert_type(config.to_dict(), dict)
    return config


def models(config: MinRNNConfig, folder: Path) -> None:
    model = MinRNNForCausalLM(config).eval()
    model.carry_code()
    model.save_pretrained(folder)
    model.save_pretrained(str(folder), max_shard_size="1GB", push_to_hub=False)
    config.save_pretrained(folder)
    loaded = MinRNNForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert_type(loaded.config, MinRNNConfig)
    AutoConfig.from_pretrained(folder)
    AutoModel.from_pretrained(folder)
    AutoModelForCausalLM.from_pretrained(str(folder)).save_pretrained(folder)
    ids = torch.tensor([[1, 2, 3, 4]])
    out = model(ids, labels=ids)
    loss: torch.Tensor = out.loss
    loss.backward()
    model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False, logits_to_keep=1, return_dict=True)
    model.forward(ids, position_ids=torch.tensor([[0, 1, 0, 1]]), labels=ids, num_items_in_batch=torch.tensor(3))
    model(ids, resets=torch.zeros(1, 4, dtype=torch.bool))
    cache = DynamicCache(config=config)
    MinRNNModel(config)(ids, past_key_values=cache)
    detach_cache(cache)
    model.gradient_checkpointing_enable()
    model.get_input_embeddings()
    model.resize_token_embeddings(99)
    base: MinRNNPreTrainedModel = model.model
    base.train()


def generation(model: MinRNNForCausalLM) -> None:
    ids = torch.tensor([[1, 2]])
    assert model.generate(ids, max_new_tokens=2).shape == (1, 4)
    model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=2, do_sample=True)
    model.generate(ids, GenerationConfig(max_new_tokens=2))
    first = model.generate(ids, max_new_tokens=2, return_dict_in_generate=True)
    model.generate(first.sequences, past_key_values=first.past_key_values, max_new_tokens=2)


def heads(config: MinRNNConfig) -> None:
    ids, one = torch.tensor([[1, 2, 3]]), torch.tensor([1])
    MinRNNForSequenceClassification(config)(ids, labels=one)
    MinRNNForSequenceClassification(config).forward(ids, torch.ones_like(ids), labels=one)
    MinRNNForTokenClassification(config)(ids, labels=torch.tensor([[1, 0, 1]]), seq_idx=torch.tensor([[0, 0, 1]]))
    MinRNNForQuestionAnswering(config)(ids, start_positions=one, end_positions=one)


def push(model: MinRNNForCausalLM, name: str) -> None:
    """Is only type-checked: running it needs a Hub."""
    assert_type(model.push_to_hub(name, private=True, commit_message="First"), str)
    MinRNNForCausalLM.carry_code()
    model.save_pretrained("folder", push_to_hub=True, repo_id=name)


def layers() -> None:
    x = torch.randn(5, 2, 3)  # time, batch, channels
    for layer in (MinGRU(3, 4, num_layers=2, bidirectional=True, dropout=0.1), nn.GRU(3, 4)):
        layer.flatten_parameters()
        layer(x)[0].sum().backward()
    output, h_n = MinGRU(3, 4, batch_first=True)(x, torch.zeros(1, 5, 4), resets=torch.zeros(5, 2, dtype=torch.bool))
    output, (h_n, c_n) = MinLSTM(3, 4)(x)
    packed = pack_padded_sequence(x, torch.tensor([5, 3]))
    MinGRU(3, 4)(packed)
    h, state = MinGRUCell(3, 4)(x, attention_mask=torch.ones(5, 2, dtype=torch.bool))
    h, state = MinLSTMCell(3, 4).step(x[0])
    assert_type(state, torch.Tensor)
    print(output.shape, h_n.shape, c_n.shape, h.shape)


def scans() -> None:
    a = torch.rand(2, 5, 3)
    h, final = linear_scan(a, a, initial_state=torch.zeros(2, 3), backend="torch")
    assert_type(h, torch.Tensor)
    h, final = minrnn_scan(torch.randn(2, 5, 6), "mingru", cu_seqlens=None)
    assert_type(final, torch.Tensor)
    assert_type(resolve_backend("auto", device="cpu", dtype=torch.float32), str)
    assert_type(explain_backend(), str)


def own_cell() -> None:
    @register_cell
    class Average(MinRNNCell):
        cell_type, num_parts = "average", 1

        def scan(
            self, projected: torch.Tensor, initial_state: torch.Tensor | None = None, **options: Any
        ) -> tuple[torch.Tensor, torch.Tensor]:
            return linear_scan(torch.full_like(projected, 0.9), 0.1 * projected, initial_state, **options)

    h, state = Average(2, 3).step(torch.ones(1, 2))
    assert_type(state, torch.Tensor)
    MinRNNForCausalLM(MinRNNConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, cell_type="average"))
    print(h.shape)


def trainer(model: MinRNNForCausalLM, folder: Path) -> None:
    rows = [{"input_ids": [1, 2, 3], "labels": [1, 2, 3]}]
    arguments = TrainingArguments(str(folder), max_steps=1, use_cpu=True, report_to="none", disable_tqdm=True)
    Trainer(model=model, args=arguments, train_dataset=rows).train()  # type: ignore[arg-type]  # pyright: ignore


def tools(folder: Path) -> None:
    assert_type(write_card(folder, license="mit", base_model="me/base", datasets=["me/texts"], overwrite=True), Path)
    assert_type(main(["card", str(folder), "--license", "mit"]), int)
    print(check_folder, hf_minrnn.__version__)


def run(folder: Path) -> None:
    config = configs()
    models(config, folder)
    generation(MinRNNForCausalLM.from_pretrained(folder))
    heads(config)
    layers()
    scans()
    own_cell()
    trainer(MinRNNForCausalLM(config), folder / "trained")
    tools(folder)
